//! Limits, signals, and that nothing is left behind.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{
    Ended, directory, jail, keepgate, manifest, native, needs, program, run, with_argument,
};
use crate::harness::{OWNER, binary, eventually};

#[test]
fn a_program_that_runs_too_long_is_ended_and_told() {
    let tool = program().to_str().unwrap();
    let ended = run(&["--profile", "native", "--wall", "1", "--", tool, "spin"]).code(137);
    assert!(ended.err.contains("`limits.wall_s = 2`"), "{ended:?}");
    let words = ["--json", "--wall", "1", "--", "/bin/sh", "-c", "sleep 600"];
    let json = run(&words).code(137).json();
    assert_eq!(
        (&json["limit"], &json["exit"]),
        (&"wall".into(), &serde_json::Value::Null)
    );
    assert!(json["wall_us"].as_u64().unwrap() >= 1_000_000, "{json}");
    assert_eq!(json["denials"][0]["allow"], "limits.wall_s = 2");
    native("native", &["exit", "0"]).code(0);
}

#[test]
fn a_flood_of_output_is_cut_at_the_limit() {
    let directory = directory();
    let text = "class = \"native\"\n[limits]\noutput_mib = 1\n";
    let file = manifest(directory.path(), text);
    let tool = program().to_str().unwrap();
    let ended = run(&["--profile", &file, "--", tool, "flood"]).code(137);
    assert_eq!(ended.out.len(), 1 << 20);
    assert!(
        ended.err.contains("`limits.output_mib = 2`"),
        "{}",
        ended.err
    );
}

#[test]
fn a_success_whose_output_was_cut_is_none_and_is_told() {
    let directory = directory();
    let file = manifest(directory.path(), &limited("output_mib = 1"));
    // It has written all of that into the pipe before anybody can have ended it.
    let head = ["--", "head", "-c", "1048577", "/dev/zero"];
    for options in [&["-q"][..], &[]] {
        let ended = run(&[options, &["--profile", &file], &head].concat()).code(137);
        assert_eq!(ended.out.len(), 1 << 20);
        assert!(ended.err.contains("`limits.output_mib = 2`"), "{ended:?}");
    }
    let json = run(&[&["--json", "--profile", &file], &head[..]].concat()).code(137);
    assert_eq!(json.json()["limit"], "output");
    let all = ["--", "head", "-c", "1048576", "/dev/zero"];
    let whole = run(&[&["-q", "--profile", &file], &all[..]].concat()).code(0);
    assert_eq!(whole.out.len(), 1 << 20);
}

#[test]
fn a_file_that_grew_too_long_is_told() {
    let directory = directory();
    let file = manifest(directory.path(), &limited("file_mib = 1"));
    let end = ["--", "sh", "-c", "exec head -c 2000000 /dev/zero >/tmp/f"];
    let ended = run(&[&["-q", "--profile", &file], &end[..]].concat()).code(128 + libc::SIGXFSZ);
    assert!(
        ended
            .err
            .contains("`write a longer file than limits.file_mib = 1`")
            && ended.err.contains("`limits.file_mib = 2`"),
        "{ended:?}"
    );
    let json = run(&[&["--json", "--profile", &file], &end[..]].concat()).json();
    assert_eq!(json["limit"], "file");
    assert_eq!(json["denials"][0]["allow"], "limits.file_mib = 2");
}

#[test]
fn quiet_hides_what_a_program_did_without_and_not_why_it_failed() {
    let denied = "import os, socket, sys\n\
        try: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)\n\
        except OSError: sys.exit(int(sys.argv[1]))";
    let err = |quiet: &[&str], code: &str| {
        let words = [quiet, &["--", "python3", "-c", denied, code]].concat();
        run(&words).code(code.parse().unwrap()).err
    };
    assert_eq!(err(&["-q"], "0"), "");
    for told in [err(&["-q"], "3"), err(&[], "0")] {
        assert!(
            told.contains("denied: ") && told.contains("AF_NETLINK"),
            "{told}"
        );
    }
}

