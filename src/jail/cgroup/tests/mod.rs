//! The exact sequence of what is made, written and removed, on a directory of plain files in the
//! kernel's place.

mod delegate;
mod fake;
mod pool;

use super::controllers::number;
use super::own::find;
use super::*;

#[test]
fn a_limit_is_written_where_its_controller_is() {
    let limits = Limits {
        memory: 1 << 20,
        processes: 3,
        cpu_percent: 50,
    };
    let all = Controllers::parse("cpuset cpu io memory hugetlb pids rdma\n");
    assert!(all.all() && all.missing().is_empty());
    let files = limits.files(all);
    let text = |file: &'static str, text: &str| (file, text.to_owned());
    assert_eq!(
        files,
        [
            text("memory.max", "1048576"),
            text("pids.max", "4"),
            text("cpu.max", "50000 100000")
        ]
    );
    let some = Controllers::parse("pids");
    assert_eq!(
        (some.names(), some.missing()),
        (vec!["pids"], vec!["memory", "cpu"])
    );
    assert_eq!(limits.files(some), [text("pids.max", "4")]);
    assert_eq!(limits.files(Controllers::default()), []);
    // No quota of nothing: the kernel refuses less than a millisecond.
    let least = Limits {
        cpu_percent: 0,
        ..limits
    };
    assert_eq!(least.files(all)[2], text("cpu.max", "1000 100000"));
}

#[test]
fn numbers_are_found_by_their_whole_key() {
    let events = "low 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 1\n";
    assert_eq!(number(events, "oom"), 3);
    assert_eq!(number(events, "oom_kill"), 2);
    assert_eq!(number(events, "high"), 0);
    assert_eq!(number("max x\n", "max"), 0);
}

#[test]
fn the_own_cgroup_is_found_wherever_it_is_mounted() {
    let path = |mounts, own: &str| find(mounts, own).map(|own| own.path.display().to_string());
    let pure = "24 1 0:22 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    let own = "0::/system.slice/keepgate.service\n";
    assert_eq!(
        path(pure, own).unwrap(),
        "/sys/fs/cgroup/system.slice/keepgate.service"
    );
    let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                  32 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                  41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
    assert_eq!(
        path(hybrid, "4:memory:/x\n1:cpu:/\n0::/\n").unwrap(),
        "/sys/fs/cgroup/unified/"
    );
    // Only a part is mounted, at a name with a space, before the mount that shows it.
    let part = "1 0 0:1 /other /mnt/a rw - cgroup2 none rw\n\
                2 0 0:1 /a\\040b /mnt/c\\040d rw master:1 - cgroup2 none rw\n";
    assert_eq!(path(part, "0::/a b/c\n").unwrap(), "/mnt/c d/c");
    for (mounts, own, why) in [
        ("", "0::/\n", "no cgroup2 is mounted"),
        (pure, "1:cpu:/\n", "this process is in no cgroup2"),
        (
            part,
            "0::/elsewhere\n",
            "no mount of cgroup2 shows this process' cgroup `/elsewhere`",
        ),
        // Outside of this cgroup namespace.
        (
            pure,
            "0::/../x\n",
            "no mount of cgroup2 shows this process' cgroup `/../x`",
        ),
    ] {
        assert_eq!(find(mounts, own).unwrap_err().why, why);
    }
}

#[test]
fn what_mends_it_depends_on_where_it_is_missing() {
    let none = Controllers::default();
    let all = Controllers::parse("memory pids cpu");
    assert!(own::mend(&["memory"], none).contains("cgroup_no_v1=all"));
    assert!(own::mend(&["memory"], all).contains("Delegate=memory pids cpu"));
    assert_eq!(own::mend(&["memory"], all), own::delegation());
}
