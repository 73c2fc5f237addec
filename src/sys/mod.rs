//! The only unsafe code: system calls behind functions that take and give owned types. Each block
//! holds one unsafe operation and says why it is sound.

mod bpf;
pub mod calls;
pub mod cgroup;
mod clone;
pub mod exec;
pub mod file;
pub mod filter;
#[cfg(test)]
mod fire;
pub mod handed;
pub mod inherited;
pub mod init;
pub mod jail;
pub mod mounts;
pub mod network;
pub mod notify;
pub mod packet;
pub mod probe;
pub mod process;
mod raw;
#[cfg(test)]
mod same;
pub mod sealed;
mod search;
mod second;
pub mod spawn;
pub mod stdio;
pub mod times;
pub mod users;
