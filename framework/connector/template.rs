//! Templates and conditions: text and data that are built, and expressions that decide.
//!
//! The types that the floors above hold. A spec's text is compiled once: minijinja parses it, [`dialect`]
//! admits what the spec language has and rewrites comparisons so that what is missing equals nothing, and
//! minijinja runs it with fuel, without includes, with a closed list of filters. No type of minijinja leaves
//! this folder, and no message of it holds a secret's value.

mod dialect;
mod document;
mod fault;
mod filters;
mod language;
mod large;
mod name;
mod operators;
mod parts;
mod request;
mod scope;
mod statements;
mod syntax_error;
mod work;

use std::sync::Arc;

use serde_json::Value as Json;

use crate::error::{Error, Kind, Result};

pub use dialect::{Beside, Literal};
pub use parts::Parts;
pub use request::{MAX_PARSED, RequestFacts};
pub use scope::{Scope, Vars};
pub use syntax_error::SyntaxError;

use fault::{Fault, MAX_TEXT, TOO_LONG};
use language::Piece;
use name::Name;
use scope::Root;

/// Text with `{{ }}` inside. One lone `{{ expr }}` keeps its type.
#[derive(Clone)]
pub struct Text(Arc<Inner>);

struct Inner {
    source: String,
    form: language::Form,
    names: Vec<Name>,
}

impl Text {
    /// Compiles a text of a spec. Whether its names exist where it stands is for the caller to check, by
    /// [`names`](Self::names).
    pub fn compile(source: &str) -> Result<Self, SyntaxError> {
        let (form, names) = language::template(source)?;
        Ok(Self(Arc::new(Inner { source: source.to_owned(), form, names })))
    }

    /// The text. What is missing, null, a list or a map fails it by the path of its name, and so does a
    /// text that is `omit`: where a key can be left out, [`value`](Self::value) is asked.
    pub fn render(&self, scope: &Scope) -> Result<String> {
        match self.text(&Root::new(scope)) {
            Ok(Some(bytes)) => String::from_utf8(bytes).map_err(|_| self.error("it is no UTF-8 text")),
            Ok(None) => Err(self.error("`omit` stands where no key can be left out")),
            Err(fault) => Err(self.fault(&fault)),
        }
    }

    /// The text as bytes; `{{ request.body }}` stands in it untouched, whatever its bytes are.
    pub fn render_bytes(&self, scope: &Scope) -> Result<Vec<u8>> {
        match self.text(&Root::new(scope)) {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(self.error("`omit` stands where no key can be left out")),
            Err(fault) => Err(self.fault(&fault)),
        }
    }

    /// The same; `None` where it is `omit`.
    pub fn render_bytes_if(&self, scope: &Scope) -> Result<Option<Vec<u8>>> {
        self.text(&Root::new(scope)).map_err(|fault| self.fault(&fault))
    }

    /// The text in parts, in which the body of the request stands uncopied; for what a signature covers.
    pub fn render_parts(&self, scope: &Scope) -> Result<Parts> {
        let mut parts = Parts::default();
        match work::within(|| self.parts(&Root::new(scope), &mut parts)) {
            Ok(true) => Ok(parts),
            Ok(false) => Err(self.error("`omit` stands where no key can be left out")),
            Err(fault) => Err(self.fault(&fault)),
        }
    }

    /// The value with its type; `None` where it is `omit`.
    pub fn value(&self, scope: &Scope) -> Result<Option<Json>> {
        self.data(&Root::new(scope)).map_err(|fault| self.fault(&fault))
    }

    /// The value as the text of JSON, numbers with every digit that they came with; `None` where it is `omit`.
    pub fn json(&self, scope: &Scope) -> Result<Option<String>> {
        let root = Root::new(scope);
        let written = work::within(|| {
            operators::written(&self.evaluate(&root)?, || root.culprit(&self.0.names, &self.0.source))
        });
        written.map_err(|fault| self.fault(&fault))
    }

    /// Whether one of our own names lacks what it names: something that was not saved yet.
    pub fn lacks_own(&self, scope: &Scope) -> bool {
        Root::new(scope).lacks_own(&self.0.names)
    }

    /// As it stands in the spec.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Every name it uses, as far as it is fixed: `settings.base_url`, `state.log_stream.id`, `now`.
    pub fn names(&self) -> Vec<String> {
        self.0.names.iter().map(ToString::to_string).collect()
    }

