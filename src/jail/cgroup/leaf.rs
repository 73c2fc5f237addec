//! One leaf: the cgroup of one jail at a time.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use super::controllers::{Controllers, Limits, number};
use super::node::Node;
use crate::sys::cgroup::{Group, again, wait_until_empty};

/// A leaf that still counts more than this part of its memory limit is not used again.
const LEFT_PART: u64 = 4;

/// A leaf that was taken from the pool. It goes back to it, whatever happens to the jail.
#[derive(Debug)]
pub struct Leaf<N: Node = Group> {
    pub(super) name: String,
    node: N,
    controllers: Controllers,
    events: File,
    /// `memory.peak`, where it can be begun anew (Linux 6.12).
    peak: Option<File>,
    /// What the limit files hold, as far as it is known.
    holds: BTreeMap<&'static str, String>,
    before: Counts,
    /// `cgroup.kill` was written. Linux 6.18 then kills whatever is started in it from another
    /// cgroup, for ever: clone3(2) compares how often the starter's own cgroup was killed with how
    /// often this one was (`kill_seq` in kernel/cgroup/cgroup.c). So it is never used again.
    killed: bool,
}

/// What the leaf said of its jail.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The limit that was met: `memory`, by which the kernel has killed the whole jail; or `processes`,
    /// by which it has refused a process or a thread.
    pub limit: Option<&'static str>,
    /// Most memory in use at one time, in bytes, with what the kernel kept for it.
    pub peak: Option<u64>,
    /// CPU time of all its processes in microseconds, user and system.
    pub cpu_us: Option<u64>,
}

/// Counters that never go back.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    kills: u64,
    refused: u64,
    cpu_us: u64,
}

impl<N: Node> Leaf<N> {
    /// Makes the cgroup `name` in `plane`, with what never changes in it.
    pub(super) fn make(plane: &N, name: String, controllers: Controllers) -> io::Result<Self> {
        plane.make(&name)?;
        Self::prepare(plane, &name, controllers)
            .inspect_err(|_| drop(plane.remove(&name)))
            .map(|(node, events)| {
                let peak = node.file("memory.peak", true);
                let mut leaf = Self {
                    name,
                    node,
                    controllers,
                    events,
                    peak: peak.ok().filter(|_| controllers.memory),
                    holds: BTreeMap::new(),
                    before: Counts::default(),
                    killed: false,
                };
                leaf.before = leaf.counts();
                leaf
            })
    }

    fn prepare(plane: &N, name: &str, controllers: Controllers) -> io::Result<(N, File)> {
        let node = plane.child(name)?;
        let events = node.file("cgroup.events", false)?;
        if controllers.memory {
            // A jail that lost one of its processes is no jail to go on with.
            write(&node, "memory.oom.group", "1")?;
            match node.write("memory.swap.max", "0") {
                // A kernel without swap, or one that does not count it (`swapaccount=0`).
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                answer => answer.map_err(|error| named("memory.swap.max", &error))?,
            }
        }
        Ok((node, events))
    }

    /// For `CLONE_INTO_CGROUP`.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.node.fd()
    }

    /// Kills all its processes, whatever session or process group they are in. It is not used
    /// again.
    pub fn kill(&mut self) {
        self.killed = true;
        if let Err(error) = self.node.write("cgroup.kill", "1") {
            tracing::error!(leaf = self.name, %error, "cannot kill a jail by its cgroup");
        }
    }

    /// CPU time of the jail that has it so far, in microseconds, of all its processes; nothing where
    /// that cannot be read.
    pub fn cpu_us(&self) -> Option<u64> {
        let stat = self.node.read("cpu.stat").ok()?;
        Some(number(&stat, "usage_usec").saturating_sub(self.before.cpu_us))
    }

    /// Sets limits; writes only what differs from what the files hold.
    pub(super) fn limit(&mut self, limits: Limits) -> io::Result<()> {
        for (file, text) in limits.files(self.controllers) {
            if self.holds.get(file) == Some(&text) {
                continue;
            }
            // Should the write fail, nobody knows what the file holds.
            self.holds.remove(file);
            write(&self.node, file, &text)?;
            self.holds.insert(file, text);
        }
        if let Some(peak) = &self.peak {
            // Any text begins it anew, for those who read by this descriptor.
            if peak.write_at(b"0\n", 0).is_err() {
                self.peak = None;
            }
        }
        Ok(())
    }

    /// The files hold what was written: a kernel that took a limit and forgot it limits nothing.
    pub(super) fn check(&self) -> io::Result<()> {
        for (file, text) in &self.holds {
            let holds = self.node.read(file)?;
            if holds.trim_end() != text {
                let what = format!("{file} holds `{}` in place of `{text}`", holds.trim_end());
                return Err(io::Error::other(what));
            }
        }
        Ok(())
    }

    /// No process is left in it, at once or within `patience`.
    pub(super) fn is_empty(&self, patience: Duration) -> bool {
        wait_until_empty(&self.events, patience).unwrap_or(false)
    }

    /// What it says of the jail that has ended, and begins to count anew.
    pub(super) fn settle(&mut self) -> Verdict {
        let now = self.counts();
        let before = std::mem::replace(&mut self.before, now);
        let limit = if now.kills > before.kills {
            Some("memory")
        } else if now.refused > before.refused {
            Some("processes")
        } else {
            None
        };
        let peak = self.peak.as_ref().and_then(|peak| again(peak).ok());
        Verdict {
            limit,
            peak: peak.and_then(|text| text.trim().parse().ok()),
            cpu_us: Some(now.cpu_us.saturating_sub(before.cpu_us)),
        }
    }

    /// May be used again: it was not killed, and hardly anything is counted here any more. Files that a jail wrote stay in memory for a
    /// while; the kernel drops them for the next jail, but what it cannot drop is the next one's loss.
    pub(super) fn is_clean(&self) -> bool {
        if self.killed {
            return false;
        }
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let Some(most) = self.holds.get("memory.max").and_then(|text| number(text)) else {
            return true;
        };
        let current = self.node.read("memory.current").ok();
        current.is_some_and(|text| number(&text).is_some_and(|left| left <= most / LEFT_PART))
    }

    fn counts(&self) -> Counts {
        let read = |there: bool, file| match there {
            true => self.node.read(file).unwrap_or_default(),
            false => String::new(),
        };
        let memory = read(self.controllers.memory, "memory.events");
        let pids = read(self.controllers.pids, "pids.events");
        Counts {
            kills: number(&memory, "oom_kill").saturating_add(number(&memory, "oom_group_kill")),
            refused: number(&pids, "max"),
            cpu_us: cpu_us(&self.node),
        }
    }
}

fn cpu_us<N: Node>(node: &N) -> u64 {
    number(&node.read("cpu.stat").unwrap_or_default(), "usage_usec")
}

fn write<N: Node>(node: &N, file: &str, text: &str) -> io::Result<()> {
    node.write(file, text).map_err(|error| named(file, &error))
}

fn named(file: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("write {file}: {error}"))
}
