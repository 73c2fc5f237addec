//! The scripts of a skill, and what a call of one runs.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::LISTED_MAX;
use super::{Skill, raw};
use crate::error::{Context, Error, Kind, Result};
use crate::wire::text::escaped;

/// Arguments of one call, and the longest of them in bytes.
const ARGUMENTS_MAX: usize = 64;
const ARGUMENT_MAX: usize = 4_096;
/// Longest standard input of one call, in bytes.
const INPUT_MAX: usize = 256 << 10;

/// One script of a skill: a tool that runs in a jail of its own for each call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// Its path from the skill's folder on.
    pub script: PathBuf,
    /// What runs it: absolute path of a program, and arguments before the script. Nothing where the
    /// script runs by itself.
    pub with: Vec<String>,
    /// What it does, for agents.
    pub about: Option<String>,
}

impl Skill {
    /// The scripts of its folder that may run: those beneath `scripts/` for which there is an
    /// interpreter, or that run by themselves, and that [`Skill::allowed`] does not exclude.
    ///
    /// # Errors
    /// Fails where the folder cannot be read, or two scripts have the same name.
    pub fn scripts(&self, folder: &Path) -> Result<BTreeMap<String, Script>> {
        let mut scripts = BTreeMap::new();
        let mut found = Vec::new();
        walk(folder, Path::new("scripts"), 0, &mut found)?;
        found.sort();
        for path in found {
            let Some(with) = interpreter(&folder.join(&path)) else {
                continue;
            };
            if !self.allows(&path) {
                continue;
            }
            let name = tool_name(&path);
            let script = Script {
                script: path,
                with,
                about: None,
            };
            if scripts.insert(name.clone(), script).is_some() {
                return Err(Error::of(
                    Kind::Usage,
                    format!("two scripts of the skill would be the tool `{name}`"),
                )
                .hint("rename one of them"));
            }
        }
        Ok(scripts)
    }

    /// Whether it says that it runs this script, or says nothing of what it uses.
    pub fn allows(&self, script: &Path) -> bool {
        let Some(allowed) = &self.allowed else {
            return true;
        };
        let path = script.to_string_lossy();
        allowed.iter().any(|word| {
            if word == "Bash" {
                return true;
            }
            let inner = word
                .strip_prefix("Bash(")
                .and_then(|rest| rest.strip_suffix(')'));
            // `Bash(*)`, `Bash(python scripts/fill.py:*)`
            inner.is_some_and(|inner| {
                inner == "*"
                    || inner
                        .trim_end_matches(":*")
                        .split_ascii_whitespace()
                        .any(|part| part.trim_start_matches("./") == path)
            })
        })
    }
}

/// The tools that scripts are, as `tools/list` would show them.
///
/// # Errors
/// Fails where serialisation does.
pub fn tools(folder: &Path, scripts: &BTreeMap<String, Script>) -> Result<Vec<Box<RawValue>>> {
    let skill = Skill::load(folder)?;
    let tool = |(name, script): (&String, &Script)| {
        let path = script.script.to_string_lossy();
        let about = script
            .about
            .clone()
            .unwrap_or_else(|| format!("Run the script `{path}` of the skill `{}`.", skill.name));
        raw(&json!({
            "name": name,
            "title": path,
            "description": about,
            "inputSchema": {
                "type": "object",
                "properties": {
                    "arguments": {
                        "type": "array",
                        "items": {"type": "string", "maxLength": ARGUMENT_MAX},
                        "maxItems": ARGUMENTS_MAX,
                        "description": "Arguments of the script.",
                    },
                    "input": {
                        "type": "string",
                        "maxLength": INPUT_MAX,
                        "description": "Standard input of the script.",
                    },
                },
                "additionalProperties": false,
            },
        }))
    };
    scripts.iter().map(tool).collect()
}

/// One run of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Absolute path of the program, as the jail sees it.
    pub program: PathBuf,
    /// Its name and arguments.
    pub argv: Vec<String>,
    /// Its standard input.
    pub input: Vec<u8>,
}

/// What a call with `arguments` runs.
///
/// # Errors
/// Says which argument does not fit; a call was checked against the tool's schema before.
pub fn order(folder: &Path, script: &Script, arguments: &Value) -> Result<Order> {
    let wrong = |what: &str| Error::of(Kind::Usage, what.to_owned());
    let path = folder.join(&script.script).to_string_lossy().into_owned();
    let mut argv = script.with.clone();
    let program = match argv.first() {
        Some(program) => PathBuf::from(program),
        None => PathBuf::from(&path),
    };
    argv.push(path);
    let more = match arguments.get("arguments") {
        None => Vec::new(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| wrong("`arguments` holds something else than texts"))?,
        Some(_) => return Err(wrong("`arguments` is no list")),
    };
    if more.len() > ARGUMENTS_MAX || more.iter().any(|one| one.len() > ARGUMENT_MAX * 4) {
        return Err(wrong("`arguments` are too many or too long"));
    }
    if more.iter().any(|one| one.contains('\0')) {
        return Err(wrong("`arguments` hold a NUL"));
    }
    argv.extend(more);
    let input = match arguments.get("input") {
        None => Vec::new(),
        Some(Value::String(text)) => text.clone().into_bytes(),
        Some(_) => return Err(wrong("`input` is no text")),
    };
    Ok(Order {
        program,
        argv,
        input,
    })
}

