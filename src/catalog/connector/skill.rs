//! Claude Skills: a folder with instructions (`SKILL.md`) and scripts.
//!
//! What becomes of one: each script beneath `scripts/` is a tool that runs in a jail of its own for
//! each call ([`order`]), the folder read-only. The instructions are served as a prompt
//! ([`Skill::prompt`]), and with the texts beside them as resources ([`resources`]), that an agent, or
//! the person before it, has to ask for: nothing of a skill is put before a model by itself.
//! `allowed-tools` only narrows: a skill that names what it uses, and no way to run a script among it,
//! gets no script run; what else it names is given by nobody.

mod allowed;
mod front;
mod interpreter;
pub mod resources;
mod scripts;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::error::{Context, Error, Kind, Result};
use crate::wire::manifest::Manifest;
use crate::wire::text::{Escaped, escaped};

pub use allowed::Narrowing;
use resources::Resources;
use scripts::{DEPTH_MAX, walk};
pub use scripts::{Lack, Order, Script, Unfit, lacks, order, tools};

/// Longest `SKILL.md`, in bytes.
pub const FILE_MAX: u64 = 1 << 20;
/// Longest description (Agent Skills, `description`), in characters.
const DESCRIPTION_MAX: usize = 1_024;
/// Longest name, in bytes.
const NAME_MAX: usize = 64;

/// What a `SKILL.md` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skill {
    /// Its name: a-z, 0-9 and `-`.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Its version, where `metadata` has one.
    pub version: Option<String>,
    /// What it says it uses; nothing said means anything.
    pub allowed: Option<Vec<String>>,
    /// The instructions, as they are.
    pub body: String,
}

impl Skill {
    /// Reads the `SKILL.md` of a folder.
    ///
    /// # Errors
    /// Fails where there is none, and as [`Skill::parse`].
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join("SKILL.md");
        let shown = escaped(&path.to_string_lossy());
        let usage = |error: Error| {
            error
                .kind_is(Kind::Usage)
                .hint("a skill is a folder with a `SKILL.md`")
        };
        let meta = path
            .symlink_metadata()
            .context(|| format!("find `{shown}`"))
            .map_err(usage)?;
        if !meta.is_file() || meta.len() > FILE_MAX {
            let what = format!("`{shown}` is no file of at most {FILE_MAX} bytes");
            return Err(usage(Error::new(what)));
        }
        let bytes = fs::read(&path).context(|| format!("read `{shown}`"))?;
        Self::parse(&bytes, &shown)
    }

    /// Reads the bytes of a `SKILL.md`; what a fuzzer calls.
    ///
    /// # Errors
    /// Kind usage with file, line, what is wrong and a hint.
    pub fn parse(bytes: &[u8], file: &str) -> Result<Self> {
        let wrong = |what: String| {
            Error::of(Kind::Usage, format!("`{file}`: {what}"))
                .hint("it begins with `---`, `name: …`, `description: …`, `---`")
        };
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_MAX {
            return Err(wrong(format!("longer than {FILE_MAX} bytes")));
        }
        let text = str::from_utf8(bytes)
            .map_err(|at| wrong(format!("not UTF-8 text (byte {})", at.valid_up_to())))?;
        let (members, body) = front::read(text).map_err(wrong)?;
        let get = |name: &str| members.get(name).map(String::as_str);
        let name = get("name").unwrap_or_default();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(plain) {
            let shown = Escaped::cut(name, 80);
            return Err(wrong(format!(
                "`{shown}` is no name of a skill: 1 to {NAME_MAX} of a-z, 0-9 and `-`"
            )));
        }
        let description = get("description").unwrap_or_default();
        if description.is_empty() || description.chars().count() > DESCRIPTION_MAX {
            return Err(wrong(format!(
                "its description is missing or longer than {DESCRIPTION_MAX} characters"
            )));
        }
        Ok(Self {
            name: name.into(),
            description: description.into(),
            version: get("metadata.version")
                .filter(|version| !version.is_empty() && !version.chars().any(char::is_control))
                .map(str::to_owned),
            allowed: get("allowed-tools").map(words),
            body: body.into(),
        })
    }

    /// The prompt that serves its instructions: the entry of `prompts/list`.
    ///
    /// # Errors
    /// Fails where serialisation does.
    pub fn prompt(&self) -> Result<Box<RawValue>> {
        raw(&json!({
            "name": self.name,
            "title": self.name,
            "description": self.description,
        }))
    }
}

/// A skill as it was found in its folder, beside what a manifest says of it.
#[derive(Debug)]
pub struct Looked {
    /// Its instructions.
    pub skill: Skill,
    /// What of it can be read.
    pub resources: Resources,
    /// Scripts that nothing runs.
    pub lacks: Vec<Lack>,
    /// What `allowed-tools` comes to.
    pub narrowing: Narrowing,
}

impl Looked {
    /// Looks at the skill of the connector `connector`.
    ///
    /// # Errors
    /// As [`Skill::load`] and [`resources::served`].
    pub fn at(
        connector: &str,
        folder: &Path,
        scripts: &BTreeMap<String, Script>,
        jail: &Manifest,
    ) -> Result<Self> {
        let skill = Skill::load(folder)?;
        Ok(Self {
            narrowing: skill.narrowing(scripts),
            resources: resources::served(connector, folder)?,
            lacks: lacks(folder, scripts, jail),
            skill,
        })
    }
}

fn raw(value: &Value) -> Result<Box<RawValue>> {
    serde_json::value::to_raw_value(value).context(|| "write a listing".into())
}

/// The words of `allowed-tools`: separated by spaces or commas, parentheses kept together.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut depth) = (String::new(), 0_u32);
    for character in text.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (character.is_whitespace() || character == ',') {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else {
            word.push(character);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "---\nname: pdf-forms\ndescription: >\n  Fill forms\n  in PDF files.\nlicense: \"MIT\"\nallowed-tools: Read, Bash(python scripts/fill.py:*) Write\nmetadata:\n  version: 1.2\n  author: somebody\n---\n# Forms\nText.\n";

    #[test]
    fn a_skill_is_read() {
        let skill = Skill::parse(TEXT.as_bytes(), "SKILL.md").unwrap();
        assert_eq!(skill.name, "pdf-forms");
        assert_eq!(skill.description, "Fill forms in PDF files.");
        assert_eq!(skill.version.as_deref(), Some("1.2"));
        assert_eq!(skill.body, "# Forms\nText.\n");
        let allowed = ["Read", "Bash(python scripts/fill.py:*)", "Write"];
        assert_eq!(skill.allowed.as_deref().unwrap(), allowed);
    }

    #[test]
    fn what_is_no_skill_says_why() {
        for (text, why) in [
            ("", "`---`"),
            ("---\nname: a\n", "`---`"),
            ("---\nname: A\ndescription: d\n---\n", "no name of a skill"),
            ("---\nname: a\n---\n", "description is missing"),
            ("---\nname: a\nname: b\ndescription: d\n---\n", "line 3"),
            ("---\nname: [a\ndescription: d\n---\n", "line 2"),
            ("---\nname: &x a\ndescription: d\n---\n", "line 2"),
            ("---\nname: a\ndescription: \"d\n---\n", "line 3"),
        ] {
            let error = Skill::parse(text.as_bytes(), "SKILL.md").unwrap_err();
            assert!(error.message().contains(why), "{text:?}: {error}");
        }
    }
}
