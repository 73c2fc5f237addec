//! Both classes of jails under one roof, with the manifests that programs run under.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use super::ahead::{Ahead, Waiting};
use super::reserve::Reserve;
use super::running::Running;
use super::seats::Seats;
use super::trouble::Trouble;
use super::watch::START;
use crate::error::Error;
use crate::jail::cgroup::{self, Cgroups, Leaf};
use crate::jail::foreign::users::Users;
use crate::jail::foreign::view::Views;
use crate::jail::foreign::{self, Foreign, Job};
use crate::jail::limits::ToolLimits;
use crate::jail::probe::Facts;
use crate::jail::{Jail, Seat, Static};
use crate::sys::jail::Jailed;
use crate::wire::frame;
use crate::wire::manifest::{Class, Manifest};
use crate::wire::messages::{JailFault, Unusable};

/// CPU time of a jail in percent of one processor.
const CPU_PERCENT: u32 = 100;
/// Lowest Landlock ABI that confines signals.
const SCOPED: i32 = 6;

/// What a jailer can start.
#[derive(Debug)]
pub(super) struct Jails {
    native: Jail,
    foreign: Option<Foreign>,
    cgroups: Cgroups,
    manifests: BTreeMap<String, Manifest>,
    /// Those whose programs are not started.
    unusable: Vec<Unusable>,
    users: Option<Users>,
    seats: Seats,
    ahead: Ahead,
    observe: bool,
    /// Of this host, as far as is known.
    processors: u32,
}

/// A program to be run, as it was ordered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Program<'a> {
    /// Name of its manifest.
    pub(super) manifest: &'a str,
    /// Its path in a foreign jail.
    pub(super) program: &'a str,
    /// Its arguments.
    pub(super) argv: &'a [String],
    /// It has no time limit.
    pub(super) lasting: bool,
    /// When it was ordered.
    pub(super) since: Instant,
}

impl Jails {
    /// Of these; `foreign` where a manifest is. What Keepgate's own tools are refused is told where
    /// `observe`; else up to `ahead` jails are made ahead for them.
    pub(super) fn new(
        native: Jail,
        foreign: Option<Foreign>,
        cgroups: Cgroups,
        manifests: Vec<Manifest>,
        users: Option<Users>,
        observe: bool,
        ahead: usize,
    ) -> Self {
        let manifests = manifests
            .into_iter()
            .map(|manifest| (manifest.name.clone(), manifest));
        let views = foreign.as_ref().map(Foreign::views);
        let unusable = views.map_or_else(Vec::new, |views| views.unusable().to_vec());
        for Unusable { manifest, why, .. } in &unusable {
            tracing::error!(manifest, why, "a manifest cannot be used");
        }
        Self {
            unusable,
            native,
            foreign,
            cgroups,
            manifests: manifests.collect(),
            users,
            seats: Seats::default(),
            // Whoever waits has its filter already, and nobody would hear of its refused calls.
            ahead: Ahead::new(if observe { 0 } else { ahead }),
            observe,
            processors: std::thread::available_parallelism()
                .map_or(1, |processors| u32::try_from(processors.get()).unwrap_or(1)),
        }
    }

    /// The leaves, to give them back.
    pub(super) fn cgroups(&mut self) -> &mut Cgroups {
        &mut self.cgroups
    }

    /// Frees the user of a jail that has ended.
    pub(super) fn free(&mut self, slot: u32) {
        self.seats.free(slot);
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
        slot: u32,
    ) -> Result<(T, Option<Leaf>), Trouble> {
        match started {
            Ok(started) => Ok((started, leaf)),
            Err(trouble) => {
                leaf.map(|leaf| self.cgroups.give_back(leaf));
                self.seats.free(slot);
                Err(trouble)
            }
        }
    }

