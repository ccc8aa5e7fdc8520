//! Comparisons in which what is missing equals nothing, and the ways a value leaves a template.
//!
//! [`super::language`] writes every comparison as a call of these. The rule: a missing side makes `==`, `<`
//! and `in` false and `!=` true, wherever in a list or map it hides; values of different kinds are not equal
//! and have no order.

use std::borrow::Cow;
use std::cmp::Ordering;

use minijinja::value::{Object, ObjectRepr, Serde, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};
use serde_json::Value as Json;

use super::fault::{Fault, MAX_TEXT, TOO_LONG, UNNAMED, refused};
use super::work::{NODE, beyond, spend, weight};

/// Nesting that a value may have when it leaves a template.
const MAX_DEPTH: usize = 128;

/// The sentinel that leaves its key out.
#[derive(Debug)]
struct Omit;

impl Object for Omit {
    fn repr(self: &std::sync::Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }
}

/// A number that a double does not hold as it is written: `1e400`, `12.50`, 30 digits. It is written as it came, and
/// compared and calculated with as the double that is nearest.
#[derive(Debug)]
struct Digits {
    text: String,
    number: f64,
}

impl Object for Digits {
    fn repr(self: &std::sync::Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &std::sync::Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A number as it is written, and the double that is nearest.
pub(super) fn digits(text: &str, number: f64) -> Value {
    let written = Json::from(number).to_string();
    if written == text {
        return Value::from(number);
    }
    Value::from_object(Digits { text: text.to_owned(), number })
}

/// The same value, a number as a double or an integer.
pub(super) fn number(value: &Value) -> Value {
    value.downcast_object_ref::<Digits>().map_or_else(|| value.clone(), |digits| Value::from(digits.number))
}

/// Digits that a double surely tells apart.
const EXACT: usize = 15;

/// Whether two numbers that are the same double are written with digits that differ beyond it.
fn differ(a: &Value, b: &Value) -> bool {
    match (a.downcast_object_ref::<Digits>(), b.downcast_object_ref::<Digits>()) {
        (Some(a), Some(b)) => a.text != b.text && a.text.len().max(b.text.len()) > EXACT,
        (Some(one), None) | (None, Some(one)) => one.text.len() > EXACT,
        (None, None) => false,
    }
}

/// Data as templates see them.
pub(super) fn value(data: Json) -> Value {
    Value::from(Serde(data))
}

/// `omit`.
pub(super) fn omit() -> Value {
    Value::from_object(Omit)
}

/// Whether a value is `omit`.
pub(super) fn is_omit(value: &Value) -> bool {
    value.downcast_object_ref::<Omit>().is_some()
}

/// Adds the comparisons to the environment, under names that no spec can write.
pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_global("omit", omit());
    environment.add_function("__number", |value: Value| number(&value));
    environment.add_function("__eq", |a: Value, b: Value| same(&a, &b));
    environment.add_function("__ne", |a: Value, b: Value| !same(&a, &b));
    environment.add_function("__lt", |a: Value, b: Value| order(&a, &b) == Some(Ordering::Less));
    environment.add_function("__gt", |a: Value, b: Value| order(&a, &b) == Some(Ordering::Greater));
    environment.add_function("__le", |a: Value, b: Value| order(&a, &b).is_some_and(Ordering::is_le));
    environment.add_function("__ge", |a: Value, b: Value| order(&a, &b).is_some_and(Ordering::is_ge));
    environment.add_function("__in", |a: Value, b: Value| contains(&b, &a));
    environment.add_function("__join", |a: Value, b: Value| join(&a, &b));
    environment.add_function("__times", |a: Value, b: Value| times(&a, &b));
    environment.add_function("__own", |name: String, value: Value| {
        if value.is_undefined() {
            let detail = format!("`{name}` is not known yet or was not given");
            return Err(Error::new(ErrorKind::UndefinedError, detail));
        }
        Ok(value)
    });
}

/// Equal, and nothing in either is missing.
fn same(a: &Value, b: &Value) -> bool {
    if differ(a, b) {
        return false;
    }
    let (a, b) = (&number(a), &number(b));
    spend(weight(a)).is_ok() && !lacks(a) && !lacks(b) && a.kind() == b.kind() && a == b
}

/// Whether a part of a value is missing: data never lack a part, lists that a spec writes may.
fn lacks(value: &Value) -> bool {
    // What fails by it fails as a whole, whatever the comparison says.
    if spend(NODE).is_err() {
        return true;
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::Invalid => true,
        ValueKind::Seq | ValueKind::Iterable => {
            value.try_iter().is_ok_and(|mut items| items.any(|item| lacks(&item)))
        }
        ValueKind::Map => members(value).any(|(key, item)| lacks(&key) || lacks(&item)),
        _ => is_omit(value),
    }
}

/// The members of a map; of any other value none.
fn members(value: &Value) -> impl Iterator<Item = (Value, Value)> {
    value.as_object().and_then(|map| map.try_iter_pairs()).into_iter().flatten()
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    let (a, b) = (&number(a), &number(b));
    let ordered = matches!(a.kind(), ValueKind::Number | ValueKind::String);
    (ordered && a.kind() == b.kind() && spend(weight(a)).is_ok()).then(|| a.cmp(b))
}

fn contains(container: &Value, value: &Value) -> bool {
    if lacks(value) {
        return false;
    }
    match container.kind() {
        ValueKind::String => match (container.as_str(), value.as_str()) {
            (Some(text), Some(part)) => spend(text.len()).is_ok() && text.contains(part),
            _ => false,
        },
        ValueKind::Seq | ValueKind::Iterable => {
            container.try_iter().is_ok_and(|mut items| items.any(|item| same(&item, value)))
        }
        ValueKind::Map => container.get_item(value).is_ok_and(|item| !item.is_undefined()),
        _ => false,
    }
}

/// `a ~ b`: missing if a side is.
fn join(a: &Value, b: &Value) -> Result<Value, Error> {
    if a.is_undefined() || b.is_undefined() {
        return Ok(Value::UNDEFINED);
    }
    spend(weight(a) + weight(b))?;
    let (a, b) = (scalar(a)?, scalar(b)?);
    if a.len() + b.len() > MAX_TEXT {
        return Err(beyond(TOO_LONG));
    }
    Ok(Value::from(format!("{a}{b}")))
}

/// `a * b`, of numbers alone: repeating text has no bound.
fn times(a: &Value, b: &Value) -> Result<Value, Error> {
    let (a, b) = (&number(a), &number(b));
    let whole = |v: &Value| v.is_integer().then(|| i64::try_from(v.clone()).ok()).flatten();
    let product = match (whole(a), whole(b)) {
        (Some(a), Some(b)) => a.checked_mul(b).map(Value::from),
        _ => match (f64::try_from(a.clone()), f64::try_from(b.clone())) {
            (Ok(a), Ok(b)) => Some(Value::from(a * b)),
            _ => None,
        },
    };
    product.ok_or_else(|| refused("`*` takes numbers"))
}

/// The text of a string, number or boolean, spelled as JSON spells it.
pub(super) fn scalar(value: &Value) -> Result<Cow<'_, str>, Error> {
    if let Some(digits) = value.downcast_object_ref::<Digits>() {
        return Ok(Cow::Owned(digits.text.clone()));
    }
    match value.kind() {
        ValueKind::String => Ok(Cow::Borrowed(value.as_str().unwrap_or_default())),
        ValueKind::Bool => Ok(Cow::Borrowed(if value.is_true() { "true" } else { "false" })),
        ValueKind::Number => Ok(Cow::Owned(match f64::try_from(value.clone()) {
            Ok(number) if !value.is_integer() => Json::from(number).to_string(),
            _ => value.to_string(),
        })),
        ValueKind::Bytes => {
            let bytes = value.as_bytes().unwrap_or_default().to_vec();
            let text = String::from_utf8(bytes);
            text.map(Cow::Owned).map_err(|_| refused("these bytes are no text: add `| hex` or `| base64`"))
        }
        kind => Err(refused(format!("a {kind} is no text"))),
    }
}

