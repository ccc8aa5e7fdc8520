//! How the vendor delivers, and what that means for who receives.

use super::markdown::{capital, joined, list};
use super::words;
use crate::connector::model::{Connector, Sender};

/// The part of the page.
pub fn body(connector: &Connector) -> String {
    let receiver = &connector.receiver;
    let mut items = vec![format!(
        "When the records of a request are safe on disk, and not before, the answer is {}.",
        receiver.respond.accepted.status
    )];
    items.extend(habits(&receiver.sender));
    items.push(
        "When there is no room, or Forebay stops, the answer is 503: nothing is half stored.".to_owned(),
    );
    list(items.iter().map(|item| capital(item)))
}

fn habits(sender: &Sender) -> Vec<String> {
    let statuses = |ranges| joined(&words::statuses(ranges), "or");
    let mut items = Vec::new();
    if !sender.success.is_empty() {
        items.push(format!("a success to it is {}.", statuses(&sender.success)));
    }
    if let Some(timeout) = sender.timeout {
        items.push(format!("it waits {} for an answer.", words::duration(timeout)));
    }
    match sender.attempts {
        Some(1) => {
            items.push("it tries once: what fails is lost, unless somebody asks for it again.".to_owned())
        }
        Some(times) => items.push(format!("it tries {times} times.")),
        None => {}
    }
    if !sender.stops_on.is_empty() {
        items.push(format!("it does not try again after {}.", statuses(&sender.stops_on)));
    }
    if let Some(time) = sender.gives_up_after {
        items.push(format!("after {} of failures it gives up.", words::duration(time)));
    }
    items.push(
        if sender.ordered { "it keeps the order of events." } else { "it promises no order." }.to_owned(),
    );
    if let Some(coding) = sender.encoding {
        items.push(format!("its bodies are compressed ({}).", coding.name()));
    }
    items
}
