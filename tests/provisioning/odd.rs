//! Resources unlike a stream: one that is always there, and one with a value that only its create shows.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use forebay::error::Kind;
use forebay::provision::What;
use serde_json::json;
use tokio::sync::{Notify, watch};

use super::bench::{Bench, ENDPOINT, deeds};
use crate::tenant::Fault;

/// A bench whose tenant has the stream that is always there.
async fn bench() -> Bench {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provisioning/odd-resources");
    let mut bench = Bench::of(&folder).await;
    bench.tenant.allow(3);
    let id = bench.tenant.add(json!({"name": "theirs", "type": "http", "status": "active", "sink": {}}));
    bench.settings.insert("stream".to_owned(), json!(id));
    bench
}

fn hooks(bench: &Bench) -> usize {
    bench.tenant.streams().iter().filter(|stream| stream["sink"]["httpEndpoint"] == ENDPOINT).count()
}

#[tokio::test]
async fn a_singleton_is_updated_and_never_made_or_removed() {
    let bench = bench().await;
    assert_eq!(bench.pass().await, [What::Updated, What::Created]);
    assert_eq!(bench.written(), ["PATCH", "POST"]);
    assert_eq!(bench.pass().await, [What::Kept, What::Kept]);
    assert_eq!(deeds(&bench.provisioner().destroy(true).await.unwrap()), [What::Deleted], "the hook alone");
    assert_eq!(bench.tenant.streams()[0]["name"], "always there");
}

#[tokio::test]
async fn a_step_waits_until_its_condition_holds() {
    let bench = bench().await;
    let id = bench.settings["stream"].as_str().unwrap().to_owned();
    bench.tenant.change(&id, |stream| stream["status"] = json!("paused"));
    let provisioner = bench.provisioner();
    let activate = async {
        while bench.tenant.writes().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bench.tenant.change(&id, |stream| stream["status"] = json!("active"));
    };
    let (report, ()) = tokio::join!(provisioner.reconcile(), activate);
    assert_eq!(deeds(&report.unwrap()), [What::Updated, What::Created]);
}

#[tokio::test]
async fn one_whose_secret_nobody_knows_is_not_adopted_but_made_anew() {
    let bench = bench().await;
    let theirs =
        json!({"name": "hook", "type": "http", "status": "active", "sink": {"httpEndpoint": ENDPOINT}});
    let id = bench.tenant.add(theirs);
    assert_eq!(bench.pass().await, [What::Updated, What::Replaced]);
    assert_eq!(bench.written(), ["PATCH", "POST", "DELETE"]);
    assert_eq!(hooks(&bench), 1);
    assert!(bench.tenant.streams().iter().all(|stream| stream["id"] != id.as_str()));
    assert_eq!(bench.pass().await, [What::Kept, What::Kept]);
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_with_a_secret_in_it_is_made_anew() {
    let bench = bench().await;
    bench.tenant.inject(Fault::CutAfterCreate);
    assert_eq!(bench.provisioner().reconcile().await.unwrap_err().kind, Kind::Passing);
    assert_eq!(bench.pass().await, [What::Kept, What::Replaced]);
    assert_eq!(hooks(&bench), 1);
    assert_eq!(bench.pass().await, [What::Kept, What::Kept]);
}

#[tokio::test]
async fn what_only_a_create_shows_is_masked_in_a_plan() {
    let bench = bench().await;
    bench.pass().await;
    let id = bench.tenant.streams()[1]["id"].as_str().unwrap().to_owned();
    bench.tenant.change(&id, |stream| stream["name"] = json!("by hand"));
    let plan = bench.provisioner().plan().await.unwrap().unwrap();
    let call = &plan.resources[1].deeds[0].calls[0];
    assert!(call.contains(&id) && call.contains("\"value\": \"****\""), "{call}");
}

#[tokio::test]
async fn the_schedule_repairs_when_nudged_outlasts_faults_and_ends_with_destroy_or_shutdown() {
    let bench = Bench::start().await;
    let (stop, shutdown) = watch::channel(false);
    for _ in 0..3 {
        bench.tenant.inject(Fault::Answer(503, json!({"message": "later"})));
    }
    let provisioner = Arc::new(bench.provisioner());
    let report = provisioner.settle(shutdown.clone()).await.unwrap().unwrap();
    assert_eq!(deeds(&report), [What::Created], "after a passing fault");
    assert!(provisioner.status().borrow().checked.is_some());

    let nudge = Arc::new(Notify::new());
    let keep = |provisioner: Arc<forebay::provision::Provisioner>| {
        let (nudge, shutdown) = (nudge.clone(), shutdown.clone());
        tokio::spawn(async move { provisioner.keep(&nudge, shutdown).await })
    };
    let first = keep(provisioner.clone());
    let id = bench.only();
    bench.tenant.change(&id, |stream| stream["status"] = json!("suspended"));
    nudge.notify_one();
    tokio::time::timeout(Duration::from_secs(20), async {
        while bench.tenant.http_streams()[0]["status"] != "active" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the stream is repaired");
    bench.provisioner().destroy(false).await.unwrap();
    nudge.notify_one();
    tokio::time::timeout(Duration::from_secs(20), first).await.expect("destroy ends it").unwrap();
    assert!(provisioner.status().borrow().destroyed);
    assert_eq!(bench.tenant.http_streams().len(), 0);

    let second = keep(Arc::new(bench.provisioner()));
    stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(20), second).await.expect("a shutdown ends it").unwrap();
    let report = bench.provisioner().settle(shutdown).await.unwrap();
    assert_eq!(report, None, "and nothing is begun after it");
}

#[tokio::test]
async fn a_refusal_ends_the_first_provisioning() {
    let bench = Bench::start().await;
    bench.tenant.grant(&[]);
    let (_stop, shutdown) = watch::channel(false);
    assert_eq!(bench.provisioner().settle(shutdown).await.unwrap_err().kind, Kind::Refused);
}
