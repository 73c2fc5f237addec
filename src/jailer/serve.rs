//! The jailer's loop: orders from the keeper, links from the supervisor, ends and deadlines of
//! jails. One thread, so that the jails' death signal has a thread that lasts.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::files::{Files, Unnamed};
use super::trouble::Trouble;
use crate::call::id::Id;
use crate::error::{Error, Result};
use crate::jail::{Jail, Verdict};
use crate::sys::jail::{Jailed, Limits};
use crate::sys::spawn::End;
use crate::wire::frame::{self, Frame, sealed_memfd};
use crate::wire::messages::{
    Control, FileOrder, FileState, JailEnd, JailFault, JailerToKeeper, KeeperToJailer,
    Limits as Ordered, Role,
};

/// Most jails at a time.
const JAILS_MAX: usize = 128;
/// Most unnamed files that wait for their name.
const UNNAMED_MAX: usize = 256;
/// Longest content of a file to put back.
const CONTENT_MAX: usize = 16 << 20;

/// A running jail.
#[derive(Debug)]
struct Running {
    jailed: Jailed,
    since: Instant,
    deadline: Instant,
    cpu_s: u64,
    /// Why it was killed, where it was.
    limit: Option<&'static str>,
}

/// The jailer at work.
#[derive(Debug)]
pub(super) struct Server {
    control: OwnedFd,
    keeper: Option<OwnedFd>,
    jail: Jail,
    files: Files,
    verdict: Verdict,
    running: BTreeMap<Id, Running>,
    unnamed: BTreeMap<Id, Unnamed>,
}

/// What became ready.
#[derive(Debug, Default)]
struct Ready {
    control: bool,
    keeper: bool,
    ended: Vec<Id>,
}

impl Server {
    /// Serves what `verdict` allows.
    pub(super) fn new(control: OwnedFd, jail: Jail, files: Files, verdict: Verdict) -> Self {
        let (running, unnamed) = (BTreeMap::new(), BTreeMap::new());
        Self {
            control,
            keeper: None,
            jail,
            files,
            verdict,
            running,
            unnamed,
        }
    }

    /// Until told to stop, or the supervisor is gone. No jail is left.
    pub(super) fn run(mut self) -> Result<()> {
        let answer = self.serve();
        self.end_all();
        answer
    }

    fn serve(&mut self) -> Result<()> {
        loop {
            let ready = self.wait()?;
            self.kill_overdue();
            for ticket in ready.ended {
                self.ended(ticket);
            }
            if ready.keeper {
                self.order();
            }
            if ready.control && !self.control()? {
                return Ok(());
            }
        }
    }

