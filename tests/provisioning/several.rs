//! Several resources, several steps, what no update can change, and what the vendor does not take.

use std::path::{Path, PathBuf};

use forebay::provision::What;
use http::Method;
use serde_json::json;

use super::bench::{Bench, deeds};
use crate::tenant::Fault;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provisioning/two-resources")
}

async fn bench() -> Bench {
    let mut bench = Bench::of(&folder()).await;
    bench.settings.insert("format".to_owned(), json!("JSONLINES"));
    bench
}

#[tokio::test]
async fn resources_are_made_in_order_and_deleted_in_reverse() {
    let bench = bench().await;
    assert_eq!(bench.pass().await, [What::Created, What::Created]);
    let streams = bench.tenant.streams();
    assert_eq!(streams[0]["name"], "archive");
    assert_eq!(streams[0]["filters"], json!([{"type": "category", "name": "user.fail"}]));
    assert_eq!(streams[1]["sink"]["httpCustomHeaders"][0]["value"], streams[0]["id"]);
    assert_eq!(bench.pass().await, [What::Kept, What::Kept]);
    bench.tenant.forget_requests();
    assert_eq!(deeds(&bench.provisioner().destroy(false).await.unwrap()), [What::Deleted, What::Deleted]);
    let paths: Vec<String> = bench.tenant.writes().into_iter().map(|asked| asked.path).collect();
    for (path, stream) in paths.iter().zip(streams.iter().rev()) {
        assert!(path.ends_with(stream["id"].as_str().unwrap()), "{paths:?}");
    }
    assert_eq!(bench.tenant.streams().len(), 0);
    bench.tenant.assert_no_strange_request();
}

#[tokio::test]
async fn what_cannot_be_updated_is_made_new_before_the_old_one_goes() {
    let mut bench = bench().await;
    bench.tenant.allow(3);
    bench.pass().await;
    let old = bench.tenant.streams()[1]["id"].clone();
    bench.settings.insert("format".to_owned(), json!("JSONARRAY"));
    bench.tenant.forget_requests();
    assert_eq!(bench.pass().await, [What::Kept, What::Replaced]);
    assert_eq!(bench.written(), ["POST", "DELETE"]);
    let streams = bench.tenant.streams();
    assert_eq!(streams.len(), 2);
    assert_eq!(streams[1]["sink"]["httpContentFormat"], "JSONARRAY");
    assert_ne!(streams[1]["id"], old);
    assert_eq!(bench.pass().await, [What::Kept, What::Kept]);
}

#[tokio::test]
async fn where_the_vendor_takes_no_second_one_the_old_one_goes_first() {
    let mut bench = bench().await;
    bench.pass().await;
    bench.settings.insert("format".to_owned(), json!("JSONARRAY"));
    bench.tenant.forget_requests();
    assert_eq!(bench.pass().await, [What::Kept, What::Replaced]);
    assert_eq!(bench.written(), ["POST", "DELETE", "POST"]);
    assert_eq!(bench.tenant.streams().len(), 2);
    assert_eq!(bench.pass().await, [What::Kept, What::Kept]);
}

#[tokio::test]
async fn without_an_update_drift_makes_a_new_one_that_keeps_what_was_set_by_hand() {
    let mut bench = bench().await;
    bench.tenant.allow(3);
    bench.pass().await;
    let id = bench.tenant.streams()[0]["id"].as_str().unwrap().to_owned();
    bench.tenant.change(&id, |stream| stream["pii_config"] = json!({"log_fields": ["email"]}));
    bench.secrets.insert("monad_api_key", "another".to_owned());
    bench.tenant.forget_requests();
    // The archive is another one now, and the stream beside it is told.
    assert_eq!(bench.pass().await, [What::Replaced, What::Updated]);
    assert_eq!(bench.written(), ["POST", "PATCH", "DELETE", "PATCH"]);
    let archive = bench.tenant.streams().into_iter().find(|stream| stream["name"] == "archive").unwrap();
    assert_eq!(archive["pii_config"]["log_fields"], json!(["email"]));
    assert_eq!(bench.pass().await, [What::Kept, What::Kept]);
}

