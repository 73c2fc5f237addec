//! The scripts of a skill, and what a call of one runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::super::LISTED_MAX;
use super::{Skill, interpreter, raw};
use crate::error::{Context, Error, Kind, Result};
use crate::wire::manifest::Manifest;
use crate::wire::text::escaped;

/// Arguments of one call, and the longest of them in characters.
const ARGUMENTS_MAX: usize = 64;
const ARGUMENT_MAX: usize = 4_096;
/// Longest arguments together, the program's own among them, as JSON: a frame holds 64 KiB.
const WRITTEN_MAX: usize = 48 << 10;
/// Longest standard input of one call, in characters; a call's arguments are not longer together.
const INPUT_MAX: usize = 1 << 20;
/// Directories inside each other, and files, that are looked at.
pub(super) const DEPTH_MAX: usize = 8;
const FOUND_MAX: usize = 4 * LISTED_MAX;

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
    /// The scripts of its folder that may run: those of [`Skill::every_script`] that
    /// [`Skill::allowed`] does not exclude.
    ///
    /// # Errors
    /// As there.
    pub fn scripts(&self, folder: &Path) -> Result<BTreeMap<String, Script>> {
        let mut scripts = self.every_script(folder)?;
        scripts.retain(|_, script| self.allows(script));
        Ok(scripts)
    }

    /// The scripts of its folder: what lies beneath `scripts/` and says what runs it, by its first
    /// line or its name's end. Two that differ in that end alone have it in their tools' names.
    ///
    /// # Errors
    /// Fails where the folder cannot be read, or two scripts have the same name.
    pub fn every_script(&self, folder: &Path) -> Result<BTreeMap<String, Script>> {
        let mut found = Vec::new();
        walk(folder, Path::new("scripts"), 0, &mut found)?;
        // It makes a package of Python, and is run by nobody.
        found.retain(|path| path.file_name().is_none_or(|name| name != "__init__.py"));
        found.sort();
        let with = |path: PathBuf| {
            let with = interpreter::of(&folder.join(&path))?;
            Some((path, with))
        };
        let found: Vec<(PathBuf, Vec<String>)> = found.into_iter().filter_map(with).collect();
        let mut short: BTreeMap<String, usize> = BTreeMap::new();
        for (path, _) in &found {
            *short
                .entry(tool_name(&path.with_extension("")))
                .or_default() += 1;
        }
        let mut scripts = BTreeMap::new();
        for (path, with) in found {
            let name = tool_name(&path.with_extension(""));
            let name = match short.get(&name) {
                Some(1) => name,
                _ => tool_name(&path),
            };
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
}

/// The tools that scripts are, as `tools/list` shows them: those of the manifest that `allowed-tools`
/// does not leave out.
///
/// # Errors
/// Fails where there is no skill any more, or serialisation does.
pub fn tools(folder: &Path, scripts: &BTreeMap<String, Script>) -> Result<Vec<Box<RawValue>>> {
    let skill = Skill::load(folder)?;
    let offered = scripts.iter().filter(|(_, script)| skill.allows(script));
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
                    "args": {
                        "type": "array",
                        "items": {"type": "string", "maxLength": ARGUMENT_MAX},
                        "maxItems": ARGUMENTS_MAX,
                        "description": "Arguments of the script, each as it is: no shell reads them.",
                    },
                    "stdin": {
                        "type": "string",
                        "maxLength": INPUT_MAX,
                        "description": "Standard input of the script.",
                    },
                },
                "additionalProperties": false,
            },
            "outputSchema": {
                "type": "object",
                "properties": {
                    "exitCode": {
                        "type": "integer",
                        "description": "Exit status; 128 and its number where a signal ended it.",
                    },
                    "ended": {
                        "type": "string",
                        "description": "What ended it: `exit`, `signal`, or the limit it met.",
                    },
                    "stdout": {"type": "string"},
                    "stderr": {"type": "string"},
                    "truncated": {
                        "type": "boolean",
                        "description": "It wrote more than is here.",
                    },
                },
                "required": ["exitCode", "ended", "stdout", "stderr", "truncated"],
                "additionalProperties": false,
            },
        }))
    };
    offered.map(tool).collect()
}

/// Scripts that nothing can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// Its tool.
    pub tool: String,
    /// Why.
    pub why: String,
}

/// The scripts that such a jail has no program for, or that are no files of the folder.
pub fn lacks(folder: &Path, scripts: &BTreeMap<String, Script>, jail: &Manifest) -> Vec<Lack> {
    let one = |(tool, script): (&String, &Script)| {
        let path = folder.join(&script.script);
        let why = match path.symlink_metadata() {
            Ok(meta) if meta.is_file() => interpreter::lacking(jail, &script.with, &path)?,
            Ok(_) => "the script is no file".into(),
            Err(_) => "there is no such script in the folder".into(),
        };
        Some(Lack {
            tool: tool.clone(),
            why,
        })
    };
    scripts.iter().filter_map(one).collect()
}

/// One run of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Absolute path of the program, as the jail sees it.
    pub program: String,
    /// Its name and arguments.
    pub argv: Vec<String>,
    /// Its standard input.
    pub input: Vec<u8>,
}