/// What minijinja calls for each `{{ }}` of a template with statements.
pub(super) fn format(
    out: &mut minijinja::Output<'_>,
    _state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None | ValueKind::Seq | ValueKind::Map => Err(refused(UNNAMED)),
        _ => spend(weight(value))
            .and_then(|()| scalar(value))
            .and_then(|text| out.write_str(&text).map_err(Error::from)),
    }
}

/// A value as text; `None` where it is `omit`. `culprit` names what it came from.
pub(super) fn text(value: &Value, culprit: impl Fn() -> String) -> Result<Option<Cow<'_, [u8]>>, Fault> {
    match value.kind() {
        ValueKind::Undefined => Err(Fault::new(culprit())),
        ValueKind::None | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable => Err(Fault::new(culprit())),
        ValueKind::Bytes => Ok(Some(Cow::Borrowed(value.as_bytes().unwrap_or_default()))),
        _ if is_omit(value) => Ok(None),
        _ => match scalar(value)? {
            Cow::Borrowed(text) => Ok(Some(Cow::Borrowed(text.as_bytes()))),
            Cow::Owned(text) => Ok(Some(Cow::Owned(text.into_bytes()))),
        },
    }
}

/// A value as data; `None` where it is `omit`.
pub(super) fn data(value: &Value, culprit: impl Fn() -> String) -> Result<Option<Json>, Fault> {
    if is_omit(value) {
        return Ok(None);
    }
    if value.is_undefined() {
        return Err(Fault::new(culprit()));
    }
    nested(value, 0).map(Some)
}

