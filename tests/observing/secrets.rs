//! Conditions of secrets and of the files that hold them, each raised on the built binary and ended by what ends its cause.

use std::path::Path;
use std::process::{Command, Stdio};

use forebay::condition::{Code, Subject};
use tempfile::TempDir;

use super::{held, keyed, port};
use crate::support::{Running, eventually, forebay, needs_strace, post, root};

const BOTH: &[&str] = &["acme", "globex"];

/// A folder with the key of each instance.
fn keys(of: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    give(folder.path(), of);
    std::fs::write(folder.path().join("k-globex"), "key-of-globex").unwrap();
    folder
}

/// Gives the instance acme a key.
fn give(folder: &Path, key: &str) {
    std::fs::write(folder.join("k-acme"), key).unwrap();
}

fn secret_of_acme() -> Subject {
    Subject::instance("acme").item("secret")
}

fn send(running: &Running, key: &str) -> u16 {
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let id = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    post(&running.urls[0], &[("x-api-key", key)], format!("{{\"id\":{id}}}").as_bytes()).unwrap().0
}

#[test]
fn former_secret_is_a_condition_until_it_is_ended() {
    let (folder, port) = (keys("key-one-0123"), port());
    let running = Running::start(&mut keyed(folder.path(), port, "", BOTH), 2);
    assert_eq!(held(port, Code::SecretOverlap), []);
    give(folder.path(), "key-two-0123");
    running.signal("HUP");
    eventually("the former value is reported", || !held(port, Code::SecretOverlap).is_empty());
    let [(about, message)] = &held(port, Code::SecretOverlap)[..] else { panic!("one of the secret") };
    assert_eq!(*about, secret_of_acme());
    assert!(message.starts_with("secret secret of instance acme: 2 values valid until 2"), "{message}");
    assert_eq!(held(port, Code::SecretUnconfirmed), [], "the vendor is not asked by Forebay");
    assert_eq!((send(&running, "key-one-0123"), send(&running, "key-two-0123")), (200, 200));
    let mut end = forebay();
    end.args(["secrets", "end", "secret", "--id", "acme", "--data-dir"]).arg(folder.path().join("data"));
    assert!(end.status().unwrap().success());
    eventually("the condition ends", || held(port, Code::SecretOverlap).is_empty());
    assert_eq!((send(&running, "key-one-0123"), send(&running, "key-two-0123")), (401, 200));
    assert!(running.stop().success());
}

#[test]
fn secret_too_short_to_mask_is_a_condition_until_longer() {
    let (folder, port) = (keys("abcde"), port());
    let running = Running::start(&mut keyed(folder.path(), port, "", BOTH), 2);
    let message = "the secret secret has fewer than 6 characters: it is masked as a word of its own alone";
    assert_eq!(held(port, Code::SecretShort), [(secret_of_acme(), message.to_owned())]);
    give(folder.path(), "abcdef");
    running.signal("HUP");
    eventually("the condition ends", || held(port, Code::SecretShort).is_empty());
    give(folder.path(), "abc");
    running.signal("HUP");
    eventually("a new value is looked at too", || {
        held(port, Code::SecretShort) == [(secret_of_acme(), message.to_owned())]
    });
    assert!(running.stop().success());
}

#[test]
fn changed_secret_not_saved_is_a_condition_until_it_is() {
    let (folder, port) = (keys("key-one-0123"), port());
    let running = Running::start(&mut keyed(folder.path(), port, "", BOTH), 2);
    let (data, away) = (folder.path().join("data"), folder.path().join("away"));
    std::fs::rename(&data, &away).unwrap();
    eventually("the store refuses commits", || !held(port, Code::StoreReplaced).is_empty());
    assert_eq!(held(port, Code::SecretsUnsaved), []);
    let change = |key: &str| {
        give(folder.path(), key);
        running.signal("HUP");
    };
    change("key-two-0123");
    eventually("it is reported", || !held(port, Code::SecretsUnsaved).is_empty());
    let [(about, message)] = &held(port, Code::SecretsUnsaved)[..] else { panic!("one of the instance") };
    assert_eq!(*about, Subject::instance("acme"));
    let begins = "secrets changed, and the change could not be saved: ";
    assert!(message.starts_with(begins) && message.len() > begins.len(), "{message}");
    // Taken back, there is nothing to save: the store is as it was.
    change("key-one-0123");
    eventually("it ends with the change", || held(port, Code::SecretsUnsaved).is_empty());
    assert!(!held(port, Code::StoreReplaced).is_empty());
    change("key-two-0123");
    eventually("it is reported again", || !held(port, Code::SecretsUnsaved).is_empty());
    // What cannot be saved is not taken: after a restart the vendor's former value would be unknown.
    assert_eq!(send(&running, "key-two-0123"), 401);
    std::fs::rename(&away, &data).unwrap();
    eventually("it is saved by itself", || held(port, Code::SecretsUnsaved).is_empty());
    eventually("the new value is taken", || send(&running, "key-two-0123") == 200);
    assert_eq!(send(&running, "key-one-0123"), 200, "the former one is valid for the overlap");
    assert!(running.stop().success());
}

