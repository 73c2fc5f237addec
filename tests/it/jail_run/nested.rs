//! What is read-only within what may be changed, and the other way round.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::{Ended, directory, jail, manifest, run};
use crate::harness::{OWNER, binary};

/// A work tree of somebody else's, closed to others.
fn tree(dir: &Path) {
    for name in ["work/.git/hooks", "work/src"] {
        fs::create_dir_all(dir.join(name)).unwrap();
    }
    for name in [
        "work/.git/hooks/pre-commit",
        "work/.git/config",
        "work/src/a",
    ] {
        fs::write(dir.join(name), "#!/bin/sh\necho old\n").unwrap();
    }
    let hook = dir.join("work/.git/hooks/pre-commit");
    fs::set_permissions(hook, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(dir.join("work"), fs::Permissions::from_mode(0o700)).unwrap();
    let all = Command::new("chown")
        .args(["-R", &format!("{OWNER}:{OWNER}")])
        .arg(dir.join("work"))
        .status();
    assert!(all.unwrap().success());
}

/// What a jail tries, one word each for what got through.
const TRIES: &str = r#"
h=.git/hooks
echo evil >$h/pre-commit && echo wrote
echo evil >$h/new && echo made
rm -f $h/pre-commit && echo removed
mv $h h2 && echo moved
mv .git g2 && echo moved-above
python3 -c 'import os; os.rename(".git", "g3"); print("renamed-above")'
python3 -c 'import os; os.mkdir("other"); os.rename("other", ".git/hooks"); print("replaced")'
rmdir $h && echo emptied
ln $h/pre-commit link && echo evil >link && echo linked
chmod 777 $h/pre-commit && echo chmod
touch $h/pre-commit && echo touched
python3 -c 'import os, mmap
f = os.open(".git/hooks/pre-commit", os.O_RDWR); print("opened")'
mkfifo $h/pipe && echo piped
echo x >.git/config && echo config
echo x >src/b && mv src/b src/c && echo source
cat $h/pre-commit
$h/pre-commit
"#;

#[test]
fn what_is_kept_within_what_may_be_changed_stays_as_it_is_and_where_it_is() {
    let directory = directory();
    let dir = directory.path();
    tree(dir);
    let (work, hooks) = (dir.join("work"), dir.join("work/.git/hooks"));
    let (work, hooks) = (work.to_str().unwrap(), hooks.to_str().unwrap());
    let options = ["-q", "--ro", hooks, "--rw", work, "--chdir", work];
    let ended = run(&[&options[..], &["--", "sh", "-c", TRIES]].concat()).code(0);
    // It is read and run as the rest of the tree is.
    let expected = "config\nsource\n#!/bin/sh\necho old\nold\n";
    assert_eq!(ended.out, expected, "{ended:?}");
    assert!(ended.err.contains("Device or resource busy"), "{ended:?}");
    let names = fs::read_dir(hooks).unwrap().count();
    assert_eq!(names, 1);
}

#[test]
fn what_may_be_changed_lies_within_what_may_not() {
    let directory = directory();
    let dir = directory.path();
    tree(dir);
    for name in ["work", "work/.git"] {
        fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (work, src) = (path("work"), path("work/src"));
    let script = "echo x >src/new && echo source; echo x >.git/config && echo config; ls src";
    let words = ["-q", "--ro", &work, "--rw", &src, "--chdir", &work];
    let ended = run(&[&words[..], &["--", "sh", "-c", script]].concat()).code(0);
    assert_eq!(ended.out, "source\na\nnew\n", "{ended:?}");
    // One in the other in the other.
    fs::create_dir(dir.join("work/src/deep")).unwrap();
    chown(dir.join("work/src/deep"), Some(OWNER), Some(OWNER)).unwrap();
    let deep = path("work/src/deep");
    let words = [
        "-q", "--rw", &work, "--ro", &src, "--rw", &deep, "--chdir", &work,
    ];
    let script = "for f in top src/mid src/deep/low; do echo x >$f && echo $f; done";
    let ended = run(&[&words[..], &["--", "sh", "-c", script]].concat());
    assert_eq!(ended.out, "top\nsrc/deep/low\n", "{ended:?}");
}

#[test]
fn an_ordinary_user_keeps_a_directory_within_another_too() {
    let directory = directory();
    let dir = directory.path();
    tree(dir);
    let (work, hooks) = (dir.join("work"), dir.join("work/.git/hooks"));
    let (work, hooks) = (work.to_str().unwrap(), hooks.to_str().unwrap());
    let options = ["-q", "--ro", hooks, "--rw", work, "--chdir", work];
    let mut command = jail(&[&options[..], &["--", "sh", "-c", TRIES]].concat());
    command.uid(OWNER).gid(OWNER).current_dir("/");
    let ended = Ended::of(command.output().unwrap()).code(0);
    let expected = "config\nsource\n#!/bin/sh\necho old\nold\n";
    assert_eq!(ended.out, expected, "{ended:?}");
}

#[test]
fn a_jail_does_not_change_its_own_manifest() {
    let directory = directory();
    let dir = directory.path();
    fs::create_dir_all(dir.join("work/conf")).unwrap();
    let (work, file) = (dir.join("work"), dir.join("work/conf/tool.toml"));
    let shown = Command::new(binary())
        .args(["jail", "check", "foreign"])
        .output()
        .unwrap();
    let text = String::from_utf8(shown.stdout).unwrap();
    let text = text.replacen("rw = []", &format!("rw = [{work:?}]\ndir = {work:?}"), 1);
    fs::write(&file, &text).unwrap();
    let all = Command::new("chown")
        .args(["-R", &OWNER.to_string()])
        .arg(&work)
        .status();
    assert!(all.unwrap().success());
    let script = "echo >>conf/tool.toml && echo wrote; mv conf c && echo moved; echo >x && echo x";
    let file_text = file.to_str().unwrap();
    let words = ["-q", "--profile", file_text];
    let end = ["--", "sh", "-c", script];
    run(&[&words[..], &end].concat())
        .code(125)
        .says("lies in what its jail may change")
        .says("hint: move it elsewhere, or keep its directory: add `");
    // Keeping the file alone is refused too: an editor would put another in its place.
    run(&[&words[..], &["--ro", file_text], &end].concat())
        .code(125)
        .says("lies in what its jail may change");
    let conf = dir.join("work/conf");
    let kept = ["--ro", conf.to_str().unwrap()];
    let ended = run(&[&words[..], &kept, &end].concat()).code(0);
    assert_eq!(ended.out, "x\n", "{ended:?}");
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn what_is_kept_is_not_where_a_link_of_the_jails_own_leads() {
    let directory = directory();
    let dir = directory.path().canonicalize().unwrap();
    fs::create_dir_all(dir.join("g/.git2/hooks")).unwrap();
    symlink(".git2", dir.join("g/.git")).unwrap();
    let (g, out) = (dir.join("g"), dir.join("out"));
    symlink(&g, &out).unwrap();
    let script = "rm .git && mkdir -p .git/hooks && echo evil > .git/hooks/pre-commit";
    let tries = |options: &[&str]| {
        let words = [&["-q"], options, &["--", "sh", "-c", script]].concat();
        Ended::of(jail(&words).current_dir(&g).output().unwrap())
    };
    let through = out.join(".git/hooks");
    let [g_text, through] = [&g, &through].map(|path| path.to_str().unwrap());
    for kept in [
        ".git/hooks",
        ".git/hooks/../hooks",
        // By a link from outside of it.
        through,
    ] {
        tries(&["--rw", ".", "--ro", kept])
            .code(125)
            .says(&format!("`--ro {kept}`: goes through a symbolic link"))
            .says("hint: write where it leads: `")
            .says("g/.git2/hooks`");
    }
    assert!(dir.join("g/.git").is_symlink());
    // Said in a manifest.
    let text = format!(
        "class = \"foreign\"\nro = [\"/usr\", \"/bin\", {:?}]\nrw = [{g:?}]\n",
        g.join(".git/hooks")
    );
    let file = manifest(&dir, &text);
    run(&["--profile", &file, "--", "true"])
        .code(125)
        .says("goes through a symbolic link");
    // Where nothing may be changed links are fine, and so is the way that it leads.
    let ended = Ended::of(
        jail(&["-q", "--ro", through, "--", "ls", "-A", g_text])
            .output()
            .unwrap(),
    );
    assert_eq!(ended.code(0).out, ".git2\n");
    let ended = tries(&["--rw", ".", "--ro", ".git2/hooks"]).code(0);
    assert_eq!(fs::read_dir(dir.join("g/.git2/hooks")).unwrap().count(), 0);
    drop(ended);
}

#[test]
fn a_kept_file_with_another_name_is_refused() {
    let directory = directory();
    let dir = directory.path().canonicalize().unwrap();
    let (work, kept) = (dir.join("work"), dir.join("work/kept"));
    fs::create_dir(&work).unwrap();
    fs::write(&kept, "old\n").unwrap();
    let words = [
        "-q",
        "--rw",
        work.to_str().unwrap(),
        "--ro",
        kept.to_str().unwrap(),
        "--",
        "true",
    ];
    run(&words).code(0);
    fs::hard_link(&kept, work.join("other")).unwrap();
    run(&words)
        .code(125)
        .says("is to be kept and has 2 names (hard links)")
        .says("make it a file of its own: `cp -p");
}

#[test]
fn a_pipe_of_another_process_is_not_written_into() {
    let directory = directory();
    let dir = directory.path();
    fs::create_dir(dir.join("in")).unwrap();
    super::open_to_all(&dir.join("in"));
    let pipe = dir.join("in/pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    fs::set_permissions(&pipe, fs::Permissions::from_mode(0o666)).unwrap();
    // Beneath /tmp, where the jail's own files are.
    let shown = dir.join("in");
    let shown = shown.to_str().unwrap();
    run(&["--ro", shown, "--", "true"])
        .code(125)
        .says("is to be read only and holds the named pipe")
        .says("in/pipe");
    // Elsewhere it cannot be opened for writing, whatever its mode.
    let elsewhere = tempfile::Builder::new().tempdir_in("/var/tmp").unwrap();
    super::open_to_all(elsewhere.path());
    let pipe = elsewhere.path().join("pipe");
    mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    fs::set_permissions(&pipe, fs::Permissions::from_mode(0o666)).unwrap();
    let script = "import os, sys\n\
        for flags in (os.O_RDWR, os.O_WRONLY | os.O_NONBLOCK):\n  \
        try: os.open(sys.argv[1], flags); print('opened')\n  \
        except OSError as e: print(e.strerror)";
    let (place, pipe) = (elsewhere.path().to_str().unwrap(), pipe.to_str().unwrap());
    let mut command = jail(&["-q", "--ro", place, "--", "python3", "-c", script, pipe]);
    let ended = Ended::of(command.output().unwrap()).code(0);
    assert_eq!(
        ended.out, "Permission denied\nPermission denied\n",
        "{ended:?}"
    );
}

#[test]
fn a_set_uid_program_of_roots_is_not_changed() {
    let directory = directory();
    let dir = directory.path().to_str().unwrap();
    let tool = directory.path().join("su");
    fs::copy("/bin/true", &tool).unwrap();
    run(&["-q", "--rw", dir, "--", "true"]).code(0);
    fs::set_permissions(&tool, fs::Permissions::from_mode(0o4755)).unwrap();
    run(&["--rw", dir, "--", "true"])
        .code(125)
        .says("holds the set-uid or set-gid program")
        .says("hint: `chmod ug-s");
    // Another owner's can be changed, and one who is not the directory's cannot.
    let change = "import mmap, os, sys; f = os.open(sys.argv[1], os.O_RDWR); \
                  mmap.mmap(f, 1)[0:1] = b'x'";
    chown(directory.path(), Some(OWNER), Some(OWNER)).unwrap();
    let path = tool.to_str().unwrap();
    run(&["-q", "--rw", dir, "--", "python3", "-c", change, path]).code(1);
    assert_eq!(fs::read(&tool).unwrap(), fs::read("/bin/true").unwrap());
}

#[test]
fn many_directories_may_be_changed_and_too_many_are_told() {
    let directory = directory();
    let paths: Vec<String> = (0..129)
        .map(|number| {
            let path = directory.path().join(number.to_string());
            fs::create_dir(&path).unwrap();
            chown(&path, Some(OWNER), Some(OWNER)).unwrap();
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let with = |count: usize| {
        let mut words = vec!["-q"];
        words.extend(paths[..count].iter().flat_map(|path| ["--rw", path]));
        let script = "for d; do echo x >$d/f || exit 1; done";
        words.extend(["--", "sh", "-c", script, "sh"]);
        words.extend(paths[..count].iter().map(String::as_str));
        run(&words)
    };
    with(128).code(0);
    with(129).code(125).says("more than 128 paths in `rw`");
}

#[test]
fn what_it_may_change_it_runs_only_where_that_is_kept() {
    let directory = directory();
    let dir = directory.path();
    let tool = dir.join("tool");
    fs::write(&tool, "#!/bin/sh\necho it runs\n").unwrap();
    super::open_to_all(&tool);
    chown(dir, Some(OWNER), Some(OWNER)).unwrap();
    chown(&tool, Some(OWNER), Some(OWNER)).unwrap();
    let (dir, tool) = (dir.to_str().unwrap(), tool.to_str().unwrap());
    run(&["--rw", dir, "--", tool])
        .code(126)
        .says("which the jail may change and so not run")
        .says(&format!("`--ro {tool}`"));
    let ended = run(&["-q", "--rw", dir, "--ro", tool, "--", tool]).code(0);
    assert_eq!(ended.out, "it runs\n");
}
