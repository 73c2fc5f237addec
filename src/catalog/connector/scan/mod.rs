//! What vetting looks for. Each rule is a function over what was seen; none believes what a server
//! says about itself. A rule cannot prove that a connector is harmless: it finds what is known to
//! have been done, and shows a person where to look.
//!
//! | rule | finds | severity |
//! |---|---|---|
//! | `invisible-text` | invisible, bidirectional and private-use characters | high |
//! | `control-text` | ANSI sequences and other control characters | high |
//! | `hidden-markup` | HTML comments, tags that look like a system's words | high |
//! | `hidden-by-space` | text behind a long run of spaces or empty lines | high |
//! | `encoded-text` | long runs of base64 or hexadecimal | medium |
//! | `imperative-text` | orders to the model | high, medium |
//! | `asks-for-secret` | requests for keys, passwords, key files | high |
//! | `asks-for-file` | requests for files that are nobody's business | high |
//! | `takes-conversation` | parameters that want the conversation | medium |
//! | `refers-to-tool` | text about tools of others | high |
//! | `shadowed-name`, `look-alike-name` | names of others, or that look like them | high, medium |
//! | `unusable-name` | names that model APIs do not take | medium |
//! | `schema-*` | schemas that lead elsewhere, do not compile, are huge, carry keys | high to low |
//! | `outside-toolkits` | tools that a server of Composio should not have | high |
//! | `declared-too-mild`, `declared-nothing`, `undeclared`, `no-such-tool`, `no-such-parameter`, `undo-unfit`, `dry-run-unfit` | the manifest against what was listed | high to low |
//! | `jail-*` | jails that show or allow too much | high to low |
//! | `not-pinned`, `others-may-write`, `set-id`, `link-leads-out` | what is executed | high, medium |
//! | `changed-since-import`, `not-as-published`, `of-no-package`, `no-published-digest`, `wanted-a-script`, `unpinned` | packages | high to low |
//! | `no-interpreter`, `left-out`, `not-served` | what of a skill is not offered | medium, low |
//! | `unstable-listing` | a server that lists something else the second time | high |
//! | `asks-clients`, `instructions`, `degraded` | worth knowing | medium, low |

mod declared;
mod jail;
mod names;
mod packages;
mod schema;
mod skills;
mod text;
mod trees;

use std::collections::BTreeMap;

use serde_json::Value;

use super::digest::Listing;
use super::installed::Installed;
use super::report::{Finding, Severity};
use super::skill::Looked;
use super::tree::Measured;
use super::{Connector, digest};
use crate::wire::text::{Escaped, escaped};

/// Most findings of one report; what is beyond is counted.
const FINDINGS_MAX: usize = 1_000;
/// Longest evidence, in characters.
const EVIDENCE: usize = 240;

/// Everything that was seen.
#[derive(Debug)]
pub struct Material<'a> {
    /// The manifest.
    pub connector: &'a Connector,
    /// Tools as the server lists them.
    pub tools: &'a Listing,
    /// Its prompts.
    pub prompts: &'a Listing,
    /// Its resources and templates.
    pub resources: &'a Listing,
    /// What it would have every model read.
    pub instructions: Option<&'a str>,
    /// What it listed when it was started again.
    pub again: Option<&'a Listing>,
    /// Tools of others by connector, Keepgate's own among them.
    pub others: &'a BTreeMap<String, Vec<String>>,
    /// What it executes.
    pub measured: &'a [Measured],
    /// What was installed.
    pub installed: Option<&'a Installed>,
    /// All of it, where it is a skill.
    pub skill: Option<&'a Looked>,
    /// Protections its jail lacked while it was vetted.
    pub degraded: &'a [String],
}

/// All findings, worst first.
pub fn scan(material: &Material<'_>) -> Vec<Finding> {
    let mut found = Found::default();
    let listings = [
        ("tool", material.tools),
        ("prompt", material.prompts),
        ("resource", material.resources),
    ];
    for (what, listing) in listings {
        for (name, raw) in &listing.raw {
            let value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
            let subject = Subject {
                what,
                name,
                id: plain(name),
            };
            text::object(&subject, &value, material, &mut found);
            if what == "tool" {
                schema::tool(&subject, &value, &mut found);
                declared::tool(&subject, &value, material, &mut found);
                names::tool(&subject, material, &mut found);
            }
        }
    }
    if let Some(instructions) = material.instructions {
        let subject = Subject {
            what: "server",
            name: "instructions",
            id: "instructions".into(),
        };
        let value = Value::String(instructions.into());
        text::object(&subject, &value, material, &mut found);
        found.add(
            "instructions",
            &subject,
            Severity::Low,
            "",
            "the server has instructions for every model that uses it",
            Some(instructions),
            "agents that ask for them get them as data from outside",
        );
    }
    if let Some(skill) = material.skill {
        skills::scan(skill, material, &mut found);
    }
    names::connector(material, &mut found);
    declared::connector(material, &mut found);
    jail::scan(material, &mut found);
    trees::scan(material, &mut found);
    packages::scan(material, &mut found);
    stable(material, &mut found);
    found.into_sorted()
}

