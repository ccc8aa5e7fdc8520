//! X.509 certificates as senders publish them: documents in PEM, certificates in DER, and certificates that a bundled
//! issuer signed whatever they hold. No document breaks a reader. None is accepted unless its first certificate was
//! signed by a bundled issuer, is issued for the name, and is within its dates.
//!
//! The authorities here have fixed keys: the same parameters give the same bytes, so that an input is valid in every run.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::signature::Ed25519KeyPair;
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use forebay::call::caller::Caller;
use forebay::call::retry::Pace;
use forebay::connector::certificates::{Issuers, is_for, pem, validity};
use forebay::connector::instance::Instance;
use forebay::receive::{Endpoint, Limits, Reach};
use jiff::Timestamp;
use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber, date_time_ymd,
};

use super::keys::Publishes;
use super::spoil::spoiled;
use super::{NOW, Still, probe_with, who};
use crate::receiving::stage::Memory;

const BODY: &str = r#"{"id":"1","type":"s"}"#;
const NAME: &str = "sender.example.com";
const OTHER_NAME: &str = "other.example.org";
/// The dates of what is valid at `NOW`, which is in November 2023.
const YEARS: [i32; 2] = [2023, 2025];
/// A certificate of a real sender, its name, and a time at which it was valid.
const REAL: (&[u8], &str, i64) =
    (include_bytes!("../certificates/sns-2022.pem"), "sns.amazonaws.com", 1_659_043_440);

/// Returns the PKCS #8 document of an Ed25519 key (RFC 8410) that is made of one byte.
fn pkcs8(byte: u8) -> Vec<u8> {
    [HEXLOWER.decode(b"302e020100300506032b657004220420").unwrap(), vec![byte; 32]].concat()
}

fn key(byte: u8) -> KeyPair {
    KeyPair::try_from(pkcs8(byte)).unwrap()
}

/// Returns a signature of `message` by the key of `byte`.
fn signature(byte: u8, message: &[u8]) -> Vec<u8> {
    Ed25519KeyPair::from_seed_unchecked(&[byte; 32]).unwrap().sign(message).as_ref().to_vec()
}

fn params(name: &str, serial: u64, [from, until]: [i32; 2]) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    params
}

