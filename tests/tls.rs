//! TLS: a pair that changes is taken into use, a bad one never, and nobody stalls the handshake.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forebay::receive::{Limits, Reloaded, Tls};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::receiving::stage::{self, KEY, Stage};

const EVENT: &str = r#"{"log_id":"1","data":{"date":"d","type":"s","log_id":"1"}}"#;

/// A certificate for localhost and its key, as files.
pub struct Pair {
    folder: tempfile::TempDir,
}

impl Pair {
    pub fn new() -> (Self, CertificateDer<'static>) {
        let pair = Self { folder: tempfile::tempdir().unwrap() };
        let certificate = pair.renew();
        (pair, certificate)
    }
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("key.pem")
    }
    fn renew(&self) -> CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(self.certificate(), made.cert.pem()).unwrap();
        std::fs::write(self.key(), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    }
    pub fn load(&self, every: Duration) -> Arc<Tls> {
        Tls::load(&self.certificate(), &self.key(), every).unwrap()
    }
}

/// What a client trusts and asks for.
pub fn config(trusted: &CertificateDer<'static>, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

async fn connect(
    stage: &Stage,
    trusted: &CertificateDer<'static>,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(stage.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(config(trusted, alpn)).connect(name, stream).await
}

async fn post(stage: &Stage, trusted: &CertificateDer<'static>) -> std::io::Result<u16> {
    let mut stream = connect(stage, trusted, &[b"http/1.1"]).await?;
    let request = stage::request("POST", &stage.endpoint.path, &[("x-api-key", KEY)], EVENT.as_bytes());
    Ok(stage::exchange(&mut stream, &request).await.status)
}

async fn on(tls: Arc<Tls>, limits: Limits) -> Stage {
    let instance = stage::instance(stage::auth0(), "acme", &[("monad_api_key", KEY)]);
    Stage::with(instance, limits, Some(tls)).await
}

#[tokio::test]
async fn a_vendor_posts_over_tls_and_a_client_that_trusts_another_certificate_does_not() {
    let (pair, certificate) = Pair::new();
    let stage = on(pair.load(Duration::from_secs(60)), Limits::default()).await;
    assert_eq!(post(&stage, &certificate).await.unwrap(), 200);
    let (_, other) = Pair::new();
    assert!(post(&stage, &other).await.is_err());
    // Plain HTTP to the port breaks off that connection, and nothing else.
    assert!(!stage.raw("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.contains("HTTP/1.1 2"));
    assert_eq!(post(&stage, &certificate).await.unwrap(), 200);
    assert_eq!(stage.memory.bodies().len(), 1);
}

#[tokio::test]
async fn http_2_is_spoken_where_the_client_asks_for_it() {
    let (pair, certificate) = Pair::new();
    let stage = on(pair.load(Duration::from_secs(60)), Limits::default()).await;
    let stream = connect(&stage, &certificate, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(ClientConfig::clone(&config(&certificate, &[b"h2"])))
        .resolve("localhost", stage.address)
        .build()
        .unwrap();
    let url = format!("https://localhost:{}{}", stage.address.port(), stage.endpoint.path);
    let mut posts = tokio::task::JoinSet::new();
    for n in 0..20 {
        let event = EVENT.replace("\"1\"", &format!("\"{n}\""));
        let post = client.post(&url).header("x-api-key", KEY).body(event);
        posts.spawn(async move {
            let answer = post.send().await.unwrap();
            (answer.version(), answer.status().as_u16())
        });
    }
    while let Some(answer) = posts.join_next().await {
        assert_eq!(answer.unwrap(), (http::Version::HTTP_2, 200));
    }
    assert_eq!(client.post(&url).body(EVENT).send().await.unwrap().status().as_u16(), 401);
    assert_eq!(stage.memory.bodies().len(), 20);
    stage.shutdown.send(true).unwrap();
    let mut stage = stage;
    tokio::time::timeout(Duration::from_secs(10), &mut stage.served).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_renewed_certificate_is_in_use_without_a_restart() {
    let (pair, first) = Pair::new();
    let stage = on(pair.load(Duration::from_millis(20)), Limits::default()).await;
    assert_eq!(post(&stage, &first).await.unwrap(), 200);
    let second = pair.renew();
    let renewed = async {
        while post(&stage, &second).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), renewed).await.unwrap();
    assert!(post(&stage, &first).await.is_err());
}

#[tokio::test]
async fn a_bad_pair_keeps_the_one_before_and_is_said_once() {
    let (pair, first) = Pair::new();
    let tls = pair.load(Duration::from_secs(60));
    let stage = on(tls.clone(), Limits::default()).await;
    assert_eq!(tls.reload().unwrap(), Reloaded::Same);

    // The certificate is replaced first, its key a moment later: in between they do not fit.
    let old_key = std::fs::read(pair.key()).unwrap();
    let second = pair.renew();
    let new_key = std::fs::read(pair.key()).unwrap();
    std::fs::write(pair.key(), old_key).unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("do not fit together"), "{error}");
    assert_eq!(tls.reload().unwrap(), Reloaded::Same, "said once");
    assert_eq!(post(&stage, &first).await.unwrap(), 200);

    for garbage in ["", "no pem", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"] {
        std::fs::write(pair.certificate(), garbage).unwrap();
        assert!(tls.reload().is_err(), "{garbage:?}");
        assert_eq!(post(&stage, &first).await.unwrap(), 200);
    }
    std::fs::remove_file(pair.certificate()).unwrap();
    assert!(tls.reload().is_err());
    std::fs::write(pair.key(), new_key).unwrap();
    let third = pair.renew();
    assert_eq!(tls.reload().unwrap(), Reloaded::New);
    assert_eq!(post(&stage, &third).await.unwrap(), 200);
    assert!(post(&stage, &second).await.is_err());
}

#[test]
fn a_bad_pair_at_the_start_says_which_file_and_never_shows_the_key() {
    let (pair, _) = Pair::new();
    let load = |certificate: &Path, key: &Path| {
        Tls::load(certificate, key, Duration::from_secs(1)).err().expect("it was taken").to_string()
    };
    let (certificate, key) = (pair.certificate(), pair.key());
    let swapped = load(&key, &certificate);
    assert!(swapped.contains("key.pem") && swapped.contains("no certificate"), "{swapped}");
    let missing = load(&certificate, Path::new("/nowhere/key.pem"));
    assert!(missing.contains("/nowhere/key.pem"), "{missing}");
    let (other, _) = Pair::new();
    let mismatch = load(&certificate, &other.key());
    assert!(mismatch.contains("do not fit together"), "{mismatch}");
    let secret = std::fs::read_to_string(other.key()).unwrap();
    let secret = secret.lines().nth(1).unwrap();
    assert!(!mismatch.contains(secret) && !swapped.contains(secret));
}

#[test]
fn encrypted_key_and_wrong_order_are_refused_in_words() {
    let (pair, _) = Pair::new();
    let load = |certificate: &Path, key: &Path| {
        Tls::load(certificate, key, Duration::from_secs(1)).err().expect("it was taken").to_string()
    };
    for text in [
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIFNTBfBgkqhkiG9w0BBQ0w\n-----END ENCRYPTED PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
    ] {
        let key = pair.folder.path().join("encrypted.pem");
        std::fs::write(&key, text).unwrap();
        let said = load(&pair.certificate(), &key);
        assert!(said.contains("encrypted with a passphrase") && said.contains("openssl pkey -in"), "{said}");
        assert!(said.contains("encrypted.pem"), "{said}");
    }
    let swapped = load(&pair.certificate(), &pair.certificate());
    assert!(swapped.contains("holds a certificate: expected a private key"), "{swapped}");

    let authority = rcgen::CertifiedIssuer::self_signed(
        rcgen::CertificateParams::default(),
        rcgen::KeyPair::generate().unwrap(),
    )
    .unwrap();
    let own = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&own, &authority).unwrap();
    let (first, second) = (authority.pem(), certificate.pem());
    std::fs::write(pair.key(), own.serialize_pem()).unwrap();
    std::fs::write(pair.certificate(), format!("{first}{second}")).unwrap();
    let said = load(&pair.certificate(), &pair.key());
    assert!(said.contains("the chain is in the wrong order") && said.contains("is number 2"), "{said}");
    std::fs::write(pair.certificate(), format!("{second}{first}")).unwrap();
    Tls::load(&pair.certificate(), &pair.key(), Duration::from_secs(1)).unwrap();
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_ended_and_keeps_nobody_out() {
    let (pair, certificate) = Pair::new();
    let limits = Limits { header_time: Duration::from_millis(300), ..Limits::default() };
    let stage = on(pair.load(Duration::from_secs(60)), limits).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(stage.address).await.unwrap());
    }
    assert_eq!(post(&stage, &certificate).await.unwrap(), 200);
    for mut stream in silent {
        let mut byte = [0];
        let read = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut byte)).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificate_file_that_hangs_keeps_no_connection_out() {
    let (pair, certificate) = Pair::new();
    let tls = pair.load(Duration::from_millis(20));
    // Opening a pipe that nobody writes to blocks for ever, as a file of a dead network file system does.
    let mut stage = on(tls, Limits::default()).await;
    for path in [pair.certificate(), pair.key()] {
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    for _ in 0..5 {
        assert_eq!(post(&stage, &certificate).await.unwrap(), 200);
    }
    stage.shutdown.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(10), &mut stage.served).await.unwrap().unwrap().unwrap();
}

/// A process of the main job that speaks TLS for `https://logs.example.com`, and where its operator looks.
fn process(folder: &Path, name: &str, days: i64) -> (std::process::Command, String) {
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let now = rcgen::date_time_ymd(1970, 1, 1) + std::time::UNIX_EPOCH.elapsed().unwrap();
    (params.not_before, params.not_after) =
        (now - Duration::from_secs(3600), now + Duration::from_secs(days.unsigned_abs() * 24 * 3600));
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(folder.join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).unwrap();
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let text = format!(
        "data_dir: data\nreceiver: {{listen: '127.0.0.1:0', public_url: 'https://logs.example.com', tls: {{certificate: cert.pem, \
         key: key.pem}}}}\nadmin: {{listen: '{admin}'}}\ninstances:\n- {{connector: {}, secrets: {{secret: {{env: KEY}}}}}}\n",
        crate::support::root().join("connectors/generic-http").display()
    );
    std::fs::write(folder.join("forebay.yaml"), text).unwrap();
    let mut command = crate::support::forebay();
    command.args(["run", "--config"]).arg(folder.join("forebay.yaml")).env("KEY", KEY);
    (command, admin)
}

#[test]
fn running_process_reports_its_certificates_end_and_name() {
    const DAY: f64 = 24.0 * 3600.0;
    for (name, days, expected) in [
        ("logs.example.com", 90, None),
        ("logs.example.com", 5, Some(("certificate_expires", "in 4 days"))),
        ("www.example.com", 90, Some(("certificate_invalid", "is not issued for logs.example.com"))),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (mut command, admin) = process(folder.path(), name, days);
        let running = crate::support::Running::start(&mut command, 1);
        let conditions = || {
            let answer = crate::support::get(&format!("http://{admin}/readyz"));
            let document: serde_json::Value =
                serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
            let listed = document["conditions"].as_array().unwrap().clone();
            let of_certificate =
                |one: &serde_json::Value| one["code"].as_str().unwrap().starts_with("certificate");
            listed.into_iter().filter(of_certificate).collect::<Vec<_>>()
        };
        let left = || {
            let metrics = crate::support::get(&format!("http://{admin}/metrics"));
            let line =
                metrics.lines().find_map(|line| line.strip_prefix("forebay_certificate_left_seconds "));
            line.map(|left| left.parse::<f64>().unwrap())
        };
        crate::support::eventually("the certificate is looked at", || left().is_some());
        let (left, most) = (left().unwrap(), f64::from(i32::try_from(days).unwrap()) * DAY);
        assert!(left <= most && left > most - 600.0, "{left} of {most} s");
        match expected {
            None => assert_eq!(conditions(), [""; 0]),
            Some((code, words)) => {
                crate::support::eventually(code, || conditions().iter().any(|one| one["code"] == code));
                let held = conditions();
                assert!(held.len() == 1 && held[0]["message"].as_str().unwrap().contains(words), "{held:?}");
                assert!(running.said().contains(words), "{}", running.said());
            }
        }
        assert!(running.stop().success());
    }
}

#[test]
fn certificate_whose_read_hangs_stops_neither_connections_nor_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (command, admin) = process(folder.path(), "logs.example.com", 90);
    std::fs::copy(path("cert.pem"), path("hangs.pem")).unwrap();
    let mut run =
        crate::support::Running::start(&mut crate::rotation::hanging(&command, &path("hangs.pem")), 1);
    let tracer = crate::rotation::Tracer::of(&run);
    let address = run.urls[0].split('/').nth(2).unwrap().to_owned();
    let trusted = CertificateDer::from(pem_of(&path("cert.pem")));
    std::fs::remove_file(path("cert.pem")).unwrap();
    std::os::unix::fs::symlink(path("hangs.pem"), path("cert.pem")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let connects = || {
        runtime.block_on(async {
            let stream = TcpStream::connect(&address).await.unwrap();
            let name = ServerName::try_from("logs.example.com").unwrap();
            let connecting = TlsConnector::from(config(&trusted, &[b"http/1.1"])).connect(name, stream);
            tokio::time::timeout(Duration::from_secs(3), connecting).await.unwrap().unwrap();
        });
    };
    crate::support::eventually("the file is given up", || {
        connects();
        run.said().contains("file_blocked")
    });
    connects();
    let began = std::time::Instant::now();
    let ready = crate::support::get(&format!("http://{admin}/readyz"));
    assert!(ready.contains("file_blocked") && began.elapsed() < Duration::from_secs(1), "{ready}");
    let began = std::time::Instant::now();
    run.signal("TERM");
    assert!(tracer.end(&mut run).success());
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

/// The first certificate of a PEM file.
fn pem_of(path: &Path) -> Vec<u8> {
    use rustls::pki_types::pem::PemObject;
    CertificateDer::from_pem_file(path).unwrap().to_vec()
}

/// A certificate authority, and a certificate for a client that it signed.
fn authority() -> (rcgen::CertifiedIssuer<'static, rcgen::KeyPair>, (CertificateDer<'static>, Vec<u8>)) {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let issuer =
        rcgen::CertifiedIssuer::self_signed(parameters, rcgen::KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["vendor".to_owned()]).unwrap();
    let client = parameters.signed_by(&key, &issuer).unwrap();
    let shown = (client.der().clone(), key.serialize_der());
    (issuer, shown)
}

#[tokio::test]
async fn senders_without_a_certificate_of_the_authority_get_no_connection() {
    let (pair, trusted) = Pair::new();
    let (issuer, (certificate, key)) = authority();
    let file = pair.folder.path().join("senders.pem");
    std::fs::write(&file, issuer.pem()).unwrap();
    let tls = Tls::load_for(&pair.certificate(), &pair.key(), Some(&file), Duration::from_secs(60)).unwrap();
    let stage = on(tls, Limits::default()).await;
    let post_as = |shown: Option<(CertificateDer<'static>, Vec<u8>)>| {
        let (trusted, stage) = (trusted.clone(), &stage);
        async move {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(trusted).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let builder = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots);
            let config = match shown {
                None => builder.with_no_client_auth(),
                Some((certificate, key)) => builder
                    .with_client_auth_cert(
                        vec![certificate],
                        rustls::pki_types::PrivatePkcs8KeyDer::from(key).into(),
                    )
                    .unwrap(),
            };
            let stream = TcpStream::connect(stage.address).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
            let request =
                stage::request("POST", &stage.endpoint.path, &[("x-api-key", KEY)], EVENT.as_bytes());
            tokio::io::AsyncWriteExt::write_all(&mut stream, &request).await.ok()?;
            Some(stage::read_reply(&mut stream).await?.status)
        }
    };
    assert_eq!(post_as(Some((certificate, key))).await, Some(200));
    assert_eq!(post_as(None).await, None);
    let (_, other) = authority();
    assert_eq!(post_as(Some(other)).await, None);
    std::fs::write(&file, "no pem").unwrap();
    let bad = Tls::load_for(&pair.certificate(), &pair.key(), Some(&file), Duration::from_secs(60));
    let said = bad.err().expect("it was taken").to_string();
    assert!(said.contains("senders.pem"), "{said}");
}
