//! The closed list of filters and functions.
//!
//! A filter of what is missing is missing, but for `default`: `request.headers.a | lower` must not turn
//! nothing into an empty text that equals another.

use std::borrow::Cow;

use aws_lc_rs::{digest, hmac, rand};
use data_encoding::{BASE64, BASE64_NOPAD, BASE64URL_NOPAD, DecodeError, HEXLOWER, HEXLOWER_PERMISSIVE};
use jiff::{SignedDuration, Timestamp};
use minijinja::value::{Kwargs, Rest, ValueKind, ValueOrKwargs};
use minijinja::{Environment, Error, Value};
use serde_json::Value as Json;

use super::fault::{MAX_TEXT, TOO_LONG, refused};
use super::large;
use super::operators::{data, is_omit, number, scalar, value as made, written};
use super::work::{beyond, spend, weight};
use crate::connector::units;

type Made = Result<Value, Error>;
type Filter = fn(&Value, &[Value]) -> Made;

/// Pieces that a text may be split into.
const MOST_PIECES: usize = 100_000;
/// Bytes that a filter may make of a body that is as large as a text may be.
const MAX_GROWN: usize = 4 * MAX_TEXT;
/// What a pattern costs to compile, for each byte of it.
const PATTERN: usize = 16 << 10;

/// Every filter, by name.
const FILTERS: &[(&str, Filter)] = &[
    ("default", |value, args| {
        Ok(if value.is_undefined() { argument(args, 0)?.clone() } else { value.clone() })
    }),
    ("join_url", join_url),
    ("tojson", |value, _| {
        let text =
            written(value, || "a value is missing".to_owned()).map_err(|fault| refused(fault.to_string()))?;
        text.map(Value::from).ok_or_else(|| refused("`omit` is no data"))
    }),
    ("urlencode", |value, _| minijinja::filters::urlencode(value).map(Value::from)),
    ("base64", |value, _| Ok(Value::from(BASE64.encode(&bytes(value)?)))),
    ("base64url", |value, _| Ok(Value::from(BASE64URL_NOPAD.encode(&bytes(value)?)))),
    ("hex", |value, _| Ok(Value::from(HEXLOWER.encode(&bytes(value)?)))),
    ("sha1", |value, _| hash(&digest::SHA1_FOR_LEGACY_USE_ONLY, value)),
    ("sha256", |value, _| hash(&digest::SHA256, value)),
    ("sha384", |value, _| hash(&digest::SHA384, value)),
    ("sha512", |value, _| hash(&digest::SHA512, value)),
    ("from_hex", |value, _| read(HEXLOWER_PERMISSIVE.decode(&bytes(value)?), "hexadecimal")),
    ("from_base64", |value, _| read(plain_base64(&bytes(value)?), "base64")),
    ("hmac", keyed_hash),
    ("crc32", |value, _| Ok(Value::from(crc32fast::hash(&bytes(value)?)))),
    ("lower", |value, _| Ok(Value::from(text(value)?.to_lowercase()))),
    ("upper", |value, _| Ok(Value::from(text(value)?.to_uppercase()))),
    ("trim", |value, _| Ok(Value::from(text(value)?.trim()))),
    ("replace", replace),
    ("split", |value, args| {
        let separator = text(argument(args, 0)?)?;
        let value = text(value)?;
        // A piece takes memory beyond its bytes.
        if value.split(separator.as_ref()).nth(MOST_PIECES).is_some() {
            return Err(beyond(format!("`split` makes more than {MOST_PIECES} pieces")));
        }
        Ok(value.split(separator.as_ref()).map(Value::from).collect())
    }),
    ("join", join),
    ("first", |value, _| Ok(items(value)?.into_iter().next().unwrap_or(Value::UNDEFINED))),
    ("last", |value, _| Ok(items(value)?.pop().unwrap_or(Value::UNDEFINED))),
    ("length", |value, _| value.len().map(Value::from).ok_or_else(|| refused("this has no length"))),
    ("map", map),
    ("int", int),
    ("string", |value, _| Ok(Value::from(text(value)?.into_owned()))),
    ("merge", |value, args| {
        let mut merged = json(value)?;
        merge(&mut merged, json(argument(args, 0)?)?);
        Ok(made(merged))
    }),
    ("plus", plus),
    ("rfc3339", |value, _| Ok(Value::from(time(value)?.to_string()))),
    ("unix", |value, _| Ok(Value::from(time(value)?.as_second()))),
    ("unix_ms", |value, _| Ok(Value::from(time(value)?.as_millisecond()))),
    ("regex_match", regex_match),
    ("explicit_port", explicit_port),
    ("without_port", without_port),
    // A field that stands twice with the same value counts once.
    ("form_concat", |value, _| {
        let mut fields = sorted_fields(value)?;
        fields.dedup();
        let mut text = String::new();
        for (name, value) in &fields {
            text.push_str(name);
            text.push_str(value);
        }
        Ok(Value::from(text))
    }),
    ("sorted_query", |value, _| {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        Ok(Value::from(query.extend_pairs(sorted_fields(value)?).finish()))
    }),
];

