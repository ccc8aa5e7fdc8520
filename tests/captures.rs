//! `forebay captures`: a key that the vendor sends in an unsigned request is taken when an operator expects it, and shown
//! to the operator alone.

use std::path::Path;

use crate::support::{Running, eventually, forebay, post};

const TOKEN: &str = "secret_tMrlL1qK5vuQAh1b6cZGhFChZTSYJlce98V0pYn7yBl";

fn run(folder: &Path) -> Running {
    let mut command = forebay();
    command.args(["run", "tests/handshakes/notion", "--listen", "127.0.0.1:0", "--id", "pages"]);
    command.arg("--data-dir").arg(folder.join("data"));
    Running::start(command.arg("--to").arg(format!("file:{}", folder.join("out").display())), 1)
}

/// Exit code, standard output, standard error.
fn captures(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    captures_of("pages", folder, arguments)
}

fn captures_of(id: &str, folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = forebay();
    command.arg("captures").args(arguments).arg("--data-dir").arg(folder.join("data")).args(["--id", id]);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn captured_token_is_let_in_and_shown_once() {
    let folder = tempfile::tempdir().unwrap();
    let running = run(folder.path());
    let handshake = |token: &str| {
        let body = format!(r#"{{"verification_token":"{token}"}}"#);
        post(&running.urls[0], &[("content-type", "application/json")], body.as_bytes()).unwrap().0
    };
    eventually("the instructions name the command", || {
        running.said().contains("forebay captures open --id pages")
    });
    assert_eq!(handshake("secret_of_an_attacker"), 403, "nobody expects it");
    assert!(running.said().contains("capture_refused"), "{}", running.said());
    let (code, _, said) = captures(folder.path(), &["show", "subscription.token"]);
    assert!(code == Some(2) && said.contains("forebay captures open"), "{said}");

    let (code, said, _) = captures(folder.path(), &["open", "--for", "5m"]);
    assert!(code == Some(0) && said.contains("let in until"), "{said}");
    assert_eq!(handshake(TOKEN), 200);
    assert_eq!(handshake(TOKEN), 200, "the same again is answered alike");
    assert_eq!(handshake("secret_of_an_attacker"), 403, "a window takes one value");
    let (_, said, _) = captures(folder.path(), &["list"]);
    assert!(said.contains("subscription.token  captured") && !said.contains(TOKEN), "{said}");

    assert_eq!(
        captures(folder.path(), &["show", "subscription.token"]),
        (Some(0), format!("{TOKEN}\n"), String::new())
    );
    let (code, said, error) = captures(folder.path(), &["show", "subscription.token"]);
    assert!(code == Some(2) && said.is_empty() && error.contains("--again"), "{said}{error}");
    let (code, said, _) = captures(folder.path(), &["show", "subscription.token", "--again"]);
    assert_eq!((code, said), (Some(0), format!("{TOKEN}\n")));
    assert!(!running.said().contains(TOKEN), "the log shows the key");
    assert!(running.stop().success());

    // What is kept is known after a restart, and the window is over once it is closed.
    assert_eq!(captures(folder.path(), &["close"]).0, Some(0));
    let running = run(folder.path());
    let body = r#"{"verification_token":"secret_of_an_attacker"}"#;
    assert_eq!(post(&running.urls[0], &[], body.as_bytes()).unwrap().0, 403);
    let (_, said, _) = captures(folder.path(), &["list"]);
    assert!(!said.contains("let in"), "{said}");
}

#[test]
fn renamed_instance_keeps_captured_values_and_the_open_window() {
    let folder = tempfile::tempdir().unwrap();
    let running = run(folder.path());
    assert_eq!(captures(folder.path(), &["open", "--for", "1h"]).0, Some(0));
    let body = format!(r#"{{"verification_token":"{TOKEN}"}}"#);
    assert_eq!(post(&running.urls[0], &[], body.as_bytes()).unwrap().0, 200);
    assert!(running.stop().success());
    let mut rename = forebay();
    rename.args(["instances", "rename", "pages", "wiki", "--data-dir"]).arg(folder.path().join("data"));
    let output = rename.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (_, said, _) = captures_of("wiki", folder.path(), &["list"]);
    assert!(said.contains("subscription.token  captured") && said.contains("let in until"), "{said}");
    let (code, said, _) = captures_of("wiki", folder.path(), &["show", "subscription.token"]);
    assert_eq!((code, said), (Some(0), format!("{TOKEN}\n")));
    let (_, said, error) = captures(folder.path(), &["list"]);
    assert!(!said.contains("subscription.token"), "{said}{error}");
}

#[test]
fn captures_window_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    assert!(run(folder.path()).stop().success());
    for wrong in ["25h", "0s", "soon", "-5m"] {
        let (code, _, said) = captures(folder.path(), &["open", &format!("--for={wrong}")]);
        assert!(code == Some(2) && said.contains("at most 24h"), "{wrong}: {said}");
    }
}
