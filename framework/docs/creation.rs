//! How the stream comes to be at the vendor: by the finished call, by a person's hands, and how it is removed.

use serde_json::{Map, Value as Json, json};

use super::example::{Example, TOKEN};
use super::markdown::{block, code, joined, list};
use super::{proof, words};
use crate::call::curl::curl;
use crate::connector::model::{Body, Call, Connector, Provision, Resource, ResponseFormat};
use crate::connector::overlay::{merge_deep, write};
use crate::connector::pick::Pick;
use crate::connector::template::Scope;

/// The heading of the part.
pub fn title(connector: &Connector) -> String {
    match &connector.provision {
        Some(Provision { when: None, resources, .. }) if !resources.is_empty() => "What is created",
        Some(_) | None => "Making it by hand",
    }
    .to_owned()
}

/// What to do at the vendor, or what is done there.
pub fn body(connector: &Connector, example: &Example) -> String {
    match &connector.provision {
        None => by_hand(connector, example),
        Some(provision) => {
            let mut text = match &provision.manual {
                Some(manual) => manual.render(&example.scope).unwrap_or_else(|_| by_hand(connector, example)),
                None => String::new(),
            };
            if !provision.resources.is_empty() {
                text.push_str(&format!("\n\n{}", calls(connector, provision, example)));
            }
            text.trim().to_owned() + "\n"
        }
    }
}

/// What a person enters at the vendor, where there is no call for it.
fn by_hand(connector: &Connector, example: &Example) -> String {
    let mut items = vec![format!("The address: {} (`forebay run` shows yours)", code(&example.receiver_url))];
    let names: Vec<String> = proof::secret_names(connector);
    for title in words::given(connector, &names) {
        items.push(format!("{}, the same at both ends", super::markdown::capital(&title)));
    }
    let headers = proof::token_places(connector);
    if !headers.is_empty() {
        items.push(format!("It travels in {}", joined(&headers, "and")));
    }
    format!("{} has to be told:\n\n{}", connector.vendor, list(items))
}

fn calls(connector: &Connector, provision: &Provision, example: &Example) -> String {
    let mut text = match &provision.when {
        Some(when) => {
            let printed = provision.resources.iter().any(|resource| !resource.create.is_empty());
            let printed = if printed { "; `forebay run` prints it with your own values" } else { "" };
            let automatic = words::condition(connector, when);
            format!("When {automatic}, Forebay does this. Else it is yours to do{printed}.\n")
        }
        None => "Forebay does this, where it is not done yet:\n".to_owned(),
    };
    for resource in &provision.resources {
        let scope = in_creation(resource, &example.scope);
        for call in making(resource) {
            text.push_str(&format!("\n{}", command(connector, call, &scope)));
        }
        if let Some(answer) = answer(resource, &scope) {
            text.push_str(&format!("\nExpected response:\n\n{}", block("json", &format!("{answer:#}"))));
        }
    }
    text
}

/// The calls that bring a resource into being; of one that is always there, those that change it.
fn making(resource: &Resource) -> Vec<&Call> {
    let steps = if resource.create.is_empty() { &resource.update } else { &resource.create };
    steps.iter().filter_map(|step| step.call.as_ref()).collect()
}

/// The names that a resource's create can use.
fn in_creation(resource: &Resource, scope: &Scope) -> Scope {
    let desired = resource.desired.render(scope).ok().flatten().unwrap_or_else(|| json!({}));
    scope.with("desired", desired).with("current", json!({}))
}

/// The call as a command. One that says something else every time, or that cannot be built from examples, is
/// shown as its line.
fn command(connector: &Connector, call: &Call, scope: &Scope) -> String {
    let built = || curl(connector, call, scope, TOKEN).ok();
    match (built(), built()) {
        (Some(command), Some(again)) if command == again => {
            block("sh", &command.replace("%7B", "{").replace("%7D", "}"))
        }
        (_, _) => block("text", &format!("{} {}", call.method, call.url.source())),
    }
}

