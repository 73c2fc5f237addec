//! One plane: its four roles, the links between them, and when to start which again.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::listeners::Listeners;
use super::places::Places;
use super::runtimes::{Asked, Runtimes};
use super::setup::{Boot, Setup};
use crate::config::{Config, Paths, is_name};
use crate::error::{Context, Result};
use crate::sys::spawn;
use crate::wire::frame;
use crate::wire::messages::{AGENTS_MAX, Control, Looked, Proof, Report, Role};

/// First pause before a role that died is started again; doubles to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause between starts.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// How long a role has to end calls in flight before it is started again with other connectors.
const RENEWAL: Duration = Duration::from_secs(10);
/// How long a role may leave its control link unread when there is something to tell it.
const PATIENCE: Duration = Duration::from_secs(1);
/// Reports read from a role that has ended.
const LAST_WORDS: usize = 16;
/// A role that lived this long starts from [`PAUSE_MIN`] again.
const STEADY: Duration = Duration::from_secs(60);

/// One plane's roles.
#[derive(Debug)]
pub(super) struct Plane {
    /// Its name.
    pub(super) name: String,
    /// Its roles, by name.
    pub(super) roles: BTreeMap<Role, Seat>,
    setup: Setup,
    /// Where its connectors' programs are.
    places: Places,
    listeners: Listeners,
    /// The keeper has said who its agents are.
    enrolled: bool,
    /// It was asked to stop: roles end as they should.
    stopping: bool,
}

/// A role's place: whoever sits in it now, and its past.
#[derive(Debug)]
pub(super) struct Seat {
    running: Option<Running>,
    /// Times it was started again.
    pub(super) restarts: u32,
    /// Why it refuses to serve, or how it ended.
    pub(super) why: Option<String>,
    pause: Duration,
    due: Option<Instant>,
    /// It was asked to stop, to be started again at once; it is ended then.
    renewed_by: Option<Instant>,
    /// It serves, but for these manifests.
    pub(super) partly: Vec<String>,
}

#[derive(Debug)]
struct Running {
    pid: u32,
    pidfd: OwnedFd,
    control: OwnedFd,
    since: Instant,
    ready: bool,
}

impl Running {
    /// Ends it; its pidfd says when.
    fn kill(&self) {
        if let Err(error) = spawn::signal(self.pidfd.as_fd(), Signal::SIGKILL) {
            tracing::error!(%error, pid = self.pid, "cannot end a role");
        }
    }
}