fn stable(material: &Material<'_>, found: &mut Found) {
    let whole = Subject::whole();
    if let Some(again) = material.again
        && again.sha256() != material.tools.sha256()
    {
        found.add(
            "unstable-listing",
            &whole,
            Severity::High,
            "",
            "the server listed other tools when it was started a second time",
            None,
            "what changes by itself cannot be pinned: ask the publisher, or take a fixed version",
        );
    }
    if !material.degraded.is_empty() {
        found.add(
            "degraded",
            &whole,
            Severity::Low,
            "",
            "its jail lacked a protection while it was vetted",
            Some(&material.degraded.join(", ")),
            "`keepgate doctor` says what mends it",
        );
    }
}

/// What a finding is about.
#[derive(Debug)]
struct Subject<'a> {
    what: &'static str,
    name: &'a str,
    id: String,
}

impl Subject<'_> {
    /// The connector as a whole.
    fn whole() -> Self {
        Self {
            what: "connector",
            name: "",
            id: "connector".into(),
        }
    }
}

/// A name as a part of an identifier: plain ASCII, told apart by a digest where it is not.
fn plain(name: &str) -> String {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !name.is_empty() && name.len() <= 64 && name.bytes().all(good) {
        return name.into();
    }
    let mut kept: String = name
        .chars()
        .filter(|c| c.is_ascii_alphanumeric())
        .take(16)
        .collect();
    let digest = digest::sha256(name.as_bytes());
    kept.push('~');
    kept.extend(digest.chars().take(8));
    kept
}

/// Findings by their identifiers: one rule speaks of one subject once.
#[derive(Debug, Default)]
struct Found {
    all: BTreeMap<String, (Finding, usize)>,
    beyond: usize,
}

impl Found {
    #[expect(
        clippy::too_many_arguments,
        reason = "a finding has that many parts, and every rule says all of them"
    )]
    fn add(
        &mut self,
        rule: &str,
        subject: &Subject<'_>,
        severity: Severity,
        at: &str,
        what: &str,
        evidence: Option<&str>,
        hint: &str,
    ) {
        let id = format!("{rule}@{}", subject.id);
        if let Some((finding, more)) = self.all.get_mut(&id) {
            *more += 1;
            finding.severity = finding.severity.max(severity);
            return;
        }
        if self.all.len() >= FINDINGS_MAX {
            self.beyond += 1;
            return;
        }
        let mut place = subject.what.to_owned();
        if !subject.name.is_empty() {
            place = format!("{place} `{}`", Escaped::cut(subject.name, 80));
        }
        if !at.is_empty() {
            place = format!("{place}, {}", Escaped::cut(at, 120));
        }
        let finding = Finding {
            id: id.clone(),
            severity,
            place,
            what: escaped(what),
            evidence: evidence.map(|text| Escaped::cut(text, EVIDENCE).to_string()),
            hint: hint.into(),
        };
        self.all.insert(id, (finding, 0));
    }

    fn into_sorted(self) -> Vec<Finding> {
        let mut all: Vec<Finding> = self
            .all
            .into_values()
            .map(|(mut finding, more)| {
                if more > 0 {
                    finding.what = format!("{}; {more} more of this kind", finding.what);
                }
                finding
            })
            .collect();
        if self.beyond > 0 {
            all.push(Finding {
                id: "too-many@connector".into(),
                severity: Severity::High,
                place: "connector".into(),
                what: format!("{} findings more, which are not listed", self.beyond),
                evidence: None,
                hint: "do not use it".into(),
            });
        }
        all.sort_by(|one, other| {
            let worst = other.severity.cmp(&one.severity);
            worst.then_with(|| one.id.cmp(&other.id))
        });
        all
    }
}

/// Every text in a value, with its place as a JSON pointer; keys too.
fn texts(value: &Value, at: &str, each: &mut impl FnMut(&str, &str)) {
    match value {
        Value::String(text) => each(at, text),
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                texts(item, &format!("{at}/{place}"), each);
            }
        }
        Value::Object(members) => {
            for (name, value) in members {
                let below = format!("{at}/{name}");
                each(&below, name);
                texts(value, &below, each);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests;
