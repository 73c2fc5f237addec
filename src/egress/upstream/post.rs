//! One HTTP exchange with a remote server (2026-07-28 and 2025-11-25, "Streamable HTTP"): to the
//! one endpoint that was approved, whose name is resolved once and whose address is checked. No
//! redirect is followed.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    USER_AGENT,
};
use hyper::{Request, Response, StatusCode};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout_at;

use super::frames::{self, MESSAGE_MAX, Said};
use super::large::{self, Large, Seat};
use super::sse::Events;
use crate::call::http::{Scheme, Target};
use crate::egress::Net;
use crate::egress::exchange::{self, Answer};
use crate::wire::messages::Remote;
use crate::wire::text::escaped;

/// Name of the session's header, in lower case.
const SESSION: &str = "mcp-session-id";
/// Longest session id, in bytes.
const SESSION_MAX: usize = 1024;
/// Longest body of an answer that is an error of HTTP, in bytes.
const ERROR_MAX: usize = 64 << 10;

/// Where a server is, and what every request to it has.
#[derive(Debug)]
pub(super) struct Endpoint {
    target: Target,
    private: Vec<String>,
    pin: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    seats: Arc<Semaphore>,
}

/// A request to it.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) method: &'static str,
    /// The question it carries, where it carries one.
    pub(super) id: Option<u64>,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// What comes of it.
#[derive(Debug)]
pub(super) enum Came {
    /// The server has given the session this id.
    Session(HeaderValue),
    /// A message, on the stream of that question.
    Message(Option<u64>, Vec<u8>, Seat),
    /// The exchange is over: well, or for this reason.
    Over(Option<u64>, Option<String>),
    /// The server broke a rule.
    Broken(String),
}

impl Endpoint {
    /// As the keeper ordered it.
    ///
    /// # Errors
    /// Fails on a URL that has not one reading, and on headers that are none.
    pub(super) fn new(remote: Remote) -> Result<Self, String> {
        let Remote {
            url,
            private,
            pin_sha256,
            headers,
        } = remote;
        let target = Target::parse("POST", &url).map_err(|why| why.to_string())?;
        let headers = headers.into_iter().map(|(name, value)| {
            let bad = || format!("the header `{}` cannot be sent", escaped(&name));
            let mut value = HeaderValue::try_from(value).map_err(|_| bad())?;
            value.set_sensitive(true);
            let name = HeaderName::try_from(&name).map_err(|_| bad())?;
            Ok((name, value))
        });
        Ok(Self {
            target,
            private,
            pin: pin_sha256,
            headers: headers.collect::<Result<_, String>>()?,
            seats: large::seats(),
        })
    }

    /// With the seats that all servers share.
    pub(super) fn seated(self, seats: Arc<Semaphore>) -> Self {
        Self { seats, ..self }
    }

    /// Makes the exchange and tells what comes of it.
    pub(super) async fn exchange(&self, post: Post, net: &Arc<Net>, told: &mpsc::Sender<Came>) {
        let id = post.id;
        let over = match self.send(post, net).await {
            Err(why) => Some(why),
            Ok(answer) => match receive(id, answer, told, Large::new(&self.seats)).await {
                Ok(why) => why,
                Err(broken) => {
                    // Nobody hears of it where the client is over.
                    drop(told.send(Came::Broken(broken)).await);
                    return;
                }
            },
        };
        drop(told.send(Came::Over(id, over)).await);
    }

    async fn send(&self, post: Post, net: &Arc<Net>) -> Result<Answer, String> {
        let request = self.request(post)?;
        let (target, failed) = (&self.target, |why: crate::egress::refusal::Refusal| {
            escaped(why.detail())
        });
        let dialled = net.dialer.dial(target, &self.private).await;
        let (socket, _) = dialled.map_err(failed)?;
        let answer = match target.scheme() {
            Scheme::Http => exchange::send(socket, request).await,
            Scheme::Https => {
                let pin = self.pin.as_deref();
                let tls = net.tls.connect(socket, target.host(), pin).await;
                exchange::send(tls.map_err(failed)?, request).await
            }
        };
        answer.map_err(failed)
    }

    fn request(&self, post: Post) -> Result<Request<Full<Bytes>>, String> {
        let mut path = self.target.path().to_owned();
        if let Some(query) = self.target.query() {
            path.push('?');
            path.push_str(query);
        }
        let request = Request::builder().method(post.method).uri(path);
        let mut request = request
            .body(Full::from(post.body))
            .map_err(|_| "the url cannot be sent".to_owned())?;
        let host = HeaderValue::try_from(self.target.authority());
        let map = request.headers_mut();
        map.extend(post.headers);
        map.insert(HOST, host.map_err(|_| "the host cannot be sent")?);
        map.insert(USER_AGENT, HeaderValue::from_static(exchange::AGENT));
        map.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        map.insert(CONNECTION, HeaderValue::from_static("close"));
        for (name, value) in &self.headers {
            map.insert(name.clone(), value.clone());
        }
        Ok(request)
    }
}

