//! Jails of Keepgate's own tools that wait for their one order, so that a call does not wait for a
//! process to start. They are as those started for an order are; what they need to take it they give
//! up before they look at it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::jail::cgroup::Leaf;
use crate::jail::limits::ToolLimits;
use crate::sys::handed;
use crate::sys::jail::Jailed;

/// Jails made ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    most: usize,
    waiting: Vec<Waiting>,
    /// What the last order wanted, which the next will want too.
    limits: Option<ToolLimits>,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Itself.
    pub(super) jailed: Jailed,
    /// Where it takes its order; not there once it was started for one.
    pub(super) link: Option<OwnedFd>,
    /// Its user.
    pub(super) slot: u32,
    /// Its cgroup.
    pub(super) leaf: Option<Leaf>,
}

impl Ahead {
    /// At most `most` at a time.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            waiting: Vec::new(),
            limits: None,
        }
    }

    /// One with these limits, if there is one. All that have others are of no use any more, and
    /// given back to be ended.
    pub(super) fn take(&mut self, limits: ToolLimits) -> (Option<Waiting>, Vec<Waiting>) {
        if self.limits == Some(limits) {
            return (self.waiting.pop(), Vec::new());
        }
        self.limits = Some(limits);
        (None, std::mem::take(&mut self.waiting))
    }

    /// What one more should be made with, if one is wanted.
    pub(super) fn wanted(&self) -> Option<ToolLimits> {
        self.limits.filter(|_| self.waiting.len() < self.most)
    }

    /// Keeps one that was made.
    pub(super) fn keep(&mut self, waiting: Waiting) {
        self.waiting.push(waiting);
    }

    /// Makes no more, because of an error, until an order comes that wants other limits.
    pub(super) fn rest(&mut self) {
        self.limits = None;
    }

    /// What to watch: the end of each.
    pub(super) fn ends(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.waiting.iter().map(|one| one.jailed.as_fd())
    }

    /// Those that have ended without an order, killed by somebody.
    pub(super) fn ended(&mut self) -> Vec<Waiting> {
        self.waiting.extract_if(.., |one| one.has_ended()).collect()
    }

    /// All, to be ended.
    pub(super) fn all(&mut self) -> Vec<Waiting> {
        std::mem::take(&mut self.waiting)
    }
}

impl Waiting {
    fn has_ended(&self) -> bool {
        let mut polled = [PollFd::new(self.jailed.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    /// Gives it its order.
    ///
    /// # Errors
    /// Fails where it has ended.
    pub(super) fn order(&self, tool: &str, fds: &[BorrowedFd<'_>]) -> std::io::Result<()> {
        let ended = || std::io::Error::other("it takes no order");
        let link = self.link.as_ref().ok_or_else(ended)?;
        handed::hand(link.as_fd(), tool, fds)
    }
}
