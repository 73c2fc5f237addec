//! Networks of foreign jails: each is a namespace with nothing but a loopback that is up, and serves
//! one jail. Making one takes the kernel longer than anything else of a jail, so that a few are made
//! ahead.

use std::io;
use std::os::fd::OwnedFd;

use crate::sys::network::Home;

/// Networks made ahead, and the place they are made from.
#[derive(Debug)]
pub(super) struct Networks {
    home: Home,
    most: usize,
    fresh: Vec<OwnedFd>,
}

impl Networks {
    /// At most `most` ahead.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn new(most: usize) -> io::Result<Self> {
        let home = Home::here()?;
        let fresh = Vec::new();
        Ok(Self { home, most, fresh })
    }

    /// A network nobody was in: one made ahead, or one made now.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn take(&mut self) -> io::Result<OwnedFd> {
        match self.fresh.pop() {
            Some(network) => Ok(network),
            None => self.home.fresh(),
        }
    }

    /// One more is wanted.
    pub(super) fn wants_more(&self) -> bool {
        self.fresh.len() < self.most
    }

    /// Makes one ahead.
    ///
    /// # Errors
    /// What the kernel says; no more are wanted then.
    pub(super) fn prepare(&mut self) -> io::Result<()> {
        let network = self.home.fresh().inspect_err(|_| self.most = 0)?;
        self.fresh.push(network);
        Ok(())
    }
}
