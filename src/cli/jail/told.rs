//! Everything that did not go well in a jail, in one list: `jail run` and `jail explain` both speak
//! from here.

use std::borrow::Cow;

use serde::Serialize;

use crate::jail::denied::{of_hop, of_limit, sentence};
use crate::wire::manifest::{Class, Manifest, Quantities};
use crate::wire::messages::{Denial, Hop, JailEnd, Layer};
use crate::wire::text::Escaped;

/// Longest piece of outside text in a sentence, in characters.
const PIECE: usize = 256;
/// Paths named of a jail's many.
const FEW: usize = 6;

/// One thing, and the sentence about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Told {
    /// The part of the jail.
    pub(super) layer: Layer,
    /// What was tried.
    pub(super) attempt: String,
    /// The line of a manifest that would allow it.
    pub(super) allow: Option<String>,
    /// How often.
    pub(super) count: u32,
    /// All of it for a person; escaped.
    pub(super) say: String,
}

impl From<Denial> for Told {
    fn from(denial: Denial) -> Self {
        let say = sentence(&denial);
        let Denial {
            layer,
            attempt,
            allow,
            count,
        } = denial;
        Self {
            layer,
            attempt,
            allow,
            count,
            say,
        }
    }
}

/// The limit first, then what was refused inside, then the way out. `had` are the limits of the
/// jail, where they are known.
pub(super) fn all(
    limit: Option<&str>,
    had: Option<Quantities>,
    denials: &[Denial],
    hops: &[Hop],
) -> Vec<Told> {
    let limit = limit.filter(|limit| *limit != "killed");
    let limit = limit.map(|limit| ended(limit, had));
    let denials = denials.iter().cloned().map(Told::from);
    let hops = hops.iter().filter_map(way_out);
    limit.into_iter().chain(denials).chain(hops).collect()
}

/// As [`all`], of a jail whose end is at hand.
pub(super) fn of_end(end: &JailEnd, had: Quantities, hops: &[Hop]) -> Vec<Told> {
    all(end.limit.as_deref(), Some(had), &end.denials, hops)
}

/// What a jail could see, change and reach, in one line.
pub(super) fn had(manifest: &Manifest) -> String {
    if manifest.class != Class::Foreign {
        let class = manifest.class.name();
        return format!(
            "hint: class `{class}` has no files and no network; `--profile foreign` has"
        );
    }
    let reads = some(manifest.ro.iter().map(|path| path.to_string_lossy()));
    let changes = some(manifest.rw.iter().map(|path| path.to_string_lossy()));
    let changes = changes.map_or_else(String::new, |paths| format!(" and {paths}"));
    let reaches = some(manifest.net.iter().map(|to| to.to_string().into()));
    format!(
        "hint: it could read {}, change its own /tmp{changes}, and connect to {}; `--ro`, `--rw` and \
         `--net` give it more",
        reads.as_deref().unwrap_or("nothing of this host"),
        reaches.as_deref().unwrap_or("nothing"),
    )
}

/// A few of them; nothing of none.
fn some<'a>(all: impl Iterator<Item = Cow<'a, str>>) -> Option<String> {
    let mut all: Vec<String> = all
        .map(|one| Escaped::cut(&one, PIECE).to_string())
        .collect();
    let more = all.len().saturating_sub(FEW);
    all.truncate(FEW);
    let few = all.join(", ");
    match (all.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(few),
        (false, _) => Some(format!("{few}, … ({more} more)")),
    }
}

fn ended(limit: &str, had: Option<Quantities>) -> Told {
    if let Some(denial) = had.and_then(|had| of_limit(limit, had)) {
        return denial.into();
    }
    let attempt = Escaped::cut(limit, PIECE).to_string();
    let say = format!("the limit `{attempt}` ended the jail");
    Told {
        layer: Layer::Limit,
        attempt,
        allow: None,
        count: 1,
        say,
    }
}

/// A connection that was not made. One that a manifest cannot help has its reason only.
fn way_out(hop: &Hop) -> Option<Told> {
    if let Some(denial) = of_hop(hop) {
        return Some(denial.into());
    }
    // Egress has escaped both, if it is what it should be.
    let fault = Escaped::again(hop.fault.as_deref()?, PIECE);
    let attempt = Escaped::again(&hop.target, PIECE).to_string();
    let say = match attempt.is_empty() {
        true => format!("the way out was closed: {fault}"),
        false => format!("the way out did not reach `{attempt}`: {fault}"),
    };
    Some(Told {
        layer: Layer::Egress,
        attempt,
        allow: None,
        count: 1,
        say,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jail::denied::UNLISTED;

    fn hop(target: &str, fault: Option<&str>) -> Hop {
        Hop {
            target: target.into(),
            address: None,
            status: None,
            fault: fault.map(str::to_owned),
            bytes: 0,
        }
    }

    #[test]
    fn what_a_jail_had_is_one_line() {
        assert!(had(&Manifest::of(Class::Native)).contains("class `native` has no files"));
        let mut manifest = Manifest::of(Class::Foreign);
        let line = had(&manifest);
        assert!(
            line.starts_with("hint: it could read nothing of this host, change its own /tmp, and"),
            "{line}"
        );
        manifest.ro = (0..9).map(|number| format!("/r{number}").into()).collect();
        manifest.rw = vec!["/w\u{1b}".into()];
        manifest.net = vec![crate::wire::manifest::Destination {
            host: "a.example".into(),
            port: 443,
            private: Vec::new(),
        }];
        let line = had(&manifest);
        for part in [
            "read /r0, /r1, /r2, /r3, /r4, /r5, … (3 more)",
            "its own /tmp and /w\\u{1b}, and connect to a.example:443;",
        ] {
            assert!(line.contains(part), "{line}");
        }
    }

    #[test]
    fn everything_is_told_once_and_the_limit_first() {
        let denial = Denial {
            layer: Layer::Seccomp,
            attempt: "ptrace()".into(),
            allow: None,
            count: 2,
        };
        let unlisted = format!("{UNLISTED}a.example:443");
        let hops = [
            hop("CONNECT a.example:443", Some(&unlisted)),
            hop(r"CONNECT b\u{1b}\\.example:443", Some("refused\u{1b}")),
            hop("CONNECT c.example:443", None),
            hop("", Some("it died")),
        ];
        let had = Manifest::of(Class::Foreign).limits;
        let told = all(
            Some("wall"),
            Some(had),
            std::slice::from_ref(&denial),
            &hops,
        );
        let say: Vec<&str> = told.iter().map(|one| one.say.as_str()).collect();
        assert_eq!(say.len(), 5, "{say:?}");
        assert!(say[0].contains("limits.wall_s = 120"), "{say:?}");
        assert!(say[1].contains("`ptrace()` 2 times"), "{say:?}");
        assert!(say[2].contains("net = [\"a.example:443\"]"), "{say:?}");
        assert_eq!(
            say[3],
            r"the way out did not reach `CONNECT b\u{1b}\\.example:443`: refused\u{1b}"
        );
        assert_eq!(say[4], "the way out was closed: it died");
        assert_eq!(told[2].allow.as_deref(), Some("net = [\"a.example:443\"]"));
        let unknown = all(Some("wall"), None, &[], &[]);
        assert_eq!(unknown[0].say, "the limit `wall` ended the jail");
        assert_eq!(all(Some("killed"), None, &[], &[]), []);
    }
}
