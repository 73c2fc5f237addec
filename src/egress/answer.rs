//! One ask of a jail: judged, sent, and its response passed on piece by piece within the limits.

use http_body_util::BodyExt;
use hyper::header::LOCATION;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::OwnedWriteHalf;
use tokio::time::{Instant, timeout_at};

use super::Net;
use super::exchange::{Answer, exchange, failed, shown};
use super::hops::Hops;
use super::lease::Lease;
use super::refusal::{Class, Refusal};
use super::turn::{Allowed, Leads, Turn};
use crate::call::http::Scheme;
use crate::tools::http::stream::{Ask, End, Garbled, Head, Kind, PIECE_MAX, frame_of};

/// What lives from the first ask of a lease to its last.
#[derive(Debug)]
pub(super) struct Session<'a> {
    net: &'a Net,
    lease: &'a Lease,
    turn: Turn<'a>,
    writer: OwnedWriteHalf,
    /// When the network's time is up.
    until: Instant,
    /// Body bytes left.
    left: u64,
}

/// Why an ask has no complete answer.
enum Broken {
    /// The jail is to be told.
    Refused(Refusal),
    /// The jail does not listen any more.
    Deaf,
}

impl From<Refusal> for Broken {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<'a> Session<'a> {
    /// Before the first ask; `until` is when the network's time is up.
    pub(super) fn new(
        lease: &'a Lease,
        net: &'a Net,
        writer: OwnedWriteHalf,
        until: Instant,
    ) -> Self {
        Self {
            net,
            lease,
            turn: Turn::new(lease),
            writer,
            until,
            left: lease.bytes,
        }
    }

    /// Answers one ask; whether another may follow.
    pub(super) async fn answer(&mut self, ask: &Ask, body: Vec<u8>, hops: &mut Hops) -> bool {
        let refusal = match self.turn.admit(ask, &body) {
            Ok(allowed) => {
                hops.begin(&allowed.target);
                match self.pass(&allowed, ask, body, hops).await {
                    Ok(on) => {
                        hops.end(None);
                        return on;
                    }
                    Err(Broken::Deaf) => return false,
                    Err(Broken::Refused(refusal)) => {
                        hops.end(Some(&refusal));
                        refusal
                    }
                }
            }
            Err(refusal) => {
                hops.refuse(&format!("{} {}", ask.method, ask.url), refusal.detail());
                refusal
            }
        };
        if let Ok(frame) = frame_of(Kind::Fault, &refusal.fault(!self.looks_only())) {
            // A jail that is gone needs no reason.
            drop(self.writer.write_all(&frame).await);
        }
        false
    }

    async fn pass(
        &mut self,
        allowed: &Allowed<'_>,
        ask: &Ask,
        body: Vec<u8>,
        hops: &mut Hops,
    ) -> Result<bool, Broken> {
        let fetch = fetch(self.net, allowed, &ask.headers, body, hops);
        let answer = timeout_at(self.until, fetch).await.map_err(|_| late())??;
        let status = answer.response.status().as_u16();
        hops.status(status);
        let location = answer
            .response
            .headers()
            .get(LOCATION)
            .and_then(|value| value.to_str().ok());
        let follow = match self.turn.redirect(&allowed.target, status, location) {
            Leads::On => true,
            Leads::Nowhere => false,
            // What may have changed something has had its answer, which the agent has to see; a
            // mere look has led nowhere.
            Leads::Astray(refusal) if self.looks_only() => return Err(refusal.into()),
            Leads::Astray(_) => false,
        };
        let head = Head {
            status,
            url: allowed.target.url().into(),
            headers: shown(answer.response.headers()),
            follow,
        };
        self.say(frame_of(Kind::Head, &head)).await?;
        let truncated = if follow {
            false
        } else {
            self.body(answer, hops).await?
        };
        self.say(frame_of(Kind::End, &End { truncated })).await?;
        Ok(follow)
    }

    /// Passes the body on; whether there was more than the lease allows.
    async fn body(&mut self, mut answer: Answer, hops: &mut Hops) -> Result<bool, Broken> {
        let body = answer.response.body_mut();
        loop {
            let frame = timeout_at(self.until, body.frame())
                .await
                .map_err(|_| late())?;
            let Some(frame) = frame else { return Ok(false) };
            let frame = frame.map_err(|error| failed(&error))?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            let (kept, more) = match data.split_at_checked(left) {
                Some((kept, rest)) => (kept, !rest.is_empty()),
                None => (&data[..], false),
            };
            let count = u64::try_from(kept.len()).unwrap_or(u64::MAX);
            self.left = self.left.saturating_sub(count);
            for piece in kept.chunks(PIECE_MAX) {
                self.say(Kind::Piece.frame(piece)).await?;
            }
            hops.bytes(count);
            if more {
                return Ok(true);
            }
        }
    }

    async fn say(&mut self, frame: Result<Vec<u8>, Garbled>) -> Result<(), Broken> {
        let frame = frame.map_err(|_| {
            Refusal::new(
                Class::BadResponse,
                "the response's head is too long to pass on",
            )
        })?;
        self.writer
            .write_all(&frame)
            .await
            .map_err(|_| Broken::Deaf)
    }

    fn looks_only(&self) -> bool {
        matches!(self.lease.method.as_str(), "GET" | "HEAD")
    }
}

/// Connects and sends; gives the response's head with the body still to come.
async fn fetch(
    net: &Net,
    allowed: &Allowed<'_>,
    headers: &[(String, String)],
    body: Vec<u8>,
    hops: &mut Hops,
) -> Result<Answer, Refusal> {
    let Allowed { target, rule } = allowed;
    let (socket, address) = net.dialer.dial(target, &rule.private).await?;
    hops.dialled(address.to_string());
    match target.scheme() {
        Scheme::Http => exchange(socket, target, headers, body).await,
        Scheme::Https => {
            let pin = rule.pin_sha256.as_deref();
            let tls = net.tls.connect(socket, target.host(), pin).await?;
            exchange(tls, target, headers, body).await
        }
    }
}

fn late() -> Refusal {
    Refusal::new(Class::TimedOut, "time is up")
}
