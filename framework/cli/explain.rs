//! `forebay explain FB304`: what a code of `validate` means, with a bad and a good example. Without a code, all of them.

use std::process::ExitCode;

use clap::Args;

use super::print::print;
use crate::error::{Error, Kind, Result};
use crate::spec::allow::nearest_code;
use crate::spec::mistake::Code;

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The code, as findings show it (without one, all codes are listed)
    code: Option<String>,
}

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let text = match &arguments.code {
        Some(code) => explained(named(code)?),
        None => listed(),
    };
    print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// The code that is meant: `FB304`, `fb304` and `304` are one.
fn named(code: &str) -> Result<Code> {
    let upper = code.trim().to_uppercase();
    let id = if upper.starts_with("FB") { upper } else { format!("FB{upper}") };
    Code::from_id(&id).ok_or_else(|| {
        let help = nearest_code(&id).map_or_else(
            || "`forebay explain` lists the codes".to_owned(),
            |near| {
                format!("did you mean {} ({})? `forebay explain` lists the codes", near.id(), near.title())
            },
        );
        Error::new(Kind::Configuration, format!("there is no code `{}`", crate::error::escaped(code, 40)))
            .help(help)
    })
}

fn listed() -> String {
    let line = |code: &Code| format!("{}  {:7}  {}\n", code.id(), code.severity().word(), code.title());
    Code::ALL.iter().map(line).collect()
}

fn explained(code: Code) -> String {
    let page = code.explanation();
    let mut text =
        format!("{} ({}): {}\n\n{}\n", code.id(), code.severity().word(), code.title(), page.words);
    for (word, example) in [("Wrong", page.bad), ("Right", page.good)] {
        let Some(example) = example else { continue };
        text.push_str(&format!("\n{word}:\n\n"));
        for line in example.lines() {
            text.push_str(format!("    {line}").trim_end());
            text.push('\n');
        }
    }
    text
}
