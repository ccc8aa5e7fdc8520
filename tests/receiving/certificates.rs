//! Certificates of senders: the genuine ones, and whatever else may stand at a key URL.

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use forebay::connector::certificates::{Issuers, Untrusted, pem};
use proptest::prelude::*;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
const ISSUERS: &str = include_str!("../../connectors/aws-sns/issuers.pem");
const LEAF_2022: &[u8] = include_bytes!("../certificates/sns-2022.pem");
const LEAF_AF_SOUTH_1: &[u8] = include_bytes!("../certificates/sns-af-south-1-2026.pem");

fn check(leaf: &[u8], name: &str, now: &str) -> Result<(), Untrusted> {
    let issuers = Issuers::read(ISSUERS).unwrap();
    issuers.check(&pem(leaf).unwrap(), &[name.to_owned()], now.parse().unwrap())
}

#[test]
fn genuine_certificate_passes_in_its_time_and_under_its_name() {
    let (leaf, name) = (LEAF_2022, "sns.amazonaws.com");
    assert_eq!(check(leaf, name, "2022-07-28T21:24:00Z"), Ok(()));
    assert_eq!(check(leaf, name, "2022-08-18T00:00:00Z"), Err(Untrusted::Expired));
    assert_eq!(check(leaf, name, "2021-09-06T23:59:59Z"), Err(Untrusted::NotYetValid));
    assert_eq!(check(leaf, "sns.us-east-2.amazonaws.com", "2022-07-28T21:24:00Z"), Err(Untrusted::Name));
    let (leaf, now) = (LEAF_AF_SOUTH_1, "2026-12-01T00:00:00Z");
    assert_eq!(check(leaf, "sns-signing.af-south-1.amazonaws.com", now), Ok(()));
    assert_eq!(check(leaf, "sns.amazonaws.com", now), Err(Untrusted::Name));
    assert_eq!(check(leaf, "sns-signing.eu-south-1.amazonaws.com", now), Err(Untrusted::Name));
}

#[test]
fn issuer_that_is_not_bundled_is_told_apart_from_a_forgery() {
    let roots = ISSUERS.split("# Amazon RSA 2048").next().unwrap();
    let roots = Issuers::read(roots.split("# Amazon Server CA 1B").next().unwrap()).unwrap();
    let (leaf, now) = (pem(LEAF_2022).unwrap(), "2022-07-28T21:24:00Z".parse().unwrap());
    let names = ["sns.amazonaws.com".to_owned()];
    assert_eq!(roots.check(&leaf, &names, now), Err(Untrusted::Issuer));
    // The document may bring its intermediates itself.
    let start = ISSUERS.find("# Amazon Server CA 1B").unwrap();
    let text = &ISSUERS[start..];
    let end = text.find(END).unwrap() + END.len();
    let bare = &text[text.find(BEGIN).unwrap()..end];
    let chain = [leaf.clone(), pem(bare.as_bytes()).unwrap()].concat();
    assert_eq!(roots.check(&chain, &names, now), Ok(()));
    let mut forged = leaf;
    *forged[0].last_mut().unwrap() ^= 1;
    let issuers = Issuers::read(ISSUERS).unwrap();
    assert_eq!(issuers.check(&forged, &names, now), Err(Untrusted::Forged));
}

#[test]
fn document_counts_only_where_it_is_pem_as_a_whole() {
    let text = String::from_utf8(LEAF_2022.to_vec()).unwrap();
    assert_eq!(pem(format!("\n{text}\n\n{text}").as_bytes()).map(|all| all.len()), Some(2));
    for bad in [
        format!("<a>{text}</a>"),
        format!("x\n{text}"),
        format!("{text}x"),
        format!("{text}x\n{text}"),
        text.replace("CERTIFICATE", "PUBLIC KEY"),
        text.replace("MIIF", "MI!F"),
        text.replace(END, ""),
        String::new(),
        format!("{BEGIN}\n{END}"),
    ] {
        assert_eq!(pem(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn bundled_issuers_state_their_source_and_expiry() {
    let stated = |word: &str| ISSUERS.lines().filter(|line| line.starts_with(word)).count();
    let all = ISSUERS.matches(BEGIN).count();
    assert_eq!((stated("# source: http"), stated("# sha256: "), stated("# expires: ")), (all, all, all));
    let bare: Vec<&str> = ISSUERS.lines().filter(|line| !line.starts_with('#')).collect();
    let dates = ISSUERS.lines().filter_map(|line| line.strip_prefix("# expires: "));
    let sums = ISSUERS.lines().filter_map(|line| line.strip_prefix("# sha256: "));
    for ((der, date), sum) in pem(bare.join("\n").as_bytes()).unwrap().iter().zip(dates).zip(sums) {
        assert_eq!(HEXLOWER.encode(digest::digest(&digest::SHA256, der).as_ref()), sum);
        // UTCTime (RFC 5280 section 4.1.2.5.1) of the day, as it stands in the certificate.
        let day = date.replace('-', "")[2..].to_owned();
        assert!(der.windows(6).any(|window| window == day.as_bytes()), "{date}");
    }
}

proptest! {
    /// Whatever stands at a key URL.
    #[test]
    fn hostile_bytes_are_no_certificate_and_no_panic(
        cut in 0usize..1500, flip in 0usize..1500, bit in 0u8..8, tail in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let issuers = Issuers::read(ISSUERS).unwrap();
        let now = "2022-07-28T21:24:00Z".parse().unwrap();
        let names = ["sns.amazonaws.com".to_owned()];
        let mut der = pem(LEAF_2022).unwrap().remove(0);
        if let Some(byte) = der.get_mut(flip) {
            *byte ^= 1 << bit;
            prop_assert!(issuers.check(&[der.clone()], &names, now).is_err());
        }
        der.truncate(cut);
        der.extend_from_slice(&tail);
        prop_assert!(issuers.check(&[der], &names, now).is_err());
        let _ = pem(&tail);
    }
}
