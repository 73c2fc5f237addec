//! Installed packages against what their registry published.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::Registry;
use super::super::installed::Installed;
use super::super::report::Severity;
use super::super::tree::{Content, Measured};
use super::{Found, Material, Subject};
use crate::wire::text::hex;

/// Longest `RECORD` of a wheel, in bytes.
const RECORD_MAX: u64 = 16 << 20;
/// Files of pip's own beside a wheel's.
const OF_PIP: [&str; 4] = ["INSTALLER", "REQUESTED", "direct_url.json", "RECORD"];

pub(super) fn scan(material: &Material<'_>, found: &mut Found) {
    let whole = Subject::whole();
    let Some(installed) = material.installed else {
        if material.connector.package.is_some() {
            found.add(
                "no-published-digest",
                &whole,
                Severity::Medium,
                "package",
                "the manifest names a package, and there is no record that it was installed",
                None,
                "import it again: `keepgate connector import --replace`",
            );
        }
        return;
    };
    let tree = material
        .measured
        .iter()
        .find(|measured| measured.path == installed.tree.path);
    let Some(tree) = tree else {
        found.add(
            "not-pinned",
            &whole,
            Severity::High,
            "files",
            "what was installed is not pinned",
            Some(&installed.tree.path.to_string_lossy()),
            "add it to `files`",
        );
        return;
    };
    if tree.sha256() != installed.tree.sha256 {
        found.add(
            "changed-since-import",
            &whole,
            Severity::High,
            "files",
            "the packages are not what was installed",
            Some(&installed.tree.path.to_string_lossy()),
            "see who changed them; import them again with `--replace`",
        );
    }
    parts(&whole, installed, found);
    match installed.registry {
        Registry::Pypi => records(&whole, tree, found),
        // What npm unpacks it has compared with the digests that are recorded here.
        Registry::Npm => {}
    }
}

fn parts(whole: &Subject<'_>, installed: &Installed, found: &mut Found) {
    let named = |part: &super::super::installed::Part| format!("{} {}", part.name, part.version);
    if let Some(part) = installed.packages.iter().find(|part| part.digest.is_none()) {
        found.add(
            "no-published-digest",
            whole,
            Severity::Medium,
            "package",
            "a package of it has no published digest",
            Some(&named(part)),
            "it is pinned as it came; compare it with another source",
        );
    }
    let scripts: Vec<String> = installed
        .packages
        .iter()
        .filter(|part| part.script)
        .map(named)
        .collect();
    if !scripts.is_empty() {
        found.add(
            "wanted-a-script",
            whole,
            Severity::Medium,
            "package",
            "packages of it wanted to run a script when they were installed, which they did not",
            Some(&scripts.join(", ")),
            "see what it does; the server may lack what the script would have made",
        );
    }
}

/// Each file of a wheel has its digest in the wheel's `RECORD` (PEP 376, PEP 427).
fn records(whole: &Subject<'_>, tree: &Measured, found: &mut Found) {
    let mut published: BTreeMap<String, Option<String>> = BTreeMap::new();
    for name in tree.entries.keys() {
        let Some(info) = name.strip_suffix("/RECORD") else {
            continue;
        };
        if !info.ends_with(".dist-info") || info.contains('/') {
            continue;
        }
        match record(&tree.path.join(name)) {
            Some(lines) => published.extend(lines),
            None => found.add(
                "not-as-published",
                whole,
                Severity::High,
                "files",
                "the list of a package's files is not readable",
                Some(name),
                "import it again with `--replace`",
            ),
        }
    }
    for (name, entry) in &tree.entries {
        let Content::File(sha256) = &entry.content else {
            continue;
        };
        let base = name.rsplit('/').next().unwrap_or(name);
        // Made by pip for this host: programs that start the packages' entry points.
        let of_pip =
            name.starts_with("bin/") || (name.contains(".dist-info/") && OF_PIP.contains(&base));
        match published.get(name) {
            Some(Some(digest)) if digest != sha256 => found.add(
                "not-as-published",
                whole,
                Severity::High,
                "files",
                "a file is not what its package published",
                Some(name),
                "see who changed it; import it again with `--replace`",
            ),
            Some(_) => {}
            None if of_pip => {}
            None => found.add(
                "of-no-package",
                whole,
                Severity::High,
                "files",
                "a file belongs to none of the packages",
                Some(name),
                "see who put it there; import it again with `--replace`",
            ),
        }
    }
}

/// Path and SHA-256 of each line; nothing where it is not readable.
fn record(path: &Path) -> Option<BTreeMap<String, Option<String>>> {
    let mut text = String::new();
    File::open(path)
        .ok()?
        .take(RECORD_MAX)
        .read_to_string(&mut text)
        .ok()?;
    let mut lines = BTreeMap::new();
    for line in text.lines() {
        let mut parts = line.rsplitn(3, ',');
        let (Some(_), Some(digest), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let name = name.trim_matches('"');
        let plain = |part| matches!(part, Component::Normal(_));
        if !Path::new(name).components().all(plain) {
            continue;
        }
        let digest = digest.strip_prefix("sha256=");
        let digest = digest.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        lines.insert(name.to_owned(), digest.map(|bytes| hex(&bytes)));
    }
    Some(lines)
}
