//! What a person who does something wrong, or to whom something goes wrong, reads.

use std::fs;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Ended, directory, jail, needs, run};
use crate::harness::{OWNER, binary};

#[test]
fn mistakes_on_the_command_line_say_what_would_be_right() {
    for (words, code, what, hint) in [
        (
            &["--", ""][..],
            127,
            "the program's name is empty",
            "name it after `--`",
        ),
        (
            &["--env", "", "--", "true"],
            125,
            "`` is no name of a variable",
            "A-Z",
        ),
        (
            &["--net", "foo", "--", "true"],
            125,
            "`foo` has no port",
            "write `foo:443`",
        ),
        (
            &["--net", "", "--", "true"],
            125,
            "`` has no port",
            "write `api.example.net:443`",
        ),
        (
            &["--net", "https://foo/", "--", "true"],
            125,
            "is a URL",
            "the host and the port alone",
        ),
        (
            &["--chdir", "/none", "--", "true"],
            125,
            "is not seen in the jail",
            "make it, and add it",
        ),
        (
            &["--chdir", "/root", "--", "true"],
            125,
            "is not seen in the jail",
            "(`--ro`, `--rw`)",
        ),
        (
            &["--", "/usr"],
            126,
            "is no executable file",
            "a program is a regular file",
        ),
        (
            &["--wall", "-1", "--", "true"],
            125,
            "invalid value `-1`",
            "`--help` after the command",
        ),
        (
            &["--wall", "x", "--", "true"],
            125,
            "invalid value `x`",
            "`--help` after the command",
        ),
        (&["--", "a\u{1b}[2Jb"], 127, "`a\\u{1b}[2Jb`", "install it"),
        (
            &["--ro", "/a\u{1b}[2Jb", "--", "true"],
            125,
            "`/a\\u{1b}[2Jb` does not exist",
            "make it",
        ),
    ] {
        let ended = run(words).code(code).says(what);
        let told = ended.err.split("\nhint: ").nth(1).unwrap();
        assert!(told.contains(hint), "{words:?}: {ended:?}");
        assert!(!ended.err.contains('\u{1b}'), "{ended:?}");
    }
}

#[test]
fn it_starts_where_the_caller_is_if_that_is_shown() {
    let directory = directory();
    let here = directory.path().canonicalize().unwrap();
    fs::write(here.join("file"), "").unwrap();
    for (words, expected) in [
        (
            &["-q", "--ro", ".", "--", "pwd"][..],
            here.to_str().unwrap(),
        ),
        (&["-q", "--ro", ".", "--chdir", "/usr", "--", "pwd"], "/usr"),
        (
            &["-q", "--ro", "file", "--", "sh", "-c", "cat file; pwd"],
            here.to_str().unwrap(),
        ),
        (&["-q", "--", "pwd"], "/tmp"),
    ] {
        let ended = Ended::of(jail(words).current_dir(&here).output().unwrap()).code(0);
        assert_eq!(ended.out.trim_end(), expected, "{words:?}");
    }
}

