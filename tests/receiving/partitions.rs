//! aws-sns in every partition of AWS, with certificates of a root of the test: hosts, names and what they are for.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::{rsa, signature};
use data_encoding::BASE64;
use forebay::connector::certificates::{Issuers, Untrusted, pem};
use forebay::connector::model::{KeySource, Proof};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::json;

use super::senders::{Documents, To, at, topic_asking};

const NOW: &str = "2026-12-01T00:00:00Z";

/// The key that messages are signed with: SNS signs by RSA.
static KEY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let pair = rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap();
    AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).unwrap().as_ref().to_vec()
});

fn root() -> (Issuer<'static, KeyPair>, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "root of the test");
    let text = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), text)
}

fn leaf(issuer: &Issuer<'_, KeyPair>, name: &str, with: impl FnOnce(&mut CertificateParams)) -> String {
    let key = PrivatePkcs8KeyDer::from(KEY.as_slice());
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &rcgen::PKCS_RSA_SHA256).unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    with(&mut params);
    params.signed_by(&key, issuer).unwrap().pem()
}

/// A notification of a topic, signed as SNS documents it.
fn notification(topic: &str, host: &str) -> String {
    let (text, id, time) = ("Hello", "17dea24b-55c2-540b-8362-f916557af765", "2026-12-01T00:00:00.000Z");
    let signed = format!(
        "Message\n{text}\nMessageId\n{id}\nTimestamp\n{time}\nTopicArn\n{topic}\nType\nNotification\n"
    );
    let pair = signature::RsaKeyPair::from_pkcs8(&KEY).unwrap();
    let mut tag = vec![0; pair.public_modulus_len()];
    pair.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut tag).unwrap();
    json!({"Type": "Notification", "MessageId": id, "TopicArn": topic, "Message": text, "Timestamp": time,
        "SignatureVersion": "2", "Signature": BASE64.encode(&tag),
        "SigningCertURL": format!("https://{host}/SimpleNotificationService-0f1e2d.pem")})
    .to_string()
}

/// What the connector answers to a message of a topic whose key is at a host, certified for a name.
async fn answer(region: (&str, &str), host: &str, name: &str) -> (u16, Vec<String>) {
    let (partition, region) = region;
    let (issuer, text) = root();
    let topic = format!("arn:{partition}:sns:{region}:123456789012:audit");
    let documents = Documents::of(leaf(&issuer, name, |_| {}));
    let stage = topic_asking(&topic, Arc::new(To(documents.clone())), at(NOW)).await;
    for check in stage.endpoint.instance.connector.receiver.verify.checks() {
        if let Proof::PublicKey { keys: KeySource::Fetched(url), .. } = &check.proof {
            url.certificate.as_ref().unwrap().issuers.rehearse(text.as_bytes()).unwrap();
        }
    }
    let status = stage.send(&[], notification(&topic, host)).await.status;
    (status, documents.urls())
}

#[tokio::test]
async fn each_partition_has_its_hosts_and_names() {
    // Regions, endpoints and names as AWS's SDK for Java knows them (SnsHostProvider).
    let regions = [
        (("aws", "us-east-2"), "sns.us-east-2.amazonaws.com", "sns.amazonaws.com"),
        (("aws", "ap-east-2"), "sns.ap-east-2.amazonaws.com", "sns-signing.ap-east-2.amazonaws.com"),
        (("aws", "mx-central-1"), "sns.mx-central-1.amazonaws.com", "sns-signing.mx-central-1.amazonaws.com"),
        (("aws-cn", "cn-north-1"), "sns.cn-north-1.amazonaws.com.cn", "sns-cn-north-1.amazonaws.com.cn"),
        (
            ("aws-cn", "cn-northwest-1"),
            "sns.cn-northwest-1.amazonaws.com.cn",
            "sns-cn-northwest-1.amazonaws.com.cn",
        ),
        (
            ("aws-us-gov", "us-gov-west-1"),
            "sns.us-gov-west-1.amazonaws.com",
            "sns-us-gov-west-1.amazonaws.com",
        ),
        (
            ("aws-us-gov", "us-gov-east-1"),
            "sns.us-gov-east-1.amazonaws.com",
            "sns-us-gov-west-1.amazonaws.com",
        ),
        (("aws-iso", "us-iso-east-1"), "sns.us-iso-east-1.c2s.ic.gov", "sns-us-iso-east-1.c2s.ic.gov"),
        (
            ("aws-iso-b", "us-isob-east-1"),
            "sns.us-isob-east-1.sc2s.sgov.gov",
            "sns-us-isob-east-1.sc2s.sgov.gov",
        ),
        (
            ("aws-iso-e", "eu-isoe-west-1"),
            "sns.eu-isoe-west-1.cloud.adc-e.uk",
            "sns-signing.eu-isoe-west-1.cloud.adc-e.uk",
        ),
        (
            ("aws-iso-f", "us-isof-south-1"),
            "sns.us-isof-south-1.csp.hci.ic.gov",
            "sns-signing.us-isof-south-1.csp.hci.ic.gov",
        ),
        (
            ("aws-eusc", "eusc-de-east-1"),
            "sns.eusc-de-east-1.amazonaws.eu",
            "sns-signing.eusc-de-east-1.amazonaws.eu",
        ),
    ];
    for (n, (region, host, name)) in regions.iter().enumerate() {
        let (status, urls) = answer(*region, host, name).await;
        assert_eq!(urls, [format!("https://{host}/SimpleNotificationService-0f1e2d.pem")], "{region:?}");
        assert_eq!(status, 200, "{region:?} {name}");
        // A certificate of another region is none of it, and neither is the endpoint's own.
        let (_, elsewhere, other) = regions[(n + 3) % regions.len()];
        for other in [other, host].into_iter().filter(|other| other != name) {
            assert_eq!(answer(*region, host, other).await.0, 401, "{region:?} {other}");
        }
        // A host of another partition is not asked.
        assert_eq!(answer(*region, elsewhere, name).await, (401, Vec::new()), "{region:?} {elsewhere}");
    }
}

#[test]
fn certificate_that_is_not_for_signatures_is_refused() {
    let (issuer, text) = root();
    let issuers = Issuers::read(&text).unwrap();
    let name = "sns.amazonaws.com";
    let checked = |with: &dyn Fn(&mut CertificateParams)| {
        let chain = pem(leaf(&issuer, name, with).as_bytes()).unwrap();
        issuers.check(&chain, &[name.to_owned()], NOW.parse().unwrap())
    };
    assert_eq!(checked(&|_| {}), Ok(()));
    assert_eq!(
        checked(&|params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]),
        Ok(()),
        "what AWS issues says so"
    );
    assert_eq!(
        checked(&|params| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
        Err(Untrusted::Usage)
    );
    assert_eq!(
        checked(&|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
        Err(Untrusted::Usage)
    );
    assert_eq!(
        checked(&|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        Err(Untrusted::Usage)
    );
}
