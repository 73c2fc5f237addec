//! Finding the program of `jail run` before a jail is made for it, so that what is wrong with it can
//! be said in words.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::Failure;
use crate::error::{Error, Kind};
use crate::jail::elf::{HEAD, Program};
use crate::jail::foreign::nest::Nest;
use crate::jail::foreign::{HOME, PATH};
use crate::jail::profile::{Unseen, View};
use crate::jail::regular;
use crate::sys::sealed::seal;
use crate::wire::manifest::{Class, Manifest};
use crate::wire::text::escaped;

/// Longest program of a native jail, in bytes: it is copied into memory.
const NATIVE_MAX: u64 = 256 << 20;

/// What is to be run.
#[derive(Debug)]
pub(in crate::cli) struct Found {
    /// Its path inside of a foreign jail; empty in the native classes.
    pub(in crate::cli) path: String,
    /// The program itself in the native classes.
    pub(in crate::cli) sealed: Option<OwnedFd>,
}

/// Finds the program `name` for a jail of this manifest.
pub(in crate::cli) fn find(manifest: &Manifest, name: &str) -> Result<Found, Failure> {
    if name.is_empty() {
        let error = Error::of(Kind::Usage, "the program's name is empty");
        return Err(Failure::not_found(
            error.hint("name it after `--`; was a variable not set?"),
        ));
    }
    match manifest.class {
        Class::Foreign => {
            let shown: Vec<PathBuf> = manifest.ro.iter().chain(&manifest.rw).cloned().collect();
            let found = foreign(manifest, &View::new(&shown), name)?;
            may_run(manifest, &View::new(&shown), &found)?;
            Ok(found)
        }
        Class::Native | Class::NativeGeneric => native(name),
    }
}

fn foreign(manifest: &Manifest, view: &View<'_>, name: &str) -> Result<Found, Failure> {
    let home = manifest.dir.as_deref().unwrap_or(Path::new(HOME));
    let path = manifest.env.get("PATH").map_or(PATH, String::as_str);
    let candidates: Vec<PathBuf> = if name.contains('/') {
        // A path from where the caller is means the same file where the jail sees it too.
        let here = std::path::absolute(name).ok();
        let all = std::iter::once(home.join(name)).chain(here);
        // Without `./` in the middle.
        all.map(|path| path.components().collect()).collect()
    } else {
        let entries = path.split(':').filter(|entry| !entry.is_empty());
        entries.map(|entry| home.join(entry).join(name)).collect()
    };
    let mut barred = None;
    for candidate in &candidates {
        match view.resolve(candidate) {
            Ok(real) if runs(&real) => return begins(view, candidate, &real),
            // As execvp(3), which goes on past a directory of that name.
            Ok(real) if real.is_dir() && !name.contains('/') => {}
            Ok(_) => drop(barred.get_or_insert(candidate)),
            Err(_) => {}
        }
    }
    match barred {
        Some(path) => Err(barred_at(path)),
        None => Err(unseen(view, &candidates, name)),
    }
}

/// What a jail may change it may not run: that is mounted so.
fn may_run(manifest: &Manifest, view: &View<'_>, found: &Found) -> Result<(), Failure> {
    let nest = Nest::new(&manifest.ro, &manifest.rw);
    let Ok(real) = view.resolve(Path::new(&found.path)) else {
        return Ok(());
    };
    match nest.at_or_above(&real) {
        Some(above) if above.writable => {
            let (path, real) = (escaped(&found.path), escaped(&real.to_string_lossy()));
            let outer = escaped(&above.path.to_string_lossy());
            let what =
                format!("`{path}` is in `{outer}`, which the jail may change and so not run");
            let hint = format!(
                "add `--ro {real}`, which keeps it from being changed; for a script, name its \
                 interpreter first"
            );
            Err(Failure::not_executable(Error::new(what).hint(hint)))
        }
        _ => Ok(()),
    }
}

