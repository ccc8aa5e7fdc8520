//! Created, kept, adopted, updated, repaired, left alone, made again.

use forebay::provision::What;
use http::Method;
use serde_json::{Value as Json, json};

use super::bench::{Bench, ENDPOINT, KEY};
use crate::tenant::{ACCESS_TOKEN, Fault, eventbridge};

#[tokio::test]
async fn a_stream_is_created_once_and_kept_without_a_write() {
    let bench = Bench::start().await;
    bench.tenant.add(eventbridge());
    assert_eq!(bench.pass().await, [What::Created]);
    let created = bench.tenant.writes();
    assert_eq!(
        created[0].body,
        json!({
            "name": "auth0-log-stream",
            "sink": {
                "httpEndpoint": ENDPOINT,
                "httpContentType": "application/json",
                "httpContentFormat": "JSONLINES",
                "httpCustomHeaders": [{"header": "x-api-key", "value": KEY}],
            },
            "type": "http",
        })
    );
    bench.tenant.forget_requests();
    assert_eq!(bench.pass().await, [What::Kept]);
    let saves = *bench.state.saves.lock().unwrap();
    assert_eq!(bench.pass().await, [What::Kept]);
    assert_eq!(bench.written(), [""; 0]);
    assert_eq!(*bench.state.saves.lock().unwrap(), saves, "nothing new is nothing to write");
    bench.tenant.assert_no_strange_request();
}

#[tokio::test]
async fn one_token_serves_every_call_and_is_fetched_anew_once_when_refused() {
    let bench = Bench::start().await;
    let provisioner = bench.provisioner();
    provisioner.reconcile().await.unwrap();
    provisioner.reconcile().await.unwrap();
    assert_eq!(bench.tenant.tokens(), 1);
    bench.tenant.inject(Fault::ExpireTokens);
    provisioner.reconcile().await.unwrap();
    assert_eq!(bench.tenant.tokens(), 2);
}

#[tokio::test]
async fn an_empty_data_dir_adopts_what_is_there() {
    let mut bench = Bench::start().await;
    bench.pass().await;
    let id = bench.only();
    bench.state = Default::default();
    bench.tenant.forget_requests();
    assert_eq!(bench.pass().await, [What::Adopted]);
    assert_eq!(bench.only(), id);
    assert_eq!(bench.written(), ["PATCH"]);
    bench.tenant.forget_requests();
    assert_eq!(bench.pass().await, [What::Kept]);
    assert_eq!(bench.written(), [""; 0]);
    bench.tenant.assert_no_strange_request();
}

#[tokio::test]
async fn a_changed_key_is_drift_and_updates_even_where_secrets_are_not_shown() {
    for redacted in [false, true] {
        let mut bench = Bench::start().await;
        bench.tenant.redact(redacted);
        bench.pass().await;
        assert_eq!(bench.pass().await, [What::Kept], "a redacted secret is no drift");
        bench.secrets.insert("monad_api_key", "another-key".to_owned());
        bench.tenant.forget_requests();
        assert_eq!(bench.pass().await, [What::Updated]);
        assert_eq!(bench.written(), ["PATCH"]);
        assert_eq!(bench.tenant.http_streams()[0]["sink"]["httpCustomHeaders"][0]["value"], "another-key");
        assert_eq!(bench.pass().await, [What::Kept]);
        bench.tenant.assert_no_strange_request();
    }
}

#[tokio::test]
async fn what_a_person_set_by_hand_is_kept() {
    let mut bench = Bench::start().await;
    bench.pass().await;
    let id = bench.only();
    let pii = json!({"log_fields": ["email"], "method": "mask", "algorithm": "xxhash"});
    let filters = json!([{"type": "category", "name": "auth.login.fail"}]);
    bench.tenant.change(&id, |stream| {
        stream["pii_config"] = pii.clone();
        stream["filters"] = filters.clone();
    });
    assert_eq!(bench.pass().await, [What::Kept], "what desired does not name is no drift");
    bench.secrets.insert("monad_api_key", "another-key".to_owned());
    assert_eq!(bench.pass().await, [What::Updated]);
    bench.tenant.change(&id, |stream| stream["status"] = json!("suspended"));
    assert_eq!(bench.pass().await, [What::Repaired]);
    let stream = &bench.tenant.http_streams()[0];
    assert_eq!((&stream["pii_config"], &stream["filters"]), (&pii, &filters));
    bench.tenant.assert_no_strange_request();
}

#[tokio::test]
async fn a_suspended_stream_is_made_active_and_a_paused_one_is_left() {
    let bench = Bench::start().await;
    bench.pass().await;
    let id = bench.only();
    bench.tenant.change(&id, |stream| stream["status"] = json!("suspended"));
    bench.tenant.forget_requests();
    assert_eq!(bench.pass().await, [What::Repaired]);
    assert_eq!(bench.tenant.http_streams()[0]["status"], "active");
    assert_eq!(bench.tenant.writes()[0].body, json!({"status": "active"}));

    bench.tenant.change(&id, |stream| stream["status"] = json!("paused"));
    bench.tenant.forget_requests();
    let provisioner = bench.provisioner();
    let report = provisioner.reconcile().await.unwrap();
    assert_eq!(report.of("log_stream").collect::<Vec<_>>(), [What::LeftAlone]);
    assert!(provisioner.status().borrow().unwell.as_ref().unwrap().contains("not healthy"));
    assert_eq!(bench.written(), [""; 0]);
    assert_eq!(bench.tenant.http_streams()[0]["status"], "paused");
}

