//! A cgroup tree of plain files: everything goes through [`Group`], on a temporary directory, and
//! what the kernel would do is done beside it.

use std::cell::RefCell;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::super::{Controllers, Node};
use crate::sys::cgroup::Group;

/// Process id that a `0` written to `cgroup.procs` means.
pub(super) const SELF: u32 = 4242;

/// What happened, in order, and what shall fail.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    /// `make PATH`, `remove PATH`, `PATH/FILE=TEXT`, `give PATH[/FILE] UID`, below the top.
    pub(super) done: Vec<String>,
    /// Begins of what fails, and how.
    pub(super) fails: Vec<(String, ErrorKind)>,
    /// Processes that `cgroup.kill` does not end.
    pub(super) immortal: bool,
    /// Marked by systemd.
    pub(super) delegated: bool,
}

/// One cgroup.
#[derive(Debug)]
pub(super) struct Fake {
    group: Group,
    path: PathBuf,
    top: PathBuf,
    pub(super) kernel: Rc<RefCell<Kernel>>,
}

/// The files of a new cgroup.
fn fill(path: &Path, controllers: Controllers) {
    let put = |file: &str, text: &str| fs::write(path.join(file), text).unwrap();
    put("cgroup.controllers", &controllers.names().join(" "));
    put("cgroup.events", "populated 0\nfrozen 0\n");
    put("cpu.stat", "usage_usec 0\nuser_usec 0\n");
    for file in [
        "cgroup.kill",
        "cgroup.max.depth",
        "cgroup.max.descendants",
        "cgroup.procs",
        "cgroup.subtree_control",
    ] {
        put(file, "");
    }
    if controllers.memory {
        put("memory.events", "oom_kill 0\noom_group_kill 0\n");
        put("memory.current", "0\n");
        put("memory.peak", "0\n");
        for file in ["memory.max", "memory.oom.group", "memory.swap.max"] {
            put(file, "");
        }
    }
    if controllers.pids {
        put("pids.events", "max 0\n");
        put("pids.max", "max\n");
    }
    if controllers.cpu {
        put("cpu.max", "max 100000\n");
    }
}

/// A tree whose top has `controllers`.
pub(super) fn tree(controllers: &str) -> (tempfile::TempDir, Fake) {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), Controllers::parse(controllers));
    let fake = Fake::at(directory.path(), directory.path(), Rc::default()).unwrap();
    (directory, fake)
}

/// A jailer's subtree, as a supervisor makes it.
pub(super) fn plane(controllers: &str) -> (tempfile::TempDir, Fake) {
    let (directory, fake) = tree(controllers);
    fs::write(directory.path().join("cgroup.subtree_control"), controllers).unwrap();
    fake.make("jailer").unwrap();
    fake.kernel.borrow_mut().done.clear();
    (directory, fake)
}

impl Fake {
    fn at(path: &Path, top: &Path, kernel: Rc<RefCell<Kernel>>) -> io::Result<Self> {
        Ok(Self {
            group: Group::open(path)?,
            path: path.into(),
            top: top.into(),
            kernel,
        })
    }

    /// Another handle of the same.
    pub(super) fn again(&self) -> Self {
        Self::at(&self.path, &self.top, Rc::clone(&self.kernel)).unwrap()
    }

    /// What was done since the last time.
    pub(super) fn done(&self) -> Vec<String> {
        std::mem::take(&mut self.kernel.borrow_mut().done)
    }

    /// From now on, what begins so fails.
    pub(super) fn fail(&self, begin: &str, kind: ErrorKind) {
        self.kernel.borrow_mut().fails.push((begin.into(), kind));
    }

    fn name(&self, name: &str) -> String {
        let path = self.path.strip_prefix(&self.top).unwrap().join(name);
        path.display().to_string()
    }

    fn event(&self, what: String) -> io::Result<()> {
        let mut kernel = self.kernel.borrow_mut();
        let fails = kernel
            .fails
            .iter()
            .find(|(begin, _)| what.starts_with(begin));
        let answer = fails.map_or(Ok(()), |(_, kind)| Err(io::Error::from(*kind)));
        kernel.done.push(match &answer {
            Ok(()) => what,
            Err(_) => format!("!{what}"),
        });
        answer
    }
}

impl Node for Fake {
    fn child(&self, name: &str) -> io::Result<Self> {
        Self::at(&self.path.join(name), &self.top, Rc::clone(&self.kernel))
    }

    fn make(&self, name: &str) -> io::Result<()> {
        self.event(format!("make {}", self.name(name)))?;
        self.group.make(name)?;
        let given = Controllers::parse(&self.read("cgroup.subtree_control")?);
        fill(&self.path.join(name), given);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.event(format!("remove {}", self.name(name)))?;
        let path = self.path.join(name);
        let inside = fs::read_to_string(path.join("cgroup.events"))?;
        if inside.contains("populated 1") {
            return Err(ErrorKind::ResourceBusy.into());
        }
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                fs::remove_file(entry.path())?;
            }
        }
        self.group.remove(name)
    }

    fn children(&self) -> io::Result<Vec<String>> {
        self.group.children()
    }

    fn read(&self, file: &str) -> io::Result<String> {
        self.group.read(file)
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        self.event(format!("{}={text}", self.name(file)))?;
        let path = self.path.join(file);
        let before = self.group.read(file)?;
        // The kernel takes a write as the whole new content; a plain file has to be emptied first.
        File::options().write(true).open(&path)?.set_len(0)?;
        self.group.write(file, text)?;
        match file {
            "cgroup.kill" if !self.kernel.borrow().immortal => populate(&self.path, false),
            "cgroup.procs" => {
                fs::write(&path, format!("{before}{SELF}\n"))?;
                populate(&self.path, true);
                // A process is in one cgroup only; here it comes from the one above, or from below.
                let above = self.path.parent().unwrap().join(file);
                if self.path != self.top && above.exists() {
                    let rest = fs::read_to_string(&above)?.replace(&format!("{SELF}\n"), "");
                    fs::write(above, rest)?;
                }
                for below in self.children()? {
                    let held = fs::read_to_string(self.path.join(&below).join(file))?;
                    if held.contains(&SELF.to_string()) {
                        populate(&self.path.join(below), false);
                    }
                }
            }
            "cgroup.subtree_control" => {
                let mut names: Vec<&str> = before.split_ascii_whitespace().collect();
                match text.split_at(1) {
                    ("+", name) => names.push(name),
                    (_, name) => names.retain(|one| *one != name),
                }
                fs::write(&path, names.join(" "))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn file(&self, file: &str, change: bool) -> io::Result<File> {
        self.group.file(file, change)
    }

    fn give(&self, file: Option<&str>, uid: u32) -> io::Result<()> {
        let name = self.name(file.unwrap_or_default());
        self.event(format!("give {} {uid}", name.trim_end_matches('/')))
    }

    fn is_delegated(&self) -> bool {
        self.path == self.top && self.kernel.borrow().delegated
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.group.fd()
    }
}

/// Somebody is in the cgroup at `path`, or nobody in it and below.
pub(super) fn populate(path: &Path, somebody: bool) {
    let text = format!("populated {}\nfrozen 0\n", u8::from(somebody));
    fs::write(path.join("cgroup.events"), text).unwrap();
    if somebody {
        return;
    }
    for entry in fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            populate(&entry.path(), false);
        }
    }
}