/// What the vendor answers, where the answer is the resource: what was sent, and what the vendor adds.
fn answer(resource: &Resource, scope: &Scope) -> Option<Json> {
    let calls = || resource.create.iter().filter_map(|step| step.call.as_ref());
    let [call] = calls().collect::<Vec<_>>()[..] else { return None };
    let Json::Object(added) = &resource.healthy_example else { return None };
    if added.is_empty() || call.save.is_empty() || call.response != ResponseFormat::Json {
        return None;
    }
    let Body::Json(tree) = &call.body else { return None };
    let sent = tree.render(scope).ok()??;
    if tree.render(scope).ok()?? != sent {
        return None;
    }
    let around = resource.place_in(call);
    let own = if around.0.is_empty() {
        sent
    } else {
        seen(resource, around.resolve(&sent).unwrap_or(&sent), scope)?
    };
    let mut all: Map<String, Json> = added.iter().filter(|(key, _)| *key == "id").map(pair).collect();
    all.extend(own.as_object()?.iter().map(pair));
    let mut all = Json::Object(all);
    merge_deep(&mut all, &resource.healthy_example);
    let mut answer = around.0.iter().rev().fold(all, |inner, key| json!({ key: inner }));
    for (name, pick) in &call.save {
        if let Pick::Item(at) | Pick::Body(at) = pick
            && at.resolve(&answer).is_none()
        {
            write(&mut answer, at, Json::from(format!("{{{name}}}")));
        }
    }
    Some(answer)
}

/// What was sent, as the vendor shows it: under the names of `desired`, without what it never shows.
fn seen(resource: &Resource, sent: &Json, scope: &Scope) -> Option<Json> {
    let desired = resource.desired.render(scope).ok()??;
    let (sent, desired) = (sent.as_object()?, desired.as_object()?);
    let renamed = |(key, value): &(&String, &Json)| {
        !desired.contains_key(*key) && desired.values().any(|wanted| wanted == *value)
    };
    let mut seen: Map<String, Json> = sent.iter().filter(|pair| !renamed(pair)).map(pair).collect();
    for (key, value) in desired {
        seen.entry(key).or_insert_with(|| value.clone());
    }
    let mut seen = Json::Object(seen);
    for (last, above) in resource.write_only.iter().filter_map(|place| place.0.split_last()) {
        let holder = above.iter().try_fold(&mut seen, |at, key| at.get_mut(key));
        if let Some(Json::Object(holder)) = holder {
            holder.remove(last);
        }
    }
    Some(seen)
}

fn pair((key, value): (&String, &Json)) -> (String, Json) {
    (key.clone(), value.clone())
}

/// How it goes away again.
pub fn removal(connector: &Connector) -> String {
    let resources =
        connector.provision.as_ref().map(|provision| provision.resources.as_slice()).unwrap_or_default();
    let titles = |removed: bool| -> Vec<String> {
        let some = resources.iter().filter(|resource| resource.delete.is_empty() != removed);
        some.map(|resource| format!("the {}", resource.title)).collect()
    };
    let (removed, left) = (titles(true), titles(false));
    let mut text = String::new();
    if !removed.is_empty() {
        text = format!(
            "{}\nThis removes at {} what this instance created ({}), and nothing else. What it adopted was there before, and \
             stays unless you give `--adopted`. The command takes the settings and secrets of `run`.\n\n",
            block("sh", &format!("forebay destroy connectors/{}", connector.name)),
            connector.vendor,
            joined(&removed, "and")
        );
    }
    if removed.is_empty()
        || !left.is_empty()
        || connector.provision.as_ref().is_some_and(|p| p.when.is_some())
    {
        let what = if left.is_empty() { "what you made by hand".to_owned() } else { joined(&left, "and") };
        text.push_str(&format!("You remove {what} at {}. ", connector.vendor));
    }
    text.push_str("What was received stays in the data folder until that is deleted.\n");
    text
}
