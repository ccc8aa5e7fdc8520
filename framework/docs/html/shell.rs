//! What stands around every page of the catalogue: the head with its policy, the bar, the foot.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64;

use super::MARK;

/// The style of every page.
const STYLE: &str = include_str!("style.css");

/// One page.
#[derive(Debug)]
pub struct Shell<'a> {
    /// For the tab and for search engines.
    pub title: &'a str,
    /// One sentence.
    pub description: &'a str,
    /// The list of connectors, from here.
    pub home: &'a str,
    /// What stands in the middle: HTML.
    pub main: &'a str,
    /// A script, where there is one.
    pub script: Option<&'a str>,
}

impl Shell<'_> {
    /// The whole file.
    pub fn to_html(&self) -> String {
        let Self { title, description, home, main, script } = self;
        let (title, description) = (escape(title), escape(description));
        let policy = policy(*script);
        let script = script.map(|script| format!("<script>{script}</script>\n")).unwrap_or_default();
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             {MARK}\n<title>{title}</title>\n<meta name=\"description\" content=\"{description}\">\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<a class=\"skip\" href=\"#main\">Skip to the content</a>\n\
             <header class=\"bar\"><a class=\"brand\" href=\"{home}\">Forebay <span>connectors</span></a></header>\n\
             <main id=\"main\" tabindex=\"-1\">\n{main}</main>\n\
             <footer class=\"foot\"><p>Written by <code>forebay docs</code> from the connectors' specs. This page loads \
             nothing from anywhere.</p></footer>\n{script}</body>\n</html>\n"
        )
    }
}

/// Nothing is loaded, and nothing runs but what was written here.
fn policy(script: Option<&str>) -> String {
    let of = |text: &str| format!("'sha256-{}'", BASE64.encode(digest(&SHA256, text.as_bytes()).as_ref()));
    let script = script.map_or_else(|| "'none'".to_owned(), of);
    format!(
        "default-src 'none'; style-src {}; script-src {script}; base-uri 'none'; form-action 'none'",
        of(STYLE)
    )
}

/// A text as HTML, in an element or in a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
