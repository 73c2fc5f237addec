//! The paths of a draft against the host: each is there, is a file or directory, is not Keepgate's
//! own, and has one meaning.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::view::{Unseen, View};
use super::{Draft, Host, Place, Said};
use crate::error::{Error, Result};
use crate::jail::foreign::nest::{COPIES_MAX, Nest, lone};
use crate::jail::foreign::{HOME, pipes};
use crate::wire::text::{Escaped, escaped};

/// Links followed before they are taken for a circle (`MAXSYMLINKS` of the kernel).
const LINKS_MAX: usize = 40;
/// What every foreign jail has of its own.
const ITS_OWN: [&str; 3] = ["/dev", "/proc", "/tmp"];

/// Where a path was said.
struct Entry<'a> {
    said: &'a Said<PathBuf>,
    writable: bool,
}

impl Entry<'_> {
    fn path(&self) -> &Path {
        &self.said.what
    }

    fn wrong(&self, what: impl std::fmt::Display, hint: impl Into<String>) -> Error {
        self.said
            .place
            .wrong(format!("`{}` {what}", shown(self.path())), hint)
    }
}

pub(super) fn check(draft: &Draft, host: &Host) -> Result<()> {
    let said = |writable| move |said| Entry { said, writable };
    let all = draft.ro.iter().map(said(false));
    let entries: Vec<Entry<'_>> = all.chain(draft.rw.iter().map(said(true))).collect();
    let plain = |all: &[Said<PathBuf>]| all.iter().map(|said| said.what.clone()).collect();
    let (ro, rw): (Vec<PathBuf>, Vec<PathBuf>) = (plain(&draft.ro), plain(&draft.rw));
    let nest = Nest::new(&ro, &rw);
    let mut before: &[Entry<'_>] = &[];
    for (count, entry) in entries.iter().enumerate() {
        once(entry, before)?;
        look(entry, nest, host)?;
        before = entries.get(..=count).unwrap_or_default();
    }
    for entry in &entries {
        nested(entry, nest, &entries)?;
    }
    few(&entries, nest)?;
    let paths: Vec<PathBuf> = entries
        .iter()
        .map(|entry| entry.path().to_owned())
        .collect();
    let view = View::new(&paths);
    for entry in &entries {
        if let Err(unseen) = view.resolve(entry.path()) {
            return Err(leads_away(entry, unseen));
        }
    }
    draft.dir.as_ref().map_or(Ok(()), |dir| start(&view, dir))
}

/// Looks at what is there.
fn look(entry: &Entry<'_>, nest: Nest<'_>, host: &Host) -> Result<()> {
    let path = entry.path();
    if path == Path::new("/") {
        return Err(match entry.writable {
            true => entry.wrong("is the whole file system", "name the directory it works in"),
            false => entry.wrong(
                "is the whole file system",
                "name what it needs, such as /usr, /lib and /lib64: `keepgate jail check foreign` \
                 prints the usual ones",
            ),
        });
    }
    if let Some(own) = ITS_OWN.iter().find(|own| of_jail(path, own)) {
        return Err(entry.wrong(
            format!("cannot be shown: every foreign jail has a `{own}` of its own"),
            "take it away; `whole_proc` and `[limits] tmp_mib` say how they are",
        ));
    }
    let real = follow(entry)?;
    if entry.writable && real.starts_with("/sys") {
        return Err(entry.wrong(
            "cannot be changed by a jail: it is the kernel's",
            "name it read-only, if the program reads it",
        ));
    }
    keep_own(entry, &real, host)?;
    let above = path.parent().unwrap_or(Path::new("/"));
    let real_above = fs::canonicalize(above).unwrap_or_else(|_| above.into());
    if real_above != above {
        let better = shown(&real_above.join(path.file_name().unwrap_or_default()));
        return Err(entry.wrong(
            "goes through a symbolic link",
            format!("write where it leads: `{better}`"),
        ));
    }
    let meta = fs::metadata(&real)
        .map_err(|error| entry.wrong(format!("cannot be looked at: {error}"), "see who may"))?;
    let kind = meta.file_type();
    if entry.writable && is_link(path) {
        let better = shown(&real);
        return Err(entry.wrong(
            "is a symbolic link, and what may be changed has to be named itself",
            format!("write where it leads: `{better}`"),
        ));
    }
    let odd = match kind {
        _ if kind.is_socket() => Some("a socket"),
        _ if kind.is_fifo() => Some("a named pipe"),
        _ if kind.is_block_device() || kind.is_char_device() => Some("a device"),
        _ => None,
    };
    if let Some(odd) = odd {
        return Err(entry.wrong(
            format!("is {odd}, a way out of the jail"),
            "jails see directories and regular files only",
        ));
    }
    if !entry.writable && nest.covered(path) {
        only_read(entry, &real)?;
    }
    if !entry.writable && nest.kept_in(path).is_some() && kind.is_file() && meta.nlink() > 1 {
        let what = format!(
            "is to be kept and has {} names (hard links), of which only this one would be",
            meta.nlink()
        );
        return Err(entry.wrong(what, lone(path)));
    }
    let mode = meta.permissions().mode();
    let wanted = if kind.is_dir() { 0o005 } else { 0o004 };
    // What lies within what it may change belongs to it as that does.
    let others = host.root && !entry.writable && nest.kept_in(path).is_none();
    if others && mode & wanted != wanted {
        let shown = shown(path);
        return Err(entry.wrong(
            format!(
                "has mode {:04o}: the jail's own user cannot read it",
                mode & 0o7777
            ),
            format!("chmod o+rX {shown}, or make it writable for the jail"),
        ));
    }
    if entry.writable && !kind.is_dir() {
        return Err(entry.wrong(
            "is no directory, and only directories may be changed",
            "name the directory it is in",
        ));
    }
    Ok(())
}

/// `/tmp` itself cannot be shown, but a directory beneath it can; nothing beneath the others can.
fn of_jail(path: &Path, own: &str) -> bool {
    match own {
        "/tmp" => path == Path::new(own),
        _ => path.starts_with(own),
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink())
}

/// Where the path leads on this host, naming the links on the way where it leads nowhere.
fn follow(entry: &Entry<'_>) -> Result<PathBuf> {
    let mut at = entry.path().to_owned();
    let mut way = vec![shown(&at)];
    loop {
        let meta = fs::symlink_metadata(&at).map_err(|error| match (way.len(), error.kind()) {
            (1, std::io::ErrorKind::NotFound) => {
                entry.wrong("does not exist", "make it, or take it away")
            }
            (_, std::io::ErrorKind::NotFound) => entry.wrong(
                format!("is a link that leads nowhere: {}", way.join(" -> ")),
                "mend the link, or take it away",
            ),
            _ => entry.wrong(format!("cannot be looked at: {error}"), "see who may"),
        })?;
        if !meta.is_symlink() {
            // The directories above may be links too; nothing else is left to be one.
            return fs::canonicalize(&at)
                .map_err(|error| entry.wrong(format!("cannot be found: {error}"), "see who may"));
        }
        let target = fs::read_link(&at)
            .map_err(|error| entry.wrong(format!("cannot be read: {error}"), "see who may"))?;
        at = at.parent().unwrap_or(Path::new("/")).join(target);
        let circle = way.contains(&shown(&at)) || way.len() > LINKS_MAX;
        way.push(shown(&at));
        if circle {
            return Err(entry.wrong(
                format!("is a circle of links: {}", way.join(" -> ")),
                "mend the links, or take it away",
            ));
        }
    }
}

/// Nothing of Keepgate's own is shown: neither named, nor above, nor beneath, nor by a link.
fn keep_own(entry: &Entry<'_>, real: &Path, host: &Host) -> Result<()> {
    for own in &host.own {
        let there = fs::canonicalize(own).ok();
        let given =
            |path: &Path| !entry.writable && host.given.iter().any(|one| path.starts_with(one));
        for path in [entry.path(), real] {
            if given(path) && given(real) {
                continue;
            }
            let within = [Some(own), there.as_ref()].into_iter().flatten();
            let hit = within
                .clone()
                .any(|own| path.starts_with(own) || (there.is_some() && own.starts_with(path)));
            if hit {
                return Err(entry.wrong(
                    format!("would show Keepgate's own `{}`", shown(own)),
                    "no jail may see Keepgate's own files: name other directories, or those \
                     beside it one by one",
                ));
            }
        }
    }
    Ok(())
}

/// What Landlock's rule for what is around it would let a jail do there, a mount has to prevent.
fn only_read(entry: &Entry<'_>, real: &Path) -> Result<()> {
    let found = pipes::first(real).map_err(|error| {
        let what = format!("has to be looked through for named pipes: {error}");
        entry.wrong(what, "name what is needed below it, one path each")
    })?;
    if let Some(pipe) = found {
        let pipe = shown(&pipe);
        return Err(entry.wrong(
            format!("is to be read only and holds the named pipe `{pipe}`, into which a jail could write there"),
            "remove the pipe, or name what is needed beside it",
        ));
    }
    Ok(())
}

/// One path has one meaning.
fn once(entry: &Entry<'_>, before: &[Entry<'_>]) -> Result<()> {
    match before.iter().find(|before| before.path() == entry.path()) {
        None => Ok(()),
        Some(before) => Err(entry.wrong(
            format!("is named already ({})", before.said.place),
            "take one of the two away",
        )),
    }
}

