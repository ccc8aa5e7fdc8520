//! The life of a stream at the vendor, against a tenant that is as strict as the real one.

pub mod bench;
mod cancelled;
mod command;
mod destroy;
mod documented;
mod gone;
pub mod killed;
mod known;
mod life;
mod lifetimes;
mod manual;
mod odd;
mod plan;
mod primitives;
mod run;
mod several;
mod trouble;
