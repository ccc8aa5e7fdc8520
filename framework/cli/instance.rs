//! Flags, environment and file become one [`Configuration`]. Flags beat the environment, the environment
//! beats the file, the file beats defaults.
//!
//! `run`, `plan` and `destroy` call [`configure`] with what they were given; the environment is an argument,
//! which [`environment`] reads once. Everything that is wrong is said at once.

mod bounds;
mod general;
mod given;
mod sinks;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use serde_json::{Map, Value as Json};
use url::Url;

use super::InstanceFlags;
use crate::connector::instance::{Instance, InstanceId};
use crate::connector::load;
use crate::connector::load::settled;
use crate::connector::model::Connector;
use crate::connector::secret::Secret;
use crate::connector::settings::{self, Checked, Fault, Given, Values};
use crate::connector::template::Scope;
use crate::connector::units;
use crate::deliver::config::SinkConfig;
use crate::error::{Result, escaped};
use crate::receive::Network;
use crate::run::config::file::{self, File, Source};
use crate::run::config::{Configuration, Configured, HeaderOrigin, OVERLAP, Origin, Place};
use crate::simulate;
use crate::spec::shape;

/// What a command was given.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The flags that all commands of an instance have.
    pub flags: &'a InstanceFlags,
    /// `--listen`.
    pub listen: Option<&'a str>,
    /// `--admin-listen`.
    pub admin_listen: Option<&'a str>,
    /// `--to`, as often as it was given.
    pub to: &'a [String],
    /// `--rotation-overlap`.
    pub rotation_overlap: Option<&'a str>,
    /// What for.
    pub purpose: Purpose,
}

/// What a configuration is for: some of it need not be there for everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `run` and `plan`: automatic mode needs a public https URL.
    Run,
    /// `run --simulate`: settings and secrets that were not given are made up, and the receiver's URL is
    /// worked out later, by [`Instance::at_base`].
    Simulate,
    /// `destroy`: no public URL is needed.
    Destroy,
    /// `explain-request`: no public URL is needed, unless the spec names it.
    Explain,
}

/// The variables of the environment. What is no UTF-8 is left out.
pub fn environment() -> BTreeMap<String, String> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(text).collect()
}

/// Makes the configuration. With PATH there is one instance; with `--config` there are those of the file, or
/// with `--id` the one of that id.
pub fn configure(ask: &Ask<'_>, environment: &BTreeMap<String, String>) -> Result<Configuration> {
    let file = ask.flags.config.as_deref().map(file::read).transpose()?.unwrap_or_default();
    let mut gathering = Gathering {
        ask,
        file: &file,
        environment,
        headers: Vec::new(),
        proxy_file: None,
        faults: Vec::new(),
        ids: Vec::new(),
    };
    let mut configuration = gathering.general();
    let mut wanted = gathering.wanted()?;
    gathering.give_variables(&mut wanted);
    gathering.give_flags(&mut wanted);
    for mut one in wanted {
        gathering.read_secrets(&mut one);
        let read = std::mem::take(&mut one.places);
        if let Some(configured) = gathering.finish(one, configuration.public_url.as_ref()) {
            let instance = &configured.instance;
            let origin = |(name, places)| Origin { instance: instance.clone(), name, places };
            configuration.sources.secrets.extend(read.into_iter().map(origin));
            configuration.instances.push(configured);
        }
    }
    configuration.sources.headers = std::mem::take(&mut gathering.headers);
    configuration.sources.proxy = gathering.proxy_file.take();
    gathering.distinct(&configuration.instances);
    gathering.divide(&mut configuration);
    gathering.check_bounds(&configuration);
    if gathering.ask.purpose != Purpose::Destroy {
        gathering.check_sinks(&configuration.instances, &configuration.data_dir);
    }
    shape::done();
    Fault::together(gathering.faults).map_or(Ok(configuration), Err)
}

/// What was asked, and what is wrong with it so far.
struct Gathering<'a> {
    ask: &'a Ask<'a>,
    file: &'a File,
    environment: &'a BTreeMap<String, String>,
    /// Headers of sinks whose values are in files.
    headers: Vec<HeaderOrigin>,
    /// The file with the URL of the proxy.
    proxy_file: Option<PathBuf>,
    faults: Vec<Fault>,
    /// The ids of all instances of the file, or the one of PATH.
    ids: Vec<String>,
}

/// One instance before it is checked.
struct Wanted {
    id: InstanceId,
    connector: Arc<Connector>,
    values: Values,
    /// Where the values of each secret stand, by its name: the sources that beat the others.
    sources: BTreeMap<String, Vec<Source>>,
    /// Names and places of the secrets that have a value in a file.
    places: Vec<(String, Vec<Place>)>,
    allowed_sources: Vec<Network>,
    sinks: Vec<SinkConfig>,
    overlap: Duration,
}

