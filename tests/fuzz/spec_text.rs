//! Spec loading: the specs of the repository with bytes spoiled, values exchanged between their places, nested deep,
//! with scalars of any size and with aliases.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use forebay::connector::load::{Examined, examine_source};
use forebay::spec::document::Document;
use forebay::spec::mistake::{Code, Severity};
use forebay::spec::render;
use forebay::spec::source::Source;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value as Json, json};

use super::spoil::spoiled;
use crate::receiving::stage;
use crate::support::root;

/// A spec that is right.
struct Base {
    file: PathBuf,
    name: String,
    text: String,
    values: Json,
    /// JSON Pointers to everything in it.
    places: Vec<String>,
}

static BASES: LazyLock<Vec<Base>> = LazyLock::new(|| {
    let mut files: Vec<PathBuf> = ["connectors", "tests/signers", "tests/vectors"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(root().join(folder)).unwrap())
        .map(|entry| entry.unwrap().path().join("connector.yaml"))
        .filter(|file| file.is_file())
        .collect();
    let alone = std::fs::read_dir(root().join("tests/specs")).unwrap().map(|entry| entry.unwrap().path());
    files.extend(alone.filter(|file| file.extension().is_some_and(|e| e == "yaml")));
    files.sort();
    files.into_iter().map(Base::of).collect()
});

impl Base {
    fn of(file: PathBuf) -> Self {
        let text = std::fs::read_to_string(&file).unwrap();
        let values = Document::parse(Source::new("base", &text)).0.values;
        let name = values["name"].as_str().unwrap().to_owned();
        let mut places = Vec::new();
        walk(&values, &mut String::new(), &mut places);
        Self { file, name, text, values, places }
    }
}

fn walk(value: &Json, pointer: &mut String, places: &mut Vec<String>) {
    let children: Vec<(String, &Json)> = match value {
        Json::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Json::Array(list) => list.iter().enumerate().map(|(n, value)| (n.to_string(), value)).collect(),
        _ => Vec::new(),
    };
    for (key, value) in children {
        let length = pointer.len();
        *pointer += &format!("/{}", key.replace('~', "~0").replace('/', "~1"));
        places.push(pointer.clone());
        walk(value, pointer, places);
        pointer.truncate(length);
    }
}

/// What happens to the values of a spec. Places are those of the spec as it was.
#[derive(Debug, Clone)]
enum Change {
    /// Two values stand in each other's place.
    Exchange(Index, Index),
    /// A value stands in a second place too.
    Copy(Index, Index),
    /// A map has one more key: that of another place, with its value.
    Graft(Index, Index),
    Remove(Index),
    Put(Index, Json),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        3 => (at(), at()).prop_map(|(a, b)| Change::Exchange(a, b)),
        3 => (at(), at()).prop_map(|(a, b)| Change::Copy(a, b)),
        2 => (at(), at()).prop_map(|(a, b)| Change::Graft(a, b)),
        2 => at().prop_map(Change::Remove),
        3 => (at(), odd()).prop_map(|(a, value)| Change::Put(a, value)),
    ]
}

/// Values that fit nowhere, or nearly.
fn odd() -> impl Strategy<Value = Json> {
    let long = "a{{ settings.x }}/[(~".repeat(3000);
    let deep = (0..70).fold(json!(1), |inner, _| json!({"a": [inner]}));
    prop::sample::select(vec![
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1e308),
        json!(u64::MAX),
        json!(""),
        json!([]),
        json!({}),
        json!("{{"),
        json!("{{ request.body }}"),
        json!("{{ omit }}"),
        json!("{{ secrets.key }}"),
        json!("{{ vars.a | sha256 }}"),
        json!("../../../etc/passwd"),
        json!("/dev/zero"),
        json!("."),
        json!("record.json"),
        json!("file:///etc/passwd"),
        json!("(a{1000}){1000}"),
        json!("(a*)*$"),
        json!("^(?=x)"),
        json!("99999999999d"),
        json!("5m"),
        json!("-1s"),
        json!("http://127.0.0.1:1/"),
        json!("https://u:p@[::ffff:10.0.0.1]:0/"),
        json!("/a/~2/b"),
        json!("/"),
        json!("\u{202e}\u{1b}[2J\u{0}"),
        json!({"$ref": "#"}),
        json!({"each": "/a", "unwrap": ["/b"]}),
        json!(["a", ["b"], {"c": 1}]),
        json!({"kind": "hmac"}),
        json!({"kind": "any_of", "of": []}),
        json!("200"),
        json!([200, 99, 1000, "2xx"]),
        json!(long),
        deep,
    ])
}

impl Change {
    fn on(&self, base: &Base, spec: &mut Json) {
        let place = |at: &Index| at.get(&base.places).as_str();
        let value = |at: &Index| base.values.pointer(place(at)).cloned().unwrap_or_default();
        match self {
            Self::Exchange(a, b) => {
                let (first, second) = (value(a), value(b));
                put(spec, place(a), second);
                put(spec, place(b), first);
            }
            Self::Copy(a, b) => put(spec, place(b), value(a)),
            Self::Graft(a, b) => {
                let key = place(a).rsplit('/').next().unwrap_or_default().to_owned();
                if let Some(Json::Object(map)) = spec.pointer_mut(place(b)) {
                    map.insert(key, value(a));
                }
            }
            Self::Remove(a) => {
                let (above, key) = place(a).rsplit_once('/').unwrap();
                match spec.pointer_mut(above) {
                    Some(Json::Object(map)) => drop(map.shift_remove(key)),
                    Some(Json::Array(list)) => drop(list.pop()),
                    _ => {}
                }
            }
            Self::Put(a, new) => put(spec, place(a), new.clone()),
        }
    }
}

