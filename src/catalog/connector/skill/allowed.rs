//! `allowed-tools`: which of a skill's own scripts are offered. It only takes away. What it names
//! beside them, tools of whoever runs agents, is not a skill's to give.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::{Script, Skill};

impl Skill {
    /// Whether it says that it runs this script, or says nothing of what it uses.
    pub fn allows(&self, script: &Script) -> bool {
        let Some(allowed) = &self.allowed else {
            return true;
        };
        allowed.iter().any(|word| names(word, script))
    }

    /// What `allowed-tools` comes to among these scripts.
    pub fn narrowing(&self, scripts: &BTreeMap<String, Script>) -> Narrowing {
        let (mut offered, mut left_out) = (Vec::new(), Vec::new());
        for (name, script) in scripts {
            match self.allows(script) {
                true => offered.push(name.clone()),
                false => left_out.push(name.clone()),
            }
        }
        let says = self.allowed.clone();
        let gives_nothing = |word: &&String| !scripts.values().any(|script| names(word, script));
        let without_effect = says.iter().flatten().filter(gives_nothing).cloned();
        Narrowing {
            offered,
            left_out,
            without_effect: without_effect.collect(),
            says,
        }
    }
}

/// What `allowed-tools` comes to: it takes scripts away, and gives nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Narrowing {
    /// Its words; nothing where there is none, and every script is offered.
    pub says: Option<Vec<String>>,
    /// Tools of scripts that are offered.
    pub offered: Vec<String>,
    /// Those that are not, because no word names them.
    pub left_out: Vec<String>,
    /// Words that name no script of it: tools of others are not a skill's to give.
    pub without_effect: Vec<String>,
}

/// Whether a word of `allowed-tools` names this script: `Bash`, `Bash(*)`, or `Bash(COMMAND)` with the
/// script in the command or, behind a star, with a command that would run it.
fn names(word: &str, script: &Script) -> bool {
    if word == "Bash" {
        return true;
    }
    let command = word
        .strip_prefix("Bash(")
        .and_then(|rest| rest.strip_suffix(')'));
    let Some(command) = command.map(str::trim) else {
        return false;
    };
    let path = script.script.to_string_lossy();
    let start = command.strip_suffix('*');
    let text = start
        .map(|text| text.strip_suffix(':').unwrap_or(text))
        .unwrap_or(command)
        .trim();
    let part = |part: &str| part.trim_start_matches("./") == path;
    text.split_ascii_whitespace().any(part)
        || start.is_some() && commands(&path, script).any(|one| one.starts_with(text))
}

/// How somebody at a shell would run a script.
fn commands(path: &str, script: &Script) -> impl Iterator<Item = String> {
    let program = script.with.first().and_then(|program| {
        let name = Path::new(program).file_name()?;
        Some(name.to_string_lossy().into_owned())
    });
    let short = program
        .as_deref()
        .map(|name| name.trim_end_matches(|end: char| end.is_ascii_digit() || end == '.'));
    let programs = [program.clone(), short.map(str::to_owned)];
    let with = programs.into_iter().flatten().map(|name| name + " ");
    let all = with.chain([String::new()]);
    let path = path.to_owned();
    all.flat_map(move |program| [format!("{program}{path}"), format!("{program}./{path}")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_names_the_scripts_that_its_command_would_run() {
        let script = |path: &str, with: &str| Script {
            script: path.into(),
            with: vec![with.into()],
            about: None,
        };
        let fill = script("scripts/fill.py", "/usr/bin/python3");
        let check = script("scripts/check.sh", "/bin/bash");
        for (word, of_fill, of_check) in [
            ("Bash", true, true),
            ("Bash(*)", true, true),
            ("Bash(:*)", true, true),
            ("Bash(python3 scripts/fill.py)", true, false),
            ("Bash(python scripts/fill.py:*)", true, false),
            ("Bash(python:*)", true, false),
            ("Bash(python3 *)", true, false),
            ("Bash(bash:*)", false, true),
            ("Bash(./scripts/*)", true, true),
            ("Bash(scripts/c*)", false, true),
            ("Bash(python3)", false, false),
            ("Bash(rm:*)", false, false),
            ("Bash()", false, false),
            ("bash", false, false),
            ("Python(*)", false, false),
            ("*", false, false),
        ] {
            assert_eq!(names(word, &fill), of_fill, "{word}");
            assert_eq!(names(word, &check), of_check, "{word}");
        }
    }
}
