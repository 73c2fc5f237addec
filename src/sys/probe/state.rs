//! State of this process: what a tool must find as it is.

use super::raw;

/// State that a tool of a native jail must find as it is: the name of each check, and whether it is
/// wrong.
pub fn state() -> Vec<(&'static str, bool)> {
    let mut checks = Vec::new();
    let mut check = |name, fine: bool| checks.push((name, !fine));
    check(
        "st_no_new_privs",
        raw::prctl(libc::PR_GET_NO_NEW_PRIVS, 0) == Ok(1),
    );
    check("st_dumpable", raw::prctl(libc::PR_GET_DUMPABLE, 0) == Ok(0));
    check("st_first_in_namespace", nix::unistd::getpid().as_raw() == 1);
    check("env_empty", std::env::vars_os().next().is_none());
    let limits = [
        ("lim_core", libc::RLIMIT_CORE, 0),
        ("lim_procs", libc::RLIMIT_NPROC, 0),
        ("lim_lock", libc::RLIMIT_MEMLOCK, 0),
        ("lim_queues", libc::RLIMIT_MSGQUEUE, 0),
        ("lim_fds", libc::RLIMIT_NOFILE, 1024),
        ("lim_cpu", libc::RLIMIT_CPU, 3_600),
        ("lim_disk", libc::RLIMIT_FSIZE, 1 << 40),
        ("lim_memory", libc::RLIMIT_AS, 1 << 40),
    ];
    for (name, resource, most) in limits {
        check(name, limit(resource).is_some_and(|hard| hard <= most));
    }
    check("fd_inherited", open_descriptors(1024) == 3);
    checks
}

/// The hard limit of a resource (`RLIMIT_*`).
#[expect(
    unsafe_code,
    reason = "getrlimit of nix wants an enum that lacks some of these"
)]
pub fn limit(resource: u32) -> Option<u64> {
    let mut value = libc::rlimit64 {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure lives until the call returns.
    let answer = unsafe { libc::getrlimit64(resource, &raw mut value) };
    (answer == 0).then_some(value.rlim_max)
}

/// How many of the numbers below `most` are open descriptors.
pub fn open_descriptors(most: i32) -> usize {
    (0..most).filter(|number| raw::is_open(*number)).count()
}
