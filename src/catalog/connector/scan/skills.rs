//! What is particular to skills: texts that agents read because they were told to, and scripts that
//! something has to run.

use std::path::Path;

use super::super::Launch;
use super::super::report::Severity;
use super::super::skill::Looked;
use super::trees::SYSTEM;
use super::{Found, Material, Subject, plain, text};

pub(super) fn scan(looked: &Looked, material: &Material<'_>, found: &mut Found) {
    let skill = &looked.skill;
    let subject = Subject {
        what: "skill",
        name: &skill.name,
        id: "SKILL.md".into(),
    };
    for (at, said) in [("description", &skill.description), ("body", &skill.body)] {
        text::instructions(&subject, at, said, material, found);
    }
    for (name, said) in &looked.resources.texts {
        let subject = Subject {
            what: "file",
            name,
            id: plain(name),
        };
        text::instructions(&subject, "", said, material, found);
    }
    scripts(looked, material, found);
    let whole = Subject::whole();
    for (name, why) in &looked.resources.left_out {
        found.add(
            "not-served",
            &whole,
            Severity::Low,
            "skill.folder",
            "a file beside the instructions is not served",
            Some(&format!("{name}: {why}")),
            "scripts can read it all the same",
        );
    }
}

fn scripts(looked: &Looked, material: &Material<'_>, found: &mut Found) {
    for lack in &looked.lacks {
        let subject = Subject {
            what: "script",
            name: &lack.tool,
            id: plain(&lack.tool),
        };
        found.add(
            "no-interpreter",
            &subject,
            Severity::Medium,
            "skill.scripts",
            "nothing in its jail runs this script: each call of it would fail",
            Some(&lack.why),
            "install what runs it and show it to the jail (`ro` in `[jail]`), name another program in \
             `with`, or take the script out of the manifest",
        );
    }
    let left_out = &looked.narrowing.left_out;
    if !left_out.is_empty() {
        found.add(
            "left-out",
            &Subject::whole(),
            Severity::Low,
            "skill.scripts",
            "scripts of the manifest are not offered: `allowed-tools` does not name them",
            Some(&left_out.join(", ")),
            "`allowed-tools` in `SKILL.md` only takes away; where it says nothing, all are offered",
        );
    }
    let Launch::Skill {
        folder, scripts, ..
    } = &material.connector.launch
    else {
        return;
    };
    let pinned = |path: &Path| {
        let system = SYSTEM.iter().any(|one| path.starts_with(one));
        system || path.starts_with(folder)
    };
    for (name, script) in scripts {
        let Some(program) = script.with.first() else {
            continue;
        };
        if !pinned(Path::new(program)) {
            let subject = Subject {
                what: "script",
                name,
                id: plain(name),
            };
            found.add(
                "not-pinned",
                &subject,
                Severity::High,
                "skill.scripts",
                "what runs the script is neither the system's nor pinned",
                Some(program),
                "use the system's own, or put it into the skill's folder",
            );
        }
    }
}
