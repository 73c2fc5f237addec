//! The unix sockets of a plane: the operator's, and one per enrolled agent. A socket belongs to the
//! uid it was made for (mode 0600), so the file system is the first check and `SO_PEERCRED` the
//! second.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::config::Paths;
use crate::error::{Context, Result};

/// The sockets of one plane.
#[derive(Debug)]
pub(super) struct Listeners {
    directory: PathBuf,
    admin: UnixListener,
    agents: BTreeMap<String, (u32, UnixListener)>,
}

impl Listeners {
    /// Makes the directory and the operator's socket, owned by `operator`.
    pub(super) fn new(paths: &Paths, plane: &str, operator: u32) -> Result<Self> {
        let directory = paths.agents(plane);
        make_directory(&directory, 0o711)?;
        for left in fs::read_dir(&directory).into_iter().flatten().flatten() {
            // Sockets of an earlier supervisor: nobody listens on them any more.
            drop(fs::remove_file(left.path()));
        }
        let admin = bind(&paths.admin_socket(plane), operator)?;
        Ok(Self {
            directory,
            admin,
            agents: BTreeMap::new(),
        })
    }

    /// The operator's socket.
    pub(super) fn admin(&self) -> BorrowedFd<'_> {
        self.admin.as_fd()
    }

    /// Makes the socket of `agent`; `None` where it is there already.
    pub(super) fn add(&mut self, agent: &str, uid: u32) -> Result<Option<BorrowedFd<'_>>> {
        if self
            .agents
            .get(agent)
            .is_some_and(|(known, _)| *known == uid)
        {
            return Ok(None);
        }
        let listener = bind(&self.path(agent), uid)?;
        self.agents.insert(agent.into(), (uid, listener));
        Ok(self.agents.get(agent).map(|(_, listener)| listener.as_fd()))
    }

    /// Removes the sockets of everybody else; gives their names.
    pub(super) fn retain(&mut self, agents: &[(String, u32)]) -> Vec<String> {
        let gone: Vec<String> = self
            .agents
            .iter()
            .filter(|(name, (uid, _))| !agents.iter().any(|(n, u)| n == *name && u == uid))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &gone {
            self.agents.remove(name);
            drop(fs::remove_file(self.path(name)));
        }
        gone
    }

    /// Names of agents that have a socket.
    pub(super) fn names(&self) -> Vec<String> {
        self.agents.keys().cloned().collect()
    }

    /// Calls `with` for each agent, its uid and its socket.
    pub(super) fn each(&self, mut with: impl FnMut(&str, u32, BorrowedFd<'_>)) {
        for (name, (uid, listener)) in &self.agents {
            with(name, *uid, listener.as_fd());
        }
    }

    fn path(&self, agent: &str) -> PathBuf {
        self.directory.join(format!("{agent}.sock"))
    }
}

/// Makes `path` and what is above it, and sets the mode of the last part.
pub(super) fn make_directory(path: &Path, mode: u32) -> Result<()> {
    fs::create_dir_all(path).context(|| format!("make directory `{}`", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .context(|| format!("set the mode of `{}`", path.display()))
}

fn bind(path: &Path, uid: u32) -> Result<UnixListener> {
    let what = || format!("make socket `{}`", path.display());
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context(what);
        }
        _ => {}
    }
    // The process' umask (077) keeps everybody else out between these three calls.
    let listener = UnixListener::bind(path).context(what)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).context(what)?;
    if uid != nix::unistd::geteuid().as_raw() {
        chown(path, Some(uid), None).context(what)?;
    }
    Ok(listener)
}
