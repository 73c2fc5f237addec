//! One HTTP exchange with a remote server (2026-07-28 and 2025-11-25, "Streamable HTTP"): to the
//! one endpoint that was approved, whose name is resolved once and whose address is checked. No
//! redirect is followed.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    USER_AGENT,
};
use hyper::{Request, Response, StatusCode};
use tokio::sync::{Semaphore, mpsc};

use super::kept::{Connections, Kept};
use super::large::{self, Large, Seat};
use super::reading::Reading;
use super::trail::Trail;
use crate::call::http::{Scheme, Target};
use crate::egress::Net;
use crate::egress::exchange::{self, Connection};
use crate::egress::refusal::{Class, Refusal};
use crate::wire::messages::Remote;
use crate::wire::text::escaped;

/// Name of the session's header, in lower case.
pub(super) const SESSION: &str = "mcp-session-id";

/// How long a connection has to be ready for another request.
const READY: Duration = Duration::from_millis(100);

/// Where a server is, and what every request to it has.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// For the methods that are used: POST, GET, DELETE.
    targets: [Target; 3],
    private: Vec<String>,
    pin: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
    seats: Arc<Semaphore>,
    connections: Connections,
}

/// A request to it.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) method: &'static str,
    /// The question it carries, where it carries one.
    pub(super) id: Option<u64>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// It may be made again where a connection breaks before anything of an answer came.
    pub(super) repeatable: bool,
}

/// What comes of it.
#[derive(Debug)]
pub(super) enum Came {
    /// The server says this session id with its answer to that question.
    Session(Option<u64>, HeaderValue),
    /// A message, on the stream of that question.
    Message(Option<u64>, Vec<u8>, Seat),
    /// The exchange is over: well, or for this reason. What a stream of it told at its end.
    Over(Option<u64>, Option<String>, Streamed),
    /// The stream for what is about no question has ended.
    Stream(Streamed),
    /// The server broke a rule.
    Broken(String),
}

