//! How long a server that failed is left alone before it is started again.

use std::time::Duration;

use crate::call::id::Id;

/// After the first failure.
const FIRST: Duration = Duration::from_millis(200);
/// After many.
const MOST: Duration = Duration::from_secs(60);
/// A server that served so long has not failed at its start: it begins at the first step again.
pub(super) const SERVED_WELL: Duration = Duration::from_secs(60);

/// The pause after that many failures in a row, shorter by up to a quarter so that servers that
/// failed together do not start together.
pub(super) fn pause(failures: u32) -> Duration {
    let doubled = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let most = doubled.min(MOST);
    most.saturating_sub(most / 1024 * chance())
}

/// From 0 to 255; 0 where the kernel has no random numbers, which is no reason not to wait.
fn chance() -> u32 {
    let text = Id::random().map(|id| id.to_string()).unwrap_or_default();
    text.bytes().fold(0, |sum: u32, byte| {
        sum.wrapping_mul(31).wrapping_add(byte.into())
    }) % 256
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_have_an_end() {
        let within = |failures: u32, most: Duration| {
            let all: Vec<Duration> = (0..200).map(|_| pause(failures)).collect();
            assert!(
                all.iter().all(|one| *one <= most && *one >= most * 3 / 4),
                "{failures}"
            );
            assert!(all.iter().any(|one| *one != all[0]), "no chance in it");
        };
        within(1, FIRST);
        within(2, FIRST * 2);
        within(5, FIRST * 16);
        within(9, FIRST * 256);
        within(10, MOST);
        within(u32::MAX, MOST);
    }
}