    /// The constants in it whose sense depends on what they stand beside.
    pub fn literals(&self) -> Vec<Literal> {
        self.expressions().flat_map(|expression| expression.literals.iter().cloned()).collect()
    }

    /// The names that stand in the midst of other text.
    pub fn embedded(&self) -> Vec<String> {
        let alone = matches!(&self.0.form, language::Form::Pieces(pieces) if pieces.len() == 1);
        let names = self.expressions().filter_map(|expression| expression.plain.as_ref());
        if alone { Vec::new() } else { names.map(ToString::to_string).collect() }
    }

    fn expressions(&self) -> impl Iterator<Item = &language::Expression> {
        let pieces: &[Piece] = match &self.0.form {
            language::Form::Pieces(pieces) => pieces,
            language::Form::Statements(_) => &[],
        };
        pieces.iter().filter_map(|piece| match piece {
            Piece::Expression(expression) => Some(expression),
            Piece::Raw(_) => None,
        })
    }

    /// The one name that the text is, where it is nothing but `{{ name }}`.
    pub fn lone_name(&self) -> Option<String> {
        match &self.0.form {
            language::Form::Pieces(pieces) => match pieces.as_slice() {
                [Piece::Expression(expression)] => expression.plain.as_ref().map(ToString::to_string),
                _ => None,
            },
            language::Form::Statements(_) => None,
        }
    }

    /// The text where it has no `{{ }}` at all.
    pub fn literal(&self) -> Option<&str> {
        match &self.0.form {
            language::Form::Pieces(pieces) => match pieces.as_slice() {
                [] => Some(""),
                [Piece::Raw(raw)] => Some(raw),
                _ => None,
            },
            language::Form::Statements(_) => None,
        }
    }

    fn data(&self, root: &Root) -> Result<Option<Json>, Fault> {
        work::within(|| {
            operators::data(&self.evaluate(root)?, || root.culprit(&self.0.names, &self.0.source))
        })
    }

    /// The value as templates pass it on.
    fn evaluate(&self, root: &Root) -> Result<minijinja::Value, Fault> {
        if let language::Form::Pieces(pieces) = &self.0.form
            && let [Piece::Expression(expression)] = pieces.as_slice()
        {
            return expression.evaluate(root);
        }
        match self.text(root)? {
            None => Ok(operators::omit()),
            Some(bytes) => Ok(match String::from_utf8(bytes) {
                Ok(text) => minijinja::Value::from(text),
                Err(bytes) => minijinja::Value::from_bytes(bytes.into_bytes()),
            }),
        }
    }

    fn text(&self, root: &Root) -> Result<Option<Vec<u8>>, Fault> {
        work::within(|| match &self.0.form {
            language::Form::Statements(template) => template.render(root).map(Some),
            language::Form::Pieces(pieces) => pieced(pieces, root),
        })
    }

    /// Adds its parts; `false` where it is `omit`. A var that stands for itself is taken apart too.
    fn parts(&self, root: &Root, out: &mut Parts) -> Result<bool, Fault> {
        let pieces = match &self.0.form {
            language::Form::Statements(template) => {
                out.push(&template.render(root)?, root.body_len())?;
                return Ok(true);
            }
            language::Form::Pieces(pieces) => pieces,
        };
        for piece in pieces {
            let expression = match piece {
                Piece::Raw(raw) => {
                    out.push(raw.as_bytes(), 0)?;
                    continue;
                }
                Piece::Expression(expression) => expression,
            };
            if let Some(body) = expression.plain.as_ref().and_then(|name| root.body(name)) {
                out.push_body(body)?;
                continue;
            }
            if let Some(inner) = expression.plain.as_ref().and_then(|name| root.var(name)) {
                let (text, inner) = inner?;
                if !text.parts(&inner, out)? {
                    return Ok(false);
                }
                continue;
            }
            let value = expression.evaluate(root)?;
            let culprit = || root.culprit(&expression.names, &expression.source);
            let Some(text) = operators::text(&value, culprit)? else { return Ok(false) };
            out.push(&text, root.body_len())?;
        }
        Ok(true)
    }

    fn error(&self, what: &str) -> Error {
        self.failed(Kind::Refused, what)
    }

    fn fault(&self, fault: &Fault) -> Error {
        self.failed(kind(fault), &fault.to_string())
    }

