//! The messages of clients over HTTP, and the streams that bring them ours.

use std::rc::Rc;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use serde_json::value::RawValue;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::answer::{self, Answer, Events, Hanging};
use super::door::Refused;
use super::gate::{self, Reads};
use super::sessions::HttpSession;
use super::wire::Written;
use crate::front::agent::Agent;
use crate::front::era::stateless::{
    self, HEADER_MISMATCH, Headers, MISSING_CAPABILITY, UNSUPPORTED_VERSION,
};
use crate::front::era::{self, Question, Step, session};
use crate::front::message::{
    self, BUSY, INVALID_PARAMS, INVALID_REQUEST, LINE_MAX, METHOD_NOT_FOUND, Message, PARSE_ERROR,
    Refusal,
};
use crate::front::outlet::{Outlet, Queued};
use crate::front::quota::Share;
use crate::front::talk::Talk;
use crate::wire::messages::Era;

/// Answers one POST of `agent`.
pub(super) async fn post(
    agent: &Rc<Agent>,
    request: Request<Incoming>,
    written: &Rc<Written>,
) -> Response<Answer> {
    let (parts, body) = request.into_parts();
    let headers = parts.headers;
    if !gate::is_json(&headers) {
        let why = "the body is not `application/json`";
        return Refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, why).response(written);
    }
    let reads = gate::reads(&headers);
    if !reads.json && !reads.events {
        let why = "`Accept` lists neither `application/json` nor `text/event-stream`";
        return Refused(StatusCode::NOT_ACCEPTABLE, why).response(written);
    }
    let (line, _room) = match body_of(agent, body).await {
        Ok(whole) => whole,
        Err(refused) => {
            agent.notes.note(refused.1);
            return refused.response(written);
        }
    };
    let post = Post {
        agent,
        headers: &headers,
        reads,
        written,
    };
    if message::is_batch(&line)
        && let Some(session) = find(agent, &headers).filter(|one| one.talk.session.takes_batches())
    {
        return match message::batch(&line) {
            Ok(all) => post.batch(&session.talk, &all).await,
            Err(refusal) => refuse(agent, Era::Session, &refusal, written),
        };
    }
    let message = match message::read(&line) {
        Ok(message) => message,
        Err(refusal) => return refuse(agent, Era::Session, &refusal, written),
    };
    let claims = gate::claims(&headers);
    match era::of(&message, claims.version.as_deref()) {
        Era::Stateless => post.stateless(message, &claims).await,
        Era::Session => post.in_session(message, &claims).await,
    }
}

/// Answers a GET: the stream of a session, for what belongs to no request.
pub(super) fn stream(
    agent: &Rc<Agent>,
    headers: &HeaderMap,
    written: &Rc<Written>,
) -> Response<Answer> {
    if !gate::reads(headers).events {
        let why = "`Accept` does not list `text/event-stream`";
        return Refused(StatusCode::NOT_ACCEPTABLE, why).response(written);
    }
    let Some(session) = find(agent, headers) else {
        return NO_SESSION.response(written);
    };
    let Some(share) = agent.streams.take(1) else {
        return MANY_STREAMS.response(written);
    };
    let (outlet, queue) = Outlet::new(agent);
    session.stream_to(&outlet);
    let every = agent.house.limits.heartbeat;
    answer::events(Events::new(None, queue, every, written).holding(share))
}

/// Answers a DELETE: the client is done with its session.
pub(super) fn end(agent: &Rc<Agent>, headers: &HeaderMap) -> Response<Answer> {
    let id = gate::only(headers, &gate::SESSION);
    match id.is_some_and(|id| agent.sessions.end(id)) {
        true => answer::bare(StatusCode::NO_CONTENT),
        false => answer::bare(StatusCode::NOT_FOUND),
    }
}

/// A session that is not there, or not this agent's: the two look the same.
const NO_SESSION: Refused = Refused(
    StatusCode::NOT_FOUND,
    "there is no such session; send `initialize`",
);
const MANY_STREAMS: Refused = Refused(
    StatusCode::TOO_MANY_REQUESTS,
    "too many streams of this agent are open",
);

fn find(agent: &Rc<Agent>, headers: &HeaderMap) -> Option<Rc<HttpSession>> {
    let id = gate::only(headers, &gate::SESSION)?;
    agent.sessions.find(agent, id)
}

