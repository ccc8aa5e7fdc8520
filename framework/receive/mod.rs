//! The life of a request: limits, who, rules, verify, inflate, decode, check, store, answer.
//!
//! `run` makes an [`Endpoint`] per instance, a [`Router`] for a listener, and gives both to [`serve`].
//! `accept` names every stage in its order; the other files are one stage each.

pub mod limits;

mod accept;
mod answer;
mod body;
mod budget;
#[cfg(test)]
mod cancelled;
mod client;
mod connections;
mod decode;
mod deeds;
#[cfg(test)]
mod dropped_stages;
#[cfg(test)]
mod dropped_work;
mod endpoint;
mod envelope;
mod events;
#[cfg(test)]
mod fairness;
mod formats;
mod heads;
mod holdings;
mod inflate;
mod known_types;
mod meters;
mod pace;
mod pair;
mod pool;
mod proving;
mod proxy_header;
mod records;
mod refused;
mod request;
mod router;
mod rules;
mod server;
mod serving;
mod shared;
mod store;
mod tls;
mod told;
mod unknown;
mod unread;
mod verify;
mod witness;

pub use accept::{explain, who};
pub use client::{Network, Proxies};
pub use deeds::{Captured, Deeds, Kept, Reach};
pub use endpoint::{Endpoint, decode_again};
pub use limits::Limits;
pub use meters::Tally;
pub use request::Head;
pub use router::Router;
pub use server::serve;
pub use tls::{Reloaded, Tls};
pub use witness::{Answered, Outcome, Stage, Told, Witness};
