//! A push before it is signed, and how its headers are set.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{Error, Kind, Result};

/// A push before it is sent: what the signature may be made from.
#[derive(Debug, Clone)]
pub struct Unsigned {
    /// The method.
    pub method: http::Method,
    /// The receiver's public URL, as the vendor knows it.
    pub url: url::Url,
    /// The headers so far.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

/// Sets a header, the value marked sensitive.
pub fn set_header(headers: &mut HeaderMap, name: &str, text: &str) -> Result<()> {
    let name = HeaderName::try_from(name)
        .map_err(|e| Error::new(Kind::Finding, format!("`{name}` is no header name")).because(e))?;
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        Error::new(Kind::Configuration, format!("what `{name}` shall carry is no header value"))
    })?;
    value.set_sensitive(true);
    headers.insert(name, value);
    Ok(())
}
