//! What the whole role holds: the link to the keeper and the agents it may listen for.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::agent::Agent;
use super::keeper::Keeper;
use super::limits::Limits;
use super::quota::Quota;
use crate::error::{Error, Result};
use crate::wire::frame::Frame;
use crate::wire::messages::{Control, Role};

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
    pub(super) stopping: Cell<bool>,
    agents: RefCell<BTreeMap<String, Rc<Agent>>>,
}

impl House {
    /// Without agents and without a link; call within a `LocalSet`.
    pub(super) fn new(version: String, limits: Limits) -> Rc<Self> {
        let (keeper, changes) = Keeper::new();
        let house = Rc::new(Self {
            version,
            limits,
            keeper,
            calls: Quota::new(usize::MAX),
            stopping: Cell::new(false),
            agents: RefCell::default(),
        });
        spawn_local(Rc::clone(&house).spread(changes));
        house
    }

    /// Does what the supervisor says; false once it says stop.
    ///
    /// # Errors
    /// Fails where a descriptor is missing or of no use.
    pub(super) fn obey(self: &Rc<Self>, frame: Frame<Control>) -> Result<bool> {
        let mut fds = frame.fds;
        let mut descriptor = || {
            fds.pop()
                .ok_or_else(|| Error::new("the supervisor sent no descriptor"))
        };
        match frame.say {
            Control::Link { peer: Role::Keeper } => self.keeper.join(descriptor()?)?,
            Control::Listen { agent, uid } => self.listen(&agent, uid, descriptor()?)?,
            Control::Unlisten { agent } => self.unlisten(&agent),
            Control::Stop => return Ok(false),
            Control::Setup | Control::Link { .. } | Control::Listening { .. } => {
                return Err(Error::new("the supervisor said what is not for the front"));
            }
        }
        Ok(true)
    }

    /// Accepts no more connections and questions; waits for what is in flight, a while.
    pub(super) async fn stop(&self) {
        self.stopping.set(true);
        let agents: Vec<_> = self.agents.borrow().values().cloned().collect();
        agents.iter().for_each(|agent| agent.stop_listening());
        let quiet = async {
            self.calls.at_most(0).await;
            for agent in &agents {
                agent.unread.at_most(0).await;
            }
        };
        if timeout(self.limits.stop, quiet).await.is_err() {
            tracing::warn!("stopped with requests in flight");
        }
    }

    fn listen(self: &Rc<Self>, name: &str, uid: u32, socket: OwnedFd) -> Result<()> {
        let known = self.agents.borrow().get(name).cloned();
        let agent = match known {
            Some(agent) if agent.uid == uid => agent,
            Some(_) | None => {
                self.unlisten(name);
                let agent = Agent::new(self, name, uid);
                self.agents
                    .borrow_mut()
                    .insert(name.into(), Rc::clone(&agent));
                agent
            }
        };
        agent.listen(socket)
    }

    fn unlisten(&self, name: &str) {
        if let Some(agent) = self.agents.borrow_mut().remove(name) {
            agent.close();
        }
    }

    async fn spread(self: Rc<Self>, mut changes: mpsc::UnboundedReceiver<String>) {
        while let Some(name) = changes.recv().await {
            let agent = self.agents.borrow().get(&name).cloned();
            if let Some(agent) = agent {
                agent.list_changed();
            }
        }
    }
}
