//! One jail in flight: what there is to watch of it, why it was killed, and how it ended.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::reserve::Reserve;
use super::watch::{Silent, Watch};
use crate::jail::cgroup::{Cgroups, Leaf};
use crate::jail::foreign::{self, Heard};
use crate::sys::jail::Jailed;
use crate::sys::spawn::{End, Usage};
use crate::sys::times;
use crate::wire::manifest::Class;
use crate::wire::messages::JailEnd;

/// A running jail.
#[derive(Debug)]
pub(super) struct Running {
    jailed: Jailed,
    /// Its cgroup, where it has one.
    pub(super) leaf: Option<Leaf>,
    /// The user it runs as.
    pub(super) slot: u32,
    since: Instant,
    /// When it is killed; nothing for one that lasts.
    pub(super) deadline: Option<Instant>,
    cpu_s: u64,
    /// What it may use where it lasts.
    pub(super) reserve: Option<Reserve>,
    class: Class,
    /// The manifest its program runs under; empty where it runs under none.
    pub(super) manifest: String,
    /// Refused calls that are not told.
    pub(super) silent: Silent,
    /// Why it was killed, where it was.
    limit: Option<&'static str>,
    inside: Option<Inside>,
}

/// What comes out of a jail beside its output.
#[derive(Debug)]
struct Inside {
    /// Where its first process speaks; gone once that has ended.
    link: Option<OwnedFd>,
    watch: Option<Watch>,
    said: Said,
}

/// What a foreign jail's first process said of its program.
#[derive(Debug, Default)]
struct Said {
    failed: Option<(String, Option<i32>)>,
    ended: Option<(Option<i32>, Option<i32>, Usage)>,
}

/// A descriptor of a jail that became readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// It has ended.
    End,
    /// It speaks.
    Link,
    /// It was refused a call and waits for the answer.
    Refused,
}

/// Why there is no end: the program never ran.
#[derive(Debug)]
pub(super) struct NeverRan {
    /// The step and why.
    pub(super) why: String,
    /// What `execve(2)` said, where it was that.
    pub(super) exec: Option<i32>,
}

impl Running {
    /// A jail that was just started, for an order of the time `since`; without `wall_ms` it lasts.
    /// `link` is where it speaks, where it does.
    pub(super) fn new(
        since: Instant,
        jailed: Jailed,
        slot: u32,
        wall_ms: Option<u64>,
        cpu_s: u64,
        class: Class,
        link: Option<OwnedFd>,
    ) -> Self {
        let inside = link.map(|link| Inside {
            link: Some(link),
            watch: None,
            said: Said::default(),
        });
        Self {
            jailed,
            leaf: None,
            slot,
            since,
            deadline: wall_ms.map(|wall_ms| since + Duration::from_millis(wall_ms)),
            cpu_s,
            reserve: None,
            class,
            manifest: String::new(),
            silent: &[],
            limit: None,
            inside,
        }
    }

    /// It was not killed yet.
    pub(super) fn lives(&self) -> bool {
        self.limit.is_none()
    }

    /// Its program has answered something.
    pub(super) fn answered(&mut self, now: Instant) {
        if let Some(reserve) = &mut self.reserve {
            reserve.answered(now);
        }
    }

    /// Ends it where it has used up what processor time a lasting jail has, and it is time to count
    /// that; `proc` is this process' `/proc`, where there is one.
    pub(super) fn count_cpu(&mut self, proc: Option<BorrowedFd<'_>>, now: Instant) {
        let Some(reserve) = self.reserve.as_mut().filter(|reserve| reserve.due() <= now) else {
            return;
        };
        let used_us = match (&self.leaf, proc) {
            (Some(leaf), _) => leaf.cpu_us(),
            (None, Some(proc)) => times::of_tree(proc, self.jailed.pid()).ok(),
            (None, None) => None,
        };
        if !reserve.count(used_us, now) {
            self.kill("cpu");
        }
    }

    /// When the next thing has to be done that nothing else wakes the jailer for.
    pub(super) fn due(&self) -> Option<Instant> {
        let count = self.reserve.as_ref().map(Reserve::due);
        self.deadline.into_iter().chain(count).min()
    }

    /// Its time is up.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// It has no time limit.
    pub(super) fn lasts(&self) -> bool {
        self.deadline.is_none()
    }

    /// What to watch.
    pub(super) fn sources(&self) -> impl Iterator<Item = (Source, BorrowedFd<'_>)> {
        let link = self.inside.as_ref().and_then(|inside| inside.link.as_ref());
        let watch = self
            .inside
            .as_ref()
            .and_then(|inside| inside.watch.as_ref());
        std::iter::once((Source::End, self.jailed.as_fd()))
            .chain(link.map(|link| (Source::Link, link.as_fd())))
            .chain(watch.and_then(Watch::fd).map(|fd| (Source::Refused, fd)))
    }

    /// Hears one thing it says; gives the socket of its proxy, if it was that. `uid` is its user's.
    pub(super) fn hear(&mut self, uid: Option<u32>) -> Option<OwnedFd> {
        let inside = self.inside.as_mut()?;
        let heard = match foreign::hear(inside.link.as_ref()?.as_fd()) {
            Ok(heard) => heard,
            Err(error) => {
                tracing::error!(%error, "a jail is not what was started");
                inside.link = None;
                self.kill("killed");
                return None;
            }
        };
        match heard {
            None => inside.link = None,
            Some(Heard::Running) => {}
            Some(Heard::Proxy(socket)) => return Some(socket),
            Some(Heard::Failed(why, exec)) => inside.said.failed = Some((why, exec)),
            Some(Heard::Ended {
                code,
                signal,
                cpu_us,
                rss_kib,
            }) => {
                inside.said.ended = Some((code, signal, Usage { cpu_us, rss_kib }));
            }
            Some(Heard::Listener(listener)) => {
                match Watch::new(listener, self.class, self.silent, uid) {
                    Ok(watch) => inside.watch = Some(watch),
                    Err(error) => {
                        // Its refused calls would wait for ever.
                        tracing::error!(%error, "cannot observe a jail");
                        self.kill("killed");
                    }
                }
            }
        }
        None
    }

