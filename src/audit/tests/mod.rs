//! Tests of the log as a whole.

#![expect(
    clippy::cast_possible_truncation,
    reason = "lengths of small test files"
)]

mod canonical;
mod crash;
mod life;
mod support;
mod tamper;
mod vectors;
