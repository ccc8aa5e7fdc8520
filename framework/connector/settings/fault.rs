//! What is wrong with a configuration, said all at once.

use crate::error::{Error, Kind};

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong, one sentence without a full stop.
    pub sentence: String,
    /// What to do next.
    pub help: Option<String>,
}

impl Fault {
    /// A fault with its sentence.
    pub fn new(sentence: impl Into<String>) -> Self {
        Self { sentence: sentence.into(), help: None }
    }

    /// Says what to do next.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// All of them in one error; `None` where there are none.
    pub fn together(faults: Vec<Self>) -> Option<Error> {
        let mut faults = faults.into_iter();
        let first = faults.next()?;
        let rest: Vec<Self> = faults.collect();
        if rest.is_empty() {
            let mut error = Error::new(Kind::Configuration, first.sentence);
            error.help = first.help;
            return Some(error);
        }
        let mut text = format!("{} things are wrong with the configuration", rest.len() + 1);
        for fault in std::iter::once(&first).chain(&rest) {
            text.push_str("\n  - ");
            text.push_str(&fault.sentence);
            if let Some(help) = &fault.help {
                text.push_str("\n    help: ");
                text.push_str(help);
            }
        }
        Some(Error::new(Kind::Configuration, text))
    }
}
