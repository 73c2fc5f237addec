//! Each comparison, and its goal.

use std::process::{Command, Stdio};

use super::super::report::{Report, median, quantile};
use super::group::Group;
use super::keeper::{self, AHEAD, COLD, FOREIGN};
use super::worker::{Worker, in_turns};
use super::{JAILER, TOOL, host, world};

/// MiB that those hold who must not be slower for it.
const FAT: usize = 256;
/// Starts after which nothing may be left.
const MANY: usize = 10_000;
/// Orders of the crowd.
const CROWD: usize = 4_000;
/// `50 us / 90 us`: half and all but one in a hundred are faster.
fn shown(times: &mut [f64]) -> String {
    let (p50, p99) = (quantile(times, 0.5), quantile(times, 0.99));
    format!("{:.0} / {:.0} us", p50 * 1e6, p99 * 1e6)
}

fn at(group: Option<&Group>) -> String {
    let path = group.map(|group| group.path().to_str().unwrap().to_owned());
    path.unwrap_or_default()
}

/// A jail as root, made in each way, against the floor. Gives the median seconds of the first way.
pub(super) fn native(report: &mut Report) -> f64 {
    let group = Group::new("world", 0);
    let small = super::super::binary();
    let small = small.to_str().unwrap();
    let mut workers = [
        Worker::start(host::KIND, small, None),
        Worker::start(
            world::KIND,
            &format!("{}:{small}", at(group.as_ref())),
            None,
        ),
    ];
    let jobs = [
        (0, "posix"),
        (0, "fork"),
        (1, "jail"),
        (1, "leaf"),
        (1, "ahead"),
    ];
    // Whatever is first touched, is by this.
    in_turns(&mut workers, &jobs, 1, 10);
    let mut found = in_turns(&mut workers, &jobs, 100, 5);
    let [posix, fork, jail, leaf, ahead] = found.as_mut_slice() else {
        panic!()
    };
    report.note("posix_spawn of the same binary, p50 / p99", shown(posix));
    report.note("bare fork + exec of it, p50 / p99", shown(fork));
    report.note("native jail, started for its order, p50 / p99", shown(jail));
    report.note("  in a cgroup of its own, p50 / p99", shown(leaf));
    report.note("  made ahead, order to end, p50 / p99", shown(ahead));
    let worst = quantile(jail, 0.99) * 1e3;
    let worst_leaf = quantile(leaf, 0.99) * 1e3;
    let [posix, fork, jail, leaf, ahead] =
        [posix, fork, jail, leaf, ahead].map(|times| median(times));
    report.at_most("native jail / posix_spawn, p50", jail / posix, 1.3, " x");
    if group.is_some() {
        report.at_most("  in a cgroup / posix_spawn, p50", leaf / posix, 1.8, " x");
        report.at_most("  in a cgroup, p99", worst_leaf, 3.0, " ms");
    } else {
        report.note("  in a cgroup / posix_spawn, p50", "no cgroup2 here".into());
    }
    report.at_most("native jail, p99", worst, 3.0, " ms");
    report.note(
        "native jail / fork + exec, p50",
        format!("{:.2} x", jail / fork),
    );
    report.below(
        "  made ahead / bare fork + exec, p50",
        ahead / fork,
        1.0,
        " x",
    );
    report.jail = Some(jail);
    jail
}

/// The same for a user without privileges, whose jailer is in a user namespace.
pub(super) fn unprivileged(report: &mut Report) {
    let small = super::super::binary();
    let small = small.to_str().unwrap();
    let mut workers = [
        Worker::start(host::KIND, small, Some(TOOL)),
        Worker::start(world::KIND, &format!(":{small}"), Some(TOOL)),
    ];
    let jobs = [(0, "posix"), (1, "jail")];
    in_turns(&mut workers, &jobs, 1, 10);
    let mut found = in_turns(&mut workers, &jobs, 40, 5);
    let [posix, jail] = found.as_mut_slice() else {
        panic!()
    };
    report.note("native jail, unprivileged, p50 / p99", shown(jail));
    let ratio = median(jail) / median(posix);
    report.at_most("  / posix_spawn, p50", ratio, 4.0, " x");
}

