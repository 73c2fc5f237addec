//! `keepgate undo`: shows, asks, does.

use serde_json::Value;

use super::app::App;
use super::exit::Exit;
use super::layout::{number, outline, text};
use super::print::{Screen, Style};
use crate::error::Result;
use crate::wire::admin::Ask;
use crate::wire::text::escaped;

pub(super) fn run(app: &App, seq: u64, yes: bool) -> Result<Exit> {
    let keeper = app.keeper()?;
    if !yes {
        let preview = keeper.ask(Ask::Undo { seq, really: false })?;
        app.screen
            .answer(&preview, |value| shown(&app.screen, value))?;
        if !app.screen.has_person() {
            app.screen.note(format!(
                "\nnothing was changed; `keepgate undo {seq} --yes` does it"
            ));
            return Ok(Exit::Rehearsed);
        }
        if !app.screen.confirm("undo this?") {
            app.screen.note("nothing was changed");
            return Ok(Exit::Rehearsed);
        }
    }
    let done = keeper.ask(Ask::Undo { seq, really: true })?;
    app.screen.answer(&done, |value| {
        let diff = if yes {
            shown(&app.screen, value)
        } else {
            String::new()
        };
        let undo = number(value, "undo_seq");
        let again = match value.get("again").and_then(Value::as_bool) {
            Some(true) => format!(", and `keepgate undo {undo}` takes that back"),
            _ => String::new(),
        };
        format!("{diff}undone; entry {undo} of the log{again}")
    })?;
    Ok(Exit::Ok)
}

fn shown(screen: &Screen, value: &Value) -> String {
    if let Some(arguments) = value.get("arguments") {
        return called(value, arguments);
    }
    let what = match value.get("removes").and_then(Value::as_bool) {
        Some(true) => "removes the file",
        _ => "puts back the old content of",
    };
    let file = text(value, "file");
    let mut shown = format!("undo of entry {} {what} {file}\n", number(value, "seq"));
    let diff = value
        .get("diff")
        .and_then(Value::as_str)
        .unwrap_or_default();
    for line in diff.lines() {
        let style = match line.as_bytes().first() {
            Some(b'+') => Some(Style::Good),
            Some(b'-') => Some(Style::Bad),
            Some(b'@') => Some(Style::Dim),
            _ => None,
        };
        let line = escaped(line);
        shown += &style.map_or(line.clone(), |style| screen.paint(style, line));
        shown.push('\n');
    }
    shown
}

/// The call of another tool that takes a call back.
fn called(value: &Value, arguments: &Value) -> String {
    let remark = match text(value, "remark") {
        none if none.is_empty() => none,
        some => format!("note: {some}\n"),
    };
    format!(
        "undo of entry {} calls {} with\n{}{remark}",
        number(value, "seq"),
        text(value, "tool"),
        outline(arguments, 1)
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_another_tool_is_called_with_is_shown_escaped() {
        let value = json!({
            "seq": 7, "tool": "notes.remove", "arguments": {"id": "1\u{1b}[2J", "of": [2]},
            "remark": "nobody knows",
        });
        let shown = shown(&Screen::new(false, true), &value);
        assert!(
            shown.starts_with("undo of entry 7 calls notes.remove with\n  id: 1"),
            "{shown}"
        );
        assert!(
            !shown.contains('\u{1b}') && shown.ends_with("note: nobody knows\n"),
            "{shown}"
        );
    }
}
