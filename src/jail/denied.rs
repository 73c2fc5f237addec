//! Temporary.
use crate::sys::notify::Notification;
use crate::wire::messages::{Denial, Layer};
use nix::errno::Errno;
/// Memory.
pub trait Memory {
    /// Reads.
    fn read(&self, address: u64, bytes: &mut [u8]) -> std::io::Result<usize>;
}
/// All.
#[derive(Debug, Default)]
pub struct Denials(Vec<Denial>);
impl Denials {
    /// Adds.
    pub fn add(&mut self, denial: Denial) {
        self.0.push(denial);
    }
    /// All.
    pub fn into_all(self) -> Vec<Denial> {
        self.0
    }
}
/// Says.
pub fn describe(asked: &Notification, _: &impl Memory) -> (Denial, Errno) {
    (
        Denial {
            layer: Layer::Seccomp,
            attempt: format!("call {} {:?}", asked.number, asked.arguments),
            allow: None,
            count: 1,
        },
        Errno::EPERM,
    )
}