/// What a call with `arguments` runs. The script's own path comes before them, so that none of them
/// is read as an option of what runs it.
///
/// # Errors
/// Says which argument does not fit; a call was checked against the tool's schema before.
pub fn order(
    folder: &Path,
    script: &Script,
    arguments: &Map<String, Value>,
) -> Result<Order, Unfit> {
    let path = folder.join(&script.script).to_string_lossy().into_owned();
    let mut argv = script.with.clone();
    let program = argv.first().cloned().unwrap_or_else(|| path.clone());
    argv.push(path);
    let more = match arguments.get("args") {
        None => Vec::new(),
        Some(Value::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
            .ok_or(Unfit::args("`args` holds something else than texts"))?,
        Some(_) => return Err(Unfit::args("`args` is no list")),
    };
    if more.len() > ARGUMENTS_MAX || more.iter().any(|one| one.chars().count() > ARGUMENT_MAX) {
        return Err(Unfit::args("there are too many, or one is too long"));
    }
    if more.iter().any(|one| one.contains('\0')) {
        return Err(Unfit::args("one holds a NUL, which ends an argument"));
    }
    argv.extend(more);
    // They travel in one frame, written as JSON.
    if Value::from(argv.clone()).to_string().len() > WRITTEN_MAX {
        let say = "they are too long together: give the script its input as `stdin`";
        return Err(Unfit::args(say));
    }
    let input = match arguments.get("stdin") {
        None => Vec::new(),
        Some(Value::String(text)) => text.clone().into_bytes(),
        Some(_) => return Err(Unfit::stdin("`stdin` is no text")),
    };
    Ok(Order {
        program,
        argv,
        input,
    })
}

/// An argument that no script can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit {
    /// Which.
    pub argument: &'static str,
    /// What is wrong with it.
    pub say: &'static str,
}

impl Unfit {
    fn args(say: &'static str) -> Self {
        let argument = "args";
        Self { argument, say }
    }

    fn stdin(say: &'static str) -> Self {
        let argument = "stdin";
        Self { argument, say }
    }
}

/// Files beneath `at`, from the folder on; links are passed over.
pub(super) fn walk(folder: &Path, at: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    let dir = folder.join(at);
    if depth > DEPTH_MAX || !dir.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        return Ok(());
    }
    let what = || format!("list `{}`", escaped(&dir.to_string_lossy()));
    for entry in fs::read_dir(&dir).context(what)? {
        let entry = entry.context(what)?;
        let path = at.join(entry.file_name());
        let kind = entry.file_type().context(what)?;
        if kind.is_dir() {
            walk(folder, &path, depth + 1, found)?;
        } else if kind.is_file() && path.to_str().is_some() && found.len() < FOUND_MAX {
            found.push(path);
        }
    }
    Ok(())
}

/// `scripts/sub/fill form` → `sub-fill_form`.
fn tool_name(path: &Path) -> String {
    let path = path.strip_prefix("scripts").unwrap_or(path);
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
            ("scripts/__init__.py", ""),
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
        fs::write(folder.join("scripts/fill.sh"), "true").unwrap();
        assert_eq!(names(skill("")), ["fill_py", "fill_sh", "sub-check_it"]);
        fs::remove_file(folder.join("scripts/fill.sh")).unwrap();
        let one = skill("allowed-tools: Read Bash(python3 ./scripts/fill.py:*)\n");
        assert_eq!(names(one.clone()), ["fill"]);
        assert!(skill("allowed-tools: Read Write\n").is_empty());

        skill("");
        let listed = tools(folder, &one).unwrap();
        assert!(listed[0].get().contains("\"name\":\"fill\""));
        // A manifest that names another script does not give it.
        let every = Skill::load(folder).unwrap().scripts(folder).unwrap();
        skill("allowed-tools: Read Bash(./scripts/fill.py *)\n");
        assert_eq!(tools(folder, &every).unwrap().len(), 1);
        let narrowed = Skill::load(folder).unwrap().narrowing(&every);
        assert_eq!(narrowed.offered, ["fill"]);
        assert_eq!(narrowed.left_out, ["sub-check_it"]);
        assert_eq!(narrowed.without_effect, ["Read"]);
    }

    #[test]
    fn arguments_stay_what_they_are_and_within_bounds() {
        let script = Script {
            script: "scripts/fill.py".into(),
            with: vec!["/usr/bin/python3".into(), "-I".into()],
            about: None,
        };
        let order = |arguments: Value| {
            let arguments = arguments.as_object().unwrap();
            order(Path::new("/s"), &script, arguments)
        };
        let odd = ["--", "-x", "", "a b", "'\"`$(id)\n;", "*", "\u{1b}\u{202e}"];
        let made = order(json!({"args": odd, "stdin": "in"})).unwrap();
        assert_eq!(made.program, "/usr/bin/python3");
        let own = ["/usr/bin/python3", "-I", "/s/scripts/fill.py"];
        assert_eq!(made.argv, own.into_iter().chain(odd).collect::<Vec<_>>());
        assert_eq!(made.input, b"in");
        let alone = Script {
            with: Vec::new(),
            ..script.clone()
        };
        let made = super::order(Path::new("/s"), &alone, &Map::new()).unwrap();
        assert_eq!(made.program, "/s/scripts/fill.py");
        assert_eq!((made.argv, made.input), (vec![made.program], Vec::new()));
        let long = "x".repeat(ARGUMENT_MAX);
        assert!(order(json!({"args": vec![long.clone(); 8]})).is_ok());
        for (bad, argument) in [
            (json!({"args": "x"}), "args"),
            (json!({"args": [1]}), "args"),
            (json!({"args": ["a\u{0}b"]}), "args"),
            (json!({"args": vec!["x"; ARGUMENTS_MAX + 1]}), "args"),
            (json!({"args": [format!("{long}x")]}), "args"),
            (json!({"args": vec![long.clone(); 12]}), "args"),
            (
                json!({"args": vec!["\u{1}".repeat(ARGUMENT_MAX); 2]}),
                "args",
            ),
            (json!({"stdin": 1}), "stdin"),
        ] {
            assert_eq!(order(bad).unwrap_err().argument, argument);
        }
    }
}
