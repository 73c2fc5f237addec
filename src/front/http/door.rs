//! A door: who is let in, and where a request goes.

use std::cell::Cell;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};

use super::answer::{self, Answer};
use super::wire::Written;
use super::{cors, gate, post};
use crate::front::agent::Agent;
use crate::front::house::House;
use crate::front::message::INVALID_REQUEST;
use crate::front::notes::Notes;
use crate::front::reply;
use crate::time::{Clock, SystemClock};
use crate::wire::messages::{self, Proof};

/// The only path there is.
const ENDPOINT: &str = "/mcp";

/// How whoever is on a connection proves who it is.
#[derive(Debug)]
pub(super) enum Caller {
    /// By a token, with each request.
    Token,
    /// By the certificate of this digest, if one was shown.
    Certificate(Option<String>),
}

/// A door and what is known of it.
#[derive(Debug)]
pub(super) struct Door {
    /// What all doors share.
    pub(super) house: Rc<House>,
    known: messages::Door,
    /// About those who have not proved who they are.
    notes: Notes,
}

impl Door {
    /// A door of `house`.
    pub(super) fn new(house: &Rc<House>, mut known: messages::Door) -> Self {
        // The key is in TLS' hands by now.
        known.tls = None;
        Self {
            house: Rc::clone(house),
            known,
            notes: Notes::new(&house.keeper, "-", house.limits.note_every),
        }
    }

    /// Its name in the configuration.
    pub(super) fn name(&self) -> &str {
        &self.known.name
    }

    /// Answers one request; `proved` becomes true once somebody on the connection is an agent.
    pub(super) async fn answer(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        proved: &Cell<bool>,
        written: &Rc<Written>,
    ) -> Response<Answer> {
        if let Err(refused) = self.is_for_us(&request) {
            return refused.response(written);
        }
        // A page of one of the door's own origins.
        let page = match caller {
            Caller::Token => request.headers().get(ORIGIN).cloned(),
            Caller::Certificate(_) => None,
        };
        let response = match page {
            Some(_) if request.uri().path() == ENDPOINT && cors::is_preflight(&request) => {
                cors::preflight(request.headers())
            }
            Some(_) | None => self.serve(request, caller, proved, written).await,
        };
        match page {
            Some(origin) => cors::readable(response, origin),
            None => response,
        }
    }

    async fn serve(
        &self,
        request: Request<Incoming>,
        caller: &Caller,
        proved: &Cell<bool>,
        written: &Rc<Written>,
    ) -> Response<Answer> {
        let Some(agent) = self.who(&request, caller) else {
            self.notes.note("HTTP from nobody that is enrolled");
            let why = match caller {
                Caller::Token => "a bearer token of an enrolled agent is needed",
                Caller::Certificate(_) => "a valid certificate of an enrolled agent is needed",
            };
            return Refused(StatusCode::UNAUTHORIZED, why).response(written);
        };
        proved.set(true);
        if request.uri().path() != ENDPOINT {
            return Refused(StatusCode::NOT_FOUND, "there is only `/mcp` here").response(written);
        }
        let method = request.method().clone();
        if method == Method::POST {
            return post::post(&agent, request, written).await;
        }
        if method == Method::GET && request.headers().contains_key(gate::SESSION) {
            return post::stream(&agent, request.headers(), written);
        }
        if method == Method::DELETE && request.headers().contains_key(gate::SESSION) {
            return post::end(&agent, request.headers());
        }
        let mut response = answer::bare(StatusCode::METHOD_NOT_ALLOWED);
        let allowed = HeaderValue::from_static("POST");
        response.headers_mut().insert(ALLOW, allowed);
        response
    }

    /// The request was sent to a name of the door, from no page or one of its origins.
    fn is_for_us(&self, request: &Request<Incoming>) -> Result<(), Refused> {
        let headers = request.headers();
        let authority = request
            .uri()
            .authority()
            .map(hyper::http::uri::Authority::as_str);
        if !gate::is_for(headers, authority, &self.known.hosts) {
            self.notes.note("HTTP for another host");
            let why = "`Host` is not a name of this server";
            return Err(Refused(StatusCode::FORBIDDEN, why));
        }
        if !gate::is_from(headers, &self.known.origins) {
            self.notes.note("HTTP from another site");
            let why = "`Origin` is not a site that may use this server";
            return Err(Refused(StatusCode::FORBIDDEN, why));
        }
        Ok(())
    }

    fn who(&self, request: &Request<Incoming>, caller: &Caller) -> Option<Rc<Agent>> {
        match caller {
            Caller::Token => {
                let sha256 = gate::token(request.headers())?;
                self.house.who(token, &sha256)
            }
            Caller::Certificate(sha256) => {
                let agent = self.house.who(certificate, sha256.as_deref()?)?;
                let Proof::Certificate(known) = &agent.proof else {
                    return None;
                };
                let now = SystemClock.now().as_micros() / 1_000_000;
                (known.from..=known.until).contains(&now).then_some(agent)
            }
        }
    }
}

fn token(proof: &Proof) -> Option<&str> {
    match proof {
        Proof::Token(token) => Some(&token.sha256),
        Proof::Uid(_) | Proof::Certificate(_) => None,
    }
}

fn certificate(proof: &Proof) -> Option<&str> {
    match proof {
        Proof::Certificate(certificate) => Some(&certificate.sha256),
        Proof::Uid(_) | Proof::Token(_) => None,
    }
}

/// A request that is not looked at any further, and why.
#[derive(Debug)]
pub(super) struct Refused(pub(super) StatusCode, pub(super) &'static str);

impl Refused {
    /// The answer.
    pub(super) fn response(self, written: &Rc<Written>) -> Response<Answer> {
        let Self(status, why) = self;
        let line = reply::error(None, INVALID_REQUEST, why, &[]);
        let mut response = answer::json(status, line, None, written);
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            let seconds = HeaderValue::from(super::RETRY_AFTER.as_secs());
            response.headers_mut().insert(RETRY_AFTER, seconds);
        }
        response
    }
}