/// A file that the kernel would at least try to run.
fn runs(path: &Path) -> bool {
    let meta = path.metadata();
    meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// What a program needs to begin has to be seen too: the kernel says only "No such file".
fn begins(view: &View<'_>, path: &Path, real: &Path) -> Result<Found, Failure> {
    let shown = escaped(&path.to_string_lossy());
    let found = path.to_str().map(|path| Found {
        path: path.into(),
        sealed: None,
    });
    let found = found.ok_or_else(|| Error::new(format!("`{shown}` is not UTF-8")))?;
    let needs = match head(real) {
        // Who may run it and not read it cannot be told; the kernel will.
        None | Some(Program::Static) => return Ok(found),
        Some(Program::Foreign(why)) => {
            let what = format!("`{shown}` cannot be run: {why}");
            let hint = "name the interpreter first, for example `-- /bin/sh SCRIPT`";
            return Err(Failure::not_executable(Error::new(what).hint(hint)));
        }
        Some(Program::Dynamic(loader)) => ("loader", loader),
        Some(Program::Script(interpreter)) => ("interpreter", interpreter),
    };
    let (kind, needed) = needs;
    if view
        .resolve(Path::new(&needed))
        .is_ok_and(|real| runs(&real))
    {
        return Ok(found);
    }
    let needed = escaped(&needed);
    let what = format!("`{shown}` needs the {kind} `{needed}`, which the jail does not see");
    let hint = format!("add `--ro {}`", escaped(&above(Path::new(&needed))));
    Err(Failure::not_found(Error::new(what).hint(hint)))
}

fn head(path: &Path) -> Option<Program> {
    let mut head = Vec::new();
    let limit = u64::try_from(HEAD).unwrap_or(u64::MAX);
    regular::open(path)
        .ok()?
        .take(limit)
        .read_to_end(&mut head)
        .ok()?;
    Some(Program::of(&head))
}

/// It is not in the jail; perhaps it is on the host.
fn unseen(view: &View<'_>, candidates: &[PathBuf], name: &str) -> Failure {
    let shown = escaped(name);
    let outside = |path: &PathBuf| matches!(view.resolve(path), Err(Unseen::Outside(_)));
    let host = std::env::var_os("PATH");
    let host = if name.contains('/') { None } else { host };
    let host = host.iter().flat_map(std::env::split_paths);
    let there = host.map(|entry| entry.join(name));
    let there = candidates.iter().cloned().chain(there);
    let hidden = there.filter(outside).find(|path| runs(path));
    Failure::not_found(match hidden {
        Some(path) => {
            let at = escaped(&path.to_string_lossy());
            let what = format!("`{shown}` is `{at}` on this host, which the jail does not see");
            let hint = format!("add `--ro {}` and run `{at}`", escaped(&above(&path)));
            Error::new(what).hint(hint)
        }
        None if name.contains('/') => Error::new(format!("there is no `{shown}` in the jail"))
            .hint("add `--ro DIR` or `--rw DIR` with the directory it is in"),
        None => Error::new(format!("there is no program `{shown}` in the jail"))
            .hint("install it, or add `--ro DIR` and name it by its path"),
    })
}

/// The directory a file is in.
fn above(path: &Path) -> String {
    let above = path.parent().unwrap_or(Path::new("/"));
    above.to_string_lossy().into_owned()
}

fn barred_at(path: &Path) -> Failure {
    let shown = escaped(&path.to_string_lossy());
    let hint = match path.is_file() {
        true => format!("chmod +x {shown}, or name its interpreter first"),
        false => "a program is a regular file: name that".into(),
    };
    Failure::not_executable(Error::new(format!("`{shown}` is no executable file")).hint(hint))
}

fn native(name: &str) -> Result<Found, Failure> {
    let path = if name.contains('/') {
        PathBuf::from(name)
    } else {
        search(name).ok_or_else(|| {
            let what = format!("there is no program `{}` in PATH", escaped(name));
            Failure::not_found(Error::new(what).hint("name it by its path"))
        })?
    };
    let shown = escaped(&path.to_string_lossy());
    if !runs(&path) && path.exists() {
        return Err(barred_at(&path));
    }
    let file = regular::open(&path).map_err(|error| {
        let missing = matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory);
        let error = Error::new(format!("open `{shown}`")).because(error);
        match missing {
            true => Failure::not_found(error.hint("name a program of yours by its path")),
            false => Failure::not_executable(error.hint("it is read to be put into the jail")),
        }
    })?;
    let sealed = seal(&file, NATIVE_MAX).map_err(|error| {
        Failure::from(Error::new(format!("copy `{shown}` into memory")).because(error))
    })?;
    // What is judged is what will run, whatever happens to the file.
    let copy = File::from(sealed);
    let mut head = vec![0; HEAD];
    let len = copy
        .read_at(&mut head, 0)
        .map_err(|error| Error::new(format!("read `{shown}`")).because(error))?;
    let program = Program::of(head.get(..len).unwrap_or_default());
    let bad = |what: String| {
        let error = Error::of(Kind::Usage, what);
        let hint = "use `--profile foreign`, or link it with `-static`";
        Err(Failure::not_executable(error.hint(hint)))
    };
    match program {
        Program::Static => Ok(Found {
            path: String::new(),
            sealed: Some(copy.into()),
        }),
        Program::Dynamic(loader) => bad(format!(
            "`{shown}` is not static: it wants `{}`, and a native jail has no files",
            escaped(&loader)
        )),
        Program::Script(interpreter) => bad(format!(
            "`{shown}` is a script for `{}`, and a native jail has no files",
            escaped(&interpreter)
        )),
        Program::Foreign(why) => bad(format!("`{shown}` cannot be run: {why}")),
    }
}

