//! What there is to reach outside of a jail, the hostile program that tries (`tests/probe`), and a
//! jailer whose starter is careless: open descriptors, a secret in its environment, a terminal.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use keepgate::call::id::Id;
use keepgate::jailer::JailerSetup;
use keepgate::sys::sealed;
use keepgate::wire::frame;
use keepgate::wire::manifest::{Class, Destination, Manifest};
use keepgate::wire::messages::{JailEnd, JailerToKeeper, KeeperToJailer};
use nix::pty::{OpenptyResult, openpty};

use super::driver::{Jailer, Process, begin, mode, setup};
use super::orders::Refused;

/// The user of canaries where jails have one of their own: the first jail's.
pub(super) const JAIL_UID: u32 = super::driver::JAIL_UID;
/// `nobody`: a user without a single right.
pub(super) const NOBODY: u32 = 65_534;
/// What everything outside holds; `SECRET` in `tests/probe/probe.h`.
const SECRET: &str = "KEEPGATE-CANARY-7f3a";
/// Bytes of the largest program.
const PROGRAM_MAX: u64 = 16 << 20;

/// The hostile program, compiled once.
fn hostile() -> &'static [u8] {
    static PROGRAM: OnceLock<Vec<u8>> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let place = tempfile::tempdir().unwrap();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe");
        let sources = fs::read_dir(sources)
            .unwrap()
            .map(|file| file.unwrap().path());
        let done = Command::new("gcc")
            .args(["-static", "-O1", "-Wall", "-Wextra", "-Werror", "-o"])
            .arg(place.path().join("probe"))
            .args(sources.filter(|path| path.extension().is_some_and(|end| end == "c")))
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        fs::read(place.path().join("probe")).unwrap()
    })
}

/// What is outside: files of `uid`, and a process of `uid` that serves, shares and holds secrets.
pub(super) struct Outside {
    place: tempfile::TempDir,
    victim: Child,
    /// What the hostile program is told, `NAME=VALUE`.
    facts: Vec<String>,
}

