//! A call as a curl command: for `plan`, with a masked scope, and for the person who creates a stream by hand.
//!
//! Nothing is sent and no token is fetched; secrets are masked because the scope that is given is.

use serde_json::{Value as Json, json};

use super::auth::named;
use super::render::draft;
use crate::connector::model::{Auth, Call, Connector, TokenSource};
use crate::connector::template::{Scope, Text};
use crate::error::Result;

/// The command, over several lines. `token` stands where a fetched token would.
pub fn curl(connector: &Connector, call: &Call, scope: &Scope, token: &str) -> Result<String> {
    let draft = draft(call, scope)?;
    let mut lines = vec![format!("curl -L -g -X {} {}", draft.method, quoted(&draft.url))];
    lines.extend(signed(connector, call, scope, token)?);
    lines.extend(
        draft.headers.iter().map(|(name, value)| format!("-H {}", quoted(&format!("{name}: {value}")))),
    );
    if !draft.body.is_empty() {
        // `-d @x` would read a file.
        let flag = if draft.body.starts_with('@') { "--data-raw" } else { "-d" };
        lines.push(format!("{flag} {}", quoted(&readable(&draft.body))));
    }
    Ok(lines.join(" \\\n  "))
}

/// The auth as flags. In manual mode its secrets may not be there: then the place of each shows what it takes.
fn signed(connector: &Connector, call: &Call, scope: &Scope, token: &str) -> Result<Vec<String>> {
    let shown = |text: &Text| text.render(scope).unwrap_or_else(|_| text.source().to_owned());
    let header = |name: &str, value: &str| format!("-H {}", quoted(&format!("{name}: {value}")));
    Ok(match named(connector, call, scope)? {
        None => Vec::new(),
        Some((_, Auth::Bearer { token: own })) => {
            let token = own.render(scope).unwrap_or_else(|_| token.to_owned());
            vec![header("authorization", &format!("Bearer {token}"))]
        }
        Some((_, Auth::Token(auth))) => match &auth.source {
            TokenSource::OAuth(_) | TokenSource::Signed(_) => {
                vec![header("authorization", &format!("Bearer {token}"))]
            }
            TokenSource::Exchange(exchange) => {
                let scope = scope.with("auth", json!({"token": token}));
                let shown = |text: &Text| text.render(&scope).unwrap_or_else(|_| text.source().to_owned());
                exchange.headers.iter().map(|(name, text)| header(name, &shown(text))).collect()
            }
        },
        Some((_, Auth::Basic { username, password })) => {
            vec![format!("-u {}", quoted(&format!("{}:{}", shown(username), shown(password))))]
        }
        Some((_, Auth::Headers { headers })) => {
            headers.iter().map(|(name, text)| header(name, &shown(text))).collect()
        }
    })
}

/// JSON over several lines, anything else as it is.
fn readable(body: &str) -> String {
    match serde_json::from_str::<Json>(body) {
        Ok(json @ (Json::Object(_) | Json::Array(_))) => format!("{json:#}"),
        _ => body.to_owned(),
    }
}

/// One word of a POSIX shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quote_does_not_end_the_word() {
        assert_eq!(quoted("it's $(x) `y` \\"), r"'it'\''s $(x) `y` \'");
    }
}
