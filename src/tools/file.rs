//! `file.read`, `file.list` and `file.write` as they run in the jail: on handed descriptors only,
//! with `read`, `pread64`, `fstat`, `getdents64` and `write`.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use similar::TextDiff;

use super::order::{Fault, Mode, Order};
use crate::sys::inherited;
use crate::wire::text::hex;

/// Bytes read by one call where the agent names no limit.
const READ_DEFAULT: u64 = 256 << 10;
/// Bytes read by one call at most.
const READ_MAX: u64 = 1 << 20;
/// Entries listed where the agent names no limit.
const LIST_DEFAULT: usize = 200;
/// Largest file `file.write` replaces, in bytes.
pub const WRITE_MAX: u64 = 4 << 20;
/// Longest diff shown, in bytes.
const DIFF_MAX: usize = 64 << 10;
/// First descriptor handed to a tool.
const FIRST: i32 = 3;

/// Reads a part of a file: descriptor 3.
///
/// # Errors
/// Answers a [`Fault`] where the order is not one or the file cannot be read.
pub fn read(input: &[u8]) -> Result<Value, Fault> {
    let order = parse(input)?;
    let mut file = File::from(handed(FIRST)?);
    let size = file.metadata().map_err(unreadable)?.len();
    let offset = number(&order.arguments, "offset").unwrap_or(0);
    let limit = number(&order.arguments, "limit")
        .unwrap_or(READ_DEFAULT)
        .min(READ_MAX);
    file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let mut value = Map::new();
    value.insert(
        "path".into(),
        order.arguments.get("path").cloned().unwrap_or_default(),
    );
    value.insert("bytes".into(), len.into());
    value.insert("size".into(), size.into());
    value.insert(
        "truncated".into(),
        (offset.saturating_add(len) < size).into(),
    );
    match String::from_utf8(bytes) {
        Ok(text) => value.insert("text".into(), text.into()),
        Err(bytes) => value.insert("base64".into(), STANDARD.encode(bytes.as_bytes()).into()),
    };
    Ok(Value::Object(value))
}

/// Lists a directory: descriptor 3.
///
/// # Errors
/// As [`read`].
pub fn list(input: &[u8]) -> Result<Value, Fault> {
    let order = parse(input)?;
    let limit = number(&order.arguments, "limit").and_then(|n| usize::try_from(n).ok());
    let limit = limit.unwrap_or(LIST_DEFAULT);
    let mut directory = nix::dir::Dir::from_fd(handed(FIRST)?).map_err(unreadable)?;
    let mut names = Vec::new();
    for entry in directory.iter() {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." || hidden(name) {
            continue;
        }
        let kind = match entry.file_type() {
            Some(nix::dir::Type::File) => "file",
            Some(nix::dir::Type::Directory) => "directory",
            Some(nix::dir::Type::Symlink) => "symlink",
            Some(_) | None => "other",
        };
        names.push((String::from_utf8_lossy(name).into_owned(), kind));
    }
    names.sort();
    let truncated = names.len() > limit;
    let entries: Vec<Value> = names
        .into_iter()
        .take(limit)
        .map(|(name, kind)| json!({"name": name, "type": kind}))
        .collect();
    Ok(json!({
        "path": order.arguments.get("path").cloned().unwrap_or_default(),
        "entries": entries,
        "truncated": truncated,
    }))
}

/// Writes the new content to the unnamed file (descriptor 4) and shows how it differs from what is
/// there (descriptor 3). The file gets its name from the jailer, on the keeper's word, later.
///
/// # Errors
/// As [`read`].
pub fn write(input: &[u8]) -> Result<Value, Fault> {
    let order = parse(input)?;
    let new = content(&order.arguments)?;
    let mut old = Vec::new();
    File::from(handed(FIRST)?)
        .take(WRITE_MAX + 1)
        .read_to_end(&mut old)
        .map_err(unreadable)?;
    let mut target = File::from(handed(FIRST + 1)?);
    target.write_all(&new).map_err(|error| {
        Fault::new("unwritable", format!("the file cannot be written: {error}"))
    })?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &new);
    Ok(json!({
        "path": order.arguments.get("path").cloned().unwrap_or_default(),
        "mode": match order.mode { Mode::Live => "live", Mode::Rehearse => "rehearsed" },
        "created": order.absent,
        "bytes": new.len(),
        "sha256": hex(digest.as_ref()),
        "diff": diff(&old, &new),
    }))
}

/// A unified diff of two texts with three lines of context; a sentence where either is no text.
pub fn diff(old: &[u8], new: &[u8]) -> String {
    let (Ok(before), Ok(after)) = (str::from_utf8(old), str::from_utf8(new)) else {
        return format!(
            "binary content: {} bytes become {} bytes",
            old.len(),
            new.len()
        );
    };
    let text = TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(3)
        .header("before", "after")
        .to_string();
    match text.char_indices().find(|(at, _)| *at >= DIFF_MAX) {
        Some((at, _)) => match text.get(..at) {
            Some(start) => format!("{start}\n… the diff goes on"),
            None => text,
        },
        None => text,
    }
}

/// Names the jailer uses between writing a file and naming it.
fn hidden(name: &[u8]) -> bool {
    name.starts_with(b".keepgate-")
}

/// The new content as bytes.
///
/// # Errors
/// Answers a [`Fault`] where it is not given in exactly one of the two ways.
pub fn content(arguments: &Map<String, Value>) -> Result<Vec<u8>, Fault> {
    match (arguments.get("content"), arguments.get("base64")) {
        (Some(Value::String(text)), None) => Ok(text.clone().into_bytes()),
        (None, Some(Value::String(text))) => STANDARD.decode(text).map_err(|error| {
            Fault::new("bad_argument", format!("`base64` is not base64: {error}"))
        }),
        _ => Err(Fault::new(
            "bad_argument",
            "give either `content` or `base64`",
        )),
    }
}

fn parse(input: &[u8]) -> Result<Order, Fault> {
    serde_json::from_slice(input).map_err(|error| Fault::new("bad_order", error.to_string()))
}

fn handed(number: i32) -> Result<OwnedFd, Fault> {
    inherited::take(number).map_err(|error| Fault::new("bad_order", error.to_string()))
}

fn number(arguments: &Map<String, Value>, name: &str) -> Option<u64> {
    arguments.get(name).and_then(Value::as_u64)
}

fn unreadable(error: impl std::fmt::Display) -> Fault {
    Fault::new("unreadable", format!("it cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_names_what_changes() {
        let text = diff(b"one\ntwo\n", b"one\nthree\n");
        assert!(text.contains("-two\n+three"), "{text}");
        assert_eq!(
            diff(b"\xff", b"a"),
            "binary content: 1 bytes become 1 bytes"
        );
        let long = "x\n".repeat(100_000);
        assert!(diff(b"", long.as_bytes()).ends_with("the diff goes on"));
    }

    #[test]
    fn content_is_text_or_base64_and_nothing_else() {
        let arguments = |value: Value| value.as_object().cloned().unwrap_or_default();
        assert_eq!(content(&arguments(json!({"content": "a"}))).unwrap(), b"a");
        assert_eq!(content(&arguments(json!({"base64": "AA=="}))).unwrap(), [0]);
        assert!(content(&arguments(json!({"base64": "!"}))).is_err());
        assert!(content(&arguments(json!({"content": "a", "base64": ""}))).is_err());
        assert!(content(&arguments(json!({}))).is_err());
    }
}
