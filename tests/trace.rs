//! What strace wrote down, read again: the system calls of a process, in an order in which they happened.

use std::collections::HashMap;

/// One system call: which, on what, with what; the lines of the trace on which it began and ended.
#[derive(Debug)]
pub struct Call {
    pub name: String,
    /// The arguments and the result, as far as they are shown.
    pub text: String,
    pub begun: usize,
    pub ended: usize,
    /// Who called.
    pub thread: String,
}

impl Call {
    pub fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }

    /// Whether a test had it fail.
    pub fn injected(&self) -> bool {
        self.text.ends_with("(INJECTED)")
    }

    /// Whether a test had it fail, or had the process killed at it.
    pub fn harmed(&self) -> bool {
        self.injected() || self.result() == "?"
    }

    /// What its file descriptor stands for.
    pub fn on(&self) -> &str {
        let shown = self.text.split_once('<').map_or("", |(_, rest)| rest);
        shown.split_once('>').map_or("", |(on, _)| on)
    }

    pub fn result(&self) -> &str {
        self.text.rsplit_once(" = ").map_or("", |(_, result)| result.trim())
    }
}

/// Puts together what a trace of many threads tore apart. All stops of all threads pass one tracer, so that the
/// order of the lines is an order in which it happened.
pub fn calls(trace: &str) -> Vec<Call> {
    let mut open: HashMap<&str, Call> = HashMap::new();
    let mut calls = Vec::new();
    for (at, line) in trace.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(resumed) = rest.strip_prefix("<... ") {
            let Some(mut call) = open.remove(thread) else { continue };
            call.text.push_str(resumed.split_once(" resumed>").map_or("", |(_, rest)| rest));
            calls.push(Call { ended: at, ..call });
        } else if let Some((name, text)) = rest.split_once('(') {
            let call = Call {
                name: name.to_owned(),
                text: text.to_owned(),
                begun: at,
                ended: at,
                thread: thread.to_owned(),
            };
            match call.text.strip_suffix(" <unfinished ...>").map(str::to_owned) {
                Some(text) => drop(open.insert(thread, Call { text, ..call })),
                None => calls.push(call),
            }
        }
    }
    calls.sort_by_key(|call| call.begun);
    calls
}
