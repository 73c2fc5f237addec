//! One request of an agent to a tool, from raw bytes to evidence that it is well formed.
//!
//! [`tool::Tool`] is the pinned contract, [`admit`] checks raw argument bytes against it, and
//! [`Call`] is what a checked request is. Nothing here knows whether it may happen.
#![forbid(unsafe_code)]

mod admit;
pub mod declared;
pub mod http;
pub mod id;
mod kind;
mod listed;
pub mod path;
pub mod rates;
pub mod tool;
mod unfit;

pub use admit::{Call, Caller, DEPTH_MAX, admit, foresee};
pub use listed::Listed;
pub use unfit::Unfit;

#[cfg(test)]
mod tests;
