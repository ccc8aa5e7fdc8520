//! The table of connectors, one row each, between two marks of a page that is otherwise written by hand.

use super::markdown::table;
use crate::connector::model::{Connector, Provision};
use crate::error::{Error, Kind, Result};

/// Where the table begins and ends.
const MARKS: [&str; 2] = ["<!-- connectors -->\n", "<!-- /connectors -->"];

/// A page with the table of these connectors in its place. Each comes with its folder, as the page links it.
pub fn within(page: &str, connectors: &[(String, Connector)]) -> Result<String> {
    let parts =
        page.split_once(MARKS[0]).and_then(|(before, rest)| Some((before, rest.split_once(MARKS[1])?.1)));
    let (before, after) =
        parts.ok_or_else(|| {
            Error::new(Kind::Configuration, "the page has no place for the table of connectors")
                .help(format!("put these two lines into it: {} {}", MARKS[0].trim(), MARKS[1]))
        })?;
    Ok(format!("{before}{}\n{}\n{}{after}", MARKS[0], rows(connectors), MARKS[1]))
}

fn rows(connectors: &[(String, Connector)]) -> String {
    let rows: Vec<[String; 4]> = connectors
        .iter()
        .map(|(folder, connector)| {
            [
                format!("[{}]({folder}/README.md)", connector.name),
                connector.vendor.clone(),
                connector.summary.clone().unwrap_or_else(|| connector.title.clone()),
                made_by(connector).to_owned(),
            ]
        })
        .collect();
    table(["Connector", "Vendor", "What it does", "The stream is made"], &rows)
}

/// Who makes the stream.
pub fn made_by(connector: &Connector) -> &'static str {
    match &connector.provision {
        Some(Provision { resources, .. }) if resources.is_empty() => "by hand",
        Some(Provision { when: Some(_), .. }) => "by Forebay, or by hand",
        Some(Provision { when: None, .. }) => "by Forebay",
        None => "by hand",
    }
}
