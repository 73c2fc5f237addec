//! Both classes of jails under one roof, with the manifests that programs run under.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::running::Running;
use super::trouble::Trouble;
use crate::error::Error;
use crate::jail::cgroup::{self, Cgroups, Leaf};
use crate::jail::foreign::view::Users;
use crate::jail::foreign::{self, Foreign, Job};
use crate::jail::limits::ToolLimits;
use crate::jail::{Jail, Static};
use crate::wire::frame;
use crate::wire::manifest::{Class, Manifest};
use crate::wire::messages::JailFault;

/// CPU time of a jail in percent of one processor.
const CPU_PERCENT: u32 = 100;

/// What a jailer can start.
#[derive(Debug)]
pub(super) struct Jails {
    native: Jail,
    foreign: Option<Foreign>,
    cgroups: Cgroups,
    manifests: BTreeMap<String, Manifest>,
    users: Option<Users>,
    observe: bool,
}

impl Jails {
    /// Of these; `foreign` where a manifest is. What Keepgate's own tools are refused is told where
    /// `observe`.
    pub(super) fn new(
        native: Jail,
        foreign: Option<Foreign>,
        cgroups: Cgroups,
        manifests: Vec<Manifest>,
        users: Option<Users>,
        observe: bool,
    ) -> Self {
        let manifests = manifests
            .into_iter()
            .map(|manifest| (manifest.name.clone(), manifest));
        Self {
            native,
            foreign,
            cgroups,
            manifests: manifests.collect(),
            users,
            observe,
        }
    }

    /// The leaves, to give them back.
    pub(super) fn cgroups(&mut self) -> &mut Cgroups {
        &mut self.cgroups
    }

    fn leaf(&mut self, memory: u64, processes: u64) -> Result<Option<Leaf>, Trouble> {
        let limits = cgroup::Limits {
            memory,
            processes,
            cpu_percent: CPU_PERCENT,
        };
        let leaf = self.cgroups.take(limits);
        leaf.map_err(|error| Trouble::failed("take a cgroup", error))
    }

    /// A jail that was not started leaves its leaf as it was.
    fn keep<T>(
        &mut self,
        started: Result<T, Trouble>,
        leaf: Option<Leaf>,
    ) -> Result<(T, Option<Leaf>), Trouble> {
        match started {
            Ok(started) => Ok((started, leaf)),
            Err(trouble) => {
                leaf.map(|leaf| self.cgroups.give_back(leaf));
                Err(trouble)
            }
        }
    }

    /// Starts one of Keepgate's own tools, which lives for `wall_ms` milliseconds at most.
    pub(super) fn tool(
        &mut self,
        tool: &str,
        fds: &[BorrowedFd<'_>],
        limits: ToolLimits,
        slot: u32,
        wall_ms: u64,
    ) -> Result<Running, Trouble> {
        let link = pair_if(self.observe)?;
        let listener = link.as_ref().map(|(_, theirs)| theirs.as_fd());
        let leaf = self.leaf(limits.memory, 0)?;
        let cgroup = leaf.as_ref().map(Leaf::fd);
        let started = self.native.spawn(tool, fds, limits, slot, listener, cgroup);
        let (jailed, leaf) = self.keep(started.map_err(failed), leaf)?;
        let link = link.map(|(ours, _)| ours);
        let mut running = Running::new(jailed, slot, wall_ms, limits.cpu_s, Class::Native, link);
        running.leaf = leaf;
        Ok(running)
    }

    /// Starts a program under the manifest `name`. `fds` are its standard input, output and error,
    /// and in the native classes its program.
    pub(super) fn run(
        &mut self,
        name: &str,
        program: &str,
        argv: &[String],
        fds: &[OwnedFd],
        slot: u32,
    ) -> Result<Running, Trouble> {
        let missing = || Trouble::new(JailFault::NotFound, "no such manifest");
        let Manifest { class, limits, .. } = self.manifests.get(name).ok_or_else(missing)?;
        let memory = limits.memory;
        // The first process of a foreign jail is ours, and the program the second.
        let first = u64::from(*class == Class::Foreign);
        let processes = limits.processes.saturating_add(first);
        let leaf = self.leaf(memory, processes)?;
        let cgroup = leaf.as_ref().map(Leaf::fd);
        let started = self.start(name, program, argv, fds, slot, cgroup);
        let (mut running, leaf) = self.keep(started, leaf)?;
        running.leaf = leaf;
        Ok(running)
    }

    fn start(
        &mut self,
        name: &str,
        program: &str,
        argv: &[String],
        fds: &[OwnedFd],
        slot: u32,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<Running, Trouble> {
        let missing = || Trouble::new(JailFault::NotFound, "no such manifest");
        let manifest = self.manifests.get(name).ok_or_else(missing)?;
        let (stdio, rest) = fds.split_at_checked(3).unwrap_or((&[], fds));
        let [input, output, error] = stdio else {
            return Err(Trouble::new(
                JailFault::Failed,
                "an order without its descriptors",
            ));
        };
        let stdio = [input.as_fd(), output.as_fd(), error.as_fd()];
        let (jailed, link) = match (manifest.class, rest) {
            (Class::Foreign, []) => {
                let job = Job::Run { program, argv };
                let foreign = self.foreign.as_mut().ok_or_else(missing)?;
                let foreign::Running { jailed, link } = foreign
                    .spawn(name, &job, stdio, slot, cgroup)
                    .map_err(failed)?;
                (jailed, Some(link))
            }
            (Class::Native | Class::NativeGeneric, [program]) => {
                let link = pair_if(manifest.observe)?;
                let what = Static {
                    manifest,
                    program: program.as_fd(),
                    argv,
                    stdio,
                    listener: link.as_ref().map(|(_, theirs)| theirs.as_fd()),
                };
                let jailed = self.native.run(&what, slot, cgroup).map_err(failed)?;
                (jailed, link.map(|(ours, _)| ours))
            }
            _ => {
                let what = format!("{} descriptors are not what this class gets", fds.len());
                return Err(Trouble::new(JailFault::Failed, what));
            }
        };
        let limits = &manifest.limits;
        Ok(Running::new(
            jailed,
            slot,
            limits.wall_ms,
            limits.cpu_s,
            manifest.class,
            link,
        ))
    }

    /// Uid of the user `slot`, where there is more than one.
    pub(super) fn uid(&self, slot: u32) -> Option<u32> {
        self.users.map(|users| users.uid(slot))
    }

    /// This process' `/proc`, where it has one.
    pub(super) fn proc(&self) -> Option<BorrowedFd<'_>> {
        self.foreign.as_ref().map(|foreign| foreign.views().proc())
    }
}

/// Both ends of where a jail speaks, where it is to.
fn pair_if(observe: bool) -> Result<Option<(OwnedFd, OwnedFd)>, Trouble> {
    observe.then(frame::pair).transpose().map_err(failed)
}

fn failed(error: Error) -> Trouble {
    Trouble::new(JailFault::Failed, error.message())
}
