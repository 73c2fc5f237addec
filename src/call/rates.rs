//! How often one tool may be called: by a manifest, and tighter by a plane that uses the connector.

use serde::{Deserialize, Serialize};

/// Most calls that can be said of a minute or a day.
pub const MOST: u64 = 1_000_000;

/// Calls of one agent to one tool. Nothing means that only the limits around it hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// In any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_per_minute: Option<u64>,
    /// In one day, from midnight to midnight UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_per_day: Option<u64>,
}

impl Rates {
    /// Nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Of both, what is less.
    #[must_use]
    pub fn tightened(self, by: Self) -> Self {
        let less = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            calls_per_minute: less(self.calls_per_minute, by.calls_per_minute),
            calls_per_day: less(self.calls_per_day, by.calls_per_day),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_limits_the_tighter_one_holds_and_none_opens_another() {
        let rates = |minute, day| Rates {
            calls_per_minute: minute,
            calls_per_day: day,
        };
        let manifest = rates(Some(60), None);
        assert_eq!(
            manifest.tightened(rates(Some(5), Some(9))),
            rates(Some(5), Some(9))
        );
        assert_eq!(manifest.tightened(rates(Some(600), None)), manifest);
        assert_eq!(manifest.tightened(Rates::default()), manifest);
        assert!(Rates::default().is_empty() && !manifest.is_empty());
    }
}
