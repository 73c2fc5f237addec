//! The scripts' own plumbing, for callers with no environment, another umask, or sudo. Everything
//! but the build and the demonstration, which `scripts/test` runs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::OWNER;

/// A checkout of the scripts alone, below a directory with a space, that belongs to [`OWNER`].
struct Checkout {
    _base: tempfile::TempDir,
    root: PathBuf,
    bin: PathBuf,
}

impl Checkout {
    fn new() -> Self {
        let base = tempfile::tempdir().unwrap();
        let (root, bin) = (base.path().join("a b"), base.path().join("bin"));
        fs::create_dir_all(root.join("scripts")).unwrap();
        fs::create_dir(&bin).unwrap();
        let lib = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lib.sh");
        fs::copy(lib, root.join("scripts/lib.sh")).unwrap();
        for path in [base.path(), &bin, &root, &root.join("scripts")] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        chown(&root, Some(OWNER), Some(OWNER)).unwrap();
        Self {
            _base: base,
            root,
            bin,
        }
    }

    /// Puts a program into the `PATH` that says how it was called, and fails.
    fn fake(&self, name: &str) {
        let path = self.bin.join(name);
        let text = format!("#!/bin/bash\necho \"{name} $(umask) $*\" >&2\nexit 1\n");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Sources `lib.sh` from another directory, in an environment that holds `PATH` at most.
    fn run(&self, uid: Option<u32>, variables: &[(&str, &str)], code: &str) -> Output {
        let code = format!(
            "umask 077; source '{}/scripts/lib.sh'; {code}",
            self.root.display()
        );
        let mut command = Command::new("/bin/bash");
        command.args(["-c", &code]).env_clear().current_dir("/");
        command.envs(variables.iter().copied());
        command.env("PATH", format!("{}:/usr/bin:/bin", self.bin.display()));
        if let Some(uid) = uid {
            use std::os::unix::process::CommandExt;
            command.uid(uid).gid(uid);
        }
        command.output().unwrap()
    }
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

#[test]
fn no_home_is_no_obstacle() {
    let checkout = Checkout::new();
    let done = checkout.run(Some(OWNER), &[], "cargo_home; pwd");
    assert!(done.status.success(), "{done:?}");
    let root = checkout.root.display();
    assert_eq!(out(&done), format!("/nonexistent/.cargo\n{root}"));
    // Root has a home even where nobody says so.
    assert_eq!(out(&checkout.run(None, &[], "cargo_home")), "/root/.cargo");
}

#[test]
fn with_sudo_the_build_goes_back_to_the_owner_of_the_checkout() {
    let checkout = Checkout::new();
    checkout.fake("sudo");
    let owner = OWNER.to_string();
    let caller = [("SUDO_UID", owner.as_str())];
    let told = format!("sudo 0077 --user #{OWNER} --set-home -- bash scripts/build --debug");
    for code in [
        "as_owner bash scripts/build --debug",
        "as_caller build --debug",
    ] {
        assert_eq!(err(&checkout.run(None, &caller, code)), told, "{code}");
    }
    // Nobody called sudo, somebody else did, or it is no longer root.
    let other = [("SUDO_UID", "4711")];
    for (uid, variables) in [
        (None, &[][..]),
        (None, &other[..]),
        (Some(OWNER), &caller[..]),
    ] {
        let done = checkout.run(uid, variables, "as_caller build; as_owner id -u");
        assert_eq!(err(&done), "");
        assert_eq!(out(&done), uid.unwrap_or(0).to_string());
    }
}

#[test]
fn packages_are_for_everybody_and_a_missing_sudo_is_told() {
    let checkout = Checkout::new();
    checkout.fake("apt-get");
    let done = checkout.run(None, &[], "need_apt no-such-package");
    assert_eq!(done.status.code(), Some(1));
    let said = err(&done);
    assert!(said.contains("apt-get 0022 -qq update"), "{said}");
    assert!(!said.contains("0077"), "{said}");
    // Nothing but what the fakes are: `/usr/bin` may hold a real sudo.
    let code = format!(
        "PATH='{}'; has_package() {{ false; }}; need_apt no-such-package",
        checkout.bin.display()
    );
    let done = checkout.run(Some(OWNER), &[], &code);
    assert_eq!(done.status.code(), Some(1));
    assert!(err(&done).contains("there is no sudo"), "{done:?}");
}

#[test]
fn a_package_that_only_others_mention_is_not_offered() {
    let checkout = Checkout::new();
    // As on Debian 12: apt-cache knows that name, shows nothing of it, and succeeds.
    let offers = |shown: &str| {
        let code = format!("apt-cache() {{ printf '{shown}'; }}; apt_offers rustup");
        checkout.run(None, &[], &code).status.code()
    };
    assert_eq!(offers(""), Some(1));
    assert_eq!(offers("Package: rustup\\nVersion: 1.27\\n"), Some(0));
    // It says so, and does not try to install what there is none of.
    let code = "apt-cache() { :; }; apt_update() { :; }; new_enough() { false; }; \
                PATH=/nonexistent; cargo_home() { echo /nonexistent; }; need_rust";
    let done = checkout.run(None, &[], code);
    assert_eq!(done.status.code(), Some(1));
    assert!(err(&done).contains("there is no rustup"), "{done:?}");
}
