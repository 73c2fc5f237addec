//! Users of jails: each jail at a time has one of its own.

use std::collections::BTreeSet;

/// Which are taken.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: BTreeSet<u32>,
}

impl Seats {
    /// The lowest free one.
    pub(super) fn take(&mut self) -> u32 {
        let free = (0_u32..).find(|slot| !self.taken.contains(slot));
        let slot = free.unwrap_or_default();
        self.taken.insert(slot);
        slot
    }

    /// Frees one whose jail has ended.
    pub(super) fn free(&mut self, slot: u32) {
        self.taken.remove(&slot);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_at_a_time_and_the_lowest_first() {
        let mut seats = Seats::default();
        assert_eq!([seats.take(), seats.take(), seats.take()], [0, 1, 2]);
        seats.free(1);
        assert_eq!([seats.take(), seats.take()], [1, 3]);
    }
}
