//! Manifest files, `jail check`, and mistakes in either.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;

use super::{Ended, directory, jail, keepgate, manifest, run};
use crate::harness::{Appliance, OWNER};

#[test]
fn a_file_is_the_jail() {
    let directory = directory();
    let text = "class = \"foreign\"\nro = [\"/usr\", \"/bin\", \"/lib\", \"/lib64\"]\n\
                [env]\nGREETING = \"hi\"\n[limits]\nwall_s = 30\n";
    let file = manifest(directory.path(), text);
    let words = [
        "-q",
        "--profile",
        &file,
        "--",
        "/bin/sh",
        "-c",
        "echo $GREETING; ls /etc",
    ];
    let ended = run(&words).code(0);
    // The jail's own three, and nothing of the host's.
    assert_eq!(ended.out, "hi\ngroup\nhosts\npasswd\n");
}

#[test]
fn a_wrong_file_is_named_with_its_line() {
    let directory = directory();
    for (text, what) in [
        (
            "class = \"foreign\"\n\nreadonly = []\n",
            "line 3: unknown field `readonly`",
        ),
        (
            "class = \"native\"\nro = [\"/usr\"]\n",
            "line 2: `ro` has no meaning",
        ),
        (
            "class = \"foreign\"\nro = [\"/none/such\"]\n",
            "line 2: `/none/such` does not exist",
        ),
        (
            "class = \"foreign\"\nro = [\"/\"]\n",
            "line 2: `/` is the whole file system",
        ),
    ] {
        let file = manifest(directory.path(), text);
        run(&["--profile", &file, "--", "true"])
            .code(125)
            .says(what)
            .says(&file);
        keepgate(&["jail", "check", &file]).code(2).says(what);
    }
    run(&["--profile", "./none.toml", "--", "true"])
        .code(125)
        .says("read the manifest");
}

#[test]
fn nothing_but_a_regular_file_is_read_and_nothing_waited_for() {
    // Beneath `/tmp` no pipe is shown read-only at all.
    let directory = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
    super::open_to_all(directory.path());
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o755)).unwrap();
    let pipe = pipe.to_str().unwrap();
    for odd in [pipe, "/dev/zero", "/usr"] {
        run(&["--profile", odd, "--", "true"])
            .code(125)
            .says("it is not a regular file");
        keepgate(&["jail", "check", odd])
            .code(2)
            .says("it is not a regular file");
    }
    for odd in [pipe, "/dev/zero", "/usr"] {
        run(&["--profile", "native", "--", odd])
            .code(126)
            .says("is no executable file");
    }
    let dir = directory.path().to_str().unwrap();
    run(&["--ro", dir, "--", pipe])
        .code(126)
        .says("is no executable file");
}

#[test]
fn a_circle_of_links_is_named() {
    let directory = directory();
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    symlink(&two, &one).unwrap();
    symlink(&one, &two).unwrap();
    let text = format!("class = \"foreign\"\nro = [{one:?}]\n");
    let file = manifest(directory.path(), &text);
    let what = format!(
        "circle of links: {} -> {} -> ",
        one.display(),
        two.display()
    );
    run(&["--profile", &file, "--", "true"])
        .code(125)
        .says("line 2")
        .says(&what);
}

#[test]
fn what_check_prints_is_a_manifest_that_runs() {
    let directory = directory();
    for profile in ["foreign", "native", "native-generic"] {
        let printed = keepgate(&["jail", "check", profile]).code(0).out;
        let file = manifest(directory.path(), &printed);
        let again = keepgate(&["jail", "check", &file]).code(0).out;
        assert_eq!(again, printed);
        if profile == "foreign" {
            run(&["-q", "--profile", &file, "--", "/bin/sh", "-c", "exit 3"]).code(3);
        }
    }
    let json = keepgate(&["--json", "jail", "check", "native"])
        .code(0)
        .json();
    assert_eq!(json["manifest"]["class"], "native");
}

#[test]
fn mistakes_on_the_command_line_are_no_programs_end() {
    keepgate(&["jail", "run", "--no-such-option", "--", "true"])
        .code(125)
        .says("--no-such-option");
    keepgate(&["jail", "run"]).code(125);
    for words in [
        &["jail", "run", "--json", "--no-such-option", "--", "true"][..],
        &["jail", "--json", "run", "--wall", "x", "--", "true"],
        &["--json", "jail", "run"],
    ] {
        let ended = keepgate(words).code(125);
        let told: serde_json::Value = serde_json::from_str(&ended.err).unwrap();
        assert_eq!(told["error"]["exit"], 125, "{ended:?}");
    }
    // Words of the program are not ours.
    let ended = run(&["-q", "--", "/bin/echo", "--json", "--dir"]).code(0);
    assert_eq!(ended.out, "--json --dir\n");
}

