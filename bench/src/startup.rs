//! How long a start takes while a million records wait for a sink: after a kill in the middle of the load, and after a
//! graceful stop. Then the sink comes back, and every record must reach it.

use std::io::{self, Error, Write};

use crate::bench::Bench;
use crate::forebay::Forebay;
use crate::load::Load;
use crate::sink::Sink;
use crate::table::{Table, median, short};

/// Fills a store whose only sink refuses everything, then starts on it again. Returns the slower median, in seconds.
pub fn start(bench: &Bench, events: u64) -> io::Result<f64> {
    let (mut killed, mut stopped) = (Vec::new(), Vec::new());
    for run in 1..=bench.runs {
        bench.note(&format!("start with {} records, run {run}", short(events as f64)));
        let folder = bench.scratch.folder()?;
        let sink = Sink::start()?;
        sink.refuse(true);
        let forebay = Forebay {
            binary: bench.binary.clone(),
            folder: folder.path().to_owned(),
            instances: 1,
            sinks: format!("[{{name: away, http: {{url: {}}}}}]", sink.url()),
        };
        let load = Load { first: 0, events, batch: 100, connections: 8, rate: None };
        let first = forebay.start()?;
        load.pour(&bench.events, &first.target)?;
        drop(first);

        let after_kill = forebay.start()?;
        killed.push(after_kill.took.as_secs_f64());
        after_kill.stop()?;
        let after_stop = forebay.start()?;
        stopped.push(after_stop.took.as_secs_f64());

        sink.refuse(false);
        let got = sink.wait_for(load.end());
        if got.distinct != load.end() {
            return Err(Error::other(format!(
                "{} of {} records were delivered after the starts; it said:\n{}",
                got.distinct,
                load.end(),
                after_stop.said()
            )));
        }
        after_stop.stop()?;
    }
    let (killed, stopped) = (median(killed), median(stopped));
    let mut table =
        Table::new([&*format!("start with {} undelivered records", short(events as f64)), "seconds"]);
    table.row(["after kill -9".to_owned(), short(killed)]);
    table.row(["after a graceful stop".to_owned(), short(stopped)]);
    writeln!(io::stdout(), "{table}")?;
    Ok(killed.max(stopped))
}
