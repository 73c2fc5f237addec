//! `http.request` as it runs in the jail: no network of its own, only a stream to egress, which
//! makes the requests that the lease allows. What a server says about itself (headers, body,
//! redirects) is read here, where nothing can be reached and no key can be found.

mod content;
pub mod stream;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};

use serde_json::{Map, Value};

use super::order::{Fault, Mode, Order};
use crate::call::http::{Redirect, Target, header};
use crate::sys::inherited;
use stream::{Ask, Head, Said};

/// The stream to egress.
const STREAM: i32 = 3;
/// Longest value of a response header shown, in bytes.
const VALUE_MAX: usize = 2 << 10;
/// Most response body bytes held, whatever the lease allows.
const BODY_MAX: usize = 2 << 20;
/// Where a redirect leads.
const LOCATION: &str = "location";

/// Makes one request and follows its redirects, over descriptor 3.
///
/// # Errors
/// Answers a [`Fault`] where the order is not one or there is no response.
pub fn run(input: &[u8]) -> Result<Value, Fault> {
    let stream = inherited::take(STREAM).map_err(|error| bad_order(&error))?;
    // As a file, so that the jail needs read(2) and write(2) and no socket call.
    over(input, &mut File::from(stream))
}

/// As [`run`], over any stream.
///
/// # Errors
/// As [`run`].
pub fn over(input: &[u8], stream: &mut (impl Read + Write)) -> Result<Value, Fault> {
    let order: Order = serde_json::from_slice(input).map_err(|error| bad_order(&error))?;
    let mut request = Request::of(&order.arguments)?;
    if order.mode == Mode::Rehearse && !matches!(request.target.method(), "GET" | "HEAD") {
        return Err(Fault::new(
            "rehearsed",
            "the request was not sent: it is only rehearsed",
        ));
    }
    loop {
        let response = exchange(&request, stream)?;
        match response.next(&request) {
            Some(next) => request.follow(next.map_err(|why| refused(&why))?),
            None => return Ok(response.value()),
        }
    }
}

/// A request ready to be asked for.
struct Request {
    target: Target,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn of(arguments: &Map<String, Value>) -> Result<Self, Fault> {
        let text = |name: &str| arguments.get(name).and_then(Value::as_str);
        let url = text("url").ok_or_else(|| bad_argument("`url` is missing"))?;
        let target = Target::parse(text("method").unwrap_or("GET"), url)
            .map_err(|why| bad_argument(why.to_string()))?;
        let mut headers = Vec::new();
        for (name, value) in arguments
            .get("headers")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            let value = value
                .as_str()
                .ok_or_else(|| bad_argument("a header is not a text"))?;
            headers.push((name.clone(), value.to_owned()));
        }
        let body = text("body").unwrap_or_default().as_bytes().to_vec();
        Ok(Self {
            target,
            headers,
            body,
        })
    }

    fn follow(&mut self, next: Redirect) {
        if !next.body {
            self.body.clear();
            self.headers.retain(|(name, _)| !header::of_body(name));
        }
        if !next.same_origin {
            self.headers.retain(|(name, _)| header::travels(name));
        }
        self.target = next.target;
    }
}

/// A response as egress passed it on.
struct Response {
    head: Head,
    body: Vec<u8>,
    truncated: bool,
}

impl Response {
    fn next(&self, request: &Request) -> Option<Result<Redirect, String>> {
        let location = self.head.headers.iter().find(|(name, _)| name == LOCATION);
        let (_, location) = location.filter(|_| self.head.follow)?;
        let next = request.target.redirect(self.head.status, location)?;
        Some(next.map_err(|fault| fault.to_string()))
    }

    fn value(self) -> Value {
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in self.head.headers {
            let joined = headers.entry(name).or_default();
            if !joined.is_empty() {
                joined.push_str(", ");
            }
            joined.push_str(&value);
        }
        for value in headers.values_mut() {
            content::cut(value, VALUE_MAX);
        }
        let mut value = Map::new();
        value.insert("status".into(), self.head.status.into());
        value.insert("url".into(), self.head.url.into());
        value.insert(
            "headers".into(),
            headers
                .into_iter()
                .map(|(k, v)| (k, Value::from(v)))
                .collect(),
        );
        let (name, content, bytes) = content::show(&self.body, self.truncated);
        value.insert("bytes".into(), bytes.into());
        value.insert("truncated".into(), self.truncated.into());
        value.insert(name.into(), content.into());
        Value::Object(value)
    }
}

fn exchange(request: &Request, stream: &mut (impl Read + Write)) -> Result<Response, Fault> {
    let ask = Ask {
        method: request.target.method().into(),
        url: request.target.url().into(),
        headers: request.headers.clone(),
    };
    // Where egress has refused already and gone, its reason still waits to be read.
    let sent = stream::send(stream, &ask, &request.body);
    let mut head = None;
    let mut body = Vec::new();
    loop {
        match (stream::receive(stream), head.take()) {
            (Ok(Said::Fault(fault)), _) => return Err(fault),
            (Ok(Said::Head(said)), None) => head = Some(said),
            (Ok(Said::Piece(piece)), Some(said)) if body.len() + piece.len() <= BODY_MAX => {
                body.extend_from_slice(&piece);
                head = Some(said);
            }
            (Ok(Said::Piece(piece)), Some(said)) => {
                body.extend(piece.iter().take(BODY_MAX.saturating_sub(body.len())));
                return Ok(Response {
                    head: said,
                    body,
                    truncated: true,
                });
            }
            (Ok(Said::End(end)), Some(head)) => {
                return Ok(Response {
                    head,
                    body,
                    truncated: end.truncated,
                });
            }
            (Ok(_), _) => return Err(lost(&io::Error::from(stream::Garbled))),
            (Err(error), _) => return Err(lost(&sent.err().unwrap_or(error))),
        }
    }
}

fn lost(error: &io::Error) -> Fault {
    Fault::new("no_way_out", format!("egress ended the request: {error}"))
}

fn refused(why: &str) -> Fault {
    Fault::new("redirect_refused", why)
}

fn bad_argument(say: impl Into<String>) -> Fault {
    Fault::new("bad_argument", say)
}

fn bad_order(error: &impl ToString) -> Fault {
    Fault::new("bad_order", error.to_string())
}

#[cfg(test)]
mod tests;
