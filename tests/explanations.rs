//! Promise: every code is explained, with a bad example that has this mistake and no other, and a good one that has
//! none. One source: the pages in framework/spec/codes.

use std::path::Path;

use forebay::connector::load::{Examined, examine};
use forebay::spec::explanation::{MINIMAL, whole};
use forebay::spec::mistake::{Code, Severity};

use crate::support::{forebay, root};

/// An example in the place where a connector would stand.
fn examined(text: &str) -> Examined {
    let outer = tempfile::tempdir().unwrap();
    let folder = outer.path().join("acme-events");
    std::fs::create_dir(&folder).unwrap();
    for name in ["record.json", "sample.json"] {
        std::fs::copy(root().join("tests/bad-specs/files").join(name), folder.join(name)).unwrap();
    }
    std::fs::write(folder.join("connector.yaml"), text).unwrap();
    examine(&folder).unwrap()
}

fn shown(examined: &Examined) -> Vec<(&'static str, &str)> {
    examined.diagnostics.iter().map(|d| (d.code.id(), d.message.as_str())).collect()
}

/// What does not lie in the text of a spec has no example.
const WITHOUT: &[&str] = &["FB101", "FB412", "FB901"];

#[test]
fn every_bad_example_has_its_mistake_alone_and_no_good_one_has_any() {
    let mut wrong = Vec::new();
    for code in Code::ALL {
        let explanation = code.explanation();
        assert!(explanation.words.len() > 80, "{} is hardly explained", code.id());
        assert_eq!(explanation.bad.is_none(), WITHOUT.contains(&code.id()), "{}: a bad example", code.id());
        assert_eq!(explanation.good.is_some(), explanation.bad.is_some(), "{}: a good example", code.id());
        let (Some(bad), Some(good)) = (explanation.bad, explanation.good) else { continue };
        let found = examined(&whole(bad));
        if found.diagnostics.len() != 1 || found.diagnostics[0].code != *code {
            wrong.push(format!("{} bad: {:?}\n{}", code.id(), shown(&found), whole(bad)));
        }
        let found = examined(&whole(good));
        if !found.diagnostics.is_empty() || found.connector.is_none() {
            wrong.push(format!("{} good: {:?}\n{}", code.id(), shown(&found), whole(good)));
        }
        assert!(
            bad.lines().count() <= 12 && good.lines().count() <= 12,
            "{}: short examples teach",
            code.id()
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_an_example_leaves_out_is_a_valid_spec() {
    assert_eq!(shown(&examined(MINIMAL)), []);
    assert_eq!(whole("title: Another\n"), MINIMAL.replace("title: Acme Events\n", "title: Another\n"));
    let key = whole("receiver:\n  rules: []\nx-free: 1\n");
    assert!(key.contains("  respond: {accepted: {status: 200}}\n  rules: []\noutput:"), "{key}");
    assert!(key.ends_with("samples: [sample.json]\nx-free: 1\n"), "{key}");
}

fn explain(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = forebay().arg("explain").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_code_is_explained_on_the_command_line() {
    let (code, out, err) = explain(&["FB504"]);
    assert_eq!((code, err.as_str()), (Some(0), ""));
    insta::assert_snapshot!("explain", out);
    for another in ["fb504", "504"] {
        assert_eq!(explain(&[another]).1, out);
    }
    let (code, out, _) = explain(&[]);
    assert_eq!(code, Some(0));
    assert_eq!(out.lines().count(), Code::ALL.len());
    for (line, code) in out.lines().zip(Code::ALL) {
        let word = if code.severity() == Severity::Error { "error" } else { "warning" };
        assert!(
            line.starts_with(&format!("{}  {word}", code.id())) && line.ends_with(code.title()),
            "{line}"
        );
    }
}

#[test]
fn an_unknown_code_gets_the_nearest_one() {
    let (code, out, err) = explain(&["FB012"]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.starts_with("error: there is no code `FB012`\n  help: did you mean FB102"), "{err}");
}

#[test]
fn the_page_of_the_codes_is_what_would_be_written() {
    let output = forebay().args(["docs", "--errors", "docs/errors.md", "--check"]).output().unwrap();
    assert!(output.status.success(), "run `forebay docs --errors docs/errors.md`");
    let page = std::fs::read_to_string(root().join("docs/errors.md")).unwrap();
    for code in Code::ALL {
        let heading = format!("\n### {}\n", code.id());
        assert_eq!(page.matches(&heading).count(), 1, "{} stands once in docs/errors.md", code.id());
    }
    assert!(Path::new(root()).join("docs/validate.md").is_file());
}
