//! One conversation with an agent: of a connection, of an HTTP session, or of one HTTP request of
//! the stateless era. It knows which requests are in flight, passes them to the keeper, and brings
//! what comes back to where it belongs.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::agent::Agent;
use super::era::session::Session;
use super::era::{Ask, Form, Question, shape};
use super::keeper::{Asking, Event, NoReply, Reply};
use super::message::{BUSY, INTERNAL_ERROR, INVALID_REQUEST, Key, Refusal, RequestId};
use super::outlet::{Delivery, Outlet};
use super::quota::{Quota, Share};
use super::reply;
use super::subscription::Subscription;
use crate::wire::messages::{ARGUMENTS_MAX, Era, FrontToKeeper};

/// Resources that one session may be told of.
const SUBSCRIBED_MAX: usize = 256;
/// What servers may have asked a client at one time.
const ASKED_MAX: usize = 32;

/// One conversation.
#[derive(Debug)]
pub(super) struct Talk {
    /// With whom.
    pub(super) agent: Rc<Agent>,
    /// What a client of the session era has begun.
    pub(super) session: Session,
    calls: Rc<Quota>,
    in_flight: RefCell<BTreeMap<Key, Rc<Flight>>>,
    /// What servers asked the client, and on the way to which answer.
    asked: RefCell<BTreeMap<u64, Key>>,
    /// Where news go that belong to no request.
    standing: RefCell<Option<Rc<Outlet>>>,
    subscribed: RefCell<BTreeSet<String>>,
}

/// A request in flight.
#[derive(Debug, Default)]
pub(super) struct Flight {
    /// The keeper's number for it, once it was asked.
    id: Cell<Option<u64>>,
    /// The agent has lost interest.
    gone: Cell<bool>,
    /// It said so, of this request or of all.
    cancelled: Cell<bool>,
    ended: Notify,
}

impl Flight {
    /// The client said that it wants no answer, and gets none.
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }
}

/// All that is known of a request while its answer is awaited.
#[derive(Debug)]
struct Awaited {
    id: RequestId,
    era: Era,
    form: Form,
    token: Option<String>,
    is_call: bool,
    flight: Rc<Flight>,
}

impl Talk {
    /// A conversation in which nothing was said yet.
    pub(super) fn new(agent: &Rc<Agent>) -> Rc<Self> {
        let talk = Rc::new(Self {
            agent: Rc::clone(agent),
            session: Session::default(),
            calls: Quota::new(agent.house.limits.calls),
            in_flight: RefCell::default(),
            asked: RefCell::default(),
            standing: RefCell::default(),
            subscribed: RefCell::default(),
        });
        agent.join(&talk);
        talk
    }

    /// News that belong to no request go to `outlet` from now on.
    pub(super) fn stand(&self, outlet: &Rc<Outlet>) {
        self.standing.replace(Some(Rc::clone(outlet)));
    }

    /// News that belong to no request go nowhere from now on.
    pub(super) fn sit(&self) {
        self.standing.take();
    }

    /// Tells the client something unasked, if it has begun a session.
    pub(super) fn tell(&self, line: impl FnOnce() -> Vec<u8>) {
        let standing = self.standing.borrow().clone();
        if let Some(outlet) = standing.filter(|_| self.session.is_open()) {
            outlet.say(line());
        }
    }

    /// The session asked to be told of this resource.
    pub(super) fn is_subscribed(&self, uri: &str) -> bool {
        self.subscribed.borrow().contains(uri)
    }

    /// The agent no longer wants the answer to a request.
    pub(super) fn cancel(&self, key: &Key) {
        let flight = self.in_flight.borrow().get(key).cloned();
        if let Some(flight) = flight {
            flight.cancelled.set(true);
            self.give_up(&flight);
        }
    }

