//! Templates and conditions of a spec: compiled, and their names checked against the place they stand at.

use super::names::Here;
use super::reader::{At, Compiler};
use crate::connector::template::{Condition, Text, Tree, Vars};
use crate::spec::mistake::{Code, Mistake, Place};
use crate::spec::path::Path;

impl Compiler {
    /// A text with `{{ }}`. Numbers and booleans are texts as they are written.
    pub fn text(&mut self, at: &At<'_>, _here: Here) -> Option<Text> {
        let source = scalar(at)?;
        Text::compile(&source).map_err(|e| self.syntax(&at.path, Code::TemplateSyntax, &e.to_string())).ok()
    }

    /// Data with texts in its leaves.
    pub fn tree(&mut self, at: &At<'_>, _here: Here) -> Option<Tree> {
        let errors = match Tree::compile(at.value) {
            Ok(tree) => return Some(tree),
            Err(errors) => errors,
        };
        for (pointer, error) in errors {
            let leaf = Path::from_pointer(&pointer).0.into_iter().fold(at.path.clone(), |at, t| at.join(t));
            self.syntax(&leaf, Code::TemplateSyntax, &error.to_string());
        }
        None
    }

    /// A bare expression.
    pub fn condition(&mut self, at: &At<'_>, _here: Here) -> Option<Condition> {
        let source = scalar(at)?;
        Condition::compile(&source)
            .map_err(|e| self.syntax(&at.path, Code::ExpressionSyntax, &e.to_string()))
            .ok()
    }

    /// The vars.
    pub fn vars(&mut self, top: &At<'_>) -> Option<Vars> {
        let entries = top.get("vars").iter().flat_map(At::entries).collect::<Vec<_>>();
        let texts: Vec<(String, Text)> = entries
            .iter()
            .filter_map(|(name, at)| Some(((*name).to_owned(), self.text(at, Here::Var)?)))
            .collect();
        Some(Vars::new(texts))
    }

    /// Names and texts.
    pub fn texts(&mut self, at: &At<'_>, here: Here) -> Vec<(String, Text)> {
        at.entries().filter_map(|(name, at)| Some((name.to_owned(), self.text(&at, here)?))).collect()
    }

    /// The name of an auth.
    pub fn auth_name(&mut self, at: &At<'_>, here: Here) -> Option<Text> {
        self.text(at, here)
    }

    fn syntax(&mut self, path: &Path, code: Code, why: &str) {
        self.report(Mistake::new(code, Place::value(path), why));
    }
}

/// The text of a scalar.
fn scalar(at: &At<'_>) -> Option<String> {
    match at.value {
        serde_json::Value::String(text) => Some(text.clone()),
        serde_json::Value::Number(number) => Some(number.to_string()),
        serde_json::Value::Bool(flag) => Some(flag.to_string()),
        serde_json::Value::Null | serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
    }
}
