//! What the keeper has others do for it: run a tool in a jail, look at a file, give a written file
//! its name. Each needs the permission that its order carries.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde_json::{Map, Value, json};

use super::links::{Event, Inbox, Links};
use crate::audit::evidence::{Authorized, Undoing};
use crate::call::id::Id;
use crate::error::{Context, Error, Result};
use crate::mode::Live;
use crate::tools::order::{Order, Reply};
use crate::undo::Change;
use crate::wire::frame::{read_sealed, sealed_memfd};
use crate::wire::json;
use crate::wire::messages::{
    EgressToKeeper, FileOrder, FileState, HttpRule, JailEnd, JailFault, JailerToKeeper,
    KeeperToEgress, KeeperToJailer, Limits, RESULT_MAX, Role,
};

/// Time beyond a jail's wall-clock limit after which the jailer itself is taken to be stuck.
const SLACK: Duration = Duration::from_secs(5);
/// How long a look at a file, or giving it its name, may take.
const FILE_WAIT: Duration = Duration::from_secs(30);

/// Others' hands.
#[derive(Debug)]
pub(super) struct Hands {
    links: Arc<Links>,
    null: OwnedFd,
}

/// What a tool is to be run with.
#[derive(Debug)]
pub(super) struct Job<'a> {
    /// Internal tool name.
    pub(super) tool: &'a str,
    /// Its standard input.
    pub(super) order: Order,
    /// Files opened for it.
    pub(super) files: Vec<FileOrder>,
    /// Its way out, for tools that have one.
    pub(super) lease: Option<Lease>,
    /// Hard limits.
    pub(super) limits: Limits,
}

/// A way out for one ticket.
#[derive(Debug)]
pub(super) struct Lease {
    /// Rules for the request and every redirect.
    pub(super) rules: Vec<HttpRule>,
    /// Method of the request.
    pub(super) method: String,
    /// Its URL, normalised.
    pub(super) url: String,
    /// SHA-256 of its body, lower-case hex.
    pub(super) body_sha256: String,
    /// Response body bytes.
    pub(super) bytes: u64,
    /// Redirects followed.
    pub(super) redirects: u8,
}

/// What the jailer did, or why it did not and a detail for the log.
pub(super) type Jailed<T> = Result<T, (JailFault, String)>;

/// How running a tool ended.
#[derive(Debug)]
pub(super) enum Ran {
    /// It answered.
    Replied(Reply),
    /// The jailer refused the order.
    Refused(JailFault, String),
    /// It ran and gave no usable answer: the reason as a fixed word.
    Broken(&'static str),
}

impl Hands {
    /// Needs `/dev/null`, so before the keeper confines itself.
    ///
    /// # Errors
    /// Fails where `/dev/null` cannot be opened.
    pub(super) fn new() -> Result<Self> {
        let null = File::options().write(true).open("/dev/null");
        let null = null.context(|| "open `/dev/null`".into())?.into();
        Ok(Self {
            links: Arc::default(),
            null,
        })
    }

    /// The links below.
    pub(super) fn links(&self) -> &Arc<Links> {
        &self.links
    }

    /// Runs a tool; `facts` collects what the log should know.
    ///
    /// # Errors
    /// Fails where a role is missing or its answer never came.
    pub(super) fn run<M>(
        &self,
        authorized: &Authorized<M>,
        job: Job<'_>,
        facts: &mut Map<String, Value>,
    ) -> Result<Ran> {
        let ticket = authorized.ticket();
        let inbox = self.links.listen(ticket);
        let order = serde_json::to_vec(&job.order).context(|| "write a tool's order".into())?;
        let input = sealed_memfd("keepgate-order", &order)?;
        let (output, theirs) = nix::unistd::pipe2(OFlag::O_CLOEXEC)
            .context(|| "make a pipe for a tool's output".into())?;
        let leased = job.lease.is_some();
        let stream = job
            .lease
            .map(|lease| self.lease(ticket, lease, job.limits.wall_ms));
        let stream = stream.transpose()?;
        let say = KeeperToJailer::Spawn {
            ticket,
            tool: job.tool.into(),
            limits: job.limits,
            files: job.files,
            stream: leased,
        };
        let mut fds = vec![input.as_fd(), theirs.as_fd(), self.null.as_fd()];
        fds.extend(stream.as_ref().map(AsFd::as_fd));
        self.links.send(Role::Jailer, &say, &[], &fds)?;
        drop((input, theirs, stream));
        let wall = Duration::from_millis(job.limits.wall_ms);
        let output = self.collect(ticket, output, wall + SLACK)?;
        let ended = ended(&inbox, leased)?;
        if !ended.hops.is_null() {
            facts.insert("hops".into(), ended.hops);
        }
        let end = match ended.jail {
            Ok(end) => end,
            Err((fault, detail)) => return Ok(Ran::Refused(fault, detail)),
        };
        let clean = end.code == Some(0);
        facts.insert("jail".into(), json!(end));
        Ok(match output {
            None => Ran::Broken("result_too_large"),
            Some(_) if end.limit.as_deref() == Some("wall") => Ran::Broken("timed_out"),
            Some(bytes) if clean => reply(&bytes).map_or(Ran::Broken("tool_failed"), Ran::Replied),
            Some(_) => Ran::Broken("tool_failed"),
        })
    }

