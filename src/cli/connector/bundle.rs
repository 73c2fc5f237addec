//! `keepgate connector export` and `import-bundle`.

use std::fs::{self, File};
use std::io::{BufWriter, Read, Seek, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use ring::digest::{Context as Sha256, SHA256};
use serde_json::json;

use super::files::{self, away, directory, read, read_report, shown, state};
use super::now::{now, pin};
use crate::catalog::connector::bundle::{
    Head, Packed, Signing, Trusted, begin, brought, read_head,
};
use crate::catalog::connector::manifest::{FILE_MAX, Written, is_name};
use crate::catalog::connector::report::Report;
use crate::catalog::connector::tree::{Content, Measured};
use crate::cli::app::App;
use crate::cli::exit::Exit;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::file::{rename_durably, replace_durably};
use crate::wire::text::{hex, unhex};

/// Longest key file, in bytes.
const KEY_MAX: u64 = 16 << 10;
/// Bytes moved at a time.
const PIECE: usize = 256 << 10;

pub(super) fn export(app: &App, name: &str, to: &Path, key: &Path) -> Result<Exit> {
    let key = Signing::parse(&text_file(key)?)?;
    let now = now(app, name)?;
    let report = read(
        &files::report(app, name),
        crate::catalog::connector::report::FILE_MAX,
    )?
    .ok_or_else(|| {
        Error::of(Kind::Denied, format!("connector `{name}` was not vetted"))
            .hint(format!("`keepgate connector vet {name}`"))
    })?;
    let read_back = Report::parse(&report, "report.json")?;
    let trees: Vec<_> = now.measured.iter().map(Measured::tree).collect();
    if read_back.manifest_sha256 != now.manifest_sha256 || read_back.files != trees {
        return Err(Error::of(
            Kind::Denied,
            format!("connector `{name}` has changed since it was vetted"),
        )
        .hint(format!("`keepgate connector vet {name}`")));
    }
    let manifest = read(&app.paths.connector(name), FILE_MAX)?.unwrap_or_default();
    let installed = read(&files::installed(app, name), FILE_MAX)?;
    let head = Head {
        connector: name.into(),
        keepgate: env!("CARGO_PKG_VERSION").into(),
        roots: now.measured.iter().map(|one| one.path.clone()).collect(),
        entries: packed(&now.measured)?,
        manifest: utf8(manifest)?,
        report: utf8(report)?,
        installed: installed.map(utf8).transpose()?,
        approved_by: pin(app, name)?.map(|pin| pin.approved.by),
    };
    let what = || format!("write `{}`", shown(to));
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(to)
        .context(what)?;
    let mut out = BufWriter::new(file);
    let wrote = write_all(&head, &key, &mut out);
    let wrote = wrote.and_then(|()| {
        let file = out
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error);
        file.and_then(|file| file.sync_all()).context(what)
    });
    if wrote.is_err() {
        drop(away(to));
    }
    wrote?;
    let value =
        json!({"connector": name, "bundle": to.to_string_lossy(), "files": head.entries.len()});
    app.screen.answer(&value, |_| {
        format!(
            "connector {name} is in {}: {} entries",
            shown(to),
            head.entries.len()
        )
    })?;
    Ok(Exit::Ok)
}

fn utf8(bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).context(|| "read a file of the connector".into())
}

fn text_file(path: &Path) -> Result<String> {
    let bytes = read(path, KEY_MAX)?
        .ok_or_else(|| Error::of(Kind::Usage, format!("there is no file `{}`", shown(path))))?;
    utf8(bytes)
}

/// Parents come before what is in them: a path is a prefix of those beneath it.
fn packed(measured: &[Measured]) -> Result<Vec<Packed>> {
    let mut all = Vec::new();
    for (root, tree) in measured.iter().enumerate() {
        for (path, entry) in &tree.entries {
            let size = match &entry.content {
                Content::File(_) => {
                    let at = place(&tree.path, path);
                    at.symlink_metadata()
                        .context(|| format!("look at `{}`", shown(&at)))?
                        .len()
                }
                Content::Directory | Content::Link(_) => 0,
            };
            all.push(Packed {
                root,
                path: path.clone(),
                mode: brought(entry.mode, &entry.content),
                size,
                content: entry.content.clone(),
            });
        }
    }
    Ok(all)
}

