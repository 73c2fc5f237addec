//! The install's files and directories.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::statvfs::statvfs;
use nix::unistd::geteuid;

use super::Check;
use crate::catalog::Catalog;
use crate::cli::agent::certificate;
use crate::cli::app::App;
use crate::cli::layout;
use crate::config::{Config, Listen, Paths};
use crate::error::Result;
use crate::policy::Engine;
use crate::time::{Clock, SystemClock};

/// Free bytes of the state's disk that deserve a word, and that are too few.
const SPACE: (u64, u64) = (1 << 30, 64 << 20);

pub(super) fn config(paths: &Paths, found: &Result<Option<Config>>) -> Check {
    let why = "`keepgate serve` starts with this file, and with nothing that is unclear in it";
    let file = paths.config();
    let check = |found: String| Check::new("files.config", why, found);
    match found {
        Err(error) => {
            check(error.message()).fail(error.hint_text().unwrap_or("mend the file").to_owned())
        }
        Ok(None) if file.exists() => {
            check("not readable by this user".into()).warn("run it as the operator or as root")
        }
        Ok(None) => check(format!("no file {}", file.display())).fail("keepgate init"),
        Ok(Some(config)) => match config.check(paths) {
            Ok(()) => check(file.display().to_string()),
            Err(error) => {
                check(error.message()).fail(error.hint_text().unwrap_or("mend the file").to_owned())
            }
        },
    }
}

pub(super) fn all(app: &App, config: &Config, root: bool) -> Vec<Check> {
    let paths = &app.paths;
    let mut checks = vec![directories(paths), token(paths, root), space(paths)];
    checks.extend(journal(paths));
    checks.extend(root.then(|| {
        uids(
            config,
            &fs::read_to_string("/etc/passwd").unwrap_or_default(),
        )
    }));
    for (name, plane) in &config.planes {
        checks.push(policy(name, &paths.policy_file(name)));
        let listeners = plane.listen.iter();
        checks.extend(listeners.map(|(door, listen)| listener(name, door, listen)));
    }
    checks
}

/// Certificates that end sooner than this deserve a word, in seconds.
const ENDS_SOON: i64 = 30 * 86_400;

/// A listener's certificate and key are there, valid, and nobody else's.
fn listener(plane: &str, name: &str, listen: &Listen) -> Check {
    let why = "agents cannot connect to a listener that cannot show its own certificate";
    let check = |found: String| Check::new(format!("files.{plane}.listen.{name}"), why, found);
    let url = listen.url();
    let Some(tls) = &listen.tls else {
        return check(format!("{url}, by token"));
    };
    let until = listen
        .door(name)
        .and_then(|door| certificate::read(door.tls.unwrap_or_default().chain.as_bytes()));
    let until = match until {
        Ok(known) => known.until,
        Err(error) => {
            return check(error.message()).fail("give it the files that `cert` and `key` name");
        }
    };
    let left = until - SystemClock.now().as_micros() / 1_000_000;
    let cert = tls.cert.display();
    if left <= 0 {
        return check(format!("the certificate `{cert}` has ended"))
            .fail("replace it, then start `keepgate serve` again");
    }
    let mode = fs::metadata(&tls.key).map_or(0, |meta| meta.mode());
    let key = tls.key.display();
    if mode & 0o077 != 0 {
        return check(format!("others can read or change `{key}`"))
            .fail(format!("chmod 600 {key}"));
    }
    check(format!(
        "{url}, by certificate; its own ends in {} days",
        left / 86_400
    ))
    .warn_unless(
        left > ENDS_SOON,
        format!("replace `{cert}`, then start `keepgate serve` again"),
    )
}

