//! `keepgate jail run`, `check` and `explain`: real programs in real jails, made by the command
//! alone.

mod explained;
mod foreign;
mod limits;
mod mistakes;
mod native;
mod nested;
mod profiles;
mod streams;
mod way_out;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::harness::binary;

/// A program without any library: what it does is its first argument.
const STATIC: &str = r#"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
static void *aborts(void *nothing) { (void)nothing; abort(); }
static char piece[65536];
int main(int argc, char **argv, char **env) {
    const char *act = argc > 1 ? argv[1] : "";
    if (!strcmp(act, "exit")) return atoi(argv[2]);
    if (!strcmp(act, "trap")) __builtin_trap();
    if (!strcmp(act, "abort")) abort();
    if (!strcmp(act, "raise")) { kill(getpid(), atoi(argv[2])); return 98; }
    if (!strcmp(act, "thread-abort")) {
        pthread_t thread;
        if (pthread_create(&thread, 0, aborts, 0)) return 97;
        for (;;) pause();
    }
    if (!strcmp(act, "alarm")) {
        struct itimerval soon = {{0, 0}, {0, 1000}};
        setitimer(ITIMER_REAL, &soon, 0);
        for (;;) pause();
    }
    if (!strcmp(act, "own-pipe")) {
        int ends[2];
        if (pipe(ends) || close(ends[0])) return 96;
        for (;;) if (write(ends[1], "x", 1) > 0) return 95;
    }
    if (!strcmp(act, "strangers")) {
        for (int sig = 1; sig < 32; sig++) kill(1, sig);
        kill(-1, SIGKILL);
        return getpid() == 1 || getppid() != 0;
    }
    if (!strcmp(act, "spin")) for (;;) __asm__ volatile("");
    if (!strcmp(act, "env")) return env[0] != 0;
    if (!strcmp(act, "flood")) {
        memset(piece, 'x', sizeof piece);
        while (write(1, piece, sizeof piece) > 0) {}
        return 9;
    }
    if (!strcmp(act, "cat")) {
        for (;;) {
            ssize_t len = read(0, piece, sizeof piece), done = 0;
            if (len <= 0) return len != 0;
            while (done < len) {
                ssize_t wrote = write(1, piece + done, len - done);
                if (wrote <= 0) return 2;
                done += wrote;
            }
        }
    }
    return 99;
}
"#;

/// Compiled once; lives as long as the tests do.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROGRAM.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        open_to_all(directory.path());
        let (source, path) = (
            directory.path().join("p.c"),
            directory.path().join("static-tool"),
        );
        fs::write(&source, STATIC).unwrap();
        let made = Command::new("gcc")
            .args(["-O1", "-static", "-pthread", "-o"])
            .args([&path, &source])
            .status();
        assert!(made.unwrap().success(), "gcc makes no static programs");
        (directory, path)
    });
    path
}

fn open_to_all(path: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// `keepgate jail run` with options and a program, its standard input empty.
fn jail(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(["jail", "run"]).args(arguments);
    // No install of this host may matter.
    command.env_remove("KEEPGATE_DIR");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs it to its end.
fn run(arguments: &[&str]) -> Ended {
    Ended::of(jail(arguments).output().unwrap())
}

/// Runs the static program under a native profile.
fn native(profile: &str, arguments: &[&str]) -> Ended {
    let tool = program().to_str().unwrap();
    let mut all = vec!["--quiet", "--profile", profile, "--", tool];
    all.extend(arguments);
    run(&all)
}

/// How a command ended.
#[derive(Debug)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ended {
    fn of(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// It ended with this code.
    #[track_caller]
    fn code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Its error names this, and how to mend it.
    #[track_caller]
    fn says(self, what: &str) -> Self {
        assert!(self.err.contains(what), "no `{what}`: {self:?}");
        assert!(self.err.contains("\nhint: "), "no hint: {self:?}");
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A directory that every user can read.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    open_to_all(directory.path());
    directory
}

/// Writes a manifest and gives its path.
fn manifest(directory: &Path, text: &str) -> String {
    let path = directory.join("tool.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Processes of this host with that word among their arguments.
fn with_argument(word: &str) -> usize {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let has = |line: &Vec<u8>| {
        line.split(|byte| *byte == 0)
            .any(|part| part == word.as_bytes())
    };
    lines.filter(has).count()
}

/// A program of this host, or why the test cannot be.
fn needs(name: &str) -> PathBuf {
    let found = ["/usr/bin", "/usr/local/bin", "/bin"].map(|dir| Path::new(dir).join(name));
    let found = found.into_iter().find(|path| path.is_file());
    found.unwrap_or_else(|| panic!("`{name}` is not installed; scripts/test installs it"))
}

/// `keepgate` with other arguments.
fn keepgate<S: AsRef<OsStr>>(arguments: &[S]) -> Ended {
    let mut command = Command::new(binary());
    command
        .env_remove("KEEPGATE_DIR")
        .args(arguments)
        .stdin(Stdio::null());
    Ended::of(command.output().unwrap())
}
