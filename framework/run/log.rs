//! The log: one line an event, for people or as JSON, without colours.
//!
//! `cli` sets it up once, with the writer, the format and the filter as arguments; nothing is read from the environment.
//! [`super::log_format`] writes an event, [`super::log_filter`] says which are written.
//! Text from outside cannot break a line or steer a terminal, whoever forgot to escape it.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::subscriber::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

pub use super::log_filter::Filter;
use super::log_format;
pub use super::log_format::Format;

/// Where lines go: standard error, or a test's buffer.
pub type Out = Arc<Mutex<dyn Write + Send>>;

/// Returns a subscriber that writes the events which pass the filter.
pub fn subscriber(out: Out, format: Format, filter: impl Into<Filter>) -> Box<dyn Subscriber + Send + Sync> {
    let layer = tracing_subscriber::fmt::layer().event_format(log_format::Line(format));
    let layer = layer.with_writer(Lines { out, format });
    Box::new(tracing_subscriber::registry().with(filter.into().targets()).with(layer))
}

/// Makes a writer for each event.
struct Lines {
    out: Out,
    format: Format,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { out: self.out.clone(), format: self.format, text: Vec::new() }
    }
}

/// One event on its way out; written whole when it is dropped.
struct Line {
    out: Out,
    format: Format,
    text: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.text.is_empty() {
            return;
        }
        let text = String::from_utf8_lossy(&self.text);
        let line = one_line(text.trim_end_matches('\n'), self.format);
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        // There is no place left to say that the log cannot be written.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

/// The text as one line: what could break it or steer a terminal is written as an escape, in JSON as JSON's.
fn one_line(text: &str, format: Format) -> String {
    let mut line = String::with_capacity(text.len() + 1);
    for c in text.chars() {
        if !steers(c) {
            line.push(c);
            continue;
        }
        // Writing to a String cannot fail.
        let _ = match format {
            Format::Human => write!(line, "{}", c.escape_default()),
            Format::Json => write!(line, "\\u{:04x}", u32::from(c)),
        };
    }
    line.push('\n');
    line
}

/// Control characters, line separators and the marks that turn the direction of text.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}
