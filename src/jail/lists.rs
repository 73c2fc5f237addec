//! The lists of system calls for jails whose program is not ours.
//!
//! Each list names what is allowed and who needs it; a call that is not named is refused. Argument
//! checks look at registers only, because what a pointer points to can change after the check: so
//! calls whose meaning is in a structure (`clone3`, `openat2`, `sched_setattr`) are not in a list.

/// Any static program of one process: threads, files it was handed, its own clocks and pipes. It
/// runs nothing, maps nothing executable and opens nothing for writing.
pub const NATIVE_GENERIC: &str = include_str!("seccomp/native-generic.json");

/// Interpreters, shells and what they start. Where a path leads is for mounts and Landlock to say,
/// and who is reached for the network namespace; this list takes away what those do not see: new
/// namespaces, other kinds of sockets, tracing, device nodes, set-uid files, keyrings, io_uring,
/// BPF, memory files that can be run.
pub const FOREIGN: &str = include_str!("seccomp/foreign.json");

/// What programs may beside that whose manifest gives them their own loopback: sockets with names.
/// Before Landlock's ABI 9 (Linux 7.1) nothing else keeps a program from a service's socket that it
/// can name and its user may write to, on a read-only mount too.
pub const LOCAL: &str = include_str!("seccomp/local.json");

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::sys::filter::{Clone3, Filter};

    #[test]
    fn the_lists_compile() {
        for text in [NATIVE_GENERIC, FOREIGN, LOCAL] {
            Filter::compile(&[text], Clone3::Missing).unwrap();
        }
    }

    /// `seccompiler` drops a rule without conditions beside one that has some.
    #[test]
    fn no_call_is_allowed_both_with_and_without_conditions() {
        for text in [NATIVE_GENERIC, FOREIGN, LOCAL] {
            let mut kinds: BTreeMap<String, bool> = BTreeMap::new();
            let text: Value = serde_json::from_str(text).unwrap();
            let filter = text.as_object().unwrap().values().next().unwrap();
            for rule in filter["filter"].as_array().unwrap() {
                let call = rule["syscall"].as_str().unwrap().to_owned();
                assert!(!rule["comment"].as_str().unwrap().is_empty(), "{call}");
                let narrow = rule.get("args").is_some();
                if let Some(known) = kinds.insert(call.clone(), narrow) {
                    assert!(known && narrow, "{call}");
                }
            }
        }
    }
}
