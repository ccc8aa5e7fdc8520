//! The checks of `tests/fuzz/`, for fuzz targets that libFuzzer drives.
//!
//! The files are those of the tests, included by path, so that a check exists once. The two modules that they expect
//! beside them are here with what they need of them.
#![allow(dead_code, missing_docs)]

#[path = "../../tests/fuzz/mod.rs"]
pub mod fuzz;

#[path = "../../tests/receiving"]
pub mod receiving {
    pub mod stage;
}

pub mod support {
    use std::path::Path;

    /// Returns the repository's root.
    pub fn root() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
    }

    /// Returns the seed of the generated inputs, which no fuzz target plays.
    pub fn seed() -> u64 {
        1
    }
}
