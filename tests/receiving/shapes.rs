//! Every shape of a body, as a small connector of its own in tests/shapes: validated, its cases played, and its
//! whole life simulated by the built binary.

use forebay::connector::load::examine_source;
use forebay::spec::mistake::Code;
use forebay::spec::source::Source;

use crate::support::{forebay, root};

#[test]
fn a_connector_of_every_shape_is_valid_and_its_cases_and_its_life_hold() {
    let entries = std::fs::read_dir(root().join("tests/shapes")).unwrap();
    let mut folders: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("connector.yaml").is_file())
        .collect();
    folders.sort();
    assert!(folders.len() >= 8);
    let mut failed = String::new();
    for folder in &folders {
        for verb in ["validate", "test"] {
            let output = forebay().arg(verb).arg(folder).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            let played =
                verb == "validate" || said.contains("ok   its whole life") && !said.contains("0 of 0");
            if output.status.code() != Some(0) || !played {
                let said = [&output.stdout[..], &output.stderr].concat();
                failed.push_str(&format!(
                    "{verb} {}\n{}\n",
                    folder.display(),
                    String::from_utf8_lossy(&said)
                ));
            }
        }
    }
    assert!(failed.is_empty(), "{failed}");
}

/// A spec in which a fragment of the docs stands.
fn spec_with(fragment: &str) -> String {
    let top = |key: &str| fragment.lines().any(|line| line.starts_with(&format!("{key}:")));
    let (mut receiver, mut rest) = (String::new(), String::new());
    let mut outside = false;
    for line in fragment.lines() {
        outside = if line.starts_with(' ') {
            outside
        } else {
            line.starts_with("output:") || line.starts_with("simulate:")
        };
        match outside {
            true => rest.push_str(&format!("{line}\n")),
            false => receiver.push_str(&format!("  {line}\n")),
        }
    }
    let or = |key: &str, line: &str| if top(key) { String::new() } else { format!("{line}\n") };
    format!(
        "forebay: 1\nname: example\ntitle: Example\nvendor: Example\nsettings:\n  \
         id_header: {{title: A, type: string, description: A header.}}\n  \
         id_at: {{title: B, type: string, description: A place.}}\n\
         secrets: {{key: {{title: Key, description: The key.}}}}\n\
         receiver:\n  path: /in\n  verify: {{kind: token, header: x-key, equals: \"{{{{ secrets.key }}}}\"}}\n  \
         respond: {{accepted: {{status: 200}}}}\n{receiver}{}{rest}{}",
        or("decode", "  decode: {format: json}"),
        or("output", "output: {schema: record.json}"),
    )
}

#[test]
fn every_fragment_of_the_page_on_records_is_part_of_the_language() {
    let page = std::fs::read_to_string(root().join("docs/language/records.md")).unwrap();
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("example");
    std::fs::create_dir(&folder).unwrap();
    std::fs::copy(root().join("tests/shapes/schemas/record.json"), folder.join("record.json")).unwrap();
    let file = folder.join("connector.yaml");
    let fragments: Vec<&str> =
        page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(fragments.len() >= 8);
    for fragment in fragments {
        let spec = spec_with(fragment);
        let examined = examine_source(Source::new("docs".to_owned(), &spec), &file);
        // A fragment need not use every setting of the spec that it is put into.
        let apart = [Code::BadSample, Code::Unused];
        let wrong: Vec<_> = examined.diagnostics.iter().filter(|d| !apart.contains(&d.code)).collect();
        assert!(wrong.is_empty(), "{spec}\n{wrong:?}");
        assert!(examined.connector.is_some(), "{spec}");
    }
}
