//! The page of one connector in HTML: its Markdown, with the facts in front and a list of its parts beside it.
//!
//! HTML in Markdown is shown as the text that it is. Links lead to the web, to mail, into the page or to another
//! connector's page; of any other the words are left, and of a picture what it says.

use pulldown_cmark::{CowStr, Event, HeadingLevel, Options, Parser, Tag, TagEnd, html};

use super::shell::{Shell, escape};
use crate::connector::model::Connector;
use crate::docs::catalogue::made_by;
use crate::docs::markdown::joined;
use crate::docs::proof;

/// A heading of the second level: what it says and how it is reached.
#[derive(Debug, PartialEq, Eq)]
struct Heading {
    words: String,
    anchor: String,
}

/// The file of a connector, from its page in Markdown.
pub fn of(connector: &Connector, markdown: &str) -> String {
    // The first line tells who writes the file beside the spec, and means nothing here.
    let markdown = markdown
        .strip_prefix("<!--")
        .and_then(|rest| rest.split_once("-->"))
        .map_or(markdown, |(_, page)| page);
    let (body, headings) = rendered(markdown);
    // The title opens every page; facts stand right behind it.
    let (title, body) = body.split_once("</h1>").unwrap_or(("", &body));
    let main = format!(
        "<div class=\"hero\">{title}</h1>\n{}</div>\n<div class=\"columns\">\n{}<div class=\"article\">{body}</div>\n</div>\n",
        facts(connector),
        contents(&headings)
    );
    Shell {
        title: &format!("{} - Forebay", connector.title),
        description: connector.summary.as_deref().unwrap_or(&connector.title),
        home: "../index.html",
        main: &main,
        script: None,
    }
    .to_html()
}

fn facts(connector: &Connector) -> String {
    let fact = |name: &str, value: &str| {
        if value.is_empty() {
            String::new()
        } else {
            format!("<div><dt>{name}</dt><dd>{}</dd></div>", escape(value))
        }
    };
    format!(
        "<dl class=\"facts\">{}{}{}{}</dl>\n",
        fact("Connector", &connector.name),
        fact("Vendor", &connector.vendor),
        fact("The stream is made", made_by(connector)),
        fact("Proof", &joined(&proof::kinds(connector), "or"))
    )
}

fn contents(headings: &[Heading]) -> String {
    if headings.is_empty() {
        return String::new();
    }
    let item = |heading: &Heading| {
        format!("<li><a href=\"#{}\">{}</a></li>\n", escape(&heading.anchor), escape(&heading.words))
    };
    let items: String = headings.iter().map(item).collect();
    format!(
        "<nav class=\"contents\" aria-labelledby=\"contents\"><h2 id=\"contents\">On this page</h2>\n<ul>\n{items}</ul></nav>\n"
    )
}

/// Markdown as HTML, and its headings of the second level.
fn rendered(markdown: &str) -> (String, Vec<Heading>) {
    let mut events = harmless(Parser::new_ext(markdown, Options::ENABLE_TABLES));
    let headings = anchored(&mut events);
    let mut text = String::with_capacity(markdown.len() * 2);
    html::push_html(&mut text, framed(events).into_iter());
    // A `<` of a text is never one here: what is replaced was written by the lines above.
    (text.replace("<th>", "<th scope=\"col\">").replace("<pre>", "<pre tabindex=\"0\">"), headings)
}

/// Events without what could load, run or lead astray.
fn harmless<'a>(events: impl Iterator<Item = Event<'a>>) -> Vec<Event<'a>> {
    let mut within_dead_link = false;
    let one = |event: Event<'a>| match event {
        Event::Html(text) | Event::InlineHtml(text) => {
            (!text.trim_start().starts_with("<!--")).then_some(Event::Text(text))
        }
        Event::Start(Tag::HtmlBlock) => Some(Event::Start(Tag::Paragraph)),
        Event::End(TagEnd::HtmlBlock) => Some(Event::End(TagEnd::Paragraph)),
        Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => None,
        Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
            let target = leading(&dest_url);
            within_dead_link = target.is_none();
            let dest_url = CowStr::from(target?);
            Some(Event::Start(Tag::Link { link_type, dest_url, title, id }))
        }
        Event::End(TagEnd::Link) if within_dead_link => None,
        other => Some(other),
    };
    events.filter_map(one).collect()
}

/// Where a link may lead; `None`: nowhere.
fn leading(target: &str) -> Option<String> {
    let lower = target.to_ascii_lowercase();
    if ["https://", "http://", "mailto:", "#"].iter().any(|start| lower.starts_with(start)) {
        return Some(target.to_owned());
    }
    // The page of another connector.
    let name = target.strip_prefix("../")?.strip_suffix("/README.md")?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    (!name.is_empty() && name.chars().all(plain)).then(|| format!("{name}.html"))
}

