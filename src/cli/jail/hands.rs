//! What `jail run` asks of its jailer and its egress, and what those answer, as the keeper does for
//! a call.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::Failure;
use super::private::{Jailer, Private};
use super::program::Found;
use crate::call::id::Id;
use crate::error::{Error, Result};
use crate::wire::frame;
use crate::wire::manifest::Manifest;
use crate::wire::messages::{
    EgressToKeeper, Hop, JailEnd, JailFault, JailerToKeeper, KeeperToEgress, KeeperToJailer,
};
use crate::wire::text::Escaped;

/// Longest arguments together, in bytes: they are one order with the rest, and written as JSON.
const ARGUMENTS_MAX: usize = 24 << 10;

/// One program in its jail.
#[derive(Debug)]
pub(in crate::cli) struct Hands<'a> {
    /// Who makes the jail.
    pub(in crate::cli) jailer: &'a mut Jailer,
    /// Its way out, where it has one.
    pub(in crate::cli) egress: Option<Private>,
    manifest: &'a Manifest,
    ticket: Id,
    /// How the jail ended.
    pub(in crate::cli) end: Option<JailEnd>,
    /// What egress saw, once it has closed the way out.
    pub(in crate::cli) hops: Option<Vec<Hop>>,
}

impl<'a> Hands<'a> {
    pub(in crate::cli) fn new(
        jailer: &'a mut Jailer,
        egress: Option<Private>,
        manifest: &'a Manifest,
    ) -> Result<Self> {
        Ok(Self {
            jailer,
            egress,
            manifest,
            ticket: Id::random()?,
            end: None,
            hops: None,
        })
    }

    /// Orders the jail. `stdio` is its standard input, output and error.
    pub(in crate::cli) fn run(
        &self,
        found: Found,
        argv: &[String],
        stdio: [OwnedFd; 3],
    ) -> Result<()> {
        let length: usize = argv.iter().map(String::len).sum();
        if length > ARGUMENTS_MAX {
            let what = format!("the arguments are longer than {ARGUMENTS_MAX} bytes");
            return Err(Error::new(what).hint("put them into a file or into standard input"));
        }
        let say = KeeperToJailer::Run {
            ticket: self.ticket,
            lasting: false,
            manifest: self.manifest.name.clone(),
            program: found.path,
            argv: argv.to_vec(),
        };
        let mut fds: Vec<BorrowedFd<'_>> = stdio.iter().map(AsFd::as_fd).collect();
        fds.extend(found.sealed.as_ref().map(AsFd::as_fd));
        frame::send(self.jailer.role.link.as_fd(), &say, &[], &fds)
    }

    /// Ends the jail. A jailer that does not hear has ended, and the jail with it.
    pub(in crate::cli) fn kill(&self) {
        let ticket = self.ticket;
        let say = KeeperToJailer::Kill { ticket };
        drop(frame::send(self.jailer.role.link.as_fd(), &say, &[], &[]));
    }

    /// Hears the jailer.
    pub(in crate::cli) fn hear_jailer(&mut self) -> Result<(), Failure> {
        let heard = frame::recv::<JailerToKeeper>(self.jailer.role.link.as_fd(), 0)?;
        let Some(mut frame) = heard else {
            return Err(self.jailer.role.died().into());
        };
        match frame.say {
            JailerToKeeper::Exited { end, .. } => self.ended(end)?,
            JailerToKeeper::Listening { .. } => match frame.fds.pop() {
                Some(socket) => self.open_way(&socket)?,
                None => return Err(Error::new("the jailer gave no socket").into()),
            },
            JailerToKeeper::Fault { fault, detail, .. } => return Err(refused(fault, &detail)),
            JailerToKeeper::SelfTest { .. }
            | JailerToKeeper::Inspected { .. }
            | JailerToKeeper::Altered { .. }
            | JailerToKeeper::Published { .. } => {
                return Err(Error::new("the jailer answered what it was not asked").into());
            }
        }
        Ok(())
    }

    fn ended(&mut self, end: JailEnd) -> Result<()> {
        self.end = Some(end);
        let ticket = self.ticket;
        match &self.egress {
            Some(egress) => frame::send(
                egress.link.as_fd(),
                &KeeperToEgress::Revoke { ticket },
                &[],
                &[],
            ),
            None => Ok(()),
        }
    }

    fn open_way(&self, socket: &OwnedFd) -> Result<()> {
        let Some(egress) = &self.egress else {
            return Err(Error::new("a jail without a way out has a proxy"));
        };
        let say = KeeperToEgress::Proxy {
            ticket: self.ticket,
            allow: self.manifest.net.clone(),
            wall_ms: Some(self.manifest.limits.wall_ms),
            bytes: self.manifest.limits.net,
        };
        frame::send(egress.link.as_fd(), &say, &[], &[socket.as_fd()])
    }

    /// Hears egress. One that dies takes the way out with it; the jail goes on without.
    pub(in crate::cli) fn hear_egress(&mut self) {
        let Some(egress) = &self.egress else { return };
        match frame::recv::<EgressToKeeper>(egress.link.as_fd(), 0) {
            Ok(Some(frame)) => {
                let EgressToKeeper::Closed { hops, .. } = frame.say else {
                    return;
                };
                self.hops = Some(hops);
            }
            Ok(None) | Err(_) => {
                self.egress = None;
                self.hops = Some(vec![Hop {
                    target: String::new(),
                    address: None,
                    status: None,
                    fault: Some("the process that holds it died, and connections with it".into()),
                    bytes: 0,
                }]);
            }
        }
    }

    /// Everything that is to be heard was heard.
    pub(in crate::cli) fn complete(&self) -> bool {
        self.end.is_some() && (self.egress.is_none() || self.hops.is_some())
    }
}

/// The jailer did not start the program.
fn refused(fault: JailFault, detail: &str) -> Failure {
    let error = Error::new(format!("the jailer: {}", Escaped::cut(detail, 400)));
    match fault {
        JailFault::NotFound => {
            Failure::not_found(error.hint("it, or its interpreter, is not in the jail: `--ro DIR`"))
        }
        JailFault::NotPermitted | JailFault::WrongKind => Failure::not_executable(error.hint(
            "what runs must be executable by everybody and beneath a path that is shown \
             read-only",
        )),
        JailFault::Outside
        | JailFault::Changed
        | JailFault::TooLarge
        | JailFault::Stuck
        | JailFault::Failed => error.into(),
    }
}
