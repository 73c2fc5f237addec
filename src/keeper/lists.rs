//! What each agent sees, told to the front as digests. The front outlives a keeper: it knows what an
//! agent was shown by an earlier one, and tells the agent's clients where that is no longer so.

use super::Keeper;
use super::asks::Told;
use super::start::sha256;
use crate::wire::messages::KeeperToFront;

impl Keeper {
    /// Tells what every agent sees now; after anything that may have changed it.
    pub(super) fn tell_lists(&self) {
        let agents: Vec<String> = self.state().agents.keys().cloned().collect();
        for agent in agents {
            self.tell_lists_of(&agent);
        }
    }

    /// Tells what this agent sees now.
    pub(super) fn tell_lists_of(&self, agent: &str) {
        let list = |method| match self.list(agent, method) {
            Some(Told::Result(text)) => String::from_utf8_lossy(&text).into_owned(),
            Some(Told::Fault { .. }) | None => String::new(),
        };
        let resources = list("resources/list") + "\n" + &list("resources/templates/list");
        let say = KeeperToFront::Lists {
            agent: agent.into(),
            tools: sha256(&self.listing(agent)),
            prompts: sha256(&list("prompts/list")),
            resources: sha256(&resources),
        };
        self.tell_front(&say, &[]);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::Arc;

    use super::*;
    use crate::wire::frame;
    use crate::wire::messages::Role;

    #[test]
    fn the_same_lists_have_the_same_digests_and_no_list_is_another_one() {
        let place = tempfile::tempdir().unwrap();
        let keeper = crate::keeper::admit::tests::keeper(place.path(), 9);
        let (ours, front) = frame::pair().unwrap();
        keeper.hands.links().join(Role::Front, Arc::new(ours));
        let told = |agent: &str| {
            keeper.tell_lists_of(agent);
            let said = frame::recv::<KeeperToFront>(front.as_fd(), 0).unwrap();
            let KeeperToFront::Lists {
                tools, resources, ..
            } = said.unwrap().say
            else {
                panic!()
            };
            (tools, resources)
        };
        let one = told("a");
        assert_eq!(one, told("a"));
        assert_eq!(one.0, sha256(&keeper.listing("a")));
        assert_eq!(one.1, sha256("\n"));
    }
}
