//! What the figures have to be, and whether they are. `--check` makes the command fail where one is missed.

use std::fmt;

use crate::table::{Table, short};

/// A bound that a figure keeps to.
#[derive(Debug, Clone, Copy)]
pub enum Bound {
    /// It is no more than this.
    Most(f64),
    /// It is no less than this.
    Least(f64),
}

/// CPU of the process an event, 100 a request, in microseconds.
pub const CPU_HUNDRED: Bound = Bound::Most(7.0);
/// CPU of the process an event, 1 a request on 64 connections, in microseconds.
pub const CPU_ONE: Bound = Bound::Most(45.0);
/// Events a second, 100 a request.
pub const RATE: Bound = Bound::Least(180e3);
/// p99 of the answer at half load, 100 a request, in milliseconds.
pub const P99: Bound = Bound::Most(25.0);
/// Peak memory with the default window, in megabytes.
pub const PEAK: Bound = Bound::Most(96.0);
/// The dearest cost an event over the cheapest, with more events or more instances.
pub const FLAT: Bound = Bound::Most(1.15);
/// Seconds from the start to the ready line with a million records undelivered.
pub const START: Bound = Bound::Most(2.0);
/// Megabytes that a process holds which does nothing.
pub const IDLE: Bound = Bound::Most(25.0);

/// The targets that were measured.
#[derive(Debug, Default)]
pub struct Targets(Vec<(String, Bound, f64)>);

impl Targets {
    /// Adds one.
    pub fn add(&mut self, name: &str, bound: Bound, figure: f64) {
        self.0.push((name.to_owned(), bound, figure));
    }

    /// Whether none is missed.
    pub fn met(&self) -> bool {
        self.0.iter().all(|(_, bound, figure)| bound.holds(*figure))
    }
}

impl Bound {
    /// A figure that could not be measured keeps to no bound.
    fn holds(self, figure: f64) -> bool {
        match self {
            Self::Most(most) => figure <= most,
            Self::Least(least) => figure >= least,
        }
    }
}

impl fmt::Display for Targets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["target", "bound", "measured", ""]);
        for (name, bound, figure) in &self.0 {
            let shown = match bound {
                Bound::Most(most) => format!("<= {}", short(*most)),
                Bound::Least(least) => format!(">= {}", short(*least)),
            };
            let verdict = if bound.holds(*figure) { "met" } else { "**missed**" };
            table.row([name.clone(), shown, short(*figure), verdict.to_owned()]);
        }
        table.fmt(f)
    }
}