/// Has a name lead to another file, in one step.
fn link(folder: &Path, name: &str, to: &str) {
    let new = folder.join(format!("{name}.new"));
    std::os::unix::fs::symlink(to, &new).unwrap();
    std::fs::rename(new, folder.join(name)).unwrap();
}

/// Two names for a secret and for the certificate: reading through the second one takes longer than a file may take.
#[test]
fn files_that_do_not_answer_are_conditions_until_they_do() {
    needs_strace();
    let (folder, port) = (TempDir::new().unwrap(), port());
    let path = |name: &str| folder.path().join(name);
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    for name in ["steady", "slow"] {
        std::fs::write(path(&format!("{name}-key")), "key-of-acme").unwrap();
        std::fs::write(path(&format!("{name}.pem")), made.cert.pem()).unwrap();
    }
    std::fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
    link(folder.path(), "k-acme", "steady-key");
    link(folder.path(), "cert.pem", "steady.pem");
    let run = keyed(folder.path(), port, "", &["acme"]);
    let config = path("forebay.yaml");
    let text = std::fs::read_to_string(&config)
        .unwrap()
        .replace("listen: 127.0.0.1:0}", "listen: 127.0.0.1:0, tls: {certificate: cert.pem, key: key.pem}}");
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new("strace");
    // -D: the process that is started is forebay itself. Each file is read on a thread of its own: its first read waits.
    command.args(["-D", "-f", "-qq", "-o"]).arg(path("trace")).args(["-e", "trace=read"]);
    command.args(["-e", "inject=read:delay_enter=12000000:when=1"]);
    command.arg("-P").arg(path("slow-key")).arg("-P").arg(path("slow.pem"));
    command.arg(run.get_program()).args(run.get_args()).current_dir(root()).env_clear();
    command.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?)))).stdin(Stdio::null());
    let running = Running::start(&mut command, 1);
    assert_eq!(held(port, Code::FileBlocked), []);

    link(folder.path(), "k-acme", "slow-key");
    link(folder.path(), "cert.pem", "slow.pem");
    running.signal("HUP");
    eventually("both are reported", || held(port, Code::FileBlocked).len() == 2);
    let (certificate, key) = (path("cert.pem").display().to_string(), path("k-acme").display().to_string());
    let stays = [
        format!("{certificate} does not answer: the certificate before stays in use"),
        format!("{key} does not answer: its values stay as they are"),
    ];
    let about = [&certificate, &key].map(|file| Subject::process().item(file));
    assert_eq!(held(port, Code::FileBlocked), about.into_iter().zip(stays).collect::<Vec<_>>());
    let [(about, message)] = &held(port, Code::SecretsUnread)[..] else { panic!("one of the instance") };
    assert_eq!(*about, Subject::instance("acme"));
    assert!(message.contains(&key) && message.contains("does not answer"), "{message}");

    link(folder.path(), "k-acme", "steady-key");
    link(folder.path(), "cert.pem", "steady.pem");
    // While a read hangs, its path is not read again.
    let reads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", running.pid())).unwrap();
        let mut names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.any(|name| name.trim_end() == "forebay-read")
    };
    eventually("no read hangs any more", || !reads());
    running.signal("HUP");
    eventually("the conditions end", || held(port, Code::FileBlocked).is_empty());
    eventually("the secret is read", || held(port, Code::SecretsUnread).is_empty());
    assert!(running.stop().success());
}