fn place(root: &Path, path: &str) -> PathBuf {
    match path.is_empty() {
        true => root.into(),
        false => root.join(path),
    }
}

fn write_all(head: &Head, key: &Signing, out: &mut impl Write) -> Result<()> {
    let what = || "write the bundle".to_owned();
    out.write_all(&begin(head, key)?).context(what)?;
    for entry in &head.entries {
        let Content::File(sha256) = &entry.content else {
            continue;
        };
        let root = head.roots.get(entry.root).cloned().unwrap_or_default();
        let path = place(&root, &entry.path);
        let mut file = File::options()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)
            .context(|| format!("read `{}`", shown(&path)))?;
        if copy(&mut file, entry.size, out)? != *sha256 {
            return Err(Error::new(format!(
                "`{}` changed while it was read",
                shown(&path)
            )));
        }
    }
    Ok(())
}

/// Moves that many bytes; gives their SHA-256, which is that of less where there is less.
fn copy(from: &mut impl Read, size: u64, to: &mut impl Write) -> Result<String> {
    let mut context = Sha256::new(&SHA256);
    let mut piece = vec![0; PIECE];
    let mut left = from.take(size);
    loop {
        let read = left.read(&mut piece).context(|| "read a file".into())?;
        let part = piece.get(..read).unwrap_or_default();
        if part.is_empty() {
            return Ok(hex(context.finish().as_ref()));
        }
        context.update(part);
        to.write_all(part).context(|| "write a file".into())?;
    }
}

pub(super) fn import(app: &App, from: &Path, trust: &Path, replace: bool) -> Result<Exit> {
    let trust = Trusted::parse(&text_file(trust)?)?;
    let mut file = File::open(from)
        .context(|| format!("open `{}`", shown(from)))
        .map_err(|error| error.kind_is(Kind::Usage))?;
    let head = read_head(&mut file, &trust)?;
    let bodies = file
        .stream_position()
        .context(|| "read the bundle".into())?;
    let name = &head.connector;
    let report = Report::parse(head.report.as_bytes(), "report")?;
    let written = Written::parse(&head.manifest, "manifest")?;
    if !is_name(name) || written.name() != name || report.connector != *name {
        return Err(Error::of(
            Kind::Tampered,
            "the bundle's parts are of different connectors",
        ));
    }
    // Every byte is compared before one is written, and again as it is written.
    verify(&head, &mut file)?;
    file.seek(std::io::SeekFrom::Start(bodies))
        .context(|| "read the bundle".into())?;
    let path = app.paths.connector(name);
    if path.symlink_metadata().is_ok() && !replace {
        let what = format!("there is a connector `{name}` already: {}", shown(&path));
        return Err(Error::of(Kind::Usage, what).hint("write over it with `--replace`"));
    }
    // One that cannot be read is written over, and says nothing.
    let here = read_report(app, name).ok().flatten();
    let older = here.map(|(here, _)| here.at).filter(|at| report.at < *at);
    if let Some(at) = older {
        app.screen.note(format!(
            "note: the bundle is older than what it replaces: vetted {}, not {at}",
            report.at
        ));
    }
    let moved = unpack(app, &head, &mut file)?;
    let manifest = moved
        .iter()
        .fold(head.manifest.clone(), |text, (old, new)| {
            text.replace(&*old.to_string_lossy(), &new.to_string_lossy())
        });
    let same = manifest == head.manifest;
    Written::parse(&manifest, &shown(&path))?;
    directory(&app.paths.connectors(), 0o700)?;
    let state = state(app, name)?;
    let put = |path: &Path, bytes: &[u8]| {
        replace_durably(path, bytes, 0o644).context(|| format!("write `{}`", shown(path)))
    };
    if let (Some(text), true) = (&head.installed, same) {
        put(&files::installed(app, name), text.as_bytes())?;
    } else {
        away(&files::installed(app, name))?;
    }
    let vetted = report.at;
    let report = state.join("report.json");
    match same {
        true => put(&report, head.report.as_bytes())?,
        // It is another manifest now: what was found of the old one is no report of this one.
        false => away(&report)?,
    }
    put(&path, manifest.as_bytes())?;
    let next = if same { "approve" } else { "vet" };
    let value = json!({
        "connector": name, "manifest": path.to_string_lossy(), "as_exported": same,
        "approved_there_by": head.approved_by, "vetted": vetted, "older_than": older,
        "next": next,
    });
    app.screen.answer(&value, |_| {
        let by = match same {
            true => format!("keepgate connector approve {name} --by YOU"),
            false => format!("keepgate connector vet {name}"),
        };
        format!("connector {name} is imported, every byte as it was signed\n\nnext:\n  {by}")
    })?;
    Ok(Exit::Ok)
}

