//! The guide of a connector: prose that its author wrote, and the places in it where generated parts stand.
//!
//! A line `{{ settings }}` is replaced by that part without its heading. Parts that a guide neither places nor has a
//! section of its own for follow behind its prose. Its sections about limits close the page.

use super::part::Part;
use crate::error::{Error, Kind, Result, escaped};

/// Headings of a guide that close a page: what to know once it runs, and what cannot be relied upon.
const CLOSING: &[&str] = &["Good to know", "Not verified", "Unverified", "Not covered"];

/// A guide, cut into what opens a page and what closes it.
#[derive(Debug, Default)]
pub struct Guide {
    /// Before the parts.
    pub opening: String,
    /// Behind them.
    pub closing: String,
    /// The parts that it places itself, or writes a section of their name for.
    pub placed: Vec<&'static str>,
}

/// Reads a guide and puts the parts into it that it asks for.
pub fn filled(text: &str, parts: &[Part]) -> Result<Guide> {
    let mut guide = Guide::default();
    let (mut closing, mut fenced) = (false, false);
    for line in text.lines() {
        fenced ^= line.trim_start().starts_with("```");
        if let (false, Some(heading)) = (fenced, line.strip_prefix("## ")) {
            closing = CLOSING.contains(&heading.trim());
            guide
                .placed
                .extend(parts.iter().filter(|part| part.title == heading.trim()).map(|part| part.name));
        }
        let mut shown = line;
        if let (false, Some(name)) = (fenced, placeholder(line)) {
            let part = parts.iter().find(|part| part.name == name).ok_or_else(|| unknown(name, parts))?;
            guide.placed.push(part.name);
            shown = part.body.trim_end();
        }
        let half = if closing { &mut guide.closing } else { &mut guide.opening };
        half.push_str(shown);
        half.push('\n');
    }
    Ok(guide)
}

/// The name in a line that is nothing but `{{ name }}`.
fn placeholder(line: &str) -> Option<&str> {
    Some(line.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim())
}

fn unknown(name: &str, parts: &[Part]) -> Error {
    let known: Vec<&str> = parts.iter().map(|part| part.name).collect();
    Error::new(
        Kind::Finding,
        format!("the guide places `{}`, and a page has no such part", escaped(name, 60)),
    )
    .help(format!("the parts are: {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_where_the_guide_wants_them() {
        let parts = [Part::new("settings", "Settings", "| a |\n".to_owned())];
        let text = "Hello.\n\n## Good to know\n\nx\n\n## Set\n\n{{ settings }}\n\n```\n## Not covered\n{{ y }}\n```\n";
        let guide = filled(text, &parts).unwrap();
        assert_eq!(guide.opening, "Hello.\n\n## Set\n\n| a |\n\n```\n## Not covered\n{{ y }}\n```\n");
        assert_eq!(guide.closing, "## Good to know\n\nx\n\n");
        assert_eq!(guide.placed, ["settings"]);
        // A section of its name is the guide's own.
        assert_eq!(filled("## Settings\n\nAs you like.", &parts).unwrap().placed, ["settings"]);
        assert!(filled("{{ setings }}", &parts).unwrap_err().to_string().contains("settings"));
    }
}
