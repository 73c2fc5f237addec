//! How a task tells the keeper something.

use std::sync::Arc;

use crate::wire::frame::AsyncLink;
use crate::wire::messages::EgressToKeeper;

/// The link to the keeper, for one task.
#[derive(Debug, Clone)]
pub(super) struct Teller {
    link: Arc<AsyncLink>,
}

impl Teller {
    /// Over this link.
    pub(super) fn new(link: Arc<AsyncLink>) -> Self {
        Self { link }
    }

    /// Tells it; waits while the keeper does not read, and with it the server that is told of.
    pub(super) async fn tell(&self, say: &EgressToKeeper, blob: &[u8]) {
        if let Err(error) = self.link.send(say, blob, &[]).await {
            // The desk notices that the link has ended, and ends everything.
            tracing::warn!(%error, "the keeper does not hear of an upstream");
        }
    }
}