    fn failed(&self, kind: Kind, what: &str) -> Error {
        Error::new(kind, format!("cannot build `{}`: {what}", shown(&self.0.source)))
    }
}

/// What a program does about a fault.
fn kind(fault: &Fault) -> Kind {
    if fault.bound { Kind::Bound } else { Kind::Refused }
}

/// The pieces of a text, one behind the other; `None` where one of them is `omit`.
fn pieced(pieces: &[Piece], root: &Root) -> Result<Option<Vec<u8>>, Fault> {
    let (mut out, mut largest) = (Vec::new(), 0);
    for piece in pieces {
        match piece {
            Piece::Raw(raw) => out.extend_from_slice(raw.as_bytes()),
            Piece::Expression(expression) => {
                let value = expression.evaluate(root)?;
                let culprit = || root.culprit(&expression.names, &expression.source);
                let Some(text) = operators::text(&value, culprit)? else { return Ok(None) };
                if expression.plain.is_some() {
                    largest = text.len().max(largest);
                }
                // The body of a request may stand in it once, and what is made of it once more.
                if out.len() + text.len() - largest > MAX_TEXT.saturating_add(root.body_len()) {
                    return Err(Fault::bound(TOO_LONG));
                }
                out.extend_from_slice(&text);
            }
        }
    }
    Ok(Some(out))
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Text({:?})", self.0.source)
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
    /// Compiles data as it stands in a spec. Every bad leaf is reported, with the JSON Pointer to it.
    pub fn compile(data: &Json) -> Result<Self, Vec<(String, SyntaxError)>> {
        let mut errors = Vec::new();
        let tree = Self::compile_at(data, &mut String::new(), &mut errors);
        if errors.is_empty() { Ok(tree) } else { Err(errors) }
    }

    fn compile_at(data: &Json, pointer: &mut String, errors: &mut Vec<(String, SyntaxError)>) -> Self {
        let length = pointer.len();
        match data {
            Json::String(text) if text.contains("{{") || text.contains("{%") => match Text::compile(text) {
                Ok(text) => Self::Text(text),
                Err(error) => {
                    errors.push((pointer.clone(), error));
                    Self::Value(Json::Null)
                }
            },
            Json::Array(items) => Self::List(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        pointer.push_str(&format!("/{index}"));
                        let tree = Self::compile_at(item, pointer, errors);
                        pointer.truncate(length);
                        tree
                    })
                    .collect(),
            ),
            Json::Object(map) => Self::Map(
                map.iter()
                    .map(|(key, value)| {
                        pointer.push('/');
                        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
                        let tree = Self::compile_at(value, pointer, errors);
                        pointer.truncate(length);
                        (key.clone(), tree)
                    })
                    .collect(),
            ),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => Self::Value(data.clone()),
        }
    }

    /// The data; `None` where the whole is `omit`.
    pub fn render(&self, scope: &Scope) -> Result<Option<Json>> {
        Ok(match self {
            Self::Value(value) => Some(value.clone()),
            Self::Text(text) => text.value(scope)?,
            Self::List(items) => {
                let items: Result<Vec<_>> = items.iter().map(|item| item.render(scope)).collect();
                Some(Json::Array(items?.into_iter().flatten().collect()))
            }
            Self::Map(entries) => {
                let mut map = serde_json::Map::new();
                for (key, tree) in entries {
                    if let Some(value) = tree.render(scope)? {
                        map.insert(key.clone(), value);
                    }
                }
                Some(Json::Object(map))
            }
        })
    }

    /// The data as the text of JSON, numbers with every digit that they came with; `None` where the whole is `omit`.
    pub fn json(&self, scope: &Scope) -> Result<Option<String>> {
        let joined =
            |parts: Vec<String>, open: char, close: char| format!("{open}{}{close}", parts.join(","));
        Ok(match self {
            Self::Value(value) => Some(value.to_string()),
            Self::Text(text) => text.json(scope)?,
            Self::List(items) => {
                let items: Result<Vec<_>> = items.iter().map(|item| item.json(scope)).collect();
                Some(joined(items?.into_iter().flatten().collect(), '[', ']'))
            }
            Self::Map(entries) => {
                let mut parts = Vec::with_capacity(entries.len());
                for (key, tree) in entries {
                    if let Some(value) = tree.json(scope)? {
                        parts.push(format!("{}:{value}", Json::from(key.as_str())));
                    }
                }
                Some(joined(parts, '{', '}'))
            }
        })
    }

    /// Whether one of our own names lacks what a text of it names.
    pub fn lacks_own(&self, scope: &Scope) -> bool {
        match self {
            Self::Value(_) => false,
            Self::Text(text) => text.lacks_own(scope),
            Self::List(items) => items.iter().any(|item| item.lacks_own(scope)),
            Self::Map(entries) => entries.iter().any(|(_, tree)| tree.lacks_own(scope)),
        }
    }

    /// Every name that its texts use.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Value(_) => Vec::new(),
            Self::Text(text) => text.names(),
            Self::List(items) => items.iter().flat_map(Self::names).collect(),
            Self::Map(entries) => entries.iter().flat_map(|(_, tree)| tree.names()).collect(),
        }
    }
}

