//! The stand-in vendor, derived from the spec, and a whole life of a stream against it.

pub mod answer;
pub mod faults;
pub mod guard;
pub mod invert;
pub mod routes;
pub mod shape;
pub mod shelf;
pub mod vendor;
