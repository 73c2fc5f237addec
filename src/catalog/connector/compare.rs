//! What differs between what was approved and what is there now, member by member.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::digest::{Listing, is_template, of_value, read};
use super::tree::{Content, Measured, Tree};
use super::{Pin, Resources};
use crate::wire::text::Escaped;

/// Most changed members that are told of one object.
const MEMBERS_MAX: usize = 64;
/// Longest value that is told, in characters.
const VALUE_SHOWN: usize = 400;

/// What differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The manifest.
    Manifest,
    /// Something it executes.
    File,
    /// A tool.
    Tool,
    /// A prompt.
    Prompt,
    /// A resource or a template of resources.
    Resource,
    /// A model that an agent asks.
    Model,
}

impl Subject {
    /// The word for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest",
            Self::File => "file",
            Self::Tool => "tool",
            Self::Prompt => "prompt",
            Self::Resource => "resource",
            Self::Model => "model",
        }
    }
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Of what.
    pub subject: Subject,
    /// Its name, URI or path, escaped and cut.
    pub name: String,
    /// What happened to it.
    pub change: Change,
}

/// What happened to something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not there when it was approved.
    Added,
    /// It is no longer there.
    Removed,
    /// It has another name and is the same otherwise: the new name, escaped and cut.
    Renamed(String),
    /// Members of it are others.
    Changed(Vec<Member>),
}

/// One changed member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Where: a JSON pointer (RFC 6901), `mode`, `content`, `target`, `kind`, `owner`; escaped and cut.
    pub path: String,
    /// What was there, escaped and cut; nothing where there was none.
    pub old: Option<String>,
    /// What is there now.
    pub new: Option<String>,
}

impl fmt::Display for Difference {
    /// On one line without values: `tool \`x\`: changed /description, /inputSchema/type`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}` ", self.subject.name(), self.name)?;
        match &self.change {
            Change::Added => f.write_str("was added"),
            Change::Removed => f.write_str("was removed"),
            Change::Renamed(to) => write!(f, "is now called `{to}`"),
            Change::Changed(members) => {
                let paths: Vec<&str> = members
                    .iter()
                    .take(4)
                    .map(|member| member.path.as_str())
                    .collect();
                write!(f, "changed in {}", paths.join(", "))?;
                match members.len() > paths.len() {
                    true => write!(f, " and {} more", members.len() - paths.len()),
                    false => Ok(()),
                }
            }
        }
    }
}

impl Pin {
    /// What is listed now and differs from what was approved. Nothing means: exactly the same.
    pub fn compare_tools(&self, now: &Listing) -> Vec<Difference> {
        listings(Subject::Tool, &self.tools, &self.tool_digests, now)
    }

    /// As [`Pin::compare_tools`], of prompts.
    pub fn compare_prompts(&self, now: &Listing) -> Vec<Difference> {
        listings(Subject::Prompt, &self.prompts, &digests(&self.prompts), now)
    }

    /// As [`Pin::compare_tools`], of resources and templates; of templates alone where its resources
    /// are data.
    pub fn compare_resources(&self, now: &Listing) -> Vec<Difference> {
        let old = self.listed_resources();
        let data = self.connector.resources == Resources::Data;
        let mut now = now.clone();
        now.raw.retain(|_, raw| !data || is_template(raw));
        now.digests.retain(|name, _| now.raw.contains_key(name));
        listings(Subject::Resource, &old, &digests(&old), &now)
    }

    /// Pinned paths whose digest is another one now, or that are no longer pinned, or newly so.
    pub fn compare_files(&self, now: &[Tree]) -> Vec<Difference> {
        files(&self.files, now)
    }

    /// The manifest, where its bytes are others now.
    pub fn compare_manifest(&self, sha256: &str) -> Option<Difference> {
        (self.manifest_sha256 != sha256).then(|| Difference {
            subject: Subject::Manifest,
            name: self.connector.name.clone(),
            change: digest(&self.manifest_sha256, sha256),
        })
    }
}

