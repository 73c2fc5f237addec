//! Jails started by the code that starts them, in the world a jailer has.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use keepgate::jail::cgroup::{self, Cgroups, Lack, Leaf};
use keepgate::jail::foreign::users::Users;
use keepgate::jail::limits::ToolLimits;
use keepgate::jail::world::World;
use keepgate::jail::{Jail, NO_CGROUPS, Seat, Static, TOO_OLD};
use keepgate::sys::jail::{FirstProcess, Jailed};
use keepgate::sys::network::Home;
use keepgate::sys::spawn::End;
use keepgate::sys::{handed, sealed};
use keepgate::wire::frame;
use keepgate::wire::manifest::{Class, Manifest};

use super::worker::{Held, serve};

/// The kind of this worker; its argument is a subtree of cgroups, or nothing, and a small static
/// program, with `:` between.
pub(super) const KIND: &str = "world";

/// Longest program.
const PROGRAM_MAX: u64 = 1 << 30;
/// Jails that wait at a time: each has the turns of the others to get there.
const AHEAD: usize = 4;
const LIMITS: ToolLimits = ToolLimits {
    cpu_s: 5,
    memory: 1 << 30,
    file: 1 << 20,
};
const GROUP: cgroup::Limits = cgroup::Limits {
    memory: LIMITS.memory,
    processes: 0,
    cpu_percent: 100,
};
/// The only user of jails here.
const USERS: Users = Users {
    first: super::TOOL,
    count: 1,
};

struct Spawner {
    jail: Jail,
    cgroups: Cgroups,
    null: File,
    small: OwnedFd,
    manifests: [Manifest; 2],
    ahead: VecDeque<(Jailed, OwnedFd)>,
    home: Home,
}

/// Its life.
pub(super) fn run(argument: &str) {
    let (group, small) = argument.split_once(':').unwrap();
    let null = File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .unwrap();
    let seal = |path: PathBuf| sealed::seal(&File::open(path).unwrap(), PROGRAM_MAX).unwrap();
    let (program, small) = (seal(super::super::binary()), seal(small.into()));
    let root = nix::unistd::geteuid().is_root();
    let group = (!group.is_empty()).then(|| PathBuf::from(group));
    let mut world = World::enter(&[], group.as_deref(), &[], USERS).unwrap();
    let lack = group.is_none().then(|| Lack::new("not measured", ""));
    let mut cgroups: Cgroups = Cgroups::enter(world.take_cgroup().map(Into::into), lack);
    cgroups.fill();
    let accept = [NO_CGROUPS.to_owned(), TOO_OLD.to_owned()];
    let mut spawner = Spawner {
        jail: Jail::new(program, root.then_some(USERS), &accept).unwrap(),
        cgroups,
        null,
        small,
        manifests: [Class::Native, Class::NativeGeneric].map(Manifest::of),
        ahead: VecDeque::new(),
        home: Home::here().unwrap(),
    };
    let mut held = Held::default();
    serve(|what, times| match what {
        "jail" => (0..times).map(|_| spawner.plain()).collect(),
        "leaf" => (0..times).map(|_| spawner.pooled()).collect(),
        "ahead" => (0..times).map(|_| spawner.ahead()).collect(),
        "small" => (0..times).map(|_| spawner.small(Class::Native)).collect(),
        "generic" => (0..times)
            .map(|_| spawner.small(Class::NativeGeneric))
            .collect(),
        "first" => (0..times).map(|_| spawner.first()).collect(),
        "network" => (0..times).map(|_| spawner.network()).collect(),
        "hold" => held.only(times),
        _ => panic!("{what}"),
    });
    // In this process' own cgroup, which could not be removed before they are gone.
    for (jail, _) in spawner.ahead.drain(..) {
        jail.kill();
        jail.wait().unwrap();
    }
    spawner.cgroups.close();
}

impl Spawner {
    fn plain(&self) -> f64 {
        let fds = [self.null.as_fd(); 3];
        let start = Instant::now();
        let jail = self.jail.spawn("noop", &fds, LIMITS, Seat::default());
        ended(jail.unwrap(), start)
    }

    /// All that a call pays for a cgroup: taken, entered, emptied, read, given back.
    fn pooled(&mut self) -> f64 {
        let fds = [self.null.as_fd(); 3];
        let start = Instant::now();
        let leaf = self.cgroups.take(GROUP).unwrap();
        let seat = Seat {
            cgroup: leaf.as_ref().map(Leaf::fd),
            ..Seat::default()
        };
        let jail = self.jail.spawn("noop", &fds, LIMITS, seat).unwrap();
        ended(jail, start);
        leaf.map(|leaf| self.cgroups.give_back(leaf));
        start.elapsed().as_secs_f64()
    }

    /// From the order to the end of one that waits.
    fn ahead(&mut self) -> f64 {
        while self.ahead.len() < AHEAD {
            let (link, theirs) = frame::pair().unwrap();
            let jail = self.jail.prepare(theirs.as_fd(), LIMITS, Seat::default());
            self.ahead.push_back((jail.unwrap(), link));
        }
        let (jail, link) = self.ahead.pop_front().unwrap();
        let fds = [self.null.as_fd(); 3];
        let start = Instant::now();
        handed::hand(link.as_fd(), "noop", &fds).unwrap();
        ended(jail, start)
    }

    /// A program that is not ours, in a native jail of this class.
    fn small(&self, class: Class) -> f64 {
        let mut manifests = self.manifests.iter();
        let what = Static {
            manifest: manifests.find(|one| one.class == class).unwrap(),
            program: self.small.as_fd(),
            argv: &["small".to_owned()],
            stdio: [self.null.as_fd(); 3],
            listener: None,
        };
        let start = Instant::now();
        ended(self.jail.run(&what, 0, None).unwrap(), start)
    }

    /// What a foreign jail's network takes to be made, ahead or not.
    fn network(&self) -> f64 {
        let start = Instant::now();
        drop(self.home.fresh().unwrap());
        start.elapsed().as_secs_f64()
    }

    /// A foreign jail's first process with nothing to do, which it notices at once: its other
    /// namespaces and itself.
    fn first(&self) -> f64 {
        let fds = [self.null.as_fd(); 3];
        let network = self.home.fresh().unwrap();
        let first = FirstProcess {
            program: self.jail.program(),
            network: network.as_fd(),
            fds: &fds,
            cgroup: None,
        };
        let start = Instant::now();
        let (end, _) = first.spawn().unwrap().wait().unwrap();
        assert_eq!(end, End::Exited(1));
        start.elapsed().as_secs_f64()
    }
}

fn ended(jail: Jailed, start: Instant) -> f64 {
    let (end, _) = jail.wait().unwrap();
    let took = start.elapsed().as_secs_f64();
    assert_eq!(end, End::Exited(0));
    took
}
