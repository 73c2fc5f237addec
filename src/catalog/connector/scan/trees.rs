//! What is executed: is all of it pinned, and is it its owner's alone.

use std::path::{Component, Path, PathBuf};

use super::super::Launch;
use super::super::report::Severity;
use super::super::tree::{Content, Measured};
use super::{Found, Material, Subject};

/// What the operating system's own packages hold: pinned by whoever keeps the system.
pub(super) const SYSTEM: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc"];
/// Words that fetch what they run, or choose what is newest.
const FRESH: [&str; 7] = ["npx", "uvx", "pipx", "bunx", "docker", "podman", "curl"];
/// Variables by which interpreters and the dynamic loader are told where code is: environ(7), ld.so(8),
/// and the manuals of Python, Node, Perl, Ruby and Java.
const CODE: [&str; 14] = [
    "PYTHONPATH",
    "PYTHONHOME",
    "PYTHONSTARTUP",
    "PYTHONUSERBASE",
    "NODE_PATH",
    "NODE_OPTIONS",
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "PERL5LIB",
    "PERL5OPT",
    "RUBYLIB",
    "RUBYOPT",
    "CLASSPATH",
];
/// Begins of names of interpreters.
const INTERPRETERS: [&str; 9] = [
    "python", "node", "bash", "sh", "ruby", "perl", "deno", "bun", "java",
];

pub(super) fn scan(material: &Material<'_>, found: &mut Found) {
    let whole = Subject::whole();
    if let Launch::Stdio {
        program,
        argv,
        files,
        jail,
        ..
    } = &material.connector.launch
    {
        let covered = |path: &Path| files.iter().any(|file| path.starts_with(file));
        let system = |path: &Path| SYSTEM.iter().any(|one| path.starts_with(one));
        if !system(program) && !covered(program) {
            found.add(
                "not-pinned",
                &whole,
                Severity::High,
                "stdio.files",
                "the program itself is not pinned",
                Some(&program.to_string_lossy()),
                "add it, or the directory it is in, to `files`",
            );
        }
        let base = program.file_name().unwrap_or_default().to_string_lossy();
        let interprets = INTERPRETERS.iter().any(|one| base.starts_with(one));
        if interprets && files.is_empty() && argv.len() > 1 {
            found.add(
                "not-pinned",
                &whole,
                Severity::High,
                "stdio.files",
                "nothing is pinned but the interpreter",
                Some(&argv.get(1..).unwrap_or_default().join(" ")),
                "add the directory of what it runs to `files`; for a package, import \
                 `npm:NAME@VERSION` or `pypi:NAME@VERSION`",
            );
        }
        for (name, value) in jail.env.iter().filter(|(name, _)| CODE.contains(&&***name)) {
            let parts = value.split([':', ';', '=', ',', ' ']);
            let mut paths = parts.filter(|part| part.starts_with('/')).map(Path::new);
            if let Some(path) = paths.find(|path| !system(path) && !covered(path)) {
                found.add(
                    "not-pinned",
                    &whole,
                    Severity::High,
                    "jail.env",
                    &format!("`{name}` names code that is not pinned"),
                    Some(&path.to_string_lossy()),
                    "add that directory to `files`, or take the variable out",
                );
            }
        }
        // Data may be shown so, too: whoever looks can tell.
        for path in jail
            .ro
            .iter()
            .filter(|path| !system(path) && !covered(path))
        {
            found.add(
                "not-pinned",
                &whole,
                Severity::Medium,
                "jail.ro",
                "a path that its jail shows is not pinned",
                Some(&path.to_string_lossy()),
                "if there is code in it, add it to `files`: a change of it is noticed then",
            );
        }
        let fresh = |word: &&String| {
            FRESH.contains(&word.as_str()) || word.ends_with("@latest") || word.ends_with(":latest")
        };
        if FRESH.contains(&&*base) || argv.iter().skip(1).any(|word| fresh(&word)) {
            found.add(
                "unpinned",
                &whole,
                Severity::High,
                "stdio.arguments",
                "it fetches what it runs, each time anew",
                Some(&argv.join(" ")),
                "import the package itself, with its version",
            );
        }
    }
    for measured in material.measured {
        let skill = matches!(material.connector.launch, Launch::Skill { .. });
        tree(&whole, measured, material.measured, skill, found);
    }
}

fn tree(
    whole: &Subject<'_>,
    measured: &Measured,
    all: &[Measured],
    skill: bool,
    found: &mut Found,
) {
    for (name, entry) in &measured.entries {
        let path = measured.path.join(name);
        let shown = path.to_string_lossy();
        let link = matches!(entry.content, Content::Link(_));
        if !link && entry.mode & 0o022 != 0 {
            found.add(
                "others-may-write",
                whole,
                Severity::High,
                "files",
                "others than its owner may change what it executes",
                Some(&shown),
                "`chmod -R go-w` it",
            );
        }
        if !link && entry.mode & 0o6000 != 0 && !matches!(entry.content, Content::Directory) {
            found.add(
                "set-id",
                whole,
                Severity::High,
                "files",
                "a file of it runs with another user's rights",
                Some(&shown),
                "`chmod -R ug-s` it: a jail ignores it, but why is it there",
            );
        }
        let Content::Link(target) = &entry.content else {
            continue;
        };
        let to = leads_to(&path, Path::new(target));
        if skill {
            found.add(
                "not-served",
                whole,
                Severity::Low,
                "skill.folder",
                "a file beside the instructions is not served",
                Some(&format!(
                    "{shown}: a link is passed over, and makes no tool"
                )),
                "put the file itself there; scripts can read it all the same",
            );
        }
        let pinned = all.iter().any(|one| to.starts_with(&one.path));
        let system = !skill && SYSTEM.iter().any(|one| to.starts_with(one));
        if !pinned && !system {
            found.add(
                "link-leads-out",
                whole,
                Severity::Medium,
                "files",
                "a link leads to what is not pinned",
                Some(&format!("{shown} -> {target}")),
                "pin where it leads too, or put the file itself there",
            );
        }
    }
}

/// Where a link's text leads, without a look at the host.
fn leads_to(link: &Path, target: &Path) -> PathBuf {
    let mut at = link.parent().unwrap_or(Path::new("/")).to_path_buf();
    for part in target.components() {
        match part {
            Component::RootDir => at = "/".into(),
            Component::ParentDir => {
                at.pop();
            }
            Component::Normal(name) => at.push(name),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    at
}
