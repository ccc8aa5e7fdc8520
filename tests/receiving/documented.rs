//! The examples of the language's page on the receiver are parts of specs that can be loaded.

use super::stage;
use crate::support::root;

const PROVISION: &str = "provision:\n  resources:\n    subscription:\n      desired: {url: \"{{ receiver.url }}\"}\n      \
     examples: {healthy: {id: 1}}\n      find: {call: GET https://api.example.com/hooks, where: item.url == receiver.url, save: {id: /id}}\n      \
     create: {call: POST https://api.example.com/hooks, json: {url: \"{{ receiver.url }}\"}, save: {id: /id}}\n      \
     check: {call: \"GET https://api.example.com/hooks/{{ state.subscription.id }}\"}\n      \
     renew: {kind: call, every: 1d, call: \"POST https://api.example.com/hooks/{{ state.subscription.id }}\"}\n      \
     delete: {call: \"DELETE https://api.example.com/hooks/{{ state.subscription.id }}\"}\n";

#[test]
fn the_examples_of_the_receiver_page_can_be_loaded() {
    let page = std::fs::read_to_string(root().join("docs/language/receiver.md")).unwrap();
    let mut seen = 0;
    for block in page.split("```yaml\n").skip(1).map(|part| part.split("```").next().unwrap()) {
        seen += 1;
        let indented: String = block.lines().map(|line| format!("  {line}\n")).collect();
        let mut receiver = format!("receiver:\n  path: /in\n{indented}");
        let verify = "  verify: {kind: token, header: x-api-key, equals: \"{{ secrets.key }}\"}\n";
        let others = [("verify:", verify), ("respond:", "  respond: {accepted: {status: 200}}\n")];
        for (key, default) in others {
            if !block.lines().any(|line| line.starts_with(key)) {
                receiver.push_str(default);
            }
        }
        // A block that captures stands for a stream that a person makes.
        let provision = if block.contains("subscription") { PROVISION } else { "" };
        stage::connector_of(&format!("{provision}{receiver}  decode: {{format: json}}\n"));
    }
    assert!(seen >= 7, "{seen} examples");
}
