//! The servers that answer calls of foreign tools: started where one is needed, shared by nobody.
//!
//! A server belongs to one agent, one pin and one set of secrets. It is started on demand, in a jail
//! of its own or as a remote one, and egress is its client; it ends when it was idle for long, or
//! breaks the rules. One that fails is left alone for a while. At each start, and whenever it says
//! that they have changed, its tools are compared with the approved ones: where they differ, nothing
//! is asked of that server again.
//!
//! ```text
//! call ── ask ──▶ pool ── on demand ──▶ life (a thread a server) ── Run ──▶ jailer
//!          │                              └── Upstream ──▶ egress ── pipes ── the jail
//!          └───── Put ────────────────────────────────────▶ egress ── Got ──▶ call
//! ```

mod ask;
mod backoff;
pub mod compare;
mod health;
mod life;
pub mod plan;
mod pool;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use crate::call::id::Id;
use crate::keeper::links::Links;
use crate::wire::messages::{Era, Hop, JailEnd, Offer};
use plan::Server;
use pool::Pool;

pub use ask::{Answer, Failure, Heard, Question};

/// What a server offers, as it was when it was opened.
#[derive(Debug)]
pub struct Offered {
    /// What it speaks.
    pub era: Era,
    /// The protocol version.
    pub version: String,
    /// The JSON object of [`crate::wire::messages::EgressToKeeper::Opened`].
    pub json: String,
}

/// How the process or connection of a server ended, for the log.
#[derive(Debug)]
pub struct Ended {
    /// Names it: the ticket of its jail.
    pub upstream: Id,
    /// Why, in one line; what of it is the server's is escaped.
    pub why: String,
    /// It was not ended in order.
    pub failed: bool,
    /// The end of its standard error, escaped.
    pub words: String,
    /// How its jail ended, where it had one.
    pub jail: Option<JailEnd>,
    /// What went through its proxy, or the last requests to one elsewhere that were about no question.
    pub hops: Vec<Hop>,
}

/// Who hears of servers outside of a question.
pub trait Told: Send + Sync + fmt::Debug {
    /// What it lists is not what was approved: it was ended, and is not started again. `listed` is
    /// JSON as it came.
    fn differs(&self, agent: &str, server: &Server, what: Offer, listed: &str);
    /// What it executes is not what was approved: it was not started, and never is.
    fn altered(&self, agent: &str, server: &Server, why: &str, changes: &[Value]);
    /// Something it offers has changed and, if it is tools, is as approved again.
    fn changed(&self, agent: &str, server: &Server, what: Offer);
    /// It tells something that is about no question. `params` is raw JSON.
    fn notice(&self, agent: &str, server: &Server, method: &str, params: &[u8]);
    /// Requests were made to one elsewhere that were about no question.
    fn requested(&self, agent: &str, server: &Server, hops: &[Hop]);
    /// It has ended.
    fn ended(&self, agent: &str, server: &Server, ended: &Ended);
}

/// Nobody hears of them.
#[derive(Debug)]
pub struct Nobody;

impl Told for Nobody {
    fn differs(&self, _: &str, server: &Server, _: Offer, _: &str) {
        tracing::error!(server = server.name, "a server is not what was approved");
    }
    fn altered(&self, _: &str, server: &Server, why: &str, _: &[Value]) {
        tracing::error!(
            server = server.name,
            why,
            "a server is not what was approved"
        );
    }
    fn changed(&self, _: &str, _: &Server, _: Offer) {}
    fn notice(&self, _: &str, _: &Server, _: &str, _: &[u8]) {}
    fn requested(&self, _: &str, _: &Server, _: &[Hop]) {}
    fn ended(&self, agent: &str, server: &Server, ended: &Ended) {
        tracing::info!(
            agent,
            server = server.name,
            why = ended.why,
            "a server has ended"
        );
    }
}

/// All servers of a plane.
#[derive(Debug, Clone)]
pub struct Upstreams {
    links: Arc<Links>,
    pool: Arc<Pool>,
    told: Arc<dyn Told>,
}

impl Upstreams {
    /// None yet; what happens outside of a question is told to `told`.
    pub fn new(links: Arc<Links>, told: Arc<dyn Told>) -> Self {
        Self {
            links,
            pool: Arc::new(Pool::default()),
            told,
        }
    }

    /// Ends all servers of an agent that is no more.
    pub fn forget(&self, agent: &str) {
        self.end_those(|key| key.agent == agent);
    }

    /// Ends all servers of a pin that is no longer approved.
    pub fn withdraw(&self, digest: &str) {
        self.end_those(|key| key.digest == digest);
    }

    fn end_those(&self, which: impl Fn(&pool::Key) -> bool) {
        for id in self.pool.end_those(which) {
            self.links.wake(id);
        }
    }
}