    fn wait(&self) -> Result<Ready> {
        let mut polled = vec![PollFd::new(self.control.as_fd(), PollFlags::POLLIN)];
        // A link that is gone leaves its place to the control link, whose answer is counted once.
        let keeper = self.keeper.as_ref().unwrap_or(&self.control);
        polled.push(PollFd::new(keeper.as_fd(), PollFlags::POLLIN));
        let jails = self.running.values();
        polled.extend(jails.map(|jail| PollFd::new(jail.jailed.as_fd(), PollFlags::POLLIN)));
        let alive = self.running.values().filter(|jail| jail.limit.is_none());
        let timeout = match alive.map(|jail| jail.deadline).min() {
            None => PollTimeout::NONE,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                let left = left.saturating_add(Duration::from_millis(1));
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut polled, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Ready::default()),
            Err(errno) => return Err(Error::new("wait for orders").because(errno)),
        }
        let mut flags = polled.iter().map(|fd| fd.any().unwrap_or(false));
        let control = flags.next().unwrap_or(false);
        let keeper = flags.next().unwrap_or(false) && self.keeper.is_some();
        let ended = self.running.keys().zip(flags).filter(|(_, ended)| *ended);
        let ended = ended.map(|(ticket, _)| *ticket).collect();
        Ok(Ready {
            control,
            keeper,
            ended,
        })
    }

    /// Hears the supervisor; false means stop.
    fn control(&mut self) -> Result<bool> {
        let Some(mut frame) = frame::recv::<Control>(self.control.as_fd(), 0)? else {
            return Ok(false);
        };
        match frame.say {
            Control::Stop => Ok(false),
            Control::Link { peer: Role::Keeper } => {
                self.lose_keeper("a new link replaces the old one");
                self.keeper = frame.fds.pop();
                let report = self.verdict.report.clone();
                self.tell(
                    &JailerToKeeper::SelfTest {
                        fit: self.verdict.fit,
                        report,
                    },
                    &[],
                );
                Ok(true)
            }
            Control::Setup
            | Control::Link { .. }
            | Control::Listen { .. }
            | Control::Unlisten { .. }
            | Control::Listening { .. } => {
                Err(Error::new("the supervisor said what is not for a jailer"))
            }
        }
    }

    fn order(&mut self) {
        let Some(link) = &self.keeper else { return };
        match frame::recv::<KeeperToJailer>(link.as_fd(), CONTENT_MAX) {
            Ok(Some(frame)) => self.obey(frame),
            Ok(None) => self.lose_keeper("the keeper is gone"),
            Err(error) => {
                tracing::error!(%error, "bad order");
                self.lose_keeper("the keeper sent a bad frame");
            }
        }
    }

    fn obey(&mut self, frame: Frame<KeeperToJailer>) {
        let Frame { say, blob, fds } = frame;
        let ticket = match &say {
            KeeperToJailer::Spawn { ticket, .. }
            | KeeperToJailer::Run { ticket, .. }
            | KeeperToJailer::Inspect { ticket, .. }
            | KeeperToJailer::Publish { ticket, .. }
            | KeeperToJailer::Restore { ticket, .. }
            | KeeperToJailer::Discard { ticket }
            | KeeperToJailer::Kill { ticket } => *ticket,
        };
        let answer = if self.verdict.fit {
            self.carry_out(say, &blob, fds)
        } else {
            Err(self.unfit())
        };
        if let Err(Trouble { fault, detail }) = answer {
            tracing::info!(%ticket, ?fault, detail, "order not carried out");
            self.tell(
                &JailerToKeeper::Fault {
                    ticket,
                    fault,
                    detail,
                },
                &[],
            );
        }
    }

    fn unfit(&self) -> Trouble {
        Trouble::failed("the self-test failed", &self.verdict.why)
    }

    fn carry_out(
        &mut self,
        say: KeeperToJailer,
        blob: &[u8],
        fds: Vec<OwnedFd>,
    ) -> Result<(), Trouble> {
        match say {
            KeeperToJailer::Spawn {
                ticket,
                tool,
                limits,
                files,
                stream,
            } => {
                let wanted = if stream { 4 } else { 3 };
                if fds.len() != wanted {
                    let what = format!("{} descriptors where {wanted} belong", fds.len());
                    return Err(Trouble::new(JailFault::Failed, what));
                }
                self.spawn(ticket, &tool, limits, &files, fds)
            }
            KeeperToJailer::Run { .. } => {
                Err(Trouble::new(JailFault::NotFound, "no such manifest"))
            }
            KeeperToJailer::Inspect { ticket, file, max } => self.inspect(ticket, &file, max),
            KeeperToJailer::Publish {
                ticket,
                expected,
                sha256,
            } => self.publish(ticket, &expected, &sha256),
            KeeperToJailer::Restore {
                ticket,
                file,
                expected,
                becomes,
            } => {
                self.files
                    .restore(ticket, &file, &expected, &becomes, blob)?;
                self.tell(&JailerToKeeper::Published { ticket }, &[]);
                Ok(())
            }
            KeeperToJailer::Discard { ticket } => {
                self.unnamed.remove(&ticket);
                Ok(())
            }
            KeeperToJailer::Kill { ticket } => {
                if let Some(running) = self.running.get_mut(&ticket) {
                    running.kill("killed");
                }
                Ok(())
            }
        }
    }

    fn spawn(
        &mut self,
        ticket: Id,
        tool: &str,
        ordered: Ordered,
        files: &[FileOrder],
        given: Vec<OwnedFd>,
    ) -> Result<(), Trouble> {
        if self.running.contains_key(&ticket) || self.unnamed.contains_key(&ticket) {
            return Err(Trouble::new(JailFault::Failed, "a ticket serves once"));
        }
        if self.running.len() >= JAILS_MAX || self.unnamed.len() >= UNNAMED_MAX {
            return Err(Trouble::new(JailFault::Failed, "too many jails at a time"));
        }
        let opened = self.files.open(files)?;
        let fds: Vec<BorrowedFd<'_>> = given.iter().chain(&opened.fds).map(AsFd::as_fd).collect();
        let Ordered {
            wall_ms,
            cpu_s,
            memory,
            file,
        } = ordered;
        let since = Instant::now();
        let jailed = self
            .jail
            .spawn(
                tool,
                &fds,
                Limits {
                    cpu_s,
                    memory,
                    file,
                },
            )
            .map_err(|error| Trouble::new(JailFault::Failed, error.message()))?;
        let deadline = since + Duration::from_millis(wall_ms);
        self.running.insert(
            ticket,
            Running {
                jailed,
                since,
                deadline,
                cpu_s,
                limit: None,
            },
        );
        if let Some(unnamed) = opened.unnamed {
            self.unnamed.insert(ticket, unnamed);
        }
        Ok(())
    }

    fn inspect(&mut self, ticket: Id, file: &FileOrder, max: u64) -> Result<(), Trouble> {
        let (state, content) = self.files.inspect(file, max)?;
        let copy = content
            .map(|content| sealed_memfd("inspected", &content))
            .transpose()
            .map_err(|error| Trouble::new(JailFault::Failed, error.message()))?;
        let fds: Vec<BorrowedFd<'_>> = copy.iter().map(AsFd::as_fd).collect();
        self.tell(&JailerToKeeper::Inspected { ticket, state }, &fds);
        Ok(())
    }

    fn publish(&mut self, ticket: Id, expected: &FileState, sha256: &str) -> Result<(), Trouble> {
        if self.running.contains_key(&ticket) {
            return Err(Trouble::new(JailFault::Failed, "the jail still runs"));
        }
        let missing = || Trouble::new(JailFault::Failed, "no unnamed file of this ticket");
        let unnamed = self.unnamed.remove(&ticket).ok_or_else(missing)?;
        self.files.publish(ticket, &unnamed, expected, sha256)?;
        self.tell(&JailerToKeeper::Published { ticket }, &[]);
        Ok(())
    }

    fn kill_overdue(&mut self) {
        let now = Instant::now();
        for running in self
            .running
            .values_mut()
            .filter(|running| running.deadline <= now)
        {
            running.kill("wall");
        }
    }

    fn ended(&mut self, ticket: Id) {
        let Some(running) = self.running.remove(&ticket) else {
            return;
        };
        match running.end() {
            Ok(end) => self.tell(&JailerToKeeper::Exited { ticket, end }, &[]),
            Err(error) => tracing::error!(%ticket, %error, "lost the end of a jail"),
        }
    }

    fn tell(&mut self, say: &JailerToKeeper, fds: &[BorrowedFd<'_>]) {
        let Some(link) = &self.keeper else { return };
        if let Err(error) = frame::send(link.as_fd(), say, &[], fds) {
            tracing::error!(%error, "cannot answer the keeper");
            self.lose_keeper("the keeper cannot be told");
        }
    }

    /// Nobody would hear of these jails any more, and their tickets died with the link.
    fn lose_keeper(&mut self, why: &str) {
        if self.keeper.take().is_some() {
            tracing::warn!(why, jails = self.running.len(), "link to the keeper ended");
        }
        self.end_all();
    }

    fn end_all(&mut self) {
        self.unnamed.clear();
        for running in self.running.values_mut() {
            running.kill("killed");
        }
        for (ticket, running) in std::mem::take(&mut self.running) {
            if let Err(error) = running.end() {
                tracing::error!(%ticket, %error, "lost the end of a jail");
            }
        }
    }
}

impl Running {
    fn kill(&mut self, why: &'static str) {
        if self.limit.is_none() {
            self.limit = Some(why);
            self.jailed.kill();
        }
    }

    fn end(self) -> std::io::Result<JailEnd> {
        let wall = self.since.elapsed();
        let (end, usage) = self.jailed.wait()?;
        let (code, signal) = match end {
            End::Exited(code) => (Some(code), None),
            End::Killed(signal) => (None, Some(signal)),
        };
        let spent = usage.cpu_us >= self.cpu_s.saturating_mul(1_000_000);
        let cpu = signal == Some(libc::SIGXCPU) || (signal == Some(libc::SIGKILL) && spent);
        let limit = self.limit.or(cpu.then_some("cpu"));
        Ok(JailEnd {
            code,
            signal,
            limit: limit.map(str::to_owned),
            denials: Vec::new(),
            wall_us: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
            cpu_us: usage.cpu_us,
            rss_kib: usage.rss_kib,
        })
    }
}
