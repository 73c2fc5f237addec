//! What the whole role holds: the link to the keeper and the agents it may listen for.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::timeout;

use super::agent::Agent;
use super::http;
use super::keeper::{Keeper, News};
use super::limits::Limits;
use super::quota::Quota;
use crate::error::{Context, Error, Result};
use crate::wire::frame::Frame;
use crate::wire::messages::{Control, Door, Proof, Role};

/// The role's state.
#[derive(Debug)]
pub(super) struct House {
    /// Keepgate's version.
    pub(super) version: String,
    /// Limits of each agent.
    pub(super) limits: Limits,
    /// The way to the keeper.
    pub(super) keeper: Rc<Keeper>,
    /// Questions in flight, of everybody.
    pub(super) calls: Rc<Quota>,
    /// No new questions.
    pub(super) stopping: watch::Sender<bool>,
    agents: RefCell<BTreeMap<String, Rc<Agent>>>,
    doors: RefCell<BTreeMap<String, AbortHandle>>,
}

/// What came of the supervisor's word.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Obeyed {
    /// It is done.
    Done,
    /// It is done, and the supervisor wants to know: this agent is let in.
    Admitted(String),
    /// There is nothing more to do.
    Stop,
}

impl House {
    /// Without agents and without a link; call within a `LocalRuntime`.
    pub(super) fn new(version: String, limits: Limits) -> Rc<Self> {
        let (keeper, news) = Keeper::new();
        let house = Rc::new(Self {
            version,
            limits,
            keeper,
            calls: Quota::new(usize::MAX),
            stopping: watch::Sender::new(false),
            agents: RefCell::default(),
            doors: RefCell::default(),
        });
        spawn_local(Rc::clone(&house).spread(news));
        house
    }

    /// Does what the supervisor says.
    ///
    /// # Errors
    /// Fails where a descriptor is missing or of no use.
    pub(super) fn obey(self: &Rc<Self>, frame: Frame<Control>) -> Result<Obeyed> {
        let mut fds = frame.fds;
        let mut descriptor = || {
            fds.pop()
                .ok_or_else(|| Error::new("the supervisor sent no descriptor"))
        };
        match frame.say {
            Control::Link { peer: Role::Keeper } => self.keeper.join(descriptor()?)?,
            Control::Listen { agent, uid } => {
                let known = self.admit(&agent, Proof::Uid(uid));
                known.listen(descriptor()?, uid)?;
            }
            Control::Admit { agent, proof } => {
                self.admit(&agent, proof);
                return Ok(Obeyed::Admitted(agent));
            }
            Control::Door => self.open(&frame.blob, descriptor()?)?,
            Control::Unlisten { agent } => self.unlisten(&agent),
            Control::Stop => return Ok(Obeyed::Stop),
            Control::Setup
            | Control::Link { .. }
            | Control::Listening { .. }
            | Control::Looked { .. } => {
                return Err(Error::new("the supervisor said what is not for the front"));
            }
        }
        Ok(Obeyed::Done)
    }

    /// Accepts no more connections and questions; waits for what is in flight, a while.
    pub(super) async fn stop(&self) {
        self.stopping.send_replace(true);
        let doors = std::mem::take(&mut *self.doors.borrow_mut());
        doors.values().for_each(AbortHandle::abort);
        let agents: Vec<_> = self.agents.borrow().values().cloned().collect();
        agents.iter().for_each(|agent| agent.stop_listening());
        let quiet = async {
            self.calls.at_most(0).await;
            for agent in &agents {
                agent.sessions.end_streams();
                agent.streams.at_most(0).await;
                agent.unread.at_most(0).await;
            }
        };
        if timeout(self.limits.stop, quiet).await.is_err() {
            tracing::warn!("stopped with requests in flight");
        }
    }

    /// The agent with the certificate or token of this digest; as long for all of them.
    pub(super) fn who(&self, kind: fn(&Proof) -> Option<&str>, sha256: &str) -> Option<Rc<Agent>> {
        let mut found = None;
        for agent in self.agents.borrow().values() {
            if let Some(known) = kind(&agent.proof)
                && same(known.as_bytes(), sha256.as_bytes())
            {
                found = Some(Rc::clone(agent));
            }
        }
        found
    }

    /// The agent of that name and proof, which is a new one where it had another proof before.
    fn admit(self: &Rc<Self>, name: &str, proof: Proof) -> Rc<Agent> {
        let known = self.agents.borrow().get(name).cloned();
        if let Some(agent) = known.filter(|agent| agent.proof == proof) {
            return agent;
        }
        self.unlisten(name);
        let agent = Agent::new(self, name, proof);
        self.agents
            .borrow_mut()
            .insert(name.into(), Rc::clone(&agent));
        agent
    }

    fn unlisten(&self, name: &str) {
        if let Some(agent) = self.agents.borrow_mut().remove(name) {
            agent.close();
        }
    }

    /// Serves a door's socket from now on, in place of an earlier one of its name.
    fn open(self: &Rc<Self>, door: &[u8], socket: OwnedFd) -> Result<()> {
        let door: Door = serde_json::from_slice(door).context(|| "read about a door".into())?;
        let name = door.name.clone();
        let task = http::open(self, door, socket)?;
        if let Some(earlier) = self.doors.borrow_mut().insert(name, task) {
            earlier.abort();
        }
        Ok(())
    }

    async fn spread(self: Rc<Self>, mut news: mpsc::UnboundedReceiver<(String, News)>) {
        while let Some((name, news)) = news.recv().await {
            let agent = self.agents.borrow().get(&name).cloned();
            if let Some(agent) = agent {
                agent.news(&news);
            }
        }
    }
}

/// Compares in a time that depends on nothing but the lengths.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differ = one
        .iter()
        .zip(other)
        .fold(0, |differ, (a, b)| std::hint::black_box(differ | (a ^ b)));
    one.len() == other.len() && differ == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparing_digests_is_exact() {
        assert!(same(b"abc", b"abc") && same(b"", b""));
        for other in [&b"abd"[..], b"bbc", b"ab", b"abcd", b""] {
            assert!(!same(b"abc", other) && !same(other, b"abc"));
        }
    }
}
