//! Text that is not what it seems: hidden characters, hidden words, orders to the model.

use serde_json::Value;

use super::super::report::Severity;
use super::{Found, Material, Subject, texts};

/// Spaces or line ends in a row behind which people stop reading.
const GAP: usize = 24;
/// Characters of base64 in a row that say something people cannot read.
const ENCODED: usize = 96;

/// Orders that no honest description gives.
const ORDERS: [&str; 34] = [
    "ignore all previous",
    "ignore any previous",
    "ignore previous instruction",
    "ignore prior instruction",
    "ignore the above",
    "disregard previous",
    "disregard all",
    "disregard the above",
    "forget previous",
    "forget your instruction",
    "override your instruction",
    "do not tell the user",
    "don't tell the user",
    "do not mention this",
    "don't mention this",
    "do not inform the user",
    "do not reveal",
    "without telling the user",
    "without informing the user",
    "without asking the user",
    "without the user's knowledge",
    "without user confirmation",
    "hide this from",
    "keep this secret",
    "secretly",
    "system prompt",
    "developer message",
    "you are now",
    "new instructions:",
    "before using any other tool",
    "before calling any other tool",
    "before you use any other",
    "otherwise the tool will not work",
    "bypass",
];
/// Orders that an honest description may give, and a dishonest one does.
const PUSHES: [&str; 14] = [
    "you must",
    "you should always",
    "always call",
    "always use this",
    "always run",
    "never use",
    "must be called first",
    "must first call",
    "call this tool before",
    "use this tool before",
    "instead of using",
    "instead of the",
    "prefer this tool",
    "is important that you",
];
/// Where keys are.
const KEY_FILES: [&str; 22] = [
    ".ssh",
    "id_rsa",
    "id_ed25519",
    ".aws",
    ".env",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".kube",
    ".docker/config",
    ".git-credentials",
    ".gnupg",
    "credentials.json",
    "/etc/shadow",
    "/etc/passwd",
    "mcp.json",
    ".cursor",
    "claude_desktop_config",
    "wallet.dat",
    "keychain",
    "/proc/self/environ",
    "authorized_keys",
];
/// Words for keys, where a text asks for them.
const KEY_WORDS: [&str; 12] = [
    "api key",
    "api_key",
    "apikey",
    "password",
    "passphrase",
    "private key",
    "secret key",
    "access token",
    "seed phrase",
    "credential",
    "session cookie",
    "bearer token",
];
/// Words that ask.
const ASKS: [&str; 14] = [
    "read ", "send ", "include ", "paste ", "provide ", "pass ", "give ", "append ", "attach ",
    "upload ", "enter ", "share ", "copy ", "extract ",
];
/// Tags that a model may take for its own system's.
const TAGS: [&str; 12] = [
    "<important",
    "<system",
    "<instruction",
    "<secret",
    "<hidden",
    "<assistant",
    "<user>",
    "<|im_start",
    "[inst]",
    "<<sys>>",
    "<tool_call",
    "<function_call",
];

pub(super) fn object(
    subject: &Subject<'_>,
    value: &Value,
    material: &Material<'_>,
    found: &mut Found,
) {
    texts(value, "", &mut |at, text| {
        hidden(subject, at, text, found);
        ordering(subject, at, text, true, found);
        asking(subject, at, text, found);
        others(subject, at, text, material, found);
    });
}

/// Instructions are what a skill is: only what is hidden, or never honest, is told.
pub(super) fn instructions(
    subject: &Subject<'_>,
    at: &str,
    text: &str,
    material: &Material<'_>,
    found: &mut Found,
) {
    hidden(subject, at, text, found);
    ordering(subject, at, text, false, found);
    asking(subject, at, text, found);
    others(subject, at, text, material, found);
}

