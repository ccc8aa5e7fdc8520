//! `forebay explain-request`: what becomes of a request is told by the receiver's own stages, with the line of the spec
//! that decided, and no secret is told.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value as Json;

use crate::support::{forebay, root};

/// Explains a request of a connector; exit code, and what it said.
fn explain(arguments: &[&str], secrets: &[(&str, &str)], request: &str) -> (i32, String) {
    let mut command = forebay();
    command.arg("explain-request").args(arguments);
    for (name, value) in secrets {
        let variable = format!("OF_{}", name.to_uppercase());
        command.args(["--secret", &format!("{name}=env:{variable}")]).env(variable, value);
    }
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(request.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), said)
}

fn auth0(key: &str, rest: &[&str], lines: &str) -> (i32, String) {
    let request = format!(
        "POST /api/v2/http/send/auth0-log-stream HTTP/1.1\nX-Api-Key: {key}\nContent-Type: application/json\n\n{lines}"
    );
    let arguments = [&["connectors/auth0-log-stream", "--set", "input_mode=manual"], rest].concat();
    explain(&arguments, &[("monad_api_key", "the-key-of-this-test")], &request)
}

/// The line number of the first line of a spec that holds a text.
fn line_of(connector: &str, text: &str) -> usize {
    let spec =
        std::fs::read_to_string(root().join(format!("connectors/{connector}/connector.yaml"))).unwrap();
    spec.lines().position(|line| line.contains(text)).unwrap() + 1
}

const LINES: &str = "{\"log_id\":\"1\",\"data\":{\"date\":\"2026-01-01T00:00:00Z\",\"type\":\"s\",\"log_id\":\"1\"}}\n\
                     {\"log_id\":\"2\",\"data\":{\"type\":\"s\"}}\n{broken\n";

#[test]
fn every_stage_of_an_accepted_request_is_told_with_its_line() {
    let (code, said) = auth0("the-key-of-this-test", &[], LINES);
    assert_eq!(code, 0, "{said}");
    for part in [
        "auth0-log-stream receives there",
        "the head alone proves who sent it",
        "1 records that pass, 2 dead letters",
        "dedupe key 1 (the id), time 2026-01-01T00:00:00Z, type s",
        "dead letter, schema: the record: \"date\" is a required property",
        "dead letter, undecodable",
        "{broken",
        "200 {\"status\":\"success\",\"count\":1,\"dead\":2}",
        "\naccepted: 1 record is delivered, and 2 dead letters\n",
    ] {
        assert!(said.contains(part), "{part:?} is not in\n{said}");
    }
    for text in ["id: /log_id", "schema: ../../schemas", "decode:", "path: /api/v2/http"] {
        let place = format!("connector.yaml:{}:", line_of("auth0-log-stream", text));
        assert!(said.contains(&place), "{text:?} is at {place}, which is not in\n{said}");
    }
}

#[test]
fn check_that_the_settings_leave_is_decided_by_the_head() {
    let request = "POST /in/generic-http HTTP/1.1\nX-Api-Key: the-key-of-this-test\n\n{\"id\":\"1\"}";
    let secrets = [("secret", "the-key-of-this-test")];
    let (code, said) = explain(&["connectors/generic-http"], &secrets, request);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("the head alone proves who sent it"), "{said}");
    let (_, said) = explain(&["connectors/generic-http", "--set", "authentication=hmac"], &secrets, request);
    assert!(said.contains("the proof takes the body"), "{said}");
}

#[test]
fn request_that_brings_only_dead_letters_is_accepted_and_exits_with_1() {
    let (code, said) = auth0("the-key-of-this-test", &[], r#"{"log_id":"r1","data":{"type":"s"}}"#);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("\naccepted, and nothing of it is delivered: 1 dead letter\n"), "{said}");
}

#[test]
fn a_refused_request_is_told_why_without_a_secret() {
    let (code, said) = auth0("another", &["--format", "json"], LINES);
    assert_eq!(code, 1, "{said}");
    let told: Json = serde_json::from_str(&said).unwrap();
    let stages = told["stages"].as_array().unwrap();
    let check = stages.iter().find(|stage| stage["data"]["reason"] == "key_wrong").unwrap();
    assert_eq!(check["stage"], "verify");
    assert_eq!(check["line"], line_of("auth0-log-stream", "equals: \"{{ secrets.monad_api_key }}\""));
    assert_eq!((told["accepted"].as_bool(), &told["reply"]["status"]), (Some(false), &401.into()));
    assert!(!said.contains("the-key-of-this-test"), "{said}");

    let (code, said) =
        explain(&["connectors/github-webhooks", "--set", "scope=orgs/a"], GITHUB, "POST /else\n\n");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("nothing is received there, but at /github/github-webhooks"), "{said}");
}

