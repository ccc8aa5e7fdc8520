//! Bounds that can never work, empty lists of sinks, and the shares of instances.

use std::time::Duration;

use super::{AUTH0, configured, folder, refused};

const KEY: &[(&str, &str)] = &[("FOREBAY_SECRET_MONAD_API_KEY", "s3cr3t-of-the-test")];

/// What is said about a configuration with these lines at its top and in its instance.
fn said(top: &str, instance: &str) -> String {
    let folder = written(top, instance);
    refused(&["--config", &folder.path().join("forebay.yaml").display().to_string()], KEY)
}

fn written(top: &str, instance: &str) -> tempfile::TempDir {
    let text = format!(
        "{top}\ninstances:\n- {{id: acme, connector: {AUTH0}, settings: {{input_mode: manual}}{instance}}}\n"
    );
    folder(&[("forebay.yaml", &text)])
}

#[test]
fn bounds_that_can_never_work_are_refused() {
    for (top, expected) in [
        ("queue: {max_bytes: 1}", "queue.max_bytes is 1 bytes: expected at least 128 KiB"),
        ("queue: {max_bytes: 127KiB}", "expected at least 128 KiB"),
        ("queue: {min_free: 1000000TiB}", "queue.min_free is 1099511627776000000 bytes, and the disk of"),
        ("receiver: {limits: {depth: 257}}", "receiver.limits.depth is 257, and the most is 256"),
        ("queue: {shares: {reserved: 101}}", "queue.shares.reserved is more than 100 percent"),
        ("queue: {shares: {weights: {acem: 2}}}", "queue.shares.weights names no instance: `acem`"),
        ("queue: {shares: {weights: {acem: 2}}}", "did you mean `acme`?"),
    ] {
        let said = said(top, "");
        assert!(said.contains(expected), "{said}");
    }
    let good = written("queue: {max_bytes: 1MiB, min_free: 1GiB}\nreceiver: {limits: {depth: 256}}", "");
    configured(&["--config", &good.path().join("forebay.yaml").display().to_string()], KEY).unwrap();
}

#[test]
fn empty_list_of_sinks_is_refused_with_file_and_instance() {
    let said = said("", ", sinks: []");
    let expected = "forebay.yaml: acme: `sinks` is an empty list: expected at least one sink";
    assert!(said.contains(expected) && said.contains("leave `sinks` out"), "{said}");
}

#[test]
fn shares_have_weights_and_ages_of_their_senders() {
    let stripe = concat!(env!("CARGO_MANIFEST_DIR"), "/connectors/stripe-events");
    let text = |queue: &str| {
        format!(
            "queue: {queue}\ninstances:\n- {{id: acme, connector: {AUTH0}, settings: {{input_mode: manual}}}}\n\
             - {{id: pay, connector: {stripe}, settings: {{input_mode: manual}}}}\n"
        )
    };
    let environment = [
        ("FOREBAY_SECRET_ACME_MONAD_API_KEY", "s3cr3t-of-the-test"),
        ("FOREBAY_SECRET_PAY_SIGNING_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
    ];
    let shares = |queue: &str| {
        let folder = folder(&[("forebay.yaml", &text(queue))]);
        let made = configured(
            &["--config", &folder.path().join("forebay.yaml").display().to_string()],
            &environment,
        );
        made.unwrap().queue.shares
    };
    let made = shares("{}");
    let weights: Vec<(&str, u32)> = made.members.iter().map(|(id, one)| (id.as_str(), one.weight)).collect();
    assert_eq!((made.reserved, weights), (50, vec![("acme", 1), ("pay", 1)]));
    let pay = made.members.values().last().unwrap();
    let days = Duration::from_secs(3 * 24 * 3600);
    assert_eq!((pay.dedupe_age, pay.retry_window), (Some(days), Some(days)), "Stripe repeats for three days");
    let made = shares("{dedupe: {age: 1m}, shares: {reserved: 80, weights: {pay: 3}}}");
    let pay = made.members.values().last().unwrap();
    assert_eq!((made.reserved, pay.weight, pay.dedupe_age, pay.retry_window), (80, 3, None, Some(days)));
}