fn hidden(subject: &Subject<'_>, at: &str, text: &str, found: &mut Found) {
    if let Some(odd) = text.chars().find(|c| invisible(*c)) {
        let what = format!("a character that nobody sees (U+{:04X})", u32::from(odd));
        found.add(
            "invisible-text",
            subject,
            Severity::High,
            at,
            &what,
            Some(&around(text, odd)),
            "what people cannot read, models can: do not use it",
        );
    }
    if let Some(odd) = text.chars().find(|c| control(*c)) {
        let what = format!("a control character (U+{:04X})", u32::from(odd));
        found.add(
            "control-text",
            subject,
            Severity::High,
            at,
            &what,
            Some(&around(text, odd)),
            "it can hide text on a terminal: do not use it",
        );
    }
    let lower = text.to_lowercase();
    let comment = text.contains("<!--") || lower.contains("[//]: #");
    let tag = TAGS.iter().find(|tag| lower.contains(**tag));
    if comment || tag.is_some() {
        let what = match tag {
            Some(tag) => format!("a tag that looks like a system's own (`{tag}`)"),
            None => "a comment that is not shown".into(),
        };
        found.add(
            "hidden-markup",
            subject,
            Severity::High,
            at,
            &what,
            Some(text),
            "read all of it: what is not for people is for the model",
        );
    }
    if let Some(behind) = behind_gap(text) {
        found.add(
            "hidden-by-space",
            subject,
            Severity::High,
            at,
            "text behind a long empty space",
            Some(behind),
            "read what is behind it",
        );
    }
    if let Some(run) = encoded(text) {
        found.add(
            "encoded-text",
            subject,
            Severity::Medium,
            at,
            "a long run of encoded text",
            Some(run),
            "decode it, and see what it says",
        );
    }
}

/// Nobody sees it, or it turns the direction of what is seen.
fn invisible(c: char) -> bool {
    matches!(u32::from(c),
        0xAD | 0x34F | 0x61C | 0x115F | 0x1160 | 0x17B4 | 0x17B5 | 0x180B..=0x180F
        | 0x200B..=0x200F | 0x202A..=0x202E | 0x2060..=0x206F | 0x2800 | 0x3164 | 0xFE00..=0xFE0D
        | 0xFEFF | 0xFFA0 | 0xFFF0..=0xFFFB | 0xE000..=0xF8FF | 0x1D173..=0x1D17A
        | 0xE0000..=0xE0FFF | 0xF0000..=0x10FFFF)
}

fn control(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t' | '\r')
}

/// What is around a character.
fn around(text: &str, odd: char) -> String {
    let at = text.chars().position(|c| c == odd).unwrap_or(0);
    text.chars().skip(at.saturating_sub(30)).take(100).collect()
}

/// What stands behind a long run of white space.
fn behind_gap(text: &str) -> Option<&str> {
    let mut run = 0;
    for (at, c) in text.char_indices() {
        if c.is_whitespace() {
            run += 1;
        } else if run >= GAP
            && text
                .get(..at)
                .is_some_and(|before| !before.trim().is_empty())
        {
            return text.get(at..);
        } else {
            run = 0;
        }
    }
    None
}

fn encoded(text: &str) -> Option<&str> {
    let part = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-'));
    let mixed = |run: &&str| {
        run.len() >= ENCODED
            && run.bytes().any(|byte| byte.is_ascii_digit())
            && run.bytes().any(|byte| byte.is_ascii_alphabetic())
            && run.matches('/').count() < run.len() / 8
    };
    text.split(part).find(mixed)
}

fn ordering(subject: &Subject<'_>, at: &str, text: &str, pushes: bool, found: &mut Found) {
    let lower = one_space(text);
    let order = ORDERS.iter().find(|order| lower.contains(**order));
    let push = PUSHES.iter().find(|push| pushes && lower.contains(**push));
    let (severity, words) = match (order, push) {
        (Some(order), _) => (Severity::High, order),
        (None, Some(push)) => (Severity::Medium, push),
        (None, None) => return,
    };
    found.add(
        "imperative-text",
        subject,
        severity,
        at,
        &format!("it gives the model an order (`{words}`)"),
        Some(&near(text, &lower, words)),
        "a description says what a tool does; whoever orders models about wants something else",
    );
}

