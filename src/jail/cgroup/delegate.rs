//! The supervisor's part: its own cgroup, where that was left to it, divided among the planes.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::controllers::Controllers;
use super::node::{Node, end, have};
use super::own::{self, delegation, mend};
use super::pool::{JAILER, LEAVES_MAX};
use crate::sys::cgroup::{Group, wait_until_empty};

/// The leaf for the supervisor and its roles.
const SUPERVISOR: &str = "supervisor";
/// Begin of the names of planes' subtrees; a plane may be called `supervisor`.
const PLANE: &str = "plane-";
/// How long processes of an earlier supervisor may take to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why jails are limited by less than all of it, and what mends that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    /// In one line.
    pub why: String,
    /// A command or a sentence.
    pub mend: String,
}

impl Lack {
    /// Of these words.
    pub fn new(why: impl Into<String>, mend: impl Into<String>) -> Self {
        let (why, mend) = (why.into(), mend.into());
        Self { why, mend }
    }
}

/// What a jailer is told of its cgroups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// Its subtree, for its uid to use.
    pub path: Option<PathBuf>,
    /// What that lacks, or why there is none.
    pub lack: Option<Lack>,
}

/// The cgroup that was left to this supervisor.
#[derive(Debug)]
pub struct Subtree<N: Node = Group> {
    base: N,
    path: PathBuf,
    /// What planes get.
    controllers: Controllers,
    lack: Option<Lack>,
    /// This process left `base` for a leaf of it.
    moved: bool,
}

impl Subtree {
    /// Takes possession of this process' own cgroup, which must have been left to it: marked by
    /// systemd, or without any other process and below the top. Moves this process into a leaf.
    ///
    /// # Errors
    /// Says why that is not possible; nothing was changed then.
    pub fn claim() -> Result<Self, Lack> {
        let own = own::own()?;
        Self::at(&own.path, own::controllers(&own.top))
    }

    /// As [`Subtree::claim`], but never takes the cgroup above: what is there may be the jails of
    /// another Keepgate that runs.
    ///
    /// # Errors
    /// As [`Subtree::claim`].
    pub fn claim_own() -> Result<Self, Lack> {
        let own = own::own()?;
        if own.path.ends_with(SUPERVISOR) {
            let why = "it was started beside another Keepgate".to_owned();
            return Err(Lack::new(why, delegation()));
        }
        Self::at(&own.path, own::controllers(&own.top))
    }

    fn at(path: &Path, top: Controllers) -> Result<Self, Lack> {
        let open = |path: &Path| {
            Group::open(path).map_err(|error| {
                let what = format!("open its cgroup `{}`: {error}", path.display());
                Lack::new(what, delegation())
            })
        };
        let own = open(path)?;
        let parent = path.parent().filter(|_| path.ends_with(SUPERVISOR));
        let parent = parent.and_then(|parent| Some((open(parent).ok()?, parent)));
        Self::settle(own, parent, path, top, std::process::id())
    }
}

impl<N: Node> Subtree<N> {
    /// As [`Subtree::claim`], for the process `pid`, which is this one. `parent` is there where the
    /// name of `own` is that of the leaf it would move to.
    pub(super) fn settle(
        own: N,
        parent: Option<(N, &Path)>,
        path: &Path,
        top: Controllers,
        pid: u32,
    ) -> Result<Self, Lack> {
        let refuse = |why: String| Err(Lack::new(why, delegation()));
        // systemd put it there by itself (`DelegateSubgroup=supervisor`), or it is the next one of a
        // supervisor that had no time to give the cgroup back.
        if let Some((base, path)) = parent {
            let left = || is_below_top(&base) && is_alone(&base, pid) && is_alone(&own, pid);
            if base.is_delegated() || left() {
                return Self::divide(base, path, top, false);
            }
        }
        if !is_below_top(&own) {
            return refuse("it runs in the top cgroup, which is nobody's own".into());
        }
        if !own.is_delegated() && !is_alone(&own, pid) {
            let path = path.display();
            return refuse(format!("its cgroup `{path}` was not delegated to it"));
        }
        let shared = || Lack::new("another Keepgate uses its cgroup", delegation());
        let enter = || -> io::Result<bool> {
            let leaf = have(&own, SUPERVISOR)?;
            let events = leaf.file("cgroup.events", false)?;
            if !wait_until_empty(&events, Duration::ZERO)? {
                return Ok(false);
            }
            leaf.write("cgroup.procs", "0")?;
            Ok(true)
        };
        match enter() {
            Ok(true) => Self::divide(own, path, top, true),
            Ok(false) => Err(shared()),
            Err(error) => {
                // Nobody is in it; one that has somebody stays.
                drop(own.remove(SUPERVISOR));
                let path = path.display();
                refuse(format!("it cannot use its cgroup `{path}`: {error}"))
            }
        }
    }

