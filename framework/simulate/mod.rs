//! The stand-in vendor, derived from the spec, and a whole life of a stream against it.

pub mod answer;
pub mod books;
pub mod cases;
pub mod configure;
pub mod events;
pub mod faults;
pub mod folder;
pub mod frame;
pub mod guard;
pub mod invert;
pub mod ledger;
pub mod life;
pub mod meet;
pub mod pages;
pub mod plan;
pub mod routes;
pub mod sender;
pub mod serving;
pub mod shape;
pub mod shelf;
pub mod sign;
pub mod summary;
pub mod tail;
pub mod thing;
pub mod transport;
pub mod vendor;
