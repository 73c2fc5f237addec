//! The threads that write. While the commit of one is on its way through the disk, the other takes
//! on what queued meanwhile; a disk that works on two at once is used so.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::commit::{Dead, Finish};
use super::queue::{Shared, lock};
use super::writer::Writer;
use crate::error::{Error, Result};

/// Commits in flight at most.
pub(crate) const LANES: usize = 2;

struct Lanes {
    shared: Arc<Shared>,
    finish: Arc<Finish>,
    /// Whoever takes jobs has it until they are appended.
    writer: Mutex<Writer>,
    running: AtomicUsize,
}

/// Starts the threads; they end when the log closes or must block, and the last one lets go of it.
///
/// # Errors
/// Fails where a thread cannot be started.
pub(crate) fn start(writer: Writer) -> Result<Vec<JoinHandle<()>>> {
    let lanes = Arc::new(Lanes {
        shared: writer.shared(),
        finish: writer.finish(),
        writer: Mutex::new(writer),
        running: AtomicUsize::new(LANES),
    });
    let start = |lane| {
        let lanes = Arc::clone(&lanes);
        std::thread::Builder::new()
            .name(format!("log-{lane}"))
            .spawn(move || lanes.run(lane))
    };
    let threads: std::io::Result<Vec<_>> = (0..LANES).map(start).collect();
    threads.map_err(|error| {
        lanes.shared.close();
        Error::new("start the log's writer").because(error)
    })
}

impl Lanes {
    fn run(&self, lane: usize) {
        let mut done = self.work(lane);
        // Blocked first: whoever ends last signs nothing more then.
        self.block_on(&done);
        if self.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            done = lock(&self.writer).end();
            self.block_on(&done);
            self.shared.part();
        }
    }

    fn block_on(&self, done: &Result<(), Dead>) {
        if let Err(Dead(why)) = done {
            tracing::error!(log = %self.shared.dir().display(), why, "the log is blocked");
            self.shared.block(why);
        }
    }

    fn work(&self, lane: usize) -> Result<(), Dead> {
        while let Some((jobs, round)) = self.shared.take() {
            let commit = {
                let mut writer = lock(&self.writer);
                let commit = writer.turn(lane, jobs, round);
                if let Ok(commit) = &commit {
                    let due = writer.checkpoint_due();
                    self.shared.let_go(due, commit.is_some());
                }
                commit?
            };
            if let Some(commit) = commit {
                self.finish.run(commit)?;
                self.shared.landed();
            }
        }
        Ok(())
    }
}
