//! One question to a server, from the keeper's side.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::plan::Server;
use super::pool::{Key, Turn, Using, Without};
use super::{Offered, Upstreams, life};
use crate::call::id::Id;
use crate::keeper::links::Event;
use crate::wire::messages::{
    EgressToKeeper, Era, Got, Hop, KeeperToEgress, KeeperToJailer, Role, Unasked,
};

/// Time beyond a question's own after which egress itself is taken to be stuck.
const SLACK: Duration = Duration::from_secs(5);

/// Starts for one question: a second one, because some servers end where they are asked for their
/// era, and because whatever ended the first may have been chance.
const STARTS_MAX: u32 = 2;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// For whom: its own process answers.
    pub agent: &'a str,
    /// What its client speaks.
    pub era: Era,
    /// Names the question; single use. An intent of a call that may have an effect is on disk.
    pub ticket: Id,
    /// An MCP method.
    pub method: &'a str,
    /// The raw `params`, an object.
    pub params: &'a [u8],
    /// Time for everything, a start included.
    pub wall: Duration,
    /// The agent wants to hear of progress.
    pub progress: bool,
    /// It may change something: it is never made twice by itself.
    pub effect: bool,
    /// What headers say of its arguments, where the server is one elsewhere.
    pub headers: &'a [(String, String)],
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The raw result object.
    Result(Vec<u8>),
    /// The raw JSON-RPC error object.
    Error(Vec<u8>),
}

/// What comes before the answer. `params` is raw JSON.
#[derive(Debug)]
pub enum Heard {
    /// A notification about this question.
    Notice {
        /// For example `notifications/progress`.
        method: String,
        /// As it came.
        params: Vec<u8>,
    },
    /// Requests that were made to a server elsewhere; the last thing that is heard.
    Requested(Vec<Hop>),
    /// The server asks the agent; answered with [`Upstreams::reply`].
    Asks {
        /// Who asks.
        upstream: Id,
        /// Given back in the reply.
        ask: u64,
        /// For example `elicitation/create`.
        method: String,
        /// As it came.
        params: Vec<u8>,
    },
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The question was never sent: the server cannot be had, in words for an operator.
    Unavailable(String),
    /// It was never sent: the server is not what was approved.
    Quarantined(String),
    /// It was never sent: too much is under way.
    Busy(String),
    /// It was never sent: the method is not carried.
    NotCarried,
    /// Nothing came in time; nobody knows whether it was done.
    TimedOut,
    /// The agent no longer wanted it; nobody knows whether it was done.
    Cancelled,
    /// The server or a role ended meanwhile; nobody knows whether it was done.
    Lost(String),
}

impl Failure {
    /// The server may have done what it was asked.
    pub fn may_be_done(&self) -> bool {
        matches!(self, Self::TimedOut | Self::Cancelled | Self::Lost(_))
    }
}

impl From<Without> for Failure {
    fn from(without: Without) -> Self {
        match without {
            Without::Unavailable(why) => Self::Unavailable(why),
            Without::Quarantined(why) => Self::Quarantined(why),
            Without::Busy(why) => Self::Busy(why.into()),
        }
    }
}

impl Upstreams {
    /// Asks an agent's own server, which is started if it does not run; waits for the answer. What
    /// comes before it goes to `heard`.
    ///
    /// # Errors
    /// Says why there is no answer, and with that whether the question can have had an effect.
    pub fn ask(
        &self,
        server: &Arc<Server>,
        question: Question<'_>,
        heard: &mut dyn FnMut(Heard),
    ) -> Result<Answer, Failure> {
        let until = Instant::now() + question.wall;
        let using = self.using(server, question.agent, question.era, until)?;
        match self.put(&using, question, until, heard) {
            // It ended before it could be asked; the next one may do better.
            Err(Failure::Unavailable(_)) => {
                let key = Key::of(question.agent, server, question.era);
                self.pool.left(&key, using.upstream);
                drop(using);
                let using = self.using(server, question.agent, question.era, until)?;
                self.put(&using, question, until, heard)
            }
            answer => answer,
        }
    }

    /// What an agent's own server offers; it is started if it does not run.
    ///
    /// # Errors
    /// Says why it cannot be had.
    pub fn offered(
        &self,
        server: &Arc<Server>,
        agent: &str,
        era: Era,
        wall: Duration,
    ) -> Result<Arc<Offered>, Failure> {
        let using = self.using(server, agent, era, Instant::now() + wall)?;
        Ok(Arc::clone(&using.offered))
    }