/// Files beneath `at`, from the folder on; links are passed over.
fn walk(folder: &Path, at: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let dir = folder.join(at);
    if depth > 8 || !dir.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        return Ok(());
    }
    let what = || format!("list `{}`", escaped(&dir.to_string_lossy()));
    for entry in fs::read_dir(&dir).context(what)? {
        let entry = entry.context(what)?;
        let path = at.join(entry.file_name());
        let kind = entry.file_type().context(what)?;
        if kind.is_dir() {
            walk(folder, &path, depth + 1, found)?;
        } else if kind.is_file() && path.to_str().is_some() && found.len() < LISTED_MAX {
            found.push(path);
        }
    }
    Ok(())
}

/// What runs a script; nothing where it is none.
fn interpreter(path: &Path) -> Option<Vec<String>> {
    let by = |program: &str| Some(vec![program.to_owned()]);
    match path.extension().and_then(|end| end.to_str()) {
        Some("py") => by("/usr/bin/python3"),
        Some("sh") => by("/bin/sh"),
        Some("bash") => by("/bin/bash"),
        Some("js" | "mjs" | "cjs") => by("/usr/bin/node"),
        _ => {
            let mode = path.metadata().ok()?.permissions().mode();
            let head = fs::read(path).ok()?;
            let runs =
                mode & 0o111 != 0 && (head.starts_with(b"#!/") || head.starts_with(b"\x7fELF"));
            runs.then(Vec::new)
        }
    }
}

/// `scripts/sub/fill form.py` → `sub-fill_form`.
fn tool_name(path: &Path) -> String {
    let path = path
        .strip_prefix("scripts")
        .unwrap_or(path)
        .with_extension("");
    let text = path.to_string_lossy().replace('/', "-");
    let plain = |c: char| match c.is_ascii_alphanumeric() || c == '-' {
        true => c,
        false => '_',
    };
    let name: String = text.chars().map(plain).collect();
    let name = name.trim_matches('_').replace("__", "_");
    match name.is_empty() {
        true => "script".into(),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_tools_and_allowed_tools_only_narrows() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path();
        fs::create_dir_all(folder.join("scripts/sub")).unwrap();
        for (path, text) in [
            ("scripts/fill.py", "print(1)"),
            ("scripts/sub/check it.sh", "true"),
            ("scripts/data.json", "{}"),
            ("other.py", "print(2)"),
        ] {
            fs::write(folder.join(path), text).unwrap();
        }
        std::os::unix::fs::symlink("/bin/sh", folder.join("scripts/link.sh")).unwrap();
        let skill = |allowed: &str| {
            let text = format!("---\nname: a\ndescription: d\n{allowed}---\nbody");
            fs::write(folder.join("SKILL.md"), text).unwrap();
            Skill::load(folder).unwrap().scripts(folder).unwrap()
        };
        let names = |scripts: BTreeMap<String, Script>| scripts.into_keys().collect::<Vec<_>>();
        assert_eq!(names(skill("")), ["fill", "sub-check_it"]);
        assert_eq!(
            names(skill("allowed-tools: Bash\n")),
            ["fill", "sub-check_it"]
        );
        let one = skill("allowed-tools: Read Bash(python3 ./scripts/fill.py:*)\n");
        assert_eq!(names(one.clone()), ["fill"]);
        assert!(skill("allowed-tools: Read Write\n").is_empty());

        let listed = tools(folder, &one).unwrap();
        assert!(listed[0].get().contains("\"name\":\"fill\""));
        let arguments = json!({"arguments": ["-x", "a b"], "input": "in"});
        let order = order(folder, &one["fill"], &arguments).unwrap();
        assert_eq!(order.program, Path::new("/usr/bin/python3"));
        let path = folder
            .join("scripts/fill.py")
            .to_string_lossy()
            .into_owned();
        assert_eq!(order.argv, ["/usr/bin/python3", &path, "-x", "a b"]);
        assert_eq!(order.input, b"in");
        for bad in [
            json!({"arguments": "x"}),
            json!({"arguments": [1]}),
            json!({"arguments": ["a\u{0}b"]}),
            json!({"input": 1}),
        ] {
            assert!(super::order(folder, &one["fill"], &bad).is_err(), "{bad}");
        }
    }
}
