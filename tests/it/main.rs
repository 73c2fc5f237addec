//! One binary, a module per promise. The tests drive the real binary: `KEEPGATE_BIN` where it is
//! set, else the one cargo built beside them.
#![expect(clippy::disallowed_methods, reason = "tests start the real binary")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that meets what it did not expect should stop and say so"
)]

mod calls;
mod cgroups;
mod conformance;
mod connectors;
mod corpus;
mod crash;
mod files;
mod harness;
mod http;
mod jail_run;
mod jailer;
mod journal;
mod limits;
mod lists;
mod log;
mod manual;
mod policy;
mod roles;
mod runtimes;
mod screens;
mod scripts;
mod sdk;
mod upstreams;
mod web;
