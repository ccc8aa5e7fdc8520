//! The list of connectors. Without its script it is a list; with it, what is typed picks from the list.

use super::PAGES;
use super::shell::{Shell, escape};
use crate::connector::model::Connector;
use crate::docs::catalogue::made_by;
use crate::docs::proof;

/// What picks from the list.
const SCRIPT: &str = include_str!("search.js");

/// The page: index.html.
pub fn index(connectors: &[&Connector]) -> String {
    let mut sorted = connectors.to_vec();
    sorted.sort_by_key(|connector| (connector.title.to_lowercase(), connector.name.clone()));
    let items: String = sorted.iter().map(|connector| item(connector)).collect();
    let count = connectors.len();
    let main = format!(
        "<div class=\"hero\"><h1>Connectors</h1>\n<p class=\"lead\">What vendors push, received, proven and kept. Each \
         page tells what a connector needs, what it does at the vendor, and what its records look like.</p>\n\
         <search id=\"search\" hidden><label for=\"q\">Search the connectors</label>\
         <input id=\"q\" type=\"search\" autocomplete=\"off\" spellcheck=\"false\" placeholder=\"Vendor, event, way to sign\" \
         aria-describedby=\"said\"><kbd aria-hidden=\"true\">/</kbd></search>\n\
         <p id=\"said\" class=\"said\" role=\"status\">{count} connectors</p></div>\n\
         <ul id=\"list\" class=\"cards\">\n{items}</ul>\n"
    );
    Shell {
        title: "Connectors - Forebay",
        description: "The list of connectors: what vendors push, received, proven and kept.",
        home: "index.html",
        main: &main,
        script: Some(SCRIPT),
    }
    .to_html()
}

/// One connector in the list, with all the words that it is found by.
fn item(connector: &Connector) -> String {
    let summary = connector.summary.as_deref().unwrap_or_default();
    let mut tags = vec![format!("made {}", made_by(connector))];
    tags.extend(proof::kinds(connector));
    let mut words = vec![connector.title.as_str(), &connector.name, &connector.vendor, summary];
    words.extend(tags.iter().map(String::as_str));
    words.extend(connector.output.known_types.iter().flat_map(|(name, meaning)| [name.as_str(), meaning]));
    let words = words.join(" ").to_lowercase();
    let tags: String = tags.iter().map(|tag| format!("<li>{}</li>", escape(tag))).collect();
    format!(
        "<li data-words=\"{}\"><article>\n<h2><a href=\"{PAGES}/{}.html\">{}</a></h2>\n<p class=\"vendor\">{}</p>\n\
         <p>{}</p>\n<ul class=\"tags\">{tags}</ul>\n</article></li>\n",
        escape(&words),
        escape(&connector.name),
        escape(&connector.title),
        escape(&connector.vendor),
        escape(summary)
    )
}