/// An expression that is true or false. What foreign data lack equals nothing.
#[derive(Clone)]
pub struct Condition(Arc<language::Expression>);

impl Condition {
    /// Compiles an expression of a spec, without braces.
    pub fn compile(source: &str) -> Result<Self, SyntaxError> {
        language::condition(source).map(|expression| Self(Arc::new(expression)))
    }

    /// Whether it holds. What a vendor did not send makes it false; what our own names lack is an error.
    pub fn holds(&self, scope: &Scope) -> Result<bool> {
        let root = Root::new(scope);
        match work::within(|| self.0.evaluate(&root)) {
            Ok(value) => Ok(value.is_true()),
            Err(fault) if !fault.ours && !fault.bound && root.lacks_foreign(&self.0.names) => Ok(false),
            Err(fault) => {
                let sentence = format!("cannot decide `{}`: {fault}", shown(&self.0.source));
                Err(Error::new(kind(&fault), sentence))
            }
        }
    }

    /// Whether it is about the settings alone, and they say no: whatever is asked, the answer is known before.
    pub fn is_ruled_out(&self, scope: &Scope) -> bool {
        self.is_about_settings() && matches!(self.holds(scope), Ok(false))
    }

    /// Whether it is about the settings alone, and they say yes.
    pub fn is_settled(&self, scope: &Scope) -> bool {
        self.is_about_settings() && matches!(self.holds(scope), Ok(true))
    }

    fn is_about_settings(&self) -> bool {
        self.names().iter().all(|name| name.starts_with("settings."))
    }

    /// Whether one of our own names lacks what it names: something that was not saved yet.
    pub fn lacks_own(&self, scope: &Scope) -> bool {
        Root::new(scope).lacks_own(&self.0.names)
    }

    /// The names and constants that must be equal for it to hold, where it says nothing but that, joined by
    /// `and`: `settings.mode == 'a' and settings.kind == 'b'`.
    pub fn equalities(&self) -> Option<Vec<(String, Json)>> {
        let found = language::equalities(&self.0.source)?;
        Some(found.into_iter().map(|(name, constant)| (name.to_string(), constant)).collect())
    }

    /// The names that it gives a value, and the value of each, as far as it is comparisons of a name with
    /// something that is worked out, joined by `and`: `request.query.sum == request.body | sha256 | hex`.
    pub fn definitions(&self) -> Vec<(String, Text)> {
        let found = language::definitions(&self.0.source).into_iter();
        found.filter_map(|(name, text)| Some((name.to_string(), Text::compile(&text).ok()?))).collect()
    }

    /// The vendor's names that it holds against something, joined by `and`, each with the text of the other side:
    /// `claims.email == settings.account and claims.sub in settings.accounts`. A disjunction pins nothing.
    pub fn pins(&self) -> Vec<(String, Text)> {
        if language::is_disjunction(&self.0.source) {
            return Vec::new();
        }
        let found = language::pins(&self.0.source).into_iter();
        found.filter_map(|(name, text)| Some((name.to_string(), Text::compile(&text).ok()?))).collect()
    }

    /// The constants in it whose sense depends on what they stand beside.
    pub fn literals(&self) -> Vec<Literal> {
        self.0.literals.clone()
    }

    /// As it stands in the spec.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Every name it uses, as far as it is fixed: `current.status`, `receiver.url`.
    pub fn names(&self) -> Vec<String> {
        self.0.names.iter().map(ToString::to_string).collect()
    }
}

impl std::fmt::Debug for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Condition({:?})", self.0.source)
    }
}

/// A spec's text in a message: one line, bounded.
fn shown(source: &str) -> String {
    crate::error::escaped(source, 120)
}