    /// Passes an agent's answer to the server that asked for it. `json` is the raw result or error.
    pub fn reply(&self, upstream: Id, ask: u64, ok: bool, json: &[u8]) {
        self.order(&KeeperToEgress::Reply { upstream, ask, ok }, json);
    }

    /// The agent no longer wants the answer: the question ends as [`Failure::Cancelled`].
    pub fn cancel(&self, ticket: Id) {
        self.order(&KeeperToEgress::Revoke { ticket }, &[]);
    }

    fn order(&self, say: &KeeperToEgress, blob: &[u8]) {
        // Without egress there is nobody who waits for it.
        if let Err(error) = self.links.send(Role::Egress, say, blob, &[]) {
            tracing::debug!(%error, "an order about a server had nobody to go to");
        }
    }

    fn using(
        &self,
        server: &Arc<Server>,
        agent: &str,
        era: Era,
        until: Instant,
    ) -> Result<Using<'_>, Failure> {
        let key = Key::of(agent, server, era);
        let mut starts = 0;
        loop {
            match self.pool.turn(&key, server, until, starts < STARTS_MAX)? {
                Turn::Use(using) => return Ok(using),
                Turn::Start(upstream) => life::begin(self, key.clone(), server, upstream),
            }
            starts += 1;
        }
    }

    /// Tells the jailer that a server answers: what it may use of the processor depends on that.
    fn answered(&self, using: &Using<'_>, got: &Got) {
        if matches!(got, Got::Result | Got::Error) && self.pool.answered(using) {
            let ticket = using.upstream;
            let say = KeeperToJailer::Answered { ticket };
            // Without a jailer there is no jail.
            drop(self.links.send(Role::Jailer, &say, &[], &[]));
        }
    }

    fn put(
        &self,
        using: &Using<'_>,
        question: Question<'_>,
        until: Instant,
        heard: &mut dyn FnMut(Heard),
    ) -> Result<Answer, Failure> {
        let Question {
            ticket,
            method,
            params,
            progress,
            effect,
            headers,
            ..
        } = question;
        let inbox = self.links.listen(ticket);
        let left = until.saturating_duration_since(Instant::now());
        let say = KeeperToEgress::Put {
            upstream: using.upstream,
            ticket,
            method: method.into(),
            progress,
            wall_ms: u64::try_from(left.as_millis()).unwrap_or(u64::MAX),
            repeatable: !effect,
            headers: headers.to_vec(),
        };
        let sent = self.links.send(Role::Egress, &say, params, &[]);
        sent.map_err(|error| Failure::Busy(error.message()))?;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Some(event) = inbox.next(left + SLACK) else {
                self.cancel(ticket);
                return Err(Failure::TimedOut);
            };
            match event {
                Event::Egress(EgressToKeeper::Got { got, hops, .. }, blob) => {
                    if !hops.is_empty() {
                        heard(Heard::Requested(hops));
                    }
                    self.answered(using, &got);
                    return came(got, blob);
                }
                Event::Egress(EgressToKeeper::Notice { method, .. }, params) => {
                    heard(Heard::Notice { method, params });
                }
                Event::Egress(
                    EgressToKeeper::Asks {
                        upstream,
                        ask,
                        method,
                        ..
                    },
                    params,
                ) => heard(Heard::Asks {
                    upstream,
                    ask,
                    method,
                    params,
                }),
                Event::Lost(Role::Egress) => {
                    return Err(Failure::Lost("egress died meanwhile".into()));
                }
                Event::Egress(..) | Event::Jailer(..) | Event::Lost(_) | Event::Wake => {}
            }
        }
    }
}

fn came(got: Got, blob: Vec<u8>) -> Result<Answer, Failure> {
    match got {
        Got::Result => Ok(Answer::Result(blob)),
        Got::Error => Ok(Answer::Error(blob)),
        Got::Refused(Unasked::NotOpen) => Err(Failure::Unavailable("it has just ended".into())),
        Got::Refused(Unasked::Busy) => Err(Failure::Busy("too much is asked of it".into())),
        Got::Refused(Unasked::NotCarried) => Err(Failure::NotCarried),
        Got::TimedOut => Err(Failure::TimedOut),
        Got::Cancelled => Err(Failure::Cancelled),
        Got::Lost => {
            let why = String::from_utf8_lossy(&blob).into_owned();
            Err(Failure::Lost(if why.is_empty() {
                "the server ended meanwhile".into()
            } else {
                why
            }))
        }
    }
}
