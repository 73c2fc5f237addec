//! What runs a script: found where it is imported, named in the manifest, and looked for again
//! where it is vetted, along the same links that the jail would follow.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Component, Path, PathBuf};

use crate::jail::foreign::PATH;
use crate::wire::manifest::Manifest;
use crate::wire::text::escaped;

/// Bytes of a file that the kernel looks at for `#!` (`BINPRM_BUF_SIZE`, `execve(2)`).
const HEAD: usize = 256;
/// Links followed on the way to a program (`path_resolution(7)`).
const LINKS_MAX: usize = 40;

/// What runs the script at `path`: absolute path of a program, and arguments before the script; nothing
/// of either where it runs by itself. Its first line says so, or else what its name ends in. `None`
/// where it is no script.
pub(super) fn of(path: &Path) -> Option<Vec<String>> {
    let mut head = Vec::new();
    let file = File::open(path).ok()?;
    let limit = u64::try_from(HEAD).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut head).ok()?;
    if let Some(line) = first_line(&head) {
        return Some(named(line, path));
    }
    if head.starts_with(b"\x7fELF") {
        return runs(path).then(Vec::new);
    }
    let program = match path.extension()?.to_str()? {
        "py" => "/usr/bin/python3",
        "sh" => "/bin/sh",
        "bash" => "/bin/bash",
        "js" | "mjs" | "cjs" => "/usr/bin/node",
        _ => return None,
    };
    Some(vec![program.into()])
}

/// The text behind `#!`, where it is a whole line.
fn first_line(head: &[u8]) -> Option<&str> {
    let line = head
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next();
    let line = str::from_utf8(line?).ok()?.trim();
    let whole = head.contains(&b'\n') || head.len() < HEAD;
    (whole && line.starts_with('/') && !line.contains('\0')).then_some(line)
}

/// Program and arguments that a first line names. The kernel gives all behind the program as one
/// argument (`execve(2)`, "Interpreter scripts"); `env` is looked through, so that the manifest names
/// what really runs.
fn named(line: &str, script: &Path) -> Vec<String> {
    let (program, rest) = match line.split_once([' ', '\t']) {
        Some((program, rest)) => (program, rest.trim()),
        None => (line, ""),
    };
    if Path::new(program)
        .file_name()
        .is_some_and(|name| name == "env")
    {
        let split = rest.strip_prefix("-S").map(str::trim).unwrap_or(rest);
        let mut words = split.split_ascii_whitespace();
        let plain = |word: &str| {
            let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./+".contains(&byte);
            !word.starts_with('-') && word.bytes().all(good)
        };
        if let Some(name) = words.next().filter(|name| plain(name)) {
            let more: Vec<&str> = words.collect();
            // Quotes, variables and the like are for `env` itself to read.
            if !more
                .iter()
                .any(|word| word.contains(['"', '\'', '\\', '$', '#']))
            {
                let found = in_path(name).to_string_lossy().into_owned();
                let more = more.into_iter().map(str::to_owned);
                return std::iter::once(found).chain(more).collect();
            }
        }
        if runs(script) {
            return Vec::new();
        }
    }
    let mut with = vec![program.to_owned()];
    if !rest.is_empty() {
        with.push(rest.into());
    }
    with
}

/// Where a jail's `PATH` has `name` on this host; where it usually is if nowhere.
fn in_path(name: &str) -> PathBuf {
    if name.starts_with('/') {
        return name.into();
    }
    let all = PATH.split(':').map(|dir| Path::new(dir).join(name));
    let mut there = all.filter(|path| runs(path));
    there
        .next()
        .unwrap_or_else(|| Path::new("/usr/bin").join(name))
}

/// A file that everybody may run.
fn runs(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o001 != 0)
}

/// Why nothing runs `script` (a path on this host) in such a jail; nothing where something does.
pub(super) fn lacking(jail: &Manifest, with: &[String], script: &Path) -> Option<String> {
    if let Some(program) = with.first() {
        return missing(jail, Path::new(program));
    }
    if !runs(script) {
        return Some("the script runs by itself, and is not executable by everybody".into());
    }
    let mut head = Vec::new();
    let limit = u64::try_from(HEAD).unwrap_or(u64::MAX);
    let read = File::open(script).and_then(|file| file.take(limit).read_to_end(&mut head));
    read.ok()?;
    let line = first_line(&head)?;
    let program = line.split([' ', '\t']).next()?;
    missing(jail, Path::new(program))
}

