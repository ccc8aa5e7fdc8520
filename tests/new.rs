//! `forebay new`: whatever is answered, the folder validates without a warning, passes its case and its whole life, and
//! its page is fresh; nothing is overwritten, and nothing is left where it fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use forebay::call::transport::{HttpTransport, Options};
use forebay::connector::load::load;
use forebay::new::{folder, questions};
use forebay::simulate::cases;
use tempfile::TempDir;

use crate::support::{forebay, seed};

const API: &str = "https://api.acme.example/v2/webhooks";

fn run(root: &Path, words: &[&str]) -> Output {
    forebay().current_dir(root).args(words).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Every way to prove a sender, by the flags that say it.
const PROOFS: &[&[(&str, &str)]] = &[
    &[("verify", "hmac"), ("key", "forebay")],
    &[("verify", "hmac"), ("key", "vendor"), ("timestamp", "pair:t")],
    &[("verify", "token"), ("key", "forebay"), ("header", "Authorization")],
    &[("verify", "token"), ("key", "vendor")],
    &[("verify", "basic")],
    &[("verify", "public_key"), ("timestamp", "X-Time"), ("encoding", "hex")],
    &[("verify", "jwt")],
];

/// Every way to make the webhook.
const WAYS: &[&[(&str, &str)]] = &[
    &[],
    &[("api", API), ("auth", "bearer")],
    &[("api", API), ("auth", "basic")],
    &[("api", API), ("auth", "headers"), ("auth-header", "X-Acme-Key")],
    &[("api", API), ("auth", "oauth2_client_credentials")],
    &[("api", API), ("auth", "none")],
];

/// Where things stand in a body.
const SHAPES: &[&[(&str, &str)]] = &[
    &[],
    &[("each", "/data/events"), ("id", "header:X-Id"), ("time-format", "unix")],
    &[("body", "json_lines"), ("type", "header:X-Type"), ("time", "none")],
    &[("id", "none"), ("time", "none"), ("type", "none")],
    &[
        ("id", "/meta/id"),
        ("time", "/meta/at"),
        ("time-format", "unix_ms"),
        ("type", "none"),
        ("each", "/list"),
    ],
];

#[test]
fn every_way_to_prove_and_to_provision_validates_passes_and_is_documented() {
    let root = TempDir::new().unwrap();
    let (mut n, mut whole, mut cases) = (0, Vec::new(), Vec::new());
    for (p, proof) in PROOFS.iter().enumerate() {
        for (w, way) in WAYS.iter().enumerate() {
            let name = format!("way-{n}");
            // The shapes take turns, so that each meets every proof and every way.
            let shape = SHAPES[n % SHAPES.len()];
            let flags = proof.iter().chain(*way).chain(shape);
            let flags: Vec<String> =
                flags.flat_map(|(flag, value)| [format!("--{flag}"), (*value).to_owned()]).collect();
            let mut words = vec!["new", &name];
            words.extend(flags.iter().map(String::as_str));
            let output = run(root.path(), &words);
            assert_eq!(output.status.code(), Some(0), "{words:?}: {}", text(&output));
            n += 1;
            // A life takes longer than a case: each proof and each way has two.
            if w == p % WAYS.len() || w == (p + 3) % WAYS.len() {
                whole.push(format!("connectors/{name}"));
            } else {
                cases.push(format!("connectors/{name}/cases/event.yaml"));
            }
        }
    }
    let output = run(root.path(), &["validate", "connectors"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let said = text(&output);
    assert_eq!(said.lines().filter(|line| line.starts_with("ok: ")).count(), n, "{said}");
    assert!(!said.contains("warning"), "{said}");
    let output = run(root.path(), &["docs", "connectors", "--check"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    for paths in [whole, cases] {
        let output = forebay().current_dir(root.path()).arg("test").args(paths).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }
}

/// Values of each flag, of which one is taken by chance.
fn values(question: &questions::Question) -> Vec<&'static str> {
    match question.takes {
        questions::Takes::Choice(words) => words.to_vec(),
        questions::Takes::Line => {
            vec!["Acme & Sons: \"events\" #1", "Ünïcode", "yes", "a: b # c", "'"]
        }
        questions::Takes::Header if question.name == "pair" => vec!["v1", "sig"],
        questions::Takes::Header => vec!["X-Proof", "authorization"],
        questions::Takes::TimeOrNone => vec!["none", "X-Time", "pair:t"],
        questions::Takes::MarkOrNone => vec!["none", "sha256=", "v0,"],
        questions::Takes::PointerOrNone if question.name == "each" => vec!["none", "/events", "/a/b"],
        questions::Takes::PointerOrNone => vec!["none", "/at", "/meta/at", "/at_1"],
        questions::Takes::PlaceOrNone if question.name == "id" => {
            vec!["none", "/id", "/meta/id", "header:X-Id"]
        }
        questions::Takes::PlaceOrNone => vec!["none", "/type", "/meta/type", "header:X-Type"],
        questions::Takes::Url => vec!["https://login.acme.example/oauth2/v1/keys", "https://acme.example/t"],
        questions::Takes::UrlOrNone => vec!["none", API, "https://acme.example:8443/hooks"],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_by_chance_validate_and_pass_their_case() {
    let root = TempDir::new().unwrap();
    let loopback =
        Arc::new(HttpTransport::new(Options { allow_loopback: true, ..Options::default() }).unwrap());
    let mut state = seed();
    println!("PROPTEST_RNG_SEED={state}");
    for n in 0..80 {
        let mut answers = questions::Answers::new();
        let chosen = questions::answer(&format!("by-chance-{n}"), &BTreeMap::new(), |question, _| {
            // A generator by Steele and Vigna (splitmix64).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let values = values(question);
            Ok(Some(values[usize::try_from((z ^ (z >> 31)) % values.len() as u64).unwrap()].to_owned()))
        });
        answers.extend(chosen.unwrap().0);
        let place = folder::write(root.path(), &answers).unwrap_or_else(|e| panic!("{answers:#?}\n{e}"));
        let connector = Arc::new(load(&place).unwrap());
        let file = place.join("cases/event.yaml");
        let played = cases::play_file(&connector, &file, root.path(), loopback.clone()).await.unwrap();
        assert!(played.holds(), "{answers:#?}\n{played}");
    }
}

#[test]
fn nothing_is_overwritten_and_nothing_is_left_of_what_failed() {
    let root = TempDir::new().unwrap();
    let place = root.path().join("connectors/acme-events");
    // A file in the place, a folder, and a link that leads nowhere.
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("mine.txt"), "mine").unwrap();
    let output = run(root.path(), &["new", "acme-events"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("nothing was changed"), "{}", text(&output));
    std::os::unix::fs::symlink("/nowhere", root.path().join("connectors/acme-link")).unwrap();
    assert_eq!(run(root.path(), &["new", "acme-link"]).status.code(), Some(2));
    // Values inside one another are found only while it is written.
    let output = run(root.path(), &["new", "acme-other", "--id", "/a", "--time", "/a/b"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    let left: Vec<_> =
        std::fs::read_dir(root.path().join("connectors")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(std::fs::read_dir(&place).unwrap().count(), 1);
    assert!(!root.path().join("schemas").exists());
}

#[test]
fn names_and_flags_that_cannot_be_are_said() {
    let root = TempDir::new().unwrap();
    for name in ["Acme", "../acme", "a/b", "-a", "a-", "", "ä", &"a".repeat(64)] {
        let output = run(root.path(), &["new", "--", name]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output));
        assert!(text(&output).contains("is no name of a connector"), "{name}: {}", text(&output));
    }
    for (words, said) in [
        (vec!["--header", "X Y"], "--header cannot be `X Y`"),
        (vec!["--verify", "jwt", "--hash", "sha1"], "--hash says nothing here"),
        (vec!["--api", "ftp://x"], "--api cannot be `ftp://x`"),
        (vec!["--verify", "magic"], "possible values: hmac, token"),
    ] {
        let output = forebay().current_dir(root.path()).args(["new", "acme"]).args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output).contains(said), "{}", text(&output));
    }
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
}

#[test]
fn what_was_assumed_is_said_and_schemas_that_are_there_stay() {
    let root = TempDir::new().unwrap();
    std::fs::create_dir(root.path().join("schemas")).unwrap();
    std::fs::write(root.path().join("schemas/case.json"), "{}").unwrap();
    let output = run(root.path(), &["new", "acme-events", "--verify", "token", "--title", "It's ours"]);
    let said = text(&output);
    assert!(
        said.contains("assumed: --header X-Api-Key")
            && said.contains("assumed: --summary 'Receives the events of Acme as they occur.'"),
        "{said}"
    );
    assert!(!said.contains("--verify"), "a flag said so: {said}");
    assert_eq!(std::fs::read_to_string(root.path().join("schemas/case.json")).unwrap(), "{}");
    let schema = std::fs::read_to_string(root.path().join("schemas/connector.json")).unwrap();
    assert!(schema == language(), "the schema for editors is the language's");
}

fn language() -> String {
    std::fs::read_to_string(crate::support::root().join("schemas/connector.json")).unwrap()
}