/// Children of a process.
fn children(pid: u32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// A jail whose program has said that it runs.
fn running(words: &[&str]) -> Child {
    use std::io::{BufRead, BufReader};
    let script = ["--", "/bin/sh", "-c", "echo ready; exec sleep 600"];
    let mut child = jail(&[words, &script].concat()).spawn().unwrap();
    let mut line = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child
}

#[test]
fn a_process_of_keepgates_that_is_killed_is_named() {
    let child = running(&["-q"]);
    let [jailer] = children(child.id())[..] else {
        panic!("not one child: the jailer")
    };
    kill(Pid::from_raw(jailer), Signal::SIGKILL).unwrap();
    Ended::of(child.wait_with_output().unwrap())
        .code(125)
        .says("the jailer of this jail was killed by SIGKILL, and the jail with it")
        .says("hint: somebody did that, or the kernel for lack of memory");
    // Without its way out the program goes on.
    let child = running(&["--net", "a.example:443", "--wall", "3"]);
    let egress = |pid: &i32| {
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.contains("egress")
    };
    let mut found = children(child.id());
    found.retain(egress);
    assert_eq!(found.len(), 1);
    kill(Pid::from_raw(found[0]), Signal::SIGKILL).unwrap();
    let ended = Ended::of(child.wait_with_output().unwrap()).code(137);
    assert!(
        ended
            .err
            .contains("the way out was closed: the process that holds it died"),
        "{ended:?}"
    );
}

#[test]
fn text_of_a_jail_is_escaped_once() {
    let program = "import os, socket\n\
        at = os.environ['HTTPS_PROXY'][7:].split(':')\n\
        s = socket.create_connection((at[0], int(at[1])))\n\
        s.sendall(b'CONNECT a\\x1b\\\\b.example:443 HTTP/1.1\\r\\n\\r\\n')\n\
        s.recv(4096)";
    let words = ["--net", "a.example:443", "--", "python3", "-c", program];
    let ended = run(&words).code(0);
    let expected = r"the way out did not reach `CONNECT a\u{1b}\\b.example:443`";
    assert!(ended.err.contains(expected), "{ended:?}");
}

#[test]
fn what_a_jailer_refuses_comes_with_its_own_hint() {
    let directory = directory();
    let socket = directory.path().join("left");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let shown = directory.path().to_str().unwrap();
    let ended = run(&["--loopback", "--rw", shown, "--", "true"]).code(125);
    let ended = ended.says("holds the socket").says("/left`");
    let (_, hint) = ended.err.split_once("\nhint: ").unwrap();
    assert!(
        hint.starts_with("remove it if nobody listens there"),
        "{ended:?}"
    );
}

#[test]
fn without_proc_that_is_said() {
    let unshare = needs("unshare");
    let script = "umount -l /proc && exec \"$@\"";
    let mut command = Command::new(unshare);
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(binary());
    command
        .args(["jail", "run", "--", "true"])
        .stdin(Stdio::null());
    Ended::of(command.output().unwrap())
        .code(125)
        .says("needs `/proc`, which is not mounted here");
    // As containers do it: a part is hidden, and the kernel lets no ordinary user mount another.
    let script = "mount -t tmpfs none /proc/sys/kernel && exec \"$@\"";
    let mut command = Command::new(needs("unshare"));
    let user = format!("--reuid={OWNER}");
    command.args([
        "--mount",
        "sh",
        "-c",
        script,
        "sh",
        "setpriv",
        &user,
        "--clear-groups",
    ]);
    command
        .arg(binary())
        .args(["jail", "run", "--", "true"])
        .current_dir("/");
    Ended::of(command.stdin(Stdio::null()).output().unwrap())
        .code(125)
        .says("/proc: Operation not permitted")
        .says("a part of this container's `/proc` is hidden");
}

#[test]
fn root_gives_its_groups_up_and_others_are_told_that_they_cannot() {
    let setpriv = needs("setpriv");
    let with_groups = |user: &[&str], words: &[&str]| {
        let mut command = Command::new(&setpriv);
        command.args(user).args(["--groups", "4,24"]).arg(binary());
        command
            .args(words)
            .env_remove("KEEPGATE_DIR")
            .current_dir("/");
        Ended::of(command.stdin(Stdio::null()).output().unwrap())
    };
    let show = [
        "jail",
        "run",
        "-q",
        "--",
        "grep",
        "^Groups:",
        "/proc/self/status",
    ];
    let root = with_groups(&[], &show).code(0);
    assert_eq!(root.out.trim_end(), "Groups:", "{root:?}");
    let user = format!("--reuid={OWNER}");
    let plain = with_groups(&[&user], &show).code(0);
    // Numbers that its namespace has no names for.
    assert_eq!(plain.out.trim_end(), "Groups:\t65534 65534", "{plain:?}");
    let doctor = with_groups(&[&user], &["doctor"]);
    assert!(doctor.out.contains("jails keep yours: 4, 24"), "{doctor:?}");
}

#[test]
fn a_person_who_watches_is_told_what_a_failed_program_had() {
    let script = needs("script");
    let words = |options: &str, end: &str| {
        let binary = binary();
        let line = format!("{} jail run {options} -- sh -c '{end}'", binary.display());
        let mut command = Command::new(&script);
        command
            .args(["-qec", &line, "/dev/null"])
            .stdin(Stdio::null());
        Ended::of(command.output().unwrap())
    };
    let told = "hint: it could read /usr, /bin";
    let failed = words("", "cat /root/x; exit 3").code(3);
    assert!(failed.out.contains(told), "{failed:?}");
    for quiet in [words("", "exit 0").code(0), words("-q", "exit 3").code(3)] {
        assert!(!quiet.out.contains(told), "{quiet:?}");
    }
    // Nobody watches.
    let failed = run(&["--", "sh", "-c", "exit 3"]).code(3);
    assert!(!failed.err.contains(told), "{failed:?}");
}
