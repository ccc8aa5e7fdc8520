//! As meant: a spec compiled, every template parsed, every name checked.

pub mod believed;
pub mod cases;
pub mod certificates;
pub mod clock;
pub mod coding;
pub mod compile;
pub mod configuration_schema;
pub mod instance;
pub mod layers;
pub mod load;
pub mod model;
pub mod node;
pub mod overlay;
pub mod pick;
pub mod record;
pub mod removal;
pub(crate) mod scan;
pub mod schema;
pub mod secret;
pub mod settings;
pub mod template;
pub mod units;
mod verifying;