/// How many arguments a filter must be given.
pub(super) fn wanted(name: &str) -> usize {
    match name {
        "hmac" | "replace" => 2,
        "default" | "join_url" | "split" | "map" | "merge" | "plus" | "regex_match" => 1,
        _ => 0,
    }
}

/// The names of all filters.
pub(super) fn names() -> Vec<&'static str> {
    FILTERS.iter().map(|(name, _)| *name).collect()
}

/// Adds filters and functions to the environment.
pub(super) fn register(environment: &mut Environment<'static>) {
    for (name, filter) in FILTERS {
        environment.add_filter(*name, move |value: Value, args: Rest<ValueOrKwargs>| {
            let args: Vec<Value> = args.0.into_iter().map(ValueOrKwargs::into_value).collect();
            apply(name, *filter, &value, &args)
        });
    }
    environment.add_function("uuid", uuid);
    environment.add_function("random", random);
}

fn apply(name: &str, filter: Filter, value: &Value, args: &[Value]) -> Made {
    let mut parts = std::iter::once(value).chain(args);
    if name != "default"
        && let Some(passes) = parts.find(|part| part.is_undefined() || is_omit(part))
    {
        return Ok(passes.clone());
    }
    let before = |value: &Value| large::fields(value).map_or_else(|| weight(value), large::Fields::weight);
    spend(std::iter::once(value).chain(args).map(before).sum())?;
    let made = filter(value, args)?;
    spend(weight(&made))?;
    // What is made of a body may be as large as the body in hexadecimal, whatever the body's own limit is.
    let most = MAX_TEXT.max(before(value).saturating_mul(2).min(MAX_GROWN));
    if weight(&made) > most { Err(beyond(TOO_LONG)) } else { Ok(made) }
}

fn argument(args: &[Value], index: usize) -> Result<&Value, Error> {
    args.get(index).ok_or_else(|| refused("a filter lacks an argument"))
}

fn text(value: &Value) -> Result<Cow<'_, str>, Error> {
    scalar(value)
}

fn bytes(value: &Value) -> Result<Cow<'_, [u8]>, Error> {
    match value.as_bytes() {
        Some(bytes) => Ok(Cow::Borrowed(bytes)),
        None => scalar(value).map(|text| Cow::Owned(text.into_owned().into_bytes())),
    }
}

fn json(value: &Value) -> Result<Json, Error> {
    if value.is_none() {
        return Ok(Json::Null);
    }
    let found =
        data(value, || "a value is missing".to_owned()).map_err(|fault| refused(fault.to_string()))?;
    found.ok_or_else(|| refused("`omit` is no data"))
}

fn items(value: &Value) -> Result<Vec<Value>, Error> {
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => Ok(value.try_iter()?.collect()),
        kind => Err(refused(format!("a {kind} is no list"))),
    }
}

/// Exactly one slash between the two, however either is written.
fn join_url(value: &Value, args: &[Value]) -> Made {
    let (base, path) = (text(value)?, text(argument(args, 0)?)?);
    if base.contains(['?', '#']) {
        return Err(refused("`join_url` takes a URL without a query"));
    }
    Ok(Value::from(format!("{}/{}", base.trim_end_matches('/'), path.trim_start_matches('/'))))
}

