//! What a lease or a proxy did on the network, for the log: one line a request, refused ones
//! included.

use super::refusal::Refusal;
use crate::call::http::Target;
use crate::wire::messages::Hop;
use crate::wire::text::Escaped;

/// Longest target kept, in characters: all hops of a lease have to fit into one packet.
const TARGET_MAX: usize = 2 << 10;
/// Longest fault kept, in characters.
const FAULT_MAX: usize = 400;

/// The hops of one lease, in order; the last may be under way.
#[derive(Debug, Default)]
pub(super) struct Hops {
    hops: Vec<Hop>,
    under_way: bool,
}

impl Hops {
    /// A request begins.
    pub(super) fn begin(&mut self, target: &Target) {
        self.hops.push(hop(&target.label()));
        self.under_way = true;
    }

    /// A request that is not even begun.
    pub(super) fn refuse(&mut self, label: &str, why: &str) {
        self.hops.push(refused(label, why));
        self.under_way = false;
    }

    /// The address dialled.
    pub(super) fn dialled(&mut self, address: String) {
        self.change(|hop| hop.address = Some(address));
    }

    /// The status came.
    pub(super) fn status(&mut self, status: u16) {
        self.change(|hop| hop.status = Some(status));
    }

    /// Body bytes came.
    pub(super) fn bytes(&mut self, count: u64) {
        self.change(|hop| hop.bytes = hop.bytes.saturating_add(count));
    }

    /// The request is over: well, or not.
    pub(super) fn end(&mut self, refusal: Option<&Refusal>) {
        if let Some(refusal) = refusal {
            self.fail(refusal.detail());
        }
        self.under_way = false;
    }

    /// What is known now; a request that is under way has no fault yet.
    pub(super) fn so_far(&self) -> Vec<Hop> {
        self.hops.clone()
    }

    /// The last request is over.
    pub(super) fn is_over(&self) -> bool {
        !self.under_way
    }

    /// The lease is over; a request still under way ended for that reason.
    pub(super) fn finish(mut self, why: &str) -> Vec<Hop> {
        if self.under_way {
            self.fail(why);
        }
        self.hops
    }

    fn fail(&mut self, why: &str) {
        self.change(|hop| hop.fault = Some(fault(why)));
    }

    fn change(&mut self, change: impl FnOnce(&mut Hop)) {
        if let Some(hop) = self.hops.last_mut().filter(|_| self.under_way) {
            change(hop);
        }
    }
}

/// A request that was refused before it began. `label` may come from a jail or a server.
pub(super) fn refused(label: &str, why: &str) -> Hop {
    let label = label.split(['?', '#']).next().unwrap_or_default();
    Hop {
        fault: Some(fault(why)),
        ..hop(label)
    }
}

/// A request that begins. `label` may come from a jail.
pub(super) fn hop(label: &str) -> Hop {
    let target = cut(label, TARGET_MAX);
    Hop {
        target,
        address: None,
        status: None,
        fault: None,
        bytes: 0,
    }
}

/// Why it failed, as a hop says it.
pub(super) fn fault(why: &str) -> String {
    cut(why, FAULT_MAX)
}

fn cut(text: &str, max: usize) -> String {
    Escaped::cut(text, max).to_string()
}
