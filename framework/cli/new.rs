//! `forebay new`: writes a connector's folder from a few answers, which come from flags, from a person at the terminal,
//! or from defaults that are said. It never overwrites anything.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use clap::builder::PossibleValuesParser as OneOf;

use super::print::line;
use super::schema::{CASE, CONNECTOR};
use crate::error::{Error, Kind, Result};
use crate::new::folder;
use crate::new::questions::{self, Answers, Question};

/// Its flags.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The connector's name, which is that of its folder: acme-events
    name: String,
    /// The folder that has, or gets, the folders connectors/ and schemas/ (default: this one)
    #[arg(long = "in", value_name = "DIR")]
    root: Option<PathBuf>,
    /// Ask nothing, also on a terminal
    #[arg(long)]
    defaults: bool,
    /// What people call the stream
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Who sends it
    #[arg(long, value_name = "TEXT")]
    vendor: Option<String>,
    /// What it does, in one sentence
    #[arg(long, value_name = "TEXT")]
    summary: Option<String>,
    /// Where the vendor's API has its list of webhooks
    #[arg(long, value_name = "URL|none")]
    api: Option<String>,
    /// How calls to the API are signed
    #[arg(long, value_name = "KIND", value_parser = OneOf::new(questions::AUTH))]
    auth: Option<String>,
    /// The header that carries the API key
    #[arg(long, value_name = "HEADER")]
    auth_header: Option<String>,
    /// Where the access token is fetched
    #[arg(long, value_name = "URL")]
    token_url: Option<String>,
    /// How a request proves who sent it
    #[arg(long, value_name = "KIND", value_parser = OneOf::new(questions::VERIFY))]
    verify: Option<String>,
    /// Who makes the key that both know
    #[arg(long, value_name = "WHO", value_parser = OneOf::new(questions::KEY))]
    key: Option<String>,
    /// The header that carries the proof
    #[arg(long, value_name = "HEADER")]
    header: Option<String>,
    /// The hash of the HMAC
    #[arg(long, value_name = "HASH", value_parser = OneOf::new(questions::HASH))]
    hash: Option<String>,
    /// How the signature is written
    #[arg(long, value_name = "ENCODING", value_parser = OneOf::new(questions::ENCODING))]
    encoding: Option<String>,
    /// What stands before the signature
    #[arg(long, value_name = "TEXT|none")]
    prefix: Option<String>,
    /// Where the time is that is signed with the body: a header, or a pair of the signature's header (pair:t)
    #[arg(long, value_name = "HEADER|pair:NAME|none")]
    timestamp: Option<String>,
    /// What the signature is called where the time is a pair beside it
    #[arg(long, value_name = "NAME")]
    pair: Option<String>,
    /// Where the keys of the tokens are published
    #[arg(long, value_name = "URL")]
    keys_url: Option<String>,
    /// How the body is written
    #[arg(long, value_name = "FORMAT", value_parser = OneOf::new(questions::BODY))]
    body: Option<String>,
    /// Where in the body the list of events is
    #[arg(long, value_name = "POINTER|none")]
    each: Option<String>,
    /// Where the id of an event is
    #[arg(long, value_name = "POINTER|header:NAME|none")]
    id: Option<String>,
    /// Where an event says when it happened
    #[arg(long, value_name = "POINTER|none")]
    time: Option<String>,
    /// How that time is written
    #[arg(long, value_name = "FORMAT", value_parser = OneOf::new(questions::TIME_FORMAT))]
    time_format: Option<String>,
    /// Where an event says what happened
    #[arg(long = "type", value_name = "POINTER|header:NAME|none")]
    kind: Option<String>,
}

/// Runs it.
pub fn run(arguments: Arguments) -> Result<ExitCode> {
    folder::name(&arguments.name)?;
    let asks = !arguments.defaults && std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    let (name, root) = (arguments.name.clone(), arguments.root.clone().unwrap_or_default());
    let given = given(arguments);
    let (mut input, mut output) = (std::io::stdin().lock(), std::io::stderr());
    let ask = |question: &Question, default: &str| match asks {
        true => asked(question, default, &mut input, &mut output).map(Some),
        false => Ok(None),
    };
    let (answers, assumed) = questions::answer(&name, &given, ask)?;
    let place = folder::write(&root.join("connectors"), &answers)?;
    let schemas = schemas(&root)?;
    for question in assumed {
        let answer = answers.get(question).map(String::as_str).unwrap_or_default();
        line(format_args!("assumed: --{question} {}", quoted(answer)))?;
    }
    for file in schemas {
        line(format_args!("written: {}, for your editor", file.display()))?;
    }
    line(format_args!("written: {}", place.display()))?;
    line(next(&place, &answers))?;
    Ok(ExitCode::SUCCESS)
}

/// The answers that came as flags.
fn given(arguments: Arguments) -> BTreeMap<&'static str, String> {
    let flags = [
        ("title", arguments.title),
        ("vendor", arguments.vendor),
        ("summary", arguments.summary),
        ("api", arguments.api),
        ("auth", arguments.auth),
        ("auth-header", arguments.auth_header),
        ("token-url", arguments.token_url),
        ("verify", arguments.verify),
        ("key", arguments.key),
        ("header", arguments.header),
        ("hash", arguments.hash),
        ("encoding", arguments.encoding),
        ("prefix", arguments.prefix),
        ("timestamp", arguments.timestamp),
        ("pair", arguments.pair),
        ("keys-url", arguments.keys_url),
        ("body", arguments.body),
        ("each", arguments.each),
        ("id", arguments.id),
        ("time", arguments.time),
        ("time-format", arguments.time_format),
        ("type", arguments.kind),
    ];
    flags.into_iter().filter_map(|(name, text)| Some((name, text?))).collect()
}