#[test]
fn strict_refuses_where_protection_is_missing() {
    let told = run(&["--json", "--", "true"]).code(0).json();
    let strict = run(&["--strict", "--", "/bin/sh", "-c", "exit 7"]);
    match told["degraded"].as_array().unwrap().is_empty() {
        true => drop(strict.code(7)),
        false => {
            let name = told["degraded"][0].as_str().unwrap().to_owned();
            strict.code(125).says(&name);
            let noted = run(&["--", "true"]).code(0);
            assert!(
                noted.err.starts_with("note: ") && noted.err.contains(&name),
                "{noted:?}"
            );
            assert_eq!(run(&["--quiet", "--", "true"]).code(0).err, "");
        }
    }
}

#[test]
fn the_installs_own_files_are_never_shown() {
    let appliance = Appliance::init("");
    std::fs::create_dir(appliance.path("state")).unwrap();
    let dir = appliance.directory.path().to_str().unwrap();
    for shown in ["state", "keepgate.toml", "operator.token", "."] {
        let path = appliance.path(shown);
        let words = [
            "--dir",
            dir,
            "jail",
            "run",
            "--ro",
            path.to_str().unwrap(),
            "--",
            "true",
        ];
        keepgate(&words).code(125).says("would show Keepgate's own");
    }
    let mail = appliance.path("mail");
    super::open_to_all(&mail);
    let words = [
        "--dir",
        dir,
        "jail",
        "run",
        "-q",
        "--ro",
        mail.to_str().unwrap(),
        "--",
        "true",
    ];
    keepgate(&words).code(0);
}

#[test]
fn a_socket_in_a_shown_directory_is_of_no_use() {
    let directory = directory();
    let deep = directory.path().join("deep");
    std::fs::create_dir(&deep).unwrap();
    let path = deep.join("service");
    let _listener = UnixListener::bind(&path).unwrap();
    for file in [directory.path(), &deep, &path] {
        super::open_to_all(file);
    }
    let dir = directory.path().to_str().unwrap();
    let script = format!(
        "import socket as s\n\
         for kind in (s.SOCK_STREAM, s.SOCK_DGRAM, s.SOCK_SEQPACKET):\n\
         \x20 try: s.socket(s.AF_UNIX, kind).connect({path:?}); print('through')\n\
         \x20 except OSError: pass\n\
         try: s.socketpair(s.AF_UNIX, s.SOCK_DGRAM)[0].connect({path:?}); print('through')\n\
         except OSError: pass\n\
         s.socketpair(); print('tried')\n"
    );
    let ended = run(&["-q", "--ro", dir, "--", "python3", "-c", &script]).code(0);
    assert_eq!(ended.out, "tried\n");
    // Where a program may have sockets of its own, none is shown.
    for way in ["--ro", "--rw"] {
        run(&["--loopback", way, dir, "--", "true"])
            .code(125)
            .says("deep/service");
    }
}

#[test]
fn a_closed_directory_of_others_hides_no_socket_and_one_that_can_be_gone_into_is_named() {
    let directory = directory();
    let dir = directory.path().canonicalize().unwrap();
    let closed = dir.join("closed");
    std::fs::create_dir(&closed).unwrap();
    let shown = dir.to_str().unwrap();
    let run_as_other = |mode: u32| {
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut command = jail(&["-q", "--loopback", "--ro", shown, "--", "true"]);
        command.uid(OWNER).gid(OWNER).current_dir("/");
        Ended::of(command.output().unwrap())
    };
    run_as_other(0o700).code(0);
    run_as_other(0o711)
        .code(125)
        .says("read the directory `closed` in it: Permission denied")
        .says(shown);
    run_as_other(0o755).code(0);
    let listener = UnixListener::bind(closed.join("service")).unwrap();
    run_as_other(0o755).code(125).says("closed/service");
    drop(listener);
}

#[test]
fn what_may_be_changed_is_not_where_a_link_leads() {
    let directory = directory();
    let real = directory.path().join("real");
    std::fs::create_dir_all(real.join("below")).unwrap();
    let link = directory.path().join("link");
    symlink(&real, &link).unwrap();
    for path in [link.clone(), link.join("below")] {
        run(&["--rw", path.to_str().unwrap(), "--", "true"])
            .code(125)
            .says("goes through a symbolic link")
            .says("hint: write where it leads");
    }
}
