//! The answer to one request, read as far as it is of use: JSON, or a stream of events.

use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::mpsc;
use tokio::time::timeout_at;

use super::frames::{self, MESSAGE_MAX, Said};
use super::large::{self, Large};
use super::post::{Came, SESSION};
use super::sse::Events;
use super::trail::Trail;
use crate::egress::exchange;
use crate::wire::text::escaped;

/// Longest session id, in bytes.
const SESSION_MAX: usize = 1024;
/// Longest body of an answer that is an error of HTTP, in bytes.
const ERROR_MAX: usize = 64 << 10;
/// Longest name of an event that is said to a server, in bytes.
const EVENT_MAX: usize = 1024;

/// A response that is being read.
pub(super) struct Reading<'a> {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its body was read to the end.
    pub(super) ended: bool,
    /// What the server says of how long it waits for another request.
    pub(super) keep_alive: Option<String>,
    headers: HeaderMap,
    body: Incoming,
    events: Events,
    large: Large,
    trail: &'a Trail,
}

impl<'a> Reading<'a> {
    /// Nothing of its body is read yet.
    pub(super) fn new(response: Response<Incoming>, trail: &'a Trail, large: Large) -> Self {
        let (head, body) = response.into_parts();
        trail.note(|hops| hops.status(head.status.as_u16()));
        let keep_alive = head.headers.get("keep-alive");
        let keep_alive = keep_alive.and_then(|value| value.to_str().ok());
        Self {
            status: head.status,
            ended: body.is_end_stream(),
            keep_alive: keep_alive.map(str::to_owned),
            headers: head.headers,
            body,
            events: Events::default(),
            large,
            trail,
        }
    }

    /// Reads it; gives why there was no answer, where there was none for a reason.
    ///
    /// # Errors
    /// Fails where the server breaks a rule.
    pub(super) async fn receive(
        &mut self,
        id: Option<u64>,
        told: &mpsc::Sender<Came>,
    ) -> Result<Option<String>, String> {
        if let Some(session) = self.headers.get(SESSION) {
            if session.len() > SESSION_MAX || !session.as_bytes().iter().all(u8::is_ascii_graphic) {
                return Err("it gave a session id that is none".into());
            }
            drop(told.send(Came::Session(id, session.clone())).await);
        }
        let kind = self.kind();
        let message = |bytes, seat| async {
            // The client that would hear it may be over.
            drop(told.send(Came::Message(id, bytes, seat)).await);
        };
        match (self.status, kind.as_str()) {
            (StatusCode::ACCEPTED | StatusCode::NO_CONTENT, _) => Ok(None),
            (StatusCode::OK, "text/event-stream") => {
                loop {
                    let held = self.events.held();
                    let piece = match self.next(held).await? {
                        None => break,
                        Some(Ok(piece)) => piece,
                        Some(Err(why)) => return Ok(Some(why)),
                    };
                    for data in self.events.take(&piece)? {
                        // An empty event only primes the client.
                        if !data.is_empty() {
                            message(data, self.large.stand()).await;
                        }
                    }
                }
                Ok(Some("its stream ended before the answer".into()))
            }
            (StatusCode::OK, "application/json") => match self.whole(MESSAGE_MAX).await? {
                Ok(bytes) => {
                    message(bytes, self.large.stand()).await;
                    Ok(Some("its answer was about something else".into()))
                }
                Err(why) => Ok(Some(why)),
            },
            (StatusCode::OK, _) if id.is_none() => Ok(None),
            _ => {
                if kind == "application/json"
                    && let Ok(Ok(bytes)) = self.whole(ERROR_MAX).await
                    && let Ok(Said::Answer { id: about, .. }) = frames::read(&bytes)
                    && Some(about) == id
                {
                    message(bytes, None).await;
                }
                let status = self.status.as_u16();
                Ok(Some(format!(
                    "it answered with status {status} and no message"
                )))
            }
        }
    }

    /// The name of the last event, where it can be said in a header.
    pub(super) fn last(&self) -> Option<HeaderValue> {
        let last = self.events.last_id();
        let plain = !last.is_empty() && last.len() <= EVENT_MAX;
        let value = plain.then(|| HeaderValue::from_bytes(last).ok());
        value.flatten()
    }

    /// How long the server wants to be left alone.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.events.retry()
    }

    fn kind(&self) -> String {
        let kind = self.headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default();
        kind.trim().to_ascii_lowercase()
    }

    /// A body of at most `max` bytes; inside, why it did not come.
    async fn whole(&mut self, max: usize) -> Result<Result<Vec<u8>, String>, String> {
        let mut bytes = Vec::new();
        while let Some(piece) = self.next(bytes.len()).await? {
            match piece {
                Err(why) => return Ok(Err(why)),
                Ok(piece) if bytes.len().saturating_add(piece.len()) > max => {
                    return Err(format!("it sent a message of more than {max} bytes"));
                }
                Ok(piece) => bytes.extend_from_slice(&piece),
            }
        }
        Ok(Ok(bytes))
    }

    /// The next piece of the body, of which so much is held; nothing at its end.
    ///
    /// # Errors
    /// Fails where a long message does not end.
    async fn next(&mut self, held: usize) -> Result<Option<Result<Bytes, String>>, String> {
        if self.large.wants(held) {
            self.large.sit().await;
        }
        loop {
            let frame = match self.large.until() {
                None => self.body.frame().await,
                Some(until) => timeout_at(until, self.body.frame())
                    .await
                    .map_err(|_| large::slow())?,
            };
            return Ok(match frame {
                None => {
                    self.ended = true;
                    None
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        let count = u64::try_from(data.len()).unwrap_or(u64::MAX);
                        self.trail.note(|hops| hops.bytes(count));
                        Some(Ok(data))
                    }
                    Err(_) => continue,
                },
                Some(Err(error)) => {
                    let refusal = exchange::failed(&error);
                    self.trail.end(Some(&refusal));
                    Some(Err(escaped(refusal.detail())))
                }
            });
        }
    }
}
