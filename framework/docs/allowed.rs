//! What a JSON Schema lets a value be, in a few words: for settings, for fields of a record, for the language.

use serde_json::Value as Json;

use super::markdown::{code, joined};

/// The values that are taken, where the schema says more than a type.
pub fn values(schema: &Json) -> String {
    let mut said = Vec::new();
    if let Some(choice) = choice(schema) {
        said.push(choice);
    }
    if let Some(format) = text(schema, "format") {
        said.push(match format {
            "uri" => "a URL".to_owned(),
            "duration" => "a duration: `250ms`, `30s`, `5m`, `2h`, `7d`".to_owned(),
            other => format!("format {}", code(other)),
        });
    }
    if let Some(pattern) = text(schema, "pattern") {
        said.push(format!("matches {}", code(pattern)));
    }
    said.extend(bounds(schema));
    if let Some(items) = schema.get("items").filter(|items| items.is_object()) {
        let each = said_of(items);
        if !each.is_empty() {
            said.push(format!("each: {each}"));
        }
    }
    said.join("; ")
}

/// The type and the values; of a choice the values alone.
pub fn said_of(schema: &Json) -> String {
    match (kind(schema), values(schema)) {
        (kind, values) if values.is_empty() => kind,
        (kind, values) if kind.is_empty() || choice(schema).is_some() => values,
        (kind, values) => format!("{kind}, {values}"),
    }
}

/// The type: `string`, `string or null`.
pub fn kind(schema: &Json) -> String {
    match schema.get("type") {
        Some(Json::String(one)) => one.clone(),
        Some(Json::Array(several)) => {
            let names: Vec<String> = several.iter().filter_map(Json::as_str).map(str::to_owned).collect();
            joined(&names, "or")
        }
        Some(_) | None => String::new(),
    }
}

fn choice(schema: &Json) -> Option<String> {
    if let Some(only) = schema.get("const") {
        return Some(shown(only));
    }
    let values: Vec<String> = schema.get("enum")?.as_array()?.iter().map(shown).collect();
    Some(joined(&values, "or"))
}

/// A value in a line.
pub fn shown(value: &Json) -> String {
    match value.as_str() {
        Some(text) if !text.is_empty() => code(text),
        Some(_) | None => code(&value.to_string()),
    }
}

fn bounds(schema: &Json) -> Vec<String> {
    let number = |key: &str| schema.get(key).filter(|bound| bound.is_number()).map(ToString::to_string);
    let range = |low: &str, high: &str, what: &str| match (number(low), number(high)) {
        (Some(low), Some(high)) => Some(format!("{low} to {high}{what}")),
        (Some(low), None) if low != "1" || what.is_empty() => Some(format!("at least {low}{what}")),
        (None, Some(high)) => Some(format!("at most {high}{what}")),
        (_, None) => None,
    };
    let ranges = [
        range("minimum", "maximum", ""),
        range("minLength", "maxLength", " characters"),
        range("minItems", "maxItems", " items"),
        range("minProperties", "maxProperties", " entries"),
    ];
    ranges.into_iter().flatten().collect()
}

fn text<'a>(schema: &'a Json, key: &str) -> Option<&'a str> {
    schema.get(key).and_then(Json::as_str)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_schema_allows_is_said() {
        assert_eq!(values(&json!({"enum": ["a", 1, null]})), "`a`, `1` or `null`");
        assert_eq!(values(&json!({"items": {"type": "string", "minLength": 1}})), "each: string");
        assert_eq!(values(&json!({"minimum": 1, "maximum": 5, "pattern": "^x$"})), "matches `^x$`; 1 to 5");
        assert_eq!(kind(&json!({"type": ["string", "null"]})), "string or null");
    }
}