    /// Has one of Keepgate's own tools run, for `wall_ms` milliseconds at most: by a jail that waits
    /// for it, or by one that is started now.
    pub(super) fn tool(
        &mut self,
        tool: &str,
        fds: &[BorrowedFd<'_>],
        limits: ToolLimits,
        wall_ms: u64,
    ) -> Result<Running, Trouble> {
        let since = Instant::now();
        let (waiting, useless) = self.ahead.take(limits);
        useless.into_iter().for_each(|one| self.end(one));
        let waiting = waiting.and_then(|one| match one.order(tool, fds) {
            Ok(()) => Some(one),
            Err(error) => {
                tracing::error!(%error, "a jail that waited has ended");
                self.end(one);
                None
            }
        });
        let (one, link) = match waiting {
            Some(one) => (one, None),
            None => self.cold(limits, |native, listener, slot, cgroup| {
                let seat = Seat {
                    slot,
                    listener,
                    cgroup,
                };
                native.spawn(tool, fds, limits, seat)
            })?,
        };
        let mut running = Running::new(
            since,
            one.jailed,
            one.slot,
            Some(wall_ms),
            limits.cpu_s,
            Class::Native,
            link,
        );
        running.leaf = one.leaf;
        running.silent = START;
        Ok(running)
    }

    /// Something more made ahead is wanted.
    pub(super) fn wants_more(&self) -> bool {
        self.ahead.wanted().is_some() || self.foreign.as_ref().is_some_and(Foreign::wants_more)
    }

    /// Makes one jail that waits, or one network for a foreign one, if one is wanted.
    pub(super) fn prepare(&mut self) {
        let Some(limits) = self.ahead.wanted() else {
            self.prepare_network();
            return;
        };
        let made = frame::pair().map_err(failed).and_then(|(link, theirs)| {
            let started = self.cold(limits, |native, _, slot, cgroup| {
                let seat = Seat {
                    slot,
                    listener: None,
                    cgroup,
                };
                native.prepare(theirs.as_fd(), limits, seat)
            });
            started.map(|(one, _)| (one, link))
        });
        match made {
            Ok((one, link)) => self.ahead.keep(Waiting {
                link: Some(link),
                ..one
            }),
            Err(trouble) => {
                tracing::warn!(detail = trouble.detail, "no jails are made ahead");
                self.ahead.rest();
            }
        }
    }

    fn prepare_network(&mut self) {
        let wants = |foreign: &&mut Foreign| foreign.wants_more();
        if let Some(foreign) = self.foreign.as_mut().filter(wants)
            && let Err(error) = foreign.prepare()
        {
            tracing::warn!(%error, "no networks are made ahead");
        }
    }

    /// The ends of jails that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.ahead.ends()
    }

    /// Lets go of jails that ended while they waited.
    pub(super) fn sweep(&mut self) {
        for one in self.ahead.ended() {
            // Not again at once: whatever ends them would have them started without end.
            self.ahead.rest();
            tracing::warn!(slot = one.slot, "a jail that waited was ended");
            self.end(one);
        }
    }

    /// Ends all jails that wait.
    pub(super) fn end_waiting(&mut self) {
        self.ahead.all().into_iter().for_each(|one| self.end(one));
    }

    fn end(&mut self, one: Waiting) {
        one.jailed.kill();
        if let Err(error) = one.jailed.wait() {
            tracing::error!(%error, "lost the end of a jail that waited");
        }
        one.leaf.map(|leaf| self.cgroups.give_back(leaf));
        self.seats.free(one.slot);
    }

    /// Starts a native jail with a user, a cgroup and, where calls are observed, a listener.
    fn cold(
        &mut self,
        limits: ToolLimits,
        start: impl FnOnce(
            &Jail,
            Option<BorrowedFd<'_>>,
            u32,
            Option<BorrowedFd<'_>>,
        ) -> crate::error::Result<Jailed>,
    ) -> Result<(Waiting, Option<OwnedFd>), Trouble> {
        let link = pair_if(self.observe)?;
        let listener = link.as_ref().map(|(_, theirs)| theirs.as_fd());
        let leaf = self.leaf(limits.memory, 0)?;
        let slot = self.seats.take();
        let started = start(&self.native, listener, slot, leaf.as_ref().map(Leaf::fd));
        let (jailed, leaf) = self.keep(started.map_err(failed), leaf, slot)?;
        let one = Waiting {
            jailed,
            link: None,
            slot,
            leaf,
        };
        Ok((one, link.map(|(ours, _)| ours)))
    }

