//! Salts of payloads, from the kernel in portions: a system call for each would cost as much as
//! hashing a small payload.

use std::cell::RefCell;

use ring::rand::{SecureRandom, SystemRandom};

use super::frame::SALT;
use crate::error::{Error, Result};

/// Salts fetched at once.
const PORTION: usize = 32;

thread_local! {
    /// Random bytes nobody has seen; each is used once. This process never forks without exec.
    static POOL: RefCell<Vec<[u8; SALT]>> = const { RefCell::new(Vec::new()) };
}

/// Random bytes that were never given before.
///
/// # Errors
/// Fails where the kernel has none.
pub(crate) fn salt() -> Result<[u8; SALT]> {
    POOL.with_borrow_mut(|pool| {
        if pool.is_empty() {
            let mut portion = [[0; SALT]; PORTION];
            SystemRandom::new()
                .fill(portion.as_flattened_mut())
                .map_err(|_| Error::new("the kernel gave no random numbers"))?;
            pool.extend(portion);
        }
        pool.pop()
            .ok_or_else(|| Error::new("no random numbers are left"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_salt_is_given_twice() {
        let salts = || (0..PORTION * 3 + 1).map(|_| salt().unwrap());
        let mut all: HashSet<_> = salts().collect();
        all.extend(
            std::thread::spawn(move || salts().collect::<Vec<_>>())
                .join()
                .unwrap(),
        );
        assert_eq!(all.len(), 2 * (PORTION * 3 + 1));
    }
}
