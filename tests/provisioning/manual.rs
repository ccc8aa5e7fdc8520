//! Manual mode: a person gets the finished curl.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use forebay::connector::instance::Instance;
use forebay::connector::secret::{LiveSecret, Secret};
use forebay::provision::manual::{Keys, instructions};
use serde_json::json;

use super::bench::{Bench, KEY};

async fn manual(url: bool) -> Instance {
    let mut bench = Bench::start().await;
    bench.settings = json!({"input_mode": "manual", "authentication_type": "client_credentials"})
        .as_object()
        .unwrap()
        .clone();
    bench.secrets.retain(|name, _| *name == "monad_api_key");
    assert!(!bench.provisioner().is_automatic().unwrap());
    let mut instance = Arc::into_inner(bench.instance()).unwrap();
    if !url {
        instance.receiver_url = None;
    }
    instance
}

#[tokio::test]
async fn at_a_terminal_the_curl_has_the_key() {
    let text = instructions(&manual(true).await, Keys::InClear).unwrap();
    insta::assert_snapshot!(text);
    assert!(text.contains(KEY));
}

#[tokio::test]
async fn elsewhere_a_key_that_was_given_is_written_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let text = instructions(&manual(false).await, Keys::InFiles(folder.path())).unwrap();
    assert!(!text.contains(KEY) && text.contains("YOUR-MONAD-API-KEY"), "{text}");
    assert!(text.contains("put the secret `monad_api_key`, which you gave this instance"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn elsewhere_a_generated_key_stands_in_a_file_that_the_curl_reads() {
    let folder = tempfile::tempdir().unwrap();
    let instance = manual(false).await;
    let generated = LiveSecret { generated: true, ..LiveSecret::new(Secret::new(KEY).unwrap()) };
    instance.set_secrets([("monad_api_key".to_owned(), generated)]);
    let text = instructions(&instance, Keys::InFiles(folder.path())).unwrap();
    assert!(!text.contains(KEY), "{text}");
    assert!(text.contains("no public https URL"), "{text}");
    let path = folder.path().join("auth0-log-stream-monad_api_key.key");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), KEY);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // A shell makes the finished body of it.
    let start = text.find("curl ").unwrap();
    let command = text[start..].split("\n\n").next().unwrap();
    let command = format!("curl() {{ for last; do :; done; printf %s \"$last\"; }}\n{command}");
    let made = std::process::Command::new("sh").arg("-c").arg(command).output().unwrap();
    let body: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(body["sink"]["httpCustomHeaders"][0]["value"], KEY);
}