impl Gathering<'_> {
    fn fault(&mut self, sentence: impl Into<String>, help: impl Into<String>) {
        self.faults.push(Fault::new(sentence).help(help));
    }

    /// The instances that flags and file name, with what the file gives them.
    fn wanted(&mut self) -> Result<Vec<Wanted>> {
        if let Some(path) = &self.ask.flags.path {
            if !self.file.instances.is_empty() {
                let help = "leave PATH out; --id ID picks one instance of the file";
                self.fault("both PATH and a file with instances are given", help);
                return Ok(Vec::new());
            }
            let connector = Arc::new(load::load(path)?);
            let id = self.ask.flags.id.clone().unwrap_or_else(|| connector.name.clone());
            self.ids.push(id.clone());
            return Ok(self.one(&id, connector).into_iter().collect());
        }
        let mut loaded: BTreeMap<PathBuf, Arc<Connector>> = BTreeMap::new();
        let mut wanted = Vec::new();
        let mut ids = Vec::new();
        for written in &self.file.instances {
            let path = self.file.path(&written.connector);
            let connector = match loaded.get(&path) {
                Some(connector) => connector.clone(),
                None => Arc::new(load::load(&path)?),
            };
            loaded.insert(path, connector.clone());
            let id = written.id.clone().unwrap_or_else(|| connector.name.clone());
            ids.push(id.clone());
            if self.ask.flags.id.as_ref().is_none_or(|only| *only == id)
                && let Some(mut one) = self.one(&id, connector)
            {
                self.give_file(&mut one, written);
                wanted.push(one);
            }
        }
        self.ids.clone_from(&ids);
        match &self.ask.flags.id {
            _ if ids.is_empty() => {
                let help = "give the connector's folder, or --config FILE with `instances:`";
                self.fault("there is no instance", help);
            }
            Some(only) if wanted.is_empty() => {
                let help = format!("there are: {}", ids.join(", "));
                self.fault(format!("the file has no instance `{}`", escaped(only, 80)), help);
            }
            Some(_) | None => {}
        }
        Ok(wanted)
    }

    fn one(&mut self, id: &str, connector: Arc<Connector>) -> Option<Wanted> {
        let Some(id) = InstanceId::parse(id) else {
            let help = "an id has lower-case letters, digits and `-`, 63 at most, and no `-` at its ends";
            self.fault(format!("`{}` is no id of an instance", escaped(id, 80)), help);
            return None;
        };
        Some(Wanted {
            id,
            connector,
            values: Values::default(),
            sources: BTreeMap::new(),
            places: Vec::new(),
            allowed_sources: Vec::new(),
            sinks: Vec::new(),
            overlap: self.overlap(&file::Overlap::default()),
        })
    }

    fn give_file(&mut self, one: &mut Wanted, written: &file::Instance) {
        let from = self.ask.flags.config.as_deref().map_or_else(String::new, |p| p.display().to_string());
        for (name, value) in &written.settings {
            one.values.settings.insert(name.clone(), (Given::Data(value.clone()), from.clone()));
        }
        for (name, places) in &written.secrets {
            let sources = places.0.iter().map(|source| self.located(source)).collect();
            one.sources.insert(name.clone(), sources);
        }
        one.overlap = self.overlap(&written.rotation);
        one.allowed_sources = written.allowed_sources();
        one.sinks = self.sinks_of_file(&one.id, written);
        let alone = self.file.instances.len() == 1 || self.ask.flags.id.is_some();
        one.values.among_others = (!alone).then(|| settings::shouted(one.id.as_str()));
    }

    /// A place of the file, whose paths are from its folder.
    fn located(&self, source: &Source) -> Source {
        match source {
            Source::Env(variable) => Source::Env(variable.clone()),
            Source::File(path, lines) => Source::File(self.file.path(path), *lines),
        }
    }

    /// How long former values of secrets are accepted: by the flag, by the instance, by the file.
    fn overlap(&self, of_instance: &file::Overlap) -> Duration {
        let flag = self.ask.rotation_overlap.and_then(units::duration);
        flag.or(of_instance.overlap()).or(self.file.rotation.overlap()).unwrap_or(OVERLAP)
    }

    /// Checks one instance's values, and works out where it receives.
    fn finish(&mut self, one: Wanted, public_url: Option<&Url>) -> Option<Configured> {
        let (checked, sound) = self.checked(&one)?;
        let settled = settled(&one.connector, &checked.settings);
        let connector = settled.map_err(|e| self.faults.push(Fault::new(e.to_string()))).ok()?;
        let instance = Instance {
            id: one.id,
            connector,
            settings: checked.settings,
            secrets: RwLock::new(Arc::new(checked.secrets)),
            receiver_url: None,
        };
        let automatic = self.is_automatic(&instance)?;
        if automatic {
            self.demand_public_url(&instance, public_url);
        }
        if !sound {
            return None;
        }
        let placed = instance.receiver_path().and_then(|path| match public_url {
            Some(base) => instance.at_base(base).map(|instance| (path, instance)),
            None => Ok((path, instance)),
        });
        let (path, instance) = placed.map_err(|e| self.faults.push(Fault::new(e.to_string()))).ok()?;
        let sinks = if one.sinks.is_empty() { vec![sinks::stdout()] } else { one.sinks };
        let (overlap, allowed_sources) = (one.overlap, one.allowed_sources);
        Some(Configured { instance: Arc::new(instance), automatic, path, allowed_sources, sinks, overlap })
    }

    /// What is left of one instance's values, and whether all of it was sound.
    fn checked(&mut self, one: &Wanted) -> Option<(Checked, bool)> {
        let filled = match self.ask.purpose {
            Purpose::Simulate => made_up(one),
            Purpose::Run | Purpose::Destroy | Purpose::Explain => Ok(None),
        };
        let filled = filled.map_err(|e| self.faults.push(Fault::new(e.to_string()))).ok()?;
        let (checked, faults) = settings::check(&one.connector, filled.as_ref().unwrap_or(&one.values));
        let sound = faults.is_empty();
        self.faults.extend(faults.into_iter().map(|fault| match one.values.among_others {
            Some(_) => Fault { sentence: format!("{}: {}", one.id, fault.sentence), ..fault },
            None => fault,
        }));
        Some((checked, sound))
    }

    fn is_automatic(&mut self, instance: &Instance) -> Option<bool> {
        let Some(provision) = &instance.connector.provision else { return Some(false) };
        let Some(when) = &provision.when else { return Some(true) };
        let scope = Scope::default().with("settings", Json::Object(instance.settings.clone()));
        when.holds(&scope).map_err(|e| self.faults.push(Fault::new(e.to_string()))).ok()
    }

    fn demand_public_url(&mut self, instance: &Instance, public_url: Option<&Url>) {
        if self.ask.purpose != Purpose::Run {
            return;
        }
        let loopback = |url: &Url| match url.host() {
            Some(url::Host::Ipv4(ip)) => ip.is_loopback(),
            Some(url::Host::Ipv6(ip)) => ip.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        match public_url {
            Some(url) if url.scheme() == "https" => {}
            Some(url) if self.ask.flags.allow_loopback && loopback(url) => {}
            Some(url) => {
                let sentence = format!(
                    "{}: the vendor's side is set up by us, and `{url}` is no https address it could post to",
                    instance.id
                );
                self.fault(sentence, "give --public-url https://…");
            }
            // One was given that is none, which was said.
            None if self.ask.flags.public_url.is_some() || self.file.receiver.public_url.is_some() => {}
            None => {
                let sentence = format!(
                    "{}: the vendor's side is set up by us, which takes the public https URL it will post to",
                    instance.id
                );
                self.fault(sentence, "give --public-url https://…; the receiver's path is appended");
            }
        }
    }

    /// Ids, sinks' names and receivers' paths tell things apart; none comes twice.
    fn distinct(&mut self, instances: &[Configured]) {
        for (index, one) in instances.iter().enumerate() {
            for other in instances.iter().skip(index + 1) {
                if one.instance.id == other.instance.id {
                    let sentence = format!("two instances have the id `{}`", one.instance.id);
                    self.fault(sentence, "give each its own `id:`");
                } else if one.path == other.path {
                    let (a, b) = (&one.instance.id, &other.instance.id);
                    let sentence = format!("`{a}` and `{b}` receive at the same path {}", one.path);
                    self.fault(sentence, "a path that holds {{ instance.id }} differs by instance");
                }
            }
            for (index, sink) in one.sinks.iter().enumerate() {
                if one.sinks.iter().skip(index + 1).any(|other| other.name == sink.name) {
                    let sentence = format!("{}: two sinks have the name `{}`", one.instance.id, sink.name);
                    self.fault(sentence, "a sink's cursor is kept under its name: give each its own");
                }
            }
        }
    }
}

/// The values of a simulated instance: what was given, and the rest made up.
fn made_up(one: &Wanted) -> Result<Option<Values>> {
    let mut given = Map::new();
    for setting in &one.connector.settings {
        if let Some((value, _)) = one.values.settings.get(&setting.name)
            && let Ok(value) = settings::value(setting, value)
        {
            given.insert(setting.name.clone(), value);
        }
    }
    let text = |(name, (secret, _)): (&String, &(Option<_>, String))| {
        let secret: &Option<Secret> = secret;
        Some((name.clone(), secret.as_ref()?.expose().to_owned()))
    };
    let secrets = one.values.secrets.iter().filter_map(text).collect();
    let filled = simulate::configure::fill(&one.connector, given, secrets, true)?;
    let mut values = one.values.clone();
    let from = || "the simulation".to_owned();
    for (name, value) in filled.settings {
        values.settings.entry(name).or_insert_with(|| (Given::Data(value), from()));
    }
    for (name, text) in filled.secrets {
        let secret = Secret::new(&text);
        values.secrets.entry(name).or_insert_with(|| (secret, from()));
    }
    Ok(Some(values))
}
