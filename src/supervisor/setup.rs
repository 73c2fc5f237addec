//! What each role of a plane is told at its start, and the uid it runs as.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::geteuid;
use serde::Serialize;

use super::listeners::{Listeners, make_directory};
use super::places::Places;
use crate::config::{Config, JAIL_UIDS_PER_PLANE, Listen, Paths, Plane, UIDS_PER_PLANE};
use crate::egress::EgressSetup;
use crate::error::{Context, Error, Result};
use crate::front::FrontSetup;
use crate::jail::cgroup::{Delegation, Lack, Subtree};
use crate::jail::confine::Confine;
use crate::jail::foreign::users::Users;
use crate::jailer::JailerSetup;
use crate::keeper;
use crate::policy::RootGround;
use crate::wire::messages::Role;

/// Where distributions keep the certificates of public authorities; a host without any has no
/// public authorities.
const SYSTEM_CA: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Jails each plane makes ahead: each is a process of about a megabyte.
const JAILS_AHEAD: usize = 4;
const SEPARATE: &str = "separate uids";

/// What all planes share.
#[derive(Debug)]
pub(super) struct Boot {
    program: Arc<OwnedFd>,
    authorities: Vec<String>,
    resolvers: Vec<String>,
    ca: Vec<String>,
    token_sha256: Option<String>,
    cgroups: std::result::Result<Arc<Subtree>, Lack>,
}

impl Boot {
    /// Opens the program the roles run, reads what they need from the host, and takes possession
    /// of the cgroup this process is in, where it was left to it.
    pub(super) fn new(config: &Config, paths: &Paths) -> Result<Self> {
        let program = crate::sys::spawn::program().context(|| "open this program".into())?;
        let authorities = fs::read_to_string(SYSTEM_CA).into_iter().collect();
        let read = |path: &PathBuf| {
            fs::read_to_string(path).context(|| format!("read `{}`", path.display()))
        };
        let ca = config
            .appliance
            .ca
            .iter()
            .map(read)
            .collect::<Result<_>>()?;
        let resolvers = config.resolvers();
        let token_sha256 = if separate() {
            None
        } else {
            Some(token(&paths.token_file())?)
        };
        Ok(Self {
            program: Arc::new(program),
            authorities,
            resolvers,
            ca,
            token_sha256,
            cgroups: cgroups(),
        })
    }

    /// Gives the cgroup back; after all roles have ended.
    pub(super) fn release(self) {
        if let Some(cgroups) = self.cgroups.ok().and_then(Arc::into_inner) {
            cgroups.release();
        }
    }

    fn delegation(&self, plane: &str, owner: Option<u32>) -> Delegation {
        match &self.cgroups {
            Ok(cgroups) => cgroups.plane(plane, owner),
            Err(lack) => Delegation {
                path: None,
                lack: Some(lack.clone()),
            },
        }
    }
}

/// Never a reason not to start: the lack has a name, and its reason is shown.
fn cgroups() -> std::result::Result<Arc<Subtree>, Lack> {
    Subtree::claim().map(Arc::new).inspect_err(|lack| {
        tracing::warn!(why = lack.why, mend = lack.mend, "jails have no cgroups");
    })
}

/// Set-ups of one plane's roles.
#[derive(Debug)]
pub(super) struct Setup {
    /// The program to run.
    pub(super) program: Arc<OwnedFd>,
    cgroups: Option<Arc<Subtree>>,
    operator: u32,
    doors: BTreeMap<String, Listen>,
    keeper: keeper::Setup,
    jailer: JailerSetup,
    front: FrontSetup,
    egress: EgressSetup,
}

