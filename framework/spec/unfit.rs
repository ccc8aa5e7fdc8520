//! A value that does not fit where it stands, in words: of another type, none of a list, out of bounds, not written as it
//! must be. `shape` asks; what would mend it comes along where it is sure.

use forebay_json_schema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value as Json;

use super::definition::{description, only_required};
use super::fix::Fix;
use super::mistake::{Code, Mistake, Place};
use super::nearest::{Meant, meant};
use super::path::Path;
use super::rewrite::flow;
use super::traps::UNQUOTED_BRACES;

/// A mistake in a value.
pub fn in_words(kind: &ValidationErrorKind, path: Path, value: &Json) -> Mistake {
    let name = path.last().map_or_else(|| "the spec".to_owned(), |_| format!("`{path}`"));
    let place = Place::value(&path);
    match kind {
        ValidationErrorKind::Type { kind } => wrong_type(kind, &path, value),
        ValidationErrorKind::Enum { options } => {
            let options: Vec<String> = options.as_array().into_iter().flatten().map(plain).collect();
            let given = plain(value);
            let renamed = renamed_value(&given).filter(|name| options.iter().any(|option| option == name));
            let renamed = renamed.map(|name| Meant { name, sure: true });
            let meant = renamed.or_else(|| meant(&given, options.iter().map(String::as_str)));
            let help = match meant {
                Some(Meant { name, .. }) => format!("did you mean `{name}`? There are: {}", all(&options)),
                None => format!("there are: {}", all(&options)),
            };
            let fix = meant.map(|meant| Fix::meant(place.clone(), meant));
            let what = path.last().filter(|key| matches!(*key, "kind" | "format")).unwrap_or("value");
            Mistake::new(Code::NotInList, place, format!("there is no {what} `{}`", short(&given)))
                .help(help)
                .fix(fix)
        }
        ValidationErrorKind::Constant { expected_value } => {
            let quoted = value.is_string() && plain(value) == plain(expected_value);
            let help = match quoted {
                true => "write it without quotes".to_owned(),
                false => format!("write `{}`", plain(expected_value)),
            };
            Mistake::new(Code::NotInList, place, format!("{name} cannot be `{}`", short(&plain(value))))
                .help(help)
        }
        ValidationErrorKind::Pattern { .. } | ValidationErrorKind::Not { .. } => {
            let fix = method_in_capitals(&path, value).map(|call| Fix::text(place.clone(), call));
            Mistake::new(Code::Malformed, place, format!("{name} is not written as it must be"))
                .help(written(&path))
                .fix(fix)
        }
        other => Mistake::new(Code::OutOfBounds, place, format!("{name}: {}", bounds(other)))
            .help(description(&path.parent(), path.last().unwrap_or_default()).unwrap_or_default()),
    }
}