fn search(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let entries = std::env::split_paths(OsStr::new(&path)).filter(|entry| entry.is_absolute());
    entries
        .map(|entry| entry.join(name))
        .find(|path| runs(path))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::cli::exit::Exit;

    fn write(path: &Path, content: &[u8], mode: u32) {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn told(found: Result<Found, Failure>) -> (u8, String) {
        let failure = found.unwrap_err();
        let hint = failure.error.hint_text().unwrap_or_default().to_owned();
        (
            failure.exit.code(),
            format!("{} | {hint}", failure.error.message()),
        )
    }

    #[test]
    fn a_foreign_program_is_looked_for_in_the_jail() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().canonicalize().unwrap();
        for name in ["shown", "hidden"] {
            fs::create_dir(dir.join(name)).unwrap();
        }
        let script = format!("#!{}\n", dir.join("shown/sh").display());
        write(&dir.join("shown/sh"), b"", 0o755);
        write(&dir.join("shown/good"), script.as_bytes(), 0o755);
        write(&dir.join("shown/plain"), script.as_bytes(), 0o644);
        write(&dir.join("shown/odd"), b"#!/none/sh\n", 0o755);
        write(&dir.join("shown/text"), b"hello", 0o755);
        write(&dir.join("hidden/tool"), script.as_bytes(), 0o755);
        symlink(dir.join("hidden/tool"), dir.join("shown/link")).unwrap();
        let mut manifest = Manifest::of(Class::Foreign);
        manifest.ro = vec![dir.join("shown")];
        manifest.dir = Some(dir.join("shown"));
        let path = format!("/none:{}", dir.join("shown").display());
        manifest.env.insert("PATH".into(), path);
        let find = |name: &str| find(&manifest, name);
        let good = dir.join("shown/good");
        assert_eq!(Path::new(&find("good").unwrap().path), good);
        assert_eq!(Path::new(&find("./good").unwrap().path), good);
        assert_eq!(Path::new(&find(good.to_str().unwrap()).unwrap().path), good);
        for (name, code, what) in [
            ("none", 127, "there is no program `none`"),
            ("./none", 127, "there is no `./none`"),
            ("plain", 126, "is no executable file"),
            ("text", 126, "neither an ELF program nor a script"),
            ("odd", 127, "needs the interpreter `/none/sh`"),
            ("../hidden/tool", 127, "which the jail does not see"),
            ("/etc/passwd", 127, "there is no `/etc/passwd`"),
        ] {
            let (exit, said) = told(find(name));
            assert_eq!(exit, code, "{name}: {said}");
            assert!(said.contains(what), "{name}: {said}");
        }
        let (_, said) = told(find("link"));
        assert!(
            said.contains(&format!("--ro {}", dir.join("shown").display())),
            "{said}"
        );
        assert_eq!(Exit::NotFound.code(), 127);
    }

    #[test]
    fn a_native_program_is_static_and_sealed() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| temp.path().join(name);
        write(&path("script"), b"#!/bin/sh\n", 0o755);
        write(&path("plain"), b"", 0o644);
        write(&path("empty"), b"", 0o755);
        let manifest = Manifest::of(Class::Native);
        for (name, code, what) in [
            (path("script"), 126, "is a script for `/bin/sh`"),
            (path("plain"), 126, "is no executable file"),
            (path("empty"), 126, "it is empty"),
            (path("none"), 127, "open `"),
            (
                "/bin/true".into(),
                126,
                "is not static: it wants `/lib64/ld-linux-x86-64.so.2`",
            ),
            ("keepgate-no-such-program".into(), 127, "in PATH"),
        ] {
            let (exit, said) = told(find(&manifest, name.to_str().unwrap()));
            assert_eq!(exit, code, "{said}");
            assert!(said.contains(what), "{said}");
            assert!(!said.ends_with("| "), "no hint: {said}");
        }
    }
}
