//! Findings as text: for a terminal, for a pull request, for programs. What breaks comes first in all of them.

use serde_json::{Value as Json, json};

use super::{Effect, Finding};
use crate::docs::markdown::table;

/// What was found of one connector.
#[derive(Debug)]
pub struct Compared {
    /// Its name; of two names, the new one.
    pub name: String,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
}

impl Compared {
    /// Whether an instance of the old version is broken by the new one.
    pub fn breaks(&self) -> bool {
        self.count(Effect::Breaks) > 0
    }

    fn count(&self, effect: Effect) -> usize {
        self.findings.iter().filter(|finding| finding.effect == effect).count()
    }

    fn of(&self, effect: Effect) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.effect == effect)
    }
}

/// For a terminal.
pub fn human(all: &[Compared]) -> String {
    let mut text = String::new();
    for one in all.iter().filter(|one| !one.findings.is_empty()) {
        text.push_str(&format!("{}\n", one.name));
        for effect in Effect::ALL.into_iter().filter(|effect| one.count(*effect) > 0) {
            text.push_str(&format!("  {}\n", effect.heading()));
            for Finding { about, change, meaning, .. } in one.of(effect) {
                text.push_str(&format!("    {about}: {change}\n"));
                if !meaning.is_empty() {
                    text.push_str(&format!("      {meaning}\n"));
                }
            }
        }
        text.push('\n');
    }
    text.push_str(&format!("{}\n", summary(all)));
    text
}

/// For a comment on a pull request.
pub fn markdown(all: &[Compared]) -> String {
    let mut text = format!("## What this change means\n\n{}\n", summary(all));
    for one in all.iter().filter(|one| !one.findings.is_empty()) {
        text.push_str(&format!("\n### {}\n", one.name));
        for effect in Effect::ALL.into_iter().filter(|effect| one.count(*effect) > 0) {
            let rows: Vec<[String; 3]> = one
                .of(effect)
                .map(|finding| [finding.about.clone(), finding.change.clone(), finding.meaning.clone()])
                .collect();
            let rows = table(["What", "Change", "What it means"], &rows);
            text.push_str(&format!("\n**{}**\n\n{rows}", effect.heading()));
        }
    }
    text
}

/// For programs: schemas/diff.json.
pub fn json(all: &[Compared]) -> Json {
    let one = |one: &Compared| {
        json!({
            "connector": one.name,
            "breaks": one.breaks(),
            "findings": one.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        })
    };
    all.iter().map(one).collect()
}

/// One sentence over everything.
fn summary(all: &[Compared]) -> String {
    let count = |effect| all.iter().map(|one| one.count(effect)).sum::<usize>();
    let [breaks, look, safe] = Effect::ALL.map(count);
    if breaks + look + safe == 0 {
        return "Nothing changes for an instance.".to_owned();
    }
    let breaks = match breaks {
        0 => "Nothing breaks an instance".to_owned(),
        1 => "1 change breaks an instance".to_owned(),
        many => format!("{many} changes break an instance"),
    };
    format!("{breaks}; {look} worth a look, {safe} safe.")
}
