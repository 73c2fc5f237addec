//! Where everything is. Two layouts: the system's, and everything below one directory.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use crate::error::{Context, Error, Kind, Result};
use crate::wire::text::escaped;

/// Where a system-wide install has its configuration; its state and sockets are elsewhere.
const SYSTEM: &str = "/etc/keepgate";
const SYSTEM_STATE: &str = "/var/lib/keepgate";
const SYSTEM_RUN: &str = "/run/keepgate";
/// Below a user's home directory.
const OWN: &str = ".local/share/keepgate";
/// Names the directory where no option does.
const VARIABLE: &str = "KEEPGATE_DIR";

/// Beside the states of planes, none of which can have this name.
pub(super) const CONNECTORS: &str = "connectors";

/// Longest path of a unix socket, in bytes: `sun_path` without its final NUL (unix(7)).
pub const SOCKET_PATH_MAX: usize = 107;

/// Where an install has its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    dir: PathBuf,
    state: PathBuf,
    run: PathBuf,
    asked: bool,
}

impl Paths {
    /// Of the install in `dir`, or else in the directory that the environment variable
    /// `KEEPGATE_DIR` names: everything is below it. `/etc/keepgate` stands for the system-wide
    /// install, whose state is in `/var/lib/keepgate` and whose sockets are in `/run/keepgate`.
    ///
    /// Where neither is given, root means the system-wide install; other users mean the one in
    /// `~/.local/share/keepgate`, unless only the system has one.
    ///
    /// # Errors
    /// Fails where the directory is not known (no `HOME`).
    pub fn resolve(dir: Option<&Path>) -> Result<Self> {
        let system = Path::new(SYSTEM);
        let own_first = |own: PathBuf| match own.exists() || !system.exists() {
            true => own,
            false => system.into(),
        };
        Self::resolve_from(dir, std::env::var_os(VARIABLE), own_first)
    }

    /// As [`Paths::resolve`], for an install that is made now: a user's own is in the user's home,
    /// whatever the system has.
    ///
    /// # Errors
    /// As [`Paths::resolve`].
    pub fn resolve_new(dir: Option<&Path>) -> Result<Self> {
        Self::resolve_from(dir, std::env::var_os(VARIABLE), |own| own)
    }

    fn resolve_from(
        dir: Option<&Path>,
        variable: Option<OsString>,
        choose: impl Fn(PathBuf) -> PathBuf,
    ) -> Result<Self> {
        let variable = variable
            .filter(|value| !value.is_empty())
            .map(PathBuf::from);
        if let Some(dir) = dir.map(Path::to_path_buf).or(variable) {
            let shown = || format!("find the directory `{}`", escaped(&dir.to_string_lossy()));
            return Ok(Self::at(&std::path::absolute(&dir).context(shown)?, true));
        }
        if geteuid().is_root() {
            return Ok(Self::at(Path::new(SYSTEM), false));
        }
        let home = std::env::var_os("HOME")
            .map(PathBuf::from)
            .filter(|home| home.is_absolute());
        let home = home.ok_or_else(|| {
            Error::of(Kind::Usage, "the home directory is not known")
                .hint("name the directory: `keepgate --dir DIR …`, or set KEEPGATE_DIR")
        })?;
        Ok(Self::at(&choose(home.join(OWN)), false))
    }

    fn at(dir: &Path, asked: bool) -> Self {
        // Trailing slashes and dots do not make another directory.
        let dir: PathBuf = dir.components().collect();
        if dir == Path::new(SYSTEM) {
            return Self {
                dir,
                state: SYSTEM_STATE.into(),
                run: SYSTEM_RUN.into(),
                asked,
            };
        }
        let (state, run) = (dir.join("state"), dir.join("run"));
        Self {
            dir,
            state,
            run,
            asked,
        }
    }

    /// The directory that names the install: what `--dir` takes.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory was asked for, by option or environment.
    pub fn asked(&self) -> bool {
        self.asked
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.dir.join("keepgate.toml")
    }

    /// Directory of [`Paths::policy_file`].
    pub fn policy_dir(&self) -> PathBuf {
        self.dir.join("policy")
    }

    /// The operator's editing copy of a plane's policy. Only `keepgate policy apply` reads it; the
    /// policy in force is in the plane's state.
    pub fn policy_file(&self, plane: &str) -> PathBuf {
        self.policy_dir().join(format!("{plane}.cedar"))
    }

    /// Directory of the connectors' manifests.
    pub fn connectors(&self) -> PathBuf {
        self.dir.join("connectors")
    }

    /// Manifest of a connector.
    pub fn connector(&self, name: &str) -> PathBuf {
        self.connectors().join(format!("{name}.toml"))
    }

    /// What was approved of the connectors.
    pub fn connectors_lock(&self) -> PathBuf {
        self.dir.join("connectors.lock")
    }

    /// What was pinned of agents' own programs.
    pub fn agents_lock(&self) -> PathBuf {
        self.dir.join("agents.lock")
    }

    /// Directory of [`Paths::agent_entries`].
    pub fn agents_entries(&self) -> PathBuf {
        self.dir.join("agents.pins")
    }

    /// Every entry of what was pinned of an agent: to tell what changed.
    pub fn agent_entries(&self, plane: &str, agent: &str) -> PathBuf {
        let above = self.agents_entries().join(plane);
        above.join(format!("{agent}.json"))
    }

