//! What starts without a jail of ours, from a small process of the host: the floor, and other
//! sandboxes.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::worker::{Held, serve};

/// The kind of this worker; its argument is a small static program.
pub(super) const KIND: &str = "host";

/// What sandboxes are told so that they do what a native jail does: bubblewrap.
const BWRAP: [&str; 8] = [
    "--unshare-all",
    "--die-with-parent",
    "--new-session",
    "--clearenv",
    "--ro-bind",
    "/",
    "/",
    "--",
];
/// And firejail.
const FIREJAIL: [&str; 8] = [
    "--quiet",
    "--noprofile",
    "--net=none",
    "--private",
    "--caps.drop=all",
    "--nonewprivs",
    "--seccomp",
    "--",
];

/// Its life.
pub(super) fn run(small: &str) {
    let product = super::super::binary();
    let view = view();
    let mut held = Held::default();
    serve(|what, times| {
        let run = |program: &Path, arguments: &[&str]| -> Vec<f64> {
            (0..times)
                .map(|_| timed(&mut command(program, arguments)))
                .collect()
        };
        match what {
            "posix" => (0..times).map(|_| timed(&mut noop(&product))).collect(),
            "fork" => (0..times).map(|_| timed(&mut forked(&product))).collect(),
            "small" => run(Path::new(small), &[]),
            "bwrap" => run(Path::new("bwrap"), &[&BWRAP[..], &[small]].concat()),
            "firejail" => run(Path::new("firejail"), &[&FIREJAIL[..], &[small]].concat()),
            "true" => run(Path::new("/bin/true"), &[]),
            "view" => {
                let view: Vec<&str> = view.iter().map(String::as_str).collect();
                run(Path::new("bwrap"), &[&view[..], &["/bin/true"]].concat())
            }
            "hold" => held.only(times),
            _ => panic!("{what}"),
        }
    });
}

/// bubblewrap with what the profile `foreign` shows.
fn view() -> Vec<String> {
    let text = |text: &str| text.to_owned();
    let mut all = vec![
        text("--unshare-all"),
        text("--die-with-parent"),
        text("--new-session"),
        text("--clearenv"),
    ];
    for path in super::foreign().ro {
        let shown = path.to_str().unwrap().to_owned();
        match std::fs::read_link(&path) {
            Ok(target) => all.extend([
                text("--symlink"),
                target.to_str().unwrap().to_owned(),
                shown,
            ]),
            Err(_) => all.extend([text("--ro-bind"), shown.clone(), shown]),
        }
    }
    for (how, place) in [("--proc", "/proc"), ("--dev", "/dev"), ("--tmpfs", "/tmp")] {
        all.extend([text(how), text(place)]);
    }
    all.push(text("--"));
    all
}

fn command(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

fn noop(product: &Path) -> Command {
    let mut command = command(product, &["noop"]);
    command.arg0(keepgate::tools::PROGRAM).env_clear();
    command
}

/// Setting a uid makes the standard library fork.
fn forked(product: &Path) -> Command {
    let mut command = noop(product);
    command.uid(nix::unistd::geteuid().as_raw());
    command
}

/// Seconds from start to end of one process.
fn timed(command: &mut Command) -> f64 {
    let start = Instant::now();
    let ended = command.status().unwrap();
    let took = start.elapsed().as_secs_f64();
    assert!(ended.success(), "{command:?}: {ended}");
    took
}