fn verify(head: &Head, from: &mut impl Read) -> Result<()> {
    for entry in &head.entries {
        if let Content::File(sha256) = &entry.content {
            let good = unhex(sha256).is_some_and(|bytes| bytes.len() == 32);
            if !good || copy(from, entry.size, &mut std::io::sink())? != *sha256 {
                return Err(differs(&entry.path));
            }
        }
    }
    let mut more = [0; 1];
    match from.read(&mut more).context(|| "read the bundle".into())? {
        0 => Ok(()),
        _ => Err(differs("its end")),
    }
}

fn differs(path: &str) -> Error {
    let shown = crate::wire::text::escaped(path);
    Error::of(
        Kind::Tampered,
        format!("the bundle is damaged: `{shown}` is not what was signed"),
    )
    .hint("nothing of it was written; fetch it again")
}

/// Writes the trees; gives for each path of the manifest where it is now, where that is another one.
fn unpack(app: &App, head: &Head, from: &mut impl Read) -> Result<Vec<(PathBuf, PathBuf)>> {
    let state = state(app, &head.connector)?;
    let (fresh, tree) = (state.join("new"), app.paths.connector_tree(&head.connector));
    away(&fresh)?;
    let whole = head.roots.len() == 1;
    if !whole {
        directory(&fresh, 0o755)?;
    }
    let at = |base: &Path, root: usize| match whole {
        true => base.to_owned(),
        false => base.join(root.to_string()),
    };
    let done = head
        .entries
        .iter()
        .try_for_each(|entry| one(entry, &place(&at(&fresh, entry.root), &entry.path), from));
    done.inspect_err(|_| drop(away(&fresh)))?;
    // Directories last: what is in them was written by then.
    for entry in head.entries.iter().rev() {
        if entry.content == Content::Directory {
            let path = place(&at(&fresh, entry.root), &entry.path);
            fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode))
                .context(|| format!("set the mode of `{}`", shown(&path)))?;
        }
    }
    if head.roots.is_empty() {
        return Ok(Vec::new());
    }
    away(&tree)?;
    rename_durably(&fresh, &tree).context(|| format!("name `{}`", shown(&tree)))?;
    let moved = head.roots.iter().enumerate();
    let moved = moved.map(|(root, old)| (old.clone(), at(&tree, root)));
    Ok(moved.filter(|(old, new)| old != new).collect())
}

fn one(entry: &Packed, path: &Path, from: &mut impl Read) -> Result<()> {
    let what = || format!("write `{}`", shown(path));
    match &entry.content {
        Content::Directory => fs::create_dir(path).context(what),
        Content::Link(target) => symlink(target, path).context(what),
        Content::File(sha256) => {
            let mut file = File::options()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .context(what)?;
            if copy(from, entry.size, &mut file)? != *sha256 {
                return Err(differs(&entry.path));
            }
            file.set_permissions(fs::Permissions::from_mode(entry.mode))
                .context(what)
        }
    }
}