    /// Looks at a file, before anything is decided to be done with it.
    ///
    /// # Errors
    /// Fails where the jailer is missing or silent.
    pub(super) fn look(
        &self,
        call: Id,
        file: &FileOrder,
        max: u64,
    ) -> Result<Jailed<(FileState, Vec<u8>)>> {
        let inbox = self.links.listen(call);
        let say = KeeperToJailer::Inspect {
            ticket: call,
            file: file.clone(),
            max,
        };
        self.links.send(Role::Jailer, &say, &[], &[])?;
        let (state, mut fds) = match answer(&inbox)? {
            (JailerToKeeper::Inspected { state, .. }, fds) => (state, fds),
            (JailerToKeeper::Fault { fault, detail, .. }, _) => return Ok(Err((fault, detail))),
            _ => return Err(odd()),
        };
        let content = match fds.pop() {
            Some(copy) => read_sealed(copy, usize::try_from(max).unwrap_or(usize::MAX))?,
            None => Vec::new(),
        };
        Ok(Ok((state, content)))
    }

    /// Gives the file a live call has written its name.
    ///
    /// # Errors
    /// Fails where the jailer is gone or silent: then nobody can say whether it has its name.
    pub(super) fn publish(
        &self,
        authorized: &Authorized<Live>,
        expected: &FileState,
        sha256: &str,
    ) -> Result<Jailed<()>> {
        let ticket = authorized.ticket();
        let (expected, sha256) = (expected.clone(), sha256.to_owned());
        self.change(
            ticket,
            &KeeperToJailer::Publish {
                ticket,
                expected,
                sha256,
            },
            &[],
        )
    }

    /// Puts back what an undone call has changed.
    ///
    /// # Errors
    /// As [`Self::publish`].
    pub(super) fn restore(
        &self,
        authorized: &Authorized<Undoing>,
        content: &[u8],
    ) -> Result<Jailed<()>> {
        let ticket = authorized.ticket();
        let Change {
            file,
            before,
            after,
        } = authorized.recipe().clone();
        let say = KeeperToJailer::Restore {
            ticket,
            file,
            expected: before,
            becomes: after,
        };
        self.change(ticket, &say, content)
    }

    /// Forgets the file a rehearsed or failed call has written.
    pub(super) fn discard<M>(&self, authorized: &Authorized<M>) {
        let say = KeeperToJailer::Discard {
            ticket: authorized.ticket(),
        };
        // A jailer that is gone has nothing left to forget.
        drop(self.links.send(Role::Jailer, &say, &[], &[]));
    }

    fn change(&self, ticket: Id, say: &KeeperToJailer, blob: &[u8]) -> Result<Jailed<()>> {
        let inbox = self.links.listen(ticket);
        self.links.send(Role::Jailer, say, blob, &[])?;
        match answer(&inbox)? {
            (JailerToKeeper::Published { .. }, _) => Ok(Ok(())),
            (JailerToKeeper::Fault { fault, detail, .. }, _) => Ok(Err((fault, detail))),
            _ => Err(odd()),
        }
    }