fn asking(subject: &Subject<'_>, at: &str, text: &str, found: &mut Found) {
    let lower = one_space(text);
    if let Some(file) = KEY_FILES.iter().find(|file| names_file(&lower, file)) {
        found.add(
            "asks-for-file",
            subject,
            Severity::High,
            at,
            &format!("it speaks of a file with keys or settings (`{file}`)"),
            Some(&near(text, &lower, file)),
            "a tool that needs it would have it in its jail: see what it wants of the model",
        );
    }
    let key = KEY_WORDS.iter().find(|word| lower.contains(**word));
    let asks = ASKS.iter().any(|word| lower.contains(word));
    if let (Some(key), true) = (key, asks) {
        found.add(
            "asks-for-secret",
            subject,
            Severity::High,
            at,
            &format!("it asks for a key (`{key}`)"),
            Some(&near(text, &lower, key)),
            "keys belong into secret slots of the manifest, never into a conversation",
        );
    }
    let name = at.rsplit('/').next().unwrap_or_default().to_lowercase();
    if !at.contains("/properties/") || name != lower {
        return;
    }
    let wants = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if wants(&[
        "password",
        "passwd",
        "api_key",
        "apikey",
        "secret",
        "private_key",
        "credential",
    ]) {
        found.add(
            "asks-for-secret",
            subject,
            Severity::Medium,
            at,
            "a parameter takes a key",
            Some(&name),
            "an agent that has no key can give none: see what it is for",
        );
    }
    if wants(&[
        "sidenote",
        "conversation",
        "chat_history",
        "system_prompt",
        "reasoning",
    ]) {
        found.add(
            "takes-conversation",
            subject,
            Severity::Medium,
            at,
            "a parameter takes what was said before",
            Some(&name),
            "the whole conversation would leave with each call: see what it is for",
        );
    }
}

/// A file's name as a word of its own: `.env`, not `.environment`.
fn names_file(text: &str, file: &str) -> bool {
    text.match_indices(file).any(|(at, _)| {
        let after = text
            .get(at + file.len()..)
            .and_then(|rest| rest.chars().next());
        !after.is_some_and(|c| c.is_alphanumeric())
    })
}

fn others(subject: &Subject<'_>, at: &str, text: &str, material: &Material<'_>, found: &mut Found) {
    for (connector, tools) in material.others {
        for tool in tools {
            let whole = [
                format!("{connector}.{tool}"),
                format!("{connector}__{tool}"),
            ];
            // A short name is also a word of a language.
            let alone = tool.len() >= 8 && tool.contains(['_', '-']);
            let named = whole.iter().any(|name| text.contains(name.as_str()))
                || (alone && !material.tools.raw.contains_key(tool) && word_in(text, tool));
            if named {
                found.add(
                    "refers-to-tool",
                    subject,
                    Severity::High,
                    at,
                    &format!("it speaks of a tool of connector `{connector}`"),
                    Some(text),
                    "a tool has no business with the tools of others",
                );
                return;
            }
        }
    }
}

fn word_in(text: &str, word: &str) -> bool {
    let part = |c: char| !(c.is_alphanumeric() || c == '_' || c == '-');
    text.split(part).any(|one| one == word)
}

/// Lower case, and one space between words: a line end does not hide an order.
fn one_space(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

/// The words around what was found.
fn near(text: &str, lower: &str, found: &str) -> String {
    let Some(at) = lower.find(found) else {
        return text.chars().take(160).collect();
    };
    let start = lower.floor_char_boundary(at.saturating_sub(60));
    let end = lower.floor_char_boundary((at + found.len() + 100).min(lower.len()));
    lower.get(start..end).unwrap_or_default().to_owned()
}