fn put(spec: &mut Json, place: &str, value: Json) {
    if let Some(there) = spec.pointer_mut(place) {
        *there = value;
    }
}

/// YAML that is large only once it is read: nested, long, or with aliases.
fn nasty() -> impl Strategy<Value = String> {
    let size = prop::sample::select(vec![1_usize, 9, 63, 64, 65, 130, 1000, 20_000, 300_000]);
    (0..9, size).prop_map(|(kind, n)| match kind {
        0 => "[".repeat(n),
        1 => format!("{}{}", "[".repeat(n.min(3000)), "]".repeat(n.min(3000))),
        2 => format!("{}1{}", "{a: ".repeat(n.min(3000)), "}".repeat(n.min(3000))),
        3 => (0..n.min(700)).map(|depth| format!("\n{}a:", " ".repeat(depth + 1))).collect(),
        4 => format!("\"{}\"", "x".repeat(n)),
        5 => format!("|\n  {}", "{{ x }} ".repeat(n / 8)),
        6 => (1..n.min(60)).fold("&a0 [x]".to_owned(), |text, level| {
            let before = level - 1;
            format!("{text}\nx{level}: &a{level} [*a{before}, *a{before}, *a{before}]")
        }),
        7 => "- ".repeat(n),
        _ => (0..n.min(5000)).map(|key| format!("\n  k{key}: v")).collect(),
    })
}

fn specs() -> impl Strategy<Value = Vec<u8>> {
    let base = any::<Index>().prop_map(|at| at.index(BASES.len()));
    let text = base.clone().prop_map(|at| BASES[at].text.clone().into_bytes());
    let moved = (base.clone(), prop::collection::vec(change(), 1..6)).prop_map(|(at, changes)| {
        let mut spec = BASES[at].values.clone();
        changes.iter().for_each(|change| change.on(&BASES[at], &mut spec));
        spec.to_string().into_bytes()
    });
    let grown = (base, nasty(), any::<Index>()).prop_map(|(at, nasty, line)| {
        // Behind a key, or as one more at the end.
        let mut lines: Vec<String> = BASES[at].text.lines().map(str::to_owned).collect();
        let line = line.index(lines.len());
        match lines[line].split_once(": ") {
            Some((key, _)) => lines[line] = format!("{key}: {nasty}"),
            None => lines.push(format!("extra: {nasty}")),
        }
        lines.join("\n").into_bytes()
    });
    prop_oneof![4 => spoiled(text, 4), 5 => moved, 1 => grown]
}

/// The folder whose other files a spec may name.
fn home(text: &str) -> &Path {
    let named = |base: &&Base| {
        text.contains(&format!("name: {}\n", base.name))
            || text.contains(&format!("\"name\":\"{}\"", base.name))
    };
    &BASES.iter().find(named).unwrap_or(&BASES[0]).file
}

pub fn check(input: &[u8]) {
    let text = String::from_utf8_lossy(input).into_owned();
    let examined = examine_source(Source::new("connector.yaml", &text), home(&text));
    let errors = examined.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    assert_eq!(examined.connector.is_none(), errors > 0, "{errors} mistakes");
    for diagnostic in &examined.diagnostics {
        assert_ne!(diagnostic.code, Code::Ours, "{}", diagnostic.message);
        let help = diagnostic.help.as_deref().unwrap_or_default();
        assert!(
            diagnostic.message.len() + help.len() < 4000,
            "a message of {} bytes",
            diagnostic.message.len()
        );
        for text in [&diagnostic.message, help] {
            assert!(!text.chars().any(char::is_control), "{text:?} reaches the terminal");
        }
    }
    assert!(examined.diagnostics.len() <= 500, "{} diagnostics", examined.diagnostics.len());
    let shown = render::human(&examined.source, &examined.diagnostics, false);
    assert!(shown.len() < 4 << 20, "{} bytes of diagnostics", shown.len());
    work(examined);
}

/// What is still a spec can be worked with.
fn work(examined: Examined) {
    let Some(connector) = examined.connector else { return };
    let secrets: Vec<(String, &str)> =
        connector.secrets.iter().map(|secret| (secret.name.clone(), "a secret")).collect();
    let secrets: Vec<(&str, &str)> = secrets.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let instance = stage::instance(Arc::new(connector), "fuzz", &secrets);
    let Ok(endpoint) = super::endpoint(instance) else { return };
    for body in [&b""[..], b"{}", b"[{\"id\":\"1\"}]\n{", b"a=1&payload=%7B%7D", b"\xff"] {
        super::decoded(&endpoint, body);
        let request = http::Request::post(&endpoint.path).body(bytes::Bytes::copy_from_slice(body));
        super::who(&endpoint, request.unwrap()).ok();
    }
}

#[test]
fn no_spec_breaks_the_loading_of_specs() {
    super::play("specs", 150, specs, check);
}