/// Trees whose digest is another one now, or that are no longer named, or newly so.
fn files(old: &[Tree], now: &[Tree]) -> Vec<Difference> {
    let of = |trees: &[Tree]| -> BTreeMap<String, String> {
        let shown = |tree: &Tree| tree.path.to_string_lossy().into_owned();
        trees
            .iter()
            .map(|tree| (shown(tree), tree.sha256.clone()))
            .collect()
    };
    let (old, new) = (of(old), of(now));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differs = |name: &&String| old.get(*name) != new.get(*name);
    let told = |name: &String| Difference {
        subject: Subject::File,
        name: shown(name),
        change: match (old.get(name), new.get(name)) {
            (None, _) => Change::Added,
            (_, None) => Change::Removed,
            (Some(old), Some(new)) => digest(old, new),
        },
    };
    names.into_iter().filter(differs).map(told).collect()
}

/// As [`Pin::compare_files`] of what was pinned, and entry by entry where `kept` holds the entries as they
/// were then.
pub fn file_by_file(pinned: &[Tree], now: &[Measured], kept: &[Measured]) -> Vec<Difference> {
    let whole: Vec<Tree> = now.iter().map(Measured::tree).collect();
    let mut all = Vec::new();
    for difference in files(pinned, &whole) {
        let same = |tree: &&Measured| shown(&tree.path.to_string_lossy()) == difference.name;
        let old = kept.iter().find(same);
        let old = old.filter(|old| pinned.contains(&old.tree()));
        match (old, now.iter().find(same)) {
            (Some(old), Some(new)) => all.append(&mut trees(old, new)),
            _ => all.push(difference),
        }
    }
    all
}

/// A difference of something that has nothing but a name.
pub fn named(subject: Subject, name: &str, change: Change) -> Difference {
    Difference {
        subject,
        name: shown(name),
        change,
    }
}

/// A pinned path that has another digest now, where its entries were not kept.
pub fn digest_of_file(old: &Tree, new: &Tree) -> Difference {
    Difference {
        subject: Subject::File,
        name: shown(&old.path.to_string_lossy()),
        change: digest(&old.sha256, &new.sha256),
    }
}

/// Something pinned that somebody else may change: `why` says who.
pub fn lent(path: &Path, why: &str) -> Difference {
    Difference {
        subject: Subject::File,
        name: shown(&path.to_string_lossy()),
        change: Change::Changed(vec![Member {
            path: "owner".into(),
            old: None,
            new: Some(why.into()),
        }]),
    }
}

fn digest(old: &str, new: &str) -> Change {
    Change::Changed(vec![Member {
        path: "digest".into(),
        old: Some(old.into()),
        new: Some(new.into()),
    }])
}

/// Entry by entry, what differs between two measurings of one path.
pub fn trees(old: &Measured, new: &Measured) -> Vec<Difference> {
    let names: BTreeSet<&String> = old.entries.keys().chain(new.entries.keys()).collect();
    let mut differences = Vec::new();
    for name in names {
        let change = match (old.entries.get(name), new.entries.get(name)) {
            (None, Some(_)) => Change::Added,
            (Some(_), None) => Change::Removed,
            (Some(then), Some(now)) => {
                let mut members = Vec::new();
                let mut tell = |path: &str, old: &str, new: &str| {
                    if old != new {
                        members.push(Member {
                            path: path.into(),
                            old: Some(shown(old)),
                            new: Some(shown(new)),
                        });
                    }
                };
                let (was, is) = (parts(&then.content), parts(&now.content));
                tell("kind", was.0, is.0);
                if was.0 == is.0 {
                    tell(was.1, was.2, is.2);
                }
                let mode = |mode: u32| format!("{mode:04o}");
                tell("mode", &mode(then.mode), &mode(now.mode));
                if members.is_empty() {
                    continue;
                }
                Change::Changed(members)
            }
            (None, None) => continue,
        };
        let path = match name.is_empty() {
            true => new.path.clone(),
            false => new.path.join(name),
        };
        differences.push(Difference {
            subject: Subject::File,
            name: shown(&path.to_string_lossy()),
            change,
        });
    }
    differences
}