/// Gives every heading the anchor that Markdown's readers know it by.
fn anchored(events: &mut [Event<'_>]) -> Vec<Heading> {
    let (mut headings, mut anchors): (Vec<Heading>, Vec<String>) =
        (Vec::new(), vec!["main".to_owned(), "contents".to_owned()]);
    let mut at = 0;
    while at < events.len() {
        if let Event::Start(Tag::Heading { .. }) = &events[at] {
            let words: String = events[at..]
                .iter()
                .take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))))
                .filter_map(|event| match event {
                    Event::Text(text) | Event::Code(text) => Some(text.as_ref()),
                    _ => None,
                })
                .collect();
            let anchor = free(&words, &anchors);
            anchors.push(anchor.clone());
            if let Event::Start(Tag::Heading { level, id, .. }) = &mut events[at] {
                *id = Some(CowStr::from(anchor.clone()));
                if *level == HeadingLevel::H2 {
                    headings.push(Heading { words, anchor });
                }
            }
        }
        at += 1;
    }
    headings
}

/// The anchor of a heading, told from those that are taken by a number.
fn free(words: &str, taken: &[String]) -> String {
    let plain = super::super::reference::anchor(words);
    let numbered = (1..).map(|number| format!("{plain}-{number}"));
    let mut all = std::iter::once(plain.clone()).chain(numbered);
    all.find(|anchor| !taken.contains(anchor)).unwrap_or(plain)
}

/// Tables in a frame of their own, which scrolls where the page is narrow, named by the heading above.
fn framed(events: Vec<Event<'_>>) -> Vec<Event<'_>> {
    let (mut out, mut heading, mut within) = (Vec::with_capacity(events.len() + 16), String::new(), false);
    for event in events {
        match &event {
            Event::Start(Tag::Heading { .. }) => {
                heading.clear();
                within = true;
            }
            Event::End(TagEnd::Heading(_)) => within = false,
            Event::Text(text) | Event::Code(text) if within => heading.push_str(text),
            _ => {}
        }
        match event {
            Event::Start(Tag::Table(_)) => {
                let frame = format!(
                    "<div class=\"table\" role=\"region\" tabindex=\"0\" aria-label=\"Table: {}\">",
                    escape(&heading)
                );
                out.push(Event::Html(CowStr::from(frame)));
                out.push(event);
            }
            Event::End(TagEnd::Table) => {
                out.push(event);
                out.push(Event::Html(CowStr::Borrowed("</div>\n")));
            }
            event => out.push(event),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn html(markdown: &str) -> String {
        rendered(markdown).0
    }

    #[test]
    fn what_a_spec_says_is_text() {
        let hostile = html(
            "# <script>alert(1)</script>\n\n<img src=x onerror=alert(1)>\n\nA <b onclick=\"x\">b</b>\n\n<!-- no -->\n\n\
             | A |\n|---|\n| <script>x</script> `<i>` |\n\n```html\n<script>\n```\n\n![pic](https://evil.example/a.png)\n",
        );
        assert!(
            !hostile.contains("<script") && !hostile.contains("<img") && !hostile.contains("<b "),
            "{hostile}"
        );
        assert!(!hostile.contains("evil.example") && !hostile.contains("<!--"), "{hostile}");
        assert!(
            hostile.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && hostile.contains("pic"),
            "{hostile}"
        );
    }

    #[test]
    fn links_lead_where_they_may() {
        assert_eq!(leading("https://a.example/x").as_deref(), Some("https://a.example/x"));
        assert_eq!(leading("../aws-sns/README.md").as_deref(), Some("aws-sns.html"));
        for target in
            ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,x", "//evil.example", "guide.md"]
        {
            assert_eq!(leading(target), None, "{target}");
        }
        assert!(!html("[x](javascript:alert(1))").contains("javascript"));
    }

    #[test]
    fn headings_are_reached_and_tables_are_named() {
        let (text, headings) = rendered("# T\n\n## A b\n\n| A |\n|---|\n| 1 |\n\n## A b\n\n### c\n");
        let anchors: Vec<&str> = headings.iter().map(|heading| heading.anchor.as_str()).collect();
        assert_eq!(anchors, ["a-b", "a-b-1"]);
        assert!(text.contains("id=\"a-b-1\"") && text.contains("aria-label=\"Table: A b\""), "{text}");
        assert!(text.contains("<th scope=\"col\">A</th>"), "{text}");
    }
}
