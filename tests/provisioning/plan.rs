//! What the plan says: the same as what is done, with secrets masked, and nothing written anywhere.

use forebay::provision::What;
use forebay::provision::plan::Plan;
use http::Method;
use serde_json::json;

use super::bench::{Bench, KEY};
use crate::tenant::CLIENT_SECRET;

/// Plans with a new process; fails where anything is written, or a secret is shown.
async fn plan(bench: &Bench) -> Plan {
    let saves = *bench.state.saves.lock().unwrap();
    bench.tenant.forget_requests();
    let plan = bench.provisioner().plan().await.unwrap().unwrap();
    for asked in bench.tenant.requests() {
        assert!(
            asked.method == Method::GET || asked.path == "/oauth/token",
            "{} {}",
            asked.method,
            asked.path
        );
    }
    assert_eq!(*bench.state.saves.lock().unwrap(), saves);
    let shown = format!("{plan:?}");
    for secret in [KEY, CLIENT_SECRET, "a-rotated-key", "eyJ"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    plan
}

fn deeds(plan: &Plan) -> Vec<What> {
    plan.resources.iter().flat_map(|planned| planned.deeds.iter().map(|deed| deed.what)).collect()
}

#[tokio::test]
async fn the_plan_says_what_would_be_done() {
    let mut bench = Bench::start().await;
    let first = plan(&bench).await;
    assert_eq!(deeds(&first), [What::Created]);
    assert!(first.resources[0].deeds[0].calls[0].contains("\"value\": \"****\""));
    bench.pass().await;
    assert_eq!(deeds(&plan(&bench).await), [What::Kept]);

    let id = bench.only();
    bench.tenant.change(&id, |stream| {
        stream["status"] = json!("suspended");
        stream["sink"]["httpContentFormat"] = json!("JSONARRAY");
    });
    bench.secrets.insert("monad_api_key", "a-rotated-key".to_owned());
    let drift = plan(&bench).await;
    assert_eq!(deeds(&drift), [What::Updated, What::Repaired]);
    let places: Vec<String> =
        drift.resources[0].differences.iter().map(|difference| difference.place.to_string()).collect();
    assert_eq!(places, ["/sink/httpContentFormat", "/sink/httpCustomHeaders/0/value"]);
    assert_eq!(bench.pass().await, [What::Updated, What::Repaired]);

    bench.tenant.change(&id, |stream| stream["status"] = json!("paused"));
    assert_eq!(deeds(&plan(&bench).await), [What::LeftAlone]);
    *bench.state.latest.lock().unwrap() = Some("2026-11-22T11:00:00Z".parse().unwrap());
    bench.tenant.remove(&id);
    let gone = plan(&bench).await;
    assert_eq!(deeds(&gone), [What::Recreated]);
    assert!(gone.resources[0].deeds[0].calls[0].contains("2026-11-22T10:55:00Z"));
}

#[tokio::test]
async fn a_secret_that_stands_at_the_vendor_is_neither_shown_nor_kept() {
    let mut bench = Bench::start().await;
    bench.pass().await;
    let id = bench.only();
    // The key that was ours before, which no process knows any more, and one that is somebody else's.
    let theirs = json!({"header": "authorization", "value": "their-own-word"});
    bench.tenant.change(&id, |stream| {
        stream["sink"]["httpCustomHeaders"].as_array_mut().unwrap().push(theirs);
    });
    bench.secrets.insert("monad_api_key", "a-rotated-key".to_owned());
    let shown = format!("{:?}", plan(&bench).await);
    assert!(shown.contains("httpCustomHeaders") && !shown.contains("their-own-word"), "{shown}");
    assert_eq!(bench.pass().await, [What::Updated]);
    let kept = bench.state.document.lock().unwrap().clone().unwrap().to_string();
    assert!(kept.contains("httpContentFormat"), "{kept}");
    for secret in [KEY, "a-rotated-key", "their-own-word"] {
        assert!(!kept.contains(secret), "{secret} in {kept}");
    }
}

#[tokio::test]
async fn the_plan_of_an_adoption_shows_what_differs() {
    let bench = Bench::start().await;
    let id = bench.tenant.add(json!({
        "name": "by hand", "type": "http", "status": "active", "isPriority": false,
        "sink": {"httpEndpoint": super::bench::ENDPOINT},
    }));
    let adoption = plan(&bench).await;
    assert_eq!(deeds(&adoption), [What::Adopted]);
    assert_eq!(adoption.resources[0].differences[0].current, Some(json!("by hand")));
    assert!(adoption.resources[0].deeds[0].calls[0].contains(&id), "the id is known from `find`");
}

#[tokio::test]
async fn the_plan_compares_the_scopes_of_the_token_with_those_needed() {
    let bench = Bench::start().await;
    bench.tenant.grant(&["read:log_streams", "update:log_streams"]);
    let plan = plan(&bench).await;
    assert_eq!(plan.missing(), ["create:log_streams", "delete:log_streams"]);
    bench.tenant.grant(&["update:log_streams"]);
    let plan = bench.provisioner().plan().await.unwrap().unwrap();
    assert!(plan.trouble.as_ref().unwrap().to_string().contains("Insufficient scope"));
    assert_eq!(plan.missing().len(), 3);
}

#[tokio::test]
async fn what_depends_on_what_is_not_there_is_planned_with_names_in_its_place() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/provisioning/two-resources");
    let mut bench = Bench::of(&folder).await;
    bench.settings.insert("format".to_owned(), json!("JSONLINES"));
    let plan = plan(&bench).await;
    assert_eq!(deeds(&plan), [What::Created, What::Created]);
    assert!(plan.resources[1].deeds[0].calls[0].contains("{archive.id}"));
}
