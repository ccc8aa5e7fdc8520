//! Promise: killed between any two steps of an operation, the next process goes on at the step after the last one
//! that was kept: nothing is made twice, nothing is left, no step is left out.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use forebay::connector::clock::SystemClock;
use forebay::connector::instance::InstanceId;
use forebay::connector::load::load;
use forebay::simulate::configure::{fill, instance};
use forebay::simulate::faults::Faults;
use forebay::simulate::vendor::Vendor;
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::support::{Running, eventually, forebay, root};

/// The points of a step, by the test that kills the process there.
pub const POINTS: &[&str] = &["provision.step-taken", "provision.step-kept"];

const PIPES: &str = "tests/provisioning/specs/pipes";
const SECRETS: [(&str, &str); 2] = [("token", "token-of-the-test"), ("password", "password-of-the-test")];
/// Steps of making both resources, the one that is left out too; and of removing them.
const MAKING: u32 = 5;
const REMOVING: u32 = 3;

/// A vendor on a port of its own that keeps the order of steps.
struct Street {
    vendor: Arc<Vendor>,
    base: String,
    folder: TempDir,
    _stop: watch::Sender<bool>,
}

impl Street {
    async fn open() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        let connector = Arc::new(load(&root().join(PIPES)).unwrap());
        let settings = json!({"base": base}).as_object().unwrap().clone();
        let secrets = SECRETS.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let filled = fill(&connector, settings, secrets, true).unwrap();
        let id = InstanceId::parse("pipes").unwrap();
        let instance = instance(connector, id, filled, "the test").unwrap();
        let instance = instance.at_base(&"https://forebay.example".parse().unwrap()).unwrap();
        let vendor = Vendor::new(Arc::new(instance), Arc::new(SystemClock), Faults::none(), None).unwrap();
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(vendor.clone().serve(listener, stopped));
        Self { vendor, base, folder: tempfile::tempdir().unwrap(), _stop: stop }
    }

    fn command(&self, verb: &str, points: &str) -> Command {
        let data: &Path = self.folder.path();
        let mut command = forebay();
        command.args([verb, PIPES, "--allow-loopback", "--public-url", "https://forebay.example"]);
        command.arg("--set").arg(format!("base={}", self.base)).arg("--data-dir").arg(data.join("data"));
        for (name, value) in SECRETS {
            command.env(format!("FOREBAY_SECRET_{}", name.to_uppercase()), value);
        }
        command.env("FAILPOINTS", points).env("RUST_BACKTRACE", "0");
        if verb == "run" {
            command.args(["--listen", "127.0.0.1:0", "--to"]);
            command.arg(format!("file:{}", data.join("out.jsonl").display()));
        }
        command
    }

    /// Runs until it is killed there.
    fn killed(&self, verb: &str, point: &str, visit: u32) {
        let output = self.command(verb, &format!("{point}={visit}*off->return")).output().unwrap();
        assert_eq!(output.status.code(), None, "{verb} was not killed at {point}, visit {visit}");
    }
}

fn killed_everywhere(point: &'static str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for visit in 0..MAKING {
        let street = runtime.block_on(Street::open());
        street.killed("run", point, visit);
        let run = Running::start(&mut street.command("run", ""), 1);
        eventually("both are there", || {
            run.said().contains("meter created") || run.said().contains("meter adopted")
        });
        assert_eq!(street.vendor.count(), 2, "killed at {point}, visit {visit}: {}", run.said());
        assert!(!run.said().contains("adopted"), "what it made itself is its own: {}", run.said());
        assert!(street.vendor.is_well().unwrap());
        assert!(run.stop().success());
        street.killed("destroy", point, visit % REMOVING);
        let destroyed = street.command("destroy", "").output().unwrap();
        assert!(destroyed.status.success(), "{}", String::from_utf8_lossy(&destroyed.stderr));
        assert_eq!(street.vendor.count(), 0, "destroy killed at {point}, visit {visit}");
    }
}

#[test]
fn a_kill_after_a_step_and_before_it_is_kept_makes_nothing_twice() {
    killed_everywhere(POINTS[0]);
}

#[test]
fn a_kill_after_a_step_is_kept_leaves_none_out() {
    killed_everywhere(POINTS[1]);
}
