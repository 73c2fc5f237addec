//! The jailer's loop: orders from the keeper, links from the supervisor, ends and deadlines of
//! jails. One thread does all that, so that the jails' death signal has a thread that lasts; others
//! only look at what is pinned ([`super::pins`]).

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::files::{Files, Unnamed};
use super::held::{Held, Order, Reading, Wanted};
use super::jails::Jails;
use super::pins::{Altered, Found, Not, Pins, Unread};
use super::running::{Running, Source};
use super::self_test::Verdict;
use super::trouble::Trouble;
use crate::call::id::Id;
use crate::catalog::connector::digest::sha256;
use crate::error::{Error, Result};
use crate::jail::limits::ToolLimits;
use crate::wire::frame::{self, Frame, sealed_memfd};
use crate::wire::messages::{
    Control, FileOrder, FileState, JailFault, JailerToKeeper, KeeperToJailer, Limits as Ordered,
    Role,
};

/// Most jails at a time: with those made ahead, no more than there are users for them.
const JAILS_MAX: usize = 120;
/// Of these, lasting ones: calls of Keepgate's own tools always find a place.
const LASTING_MAX: usize = 80;
/// Most unnamed files that wait for their name.
const UNNAMED_MAX: usize = 256;
/// Longest content of a file to put back.
const CONTENT_MAX: usize = 16 << 20;

/// The jailer at work.
#[derive(Debug)]
pub(super) struct Server {
    control: OwnedFd,
    keeper: Option<OwnedFd>,
    jails: Jails,
    pins: Pins,
    held: Held,
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
    /// One that waits has ended.
    waiting: bool,
    /// Looks at what is pinned that have ended.
    looked: usize,
    jails: Vec<(Id, Source)>,
}

impl Ready {
    fn is_nothing(&self) -> bool {
        !self.control && !self.keeper && !self.waiting && self.looked == 0 && self.jails.is_empty()
    }
}

impl Server {
    /// Serves what `verdict` allows.
    pub(super) fn new(
        control: OwnedFd,
        jails: Jails,
        pins: Pins,
        files: Files,
        verdict: Verdict,
    ) -> Self {
        let (running, unnamed) = (BTreeMap::new(), BTreeMap::new());
        Self {
            control,
            keeper: None,
            jails,
            pins,
            held: Held::default(),
            files,
            verdict,
            running,
            unnamed,
        }
    }

    /// Until told to stop, or the supervisor is gone. No jail and no leaf is left.
    pub(super) fn run(mut self) -> Result<()> {
        let answer = self.serve();
        self.end_all();
        self.jails.cgroups().close();
        answer
    }

