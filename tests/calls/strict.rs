//! The stand-in's token endpoints take what the spec would send and nothing else: a stand-in that takes anything
//! proves nothing.

use std::sync::Arc;

use forebay::call::assertion::signed;
use forebay::connector::clock::SystemClock;
use forebay::connector::instance::InstanceId;
use forebay::connector::load::load;
use forebay::connector::model::{Assertion, Auth, ClientProof, Grant, TokenSource};
use forebay::simulate::configure::{self, fill};
use forebay::simulate::faults::Faults;
use forebay::simulate::vendor::Vendor;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json, json};

use crate::simulation::{self, FORM, form, secret};
use crate::support::root;

const HOST: &str = "api.vendor.example";
const TOKENS: &str = "https://api.vendor.example/oauth/token";

fn vendor(auth: &str) -> Arc<Vendor> {
    let connector = Arc::new(load(&root().join("tests/calls/auths")).unwrap());
    let mut settings = Map::new();
    settings.insert("auth".to_owned(), auth.into());
    let filled = fill(&connector, settings, Default::default(), true).unwrap();
    let id = InstanceId::parse("auths").unwrap();
    let instance = configure::instance(connector, id, filled, "the test").unwrap();
    let instance = instance.at_base(&"https://forebay.example".parse().unwrap()).unwrap();
    Vendor::new(Arc::new(instance), Arc::new(SystemClock), Faults::none(), None).unwrap()
}

fn ask(vendor: &Vendor, line: &str, headers: &[(&str, &str)], body: &str) -> (u16, Json) {
    let (method, path) = line.split_once(' ').unwrap();
    simulation::ask(vendor, method, HOST, path, headers, body)
}

fn basic(vendor: &Vendor) -> String {
    let pair = format!("{}:{}", secret(vendor, "client_id"), secret(vendor, "client_secret"));
    format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes()))
}

#[test]
fn a_refresh_token_serves_once() {
    let vendor = vendor("refresh");
    let basic = basic(&vendor);
    let refresh = |token: &str| {
        let body = form(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", token),
            ("scope", "offline_access hooks"),
        ]);
        ask(&vendor, "POST /oauth/token", &[FORM, ("authorization", &basic)], &body)
    };
    assert_eq!(refresh("somebody's").0, 400);
    let first = secret(&vendor, "refresh_token");
    let (status, answer) = refresh(&first);
    assert_eq!(status, 200, "{answer}");
    let (status, refused) = refresh(&first);
    assert_eq!((status, &refused["error"]), (400, &json!("invalid_grant")), "used twice");
    assert_eq!(refresh(answer["refresh_token"].as_str().unwrap()).0, 200);
    // Neither without the client's secret, nor with another's.
    let body = form(&[("grant_type", "refresh_token"), ("refresh_token", &first)]);
    assert_eq!(ask(&vendor, "POST /oauth/token", &[FORM], &body).1["error"], "invalid_client");
}

/// The assertion of an auth, as the spec has it.
fn assertion<'a>(vendor: &'a Vendor, auth: &str) -> &'a Assertion {
    let Auth::Token(token) = &vendor.instance().connector.auths[auth] else { panic!("{auth}") };
    match &token.source {
        TokenSource::Signed(assertion) => assertion,
        TokenSource::OAuth(oauth) => {
            match (&oauth.grant, oauth.client.as_ref().map(|client| &client.proof)) {
                (Grant::JwtBearer(assertion), _) | (_, Some(ClientProof::PrivateKey(assertion))) => assertion,
                _ => panic!("{auth}"),
            }
        }
        TokenSource::Exchange(_) => panic!("{auth}"),
    }
}

fn signed_at(vendor: &Vendor, auth: &str, added: Json, seconds: i64) -> String {
    let now = Timestamp::now().checked_add(SignedDuration::from_secs(seconds)).unwrap();
    let Json::Object(added) = added else { panic!() };
    let scope = vendor.instance().scope().with_now(now);
    signed(assertion(vendor, auth), added, &scope, now).unwrap()
}