/// Asks a person until the answer is one. Nothing but Enter takes the default.
fn asked(
    question: &Question,
    default: &str,
    input: &mut impl BufRead,
    output: &mut impl Write,
) -> Result<String> {
    let terminal = |e| Error::new(Kind::Io, "the terminal cannot be used").because(e);
    let hint = question.takes.hint();
    let hint = if hint.is_empty() { hint } else { format!(" ({hint})") };
    loop {
        write!(output, "{}{hint} [{default}] ", question.ask)
            .and_then(|()| output.flush())
            .map_err(terminal)?;
        let mut line = String::new();
        if input.read_line(&mut line).map_err(terminal)? == 0 {
            return Err(Error::new(Kind::Configuration, "the answers ended, and nothing was written")
                .help("flags answer too: forebay new --help"));
        }
        let answer = if line.trim().is_empty() { default } else { line.trim() };
        match question.takes.check(answer) {
            Ok(()) => return Ok(answer.to_owned()),
            Err(why) => writeln!(output, "  {why}").map_err(terminal)?,
        }
    }
}

/// The schemas that the first lines of the files lead to; those that are there stay as they are.
fn schemas(root: &Path) -> Result<Vec<PathBuf>> {
    let folder = root.join("schemas");
    let mut written = Vec::new();
    for (name, text) in [("connector.json", CONNECTOR), ("case.json", CASE)] {
        let file = folder.join(name);
        if file.exists() {
            continue;
        }
        std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, text)).map_err(|e| {
            Error::new(Kind::Io, "the schema for editors cannot be written")
                .at(file.display().to_string())
                .because(e)
        })?;
        written.push(file);
    }
    Ok(written)
}

/// A value as a shell takes it.
fn quoted(text: &str) -> String {
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=@".contains(&b));
    if plain && !text.is_empty() { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// What a person does now.
fn next(place: &Path, answers: &Answers) -> String {
    let path = quoted(&place.display().to_string());
    let vendor = answers.get("vendor").map(String::as_str).unwrap_or("the vendor");
    format!(
        "\nIt validates and passes its case already. Now make it true of {vendor}: search connector.yaml for `check`,\n\
         put a real event into cases/event.json, describe it in record.json, and after each change\n\n  \
         forebay validate {path}\n  forebay test {path}\n  forebay docs {path}"
    )
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;
    use crate::new::questions::QUESTIONS;

    #[test]
    fn each_question_has_a_flag_and_a_place_among_the_given() {
        let command = Cli::command();
        let new = command.find_subcommand("new").unwrap();
        let mut words = vec!["forebay".to_owned(), "new".to_owned(), "x".to_owned()];
        for question in QUESTIONS {
            let flag = new.get_arguments().find(|a| a.get_long() == Some(question.name)).unwrap();
            let value =
                flag.get_possible_values().first().map_or("x".to_owned(), |v| v.get_name().to_owned());
            words.extend([format!("--{}", question.name), value]);
        }
        let crate::cli::Command::New(arguments) = <Cli as clap::Parser>::parse_from(words).command else {
            panic!()
        };
        assert_eq!(given(*arguments).len(), QUESTIONS.len());
    }

    fn conversation(typed: &str) -> (Result<(Answers, Vec<&'static str>)>, String) {
        let (mut input, mut output) = (typed.as_bytes(), Vec::new());
        let given = BTreeMap::from([("vendor", "Acme".to_owned())]);
        let answers = questions::answer("acme-events", &given, |question, default| {
            asked(question, default, &mut input, &mut output).map(Some)
        });
        (answers, String::from_utf8(output).unwrap())
    }

    #[test]
    fn a_person_is_asked_what_no_flag_said_and_asked_again_where_it_is_no_answer() {
        let typed = "Acme Audit\n\nhttp://nope\nnone\nmagic\ntoken\n\nX-Key\n\n\n\n\n\n\n";
        let (answers, told) = conversation(typed);
        let (answers, assumed) = answers.unwrap();
        assert_eq!((answers["title"].as_str(), answers["api"].as_str()), ("Acme Audit", "none"));
        assert_eq!((answers["verify"].as_str(), answers["header"].as_str()), ("token", "X-Key"));
        assert_eq!(answers["id"], "/id");
        assert!(assumed.is_empty(), "a person saw every default: {assumed:?}");
        assert!(!told.contains("Who sends it"), "a flag said so:\n{told}");
        assert!(
            told.contains("it takes: https://..., or none") && told.contains("it takes: hmac, token"),
            "{told}"
        );
        assert!(!told.contains("Which hash"), "a token has none:\n{told}");
    }

    #[test]
    fn answers_that_end_early_write_nothing() {
        let (answers, _) = conversation("Acme Audit\n");
        assert!(answers.unwrap_err().to_string().contains("nothing was written"));
    }
}
