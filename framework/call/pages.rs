//! A list that comes in pages: what the next request has instead of the first's, and when there is none.
//!
//! `provision` walks a `find` with it. It never follows a link to another host, never reads a page twice, and
//! never more than so many: a vendor's answer cannot send a call anywhere, or keep it busy for ever.

use std::collections::BTreeSet;

use http::HeaderMap;
use serde_json::Value as Json;
use url::{Url, form_urlencoded};

use super::answer::Answer;
use super::exchange::is_nothing;
use super::mask::Mask;
use super::render::checked_url;
use crate::connector::model::{Cursor, Pages, Paging};
use crate::connector::pick::Pick;
use crate::connector::template::Scope;
use crate::error::{Error, Kind, Result, escaped};

/// The most pages of one list.
const MOST: usize = 1_000;

/// What a later request of a list has instead of the first's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// The URL, as the vendor wrote it: it may be relative.
    Url(String),
    /// A parameter of the query, and its value.
    Param(String, String),
}

impl Turn {
    /// The URL of the request, made of that of the first. What the vendor says leads nowhere but to itself.
    pub fn applied(&self, first: &Url, mask: Option<&Mask>) -> Result<Url> {
        match self {
            Self::Url(text) => {
                let next = first.join(text).map_err(|error| {
                    Error::new(Kind::Refused, format!("`{}` is no URL of a next page", escaped(text, 200)))
                        .because(error)
                })?;
                if next.origin() != first.origin() {
                    let text = format!("the next page would be at another host: `{}`", escaped(text, 200));
                    return Err(Error::new(Kind::Refused, text)
                        .help("a list is read from one host alone, since the credentials go along"));
                }
                checked_url(next.as_str(), mask)
            }
            Self::Param(name, value) => {
                let mut next = first.clone();
                let kept = first.query_pairs().filter(|(known, _)| known != name);
                let mut query = form_urlencoded::Serializer::new(String::new());
                query.extend_pairs(kept).append_pair(name, value);
                next.set_query(Some(&query.finish()));
                checked_url(next.as_str(), mask)
            }
        }
    }
}

/// A list on its way: which pages were read.
#[derive(Debug)]
pub struct Walk<'a> {
    pages: Option<&'a Pages>,
    read: usize,
    items: u64,
    seen: BTreeSet<String>,
    last: Vec<Json>,
}

impl<'a> Walk<'a> {
    /// A list of which nothing was read. Without pages the first answer is all of it.
    pub fn new(pages: Option<&'a Pages>) -> Self {
        Self { pages, read: 0, items: 0, seen: BTreeSet::new(), last: Vec::new() }
    }

    /// What to ask for after this answer with these items; `None` when it was the last.
    pub fn next(&mut self, answer: &Answer, items: &[Json], scope: &Scope) -> Result<Option<Turn>> {
        let Some(pages) = self.pages else { return Ok(None) };
        self.read += 1;
        self.items += items.len() as u64;
        if let Some(more) = &pages.more
            && !more.holds(&scope.with("response", answer.response.clone()))?
        {
            return Ok(None);
        }
        let Some(turn) = self.turn(&pages.paging, answer, items)? else { return Ok(None) };
        if self.read == MOST {
            return Err(Error::new(Kind::Refused, format!("the list of `find` has more than {MOST} pages"))
                .help("ask for larger pages, or for fewer items: most lists take a filter in their query"));
        }
        let (Turn::Url(mark) | Turn::Param(_, mark)) = &turn;
        if !self.seen.insert(mark.clone()) || (!items.is_empty() && self.last == items) {
            return Err(Error::new(Kind::Refused, "the pages of the list go in a circle: one came twice")
                .help("compare `pages` of the spec with how the vendor cuts its lists"));
        }
        self.last = items.to_vec();
        Ok(Some(turn))
    }

    fn turn(&self, paging: &Paging, answer: &Answer, items: &[Json]) -> Result<Option<Turn>> {
        let full =
            |size: Option<u64>| !items.is_empty() && size.is_none_or(|size| items.len() as u64 >= size);
        let param = |name: &str, value: String| Some(Turn::Param(name.to_owned(), value));
        Ok(match paging {
            Paging::LinkHeader => next_link(&answer.headers).map(Turn::Url),
            Paging::Url { next } => picked(next, answer).map(Turn::Url),
            Paging::Cursor { next: Cursor::Answer(next), param: name } => {
                picked(next, answer).and_then(|cursor| param(name, cursor))
            }
            Paging::Cursor { next: Cursor::Last(place), param: name } => match items.last() {
                None => None,
                Some(item) => match place.resolve(item).and_then(text) {
                    Some(cursor) => param(name, cursor),
                    None => {
                        let text = format!("the last item of a page has nothing at `{place}` to go on from");
                        return Err(Error::new(Kind::Passing, text));
                    }
                },
            },
            Paging::Page { param: name, first, size } if full(*size) => {
                param(name, (first + self.read as u64).to_string())
            }
            Paging::Offset { param: name, size } if full(*size) => param(name, self.items.to_string()),
            Paging::Page { .. } | Paging::Offset { .. } => None,
        })
    }
}

