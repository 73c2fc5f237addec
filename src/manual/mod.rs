//! What Keepgate protects, from what, and how each of it is shown.
//!
//! Text, and one table. The table and the names of tests in the text are checked by `tests/it`: a
//! row or a promise whose test is gone fails the build.
//!
//! - [`threat_model`]: who attacks, what they hold, what is out of reach, and what is still open
//! - [`promises`]: what is promised, by number, each with the tests that would notice
//! - [`attacks`]: every known attack, the stage that refuses it and the tests that show it
//! - [`formats`]: where each file, frame and protocol is described
//! - [`decisions`]: what was decided, and the measurement behind it
#![forbid(unsafe_code)]

pub mod attacks;
pub mod decisions;
pub mod formats;
pub mod promises;
pub mod threat_model;
