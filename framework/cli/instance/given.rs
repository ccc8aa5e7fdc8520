//! What flags and variables give an instance: `--set`, `--secret`, FOREBAY_SETTING_* and FOREBAY_SECRET_*.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{Gathering, Wanted};
use crate::connector::secret::{MAX_VALUES, Secret};
use crate::connector::settings::{Given, nearest, shouted};
use crate::error::escaped;
use crate::files::Admit;
use crate::run::config::file::{Lines, Source};
use crate::run::config::{FileSecrets, Place, secrets_of_file};

/// What a variable gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Setting,
    Secret,
}

impl What {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Setting => "FOREBAY_SETTING_",
            Self::Secret => "FOREBAY_SECRET_",
        }
    }

    const fn noun(self) -> &'static str {
        match self {
            Self::Setting => "setting",
            Self::Secret => "secret",
        }
    }

    fn names(self, one: &Wanted) -> Vec<String> {
        match self {
            Self::Setting => one.connector.settings.iter().map(|setting| setting.name.clone()).collect(),
            Self::Secret => one.connector.secrets.iter().map(|secret| secret.name.clone()).collect(),
        }
    }
}

/// How a source is called.
fn called(source: &Source) -> String {
    match source {
        Source::File(path, _) => path.display().to_string(),
        Source::Env(variable) => variable.clone(),
    }
}

/// The secrets at a source, and whether they can be read again.
fn values(source: &Source, environment: &BTreeMap<String, String>) -> Result<FileSecrets, String> {
    match source {
        Source::File(path, lines) => {
            secrets_of_file(path, *lines, Admit::Pipes).map_err(|none| none.sentence)
        }
        Source::Env(variable) => {
            let text = environment.get(variable).ok_or_else(|| format!("the variable {variable} is not set"));
            let empty = || format!("the variable {variable} is empty: an empty secret is never a secret");
            let secret = text.and_then(|text| Secret::new(text).ok_or_else(empty))?;
            Ok(FileSecrets { secrets: vec![secret], again: false })
        }
    }
}

/// The one secret at a source.
pub(super) fn resolve(source: &Source, environment: &BTreeMap<String, String>) -> Result<Secret, String> {
    let mut secrets = values(source, environment)?.secrets;
    match (secrets.pop(), secrets.is_empty()) {
        (Some(secret), true) => Ok(secret),
        _ => Err(format!("{} holds several values, and one is needed", called(source))),
    }
}

