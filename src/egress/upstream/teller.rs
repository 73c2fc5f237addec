//! How a task tells the keeper something.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::client::Order;
use crate::wire::frame::AsyncLink;
use crate::wire::messages::{EgressToKeeper, Got, Unasked};

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

/// Takes no more orders for an upstream that has ended: what was not put to it yet is told, so that
/// nobody waits for an answer to it.
pub(super) async fn refuse(orders: &mut mpsc::Receiver<Order>, teller: &Teller) {
    orders.close();
    while let Some(order) = orders.recv().await {
        if let Order::Put(put) = order {
            let say = EgressToKeeper::Got {
                ticket: put.ticket,
                got: Got::Refused(Unasked::NotOpen),
                hops: Vec::new(),
            };
            teller.tell(&say, &[]).await;
        }
    }
}
