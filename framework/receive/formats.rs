//! From a body to its documents, by the format that the spec names: one, one a line, one after the other, in a
//! form, or built from a request without a body.
//!
//! `decode` asks for it, and is given every document. Where a format tells one document from the next, one that is
//! bad costs itself alone.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use memchr::{memchr_iter, memmem};
use serde_json::{Map, Value as Json};

use super::decode::{Broken, Decoded, Texts, Work};
use super::request::Head;
use crate::connector::model::Decode;
use crate::connector::scan;
use crate::connector::template::{Scope, Tree};
use crate::queue::{DeadReason, DeadWhat};

/// Fields that a form may have: each takes memory beyond its bytes.
const MOST_FIELDS: usize = 10_000;
/// How often the next document is looked for behind one that has no end.
const MOST_LOOKS: usize = 32;

impl Work<'_, '_> {
    /// The whole body.
    pub(super) fn read(&mut self) {
        let body = self.texts.body.clone();
        let decode = &self.decoder.instance.connector.receiver.decode;
        let bytes = scan::trim_start(body.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&body));
        let read = match decode {
            Decode::Nothing(tree) => self.built(tree),
            Decode::Form { field } => self.form(&body, field.as_deref()),
            Decode::Json | Decode::JsonLines { .. } | Decode::JsonConcat if bytes.is_empty() => Ok(()),
            Decode::Json => self.document_or_nothing(bytes),
            Decode::JsonLines { also_json: true } if bytes.starts_with(b"[") => {
                self.document_or_nothing(bytes)
            }
            Decode::JsonLines { also_json } => self.lines(bytes, *also_json),
            Decode::JsonConcat => self.concatenated(bytes),
        };
        if let Err(Broken(detail)) = read {
            // What was read of it so far is in the dead letter too, and counts once.
            self.out = Decoded::default();
            self.bury(DeadWhat::Body, DeadReason::Undecodable, body, None, &detail);
        }
    }

    fn document_or_nothing(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let text = std::str::from_utf8(bytes).map_err(|error| Broken(error.to_string()))?;
        self.document(text)
    }

    /// One document a line, each bounded by the body's cap alone.
    fn lines(&mut self, bytes: &[u8], also_json: bool) -> Result<(), Broken> {
        let ends = memchr_iter(b'\n', bytes).chain([bytes.len()]);
        let lines = ends.scan(0, |start, end| bytes.get(std::mem::replace(start, end + 1)..end));
        let lines = lines.map(|line| scan::trim_end(scan::trim_start(line))).filter(|line| !line.is_empty());
        for (n, line) in lines.enumerate() {
            let Err(Broken(detail)) = self.attempt(line) else { continue };
            // A first line that is no JSON may be the first line of one document that was written on many.
            if n == 0 && also_json && line.len() < scan::trim_end(bytes).len() {
                match self.document_or_nothing(bytes) {
                    Ok(()) => return Ok(()),
                    Err(_) => self.out = Decoded::default(),
                }
                self.index = 0;
            }
            self.lose(line, &detail)?;
        }
        Ok(())
    }

    /// One document after the other. One whose end cannot be found ends where a line begins as it did.
    fn concatenated(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let (mut rest, mut looks) = (scan::trim_start(bytes), 0);
        while !rest.is_empty() {
            let end = scan::end_of_value(rest, 0).map(|(end, _)| end);
            let (document, behind) = rest.split_at(end.unwrap_or(rest.len()));
            // What has no end is no document, and nobody has to read it to know.
            let read = match end {
                Some(_) => self.attempt(document),
                None => Err(Broken("it breaks off".to_owned())),
            };
            let Err(Broken(detail)) = read else {
                rest = scan::trim_start(behind);
                continue;
            };
            looks += 1;
            let line = [b'\n', rest.first().copied().unwrap_or(b'{')];
            let next = memmem::find(document, &line).filter(|_| looks <= MOST_LOOKS);
            let (lost, behind) = rest.split_at(next.unwrap_or(document.len()));
            self.lose(lost, &detail)?;
            rest = scan::trim_start(behind);
        }
        Ok(())
    }

    /// One document of several: what was read of a broken one is taken back.
    fn attempt(&mut self, document: &[u8]) -> Result<(), Broken> {
        let before = (self.out.records.len(), self.out.dead.len(), self.index, self.out.ruled.len());
        let read = self.document_or_nothing(document);
        if read.is_err() {
            self.out.records.truncate(before.0);
            self.out.kinds.truncate(before.0);
            self.out.dead.truncate(before.1);
            self.index = before.2;
            self.out.ruled.truncate(before.3);
        }
        read
    }

    fn lose(&mut self, document: &[u8], detail: &str) -> Result<(), Broken> {
        self.room()?;
        let document = self.texts.body.slice_ref(document);
        self.bury(DeadWhat::Body, DeadReason::Undecodable, document, None, detail);
        Ok(())
    }

    /// The fields of a form as an object, one that is repeated as a list; or the document that a field holds.
    fn form(&mut self, body: &[u8], field: Option<&str>) -> Result<(), Broken> {
        if body.is_empty() {
            return Ok(());
        }
        let mut fields = Map::new();
        for (n, (name, value)) in url::form_urlencoded::parse(body).enumerate() {
            if n == MOST_FIELDS {
                return Err(Broken(format!("it has more than {MOST_FIELDS} fields")));
            }
            let value = Json::from(value);
            match fields.get_mut(name.as_ref()) {
                None => drop(fields.insert(name.into_owned(), value)),
                Some(Json::Array(values)) => values.push(value),
                Some(first) => *first = Json::Array(vec![first.take(), value]),
            }
        }
        let made = match field {
            None => Json::Object(fields).to_string(),
            Some(name) => match fields.remove(name) {
                Some(Json::String(text)) => text,
                Some(_) => return Err(Broken(format!("the form has `{name}` more than once"))),
                None => return Err(Broken(format!("the form has no `{name}`"))),
            },
        };
        self.within(made, Self::document)
    }

    /// The document that the spec builds where no body is read. It stands for the body in every respect.
    fn built(&mut self, tree: &Tree) -> Result<(), Broken> {
        let made = tree.json(&self.scope("")).map_err(|error| Broken(error.to_string()))?;
        let made = made.unwrap_or_else(|| "null".to_owned());
        let body = Bytes::from(made.clone());
        self.texts = Rc::new(Texts::of(body.clone(), body));
        self.within(made, Self::document)
    }

    /// Works on a text that was made of the body.
    pub(super) fn within(
        &mut self,
        made: String,
        read: fn(&mut Self, &str) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let source = Bytes::from(made);
        let texts = Texts::of(self.texts.body.clone(), source.clone());
        let before = std::mem::replace(&mut self.texts, Rc::new(texts));
        let text = std::str::from_utf8(&source).map_err(|error| Broken(error.to_string()));
        let done = text.and_then(|text| read(self, text));
        self.texts = before;
        done
    }

    /// The names for what the spec builds; `request.json` is the document.
    pub(super) fn scope(&self, document: &str) -> Scope {
        let decoder = self.decoder;
        let scope = decoder.scope.clone().unwrap_or_else(|| decoder.instance.scope());
        let nobody = Head::nobody();
        let head = decoder.head.unwrap_or(&nobody);
        let body = if document.is_empty() {
            self.texts.body.clone()
        } else {
            Bytes::copy_from_slice(document.as_bytes())
        };
        let mut facts = head.facts(decoder.instance.receiver_url.as_ref(), body);
        facts.path.insert_str(0, decoder.prefix);
        scope.with_request(Arc::new(facts)).with_now(decoder.at)
    }
}
