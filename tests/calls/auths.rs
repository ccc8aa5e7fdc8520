//! Every way to get a token against the stand-in, which takes none that it did not give: the whole life of a
//! stream, in the middle of which all tokens end.

use forebay::connector::load::load;

use crate::support::{forebay, root};

const FOLDER: &str = "tests/calls/auths";

/// The names of the setting that chooses.
fn auths() -> Vec<String> {
    let connector = load(&root().join(FOLDER)).unwrap();
    let setting = connector.settings.iter().find(|setting| setting.name == "auth").unwrap();
    let all = setting.schema["enum"].as_array().unwrap();
    all.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_auth_lives_a_whole_life_and_is_renewed() {
    for auth in auths() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = forebay();
        command.current_dir(root()).args(["run", FOLDER, "--simulate", "--events", "30"]);
        command.arg("--data-dir").arg(folder.path()).args(["--set", &format!("auth={auth}")]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{auth}: {said}");
        let given = said.lines().filter(|line| line.ends_with("-> 200 (token)")).count();
        let ended = said.lines().filter(|line| line.ends_with("-> 401 (its token has ended)"));
        match auth.as_str() {
            // Nobody gives it, and it is good until it says it ends.
            "signed" => assert_eq!((given, ended.count()), (0, 0), "{said}"),
            _ => assert_eq!((given, ended.count()), (2, 1), "{auth}: {said}"),
        }
        assert!(!said.contains("simulated."), "a token was shown: {said}");
    }
}

/// Connectors of the catalogue live by the auth that nobody chose, too.
#[test]
fn connectors_live_by_their_other_auths() {
    for (connector, auth) in [("box-webhooks", "jwt"), ("azure-event-grid", "certificate")] {
        let folder = tempfile::tempdir().unwrap();
        let mut command = forebay();
        command.current_dir(root()).args(["run", &format!("connectors/{connector}"), "--simulate"]);
        command.args(["--events", "10", "--set", &format!("authentication_type={auth}")]);
        let output = command.arg("--data-dir").arg(folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{connector}: {said}");
        assert_eq!(said.matches("-> 200 (token)").count(), 2, "{connector}: {said}");
    }
}