impl Seat {
    /// Process id, while it runs.
    pub(super) fn pid(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.pid)
    }

    /// It runs and said it is ready.
    pub(super) fn is_ready(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.ready)
    }

    fn say(&self, control: &Control, fds: &[BorrowedFd<'_>]) {
        self.say_with(control, &[], fds);
    }

    fn say_with(&self, control: &Control, blob: &[u8], fds: &[BorrowedFd<'_>]) {
        let Some(running) = &self.running else { return };
        // A role that does not listen holds up nobody: it is dying, or is made to. Its pidfd says
        // so next.
        if let Err(error) =
            frame::send_within(running.control.as_fd(), control, blob, fds, PATIENCE)
        {
            tracing::error!(%error, pid = running.pid, "a role does not listen");
            running.kill();
        }
    }
}

impl Plane {
    /// Makes its directories and sockets; starts nothing yet.
    pub(super) fn new(
        config: &Config,
        paths: &Paths,
        name: &str,
        index: usize,
        boot: &Boot,
    ) -> Result<Self> {
        let setup = Setup::new(config, paths, name, index, boot)?;
        let listeners = Listeners::new(paths, name, setup.operator(), setup.doors())?;
        let now = Instant::now();
        let seat = || Seat {
            running: None,
            restarts: 0,
            why: None,
            pause: PAUSE_MIN,
            due: Some(now),
            renewed_by: None,
            partly: Vec::new(),
        };
        let roles = Role::ALL.into_iter().map(|role| (role, seat())).collect();
        Ok(Self {
            name: name.into(),
            roles,
            places: setup.places(),
            setup,
            listeners,
            enrolled: false,
            stopping: false,
        })
    }

    /// Looks at the plane's connectors again; where they are others, keeper and jailer are started
    /// again with them, in order. Where the jailer cannot use one of them, it is started again to look
    /// anew. Agents stay connected.
    pub(super) fn renew(&mut self, config: &Config, paths: &Paths) {
        let plane = &self.name;
        let lame = self
            .roles
            .get(&Role::Jailer)
            .is_some_and(|jailer| !jailer.partly.is_empty());
        let again: &[Role] = match self.setup.renew_connectors(config, paths) {
            Ok(false) if lame => {
                tracing::info!(plane, "its jailer looks at its connectors again");
                &[Role::Jailer]
            }
            Ok(false) => {
                tracing::info!(plane, "its connectors are the same");
                &[]
            }
            Ok(true) => {
                tracing::info!(
                    plane,
                    "its connectors are others: keeper and jailer start again"
                );
                &[Role::Keeper, Role::Jailer]
            }
            Err(error) => {
                tracing::error!(plane, %error, "its connectors stay as they were");
                &[]
            }
        };
        self.places = self.setup.places();
        for role in again {
            if let Some(seat) = self.roles.get_mut(role)
                && seat.running.is_some()
            {
                seat.renewed_by = Some(Instant::now() + RENEWAL);
                seat.say(&Control::Stop, &[]);
            }
        }
    }

    /// Looks at its connectors again where something else is in the place of what is pinned.
    pub(super) fn look_at_places(&mut self, config: &Config, paths: &Paths, now: Instant) {
        if let Some(path) = self.places.replaced(now) {
            let path = crate::wire::text::escaped(&path.to_string_lossy());
            tracing::warn!(plane = self.name, %path, "something else is where a pinned file was");
            self.renew(config, paths);
        }
    }

    /// Starts every role whose time has come.
    pub(super) fn start_due(&mut self, now: Instant) {
        for seat in self.roles.values_mut() {
            if seat.renewed_by.is_some_and(|by| by <= now)
                && let Some(running) = &seat.running
            {
                seat.renewed_by = Some(now + RENEWAL);
                running.kill();
            }
        }
        for role in Role::ALL {
            let due = self.roles.get(&role).and_then(|seat| seat.due);
            if due.is_some_and(|due| due <= now)
                && let Err(error) = self.start(role)
            {
                self.ended(role, error.message());
            }
        }
    }

    /// When the next start is due, or the end of one that was asked to stop, or a look.
    pub(super) fn due(&self) -> Option<Instant> {
        let seats = self.roles.values();
        seats
            .flat_map(|seat| [seat.due, seat.renewed_by])
            .chain([self.places.due()])
            .flatten()
            .min()
    }

    /// What to watch: the control link and the process of every running role.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = (Role, BorrowedFd<'_>)> {
        self.roles
            .iter()
            .filter_map(|(role, seat)| Some((*role, seat.running.as_ref()?)))
            .flat_map(|(role, running)| {
                [
                    (role, running.control.as_fd()),
                    (role, running.pidfd.as_fd()),
                ]
            })
    }

    /// Reads what a role said, and notices its end.
    pub(super) fn attend(&mut self, role: Role, runtimes: &Runtimes) {
        let Some(running) = self.roles.get(&role).and_then(|seat| seat.running.as_ref()) else {
            return;
        };
        let pidfd_done = spawn::try_wait(running.pidfd.as_fd());
        // One at a time, so that a role that talks without end takes no other role's turn; of one
        // that has ended, its last words.
        let turns = if matches!(pidfd_done, Ok(None)) {
            1
        } else {
            LAST_WORDS
        };
        for _ in 0..turns {
            match self.report(role) {
                Some(report) => self.hear(role, report, runtimes),
                None => break,
            }
        }
        match pidfd_done {
            Ok(None) => {}
            Ok(Some(end)) => self.ended(role, end.to_string()),
            Err(error) => self.ended(role, error.to_string()),
        }
    }

    fn hear(&mut self, role: Role, report: Report, runtimes: &Runtimes) {
        match report {
            Report::Ready => {
                self.ready(role);
                if role == Role::Keeper {
                    self.look_at_all(runtimes, Asked::ByKeeper);
                }
            }
            Report::Look { agent } if role == Role::Keeper => {
                runtimes.ask(&self.name, &agent, Asked::ByKeeper);
            }
            Report::Unfit { why, hint } => {
                let why = hint.map_or_else(|| why.clone(), |hint| format!("{why}; {hint}"));
                let (plane, name) = (&self.name, role.name());
                tracing::error!(plane, role = name, why, "role refuses to serve");
                self.note(role, why);
            }
            Report::Partly { manifests } if role == Role::Jailer => {
                let (plane, names) = (&self.name, manifests.join(", "));
                tracing::error!(plane, names, "manifests that cannot be used");
                if let Some(seat) = self.roles.get_mut(&role) {
                    seat.partly = manifests;
                }
            }
            Report::Agents { agents } if role == Role::Keeper && self.are_agents(&agents) => {
                self.enrol(&agents);
            }
            // One that was removed meanwhile is nobody's any more.
            Report::Admitted { agent } if role == Role::Front => {
                if self.listeners.admitted(&agent) {
                    self.tell_who_listens();
                }
            }
            Report::Partly { .. }
            | Report::Agents { .. }
            | Report::Admitted { .. }
            | Report::Look { .. } => {
                self.distrust(role);
            }
        }
    }

    /// Has all agents looked at that are pinned.
    pub(super) fn look_at_all(&self, runtimes: &Runtimes, asked: Asked) {
        for agent in runtimes.of(&self.name) {
            runtimes.ask(&self.name, agent, asked);
        }
    }

    /// Tells the keeper what an agent is.
    pub(super) fn tell_looked(&self, agent: String, looked: &Looked) {
        let Some(keeper) = self.roles.get(&Role::Keeper) else {
            return;
        };
        match serde_json::to_vec(looked) {
            Ok(looked) => keeper.say_with(&Control::Looked { agent }, &looked, &[]),
            Err(error) => tracing::error!(%error, "what was seen could not be described"),
        }
    }

    /// Asks every role to stop in order.
    pub(super) fn stop(&mut self) {
        self.stopping = true;
        for seat in self.roles.values_mut() {
            seat.due = None;
            seat.say(&Control::Stop, &[]);
        }
    }

    /// Ends what is left.
    pub(super) fn kill(&mut self) {
        for running in self.roles.values().filter_map(|seat| seat.running.as_ref()) {
            running.kill();
        }
    }

    /// Its TCP sockets, for whoever looks.
    pub(super) fn doors(&self) -> Value {
        let doors = self.setup.doors().iter().map(|(name, listen)| {
            json!({"name": name, "address": listen.address, "url": listen.url(), "proof": listen.proof()})
        });
        doors.collect()
    }

    /// No role runs.
    pub(super) fn is_down(&self) -> bool {
        self.roles.values().all(|seat| seat.running.is_none())
    }

    fn start(&mut self, role: Role) -> Result<()> {
        let (ours, theirs) = super::link()?;
        let child = spawn::role(&self.setup.program, role.name(), &self.name, theirs.as_fd())
            .context(|| format!("start the {}", role.name()))?;
        let now = Instant::now();
        if let Some(seat) = self.roles.get_mut(&role) {
            seat.due = None;
            seat.partly.clear();
            seat.running = Some(Running {
                pid: child.pid,
                pidfd: child.pidfd,
                control: ours,
                since: now,
                ready: false,
            });
        }
        if let Err(error) = self.equip(role) {
            // It is our child by now: it is ended, and its pidfd says when it can be reaped.
            self.note(role, error.message());
            if let Some(running) = self.roles.get(&role).and_then(|seat| seat.running.as_ref()) {
                running.kill();
            }
        }
        Ok(())
    }

    /// Gives a role that was just started its set-up and its links.
    fn equip(&self, role: Role) -> Result<()> {
        let (blob, fds) = self.setup.of(role, &self.listeners)?;
        if let Some(running) = self.roles.get(&role).and_then(|seat| seat.running.as_ref()) {
            frame::send_within(
                running.control.as_fd(),
                &Control::Setup,
                &blob,
                &fds,
                PATIENCE,
            )?;
        }
        self.join(role)
    }

    /// Gives the newcomer and each of its peers the two ends of a new link.
    fn join(&self, role: Role) -> Result<()> {
        let peers: &[Role] = match role {
            Role::Keeper => &[Role::Jailer, Role::Egress, Role::Front],
            Role::Jailer | Role::Egress | Role::Front => &[Role::Keeper],
        };
        for peer in peers {
            let (Some(mine), Some(other)) = (self.roles.get(&role), self.roles.get(peer)) else {
                continue;
            };
            if mine.running.is_none() || other.running.is_none() {
                continue;
            }
            let (one, two) = super::link()?;
            mine.say(&Control::Link { peer: *peer }, &[one.as_fd()]);
            other.say(&Control::Link { peer: role }, &[two.as_fd()]);
        }
        Ok(())
    }

    /// What a keeper may enrol; it checks the same, but it may have been taken over.
    fn are_agents(&self, agents: &[(String, Proof)]) -> bool {
        agents.len() <= AGENTS_MAX && agents.iter().all(|(name, _)| is_name(name))
    }

    /// Ends a role that said what no role of its kind says.
    fn distrust(&self, role: Role) {
        tracing::error!(
            plane = self.name,
            role = role.name(),
            "role says what it may not"
        );
        if let Some(running) = self.roles.get(&role).and_then(|seat| seat.running.as_ref()) {
            running.kill();
        }
    }

    fn report(&self, role: Role) -> Option<Report> {
        let running = self.roles.get(&role)?.running.as_ref()?;
        if !readable(running.control.as_fd()) {
            return None;
        }
        // A bad frame from a role is as good as its end: the role is killed and started again.
        match frame::recv::<Report>(running.control.as_fd(), 0) {
            Ok(Some(frame)) => Some(frame.say),
            // It has let go of its control link: nothing can be told it any more.
            Ok(None) => {
                running.kill();
                None
            }
            Err(error) => {
                tracing::error!(plane = self.name, role = role.name(), %error, "bad report");
                running.kill();
                None
            }
        }
    }

    fn ready(&mut self, role: Role) {
        tracing::info!(plane = self.name, role = role.name(), "role is ready");
        if let Some(seat) = self.roles.get_mut(&role) {
            seat.why = None;
            if let Some(running) = &mut seat.running {
                running.ready = true;
            }
        }
        if role == Role::Front {
            self.listeners.forget_admitted();
        }
        if role == Role::Front
            && let Some(front) = self.roles.get(&Role::Front)
        {
            for (say, socket) in self.listeners.all() {
                front.say(&say, &socket.into_iter().collect::<Vec<_>>());
            }
        }
        self.open_doors();
    }

    /// Has a front that is ready listen for agents of other hosts and by token, once it knows who
    /// they are: until then their connections wait, instead of being refused.
    fn open_doors(&self) {
        let front = self.roles.get(&Role::Front);
        let Some(front) = front.filter(|front| front.is_ready() && self.enrolled) else {
            return;
        };
        for (door, socket) in self.listeners.doors() {
            match serde_json::to_vec(door) {
                Ok(door) => front.say_with(&Control::Door, &door, &[socket]),
                Err(error) => tracing::error!(%error, "a listener could not be described"),
            }
        }
    }

    /// Brings the agents' sockets in line with the keeper's list, and tells front and keeper.
    fn enrol(&mut self, agents: &[(String, Proof)]) {
        let Some(front) = self.roles.get(&Role::Front) else {
            return;
        };
        for gone in self.listeners.retain(agents) {
            front.say(&Control::Unlisten { agent: gone }, &[]);
        }
        for (agent, proof) in agents {
            if let Proof::Uid(uid) = proof
                && !self.setup.may_be_agent(*uid)
            {
                // Enrolled when the uid was still free: root's, the operator's or a role's by now.
                tracing::error!(
                    plane = self.name,
                    agent,
                    uid,
                    "this uid gets no agent's socket"
                );
                continue;
            }
            match self.listeners.add(agent, proof) {
                // A front that is not ready yet is told of all agents when it is.
                Ok(Some((say, socket))) if front.is_ready() => {
                    front.say(&say, &socket.into_iter().collect::<Vec<_>>());
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(plane = self.name, agent, %error, "no socket for this agent");
                }
            }
        }
        if !self.enrolled {
            self.enrolled = true;
            self.open_doors();
        }
        self.tell_who_listens();
    }

    fn tell_who_listens(&self) {
        if let Some(keeper) = self.roles.get(&Role::Keeper) {
            let agents = self.listeners.names();
            keeper.say(&Control::Listening { agents }, &[]);
        }
    }

    fn ended(&mut self, role: Role, how: String) {
        let now = Instant::now();
        let Some(seat) = self.roles.get_mut(&role) else {
            return;
        };
        let lived = seat
            .running
            .take()
            .map(|running| now.duration_since(running.since));
        let renewed = seat.renewed_by.take().is_some();
        let (plane, name) = (&self.name, role.name());
        if self.stopping {
            tracing::info!(plane, role = name, how, "role ended");
        } else if renewed {
            tracing::info!(plane, role = name, how, "role ended to start again");
        } else {
            tracing::error!(plane, role = name, how, "role ended");
        }
        if role == Role::Jailer && lived.is_some() {
            self.setup.renew_cgroup();
        }
        if renewed {
            seat.pause = PAUSE_MIN;
            seat.due = Some(now);
            return;
        }
        if lived.is_some_and(|lived| lived > STEADY) {
            seat.pause = PAUSE_MIN;
        }
        seat.why.get_or_insert(how);
        seat.restarts = seat.restarts.saturating_add(1);
        seat.due = Some(now + seat.pause);
        seat.pause = (seat.pause * 2).min(PAUSE_MAX);
    }

    fn note(&mut self, role: Role, why: String) {
        if let Some(seat) = self.roles.get_mut(&role) {
            seat.why = Some(why);
            seat.pause = seat.pause.max(Duration::from_secs(1));
        }
    }
}

