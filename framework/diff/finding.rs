//! What is found between two versions of a connector: how much it matters, what it is about, what changed, and what
//! that means for an instance that runs with the old one.

use serde_json::{Value as Json, json};

/// How much a change matters to an instance that runs with the old version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// An instance fails, or loses or repeats something, unless a person does something.
    Breaks,
    /// It goes on by itself, and otherwise than before.
    Look,
    /// Nothing that ran before runs otherwise.
    Safe,
}

impl Effect {
    /// All of them, the worst first.
    pub const ALL: [Self; 3] = [Self::Breaks, Self::Look, Self::Safe];

    /// As programs read it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Breaks => "breaks",
            Self::Look => "look",
            Self::Safe => "safe",
        }
    }

    /// As a heading.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Breaks => "Breaks an instance",
            Self::Look => "Worth a look",
            Self::Safe => "Safe",
        }
    }
}

/// One change and what it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub effect: Effect,
    /// What it is about: a key of the spec, an operation, a field of the record, a host.
    pub about: String,
    /// What changed, one sentence without a full stop; what comes from the spec stands in backticks.
    pub change: String,
    /// What that means, and what to do; empty where the change says it all.
    pub meaning: String,
}

impl Finding {
    /// As programs read it.
    pub fn to_json(&self) -> Json {
        json!({
            "effect": self.effect.name(),
            "about": self.about,
            "change": self.change,
            "meaning": self.meaning,
        })
    }
}

/// What was found so far.
#[derive(Debug, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Something that an instance does not survive by itself.
    pub fn breaks(
        &mut self,
        about: impl Into<String>,
        change: impl Into<String>,
        meaning: impl Into<String>,
    ) {
        self.add(Effect::Breaks, about.into(), change.into(), meaning.into());
    }

    /// Something that an instance does otherwise.
    pub fn look(&mut self, about: impl Into<String>, change: impl Into<String>, meaning: impl Into<String>) {
        self.add(Effect::Look, about.into(), change.into(), meaning.into());
    }

    /// Something that no instance is hurt by.
    pub fn safe(&mut self, about: impl Into<String>, change: impl Into<String>) {
        self.add(Effect::Safe, about.into(), change.into(), String::new());
    }

    /// Anything.
    pub fn add(&mut self, effect: Effect, about: String, change: String, meaning: String) {
        let finding = Finding { effect, about, change, meaning };
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }
}
