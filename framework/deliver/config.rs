//! What a sink is told: where records go, in which portions, and how often a file is rotated.

use std::path::PathBuf;
use std::time::Duration;

use crate::connector::secret::SharedSecret;

/// One sink of one instance.
#[derive(Debug, Clone)]
pub struct SinkConfig {
    /// What its cursor is kept under.
    pub name: String,
    /// What it is.
    pub target: Target,
}

/// Where records go.
#[derive(Debug, Clone)]
pub enum Target {
    /// JSON Lines on standard output.
    Stdout,
    /// JSON Lines appended to a file of mode 0600.
    File {
        /// The file.
        path: PathBuf,
        /// When it is set aside; `None` is never.
        rotate: Option<Rotate>,
    },
    /// Requests to another server.
    Http(HttpTarget),
}

/// When a file is set aside, compressed, and begun anew: whichever comes first.
#[derive(Debug, Clone, Copy)]
pub struct Rotate {
    /// At so many bytes.
    pub size: Option<u64>,
    /// After so long.
    pub every: Option<Duration>,
}

/// Requests to another server.
#[derive(Debug, Clone)]
pub struct HttpTarget {
    /// Where to.
    pub url: url::Url,
    /// Name and value; a value changes where its file does.
    pub headers: Vec<(String, SharedSecret)>,
    /// JSON Lines or one array.
    pub format: HttpFormat,
    /// Whether bodies are compressed.
    pub gzip: bool,
    /// At most so many records a request.
    pub count: usize,
    /// At most so many bytes a request, before compression; a single larger record goes alone.
    pub bytes: usize,
    /// How long a record waits for others.
    pub age: Duration,
}

/// How a request to a sink is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HttpFormat {
    /// One record a line.
    #[default]
    JsonLines,
    /// One JSON array.
    Array,
}
