//! Running a script: a jail for one call, with what it writes collected until it ends, has no time
//! left, or has written too much.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::pipe2;

use super::super::links::{Event, Inbox, Links};
use super::super::questions::Question;
use super::{Failure, Keeper, Order, Skill};
use crate::call::id::Id;
use crate::error::{Context, Result};
use crate::wire::frame::sealed_memfd;
use crate::wire::messages::{
    EgressToKeeper, Hop, JailEnd, JailFault, JailerToKeeper, KeeperToEgress, KeeperToJailer,
    RESULT_MAX, Role,
};

/// How long a jail that was killed has to be gone, and jailer and egress to say so.
const SLACK: Duration = Duration::from_secs(5);
/// Bytes read at a time.
const PIECE: usize = 64 << 10;

/// A script that ran.
#[derive(Debug)]
pub(super) struct Ran {
    /// How its jail ended.
    pub(super) end: JailEnd,
    /// Why it was ended here, where it was.
    pub(super) stopped: Option<Stop>,
    /// What it wrote, at most so much as a result may be.
    pub(super) output: Output,
    /// What went through its way out.
    pub(super) hops: Vec<Hop>,
}

/// Why a script was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its time was up.
    Time,
    /// It wrote too much.
    Output,
    /// The agent no longer wanted it.
    Cancelled,
}

/// What a script wrote.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// To standard output.
    pub(super) stdout: Vec<u8>,
    /// To standard error.
    pub(super) stderr: Vec<u8>,
}

impl Keeper {
    /// Runs a script in a jail of its own and waits for its end; with an `effect` it may change
    /// something.
    pub(super) fn run_script(
        &self,
        ticket: Id,
        question: &Arc<Question>,
        skill: &Skill,
        order: &Order,
        effect: bool,
    ) -> Result<Ran, Failure> {
        let at_once = skill.limits.calls_at_a_time;
        let place = skill
            .places
            .take(&question.agent, &skill.name, at_once, ticket);
        let _place = place.ok_or(Failure::Busy)?;
        let links = self.hands.links();
        let wall = Duration::from_millis(skill.limits.call_ms);
        let until = Instant::now() + wall;
        let mut running = Running {
            links,
            ticket,
            inbox: links.listen(ticket),
            way_out: false,
            last: None,
            hops: None,
        };
        // Nothing was started where this fails.
        let pipes = running.start(skill, order);
        let pipes = pipes.map_err(|error| Failure::NotDone(error.message()))?;
        let (killer, own) = (Arc::clone(links), ticket);
        question.when_stopped(effect, move || kill(&killer, own));
        if !skill.jail.net.is_empty() {
            running.let_out(skill, until);
        }
        let most = skill.limits.result.min(skill.jail.limits.output);
        let most = usize::try_from(most).unwrap_or(usize::MAX).min(RESULT_MAX);
        let (output, stopped) = running.collect(pipes, most, until)?;
        let stopped = match stopped {
            None if question.is_stopped(effect) => Some(Stop::Cancelled),
            other => other,
        };
        running.end().map(|(end, hops)| Ran {
            end,
            stopped,
            output,
            hops,
        })
    }
}

impl Skill {
    /// Ends all of its scripts that run.
    pub(in crate::keeper) fn end_scripts(&self, links: &Links) {
        for ticket in self.places.of(&self.name) {
            kill(links, ticket);
        }
    }
}

fn kill(links: &Links, ticket: Id) {
    // Without a jailer the jail is dead already.
    drop(links.send(Role::Jailer, &KeeperToJailer::Kill { ticket }, &[], &[]));
}

/// A script at work.
struct Running<'a> {
    links: &'a Links,
    ticket: Id,
    inbox: Inbox<'a>,
    /// Egress serves its proxy.
    way_out: bool,
    /// What the jailer said in the end.
    last: Option<std::result::Result<JailEnd, Failure>>,
    hops: Option<Vec<Hop>>,
}

