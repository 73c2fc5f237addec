//! The users that private roles and their jail run as, where root starts them: of each run its own,
//! because the kernel counts processes by user (`RLIMIT_NPROC`).

use std::fs;

use nix::unistd::{geteuid, getpid};

use crate::error::{Error, Kind, Result};

/// First uid: in the range that no distribution and no container manager gives out ("Users, Groups,
/// UIDs and GIDs on systemd Systems").
const FIRST: u32 = 1_900_000_000;
/// Greatest process id, and one (`PID_MAX_LIMIT`).
const PIDS: u32 = 1 << 22;
/// First uid in a user namespace that has few, and how many runs share them.
const FEW_FIRST: u32 = 62_000;
const FEW_RUNS: u32 = 1_000;
/// Uids of one run.
const EACH: u32 = 3;

/// Uids, and gids, of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Own {
    /// The jailer's.
    pub(in crate::cli) jailer: u32,
    /// The egress'.
    pub(in crate::cli) egress: u32,
    /// The program's.
    pub(in crate::cli) jail: u32,
}

impl Own {
    /// Of this process' run; nothing where this is not root, and all is one user.
    ///
    /// # Errors
    /// Fails for a root that cannot become anybody else.
    pub(in crate::cli) fn new() -> Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let end = |file| fs::read_to_string(file).map_or(0, |text| mapped(&text));
        let end = end("/proc/self/uid_map").min(end("/proc/self/gid_map"));
        let pid = getpid().as_raw().unsigned_abs();
        Self::of(pid, end).map(Some).ok_or_else(|| {
            Error::of(
                Kind::Degraded,
                format!("jails of root need users of their own, and this root has {end} ids only"),
            )
            .hint("run it as an ordinary user, or as root of a system or container of its own")
        })
    }

    /// Where ids below `end` exist.
    fn of(pid: u32, end: u64) -> Option<Self> {
        let first = [
            FIRST + EACH * (pid % PIDS),
            FEW_FIRST + EACH * (pid % FEW_RUNS),
        ];
        let fits = |first: &u32| u64::from(*first) + u64::from(EACH) <= end;
        let first = first.into_iter().find(fits)?;
        Some(Self {
            jailer: first,
            egress: first + 1,
            jail: first + 2,
        })
    }
}

/// The end of the ids from 0 on that a map has (user_namespaces(7)).
fn mapped(map: &str) -> u64 {
    let mut ranges: Vec<(u64, u64)> = map
        .lines()
        .filter_map(|line| {
            let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
            let (first, _, count) = (numbers.next()?, numbers.next()?, numbers.next()?);
            Some((first.ok()?, count.ok()?))
        })
        .collect();
    ranges.sort_unstable();
    ranges.into_iter().fold(0, |end, (first, count)| {
        if first <= end {
            end.max(first.saturating_add(count))
        } else {
            end
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_users_of_its_own() {
        let whole = mapped("         0          0 4294967295\n");
        let (one, two) = (Own::of(1, whole).unwrap(), Own::of(2, whole).unwrap());
        let all = [one, two].map(|own| [own.jailer, own.egress, own.jail]);
        let mut all = all.concat();
        all.dedup();
        assert_eq!(all.len(), 6);
        assert!(Own::of(PIDS - 1, whole).unwrap().jail < 2_147_352_576);
    }

    #[test]
    fn a_namespace_with_few_ids_is_enough_and_one_with_one_is_not() {
        let container = mapped("0 100000 1\n1 100001 65535\n");
        assert_eq!(container, 65_536);
        assert!(Own::of(PIDS - 1, container).unwrap().jail < 65_536);
        assert_eq!(Own::of(7, mapped("0 1000 1\n")), None);
        assert_eq!(Own::of(7, mapped("5 1000 4294967290\n")), None);
        assert_eq!(Own::of(7, mapped("nonsense")), None);
    }
}