    /// Starts a program under a manifest. `fds` are its standard input, output and error,
    /// and in the native classes its program.
    pub(super) fn run(
        &mut self,
        program: &Program<'_>,
        fds: &[OwnedFd],
    ) -> Result<Running, Trouble> {
        let missing = || Trouble::new(JailFault::NotFound, "no such manifest");
        let manifest = self.manifests.get(program.manifest);
        let Manifest { class, limits, .. } = manifest.ok_or_else(missing)?;
        if self.why_not(program.manifest).is_some() {
            let what = "this manifest cannot be used; the self-test's report says why";
            return Err(Trouble::new(JailFault::Failed, what));
        }
        if program.lasting && *class != Class::Foreign {
            let what = "only foreign jails last";
            return Err(Trouble::new(JailFault::Failed, what));
        }
        let memory = limits.memory;
        // The first process of a jail is ours, and the program the second.
        let first = u64::from(*class != Class::Native);
        let processes = limits.processes.saturating_add(first);
        let leaf = self.leaf(memory, processes)?;
        let cgroup = leaf.as_ref().map(Leaf::fd);
        let slot = self.seats.take();
        let started = self.start(program, fds, slot, cgroup);
        let ((jailed, link), leaf) = self.keep(started, leaf, slot)?;
        let manifest = self.manifests.get(program.manifest).ok_or_else(missing)?;
        let Manifest { class, limits, .. } = manifest;
        let wall_ms = (!program.lasting).then_some(limits.wall_ms);
        let since = program.since;
        let cpu_s = match program.lasting {
            true => u64::MAX,
            false => limits.cpu_s,
        };
        let mut running = Running::new(since, jailed, slot, wall_ms, cpu_s, *class, link);
        let reserve = || Reserve::new(limits.cpu_s, self.processors, Instant::now());
        running.reserve = program.lasting.then(reserve);
        running.leaf = leaf;
        running.manifest = manifest.name.clone();
        Ok(running)
    }

