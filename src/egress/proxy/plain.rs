//! A plain request, passed on to the server it names: hyper reads and writes both sides, one
//! request a connection.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Shared;
use super::account::Entry;
use super::connection::{Peer, close};
use super::head::{FIELDS_MAX, HEAD_MAX};
use super::judge::destination;
use super::refused::Refused;
use crate::call::http::Target;
use crate::egress::exchange::{Answer, send};
use crate::egress::refusal::{Class, Refusal};

/// Fields that belong to one connection (RFC 9110, section 7.6.1, and what proxies were taught).
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "expect",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
];

/// Passes one request on and its response back. `read` is what the jail has sent so far. The error
/// says why it ended early.
pub(super) async fn pass(
    peer: Peer,
    read: Vec<u8>,
    server: TcpStream,
    target: &Target,
    shared: &Shared,
    entry: &mut Entry,
) -> Result<(), String> {
    let server = Mutex::new(Some(server));
    let seen = Mutex::new((None, None));
    let note = |status: u16, fault: Option<String>| {
        if let Ok(mut seen) = seen.lock() {
            *seen = (Some(status), fault);
        }
    };
    let service = service_fn(|request: Request<Incoming>| async {
        let socket = server.lock().ok().and_then(|mut server| server.take());
        let answered = match socket {
            Some(socket) => exchange(request, socket, target).await,
            None => Err(Refusal::new(Class::BadRequest, "a second request came")),
        };
        let response = match answered {
            Ok(response) => {
                note(response.status().as_u16(), None);
                response.map(Either::Left)
            }
            Err(refusal) => {
                let refused = Refused::beyond(&refusal, &destination(target));
                note(refused.status().as_u16(), Some(refused.detail().into()));
                let mut response = Response::new(Either::Right(Full::from(refused.body())));
                *response.status_mut() = refused.status();
                response
            }
        };
        Ok::<_, Infallible>(response)
    });
    let stream = Rewound { read, peer };
    let connection = http1::Builder::new()
        .keep_alive(false)
        .auto_date_header(false)
        .header_read_timeout(None)
        .max_headers(FIELDS_MAX)
        .max_buf_size(HEAD_MAX * 2)
        .serve_connection(TokioIo::new(stream), service);
    let served = connection.without_shutdown().await;
    let served = served.map(|parts| parts.io.into_inner().peer);
    let (status, fault) = seen.into_inner().unwrap_or_default();
    if let Some(status) = status {
        entry.status(status);
    }
    let mut peer = served.map_err(|error| fault.clone().unwrap_or_else(|| text(&error)))?;
    // Whoever has its response may be gone by now.
    drop(timeout(shared.patience.linger, close(&mut peer)).await);
    fault.map_or(Ok(()), Err)
}

/// One request to the server; its response as the jail gets it.
async fn exchange(
    request: Request<Incoming>,
    server: TcpStream,
    target: &Target,
) -> Result<Response<Passed>, Refusal> {
    let bad = |what: &str| Refusal::new(Class::BadRequest, format!("{what} cannot be sent"));
    let (mut head, body) = request.into_parts();
    let path = match target.query() {
        Some(query) => format!("{}?{query}", target.path()),
        None => target.path().to_owned(),
    };
    head.uri = Uri::try_from(path).map_err(|_| bad("the url"))?;
    strip(&mut head.headers);
    // hyper writes the one that fits the body.
    head.headers.remove(CONTENT_LENGTH);
    let host = HeaderValue::try_from(target.authority()).map_err(|_| bad("the host"))?;
    head.headers.insert(HOST, host);
    head.headers
        .insert(CONNECTION, HeaderValue::from_static("close"));
    let answer = send(server, Request::from_parts(head, body)).await?;
    Ok(Passed::of(answer))
}

/// Removes what belongs to one connection, and everything meant for proxies.
fn strip(headers: &mut HeaderMap) {
    let listed = headers.get_all(CONNECTION);
    let listed: Vec<HeaderName> = listed
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .filter(|name| *name != HOST && *name != CONTENT_LENGTH)
        .collect();
    let proxies = headers
        .keys()
        .filter(|name| name.as_str().starts_with("proxy-"));
    let proxies: Vec<HeaderName> = proxies.cloned().collect();
    for name in listed.iter().chain(&proxies) {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

/// A response's body, with the connection it comes over.
struct Passed(Answer);

impl Passed {
    fn of(answer: Answer) -> Response<Self> {
        let mut head = Response::new(());
        *head.status_mut() = answer.response.status();
        *head.headers_mut() = answer.response.headers().clone();
        strip(head.headers_mut());
        head.map(|()| Self(answer))
    }

    fn body(self: Pin<&mut Self>) -> Pin<&mut Incoming> {
        Pin::new(self.get_mut().0.response.body_mut())
    }
}

impl Body for Passed {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.body().poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.response.body().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.response.body().size_hint()
    }
}

/// A peer some of whose bytes were read before.
struct Rewound {
    read: Vec<u8>,
    peer: Peer,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.peer).poll_read(context, buffer);
        }
        let count = self.read.len().min(buffer.remaining());
        for byte in self.read.drain(..count) {
            buffer.put_slice(&[byte]);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.peer).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.peer).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.peer).poll_shutdown(context)
    }
}

fn text(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