    fn serve(&mut self) -> Result<()> {
        loop {
            let ready = self.wait()?;
            self.kill_overdue();
            for _ in 0..ready.looked {
                if let Some(found) = self.pins.found() {
                    self.looked(found);
                }
            }
            self.look_again();
            if ready.waiting {
                self.jails.sweep();
            }
            if ready.is_nothing() {
                self.jails.prepare();
            }
            for (ticket, source) in ready.jails {
                self.attend(ticket, source);
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
        let pins = self.pins.fd();
        polled.extend(pins.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let pins = polled.len() - 2;
        let waiting = self.jails.waiting();
        polled.extend(waiting.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let waiting = polled.len() - 2 - pins;
        let mut names = Vec::new();
        for (ticket, jail) in &self.running {
            for (source, fd) in jail.sources() {
                names.push((*ticket, source));
                polled.push(PollFd::new(fd, PollFlags::POLLIN));
            }
        }
        let alive = self.running.values().filter(|jail| jail.lives());
        let due = alive.flat_map(|jail| [jail.due(), self.pins.due(&jail.manifest)]);
        let timeout = match due.flatten().min() {
            // Nothing to do is the time to make jails ahead.
            _ if self.jails.wants_more() => PollTimeout::ZERO,
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
        let looked = flags.by_ref().take(pins).filter(|ended| *ended).count();
        let waiting = flags.by_ref().take(waiting).filter(|ended| *ended).count() > 0;
        let jails = names.into_iter().zip(flags).filter(|(_, ready)| *ready);
        let jails = jails.map(|(name, _)| name).collect();
        Ok(Ready {
            control,
            keeper,
            waiting,
            looked,
            jails,
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
            | Control::Admit { .. }
            | Control::Door
            | Control::Unlisten { .. }
            | Control::Listening { .. }
            | Control::Looked { .. } => {
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
            | KeeperToJailer::ReadPinned { ticket, .. }
            | KeeperToJailer::Publish { ticket, .. }
            | KeeperToJailer::Restore { ticket, .. }
            | KeeperToJailer::Discard { ticket }
            | KeeperToJailer::Answered { ticket }
            | KeeperToJailer::Kill { ticket } => *ticket,
        };
        let answer = if self.verdict.fit {
            self.carry_out(say, &blob, fds)
        } else {
            Err(self.unfit())
        };
        if let Err(trouble) = answer {
            self.refuse(ticket, trouble);
        }
    }

    /// Tells that an order was not carried out.
    fn refuse(&mut self, ticket: Id, Trouble { fault, detail }: Trouble) {
        tracing::info!(%ticket, ?fault, detail, "order not carried out");
        let say = JailerToKeeper::Fault {
            ticket,
            fault,
            detail,
        };
        self.tell(&say, &[]);
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
            KeeperToJailer::Run {
                ticket,
                lasting,
                manifest,
                program,
                argv,
            } => {
                let order = Order {
                    ticket,
                    lasting,
                    manifest,
                    program,
                    argv,
                    fds,
                    since: Instant::now(),
                };
                self.run_program(order)
            }
            KeeperToJailer::Inspect { ticket, file, max } => self.inspect(ticket, &file, max),
            KeeperToJailer::ReadPinned {
                ticket,
                manifest,
                path,
                max,
            } => self.read_file(Reading {
                ticket,
                manifest,
                path: path.into(),
                max,
            }),
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
            KeeperToJailer::Answered { ticket } => {
                if let Some(running) = self.running.get_mut(&ticket) {
                    running.answered(Instant::now());
                }
                Ok(())
            }
            KeeperToJailer::Kill { ticket } => {
                if self.held.withdraw(ticket).is_some() {
                    let what = "killed before it was started";
                    return Err(Trouble::new(JailFault::Failed, what));
                }
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
        self.admit(ticket)?;
        let opened = self.files.open(files)?;
        let fds: Vec<BorrowedFd<'_>> = given.iter().chain(&opened.fds).map(AsFd::as_fd).collect();
        let Ordered {
            wall_ms,
            cpu_s,
            memory,
            file,
        } = ordered;
        let limits = ToolLimits {
            cpu_s,
            memory,
            file,
        };
        let running = self.jails.tool(tool, &fds, limits, wall_ms)?;
        self.running.insert(ticket, running);
        if let Some(unnamed) = opened.unnamed {
            self.unnamed.insert(ticket, unnamed);
        }
        Ok(())
    }

    /// Runs a program once what it executes was looked at; at once where nothing is pinned.
    fn run_program(&mut self, order: Order) -> Result<(), Trouble> {
        self.admit(order.ticket)?;
        let lasting = self.running.values().filter(|running| running.lasts());
        if order.lasting && lasting.count() + self.held.lasting() >= LASTING_MAX {
            let what = "too many lasting jails at a time";
            return Err(Trouble::new(JailFault::Failed, what));
        }
        match self.pins.look(&order.manifest) {
            Some(look) => {
                self.held.keep(look, Wanted::Run(order));
                Ok(())
            }
            None => self.start(&order),
        }
    }

    fn start(&mut self, order: &Order) -> Result<(), Trouble> {
        let running = self.jails.run(&order.program(), &order.fds)?;
        self.running.insert(order.ticket, running);
        self.pins.started(&order.manifest);
        Ok(())
    }

    /// A look has ended: who waited for it goes on, and what is no longer what was pinned ends.
    fn looked(&mut self, found: Found) {
        let Found {
            manifest,
            number,
            found,
        } = found;
        let waited = self.held.take(&manifest, number);
        match found {
            Ok(()) => {
                for wanted in waited {
                    let ticket = wanted.ticket();
                    let done = match wanted {
                        Wanted::Run(order) => self.start(&order),
                        Wanted::Read(reading) => self.read_pinned(&reading),
                    };
                    if let Err(trouble) = done {
                        self.refuse(ticket, trouble);
                    }
                }
            }
            Err(not) => self.not_pinned(&manifest, &not, waited),
        }
        self.pins.go_on(&manifest);
    }

    /// Whoever waits for what is not what was pinned is told so, and its programs end.
    fn not_pinned(&mut self, manifest: &str, not: &Not, waited: Vec<Wanted>) {
        let (Not::Gone(why) | Not::Altered(Altered { why, .. })) = not;
        tracing::error!(manifest, why, "what is pinned is not what it was");
        for wanted in waited {
            match not {
                Not::Altered(altered) => self.tell_altered(wanted.ticket(), altered, false),
                Not::Gone(_) => {
                    let what = "a pinned path of its manifest is not there";
                    let trouble = Trouble::new(JailFault::NotFound, what);
                    self.refuse(wanted.ticket(), trouble);
                }
            }
        }
        let mut ended = Vec::new();
        for (ticket, running) in &mut self.running {
            if running.manifest == manifest && running.lives() {
                running.kill("killed");
                ended.push(*ticket);
            }
        }
        if let Not::Altered(altered) = not {
            for ticket in ended {
                self.tell_altered(ticket, altered, true);
            }
        }
    }

    fn tell_altered(&mut self, ticket: Id, altered: &Altered, ran: bool) {
        let say = JailerToKeeper::Altered {
            ticket,
            why: altered.why.clone(),
            changes: altered.changes.clone(),
            ran,
        };
        self.tell(&say, &[]);
    }

    /// Has what runs looked at, where it is time.
    fn look_again(&mut self) {
        let now = Instant::now();
        let alive = self.running.values().filter(|jail| jail.lives());
        let due = alive.filter(|jail| self.pins.due(&jail.manifest).is_some_and(|due| due <= now));
        let due: BTreeSet<String> = due.map(|jail| jail.manifest.clone()).collect();
        for manifest in due {
            self.pins.look(&manifest);
        }
    }

    /// There is a place for one more jail, and the ticket is a new one.
    fn admit(&self, ticket: Id) -> Result<(), Trouble> {
        if self.running.contains_key(&ticket)
            || self.unnamed.contains_key(&ticket)
            || self.held.holds(ticket)
        {
            return Err(Trouble::new(JailFault::Failed, "a ticket serves once"));
        }
        if self.running.len() + self.held.len() >= JAILS_MAX || self.unnamed.len() >= UNNAMED_MAX {
            return Err(Trouble::new(JailFault::Failed, "too many jails at a time"));
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

    /// Reads a pinned file once all that is pinned with it was looked at.
    fn read_file(&mut self, reading: Reading) -> Result<(), Trouble> {
        self.admit(reading.ticket)?;
        let missing = || Trouble::new(JailFault::NotFound, "no pinned file has that name");
        let look = self.pins.look(&reading.manifest).ok_or_else(missing)?;
        self.held.keep(look, Wanted::Read(reading));
        Ok(())
    }

    fn read_pinned(&mut self, reading: &Reading) -> Result<(), Trouble> {
        let Reading {
            ticket,
            manifest,
            path,
            max,
        } = reading;
        let max = (*max).min(u64::try_from(CONTENT_MAX).unwrap_or(u64::MAX));
        let (content, mode) = match self.pins.read(manifest, path, max) {
            Ok(read) => read,
            Err(Unread::Trouble(trouble)) => return Err(trouble),
            Err(Unread::Altered(altered)) => {
                self.tell_altered(*ticket, &altered, false);
                return Ok(());
            }
        };
        let state = FileState::Present {
            len: u64::try_from(content.len()).unwrap_or(u64::MAX),
            sha256: sha256(&content),
            mode,
        };
        let copy = sealed_memfd("pinned", &content);
        let copy = copy.map_err(|error| Trouble::new(JailFault::Failed, error.message()))?;
        let ticket = *ticket;
        self.tell(
            &JailerToKeeper::Inspected { ticket, state },
            &[copy.as_fd()],
        );
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
            .filter(|running| running.is_overdue(now))
        {
            running.kill("wall");
        }
        for running in self.running.values_mut() {
            if running.lives() {
                running.count_cpu(self.jails.proc(), now);
            }
        }
    }

    fn attend(&mut self, ticket: Id, source: Source) {
        let Some(running) = self.running.get_mut(&ticket) else {
            return;
        };
        match source {
            Source::End => self.ended(ticket),
            Source::Refused => running.refuse(self.jails.proc()),
            Source::Link => {
                let uid = self.jails.uid(running.slot);
                if let Some(socket) = running.hear(uid) {
                    self.tell(&JailerToKeeper::Listening { ticket }, &[socket.as_fd()]);
                }
            }
        }
    }

    fn ended(&mut self, ticket: Id) {
        let Some(mut running) = self.running.remove(&ticket) else {
            return;
        };
        let (slot, uid) = (running.slot, self.jails.uid(running.slot));
        if let Some(socket) = running.hear_out(uid) {
            // It was short: its way out is told before its end all the same.
            self.tell(&JailerToKeeper::Listening { ticket }, &[socket.as_fd()]);
        }
        let ended = running.end(uid, self.jails.cgroups());
        self.jails.free(slot);
        match ended {
            Ok(Ok(end)) => self.tell(&JailerToKeeper::Exited { ticket, end }, &[]),
            Ok(Err(never)) => {
                let Trouble { fault, detail } = Trouble::never_ran(never.why, never.exec);
                let fault = JailerToKeeper::Fault {
                    ticket,
                    fault,
                    detail,
                };
                self.tell(&fault, &[]);
            }
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
        self.held.clear();
        for running in self.running.values_mut() {
            running.kill("killed");
        }
        for (ticket, running) in std::mem::take(&mut self.running) {
            let (slot, uid) = (running.slot, self.jails.uid(running.slot));
            if let Err(error) = running.end(uid, self.jails.cgroups()) {
                tracing::error!(%ticket, %error, "lost the end of a jail");
            }
            self.jails.free(slot);
        }
        self.jails.end_waiting();
    }
}
