//! From a call of the spec and the values of the moment to a request.
//!
//! Bodies are built as data and serialised, header values are checked, query values are encoded: no value can
//! break out of its place. A secret in a URL is refused here once more, whatever the spec's check said.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use serde_json::Value as Json;
use url::{Url, form_urlencoded};

use super::Request;
use super::mask::Mask;
use crate::connector::model::{Body, Call, FormField, ResponseFormat};
use crate::connector::template::{Scope, Text};
use crate::error::{Error, Kind, Result, escaped};

/// Headers that belong to the transport; a spec that sets one would speak another HTTP than it seems to.
const RESERVED: &[&str] =
    &["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer", "expect"];

/// A call with its values, still as text: what `curl` shows, and what [`request`] checks.
pub struct Draft {
    /// The method.
    pub method: Method,
    /// The URL with its query.
    pub url: String,
    /// Name and value, in the spec's order; the content type first.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
    secret_in_url: bool,
}

/// Renders the parts of a call. An error names the call.
pub fn draft(call: &Call, scope: &Scope) -> Result<Draft> {
    build(call, scope).map_err(|mut error| {
        error.place.get_or_insert_with(|| format!("{} {}", call.method, call.url.source()));
        error
    })
}

fn build(call: &Call, scope: &Scope) -> Result<Draft> {
    let mut headers = Vec::new();
    let mut own = Vec::new();
    for (name, value) in &call.headers {
        if let Some(value) = scalar(name, value.value(scope)?)? {
            own.push((name.clone(), value));
        }
    }
    let (kind, body) = body(&call.body, scope)?;
    let accept = match call.response {
        ResponseFormat::Json => Some(("accept", "application/json")),
        ResponseFormat::Text => None,
    };
    for (name, value) in kind.map(|kind| ("content-type", kind)).into_iter().chain(accept) {
        if !own.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)) {
            headers.push((name.to_owned(), value.to_owned()));
        }
    }
    headers.append(&mut own);
    let url = call.url.render(scope)?;
    stays_in_place(call, &url, scope)?;
    let url = with_query(url, &call.query, scope)?;
    Ok(Draft { method: call.method.clone(), url, headers, body, secret_in_url: call.secret_in_url })
}

/// Refuses a URL in which a value is more than a part of the path: an id such as `../../x?y`, which the other
/// side may have made up, would lead to another place of the same host. A URL that is one value whole is its own.
fn stays_in_place(call: &Call, url: &str, scope: &Scope) -> Result<()> {
    let var = |name: String| scope.vars().get(name.strip_prefix("vars.")?);
    let whole = call.url.lone_name().is_some_and(|name| {
        !name.starts_with("vars.") || var(name).is_some_and(|text| text.lone_name().is_some())
    });
    if whole {
        return Ok(());
    }
    let path = url.split('?').next().unwrap_or_default();
    // Before the third slash stand the scheme and the host. URLs are read with `%2e` for a dot.
    let climbs = path
        .split('/')
        .skip(3)
        .any(|part| matches!(&*part.replace("%2e", ".").replace("%2E", "."), "." | ".."));
    let asks = url.contains('?')
        && !call.url.source().contains('?')
        && !scope.vars().iter().any(|(_, text)| text.source().contains('?'));
    if climbs || asks || url.contains(['#', '\\']) {
        return Err(Error::new(
            Kind::Configuration,
            "a value in the URL holds `..`, `?`, `#` or a backslash, and would lead to another place",
        )
        .help(
            "a value in a URL is a part of its path: `| urlencode` writes other characters as such a part",
        ));
    }
    Ok(())
}

/// The request of a draft: a URL that may be called, headers that are headers.
pub fn request(draft: Draft, mask: &Mask) -> Result<Request> {
    let url = checked_url(&draft.url, if draft.secret_in_url { None } else { Some(mask) })?;
    let mut headers = HeaderMap::new();
    for (name, value) in draft.headers {
        let (name, value) = header(&name, &value, mask.holds(&value))?;
        headers.append(name, value);
    }
    Ok(Request { method: draft.method, url, headers, body: Bytes::from(draft.body) })
}