/// What lies within another path is there for a difference.
fn nested(entry: &Entry<'_>, nest: Nest<'_>, all: &[Entry<'_>]) -> Result<()> {
    let Some(above) = nest.above(entry.path()) else {
        return Ok(());
    };
    let outer = shown(above.path);
    if above.writable == entry.writable {
        let place = all.iter().find(|other| other.path() == above.path);
        let place = place.map_or_else(String::new, |other| format!(" ({})", other.said.place));
        return Err(entry.wrong(
            format!("is inside of `{outer}`{place}"),
            "the outer one shows both: take the inner one away",
        ));
    }
    if above.writable && is_link(entry.path()) {
        return Err(entry.wrong(
            format!("is a symbolic link in `{outer}`, which may be changed, and so can it be"),
            "name where it leads",
        ));
    }
    Ok(())
}

fn few(entries: &[Entry<'_>], nest: Nest<'_>) -> Result<()> {
    let copies = nest.copies();
    match entries.last() {
        Some(last) if copies > COPIES_MAX => Err(last.said.place.wrong(
            format!("the jail would need {copies} mounts of its own, and can have {COPIES_MAX}"),
            "name fewer directories to change, and fewer paths to keep within them",
        )),
        _ => Ok(()),
    }
}

fn leads_away(entry: &Entry<'_>, unseen: Unseen) -> Error {
    match unseen {
        Unseen::Outside(path) | Unseen::Missing(path) => {
            let path = shown(&path);
            entry.wrong(
                format!("is a link to `{path}`, which the jail does not see"),
                format!("add `{path}` to `ro`, or take the link away"),
            )
        }
        Unseen::Circle(_) => entry.wrong("is a circle of links", "mend the links"),
    }
}

fn start(view: &View<'_>, dir: &Said<PathBuf>) -> Result<()> {
    let path = &dir.what;
    if path == Path::new(HOME) {
        return Ok(());
    }
    let place: &Place = &dir.place;
    let wrong = |what: &str, hint: String| {
        let what = format!("the working directory `{}` {what}", shown(path));
        Err(place.wrong(what, hint))
    };
    match view.resolve(path) {
        Ok(real) if !real.is_dir() => wrong("is no directory", "name a directory".into()),
        Ok(_) => Ok(()),
        Err(Unseen::Missing(_)) => wrong("does not exist", "make it".into()),
        Err(Unseen::Circle(_)) => wrong("is a circle of links", "mend the links".into()),
        Err(Unseen::Outside(at)) => wrong(
            "is not seen in the jail",
            match path.exists() {
                true if at == *path => "add it to `ro` or `rw` (`--ro`, `--rw`)".into(),
                true => format!(
                    "add it, or `{}`, to `ro` or `rw` (`--ro`, `--rw`)",
                    shown(&at)
                ),
                false => "make it, and add it to `ro` or `rw` (`--ro`, `--rw`)".into(),
            },
        ),
    }
}

fn shown(path: &Path) -> String {
    match path.to_str() {
        Some(text) => Escaped::cut(text, 300).to_string(),
        None => escaped(&path.to_string_lossy()),
    }
}
