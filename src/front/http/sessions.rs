//! An agent's sessions over HTTP: conversations of the session era, each known by an id that only
//! its client was told. The id is no proof of anything; whose it is, is proved with each request.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use ring::rand::{SecureRandom, SystemRandom};
use tokio::time::Instant;

use crate::front::agent::Agent;
use crate::front::outlet::Outlet;
use crate::front::talk::Talk;
use crate::wire::text::hex;

/// Random bytes of an id.
const ID_BYTES: usize = 16;

/// One session.
#[derive(Debug)]
pub(in crate::front) struct HttpSession {
    /// Its id.
    pub(super) id: String,
    /// What is said in it.
    pub(super) talk: Rc<Talk>,
    used: Cell<Instant>,
    /// Its own stream, where the client has one open.
    stream: RefCell<Weak<Outlet>>,
}

impl HttpSession {
    /// News go to `outlet` from now on; an earlier stream ends.
    pub(super) fn stream_to(&self, outlet: &Rc<Outlet>) {
        self.stream.replace(Rc::downgrade(outlet));
        self.talk.stand(outlet);
    }

    /// Since when nobody used it; nothing, while somebody listens.
    fn idle_since(&self) -> Option<Instant> {
        let listens = self
            .stream
            .borrow()
            .upgrade()
            .is_some_and(|stream| !stream.is_closed());
        (!listens).then(|| self.used.get())
    }
}

/// All of an agent.
#[derive(Debug, Default)]
pub(in crate::front) struct Sessions {
    all: RefCell<BTreeMap<String, Rc<HttpSession>>>,
}

impl Sessions {
    /// A new one. Where there are too many, the one that was idle longest ends for it: many clients
    /// open one for each call and never end it.
    pub(super) fn begin(&self, agent: &Rc<Agent>) -> Option<Rc<HttpSession>> {
        let mut bytes = [0; ID_BYTES];
        SystemRandom::new().fill(&mut bytes).ok()?;
        self.expire(agent);
        if self.all.borrow().len() >= agent.house.limits.sessions {
            let oldest = self
                .all
                .borrow()
                .values()
                .filter_map(|session| Some((session.idle_since()?, session.id.clone())))
                .min();
            let (_, oldest) = oldest?;
            self.end(&oldest);
        }
        let session = Rc::new(HttpSession {
            id: hex(&bytes),
            talk: Talk::new(agent),
            used: Cell::new(Instant::now()),
            stream: RefCell::default(),
        });
        self.all
            .borrow_mut()
            .insert(session.id.clone(), Rc::clone(&session));
        Some(session)
    }

    /// The session of that id; it is used by that.
    pub(super) fn find(&self, agent: &Agent, id: &str) -> Option<Rc<HttpSession>> {
        self.expire(agent);
        let session = self.all.borrow().get(id).cloned()?;
        session.used.set(Instant::now());
        Some(session)
    }

    /// Ends a session; whether there was one.
    pub(super) fn end(&self, id: &str) -> bool {
        let session = self.all.borrow_mut().remove(id);
        if let Some(session) = &session {
            session.talk.leave();
        }
        session.is_some()
    }

    /// Ends all.
    pub(in crate::front) fn clear(&self) {
        let all = self.all.take();
        all.values().for_each(|session| session.talk.end());
    }

    /// Ends the streams of all sessions; calls go on.
    pub(in crate::front) fn end_streams(&self) {
        let all = self.all.borrow();
        all.values().for_each(|session| session.talk.sit());
    }

    fn expire(&self, agent: &Agent) {
        let idle = agent.house.limits.session_idle;
        let old: Vec<String> = self
            .all
            .borrow()
            .values()
            .filter(|session| {
                session
                    .idle_since()
                    .is_some_and(|since| since.elapsed() >= idle)
            })
            .map(|session| session.id.clone())
            .collect();
        for id in old {
            self.end(&id);
        }
    }
}