    /// Nobody is there to get the answer to a request.
    pub(super) fn lose(&self, key: &Key) {
        let flight = self.in_flight.borrow().get(key).cloned();
        if let Some(flight) = flight {
            self.give_up(&flight);
        }
    }

    /// Nobody listens any more: subscriptions end, calls go on.
    pub(super) fn end_subscriptions(&self) {
        self.in_flight
            .borrow()
            .values()
            .for_each(|flight| flight.ended.notify_one());
    }

    /// The client ends the conversation itself: what it left open ends as if it were cancelled.
    pub(super) fn leave(&self) {
        let all = self.in_flight.borrow();
        all.values().for_each(|flight| flight.cancelled.set(true));
        drop(all);
        self.end();
    }

    /// Nobody wants any answer any more.
    pub(super) fn end(&self) {
        let all: Vec<_> = self.in_flight.borrow().values().cloned().collect();
        all.iter().for_each(|flight| self.give_up(flight));
        self.sit();
    }

    /// Passes on what the client says to a question of a server.
    pub(super) fn said(&self, key: &Key, ok: bool, raw: &[u8]) {
        let ask = match key {
            Key::Number(number) => u64::try_from(*number).ok(),
            Key::Text(_) => None,
        };
        let Some(ask) = ask.filter(|ask| self.asked.borrow_mut().remove(ask).is_some()) else {
            return;
        };
        let agent = self.agent.name.clone();
        let (ok, raw) = match raw.len() <= ARGUMENTS_MAX {
            true => (ok, raw),
            false => (false, TOO_LONG),
        };
        let said = FrontToKeeper::Said { agent, ask, ok };
        self.agent.house.keeper.tell(said, raw.to_vec());
    }

    /// Puts a question to the keeper, in a task of its own; what comes goes to `outlet`, which ends
    /// without an answer where nobody wants one any more.
    ///
    /// # Errors
    /// Refuses where too much is in flight, or something under the same id.
    pub(super) fn put(
        self: &Rc<Self>,
        question: Question<'_>,
        outlet: Rc<Outlet>,
    ) -> Result<Rc<Flight>, Refusal> {
        let Question {
            id,
            era,
            client,
            ask,
            token,
            form,
        } = question;
        let shares = self.admit(&id, &form).map_err(|refusal| {
            if matches!(form, Form::Hello { .. }) {
                self.session.reopen();
            }
            refusal.of(&id)
        })?;
        let flight = Rc::new(Flight::default());
        self.in_flight
            .borrow_mut()
            .insert(id.key().clone(), Rc::clone(&flight));
        let (agent, progress) = (self.agent.name.clone(), token.is_some());
        let is_call = matches!(ask, Ask::Call { .. });
        let (say, blob): (Box<dyn FnOnce(u64) -> FrontToKeeper>, Vec<u8>) = match ask {
            Ask::List => {
                let list = move |id| FrontToKeeper::List { id, agent, era };
                (Box::new(list), Vec::new())
            }
            Ask::Call {
                tool,
                arguments,
                mut extra,
                mirrored,
            } => {
                let length = extra.len();
                extra.extend_from_slice(arguments);
                let open = move |id| FrontToKeeper::Open {
                    id,
                    agent,
                    tool,
                    client,
                    era,
                    extra: length,
                    mirrored,
                    progress,
                };
                (Box::new(open), extra)
            }
            Ask::Other { method, params } => {
                let ask = move |id| FrontToKeeper::Ask {
                    id,
                    agent,
                    client,
                    era,
                    method: method.into(),
                    progress,
                };
                (Box::new(ask), params.to_vec())
            }
        };
        let awaited = Awaited {
            id,
            era,
            form,
            token,
            is_call,
            flight: Rc::clone(&flight),
        };
        let talk = Rc::clone(self);
        spawn_local(async move {
            let asking = talk.agent.house.keeper.ask(say, &blob).await;
            drop(blob);
            talk.see_through(awaited, asking, &outlet).await;
            // A cancelled call holds its place until the keeper is done with it.
            drop(shares);
        });
        Ok(flight)
    }