/// Whoever starts jails, or has them started, holds a lot of memory.
pub(super) fn fat(report: &mut Report) {
    let small = super::super::binary();
    let small = small.to_str().unwrap();
    let mut workers = [
        Worker::start(keeper::KIND, &format!("{COLD}:"), None),
        Worker::start(world::KIND, &format!(":{small}"), None),
        Worker::start(host::KIND, small, None),
    ];
    let jobs = [(0, "tool"), (1, "jail"), (2, "fork")];
    in_turns(&mut workers, &jobs, 1, 10);
    let mut thin: Vec<Vec<f64>> = vec![Vec::new(); jobs.len()];
    let mut thick = thin.clone();
    for _ in 0..20 {
        for (mib, found) in [(1, &mut thin), (FAT, &mut thick)] {
            for worker in &mut workers {
                worker.ask("hold", mib);
            }
            let more = in_turns(&mut workers, &jobs, 1, 10);
            found
                .iter_mut()
                .zip(more)
                .for_each(|(found, more)| found.extend(more));
        }
    }
    let mut ratios = Vec::new();
    for (thin, thick) in thin.iter_mut().zip(&mut thick) {
        ratios.push(median(thick) / median(thin));
    }
    report.note(
        "order to a jailer, to its end, p50 / p99",
        shown(&mut thin[0]),
    );
    report.at_most(
        "  whoever orders holds 256 MiB / 1 MiB, p50",
        ratios[0],
        1.2,
        " x",
    );
    report.at_most(
        "native jail of one who holds 256 MiB / 1 MiB",
        ratios[1],
        1.2,
        " x",
    );
    report.note(
        "  bare fork + exec of the same, beside it",
        format!("{:.2} x", ratios[2]),
    );
}

/// Many at a time, through one jailer.
pub(super) fn crowd(report: &mut Report) {
    for (kind, what) in [
        (AHEAD, "64 orders in flight, jails/s"),
        (COLD, "  without jails made ahead, jails/s"),
    ] {
        let group = Group::new(kind, JAILER);
        let mut worker = Worker::start(
            keeper::KIND,
            &format!("{kind}:{}", at(group.as_ref())),
            None,
        );
        worker.ask("crowd", 200);
        let mut rates: Vec<f64> = (0..5)
            .flat_map(|_| worker.ask("crowd", CROWD / 5))
            .collect();
        report.at_least(what, median(&mut rates), 1000.0, "/s");
    }
}

/// What a jailer has must be the same after many jails as before.
pub(super) fn leaks(report: &mut Report) {
    for (kind, job, times, what) in [
        (AHEAD, "tool", MANY, "left by 10,000 native jails"),
        (COLD, "tool", MANY, "left by 10,000 not made ahead"),
        (FOREIGN, "true", MANY / 10, "left by 1,000 foreign jails"),
    ] {
        let group = Group::new(kind, JAILER);
        let mut worker = Worker::start(
            keeper::KIND,
            &format!("{kind}:{}", at(group.as_ref())),
            None,
        );
        // Pools fill, up to what they keep, and stay as they are with one at a time.
        worker.ask("crowd", 200);
        worker.ask(job, times / 10);
        let before = worker.ask("count", 1);
        worker.ask(job, times);
        let after = worker.ask("count", 1);
        let names = ["descriptors", "processes", "mounts", "cgroups"];
        let differ = names.iter().zip(before.iter().zip(&after));
        let left: Vec<String> = differ
            .filter(|(_, (before, after))| before != after)
            .map(|(name, (before, after))| format!("{name} {before} -> {after}"))
            .collect();
        report.nothing(what, &left);
    }
}

/// A small static program, as a file.
pub(super) struct Small {
    directory: tempfile::TempDir,
}

impl Small {
    const SOURCE: &str =
        "void _start(void) { __asm__(\"mov $231, %eax; xor %edi, %edi; syscall\"); }";

    /// Compiles it.
    pub(super) fn new() -> Self {
        let directory = super::super::scratch();
        let source = directory.path().join("small.c");
        std::fs::write(&source, Self::SOURCE).unwrap();
        let done = Command::new("gcc")
            .args(["-static", "-nostdlib", "-Os", "-s", "-o"])
            .args([&directory.path().join("small"), &source])
            .status()
            .unwrap();
        assert!(done.success(), "{done}");
        Self { directory }
    }

    fn path(&self) -> String {
        self.directory.path().join("small").to_str().unwrap().into()
    }
}

fn is_here(program: &str) -> bool {
    let mut command = Command::new(program);
    let done = command.arg("--version").stdout(Stdio::null()).status();
    done.is_ok_and(|done| done.success())
}

