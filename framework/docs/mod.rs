//! What is written for people: the page of a connector, the list of connectors, the reference of the language.
//!
//! Everything is text out of what was loaded: nothing is sent, no file is read or written, and the same spec always
//! gives the same page. `cli` writes the files, and says which are stale.

pub mod allowed;
pub mod catalogue;
mod creation;
mod data;
pub mod errors;
mod example;
mod given;
mod guide;
pub mod html;
pub mod markdown;
mod messages;
mod modes;
mod page;
mod part;
mod proof;
pub mod record;
pub mod reference;
mod sender;
pub mod words;

pub use page::page;
