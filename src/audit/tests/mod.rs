//! Tests of the log as a whole.

mod crash;
mod life;
mod support;
mod tamper;
mod vectors;
