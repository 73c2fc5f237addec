//! What of a jail is limited, and which files of a leaf say so.

/// Period of `cpu.max` in microseconds; the kernel's own default.
const PERIOD_US: u64 = 100_000;

/// Controllers that a cgroup has or gives to its children.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Controllers {
    /// `memory.*`
    pub memory: bool,
    /// `pids.*`
    pub pids: bool,
    /// `cpu.max`
    pub cpu: bool,
}

impl Controllers {
    /// From `cgroup.controllers` or `cgroup.subtree_control`; others are not ours.
    pub fn parse(text: &str) -> Self {
        let has = |name| text.split_ascii_whitespace().any(|word| word == name);
        Self {
            memory: has("memory"),
            pids: has("pids"),
            cpu: has("cpu"),
        }
    }

    /// Every limit can be set.
    pub fn all(self) -> bool {
        self.memory && self.pids && self.cpu
    }

    /// Names of those that are there.
    pub fn names(self) -> Vec<&'static str> {
        self.pick(true)
    }

    /// Names of those that are not.
    pub fn missing(self) -> Vec<&'static str> {
        self.pick(false)
    }

    fn pick(self, there: bool) -> Vec<&'static str> {
        let all = [
            ("memory", self.memory),
            ("pids", self.pids),
            ("cpu", self.cpu),
        ];
        let those = all.into_iter().filter(|(_, has)| *has == there);
        those.map(|(name, _)| name).collect()
    }
}

/// Limits of a whole jail, whatever processes it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, with what the kernel keeps for it (`memory.max`); it has no swap.
    pub memory: u64,
    /// Processes and threads at a time beside the first (`pids.max` is one more).
    pub processes: u64,
    /// CPU time in percent of one processor (`cpu.max`), at least 1.
    pub cpu_percent: u32,
}

impl Limits {
    /// File and content of each limit that `controllers` can set.
    pub(super) fn files(self, controllers: Controllers) -> Vec<(&'static str, String)> {
        let processes = self.processes.saturating_add(1);
        let quota = u64::from(self.cpu_percent.max(1)).saturating_mul(PERIOD_US) / 100;
        let all = [
            (controllers.memory, "memory.max", self.memory.to_string()),
            (controllers.pids, "pids.max", processes.to_string()),
            (controllers.cpu, "cpu.max", format!("{quota} {PERIOD_US}")),
        ];
        let those = all.into_iter().filter(|(there, _, _)| *there);
        those.map(|(_, file, text)| (file, text)).collect()
    }
}

/// The number after `key` in a flat keyed file such as `memory.events`; 0 where it is not there,
/// as in older kernels.
pub(super) fn number(text: &str, key: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let found = lines.find(|(name, _)| *name == key);
    found.map_or(0, |(_, value)| value.trim().parse().unwrap_or(0))
}