    fn divide(base: N, path: &Path, top: Controllers, moved: bool) -> Result<Self, Lack> {
        for left in base.children().unwrap_or_default() {
            if left.starts_with(PLANE)
                && let Err(error) = end(&base, &left, PATIENCE)
            {
                tracing::error!(cgroup = left, %error, "cannot remove what an earlier supervisor left");
            }
        }
        let offered = Controllers::parse(&base.read("cgroup.controllers").unwrap_or_default());
        let (controllers, trouble) = enable(&base, offered);
        let lack = (!controllers.all()).then(|| {
            let missing = controllers.missing();
            let shown = path.display();
            let mut why = format!("no controller for {} in `{shown}`", missing.join(", "));
            if let Some(error) = trouble {
                why = format!("{why}: {error}");
            }
            Lack::new(why, mend(&missing, top))
        });
        Ok(Self {
            base,
            path: path.into(),
            controllers,
            lack,
            moved,
        })
    }

    /// Makes the subtree of `plane` for a jailer of uid `owner`, or of this user. One that is there
    /// ends first, with all that an ended jailer has left running in it: it is not only emptied but
    /// made anew, because Linux 6.18 lets nobody start jails from a cgroup that was killed once (see
    /// the leaves).
    pub fn plane(&self, plane: &str, owner: Option<u32>) -> Delegation {
        let name = format!("{PLANE}{plane}");
        let ended = match end(&self.base, &name, PATIENCE) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        match ended.and_then(|()| self.make(&name, owner)) {
            Ok(()) => Delegation {
                path: Some(self.path.join(name)),
                lack: self.lack.clone(),
            },
            Err(error) => {
                drop(end(&self.base, &name, Duration::ZERO));
                let path = self.path.join(name);
                let why = format!("make the cgroup `{}`: {error}", path.display());
                Delegation {
                    path: None,
                    lack: Some(Lack::new(why, delegation())),
                }
            }
        }
    }

    fn make(&self, name: &str, owner: Option<u32>) -> io::Result<()> {
        let plane = have(&self.base, name)?;
        // These files stay ours: whoever takes over the jailer makes no more than a pool.
        plane.write("cgroup.max.depth", "1")?;
        plane.write("cgroup.max.descendants", &(LEAVES_MAX + 1).to_string())?;
        have(&plane, JAILER)?;
        let (controllers, trouble) = enable(&plane, self.controllers);
        if controllers != self.controllers {
            let none = || io::Error::other("its controllers cannot be enabled");
            return Err(trouble.unwrap_or_else(none));
        }
        if let Some(owner) = owner {
            // cgroup-v2, "Model of Delegation": to make cgroups, and to move processes among them.
            plane.give(None, owner)?;
            plane.give(Some("cgroup.procs"), owner)?;
        }
        Ok(())
    }

    /// Gives the cgroup back as it was; after all roles have ended. Best effort: a service manager
    /// removes what is left.
    pub fn release(self) {
        let planes = self.base.children().unwrap_or_default().into_iter();
        for plane in planes.filter(|name| name.starts_with(PLANE)) {
            if let Err(error) = end(&self.base, &plane, PATIENCE) {
                tracing::warn!(cgroup = plane, %error, "cannot remove a plane's cgroup");
            }
        }
        if !self.moved {
            return;
        }
        for name in self.controllers.names() {
            drop(
                self.base
                    .write("cgroup.subtree_control", &format!("-{name}")),
            );
        }
        let back = self.base.write("cgroup.procs", "0");
        if let Err(error) = back.and_then(|()| self.base.remove(SUPERVISOR)) {
            tracing::warn!(%error, "cannot give the supervisor's cgroup back");
        }
    }
}

/// The top of the whole hierarchy alone has no such file (cgroup-v2, "Core Interface Files").
fn is_below_top<N: Node>(group: &N) -> bool {
    group.read("cgroup.events").is_ok()
}

/// The process `pid` is the only one in it, and nobody else has made cgroups there.
fn is_alone<N: Node>(own: &N, pid: u32) -> bool {
    let Ok(inside) = own.read("cgroup.procs") else {
        return false;
    };
    let mut others = inside.lines().filter(|line| *line != pid.to_string());
    let ours = |name: &String| name == SUPERVISOR || name.starts_with(PLANE);
    others.next().is_none() && own.children().is_ok_and(|names| names.iter().all(ours))
}

/// Gives the children of `group` those of `wanted` that can be given, one by one, because one
/// that fails takes the others of its write with it. Also the first failure.
fn enable<N: Node>(group: &N, wanted: Controllers) -> (Controllers, Option<io::Error>) {
    let mut trouble = None;
    for name in wanted.names() {
        if let Err(error) = group.write("cgroup.subtree_control", &format!("+{name}")) {
            trouble.get_or_insert(error);
        }
    }
    let given = group.read("cgroup.subtree_control").unwrap_or_default();
    (Controllers::parse(&given), trouble)
}
