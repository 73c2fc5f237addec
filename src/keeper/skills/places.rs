//! How many scripts run at once: of one skill for one agent as its manifest says, and of all skills
//! so few that jails are left for everything else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Scripts of a plane: the jailer has 40 places beside those of servers.
const ALL_MAX: u32 = 24;
/// Of these, one agent's.
const AGENT_MAX: u32 = 12;

/// The scripts that run, by agent and connector.
#[derive(Debug, Default)]
pub(in crate::keeper) struct Places(Mutex<BTreeMap<(String, String), u32>>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    whose: (String, String),
}

impl Places {
    /// A place for a script of `connector`, of which `agent` may run `most` at once.
    pub(super) fn take(self: &Arc<Self>, agent: &str, connector: &str, most: u32) -> Option<Place> {
        let whose = (agent.to_owned(), connector.to_owned());
        let mut taken = self.taken();
        let all: u32 = taken.values().sum();
        let own = taken.iter().filter(|((other, _), _)| other == agent);
        let own: u32 = own.map(|(_, count)| count).sum();
        let here = taken.get(&whose).copied().unwrap_or_default();
        if all >= ALL_MAX || own >= AGENT_MAX || here >= most {
            return None;
        }
        taken.insert(whose.clone(), here + 1);
        drop(taken);
        Some(Place {
            places: Arc::clone(self),
            whose,
        })
    }

    /// A panic elsewhere aborts the process, so a poisoned lock cannot be seen.
    fn taken(&self) -> MutexGuard<'_, BTreeMap<(String, String), u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        match taken.get_mut(&self.whose) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(taken.remove(&self.whose)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_skill_and_no_agent_takes_all_places() {
        let places = Arc::new(Places::default());
        let take = |agent: &str, skill: &str, most| {
            std::iter::from_fn(|| places.take(agent, skill, most)).collect::<Vec<_>>()
        };
        let mut first = take("a", "s", 8);
        assert_eq!(first.len(), 8);
        let second = take("a", "t", 8);
        assert_eq!(second.len(), 4);
        let other = take("b", "s", 256);
        assert_eq!(other.len(), 12);
        assert!(places.take("c", "s", 8).is_none());
        first.pop();
        assert_eq!(take("c", "s", 8).len(), 1);
        drop((first, second, other));
        assert!(places.taken().is_empty());
    }
}
