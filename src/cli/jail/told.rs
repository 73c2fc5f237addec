//! What a jail refused, in sentences: who refused what, and the line of a manifest that would allow
//! it. `jail run` and `jail explain` both speak from here.

use crate::wire::messages::{Denial, Hop, Layer};
use crate::wire::text::Escaped;

/// Longest piece of outside text in a sentence, in characters.
const PIECE: usize = 256;

/// One thing that was refused.
pub(super) fn denial(denial: &Denial) -> String {
    let who = match denial.layer {
        Layer::Seccomp => "system call list",
        Layer::Egress => "way out",
        Layer::Limit => "limit",
    };
    let attempt = Escaped::cut(&denial.attempt, PIECE);
    let times = match denial.count {
        0 | 1 => String::new(),
        count => format!(", {count} times"),
    };
    let allow = match &denial.allow {
        Some(line) => format!("`{}` would allow it", Escaped::cut(line, PIECE)),
        None => "no manifest can allow it".into(),
    };
    format!("{attempt} was refused ({who}{times}); {allow}")
}

/// A connection that was refused or failed; nothing for one that was made.
pub(super) fn hop(hop: &Hop) -> Option<String> {
    let fault = Escaped::cut(hop.fault.as_deref()?, PIECE);
    let target = Escaped::cut(&hop.target, PIECE);
    Some(format!("{target} was refused or failed (way out): {fault}"))
}

/// The limit that ended a jail.
pub(super) fn limit(name: &str) -> String {
    let line = match name {
        "wall" => "it ran too long; `wall_s` under `[limits]` allows more",
        "cpu" => "it used too much processor time; `cpu_s` under `[limits]` allows more",
        "memory" => "it used too much memory; `memory_mib` under `[limits]` allows more",
        "processes" => "it had too many processes; `processes` under `[limits]` allows more",
        "output" => "it wrote too much; `output_mib` under `[limits]` allows more",
        "killed" => "it was ended from outside",
        _ => "a limit ended it",
    };
    match name {
        "wall" | "cpu" | "memory" | "processes" | "output" | "killed" => line.into(),
        other => format!("{line}: {}", Escaped::cut(other, PIECE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_name_who_refused_what_and_what_would_allow_it() {
        let once = Denial {
            layer: Layer::Seccomp,
            attempt: "ptrace(PTRACE_ATTACH)\u{1b}".into(),
            allow: None,
            count: 1,
        };
        assert_eq!(
            denial(&once),
            "ptrace(PTRACE_ATTACH)\\u{1b} was refused (system call list); no manifest can allow it"
        );
        let often = Denial {
            layer: Layer::Egress,
            attempt: "connect to a.example:443".into(),
            allow: Some("net = [\"a.example:443\"]".into()),
            count: 3,
        };
        assert_eq!(
            denial(&often),
            "connect to a.example:443 was refused (way out, 3 times); \
             `net = [\"a.example:443\"]` would allow it"
        );
        let made = Hop {
            target: "CONNECT a.example:443".into(),
            address: None,
            status: Some(200),
            fault: None,
            bytes: 0,
        };
        assert_eq!(hop(&made), None);
        let failed = Hop {
            fault: Some("not listed".into()),
            ..made
        };
        assert!(
            hop(&failed)
                .unwrap()
                .ends_with("failed (way out): not listed")
        );
        assert!(limit("wall").contains("`wall_s`"));
        assert_eq!(limit("new"), "a limit ended it: new");
    }
}