    /// Directory of the connectors' packages, and of what vetting found.
    pub fn connectors_state(&self) -> PathBuf {
        self.state.join(CONNECTORS)
    }

    /// A connector's packages and findings.
    pub fn connector_state(&self, name: &str) -> PathBuf {
        self.connectors_state().join(name)
    }

    /// What `import` installed of a connector: the only part of the state that its jail is shown.
    pub fn connector_tree(&self, name: &str) -> PathBuf {
        self.connector_state(name).join("tree")
    }

    /// The operator's token, asked for where all roles share one uid.
    pub fn token_file(&self) -> PathBuf {
        self.dir.join("operator.token")
    }

    /// The system-wide install's, whether there is one or not.
    pub fn system() -> Self {
        Self::at(Path::new(SYSTEM), false)
    }

    /// What no tool and no jail may reach.
    pub fn own(&self) -> Vec<PathBuf> {
        vec![
            self.config(),
            self.token_file(),
            self.policy_dir(),
            self.connectors(),
            self.connectors_lock(),
            self.agents_lock(),
            self.agents_entries(),
            self.state.clone(),
            self.run.clone(),
        ]
    }

    /// Directory of all planes' states.
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// State of a plane, its keeper's own.
    pub fn state(&self, plane: &str) -> PathBuf {
        self.state.join(plane)
    }

    /// Log of a plane.
    pub fn log(&self, plane: &str) -> PathBuf {
        self.state(plane).join("log")
    }

    /// The rebuildable index of a plane's log.
    pub fn index(&self, plane: &str) -> PathBuf {
        self.state(plane).join("index.sqlite")
    }

    /// Private key that signs a plane's log.
    pub fn log_key(&self, plane: &str) -> PathBuf {
        self.state(plane).join("keys/log.pk8")
    }

    /// Directory of sockets and of what is true only while the supervisor runs.
    pub fn run_dir(&self) -> &Path {
        &self.run
    }

    /// Directory of a plane's agents' sockets.
    pub fn agents(&self, plane: &str) -> PathBuf {
        self.run.join(plane).join("agents")
    }

    /// Socket of an agent.
    pub fn agent_socket(&self, plane: &str, agent: &str) -> PathBuf {
        self.agents(plane).join(format!("{agent}.sock"))
    }

    /// The operator's socket of a plane.
    pub fn admin_socket(&self, plane: &str) -> PathBuf {
        self.run.join(plane).join("admin.sock")
    }

    /// Locked while a supervisor serves this install.
    pub fn lock(&self) -> PathBuf {
        self.run.join("serve.lock")
    }

    /// What the supervisor says of its roles.
    pub fn supervisor_status(&self) -> PathBuf {
        self.run.join("status.json")
    }
}

/// Whether a unix socket can have this path.
///
/// # Errors
/// Kind usage where it is longer than [`SOCKET_PATH_MAX`].
pub fn socket_fits(path: &Path) -> Result<()> {
    let length = path.as_os_str().as_bytes().len();
    if length <= SOCKET_PATH_MAX {
        return Ok(());
    }
    let path = escaped(&path.to_string_lossy());
    let what = format!(
        "the socket path `{path}` is {length} bytes long; the kernel takes {SOCKET_PATH_MAX}"
    );
    Err(Error::of(Kind::Usage, what)
        .hint("use a shorter name, or a shorter directory: `keepgate --dir DIR …`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(path: PathBuf) -> PathBuf {
        path
    }

    #[test]
    fn an_option_wins_over_the_environment_and_an_empty_variable_is_none() {
        let variable = Some(OsString::from("/v"));
        let paths = Paths::resolve_from(Some(Path::new("/d/")), variable.clone(), own).unwrap();
        assert_eq!(paths.config(), Path::new("/d/keepgate.toml"));
        assert_eq!(paths.log("p"), Path::new("/d/state/p/log"));
        assert_eq!(
            paths.agent_socket("p", "a"),
            Path::new("/d/run/p/agents/a.sock")
        );
        let paths = Paths::resolve_from(None, variable, own).unwrap();
        assert_eq!((paths.dir(), paths.asked()), (Path::new("/v"), true));
        let paths = Paths::resolve_from(None, Some(OsString::new()), own).unwrap();
        assert!(!paths.asked());
    }

    #[test]
    fn the_system_wide_install_has_its_own_layout() {
        let paths = Paths::resolve_from(Some(Path::new("/etc/keepgate/.")), None, own).unwrap();
        assert_eq!(paths.config(), Path::new("/etc/keepgate/keepgate.toml"));
        assert_eq!(paths.state("p"), Path::new("/var/lib/keepgate/p"));
        assert_eq!(paths.lock(), Path::new("/run/keepgate/serve.lock"));
    }

    #[test]
    fn a_relative_directory_is_made_absolute() {
        let paths = Paths::resolve_from(Some(Path::new("x")), None, own).unwrap();
        assert!(paths.dir().is_absolute());
    }

    #[test]
    fn long_socket_paths_are_refused_before_the_kernel_does() {
        let fits = "x".repeat(SOCKET_PATH_MAX);
        assert!(socket_fits(Path::new(&fits)).is_ok());
        let error = socket_fits(Path::new(&format!("{fits}x"))).unwrap_err();
        assert!(error.message().contains("108 bytes") && error.hint_text().is_some());
    }
}