fn picked(pick: &Pick, answer: &Answer) -> Option<String> {
    match pick {
        Pick::Item(pointer) | Pick::Body(pointer) => text(pointer.resolve(answer.json.as_ref()?)?),
        Pick::Header(name) => answer.headers.get(name)?.to_str().ok().and_then(|value| text(&value.into())),
        // An answer has neither a query nor a form.
        Pick::Query(_) | Pick::Form(_) => None,
    }
}

/// A cursor as text; `false`, as some write "no more", is none.
fn text(value: &Json) -> Option<String> {
    match value {
        value if is_nothing(value) => None,
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Null | Json::Bool(_) | Json::Array(_) | Json::Object(_) => None,
    }
}

/// The target of `rel="next"` in the `Link` headers (RFC 8288 section 3).
fn next_link(headers: &HeaderMap) -> Option<String> {
    headers.get_all(http::header::LINK).iter().filter_map(|value| value.to_str().ok()).find_map(|value| {
        let mut rest = value;
        while let Some((_, after)) = rest.split_once('<') {
            let (target, parameters) = after.split_once('>')?;
            let (parameters, next) = until_comma(parameters);
            if parameters.iter().any(|parameter| is_next(parameter)) {
                return Some(target.to_owned());
            }
            rest = next;
        }
        None
    })
}

/// The parameters of one link, and what stands behind the comma that ends it.
fn until_comma(text: &str) -> (Vec<&str>, &str) {
    let (mut quoted, mut escaped, mut begin, mut found) = (false, false, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            _ if std::mem::take(&mut escaped) => {}
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            ';' | ',' if !quoted => {
                found.push(&text[begin..at]);
                begin = at + 1;
                if c == ',' {
                    return (found, &text[begin..]);
                }
            }
            _ => {}
        }
    }
    found.push(&text[begin..]);
    (found, "")
}

fn is_next(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, value)| {
        let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
        name.trim().eq_ignore_ascii_case("rel") && relations.any(|one| one.eq_ignore_ascii_case("next"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(value: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert("link", value.parse().expect("a header value"));
        next_link(&headers)
    }

    #[test]
    fn the_next_of_several_links_is_found() {
        let two =
            r#"<https://h/a?page=1,2>; rel="prev"; title="a, <b>; rel=\"next", </a?page=3>; rel="next""#;
        assert_eq!(link(two).as_deref(), Some("/a?page=3"));
        assert_eq!(link("<b>; REL=next").as_deref(), Some("b"));
        assert_eq!(link(r#"<b>; rel="last next""#).as_deref(), Some("b"));
        assert_eq!(link(r#"<b>; rel="last""#), None);
        assert_eq!(link(r#"<b; rel="next""#), None);
        assert_eq!(link("next"), None);
    }

    #[test]
    fn a_next_page_stays_at_its_host() {
        let first = Url::parse("https://api.example.com/v1/hooks?a=1&page=1").expect("a URL");
        let applied = |turn: Turn| turn.applied(&first, None).map(|url| url.to_string());
        let url = |text: &str| applied(Turn::Url(text.to_owned()));
        assert_eq!(url("?page=2").expect("relative"), "https://api.example.com/v1/hooks?page=2");
        assert_eq!(url("/v2").expect("relative"), "https://api.example.com/v2");
        for elsewhere in [
            "https://evil.example.com/v1/hooks",
            "//evil.example.com/v1",
            "http://api.example.com/v1",
            "https://api.example.com:8443/v1",
            "https://api.example.com@evil.example.com/",
            "https://user:word@api.example.com/v1",
            "javascript:alert(1)",
            "https://",
        ] {
            assert_ne!(url(elsewhere).expect_err(elsewhere).kind, Kind::Passing, "{elsewhere}");
        }
        let param = applied(Turn::Param("page".into(), "2&b=3".into())).expect("a URL");
        assert_eq!(param, "https://api.example.com/v1/hooks?a=1&page=2%26b%3D3");
    }
}
