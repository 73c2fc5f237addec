//! `keepgate log show`: one entry whole, with the payloads kept beside it.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{find, source};
use crate::audit::{Entry, Reader};
use crate::cli::app::App;
use crate::cli::exit::Exit;
use crate::cli::layout::{block, bytes, outline, time};
use crate::cli::print::Style;
use crate::error::{Error, Kind, Result};
use crate::wire::text::{escaped, hex};

/// Characters of a payload shown with its entry.
const PREVIEW: usize = 4_000;

pub(super) fn run(
    app: &App,
    dir: Option<PathBuf>,
    seq: u64,
    payload: Option<&str>,
) -> Result<Exit> {
    let reader = match source::reader(app, dir.as_deref()) {
        Ok(reader) => reader,
        // Only the keeper can read its log here; it shows entries, but lends no payloads.
        Err(_) if dir.is_none() && payload.is_none() => return from_keeper(app, seq),
        Err(error) => return Err(error),
    };
    let entry = read(&reader, seq)?;
    match payload {
        Some(name) => one(app, &reader, &entry, name)?,
        None => whole(app, &reader, &entry)?,
    }
    Ok(Exit::Ok)
}

fn read(reader: &Reader, seq: u64) -> Result<Entry> {
    reader
        .entries(seq)?
        .next()
        .transpose()?
        .filter(|entry| entry.seq == seq)
        .ok_or_else(|| find::none(seq))
}

fn from_keeper(app: &App, seq: u64) -> Result<Exit> {
    let entry = find::seq(app, None, seq)?;
    app.screen
        .answer(&json!({"entry": entry, "payloads": {}}), |_| {
            outline(&entry, 0)
        })?;
    app.screen
        .note("its payloads can be read by root and by the keeper's user only");
    Ok(Exit::Ok)
}

fn one(app: &App, reader: &Reader, entry: &Entry, name: &str) -> Result<()> {
    if entry.payload(name).is_none() {
        let known: Vec<&str> = entry
            .payloads
            .iter()
            .map(|payload| payload.name.as_str())
            .collect();
        let known = if known.is_empty() {
            "none".into()
        } else {
            known.join(", ")
        };
        let what = format!("entry {} has no payload `{}`", entry.seq, escaped(name));
        return Err(Error::of(Kind::Usage, what).hint(format!("it has: {known}")));
    }
    let content = reader.payload(entry, name)?.ok_or_else(|| {
        Error::new(format!(
            "payload `{}` of entry {} was pruned",
            escaped(name),
            entry.seq
        ))
    })?;
    if app.screen.json() {
        return app.screen.value(&described(&content));
    }
    if app.screen.is_terminal() {
        // Outside bytes: a terminal gets them written out.
        return app
            .screen
            .line(block(&String::from_utf8_lossy(&content), "").trim_end());
    }
    app.screen.raw(&content)
}

fn whole(app: &App, reader: &Reader, entry: &Entry) -> Result<()> {
    let mut payloads = Map::new();
    for payload in &entry.payloads {
        let value = match reader.payload(entry, &payload.name)? {
            Some(content) => described(&content),
            None => json!({"pruned": true, "bytes": payload.len, "digest": hex(&payload.digest)}),
        };
        payloads.insert(payload.name.clone(), value);
    }
    let value = json!({"entry": source::json(entry)?, "payloads": payloads});
    app.screen.answer(&value, |_| {
        let title = format!(
            "entry {}  {}  {}",
            entry.seq,
            escaped(&entry.kind),
            time(&entry.time.to_string())
        );
        let mut shown = format!("{}\n", app.screen.paint(Style::Bold, title));
        shown += &outline(&Value::Object(entry.body.clone()), 1);
        for (name, payload) in &payloads {
            let length = payload.get("bytes").and_then(Value::as_u64).unwrap_or(0);
            let title = app
                .screen
                .paint(Style::Bold, format!("payload {}", escaped(name)));
            shown += &format!("{title}  {}\n{}", bytes(length), preview(payload));
        }
        shown
    })
}

/// The content as text where it is text.
fn described(content: &[u8]) -> Value {
    match str::from_utf8(content) {
        Ok(text) => json!({"bytes": content.len(), "text": text}),
        Err(_) => json!({"bytes": content.len(), "base64": STANDARD.encode(content)}),
    }
}

fn preview(payload: &Value) -> String {
    if payload.get("pruned").is_some() {
        return "  pruned: its digest is all that is left\n".into();
    }
    if payload.get("base64").is_some() {
        return "  no text; `--payload NAME` gives the bytes\n".into();
    }
    let whole = payload
        .get("text")
        .and_then(Value::as_str)
        .unwrap_or_default();
    // Results are JSON on one line; people read them as an outline.
    if let Ok(value) = serde_json::from_str::<Value>(whole)
        && whole.len() <= PREVIEW
    {
        return outline(&value, 1);
    }
    let start: String = whole.chars().take(PREVIEW).collect();
    let more = if start.len() < whole.len() {
        "  … `--payload NAME` gives all of it\n"
    } else {
        ""
    };
    format!("{}{more}", block(&start, "  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_shown_without_harm() {
        assert_eq!(described(b"\xff")["base64"], "/w==");
        assert_eq!(
            preview(&described(b"a\x1b[2J\nb\n")),
            "  a\\u{1b}[2J\n  b\n"
        );
        assert_eq!(preview(&described(br#"{"path":"x"}"#)), "  path: x\n");
        let long = "x".repeat(PREVIEW + 1);
        assert!(preview(&described(long.as_bytes())).ends_with("gives all of it\n"));
        assert_eq!(described(b"hi")["text"], "hi");
    }
}
