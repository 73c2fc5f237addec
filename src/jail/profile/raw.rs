//! A manifest file as it is written: every key optional but the class, each with its place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::limits::KEYS;
use super::{Draft, Place};
use crate::error::{Error, Kind, Result};
use crate::wire::manifest::{Class, Destination};
use crate::wire::text::Escaped;
use crate::wire::words::said;

/// The keys of a jail: a file of their own, or a table in another one.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Raw {
    class: Option<Spanned<String>>,
    ro: Vec<Spanned<PathBuf>>,
    rw: Vec<Spanned<PathBuf>>,
    net: Vec<Spanned<Value>>,
    dir: Option<Spanned<PathBuf>>,
    loopback: Option<Spanned<bool>>,
    whole_proc: Option<Spanned<bool>>,
    observe: Option<Spanned<bool>>,
    env: BTreeMap<Spanned<String>, String>,
    limits: RawLimits,
}

/// How a whole manifest looks.
const HINT: &str =
    "`keepgate jail check foreign` prints a manifest with every key; texts are in quotes";

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawLimits {
    wall_s: Option<Spanned<u64>>,
    cpu_s: Option<Spanned<u64>>,
    memory_mib: Option<Spanned<u64>>,
    processes: Option<Spanned<u64>>,
    descriptors: Option<Spanned<u64>>,
    file_mib: Option<Spanned<u64>>,
    tmp_mib: Option<Spanned<u64>>,
    output_mib: Option<Spanned<u64>>,
    net_mib: Option<Spanned<u64>>,
}

impl RawLimits {
    /// In the order of [`KEYS`].
    fn all(self) -> [Option<Spanned<u64>>; KEYS.len()] {
        [
            self.wall_s,
            self.cpu_s,
            self.memory_mib,
            self.processes,
            self.descriptors,
            self.file_mib,
            self.tmp_mib,
            self.output_mib,
            self.net_mib,
        ]
    }
}

pub(super) fn parse(text: &str, file: &str) -> Result<Draft> {
    let source = Source { text, file };
    let raw: Raw = toml::from_str(text).map_err(|error| source.syntax(&error, HINT))?;
    match &raw.class {
        Some(_) => raw.draft(&source, Class::Foreign, &Place::line(file, 1)),
        None => Err(Place::line(file, 1).wrong("missing field `class`", HINT)),
    }
}

impl Raw {
    /// Everything it says; `class` is meant where it names none, and `place` is where it begins.
    pub(crate) fn draft(self, source: &Source<'_>, class: Class, place: &Place) -> Result<Draft> {
        let mut draft = match &self.class {
            Some(said) => {
                let place = source.place(said);
                Draft::new(class_of(said.get_ref(), &place)?, place)
            }
            None => Draft::new(class, place.clone()),
        };
        for path in &self.ro {
            draft.ro(path.get_ref(), &source.place(path))?;
        }
        for path in &self.rw {
            draft.rw(path.get_ref(), &source.place(path))?;
        }
        if let Some(dir) = &self.dir {
            draft.dir(dir.get_ref(), &source.place(dir))?;
        }
        for to in self.net {
            let place = source.place(&to);
            net(&mut draft, to.into_inner(), &place)?;
        }
        for (name, value) in &self.env {
            draft.env(name.get_ref(), value, &source.place(name))?;
        }
        if let Some(on) = self.loopback {
            draft.loopback(*on.get_ref(), &source.place(&on))?;
        }
        if let Some(on) = self.whole_proc {
            draft.whole_proc(*on.get_ref(), &source.place(&on))?;
        }
        if let Some(on) = self.observe {
            draft.observe(*on.get_ref(), &source.place(&on))?;
        }
        for (key, value) in KEYS.iter().zip(self.limits.all()) {
            if let Some(value) = value {
                draft.limit(key.name, *value.get_ref(), &source.place(&value))?;
            }
        }
        Ok(draft)
    }
}

fn class_of(name: &str, place: &Place) -> Result<Class> {
    let all = [Class::Native, Class::NativeGeneric, Class::Foreign];
    all.into_iter()
        .find(|class| class.name() == name)
        .ok_or_else(|| {
            let what = format!("`{}` is no class of jails", Escaped::cut(name, 64));
            place.wrong(what, "`foreign`, `native` or `native-generic`")
        })
}

/// `"host:port"`, or a table where more is to be said.
fn net(draft: &mut Draft, value: Value, place: &Place) -> Result<()> {
    const FORMS: &str = "write `\"api.example.net:443\"`, or `{ host = \"db.internal\", \
                         port = 5432, private = [\"10.0.0.0/8\"] }`";
    if let Value::String(text) = &value {
        return draft.net(text, place);
    }
    let to: Destination = value.try_into().map_err(|error: toml::de::Error| {
        place.wrong(format!("no way out: {}", said(error.message())), FORMS)
    })?;
    draft.destination(to, place)
}

/// The text of a file, to name places in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Source<'a> {
    /// The text.
    pub(crate) text: &'a str,
    /// The file's name in errors.
    pub(crate) file: &'a str,
}

impl Source<'_> {
    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().iter().take(at);
        before.filter(|byte| **byte == b'\n').count() + 1
    }

    /// The line where something was said.
    pub(crate) fn place<T>(&self, at: &Spanned<T>) -> Place {
        Place::line(self.file, self.line(at.span().start))
    }

    /// What the TOML reader says, on one line.
    pub(crate) fn syntax(&self, error: &toml::de::Error, hint: &str) -> Error {
        let line = error
            .span()
            .map(|span| format!(" line {}", self.line(span.start)));
        let what = format!(
            "`{}`{}: {}",
            self.file,
            line.unwrap_or_default(),
            said(error.message())
        );
        Error::of(Kind::Usage, what).hint(hint)
    }
}
