//! A request as people keep it in a file: request line, headers, a blank line, the body; or the body alone.
//!
//! `explain-request` reads it. The body stays byte for byte, as far as its length says.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method, Request, Uri};

use crate::error::{Error, Kind, Result, escaped};

/// What the command line says of a request.
pub(super) struct Flags<'a> {
    /// The method.
    pub method: Option<&'a str>,
    /// `NAME: VALUE` each.
    pub headers: &'a [String],
}

/// Reads a request; `path` is where it goes when it does not say.
pub(super) fn parse(text: &[u8], flags: &Flags<'_>, path: &str) -> Result<Request<Bytes>> {
    let (first, rest) = line(text);
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse().map_err(|_| wrong(format!("`{}` is no path", escaped(path, 200))))?;
    let mut body = text;
    if let Some((method, target)) = std::str::from_utf8(first).ok().and_then(request_line) {
        *request.method_mut() = method;
        *request.uri_mut() = target;
        body = headers(rest, &mut request)?;
    }
    if let Some(method) = flags.method {
        *request.method_mut() = Method::from_bytes(method.as_bytes())
            .map_err(|_| wrong(format!("`{}` is no method", escaped(method, 40))))?;
    }
    for header in flags.headers {
        add(&mut request, header)?;
    }
    let body = as_announced(&request, body)?;
    request.headers_mut().remove(TRANSFER_ENCODING);
    *request.body_mut() = Bytes::copy_from_slice(body);
    Ok(request)
}

fn wrong(sentence: String) -> Error {
    Error::new(Kind::Configuration, sentence).at("the request")
}

/// The first line without its end, and what follows it.
fn line(text: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match memchr::memchr(b'\n', text) {
        Some(at) => text.split_at(at + 1),
        None => (text, &[][..]),
    };
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

/// `POST /path HTTP/1.1`; the version may be missing, and the target may be a whole URL.
fn request_line(line: &str) -> Option<(Method, Uri)> {
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next());
    let known = version.is_none_or(|version| version.starts_with("HTTP/")) && words.next().is_none();
    let upper = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
    let uri: Uri = target.parse().ok()?;
    let path = uri.path_and_query()?.as_str();
    (known && upper && path.starts_with('/')).then_some(())?;
    Some((Method::from_bytes(method.as_bytes()).ok()?, path.parse().ok()?))
}

/// Reads headers up to the blank line, and gives what stands behind it.
fn headers<'t>(mut text: &'t [u8], request: &mut Request<Bytes>) -> Result<&'t [u8]> {
    while !text.is_empty() {
        let (header, rest) = line(text);
        text = rest;
        if header.is_empty() {
            break;
        }
        add(request, &String::from_utf8_lossy(header))?;
    }
    Ok(text)
}

fn add(request: &mut Request<Bytes>, header: &str) -> Result<()> {
    let none = || {
        // A value may be a key: the name alone is shown.
        let name = header.split(':').next().unwrap_or_default();
        wrong(format!("`{}` is no header", escaped(name, 80))).help("a header is written NAME: VALUE")
    };
    let (name, value) = header.split_once(':').ok_or_else(none)?;
    let name = HeaderName::try_from(name.trim()).map_err(|_| none())?;
    let value = HeaderValue::try_from(value.trim()).map_err(|_| none())?;
    request.headers_mut().append(name, value);
    Ok(())
}

/// The body as long as its head says: what an editor added behind it is none of it.
fn as_announced<'t>(request: &Request<Bytes>, body: &'t [u8]) -> Result<&'t [u8]> {
    let Some(length) = request.headers().get(CONTENT_LENGTH) else { return Ok(body) };
    let length: usize =
        length.to_str().ok().and_then(|length| length.trim().parse().ok()).unwrap_or(usize::MAX);
    match body.split_at_checked(length) {
        Some((body, rest)) if rest.trim_ascii().is_empty() => Ok(body),
        Some(_) | None => {
            Err(wrong(format!("it has {} bytes of body, and its Content-Length says {length}", body.len()))
                .help("take the Content-Length out, or the body as it came"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Request<Bytes>> {
        parse(text.as_bytes(), &Flags { method: None, headers: &[] }, "/own")
    }

    #[test]
    fn a_request_is_read_with_either_line_break_and_a_body_alone_is_a_post() {
        for end in ["\n", "\r\n"] {
            let text =
                ["PUT https://h.example/a?b=1 HTTP/1.1", "X-One: 1", "x-one: 2", "", "{\"a\":\n1}"].join(end);
            let request = parsed(&text).unwrap();
            assert_eq!((request.method(), request.uri().to_string().as_str()), (&Method::PUT, "/a?b=1"));
            assert_eq!(request.headers().get_all("x-one").iter().count(), 2);
            assert!(request.body().starts_with(b"{\"a\":"), "{request:?}");
        }
        let request = parsed("{\"a\": 1}\n").unwrap();
        assert_eq!(
            (request.method(), request.uri().path(), request.body().len()),
            (&Method::POST, "/own", 9)
        );
    }

    #[test]
    fn a_body_is_as_long_as_its_head_says() {
        let request = parsed("POST /x\nContent-Length: 2\n\nab\n").unwrap();
        assert_eq!(&request.body()[..], b"ab");
        let error = parsed("POST /x\nContent-Length: 9\n\nab\n").unwrap_err().to_string();
        assert!(error.contains("it has 3 bytes of body, and its Content-Length says 9"), "{error}");
        let error = parsed("POST /x\nsecret without a colon\n\n").unwrap_err().to_string();
        assert!(error.contains("is no header"), "{error}");
    }
}