fn bounds(kind: &ValidationErrorKind) -> String {
    match kind {
        ValidationErrorKind::MinItems { limit } => format!("the list needs at least {limit}"),
        ValidationErrorKind::MinProperties { limit } => format!("the map needs at least {limit} key"),
        ValidationErrorKind::MinLength { .. } => "the text is empty".to_owned(),
        ValidationErrorKind::Minimum { limit } => format!("the number must be at least {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("the number must be at most {limit}"),
        ValidationErrorKind::UniqueItems => "a value stands twice in the list".to_owned(),
        other => format!("the rule `{}` does not hold", other.keyword()),
    }
}

fn wrong_type(kind: &TypeKind, path: &Path, value: &Json) -> Mistake {
    let wanted = match kind {
        TypeKind::Single(one) => type_name(one.as_str()).to_owned(),
        TypeKind::Multiple(many) => {
            many.iter().map(|one| type_name(one.as_str())).collect::<Vec<_>>().join(" or ")
        }
    };
    let name = path.last().map_or_else(|| "the spec".to_owned(), |_| format!("`{path}`"));
    let found = match value {
        Json::Null => "nothing",
        Json::Bool(_) => "a flag",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "a map",
    };
    let braces = value.as_object().is_some_and(|map| map.values().all(Json::is_null) && map.len() == 1);
    let place = Place::value(path);
    let text = value.as_str().filter(|text| !text.contains('\n'));
    let flag = text.and_then(flag).filter(|_| wanted == "true or false");
    let map = if wanted == "a map" { short_for(path, value) } else { None };
    let fix = match text {
        _ if map.is_some() => map.clone().map(|(yaml, whole)| Fix::yaml(place.clone(), yaml).safe_if(whole)),
        Some(_) if flag.is_some() => flag.map(|flag| Fix::yaml(place.clone(), flag.to_string())),
        Some(text) if wanted == "a list" => Some(match text.strip_prefix('-') {
            Some(item) if !item.contains(" -") => Fix::yaml(place.clone(), format!("- {item}")),
            _ => Fix::yaml(place.clone(), format!("[{}]", flow(value))).safe_if(!text.starts_with('-')),
        }),
        Some(_) | None => None,
    };
    let help = if wanted == "a list" && text.is_some_and(|text| text.starts_with('-')) {
        "an item of a list begins with `-` and a blank".to_owned()
    } else if let Some(flag) = flag {
        format!("write {flag}, without quotes")
    } else if let Some((yaml, whole)) = map {
        if whole {
            format!("write `{yaml}`")
        } else {
            format!("write `{yaml}`, and what belongs to it beside")
        }
    } else if path.last().is_some_and(is_duration) && value.is_number() {
        format!("write a number and a unit: {value}s, {value}m")
    } else if path.0.is_empty() {
        "a spec begins with `forebay: 1`".to_owned()
    } else if braces && wanted.contains("text") {
        UNQUOTED_BRACES.to_owned()
    } else if wanted.contains("text") && matches!(value, Json::Number(_) | Json::Bool(_)) {
        format!("write it in quotes: \"{value}\"")
    } else {
        description(&path.parent(), path.last().unwrap_or_default())
            .unwrap_or_else(|| format!("write {wanted}"))
    };
    Mistake::new(Code::WrongType, place, format!("{name} must be {wanted}, and is {found}"))
        .help(help)
        .fix(fix)
}

/// The line of a call whose method stands in small letters.
fn method_in_capitals(path: &Path, value: &Json) -> Option<String> {
    let (method, url) = value.as_str().filter(|_| path.last() == Some("call"))?.split_once(' ')?;
    let known = ["get", "head", "post", "put", "patch", "delete"];
    let meant = known.into_iter().find(|known| method.eq_ignore_ascii_case(known))?;
    Some(format!("{} {url}", meant.to_uppercase()))
}

/// The map that a lone value stands for: the value of the one key that it must have. Whether that is all of it: what
/// tells kinds apart is followed by what each of them needs.
fn short_for(path: &Path, value: &Json) -> Option<(String, bool)> {
    let (key, definition) = only_required(path)?;
    let value = match definition.get("enum").and_then(Json::as_array) {
        Some(options) => {
            let given = value.as_str()?;
            let named = |name: &str| options.iter().find(|option| option.as_str() == Some(name));
            named(given).or_else(|| named(renamed_value(given)?))?
        }
        None if definition.get("type")? == "integer" && value.is_u64() => value,
        None => return None,
    };
    let map = serde_json::Map::from_iter([(key.to_owned(), value.clone())]);
    Some((flow(&Json::Object(map)), key != "kind"))
}

/// What YAML of old took for true and false.
fn flag(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "yes" | "on" | "true" => Some(true),
        "no" | "off" | "false" => Some(false),
        _ => None,
    }
}

/// Keys under which a duration stands.
fn is_duration(key: &str) -> bool {
    matches!(key, "every" | "at_most" | "tolerance" | "timeout" | "cache" | "max_age" | "lifetime" | "leeway")
}

fn type_name(name: &str) -> &'static str {
    match name {
        "string" => "a text",
        "number" => "a number",
        "integer" => "a whole number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a map",
        _ => "nothing",
    }
}

/// How a text at this path is written.
fn written(path: &Path) -> String {
    match path.last() {
        Some("call") => "write METHOD and URL: GET {{ vars.streams }}; the methods are GET, HEAD, POST, PUT, PATCH and DELETE",
        Some("name") if path.0.len() == 1 => "small letters, digits and `-`, as the folder is called: acme-audit-log",
        Some("run") => "write RESOURCE.OPERATION, as in `subscription.renew`, or a map with a `call`",
        Some("left") => "write a percentage: 50%",
        Some("when" | "where" | "ok" | "healthy" | "gone" | "until" | "required_when") => {
            "this key decides: write a bare expression, without braces"
        }
        _ => "look at the examples in schemas/connector.json",
    }
    .to_owned()
}

/// Values that other tools use, and what they are called here.
fn renamed_value(value: &str) -> Option<&'static str> {
    Some(match value.to_lowercase().as_str() {
        "jsonl" | "ndjson" | "jsonlines" | "json-lines" => "json_lines",
        "oauth2" | "oauth" | "client_credentials" => "oauth2_client_credentials",
        "api_key" | "apikey" | "header" => "token",
        "signature" | "hmac-sha256" | "hmac_sha256" => "hmac",
        "bool" => "boolean",
        "int" => "integer",
        "float" | "double" => "number",
        "list" => "array",
        "map" | "dict" => "object",
        "str" | "text" => "string",
        _ => return None,
    })
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn short(text: &str) -> String {
    crate::error::escaped(text, 40)
}

fn all(options: &[String]) -> String {
    options.iter().map(|option| format!("`{option}`")).collect::<Vec<_>>().join(", ")
}