#[test]
fn lower_limits_of_the_caller_stay() {
    // Those that a jail sets; but for the length of files, which a copy of this very binary has to
    // stay below, and that is long without optimisation.
    let lower = "ulimit -Sn 64; ulimit -Hn 400; ulimit -Sf 1000; \
                 ulimit -t 20 -s 4096 -c 0 -i 16 -q 0 -l 0 -d 400000 && \
                 exec setpriv --reuid=\"$0\" --clear-groups \"$@\"";
    let user = OWNER.to_string();
    let inside = |words: &[&str], program: &[&str]| {
        let mut command = Command::new(needs("bash"));
        command.args(["-c", lower, &user]).arg(binary());
        command.args(["jail", "run", "-q"]).args(words).arg("--");
        command.args(program).current_dir("/");
        Ended::of(command.stdin(Stdio::null()).output().unwrap())
    };
    let ended = inside(
        &[],
        &[
            "bash",
            "-c",
            "ulimit -Ht; ulimit -Hs; ulimit -Hn; ulimit -Hd",
        ],
    );
    assert_eq!(ended.code(0).out, "20\n4096\n400\n400000\n");
    let tool = program().to_str().unwrap();
    // What it takes to make a jail.
    for (limit, what) in [
        ("-n 128", "this process may open 128 descriptors"),
        ("-f 1000", "this process may write files of 1024000 bytes"),
    ] {
        let line = format!("ulimit {limit} && exec \"$0\" jail run -- true");
        let mut command = Command::new(needs("bash"));
        command.args(["-c", &line]).arg(binary());
        Ended::of(command.stdin(Stdio::null()).output().unwrap())
            .code(125)
            .says(what)
            .says("hint: raise the hard limit");
    }
    for class in ["native", "native-generic"] {
        inside(&["--profile", class], &[tool, "exit", "4"]).code(4);
    }
}

#[test]
fn memory_and_processes_have_limits() {
    let grow = "import sys\ntry: bytearray(400 << 20)\nexcept MemoryError: sys.exit(3)";
    run(&["-q", "--memory", "200", "--", "python3", "-c", grow]).code(3);
    run(&["-q", "--memory", "1000", "--", "python3", "-c", grow]).code(0);
    let fork = "import os, sys\ntry:\n  for _ in range(20):\n    if os.fork() == 0: os.execvp('sleep', ['sleep', '600'])\nexcept OSError: sys.exit(3)";
    run(&["-q", "--processes", "8", "--", "python3", "-c", fork]).code(3);
    run(&["-q", "--processes", "64", "--", "python3", "-c", fork]).code(0);
}

/// A foreign manifest with one limit of its own.
fn limited(limit: &str) -> String {
    let shown = keepgate(&["jail", "check", "foreign"]).code(0).out;
    let (name, _) = limit.split_once(" = ").unwrap();
    let lines = shown.lines().map(|line| match line.starts_with(name) {
        true => limit,
        false => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Starts a jail that says `ready` and then waits, with a word of its own among its arguments.
fn waiting(word: &str) -> std::process::Child {
    let script = "echo ready; exec sleep \"$0\"";
    let mut child = jail(&["-q", "--", "/bin/sh", "-c", script, word])
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    child
}

#[test]
fn a_signal_to_the_command_ends_the_jail() {
    for (signal, code, word) in [
        (Signal::SIGINT, 130, "60001.25"),
        (Signal::SIGTERM, 143, "60002.25"),
        (Signal::SIGHUP, 129, "60003.25"),
    ] {
        let mut child = waiting(word);
        kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
        // The command is gone, and has waited for its jailer: nothing is left now.
        assert_eq!(with_argument(word), 0, "{signal}");
    }
}

#[test]
fn a_signal_that_is_ignored_where_the_command_begins_ends_nothing() {
    let script = "trap '' HUP INT; exec \"$@\"";
    let program = "echo ready; read line; echo \"$line\"";
    let words = ["--", "/bin/sh", "-c", program];
    let inner = jail(&[&["-q"], &words[..]].concat());
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", script, "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    for signal in [Signal::SIGHUP, Signal::SIGINT] {
        kill(pid, signal).unwrap();
    }
    child.stdin.take().unwrap().write_all(b"on\n").unwrap();
    line.clear();
    output.read_line(&mut line).unwrap();
    assert_eq!(
        (line.as_str(), child.wait().unwrap().code()),
        ("on\n", Some(0))
    );
}

#[test]
fn a_command_that_is_killed_takes_its_jail_with_it() {
    let word = "60004.25";
    let mut child = waiting(word);
    // The jail's program, and this command that names it.
    assert!(with_argument(word) >= 2);
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the jail died with its command", || {
        with_argument(word) == 0
    });
}

#[test]
fn what_a_program_leaves_behind_dies_with_it() {
    let word = "60005.25";
    let script = "setsid sleep \"$0\" >/dev/null 2>&1 </dev/null & exit 4";
    run(&["-q", "--", "/bin/sh", "-c", script, word]).code(4);
    assert_eq!(with_argument(word), 0);
}
