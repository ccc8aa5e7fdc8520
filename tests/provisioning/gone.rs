//! Promise: what the vendor says is gone stays known until another stands in its place. A wrong answer loses
//! nothing, wherever the process ends; what was removed once is not removed again, and nothing else ever is.

use forebay::error::Kind;
use forebay::provision::What;
use serde_json::{Value as Json, json};

use super::bench::{Bench, deeds};
use crate::tenant::{Asked, Fault};

fn on(method: &str, status: u16, body: Json) -> Fault {
    Fault::On(method.parse().unwrap(), Box::new(Fault::Answer(status, body)))
}

fn not_there() -> Json {
    json!({"statusCode": 404, "error": "Not Found", "message": "The log stream does not exist."})
}

/// The stream is there, and the tenant says of it once that it is not.
async fn said_gone() -> (Bench, String) {
    let bench = Bench::start().await;
    bench.tenant.allow(3);
    bench.pass().await;
    let id = bench.only();
    bench.tenant.forget_requests();
    bench.tenant.inject(on("GET", 404, not_there()));
    (bench, id)
}

/// The same, and a pass that ends after it has heard that, before it finds or makes anything.
async fn in_between() -> (Bench, String) {
    let (bench, id) = said_gone().await;
    for _ in 0..3 {
        bench.tenant.inject(on("GET", 503, json!({"message": "later"})));
    }
    let error = bench.provisioner().reconcile().await.unwrap_err();
    assert_eq!(error.kind, Kind::Passing, "{error}");
    bench.tenant.forget_requests();
    (bench, id)
}

fn ids(bench: &Bench) -> Vec<String> {
    bench.tenant.http_streams().iter().map(|stream| stream["id"].as_str().unwrap().to_owned()).collect()
}

