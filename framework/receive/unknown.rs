//! Requests for paths that no instance receives at: one line in the log now and then, with what was probably meant.
//!
//! `accept` calls it. Anybody can make such requests, so the line is rare, the path is cut and escaped, and the query, which
//! may hold a secret, is left out.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::request::Raw;
use super::router::Router;
use crate::error::escaped;

/// How often such a request is logged at most.
const QUIET: Duration = Duration::from_secs(10);
/// Paths that are listed.
const LISTED: usize = 5;
/// Characters of a path.
const SHOWN: usize = 200;

/// What was logged last, and how many requests were not logged since.
#[derive(Debug, Default)]
pub(super) struct Unknown(Mutex<(Option<Instant>, u64)>);

impl Unknown {
    /// Logs a request whose path is unknown, unless one was logged just now.
    pub(super) fn log(&self, router: &Router, raw: &Raw) {
        let suppressed = {
            let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if said.0.is_some_and(|at| at.elapsed() < QUIET) {
                said.1 += 1;
                return;
            }
            said.0 = Some(Instant::now());
            std::mem::take(&mut said.1)
        };
        let path = escaped(&raw.head.path, SHOWN);
        let paths = router.paths();
        let listed =
            paths.iter().take(LISTED).map(|path| escaped(path, SHOWN)).collect::<Vec<_>>().join(", ");
        let more = paths.len().saturating_sub(LISTED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let meant =
            router.meant(&raw.head.path).map(|meant| format!("did you mean {}? ", escaped(meant, SHOWN)));
        let help = format!("{}receivers here: {listed}{more}", meant.unwrap_or_default());
        let (method, peer) = (&raw.head.method, raw.peer.address);
        let suppressed = (suppressed > 0).then_some(suppressed);
        tracing::warn!(%method, path, %peer, suppressed, help, "request for a path that no instance receives at");
    }
}
