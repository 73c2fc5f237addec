//! A keeper's part: a jailer of the product, hardened as its supervisor does it, and orders to it.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use keepgate::call::id::Id;
use keepgate::jail::cgroup::{Delegation, Lack};
use keepgate::jail::confine::Confine;
use keepgate::jail::foreign::users::Users;
use keepgate::jail::{NO_CGROUPS, TOO_OLD};
use keepgate::jailer::JailerSetup;
use keepgate::sys::filter::Filter;
use keepgate::sys::process;
use keepgate::sys::spawn::{self, End, RoleChild};
use keepgate::wire::frame;
use keepgate::wire::messages::{Control, JailerToKeeper, KeeperToJailer, Limits, Report, Role};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::worker::{Held, serve};

/// The kind of this worker; its argument is what kind of jailer it has and a subtree of cgroups, or
/// nothing, with `:` between.
pub(super) const KIND: &str = "keeper";
/// Kinds of jailers: with Keepgate's own tools only, started for each order or made ahead as the
/// product does it; and with the profile `foreign`.
pub(super) const COLD: &str = "cold";
pub(super) const AHEAD: &str = "ahead";
pub(super) const FOREIGN: &str = "foreign";

/// What a jailer of the product makes ahead.
const MADE_AHEAD: usize = 4;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Orders in flight.
const CROWD: usize = 64;
const USERS: Users = Users {
    first: 64_800,
    count: 128,
};
const LIMITS: Limits = Limits {
    wall_ms: 20_000,
    cpu_s: 5,
    memory: 512 << 20,
    file: 1 << 20,
};

/// Its life.
pub(super) fn run(argument: &str) {
    let (kind, group) = argument.split_once(':').unwrap();
    let group = (!group.is_empty()).then(|| PathBuf::from(group));
    let jailer = Jailer::start(kind, group.clone());
    let mut held = Held::default();
    serve(|what, times| match what {
        "tool" => (0..times).map(|_| jailer.one(&Jailer::tool)).collect(),
        "true" => (0..times).map(|_| jailer.one(&Jailer::run)).collect(),
        "crowd" => vec![jailer.crowd(times)],
        "count" => jailer.rests(group.as_deref()),
        "self-test" => vec![jailer.self_test],
        "hold" => held.only(times),
        _ => panic!("{what}"),
    });
}

struct Jailer {
    process: RoleChild,
    control: OwnedFd,
    link: OwnedFd,
    null: File,
    /// Seconds.
    self_test: f64,
    /// Keeps the thread that started it, whose end would be the jailer's.
    _hold: Sender<()>,
}

impl Jailer {
    fn start(kind: &str, group: Option<PathBuf>) -> Self {
        let foreign = kind == FOREIGN;
        let lack = group.is_none().then(|| Lack::new("not measured", ""));
        let setup = JailerSetup {
            confine: Confine {
                uid: Some(super::JAILER),
                ..Confine::default()
            },
            plane: "bench".into(),
            jail_users: Some(USERS),
            pins: std::collections::BTreeMap::new(),
            manifests: if foreign {
                vec![super::foreign()]
            } else {
                vec![]
            },
            observe: false,
            ahead: if kind == COLD { 0 } else { MADE_AHEAD },
            separation: "separate uids".into(),
            roots: vec![],
            accept: vec![NO_CGROUPS.into(), TOO_OLD.into()],
            cgroup: Delegation { path: group, lack },
        };
        let (control, theirs) = frame::pair().unwrap();
        let (told, child) = channel();
        let (hold, released) = channel::<()>();
        // The supervisor's filter, which the jailer inherits, is for this one thread.
        std::thread::spawn(move || {
            process::no_new_privs().unwrap();
            if !foreign {
                Filter::supervisor().unwrap().install().unwrap();
            }
            let program = File::open(super::super::binary()).unwrap();
            let child = spawn::role(program, "jailer", "bench", theirs.as_fd()).unwrap();
            drop(theirs);
            told.send(child).unwrap();
            // Nothing is ever sent: this is until the jailer is dropped.
            assert!(released.recv().is_err());
        });
        let process = child.recv().unwrap();
        let blob = serde_json::to_vec(&setup).unwrap();
        frame::send(control.as_fd(), &Control::Setup, &blob, &[]).unwrap();
        let said = frame::recv::<Report>(control.as_fd(), 0).unwrap().unwrap();
        assert!(matches!(said.say, Report::Ready), "{:?}", said.say);
        let (link, theirs) = frame::pair().unwrap();
        let peer = Control::Link { peer: Role::Keeper };
        frame::send(control.as_fd(), &peer, &[], &[theirs.as_fd()]).unwrap();
        let said = frame::recv::<JailerToKeeper>(link.as_fd(), 0).unwrap();
        let JailerToKeeper::SelfTest { report, fit: true } = said.unwrap().say else {
            panic!("the jailer is not fit")
        };
        Self {
            process,
            control,
            link,
            null: File::options()
                .read(true)
                .write(true)
                .open("/dev/null")
                .unwrap(),
            self_test: report.took_us as f64 / 1e6,
            _hold: hold,
        }
    }