impl Setup {
    /// Decides uids and makes the plane's directories.
    pub(super) fn new(
        config: &Config,
        paths: &Paths,
        name: &str,
        index: usize,
        boot: &Boot,
    ) -> Result<Self> {
        let plane = config
            .planes
            .get(name)
            .ok_or_else(|| Error::new(format!("there is no plane `{name}`")))?;
        let appliance = &config.appliance;
        let uids = Uids::new(appliance.uid_base, index);
        let own = geteuid().as_raw();
        let operator = if separate() {
            appliance.operator_uid
        } else {
            own
        };
        let state = paths.state(name);
        make_directories(
            paths,
            name,
            uids.as_ref().map_or(own, |uids| uids.of(Role::Keeper)),
        )?;
        let confine = |role: Role, write: Vec<PathBuf>| Confine {
            uid: uids.as_ref().map(|uids| uids.of(role)),
            gid: uids.as_ref().map(|uids| uids.of(role)),
            read: Vec::new(),
            write,
            accept: appliance.accept.clone(),
        };
        let separation = if separate() {
            SEPARATE
        } else {
            keeper::ONE_USER
        }
        .to_owned();
        let roots: Vec<PathBuf> = plane.roots.values().map(|root| root.path.clone()).collect();
        let super::connectors::Found {
            connected: connectors,
            manifests,
            pins,
        } = super::connectors::of(plane, paths)?;
        let keeper = keeper::Setup {
            confine: confine(Role::Keeper, vec![state.clone()]),
            plane: name.into(),
            origin: format!("{}/{name}", appliance.name),
            state,
            separation: separation.clone(),
            operator_uid: operator,
            role_uids: if separate() {
                config.role_uids().chain(config.jail_uids()).collect()
            } else {
                Vec::new()
            },
            token_sha256: boot.token_sha256.clone(),
            demo: appliance.demo,
            unattended: plane.unattended,
            roots: grounds(plane),
            http: plane.http.clone(),
            connectors,
            agents: bounds(plane),
            run: plane.quota.run,
            agent_quota: plane.quota.agent(),
            plane_quota: plane.quota.plane(),
            accept: appliance.accept.clone(),
        };
        let jailer = JailerSetup {
            confine: confine(Role::Jailer, roots.clone()),
            plane: name.into(),
            jail_users: uids.as_ref().map(|_| jail_users(config, index)),
            manifests,
            pins,
            observe: plane.observe,
            ahead: JAILS_AHEAD,
            separation,
            roots,
            accept: appliance.accept.clone(),
            cgroup: boot.delegation(name, uids.as_ref().map(|uids| uids.of(Role::Jailer))),
        };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let front = FrontSetup {
            confine: confine(Role::Front, Vec::new()),
            plane: name.into(),
            version,
        };
        let egress = EgressSetup {
            confine: confine(Role::Egress, Vec::new()),
            plane: name.into(),
            resolvers: boot.resolvers.clone(),
            ca: boot.ca.clone(),
            roots: boot.authorities.clone(),
        };
        let program = Arc::clone(&boot.program);
        Ok(Self {
            program,
            cgroups: boot.cgroups.as_ref().ok().map(Arc::clone),
            operator,
            doors: plane.listen.clone(),
            keeper,
            jailer,
            front,
            egress,
        })
    }

    /// Ends what an ended jailer has left running, and makes the next one's cgroups.
    pub(super) fn renew_cgroup(&mut self) {
        if let Some(cgroups) = &self.cgroups {
            self.jailer.cgroup = cgroups.plane(&self.jailer.plane, self.jailer.confine.uid);
        }
    }

    /// Looks at the connectors again; whether something about them is another thing now.
    ///
    /// # Errors
    /// Fails where the approvals cannot be read; everything stays as it was then.
    pub(super) fn renew_connectors(&mut self, config: &Config, paths: &Paths) -> Result<bool> {
        let Some(plane) = config.planes.get(&self.keeper.plane) else {
            return Ok(false);
        };
        let found = super::connectors::of(plane, paths)?;
        let same = json(&found.connected)? == json(&self.keeper.connectors)?
            && found.manifests == self.jailer.manifests
            && found.pins == self.jailer.pins;
        self.keeper.connectors = found.connected;
        self.jailer.manifests = found.manifests;
        self.jailer.pins = found.pins;
        Ok(!same)
    }

    /// Where everything is that its jailer was given as pinned.
    pub(super) fn places(&self) -> Places {
        Places::of(self.jailer.pins.values().flatten())
    }

    /// The uid that owns the admin socket.
    pub(super) fn operator(&self) -> u32 {
        self.operator
    }

    /// The TCP sockets of the plane, by name.
    pub(super) fn doors(&self) -> &BTreeMap<String, Listen> {
        &self.doors
    }

