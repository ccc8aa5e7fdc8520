//! Forebay gets what vendors push out of their webhooks and into a team's own pipeline.
//!
//! One YAML file describes a vendor's stream, both ends of it; this library interprets it: it provisions
//! the vendor's side, receives, verifies, checks, stores durably and delivers. No connector has code of its
//! own, and nothing here names a vendor.
//!
//! The floors, lowest first. A floor imports only from floors above it in this list; a test holds that.

pub mod error;

/// What an operator has to know about a running process, in one list.
pub mod condition;

/// Small files that an operator names, read with bounds on size and time.
pub mod files;

/// Named places where a test kills the process; empty in every ordinary build.
pub mod points;

/// Every outgoing HTTP call: rendered, signed, sent, retried and read in one place.
pub mod call;
/// The command line: one file per command.
pub mod cli;
/// As meant: templates compiled, pointers parsed, nothing optional that is required.
pub mod connector;
/// One worker per sink, from the queue to where records go.
pub mod deliver;
/// What a change of a connector means for the instances that run with it.
pub mod diff;
/// What is written for people: the page of each connector, the reference of the language.
pub mod docs;
/// A new connector, written from a few answers.
pub mod new;
/// The vendor's side: found, adopted, created, kept, repaired and destroyed.
pub mod provision;
/// The durable log between receiver and sinks, and the state that instances learned.
pub mod queue;
/// The life of a request: limits, who, rules, verify, inflate, decode, check, store, answer.
pub mod receive;
/// An instance at work: the order of start and stop.
pub mod run;
/// The stand-in vendor, derived from the spec.
pub mod simulate;
/// As written: the YAML of a connector, with the place of every word, and the diagnostics about it.
pub mod spec;
/// The real thing in a child process under load and faults, and the account of every event.
pub mod torture;
