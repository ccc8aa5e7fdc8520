//! The end: what was created goes, what was there stays unless a person says so, and `run` notices.

use forebay::provision::What;

use super::bench::{Bench, deeds};
use crate::tenant::{Fault, eventbridge};

#[tokio::test]
async fn destroy_removes_what_was_created_and_nothing_else() {
    let bench = Bench::start().await;
    bench.tenant.add(eventbridge());
    bench.pass().await;
    let report = bench.provisioner().destroy(false).await.unwrap();
    assert_eq!(deeds(&report), [What::Deleted]);
    assert_eq!(bench.tenant.streams().len(), 1, "the other one is not ours");
    bench.tenant.forget_requests();
    assert_eq!(deeds(&bench.provisioner().destroy(false).await.unwrap()), []);
    assert_eq!(bench.tenant.requests().len(), 0, "there is nothing to ask for");
}

#[tokio::test]
async fn destroy_leaves_what_was_adopted_unless_it_is_told() {
    let mut bench = Bench::start().await;
    bench.pass().await;
    bench.state = Default::default();
    bench.pass().await;
    assert_eq!(deeds(&bench.provisioner().destroy(false).await.unwrap()), [What::LeftAlone]);
    assert_eq!(bench.tenant.http_streams().len(), 1);
    assert_eq!(deeds(&bench.provisioner().destroy(true).await.unwrap()), [What::Deleted]);
    assert_eq!(bench.tenant.http_streams().len(), 0);
}

#[tokio::test]
async fn what_is_gone_already_is_destroyed() {
    let bench = Bench::start().await;
    bench.pass().await;
    bench.tenant.remove(&bench.only());
    let gone = serde_json::json!({"statusCode": 404, "error": "Not Found", "message": "no such stream"});
    bench.tenant.inject(Fault::Answer(404, gone));
    assert_eq!(deeds(&bench.provisioner().destroy(false).await.unwrap()), [What::AlreadyGone]);
    assert_eq!(bench.pass().await, [What::Created], "and it is a first create again");
    assert_eq!(bench.tenant.writes().last().unwrap().body.get("startFrom"), None);
}

#[tokio::test]
async fn run_notices_a_destroy_and_makes_nothing_anew() {
    let bench = Bench::start().await;
    let run = bench.provisioner();
    run.reconcile().await.unwrap();
    bench.provisioner().destroy(false).await.unwrap();
    bench.tenant.forget_requests();
    let report = run.reconcile().await.unwrap();
    assert!(report.destroyed && run.status().borrow().destroyed);
    assert_eq!(bench.tenant.requests().len(), 0);
    assert_eq!(bench.tenant.http_streams().len(), 0);
    assert_eq!(bench.pass().await, [What::Created], "a new run is wanted");
}

#[tokio::test]
async fn a_create_on_its_way_while_destroy_runs_leaves_nothing_behind() {
    let bench = Bench::start().await;
    bench.tenant.inject(Fault::SlowCreate(std::time::Duration::from_millis(400)));
    let run = bench.provisioner();
    let creating = async { run.reconcile().await.unwrap() };
    let destroying = async {
        while bench.tenant.http_streams().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        bench.provisioner().destroy(false).await.unwrap()
    };
    let (report, _) = tokio::join!(creating, destroying);
    assert!(report.destroyed);
    assert_eq!(bench.tenant.http_streams().len(), 0);
}

#[tokio::test]
async fn a_create_that_ends_after_destroy_is_undone() {
    let bench = Bench::start().await;
    bench.tenant.inject(Fault::LateCreate(std::time::Duration::from_millis(600)));
    let run = bench.provisioner();
    let creating = async { run.reconcile().await.unwrap() };
    let destroying = async {
        // The token and the look are over: the create is on its way.
        while bench.tenant.requests().len() < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        bench.provisioner().destroy(false).await.unwrap()
    };
    let (report, destroyed) = tokio::join!(creating, destroying);
    assert_eq!(deeds(&destroyed), [], "destroy saw nothing yet");
    assert!(report.destroyed);
    assert_eq!(bench.written(), ["POST", "DELETE"]);
    assert_eq!(bench.tenant.http_streams().len(), 0);
}