impl Outside {
    pub(super) fn new(uid: u32) -> Self {
        // Not below /tmp, which a jail has of its own: what is out of sight must be so by itself.
        let place = tempfile::tempdir_in("/var/tmp").unwrap();
        let path = |name: &str| place.path().join(name);
        for directory in ["outside", "rw", "ro"] {
            fs::create_dir(path(directory)).unwrap();
        }
        for file in ["outside/secret", "outside/spare", "ro/file"] {
            fs::write(path(file), SECRET).unwrap();
        }
        fs::write(path("probe"), hostile()).unwrap();
        std::os::unix::fs::symlink(path("outside/secret"), path("rw/planted")).unwrap();
        std::os::unix::fs::symlink(path("outside"), path("rw/planted-dir")).unwrap();
        // All of it is the jail's user's: no permission bit refuses anything.
        for name in [
            "",
            "outside",
            "rw",
            "ro",
            "outside/secret",
            "outside/spare",
            "ro/file",
            "probe",
        ] {
            chown(path(name), Some(uid), Some(uid)).unwrap();
            mode(&path(name), 0o755);
        }
        let tell = |name: &str, path: PathBuf| format!("{name}={}", path.display());
        let mut facts = vec![
            tell("dir", path("outside")),
            tell("secret", path("outside/secret")),
            tell("rw", path("rw")),
            tell("ro", path("ro")),
            format!("uid={uid}"),
            format!("starter={}", std::process::id()),
        ];
        let mut victim = Command::new(path("probe"))
            .arg("victim")
            .args(&facts)
            .env_clear()
            .env("EP_SECRET", SECRET)
            .uid(uid)
            .gid(uid)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let told = BufReader::new(victim.stdout.take().unwrap()).lines();
        facts.extend(told.map(Result::unwrap).take_while(|line| line != "ready"));
        assert!(
            facts.iter().any(|fact| fact.starts_with("abstract=")),
            "{facts:?}"
        );
        Self {
            place,
            victim,
            facts,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    /// A jail that sees the system, the program and one directory to change; with a way out.
    pub(super) fn foreign(&self) -> Manifest {
        let mut manifest = super::foreign::manifest();
        manifest.ro.extend([self.path("ro"), self.path("probe")]);
        manifest.rw.push(self.path("rw"));
        manifest.net.push(Destination {
            host: "api.example".into(),
            port: 443,
            private: vec![],
        });
        manifest
    }

    /// Runs it without a jail, as `uid`, from the same careless starter.
    pub(super) fn without_a_jail(&self, uid: u32) -> Found {
        let tty = openpty(None, None).unwrap();
        let script = format!("exec \"$0\" \"$@\" {LEAKS}");
        let done = self
            .careless(uid, &tty, &script)
            .arg(self.path("probe"))
            .args(["try", "none"])
            .args(&self.facts)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        Found::read(&String::from_utf8(done.stdout).unwrap())
    }

    /// A jailer of that starter, with these manifests.
    pub(super) fn jailer(&self, user: Option<u32>, manifests: Vec<Manifest>) -> Leaky {
        let tty = openpty(None, None).unwrap();
        // A place for the product that this user can see.
        let program = self.path("keepgate");
        if !program.exists() {
            fs::copy(crate::harness::binary(), &program).unwrap();
            mode(&program, 0o755);
        }
        let root = tempfile::tempdir_in(self.place.path()).unwrap();
        chown(root.path(), user, user).unwrap();
        let mut setup: JailerSetup = setup(root.path());
        setup.manifests = manifests;
        if user.is_some() {
            setup.confine.uid = None;
            setup.jail_users = None;
            setup.separation = keepgate::keeper::ONE_USER.into();
        }
        let (control, theirs) = frame::pair().unwrap();
        let script =
            format!("exec -a keepgate-jailer \"$0\" test 3<&1 {LEAKS} 0</dev/null 1>/dev/null");
        let child = self
            .careless(user.unwrap_or(0), &tty, &script)
            .arg(program)
            .stdout(theirs)
            .spawn()
            .unwrap();
        let jailer = begin(Process::Other(child), control, root, &setup, None).unwrap();
        Leaky { jailer, _tty: tty }
    }

    /// A shell with a controlling terminal, which runs `script` as `uid` in the directory that holds
    /// everything.
    fn careless(&self, uid: u32, tty: &OpenptyResult, script: &str) -> Command {
        chown(
            format!(
                "/proc/self/fd/{}",
                std::os::fd::AsRawFd::as_raw_fd(&tty.slave)
            ),
            Some(uid),
            Some(uid),
        )
        .unwrap();
        let mut command = Command::new("setsid");
        command
            .args(["--ctty", "bash", "-c", script])
            .env_clear()
            .env("EP_SECRET", SECRET)
            .current_dir(self.place.path())
            .uid(uid)
            .gid(uid)
            .stdin(tty.slave.try_clone().unwrap());
        command
    }
}

/// What a starter leaves open: its terminal, a directory and a file with a secret.
const LEAKS: &str = "7<&0 8<outside 9<outside/secret";

impl Drop for Outside {
    fn drop(&mut self) {
        // Ends with its standard input, after it has taken away what it shared.
        drop(self.victim.stdin.take());
        drop(self.victim.wait());
    }
}

/// A jailer, and the terminal of its starter.
pub(super) struct Leaky {
    pub(super) jailer: Jailer,
    _tty: OpenptyResult,
}

/// A jail at work.
pub(super) struct Working {
    ticket: Id,
    class: Class,
    output: BufReader<std::io::PipeReader>,
}

impl Leaky {
    /// Starts the hostile program under a manifest of `class`.
    pub(super) fn begin(&self, outside: &Outside, class: Class, arguments: &[&str]) -> Working {
        let path = outside.path("probe").display().to_string();
        let (read, write) = std::io::pipe().unwrap();
        let ticket = Id::random().unwrap();
        let argv = std::iter::once("probe").chain(arguments.iter().copied());
        let say = KeeperToJailer::Run {
            ticket,
            lasting: false,
            manifest: class.name().into(),
            program: if class == Class::Foreign {
                path.clone()
            } else {
                String::new()
            },
            argv: argv.map(str::to_owned).collect(),
        };
        let null = fs::File::open("/dev/null").unwrap();
        let program: Option<OwnedFd> = (class != Class::Foreign)
            .then(|| sealed::seal(&fs::File::open(&path).unwrap(), PROGRAM_MAX).unwrap());
        let mut fds = vec![null.as_fd(), write.as_fd(), write.as_fd()];
        fds.extend(program.as_ref().map(AsFd::as_fd));
        self.jailer.say(&say, &[], &fds);
        let output = BufReader::new(read);
        Working {
            ticket,
            class,
            output,
        }
    }

    /// Runs it to its end; with what it said.
    pub(super) fn run(
        &self,
        outside: &Outside,
        class: Class,
        arguments: &[&str],
    ) -> (Result<JailEnd, Refused>, String) {
        let working = self.begin(outside, class, arguments);
        self.end(working)
    }

    /// Lets it try everything.
    pub(super) fn tries(&self, outside: &Outside, class: Class) -> (JailEnd, Found) {
        let word = if class == Class::Foreign {
            "foreign"
        } else {
            "native"
        };
        let facts = outside.facts.iter().map(String::as_str);
        let arguments: Vec<&str> = ["try", word].into_iter().chain(facts).collect();
        let (end, text) = self.run(outside, class, &arguments);
        let end = end.unwrap();
        assert_eq!((end.code, end.signal), (Some(0), None), "{end:?}\n{text}");
        (end, Found::read(&text))
    }

    /// Waits for its end.
    pub(super) fn end(&self, mut working: Working) -> (Result<JailEnd, Refused>, String) {
        // Held open: what connects to it reaches somebody.
        let _way_out = (working.class == Class::Foreign).then(|| {
            let mut frame = self.jailer.hear();
            let JailerToKeeper::Listening { ticket } = frame.say else {
                panic!("{:?}", frame.say)
            };
            assert_eq!(ticket, working.ticket);
            frame.fds.pop().unwrap()
        });
        let mut text = String::new();
        working.output.read_to_string(&mut text).unwrap();
        (self.jailer.hear_end(working.ticket), text)
    }

    /// Has it killed.
    pub(super) fn kill(&self, working: &Working) {
        let ticket = working.ticket;
        self.jailer.say(&KeeperToJailer::Kill { ticket }, &[], &[]);
    }
}

impl Working {
    /// The next line it says.
    pub(super) fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

/// What the hostile program found.
#[derive(Debug)]
pub(super) struct Found(BTreeMap<String, String>);

impl Found {
    fn read(text: &str) -> Self {
        let lines = text
            .strip_suffix("end\n")
            .unwrap_or_else(|| panic!("cut short: {text}"));
        let lines = lines
            .lines()
            .map(|line| line.split_once(' ').unwrap_or_else(|| panic!("{line}")));
        Self(
            lines
                .map(|(name, what)| (name.into(), what.into()))
                .collect(),
        )
    }

    /// Those of which this became.
    pub(super) fn all(&self, what: &str) -> Vec<&str> {
        let these = self.0.iter().filter(|(_, became)| *became == what);
        these.map(|(name, _)| name.as_str()).collect()
    }
}
