//! Tokens that we sign: keys as people have them, and what is said of a key that does not fit.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};
use data_encoding::BASE64;
use forebay::call::assertion::SigningKey;
use forebay::connector::model::Algorithm;

fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn rsa() -> Vec<u8> {
    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
    AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap().as_ref().to_vec()
}

fn refusal(text: &str, algorithm: Algorithm) -> Option<String> {
    SigningKey::read(text.as_bytes(), algorithm).err().map(|error| {
        assert!(error.help.is_some());
        let said = format!("{error:?}");
        // Nothing of a key is shown, not even a line of it.
        assert!(text.lines().filter(|line| line.len() > 40).all(|line| !said.contains(line)), "{said}");
        error.sentence
    })
}

#[test]
fn keys_are_read_as_people_have_them() {
    let rsa = rsa();
    // PKCS#8 is PKCS#1 with a head of 26 bytes, for a key of this size.
    let pkcs1 = &rsa[26..];
    let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let ed = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
    let pkcs8 = pem("PRIVATE KEY", &rsa);
    for (text, algorithm) in [
        (pkcs8.clone(), Algorithm::RsaPkcs1Sha256),
        (pkcs8.clone(), Algorithm::RsaPssSha256),
        (pem("RSA PRIVATE KEY", pkcs1), Algorithm::RsaPkcs1Sha256),
        (pem("PRIVATE KEY", ec.as_ref()), Algorithm::EcdsaP256Sha256),
        (pem("PRIVATE KEY", ed.as_ref()), Algorithm::Ed25519),
        // On its way through a variable or a form.
        (pkcs8.replace('\n', "\\n"), Algorithm::RsaPkcs1Sha256),
        (pkcs8.replace('\n', " "), Algorithm::RsaPkcs1Sha256),
        (pkcs8.replace('\n', "\r\n"), Algorithm::RsaPkcs1Sha256),
        (format!("Key of the app:\n{pkcs8}"), Algorithm::RsaPkcs1Sha256),
    ] {
        assert_eq!(refusal(&text, algorithm), None, "{algorithm:?}");
    }
}

#[test]
fn a_key_that_does_not_fit_is_told_without_being_shown() {
    let rsa = pem("PRIVATE KEY", &rsa());
    let ec = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let ec = pem("PRIVATE KEY", ec.as_ref());
    let encrypted = rsa.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let old = rsa.replace("-----\nM", "-----\nProc-Type: 4,ENCRYPTED\n\nM");
    for (text, algorithm, said) in [
        (
            rsa.as_str(),
            Algorithm::EcdsaP256Sha256,
            "ES256 signs with an EC key of the curve P-256, and the private key is an RSA key",
        ),
        (
            &ec,
            Algorithm::RsaPkcs1Sha256,
            "RS256 signs with an RSA key of 2048 bits or more, and the private key is an EC key of the curve P-256",
        ),
        (
            &ec,
            Algorithm::EcdsaP384Sha384,
            "ES384 signs with an EC key of the curve P-384, and the private key is an EC key of the curve P-256",
        ),
        (&encrypted, Algorithm::RsaPkcs1Sha256, "passphrase"),
        (&old, Algorithm::RsaPkcs1Sha256, "passphrase"),
        (&rsa[..900], Algorithm::RsaPkcs1Sha256, "END line is missing"),
        (&rsa.replace("PRIVATE KEY", "PUBLIC KEY"), Algorithm::RsaPkcs1Sha256, "no private key"),
        ("c2VjcmV0", Algorithm::RsaPkcs1Sha256, "no PEM"),
        ("", Algorithm::RsaPkcs1Sha256, "no PEM"),
        ("-----BEGIN PRIVATE KEY-----\n%%%\n-----END PRIVATE KEY-----", Algorithm::Ed25519, "no base64"),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
            Algorithm::Ed25519,
            "none that is known",
        ),
    ] {
        let sentence = refusal(text, algorithm).unwrap_or_default();
        assert!(sentence.contains(said), "{algorithm:?}: {sentence:?} is not `{said}`");
    }
}
