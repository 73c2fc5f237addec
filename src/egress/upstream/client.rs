//! The client of one MCP server as a machine without I/O: messages, orders and time go in, what is
//! to be sent and told comes out. Both eras.
//!
//! It begins with `server/discover`, falls back to `initialize`, asks for everything the server
//! offers, and is open then. Every question has a number and a time limit; a server that answers
//! what it was not asked, or tells more than it may, is at its end: the error says why.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::frames::Rate;
use super::listing::Listing;
use super::meta;
use crate::call::id::Id;
use crate::wire::jsonrpc::{Members, one_line};
use crate::wire::messages::{
    EgressToKeeper, Era, Got, Offer, Passing, Unasked, UpstreamLimits, WORDS_MAX,
};
use crate::wire::text::Escaped;

/// What egress carries from an agent to a server.
const CARRIED: [&str; 12] = [
    "tools/call",
    "tools/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "prompts/get",
    "prompts/list",
    "completion/complete",
    "logging/setLevel",
    "subscriptions/listen",
];
/// Longest time for one question: a day.
const WALL_MAX: Duration = Duration::from_secs(24 * 3600);
/// Numbers of given-up questions that are remembered, so that a late answer is none too many.
const PAST_MAX: usize = 1024;
/// Notifications and requests of a server beyond what is passed on: a second, and at once.
const PATIENCE: (u32, u32) = (200, 2_000);
/// Requests of a server that wait for their answer.
pub(super) const ASKS_MAX: usize = 16;
/// Longest reason, in characters.
const WHY_MAX: usize = 512;

/// What one upstream is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) upstream: Id,
    pub(super) era: Option<Era>,
    pub(super) limits: UpstreamLimits,
    pub(super) allow: Passing,
    /// Each question has a stream of its own, and closing that cancels it in the stateless era.
    pub(super) streams: bool,
}

/// A question of the keeper's.
#[derive(Debug)]
pub(in crate::egress) struct Put {
    pub(in crate::egress) ticket: Id,
    pub(in crate::egress) method: String,
    pub(in crate::egress) progress: bool,
    pub(in crate::egress) wall_ms: u64,
    /// It changes nothing.
    pub(in crate::egress) repeatable: bool,
    /// What a transport with headers says of its arguments.
    pub(in crate::egress) headers: Vec<(String, String)>,
    /// The raw `params`.
    pub(in crate::egress) params: Vec<u8>,
}

/// What an order wants of an upstream.
#[derive(Debug)]
pub(super) enum Order {
    Put(Put),
    Revoke(Id),
    Reply { ask: u64, ok: bool, json: Vec<u8> },
}

/// What the machine wants done.
#[derive(Debug)]
pub(super) enum Does {
    /// Send a message to the server.
    Send(Message),
    /// Nobody waits for the answer to this question any more.
    Forget(u64),
    /// Tell the keeper.
    Tell(EgressToKeeper, Vec<u8>),
}

/// A message for the server.
#[derive(Debug)]
pub(super) struct Message {
    /// Its number, where it is a question.
    pub(super) id: Option<u64>,
    /// Its method; empty for an answer.
    pub(super) method: String,
    /// What a transport with headers says it is about.
    pub(super) name: Option<String>,
    /// One line, with its newline.
    pub(super) line: Vec<u8>,
    /// Whose question it is, where it is one of the keeper's.
    pub(super) ticket: Option<Id>,
    /// It may be made again where nothing of an answer came.
    pub(super) repeatable: bool,
    /// What a transport with headers says of its arguments.
    pub(super) headers: Vec<(String, String)>,
}

/// How far the client is.
#[derive(Debug)]
pub(super) enum Phase {
    /// Asked for its era; from then on also as a server of the session era.
    Probing { fall_back: Instant },
    /// Asked as a server of the session era.
    Initializing,
    /// Being asked for what it offers.
    Listing { hello: String, listing: Listing },
    /// It can be asked.
    Open,
}