#[test]
fn an_assertion_is_checked_in_every_part() {
    let vendor = vendor("assertion");
    let (id, secret) = (secret(&vendor, "client_id"), secret(&vendor, "client_secret"));
    let bring = |token: &str| {
        let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
        let body = form(&[
            ("grant_type", grant),
            ("assertion", token),
            ("client_id", &id),
            ("client_secret", &secret),
        ]);
        let (status, answer) = ask(&vendor, "POST /oauth/token", &[FORM], &body);
        (status, answer["error_description"].as_str().unwrap_or_default().to_owned())
    };
    let good = |number: u8| {
        signed_at(&vendor, "assertion", json!({"aud": TOKENS, "jti": format!("id-{number}")}), 0)
    };
    let one = good(1);
    assert_eq!(bring(&one).0, 200, "{:?}", bring(&one));
    assert!(bring(&one).1.contains("used before"));
    for (token, said) in [
        (signed_at(&vendor, "assertion", json!({"aud": TOKENS, "jti": "2"}), -3600), "expired"),
        (signed_at(&vendor, "assertion", json!({"aud": TOKENS, "jti": "3"}), 3600), "future"),
        (signed_at(&vendor, "assertion", json!({"aud": "https://other.example/", "jti": "4"}), 0), "`aud`"),
        (signed_at(&vendor, "assertion", json!({"jti": "5"}), 0), "`aud`"),
        (signed_at(&vendor, "assertion", json!({"aud": TOKENS, "admin": true}), 0), "`admin`"),
        (format!("{}A", good(6)), "signature"),
        (good(7).replacen('.', "e.", 1), "signature"),
        ("a.b".to_owned(), "no JSON Web Token"),
        (String::new(), "no JSON Web Token"),
    ] {
        let (status, why) = bring(&token);
        assert!(status == 400 && why.contains(said), "{status} {why:?} is not `{said}`");
    }
    // Another key of the same kind, and another algorithm with the right key.
    let stranger = self::vendor("signed");
    let foreign = signed_at(&stranger, "client_assertion", json!({"aud": TOKENS}), 0);
    assert!(bring(&foreign).1.contains("signature"));
    let unsigned = format!("{}.", one.rsplit_once('.').unwrap().0);
    assert!(bring(&unsigned).1.contains("signature"));
}

#[test]
fn a_client_shows_its_key() {
    let vendor = vendor("client_assertion");
    let id = secret(&vendor, "client_id");
    let bring = |token: &str| {
        let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let body = form(&[
            ("grant_type", "client_credentials"),
            ("client_id", &id),
            ("client_assertion_type", kind),
            ("client_assertion", token),
        ]);
        ask(&vendor, "POST /oauth/token", &[FORM], &body)
    };
    let by = |who: &str, jti: &str| {
        signed_at(&vendor, "client_assertion", json!({"iss": who, "sub": who, "jti": jti}), 0)
    };
    assert_eq!(bring(&by(&id, "1")).0, 200);
    let (status, refused) = bring(&by("somebody", "2"));
    assert_eq!((status, &refused["error"]), (401, &json!("invalid_client")), "{refused}");
    assert_eq!(bring("").0, 401);
}

#[test]
fn what_an_exchange_gave_replaces_what_was_before() {
    let vendor = vendor("rotating");
    let rotate =
        |token: &str| ask(&vendor, "POST /tokens.rotate", &[FORM], &form(&[("refresh_token", token)]));
    let first = secret(&vendor, "refresh_token");
    let (status, answer) = rotate(&first);
    assert_eq!((status, &answer["ok"]), (200, &json!(true)), "{answer}");
    assert_eq!(rotate(&first).0, 401, "used twice");
    let (status, second) = rotate(answer["refresh_token"].as_str().unwrap());
    assert_eq!(status, 200);
    // Only the token that this auth gave signs.
    let bearer = format!("Bearer {}", second["token"].as_str().unwrap());
    assert_eq!(ask(&vendor, "GET /hooks", &[("authorization", &bearer)], "").0, 200);
    assert_eq!(ask(&vendor, "GET /hooks", &[("authorization", "Bearer other")], "").0, 401);
    assert_eq!(ask(&vendor, "GET /hooks", &[], "").0, 401);
}

#[test]
fn the_call_of_an_exchange_is_signed_by_its_own_auth() {
    let vendor = vendor("installation");
    let get =
        |headers: &[(&str, &str)]| ask(&vendor, "POST /app/installations/7/access_tokens", headers, "").0;
    let version = ("x-version", "2026-01-01");
    let app = format!("Bearer {}", signed_at(&vendor, "app", json!({}), 0));
    let old = format!("Bearer {}", signed_at(&vendor, "app", json!({}), -3600));
    let long = format!("Bearer {}", signed_at(&vendor, "app", json!({"exp": 1}), 3600));
    assert_eq!(get(&[version, ("authorization", &app)]), 200);
    assert_eq!(get(&[("authorization", &app)]), 401, "without its header");
    for wrong in [&old, &long, "Bearer a.b.c"] {
        assert_eq!(get(&[version, ("authorization", wrong)]), 401);
    }
    assert_eq!(get(&[version]), 401);
}
