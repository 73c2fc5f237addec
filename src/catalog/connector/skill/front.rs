//! The head of a `SKILL.md`: the small part of YAML that such heads use, and nothing more. Whatever
//! two readers of YAML could understand differently is refused.
//!
//! Read are `key: value` with plain and quoted values, block texts (`|`, `>`), and one level of
//! `key:` with indented `key: value` below it, whose keys become `outer.inner`.

use std::collections::BTreeMap;

use crate::wire::text::Escaped;

/// Most members.
const MEMBERS_MAX: usize = 64;

type Head<'a> = (BTreeMap<String, String>, &'a str);

/// Head and body.
///
/// # Errors
/// Says what is wrong, with its line.
pub(super) fn read(text: &str) -> Result<Head<'_>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let rest = text
        .strip_prefix("---\n")
        .or_else(|| text.strip_prefix("---\r\n"))
        .ok_or("it does not begin with a line `---`")?;
    let mut lines = Vec::new();
    let mut at = 0;
    let mut body = None;
    for line in rest.split_inclusive('\n') {
        at += line.len();
        let line = line.trim_end_matches(['\n', '\r']);
        if line == "---" {
            body = rest.get(at..);
            break;
        }
        lines.push(line);
    }
    let body = body.ok_or("its head does not end with a line `---`")?;
    Ok((members(&lines)?, body))
}

fn members(lines: &[&str]) -> Result<BTreeMap<String, String>, String> {
    let mut members = BTreeMap::new();
    let mut outer: Option<String> = None;
    let mut ahead = lines.iter().enumerate().peekable();
    while let Some((place, line)) = ahead.next() {
        // The head begins on line 2 of the file.
        let number = place + 2;
        let wrong = |why: &str| format!("line {number}: {why}");
        let trimmed = line.trim_start_matches(' ');
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if trimmed.starts_with('\t') {
            return Err(wrong("it is indented with tabs"));
        }
        let indented = trimmed.len() < line.len();
        let (key, value) = trimmed
            .split_once(':')
            .filter(|(key, value)| {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
                let spaced = value.is_empty() || value.starts_with(' ');
                !key.is_empty() && key.bytes().all(plain) && spaced
            })
            .ok_or_else(|| {
                let shown = Escaped::cut(trimmed, 60);
                wrong(&format!("`{shown}` is not read: write `key: value`"))
            })?;
        let value = value.trim();
        let name = match (&outer, indented) {
            (Some(outer), true) => format!("{outer}.{key}"),
            (None, true) => return Err(wrong("it is indented beneath nothing")),
            (_, false) => {
                outer = None;
                key.to_owned()
            }
        };
        let value = match value {
            "|" | "|-" | ">" | ">-" => {
                let depth = line.len() - trimmed.len();
                let mut block = Vec::new();
                while let Some((_, line)) = ahead.peek() {
                    let inner = line.trim_start_matches(' ');
                    if !inner.is_empty() && line.len() - inner.len() <= depth {
                        break;
                    }
                    block.push(inner.trim_end());
                    ahead.next();
                }
                let glue = if value.starts_with('|') { "\n" } else { " " };
                block.join(glue).trim().to_owned()
            }
            "" if !indented => {
                outer = Some(name);
                continue;
            }
            value => scalar(value).map_err(wrong)?,
        };
        if members.len() >= MEMBERS_MAX {
            return Err(wrong("too many members"));
        }
        if members.insert(name, value).is_some() {
            return Err(wrong("this key was there already"));
        }
    }
    Ok(members)
}

fn scalar(value: &str) -> Result<String, &'static str> {
    let quote = value
        .chars()
        .next()
        .filter(|first| matches!(first, '"' | '\''));
    if let Some(quote) = quote {
        let inner = value.get(1..).and_then(|rest| rest.strip_suffix(quote));
        let inner = inner.ok_or("a quoted text that does not end")?;
        return match inner.contains(quote) || inner.contains('\\') {
            true => Err("escapes in a quoted text are not read: leave the quotes away"),
            false => Ok(inner.to_owned()),
        };
    }
    let special = "[]{}&*!%@`,?";
    if value.starts_with(|first| special.contains(first)) {
        return Err("lists, maps, anchors and tags are not read: write a text");
    }
    // A comment begins with ` #`.
    let text = value.split(" #").next().unwrap_or_default().trim_end();
    Ok(text.to_owned())
}