    async fn see_through(
        &self,
        awaited: Awaited,
        asking: Result<Asking, NoReply>,
        outlet: &Rc<Outlet>,
    ) {
        let number = asking.as_ref().ok().map(|asking| asking.id);
        let reply = match asking {
            Ok(asking) => self.follow(&awaited, asking, outlet).await,
            Err(none) => Err(none),
        };
        let good = matches!(reply, Ok(Reply::Result(_) | Reply::Tools(_)));
        match &awaited.form {
            Form::Hello { .. } if !good => self.session.reopen(),
            Form::Subscribed { uri } if good => {
                self.subscribed.borrow_mut().insert(uri.clone());
            }
            Form::Unsubscribed { uri } if good => {
                self.subscribed.borrow_mut().remove(uri);
            }
            Form::Plain
            | Form::Kept
            | Form::Hello { .. }
            | Form::Discovered
            | Form::Subscribed { .. }
            | Form::Unsubscribed { .. }
            | Form::Listening => {}
        }
        let reply = match (&awaited.form, reply) {
            (Form::Listening, Ok(Reply::Result(agreed))) => {
                self.listen(&awaited, &agreed, outlet).await;
                if let Some(id) = number {
                    let cancel = FrontToKeeper::Cancel { id, meant: true };
                    self.agent.house.keeper.tell(cancel, Vec::new());
                }
                Ok(Reply::Result(b"{}".to_vec()))
            }
            (_, reply) => reply,
        };
        let key = awaited.id.key();
        self.in_flight.borrow_mut().remove(key);
        self.asked.borrow_mut().retain(|_, of| of != key);
        if awaited.flight.gone.get() {
            return;
        }
        let delivery = number
            .filter(|_| good && awaited.is_call && awaited.era == Era::Stateless)
            .map(|id| Delivery::new(&self.agent.house.keeper, id));
        let (line, code) = self.line(&awaited, reply);
        outlet.answer(line, code, delivery);
    }

    /// Brings the client what comes on the way to the reply.
    async fn follow(
        &self,
        awaited: &Awaited,
        mut asking: Asking,
        outlet: &Outlet,
    ) -> Result<Reply, NoReply> {
        let flight = &awaited.flight;
        flight.id.set(Some(asking.id));
        if flight.gone.get() {
            // It was given up before there was anybody to tell.
            let (id, meant) = (asking.id, flight.cancelled.get());
            let cancel = FrontToKeeper::Cancel { id, meant };
            self.agent.house.keeper.tell(cancel, Vec::new());
        }
        loop {
            match asking.next().await? {
                Event::Reply(reply) => return Ok(reply),
                Event::Notice { .. } | Event::Ask { .. } if flight.gone.get() => {}
                Event::Notice { method, params } => {
                    if let Some(line) = notice(awaited, &method, &params) {
                        outlet.say(line);
                    }
                }
                Event::Ask {
                    ask,
                    method,
                    params,
                } => {
                    let mut asked = self.asked.borrow_mut();
                    if awaited.era == Era::Stateless || asked.len() >= ASKED_MAX {
                        let agent = self.agent.name.clone();
                        let ok = false;
                        let said = FrontToKeeper::Said { agent, ask, ok };
                        self.agent.house.keeper.tell(said, CANNOT_ASK.to_vec());
                        continue;
                    }
                    asked.insert(ask, awaited.id.key().clone());
                    outlet.say(reply::request(ask, &method, &params));
                }
            }
        }
    }

