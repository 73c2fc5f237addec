//! Asking a remote server what it has: through an egress of this command's own, which holds the
//! connection to the host of the manifest. No key goes along.

use std::collections::VecDeque;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::Value;
use url::Url;

use super::session::{Session, Transport};
use super::vet::Seen;
use crate::call::http::Target;
use crate::call::id::Id;
use crate::catalog::connector::digest::{Listing, sha256};
use crate::catalog::connector::listing::MESSAGE_MAX;
use crate::catalog::connector::{Connector, Launch};
use crate::cli::jail::{Own, private};
use crate::error::{Context, Error, Kind, Result};
use crate::sys::process::harden_supervisor;
use crate::tools::http::stream::{self, Ask, Head, Said};
use crate::wire::frame;
use crate::wire::messages::{EgressToKeeper, HttpRule, KeeperToEgress};
use crate::wire::text::Escaped;

/// Where distributions keep the certificates of public authorities.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";
/// The header that names a session.
const SESSION: &str = "mcp-session-id";

/// Everything the remote server lists.
///
/// # Errors
/// Fails where it cannot be reached, breaks the rules, or wants a key.
pub(super) fn see(connector: &Connector) -> Result<Seen> {
    let Launch::Remote {
        url,
        private,
        pin_sha256,
    } = &connector.launch
    else {
        return Err(Error::new("the connector is not remote"));
    };
    let read = Url::parse(url).context(|| "read the URL".into())?;
    let host = read.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let rule = HttpRule {
        scheme: read.scheme().into(),
        host: host.into(),
        port: read.port_or_known_default().unwrap_or(443),
        methods: vec!["POST".into()],
        path: read.path().into(),
        private: private.clone(),
        pin_sha256: pin_sha256.clone(),
    };
    let target = Target::parse("POST", url)
        .map_err(|why| Error::of(Kind::Usage, format!("the URL cannot be asked: {why}")))?;
    harden_supervisor(false).context(|| "harden this process".into())?;
    // A host without any has no public authorities.
    let roots = fs::read_to_string(SYSTEM_CA).into_iter().collect();
    let patience = Duration::from_millis(connector.limits.start_ms);
    let far = Far {
        egress: private::egress(Own::new()?, false, roots)?,
        rule,
        url: target.url().into(),
        session: None,
        wall_ms: connector.limits.start_ms,
        heard: VecDeque::new(),
    };
    let (listed, _) = Session::list(far, patience)?;
    Ok(Seen {
        era: listed.era,
        server: listed.server,
        instructions: listed.instructions,
        tools: Listing::tools(listed.tools)?,
        prompts: Listing::prompts(listed.prompts)?,
        resources: Listing::resources(listed.resources)?,
        again: None,
        skill: None,
        degraded: Vec::new(),
    })
}

/// A server at the other end of HTTP: each message is a request of its own.
struct Far {
    egress: private::Private,
    rule: HttpRule,
    url: String,
    session: Option<String>,
    wall_ms: u64,
    heard: VecDeque<Vec<u8>>,
}

impl Transport for Far {
    fn send(&mut self, message: &[u8]) -> Result<()> {
        let value: Value =
            serde_json::from_slice(message).context(|| "read a message of our own".into())?;
        let ticket = Id::random()?;
        let (mut ours, theirs) = UnixStream::pair().context(|| "make a stream".into())?;
        let patience = Duration::from_millis(self.wall_ms);
        ours.set_read_timeout(Some(patience))
            .context(|| "set up a stream".into())?;
        let lease = KeeperToEgress::Lease {
            ticket,
            rules: vec![self.rule.clone()],
            method: "POST".into(),
            url: self.url.clone(),
            body_sha256: sha256(message),
            wall_ms: self.wall_ms,
            bytes: u64::try_from(MESSAGE_MAX).unwrap_or(u64::MAX),
            redirects: 0,
        };
        frame::send(self.egress.link.as_fd(), &lease, &[], &[theirs.as_fd()])?;
        drop(theirs);
        let ask = Ask {
            method: "POST".into(),
            url: self.url.clone(),
            headers: self.headers(&value),
        };
        let sent = stream::send(&mut ours, &ask, message);
        let (head, body) = answer(&mut ours, sent.err())?;
        drop(ours);
        let closed = frame::recv::<EgressToKeeper>(self.egress.link.as_fd(), 0)?;
        if closed.is_none() {
            return Err(self.egress.died());
        }
        self.hear(&value, &head, body)
    }

    fn receive(&mut self, _until: Instant) -> Result<Option<Vec<u8>>> {
        // Whatever there is came with the answer to the last message.
        Ok(self.heard.pop_front())
    }
}