    /// Hears what it said before it ended; gives the socket of its proxy, if that was among it.
    pub(super) fn hear_out(&mut self, uid: Option<u32>) -> Option<OwnedFd> {
        let mut socket = None;
        while self.speaks() {
            socket = self.hear(uid).or(socket);
        }
        socket
    }

    /// Answers a refused call; `proc` is this process' `/proc`, where there is one.
    pub(super) fn refuse(&mut self, proc: Option<BorrowedFd<'_>>) {
        if let Some(inside) = &mut self.inside
            && let Some(watch) = &mut inside.watch
            && let Err(error) = watch.answer(proc)
        {
            // What was told so far is told in the end; its further calls are refused by the kernel.
            tracing::warn!(%error, "no longer observing a jail");
            watch.stop();
        }
    }

    /// Ends it, for the reason `why`.
    pub(super) fn kill(&mut self, why: &'static str) {
        if self.limit.is_none() {
            self.limit = Some(why);
            if let Some(leaf) = &mut self.leaf {
                leaf.kill();
            }
            self.jailed.kill();
        }
    }

    /// Waits for its end, and gives its cgroup back.
    pub(super) fn end(
        mut self,
        uid: Option<u32>,
        cgroups: &mut Cgroups,
    ) -> std::io::Result<Result<JailEnd, NeverRan>> {
        let wall = self.since.elapsed();
        let used_us = self.reserve.as_ref().map_or(0, Reserve::used_us);
        drop(self.hear_out(uid));
        let ended = self.jailed.wait();
        let killed = matches!(ended, Ok((End::Killed(libc::SIGKILL), _)));
        let counted = self.leaf.map(|mut leaf| {
            // Perhaps by its cgroup, from outside: it is of no more use then.
            if killed {
                leaf.kill();
            }
            cgroups.give_back(leaf)
        });
        let counted = counted.unwrap_or_default();
        let (end, usage) = ended?;
        let (said, denials) = match self.inside {
            Some(Inside { said, watch, .. }) => (said, watch.map(Watch::finish)),
            None => (Said::default(), None),
        };
        if let Some((why, exec)) = said.failed {
            return Ok(Err(NeverRan { why, exec }));
        }
        let (code, signal, usage) = said.ended.unwrap_or(match end {
            End::Exited(code) => (Some(code), None, usage),
            End::Killed(signal) => (None, Some(signal), usage),
        });
        let spent = usage.cpu_us >= self.cpu_s.saturating_mul(1_000_000);
        let cpu = signal == Some(libc::SIGXCPU) || (signal == Some(libc::SIGKILL) && spent);
        // A program that was refused a process and went on without has met no limit that ended it.
        let group = counted.limit.filter(|_| code != Some(0));
        let file = signal == Some(libc::SIGXFSZ);
        let own = cpu.then_some("cpu").or(file.then_some("file"));
        let limit = self.limit.or(group).or(own);
        Ok(Ok(JailEnd {
            code,
            signal,
            limit: limit.map(str::to_owned),
            denials: denials.unwrap_or_default(),
            wall_us: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX),
            // Whoever was killed with its first process has told no usage of its own.
            cpu_us: counted.cpu_us.unwrap_or(0).max(usage.cpu_us).max(used_us),
            rss_kib: usage.rss_kib,
            peak_kib: counted.peak.map(|bytes| bytes / 1024),
        }))
    }

    fn speaks(&self) -> bool {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let link = self.inside.as_ref().and_then(|inside| inside.link.as_ref());
        let Some(link) = link else { return false };
        let mut polled = [PollFd::new(link.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::jail::cgroup::Lack;
    use crate::sys::filter::{Clone3, Filter};
    use crate::sys::jail::{Native, Template, own_pidfd};

    /// A program that ends at once, in namespaces of its own.
    fn ends() -> Jailed {
        const ANYTHING: &str = include_str!("../jail/seccomp/anything.json");
        let (program, null) = ("/bin/true", "/dev/null");
        let (program, null) = (File::open(program).unwrap(), File::open(null).unwrap());
        let template = Template {
            parent: own_pidfd().unwrap(),
        };
        let jail = Native {
            program: program.as_fd(),
            ruleset: None,
            argv: &[c"true"],
            fds: &[null.as_fd(); 3],
            filter: &Filter::compile(&[ANYTHING], Clone3::Ruled).unwrap(),
            limits: &[],
            uid: None,
            listener: None,
            cgroup: None,
            first: None,
        };
        template.spawn(&jail).unwrap()
    }

    /// What it took to start it counts: the order is what somebody waits for.
    #[test]
    fn the_clock_of_a_jail_starts_with_its_order() {
        let ordered = Instant::now() - Duration::from_secs(2);
        let late = Running::new(ordered, ends(), 0, Some(2_000), 5, Class::Native, None);
        assert!(late.is_overdue(Instant::now()));
        let mut cgroups = Cgroups::enter(None, Some(Lack::new("not used", "")));
        let end = late.end(None, &mut cgroups).unwrap().unwrap();
        assert_eq!(end.code, Some(0));
        assert!(end.wall_us >= 2_000_000, "{end:?}");
    }
}