/// The whole body, and its share of what may be read at one time.
async fn body_of(agent: &Agent, body: Incoming) -> Result<(Vec<u8>, Share), Refused> {
    let too_long = || {
        let why = "a message is longer than a line may be";
        Refused(StatusCode::PAYLOAD_TOO_LARGE, why)
    };
    let said = body.size_hint().exact();
    let length = said.map_or(LINE_MAX, |said| usize::try_from(said).unwrap_or(usize::MAX));
    if length > LINE_MAX {
        return Err(too_long());
    }
    let room = agent.bodies.take(length).ok_or(Refused(
        StatusCode::TOO_MANY_REQUESTS,
        "too many requests are being read",
    ))?;
    let whole = Limited::new(body, LINE_MAX).collect();
    match timeout(agent.house.limits.body, whole).await {
        Ok(Ok(whole)) => Ok((whole.to_bytes().to_vec(), room)),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(Refused(
            StatusCode::BAD_REQUEST,
            "the body of a request broke off",
        )),
        Err(_) => Err(Refused(
            StatusCode::REQUEST_TIMEOUT,
            "the body of a request did not come in time",
        )),
    }
}

/// One POST, once its body was read.
struct Post<'a> {
    agent: &'a Rc<Agent>,
    headers: &'a HeaderMap,
    reads: Reads,
    written: &'a Rc<Written>,
}

