//! The language: what loads, what the definition says, and that nothing breaks the loader.

use std::path::{Path, PathBuf};

use forebay::connector::load::load;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn the_shipped_connector_loads() {
    let connector = load(&repository().join("connectors/auth0-log-stream")).unwrap();
    assert_eq!(connector.name, "auth0-log-stream");
    assert_eq!(connector.settings.len(), 4);
    assert_eq!(connector.secrets.len(), 4);
    assert_eq!(connector.auths.len(), 2);
    assert_eq!(connector.output.known_types.len(), 179);
    assert_eq!(connector.samples.len(), 1);
    let provision = connector.provision.unwrap();
    let stream = &provision.resources[0];
    assert_eq!(stream.name, "log_stream");
    assert_eq!(
        (stream.create.len(), stream.update.len(), stream.repair.len(), stream.delete.len()),
        (1, 1, 1, 1)
    );
    assert!(stream.find.is_some() && stream.check.is_some());
    assert_eq!(connector.receiver.records.each.len(), 2);
}
