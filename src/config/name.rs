//! The one form of names of planes, roots and agents: they become file names, parts of log origins
//! and words on screens.

use crate::error::{Error, Kind};
use crate::wire::text::Escaped;

/// Longest name, in bytes.
pub const NAME_MAX: usize = 32;

/// Whether `text` is `[a-z0-9][a-z0-9-]{0,31}`.
pub fn is_name(text: &str) -> bool {
    fits(text, NAME_MAX, b"-")
}

/// Whether `text` can name an appliance: as [`is_name`], with dots, up to 64 bytes.
pub(super) fn is_appliance(text: &str) -> bool {
    fits(text, 64, b"-.")
}

fn fits(text: &str, most: usize, also: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= most
        && text.as_bytes().first().is_some_and(plain)
        && text
            .bytes()
            .all(|byte| plain(&byte) || also.contains(&byte))
}

/// The error for a name of another form; `what` is `a plane`, `a root`.
pub(super) fn bad(text: &str, what: &str) -> Error {
    let text = Escaped::cut(text, 64);
    Error::of(
        Kind::Usage,
        format!("`{text}` cannot be the name of {what}"),
    )
    .hint("1 to 32 of a-z, 0-9 and `-`, beginning with a letter or digit")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["a", "0", "mail-bot-2", &"x".repeat(32)] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            "-a",
            "A",
            "a.b",
            "a/b",
            "ä",
            "a b",
            "a_b",
            &"x".repeat(33),
        ] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(is_appliance("gate-1.example"));
        assert!(!is_appliance(".a"));
    }
}
