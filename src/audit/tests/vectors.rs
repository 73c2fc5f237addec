//! The logs in `tests/vectors/log`.
