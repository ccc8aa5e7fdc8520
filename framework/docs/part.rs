//! A part of a page: what is generated under one heading, or where a guide places it.

/// One generated part of a page.
#[derive(Debug)]
pub struct Part {
    /// What a guide calls it.
    pub name: &'static str,
    /// Its heading, where it stands by itself.
    pub title: String,
    /// What it says; empty where there is nothing to say.
    pub body: String,
}

impl Part {
    /// A part with its heading.
    pub fn new(name: &'static str, title: impl Into<String>, body: String) -> Self {
        Self { name, title: title.into(), body }
    }
}
