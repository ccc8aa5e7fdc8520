//! What goes wrong at the vendor under `--faults`: a limit that is reached, a token that is no good any more.
//!
//! Asked by the vendor before it does what a call wants. Each fault happens once, so that a life with faults
//! still comes to its end.

use std::sync::atomic::{AtomicBool, Ordering};

use super::answer::{Answer, refusal};
use super::guard::Guard;
use super::routes::Effect;
use crate::connector::model::Connector;

/// The faults that are still to come.
#[derive(Debug, Default)]
pub struct Faults {
    /// How many seconds a client that asks too often is to wait.
    wait_seconds: u32,
    throttle_list: AtomicBool,
    throttle_create: AtomicBool,
    revoke_token: AtomicBool,
}

impl Faults {
    /// A vendor without faults.
    pub fn none() -> Self {
        Self::default()
    }

    /// Every fault, once. Who asks too often is told to wait so many seconds.
    pub fn all(wait_seconds: u32) -> Self {
        Self {
            wait_seconds,
            throttle_list: AtomicBool::new(true),
            throttle_create: AtomicBool::new(true),
            revoke_token: AtomicBool::new(true),
        }
    }

    /// The fault that is due for a call, if there is one.
    pub fn due(&self, connector: &Connector, guard: &Guard, effect: Effect) -> Option<Answer> {
        let throttle = match effect {
            Effect::List => self.throttle_list.swap(false, Ordering::Relaxed),
            Effect::Create => self.throttle_create.swap(false, Ordering::Relaxed),
            Effect::Read | Effect::Merge | Effect::Repair | Effect::Renew | Effect::Act | Effect::Remove => {
                false
            }
        };
        if throttle {
            let answer = refusal(connector, 429, "Global limit has been reached");
            return Some(answer.with_header("retry-after", self.wait_seconds.to_string()));
        }
        // The guard refuses the request itself: the token it carries is forgotten.
        if effect == Effect::Create && self.revoke_token.swap(false, Ordering::Relaxed) {
            guard.forget_tokens();
        }
        None
    }
}
