//! A new connector: a folder that validates and passes its case, written from a few answers.
//!
//! `forebay new` gathers the answers ([`questions`]) and has the folder written ([`folder`]). What is written comes from
//! the templates beside this file; the sample, its schema and the case are made to fit, and the request of the case is
//! signed by what signs for the stand-in. Nothing here asks a person, reads the environment or sends anything.

mod case;
pub mod folder;
pub mod questions;
mod sample;
mod takes;
mod template;
