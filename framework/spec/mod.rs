//! As written: the YAML of a connector, with the place of every word, and what can be wrong with it.
//!
//! Nothing here knows what a spec means; that is `connector`.

pub mod allow;
pub mod apply;
pub mod case;
pub mod code;
pub mod definition;
pub mod diagnostic;
pub mod document;
pub mod explanation;
pub mod fix;
pub mod load;
mod misplaced;
pub mod mistake;
pub mod nearest;
pub mod patch;
pub mod path;
pub mod place;
pub mod render;
pub mod rewrite;
pub mod shape;
pub mod source;
pub mod syntax;
pub mod traps;
mod tree;
mod unfit;