/// Nobody but root and this user may change what Keepgate reads.
fn directories(paths: &Paths) -> Check {
    let why = "whoever can change the configuration or the state decides in Keepgate's place";
    let config = paths.config();
    let policy = paths.policy_dir();
    let all = [
        paths.dir(),
        &config,
        &policy,
        paths.state_dir(),
        paths.run_dir(),
    ];
    let own = geteuid().as_raw();
    let bad = all.into_iter().find_map(|path| {
        let meta = fs::metadata(path).ok()?;
        let foreign = meta.uid() != 0 && meta.uid() != own;
        let loose = meta.mode() & 0o022 != 0;
        (foreign || loose).then(|| (path.display().to_string(), meta.uid(), meta.mode() & 0o7777))
    });
    let id = "files.owner";
    match bad {
        None => Check::new(id, why, "only root or you can write here"),
        Some((path, uid, mode)) => Check::new(id, why, format!("{path}: uid {uid}, mode {mode:o}"))
            .fail(format!("chown {own} {path} && chmod go-w {path}")),
    }
}

fn token(paths: &Paths, root: bool) -> Check {
    let why = "where all roles share one user, who reads the token can give orders";
    let path = paths.token_file();
    let check = |found: String| Check::new("files.token", why, found);
    match fs::metadata(&path) {
        Err(_) if root => check("none, and none is needed as root".into()),
        Err(error) => check(error.to_string()).fail(format!(
            "head -c 32 /dev/urandom | basenc --base64url > {0} && chmod 600 {0}",
            path.display()
        )),
        Ok(meta) => {
            let mode = meta.mode() & 0o777;
            check(format!("mode {mode:o}"))
                .unless(mode & 0o077 == 0, format!("chmod 600 {}", path.display()))
        }
    }
}

fn space(paths: &Paths) -> Check {
    let why = "a log that takes no entries stops every call";
    let state = paths.state_dir();
    let there = nearest(state);
    let check = |found: String| Check::new("files.space", why, found);
    let Ok(disk) = statvfs(there) else {
        return check("the disk does not say".into()).warn(format!("df {}", there.display()));
    };
    let free = disk.blocks_available().saturating_mul(disk.fragment_size());
    let inodes = disk.files_available();
    let mend = format!("make room on the disk of {}", state.display());
    // Some file systems have no inodes to count and say 0 of 0.
    let few = disk.files() > 0 && inodes < 1_000;
    let check = check(format!(
        "{} free for {}",
        layout::bytes(free),
        state.display()
    ));
    match free {
        free if free < SPACE.1 || few => check.fail(mend),
        free if free < SPACE.0 => check.warn(mend),
        _ => check,
    }
}

/// The state's directory, or the one nearest to where it will be.
fn nearest(state: &Path) -> &Path {
    let mut above = state.ancestors();
    above.find(|path| path.exists()).unwrap_or(Path::new("/"))
}

/// On ext4 without a journal a power failure damages the file system; and an `fdatasync` beside
/// another one of the same file can return before the file's new length is on the disk. Nothing
/// where the state is on another file system.
fn journal(paths: &Paths) -> Option<Check> {
    let why = "a power failure must not take what the log has acknowledged";
    let state = nearest(paths.state_dir());
    let device = fs::metadata(state).ok()?.dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let name = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    let task = Path::new("/sys/fs/ext4")
        .join(name.file_name()?)
        .join("journal_task");
    let task = fs::read_to_string(task).ok()?;
    Some(journal_of(why, state, task.trim()))
}

/// `task`: number of the kernel's thread for the journal, or `<none>`
/// (Documentation/ABI/testing/sysfs-fs-ext4).
fn journal_of(why: &'static str, state: &Path, task: &str) -> Check {
    let check = |found: String| Check::new("files.journal", why, found);
    match task {
        "<none>" => check(format!("{} is on ext4 without a journal", state.display()))
            .warn("tune2fs -j on the unmounted device, or put the state on another file system"),
        _ => check("ext4 with a journal".into()),
    }
}