impl Far {
    fn headers(&self, message: &Value) -> Vec<(String, String)> {
        let text = |at: &str| message.pointer(at).and_then(Value::as_str);
        let method = text("/method").unwrap_or_default();
        let version = text("/params/_meta/io.modelcontextprotocol~1protocolVersion");
        let mut headers = vec![
            (
                "accept".to_owned(),
                "application/json, text/event-stream".to_owned(),
            ),
            ("content-type".to_owned(), "application/json".to_owned()),
        ];
        if let Some(version) = version {
            headers.push(("mcp-protocol-version".into(), version.into()));
            headers.push(("mcp-method".into(), method.into()));
        }
        if let Some(session) = &self.session {
            headers.push((SESSION.into(), session.clone()));
        }
        headers
    }

    fn hear(&mut self, asked: &Value, head: &Head, body: Vec<u8>) -> Result<()> {
        let header = |name: &str| {
            let found = head.headers.iter().find(|(other, _)| other == name);
            found.map(|(_, value)| value.as_str())
        };
        if matches!(head.status, 401 | 403) {
            let what = format!("the server wants a key ({})", head.status);
            return Err(Error::of(Kind::Denied, what).hint(
                "there is no vault yet that could hold one: such a server cannot be vetted",
            ));
        }
        if let Some(session) = header(SESSION) {
            self.session = Some(session.into());
        }
        let events =
            header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
        let lines = if events { of_events(&body) } else { vec![body] };
        let before = self.heard.len();
        let some = |line: &Vec<u8>| !line.iter().all(u8::is_ascii_whitespace);
        let json = lines.into_iter().filter(some).filter(|line| {
            // An error page of a web server is no message.
            (200..300).contains(&head.status) || line.first() == Some(&b'{')
        });
        self.heard.extend(json);
        if self.heard.len() > before || (200..300).contains(&head.status) {
            return Ok(());
        }
        // A server that does not know the question of another era may say so in HTTP alone.
        if let Some(id) = asked.get("id") {
            let method = asked
                .get("method")
                .and_then(Value::as_str)
                .unwrap_or_default();
            if method != "server/discover" {
                return Err(Error::new(format!(
                    "the server answers `{method}` with HTTP status {}",
                    head.status
                )));
            }
            let fault = serde_json::json!({
                "jsonrpc": "2.0", "id": id,
                "error": {"code": -32601, "message": format!("HTTP status {}", head.status)},
            });
            self.heard.push_back(fault.to_string().into_bytes());
        }
        Ok(())
    }
}

/// The whole answer of one request.
fn answer(ours: &mut UnixStream, unsent: Option<std::io::Error>) -> Result<(Head, Vec<u8>)> {
    let mut unsent = unsent;
    let (mut head, mut body) = (None, Vec::new());
    loop {
        let said = stream::receive(ours).map_err(|error| {
            let waited = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            match (waited, unsent.take()) {
                (true, _) => Error::new("the server does not answer in time"),
                (false, Some(first)) => Error::new("ask the server").because(first),
                (false, None) => Error::new("ask the server").because(error),
            }
        })?;
        match (said, head.take()) {
            (Said::Fault(fault), _) => {
                let why = Escaped::cut(&fault.say, 300);
                return Err(Error::new(format!("the server is not reached: {why}"))
                    .hint("see `url` and `private` in the manifest, and the names of this host's network"));
            }
            (Said::Head(said), None) => head = Some(said),
            (Said::Piece(piece), Some(said)) => {
                body.extend_from_slice(&piece);
                head = Some(said);
            }
            (Said::End(end), Some(_)) if end.truncated => {
                return Err(Error::new(format!(
                    "the server sends a message of more than {MESSAGE_MAX} bytes"
                )));
            }
            (Said::End(_), Some(head)) => return Ok((head, body)),
            (Said::Head(_) | Said::Piece(_) | Said::End(_), _) => {
                return Err(Error::new("egress talks nonsense"));
            }
        }
    }
}

/// The data of server-sent events (HTML, section 9.2.6), one message each.
fn of_events(body: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut data: Vec<u8> = Vec::new();
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(rest) = line.strip_prefix(b"data:") {
            if !data.is_empty() {
                data.push(b'\n');
            }
            data.extend_from_slice(rest.strip_prefix(b" ").unwrap_or(rest));
        } else if line.is_empty() && !data.is_empty() {
            messages.push(std::mem::take(&mut data));
        }
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_apart() {
        let body =
            b": hello\n\nevent: message\r\ndata: {\"a\":1}\r\n\r\ndata:{\ndata: }\n\ndata: cut off";
        assert_eq!(of_events(body), [&b"{\"a\":1}"[..], b"{\n}"]);
    }
}