/// What a question of ours is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum For {
    Discover,
    Initialize,
    Page,
    Listen,
    Ticket { ticket: Id, progress: bool },
}

#[derive(Debug)]
pub(super) struct Asked {
    pub(super) what: For,
    pub(super) until: Option<Instant>,
}

/// The client of one server.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) settings: Settings,
    pub(super) phase: Phase,
    pub(super) era: Era,
    pub(super) version: String,
    /// What it says it can do: JSON.
    pub(super) capabilities: String,
    next: u64,
    pub(super) asked: BTreeMap<u64, Asked>,
    /// Given up, the oldest first.
    past: VecDeque<u64>,
    /// What the server asked: its own ids, and for which question.
    pub(super) asks: BTreeMap<u64, (String, Id)>,
    pub(super) next_ask: u64,
    /// What has changed since it was listed, and when it may be asked for again.
    pub(super) changed: BTreeSet<Offer>,
    pub(super) relist_at: Instant,
    pub(super) relisting: Option<Listing>,
    pub(super) listen_at: Option<Instant>,
    pub(super) passed_on: Rate,
    patience: Rate,
    pub(super) does: VecDeque<Does>,
    /// The server does not read: nothing more is put to it.
    pub(super) full: bool,
    /// The server has not said anything yet.
    pub(super) mute: bool,
}

impl Client {
    /// Asks its first question.
    pub(super) fn new(settings: Settings, now: Instant) -> Self {
        let notices = settings.limits.notices;
        let (each_second, most) = PATIENCE;
        let mut client = Self {
            settings,
            phase: Phase::Initializing,
            era: Era::Session,
            version: String::new(),
            capabilities: "{}".into(),
            next: 1,
            asked: BTreeMap::new(),
            past: VecDeque::new(),
            asks: BTreeMap::new(),
            next_ask: 1,
            changed: BTreeSet::new(),
            relist_at: now,
            relisting: None,
            listen_at: None,
            passed_on: Rate::new(notices, notices.saturating_mul(2), now),
            patience: Rate::new(
                each_second.saturating_add(notices),
                most.saturating_add(notices),
                now,
            ),
            does: VecDeque::new(),
            full: false,
            mute: true,
        };
        client.begin(now);
        client
    }

    /// What is to be done next.
    pub(super) fn next(&mut self) -> Option<Does> {
        self.does.pop_front()
    }

    /// When [`Client::tick`] is due.
    pub(super) fn wake(&self) -> Option<Instant> {
        let fall_back = match self.phase {
            Phase::Probing { fall_back } if !self.is_asked(For::Initialize) => Some(fall_back),
            Phase::Probing { .. } | Phase::Initializing | Phase::Listing { .. } | Phase::Open => {
                None
            }
        };
        let relist =
            (!self.changed.is_empty() && self.relisting.is_none()).then_some(self.relist_at);
        let asked = self.asked.values().filter_map(|asked| asked.until).min();
        [fall_back, relist, self.listen_at, asked]
            .into_iter()
            .flatten()
            .min()
    }

    /// Time has passed.
    ///
    /// # Errors
    /// As [`Client::hear`].
    pub(super) fn tick(&mut self, now: Instant) -> Result<(), String> {
        let late = |asked: &Asked| asked.until.is_some_and(|until| until <= now);
        while let Some(id) = self
            .asked
            .iter()
            .find(|(_, one)| late(one))
            .map(|(id, _)| *id)
        {
            self.late(id)?;
        }
        self.fall_back(now);
        if matches!(self.phase, Phase::Open) {
            self.relist(now);
            self.listen(now);
        }
        Ok(())
    }

