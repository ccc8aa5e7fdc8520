//! What we answer, held against what the sender makes of it: no answer makes it give up what it brought.

use std::time::Duration;

use crate::connector::compile::at::At;
use crate::connector::compile::compiler::Compiler;
use crate::connector::model::{Respond, Sender, StatusRange};
use crate::connector::template::Text;
use crate::spec::mistake::{Code, Mistake, Place};

/// How long an answer may take that waits for a call: the receiver's patience with keys, and with calls of rules.
const CALL: Duration = Duration::from_secs(10);
/// What is made durable before it is answered takes this long on a bad day.
const DURABLE: Duration = Duration::from_secs(1);

impl Compiler {
    /// Holds the answers against the sender.
    pub(super) fn answers(&mut self, receiver: &At<'_>, respond: &Respond, sender: &Sender) {
        self.successes(receiver, respond, sender);
        let stops = |status: u16| within(&sender.stops_on, status);
        let at = receiver.get("respond");
        if let (Some(rejected), Some(at)) = (&respond.rejected, at.as_ref().and_then(|at| at.get("rejected")))
        {
            let status = rejected.status;
            if within(&sender.success, status) {
                self.gives_up(
                    &at,
                    status,
                    "a success to the sender: with a wrong key here, all it brings is lost",
                );
            } else if stops(status) {
                self.gives_up(
                    &at,
                    status,
                    "which the sender does not try again: with a wrong key here, all it brings is lost",
                );
            }
        }
        for rule in receiver.get("rules").iter().flat_map(At::items) {
            let Some(reply) = rule.get("respond") else { continue };
            let status =
                reply.get("status").and_then(|at| at.value.as_u64()).and_then(|n| u16::try_from(n).ok());
            if let Some(status) = status.filter(|status| stops(*status)) {
                self.gives_up(&reply, status, "which the sender does not try again");
            }
        }
        for (key, at) in at.iter().flat_map(At::entries).filter(|(key, _)| *key != "rejected") {
            self.tells_no_secret(key, &at);
        }
        self.in_time(receiver, sender);
    }

    /// What the sender takes for a failure it sends again, for ever: a request that was dealt with must not look like
    /// one.
    fn successes(&mut self, receiver: &At<'_>, respond: &Respond, sender: &Sender) {
        let ignored = respond.ignored.as_ref().map(|reply| ("ignored", reply.status));
        for (key, status) in [("accepted", respond.accepted.status)].into_iter().chain(ignored) {
            if within(&sender.success, status) {
                continue;
            }
            let place = receiver.get("respond").and_then(|at| at.get(key)).and_then(|at| at.get("status"));
            let place = place.map_or_else(|| Place::value(&receiver.path), |at| Place::value(&at.path));
            let message = format!("{key} requests get {status}, which is no success to the sender");
            self.report(
                Mistake::new(Code::Contradiction, place, message)
                    .help("take a status that `sender.success` lists; without a list it is any 2xx"),
            );
        }
    }

    fn gives_up(&mut self, reply: &At<'_>, status: u16, why: &str) {
        let place =
            reply.get("status").map_or_else(|| Place::value(&reply.path), |at| Place::value(&at.path));
        self.report(
            Mistake::new(Code::GivesUp, place, format!("this answers {status}, {why}")).help(
                "take a status that it tries again after, such as 503; `sender` says which it does not",
            ),
        );
    }

    /// An answer is in the sender's log: no secret stands in it but as a keyed hash.
    fn tells_no_secret(&mut self, key: &str, reply: &At<'_>) {
        for at in reply.leaves() {
            let Some(text) = at.text().and_then(|source| Text::compile(source).ok()) else { continue };
            if text.source().contains("hmac(") {
                continue;
            }
            let names = text.names();
            let all = self.defined.through_vars(&names).into_iter().map(|(name, _)| name);
            if let Some(secret) = all.filter(|name| name.starts_with("secrets.")).min() {
                let mut way = self.defined.way(&names, &secret);
                way.push(format!("respond.{key}"));
                self.report(
                    Mistake::new(
                        Code::SecretAstray,
                        Place::value(&at.path),
                        format!("`{secret}` would stand in every answer: {}", way.join(" → ")),
                    )
                    .help("answers end up in the sender's log: leave the secret out, or answer a hash with it, `| hmac('sha256', …)`"),
                );
            }
        }
    }

    /// An answer comes before the sender stops waiting.
    fn in_time(&mut self, receiver: &At<'_>, sender: &Sender) {
        let (Some(timeout), Some(at)) =
            (sender.timeout, receiver.get("sender").and_then(|at| at.get("timeout")))
        else {
            return;
        };
        let waits = at.text().unwrap_or_default();
        if timeout < DURABLE {
            let message = format!(
                "the sender waits {waits}: what is made durable first is not always answered by then"
            );
            self.report(Mistake::new(Code::TooSlow, Place::value(&at.path), message).help(
                "have the vendor wait for some seconds where that can be set, and say so here; else what is late comes twice",
            ));
            return;
        }
        if timeout >= CALL {
            return;
        }
        let run =
            receiver.get("rules").iter().flat_map(At::items).find_map(|rule| rule.get("run")?.get("call"));
        let slow = run.or_else(|| fetched(receiver.get("verify")));
        let Some(slow) = slow else { return };
        self.report(
            Mistake::new(
                Code::TooSlow,
                Place::value(&slow.path),
                format!("an answer waits for this call, up to 10s, and the sender waits {waits}"),
            )
            .help("where the sender tries again it is answered then; else say the key itself, or let a resource make the call")
            .related(Place::value(&at.path), "how long it waits"),
        );
    }
}

/// Where a verification, or one in it, fetches keys.
fn fetched<'a>(verify: Option<At<'a>>) -> Option<At<'a>> {
    let verify = verify?;
    let own = verify.get("jwks_url").or_else(|| verify.get("key_url")?.get("url"));
    own.or_else(|| verify.get("of")?.items().find_map(|at| fetched(Some(at))))
}

fn within(ranges: &[StatusRange], status: u16) -> bool {
    ranges.iter().any(|range| (range.0..=range.1).contains(&status))
}
