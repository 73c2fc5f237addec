//! Identifiers that cannot be guessed: 80 random bits as 16 characters of Crockford's base 32.

use std::fmt;
use std::str::FromStr;

use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Identifier of a call (the "request id" an agent is told), a ticket, a run or a boot.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u128);

impl Id {
    /// Bits of randomness.
    pub const BITS: u32 = 80;

    /// A fresh identifier.
    ///
    /// # Errors
    /// Fails where the kernel gives no random numbers.
    pub fn random() -> Result<Self> {
        let mut bytes = [0_u8; 16];
        let (_, low) = bytes.split_at_mut(6);
        SystemRandom::new()
            .fill(low)
            .map_err(|_| Error::new("the kernel gave no random numbers"))?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..16).rev() {
            let digit = usize::try_from((self.0 >> (place * 5)) & 31).unwrap_or(0);
            let character = ALPHABET.get(digit).copied().unwrap_or(b'0');
            write!(f, "{}", char::from(character))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::new(format!("`{}` is not a request id", text.escape_debug()))
                .hint("a request id has 16 characters of 0-9 and a-z without i, l, o and u")
        };
        if text.len() != 16 {
            return Err(bad());
        }
        text.bytes()
            .try_fold(0_u128, |sum, byte| {
                let lower = byte.to_ascii_lowercase();
                let digit = ALPHABET.iter().position(|&c| c == lower).ok_or_else(bad)?;
                Ok((sum << 5) | u128::try_from(digit).unwrap_or(0))
            })
            .map(Self)
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_text() {
        let id = Id::random().unwrap();
        assert_eq!(id.to_string().len(), 16);
        assert_eq!(id.to_string().parse::<Id>().unwrap(), id);
        assert!("7q2k".parse::<Id>().is_err());
        assert!("uuuuuuuuuuuuuuuu".parse::<Id>().is_err());
    }
}