fn authority(name: &str, serial: u64) -> CertificateParams {
    let mut params = params(name, serial, [2020, 2040]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn leaf(name: &str, serial: u64, years: [i32; 2]) -> CertificateParams {
    let mut params = params(name, serial, years);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// The byte of each key. No issuer signed a certificate of `FOREIGN`.
const ROOT: u8 = 1;
const BUNDLED: u8 = 2;
const BROUGHT: u8 = 3;
const LEAF: u8 = 4;
const FOREIGN: u8 = 9;

/// Certificates and the issuers that a connector bundles.
struct Authorities {
    /// The root and an intermediate in PEM.
    issuers: String,
    /// Certificates (DER) that are right: issued by the root, by the bundled and by the brought intermediate.
    right: [Vec<u8>; 3],
    /// The intermediate that a document brings itself.
    brought: Vec<u8>,
    /// Certificates that are not right, each in one respect.
    wrong: Vec<(&'static str, Vec<u8>)>,
}

static AUTHORITIES: LazyLock<Authorities> = LazyLock::new(|| {
    let root = authority("root", 1);
    let [bundled, brought] = [authority("bundled", 2), authority("brought", 3)];
    let root_pem = root.self_signed(&key(ROOT)).unwrap().pem();
    let root = Issuer::from_params(&root, key(ROOT));
    let bundled_pem = bundled.signed_by(&key(BUNDLED), &root).unwrap().pem();
    let brought_der = brought.signed_by(&key(BROUGHT), &root).unwrap().der().to_vec();
    let [bundled, brought] =
        [Issuer::from_params(&bundled, key(BUNDLED)), Issuer::from_params(&brought, key(BROUGHT))];
    let signed = |params: CertificateParams, issuer: &Issuer<'_, KeyPair>| {
        params.signed_by(&key(LEAF), issuer).unwrap().der().to_vec()
    };
    // The issuer's name and another key, which no bundled issuer knows.
    let named_bundled = authority("bundled", 2);
    let named_bundled = Issuer::from_params(&named_bundled, key(FOREIGN));
    let mut encipherment = leaf(NAME, 14, YEARS);
    encipherment.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    Authorities {
        issuers: format!("{root_pem}{bundled_pem}"),
        right: [
            signed(leaf(NAME, 4, YEARS), &root),
            signed(leaf(NAME, 5, YEARS), &bundled),
            signed(leaf(NAME, 6, YEARS), &brought),
        ],
        brought: brought_der,
        wrong: vec![
            ("self-signed", leaf(NAME, 10, YEARS).self_signed(&key(LEAF)).unwrap().der().to_vec()),
            ("forged", signed(leaf(NAME, 11, YEARS), &named_bundled)),
            ("expired", signed(leaf(NAME, 12, [2021, 2022]), &bundled)),
            ("not-yet-valid", signed(leaf(NAME, 13, [2030, 2031]), &bundled)),
            ("other-name", signed(leaf(OTHER_NAME, 15, YEARS), &bundled)),
            ("other-usage", signed(encipherment, &bundled)),
            ("authority", signed(authority(NAME, 16), &bundled)),
        ],
    }
});

static ISSUERS: LazyLock<Issuers> = LazyLock::new(|| Issuers::read(&AUTHORITIES.issuers).unwrap());
static REAL_ISSUERS: LazyLock<Issuers> =
    LazyLock::new(|| Issuers::read(include_str!("../../connectors/aws-sns/issuers.pem")).unwrap());

static INSTANCE: LazyLock<Arc<Instance>> = LazyLock::new(|| {
    let receiver = format!(
        "  verify: {{kind: public_key, algorithm: ed25519, key_url: {{url: \"https://keys.example.com/a.pem\", \
         only: 'https://keys\\.example\\.com/a\\.pem', certificate: {{names: [{NAME}], issuers: issuers.pem}}}}, \
         key_format: x509_pem, message: \"{{{{ request.body }}}}\", signature: {{header: X-Sign, encoding: base64}}}}\n\
         \u{20} decode: {{format: json}}\n  event: {{id: /id}}\n"
    );
    let sample = serde_json::from_str(BODY).unwrap();
    probe_with(&receiver, &sample, &[("issuers.pem", &AUTHORITIES.issuers)]).instance.clone()
});

/// Returns certificates in PEM.
fn document(chain: &[&[u8]]) -> Vec<u8> {
    let one = |der: &&[u8]| {
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64.encode(der))
    };
    chain.iter().map(one).collect::<String>().into_bytes()
}

/// Returns how long the header of a DER sequence is, and its content: the length is one byte, or the number of bytes
/// that hold it.
fn lengths(der: &[u8]) -> (usize, usize) {
    match der[1] {
        short @ ..0x80 => (2, usize::from(short)),
        more => {
            let end = 2 + usize::from(more & 0x7f);
            (end, der[2..end].iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
        }
    }
}

/// Returns what is signed of a certificate (RFC 5280 section 4.1): the first element of its sequence.
fn signed_part(der: &[u8]) -> &[u8] {
    let part = &der[lengths(der).0..];
    let (header, content) = lengths(part);
    &part[..header + content]
}

/// Returns a certificate of this signed part, whatever it is, with the signature of the bundled intermediate.
fn certificate_of(part: &[u8]) -> Vec<u8> {
    let tail = [
        HEXLOWER.decode(b"300506032b6570034100").unwrap(), // Ed25519, then a bit string of 64 bytes
        signature(BUNDLED, part),
    ]
    .concat();
    // Shorter than two bytes of length is the one of no certificate here; one that is too long is malformed.
    let length = u16::try_from(part.len() + tail.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[0x30, 0x82][..], &length, part, &tail].concat()
}

/// Returns whether a sender that publishes this document proves the body with the key of this byte.
fn takes(document: &[u8], signer: u8) -> bool {
    let (clock, queue) = (Arc::new(Still), Arc::new(Memory::default()));
    let vendor = Arc::new(Publishes(Bytes::copy_from_slice(document)));
    let caller = Arc::new(Caller::new(vendor, clock.clone(), Pace::default()));
    let reach = Reach { caller, deeds: None };
    let endpoint = Endpoint::new(INSTANCE.clone(), queue, clock, reach, &Limits::default()).unwrap();
    let request = http::Request::post("/in")
        .header("x-sign", BASE64.encode(&signature(signer, BODY.as_bytes())))
        .body(Bytes::from_static(BODY.as_bytes()))
        .unwrap();
    who(&endpoint, request).is_ok()
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window.eq_ignore_ascii_case(part))
}

/// Checks a document: nothing is accepted that is not one of the right certificates.
fn published(document: &[u8]) {
    let chain = pem(document).unwrap_or_default();
    let first = chain.first().map(Vec::as_slice).unwrap_or_default();
    let (now, names) = (Timestamp::from_second(NOW).unwrap(), [NAME.to_owned()]);
    let accepted = ISSUERS.check(&chain, &names, now).is_ok();
    let right = AUTHORITIES.right.iter().any(|right| holds(first, signed_part(right)));
    assert!(!accepted || right, "a certificate that no bundled issuer signed is accepted");
    let (leaf, name, at) = REAL;
    let (at, names) = (Timestamp::from_second(at).unwrap(), [name.to_owned()]);
    let real = REAL_ISSUERS.check(&chain, &names, at).is_ok();
    assert!(!real || pem(leaf).unwrap()[0] == first, "a certificate that Amazon never issued is accepted");
    // With the key of the right certificates and with one that no issuer knows.
    assert!(!takes(document, LEAF) || accepted, "a key is used that the issuers do not prove");
    assert!(!takes(document, FOREIGN), "a foreign key is used");
    let _ = Issuers::read(&String::from_utf8_lossy(document));
    let _ = (validity(first), is_for(first, NAME));
}

/// Checks a certificate that a bundled issuer signed, whatever it holds: its names and dates still count.
fn signed(part: &[u8]) {
    let der = certificate_of(part);
    let chain = [der.clone()];
    let at = |second| Timestamp::from_second(second).unwrap();
    let accepted = |name: &str, now| ISSUERS.check(&chain, &[name.to_owned()], now).is_ok();
    if accepted(NAME, at(NOW)) {
        assert!(holds(part, b"example.com"), "a certificate without the name is accepted");
        let (from, until) = validity(&der).unwrap();
        assert!(from <= at(NOW) && at(NOW) <= until, "a certificate is accepted outside of its dates");
        let outside = [from.as_second().saturating_sub(1), until.as_second().saturating_add(1)];
        for second in outside {
            let out = Timestamp::from_second(second).is_ok_and(|now| accepted(NAME, now));
            assert!(!out, "a certificate is accepted at {second}, outside of its dates");
        }
    }
    let other = accepted(OTHER_NAME, at(NOW));
    assert!(!other || holds(part, b"example.org"), "a certificate of another name is accepted");
    assert!(!takes(&document(&[&der]), LEAF) || accepted(NAME, at(NOW)), "the receiver checks less");
}

pub fn check(input: &[u8]) {
    // Binary input is a certificate or its signed part: both are a sequence.
    match input {
        [0x30, ..] => {
            published(&document(&[input]));
            signed(input);
        }
        _ => published(input),
    }
}

/// Inputs that are right, or wrong in one respect.
static GOOD: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let Authorities { issuers, right: [root, bundled, brought], brought: intermediate, wrong } =
        &*AUTHORITIES;
    let mut all = vec![
        document(&[root]),
        document(&[bundled]),
        document(&[brought, intermediate]),
        root.clone(),
        signed_part(bundled).to_vec(),
        issuers.clone().into_bytes(),
        REAL.0.to_vec(),
    ];
    all.extend(wrong.iter().map(|(_, der)| document(&[der])));
    all.extend(wrong.iter().map(|(_, der)| signed_part(der).to_vec()));
    all
});

fn documents() -> impl Strategy<Value = Vec<u8>> {
    spoiled(any::<prop::sample::Index>().prop_map(|at| at.get(&GOOD).clone()), 3)
}

#[test]
fn no_certificate_is_accepted_that_no_issuer_signed() {
    super::play("certificates", 1000, documents, check);
}

/// The certificates that are spoiled are right as they are: the other test would prove little otherwise.
#[test]
fn right_certificates_are_accepted_and_each_wrong_one_is_not() {
    let Authorities { right: [root, bundled, brought], brought: intermediate, wrong, .. } = &*AUTHORITIES;
    for chain in [&[root.as_slice()][..], &[bundled], &[brought, intermediate]] {
        assert!(takes(&document(chain), LEAF));
    }
    assert!(!takes(&document(&[brought]), LEAF), "the intermediate is missing");
    for (what, der) in wrong {
        assert!(!takes(&document(&[der]), LEAF), "{what}");
    }
    assert!(takes(&document(&[&certificate_of(signed_part(bundled))]), LEAF));
}
