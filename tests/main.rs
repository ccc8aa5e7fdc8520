//! One test binary: one file per promise or boundary.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, missing_docs)]

mod admin;
mod bad_specs;
mod calls;
mod cases;
mod catalogue;
mod configuration;
mod diff;
mod docs;
mod each_call;
<<<<<<< HEAD
mod explain_request;
=======
mod explanations;
>>>>>>> b284ed8 (wip: formats, allow, fix, explain)
mod fault_points;
mod faults_of_others;
mod findings;
mod fuzz;
mod hostile;
mod house;
mod kill;
mod main_job;
mod manual;
mod provisioning;
mod queue;
mod queue_model;
mod receiving;
mod simulation;
mod sinks;
mod spec_language;
mod store_faults;
mod support;
mod sync_proof;
mod templates;
mod tenant;
mod tls;
mod torture;
mod trace;
mod whole_life;
