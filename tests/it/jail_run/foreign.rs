//! Interpreters and what belongs to them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use super::{directory, jail, needs, run};
use crate::harness::OWNER;

#[test]
fn a_shell_sees_what_its_profile_names_and_nothing_else() {
    let ended = run(&[
        "-q",
        "--",
        "/bin/sh",
        "-c",
        "echo hi; ls -a / /tmp; cat /etc/passwd",
    ]);
    let ended = ended.code(0);
    assert!(ended.out.starts_with("hi\n"), "{ended:?}");
    for hidden in ["root", "home", "var", "srv", "sys", "run"] {
        assert!(
            !ended.out.lines().any(|line| line == hidden),
            "`{hidden}`: {ended:?}"
        );
    }
    assert!(!ended.out.contains("root:"), "the host's users: {ended:?}");
}

#[test]
fn the_callers_environment_stays_outside_unless_named() {
    let show = ["--", "/bin/sh", "-c", "echo \"<$SECRET><$GIVEN><$PASSED>\""];
    let mut all = vec!["-q", "--env", "GIVEN=g", "--env", "PASSED"];
    all.extend(show);
    let mut command = jail(&all);
    command.env("SECRET", "s").env("PASSED", "p");
    let ended = super::Ended::of(command.output().unwrap()).code(0);
    assert_eq!(ended.out, "<><g><p>\n");
    run(&["--env", "NO_SUCH_VARIABLE", "--", "true"])
        .code(125)
        .says("`--env NO_SUCH_VARIABLE`: there is no such variable");
    run(&["--env", "HTTPS_PROXY=x", "--", "true"])
        .code(125)
        .says("Keepgate itself sets `HTTPS_PROXY`");
}

#[test]
fn python_and_node_run() {
    needs("python3");
    let python = "import threading, subprocess, json, tempfile\n\
        t = threading.Thread(target=lambda: print(6 * 7)); t.start(); t.join()\n\
        print(subprocess.run(['/bin/echo', 'child'], capture_output=True, text=True).stdout, end='')\n\
        open(tempfile.mktemp(), 'w').write('x')";
    let ended = run(&["-q", "--", "python3", "-c", python]).code(0);
    assert_eq!(ended.out, "42\nchild\n");
    needs("node");
    let node = "setTimeout(() => console.log(require('os').tmpdir(), 6 * 7), 1)";
    let ended = run(&["-q", "--", "node", "-e", node]).code(0);
    assert_eq!(ended.out, "/tmp 42\n");
}

#[test]
fn git_works_in_a_repository_it_may_change_and_files_keep_their_owner() {
    let git = needs("git");
    let directory = directory();
    let repository = directory.path().join("repo");
    let made = Command::new(git)
        .args(["init", "--quiet"])
        .arg(&repository)
        .status();
    assert!(made.unwrap().success());
    fs::write(repository.join("new.txt"), "x").unwrap();
    let all = Command::new("chown")
        .args(["-R", &OWNER.to_string()])
        .arg(&repository)
        .status();
    assert!(all.unwrap().success());
    let place = repository.to_str().unwrap();
    let options = ["-q", "--rw", place, "--chdir", place, "--"];
    let git = |words: &[&str]| run(&[&options[..], &["git"], words].concat());
    let ended = git(&["status", "--porcelain"]).code(0);
    assert_eq!(ended.out, "?? new.txt\n", "{ended:?}");
    git(&["add", "new.txt"]).code(0);
    git(&[
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b.example",
        "commit",
        "-qm",
        "m",
    ])
    .code(0);
    use std::os::unix::fs::MetadataExt;
    let head = fs::metadata(repository.join(".git/logs/HEAD")).unwrap();
    assert_eq!(
        head.uid(),
        OWNER,
        "what a jail makes belongs to the directory's owner"
    );
}

#[test]
fn what_is_read_only_is_not_written_and_what_is_not_shown_is_not_there() {
    let directory = directory();
    let dir = directory.path();
    for name in ["ro", "hidden"] {
        fs::create_dir(dir.join(name)).unwrap();
        super::open_to_all(&dir.join(name));
        fs::write(dir.join(name).join("file"), "content").unwrap();
    }
    // Even where every user may write.
    fs::set_permissions(dir.join("ro"), fs::Permissions::from_mode(0o777)).unwrap();
    let (ro, hidden) = (dir.join("ro"), dir.join("hidden/file"));
    let script = format!(
        "cat {0}/file; echo x > {0}/new && echo wrote; cat {1} && echo read",
        ro.display(),
        hidden.display()
    );
    let ended = run(&[
        "-q",
        "--ro",
        ro.to_str().unwrap(),
        "--",
        "/bin/sh",
        "-c",
        &script,
    ]);
    assert_eq!(ended.out, "content", "{ended:?}");
    assert!(!ro.join("new").exists());
}

#[test]
fn a_pipe_with_a_name_is_made_among_its_own_files_only() {
    needs("mkfifo");
    // Not beneath the jail's own `/tmp`.
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let shared = directory.path().to_str().unwrap();
    let script = format!("mkfifo /tmp/own && {{ mkfifo {shared}/theirs || echo refused; }}");
    let ended = run(&["-q", "--rw", shared, "--", "/bin/sh", "-c", &script]).code(0);
    assert_eq!(ended.out, "refused\n", "{ended:?}");
    assert!(!directory.path().join("theirs").exists());
    run(&["--rw", "/sys", "--", "true"])
        .code(125)
        .says("cannot be changed by a jail: it is the kernel's");
}

#[test]
fn missing_paths_and_programs_say_what_would_help() {
    run(&["--", "no-such-program"])
        .code(127)
        .says("there is no program `no-such-program`");
    let directory = directory();
    let tool = directory.path().join("tool");
    fs::write(&tool, "#!/bin/sh\necho it runs\n").unwrap();
    super::open_to_all(&tool);
    let path = tool.to_str().unwrap();
    let dir = directory.path().to_str().unwrap();
    run(&["--", path])
        .code(127)
        .says("which the jail does not see")
        .says(&format!("--ro {dir}"));
    let ended = run(&["-q", "--ro", dir, "--", path]).code(0);
    assert_eq!(ended.out, "it runs\n");
    let none = directory.path().join("none");
    run(&["--ro", none.to_str().unwrap(), "--", "true"])
        .code(125)
        .says("does not exist");
    run(&["--rw", "/dev/shm", "--", "true"])
        .code(125)
        .says("a `/dev` of its own");
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o644)).unwrap();
    run(&["--ro", dir, "--", path])
        .code(126)
        .says("is no executable file");
    fs::write(&tool, "text").unwrap();
    super::open_to_all(&tool);
    run(&["--ro", dir, "--", path])
        .code(126)
        .says("neither an ELF program nor a script");
    // What it may change it may not run.
    fs::write(&tool, "#!/bin/sh\necho it runs\n").unwrap();
    chown(directory.path(), Some(OWNER), Some(OWNER)).unwrap();
    run(&["--rw", dir, "--", path]).code(126);
}

#[test]
fn files_are_moved_and_linked_between_directories() {
    let directory = directory();
    chown(directory.path(), Some(OWNER), Some(OWNER)).unwrap();
    let dir = directory.path().to_str().unwrap();
    let script = "mkdir a b && echo 1 >a/x && python3 -c \
        'import os; os.replace(\"a/x\", \"b/y\"); os.link(\"b/y\", \"a/z\")' && cat a/z";
    let ended = run(&["-q", "--rw", dir, "--chdir", dir, "--", "sh", "-c", script]).code(0);
    assert_eq!(ended.out, "1\n");
}
