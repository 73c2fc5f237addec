//! Asking a remote server what it has: through an egress of this command's own, which is its client as
//! that of a plane is, and holds the connection to the host of the manifest. No key goes along.

use std::fs;
use std::os::fd::AsFd;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::session::name;
use super::vet::Seen;
use crate::call::id::Id;
use crate::catalog::connector::digest::Listing;
use crate::catalog::connector::report;
use crate::catalog::connector::{Connector, LISTED_MAX, Launch};
use crate::cli::jail::{Own, private};
use crate::egress::upstream::frames::MESSAGE_MAX;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::process::harden_supervisor;
use crate::wire::frame;
use crate::wire::messages::{
    EgressToKeeper, Era, Hop, KeeperToEgress, Passing, Remote, UpstreamLimits,
};
use crate::wire::text::Escaped;

/// Where distributions keep the certificates of public authorities.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Everything the remote server lists.
///
/// # Errors
/// Fails where it cannot be reached, breaks the rules, or wants a key.
pub(super) fn see(connector: &Connector) -> Result<Seen> {
    let Launch::Remote {
        url,
        private,
        pin_sha256,
        ..
    } = &connector.launch
    else {
        return Err(Error::new("the connector is not remote"));
    };
    harden_supervisor(false).context(|| "harden this process".into())?;
    // A host without any has no public authorities.
    let roots = fs::read_to_string(SYSTEM_CA).into_iter().collect();
    let mut egress = private::egress(Own::new()?, false, roots)?;
    let upstream = Id::random()?;
    let say = KeeperToEgress::Upstream {
        upstream,
        remote: Some(Remote {
            url: url.clone(),
            private: private.clone(),
            pin_sha256: pin_sha256.clone(),
            headers: Vec::new(),
        }),
        era: None,
        limits: UpstreamLimits {
            start_ms: connector.limits.start_ms,
            items: u32::try_from(LISTED_MAX).unwrap_or(u32::MAX),
            ..UpstreamLimits::default()
        },
        allow: Passing::default(),
    };
    frame::send(egress.link.as_fd(), &say, &[], &[])?;
    let (mut seen, mut hops) = (None, Vec::new());
    loop {
        let said = frame::recv::<EgressToKeeper>(egress.link.as_fd(), MESSAGE_MAX)?;
        let Some(frame) = said else {
            return Err(egress.died());
        };
        match frame.say {
            EgressToKeeper::Opened { era, .. } => {
                seen = Some(listed(era, &frame.blob));
                // Its session ends with it; what is told then is the last.
                let close = KeeperToEgress::Close { upstream };
                frame::send(egress.link.as_fd(), &close, &[], &[])?;
            }
            EgressToKeeper::Hops { hops: some, .. } => hops.extend(some),
            EgressToKeeper::Gone { why, .. } => {
                return seen.unwrap_or_else(|| Err(unseen(&why, &hops)));
            }
            EgressToKeeper::Closed { .. }
            | EgressToKeeper::Changed { .. }
            | EgressToKeeper::Got { .. }
            | EgressToKeeper::Notice { .. }
            | EgressToKeeper::Asks { .. } => {}
        }
    }
}

/// What egress tells of a server that is open.
#[derive(Deserialize)]
struct Offered {
    hello: Value,
    tools: Vec<Box<RawValue>>,
    resources: Vec<Box<RawValue>>,
    templates: Vec<Box<RawValue>>,
    prompts: Vec<Box<RawValue>>,
}

fn listed(era: Era, blob: &[u8]) -> Result<Seen> {
    let offered = serde_json::from_slice(blob);
    let Offered {
        hello,
        tools,
        mut resources,
        mut templates,
        prompts,
    } = offered.context(|| "read what the server offers".into())?;
    resources.append(&mut templates);
    let instructions = hello.get("instructions").and_then(Value::as_str);
    Ok(Seen {
        era: match era {
            Era::Session => report::Era::Session,
            Era::Stateless => report::Era::Stateless,
        },
        server: name(&hello),
        instructions: instructions.map(str::to_owned),
        tools: Listing::tools(tools)?,
        prompts: Listing::prompts(prompts)?,
        resources: Listing::resources(resources)?,
        again: None,
        skill: None,
        degraded: Vec::new(),
    })
}

/// Why nothing was seen.
fn unseen(why: &str, hops: &[Hop]) -> Error {
    let key = |hop: &Hop| hop.status.filter(|status| matches!(status, 401 | 403));
    if let Some(status) = hops.iter().find_map(key) {
        let what = format!("the server wants a key ({status})");
        return Error::of(Kind::Denied, what)
            .hint("there is no vault yet that could hold one: such a server cannot be vetted");
    }
    let answered = hops.iter().any(|hop| hop.status.is_some());
    let why = Escaped::again(why, 300);
    match answered {
        true => Error::new(format!("the server is no use: {why}")),
        false => Error::new(format!("the server is not reached: {why}")).hint(
            "see `url`, `private` and `pin_sha256` in the manifest, and the names of this host's \
             network",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_server_was_not_seen_is_told_by_what_it_answered() {
        let hop = |status| Hop {
            target: "POST https://a.example/mcp".into(),
            address: None,
            status,
            fault: None,
            bytes: 0,
        };
        let wants = unseen("x", &[hop(Some(400)), hop(Some(401))]);
        assert_eq!(wants.kind(), Kind::Denied);
        assert!(wants.message().contains("wants a key (401)"), "{wants}");
        assert!(
            unseen("x", &[hop(Some(500))])
                .message()
                .contains("no use: x")
        );
        let away = unseen("x", &[hop(None)]);
        assert!(away.message().contains("not reached: x") && away.hint_text().is_some());
    }

    #[test]
    fn what_a_server_offers_is_read_with_its_templates() {
        let blob = br#"{"hello":{"serverInfo":{"name":"s","version":"1"},"instructions":"i"},
            "tools":[{"name":"t","inputSchema":{"type":"object"}}],"resources":[{"uri":"a:b","name":"r"}],
            "templates":[{"uriTemplate":"a:{x}","name":"q"}],"prompts":[]}"#;
        let seen = listed(Era::Session, blob).unwrap();
        assert_eq!(
            (seen.server.as_str(), seen.instructions.as_deref()),
            ("s 1", Some("i"))
        );
        assert_eq!((seen.tools.raw.len(), seen.resources.raw.len()), (1, 2));
        assert!(listed(Era::Session, b"{}").is_err());
    }
}