    /// Obeys the keeper.
    pub(super) fn obey(&mut self, order: Order, now: Instant) {
        match order {
            Order::Put(put) => self.put(put, now),
            Order::Revoke(ticket) => {
                let found = self.asked.iter().find(|(_, asked)| asked.is_of(ticket));
                if let Some(id) = found.map(|(id, _)| *id) {
                    self.give_up(id, "the agent no longer wants the answer");
                    self.got(ticket, Got::Cancelled, Vec::new());
                }
            }
            Order::Reply { ask, ok, json } => {
                // Whatever it was about may be over.
                if let Some((id, _)) = self.asks.remove(&ask) {
                    self.answer(&id, ok, &String::from_utf8_lossy(&json));
                }
            }
        }
    }

    fn put(&mut self, put: Put, now: Instant) {
        let ticket = put.ticket;
        let refused = |why| Got::Refused(why);
        if !matches!(self.phase, Phase::Open) {
            return self.got(ticket, refused(Unasked::NotOpen), Vec::new());
        }
        let same = self.asked.values().any(|asked| asked.is_of(ticket));
        if same || !CARRIED.contains(&put.method.as_str()) {
            return self.got(ticket, refused(Unasked::NotCarried), Vec::new());
        }
        let most = usize::try_from(self.settings.limits.in_flight).unwrap_or(usize::MAX);
        if self.full || self.tickets().count() >= most {
            return self.got(ticket, refused(Unasked::Busy), Vec::new());
        }
        let wall = Duration::from_millis(put.wall_ms).min(WALL_MAX);
        let what = For::Ticket {
            ticket,
            progress: put.progress,
        };
        let raw = String::from_utf8(put.params).unwrap_or_default();
        if !self.ask(what, put.method, &raw, Some(now + wall)) {
            return self.got(ticket, refused(Unasked::NotCarried), Vec::new());
        }
        if let Some(Does::Send(message)) = self.does.back_mut() {
            message.ticket = Some(ticket);
            message.repeatable = put.repeatable;
            message.headers = put.headers;
        }
    }

