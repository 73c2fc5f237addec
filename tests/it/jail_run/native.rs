//! Static programs.

use std::os::unix::process::CommandExt;

use super::{jail, native, program, run};
use crate::harness::AGENT;

#[test]
fn a_static_program_ends_as_itself() {
    for profile in ["native", "native-generic"] {
        native(profile, &["exit", "0"]).code(0);
        native(profile, &["exit", "41"]).code(41);
        native(profile, &[]).code(99);
        // SIGILL.
        native(profile, &["trap"]).code(128 + 4);
    }
}

/// A program that is not ours is nobody's first process: what ends it elsewhere ends it here, and
/// its status says so.
#[test]
fn signals_end_a_program_of_another_as_they_do_outside() {
    for (arguments, signal) in [
        (&["abort"][..], libc::SIGABRT),
        (&["thread-abort"], libc::SIGABRT),
        (&["own-pipe"], libc::SIGPIPE),
        (&["alarm"], libc::SIGALRM),
        (&["raise", "15"], libc::SIGTERM),
        (&["raise", "1"], libc::SIGHUP),
        (&["raise", "9"], libc::SIGKILL),
    ] {
        let tool = program().to_str().unwrap();
        let options = ["--json", "--profile", "native-generic", "--", tool];
        let ended = run(&[&options[..], arguments].concat()).code(128 + signal);
        let told = ended.json();
        assert_eq!(told["signal"], signal, "{arguments:?}");
        // By the signal, not by a limit that somebody had to wait for.
        assert_eq!(told["limit"], serde_json::Value::Null, "{arguments:?}");
    }
}

/// Whoever wants it all ended ends itself only: the first process of the jail is not to be moved.
#[test]
fn a_program_cannot_end_what_holds_its_jail() {
    native("native-generic", &["strangers"]).code(0);
}

#[test]
fn a_native_program_has_no_environment() {
    native("native", &["env"]).code(0);
}

#[test]
fn it_works_for_an_ordinary_user_without_a_home() {
    let tool = program().to_str().unwrap();
    for (profile, words) in [
        ("native", vec![tool, "exit", "5"]),
        ("foreign", vec!["/bin/sh", "-c", "exit 5"]),
    ] {
        let mut command = jail(&["--quiet", "--profile", profile, "--"]);
        let command = command.args(words).uid(AGENT).gid(AGENT).env_clear();
        let ended = super::Ended::of(command.current_dir("/").output().unwrap());
        ended.code(5);
    }
}

#[test]
fn what_cannot_run_natively_is_named_with_what_can() {
    run(&["--profile", "native", "--", "/bin/sh"])
        .code(126)
        .says("is not static: it wants `/lib64/ld-linux-x86-64.so.2`")
        .says("--profile foreign");
    let directory = super::directory();
    let script = directory.path().join("script");
    std::fs::write(&script, "#!/bin/sh\nexit 0\n").unwrap();
    super::open_to_all(&script);
    run(&["--profile", "native", "--", script.to_str().unwrap()])
        .code(126)
        .says("is a script for `/bin/sh`")
        .says("--profile foreign");
    let none = directory.path().join("none");
    run(&["--profile", "native", "--", none.to_str().unwrap()])
        .code(127)
        .says("No such file");
    run(&[
        "--profile",
        "native",
        "--",
        directory.path().to_str().unwrap(),
    ])
    .code(126)
    .says("is no executable file");
}
