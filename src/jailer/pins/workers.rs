//! The threads that look.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

use super::check::{Not, Pinned, look};
use crate::error::{Context, Result};

/// How many look at a time: a few large trees do not hold up a small one.
const WORKERS: usize = 4;
/// Stack of one: a walk is as deep as a tree.
const STACK: usize = 2 << 20;

/// A look that is wanted.
#[derive(Debug)]
struct Job {
    manifest: String,
    pinned: Vec<Pinned>,
}

/// A look that has ended.
#[derive(Debug)]
pub(super) struct Look {
    /// At which manifest.
    pub(super) manifest: String,
    /// What it pins, with what is known of it now.
    pub(super) pinned: Vec<Pinned>,
    /// Whether that is what is there.
    pub(super) found: std::result::Result<(), Not>,
    /// What it took.
    pub(super) took: Duration,
}

/// The threads. They last as long as the process.
#[derive(Debug)]
pub(super) struct Workers {
    /// The own root directory.
    pub(super) root: Arc<OwnedFd>,
    /// The user of this install.
    pub(super) own: u32,
    jobs: Sender<Job>,
    looks: Receiver<Look>,
    /// A byte in it for each look that has ended.
    bell: io::PipeReader,
}

impl Workers {
    /// Begins them; `own` is the user of this install.
    ///
    /// # Errors
    /// Fails where the own root cannot be opened or a thread not be made.
    pub(super) fn new(own: u32) -> Result<Self> {
        let what = || "make the threads that look at what is pinned".to_owned();
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = Arc::new(open("/", flags, Mode::empty()).context(what)?);
        let (jobs, waiting) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let (ended, looks) = channel();
        let (bell, ring) = io::pipe().context(what)?;
        for _ in 0..WORKERS {
            let (waiting, ended, root) = (Arc::clone(&waiting), ended.clone(), Arc::clone(&root));
            let ring = ring.try_clone().context(what)?;
            let work = move || work(&waiting, &ended, &ring, &root, own);
            let builder = Builder::new().name("pins".into()).stack_size(STACK);
            builder.spawn(work).context(what)?;
        }
        Ok(Self {
            root,
            own,
            jobs,
            looks,
            bell,
        })
    }

    /// Has one of them look.
    pub(super) fn begin(&self, manifest: &str, pinned: Vec<Pinned>) {
        let manifest = manifest.to_owned();
        // They last as long as this does.
        drop(self.jobs.send(Job { manifest, pinned }));
    }

    /// What to watch.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// A look that has ended; to be asked once for each time that there is something to read.
    pub(super) fn ended(&self) -> Option<Look> {
        let mut byte = [0];
        let rung = (&self.bell).read(&mut byte);
        rung.is_ok_and(|read| read > 0)
            .then(|| self.looks.recv().ok())
            .flatten()
    }
}

fn work(
    waiting: &Mutex<Receiver<Job>>,
    ended: &Sender<Look>,
    mut ring: &io::PipeWriter,
    root: &OwnedFd,
    own: u32,
) {
    loop {
        let job = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .recv();
        let Ok(Job {
            manifest,
            mut pinned,
        }) = job
        else {
            return;
        };
        let since = Instant::now();
        let found = look(&mut pinned, root.as_fd(), own);
        let look = Look {
            manifest,
            pinned,
            found,
            took: since.elapsed(),
        };
        // First the look, then the byte that says it is there.
        if ended.send(look).is_err() || ring.write_all(&[1]).is_err() {
            return;
        }
    }
}
