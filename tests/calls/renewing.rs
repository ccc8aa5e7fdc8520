//! Refresh tokens that serve once: kept before what came with them is used, never used twice, by however many
//! callers and processes, and forgotten with the secret they came from.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use forebay::call::failure::CallError;
use forebay::call::keep::{Keep, Kept, Renewing};
use forebay::call::retry::Repeat;
use forebay::connector::secret::Secret;
use forebay::error::{Error, Kind, Result};

use super::server::{Server, json as answer};
use super::vendor::Bench;
use crate::support::{forebay, root};

/// What two processes share, and what they did to it, in order.
#[derive(Default)]
struct Shelf {
    kept: Mutex<BTreeMap<String, Kept>>,
    full: AtomicBool,
    log: Mutex<Vec<String>>,
    reads: AtomicUsize,
}

#[async_trait]
impl Keep for Shelf {
    async fn read(&self, auth: &str) -> Result<Option<Kept>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        Ok(self.kept.lock().unwrap().get(auth).cloned())
    }

    async fn replace(&self, auth: &str, was: Option<&Kept>, kept: &Kept) -> Result<bool> {
        // Others come in between, as they do where a disk is written.
        tokio::task::yield_now().await;
        let mut all = self.kept.lock().unwrap();
        if kept.token.is_some() && self.full.load(Ordering::SeqCst) {
            return Err(Error::new(Kind::Io, "the disk is full"));
        }
        let same = all.get(auth) == was;
        if same {
            all.insert(auth.to_owned(), kept.clone());
            if kept.token.is_some() {
                self.log.lock().unwrap().push(format!("kept {}", kept.saved["refresh_token"]));
            }
        }
        Ok(same)
    }
}

/// A vendor that takes every refresh token once, and counts.
struct Rotating {
    server: Server,
    shelf: Arc<Shelf>,
    rotations: Arc<AtomicUsize>,
    /// Whether the token endpoint takes its time.
    /// While it is set, no request for a token is answered.
    held: Arc<AtomicBool>,
}

impl Rotating {
    async fn start() -> Self {
        let shelf = Arc::new(Shelf::default());
        let rotations = Arc::new(AtomicUsize::new(0));
        let good = Mutex::new("refresh-0".to_owned());
        let (log, count) = (shelf.clone(), rotations.clone());
        let held = Arc::new(AtomicBool::new(false));
        let hold = held.clone();
        let server = Server::start(move |seen, _| {
            if !seen.line().starts_with("POST /oauth/token") {
                let token = seen.header("authorization").unwrap_or_default().to_owned();
                log.log.lock().unwrap().push(format!("used {token}"));
                let revoked = token == "Bearer access-revoked";
                return answer(if revoked { 401 } else { 200 }, "[]");
            }
            // Not before the test says so: how fast the machine is must not matter.
            while hold.load(Ordering::SeqCst) {
                tokio::task::block_in_place(|| std::thread::sleep(Duration::from_millis(5)));
            }
            let form: BTreeMap<_, _> =
                url::form_urlencoded::parse(seen.body.as_bytes()).into_owned().collect();
            let mut good = good.lock().unwrap();
            let token = &form["refresh_token"];
            if token != &*good && !token.starts_with("given-anew") {
                return answer(400, r#"{"error":"invalid_grant"}"#);
            }
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            *good = format!("refresh-{number}");
            let body =
                format!(r#"{{"access_token":"access-{number}","expires_in":1000,"refresh_token":"{good}"}}"#);
            answer(200, &body)
        })
        .await;
        Self { server, shelf, rotations, held }
    }

    /// A process that uses the same state.
    fn process(&self) -> Bench {
        let bench = Bench::of("tests/calls/auths", self.server.at, "refresh", &[]);
        bench.instance.set_secret("refresh_token", Secret::new("refresh-0").unwrap());
        bench.caller.keep(&bench.instance.id, self.shelf.clone());
        bench
    }

    fn rotations(&self) -> usize {
        self.rotations.load(Ordering::SeqCst)
    }
}

#[tokio::test]
async fn a_rotated_token_is_kept_before_what_came_with_it_is_used() {
    let vendor = Rotating::start().await;
    let one = vendor.process();
    one.call("find", Repeat::Safe).await.unwrap();
    one.clock.forward(950);
    one.call("find", Repeat::Safe).await.unwrap();
    let log = vendor.shelf.log.lock().unwrap().clone();
    let order = ["kept \"refresh-1\"", "used Bearer access-1", "kept \"refresh-2\"", "used Bearer access-2"];
    assert_eq!(log, order);
}

/// A request that is dropped, or a pass that is given up, must not take a new refresh token with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_call_loses_no_rotated_token() {
    let vendor = Rotating::start().await;
    let one = vendor.process();
    vendor.held.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let dropped = tokio::time::timeout(Duration::from_millis(40), one.call("find", Repeat::Safe)).await;
        assert!(dropped.is_err(), "it was answered too soon");
    }
    vendor.held.store(false, Ordering::SeqCst);
    one.caller.finish(Duration::from_secs(10)).await;
    assert_eq!(
        *vendor.shelf.log.lock().unwrap(),
        ["kept \"refresh-1\""],
        "the fetch went on without its caller"
    );
    one.call("find", Repeat::Safe).await.unwrap();
    assert_eq!(vendor.rotations(), 1, "one fetch served all");
}

