//! Counted room: what a connection or an agent may hold at one time. Whoever takes a share gives it
//! back by dropping it, so that no way out of a function can forget to.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::Notify;

/// Room for `max` units.
#[derive(Debug)]
pub(super) struct Quota {
    used: Cell<usize>,
    max: usize,
    freed: Notify,
}

impl Quota {
    /// Empty room for `max` units.
    pub(super) fn new(max: usize) -> Rc<Self> {
        Rc::new(Self {
            used: Cell::new(0),
            max,
            freed: Notify::new(),
        })
    }

    /// Takes `amount` units; `None` where they are not free.
    pub(super) fn take(self: &Rc<Self>, amount: usize) -> Option<Share> {
        let used = self
            .used
            .get()
            .checked_add(amount)
            .filter(|used| *used <= self.max)?;
        self.used.set(used);
        Some(Share {
            of: Rc::clone(self),
            amount,
        })
    }

    /// Waits until `most` units or fewer are taken.
    pub(super) async fn at_most(&self, most: usize) {
        // `notify_one` keeps a permit where nobody waits, so a share given back between the look and
        // the wait is not missed.
        while self.used.get() > most {
            self.freed.notified().await;
        }
    }
}

/// Units that somebody holds.
#[derive(Debug)]
pub(super) struct Share {
    of: Rc<Quota>,
    amount: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of
            .used
            .set(self.of.used.get().saturating_sub(self.amount));
        self.of.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_comes_back() {
        let quota = Quota::new(3);
        let two = quota.take(2).unwrap();
        assert!(quota.take(2).is_none());
        let one = quota.take(1).unwrap();
        drop(two);
        assert!(quota.take(3).is_none());
        drop(one);
        assert!(quota.take(usize::MAX).is_none());
        assert!(quota.take(3).is_some());
    }
}