    /// The jail of a program, and where it speaks.
    fn start(
        &mut self,
        program: &Program<'_>,
        fds: &[OwnedFd],
        slot: u32,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<(Jailed, Option<OwnedFd>), Trouble> {
        let missing = || Trouble::new(JailFault::NotFound, "no such manifest");
        let Program {
            manifest: name,
            program,
            argv,
            lasting,
            ..
        } = *program;
        let manifest = self.manifests.get(name).ok_or_else(missing)?;
        let (stdio, rest) = fds.split_at_checked(3).unwrap_or((&[], fds));
        let [input, output, error] = stdio else {
            return Err(Trouble::new(
                JailFault::Failed,
                "an order without its descriptors",
            ));
        };
        let stdio = [input.as_fd(), output.as_fd(), error.as_fd()];
        match (manifest.class, rest) {
            (Class::Foreign, []) => {
                let job = Job::Run {
                    program,
                    argv,
                    lasting,
                };
                let foreign = self.foreign.as_mut().ok_or_else(missing)?;
                let foreign::Running { jailed, link } = foreign
                    .spawn(name, &job, stdio, slot, cgroup)
                    .map_err(failed)?;
                Ok((jailed, Some(link)))
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
                Ok((jailed, link.map(|(ours, _)| ours)))
            }
            _ => {
                let what = format!("{} descriptors are not what this class gets", fds.len());
                Err(Trouble::new(JailFault::Failed, what))
            }
        }
    }

    /// Starts the self-test of native jails now; `fds` as those of a tool.
    pub(super) fn probe(
        &mut self,
        fds: &[BorrowedFd<'_>],
        limits: ToolLimits,
        wall_ms: u64,
    ) -> Result<Running, Trouble> {
        let since = Instant::now();
        let (one, link) = self.cold(limits, |native, listener, slot, cgroup| {
            let seat = Seat {
                slot,
                listener,
                cgroup,
            };
            native.spawn("self-test", fds, limits, seat)
        })?;
        let (cpu_s, class) = (limits.cpu_s, Class::Native);
        let wall_ms = Some(wall_ms);
        let mut running = Running::new(since, one.jailed, one.slot, wall_ms, cpu_s, class, link);
        running.leaf = one.leaf;
        Ok(running)
    }

    /// Starts the self-test of the foreign manifest `name`.
    pub(super) fn probe_foreign(
        &mut self,
        name: &str,
        output: BorrowedFd<'_>,
        wall_ms: u64,
    ) -> Result<Running, Trouble> {
        let missing = || Trouble::new(JailFault::NotFound, "no such manifest");
        let manifest = self.manifests.get(name).ok_or_else(missing)?;
        let since = Instant::now();
        let (class, limits) = (manifest.class, manifest.limits);
        let mut facts = Facts {
            manifest: manifest.clone(),
            uid: None,
            scoped: self.native.landlock_abi() >= SCOPED,
        };
        let leaf = self.leaf(limits.memory, limits.processes.saturating_add(1))?;
        let slot = self.seats.take();
        facts.uid = self.uid(slot);
        let cgroup = leaf.as_ref().map(Leaf::fd);
        let started = self.start_probe(&facts, output, slot, cgroup);
        let (foreign::Running { jailed, link }, leaf) = self.keep(started, leaf, slot)?;
        let mut running = Running::new(
            since,
            jailed,
            slot,
            Some(wall_ms),
            limits.cpu_s,
            class,
            Some(link),
        );
        running.leaf = leaf;
        Ok(running)
    }

    fn start_probe(
        &mut self,
        facts: &Facts,
        output: BorrowedFd<'_>,
        slot: u32,
        cgroup: Option<BorrowedFd<'_>>,
    ) -> Result<foreign::Running, Trouble> {
        let missing = || Trouble::new(JailFault::NotFound, "no such manifest");
        let foreign = self.foreign.as_mut().ok_or_else(missing)?;
        let facts_text = serde_json::to_vec(facts);
        let facts_text = facts_text.map_err(|error| Trouble::failed("tell a probe", error))?;
        let input = frame::sealed_memfd("self-test", &facts_text).map_err(failed)?;
        let stdio = [input.as_fd(), output, output];
        let started = foreign.spawn(&facts.manifest.name, &Job::Probe, stdio, slot, cgroup);
        started.map_err(failed)
    }

    /// Names of the foreign manifests that can be used as far as is known.
    pub(super) fn foreign_names(&self) -> Vec<String> {
        let all = self.manifests.values();
        let foreign = all.filter(|manifest| manifest.class == Class::Foreign);
        let usable = foreign.filter(|manifest| self.why_not(&manifest.name).is_none());
        usable.map(|manifest| manifest.name.clone()).collect()
    }

    /// From now on no program of this manifest is started.
    pub(super) fn exclude(&mut self, manifest: String, why: String) {
        tracing::error!(manifest, why, "a manifest cannot be used");
        self.unusable.push(Unusable {
            manifest,
            why,
            hint: None,
        });
    }

    /// The manifests whose programs are not started.
    pub(super) fn unusable(&self) -> &[Unusable] {
        &self.unusable
    }

    /// Why this manifest cannot be used, where it cannot.
    fn why_not(&self, manifest: &str) -> Option<&str> {
        let mut all = self.unusable.iter();
        let found = all.find(|unusable| unusable.manifest == manifest)?;
        Some(&found.why)
    }

    /// What foreign jails see.
    pub(super) fn views(&self) -> Option<&Views> {
        self.foreign.as_ref().map(Foreign::views)
    }

    /// The native jails.
    pub(super) fn native(&self) -> &Jail {
        &self.native
    }

    /// Uid of the user `slot`, where there is more than one.
    pub(super) fn uid(&self, slot: u32) -> Option<u32> {
        self.users.map(|users| users.uid(slot))
    }

    /// Number of users that jails run as.
    pub(super) fn users(&self) -> usize {
        let count = self.users.map_or(1, |users| users.count.max(1));
        usize::try_from(count).unwrap_or(1)
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
