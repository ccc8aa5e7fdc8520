//! Warnings that a comment in the spec allows, and comments that allow nothing.

use super::{WARNING, connector, shown, validate, write};

/// What is found in the spec with this laid over it: codes and lines.
fn found(example: &str) -> Vec<(String, u64)> {
    let (_outer, file) = connector();
    write(&file, example);
    let said = validate(&["--format", "json", shown(&file)]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{}", said.out);
    let found: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
    found
        .iter()
        .map(|one| (one["code"].as_str().unwrap().to_owned(), one["line"].as_u64().unwrap()))
        .collect()
}

/// The codes that are left when the spec has this above and behind the line of its warning.
fn codes(above: &str, behind: &str) -> Vec<String> {
    let line = "    timestamp: {header: x-time, format: unix, tolerance: 5m}";
    let example = WARNING.replace(line, &format!("{above}{line}{behind}"));
    found(&example).into_iter().map(|(code, _)| code).collect()
}

#[test]
fn a_warning_is_allowed_on_its_line_or_above_it() {
    assert_eq!(codes("", ""), ["FB504"]);
    assert_eq!(codes("", " # forebay: allow FB504 Acme signs no time"), [""; 0]);
    assert_eq!(codes("    # forebay: allow FB504 Acme signs no time\n", ""), [""; 0]);
    assert_eq!(
        codes("# forebay: allow FB504, FB508: Acme's own words\n\n    # another remark\n", ""),
        ["FB703"]
    );
    assert_eq!(codes("    # forebay: allow fb504 - small letters\n", ""), [""; 0]);
    // Prose is no allowance, and a text is no comment.
    assert_eq!(codes("    # forebay: see FB504\n", ""), ["FB504"]);
}

#[test]
fn what_allows_nothing_is_a_finding() {
    // Above a line with content it is about that line alone.
    let above = WARNING.replace("    message", "    # forebay: allow FB504 too far away\n    message");
    assert_eq!(found(&above), [("FB703".to_owned(), 28), ("FB504".to_owned(), 30)]);
    assert_eq!(codes("", " # forebay: allow FB504"), ["FB701"]);
    assert_eq!(codes("    # forebay: allow everything\n", ""), ["FB701", "FB504"]);
    assert_eq!(codes("    # forebay: alow FB504 Acme signs no time\n", ""), ["FB701", "FB504"]);
    assert_eq!(codes("    # forebay: ignore FB504 Acme signs no time\n", ""), ["FB701", "FB504"]);
    assert_eq!(codes("    # forebay: allow FB540 Acme signs no time\n", ""), ["FB702", "FB504"]);
    assert_eq!(codes("    # forebay: allow FB305 later\n", ""), ["FB704", "FB504"]);
}

#[test]
fn errors_are_never_allowed() {
    let (_outer, file) = connector();
    write(
        &file,
        "auth:\n  api: {kind: bearer, token: \"{{ secrets.tokn }}\"} # forebay: allow FB305 later\n",
    );
    let said = validate(&[shown(&file)]);
    assert_eq!(said.code, Some(1));
    assert!(
        said.out.contains("error[FB305]")
            && said.out.contains("warning[FB704]: FB305 is an error, and cannot be allowed"),
        "{}",
        said.out
    );
}

#[test]
fn nothing_is_called_needless_while_errors_may_hide_it() {
    let (_outer, file) = connector();
    write(&file, "title: # forebay: allow FB504 Acme signs no time\n");
    let said = validate(&["--format", "json", shown(&file)]);
    assert!(!said.out.contains("FB703"), "{}", said.out);
}

#[test]
fn every_command_that_loads_a_connector_takes_the_same_comments() {
    let (outer, file) = connector();
    std::fs::write(outer.path().join("token"), "a-token").unwrap();
    let warned = |text: &str| {
        write(&file, text);
        let mut command = crate::support::forebay();
        command.args([
            "run",
            shown(&file),
            "--listen",
            "127.0.0.1:0",
            "--public-url",
            "https://logs.example.com",
        ]);
        command.args(["--set", "base_url=https://127.0.0.1:1/", "--secret", "token=file:token"]);
        command.current_dir(outer.path());
        let running = crate::support::Running::start(&mut command, 1);
        let said = running.said();
        // How it ends is no matter here: the vendor's address is one that it may not call.
        running.stop();
        said.contains("FB504")
    };
    assert!(warned(WARNING), "the warning is in the log");
    let allowed =
        WARNING.replace("    timestamp", "    # forebay: allow FB504 Acme signs no time\n    timestamp");
    assert!(!warned(&allowed));
}

#[test]
fn comments_in_a_case_are_heard_and_errors_there_are_not_allowed() {
    let (_outer, file) = connector();
    let cases = file.parent().unwrap().join("cases");
    std::fs::create_dir(&cases).unwrap();
    let case = cases.join("one.yaml");
    let text = "title: One\n# forebay: allow FB412 later\nsettings: {base_ulr: https://a.example/}\nsteps: [] # forebay: alow FB504\n";
    std::fs::write(&case, text).unwrap();
    let said = validate(&["--format", "json", shown(&file)]);
    assert_eq!(said.code, Some(1));
    let found: Vec<serde_json::Value> = serde_json::from_str(&said.out).unwrap();
    let places: Vec<(&str, u64, &str)> = found
        .iter()
        .map(|one| {
            assert_eq!(one["file"], shown(&case), "{one}");
            (one["code"].as_str().unwrap(), one["line"].as_u64().unwrap(), one["severity"].as_str().unwrap())
        })
        .collect();
    assert_eq!(
        places,
        [("FB704", 2, "warning"), ("FB412", 3, "error"), ("FB412", 4, "error"), ("FB701", 4, "warning")]
    );
    // Every format tells the same, at the same places.
    let name = shown(&case);
    let human = validate(&[shown(&file)]).out;
    let github = validate(&["--format", "github", shown(&file)]).out;
    let sarif: serde_json::Value =
        serde_json::from_str(&validate(&["--format", "sarif", shown(&file)]).out).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    for (n, (code, line, severity)) in places.iter().enumerate() {
        assert!(human.contains(&format!("{severity}[{code}]")), "{human}");
        assert!(human.contains(&format!("{name}:{line}:")), "{human}");
        let command = format!("::{severity} file={name},line={line},");
        assert!(github.lines().any(|one| one.starts_with(&command) && one.contains(code)), "{github}");
        assert_eq!(results[n]["ruleId"], *code);
        let place = &results[n]["locations"][0]["physicalLocation"];
        assert_eq!(place["region"]["startLine"], *line);
        assert!(place["artifactLocation"]["uri"].as_str().unwrap().ends_with("/cases/one.yaml"), "{place}");
    }
    assert_eq!(results.len(), places.len());
}