    /// Brings the client news, until it or this side ends that.
    async fn listen(&self, awaited: &Awaited, agreed: &[u8], outlet: &Rc<Outlet>) {
        let Some(subscription) = Subscription::new(&awaited.id, agreed, outlet) else {
            return;
        };
        let subscription = Rc::new(subscription);
        subscription.acknowledge();
        self.agent.subscribe(&subscription);
        let mut stopping = self.agent.house.stopping.subscribe();
        tokio::select! {
            () = awaited.flight.ended.notified() => {}
            () = outlet.closed() => {}
            // The sender lives as long as the role.
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
    }

    /// The line that answers a request, and JSON-RPC's code where it is an error.
    fn line(&self, awaited: &Awaited, reply: Result<Reply, NoReply>) -> (Vec<u8>, Option<i64>) {
        let Awaited { id, era, form, .. } = awaited;
        let good = |raw: &[u8]| {
            let raw = shape::result(*era, form, raw, &self.agent.house.version);
            let tagged = (*form == Form::Listening).then(|| shape::tagged(&raw, id));
            let raw = tagged.flatten().unwrap_or(raw);
            (reply::result(id, &[&raw]), None)
        };
        let error = |message| {
            let line = reply::error(Some(id), INTERNAL_ERROR, message, &[]);
            (line, Some(INTERNAL_ERROR))
        };
        match reply {
            Ok(Reply::Tools(tools)) => good(&[b"{\"tools\":", tools.as_slice(), b"}"].concat()),
            Ok(Reply::Result(raw)) => good(&raw),
            Ok(Reply::Fault {
                code,
                message,
                data,
            }) => {
                let code = shape::code(*era, code);
                (reply::error(Some(id), code, &message, &data), Some(code))
            }
            Err(NoReply::Absent) => error("the keeper is not available; nothing was done"),
            Err(NoReply::Lost) => error(
                "the keeper is not available any more; whether the call took effect is unknown",
            ),
        }
    }

    /// Room for one more question.
    fn admit(&self, id: &RequestId, form: &Form) -> Result<Vec<Share>, Refusal> {
        let house = &self.agent.house;
        if *house.stopping.borrow() {
            return Err(Refusal::new(INTERNAL_ERROR, "keepgate is stopping"));
        }
        if self.in_flight.borrow().contains_key(id.key()) {
            return Err(Refusal::new(
                INVALID_REQUEST,
                "a request with this `id` is in flight",
            ));
        }
        let busy = || Refusal::new(BUSY, "too many requests in flight; wait for an answer");
        if matches!(form, Form::Subscribed { .. })
            && self.subscribed.borrow().len() >= SUBSCRIBED_MAX
        {
            return Err(Refusal::new(BUSY, "too many resources are subscribed to"));
        }
        // Subscriptions stay: they may not take the place of calls, nor hold up a stop.
        let quotas: &[&Rc<Quota>] = match *form == Form::Listening {
            true => &[&self.agent.streams],
            false => &[&self.calls, &self.agent.calls, &house.calls],
        };
        quotas
            .iter()
            .map(|quota| quota.take(1).ok_or_else(busy))
            .collect()
    }

    fn give_up(&self, flight: &Flight) {
        if flight.gone.replace(true) {
            return;
        }
        flight.ended.notify_one();
        if let Some(id) = flight.id.get() {
            let meant = flight.cancelled.get();
            let cancel = FrontToKeeper::Cancel { id, meant };
            self.agent.house.keeper.tell(cancel, Vec::new());
        }
    }
}

/// The line of a notification on the way to an answer; nothing, where the client did not ask for it.
fn notice(awaited: &Awaited, method: &str, params: &[u8]) -> Option<Vec<u8>> {
    if method != "notifications/progress" {
        return Some(reply::notification_of(method, params));
    }
    let params = shape::progress(params, awaited.token.as_deref()?)?;
    Some(reply::notification_of(method, &params))
}

/// What a server is told whose question cannot reach the client.
const CANNOT_ASK: &[u8] = br#"{"code":-32603,"message":"this client cannot be asked now"}"#;
/// What a server is told in place of too long an answer.
const TOO_LONG: &[u8] = br#"{"code":-32603,"message":"the client's answer was too long"}"#;
