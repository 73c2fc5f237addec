//! What a server says, and what follows from it.

use std::time::Instant;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{ASKS_MAX, Client, Does, For, Phase};
use super::frames::{self, Fault, Said};
use super::meta::SUBSCRIPTION;
use crate::call::id::Id;
use crate::wire::jsonrpc::Members;
use crate::wire::messages::{EgressToKeeper, Era, Got};

/// The answer to what a server may not ask.
const NOT_SERVED: &str = r#"{"code":-32601,"message":"not served here"}"#;
const TOO_MANY: &str = r#"{"code":-32000,"message":"too many requests at a time"}"#;

#[derive(Deserialize)]
struct Progress {
    #[serde(rename = "progressToken")]
    token: u64,
}

#[derive(Deserialize)]
struct Cancelled<'a> {
    #[serde(rename = "requestId", borrow)]
    id: &'a RawValue,
}

impl Client {
    /// Takes one message of the server's. `of` is the question on whose own stream it came.
    ///
    /// # Errors
    /// Says why this server is at its end.
    pub(super) fn hear(
        &mut self,
        message: &[u8],
        of: Option<u64>,
        now: Instant,
    ) -> Result<(), String> {
        if message.iter().all(u8::is_ascii_whitespace) {
            return self.endure(now);
        }
        self.mute = false;
        match frames::read(message)? {
            Said::Answer { id, answer } => self.answered(id, answer, of, now),
            Said::Complaint => {
                self.endure(now)?;
                // Perhaps all that an old server says to a method it does not know.
                if matches!(self.phase, Phase::Probing { .. }) {
                    self.discovered(Err(None), now)?;
                }
                Ok(())
            }
            Said::Asks { id, method, params } => self.asks(id.get(), method, params, of, now),
            Said::Tells { method, params } => self.tells(method, params, of, now),
        }
    }

    /// The question could not be sent, or its stream ended before the answer.
    ///
    /// # Errors
    /// As [`Client::hear`].
    pub(super) fn failed(&mut self, id: u64, why: &str, now: Instant) -> Result<(), String> {
        let Some(asked) = self.asked.remove(&id) else {
            return Ok(());
        };
        self.over(&asked);
        match asked.what {
            For::Discover => self.discovered(Err(None), now),
            For::Initialize if self.may_be_of_the_other_era(now) => Ok(()),
            For::Initialize | For::Page => Err(why.to_owned()),
            For::Listen => {
                self.no_longer_listens(true, now);
                Ok(())
            }
            For::Ticket { ticket, .. } => {
                self.got(ticket, Got::Lost, why.as_bytes().to_vec());
                Ok(())
            }
        }
    }

    fn answered(
        &mut self,
        id: u64,
        answer: Result<&RawValue, &RawValue>,
        of: Option<u64>,
        now: Instant,
    ) -> Result<(), String> {
        if of.is_some_and(|of| of != id) {
            return Err("it answered one question in place of another".into());
        }
        let Some(asked) = self.asked.remove(&id) else {
            return match self.is_past(id) {
                true => Ok(()),
                false => Err(format!(
                    "it answered question {id}, which was not asked, or twice"
                )),
            };
        };
        self.over(&asked);
        let fault = answer.map_err(|error| Fault::of(error).ok_or("no error"));
        let fault = match fault {
            Ok(result) => Ok(result),
            Err(fault) => Err(fault?),
        };
        match asked.what {
            For::Discover => self.discovered(fault.map_err(Some), now),
            For::Initialize => self.initialized(fault, now),
            For::Page => self.page(fault, now),
            For::Listen => {
                self.no_longer_listens(fault.is_ok(), now);
                Ok(())
            }
            For::Ticket { ticket, .. } => {
                let (got, blob) = match answer {
                    Ok(result) => (Got::Result, result),
                    Err(error) => (Got::Error, error),
                };
                self.got(ticket, got, blob.get().as_bytes().to_vec());
                Ok(())
            }
        }
    }

