//! What each instance can rely on of the store, and bounds that can never work.
//!
//! `configure` calls it once the instances are known.

use std::path::Path;

use super::{Gathering, Purpose};
use crate::connector::instance::Instance;
use crate::connector::settings::nearest;
use crate::error::escaped;
use crate::queue::shares::Member;
use crate::receive::limits::DEEPEST;
use crate::run::config::Configuration;

/// Bytes that a store takes before the first record is stored, with room for one.
const LEAST_STORE: u64 = 128 << 10;

impl Gathering<'_> {
    /// Divides the store among the instances. An id is remembered for as long as its sender repeats it, unless the
    /// file says how long.
    pub(super) fn divide(&mut self, configuration: &mut Configuration) {
        let weights = &self.file.queue.shares.weights;
        let fixed = self.file.queue.has_age();
        let age = configuration.queue.dedupe_age;
        for one in &configuration.instances {
            let retry_window = retry_window(&one.instance);
            let member = Member {
                weight: weights.get(one.instance.id.as_str()).copied().unwrap_or(1),
                dedupe_age: retry_window.filter(|window| !fixed && *window > age),
                retry_window,
            };
            configuration.queue.shares.members.insert(one.instance.id.clone(), member);
        }
        // With --id there is one of the file's instances: the others have shares all the same.
        let ids: Vec<&str> = self.ids.iter().map(String::as_str).collect();
        let unknown: Vec<&String> = weights.keys().filter(|id| !ids.contains(&id.as_str())).collect();
        for id in unknown {
            let help = match nearest(id, ids.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "name instances of this file by their ids".to_owned(),
            };
            let shown = escaped(id, 80);
            self.faults.push(
                super::Fault::new(format!("queue.shares.weights names no instance: `{shown}`")).help(help),
            );
        }
        if configuration.queue.shares.reserved > 100 {
            let sentence = "queue.shares.reserved is more than 100 percent";
            self.fault(sentence, "it is the part of the store that is reserved for the instances");
        }
    }

    /// Bounds under which nothing could ever be received.
    pub(super) fn check_bounds(&mut self, configuration: &Configuration) {
        let (receive, queue) = (&configuration.receive, &configuration.queue);
        if receive.depth > DEEPEST {
            let sentence = format!("receiver.limits.depth is {}, and the most is {DEEPEST}", receive.depth);
            self.fault(sentence, format!("give {DEEPEST} or less"));
        }
        if (1..LEAST_STORE).contains(&queue.max_bytes) {
            let sentence = format!("queue.max_bytes is {} bytes: expected at least 128 KiB", queue.max_bytes);
            self.fault(sentence, "an empty store takes some of it: give as much as sinks may fall behind");
        }
        if self.ask.purpose == Purpose::Run
            && let Some(size) = size_of_disk(&configuration.data_dir)
            && queue.min_free >= size
        {
            let sentence = format!(
                "queue.min_free is {} bytes, and the disk of {} has {size} in all",
                queue.min_free,
                configuration.data_dir.display()
            );
            self.fault(sentence, "nothing could ever be received: give less, or another data_dir");
        }
    }
}

/// How long the sender of an instance repeats a request.
fn retry_window(instance: &Instance) -> Option<std::time::Duration> {
    instance.connector.receiver.sender.gives_up_after
}

/// Bytes of the file system that a folder is on, or will be.
fn size_of_disk(folder: &Path) -> Option<u64> {
    let there = std::path::absolute(folder).ok()?;
    let there = there.ancestors().find(|path| path.exists())?;
    let system = rustix::fs::statvfs(there).ok()?;
    Some(system.f_blocks.saturating_mul(system.f_frsize))
}