    /// Asks a question; whether its `params` could be written.
    pub(super) fn ask(
        &mut self,
        what: For,
        method: impl Into<String>,
        raw: &str,
        until: Option<Instant>,
    ) -> bool {
        let (id, method) = (self.next, method.into());
        let progress = matches!(what, For::Ticket { progress: true, .. }).then_some(id);
        let era = match what {
            For::Discover => Era::Stateless,
            For::Initialize => Era::Session,
            For::Page | For::Listen | For::Ticket { .. } => self.era,
        };
        let Some(params) = meta::params(raw, era, self.settings.allow, progress) else {
            return false;
        };
        let name = Members::of(&params).and_then(|members| {
            let name = members.get("name").or_else(|| members.get("uri"))?;
            serde_json::from_str(name).ok()
        });
        let method_json = serde_json::Value::from(method.as_str());
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":{method_json},\"params\":{params}}}\n"
        );
        self.next += 1;
        self.asked.insert(id, Asked { what, until });
        self.does.push_back(Does::Send(Message {
            id: Some(id),
            method,
            name,
            line: one_line(line.into_bytes()),
            ticket: None,
            repeatable: true,
            headers: Vec::new(),
        }));
        true
    }

    /// Tells the server something.
    pub(super) fn notify(&mut self, method: &str, params: &str) {
        let line = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"params\":{params}}}\n");
        self.does.push_back(Does::Send(Message {
            id: None,
            method: method.into(),
            name: None,
            line: line.into_bytes(),
            ticket: None,
            repeatable: true,
            headers: Vec::new(),
        }));
    }

    /// Answers a request of the server's.
    pub(super) fn answer(&mut self, id: &str, ok: bool, json: &str) {
        let member = if ok { "result" } else { "error" };
        let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"{member}\":{json}}}\n");
        self.does.push_back(Does::Send(Message {
            id: None,
            method: String::new(),
            name: None,
            line: one_line(line.into_bytes()),
            ticket: None,
            repeatable: false,
            headers: Vec::new(),
        }));
    }

    /// A question that nobody waits for any more.
    pub(super) fn give_up(&mut self, id: u64, why: &str) {
        let Some(asked) = self.asked.remove(&id) else {
            return;
        };
        self.over(&asked);
        if self.past.len() >= PAST_MAX {
            self.past.pop_front();
        }
        self.past.push_back(id);
        // Questions of the handshake must not be cancelled in the session era.
        let told = matches!(asked.what, For::Ticket { .. } | For::Listen | For::Page);
        if told && !(self.settings.streams && self.era == Era::Stateless) {
            self.notify(
                "notifications/cancelled",
                &format!("{{\"requestId\":{id},\"reason\":\"{why}\"}}"),
            );
        }
        self.does.push_back(Does::Forget(id));
    }

    /// What the server asked for the sake of a question ends with it.
    pub(super) fn over(&mut self, asked: &Asked) {
        if let For::Ticket { ticket, .. } = asked.what {
            self.asks.retain(|_, (_, of)| *of != ticket);
        }
    }

    /// An answer that comes late is for a question that was given up.
    pub(super) fn is_past(&mut self, id: u64) -> bool {
        let place = self.past.iter().position(|past| *past == id);
        place.is_some_and(|place| self.past.remove(place).is_some())
    }

    /// The question's time is up.
    fn late(&mut self, id: u64) -> Result<(), String> {
        let Some(asked) = self.asked.get(&id) else {
            return Ok(());
        };
        match asked.what {
            For::Ticket { ticket, .. } => {
                self.give_up(id, "time is up");
                self.got(ticket, Got::TimedOut, Vec::new());
                Ok(())
            }
            For::Discover | For::Initialize => Err("it did not answer in time at its start".into()),
            For::Page => Err("it did not list in time what it offers".into()),
            For::Listen => Ok(()),
        }
    }

    /// One more message that is no answer.
    ///
    /// # Errors
    /// Fails where there are far too many.
    pub(super) fn endure(&mut self, now: Instant) -> Result<(), String> {
        match self.patience.take(now) {
            true => Ok(()),
            false => Err("it sends far more notifications than it may".into()),
        }
    }

    /// Tickets under way, the newest last.
    pub(super) fn tickets(&self) -> impl DoubleEndedIterator<Item = Id> {
        self.asked.values().filter_map(|asked| match asked.what {
            For::Ticket { ticket, .. } => Some(ticket),
            For::Discover | For::Initialize | For::Page | For::Listen => None,
        })
    }

    pub(super) fn is_asked(&self, what: For) -> bool {
        self.asked.values().any(|asked| asked.what == what)
    }

    /// Tells what came of a question.
    pub(super) fn got(&mut self, ticket: Id, got: Got, blob: Vec<u8>) {
        let say = EgressToKeeper::Got {
            ticket,
            got,
            hops: Vec::new(),
        };
        self.does.push_back(Does::Tell(say, blob));
    }

    /// It is over: everything that is still asked is lost. `words` is what it wrote to its standard
    /// error; `ended`: it went of its own.
    pub(super) fn end(&mut self, why: &str, ended: bool, words: &[u8]) {
        self.does.retain(|does| matches!(does, Does::Tell(..)));
        for ticket in self.tickets().collect::<Vec<_>>() {
            self.got(ticket, Got::Lost, Vec::new());
        }
        self.asked.clear();
        self.does.push_back(Does::Tell(
            EgressToKeeper::Gone {
                upstream: self.settings.upstream,
                why: why.chars().take(WHY_MAX).collect(),
                words: tail(words),
                ended,
                mute: self.mute,
            },
            Vec::new(),
        ));
    }
}

impl Asked {
    fn is_of(&self, of: Id) -> bool {
        matches!(self.what, For::Ticket { ticket, .. } if ticket == of)
    }
}

/// The end of a text, escaped.
fn tail(words: &[u8]) -> String {
    let text = Escaped::new(&String::from_utf8_lossy(words)).to_string();
    let over = text.len().saturating_sub(WORDS_MAX);
    // Escaped text is ASCII.
    text.get(over..).unwrap_or_default().to_owned()
}