#[tokio::test]
async fn a_token_that_cannot_be_kept_is_not_used() {
    let vendor = Rotating::start().await;
    vendor.shelf.full.store(true, Ordering::SeqCst);
    let one = vendor.process();
    let error = one.call("find", Repeat::Safe).await.map(|_| ()).unwrap_err();
    assert!(matches!(&error, CallError::Render(error) if error.sentence.contains("full")), "{error:?}");
    assert!(vendor.shelf.log.lock().unwrap().is_empty(), "the token was used");
    // What nobody else has any more is kept as soon as it can be.
    vendor.shelf.full.store(false, Ordering::SeqCst);
    one.call("find", Repeat::Safe).await.unwrap();
    assert_eq!(vendor.rotations(), 1);
    assert_eq!(*vendor.shelf.log.lock().unwrap(), ["kept \"refresh-1\"", "used Bearer access-1"]);
}

#[tokio::test]
async fn the_next_process_goes_on_with_what_is_kept() {
    let vendor = Rotating::start().await;
    vendor.process().call("find", Repeat::Safe).await.unwrap();
    // A token that is good still is not renewed: for some vendors that would end the one before.
    let next = vendor.process();
    next.call("find", Repeat::Safe).await.unwrap();
    assert_eq!(vendor.rotations(), 1);
    next.clock.forward(950);
    next.call("find", Repeat::Safe).await.unwrap();
    assert_eq!(vendor.rotations(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_in_two_processes_rotate_once() {
    let vendor = Rotating::start().await;
    let processes = [vendor.process(), vendor.process()];
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..40 {
        let bench = &processes[n % 2];
        let (caller, instance) = (bench.caller.clone(), bench.instance.clone());
        calls.spawn(async move {
            let find = &instance.connector.provision.as_ref().unwrap().resources[0].find;
            let scope = instance.scope();
            let call = &find.as_ref().unwrap().call;
            caller.call(&instance, call, &scope, Repeat::Safe).await.map(|_| ())
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap();
    }
    assert_eq!(vendor.rotations(), 1);
}

#[tokio::test]
async fn what_another_process_began_is_waited_for_and_then_taken_over() {
    let vendor = Rotating::start().await;
    let one = vendor.process();
    one.call("find", Repeat::Safe).await.unwrap();
    // Another process took its turn, and died.
    let until_seconds = 1_800_000_000 + 950 + 60;
    let renewing = Some(Renewing { by: "another".to_owned(), until_seconds });
    {
        let mut kept = vendor.shelf.kept.lock().unwrap();
        let kept = kept.get_mut("refresh").unwrap();
        (kept.token, kept.renewing) = (None, renewing);
    }
    one.clock.forward(950);
    let (caller, instance, clock) = (one.caller.clone(), one.instance.clone(), one.clock.clone());
    let waiting = tokio::spawn(async move {
        let find = &instance.connector.provision.as_ref().unwrap().resources[0].find;
        let scope = instance.scope();
        caller.call(&instance, &find.as_ref().unwrap().call, &scope, Repeat::Safe).await.map(|_| ())
    });
    // It has looked several times, and gone on waiting.
    let before = vendor.shelf.reads.load(Ordering::SeqCst);
    while vendor.shelf.reads.load(Ordering::SeqCst) < before + 3 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!((vendor.rotations(), waiting.is_finished()), (1, false), "somebody else's turn was taken");
    clock.forward(61);
    waiting.await.unwrap().unwrap();
    assert_eq!(vendor.rotations(), 2);
}

#[tokio::test]
async fn what_was_saved_falls_with_the_secret_it_came_from() {
    let vendor = Rotating::start().await;
    let one = vendor.process();
    one.call("find", Repeat::Safe).await.unwrap();
    one.instance.set_secret("refresh_token", Secret::new("given-anew").unwrap());
    one.call("find", Repeat::Safe).await.unwrap();
    let bodies: Vec<String> = vendor.server.seen().into_iter().map(|seen| seen.body).collect();
    assert!(bodies.iter().any(|body| body.contains("refresh_token=given-anew")), "{bodies:?}");
    // A secret that has nothing to do with it leaves it standing.
    one.instance.set_secret("ec_key", Secret::new("another").unwrap());
    one.call("find", Repeat::Safe).await.unwrap();
    assert_eq!(vendor.rotations(), 2);
}

#[tokio::test]
async fn a_token_that_is_refused_is_renewed_once_and_a_kept_one_too() {
    let vendor = Rotating::start().await;
    let one = vendor.process();
    one.call("find", Repeat::Safe).await.unwrap();
    vendor.shelf.kept.lock().unwrap().get_mut("refresh").unwrap().token.as_mut().unwrap().text =
        "access-revoked".to_owned();
    vendor.process().call("find", Repeat::Safe).await.unwrap();
    assert_eq!(vendor.rotations(), 2);
}

#[tokio::test]
async fn a_refresh_token_that_is_refused_is_said_to_be_so_and_never_shown() {
    let vendor = Rotating::start().await;
    let one = vendor.process();
    one.instance.set_secret("refresh_token", Secret::new("used-up-long-ago").unwrap());
    let error = one.call("find", Repeat::Safe).await.map(|_| ()).unwrap_err();
    let text = format!("{error:?}");
    assert!(matches!(&error, CallError::Refused(f) if f.sentence == "invalid_grant"), "{text}");
    assert!(text.contains("`refresh`") && !text.contains("used-up-long-ago"), "{text}");
}

/// The process ends right after the vendor's answer was kept, and before the token was used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_between_rotation_and_use_loses_nothing() {
    let vendor = Rotating::start().await;
    let data = tempfile::tempdir().unwrap();
    std::fs::write(data.path().join("key"), "a secret of the test").unwrap();
    std::fs::write(data.path().join("refresh"), "refresh-0").unwrap();
    let (at, folder) = (vendor.server.at, data.path().to_owned());
    let command = move |verb: &str, points: &str| {
        let mut command = forebay();
        command.current_dir(root()).env("FAILPOINTS", points);
        command.args([verb, "tests/calls/auths", "--allow-loopback", "--set", "auth=refresh"]);
        command.args(["--public-url", "https://forebay.example", "--set", &format!("base_url=http://{at}")]);
        for name in ["client_id", "client_secret", "rsa_key", "ec_key", "ed_key"] {
            command.args(["--secret", &format!("{name}=file:{}", folder.join("key").display())]);
        }
        command.args(["--secret", &format!("refresh_token=file:{}", folder.join("refresh").display())]);
        command.arg("--data-dir").arg(folder.join("data"));
        command
    };
    let mut run = command("run", "auth.kept=return");
    run.args(["--listen", "127.0.0.1:0"]);
    let output = tokio::task::spawn_blocking(move || run.output().unwrap()).await.unwrap();
    assert!(output.status.code().is_none(), "not killed: {}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(vendor.rotations(), 1);
    assert!(vendor.server.lines().iter().all(|line| line.starts_with("POST /oauth/token")));
    // The next process has what the vendor knows.
    let mut plan = command("plan", "");
    let output = tokio::task::spawn_blocking(move || plan.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(vendor.rotations(), 1);
    let used = vendor.server.seen().into_iter().find(|seen| seen.line().starts_with("GET /hooks")).unwrap();
    assert_eq!(used.header("authorization"), Some("Bearer access-1"));
}