/// Other sandboxes, with a small static program that does nothing.
pub(super) fn others(report: &mut Report, small: &Small) {
    let path = small.path();
    let mut workers = [
        Worker::start(host::KIND, &path, None),
        Worker::start(world::KIND, &format!(":{path}"), None),
    ];
    let jobs = [(0, "small"), (1, "small"), (1, "generic")];
    in_turns(&mut workers, &jobs, 1, 10);
    let mut own = in_turns(&mut workers, &jobs, 40, 5);
    report.note(
        "small static program, posix_spawn, p50 / p99",
        shown(&mut own[0]),
    );
    report.note("  in a native jail, p50 / p99", shown(&mut own[1]));
    report.note(
        "  in a native-generic jail, beside a first process, p50 / p99",
        shown(&mut own[2]),
    );
    for (name, goal, turns) in [("bwrap", Some(8.0), 40), ("firejail", None, 5)] {
        if !is_here(name) {
            report.note(&format!("  {name} / native jail, p50"), "not here".into());
            continue;
        }
        let jobs = [(1, "small"), (0, name)];
        in_turns(&mut workers, &jobs, 1, 2);
        let mut found = in_turns(&mut workers, &jobs, turns, 5);
        report.note(&format!("  {name}, p50 / p99"), shown(&mut found[1]));
        let ratio = median(&mut found[1]) / median(&mut found[0]);
        let what = format!("  {name} / native jail, p50");
        match goal {
            Some(goal) => report.at_least(&what, ratio, goal, " x"),
            None => report.note(&what, format!("{ratio:.1} x")),
        }
    }
}

/// A foreign jail, beside bubblewrap with the same view, and what its time goes into.
pub(super) fn foreign(report: &mut Report) {
    let small = super::super::binary();
    let small = small.to_str().unwrap();
    let group = Group::new("foreign", JAILER);
    let mut workers = [
        Worker::start(host::KIND, small, None),
        Worker::start(world::KIND, &format!(":{small}"), None),
        Worker::start(
            keeper::KIND,
            &format!("{FOREIGN}:{}", at(group.as_ref())),
            None,
        ),
    ];
    let bwrap = is_here("bwrap");
    let mut jobs = vec![
        (0, "true"),
        (0, "posix"),
        (1, "ahead"),
        (1, "first"),
        (2, "tool"),
        (2, "true"),
        (1, "network"),
    ];
    if bwrap {
        jobs.push((0, "view"));
    }
    in_turns(&mut workers, &jobs, 1, 5);
    let mut found = in_turns(&mut workers, &jobs, 40, 5);
    report.note("/bin/true, posix_spawn, p50 / p99", shown(&mut found[0]));
    report.note(
        "  in a foreign jail, by a jailer, p50 / p99",
        shown(&mut found[5]),
    );
    if bwrap {
        report.note(
            "  bwrap with the same view, p50 / p99",
            shown(&mut found[7]),
        );
    }
    let medians: Vec<f64> = found.iter_mut().map(|times| median(times)).collect();
    if let Some(bwrap) = medians.get(7) {
        report.at_most("  foreign jail / bwrap, p50", medians[5] / bwrap, 1.0, " x");
    }
    let [plain, posix, ahead, first, tool, whole] = [0, 1, 2, 3, 4, 5].map(|at| medians[at]);
    for (what, part) in [
        ("a network, made ahead", medians[6]),
        ("order and answer, a tool's", tool - ahead),
        ("exec of the first process (posix_spawn of it)", posix),
        ("its other namespaces", first - posix),
        (
            "mounts, rules, filters, waiting",
            whole - (tool - ahead) - first - plain,
        ),
        ("the program", plain),
    ] {
        report.note(&format!("    {what}"), format!("{:.0} us", part * 1e6));
    }
}

/// The self-test, which a jailer runs before it serves.
pub(super) fn self_test(report: &mut Report) {
    for (kind, what) in [
        (COLD, "self-test of a jailer, native jails, p50"),
        (FOREIGN, "self-test of a jailer, and one manifest, p50"),
    ] {
        let mut times = Vec::new();
        for _ in 0..9 {
            let group = Group::new("self-test", JAILER);
            let argument = format!("{kind}:{}", at(group.as_ref()));
            let mut worker = Worker::start(keeper::KIND, &argument, None);
            times.extend(worker.ask("self-test", 1));
        }
        report.at_most(what, median(&mut times) * 1e3, 50.0, " ms");
    }
}