/// How a stream has ended.
#[derive(Debug, Default)]
pub(super) struct Streamed {
    /// The server's status, where there was one.
    pub(super) status: Option<StatusCode>,
    /// The last event's name, by which the stream is taken up again.
    pub(super) last: Option<HeaderValue>,
    /// How long the server wants to be left alone.
    pub(super) retry: Option<Duration>,
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
        let target = |method| Target::parse(method, &url).map_err(|why| why.to_string());
        let targets = [target("POST")?, target("GET")?, target("DELETE")?];
        let headers = headers.into_iter().map(|(name, value)| {
            let bad = || format!("the header `{}` cannot be sent", escaped(&name));
            let mut value = HeaderValue::try_from(value).map_err(|_| bad())?;
            value.set_sensitive(true);
            let name = HeaderName::try_from(&name).map_err(|_| bad())?;
            Ok((name, value))
        });
        Ok(Self {
            targets,
            private,
            pin: pin_sha256,
            headers: headers.collect::<Result<_, String>>()?,
            seats: large::seats(),
            connections: Connections::default(),
        })
    }

    /// With the seats that all servers share.
    pub(super) fn seated(self, seats: Arc<Semaphore>) -> Self {
        Self { seats, ..self }
    }

    /// Makes the exchange and tells what comes of it; what it does is noted in `trail`.
    pub(super) async fn exchange(
        &self,
        post: Post,
        net: &Arc<Net>,
        told: &mpsc::Sender<Came>,
        trail: &Trail,
    ) {
        let (id, streams) = (post.id, post.method == "GET" && post.id.is_none());
        let mut streamed = Streamed::default();
        let over = match self.send(post, net, trail).await {
            Err(refusal) => {
                trail.end(Some(&refusal));
                Some(escaped(refusal.detail()))
            }
            Ok((response, kept)) => {
                let mut reading = Reading::new(response, trail, Large::new(&self.seats));
                streamed.status = Some(reading.status);
                let over = reading.receive(id, told).await;
                (streamed.last, streamed.retry) = (reading.last(), reading.retry());
                match over {
                    Ok(why) => {
                        trail.end(None);
                        self.keep(kept, &reading).await;
                        why
                    }
                    Err(broken) => {
                        let refusal = Refusal::new(Class::BadResponse, broken.as_str());
                        trail.end(Some(&refusal));
                        // Nobody hears of it where the client is over.
                        drop(told.send(Came::Broken(broken)).await);
                        return;
                    }
                }
            }
        };
        drop(match streams {
            true => told.send(Came::Stream(streamed)).await,
            false => told.send(Came::Over(id, over, streamed)).await,
        });
    }

    /// Keeps a connection whose answer was read to its end.
    async fn keep(&self, mut kept: Kept, reading: &Reading<'_>) {
        if reading.ended && kept.connection.is_ready(READY).await {
            self.connections.put(kept, reading.keep_alive.as_deref());
        }
    }

    /// Sends it on a connection that waits, where it may be made again, or else on a new one.
    async fn send(
        &self,
        post: Post,
        net: &Arc<Net>,
        trail: &Trail,
    ) -> Result<(Response<Incoming>, Kept), Refusal> {
        let target = self.target(post.method);
        trail.note(|hops| hops.begin(target));
        let kept = post.repeatable.then(|| self.connections.take()).flatten();
        if let Some(mut kept) = kept {
            let request = self.request(target, &post)?;
            trail.note(|hops| hops.dialled(kept.address.clone()));
            match kept.connection.send(request).await {
                Ok(response) => return Ok((response, kept)),
                // It was closed while it waited: a new one is the first to be asked.
                Err(refusal) => {
                    trail.end(Some(&refusal));
                    trail.note(|hops| hops.begin(target));
                }
            }
        }
        let (socket, address) = net.dialer.dial(target, &self.private).await?;
        let address = address.to_string();
        trail.note(|hops| hops.dialled(address.clone()));
        let connection = match target.scheme() {
            Scheme::Http => Connection::open(socket).await,
            Scheme::Https => {
                let pin = self.pin.as_deref();
                let tls = net.tls.connect(socket, target.host(), pin).await;
                Connection::open(tls?).await
            }
        };
        let mut kept = Kept::new(connection?, address);
        let request = self.request(target, &post)?;
        let response = kept.connection.send(request).await;
        Ok((response?, kept))
    }

    fn target(&self, method: &str) -> &Target {
        let [post, others @ ..] = &self.targets;
        let other = others.iter().find(|target| target.method() == method);
        other.unwrap_or(post)
    }

    fn request(&self, target: &Target, post: &Post) -> Result<Request<Full<Bytes>>, Refusal> {
        let bad = |what: &str| Refusal::new(Class::BadRequest, format!("{what} cannot be sent"));
        let mut path = target.path().to_owned();
        if let Some(query) = target.query() {
            path.push('?');
            path.push_str(query);
        }
        let request = Request::builder().method(target.method()).uri(path);
        let request = request.body(Full::from(post.body.clone()));
        let mut request = request.map_err(|_| bad("the url"))?;
        let host = HeaderValue::try_from(target.authority());
        let map = request.headers_mut();
        map.extend(post.headers.clone());
        map.insert(HOST, host.map_err(|_| bad("the host"))?);
        map.insert(USER_AGENT, HeaderValue::from_static(exchange::AGENT));
        map.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if post.method != "POST" {
            map.insert(CONNECTION, HeaderValue::from_static("close"));
        }
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

/// Headers of the request for a stream: of what is about no question, or one that broke off.
pub(super) fn stream_headers() -> HeaderMap {
    let mut map = HeaderMap::new();
    map.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    map
}

/// Sets a header to a value that may hold anything ("Value Encoding").
pub(super) fn set(map: &mut HeaderMap, name: &'static str, value: &str) {
    mirror(map, HeaderName::from_static(name), value);
}

/// The same, under any name.
pub(super) fn mirror(map: &mut HeaderMap, name: HeaderName, value: &str) {
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
        map.insert(name, value);
    }
}

/// Says the session in a request's headers.
pub(super) fn in_session(map: &mut HeaderMap, session: Option<&HeaderValue>) {
    if let Some(session) = session {
        map.insert(HeaderName::from_static(SESSION), session.clone());
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