    fn lease(&self, ticket: Id, lease: Lease, wall_ms: u64) -> Result<OwnedFd> {
        let (egress, jail) = socketpair(
            AddressFamily::Unix,
            SockType::Stream,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .context(|| "make a stream between jail and egress".into())?;
        let Lease {
            rules,
            method,
            url,
            body_sha256,
            bytes,
            redirects,
        } = lease;
        let say = KeeperToEgress::Lease {
            ticket,
            rules,
            method,
            url,
            body_sha256,
            wall_ms,
            bytes,
            redirects,
        };
        self.links
            .send(Role::Egress, &say, &[], &[egress.as_fd()])?;
        Ok(jail)
    }

    /// Reads a tool's output to its end; nothing where it is longer than a result may be.
    fn collect(&self, ticket: Id, output: OwnedFd, wait: Duration) -> Result<Option<Vec<u8>>> {
        let until = Instant::now() + wait;
        let mut output = File::from(output);
        let mut bytes = Vec::new();
        let mut piece = vec![0; 64 << 10];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut fds = [PollFd::new(output.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(0) => {
                    self.kill(ticket);
                    return Err(Error::new("a jail outlived its time limit"));
                }
                Ok(_) => {}
                Err(nix::errno::Errno::EINTR) => continue,
                Err(errno) => return Err(Error::new("wait for a tool's output").because(errno)),
            }
            let len = output
                .read(&mut piece)
                .context(|| "read a tool's output".into())?;
            let Some(part) = piece.get(..len).filter(|part| !part.is_empty()) else {
                return Ok(Some(bytes));
            };
            if bytes.len() + len > RESULT_MAX {
                self.kill(ticket);
                return Ok(None);
            }
            bytes.extend_from_slice(part);
        }
    }

    fn kill(&self, ticket: Id) {
        // Without a jailer the jail is dead already.
        drop(
            self.links
                .send(Role::Jailer, &KeeperToJailer::Kill { ticket }, &[], &[]),
        );
    }
}

/// How a jail ended, and what egress saw.
struct Ended {
    jail: Jailed<JailEnd>,
    hops: Value,
}

fn ended(inbox: &Inbox<'_>, leased: bool) -> Result<Ended> {
    let mut jail = None;
    let mut hops = Value::Null;
    while jail.is_none() || (leased && hops.is_null()) {
        match inbox.next(SLACK) {
            Some(Event::Jailer(JailerToKeeper::Exited { end, .. }, _)) => jail = Some(Ok(end)),
            Some(Event::Jailer(JailerToKeeper::Fault { fault, detail, .. }, _)) => {
                jail = Some(Err((fault, detail)));
            }
            Some(Event::Egress(EgressToKeeper::Closed { hops: seen, .. }, _)) => {
                hops = json!(seen);
            }
            Some(Event::Lost(Role::Jailer)) => return Err(gone(Role::Jailer)),
            Some(Event::Lost(Role::Egress)) if leased => hops = "egress died".into(),
            Some(Event::Lost(_) | Event::Jailer(..) | Event::Egress(..) | Event::Wake) => {}
            None if jail.is_some() => hops = "egress said nothing".into(),
            None => return Err(silent()),
        }
    }
    let jail = jail.ok_or_else(silent)?;
    Ok(Ended { jail, hops })
}

/// The next thing the jailer says of a ticket, with the descriptors that came along.
///
/// # Errors
/// Fails where it is gone or silent.
pub(super) fn answer(inbox: &Inbox<'_>) -> Result<(JailerToKeeper, Vec<OwnedFd>)> {
    let until = Instant::now() + FILE_WAIT;
    loop {
        match inbox.next(until.saturating_duration_since(Instant::now())) {
            Some(Event::Jailer(say, fds)) => return Ok((say, fds)),
            Some(Event::Lost(Role::Jailer)) => return Err(gone(Role::Jailer)),
            Some(Event::Lost(_) | Event::Egress(..) | Event::Wake) => {}
            None => return Err(silent()),
        }
    }
}

/// A tool's reply is outside bytes: parsed strictly, within limits.
fn reply(bytes: &[u8]) -> Option<Reply> {
    let value = json::parse(
        bytes,
        &json::Limits {
            bytes: RESULT_MAX,
            ..json::Limits::default()
        },
    );
    serde_json::from_value(value.ok()?).ok()
}

fn gone(role: Role) -> Error {
    Error::new(format!(
        "the {} died while it worked on this call",
        role.name()
    ))
}

fn silent() -> Error {
    Error::new("the jailer did not answer in time")
}

fn odd() -> Error {
    Error::new("the jailer answered something else than it was asked")
}
