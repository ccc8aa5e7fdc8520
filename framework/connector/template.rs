//! Templates and conditions: text and data that are built, and expressions that decide.
//!
//! The only file that imports minijinja. Everything is compiled once, when the spec is read; rendering has
//! fuel, no includes and a closed list of filters.

use std::sync::Arc;

use serde_json::Value as Json;

use crate::error::Result;

/// The values that templates and conditions can name at one place of the life. Cheap to clone and extend.
#[derive(Clone, Default)]
pub struct Scope {
    names: Arc<Vec<(&'static str, Json)>>,
}

impl Scope {
    /// A scope with one name more; a name that is there already is replaced.
    pub fn with(&self, _name: &'static str, _value: Json) -> Self {
        todo!()
    }
}

/// Text with `{{ }}` inside. One lone `{{ expr }}` keeps its type.
#[derive(Debug, Clone)]
pub struct Text(Arc<str>);

impl Text {
    /// Parses a text.
    pub fn compile(source: &str) -> Result<Self> {
        Ok(Self(source.into()))
    }
    /// The text.
    pub fn render(&self, _scope: &Scope) -> Result<String> {
        todo!()
    }
    /// The value with its type; `None` where it is `omit`.
    pub fn value(&self, _scope: &Scope) -> Result<Option<Json>> {
        todo!()
    }
    /// As it stands in the spec.
    pub fn source(&self) -> &str {
        &self.0
    }
}

/// Data with texts in its leaves.
#[derive(Debug, Clone)]
pub enum Tree {
    /// A value as it stands.
    Value(Json),
    /// A text that is rendered; a lone expression keeps its type.
    Text(Text),
    /// A list; what is `omit` leaves no hole.
    List(Vec<Tree>),
    /// A map; a key whose value is `omit` is left out.
    Map(Vec<(String, Tree)>),
}

impl Tree {
    /// Parses the texts in data.
    pub fn compile(data: &Json) -> Result<Self> {
        Ok(Self::Value(data.clone()))
    }
    /// The data; `None` where the whole is `omit`.
    pub fn render(&self, _scope: &Scope) -> Result<Option<Json>> {
        todo!()
    }
}

/// An expression that is true or false. What foreign data lack equals nothing.
#[derive(Debug, Clone)]
pub struct Condition(Arc<str>);

impl Condition {
    /// Parses an expression.
    pub fn compile(source: &str) -> Result<Self> {
        Ok(Self(source.into()))
    }
    /// Whether it holds.
    pub fn holds(&self, _scope: &Scope) -> Result<bool> {
        todo!()
    }
    /// As it stands in the spec.
    pub fn source(&self) -> &str {
        &self.0
    }
}

/// The vars of a spec: worked out where they are used, from the scope they are used in.
#[derive(Debug, Clone, Default)]
pub struct Vars;

impl Vars {
    /// The vars by name.
    pub fn new(_texts: Vec<(String, Text)>) -> Self {
        Self
    }
}
