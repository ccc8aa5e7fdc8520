//! The examples of the language's page on provisioning are parts of specs that can be loaded.

use std::path::Path;

use forebay::connector::load::examine_source;
use forebay::spec::mistake::Code;
use forebay::spec::render;
use forebay::spec::source::Source;
use serde_json::Value as Json;

use crate::support::root;

/// A spec that every example is laid over.
const BASE: &str = r#"
forebay: 1
name: example
title: Example
vendor: Example
settings:
  mode: {title: Mode, type: string, enum: [manual, automatic], default: automatic, description: Who makes the hook.}
secrets:
  key: {title: Key, generate: {bytes: 32}, description: Comes back with every event.}
vars:
  hooks: https://api.example.com/hooks
  hook: "{{ vars.hooks }}/{{ state.hook.id }}"
auth:
  api: {kind: bearer, token: "{{ secrets.key }}"}
provision:
  auth: api
  resources:
    hook:
      desired: {url: "{{ receiver.url }}"}
      find: {call: "GET {{ vars.hooks }}", where: item.url == receiver.url, save: {id: /id}}
      create: {call: "POST {{ vars.hooks }}", json: "{{ desired }}", save: {id: /id}}
      check: {call: "GET {{ vars.hook }}"}
      delete: {call: "DELETE {{ vars.hook }}"}
receiver:
  path: /hooks/{{ instance.id }}
  verify: {kind: token, header: X-Key, equals: "{{ secrets.key }}"}
  decode: {format: json}
  respond: {accepted: {status: 200}}
output: {schema: files/record.json}
"#;

fn over(base: &mut Json, example: Json) {
    for (key, value) in example.as_object().unwrap().clone() {
        base[key] = value;
    }
}

#[test]
fn the_examples_of_the_provisioning_page_can_be_loaded() {
    let page = std::fs::read_to_string(root().join("docs/language/provision.md")).unwrap();
    let mut seen = 0;
    for block in page.split("```yaml\n").skip(1).map(|part| part.split("```").next().unwrap()) {
        seen += 1;
        let mut spec: Json = serde_yaml::from_str(BASE).unwrap();
        let example: Json = serde_yaml::from_str(block).unwrap();
        if let Some(provision) = example.get("provision") {
            if provision.get("resources").is_none() {
                spec["vars"].as_object_mut().unwrap().remove("hook");
            }
            over(&mut spec, example);
        } else if let Some(secrets) = example.get("secrets") {
            over(&mut spec["secrets"], secrets.clone());
        } else if example.get("pages").is_some() {
            over(&mut spec["provision"]["resources"]["hook"]["find"], example);
        } else if example.get("singleton").is_some() {
            spec["provision"]["resources"]["hook"] = example;
            spec["vars"].as_object_mut().unwrap().remove("hook");
        } else {
            over(&mut spec["provision"]["resources"]["hook"], example);
        }
        let text = serde_yaml::to_string(&spec).unwrap();
        let examined = examine_source(Source::new("spec.yaml", &text), Path::new("tests/specs/spec.yaml"));
        let shown = render::human(&examined.source, &examined.diagnostics, false);
        // An example need not use everything of the spec that it is put into.
        let wrong = examined.diagnostics.iter().any(|found| found.code != Code::Unused);
        assert!(!wrong, "{block}\n{shown}");
    }
    assert!(seen >= 7, "{seen} examples");
}
