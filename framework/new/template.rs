//! The templates of a new connector, and how they are filled: `${ name }` is replaced, a line that begins with `%%` is
//! a statement. What a connector says itself, `{{ }}`, is left alone.

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value};
use serde_json::{Map, Value as Json};

use crate::error::{Error, Kind, Result};

/// The spec.
pub(super) const SPEC: &str = include_str!("templates/connector.yaml");
/// The prose of its page.
pub(super) const GUIDE: &str = include_str!("templates/guide.md");
/// Its first case.
pub(super) const CASE: &str = include_str!("templates/case.yaml");

/// Fills a template.
pub(super) fn fill(template: &str, names: &Map<String, Json>) -> Result<String> {
    let ours = |e| {
        Error::new(Kind::Finding, "a template of `forebay new` cannot be filled: this is a fault of forebay")
            .because(e)
    };
    let mut environment = Environment::new();
    let syntax = SyntaxConfig::builder()
        .block_delimiters("${%", "%}")
        .variable_delimiters("${", "}")
        .comment_delimiters("${#", "#}")
        .line_statement_prefix("%%")
        .build()
        .map_err(ours)?;
    environment.set_syntax(syntax);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let names = names.iter().map(|(name, value)| {
        (
            name.as_str(),
            match value {
                Json::Bool(yes) => Value::from(*yes),
                Json::String(text) => Value::from(text.as_str()),
                Json::Null | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
                    Value::from(value.to_string())
                }
            },
        )
    });
    let text = environment.render_str(template, Value::from_pairs(names)).map_err(ours)?;
    // The last line break of a template is cut.
    Ok(text + "\n")
}

/// A text as YAML has it in one line: as it stands where it can be nothing else, in quotes otherwise.
pub(super) fn scalar(text: &str) -> String {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
    let plain = text.chars().all(|c| c.is_alphanumeric() || " -_./()+&'".contains(c) || c == ',');
    let word =
        ["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_lowercase().as_str());
    if first && plain && !word && !text.ends_with(' ') {
        text.to_owned()
    } else {
        // JSON's quotes are YAML's too.
        Json::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_quoted_where_yaml_would_take_it_for_something_else() {
        for (text, written) in [
            ("Acme Events", "Acme Events"),
            ("Acme, Inc.", "Acme, Inc."),
            ("yes", "\"yes\""),
            ("Null", "\"Null\""),
            ("a: b", "\"a: b\""),
            ("a # b", "\"a # b\""),
            ("3scale", "\"3scale\""),
            ("- a", "\"- a\""),
            ("{{ x }}", "\"{{ x }}\""),
            ("say \"hi\"", "\"say \\\"hi\\\"\""),
        ] {
            assert_eq!(scalar(text), written);
        }
    }

    #[test]
    fn what_a_connector_says_itself_is_left_alone() {
        let names = serde_json::json!({"a": 1, "b": false});
        let text = "x: ${ a } {{ settings.y }} $schema\n%% if b\nno\n%% endif\nend\n";
        assert_eq!(fill(text, names.as_object().unwrap()).unwrap(), "x: 1 {{ settings.y }} $schema\nend\n");
    }
}