#[tokio::test]
async fn a_replacement_that_was_interrupted_is_finished() {
    let mut bench = bench().await;
    bench.tenant.allow(3);
    bench.pass().await;
    bench.settings.insert("format".to_owned(), json!("JSONARRAY"));
    for _ in 0..3 {
        let later = Fault::Answer(503, json!({"message": "later"}));
        bench.tenant.inject(Fault::On(Method::DELETE, Box::new(later)));
    }
    bench.provisioner().reconcile().await.unwrap_err();
    assert_eq!(bench.tenant.streams().len(), 3, "the new one is there, the old one too");
    assert_eq!(bench.pass().await, [What::Kept, What::Kept]);
    assert_eq!(bench.tenant.streams().len(), 2);
}

#[tokio::test]
async fn a_replacement_whose_create_was_cut_does_not_take_the_old_one_for_the_new() {
    let mut bench = bench().await;
    bench.tenant.allow(3);
    bench.pass().await;
    bench.settings.insert("format".to_owned(), json!("JSONARRAY"));
    bench.tenant.inject(Fault::CutBeforeCreate);
    bench.provisioner().reconcile().await.unwrap_err();
    *bench.clock.0.lock().unwrap() += jiff::SignedDuration::from_secs(30);
    assert_eq!(bench.pass().await, [What::Kept, What::Replaced]);
    let streams = bench.tenant.streams();
    assert_eq!(streams.len(), 2);
    assert_eq!(streams[1]["sink"]["httpContentFormat"], "JSONARRAY");
}

#[tokio::test]
async fn a_create_of_two_steps_goes_on_at_the_second() {
    let bench = bench().await;
    for _ in 0..3 {
        let later = Fault::Answer(503, json!({"message": "later"}));
        bench.tenant.inject(Fault::On(Method::PATCH, Box::new(later)));
    }
    let error = bench.provisioner().reconcile().await.unwrap_err();
    assert_eq!(error.kind, forebay::error::Kind::Passing, "{error}");
    bench.tenant.forget_requests();
    let mut rest = Vec::new();
    while rest.last() != Some(&What::Created) {
        match bench.provisioner().reconcile().await {
            Ok(report) => rest = deeds(&report),
            Err(error) => assert_eq!(error.kind, forebay::error::Kind::Passing, "{error}"),
        }
    }
    let archives: Vec<_> =
        bench.tenant.streams().into_iter().filter(|stream| stream["name"] == "archive").collect();
    assert_eq!(archives.len(), 1);
    assert_eq!(archives[0]["filters"], json!([{"type": "category", "name": "user.fail"}]));
}

#[tokio::test]
async fn an_update_that_the_vendor_does_not_take_is_not_sent_at_every_check() {
    let mut bench = bench().await;
    bench.settings.insert("priority".to_owned(), json!(true));
    bench.pass().await;
    assert_eq!(bench.pass().await, [What::Kept, What::Updated], "priority streams have filters of their own");
    bench.tenant.forget_requests();
    assert_eq!(bench.pass().await, [What::Kept, What::LeftAlone]);
    assert_eq!(bench.written(), [""; 0]);
    *bench.clock.0.lock().unwrap() += jiff::SignedDuration::from_hours(25);
    assert_eq!(bench.pass().await, [What::Kept, What::Updated], "a day later it is tried again");
}

#[tokio::test]
async fn a_generated_secret_is_made_once_and_kept() {
    let bench = bench().await;
    let first = bench.instance();
    let made = forebay::provision::secrets::ensure(&first, bench.state.clone()).await.unwrap();
    assert_eq!(made, ["made_key"]);
    let value = |instance: &forebay::connector::instance::Instance| {
        instance.secrets.read().unwrap()["made_key"].current.expose().to_owned()
    };
    assert_eq!(value(&first).len(), 43, "32 bytes in base64url");
    let second = bench.instance();
    assert!(forebay::provision::secrets::ensure(&second, bench.state.clone()).await.unwrap().is_empty());
    assert_eq!(value(&first), value(&second));
}
