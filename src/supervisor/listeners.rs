//! The sockets of a plane. Unix sockets: the operator's, and one per agent that is a user of this
//! host. Each belongs to the uid it was made for (mode 0600), so the file system is the first check
//! and `SO_PEERCRED` the second. TCP sockets, where the configuration has some: for agents that
//! prove themselves by token or certificate.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use crate::config::{Listen, Paths};
use crate::error::{Context, Result};
use crate::wire::messages::{Control, Door, Proof};

/// The sockets of one plane.
#[derive(Debug)]
pub(super) struct Listeners {
    directory: PathBuf,
    admin: UnixListener,
    /// Each with its own socket, where its proof is a uid.
    agents: BTreeMap<String, (Proof, Option<UnixListener>)>,
    /// Those without one that the front lets in.
    admitted: BTreeSet<String>,
    doors: Vec<(Door, TcpListener)>,
}

impl Listeners {
    /// Makes the directory, the operator's socket, owned by `operator`, and the TCP sockets of
    /// `doors`.
    pub(super) fn new(
        paths: &Paths,
        plane: &str,
        operator: u32,
        doors: &BTreeMap<String, Listen>,
    ) -> Result<Self> {
        let directory = paths.agents(plane);
        make_directory(&directory, 0o711)?;
        for left in fs::read_dir(&directory).into_iter().flatten().flatten() {
            // Sockets of an earlier supervisor: nobody listens on them any more.
            drop(fs::remove_file(left.path()));
        }
        let admin = bind(&paths.admin_socket(plane), operator)?;
        let doors = doors
            .iter()
            .map(|(name, listen)| {
                let what = || format!("listen on {} for plane `{plane}`", listen.address);
                let socket = TcpListener::bind(listen.address)
                    .context(what)
                    .map_err(|error| {
                        error.hint("another program, or another plane, has this address and port")
                    })?;
                Ok((listen.door(name)?, socket))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            directory,
            admin,
            agents: BTreeMap::new(),
            admitted: BTreeSet::new(),
            doors,
        })
    }

    /// The operator's socket.
    pub(super) fn admin(&self) -> BorrowedFd<'_> {
        self.admin.as_fd()
    }

    /// Takes in `agent`, and makes its socket where it has one; what to tell the front, and
    /// nothing where it is known already.
    pub(super) fn add(&mut self, agent: &str, proof: &Proof) -> Result<Option<Welcome<'_>>> {
        if self
            .agents
            .get(agent)
            .is_some_and(|(known, _)| known == proof)
        {
            return Ok(None);
        }
        let socket = match proof {
            Proof::Uid(uid) => Some(bind(&self.path(agent), *uid)?),
            Proof::Token(_) | Proof::Certificate(_) => None,
        };
        let taken = (proof.clone(), socket);
        self.agents.insert(agent.into(), taken);
        Ok(self
            .agents
            .get(agent)
            .and_then(|(proof, socket)| welcome(agent, proof, socket.as_ref())))
    }

    /// Removes everybody else, and their sockets; gives their names.
    pub(super) fn retain(&mut self, agents: &[(String, Proof)]) -> Vec<String> {
        let gone: Vec<String> = self
            .agents
            .iter()
            .filter(|(name, (proof, _))| !agents.iter().any(|(n, p)| n == *name && p == proof))
            .map(|(name, _)| name.clone())
            .collect();
        for name in &gone {
            self.admitted.remove(name);
            if let Some((_, Some(_))) = self.agents.remove(name) {
                drop(fs::remove_file(self.path(name)));
            }
        }
        gone
    }

    /// Names of agents that can connect.
    pub(super) fn names(&self) -> Vec<String> {
        let can = |(name, (_, socket)): &(&String, &(Proof, Option<UnixListener>))| {
            socket.is_some() || self.admitted.contains(*name)
        };
        let can = self.agents.iter().filter(can);
        can.map(|(name, _)| name.clone()).collect()
    }

    /// The front lets this agent in; whether there is such an agent.
    pub(super) fn admitted(&mut self, agent: &str) -> bool {
        let known = self.agents.contains_key(agent);
        if known {
            self.admitted.insert(agent.into());
        }
        known
    }

    /// A new front lets nobody in yet.
    pub(super) fn forget_admitted(&mut self) {
        self.admitted.clear();
    }

    /// What a new front is told of every agent.
    pub(super) fn all(&self) -> impl Iterator<Item = Welcome<'_>> {
        self.agents
            .iter()
            .filter_map(|(name, (proof, socket))| welcome(name, proof, socket.as_ref()))
    }

    /// The TCP sockets, and what is known of each.
    pub(super) fn doors(&self) -> impl Iterator<Item = (&Door, BorrowedFd<'_>)> {
        self.doors
            .iter()
            .map(|(door, socket)| (door, socket.as_fd()))
    }

    fn path(&self, agent: &str) -> PathBuf {
        self.directory.join(format!("{agent}.sock"))
    }
}

/// What the front is told of an agent, and the socket that goes with it.
pub(super) type Welcome<'a> = (Control, Option<BorrowedFd<'a>>);

fn welcome<'a>(
    agent: &str,
    proof: &Proof,
    socket: Option<&'a UnixListener>,
) -> Option<Welcome<'a>> {
    let agent = agent.to_owned();
    Some(match proof {
        Proof::Uid(uid) => (Control::Listen { agent, uid: *uid }, Some(socket?.as_fd())),
        Proof::Token(_) | Proof::Certificate(_) => {
            let proof = proof.clone();
            (Control::Admit { agent, proof }, None)
        }
    })
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
