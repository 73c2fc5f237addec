//! Cgroups for those who start jails here, in the cgroup this process is in.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use keepgate::jail::cgroup::{Controllers, host};

/// A subtree as a supervisor makes it; removed at its end.
pub(super) struct Group(PathBuf);

impl Group {
    /// For a process of the uid `owner`. `None` where this host lets us make none.
    pub(super) fn new(name: &str, owner: u32) -> Option<Self> {
        let (top, _) = host()?;
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let name = format!("keepgate-test-bench-{}-{name}", std::process::id());
        let path = top.join(own).join(name);
        fs::create_dir(&path).ok()?;
        let group = Self(path);
        let path = &group.0;
        fs::create_dir(path.join("jailer")).unwrap();
        let offered = fs::read_to_string(path.join("cgroup.controllers")).unwrap();
        for name in Controllers::parse(&offered).names() {
            fs::write(path.join("cgroup.subtree_control"), format!("+{name}")).unwrap();
        }
        for path in [path.clone(), path.join("cgroup.procs")] {
            chown(path, Some(owner), Some(owner)).unwrap();
        }
        Some(group)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whoever used it has ended and left nothing but this.
        drop(fs::remove_dir(self.0.join("jailer")));
        drop(fs::remove_dir(&self.0));
    }
}