/// A value as the text of JSON, numbers with every digit; `None` where it is `omit`.
pub(super) fn written(value: &Value, culprit: impl Fn() -> String) -> Result<Option<String>, Fault> {
    if is_omit(value) {
        return Ok(None);
    }
    if value.is_undefined() {
        return Err(Fault::new(culprit()));
    }
    let mut out = String::new();
    write(value, 0, &mut out)?;
    Ok(Some(out))
}

fn write(value: &Value, depth: usize, out: &mut String) -> Result<(), Fault> {
    if let Some(digits) = value.downcast_object_ref::<Digits>() {
        out.push_str(&digits.text);
        return spend(NODE).map_err(Fault::from);
    }
    if depth > MAX_DEPTH {
        return Err(Fault::new("it is nested too deep"));
    }
    let mut first = true;
    let mut comma = |out: &mut String| {
        if !std::mem::take(&mut first) {
            out.push(',');
        }
    };
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            spend(NODE)?;
            out.push('[');
            for item in value.try_iter()?.filter(|item| !is_omit(item)) {
                comma(out);
                write(&item, depth + 1, out)?;
            }
            out.push(']');
        }
        ValueKind::Map => {
            spend(NODE)?;
            out.push('{');
            for (key, item) in members(value) {
                if !is_omit(&item) {
                    comma(out);
                    out.push_str(&Json::from(scalar(&key)?.as_ref()).to_string());
                    out.push(':');
                    write(&item, depth + 1, out)?;
                }
            }
            out.push('}');
        }
        _ => out.push_str(&nested(value, depth)?.to_string()),
    }
    if out.len() > MAX_TEXT { Err(Fault::from(beyond(TOO_LONG))) } else { Ok(()) }
}

fn nested(value: &Value, depth: usize) -> Result<Json, Fault> {
    if let Some(digits) = value.downcast_object_ref::<Digits>() {
        return Ok(Json::from(digits.number));
    }
    if depth > MAX_DEPTH {
        return Err(Fault::new("it is nested too deep"));
    }
    spend(NODE)?;
    match value.kind() {
        ValueKind::Undefined => Err(Fault::new("a part of it is missing")),
        ValueKind::Bytes => Ok(Json::String(scalar(value)?.into_owned())),
        ValueKind::Seq | ValueKind::Iterable => {
            let kept = value.try_iter()?.filter(|item| !is_omit(item));
            kept.map(|item| nested(&item, depth + 1)).collect::<Result<_, _>>().map(Json::Array)
        }
        ValueKind::Map => {
            let mut map = serde_json::Map::new();
            for (key, item) in members(value) {
                if !is_omit(&item) {
                    map.insert(scalar(&key)?.into_owned(), nested(&item, depth + 1)?);
                }
            }
            Ok(Json::Object(map))
        }
        ValueKind::Plain | ValueKind::Invalid => Err(Fault::new("it is no data")),
        _ => serde_json::to_value(value).map_err(|_| Fault::new("it is no JSON")),
    }
}
