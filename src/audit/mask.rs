//! Values that must never be stored: replaced once, before anything is hashed, stored or shown.

use std::collections::HashMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

use super::canonical;
use crate::error::{Error, Result};
use crate::wire::text::hex;

/// Shortest value that is masked, in bytes: shorter ones would occur by chance.
pub const VALUE_MIN: usize = 16;
/// What stands in a masked value's place.
pub const MARK: &[u8] = b"[masked]";
/// Every needle is at least this long; the table is keyed by its first bytes.
const KEY: usize = 8;

/// Bytes in which nothing is left that a [`Masker`] hides.
#[derive(Clone, PartialEq, Eq)]
pub struct Masked(Vec<u8>);

impl Masked {
    /// The bytes to show or send on.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes to store, show or send on.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl fmt::Debug for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masked({} bytes)", self.0.len())
    }
}

/// Hides values of at least [`VALUE_MIN`] bytes: as they are, as the inside of a JSON string, in
/// base64 and base64url at any of the three alignments, in hexadecimal and percent-encoded.
#[derive(Default)]
pub struct Masker {
    /// Needles by their first [`KEY`] bytes, longest first.
    needles: HashMap<[u8; KEY], Vec<Vec<u8>>>,
    values: usize,
}

impl fmt::Debug for Masker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Masker({} values)", self.values)
    }
}

impl Masker {
    /// Hides this value from now on.
    ///
    /// # Errors
    /// Fails on a value shorter than [`VALUE_MIN`].
    pub fn hide(&mut self, value: &[u8]) -> Result<()> {
        if value.len() < VALUE_MIN {
            return Err(
                Error::new(format!("a value of less than {VALUE_MIN} bytes"))
                    .hint("only values of at least 16 bytes can be masked in what tools return"),
            );
        }
        for needle in spellings(value) {
            let Some(key) = needle.first_chunk::<KEY>() else {
                continue;
            };
            let list = self.needles.entry(*key).or_default();
            if !list.contains(&needle) {
                list.push(needle);
                list.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
            }
        }
        self.values += 1;
        Ok(())
    }

    /// A copy of `bytes` with every hidden value replaced by [`MARK`].
    pub fn mask(&self, bytes: &[u8]) -> Masked {
        if self.needles.is_empty() {
            return Masked(bytes.to_vec());
        }
        let mut out = Vec::with_capacity(bytes.len());
        let mut rest = bytes;
        while let Some((&first, after)) = rest.split_first() {
            match self.hidden_prefix(rest).and_then(|len| rest.get(len..)) {
                Some(behind) => {
                    out.extend_from_slice(MARK);
                    rest = behind;
                }
                None => {
                    out.push(first);
                    rest = after;
                }
            }
        }
        Masked(out)
    }

    /// Length of the hidden value `rest` begins with.
    fn hidden_prefix(&self, rest: &[u8]) -> Option<usize> {
        let list = self.needles.get(rest.first_chunk::<KEY>()?)?;
        list.iter()
            .find(|needle| rest.starts_with(needle))
            .map(Vec::len)
    }
}

/// The ways in which tools write a value.
fn spellings(value: &[u8]) -> Vec<Vec<u8>> {
    let lower = hex(value);
    let mut all = vec![
        value.to_vec(),
        lower.to_uppercase().into_bytes(),
        lower.into_bytes(),
    ];
    if let Ok(text) = std::str::from_utf8(value) {
        let mut quoted = Vec::new();
        canonical::write_string(text, &mut quoted);
        all.push(quoted.get(1..quoted.len() - 1).unwrap_or_default().to_vec());
    }
    for shift in 0..3_usize {
        let shifted = [vec![0; shift], value.to_vec()].concat();
        // Characters that also depend on the bytes before or after the value are left out.
        let from = [0, 2, 3].get(shift).copied().unwrap_or(0);
        let to = shifted.len() * 8 / 6;
        for text in [
            STANDARD_NO_PAD.encode(&shifted),
            URL_SAFE_NO_PAD.encode(&shifted),
        ] {
            all.push(text.get(from..to).unwrap_or_default().into());
        }
    }
    for upper in [true, false] {
        for reserved_only in [true, false] {
            all.push(percent(value, upper, reserved_only));
        }
    }
    all
}

fn percent(value: &[u8], upper: bool, reserved_only: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() * 3);
    for &byte in value {
        let unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if reserved_only && unreserved {
            out.push(byte);
            continue;
        }
        let code = if upper {
            format!("%{byte:02X}")
        } else {
            format!("%{byte:02x}")
        };
        out.extend_from_slice(code.as_bytes());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    const SECRET: &[u8] = b"tok/en+42 \"q\"\xc3\xa9?>";

    fn masker() -> Masker {
        let mut masker = Masker::default();
        masker.hide(SECRET).unwrap();
        masker
    }

    proptest! {
        #[test]
        fn no_spelling_gets_through(before in prop::collection::vec(any::<u8>(), 0..20),
                                    after in prop::collection::vec(any::<u8>(), 0..20)) {
            let whole = [before.clone(), SECRET.to_vec(), after.clone()].concat();
            let masker = masker();
            prop_assert!(!contains(masker.mask(&whole).bytes(), SECRET));
            for text in [STANDARD.encode(&whole), URL_SAFE.encode(&whole)] {
                let masked = masker.mask(text.as_bytes());
                prop_assert!(contains(masked.bytes(), MARK), "{}", text);
            }
            for text in [hex(&whole), hex(&whole).to_uppercase()] {
                prop_assert!(contains(masker.mask(text.as_bytes()).bytes(), MARK));
            }
            for (upper, reserved) in [(true, true), (true, false), (false, true), (false, false)] {
                let text = percent(&whole, upper, reserved);
                prop_assert!(contains(masker.mask(&text).bytes(), MARK));
            }
            prop_assert_eq!(masker.mask(&before), Masker::default().mask(&before));
        }
    }

    fn contains(bytes: &[u8], part: &[u8]) -> bool {
        bytes.windows(part.len()).any(|window| window == part)
    }

    #[test]
    fn json_strings_are_masked_and_nothing_is_shown() {
        let text = serde_json::to_vec(&std::str::from_utf8(SECRET).unwrap()).unwrap();
        let masker = masker();
        assert_eq!(masker.mask(&text).bytes(), [b"\"", MARK, b"\""].concat());
        assert_eq!(
            format!("{masker:?} {:?}", masker.mask(b"abc")),
            "Masker(1 values) Masked(3 bytes)"
        );
        assert!(Masker::default().hide(b"fifteen bytes..").is_err());
    }
}