    fn asks(
        &mut self,
        id: &str,
        method: String,
        params: Option<&RawValue>,
        of: Option<u64>,
        now: Instant,
    ) -> Result<(), String> {
        self.endure(now)?;
        // The stateless era has no such requests, and no way to answer them.
        if self.era == Era::Stateless {
            return Ok(());
        }
        if method == "ping" {
            self.answer(id, true, "{}");
            return Ok(());
        }
        let asker = self.about(of);
        let Some(ticket) = asker.filter(|_| Self::may_ask(self.settings.allow, &method)) else {
            self.answer(id, false, NOT_SERVED);
            return Ok(());
        };
        if self.asks.values().any(|(other, _)| other == id) {
            return Err("it asked twice under one id".into());
        }
        if self.asks.len() >= ASKS_MAX || !self.passed_on.take(now) {
            self.answer(id, false, TOO_MANY);
            return Ok(());
        }
        let ask = self.next_ask;
        self.next_ask += 1;
        self.asks.insert(ask, (id.to_owned(), ticket));
        let say = EgressToKeeper::Asks {
            upstream: self.settings.upstream,
            ask,
            ticket,
            method,
        };
        self.does.push_back(Does::Tell(say, bytes(params)));
        Ok(())
    }

    fn tells(
        &mut self,
        method: String,
        params: Option<&RawValue>,
        of: Option<u64>,
        now: Instant,
    ) -> Result<(), String> {
        self.endure(now)?;
        let ticket = match method.as_str() {
            "notifications/tools/list_changed"
            | "notifications/resources/list_changed"
            | "notifications/prompts/list_changed" => {
                self.has_changed(&method, now);
                return Ok(());
            }
            "notifications/cancelled" => {
                self.cancelled(params, now);
                return Ok(());
            }
            "notifications/progress" => {
                let token = params.and_then(|raw| serde_json::from_str::<Progress>(raw.get()).ok());
                let asked = token.and_then(|Progress { token }| self.asked.get(&token));
                match asked.map(|asked| asked.what) {
                    Some(For::Ticket {
                        ticket,
                        progress: true,
                    }) => Some(ticket),
                    // Of a question that is over, or that nobody wants to hear of.
                    _ => return Ok(()),
                }
            }
            "notifications/message" => self.about(of),
            "notifications/resources/updated"
            | "notifications/subscriptions/acknowledged"
            | "notifications/elicitation/complete" => match self.subscription(params) {
                Some(For::Listen) => return Ok(()),
                Some(For::Ticket { ticket, .. }) => Some(ticket),
                Some(For::Discover | For::Initialize | For::Page) | None => None,
            },
            // Methods that are not known are not carried.
            _ => return Ok(()),
        };
        if matches!(self.phase, Phase::Open) && self.passed_on.take(now) {
            let say = EgressToKeeper::Notice {
                upstream: self.settings.upstream,
                ticket,
                method,
            };
            self.does.push_back(Does::Tell(say, bytes(params)));
        }
        Ok(())
    }

    /// The question that a message is about which does not say so itself: the one on whose stream
    /// it came, else the newest.
    fn about(&self, of: Option<u64>) -> Option<Id> {
        let asked = of
            .and_then(|of| self.asked.get(&of))
            .map(|asked| asked.what);
        match asked {
            Some(For::Ticket { ticket, .. }) => Some(ticket),
            _ => self.tickets().next_back(),
        }
    }

    /// The question to whose subscription a notification belongs.
    fn subscription(&self, params: Option<&RawValue>) -> Option<For> {
        let members = Members::of(params?.get())?;
        let meta = Members::of(members.get("_meta")?)?;
        let id = meta.get(SUBSCRIPTION)?.parse().ok()?;
        self.asked.get(&id).map(|asked| asked.what)
    }

    /// The server no longer wants an answer, or has ended our subscription.
    fn cancelled(&mut self, params: Option<&RawValue>, now: Instant) {
        let about = params.and_then(|raw| serde_json::from_str::<Cancelled<'_>>(raw.get()).ok());
        let Some(Cancelled { id }) = about else {
            return;
        };
        self.asks.retain(|_, (own, _)| own != id.get());
        let ours = id.get().parse().ok();
        if let Some(id) = ours
            && self
                .asked
                .get(&id)
                .is_some_and(|asked| asked.what == For::Listen)
        {
            self.asked.remove(&id);
            self.no_longer_listens(true, now);
        }
    }
}

/// The raw `params`, as a blob.
fn bytes(params: Option<&RawValue>) -> Vec<u8> {
    params
        .map_or(&b"{}"[..], |raw| raw.get().as_bytes())
        .to_vec()
}
