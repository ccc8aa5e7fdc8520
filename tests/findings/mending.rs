//! `validate --fix`: what it changes, what it keeps byte for byte, and what it leaves alone.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::{Said, connector, shown, validate, write};

fn fix(file: &std::path::Path) -> Said {
    validate(&["--fix", shown(file)])
}

#[test]
fn slips_are_mended_and_everything_else_stays_byte_for_byte() {
    let (_outer, file) = connector();
    let good = std::fs::read_to_string(&file)
        .unwrap()
        .replace("receiver:\n", "# What Acme sends:   \nreceiver:   # twice a day\n")
        .replace('\n', "\r\n");
    let bad = good.replace("receiver:", "reciever:").replace("kind: bearer", "kind:  'baerer'");
    std::fs::write(&file, format!("\u{feff}{bad}")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    let said = fix(&file);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{}", said.out);
    let lines: Vec<&str> = said.out.lines().collect();
    let name = shown(&file);
    assert_eq!(
        lines,
        [
            format!("fixed: {name}:13:16: `'baerer'` → `'bearer'` (FB204)"),
            format!("fixed: {name}:23:1: `reciever` → `receiver` (FB201)"),
            format!("ok: acme-events ({name})"),
            "    calls: settings.base_url".to_owned(),
        ]
    );
    let kept = good.replace("kind: bearer", "kind:  'bearer'");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("\u{feff}{kept}"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
    let mut names: Vec<String> = std::fs::read_dir(file.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["connector.yaml", "record.json", "sample.json"], "nothing is left beside it");
}

#[test]
fn a_link_stays_a_link() {
    let (_outer, file) = connector();
    let text = std::fs::read_to_string(&file).unwrap();
    let shared = file.parent().unwrap().join("versions");
    std::fs::create_dir_all(&shared).unwrap();
    let real = shared.join("spec.yaml");
    std::fs::write(&real, text.replace("vendor:", "vender:")).unwrap();
    std::fs::remove_file(&file).unwrap();
    symlink("versions/spec.yaml", &file).unwrap();
    assert_eq!(fix(&file).code, Some(0));
    assert!(file.symlink_metadata().unwrap().is_symlink());
    assert_eq!(std::fs::read_to_string(&real).unwrap(), text);
}

#[test]
fn a_fix_that_leaves_more_mistakes_is_not_applied() {
    let (_outer, file) = connector();
    // As `simulate` this would be wrong twice.
    write(&file, "simulat: {xyzzy: 1, plugh: 2}\n");
    let before = std::fs::read(&file).unwrap();
    let said = fix(&file);
    assert_eq!(said.code, Some(1));
    assert!(
        said.out.starts_with("left alone: ") && said.out.contains("connector.yaml:30:1: "),
        "{}",
        said.out
    );
    assert!(said.out.contains("error[FB201]"), "{}", said.out);
    assert_eq!(std::fs::read(&file).unwrap(), before);

    // Beside it, what can be mended is.
    let text = String::from_utf8(before).unwrap();
    std::fs::write(&file, text.replace("vendor:", "vender:")).unwrap();
    let said = fix(&file);
    assert!(said.out.contains("`vender` → `vendor`") && said.out.contains("left alone: "), "{}", said.out);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn cases_are_mended_with_their_connector() {
    let (_outer, file) = connector();
    let cases = file.parent().unwrap().join("cases");
    std::fs::create_dir(&cases).unwrap();
    let case = cases.join("one.yaml");
    let right = "title: One\nsettings: {base_url: https://a.example/}\nsteps: [] # none yet\n";
    std::fs::write(
        &case,
        right.replace("settings", "setings").replace("[]", "[{clock: 2026-01-01T00:00:00Z}]"),
    )
    .unwrap();
    let said = fix(&file);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{}", said.out);
    assert!(said.out.contains("one.yaml:2:1: `setings` → `settings` (FB412)"), "{}", said.out);
    let mended = std::fs::read_to_string(&case).unwrap();
    assert_eq!(mended, right.replace("[]", "[{clock: 2026-01-01T00:00:00Z}]"));
}

#[test]
fn machine_formats_keep_stdout_for_findings() {
    let (_outer, file) = connector();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("vendor:", "vender:")).unwrap();
    let said = validate(&["--fix", "--format", "json", shown(&file)]);
    assert_eq!((said.code, said.out.as_str()), (Some(0), "[]\n"));
    assert!(said.err.contains("`vender` → `vendor` (FB201)"), "{}", said.err);
}

#[test]
fn a_valid_file_is_not_touched() {
    let (_outer, file) = connector();
    let before = std::fs::metadata(&file).unwrap();
    assert_eq!(fix(&file).code, Some(0));
    let after = std::fs::metadata(&file).unwrap();
    use std::os::unix::fs::MetadataExt;
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
}

#[test]
fn what_a_fix_lays_open_is_mended_too() {
    let (_outer, file) = connector();
    let text = std::fs::read_to_string(&file).unwrap();
    let bad = text.replace("receiver:\n", "reciever:\n").replace("{format: json}", "{format: jsno}");
    std::fs::write(&file, bad.replace("kind: token", "kind: tokn")).unwrap();
    let said = fix(&file);
    assert_eq!(said.code, Some(0), "{}", said.out);
    assert_eq!(said.out.matches("fixed: ").count(), 3, "{}", said.out);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn a_misspelt_name_is_mended_only_where_one_is_surely_meant() {
    let (_outer, file) = connector();
    let good = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, good.replace("secrets.token", "secrets.tokn").replace("item.url", "itm.url"))
        .unwrap();
    let said = fix(&file);
    assert_eq!(said.code, Some(0), "{}", said.out);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), good);

    // Two are as near, or two names differ in a figure: a person says which is meant.
    for (defined, used) in [("tokens", "tokenn"), ("token_1", "token_2")] {
        let secret = format!("  {defined}: {{title: Other, description: Another one.}}\n");
        let two = good.replace("  hook_key: {title", &format!("{secret}  hook_key: {{title"));
        let bad = two.replace("secrets.token }}", &format!("secrets.{used} }}}}"));
        assert!(bad != two, "{two}");
        std::fs::write(&file, &bad).unwrap();
        let said = fix(&file);
        assert_eq!(said.code, Some(1), "{}", said.out);
        assert!(said.out.contains("did you mean") && !said.out.contains("fixed: "), "{}", said.out);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), bad);
    }
}

#[test]
fn templates_get_their_quotes_and_pointers_their_slash() {
    let (_outer, file) = connector();
    let good = std::fs::read_to_string(&file).unwrap();
    let quoted = [
        "\"{{ settings.base_url | join_url('hooks') }}\"",
        "\"{{ receiver.url }}\"",
        "\"{{ secrets.token }}\"",
    ];
    let bad = quoted.iter().fold(good.clone(), |text, one| text.replace(one, one.trim_matches('"')));
    let bad = bad.replace("{id: /id, time: /at, type: /type}", "{id: id, time: at, type: /type}");
    std::fs::write(&file, &bad).unwrap();
    let said = fix(&file);
    assert_eq!(said.code, Some(0), "{}", said.out);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), good, "{}", said.out);
    assert_eq!(said.out.matches("(FB401)").count(), 2, "{}", said.out);

    // What other notations mean is shown, and not put there unasked: a dot may be part of a key.
    std::fs::write(&file, good.replace("time: /at", "time: $.data.at")).unwrap();
    let said = fix(&file);
    assert_eq!(said.code, Some(1));
    assert!(said.out.contains("time: /data/at") && !said.out.contains("fixed: "), "{}", said.out);
}