fn removals(bench: &Bench) -> Vec<String> {
    let removals = bench.tenant.writes().into_iter().filter(|asked: &Asked| asked.method == "DELETE");
    removals.map(|asked| asked.path.rsplit('/').next().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn destroy_removes_what_only_seemed_to_be_gone() {
    let (bench, id) = in_between().await;
    assert_eq!(deeds(&bench.provisioner().destroy(false).await.unwrap()), [What::Deleted]);
    assert_eq!((ids(&bench), removals(&bench)), (vec![], vec![id]));
    bench.tenant.forget_requests();
    assert_eq!(deeds(&bench.provisioner().destroy(false).await.unwrap()), []);
    assert_eq!(bench.tenant.requests().len(), 0, "what is removed is forgotten");
}

#[tokio::test]
async fn destroy_is_done_where_it_was_gone_indeed() {
    let (bench, id) = in_between().await;
    bench.tenant.remove(&id);
    bench.tenant.inject(on("DELETE", 410, not_there()));
    assert_eq!(deeds(&bench.provisioner().destroy(false).await.unwrap()), [What::AlreadyGone]);
    assert_eq!(bench.pass().await, [What::Created]);
}

#[tokio::test]
async fn destroy_says_where_the_vendor_refuses_to_remove_what_is_gone() {
    let (bench, _) = in_between().await;
    bench.tenant.inject(on("DELETE", 400, json!({"message": "no such stream"})));
    let report = bench.provisioner().destroy(false).await.unwrap();
    assert_eq!(deeds(&report), [What::LeftAlone]);
    assert!(report.deeds[0].why.contains("no such stream"), "{}", report.deeds[0].why);
    // What passes is to be tried again, and nothing is forgotten until then.
    let (bench, id) = in_between().await;
    for _ in 0..3 {
        bench.tenant.inject(on("DELETE", 503, json!({"message": "later"})));
    }
    assert_eq!(bench.provisioner().destroy(false).await.unwrap_err().kind, Kind::Passing);
    assert_eq!(deeds(&bench.provisioner().destroy(false).await.unwrap()), [What::Deleted]);
    assert!(removals(&bench).iter().all(|removed| *removed == id));
}

#[tokio::test]
async fn what_comes_back_is_still_our_own() {
    // In the same pass, as `find` lists it, and in the next one, of a new process.
    for (bench, id) in [said_gone().await, in_between().await] {
        assert_eq!(bench.pass().await, [What::Kept]);
        assert_eq!(bench.written(), [""; 0]);
        assert_eq!(bench.only(), id);
        assert_eq!(bench.pass().await, [What::Kept]);
        assert_eq!(deeds(&bench.provisioner().destroy(false).await.unwrap()), [What::Deleted], "not adopted");
        assert_eq!(removals(&bench), [id]);
    }
}

#[tokio::test]
async fn a_list_that_shows_what_is_said_to_be_gone_is_not_believed() {
    let (bench, _) = said_gone().await;
    bench.tenant.forget_faults();
    bench.tenant.inject(on("GET", 404, not_there()));
    bench.tenant.inject(on("GET", 200, bench.tenant.http_streams().into()));
    bench.tenant.inject(on("GET", 404, not_there()));
    let error = bench.provisioner().reconcile().await.unwrap_err();
    assert_eq!(error.kind, Kind::Passing);
    assert!(error.to_string().contains("`find` lists it"), "{error}");
    assert_eq!(bench.written(), [""; 0]);
    assert_eq!(bench.pass().await, [What::Kept]);
}

#[tokio::test]
async fn what_is_gone_indeed_is_asked_to_go_once() {
    let (bench, id) = said_gone().await;
    bench.tenant.forget_faults();
    bench.tenant.remove(&id);
    assert_eq!(bench.pass().await, [What::Recreated]);
    assert_eq!(removals(&bench), [id.as_str()]);
    assert_eq!(bench.pass().await, [What::Kept]);
    assert_eq!(removals(&bench), [id.as_str()]);
    let new = bench.only();
    assert_eq!(deeds(&bench.provisioner().destroy(false).await.unwrap()), [What::Deleted]);
    assert_eq!(removals(&bench), [id, new]);
}

#[tokio::test]
async fn what_was_there_all_along_goes_when_another_stands_in_its_place() {
    let (bench, id) = said_gone().await;
    bench.tenant.inject(on("GET", 200, json!([])));
    assert_eq!(bench.pass().await, [What::Recreated]);
    assert_eq!(removals(&bench), [id.as_str()]);
    assert_ne!(bench.only(), id);
    assert_eq!(bench.pass().await, [What::Kept]);
}

#[tokio::test]
async fn one_that_cannot_be_removed_is_tried_once_and_again_by_destroy() {
    for (status, tries) in [(403, 1), (503, 3)] {
        let (bench, id) = said_gone().await;
        bench.tenant.inject(on("GET", 200, json!([])));
        for _ in 0..tries {
            bench.tenant.inject(on("DELETE", status, json!({"message": "not now"})));
        }
        assert_eq!(bench.pass().await, [What::Recreated], "the new one is what counts");
        assert_eq!(bench.pass().await, [What::Kept]);
        assert_eq!(removals(&bench), vec![id.clone(); tries]);
        assert_eq!(ids(&bench).len(), 2);
        bench.provisioner().destroy(false).await.unwrap();
        assert_eq!(ids(&bench), [""; 0]);
    }
}

#[tokio::test]
async fn a_new_one_of_the_same_id_is_not_removed() {
    let (bench, id) = said_gone().await;
    let same = bench.tenant.http_streams()[0].clone();
    bench.tenant.inject(on("GET", 200, json!([])));
    bench.tenant.inject(on("POST", 200, same));
    assert_eq!(bench.pass().await, [What::Recreated]);
    assert_eq!(bench.pass().await, [What::Kept]);
    assert_eq!((bench.only(), removals(&bench)), (id.clone(), vec![]));
    assert_eq!(deeds(&bench.provisioner().destroy(false).await.unwrap()), [What::Deleted]);
    assert_eq!(removals(&bench), [id]);
}

#[tokio::test]
async fn what_was_adopted_and_seemed_to_be_gone_stays() {
    let (mut bench, id) = said_gone().await;
    bench.tenant.forget_faults();
    bench.state = Default::default();
    assert_eq!(bench.pass().await, [What::Adopted]);
    bench.tenant.inject(on("GET", 404, not_there()));
    bench.tenant.inject(on("GET", 200, json!([])));
    assert_eq!(bench.pass().await, [What::Recreated]);
    assert_eq!(deeds(&bench.provisioner().destroy(false).await.unwrap()), [What::Deleted]);
    assert_eq!(ids(&bench), [id], "it was there before this instance");
}

/// Killed before every single write of the state: the next process has one stream in the end, and `destroy`
/// leaves none, at once or after that.
#[tokio::test]
async fn nothing_is_left_wherever_the_process_is_killed() {
    for destroyed_at_once in [true, false] {
        for saves in 0.. {
            let (bench, _) = said_gone().await;
            bench.tenant.inject(on("GET", 200, json!([])));
            *bench.state.left.lock().unwrap() = Some(saves);
            let killed = bench.provisioner().reconcile().await.is_err();
            *bench.state.left.lock().unwrap() = None;
            bench.tenant.forget_faults();
            if !destroyed_at_once {
                *bench.clock.0.lock().unwrap() += jiff::SignedDuration::from_secs(30);
                bench.pass().await;
                bench.only();
            }
            bench.provisioner().destroy(false).await.unwrap();
            assert_eq!(ids(&bench), [""; 0], "killed before write {saves}, {destroyed_at_once}");
            if !killed {
                assert!(saves > 3, "there were that many writes: {saves}");
                break;
            }
        }
    }
}