fn readable(fd: BorrowedFd<'_>) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut fds = [PollFd::new(fd, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs::File;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::sync::Arc;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    #[test]
    fn a_role_that_cannot_be_set_up_is_ended_and_reaped() {
        let temp = tempfile::tempdir().unwrap();
        // Its state directory cannot be told in JSON.
        let directory = temp.path().join(OsStr::from_bytes(b"\xff"));
        let paths = Paths::resolve(Some(&directory)).unwrap();
        // `sleep 600` in place of a role: it neither listens nor ends by itself.
        let name = "600";
        let mut config = Config::default();
        config.planes = [(name.to_owned(), crate::config::Plane::default())].into();
        let boot = Boot::new(&config, &paths).unwrap();
        let mut plane = Plane::new(&config, &paths, name, 0, &boot).unwrap();
        plane.setup.program = Arc::new(File::open("/bin/sleep").unwrap().into());
        for (role, seat) in &mut plane.roles {
            seat.due = seat.due.filter(|_| *role == Role::Keeper);
        }
        plane.start_due(Instant::now());
        let seat = &plane.roles[&Role::Keeper];
        let pid = seat.pid().expect("it is watched until it has ended");
        assert!(seat.due.is_none());
        let pidfd = seat.running.as_ref().unwrap().pidfd.as_fd();
        let mut fds = [PollFd::new(pidfd, PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(60_000_u16)).unwrap(), 1);
        let runtimes = Runtimes::new(&config, &paths).unwrap();
        plane.attend(Role::Keeper, &runtimes);
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "a zombie");
        let seat = &plane.roles[&Role::Keeper];
        assert!(seat.pid().is_none() && seat.due.is_some());
        let why = seat.why.as_deref().unwrap_or_default();
        assert!(why.contains("set-up"), "{why}");
    }
}