fn parts(content: &Content) -> (&'static str, &'static str, &str) {
    match content {
        Content::Directory => ("directory", "", ""),
        Content::File(sha256) => ("file", "content", sha256),
        Content::Link(target) => ("link", "target", target),
    }
}

fn digests(raw: &BTreeMap<String, Box<RawValue>>) -> BTreeMap<String, String> {
    let digest = |raw: &RawValue| read(raw).and_then(|value| of_value(&value));
    raw.iter()
        .map(|(name, raw)| (name.clone(), digest(raw).unwrap_or_default()))
        .collect()
}

fn listings(
    subject: Subject,
    raw: &BTreeMap<String, Box<RawValue>>,
    digests: &BTreeMap<String, String>,
    now: &Listing,
) -> Vec<Difference> {
    let value = |raw: Option<&Box<RawValue>>| raw.and_then(|raw| read(raw).ok());
    let without_name = |raw: Option<&Box<RawValue>>| {
        let mut value = value(raw)?;
        let members = value.as_object_mut()?;
        for key in ["name", "uri", "uriTemplate"] {
            members.remove(key);
        }
        of_value(&value).ok()
    };
    let mut added: BTreeMap<Option<String>, Vec<&String>> = BTreeMap::new();
    for name in now.raw.keys().filter(|name| !digests.contains_key(*name)) {
        let same = without_name(now.raw.get(name));
        added.entry(same).or_default().push(name);
    }
    let mut differences = Vec::new();
    let mut tell = |name: &str, change| {
        differences.push(Difference {
            subject,
            name: shown(name),
            change,
        });
    };
    for (name, digest) in digests {
        match now.digests.get(name) {
            Some(same) if same == digest => {}
            Some(_) => {
                let mut members = Vec::new();
                let (old, new) = (value(raw.get(name)), value(now.raw.get(name)));
                differ(old.as_ref(), new.as_ref(), "", &mut members);
                tell(name, Change::Changed(members));
            }
            None => {
                let same = without_name(raw.get(name));
                let renamed = same.is_some().then(|| added.get_mut(&same)?.pop());
                match renamed.flatten() {
                    Some(to) => tell(name, Change::Renamed(shown(to))),
                    None => tell(name, Change::Removed),
                }
            }
        }
    }
    let mut left: Vec<&String> = added.into_values().flatten().collect();
    left.sort();
    left.into_iter().for_each(|name| tell(name, Change::Added));
    differences
}

/// Every place where two values differ, as deep as both are objects, or arrays of one length.
fn differ(old: Option<&Value>, new: Option<&Value>, path: &str, members: &mut Vec<Member>) {
    if old == new || members.len() >= MEMBERS_MAX {
        return;
    }
    match (old, new) {
        (Some(Value::Object(then)), Some(Value::Object(now))) => {
            let names: BTreeSet<&String> = then.keys().chain(now.keys()).collect();
            for name in names {
                let part = name.replace('~', "~0").replace('/', "~1");
                let below = format!("{path}/{part}");
                differ(then.get(name), now.get(name), &below, members);
            }
        }
        (Some(Value::Array(then)), Some(Value::Array(now))) if then.len() == now.len() => {
            for (place, (old, new)) in then.iter().zip(now).enumerate() {
                differ(Some(old), Some(new), &format!("{path}/{place}"), members);
            }
        }
        _ => {
            let told = |value: Option<&Value>| value.map(|value| shown(&value.to_string()));
            members.push(Member {
                path: shown(if path.is_empty() { "/" } else { path }),
                old: told(old),
                new: told(new),
            });
        }
    }
}

fn shown(text: &str) -> String {
    Escaped::cut(text, VALUE_SHOWN).to_string()
}

#[cfg(test)]
mod tests;
