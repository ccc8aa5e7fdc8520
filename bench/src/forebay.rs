//! Forebay as the benchmark runs it: the built binary, the Auth0 connector in manual mode with a key, its real sinks.
//!
//! What is not said here is at its default: check, dedupe and a sync before each answer.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::child::Server;
use crate::events::KEY;

/// The connector.
const CONNECTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../connectors/auth0-log-stream");

/// One process of Forebay and its folder.
#[derive(Debug, Clone)]
pub struct Forebay {
    /// The binary.
    pub binary: PathBuf,
    /// Where its configuration, its store and its files are.
    pub folder: PathBuf,
    /// How many instances.
    pub instances: usize,
    /// The sinks of an instance, as its configuration has them; `{file}` stands for a file of the instance's own.
    pub sinks: String,
}

impl Forebay {
    /// One file sink an instance.
    pub fn to_files(binary: &Path, folder: PathBuf, instances: usize) -> Self {
        let sinks = "[{name: file, file: {path: {file}}}]".to_owned();
        Self { binary: binary.to_owned(), folder, instances, sinks }
    }

    /// Writes its configuration, starts it and waits until every instance receives.
    pub fn start(&self) -> io::Result<Server> {
        fs::create_dir_all(&self.folder)?;
        let config = self.folder.join("forebay.yaml");
        fs::write(&config, self.configuration())?;
        let mut command = Command::new(&self.binary);
        command.args(["run", "--allow-loopback", "--config"]).arg(config);
        // /proc tells others than root about a process only if it may be dumped.
        command.env_clear().env("KEY", KEY).env("FOREBAY_CORE_DUMPS", "allow");
        Server::start(&mut command, self.instances)
    }

    /// The file of each instance.
    pub fn files(&self) -> Vec<PathBuf> {
        (0..self.instances).map(|n| self.file(n)).collect()
    }

    fn file(&self, instance: usize) -> PathBuf {
        self.folder.join(format!("out-{instance:03}.jsonl"))
    }

    fn configuration(&self) -> String {
        let mut text = "data_dir: data\nreceiver: {listen: 127.0.0.1:0}\ninstances:\n".to_owned();
        for n in 0..self.instances {
            let sinks = self.sinks.replace("{file}", &self.file(n).display().to_string());
            text += &format!(
                "  - id: i{n:03}\n    connector: {CONNECTOR}\n    settings: {{input_mode: manual}}\n    secrets: {{monad_api_key: {{env: KEY}}}}\n    sinks: {sinks}\n"
            );
        }
        text
    }
}