    fn tool(ticket: Id) -> KeeperToJailer {
        KeeperToJailer::Spawn {
            ticket,
            tool: "noop".into(),
            limits: LIMITS,
            files: vec![],
            stream: false,
        }
    }

    fn run(ticket: Id) -> KeeperToJailer {
        KeeperToJailer::Run {
            ticket,
            lasting: false,
            manifest: "foreign".into(),
            program: "/bin/true".into(),
            argv: vec!["true".into()],
        }
    }

    fn say(&self, order: &dyn Fn(Id) -> KeeperToJailer) {
        let fds = [self.null.as_fd(); 3];
        let order = order(Id::random().unwrap());
        frame::send(self.link.as_fd(), &order, &[], &fds).unwrap();
    }

    fn hear(&self) {
        let said = frame::recv::<JailerToKeeper>(self.link.as_fd(), 0)
            .unwrap()
            .unwrap()
            .say;
        let JailerToKeeper::Exited { end, .. } = &said else {
            panic!("{said:?}")
        };
        assert_eq!(end.code, Some(0), "{said:?}");
    }

    /// Seconds from an order to the news of its end.
    fn one(&self, order: &dyn Fn(Id) -> KeeperToJailer) -> f64 {
        let start = Instant::now();
        self.say(order);
        self.hear();
        start.elapsed().as_secs_f64()
    }

    /// Jails a second, with as many orders in flight as the crowd has.
    fn crowd(&self, times: usize) -> f64 {
        let start = Instant::now();
        let first = CROWD.min(times);
        (0..first).for_each(|_| self.say(&Self::tool));
        for _ in first..times {
            self.hear();
            self.say(&Self::tool);
        }
        (0..first).for_each(|_| self.hear());
        times as f64 / start.elapsed().as_secs_f64()
    }

    /// What the jailer has when it has nothing more to do: when that stays the same for a while.
    fn rests(&self, group: Option<&Path>) -> Vec<f64> {
        let (until, mut last, mut since) = (Instant::now() + PATIENCE, vec![], Instant::now());
        loop {
            let now = self.count(group);
            if now != last {
                (last, since) = (now, Instant::now());
            }
            if since.elapsed() > PATIENCE / 10 || Instant::now() > until {
                return last;
            }
            std::thread::park_timeout(PATIENCE / 500);
        }
    }

    /// What the jailer has now: descriptors, child processes, mounts, cgroups.
    fn count(&self, group: Option<&Path>) -> Vec<f64> {
        let pid = self.process.pid;
        let own = PathBuf::from(format!("/proc/{pid}"));
        let entries = |path: &Path| fs::read_dir(path).unwrap().count();
        let text = |path: PathBuf| fs::read_to_string(path).unwrap();
        let children = text(own.join(format!("task/{pid}/children")));
        let groups = group.map_or(0, |group| {
            let inside = fs::read_dir(group).unwrap();
            inside
                .filter(|entry| entry.as_ref().unwrap().path().is_dir())
                .count()
        });
        let all = [
            entries(&own.join("fd")),
            children.split_whitespace().count(),
            text(own.join("mountinfo")).lines().count(),
            groups,
        ];
        all.map(|count| count as f64).to_vec()
    }
}

impl Drop for Jailer {
    fn drop(&mut self) {
        frame::send(self.control.as_fd(), &Control::Stop, &[], &[]).unwrap();
        let mut polled = [PollFd::new(self.process.pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::NONE).unwrap();
        let end = spawn::try_wait(self.process.pidfd.as_fd()).unwrap();
        assert!(
            end == Some(End::Exited(0)) || std::thread::panicking(),
            "{end:?}"
        );
    }
}
