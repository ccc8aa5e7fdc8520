//! The listener's certificate: whether it is valid now, for how long, and for the hosts of the public URLs.
//!
//! `host` starts it where the receiver speaks TLS. Two conditions, and `forebay_certificate_left_seconds`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use super::config::Configured;
use crate::condition::{Code, Conditions, Subject};
use crate::connector::certificates::{is_for, validity};
use crate::connector::clock::Clock;
use crate::receive::Tls;

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(15);
/// How long before its end a certificate is reported.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
const DAY: i64 = 24 * 3600;

/// Returns the hosts that senders connect to.
pub(super) fn hosts(members: &[Configured]) -> BTreeSet<String> {
    let urls = members.iter().filter_map(|member| member.instance.receiver_url.as_ref());
    urls.filter_map(|url| url.host_str()).map(|host| host.trim_matches(['[', ']']).to_owned()).collect()
}

/// Looks until the signal.
pub(super) async fn watch(
    tls: Arc<Tls>,
    hosts: BTreeSet<String>,
    clock: Arc<dyn Clock>,
    conditions: Arc<Conditions>,
    mut shutdown: watch::Receiver<bool>,
) {
    loop {
        look(&tls.leaf(), &hosts, clock.now(), &conditions);
        tokio::select! {
            _ = shutdown.wait_for(|stop| *stop) => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

fn look(der: &[u8], hosts: &BTreeSet<String>, now: Timestamp, conditions: &Conditions) {
    let Some((begin, end)) = validity(der) else { return };
    let left = end.duration_since(now);
    metrics::gauge!("forebay_certificate_left_seconds").set(left.as_secs_f64());
    let wrong = hosts.iter().filter(|host| !is_for(der, host)).cloned().collect::<Vec<_>>();
    let invalid = if left.is_negative() {
        Some(format!("the certificate of the receiver expired at {end}: senders refuse to connect"))
    } else if now < begin {
        Some(format!(
            "the certificate of the receiver is not valid before {begin}: senders refuse to connect"
        ))
    } else if !wrong.is_empty() {
        let names = wrong.join(", ");
        Some(format!("the certificate of the receiver is not issued for {names}, which senders connect to"))
    } else {
        None
    };
    let soon = (invalid.is_none() && left < SOON).then(|| {
        let days = left.as_secs() / DAY;
        format!("the certificate of the receiver expires at {end}, in {days} days")
    });
    for (code, message) in [(Code::CertificateInvalid, invalid), (Code::CertificateExpires, soon)] {
        match message {
            Some(message) => conditions.raise(code, Subject::process(), message),
            None => conditions.clear(code, &Subject::process()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(from: i32, to: i32) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["logs.example.com".to_owned()]).unwrap();
        (params.not_before, params.not_after) =
            (rcgen::date_time_ymd(2026, 11, from as u8), rcgen::date_time_ymd(2026, 12, to as u8));
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn certificate_that_ends_or_has_another_name_is_a_condition() {
        let der = certificate(10, 30);
        for (host, now, expected) in [
            ("logs.example.com", "2026-11-20T00:00:00Z", None),
            ("logs.example.com", "2026-12-16T00:00:01Z", Some((Code::CertificateExpires, "in 13 days"))),
            (
                "logs.example.com",
                "2026-12-30T00:00:01Z",
                Some((Code::CertificateInvalid, "expired at 2026-12-30T00:00:00Z")),
            ),
            (
                "logs.example.com",
                "2026-11-09T00:00:00Z",
                Some((Code::CertificateInvalid, "not valid before 2026-11-10T00:00:00Z")),
            ),
            (
                "www.example.com",
                "2026-11-20T00:00:00Z",
                Some((Code::CertificateInvalid, "not issued for www.example.com")),
            ),
        ] {
            let conditions = Conditions::default();
            look(&der, &[host.to_owned()].into(), now.parse().unwrap(), &conditions);
            let listed = conditions.list();
            assert_eq!(listed.len(), usize::from(expected.is_some()), "{host} {now}: {listed:?}");
            if let Some((code, text)) = expected {
                assert!(listed[0].code == code && listed[0].message.contains(text), "{listed:?}");
            }
            look(&der, &BTreeSet::new(), "2026-11-20T00:00:00Z".parse().unwrap(), &conditions);
            assert_eq!(conditions.list(), []);
        }
    }
}