/// A URL that a request may go to. Whether its host may be called is the transport's to say.
pub fn checked_url(text: &str, mask: Option<&Mask>) -> Result<Url> {
    let wrong = |what: &str| Error::new(Kind::Configuration, what.to_owned());
    let shown = || escaped(&mask.map_or_else(|| "****".to_owned(), |mask| mask.hide(text)), 200);
    let url = Url::parse(text).map_err(|error| wrong(&format!("`{}` is no URL: {error}", shown())))?;
    if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
        return Err(wrong(&format!("`{}` is no https URL", shown())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("a URL with a user or a password in it is not called")
            .help("put credentials under `auth`, where they are signed and masked"));
    }
    let secret = mask.and_then(|mask| mask.found_in_url(text).or_else(|| mask.found_in_url(url.as_str())));
    if let Some(name) = secret {
        return Err(wrong(&format!("the secret `{name}` would stand in the URL, where proxies and logs see it"))
            .help("send it in a header or the body; where the vendor wants it there, the call says `secret_in_url: true`"));
    }
    Ok(url)
}

/// A header with a value that is one; the error names the header, never its value.
pub fn header(name: &str, value: &str, sensitive: bool) -> Result<(HeaderName, HeaderValue)> {
    let shown = escaped(name, 60);
    let parsed = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| Error::new(Kind::Configuration, format!("`{shown}` is no name of a header")))?;
    if RESERVED.contains(&parsed.as_str()) {
        return Err(Error::new(Kind::Configuration, format!("the header `{shown}` cannot be set by a call")));
    }
    let mut value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
        Error::new(
            Kind::Configuration,
            format!("the value of the header `{shown}` holds a character no header may hold"),
        )
        .help("look for a line break at its end: a secret read from a file often brings one")
    })?;
    value.set_sensitive(sensitive);
    Ok((parsed, value))
}

fn body(body: &Body, scope: &Scope) -> Result<(Option<&'static str>, String)> {
    Ok(match body {
        Body::Empty => (None, String::new()),
        Body::Json(tree) => match tree.render(scope)? {
            Some(json) => (Some("application/json"), json.to_string()),
            None => (None, String::new()),
        },
        Body::Form(fields) => {
            let mut form = form_urlencoded::Serializer::new(String::new());
            for (name, field) in fields {
                let values = match field {
                    FormField::Value(text) => values(name, text, scope)?,
                    FormField::List(texts) => {
                        let each = texts.iter().map(|text| values(name, text, scope));
                        each.collect::<Result<Vec<_>>>()?.concat()
                    }
                    FormField::Json(tree) => {
                        tree.render(scope)?.map(|json| json.to_string()).into_iter().collect()
                    }
                };
                form.extend_pairs(values.iter().map(|value| (name, value)));
            }
            (Some("application/x-www-form-urlencoded"), form.finish())
        }
        Body::Text(text) => (Some("text/plain; charset=utf-8"), text.render(scope)?),
    })
}

fn with_query(mut url: String, query: &[(String, Text)], scope: &Scope) -> Result<String> {
    let mut pairs = form_urlencoded::Serializer::new(String::new());
    for (name, text) in query {
        pairs.extend_pairs(values(name, text, scope)?.iter().map(|value| (name, value)));
    }
    let pairs = pairs.finish();
    if !pairs.is_empty() {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.push_str(&pairs);
    }
    Ok(url)
}

/// A field's values: none where it is `omit`, several where it is a list.
fn values(name: &str, text: &Text, scope: &Scope) -> Result<Vec<String>> {
    match text.value(scope)? {
        Some(Json::Array(list)) => {
            list.into_iter().filter_map(|item| scalar(name, Some(item)).transpose()).collect()
        }
        value => Ok(scalar(name, value)?.into_iter().collect()),
    }
}

/// A value as text: booleans and numbers as JSON spells them; a map, a list or null is no text.
pub fn scalar(name: &str, value: Option<Json>) -> Result<Option<String>> {
    let kind = match value {
        None => return Ok(None),
        Some(Json::String(text)) => return Ok(Some(text)),
        Some(value @ (Json::Bool(_) | Json::Number(_))) => return Ok(Some(value.to_string())),
        Some(Json::Null) => "null",
        Some(Json::Array(_)) => "a list",
        Some(Json::Object(_)) => "a map",
    };
    Err(Error::new(
        Kind::Configuration,
        format!("`{}` would be {kind}, and text is wanted", escaped(name, 60)),
    )
    .help("give it a value, or `| default(omit)` to leave it out"))
}
