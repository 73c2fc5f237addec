//! Keepgate: a gate between AI agents and everything they can touch.
//!
//! Read [`keeper`]'s pipeline first: it is the life of one call on one screen. The modules below
//! are in order of dependency; each uses only those above it.

pub mod sys;

pub mod error;
pub mod time;

pub mod call;
pub mod wire;

pub mod jail;
pub mod tools;

pub mod catalog;
pub mod mode;
pub mod policy;
pub mod undo;

pub mod audit;

pub mod config;
pub mod egress;
pub mod front;
pub mod jailer;
pub mod keeper;
pub mod supervisor;

pub mod cli;
pub mod diagnostics;
pub mod manual;
