//! How many scripts run at once: of one skill for one agent as its manifest says, and of all skills
//! so few that jails are left for everything else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::call::id::Id;

/// Scripts of a plane: the jailer has 40 places beside those of servers.
const ALL_MAX: usize = 24;
/// Of these, one agent's.
const AGENT_MAX: usize = 12;

/// The tickets of scripts that run, by agent and connector.
#[derive(Debug, Default)]
pub(in crate::keeper) struct Places(Mutex<Taken>);

type Taken = BTreeMap<(String, String), BTreeSet<Id>>;

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    whose: (String, String),
    ticket: Id,
}

impl Places {
    /// A place for the script `ticket` of `connector`, of which `agent` may run `most` at once.
    pub(super) fn take(
        self: &Arc<Self>,
        agent: &str,
        connector: &str,
        most: u32,
        ticket: Id,
    ) -> Option<Place> {
        let whose = (agent.to_owned(), connector.to_owned());
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut taken = self.taken();
        let all: usize = taken.values().map(BTreeSet::len).sum();
        let own = taken.iter().filter(|((other, _), _)| other == agent);
        let own: usize = own.map(|(_, tickets)| tickets.len()).sum();
        let here = taken.get(&whose).map_or(0, BTreeSet::len);
        if all >= ALL_MAX || own >= AGENT_MAX || here >= most {
            return None;
        }
        taken.entry(whose.clone()).or_default().insert(ticket);
        drop(taken);
        Some(Place {
            places: Arc::clone(self),
            whose,
            ticket,
        })
    }

    /// The scripts of `connector` that run.
    pub(super) fn of(&self, connector: &str) -> Vec<Id> {
        let taken = self.taken();
        let own = taken.iter().filter(|((_, of), _)| of == connector);
        own.flat_map(|(_, tickets)| tickets.iter().copied())
            .collect()
    }

    /// A panic elsewhere aborts the process, so a poisoned lock cannot be seen.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(tickets) = taken.get_mut(&self.whose) {
            tickets.remove(&self.ticket);
            if tickets.is_empty() {
                taken.remove(&self.whose);
            }
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
            let next = || places.take(agent, skill, most, Id::random().unwrap());
            std::iter::from_fn(next).collect::<Vec<_>>()
        };
        let mut first = take("a", "s", 8);
        assert_eq!(first.len(), 8);
        let second = take("a", "t", 8);
        assert_eq!(second.len(), 4);
        let other = take("b", "s", 256);
        assert_eq!(other.len(), 12);
        assert!(take("c", "s", 8).is_empty());
        assert_eq!(places.of("s").len(), 20);
        first.pop();
        assert_eq!(take("c", "s", 8).len(), 1);
        drop((first, second, other));
        assert!(places.taken().is_empty());
    }
}
