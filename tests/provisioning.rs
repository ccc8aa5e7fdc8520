//! The life of a stream at the vendor, against a tenant that is as strict as the real one.

mod bench;
mod command;
mod destroy;
mod life;
mod manual;
mod odd;
mod plan;
mod run;
mod several;
mod trouble;
