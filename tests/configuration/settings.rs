//! Settings and secrets by their types: text that becomes a value, and the schema of a configuration.

use forebay::error::Result;
use serde_json::json;

use super::{AUTH0, configured, folder, refused};

const TYPED: &str = r#"
forebay: 1
name: typed
title: Typed
vendor: Nobody
settings:
  code: {title: Code, type: string, pattern: "^[0-9]{5}$", description: A code.}
  count: {title: Count, type: integer, description: A number.}
  on: {title: On, type: boolean, description: A switch.}
  names: {title: Names, type: array, items: {type: string}, description: A list.}
  pause: {title: Pause, type: string, format: duration, default: 5m, description: A time.}
secrets:
  key: {title: Key, required: true, pattern: "^k-", description: A key.}
receiver:
  path: /typed
  verify: {kind: token, header: x-key, equals: "{{ secrets.key }}"}
  decode: {format: json}
  event: {id: /id}
  respond: {accepted: {status: 200}}
  sender: {success: [2xx]}
output: {schema: schema.json}
samples: [sample.json]
"#;

#[test]
fn text_is_read_by_the_settings_type() {
    let folder = folder(&[
        ("typed/connector.yaml", TYPED),
        ("typed/schema.json", "{}"),
        ("typed/sample.json", "{\"id\": 1}"),
    ]);
    let path = folder.path().join("typed").display().to_string();
    let key = ("FOREBAY_SECRET_KEY", "k-1");
    let set = |name: &str, text: &str| -> Result<serde_json::Value> {
        let made = configured(&[&path, "--set", &format!("{name}={text}")], &[key])?;
        Ok(made.instances[0].instance.settings[name].clone())
    };
    let good = |name: &str, text: &str| -> serde_json::Value { set(name, text).unwrap() };
    let bad = |name: &str, text: &str| set(name, text).unwrap_err().to_string();
    assert_eq!(good("code", "00123"), json!("00123"));
    assert_eq!(good("count", "12"), json!(12));
    assert_eq!(good("on", "true"), json!(true));
    assert_eq!(good("names", "[\"a\", \"b\"]"), json!(["a", "b"]));
    assert!(bad("code", "0012").contains("^[0-9]{5}$"));
    assert!(bad("code", "${CODE}").contains("nothing is put in its place"));
    assert!(bad("count", "1.5").contains("no integer"));
    assert!(bad("on", "yes").contains("write true or false"));
    assert!(bad("names", "a,b").contains("as JSON"));
    assert!(bad("names", "[1]").contains("does not fit"));
    assert!(bad("pause", "5 minutes").contains("is no duration"));
    let said = refused(&[&path], &[("FOREBAY_SECRET_KEY", "hush-hush")]);
    assert!(said.contains("does not match `^k-`") && !said.contains("hush-hush"), "{said}");
}

#[test]
fn two_instances_at_one_path_are_refused() {
    let folder = folder(&[
        ("typed/connector.yaml", TYPED),
        ("typed/schema.json", "{}"),
        ("typed/sample.json", "{\"id\": 1}"),
        (
            "forebay.yaml",
            "instances: [{id: a, connector: typed}, {id: b, connector: typed, settings: {code: 123}}]\n",
        ),
    ]);
    let config = folder.path().join("forebay.yaml").display().to_string();
    let keys = [("FOREBAY_SECRET_A_KEY", "k-1"), ("FOREBAY_SECRET_B_KEY", "k-2")];
    let said = refused(&["--config", &config], &keys);
    assert!(
        said.contains("b: the setting `code` must be of type string") && said.contains("put it in quotes")
    );
    std::fs::write(&config, "instances: [{id: a, connector: typed}, {id: b, connector: typed}]\n").unwrap();
    let said = refused(&["--config", &config], &keys);
    assert!(said.contains("`a` and `b` receive at the same path /typed"), "{said}");
}

#[test]
fn settings_and_secrets_become_a_schema() {
    let connector = forebay::connector::load::load(AUTH0.as_ref()).unwrap();
    let schema = forebay::connector::configuration_schema::schema(&connector);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let env = json!({"env": "X"});
    let fits = |instance: serde_json::Value| validator.is_valid(&instance);
    let automatic = json!({"input_mode": "automatic", "base_url": "https://a.example/"});
    assert!(fits(json!({"settings": {"input_mode": "manual"}})));
    assert!(!fits(json!({"settings": {}})));
    assert!(!fits(json!({"settings": {"input_mode": "automtic"}})));
    assert!(!fits(json!({"settings": {"input_mode": "manual", "base": "x"}})));
    assert!(!fits(json!({"settings": {"input_mode": "automatic"}})));
    // The default of authentication_type counts where it was not given.
    assert!(!fits(json!({"settings": automatic, "secrets": {"monad_api_key": env}})));
    assert!(fits(json!({
        "settings": automatic,
        "secrets": {"monad_api_key": env, "client_id": env, "client_secret": {"file": "x"}},
    })));
    let token = json!({"input_mode": "automatic", "base_url": "https://a.example/", "authentication_type": "access_token"});
    assert!(fits(json!({"settings": token, "secrets": {"monad_api_key": env, "access_token": env}})));
    assert!(!fits(json!({"settings": token, "secrets": {"monad_api_key": "text", "access_token": env}})));
}