/// Base64 or URL-safe base64, padded or not.
fn plain_base64(text: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let end = text.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let text = text.get(..end).unwrap_or_default();
    BASE64_NOPAD.decode(text).or_else(|_| BASE64URL_NOPAD.decode(text))
}

fn read(bytes: Result<Vec<u8>, DecodeError>, what: &str) -> Made {
    bytes.map(Value::from_bytes).map_err(|_| refused(format!("this is not {what}")))
}

/// A URL with its port written out, the default one too: some senders sign it so.
fn explicit_port(value: &Value, _: &[Value]) -> Made {
    with_port(value, |port| port.map(|port| format!(":{port}")))
}

/// A URL without its port: some senders leave it out of what they sign.
fn without_port(value: &Value, _: &[Value]) -> Made {
    with_port(value, |_| Some(String::new()))
}

/// A URL with this behind its host in place of the port; everything else stays as it is written.
fn with_port(value: &Value, written: impl Fn(Option<u16>) -> Option<String>) -> Made {
    let text = text(value)?;
    let url = url::Url::parse(&text).map_err(|_| refused("this is no URL"))?;
    let host = url.host_str().ok_or_else(|| refused("this URL has no host"))?;
    let port = written(url.port_or_known_default()).ok_or_else(|| refused("this URL has no port"))?;
    let before = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let (scheme, rest) = text.split_once("://").ok_or_else(|| refused("this is no URL"))?;
    let rest = rest.strip_prefix(before.as_str()).ok_or_else(|| refused("this URL has another host"))?;
    Ok(Value::from(format!("{scheme}://{host}{port}{rest}")))
}

fn hash(algorithm: &'static digest::Algorithm, value: &Value) -> Made {
    Ok(Value::from_bytes(digest::digest(algorithm, &bytes(value)?).as_ref().to_vec()))
}

/// `value | hmac('sha256', key)`: bytes, as the hashes are.
fn keyed_hash(value: &Value, args: &[Value]) -> Made {
    let algorithm = match text(argument(args, 0)?)?.as_ref() {
        "sha1" => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        "sha256" => hmac::HMAC_SHA256,
        "sha384" => hmac::HMAC_SHA384,
        "sha512" => hmac::HMAC_SHA512,
        _ => return Err(refused("`hmac` knows sha1, sha256, sha384 and sha512")),
    };
    let key = hmac::Key::new(algorithm, &bytes(argument(args, 1)?)?);
    Ok(Value::from_bytes(hmac::sign(&key, &bytes(value)?).as_ref().to_vec()))
}

fn replace(value: &Value, args: &[Value]) -> Made {
    let (value, from, to) = (text(value)?, text(argument(args, 0)?)?, text(argument(args, 1)?)?);
    let grown = value.matches(from.as_ref()).count().saturating_mul(to.len());
    if grown > MAX_TEXT.max(value.len().saturating_mul(2).min(MAX_GROWN)) {
        return Err(beyond(TOO_LONG));
    }
    Ok(Value::from(value.replace(from.as_ref(), &to)))
}

fn join(value: &Value, args: &[Value]) -> Made {
    let separator = args.first().map(text).transpose()?.unwrap_or_default();
    let items = items(value)?;
    let length = items.iter().map(|item| weight(item).saturating_add(separator.len())).sum();
    spend(length)?;
    if length > MAX_TEXT {
        return Err(beyond(TOO_LONG));
    }
    let texts: Result<Vec<_>, _> = items.iter().map(text).collect();
    Ok(Value::from(texts?.join(&separator)))
}

/// `list | map(attribute='key')` or `list | map('filter')`.
fn map(value: &Value, args: &[Value]) -> Made {
    let first = argument(args, 0)?;
    if let Ok(keywords) = Kwargs::try_from(first.clone()) {
        let attribute: String = keywords.get("attribute")?;
        keywords.assert_all_used()?;
        let parts = items(value)?.into_iter().map(|item| item.get_attr(&attribute).unwrap_or_default());
        return Ok(parts.collect());
    }
    let name = text(first)?;
    let (name, filter) =
        FILTERS.iter().find(|(known, _)| *known == name).ok_or_else(|| refused("`map` names no filter"))?;
    let rest = args.get(1..).unwrap_or_default();
    items(value)?.iter().map(|item| apply(name, *filter, item, rest)).collect()
}

