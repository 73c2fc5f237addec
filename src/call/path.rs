//! `ROOT/relative/path`: how a tool names a file beneath one of the operator's roots.

use std::fmt;

/// Longest path, root included, in bytes (`PATH_MAX` of the kernel).
pub const PATH_MAX: usize = 4096;

/// The name of a root, and a path beneath it that cannot lead out by its own words. Symbolic links
/// are for the jailer to refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootPath {
    root: String,
    rel: String,
}

/// Why a text is no such path: one sentence, without the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PathFault(&'static str);

impl RootPath {
    /// Reads `ROOT/relative/path`; `ROOT` and `ROOT/` are the root itself. The bytes stay as they
    /// are: nothing is normalised, so what is judged is what is opened.
    ///
    /// # Errors
    /// Refuses an empty path, one over [`PATH_MAX`] bytes, control characters (NUL among them), and
    /// the parts ``, `.` and `..`.
    pub fn parse(text: &str) -> Result<Self, PathFault> {
        if text.len() > PATH_MAX {
            return Err(PathFault("the path is longer than 4096 bytes"));
        }
        if text.contains(char::is_control) {
            return Err(PathFault("the path holds a control character"));
        }
        if text.starts_with('/') {
            return Err(PathFault(
                "the path is absolute; begin with the name of a root",
            ));
        }
        let (root, rel) = text.split_once('/').unwrap_or((text, ""));
        let below = (!rel.is_empty())
            .then(|| rel.split('/'))
            .into_iter()
            .flatten();
        for part in std::iter::once(root).chain(below) {
            match part {
                "" => return Err(PathFault("the path has an empty part")),
                "." => return Err(PathFault("the path has a part `.`")),
                ".." => return Err(PathFault("the path has a part `..`")),
                _ => {}
            }
        }
        Ok(Self {
            root: root.into(),
            rel: rel.into(),
        })
    }

    /// The name of the root.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// The path beneath it; empty for the root itself.
    pub fn rel(&self) -> &str {
        &self.rel
    }
}

impl fmt::Display for PathFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for PathFault {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parts(text: &str) -> Option<(String, String)> {
        RootPath::parse(text).ok().map(|path| (path.root, path.rel))
    }

    #[test]
    fn a_path_is_a_root_and_what_is_beneath() {
        let pair = |root: &str, rel: &str| Some((root.to_owned(), rel.to_owned()));
        assert_eq!(parts("mail"), pair("mail", ""));
        assert_eq!(parts("mail/"), pair("mail", ""));
        assert_eq!(parts("mail/a/b.txt"), pair("mail", "a/b.txt"));
        assert_eq!(parts("mail/..."), pair("mail", "..."));
        assert_eq!(parts("mail/ä b"), pair("mail", "ä b"));
        assert_eq!(
            parts(&format!("m/{}", "x".repeat(PATH_MAX - 2))).map(|p| p.1.len()),
            Some(4094)
        );
    }

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        let long = "x".repeat(PATH_MAX + 1);
        let bad = [
            "",
            "/",
            "/etc/passwd",
            ".",
            "..",
            "./mail",
            "../x",
            "mail/..",
            "mail/../x",
            "mail/./x",
            "mail//x",
            "mail/x/",
            "mail//",
            "mail/a\0b",
            "mail/a\nb",
            "mail/\u{7f}",
            "mail/\u{85}",
            long.as_str(),
        ];
        for text in bad {
            assert!(RootPath::parse(text).is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_accepted_path_climbs(text in "[a./\\\\\u{0}é]{0,12}") {
            if let Ok(path) = RootPath::parse(&text) {
                let inside = |part: &str| !matches!(part, "" | "." | "..");
                prop_assert!(inside(path.root()) && !path.root().contains('/'));
                prop_assert!(path.rel().is_empty() || path.rel().split('/').all(inside));
                let whole = [path.root(), path.rel()].join("/");
                prop_assert!(text == path.root() || text == whole);
            }
        }
    }
}
