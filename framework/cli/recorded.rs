//! `run --record DIR`: the beginning and the end of a recording, and what is said of it.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use crate::call::transport::{HttpTransport, Options};
use crate::connector::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::queue::local::Beside;
use crate::run::config::Configuration;
use crate::simulate::folder::Scratch;
use crate::simulate::record::{self, Finished, Recording};

/// Makes the folder of a recording, before there is anything to lose.
pub(super) fn make_folder(folder: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| {
        Error::new(Kind::Configuration, "recordings cannot be kept there")
            .at(folder.display().to_string())
            .help("name a folder that is there, or that can be made, with --record DIR")
            .because(e)
    })
}

/// Begins one, where it can be made a case of: of one instance whose secrets can be told from other text.
pub(super) fn begin(
    configuration: &Configuration,
    folder: &Path,
    clock: Arc<dyn Clock>,
) -> Result<Arc<Recording>> {
    let [one] = configuration.instances.as_slice() else {
        return Err(
            Error::new(Kind::Configuration, "a recording is of one instance").help("pick one by --id ID")
        );
    };
    Recording::is_possible(&one.instance)?;
    make_folder(folder)?;
    if Beside::exists(&configuration.data_dir) {
        tracing::warn!(
            instance = %one.instance.id,
            "recording goes on from what this data folder holds, and a case begins with nothing: give an empty --data-dir, or it may not hold"
        );
    }
    let recording = Recording::new(clock);
    recording.is_of(one.instance.clone());
    Ok(recording)
}

/// Writes the case, and says where it is and whether it holds.
pub(super) async fn finish(recording: &Recording, folder: &Path) -> Result<()> {
    let scratch = Scratch::new(&std::env::temp_dir())?;
    let loopback = Arc::new(HttpTransport::new(Options { allow_loopback: true, ..Options::default() })?);
    let Finished { file, wrong, left_out } =
        record::finish(recording, folder, scratch.path(), loopback).await?;
    match (file, wrong) {
        (None, _) => eprintln!("recorded: nothing, since nothing happened"),
        (Some(file), None) => {
            eprintln!("recorded: {}, which holds; read it before you commit it", file.display())
        }
        (Some(file), Some(why)) => {
            eprintln!("recorded: {}, which does not hold as it stands: {why}", file.display())
        }
    }
    let told = [
        (left_out.refused, "requests that were not accepted"),
        (left_out.beyond, "requests beyond what a case holds"),
        (left_out.calls, "calls without an answer, or beyond what a case holds"),
    ];
    for (count, what) in told.iter().filter(|(count, _)| *count > 0) {
        eprintln!("  left out: {count} {what}");
    }
    Ok(())
}
