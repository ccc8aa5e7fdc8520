//! The page of the first connector against the document that it began with: tests/first_page/document.txt has its
//! headings, sentences, commands and table cells, in order.

use regex::Regex;
use serde_json::Value as Json;

use crate::support::root;

fn text(place: &str) -> String {
    std::fs::read_to_string(root().join(place)).unwrap_or_else(|e| panic!("{place}: {e}"))
}

/// The words of a text in lower case. Articles and the like come and go between two drafts of a sentence; no other
/// word does.
fn words(text: &str) -> String {
    let text = Regex::new(r"\]\(https?://[^)]*\)").unwrap().replace_all(text, "]").to_lowercase();
    let spaced = text.replace(|c: char| !c.is_alphanumeric() && !"📡🔄📚⚡🚫✅".contains(c), " ");
    let kept = spaced.split_whitespace().filter(|word| !["a", "an", "the", "on", "this"].contains(word));
    format!(" {} ", kept.collect::<Vec<_>>().join(" "))
}

/// The document holds lines of five kinds, told by what they begin with: `# ` a heading, `| ` a row of a table, `{` a
/// JSON document to the next empty line, `$ ` a command to the next empty line, and else a sentence.
#[test]
fn the_page_holds_its_first_document_in_its_order() {
    let page = text("connectors/auth0-log-stream/README.md");
    let lines: Vec<&str> = page.lines().collect();
    let (mut at, mut seen) = (0, [0; 5]);
    let document = text("tests/first_page/document.txt");
    for block in document.split("\n\n").map(str::trim).filter(|block| !block.starts_with("//")) {
        let all: Vec<&str> =
            if block.starts_with(['{', '$']) { vec![block] } else { block.lines().collect() };
        for line in all {
            let rest = &lines[at..];
            let (kind, found) = match line.split_at_checked(2) {
                Some(("# ", heading)) => (0, heading_at(rest, heading)),
                Some(("| ", _)) => (1, row_at(rest, line)),
                Some(("$ ", _)) => (2, command_at(rest, line)),
                _ if line.starts_with('{') => (3, json_at(rest, line)),
                _ => (4, sentence_at(rest, line)),
            };
            seen[kind] += 1;
            at += found.unwrap_or_else(|| panic!("not on the page, behind its line {at}:\n{line}"));
        }
    }
    assert_eq!(seen, [16, 17, 2, 3, 39], "the document is not whole");
}

/// A heading, word by word, and the page goes on behind it. Its level is the page's.
fn heading_at(lines: &[&str], heading: &str) -> Option<usize> {
    lines
        .iter()
        .position(|line| line.trim_start_matches('#').trim() == heading && line.starts_with('#'))
        .map(|n| n + 1)
}

/// A row of a table, cell by cell; a link in a cell is what it says.
fn row_at(lines: &[&str], row: &str) -> Option<usize> {
    let link = Regex::new(r"\[([^\]]*)\]\([^)]*\)").unwrap();
    let cells = |line: &str| -> Vec<String> {
        let line = link.replace_all(line, "$1").into_owned();
        line.trim().trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
    };
    let wanted = cells(row);
    lines.iter().position(|line| line.starts_with('|') && cells(line) == wanted).map(|n| n + 1)
}

/// A sentence: its words one behind the other, in one paragraph or one item of a list.
fn sentence_at(lines: &[&str], sentence: &str) -> Option<usize> {
    let wanted = words(sentence);
    let mut start = 0;
    while start < lines.len() {
        let rest = lines.get(start + 1..).unwrap_or_default();
        let length =
            1 + rest.iter().take_while(|line| !line.trim().is_empty() && !line.starts_with("- ")).count();
        if words(&lines[start..start + length].join(" ")).contains(&wanted) {
            // The next may stand in the same paragraph: the page goes on where this one begins.
            return Some(start);
        }
        start += length;
    }
    None
}

/// A block of code behind a line with three backticks.
fn blocks<'a>(lines: &[&'a str]) -> Vec<(usize, Vec<&'a str>)> {
    let (mut found, mut open): (Vec<(usize, Vec<&str>)>, Option<usize>) = (Vec::new(), None);
    for (n, line) in lines.iter().enumerate().filter(|(_, line)| line.starts_with("```")) {
        match (open.take(), line.len()) {
            (None, _) => open = Some(n),
            (Some(start), _) => found.push((n + 1, lines[start + 1..n].to_vec())),
        }
    }
    found
}

/// A JSON document: its members with their values, in order; `…` is a value that the page has its own for.
fn json_at(lines: &[&str], document: &str) -> Option<usize> {
    let wanted: Json = serde_json::from_str(document).unwrap();
    let fits = |(_, block): &&(usize, Vec<&str>)| {
        serde_json::from_str(&block.join("\n")).is_ok_and(|found: Json| holds(&found, &wanted))
    };
    blocks(lines).iter().find(fits).map(|(end, _)| *end)
}

fn holds(found: &Json, wanted: &Json) -> bool {
    match (found, wanted) {
        (Json::Object(found), Json::Object(wanted)) => {
            wanted.iter().all(|(key, value)| found.get(key).is_some_and(|found| holds(found, value)))
        }
        (Json::Array(found), Json::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| holds(found, wanted))
        }
        (_, Json::String(own)) if own == "…" => true,
        (found, wanted) => found == wanted,
    }
}

/// A command: every part of it, whatever the case of a header's name, and a body as JSON.
fn command_at(lines: &[&str], command: &str) -> Option<usize> {
    let command = command.trim_start_matches("$ ");
    let flat = |text: &str| text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
    let (parts, body) =
        command.split_once("-d '").map_or((command, None), |(parts, body)| (parts, Some(body)));
    let wanted_body: Option<Json> =
        body.map(|body| serde_json::from_str(body.trim_end().trim_end_matches('\'')).unwrap());
    let fits = |(_, block): &&(usize, Vec<&str>)| {
        let text = block.join("\n");
        let whole = flat(&text);
        let sent = || serde_json::from_str(text.split_once("-d '")?.1.trim_end().trim_end_matches('\'')).ok();
        parts.lines().all(|part| whole.contains(&flat(part.trim_end_matches('\\'))))
            && wanted_body.as_ref().is_none_or(|wanted| sent().is_some_and(|sent: Json| holds(&sent, wanted)))
    };
    blocks(lines).iter().find(fits).map(|(end, _)| *end)
}
