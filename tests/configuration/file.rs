//! The configuration file: several instances, secrets that are read again, and where it is wrong.

use std::collections::BTreeSet;

use forebay::connector::secret::{LiveSecret, Secret};
use forebay::connector::template::{Scope, Text};
use forebay::deliver::config::Target;

use super::{AUTH0, configured, folder, refused};

fn many(folder: &tempfile::TempDir) -> String {
    let text = format!(
        "receiver: {{listen: 0.0.0.0:8443, public_url: https://logs.example.com, limits: {{body: 8MiB, idle: 90s}}}}
queue: {{max_bytes: 2GiB, dedupe: {{count: 500, age: 12h}}}}
instances:
- id: acme
  connector: {AUTH0}
  settings: {{input_mode: automatic, base_url: https://acme.us.auth0.com/}}
  secrets: {{client_id: {{env: ACME_ID}}, client_secret: {{file: secret}}}}
  sinks:
  - {{name: archive, file: {{path: acme.jsonl, rotate: {{size: 1GiB, every: 24h}}}}}}
  - {{name: siem, http: {{url: \"https://siem.example.com/in\", headers: {{authorization: {{env: SIEM}}}}, batch: {{count: 7, bytes: 5MiB, age: 2s}}}}}}
- id: globex-eu
  connector: {AUTH0}
  settings: {{input_mode: manual}}
"
    );
    std::fs::write(folder.path().join("forebay.yaml"), text).unwrap();
    std::fs::write(folder.path().join("secret"), "hush-hush\n").unwrap();
    folder.path().join("forebay.yaml").display().to_string()
}

const MANY: &[(&str, &str)] = &[
    ("ACME_ID", "id"),
    ("SIEM", "Bearer x"),
    ("FOREBAY_SECRET_ACME_MONAD_API_KEY", "acme-key"),
    ("FOREBAY_SECRET_GLOBEX_EU_MONAD_API_KEY", "globex-key"),
];

#[test]
fn several_instances_have_secrets_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let config = many(&folder);
    let made = configured(&["--config", &config], MANY).unwrap();
    let key = |index: usize| {
        let secrets = made.instances[index].instance.secrets.read().unwrap().clone();
        secrets["monad_api_key"].current.expose().to_owned()
    };
    assert_eq!((key(0), key(1)), ("acme-key".to_owned(), "globex-key".to_owned()));
    assert_eq!(made.receive.body, 8 << 20);
    assert_eq!(made.receive.idle.as_secs(), 90);
    assert_eq!(made.queue.max_bytes, 2 << 30);
    assert_eq!(made.queue.dedupe_count, 500);
    let acme = &made.instances[0];
    let Target::File { path, rotate } = &acme.sinks[0].target else { panic!("no file") };
    assert_eq!(*path, folder.path().join("acme.jsonl"));
    assert_eq!(rotate.unwrap().size, Some(1 << 30));
    let Target::Http(http) = &acme.sinks[1].target else { panic!("no http") };
    assert_eq!((http.count, http.headers[0].1.get().expose()), (7, "Bearer x"));
    assert_eq!(made.instances[1].sinks[0].name, "stdout");

    let one = configured(&["--config", &config, "--id", "globex-eu"], MANY).unwrap();
    assert_eq!(one.instances.len(), 1);
    let said = refused(&["--config", &config, "--id", "globex"], MANY);
    assert!(said.contains("there are: acme, globex-eu"), "{said}");
    let said = refused(&["--config", &config, "--set", "audience=x"], MANY);
    assert!(said.contains("are for one instance"), "{said}");
    // Where the one instance is what is wrong, its flags are not.
    let said =
        refused(&["connectors/auth0-log-stream", "--id", "Not An Id", "--set", "input_mode=manual"], &[]);
    assert!(said.contains("is no id of an instance") && !said.contains("for one instance"), "{said}");
    let said = refused(&["--config", &config], &MANY[..2]);
    assert!(said.contains("or give FOREBAY_SECRET_ACME_MONAD_API_KEY"), "{said}");
    let wrong = [MANY, &[("FOREBAY_SECRET_MONAD_API_KEY", "x")]].concat();
    let said = refused(&["--config", &config], &wrong);
    assert!(said.contains("FOREBAY_SECRET_ACME_MONAD_API_KEY"), "{said}");
    let wrong = [MANY, &[("FOREBAY_SECRET_GLOBEX_UE_MONAD_API_KEY", "x")]].concat();
    let said = refused(&["--config", &config], &wrong);
    assert!(said.contains("did you mean FOREBAY_SECRET_GLOBEX_EU_MONAD_API_KEY?"), "{said}");
}

#[test]
fn file_secrets_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = many(&folder);
    let made = configured(&["--config", &config], MANY).unwrap();
    std::fs::write(folder.path().join("secret"), "newer\n").unwrap();
    let read = made.sources.reread();
    let instance = &made.instances[0].instance;
    let secrets = &read.secrets[&instance.id];
    assert_eq!((read.secrets.len(), secrets.len()), (1, 1));
    assert_eq!(secrets["client_secret"][0].expose(), "newer");
    let live = |new: &str, former: &str| LiveSecret {
        former: vec![Secret::new(former).unwrap()],
        ..LiveSecret::new(Secret::new(new).unwrap())
    };
    instance.set_secrets([("client_secret".to_owned(), live("newer", "hush-hush"))]);
    let secret = Text::compile("{{ secrets.client_secret }}").unwrap();
    let rendered = |scope: &Scope| secret.render(scope).unwrap();
    assert_eq!(rendered(&instance.scope()), "newer");
    assert_eq!(rendered(&instance.masked_scope()), "****");
    let lives: Vec<String> = instance.verify_scopes().iter().map(rendered).collect();
    assert_eq!(lives, ["newer", "hush-hush"]);
    // While two change at once, each may be the old one or the new one.
    instance.set_secrets([("client_id".to_owned(), live("id-2", "id"))]);
    let both = Text::compile("{{ secrets.client_id }}:{{ secrets.client_secret }}").unwrap();
    let lives: BTreeSet<String> =
        instance.verify_scopes().iter().map(|scope| both.render(scope).unwrap()).collect();
    let pairs = ["id-2:newer", "id:newer", "id-2:hush-hush", "id:hush-hush"].map(str::to_owned);
    assert_eq!(lives, BTreeSet::from(pairs));
    std::fs::write(folder.path().join("secret"), "\n").unwrap();
    let read = made.sources.reread();
    assert!(read.failed[&instance.id].contains("is empty"), "{:?}", read.failed);
    assert!(!read.secrets.contains_key(&instance.id), "of an instance all of them are taken, or none");
}

#[test]
fn the_file_is_refused_with_line_and_column() {
    let cases = [
        (
            "receiver: {listne: 127.0.0.1:1}\n",
            "forebay.yaml:1:12: receiver: unknown field `listne`",
            "did you mean `listen`?",
        ),
        ("data_dir: a\nqueue:\n  max_bytes: 10Gb\n", "forebay.yaml:3:14", "`10Gb` is no size"),
        ("receiver: {limits: {idle: 5}}\n", "forebay.yaml:1:20", "`5` is no duration"),
        (
            "instances:\n- connector: x\n  secrets: {client_id: hush-hush}\n",
            "forebay.yaml:3",
            "does not stand in the configuration",
        ),
        (
            "instances:\n- connector: x\n  secrets: {client_id: 12345678}\n",
            "forebay.yaml:3",
            "does not stand in the configuration",
        ),
        ("data_dir: a\ndata_dir: b\n", "forebay.yaml", "duplicate"),
        ("instances:\n- connector: x\n  settings: {a: 1, a: 2}\n", "forebay.yaml", "duplicate"),
        ("instances:\n- {id: a}\n", "forebay.yaml:2:3", "missing field `connector`"),
        ("instances: []\n", "there is no instance", "--config FILE"),
        ("receiver: {proxy_protocol: auto}\n", "forebay.yaml:1:28", "`off` or `required`"),
        ("receiver: {trusted_proxies: [10.0.0.0/33]}\n", "forebay.yaml:1:30", "no block of addresses"),
        (
            "instances:\n- connector: x\n  allowed_sources: [example.com]\n",
            "forebay.yaml:3:21",
            "write 10.0.0.0/8",
        ),
        (
            "receiver: {proxy_protocol: required}\n",
            "receiver.trusted_proxies names no proxy",
            "trusted_proxies: [",
        ),
    ];
    for (text, place, part) in cases {
        let folder = folder(&[("forebay.yaml", text)]);
        let said = refused(&["--config", &folder.path().join("forebay.yaml").display().to_string()], &[]);
        assert!(said.contains(place) && said.contains(part), "{text}gives:\n{said}");
        assert!(!said.contains("hush-hush") && !said.contains("12345678"), "{said}");
    }
}

#[test]
fn proxies_sources_and_client_authorities_are_read_from_the_file() {
    let folder = folder(&[(
        "forebay.yaml",
        &format!(
            "receiver:\n  proxy_protocol: required\n  trusted_proxies: [10.0.0.0/8, 2001:db8::1]\n  \
             tls: {{certificate: c.pem, key: k.pem, client_ca: senders.pem}}\n\
             instances:\n- connector: {AUTH0}\n  settings: {{input_mode: manual}}\n  \
             secrets: {{monad_api_key: {{env: KEY}}}}\n  allowed_sources: [192.0.2.0/24]\n"
        ),
    )]);
    let path = folder.path().join("forebay.yaml");
    let made =
        configured(&["--config", &path.display().to_string()], &[("KEY", "hush-hush-hush-hush")]).unwrap();
    let proxies = made.receive.proxies;
    assert!(proxies.protocol);
    assert_eq!(proxies.trusted, ["10.0.0.0/8", "2001:db8::1"].map(|text| text.parse().unwrap()));
    assert_eq!(made.tls.unwrap().client_ca, Some(folder.path().join("senders.pem")));
    assert_eq!(made.instances[0].allowed_sources, ["192.0.2.0/24".parse().unwrap()]);
}
