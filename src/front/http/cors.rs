//! Web pages as clients (the Fetch standard's CORS protocol). A page of an origin that the operator
//! listed may use a door that takes tokens: its browser asks first, without the token, and is told so.
//! Every other page gets nothing that its browser would let it read.
//!
//! No answer allows credentials that a browser adds by itself, cookies or client certificates: a page
//! has to have the token. So a door that takes certificates allows no page of another origin at all.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderValue, ORIGIN, VARY,
};
use hyper::{Method, Request, Response, StatusCode};

use super::answer::{self, Answer};
use super::gate;

/// What a client may do here.
const METHODS: &str = "POST, GET, DELETE";
/// Headers that clients send and browsers ask about; names that begin with [`gate::PARAM`] are added.
const SENT: [&str; 8] = [
    "accept",
    "authorization",
    "content-type",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
];
/// Headers of an answer that a page may read beside those it always may.
const READ: &str = "Mcp-Session-Id, Retry-After, WWW-Authenticate";
/// How long a browser need not ask again, in seconds.
const KEPT: &str = "600";
/// What answers to a page depend on, for whoever would keep them.
const VARIES: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";

/// A browser asks whether a page may send a request.
pub(super) fn is_preflight<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a browser is told that asks for a page of a listed origin.
pub(super) fn preflight(headers: &HeaderMap) -> Response<Answer> {
    let mut response = answer::bare(StatusCode::NO_CONTENT);
    let told = response.headers_mut();
    told.insert(
        ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static(METHODS),
    );
    if let Ok(names) = HeaderValue::from_str(&allowed(headers)) {
        told.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
    }
    told.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(KEPT));
    response
}

/// The headers that may be sent: those of MCP, and of those asked for the ones that repeat arguments.
fn allowed(headers: &HeaderMap) -> String {
    let asked = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter();
    let asked = asked
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .filter(|name| name.starts_with(gate::PARAM));
    let all: Vec<String> = SENT.map(str::to_owned).into_iter().chain(asked).collect();
    all.join(", ")
}

/// Lets the page that sent a request read the answer, whatever it is; `origin` is one that was listed.
pub(super) fn readable(mut response: Response<Answer>, origin: HeaderValue) -> Response<Answer> {
    let told = response.headers_mut();
    told.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    told.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(READ),
    );
    told.insert(VARY, HeaderValue::from_static(VARIES));
    response
}