impl Running<'_> {
    /// Orders the jail; gives the reading ends of what the script writes.
    fn start(&self, skill: &Skill, order: &Order) -> Result<[OwnedFd; 2]> {
        let input = sealed_memfd("script-input", &order.input)?;
        let pipe = || pipe2(OFlag::O_CLOEXEC).context(|| "make a pipe for a script".into());
        let ((output, their_out), (error, their_err)) = (pipe()?, pipe()?);
        let say = KeeperToJailer::Run {
            ticket: self.ticket,
            lasting: false,
            manifest: skill.jail.name.clone(),
            program: order.program.clone(),
            argv: order.argv.clone(),
        };
        let theirs = [input.as_fd(), their_out.as_fd(), their_err.as_fd()];
        self.links.send(Role::Jailer, &say, &[], &theirs)?;
        Ok([output, error])
    }

    /// Waits for the jail's proxy socket and has egress serve it.
    fn let_out(&mut self, skill: &Skill, until: Instant) {
        while self.last.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            match self.inbox.next(left) {
                Some(Event::Jailer(JailerToKeeper::Listening { .. }, fds)) => {
                    let say = KeeperToEgress::Proxy {
                        ticket: self.ticket,
                        allow: skill.jail.net.clone(),
                        wall_ms: Some(u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
                        bytes: skill.jail.limits.net,
                    };
                    let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
                    // Without egress there is no way out, and the script hears so.
                    self.way_out = self.links.send(Role::Egress, &say, &[], &fds).is_ok();
                    return;
                }
                Some(event) => self.hear(event),
                None => return,
            }
        }
    }

    /// Reads what the script writes until it has ended; ends it where it writes more than `most`
    /// bytes, or goes on longer than `until`.
    fn collect(
        &self,
        pipes: [OwnedFd; 2],
        most: usize,
        mut until: Instant,
    ) -> Result<(Output, Option<Stop>), Failure> {
        let lost = |why: &str| Failure::Lost(why.into());
        let mut pipes = pipes.map(|pipe| Some(File::from(pipe)));
        let (mut output, mut stopped) = (Output::default(), None);
        let mut piece = vec![0; PIECE];
        while pipes.iter().any(Option::is_some) {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left.saturating_add(Duration::from_millis(1)));
            let open = pipes.iter().flatten();
            let mut polled: Vec<PollFd<'_>> = open
                .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
                .collect();
            match poll(&mut polled, timeout.unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(lost(errno.desc())),
            }
            let mut ready = polled.iter().map(|one| one.any().unwrap_or(false));
            let ready: [bool; 2] =
                [&pipes[0], &pipes[1]].map(|pipe| pipe.is_some() && ready.next().unwrap_or(false));
            for (place, pipe) in pipes.iter_mut().enumerate() {
                if !ready.get(place).copied().unwrap_or(false) {
                    continue;
                }
                let read = pipe.as_mut().map_or(Ok(0), |pipe| pipe.read(&mut piece));
                let len = read.map_err(|error| lost(&error.to_string()))?;
                if len == 0 {
                    *pipe = None;
                    continue;
                }
                let room = most.saturating_sub(output.stdout.len() + output.stderr.len());
                let kept = piece.get(..len.min(room)).unwrap_or_default();
                match place {
                    0 => output.stdout.extend_from_slice(kept),
                    _ => output.stderr.extend_from_slice(kept),
                }
                if len > room && stopped.is_none() {
                    stopped = Some(Stop::Output);
                    kill(self.links, self.ticket);
                    until = Instant::now() + SLACK;
                }
            }
            if Instant::now() >= until {
                if stopped.is_some() {
                    return Err(lost("a jail outlived its end"));
                }
                stopped = Some(Stop::Time);
                kill(self.links, self.ticket);
                until = Instant::now() + SLACK;
            }
        }
        Ok((output, stopped))
    }

    /// How it ended, as jailer and egress say.
    fn end(&mut self) -> Result<(JailEnd, Vec<Hop>), Failure> {
        let until = Instant::now() + SLACK;
        while self.last.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            match self.inbox.next(left) {
                Some(event) => self.hear(event),
                None => return Err(Failure::Lost("the jailer did not answer in time".into())),
            }
        }
        if self.way_out {
            let ticket = self.ticket;
            let say = KeeperToEgress::Revoke { ticket };
            // An egress that is gone has closed it.
            drop(self.links.send(Role::Egress, &say, &[], &[]));
            while self.hops.is_none() {
                let left = until.saturating_duration_since(Instant::now());
                let Some(event) = self.inbox.next(left) else {
                    break;
                };
                self.hear(event);
            }
        }
        let hops = self.hops.take().unwrap_or_default();
        let last = self.last.take();
        let last = last.unwrap_or_else(|| Err(Failure::Lost("the jailer said nothing".into())));
        last.map(|end| (end, hops))
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Jailer(JailerToKeeper::Exited { end, .. }, _) => {
                // Of one that was ended because its files are others, that is what counts.
                if self.last.is_none() {
                    self.last = Some(Ok(end));
                }
            }
            Event::Jailer(
                JailerToKeeper::Altered {
                    why, changes, ran, ..
                },
                _,
            ) => {
                self.last = Some(Err(Failure::Altered { why, changes, ran }));
            }
            Event::Jailer(JailerToKeeper::Fault { fault, detail, .. }, _) => {
                self.last = Some(Err(Failure::NotDone(never_ran(fault, &detail))));
            }
            Event::Egress(EgressToKeeper::Closed { hops, .. }, _) => self.hops = Some(hops),
            Event::Lost(Role::Jailer) => {
                let lost = || Err(Failure::Lost("the jailer died meanwhile".into()));
                self.last.get_or_insert_with(lost);
            }
            Event::Lost(Role::Egress) => {
                self.hops.get_or_insert_default();
            }
            Event::Jailer(..) | Event::Egress(..) | Event::Lost(_) | Event::Wake => {}
        }
    }
}

/// Why a script was not started, for the operator.
fn never_ran(fault: JailFault, detail: &str) -> String {
    let hint = match fault {
        JailFault::NotFound => "; it, or what runs it, is not in its jail",
        JailFault::NotPermitted | JailFault::WrongKind => {
            "; what runs must be executable by everybody and beneath a path that is shown read-only"
        }
        JailFault::Outside
        | JailFault::Changed
        | JailFault::TooLarge
        | JailFault::Stuck
        | JailFault::Failed => "",
    };
    format!("the script was not started: {detail}{hint}")
}
