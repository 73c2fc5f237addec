//! Manifests as an operator writes them: a profile by name, a file in TOML, and what the command
//! line adds to either. A [`Draft`] remembers where each thing was said; [`Draft::check`] compares
//! it with the host and makes the [`Manifest`] that a jailer takes.
//!
//! ```toml
//! class = "foreign"                       # or "native", "native-generic"
//! ro = ["/usr", "/lib", "/lib64"]         # seen, read-only
//! rw = ["/srv/work"]                      # directories it may change; the nearest path above counts
//! dir = "/srv/work"                       # where it starts; otherwise /tmp
//! net = ["api.example.net:443", { host = "db.example", port = 5432, private = ["10.0.0.0/8"] }]
//! loopback = false                        # a loopback of its own, and unix sockets
//! whole_proc = false                      # see all of /proc
//! observe = true                          # tell denied system calls
//! [env]
//! LANG = "C.UTF-8"
//! [limits]
//! wall_s = 60
//! ```
//!
//! A file is read strictly: what is unknown, said twice or without effect is an error with its line.
//! Variables of the loader (`LD_PRELOAD` and the like) are not special: nothing in a jail runs with
//! more rights than what starts it, so there is no border that they could cross.

mod builtin;
mod host;
mod kernel;
mod limits;
mod raw;
#[cfg(test)]
mod tests;
mod text;
mod view;
mod words;

use std::fmt;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

pub use kernel::{Host, refused_namespaces};
pub use limits::KEYS as LIMITS;
pub(crate) use raw::{Raw, Source};
pub use text::toml;
pub(crate) use text::{keys, quoted};
pub use view::{Unseen, View};

use crate::error::{Context, Error, Kind, Result};
use crate::jail::foreign::nest::lone;
use crate::jail::regular;
use crate::wire::manifest::{Class, Destination, Manifest};
use crate::wire::text::escaped;

/// Longest manifest file, in bytes.
pub const FILE_MAX: u64 = 256 << 10;
/// Most paths of one kind, ways out, and variables.
pub const MANY: usize = 128;

/// Where something was said: `` `m.toml` line 3 ``, `` `--ro /usr` ``, `` profile `foreign` ``.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(String);

impl Place {
    /// A line of a file.
    pub fn line(file: &str, line: usize) -> Self {
        Self(format!("`{file}` line {line}"))
    }

    /// An option of the command line, and its value where it has one.
    pub fn option(name: &str, value: &str) -> Self {
        Self(match value {
            "" => format!("`{name}`"),
            _ => format!("`{name} {}`", escaped(value)),
        })
    }

    /// A built-in profile.
    pub fn profile(class: Class) -> Self {
        Self(format!("profile `{}`", class.name()))
    }

    /// What is wrong there.
    pub(crate) fn wrong(&self, what: impl fmt::Display, hint: impl Into<String>) -> Error {
        Error::of(Kind::Usage, format!("{self}: {what}")).hint(hint)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that was said somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said<T> {
    what: T,
    place: Place,
}

/// A manifest that was not compared with a host yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Everything but what is below.
    manifest: Manifest,
    class: Place,
    ro: Vec<Said<PathBuf>>,
    rw: Vec<Said<PathBuf>>,
    net: Vec<Said<Destination>>,
    dir: Option<Said<PathBuf>>,
    file: Option<Origin>,
}

/// The file that a draft was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    /// Its absolute path as it was named.
    written: PathBuf,
    /// The same without links.
    real: PathBuf,
    /// How many names it has (hard links).
    names: u64,
    place: Place,
}

impl Draft {
    fn new(class: Class, place: Place) -> Self {
        Self {
            manifest: Manifest::of(class),
            class: place,
            ro: Vec::new(),
            rw: Vec::new(),
            net: Vec::new(),
            dir: None,
            file: None,
        }
    }

    /// The profile of that name, where there is one: `native`, `native-generic`, or `foreign` with
    /// what this host has of the usual system directories.
    pub fn builtin(name: &str) -> Option<Self> {
        let all = [Class::Native, Class::NativeGeneric, Class::Foreign];
        let class = all.into_iter().find(|class| class.name() == name)?;
        let place = Place::profile(class);
        let mut draft = Self::new(class, place.clone());
        if class == Class::Foreign {
            let said = |what| Said {
                what,
                place: place.clone(),
            };
            draft.ro = builtin::paths().into_iter().map(said).collect();
        }
        Some(draft)
    }

