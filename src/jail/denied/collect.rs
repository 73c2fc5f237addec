//! The denials of one jail: each kind once, with a count.

use crate::wire::messages::{DENIALS_MAX, Denial};

/// What the last one is called, which counts those that had no room.
pub(super) const OTHERS: &str = "others";

/// Collects at most [`DENIALS_MAX`] kinds; a jail that tries without end takes no more room.
#[derive(Debug, Default)]
pub struct Denials {
    kinds: Vec<Denial>,
    /// Denials of kinds that had no room.
    others: u32,
}

impl Denials {
    /// One more, or as many more as it counts.
    pub fn add(&mut self, denial: Denial) {
        let same = |known: &&mut Denial| {
            known.layer == denial.layer
                && known.attempt == denial.attempt
                && known.allow == denial.allow
        };
        if let Some(known) = self.kinds.iter_mut().find(same) {
            known.count = known.count.saturating_add(denial.count);
        } else if self.kinds.len() < DENIALS_MAX.saturating_sub(1) {
            self.kinds.push(denial);
        } else {
            self.others = self.others.saturating_add(denial.count);
        }
    }

    /// All of them, in the order of their first time; the last counts those that had no room.
    pub fn finish(mut self) -> Vec<Denial> {
        let layer = self.kinds.last().map(|last| last.layer);
        if let Some(layer) = layer.filter(|_| self.others > 0) {
            self.kinds.push(Denial {
                layer,
                attempt: OTHERS.into(),
                allow: None,
                count: self.others,
            });
        }
        self.kinds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::messages::Layer;

    fn one(attempt: String) -> Denial {
        Denial {
            layer: Layer::Seccomp,
            attempt,
            allow: None,
            count: 1,
        }
    }

    #[test]
    fn equal_ones_are_counted_and_there_is_an_end() {
        let mut denials = Denials::default();
        for round in 0..3 {
            for kind in 0..200 {
                denials.add(one(format!("kind {kind}")));
            }
            denials.add(Denial {
                layer: Layer::Egress,
                ..one("kind 0".into())
            });
            assert!(denials.kinds.len() <= DENIALS_MAX, "round {round}");
        }
        let all = denials.finish();
        assert_eq!(all.len(), DENIALS_MAX);
        assert!(all.iter().take(63).all(|denial| denial.count == 3));
        assert_eq!(all[62].attempt, "kind 62");
        // 137 kinds a round, and the one of another layer.
        assert_eq!((&*all[63].attempt, all[63].count), ("others", 3 * 138));
        let mut few = Denials::default();
        few.add(one("x".into()));
        assert_eq!(few.finish(), [one("x".into())]);
        assert_eq!(Denials::default().finish(), []);
    }

    #[test]
    fn counts_do_not_wrap() {
        let mut denials = Denials::default();
        for _ in 0..2 {
            denials.add(Denial {
                count: u32::MAX,
                ..one("x".into())
            });
        }
        assert_eq!(denials.finish()[0].count, u32::MAX);
    }
}
