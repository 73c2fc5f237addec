//! Everything that crosses a process border: frames between roles, their messages, strict JSON
//! from outside, the operator's protocol, and outside text made safe to show.
#![forbid(unsafe_code)]

pub mod admin;
pub mod frame;
pub mod json;
pub mod jsonrpc;
pub mod line;
pub mod manifest;
pub mod messages;
pub mod text;
pub mod words;
