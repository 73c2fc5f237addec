//! What of a skill agents may read: its instructions, and the texts and pictures that lie beside them.
//!
//! ```text
//! skill://CONNECTOR/SKILL.md
//! skill://CONNECTOR/references/forms.md
//! ```
//!
//! Named after the connector, not after what the skill calls itself: two skills of one name are two
//! connectors. Only what was listed when it was vetted is read, and only as it was then.

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde_json::json;
use serde_json::value::RawValue;

use super::super::LISTED_MAX;
use super::{DEPTH_MAX, raw, walk};
use crate::error::Result;

/// Longest file that is served, in bytes.
pub const RESOURCE_MAX: u64 = 1 << 20;
/// Bytes of all texts of one skill that vetting reads.
const TEXTS_MAX: u64 = 32 << 20;
/// The file of instructions.
pub const INSTRUCTIONS: &str = "SKILL.md";
/// Directories whose files are served.
const BENEATH: [&str; 2] = ["references", "assets"];
/// What texts beside the instructions end in.
const BESIDE: [&str; 2] = ["md", "txt"];

/// Everything of a skill that can be read.
#[derive(Debug, Default)]
pub struct Resources {
    /// As `resources/list` shows it.
    pub listed: Vec<Box<RawValue>>,
    /// Texts among them beside the instructions: path from the folder on, and what it says.
    pub texts: Vec<(String, String)>,
    /// What is not served, and why.
    pub left_out: Vec<(String, &'static str)>,
}

/// Lists what the connector `connector` serves of a skill's folder.
///
/// # Errors
/// Fails where the folder cannot be read.
pub fn served(connector: &str, folder: &Path) -> Result<Resources> {
    let mut found = Vec::new();
    for dir in BENEATH {
        walk(folder, Path::new(dir), 0, &mut found)?;
    }
    let mut beside = Vec::new();
    walk(folder, Path::new(""), DEPTH_MAX, &mut beside)?;
    beside.retain(|path| {
        let end = path.extension().and_then(|end| end.to_str());
        path != Path::new(INSTRUCTIONS) && end.is_some_and(|end| BESIDE.contains(&end))
    });
    found.append(&mut beside);
    found.sort();
    found.insert(0, INSTRUCTIONS.into());
    let mut all = Resources::default();
    let mut left = TEXTS_MAX;
    for path in found {
        let name = path.to_string_lossy().into_owned();
        let size = fs::metadata(folder.join(&path)).map_or(u64::MAX, |meta| meta.len());
        let why = match () {
            () if size > RESOURCE_MAX => "it is larger than 1 MiB",
            () if all.listed.len() >= LISTED_MAX => "there are too many files before it",
            () if left < size => "the files before it are too long together",
            () => {
                left -= size;
                all.listed.push(raw(&json!({
                    "uri": uri(connector, &path),
                    "name": name,
                    "mimeType": kind(&path),
                    "size": size,
                }))?);
                if path != Path::new(INSTRUCTIONS)
                    && let Ok(text) = fs::read_to_string(folder.join(&path))
                {
                    all.texts.push((name, text));
                }
                continue;
            }
        };
        all.left_out.push((name, why));
    }
    Ok(all)
}

/// The URI of a file of a skill.
pub fn uri(connector: &str, path: &Path) -> String {
    let mut uri = format!("skill://{connector}/");
    for byte in path.to_string_lossy().bytes() {
        // RFC 3986, "unreserved", and the slash between names.
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

/// The path behind a URI that [`uri`] has made; nothing where it has not.
pub fn path(connector: &str, text: &str) -> Option<PathBuf> {
    let rest = text.strip_prefix("skill://")?.strip_prefix(connector)?;
    let mut rest = rest.strip_prefix('/')?.bytes();
    let mut bytes = Vec::new();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?
            }
            byte => byte,
        });
    }
    let path = PathBuf::from(String::from_utf8(bytes).ok()?);
    let plain = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    // One file has one URI: what is written otherwise was not listed.
    (plain && uri(connector, &path) == text).then_some(path)
}

/// The type of a file by what its name ends in.
pub fn kind(path: &Path) -> &'static str {
    let end = path.extension().and_then(|end| end.to_str());
    match end.unwrap_or_default().to_ascii_lowercase().as_str() {
        "md" => "text/markdown",
        "txt" | "log" => "text/plain",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "css" => "text/css",
        "js" | "mjs" => "text/javascript",
        "json" => "application/json",
        "yaml" | "yml" => "application/yaml",
        "xml" => "application/xml",
        "py" => "text/x-python",
        "sh" => "text/x-shellscript",
        "pdf" => "application/pdf",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "ttf" => "font/ttf",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_uri_and_no_uri_leads_out() {
        for (name, text) in [
            ("SKILL.md", "skill://pdf/SKILL.md"),
            ("references/a b%.md", "skill://pdf/references/a%20b%25.md"),
            ("assets/ä?.png", "skill://pdf/assets/%C3%A4%3F.png"),
        ] {
            assert_eq!(uri("pdf", Path::new(name)), text);
            assert_eq!(path("pdf", text).as_deref(), Some(Path::new(name)));
        }
        for text in [
            "skill://pdf/../x",
            "skill://pdf/references/%2E%2E/SKILL.md",
            "skill://pdf//SKILL.md",
            "skill://pdf/./SKILL.md",
            "skill://pdf/SKILL%2Emd",
            "skill://pdf/%2fetc",
            "skill://pdf/%ff",
            "skill://pdf/%4",
            "skill://pdf",
            "skill://pdf-2/SKILL.md",
            "file:///etc/passwd",
        ] {
            assert_eq!(path("pdf", text), None, "{text}");
        }
    }

    #[test]
    fn what_lies_beside_the_instructions_is_listed_and_scripts_are_not() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path();
        for dir in ["references/deep", "assets", "scripts", "other"] {
            fs::create_dir_all(folder.join(dir)).unwrap();
        }
        for (name, text) in [
            ("SKILL.md", &b"---"[..]),
            ("FORMS.md", b"forms"),
            ("LICENSE", b"free"),
            ("references/deep/a.md", b"deep"),
            ("assets/x.png", b"\x89PNG\xff"),
            ("scripts/fill.md", b"no"),
            ("other/b.md", b"no"),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        let large = fs::File::create(folder.join("assets/large.bin")).unwrap();
        large.set_len(RESOURCE_MAX + 1).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.join("references/link.md")).unwrap();
        let all = served("pdf", folder).unwrap();
        let uris: Vec<String> = all
            .listed
            .iter()
            .map(|raw| {
                let value: serde_json::Value = serde_json::from_str(raw.get()).unwrap();
                value["uri"].as_str().unwrap().to_owned()
            })
            .collect();
        assert_eq!(
            uris,
            [
                "skill://pdf/SKILL.md",
                "skill://pdf/FORMS.md",
                "skill://pdf/assets/x.png",
                "skill://pdf/references/deep/a.md",
            ]
        );
        let texts: Vec<&str> = all.texts.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(texts, ["FORMS.md", "references/deep/a.md"]);
        assert_eq!(
            all.left_out,
            [("assets/large.bin".into(), "it is larger than 1 MiB")]
        );
    }
}