/// Headers of a request that carries a message.
pub(super) fn headers() -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let both = "application/json, text/event-stream";
    map.insert(ACCEPT, HeaderValue::from_static(both));
    map
}

/// Headers of the request for a stream of what is about no question.
pub(super) fn stream_headers() -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    map
}

/// Sets a header to a value that may hold anything ("Value Encoding").
pub(super) fn set(map: &mut HeaderMap, name: &'static str, value: &str) {
    let plain = value
        .bytes()
        .all(|byte| matches!(byte, 0x20..=0x7e | b'\t'))
        && value.trim() == value
        && !(value.starts_with("=?base64?") && value.ends_with("?="));
    let coded = match plain {
        true => value.to_owned(),
        false => format!("=?base64?{}?=", STANDARD.encode(value)),
    };
    if let Ok(value) = HeaderValue::try_from(coded) {
        map.insert(HeaderName::from_static(name), value);
    }
}

/// Says the session in a request's headers.
pub(super) fn in_session(map: &mut HeaderMap, session: Option<&HeaderValue>) {
    if let Some(session) = session {
        map.insert(HeaderName::from_static(SESSION), session.clone());
    }
}

/// Takes the response; gives why there was no answer, where there was none for a reason.
async fn receive(
    id: Option<u64>,
    answer: Answer,
    told: &mpsc::Sender<Came>,
    mut large: Large,
) -> Result<Option<String>, String> {
    let Answer { response, _driver } = answer;
    let status = response.status();
    if let Some(session) = response.headers().get(SESSION) {
        if session.len() > SESSION_MAX || !session.as_bytes().iter().all(u8::is_ascii_graphic) {
            return Err("it gave a session id that is none".into());
        }
        drop(told.send(Came::Session(session.clone())).await);
    }
    let kind = response.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let message = |bytes, seat| async {
        // The client that would hear it may be over.
        drop(told.send(Came::Message(id, bytes, seat)).await);
    };
    match (status, kind.as_str()) {
        (StatusCode::ACCEPTED | StatusCode::NO_CONTENT, _) => Ok(None),
        (StatusCode::OK, "text/event-stream") => {
            let mut events = Events::default();
            let mut body = response.into_body();
            while let Some(piece) = next(&mut body, events.held(), &mut large).await? {
                let piece = match piece {
                    Ok(piece) => piece,
                    Err(why) => return Ok(Some(why)),
                };
                for data in events.take(&piece)? {
                    // An empty event only primes the client.
                    if !data.is_empty() {
                        message(data, large.stand()).await;
                    }
                }
            }
            Ok(Some("its stream ended before the answer".into()))
        }
        (StatusCode::OK, "application/json") => {
            match whole(response, MESSAGE_MAX, &mut large).await? {
                Ok(bytes) => {
                    message(bytes, large.stand()).await;
                    Ok(Some("its answer was about something else".into()))
                }
                Err(why) => Ok(Some(why)),
            }
        }
        (StatusCode::OK, _) if id.is_none() => Ok(None),
        _ => {
            if kind == "application/json"
                && let Ok(Ok(bytes)) = whole(response, ERROR_MAX, &mut large).await
                && let Ok(Said::Answer { id: about, .. }) = frames::read(&bytes)
                && Some(about) == id
            {
                message(bytes, None).await;
            }
            let status = status.as_u16();
            Ok(Some(format!(
                "it answered with status {status} and no message"
            )))
        }
    }
}

/// A body of at most `max` bytes; inside, why it did not come.
async fn whole(
    response: Response<Incoming>,
    max: usize,
    large: &mut Large,
) -> Result<Result<Vec<u8>, String>, String> {
    let mut body = response.into_body();
    let mut bytes = Vec::new();
    while let Some(piece) = next(&mut body, bytes.len(), large).await? {
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

/// The next piece of a body, of which so much is held; nothing at its end.
///
/// # Errors
/// Fails where a long message does not end.
async fn next(
    body: &mut Incoming,
    held: usize,
    large: &mut Large,
) -> Result<Option<Result<Bytes, String>>, String> {
    if large.wants(held) {
        large.sit().await;
    }
    loop {
        let frame = match large.until() {
            None => body.frame().await,
            Some(until) => timeout_at(until, body.frame())
                .await
                .map_err(|_| large::slow())?,
        };
        return Ok(match frame {
            None => None,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Some(Ok(data)),
                Err(_) => continue,
            },
            Some(Err(error)) => Some(Err(escaped(exchange::failed(&error).detail()))),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_name_holds_it_is_one_header() {
        let coded = |value: &str| {
            let mut map = HeaderMap::new();
            set(&mut map, "mcp-name", value);
            map.get("mcp-name").unwrap().to_str().unwrap().to_owned()
        };
        for (value, header) in [
            ("us-west1", "us-west1"),
            ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
            (" padded ", "=?base64?IHBhZGRlZCA=?="),
            ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
            ("a\r\nHost: b", "=?base64?YQ0KSG9zdDogYg==?="),
            ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ] {
            assert_eq!(coded(value), header);
        }
    }
}