impl Post<'_> {
    async fn stateless(&self, message: Message<'_>, claims: &Headers) -> Response<Answer> {
        // Ids are unique for one client, and an agent may be many: each request stands for itself.
        let talk = Talk::new(self.agent);
        let step = stateless::take(message, Some(claims));
        self.act(&talk, step, Era::Stateless).await
    }

    async fn in_session(&self, message: Message<'_>, claims: &Headers) -> Response<Answer> {
        let begins = matches!(&message, Message::Request { method, .. } if method == "initialize");
        if !self.headers.contains_key(gate::SESSION) {
            let modern = claims.version.as_deref() == Some(stateless::VERSION);
            return match message {
                Message::Request { .. } if begins => self.begin(message).await,
                // What the other era has to say without an answer needs no session, and no answer.
                Message::Notification { .. } if modern => answer::bare(StatusCode::ACCEPTED),
                Message::Request { .. }
                | Message::Notification { .. }
                | Message::Response { .. } => {
                    let why = "`Mcp-Session-Id` is missing; send `initialize`";
                    Refused(StatusCode::BAD_REQUEST, why).response(self.written)
                }
            };
        }
        if claims
            .version
            .as_deref()
            .is_some_and(|version| !session::VERSIONS.contains(&version))
        {
            let why = "`MCP-Protocol-Version` is none with sessions";
            return Refused(StatusCode::BAD_REQUEST, why).response(self.written);
        }
        let Some(known) = find(self.agent, self.headers) else {
            return NO_SESSION.response(self.written);
        };
        let step = known.talk.session.take(message);
        self.act(&known.talk, step, Era::Session).await
    }

    async fn begin(&self, message: Message<'_>) -> Response<Answer> {
        let Some(session) = self.agent.sessions.begin(self.agent) else {
            let why = "too many sessions of this agent are in use";
            return Refused(StatusCode::TOO_MANY_REQUESTS, why).response(self.written);
        };
        let step = session.talk.session.take(message);
        let mut response = self.act(&session.talk, step, Era::Session).await;
        match HeaderValue::from_str(&session.id) {
            Ok(id) if session.talk.session.is_open() => {
                response.headers_mut().insert(gate::SESSION, id);
            }
            _ => drop(self.agent.sessions.end(&session.id)),
        }
        response
    }

    /// Takes the messages of a batch one by one. What they are answered comes as a stream, or as one
    /// array where the client reads no stream; nothing, where none of them wants an answer.
    async fn batch(&self, talk: &Rc<Talk>, all: &[&RawValue]) -> Response<Answer> {
        let (outlet, mut queue) = Outlet::new(self.agent);
        let refuse = |refusal: Refusal| {
            self.agent.notes.note(refusal.what());
            outlet.answer(refusal.line(), Some(refusal.code()), None);
        };
        let mut answers = false;
        for one in all {
            let step = match message::read(one.get().as_bytes()) {
                Ok(message) => talk.session.take(message),
                Err(refusal) => Step::Refuse(refusal),
            };
            answers |= matches!(
                step,
                Step::Ask(_) | Step::Reply(_) | Step::Refuse(_) | Step::Decline(_)
            );
            match step {
                Step::Ask(question) => {
                    if let Err(refusal) = talk.put(question, Rc::clone(&outlet)) {
                        refuse(refusal);
                    }
                }
                Step::Reply(line) => outlet.answer(line, None, None),
                Step::Refuse(refusal) => refuse(refusal),
                Step::Decline(refusal) => {
                    outlet.answer(refusal.line(), Some(refusal.code()), None);
                }
                Step::Note(what) => self.agent.notes.note(what),
                Step::Cancel(key) => talk.cancel(&key),
                Step::Said { key, ok, raw } => talk.said(&key, ok, raw),
                Step::Pass => {}
            }
        }
        // The queue ends with the last answer.
        drop(outlet);
        if !answers {
            return answer::bare(StatusCode::ACCEPTED);
        }
        if self.reads.events {
            let every = self.agent.house.limits.heartbeat;
            return answer::events(Events::new(None, queue, every, self.written));
        }
        let mut answers = Vec::new();
        while let Some(queued) = queue.recv().await {
            // What is told on the way has no place in an array of answers.
            if queued.last.is_some() {
                answers.push(queued);
            }
        }
        if answers.is_empty() {
            // All that wanted one were cancelled.
            return answer::bare(StatusCode::ACCEPTED);
        }
        let lines = answers.iter().map(|one| one.line.trim_ascii_end());
        let mut array = lines.collect::<Vec<_>>().join(&b',');
        array.insert(0, b'[');
        array.extend_from_slice(b"]\n");
        answer::json(StatusCode::OK, array, None, self.written)
    }

    /// Puts a question, and answers with what comes: where that is the whole answer, as one message;
    /// else, or where nothing comes for a while, as a stream.
    async fn ask(&self, talk: &Rc<Talk>, question: Question<'_>) -> Response<Answer> {
        let era = question.era;
        let (outlet, mut queue) = Outlet::new(self.agent);
        let key = question.id.key().clone();
        let flight = match talk.put(question, outlet) {
            Ok(flight) => flight,
            Err(refusal) => return refuse(self.agent, era, &refusal, self.written),
        };
        // In a session an answer that finds nobody is lost, and nothing is given up by that.
        let hanging = match era {
            Era::Stateless => Some(Hanging::new(talk, key)),
            Era::Session => None,
        };
        let every = self.agent.house.limits.heartbeat;
        // Clients and proxies that hear nothing at all for long take it for lost.
        let first = match self.reads.events {
            true => timeout(every, self.first(&mut queue)).await,
            false => Ok(self.first(&mut queue).await),
        };
        let first = match first {
            Ok(Some(Queued {
                line,
                last: Some(last),
                ..
            })) if self.reads.json => {
                let status = last.code.map_or(StatusCode::OK, |code| status(era, code));
                return answer::json(status, line, last.delivery, self.written);
            }
            Ok(first @ Some(_)) => first,
            Err(_) => None,
            // No answer comes after a cancellation, and that is no failure: some clients end their
            // whole session where they see one.
            Ok(None) if flight.is_cancelled() => match self.reads.events {
                true => None,
                false => return answer::bare(StatusCode::ACCEPTED),
            },
            // The agent was revoked, or leaves too much unread.
            Ok(None) => return answer::bare(StatusCode::SERVICE_UNAVAILABLE),
        };
        let events = Events::new(first, queue, every, self.written);
        answer::events(events.hanging(hanging))
    }

    /// The first message that the client can read.
    async fn first(&self, queue: &mut UnboundedReceiver<Queued>) -> Option<Queued> {
        loop {
            let queued = queue.recv().await?;
            if self.reads.events || queued.last.is_some() {
                return Some(queued);
            }
        }
    }

    /// Does what a message comes to, and answers it.
    async fn act(&self, talk: &Rc<Talk>, step: Step<'_>, era: Era) -> Response<Answer> {
        match step {
            Step::Ask(question) => return self.ask(talk, question).await,
            Step::Reply(line) => {
                return answer::json(StatusCode::OK, line, None, self.written);
            }
            Step::Refuse(refusal) => return refuse(self.agent, era, &refusal, self.written),
            Step::Decline(refusal) => {
                let status = status(era, refusal.code());
                return answer::json(status, refusal.line(), None, self.written);
            }
            Step::Note(what) => self.agent.notes.note(what),
            Step::Cancel(key) => talk.cancel(&key),
            Step::Said { key, ok, raw } => talk.said(&key, ok, raw),
            Step::Pass => {}
        }
        answer::bare(StatusCode::ACCEPTED)
    }
}

fn refuse(agent: &Agent, era: Era, refusal: &Refusal, written: &Rc<Written>) -> Response<Answer> {
    agent.notes.note(refusal.what());
    let status = status(era, refusal.code());
    answer::json(status, refusal.line(), None, written)
}

/// The status that goes with a JSON-RPC error: the stateless era has some of its own.
fn status(era: Era, code: i64) -> StatusCode {
    match (era, code) {
        (_, PARSE_ERROR | INVALID_REQUEST) => StatusCode::BAD_REQUEST,
        (_, BUSY) => StatusCode::TOO_MANY_REQUESTS,
        (Era::Stateless, METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        (
            Era::Stateless,
            INVALID_PARAMS | HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION,
        ) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_status() {
        for (code, session, stateless) in [
            (-32700, 400, 400),
            (-32600, 400, 400),
            (-32601, 200, 404),
            (-32602, 200, 400),
            (-32603, 200, 200),
            (-32000, 429, 429),
            (-32020, 200, 400),
            (-32021, 200, 400),
            (-32022, 200, 400),
            (1, 200, 200),
        ] {
            assert_eq!(status(Era::Session, code), session, "{code}");
            assert_eq!(status(Era::Stateless, code), stateless, "{code}");
        }
    }
}
