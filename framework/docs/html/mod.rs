//! The catalogue in HTML: a list of connectors that can be searched, and a page for each, out of the same Markdown as
//! the page beside the spec.
//!
//! Every page is one file that loads nothing: its style and its script stand in it, and a policy lets only these two
//! run. Whatever a spec or a guide says is text here; see [`article`] for what becomes of HTML and links in Markdown.

mod article;
mod index;
mod shell;

use super::page::page;
use crate::connector::model::Connector;
use crate::error::{Error, Kind, Result};

/// What every page of a catalogue holds and no other file: one that is left over is known by it.
pub const MARK: &str = "<meta name=\"generator\" content=\"forebay docs\">";

/// The folder of the pages of connectors, below the list's.
pub const PAGES: &str = "connectors";

/// The files of a catalogue: the place of each below its folder, and what stands in it.
pub fn files(connectors: &[&Connector]) -> Result<Vec<(String, String)>> {
    let mut names: Vec<&str> = connectors.iter().map(|connector| connector.name.as_str()).collect();
    names.sort_unstable();
    if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(Error::new(
            Kind::Configuration,
            format!("two connectors are called `{}`, and a catalogue has one page for each name", pair[0]),
        )
        .help("name the folder of one of them only"));
    }
    let mut files = vec![("index.html".to_owned(), index::index(connectors))];
    for connector in connectors {
        let text = article::of(connector, &page(connector)?);
        files.push((format!("{PAGES}/{}.html", connector.name), text));
    }
    Ok(files)
}
