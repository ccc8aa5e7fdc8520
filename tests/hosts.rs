//! Whom a connector calls is named: two hosts are two names, and what a finding suggests for them can be written.

use forebay::connector::load::examine_source;
use forebay::spec::source::Source;

use crate::support::root;

/// The spec with two hosts that settings name, changed by replacements.
fn examined(changes: &[(&str, &str)]) -> forebay::connector::load::Examined {
    let file = root().join("tests/bad-specs/secret-to-two-named-hosts.yaml");
    let mut text = std::fs::read_to_string(&file).unwrap();
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    examine_source(Source::new("spec", &text), &file)
}

fn said(changes: &[(&str, &str)]) -> Vec<(String, String)> {
    let found = examined(changes).diagnostics;
    found.into_iter().map(|found| (found.message, found.help.unwrap_or_default())).collect()
}

fn hosts(changes: &[(&str, &str)]) -> Vec<String> {
    let found = examined(changes);
    assert!(found.diagnostics.is_empty(), "{:?}", found.diagnostics);
    found.connector.unwrap().hosts
}

#[test]
fn secret_to_two_settings_hosts_is_a_finding() {
    let found = said(&[]);
    assert!(
        found.iter().any(|(message, _)| message.contains("would reach `settings.elsewhere`")),
        "{found:?}"
    );
    assert!(found.iter().all(|(message, help)| !message.contains('*') && !help.contains('*')), "{found:?}");
}

#[test]
fn hosts_as_the_help_suggests_are_accepted() {
    let (_, help) = said(&[]).into_iter().find(|(message, _)| message.contains("would reach")).unwrap();
    let suggested = help.split('`').nth(1).unwrap().to_owned();
    assert_eq!(suggested, "hosts: [settings.shop, settings.elsewhere]");
    let declared = format!("description: Signs calls., {suggested}}}");
    assert_eq!(hosts(&[("description: Signs calls.}", &declared)]), ["settings.shop", "settings.elsewhere"]);
}

#[test]
fn hosts_filled_in_part_are_two_names() {
    let parts = [
        ("https://{{ settings.shop }}/hooks", "https://api.{{ settings.shop }}/hooks"),
        ("https://{{ settings.elsewhere }}/hooks", "https://api.{{ settings.elsewhere }}/hooks"),
    ];
    let found = said(&parts);
    let (message, help) = found.iter().find(|(message, _)| message.contains("would reach")).unwrap();
    assert!(message.contains("`api.<settings.elsewhere>`"), "{message}");
    let suggested = help.split('`').nth(1).unwrap();
    let declared = format!("description: Signs calls., {suggested}}}");
    let changes = [parts[0], parts[1], ("description: Signs calls.}", declared.as_str())];
    assert_eq!(hosts(&changes), ["api.<settings.shop>", "api.<settings.elsewhere>"]);
}

#[test]
fn hosts_of_one_owner_stay_one_name() {
    let owned = [
        ("https://{{ settings.shop }}/hooks", "https://{{ settings.shop }}.shops.example/hooks"),
        ("https://{{ settings.elsewhere }}/hooks", "https://{{ settings.elsewhere }}.shops.example/hooks"),
    ];
    assert_eq!(hosts(&owned), ["*.shops.example"]);
    // Where it has to be declared, it is written so that YAML takes it.
    let mixed = [owned[0], ("https://{{ settings.elsewhere }}/hooks", "https://other.example/hooks")];
    let found = said(&[mixed[0], mixed[1], ("  elsewhere: {title", "  #elsewhere: {title")]);
    let (_, help) = found.iter().find(|(message, _)| message.contains("would reach")).unwrap();
    assert!(help.contains("hosts: ['*.shops.example', other.example]"), "{help}");
}
