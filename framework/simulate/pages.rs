//! The lists of the stand-in, cut into pages as the spec says that the vendor cuts them.
//!
//! Asked by the shelf for the answer to a `find`. Before what the instance made stand things of somebody else,
//! so that there are several pages at any size of list, and a `where` that takes them for its own is found out.

use serde_json::Value as Json;
use url::form_urlencoded;

use super::answer::{Answer, Incoming};
use super::invert::fresh_like;
use super::meet::meet;
use super::routes::saved_names;
use crate::connector::model::{Cursor, Find, Paging, Resource};
use crate::connector::overlay::write;
use crate::connector::pick::{Pick, Pointer};
use crate::connector::template::Scope;
use crate::error::{Error, Kind, Result};

/// The parameter by which a URL that the stand-in makes up leads on.
const ONWARD: &str = "continue_from";
/// Things of others that no list is too short for.
const STRANGERS: usize = 2;

/// Whether a list takes a parameter that no call names.
pub fn knows(find: &Find, name: &str) -> bool {
    match find.pages.as_ref().map(|pages| &pages.paging) {
        Some(Paging::LinkHeader | Paging::Url { .. }) => name == ONWARD,
        Some(Paging::Cursor { param, .. } | Paging::Page { param, .. } | Paging::Offset { param, .. }) => {
            name == param
        }
        None => false,
    }
}

/// The page of a list that is asked for.
pub fn page(
    (spec, find): (&Resource, &Find),
    ours: Vec<Json>,
    incoming: &Incoming,
    origin: &str,
    scope: &Scope,
) -> Result<Answer> {
    let length = length(find);
    let mut items = strangers(spec, find, length.max(STRANGERS), scope)?;
    items.extend(ours);
    let Some(pages) = &find.pages else { return Ok(answer(find, &items)) };
    let Some(begin) = begin(&pages.paging, &items, incoming, length) else {
        return Ok(Answer::json(400, Json::String("this is no page of the list".to_owned())));
    };
    let end = items.len().min(begin + length);
    let shown = items.get(begin..end).unwrap_or_default();
    let more = end < items.len();
    let mut answer = answer(find, shown);
    if more {
        lead_on(&pages.paging, &mut answer, end, incoming, origin);
    }
    if let Some(condition) = &pages.more {
        let body = answer.body.take().unwrap_or_default();
        let met = meet(condition, scope, body, more);
        answer.body = Some(met.ok_or_else(|| cannot(condition.source()))?);
    }
    Ok(answer)
}

fn cannot(source: &str) -> Error {
    Error::new(Kind::Finding, format!("the stand-in cannot make an answer for which `{source}` holds or not"))
        .help("compare one place of the answer with one value: response.json.has_more")
}

/// How many items a page has: as few as the spec lets it, so that there are many.
fn length(find: &Find) -> usize {
    let size = match find.pages.as_ref().map(|pages| &pages.paging) {
        Some(Paging::Page { size, .. } | Paging::Offset { size, .. }) => *size,
        Some(Paging::LinkHeader | Paging::Url { .. } | Paging::Cursor { .. }) | None => None,
    };
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(1).clamp(1, 1_000)
}

/// What somebody else has at the vendor: like the example, and nothing that `where` takes.
fn strangers(spec: &Resource, find: &Find, count: usize, scope: &Scope) -> Result<Vec<Json>> {
    let mut made = Vec::new();
    for n in 0..count {
        let mut item = spec.healthy_example.clone();
        for pointer in saved_names(spec).iter().flat_map(|name| places(find, name)) {
            let fresh = fresh_like(pointer.resolve(&spec.healthy_example), n as u64 + 1);
            write(&mut item, pointer, fresh);
        }
        if !find.condition.holds(&scope.with("item", item.clone()))? {
            made.push(item);
        }
    }
    Ok(made)
}

fn places<'a>(find: &'a Find, name: &'a str) -> impl Iterator<Item = &'a Pointer> {
    find.save.iter().filter(move |(saved, _)| saved == name).filter_map(|(_, pick)| match pick {
        Pick::Item(pointer) | Pick::Body(pointer) => Some(pointer),
        Pick::Header(_) | Pick::Query(_) | Pick::Form(_) => None,
    })
}

fn answer(find: &Find, items: &[Json]) -> Answer {
    let mut body = Json::Null;
    write(&mut body, &find.items, Json::Array(items.to_vec()));
    Answer::json(200, body)
}

/// The first item of the page that is asked for; `None` where there is no such page.
fn begin(paging: &Paging, items: &[Json], incoming: &Incoming, length: usize) -> Option<usize> {
    let number = |name: &str, absent: u64| match incoming.query.get(name) {
        None => Some(absent),
        Some(text) => text.parse::<u64>().ok(),
    };
    match paging {
        Paging::LinkHeader | Paging::Url { .. } => usize::try_from(number(ONWARD, 0)?).ok(),
        Paging::Offset { param, .. } => usize::try_from(number(param, 0)?).ok(),
        Paging::Page { param, first, .. } => {
            let page = number(param, *first)?.checked_sub(*first)?;
            usize::try_from(page).ok()?.checked_mul(length)
        }
        Paging::Cursor { next: Cursor::Answer(_), param } => match incoming.query.get(param) {
            None => Some(0),
            Some(cursor) => cursor.strip_prefix("cursor-")?.parse().ok(),
        },
        Paging::Cursor { next: Cursor::Last(place), param } => match incoming.query.get(param) {
            None => Some(0),
            Some(last) => {
                let is_last = |item: &Json| place.resolve(item).is_some_and(|value| text(value) == *last);
                items.iter().position(is_last).map(|at| at + 1)
            }
        },
    }
}

/// Says where the next page is, where the vendor says so.
fn lead_on(paging: &Paging, answer: &mut Answer, end: usize, incoming: &Incoming, origin: &str) {
    let url = || {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(incoming.query.iter().filter(|(name, _)| *name != ONWARD));
        query.append_pair(ONWARD, &end.to_string());
        format!("{origin}{}?{}", incoming.path, query.finish())
    };
    match paging {
        Paging::LinkHeader => {
            let first = format!("{origin}{}", incoming.path);
            let value = format!("<{first}>; rel=\"first\", <{}>; rel=\"next\"", url());
            answer.headers.push(("link".to_owned(), value));
        }
        Paging::Url { next } => put(answer, next, url()),
        Paging::Cursor { next: Cursor::Answer(next), .. } => put(answer, next, format!("cursor-{end}")),
        Paging::Cursor { next: Cursor::Last(_), .. } | Paging::Page { .. } | Paging::Offset { .. } => {}
    }
}

fn put(answer: &mut Answer, pick: &Pick, value: String) {
    match pick {
        Pick::Item(pointer) | Pick::Body(pointer) => {
            write(answer.body.get_or_insert(Json::Null), pointer, Json::String(value));
        }
        Pick::Header(name) => answer.headers.push((name.clone(), value)),
        // An answer has neither a query nor a form.
        Pick::Query(_) | Pick::Form(_) => {}
    }
}

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