const GITHUB: &[(&str, &str)] = &[("token", "t"), ("hook_secret", "mysecret")];
/// Octokit's own vector of `{"foo":"bar"}` by `mysecret`.
const SIGNED: &str =
    "X-Hub-Signature-256: sha256=4864d2759938a15468b5df9ade20bf161da9b4f737ea61794142f3484236bda3";

fn github(rest: &[&str], body: &str) -> (i32, String) {
    let arguments = [&["connectors/github-webhooks", "--set", "scope=orgs/a"], rest].concat();
    explain(&arguments, GITHUB, body)
}

#[test]
fn a_signature_that_fails_is_explained() {
    let (code, said) = github(&["--header", SIGNED, "--header", "X-GitHub-Event: ping"], "{\"foo\":\"bar\"}");
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("rule    ping: answered"), "{said}");

    let (code, said) = github(&[], "{\"foo\":\"bar\"}");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("the request lacks the header `x-hub-signature-256`"), "{said}");

    // Editors add a line break that nobody signed.
    let (code, said) = github(&["--header", SIGNED], "{\"foo\":\"bar\"}\n");
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("signed is `{{ request.body }}`, 14 bytes of this request"), "{said}");
    assert!(said.contains("help: without the line break at the end of the file it is accepted"), "{said}");
    assert!(!said.contains("mysecret"), "{said}");
}

/// A request that was captured yesterday is looked at as of yesterday.
#[test]
fn an_old_time_of_signing_is_told_by_how_much() {
    let slack = |rest: &[&str]| {
        let arguments = [
            &[
                "connectors/slack-events",
                "--header",
                "X-Slack-Request-Timestamp: 1531420618",
                "--header",
                "X-Slack-Signature: v0=00",
            ],
            rest,
        ]
        .concat();
        explain(&arguments, &[("signing_secret", "8f742231b10e8888abcd99yyyzzz85a5")], "{}")
    };
    let (code, said) = slack(&["--at", "2018-07-12T19:36:58Z"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("it was signed 2018-07-12T18:36:58Z, 1h before 2018-07-12T19:36:58Z"), "{said}");
    assert!(said.contains("and 5m either way is taken"), "{said}");
    let (_, said) = slack(&["--at", "2018-07-12T18:37:58Z"]);
    assert!(said.contains("is no signature of this request"), "{said}");
}

/// Nothing is sent, and what a rule would call is said.
#[test]
fn nothing_is_sent_unless_it_is_asked_for() {
    let case = std::fs::read_to_string(root().join("connectors/aws-sns/cases/confirm.yaml")).unwrap();
    assert!(case.contains("receive"), "the case shows how a subscription is confirmed");
    let (code, said) = explain(
        &["connectors/aws-sns", "--set", "topic_arn=arn:aws:sns:eu-west-1:123456789012:t"],
        &[],
        "{\"Type\":\"Notification\",\"SignatureVersion\":\"2\",\"Signature\":\"AAAA\",\"SigningCertURL\":\"https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-1.pem\",\"TopicArn\":\"arn:aws:sns:eu-west-1:123456789012:t\",\"Message\":\"m\",\"MessageId\":\"1\",\"Timestamp\":\"2026-01-01T00:00:00.000Z\"}",
    );
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("is not sent: --online sends it"), "{said}");
}

#[test]
fn with_a_file_of_instances_the_one_word_is_the_request() {
    let folder = tempfile::tempdir().unwrap();
    let (file, request) = (folder.path().join("forebay.yaml"), folder.path().join("request.txt"));
    let connector = root().join("connectors/generic-http");
    let text = format!(
        "instances:\n  - {{id: one, connector: {}, secrets: {{secret: {{env: OF_SECRET}}}}}}\n",
        connector.display()
    );
    std::fs::write(&file, text).unwrap();
    std::fs::write(&request, "POST /in/one HTTP/1.1\nX-Api-Key: the key of this test\n\n{\"n\":1}").unwrap();
    let explained = |words: &[&str], input: &std::path::Path| {
        let mut command = forebay();
        command
            .args(["explain-request", "--config"])
            .arg(&file)
            .args(["--id", "one", "--at", "2026-01-01T00:00:00Z"])
            .args(words);
        command.env("OF_SECRET", "the key of this test").stdin(std::fs::File::open(input).unwrap());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, told) = explained(&[request.to_str().unwrap()], std::path::Path::new("/dev/null"));
    assert_eq!(code, Some(0), "{told}");
    assert!(told.ends_with("accepted\n"), "{told}");
    assert_eq!(explained(&["-"], &request), (code, told.clone()));
    assert_eq!(explained(&[], &request), (code, told));
}
