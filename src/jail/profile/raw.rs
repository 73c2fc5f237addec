//! A manifest file as it is written: every key optional but the class, each with its place.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::{Spanned, Value};

use super::limits::KEYS;
use super::{Draft, Place};
use crate::error::{Error, Kind, Result};
use crate::wire::manifest::{Class, Destination};
use crate::wire::text::{Escaped, escaped};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    class: Spanned<String>,
    #[serde(default)]
    ro: Vec<Spanned<PathBuf>>,
    #[serde(default)]
    rw: Vec<Spanned<PathBuf>>,
    #[serde(default)]
    net: Vec<Spanned<Value>>,
    dir: Option<Spanned<PathBuf>>,
    loopback: Option<Spanned<bool>>,
    whole_proc: Option<Spanned<bool>>,
    observe: Option<Spanned<bool>>,
    #[serde(default)]
    env: BTreeMap<Spanned<String>, String>,
    #[serde(default)]
    limits: RawLimits,
}

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
    let raw: Raw = toml::from_str(text).map_err(|error| source.syntax(&error))?;
    let place = source.place(&raw.class);
    let mut draft = Draft::new(class(raw.class.get_ref(), &place)?, place);
    for path in &raw.ro {
        draft.ro(path.get_ref(), &source.place(path))?;
    }
    for path in &raw.rw {
        draft.rw(path.get_ref(), &source.place(path))?;
    }
    if let Some(dir) = &raw.dir {
        draft.dir(dir.get_ref(), &source.place(dir))?;
    }
    for to in raw.net {
        let place = source.place(&to);
        net(&mut draft, to.into_inner(), &place)?;
    }
    for (name, value) in &raw.env {
        draft.env(name.get_ref(), value, &source.place(name))?;
    }
    if let Some(on) = raw.loopback {
        draft.loopback(*on.get_ref(), &source.place(&on))?;
    }
    if let Some(on) = raw.whole_proc {
        draft.whole_proc(*on.get_ref(), &source.place(&on))?;
    }
    if let Some(on) = raw.observe {
        draft.observe(*on.get_ref(), &source.place(&on))?;
    }
    for (key, value) in KEYS.iter().zip(raw.limits.all()) {
        if let Some(value) = value {
            draft.limit(key.name, *value.get_ref(), &source.place(&value))?;
        }
    }
    Ok(draft)
}

fn class(name: &str, place: &Place) -> Result<Class> {
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
        place.wrong(format!("no way out: {}", one_line(error.message())), FORMS)
    })?;
    draft.destination(to, place)
}

fn one_line(text: &str) -> String {
    let text = text.lines().map(escaped).collect::<Vec<_>>().join("; ");
    text.replace("expected u64", "expected a whole number")
}

/// The text, to name places in it.
struct Source<'a> {
    text: &'a str,
    file: &'a str,
}

impl Source<'_> {
    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().iter().take(at);
        before.filter(|byte| **byte == b'\n').count() + 1
    }

    fn place<T>(&self, at: &Spanned<T>) -> Place {
        Place::line(self.file, self.line(at.span().start))
    }

    /// What the TOML reader says, on one line.
    fn syntax(&self, error: &toml::de::Error) -> Error {
        let line = error
            .span()
            .map(|span| format!(" line {}", self.line(span.start)));
        let what = format!(
            "`{}`{}: {}",
            self.file,
            line.unwrap_or_default(),
            one_line(error.message())
        );
        Error::of(Kind::Usage, what).hint(
            "`keepgate jail check foreign` prints a manifest with every key; texts are in quotes",
        )
    }
}
