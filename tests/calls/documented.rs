//! The examples of the language's page on auths are specs that can be loaded.

use forebay::connector::load::load;

use crate::support::root;

/// The `yaml` blocks of a page.
fn blocks(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in page.split("```yaml\n").skip(1) {
        found.push(part.split("```").next().unwrap().to_owned());
    }
    found
}

/// A whole spec with these auths, chosen by a setting.
fn spec(auths: &str) -> String {
    let host = std::fs::read_to_string(root().join("tests/calls/auths/connector.yaml")).unwrap();
    let names: Vec<&str> = auths
        .lines()
        .filter_map(|line| line.strip_prefix("  ").filter(|rest| !rest.starts_with([' ', '#'])))
        .map(|line| line.split(':').next().unwrap())
        .collect();
    let (_, rest) = host.split_once("\nprovision:\n").unwrap();
    let text =
        |name: &str| format!("  {name}: {{title: T, type: string, default: t, description: A text.}}\n");
    let secret = |name: &str| {
        format!(
            "  {name}: {{title: S, required: true, description: A secret., hosts: [settings.base_url, login.example.com, api.example.com]}}\n"
        )
    };
    let settings: String = ["base_url", "client_id", "key_id", "account"].map(text).concat();
    let secrets: String = ["client_secret", "api_token", "private_key", "refresh_token"].map(secret).concat();
    format!(
        "forebay: 1\nname: auths\ntitle: A\nvendor: V\nsettings:\n{settings}  auth: {{title: A, type: string, enum: [{}], description: The auth.}}\nsecrets:\n{secrets}{auths}provision:\n{rest}",
        names.join(", ")
    )
}

#[test]
fn the_examples_of_the_auth_page_can_be_loaded() {
    let page = std::fs::read_to_string(root().join("docs/language/auth.md")).unwrap();
    let blocks = blocks(&page);
    assert!(blocks.len() >= 6, "{} examples", blocks.len());
    for block in blocks {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("auths");
        std::fs::create_dir(&folder).unwrap();
        for file in ["record.json", "sample.json"] {
            std::fs::copy(root().join("tests/calls/auths").join(file), folder.join(file)).unwrap();
        }
        std::fs::write(folder.join("connector.yaml"), spec(&block)).unwrap();
        load(&folder).unwrap_or_else(|error| panic!("{error}\n{block}"));
    }
}
