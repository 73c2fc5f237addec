//! Help, version, and mistakes on the command line.

use clap::error::ErrorKind;

use super::exit::Exit;
use super::print::Screen;
use crate::error::{Error, Kind};
use crate::wire::text::escaped;

/// Shows what the parser has to say; gives the exit code, which is `mistaken` for mistakes.
pub(super) fn show(screen: &Screen, error: &clap::Error, mistaken: Exit) -> Exit {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        let text = match screen.coloured() {
            true => error.render().ansi().to_string(),
            false => error.render().to_string(),
        };
        return match screen.raw(text.as_bytes()) {
            Ok(()) => Exit::Ok,
            Err(error) => screen.error(&error),
        };
    }
    let incomplete = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if incomplete && !screen.json() {
        screen.note(error.render().to_string().trim_end());
        return mistaken;
    }
    screen.error_as(&mistake(&error.render().to_string()), mistaken)
}

/// The parser's text as one of our errors.
fn mistake(text: &str) -> Error {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut what: Vec<String> = Vec::new();
    let (mut tip, mut usage) = (None, None);
    for line in lines.by_ref() {
        let line = line.strip_prefix("error: ").unwrap_or(line);
        if let Some(text) = line.strip_prefix("tip: ") {
            tip.get_or_insert_with(|| ticked(text));
        } else if let Some(text) = line.strip_prefix("Usage: ") {
            usage = Some(escaped(text));
        } else if usage.is_none() && tip.is_none() && !line.starts_with("For more information") {
            what.push(ticked(line));
        }
    }
    let what = match what.is_empty() {
        true => "the command line is not complete".into(),
        false => what.join(" "),
    };
    let hint = match (tip, usage) {
        (Some(tip), _) => tip,
        (None, Some(usage)) => format!("{usage}\n      `--help` explains every option"),
        (None, None) => "`--help` after the command explains every option".into(),
    };
    Error::of(Kind::Usage, what).hint(hint)
}

/// Escaped, and with our quotes.
fn ticked(text: &str) -> String {
    escaped(text).replace('\'', "`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(arguments: &[&str]) -> Error {
        let error = super::super::command()
            .try_get_matches_from(arguments)
            .unwrap_err();
        mistake(&error.render().to_string())
    }

    #[test]
    fn mistakes_read_like_all_errors() {
        let error = told(&["keepgate", "polcy"]);
        assert_eq!(error.message(), "unrecognized subcommand `polcy`");
        assert_eq!(
            error.hint_text(),
            Some("a similar subcommand exists: `policy`")
        );
        let error = told(&["keepgate", "undo", "x\u{1b}[2J"]);
        assert!(!error.message().contains('\u{1b}'), "{error}");
        let error = told(&["keepgate", "agent", "add"]);
        assert_eq!(
            error.message(),
            "the following required arguments were not provided: <NAME>"
        );
        assert!(
            error.hint_text().unwrap().starts_with("keepgate agent add"),
            "{error:?}"
        );
    }
}
