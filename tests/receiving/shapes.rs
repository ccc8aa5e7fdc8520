//! Every shape of a body, as a small connector of its own in tests/shapes: validated, its cases played, and its
//! whole life simulated by the built binary.

use crate::support::{forebay, root};

#[test]
fn a_connector_of_every_shape_is_valid_and_its_cases_and_its_life_hold() {
    let entries = std::fs::read_dir(root().join("tests/shapes")).unwrap();
    let mut folders: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
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
