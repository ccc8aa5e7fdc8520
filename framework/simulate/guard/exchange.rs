//! Any call that gives a token, as the stand-in plays it: exactly what the spec would send now, with what the
//! last answer gave, is taken; what that answer replaced is not.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value as Json, json};

use super::TOKEN_LIFE;
use crate::call::render::{Draft, draft};
use crate::connector::instance::Instance;
use crate::connector::model::{Expiry, TokenCall};
use crate::connector::overlay::write;
use crate::connector::pick::Pick;
use crate::connector::template::Scope;
use crate::error::{Error, Kind, Result};
use crate::simulate::answer::{Answer, Incoming};
use crate::simulate::invert::write_time;
use crate::simulate::routes::authority;
use crate::simulate::shape;

/// Whether a request is at the address of a call.
pub(super) fn is_at(exchange: &TokenCall, incoming: &Incoming, scope: &Scope) -> bool {
    let url = exchange.call.url.render(scope).ok().and_then(|url| url::Url::parse(&url).ok());
    url.is_some_and(|url| {
        incoming.method == exchange.call.method
            && incoming.host.eq_ignore_ascii_case(&authority(&url))
            && incoming.path == url.path()
    })
}

/// What is wrong with a request for a token.
pub(super) fn wrong(
    instance: &Instance,
    exchange: &TokenCall,
    incoming: &Incoming,
    scope: &Scope,
    now: Timestamp,
) -> Result<Option<String>> {
    let wanted = draft(&exchange.call, &scope.with_now(now))?;
    let later = now.saturating_add(SignedDuration::from_hours(25)).unwrap_or(now);
    let other = draft(&exchange.call, &scope.with_now(later))?;
    // What a client takes as an answer is its own affair, unless the spec says it.
    let said = |name: &str| exchange.call.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    let headers = wanted.headers.iter().zip(&other.headers);
    for ((name, value), (_, later)) in headers.filter(|((name, _), _)| name != "accept" || said(name)) {
        let given = incoming.headers.get(name).and_then(|value| value.to_str().ok());
        // What is worked out anew each time only has to be there.
        if given.is_none() || (value == later && given != Some(value.as_str())) {
            return Ok(Some(format!("the header `{name}` is not what it must be")));
        }
    }
    if wanted.url == other.url && query_of(&wanted) != incoming.query.clone().into_iter().collect::<Vec<_>>()
    {
        return Ok(Some("the query is not what it must be".to_owned()));
    }
    if wanted.body != other.body {
        return shape::wrong(instance, &exchange.call, incoming);
    }
    let same = match &incoming.json {
        Some(json) => serde_json::from_str(&wanted.body).is_ok_and(|wanted: Json| wanted == *json),
        None => wanted.body.as_bytes() == &*incoming.body,
    };
    Ok((!same).then(|| "the credentials are unknown, or were used before".to_owned()))
}

/// The parameters of a query, in the order of their names; the last of a name counts.
fn query_of(draft: &Draft) -> Vec<(String, String)> {
    let url = url::Url::parse(&draft.url).ok();
    let pairs: std::collections::BTreeMap<String, String> =
        url.iter().flat_map(|url| url.query_pairs().into_owned()).collect();
    pairs.into_iter().collect()
}

/// The answer with a token and what is saved of it, each where the spec looks for it.
pub(super) fn answer(
    exchange: &TokenCall,
    token: &str,
    saved: &Map<String, Json>,
    scope: &Scope,
    now: Timestamp,
) -> Result<Answer> {
    let mut body = Json::Object(Map::new());
    let mut headers = Vec::new();
    let mut put = |pick: &Pick, value: Json| match pick {
        Pick::Item(pointer) | Pick::Body(pointer) => write(&mut body, pointer, value),
        Pick::Header(name) => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            headers.push((name.clone(), text));
        }
        // An answer has neither a query nor a form.
        Pick::Query(_) | Pick::Form(_) => {}
    };
    let ends = now.checked_add(TOKEN_LIFE).unwrap_or(now);
    match &exchange.expires {
        Expiry::At(pick, format) => put(pick, write_time(*format, ends, None)),
        Expiry::Seconds(pick) => put(pick, TOKEN_LIFE.as_secs().into()),
        Expiry::After(_) => {}
    }
    for (name, pick) in &exchange.call.save {
        put(pick, saved.get(name).cloned().unwrap_or(Json::Null));
    }
    put(&exchange.token, token.into());
    let mut answer = Answer { status: 200, headers, body: None, asked: None };
    if let Some(ok) = &exchange.call.ok {
        for (name, text) in ok.definitions() {
            let Some(at) = name.strip_prefix("response.json.") else { continue };
            let value = text.value(scope)?.unwrap_or(Json::Null);
            write(
                &mut body,
                &crate::connector::pick::Pointer(at.split('.').map(str::to_owned).collect()),
                value,
            );
        }
        // A lone name holds where it is true.
        if let Some(at) = ok.source().trim().strip_prefix("response.json.")
            && at.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '.'))
        {
            write(
                &mut body,
                &crate::connector::pick::Pointer(at.split('.').map(str::to_owned).collect()),
                json!(true),
            );
        }
        let response = json!({"status": 200, "headers": {}, "text": body.to_string(), "json": body});
        if !ok.holds(&scope.with("response", response))? {
            return Err(Error::new(
                Kind::Finding,
                format!("the stand-in finds no answer that meets `ok: {}`", ok.source()),
            )
            .help("compare a field with a value: `response.json.ok == true`"));
        }
    }
    answer.body = Some(body);
    Ok(answer)
}
