//! Seats for long messages that are on their way: few, for all servers together, so that it does
//! not matter how many of them send long ones at the same time. Whoever finds no seat is read on
//! when there is one; whoever has one has to finish its message.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// Bytes of a message that needs no seat.
pub(super) const SMALL: usize = 64 << 10;
/// Seats: with each, a message and what is made of it.
const SEATS: usize = 8;
/// How long a message may take once it has a seat.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a message has that waits for nobody else any more.
pub(super) type Seat = Option<OwnedSemaphorePermit>;

/// All seats.
pub(super) fn seats() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(SEATS))
}

/// The seat of one stream, while it has one.
#[derive(Debug)]
pub(super) struct Large {
    seats: Arc<Semaphore>,
    seat: Option<(OwnedSemaphorePermit, Instant)>,
}

impl Large {
    /// Without a seat.
    pub(super) fn new(seats: &Arc<Semaphore>) -> Self {
        Self {
            seats: Arc::clone(seats),
            seat: None,
        }
    }

    /// A stream of which so many bytes are held may not be read on before it has a seat.
    pub(super) fn wants(&mut self, held: usize) -> bool {
        if held <= SMALL {
            self.seat = None;
        }
        held > SMALL && self.seat.is_none()
    }

    /// Waits for a seat.
    pub(super) async fn sit(&mut self) {
        // The seats are never closed.
        if let Ok(permit) = Arc::clone(&self.seats).acquire_owned().await {
            self.seat = Some((permit, Instant::now() + PATIENCE));
        }
    }

    /// When the message has to be there, where it has a seat.
    pub(super) fn until(&self) -> Option<Instant> {
        self.seat.as_ref().map(|(_, until)| *until)
    }

    /// Lets go of the seat: the message takes it along.
    pub(super) fn stand(&mut self) -> Seat {
        self.seat.take().map(|(permit, _)| permit)
    }
}

/// Why a message that does not end ends its server.
pub(super) fn slow() -> String {
    let seconds = PATIENCE.as_secs();
    format!("it has not finished a long message within {seconds} seconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_are_so_many_seats_and_each_is_given_back() {
        let seats = seats();
        let mut all: Vec<Large> = (0..SEATS).map(|_| Large::new(&seats)).collect();
        for one in &mut all {
            assert!(!one.wants(SMALL) && one.wants(SMALL + 1));
            one.sit().await;
            assert!(!one.wants(SMALL + 1) && one.until().is_some());
        }
        assert_eq!(seats.available_permits(), 0);
        let carried = all[0].stand();
        assert!(all[1].until().is_some() && !all[1].wants(0));
        assert_eq!(seats.available_permits(), 1);
        drop(carried);
        assert_eq!(seats.available_permits(), 2);
    }
}
