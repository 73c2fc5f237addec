//! What one exchange does on the network, for the log: written by the exchange, read by the client when
//! it tells what came of it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::egress::hops::Hops;
use crate::egress::refusal::{Class, Refusal};
use crate::wire::messages::Hop;

/// The hops of one exchange, as far as they have come.
#[derive(Debug, Clone, Default)]
pub(super) struct Trail(Arc<Mutex<Hops>>);

impl Trail {
    /// Notes something.
    pub(super) fn note(&self, note: impl FnOnce(&mut Hops)) {
        note(&mut self.lock());
    }

    /// It is over: well, or for that reason.
    pub(super) fn end(&self, refusal: Option<&Refusal>) {
        self.lock().end(refusal);
    }

    /// It is given up, if it is not over.
    pub(super) fn give_up(&self, why: &str) {
        self.end(Some(&Refusal::new(Class::TimedOut, why)));
    }

    /// What is known now.
    pub(super) fn so_far(&self) -> Vec<Hop> {
        self.lock().so_far()
    }

    /// Nothing more is done.
    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over()
    }

    fn lock(&self) -> MutexGuard<'_, Hops> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