#[tokio::test]
async fn a_stream_that_is_gone_is_made_again_from_the_last_event_on() {
    let bench = Bench::start().await;
    *bench.state.latest.lock().unwrap() = Some("2026-11-22T11:00:00Z".parse().unwrap());
    assert_eq!(bench.pass().await, [What::Created]);
    assert_eq!(bench.tenant.writes()[0].body.get("startFrom"), None, "never on a first create");

    let starts = |bench: &Bench| -> Vec<Json> {
        let made = bench.tenant.writes().into_iter().filter(|asked| asked.method == "POST");
        made.map(|asked| asked.body["startFrom"].clone()).collect()
    };
    bench.tenant.remove(&bench.only());
    bench.tenant.forget_requests();
    assert_eq!(bench.pass().await, [What::Recreated]);
    assert_eq!(starts(&bench), [json!("2026-11-22T10:55:00Z")]);

    // One event dated 2099 must not skip anything.
    *bench.state.latest.lock().unwrap() = Some("2099-01-01T00:00:00Z".parse().unwrap());
    bench.tenant.remove(&bench.only());
    bench.tenant.forget_requests();
    assert_eq!(bench.pass().await, [What::Recreated]);
    assert_eq!(starts(&bench), [json!("2026-11-22T11:55:00Z")]);
    assert_eq!(bench.pass().await, [What::Kept]);
    bench.tenant.assert_no_strange_request();
}

#[tokio::test]
async fn one_that_a_person_made_again_by_hand_is_adopted_and_two_are_refused() {
    let bench = Bench::start().await;
    bench.pass().await;
    bench.tenant.remove(&bench.only());
    let by_hand = json!({
        "name": "by hand", "type": "http", "status": "active", "isPriority": false,
        "sink": {"httpEndpoint": ENDPOINT},
    });
    bench.tenant.add(by_hand.clone());
    assert_eq!(bench.pass().await, [What::Adopted]);
    assert_eq!(bench.tenant.http_streams()[0]["name"], "auth0-log-stream");

    bench.tenant.remove(&bench.only());
    let ids = [bench.tenant.add(by_hand.clone()), bench.tenant.add(by_hand)];
    let error = bench.provisioner().reconcile().await.unwrap_err();
    assert_eq!(error.kind, forebay::error::Kind::Refused);
    assert!(ids.iter().all(|id| error.to_string().contains(id)), "{error}");
}

/// Extra: the vendor's own description of the bodies, where it is there.
#[tokio::test]
async fn the_bodies_are_what_the_vendor_describes() {
    let Some(shared) = crate::support::shared() else { return };
    let text = std::fs::read_to_string(shared.join("data/auth0/log-streams.openapi.json")).unwrap();
    let document: Json = serde_json::from_str(&text).unwrap();
    let validator = |name: &str| {
        let reference = format!("#/components/schemas/{name}");
        let schema = json!({"$ref": reference, "components": document["components"]});
        jsonschema::validator_for(&schema).unwrap()
    };
    let create = validator("CreateLogStreamRequestContent");
    let update = validator("UpdateLogStreamRequestContent");
    assert!(!update.is_valid(&json!({"type": "http"})), "the description refuses something");

    let mut bench = Bench::start().await;
    *bench.state.latest.lock().unwrap() = Some("2026-11-22T11:00:00Z".parse().unwrap());
    bench.pass().await;
    bench.tenant.remove(&bench.only());
    bench.pass().await;
    let id = bench.only();
    bench.tenant.change(&id, |stream| {
        stream["status"] = json!("suspended");
        stream["pii_config"] = json!({"log_fields": ["email"], "method": "mask", "algorithm": "xxhash"});
    });
    bench.secrets.insert("monad_api_key", "another-key".to_owned());
    bench.pass().await;
    let written = bench.tenant.writes();
    // What was said to be gone is asked to go; that takes no body.
    assert_eq!(bench.written(), ["POST", "POST", "DELETE", "PATCH", "PATCH"]);
    for asked in written.into_iter().filter(|asked| asked.method != http::Method::DELETE) {
        let validator = if asked.method == http::Method::POST { &create } else { &update };
        let faults: Vec<String> = validator.iter_errors(&asked.body).map(|e| e.to_string()).collect();
        assert!(faults.is_empty(), "{}: {faults:?}", asked.text);
    }
}

#[tokio::test]
async fn an_empty_id_is_none() {
    let bench = Bench::start().await;
    let id = bench.tenant.add(json!({
        "name": "by hand", "type": "http", "status": "active", "isPriority": false,
        "sink": {"httpEndpoint": ENDPOINT},
    }));
    bench.tenant.change(&id, |stream| stream["id"] = json!(""));
    let error = bench.provisioner().reconcile().await.unwrap_err();
    assert!(error.to_string().contains("nothing to save as `id`"), "{error}");
    assert!(bench.tenant.writes().is_empty(), "{:?}", bench.tenant.writes());

    let mut bench = Bench::start().await;
    bench.settings.insert("authentication_type".into(), json!("access_token"));
    bench.secrets.insert("access_token", ACCESS_TOKEN.to_owned());
    let empty = Fault::Answer(201, json!({"id": "", "type": "http"}));
    bench.tenant.inject(Fault::On(Method::POST, Box::new(empty)));
    let error = bench.provisioner().reconcile().await.unwrap_err();
    assert!(error.to_string().contains("nothing to save as `id`"), "{error}");
}
