//! Spec to connector: every template parsed, every name checked, every mistake collected.
//!
//! The one function that goes from the spec as written to the connector as meant. It reads the other files
//! of the connector and nothing else; no network, no environment.

use std::path::Path as FilePath;

use serde_json::{Map, Value as Json};

use self::at::At;
use self::compiler::Compiler;
use self::names::Defined;
use super::model::Connector;
use crate::spec::mistake::{Code, Mistake, Place};
use crate::spec::path::Path;

mod at;
mod auth;
mod calls;
mod check;
mod compiler;
mod identity;
mod kinds;
mod names;
mod operations;
mod outgoing;
mod output;
mod proof;
mod provision;
mod receiver;
mod scopes;
mod settings;
mod shared_fields;
mod simulate;
mod texts;
mod unused;
mod urls;
mod values;
mod verify;

/// Compiles the values of a spec. Mistakes come back in any case; the connector only where none of them is
/// an error.
/// `malformed` are places whose shape is wrong: nothing is said about the names that they define. `settings` are
/// the instance's, where it is one's: a spec may leave it to a setting where something stands.
pub fn compile(
    spec: &Json,
    file: &FilePath,
    malformed: &[Path],
    settings: Option<&Map<String, Json>>,
) -> (Option<Connector>, Vec<Mistake>) {
    let folder = file.parent().unwrap_or(FilePath::new("")).to_owned();
    let top = At { value: spec, path: Path::default() };
    let mut compiler = Compiler::new(folder.clone(), Defined::of(&top, malformed));
    compiler.settled = settings.is_some();
    compiler.given = settings.cloned().unwrap_or_else(|| assumed(&top));
    let connector = compiler.connector(&top, file);
    let sound = compiler.is_sound();
    (connector.filter(|_| sound), compiler.into_mistakes())
}

/// What is taken for the settings while nobody has given any.
fn assumed(top: &At<'_>) -> Map<String, Json> {
    let settings = top.get("settings");
    let assumed = settings.iter().flat_map(At::entries).filter_map(|(name, at)| {
        let known = |key: &str| at.value.get(key).cloned();
        let required =
            at.flag("required").then(|| known("example").unwrap_or_else(|| Json::from("x-example")));
        Some((name.to_owned(), known("default").or(required)?))
    });
    assumed.collect()
}

impl Compiler {
    fn connector(&mut self, top: &At<'_>, file: &FilePath) -> Option<Connector> {
        let settings = self.settings(top);
        let secrets = self.secrets(top);
        let vars = self.vars(top);
        let auths = self.auths(top);
        self.auth_choices(top);
        self.auth_cycles(top);
        let provision = self.provision(top);
        let receiver = self.receiver(top);
        let output = self.output(top);
        let samples = self.samples(top);
        let guide = top.get("guide").and_then(|at| self.file(&at));
        self.unused(top);
        self.scopes(top);
        let hosts = self.hosts(top);
        self.prove(top);
        if let Some(receiver) = &receiver {
            self.prove_samples(receiver, output.as_ref(), &samples);
            self.tells_events_apart(top, receiver, output.as_ref(), &samples);
        }
        if let (Some(receiver), Some(output)) = (&receiver, &output) {
            self.delivers_no_secret(top, &receiver.verify, output);
            self.known_by_no_secret(top, receiver);
            self.removes_secrets(top, receiver, output);
        }
        let simulate = self.simulate(top, receiver.as_ref());
        self.folder_name(top, file);
        Some(Connector {
            name: top.text_of("name")?.to_owned(),
            title: top.text_of("title")?.to_owned(),
            vendor: top.text_of("vendor")?.to_owned(),
            sync: top.text_of("sync").map(str::to_owned),
            summary: top.text_of("summary").map(str::to_owned),
            guide,
            folder: self.folder.clone(),
            file: file.to_owned(),
            settings,
            secrets,
            vars,
            auths,
            provision,
            receiver: receiver?,
            output: output?,
            samples: samples.into_iter().map(|(_, sample)| sample).collect(),
            simulate,
            hosts,
            by_settings: std::mem::take(&mut self.by_settings),
        })
    }

    /// A connector is called like its folder, so that a name on a dashboard leads to a file.
    fn folder_name(&mut self, top: &At<'_>, file: &FilePath) {
        // The folder that the file was found in: the file itself may be a link into a folder of versions.
        let parent =
            file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(FilePath::new("."));
        let folder =
            parent.canonicalize().ok().and_then(|folder| Some(folder.file_name()?.to_str()?.to_owned()));
        let (Some(folder), Some(at)) = (folder, top.get("name")) else { return };
        if file.file_name().is_some_and(|name| name == "connector.yaml")
            && at.text().is_some_and(|name| name != folder)
        {
            self.report(
                Mistake::new(
                    Code::BadName,
                    Place::value(&at.path),
                    format!("the connector's folder is called `{folder}`"),
                )
                .help("the name of a connector is that of its folder: change one of them"),
            );
        }
    }
}
