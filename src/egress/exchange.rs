//! Requests and their response heads over a connected stream: HTTP/1.1 (RFC 9112) by hyper. One
//! request a connection, but where somebody keeps the [`Connection`].

use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, LOCATION,
    TRANSFER_ENCODING, USER_AGENT,
};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::refusal::{Class, Refusal};
use crate::call::http::Target;

/// Longest response head, in bytes.
const HEAD_MAX: usize = 64 << 10;
/// Most headers of a response.
const HEADERS_MAX: usize = 128;
/// What egress calls itself.
pub(super) const AGENT: &str = concat!("keepgate/", env!("CARGO_PKG_VERSION"));

/// Response headers an agent may see: what describes the content, and how to go on. Cookies,
/// challenges and everything unknown stay out.
const SHOWN: [&str; 21] = [
    "accept-ranges",
    "age",
    "allow",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-type",
    "date",
    "deprecation",
    "etag",
    "expires",
    "last-modified",
    "link",
    "location",
    "retry-after",
    "sunset",
    "vary",
];
/// And those that begin so.
const SHOWN_PREFIXES: [&str; 2] = ["ratelimit", "x-ratelimit-"];

/// A response whose body is still to be read.
#[derive(Debug)]
pub(super) struct Answer {
    /// Head and body.
    pub(super) response: Response<Incoming>,
    /// The connection; it dies with this.
    pub(super) _driver: JoinSet<()>,
}

/// Sends the request and waits for the response's head.
pub(super) async fn exchange<S>(
    stream: S,
    target: &Target,
    headers: &[(String, String)],
    body: Vec<u8>,
) -> Result<Answer, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    send(stream, request(target, headers, body)?).await
}

/// A stream on which requests can be sent, one after the other.
#[derive(Debug)]
pub(super) struct Connection<B> {
    sender: http1::SendRequest<B>,
    driver: JoinSet<()>,
}

impl<B> Connection<B>
where
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    /// Over this stream.
    pub(super) async fn open<S>(stream: S) -> Result<Self, Refusal>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shaken = http1::Builder::new()
            .max_headers(HEADERS_MAX)
            .max_header_size(HEAD_MAX)
            .max_buf_size(HEAD_MAX + 1)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, connection) = shaken.map_err(|error| failed(&error))?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            // Whoever waits for the response hears of it too.
            drop(connection.await);
        });
        Ok(Self { sender, driver })
    }

    /// Sends a request and waits for the response's head.
    pub(super) async fn send(
        &mut self,
        request: Request<B>,
    ) -> Result<Response<Incoming>, Refusal> {
        let sent = self.sender.send_request(request).await;
        let response = sent.map_err(|error| failed(&error))?;
        check(&response)?;
        Ok(response)
    }

    /// Another request could be sent now; waits at most for `wait`. The body of the response before
    /// has to be read to its end.
    pub(super) async fn is_ready(&mut self, wait: Duration) -> bool {
        matches!(timeout(wait, self.sender.ready()).await, Ok(Ok(())))
    }
}

impl<B> Connection<B> {
    /// The other end has closed it.
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

/// Sends a request as it is and waits for the response's head.
pub(super) async fn send<S, B>(stream: S, request: Request<B>) -> Result<Answer, Refusal>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let mut connection = Connection::open(stream).await?;
    Ok(Answer {
        response: connection.send(request).await?,
        _driver: connection.driver,
    })
}

/// Why hyper gave up, for the log.
pub(super) fn failed(error: &hyper::Error) -> Refusal {
    let source = std::error::Error::source(error);
    let source = source
        .map(|source| format!(": {source}"))
        .unwrap_or_default();
    // The only thing of its user's that can fail is the body, which comes from the jail.
    match error.is_user() {
        true => Refusal::new(
            Class::BadRequest,
            format!("the request's body is cut or none{source}"),
        ),
        false => Refusal::new(Class::BadResponse, format!("{error}{source}")),
    }
}

/// The headers an agent may see, names in lower case.
pub(super) fn shown(headers: &HeaderMap) -> Vec<(String, String)> {
    let shown = |name: &str| {
        SHOWN.contains(&name) || SHOWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
    };
    headers
        .iter()
        .filter(|(name, _)| shown(name.as_str()))
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into(),
            )
        })
        .collect()
}

fn request(
    target: &Target,
    headers: &[(String, String)],
    body: Vec<u8>,
) -> Result<Request<Full<Bytes>>, Refusal> {
    let bad = |what: &str| Refusal::new(Class::BadRequest, format!("{what} cannot be sent"));
    let mut path = target.path().to_owned();
    if let Some(query) = target.query() {
        path.push('?');
        path.push_str(query);
    }
    let request = Request::builder()
        .method(target.method())
        .uri(path)
        .body(Full::from(body));
    let mut request = request.map_err(|_| bad("the url"))?;
    let map = request.headers_mut();
    let host = HeaderValue::try_from(target.authority()).map_err(|_| bad("the host"))?;
    map.insert(HOST, host);
    map.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    map.insert(ACCEPT, HeaderValue::from_static("*/*"));
    map.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    map.insert(CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in headers {
        let name = HeaderName::try_from(name).map_err(|_| bad("a header's name"))?;
        let value = HeaderValue::try_from(value).map_err(|_| bad("a header's value"))?;
        map.insert(name, value);
    }
    Ok(request)
}

/// Refuses a head that two readers could understand differently.
fn check<B>(response: &Response<B>) -> Result<(), Refusal> {
    let bad = |why: &str| Err(Refusal::new(Class::BadResponse, why));
    let headers = response.headers();
    if headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH) {
        return bad("the response gives its length in two ways");
    }
    if headers.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return bad("the response gives its length twice");
    }
    if headers.get_all(LOCATION).iter().count() > 1 {
        return bad("the response redirects to two places");
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return bad("the server switches to another protocol");
    }
    Ok(())
}