/// uids of roles belong to roles alone.
fn uids(config: &Config, passwd: &str) -> Check {
    let why = "a user with a role's uid could enter that role";
    let roles = config.role_uids();
    let taken: Vec<&str> = passwd
        .lines()
        .filter(|line| {
            let uid = line.split(':').nth(2).and_then(|uid| uid.parse().ok());
            uid.is_some_and(|uid| roles.contains(&uid))
        })
        .filter_map(|line| line.split(':').next())
        .collect();
    let found = match taken.is_empty() {
        true => format!(
            "{} to {} are free",
            roles.start,
            roles.end.saturating_sub(1)
        ),
        false => format!("taken by {}", taken.join(", ")),
    };
    Check::new("files.uids", why, found).unless(
        taken.is_empty(),
        "choose another `uid_base` in the configuration",
    )
}

/// The editing copy, against this version's tools.
fn policy(plane: &str, file: &Path) -> Check {
    let why = "a policy that does not load cannot be put in force";
    let check = |found: String| Check::new(format!("policy.{plane}"), why, found);
    let name = file.display().to_string();
    match fs::read_to_string(file) {
        Err(error) => {
            check(format!("{name}: {error}")).warn("`keepgate policy show` prints the one in force")
        }
        Ok(text) => {
            match Catalog::native().and_then(|catalog| Engine::load(&text, &name, &catalog)) {
                Ok(_) => check(format!("{name} loads")),
                Err(error) => check(error.message())
                    .fail(error.hint_text().unwrap_or("mend the file").to_owned()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_disk_that_forgets_is_named() {
        let check = journal_of("", Path::new("/s"), "<none>");
        assert_eq!(check.verdict, Verdict::Warn);
        assert_eq!(check.found, "/s is on ext4 without a journal");
        assert_eq!(journal_of("", Path::new("/s"), "231").verdict, Verdict::Ok);
        // Whatever this disk is: looking at it works.
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::resolve(Some(directory.path())).unwrap();
        assert_ne!(
            journal(&paths).map(|check| check.verdict),
            Some(Verdict::Fail)
        );
    }

    #[test]
    fn loose_files_fail_and_say_how_to_mend_them() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::resolve(Some(directory.path())).unwrap();
        let mode = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        mode(directory.path(), 0o711);
        assert_eq!(directories(&paths).verdict, Verdict::Ok);
        assert_eq!(token(&paths, true).verdict, Verdict::Ok);
        assert_eq!(token(&paths, false).verdict, Verdict::Fail);
        fs::write(paths.token_file(), "x").unwrap();
        mode(&paths.token_file(), 0o644);
        assert!(token(&paths, true).mend.unwrap().starts_with("chmod 600"));
        fs::write(paths.config(), "").unwrap();
        mode(&paths.config(), 0o666);
        let check = directories(&paths);
        assert_eq!(check.verdict, Verdict::Fail);
        assert!(
            check.found.contains("keepgate.toml: uid 0, mode 666"),
            "{}",
            check.found
        );
        assert_ne!(space(&paths).found, "");
    }

    #[test]
    fn uids_of_roles_are_nobody_elses() {
        let config = Config::default();
        assert_eq!(
            uids(&config, "root:x:0:0::/:/bin/sh\n").verdict,
            Verdict::Ok
        );
        let check = uids(&config, "root:x:0:0::/:/bin/sh\nbob:x:64101:1::/:/bin/sh\n");
        assert_eq!(
            (check.verdict, check.found.as_str()),
            (Verdict::Fail, "taken by bob")
        );
    }

    #[test]
    fn a_configuration_is_missing_wrong_or_good() {
        let directory = tempfile::tempdir().unwrap();
        let paths = Paths::resolve(Some(directory.path())).unwrap();
        let check = || config(&paths, &Config::find(&paths.config())).verdict;
        assert_eq!(check(), Verdict::Fail);
        fs::write(paths.config(), "x").unwrap();
        assert_eq!(check(), Verdict::Fail);
        fs::write(paths.config(), "").unwrap();
        assert_eq!(check(), Verdict::Ok);
    }
}
