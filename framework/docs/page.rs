//! The page of one connector, in the order in which a person needs it.

use super::example::Example;
use super::markdown::capital;
use super::part::Part;
use super::{creation, data, given, guide, messages, modes, proof, record, sender};
use crate::connector::model::Connector;
use crate::error::Result;

/// The page: README.md in the connector's folder.
pub fn page(connector: &Connector) -> Result<String> {
    let parts = parts(connector);
    let guide = guide::filled(connector.guide.as_deref().unwrap_or_default(), &parts)?;
    let mut text = head(connector);
    paragraph(&mut text, &guide.opening);
    for part in parts.iter().filter(|part| !part.body.is_empty() && !guide.placed.contains(&part.name)) {
        paragraph(&mut text, &format!("## {}\n\n{}", part.title, part.body));
    }
    paragraph(&mut text, &guide.closing);
    Ok(text)
}

/// Every part, in the order of the story: what is needed, how it begins, what arrives, how it ends.
fn parts(connector: &Connector) -> Vec<Part> {
    let example = Example::of(connector);
    let vendor = &connector.vendor;
    vec![
        Part::new("prerequisites", "Prerequisites", given::prerequisites(connector, &example)),
        Part::new("permissions", "Permissions", given::permissions(connector)),
        Part::new("modes", "Modes", modes::body(connector)),
        Part::new("authentication", "Authentication", given::authentication(connector, &example)),
        Part::new("settings", "Settings", given::settings(connector)),
        Part::new("secrets", "Secrets", given::secrets(connector)),
        Part::new("run", "Running it", given::run(connector, &example)),
        Part::new("creation", creation::title(connector), creation::body(connector, &example)),
        Part::new("verification", "How a request proves who sent it", proof::body(connector)),
        Part::new("messages", "Handshakes and other messages", messages::body(connector)),
        Part::new("record", "The record", record::fields(connector)),
        Part::new("event_types", "Event types", record::types(connector)),
        Part::new("sample", "A sample record", record::sample(connector)),
        Part::new("data", "What is stored and what is sent", data::body(connector, &example)),
        Part::new("sender", format!("How {vendor} delivers"), sender::body(connector)),
        Part::new("removal", "Removing it", creation::removal(connector)),
    ]
}

fn head(connector: &Connector) -> String {
    let mut text =
        "<!-- Written by `forebay docs` from connector.yaml and the guide beside it: change those. -->\n\n"
            .to_owned();
    text.push_str(&format!("# {}\n\n", connector.title));
    if let Some(sync) = &connector.sync {
        text.push_str(&format!("Sync Type: {}\n\n", capital(sync)));
    }
    if let Some(summary) = &connector.summary {
        text.push_str(&format!("{summary}\n"));
    }
    text
}

/// Adds a paragraph, one empty line behind what stands there.
fn paragraph(text: &mut String, more: &str) {
    let more = more.trim();
    if !more.is_empty() {
        text.truncate(text.trim_end().len());
        text.push_str(&format!("\n\n{more}\n"));
    }
}