impl Gathering<'_> {
    /// Reads every secret from the sources that won, and remembers files, which can be read again. A source
    /// that was beaten is not looked at, and neither is one of a secret that nobody knows.
    pub(super) fn read_secrets(&mut self, one: &mut Wanted) {
        let known = What::Secret.names(one);
        let verifying = one.connector.verifying_secrets();
        for (name, sources) in std::mem::take(&mut one.sources) {
            let from = sources.iter().map(called).collect::<Vec<_>>().join(", ");
            let (mut secrets, mut places, mut sound) = (Vec::new(), Vec::new(), known.contains(&name));
            for source in sources.iter().filter(|_| known.contains(&name)) {
                match values(source, self.environment) {
                    Ok(found) => {
                        match source {
                            Source::File(path, lines) if found.again => {
                                places.push(Place::File(path.clone(), *lines))
                            }
                            _ => places.extend(found.secrets.iter().cloned().map(Place::Fixed)),
                        }
                        secrets.extend(found.secrets);
                    }
                    Err(why) => {
                        let sentence = format!("{}: the secret `{name}`: {why}", one.id);
                        self.fault(sentence, "give it, or name another place");
                        sound = false;
                    }
                }
            }
            if secrets.len() > 1 && !verifying.contains(&name) {
                let sentence = format!("{}: the secret `{name}` has {} values", one.id, secrets.len());
                self.fault(sentence, "give one: it verifies no requests, and calls use one value");
            }
            if secrets.len() > MAX_VALUES {
                let sentence = format!("{}: the secret `{name}` has {} values", one.id, secrets.len());
                self.fault(sentence, format!("give at most {MAX_VALUES}"));
            }
            let mut secrets = secrets.into_iter();
            let first = secrets.next().filter(|_| sound);
            one.values.secrets.insert(name.clone(), (first, from));
            one.values.also.insert(name.clone(), secrets.collect());
            if places.iter().any(|place| matches!(place, Place::File(..))) {
                one.places.push((name, places));
            }
        }
    }

    /// `--set`, `--secret` and `--to`.
    pub(super) fn give_flags(&mut self, wanted: &mut [Wanted]) {
        let flags = self.ask.flags;
        let [one] = wanted else {
            // Where there is none, that was said already.
            let given = !flags.settings.is_empty() || !flags.secrets.is_empty() || !self.ask.to.is_empty();
            if given && !wanted.is_empty() {
                let sentence = "--set, --secret and --to are for one instance";
                self.fault(sentence, "name it with --id ID, or write them into the file");
            }
            return;
        };
        for text in &flags.settings {
            match text.split_once('=') {
                Some((name, value)) => {
                    let given = (Given::Text(value.to_owned()), "--set".to_owned());
                    one.values.settings.insert(name.to_owned(), given);
                }
                None => {
                    let sentence = format!("--set is `{}`, which has no `=`", escaped(text, 80));
                    self.fault(sentence, "write --set NAME=VALUE");
                }
            }
        }
        let mut flagged = BTreeSet::new();
        for text in &flags.secrets {
            self.give_secret_flag(one, text, &mut flagged);
        }
        if !self.ask.to.is_empty() {
            one.sinks = self.sinks_of_flags();
        }
    }

    /// One `--secret`. The first of a name takes the place of what the file says, further ones are further values.
    fn give_secret_flag(&mut self, one: &mut Wanted, text: &str, flagged: &mut BTreeSet<String>) {
        let help = "write --secret NAME=env:VAR, --secret NAME=file:PATH or --secret NAME=lines:PATH";
        let Some((name, place)) = text.split_once('=') else {
            // The text may be a secret that was put in the wrong place: it is not shown.
            return self.fault("a --secret has no `=`", help);
        };
        let source = match place.split_once(':') {
            Some(("env", variable)) if !variable.is_empty() => Source::Env(variable.to_owned()),
            Some(("file", path)) if !path.is_empty() => Source::File(PathBuf::from(path), Lines::Unsaid),
            Some(("lines", path)) if !path.is_empty() => Source::File(PathBuf::from(path), Lines::Each),
            _ => {
                let sentence = format!(
                    "--secret {} names no place; a secret itself never stands on the command line, where others can read it",
                    escaped(name, 80)
                );
                // So that it is not called missing as well.
                one.sources.remove(name);
                one.values.secrets.insert(name.to_owned(), (None, "--secret".to_owned()));
                return self.fault(sentence, help);
            }
        };
        one.values.secrets.remove(name);
        if flagged.insert(name.to_owned()) {
            one.sources.insert(name.to_owned(), vec![source]);
        } else if let Some(sources) = one.sources.get_mut(name) {
            sources.push(source);
        }
    }

    /// Variables by their names. With several instances a name has the instance's id in it.
    pub(super) fn give_variables(&mut self, wanted: &mut [Wanted]) {
        if wanted.is_empty() {
            return;
        }
        for what in [What::Setting, What::Secret] {
            for (variable, text) in self.environment {
                if let Some(rest) = variable.strip_prefix(what.prefix()) {
                    self.give_variable(wanted, what, variable, rest, text);
                }
            }
        }
    }

    fn give_variable(&mut self, wanted: &mut [Wanted], what: What, variable: &str, rest: &str, text: &str) {
        let several = wanted.len() > 1;
        let mut meant = Vec::new();
        for (index, one) in wanted.iter().enumerate() {
            let id = shouted(one.id.as_str());
            for name in what.names(one) {
                let own = format!("{id}_{}", shouted(&name));
                if rest == own || (!several && rest == shouted(&name)) {
                    meant.push((index, name));
                }
            }
        }
        match meant.as_slice() {
            [] => self.unknown_variable(wanted, what, variable, rest),
            [(index, name)] => {
                // The name without the id yields to the one with it.
                let Some(one) = wanted.get_mut(*index) else { return };
                let own = format!("{}{}_{}", what.prefix(), shouted(one.id.as_str()), shouted(name));
                if variable == own || !self.environment.contains_key(&own) {
                    give_text(one, what, name, variable, text);
                }
            }
            [(a, first), (b, second), ..] => {
                let called = |index: &usize| wanted.get(*index).map_or("", |one| one.id.as_str());
                let sentence =
                    format!("{variable} can mean `{first}` of {} and `{second}` of {}", called(a), called(b));
                self.fault(sentence, "say it in the file, or give one of the two another id");
            }
        }
    }

    /// A variable that fits nothing: a slip of the pen, unless it looks like one for an instance that is not
    /// here, which shares the environment.
    fn unknown_variable(&mut self, wanted: &[Wanted], what: What, variable: &str, rest: &str) {
        let ids: Vec<String> = wanted.iter().map(|one| shouted(one.id.as_str())).collect();
        let mut known = Vec::new();
        for one in wanted {
            let id = shouted(one.id.as_str());
            for name in what.names(one) {
                let shouted_name = shouted(&name);
                if wanted.len() > 1 && rest == shouted_name {
                    let help =
                        format!("with several instances its name has the id: {}{id}_{rest}", what.prefix());
                    return self.fault(format!("{variable} does not say whose {} it is", what.noun()), help);
                }
                if let Some(other) = rest.strip_suffix(&format!("_{shouted_name}")) {
                    let slip = nearest(other, ids.iter().map(String::as_str)).is_some();
                    if !slip {
                        return;
                    }
                }
                known.push(format!("{}{id}_{shouted_name}", what.prefix()));
                if wanted.len() == 1 {
                    known.push(format!("{}{shouted_name}", what.prefix()));
                }
            }
        }
        let other = if what == What::Setting { What::Secret } else { What::Setting };
        let swapped = wanted.iter().any(|one| other.names(one).iter().any(|name| shouted(name) == rest));
        let help = match nearest(variable, known.iter().map(String::as_str)) {
            _ if swapped => format!("it is a {}: {}{rest}", other.noun(), other.prefix()),
            Some(near) => format!("did you mean {near}?"),
            None => format!("unset it; no {} of the connector has that name", what.noun()),
        };
        self.fault(format!("the variable {} gives nothing", escaped(variable, 120)), help);
    }
}

fn give_text(one: &mut Wanted, what: What, name: &str, variable: &str, text: &str) {
    match what {
        What::Setting => {
            let given = (Given::Text(text.to_owned()), variable.to_owned());
            one.values.settings.insert(name.to_owned(), given);
        }
        What::Secret => {
            one.sources.insert(name.to_owned(), vec![Source::Env(variable.to_owned())]);
        }
    }
}