/// Why a jail cannot run `program`: follows every link of it, each of which has to be shown too.
fn missing(jail: &Manifest, program: &Path) -> Option<String> {
    let shown = |path: &Path| escaped(&path.to_string_lossy()).to_string();
    let all = || jail.ro.iter().chain(&jail.rw);
    let within = |path: &Path| all().any(|one| path.starts_with(one));
    // The jail has an empty directory for whatever lies above what it is shown.
    let above = |path: &Path| all().any(|one| one.starts_with(path));
    let mut at = PathBuf::from("/");
    let mut left: VecDeque<PathBuf> = parts(program).collect();
    let mut links = 0;
    while let Some(part) = left.pop_front() {
        if part.as_os_str() == ".." {
            at.pop();
            continue;
        }
        at.push(part);
        if !within(&at) {
            if above(&at) {
                continue;
            }
            return Some(format!("the jail is not shown `{}`", shown(&at)));
        }
        let Ok(meta) = at.symlink_metadata() else {
            return Some(format!("there is no `{}` on this host", shown(&at)));
        };
        if !meta.is_symlink() {
            continue;
        }
        links += 1;
        let target = at.read_link().ok().filter(|_| links <= LINKS_MAX);
        let Some(target) = target else {
            return Some(format!("`{}` is a link that leads nowhere", shown(&at)));
        };
        if target.is_absolute() {
            at = "/".into();
        } else {
            at.pop();
        }
        for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
            left.push_front(part);
        }
    }
    if !jail.ro.iter().any(|one| at.starts_with(one)) {
        let why = "is not shown read-only: a jail runs nothing else";
        return Some(format!("`{}` {why}", shown(&at)));
    }
    match runs(&at) {
        true => None,
        false => Some(format!(
            "`{}` is no program that everybody may run",
            shown(&at)
        )),
    }
}

fn parts(path: &Path) -> impl Iterator<Item = PathBuf> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(PathBuf::from(name)),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::wire::manifest::Class;

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn the_first_line_says_what_runs_a_script_and_else_its_name() {
        let temp = tempfile::tempdir().unwrap();
        let with = |name: &str, text: &[u8], bits: u32| {
            let path = temp.path().join(name);
            fs::write(&path, text).unwrap();
            mode(&path, bits);
            of(&path).map(|all| all.join(" "))
        };
        let long = format!("#!/bin/{}\n", "x".repeat(HEAD));
        for (name, text, bits, runs) in [
            ("a.py", &b"print(1)"[..], 0o644, Some("/usr/bin/python3")),
            ("b.sh", b"#!/bin/bash\n", 0o644, Some("/bin/bash")),
            (
                "c",
                b"#! /bin/bash -eu -x \nls",
                0o644,
                Some("/bin/bash -eu -x"),
            ),
            ("d.sh", b"#!/usr/bin/env sh\r\n", 0o644, Some("/usr/bin/sh")),
            (
                "e",
                b"#!/usr/bin/env -S nobody-has-this -u",
                0o644,
                Some("/usr/bin/nobody-has-this -u"),
            ),
            ("f", b"#!/usr/bin/env -S A=\"b c\" sh\n", 0o755, Some("")),
            ("g", b"\x7fELF\x02", 0o755, Some("")),
            ("h", b"\x7fELF\x02", 0o644, None),
            ("i.json", b"{}", 0o755, None),
            ("j", b"#!python3\n", 0o755, None),
            ("k", long.as_bytes(), 0o755, None),
        ] {
            let found = with(name, text, bits);
            assert_eq!(found.as_deref(), runs, "{name}");
        }
    }

    #[test]
    fn a_program_is_followed_through_every_link_that_the_jail_has_to_show() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        for dir in ["shown", "other", "data"] {
            fs::create_dir(root.join(dir)).unwrap();
        }
        for (path, bits) in [
            ("shown/node", 0o755),
            ("other/node", 0o755),
            ("data/x", 0o755),
        ] {
            fs::write(root.join(path), "").unwrap();
            mode(&root.join(path), bits);
        }
        for (link, to) in [
            ("shown/relative", "../shown/node"),
            ("shown/out", "../other/node"),
            ("shown/gone", "nothing"),
            ("shown/loop", "loop"),
        ] {
            symlink(to, root.join(link)).unwrap();
        }
        symlink(root.join("shown/node"), root.join("shown/absolute")).unwrap();
        fs::write(root.join("shown/mine"), "").unwrap();
        mode(&root.join("shown/mine"), 0o700);
        let mut jail = Manifest::of(Class::Foreign);
        jail.ro = vec![root.join("shown")];
        jail.rw = vec![root.join("data")];
        for (program, why) in [
            ("shown/node", None),
            ("shown/relative", None),
            ("shown/absolute", None),
            ("shown/out", Some("is not shown")),
            ("shown/gone", Some("there is no")),
            ("shown/loop", Some("leads nowhere")),
            ("shown/mine", Some("everybody may run")),
            ("data/x", Some("read-only")),
            ("other/node", Some("is not shown")),
            ("shown", Some("everybody may run")),
        ] {
            let found = missing(&jail, &root.join(program));
            match why {
                None => assert_eq!(found, None, "{program}"),
                Some(why) => assert!(
                    found.as_ref().is_some_and(|is| is.contains(why)),
                    "{program}: {found:?}"
                ),
            }
        }
        let script = root.join("shown/mine");
        let alone = lacking(&jail, &[], &script).unwrap();
        assert!(alone.contains("executable by everybody"), "{alone}");
        let script = root.join("shown/script");
        fs::write(&script, "#!/opt/nowhere/perl -w\n").unwrap();
        mode(&script, 0o755);
        assert!(lacking(&jail, &[], &script).unwrap().contains("`/opt`"));
        let node = root.join("shown/node").to_str().unwrap().to_owned();
        assert_eq!(lacking(&jail, &[node], &script), None);
    }
}
