//! The ways out of the process: to vendors, as their specs and the flags say, and to the operator's own sinks.

use std::path::Path;
use std::sync::Arc;

use crate::call::Transport;
use crate::call::caller::Caller;
use crate::call::retry::Pace;
use crate::call::transport::{HttpTransport, Options};
use crate::condition::Conditions;
use crate::connector::clock::SystemClock;
use crate::error::{Error, Kind, Result};
use crate::files::{self, Admit};
use crate::run::config::Outgoing;
use crate::simulate::record::Recording;

/// Bytes that a file of root certificates may have: the public ones are 250 KiB.
const MAX_ROOTS: u64 = 4 << 20;
/// Bytes that are read of a sink's answer. What comes behind them is left unread.
const SINK_ANSWER: usize = 64 << 10;

/// Makes the calls of `plan` and `destroy` to vendors.
pub(super) fn caller(outgoing: &Outgoing) -> Result<Arc<Caller>> {
    Ok(caller_over(to_vendors(outgoing)?, None, Arc::default()))
}

/// Sends to vendors.
pub(super) fn to_vendors(outgoing: &Outgoing) -> Result<Arc<HttpTransport>> {
    Ok(Arc::new(HttpTransport::new(options(outgoing)?)?))
}

/// Makes calls over a transport; they are recorded where that is wanted.
pub(super) fn caller_over(
    http: Arc<HttpTransport>,
    recording: Option<&Arc<Recording>>,
    conditions: Arc<Conditions>,
) -> Arc<Caller> {
    let mut transport: Arc<dyn Transport> = http;
    if let Some(recording) = recording {
        transport = recording.over(transport);
    }
    let caller = Caller::new(transport, Arc::new(SystemClock), Pace::default());
    Arc::new(caller.reporting_to(conditions))
}

/// Sends to sinks: the operator names them, so that private addresses and plain http are as good as others.
pub(super) fn to_sinks(outgoing: &Outgoing) -> Result<Arc<HttpTransport>> {
    Ok(Arc::new(HttpTransport::new(Options {
        operators_own: true,
        max_answer_bytes: SINK_ANSWER,
        ..options(outgoing)?
    })?))
}

fn options(outgoing: &Outgoing) -> Result<Options> {
    Ok(Options {
        allow_loopback: outgoing.allow_loopback,
        proxy: outgoing.proxy.clone(),
        extra_roots_pem: outgoing.ca_file.as_deref().map(read).transpose()?,
        ..Options::default()
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let contents = files::read(path, MAX_ROOTS, Admit::Pipes, files::READ_TIME).map_err(|unread| {
        Error::new(Kind::Configuration, format!("the file of --ca-file {unread}"))
            .at(path.display().to_string())
    })?;
    Ok(contents.bytes)
}
