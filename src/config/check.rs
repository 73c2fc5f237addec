//! The configuration against the host: are the roots there, and apart from what they must be apart
//! from?

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

use super::{Config, Paths, Root, socket_fits};
use crate::error::{Context, Error, Kind, Result};
use crate::wire::text::escaped;

/// See [`Config::check`].
pub(super) fn host(config: &Config, paths: &Paths) -> Result<()> {
    for (name, plane) in &config.planes {
        socket_fits(&paths.admin_socket(name))?;
        let mut known: Vec<(&str, PathBuf)> = Vec::new();
        for (root_name, root) in &plane.roots {
            let real =
                root_path(config, paths, root).map_err(|error| within(error, name, root_name))?;
            if let Some((other, _)) = known
                .iter()
                .find(|(_, other)| beneath(other, &real) || beneath(&real, other))
            {
                let what = format!("it overlaps with root `{other}`");
                let error = Error::of(Kind::Usage, what)
                    .hint("one path must have one name: keep the roots of a plane apart");
                return Err(within(error, name, root_name));
            }
            known.push((root_name, real));
        }
    }
    Ok(())
}

fn within(error: Error, plane: &str, root: &str) -> Error {
    let new = Error::of(
        error.kind(),
        format!("root `{root}` of plane `{plane}`: {}", error.message()),
    );
    match error.hint_text() {
        Some(hint) => new.hint(hint),
        None => new,
    }
}

/// The root's directory without symbolic links, where it may be one.
fn root_path(config: &Config, paths: &Paths, root: &Root) -> Result<PathBuf> {
    let shown = escaped(&root.path.to_string_lossy());
    let wrong = |what: String| Error::of(Kind::Usage, what);
    let real = fs::canonicalize(&root.path)
        .context(|| format!("find `{shown}`"))
        .map_err(|error| error.kind_is(Kind::Usage).hint(make(root, &shown)))?;
    let meta = fs::metadata(&real).context(|| format!("look at `{shown}`"))?;
    if !meta.is_dir() {
        return Err(wrong(format!("`{shown}` is no directory")));
    }
    if real == Path::new("/") {
        return Err(wrong(format!("`{shown}` is the whole file system")));
    }
    for own in paths.own().iter().map(|own| real_or(own)) {
        if beneath(&real, &own) || beneath(&own, &real) {
            let own = escaped(&own.to_string_lossy());
            return Err(wrong(format!(
                "`{shown}` and Keepgate's own `{own}` are not apart"
            ))
            .hint("no tool may reach Keepgate's own files: use another directory"));
        }
    }
    if geteuid().is_root() {
        user(config, root, meta.uid(), &shown)?;
    }
    Ok(real)
}

/// The command that makes a root which the next start takes: as root's own it would be refused.
fn make(root: &Root, shown: &str) -> String {
    match root.uid {
        _ if !geteuid().is_root() => format!("mkdir {shown}"),
        Some(uid) => format!("install -d -o {uid} {shown}"),
        None => format!("install -d -o USER {shown}, with the user whose files they are"),
    }
}

/// Files of a root are opened as one user; that should be neither root nor a role.
fn user(config: &Config, root: &Root, owner: u32, shown: &str) -> Result<()> {
    let wrong = |what: String| Error::of(Kind::Usage, what);
    let uid = root.uid.unwrap_or(owner);
    if uid == 0 && root.uid.is_none() {
        return Err(wrong(format!(
            "`{shown}` is root's, so tools would open its files as root"
        ))
        .hint(
            "say `uid = N` in its table, give it to another user, or say `uid = 0` if you mean it",
        ));
    }
    if config.role_uids().contains(&uid) {
        return Err(wrong(format!("uid {uid} is one of Keepgate's own"))
            .hint("use the uid of the files' owner"));
    }
    Ok(())
}

/// Without symbolic links as far as it exists.
fn real_or(path: &Path) -> PathBuf {
    for above in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (fs::canonicalize(above), path.strip_prefix(above)) {
            return real.components().chain(rest.components()).collect();
        }
    }
    path.into()
}

fn beneath(path: &Path, above: &Path) -> bool {
    path.starts_with(above)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Says what is wrong with these roots, or nothing.
    fn told(dir: &Path, roots: &[(&str, &Path)]) -> Option<String> {
        let mut text = String::from("[planes.p]\n");
        for (name, path) in roots {
            text += &format!("[planes.p.roots.{name}]\npath = {path:?}\nuid = 12345\n");
        }
        let config = Config::parse(&text, "t").unwrap();
        let paths = Paths::resolve(Some(dir)).unwrap();
        config.check(&paths).err().map(|error| {
            assert_eq!(error.kind(), Kind::Usage);
            error.message()
        })
    }

    #[test]
    fn roots_are_apart_from_keepgate_and_from_each_other() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().canonicalize().unwrap();
        for name in ["mail", "mail/in", "out", "state/p", "run"] {
            fs::create_dir_all(dir.join(name)).unwrap();
        }
        fs::write(dir.join("file"), b"").unwrap();
        std::os::unix::fs::symlink(dir.join("state"), dir.join("link")).unwrap();
        let path = |name: &str| dir.join(name);
        assert_eq!(
            told(&dir, &[("a", &path("mail")), ("b", &path("out"))]),
            None
        );
        let bad = |roots: &[(&str, &Path)], what: &str| {
            let told = told(&dir, roots).unwrap_or_default();
            assert!(
                told.contains(what) && told.contains("of plane `p`"),
                "{what}: {told}"
            );
        };
        bad(
            &[("a", &path("mail")), ("b", &path("mail/in"))],
            "overlaps with root `a`",
        );
        bad(&[("a", &path("none"))], "No such file");
        bad(&[("a", &path("file"))], "no directory");
        bad(&[("a", &path("state/p"))], "are not apart");
        bad(&[("a", &path("link"))], "are not apart");
        bad(&[("a", &dir)], "are not apart");
        bad(&[("a", &path("run"))], "are not apart");
    }

    #[test]
    fn a_root_that_is_roots_needs_a_word() {
        assert!(geteuid().is_root(), "this test must run as root");
        let temp = tempfile::tempdir().unwrap();
        let mail = temp.path().join("mail");
        fs::create_dir(&mail).unwrap();
        let check = |uid: &str| {
            let text = format!("[planes.p.roots.a]\npath = {mail:?}\n{uid}");
            let config = Config::parse(&text, "t").unwrap();
            config.check(&Paths::resolve(Some(temp.path())).unwrap())
        };
        assert!(check("").unwrap_err().message().contains("as root"));
        assert!(
            check("uid = 64100")
                .unwrap_err()
                .message()
                .contains("Keepgate's own")
        );
        check("uid = 0").unwrap();
        check("uid = 1000").unwrap();
        fs::remove_dir(&mail).unwrap();
        for (uid, made) in [("", "-o USER /"), ("uid = 1000", "-o 1000 /")] {
            let hint = check(uid).unwrap_err().hint_text().map(str::to_owned);
            assert!(hint.clone().unwrap_or_default().contains(made), "{hint:?}");
        }
    }
}