fn int(value: &Value, _: &[Value]) -> Made {
    let number = match value.as_str() {
        Some(text) => text.trim().parse::<i64>().ok(),
        None => i64::try_from(number(value)).ok(),
    };
    number.map(Value::from).ok_or_else(|| refused("this is no whole number"))
}

/// Maps are merged key by key; anything else is replaced.
fn merge(base: &mut Json, over: Json) {
    match (base, over) {
        (Json::Object(base), Json::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key).or_insert(Json::Null), value);
            }
        }
        (base, over) => *base = over,
    }
}

/// A time is RFC 3339 text, or a number of seconds since 1970.
fn time(value: &Value) -> Result<Timestamp, Error> {
    let found = match value.as_str() {
        Some(text) => text.parse().ok(),
        None => i64::try_from(value.clone()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()),
    };
    found.ok_or_else(|| refused("this is no time"))
}

/// `time | plus('5m')`, or a number of seconds.
fn plus(value: &Value, args: &[Value]) -> Made {
    let by = argument(args, 0)?;
    let by = match by.as_str() {
        Some(text) => duration(text),
        None => i64::try_from(by.clone()).ok().map(SignedDuration::from_secs),
    };
    let by = by.ok_or_else(|| refused("`plus` takes a duration: '5m', '24h', '7d'"))?;
    let sum = time(value)?.checked_add(by).map_err(|_| refused("`plus` leads past the year 9999"))?;
    Ok(Value::from(sum.to_string()))
}

fn duration(text: &str) -> Option<SignedDuration> {
    let (back, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let by = SignedDuration::try_from(units::duration(text)?).ok()?;
    Some(if back { -by } else { by })
}

/// `text | regex_match('^a+$')`; in linear time, and of bounded size.
fn regex_match(value: &Value, args: &[Value]) -> Made {
    let pattern = text(argument(args, 0)?)?;
    spend(pattern.len().saturating_mul(PATTERN))?;
    let regex = regex::RegexBuilder::new(&pattern).size_limit(1 << 20).build();
    let regex = regex.map_err(|_| refused("the pattern of `regex_match` is no regular expression"))?;
    Ok(Value::from(regex.is_match(&text(value)?)))
}

fn sorted_fields(value: &Value) -> Result<Vec<large::Field<'_>>, Error> {
    if let Some(fields) = large::fields(value) {
        return fields.sorted();
    }
    if value.kind() != ValueKind::Map {
        return Err(refused(format!("a {} has no fields", value.kind())));
    }
    let mut fields = Vec::new();
    for key in value.try_iter()? {
        let found = value.get_item(&key)?;
        let texts = if found.kind() == ValueKind::Seq { items(&found)? } else { vec![found] };
        for one in texts {
            fields.push((Cow::Owned(text(&key)?.into_owned()), Cow::Owned(text(&one)?.into_owned())));
        }
    }
    fields.sort();
    Ok(fields)
}

/// `uuid()`: version 4, RFC 9562.
fn uuid() -> Made {
    let mut bytes = [0u8; 16];
    rand::fill(&mut bytes).map_err(|_| refused("there is no randomness"))?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = HEXLOWER.encode(&bytes);
    let parts = [(0, 8), (8, 12), (12, 16), (16, 20), (20, 32)];
    let parts: Vec<&str> = parts.iter().filter_map(|(from, to)| hex.get(*from..*to)).collect();
    Ok(Value::from(parts.join("-")))
}

/// `random(n)`: n random bytes in URL-safe base64 without padding.
fn random(count: usize) -> Made {
    if count > 1024 {
        return Err(refused("`random` makes 1024 bytes at most"));
    }
    let mut bytes = vec![0u8; count];
    rand::fill(&mut bytes).map_err(|_| refused("there is no randomness"))?;
    Ok(Value::from(BASE64URL_NOPAD.encode(&bytes)))
}
