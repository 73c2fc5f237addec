//! What each agent was shown last, as digests: which of its lists are others now.

use std::cell::RefCell;
use std::collections::HashMap;

use crate::wire::messages::{AGENTS_MAX, What};

/// Digests of an agent's lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Of its tools.
    pub(super) tools: String,
    /// Of its prompts.
    pub(super) prompts: String,
    /// Of its resources and their templates.
    pub(super) resources: String,
}

/// Those of all agents; they outlive a keeper.
#[derive(Debug, Default)]
pub(super) struct Lists(RefCell<HashMap<String, Seen>>);

impl Lists {
    /// Which lists of `agent` are others than before; none where nothing was known.
    pub(super) fn changed(&self, agent: &str, now: Seen) -> Vec<What> {
        let mut all = self.0.borrow_mut();
        if all.len() >= AGENTS_MAX && !all.contains_key(agent) {
            // Of agents that are no more, for the most part.
            all.clear();
        }
        let Some(before) = all.insert(agent.to_owned(), now.clone()) else {
            return Vec::new();
        };
        let differs = [
            (What::Tools, before.tools != now.tools),
            (What::Prompts, before.prompts != now.prompts),
            (What::Resources, before.resources != now.resources),
        ];
        let differs = differs.into_iter().filter(|(_, differs)| *differs);
        differs.map(|(what, _)| what).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_another_list_has_changed() {
        let lists = Lists::default();
        let seen = |tools: &str, prompts: &str, resources: &str| Seen {
            tools: tools.into(),
            prompts: prompts.into(),
            resources: resources.into(),
        };
        assert_eq!(lists.changed("a", seen("1", "1", "1")), []);
        assert_eq!(lists.changed("a", seen("1", "1", "1")), []);
        assert_eq!(lists.changed("a", seen("2", "1", "1")), [What::Tools]);
        assert_eq!(lists.changed("b", seen("1", "1", "1")), []);
        let both = [What::Prompts, What::Resources];
        assert_eq!(lists.changed("a", seen("2", "2", "2")), both);
        // However many come and go, no more are known than can be enrolled.
        for number in 0..2 * AGENTS_MAX {
            lists.changed(&number.to_string(), seen("1", "1", "1"));
            assert!(lists.0.borrow().len() <= AGENTS_MAX);
        }
    }
}