    /// Whether a uid may have an agent's socket: not root's, the operator's or a role's; where all
    /// roles share one uid, only that one.
    pub(super) fn may_be_agent(&self, uid: u32) -> bool {
        if !separate() {
            return uid == geteuid().as_raw();
        }
        uid != 0 && uid != self.operator && !self.keeper.role_uids.contains(&uid)
    }

    /// The set-up of a role as JSON, and the descriptors that go with it.
    pub(super) fn of<'a>(
        &self,
        role: Role,
        listeners: &'a Listeners,
    ) -> Result<(Vec<u8>, Vec<BorrowedFd<'a>>)> {
        Ok(match role {
            Role::Keeper => (json(&self.keeper)?, vec![listeners.admin()]),
            Role::Jailer => (json(&self.jailer)?, Vec::new()),
            Role::Front => (json(&self.front)?, Vec::new()),
            Role::Egress => (json(&self.egress)?, Vec::new()),
        })
    }
}

/// The uids of one plane, where the supervisor may give its roles different ones.
#[derive(Debug)]
struct Uids {
    first: u32,
}

impl Uids {
    fn new(base: u32, index: usize) -> Option<Self> {
        let index = u32::try_from(index).ok()?;
        separate().then(|| Self {
            first: base.saturating_add(index.saturating_mul(UIDS_PER_PLANE)),
        })
    }

    fn of(&self, role: Role) -> u32 {
        let place = match role {
            Role::Keeper => 0,
            Role::Jailer => 1,
            Role::Front => 2,
            Role::Egress => 3,
        };
        self.first.saturating_add(place)
    }
}

fn jail_users(config: &Config, index: usize) -> Users {
    let count = JAIL_UIDS_PER_PLANE;
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    let first = config.appliance.jail_uid_base;
    Users {
        first: first.saturating_add(index.saturating_mul(count)),
        count,
    }
}

/// Root can give every role a uid of its own.
fn separate() -> bool {
    geteuid().is_root()
}

fn bounds(plane: &Plane) -> BTreeMap<String, keeper::Bounds> {
    let agents = plane.agents.iter().map(|(name, agent)| {
        let bounds = keeper::Bounds {
            calls_per_minute: agent.calls_per_minute,
            run: agent.run,
            connectors: agent.connectors.clone(),
            pinned: agent.runtime.is_some(),
        };
        (name.clone(), bounds)
    });
    agents.collect()
}

fn grounds(plane: &Plane) -> BTreeMap<String, RootGround> {
    plane
        .roots
        .iter()
        .map(|(name, root)| {
            // Where nothing is said, files are opened as their root's owner.
            let owner = fs::metadata(&root.path).ok();
            let uid = root.uid.or_else(|| owner.as_ref().map(MetadataExt::uid));
            let gid = root.gid.or_else(|| owner.as_ref().map(MetadataExt::gid));
            let path = root.path.display().to_string();
            (
                name.clone(),
                RootGround {
                    path,
                    writable: root.writable,
                    uid,
                    gid,
                },
            )
        })
        .collect()
}

fn make_directories(paths: &Paths, plane: &str, keeper: u32) -> Result<()> {
    let state = paths.state(plane);
    make_directory(&state, 0o700)?;
    if keeper != geteuid().as_raw() {
        chown(&state, Some(keeper), Some(keeper))
            .context(|| format!("give `{}` to the keeper", state.display()))?;
    }
    make_directory(paths.state_dir(), 0o711)?;
    make_directory(paths.run_dir(), 0o711)?;
    match paths.agents(plane).parent() {
        Some(run) => make_directory(run, 0o711),
        None => Ok(()),
    }
}

fn token(path: &Path) -> Result<String> {
    let text = fs::read_to_string(path).map_err(|error| {
        Error::new(format!("read the operator's token `{}`", path.display()))
            .because(error)
            .hint("`keepgate init` makes one; without root, commands that change something need it")
    })?;
    let digest = ring::digest::digest(&ring::digest::SHA256, text.trim().as_bytes());
    Ok(crate::wire::text::hex(digest.as_ref()))
}

fn json<T: Serialize>(setup: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(setup).context(|| "write a role's set-up".into())
}