    /// Reads the file `path`.
    ///
    /// # Errors
    /// Fails where it cannot be read or is no regular file, and as [`Draft::parse`].
    pub fn load(path: &Path) -> Result<Self> {
        let shown = escaped(&path.to_string_lossy());
        let mut bytes = Vec::new();
        regular::open(path)
            .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes))
            .context(|| format!("read the manifest `{shown}`"))
            .map_err(|error| {
                error.kind_is(Kind::Usage).hint(
                    "name a file, or one of the profiles `native`, `native-generic`, `foreign`",
                )
            })?;
        let mut draft = Self::parse_bytes(&bytes, &shown)?;
        draft.manifest.name = name_of(path);
        draft.file = Some(origin(path, &shown)?);
        Ok(draft)
    }

    /// As [`Draft::parse`], of bytes that may be anything; what a fuzzer calls.
    ///
    /// # Errors
    /// As [`Draft::parse`], and where the bytes are longer than [`FILE_MAX`] or not UTF-8.
    pub fn parse_bytes(bytes: &[u8], file: &str) -> Result<Self> {
        let wrong = |what: &str| Error::of(Kind::Usage, format!("`{file}` {what}"));
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_MAX {
            return Err(wrong(&format!("is longer than {FILE_MAX} bytes"))
                .hint("a manifest names directories, not every file in them"));
        }
        let text = str::from_utf8(bytes).map_err(|at| {
            wrong(&format!("is not UTF-8 text (byte {})", at.valid_up_to()))
                .hint("a manifest is a text file in TOML")
        })?;
        Self::parse(text, file)
    }

    /// Parses a file; `file` is its name in errors. Looks at the text only, never at the host.
    ///
    /// # Errors
    /// Kind usage with file, line, what is wrong and a hint.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        raw::parse(text, file)
    }

    /// The class.
    pub fn class(&self) -> Class {
        self.manifest.class
    }

    /// Whether `path` is shown read-only already: itself, or by the nearest path above it.
    pub fn shows(&self, path: &Path) -> bool {
        let nearest = |all: &[Said<PathBuf>]| {
            let above = all.iter().filter(|said| path.starts_with(&said.what));
            above.map(|said| said.what.components().count()).max()
        };
        // Nothing is less than any number.
        nearest(&self.ro) > nearest(&self.rw)
    }

    /// Whether `path` lies at or beneath a directory that may be changed, whatever is kept in there.
    pub fn changes(&self, path: &Path) -> bool {
        self.rw.iter().any(|said| path.starts_with(&said.what))
    }

    /// The file it was read from does not lie in what may be changed: a jail must not say what the
    /// next one may do. A read-only mount on the file alone is not enough: an editor outside that
    /// saves by rename(2) takes the mount away in every jail (mount_namespaces(7), since Linux 3.18),
    /// and the new file is the jail's to write. A directory that is kept stays where it is.
    fn keep_file(&self) -> Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let exposed = |path: &Path| {
            let above = path.parent().unwrap_or(path);
            self.changes(path) && !self.shows(above)
        };
        if file.written != file.real && exposed(&file.written) {
            let what = "the way to the manifest leads through a link that the jail could change";
            let real = escaped(&file.real.to_string_lossy());
            return Err(file.place.wrong(what, format!("name it as `{real}`")));
        }
        if exposed(&file.real) {
            let above = file.real.parent().unwrap_or(&file.real);
            let above = escaped(&above.to_string_lossy()).to_string();
            let what = format!(
                "lies in what its jail may change, and a file that is replaced from outside (as \
                 editors do) cannot be kept: `{}`",
                escaped(&file.real.to_string_lossy())
            );
            let hint = match self
                .rw
                .iter()
                .any(|said| Some(&*said.what) == file.real.parent())
            {
                true => format!("move it out of `{above}`"),
                false => format!("move it elsewhere, or keep its directory: add `{above}` to `ro`"),
            };
            return Err(file.place.wrong(what, hint));
        }
        if file.names > 1 && !self.rw.is_empty() {
            let what = format!(
                "has {} names (hard links), and its jail may change what is at another one",
                file.names
            );
            return Err(file.place.wrong(what, lone(&file.real)));
        }
        Ok(())
    }

    /// Compares it with the host: everything it names is there, is what it should be, and is not
    /// Keepgate's own; the kernel has what the class needs.
    ///
    /// # Errors
    /// Kind usage or degraded, with the place, what is wrong and a hint.
    pub fn check(self, host: &Host) -> Result<Manifest> {
        self.keep_file()?;
        kernel::check(&self, host)?;
        host::check(&self, host)?;
        Ok(self.into_manifest())
    }

    /// The manifest as it was said, without a look at the host.
    pub fn into_manifest(self) -> Manifest {
        let take = |all: Vec<Said<PathBuf>>| all.into_iter().map(|said| said.what).collect();
        Manifest {
            ro: take(self.ro),
            rw: take(self.rw),
            net: self.net.into_iter().map(|said| said.what).collect(),
            dir: self.dir.map(|said| said.what),
            ..self.manifest
        }
    }
}

fn origin(path: &Path, shown: &str) -> Result<Origin> {
    let what = || format!("find the manifest `{shown}`");
    Ok(Origin {
        written: as_written(path).context(what)?,
        real: path.canonicalize().context(what)?,
        names: path.metadata().context(what)?.nlink(),
        place: Place(format!("the manifest `{shown}`")),
    })
}

/// The absolute path of `path` without `.` and `..`, as it is written: links are not looked at.
///
/// # Errors
/// Fails where there is no working directory.
pub fn as_written(path: &Path) -> std::io::Result<PathBuf> {
    let mut written = PathBuf::new();
    for part in std::path::absolute(path)?.components() {
        if part == Component::ParentDir {
            written.pop();
        } else {
            written.push(part);
        }
    }
    Ok(written)
}

/// The name of a manifest is its file's, in the form all names have.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let name: String = stem
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| if plain(c) { c } else { '-' })
        .take(32)
        .collect();
    match name.trim_start_matches('-') {
        "" => "manifest".into(),
        name => name.into(),
    }
}
