//! Checkpoints as C2SP signed notes (c2sp.org/signed-note, c2sp.org/tlog-checkpoint), signed with
//! ECDSA over P-256 and SHA-256: signature type 0x02, whose key id is the beginning of the SHA-256
//! of the public key in SPKI form.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};

use super::tree::{Hash, sha256};
use crate::error::{Error, Kind, Result};
use crate::wire::text::{escaped, hex};

/// Longest note, in bytes.
pub const NOTE_MAX: usize = 64 << 10;
/// Most signatures on a note.
pub const SIGNATURES_MAX: usize = 16;
/// Longest name of a log, in bytes.
pub const ORIGIN_MAX: usize = 200;
const TYPE_ECDSA: u8 = 2;
/// DER of a P-256 SubjectPublicKeyInfo up to the uncompressed point (RFC 5480).
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
const POINT: usize = 65;

fn tampered(what: impl Into<String>) -> Error {
    Error::of(Kind::Tampered, what)
}

/// Whether this can name a log: 1 to [`ORIGIN_MAX`] printable ASCII characters without space,
/// `+`, `"` and `\`.
///
/// # Errors
/// Says what a name looks like.
pub fn check_origin(origin: &str) -> Result<()> {
    let good = |byte: u8| byte.is_ascii_graphic() && !b"+\"\\".contains(&byte);
    if (1..=ORIGIN_MAX).contains(&origin.len()) && origin.bytes().all(good) {
        return Ok(());
    }
    Err(
        Error::new(format!("`{}` cannot name a log", escaped(origin)))
            .hint("a log's name is printable ASCII without spaces, `+`, quotes and backslashes"),
    )
}

/// A public key with the name of its log: `NAME+KEYID+BASE64(0x02 ‖ SPKI)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vkey {
    name: String,
    spki: Vec<u8>,
}

impl Vkey {
    /// Of a P-256 key in SPKI DER with an uncompressed point.
    ///
    /// # Errors
    /// Fails on any other kind of key, and on a name no log can have.
    pub fn new(name: &str, spki: &[u8]) -> Result<Self> {
        check_origin(name)?;
        let point = spki.strip_prefix(&SPKI_HEAD[..]);
        if !point.is_some_and(|point| point.len() == POINT && point.first() == Some(&4)) {
            return Err(Error::new("the log key is not a P-256 key"));
        }
        Ok(Self {
            name: name.into(),
            spki: spki.into(),
        })
    }

    /// The DER of a P-256 key from its uncompressed point.
    pub fn spki_of_point(point: &[u8]) -> Vec<u8> {
        [&SPKI_HEAD[..], point].concat()
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// Fails on anything but the one spelling of a P-256 key.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::of(Kind::Usage, format!("`{}` is not a log key", escaped(text))).hint(
                "a log key looks like `NAME+1a2b3c4d+BASE64`; `keepgate log verify` prints it",
            )
        };
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad());
        };
        let bytes = STANDARD.decode(key).map_err(|_| bad())?;
        let Some((&TYPE_ECDSA, spki)) = bytes.split_first() else {
            return Err(bad());
        };
        let vkey = Self::new(name, spki).map_err(|_| bad())?;
        if hex(&vkey.key_id()) == id {
            Ok(vkey)
        } else {
            Err(bad())
        }
    }

    /// Name of the log.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// First four bytes of the SHA-256 of the key's SPKI form.
    pub fn key_id(&self) -> [u8; 4] {
        let [a, b, c, d, ..] = sha256(&[&self.spki]);
        [a, b, c, d]
    }

    /// Whether `signature` (ASN.1 DER) is this key's over `message`.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let point = self.spki.get(SPKI_HEAD.len()..).unwrap_or_default();
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
            .verify(message, signature)
            .is_ok()
    }
}

impl fmt::Display for Vkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([&[TYPE_ECDSA], &self.spki[..]].concat());
        write!(f, "{}+{}+{key}", self.name, hex(&self.key_id()))
    }
}

/// What the old key signs when a new one takes over at entry `seq`.
pub fn key_change_text(origin: &str, seq: u64, old: &str, new: &str) -> String {
    format!("keepgate/v1/key-change\n{origin}\n{seq}\n{old}\n{new}\n")
}

/// Size and root of a log's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Name of the log.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// Root of the tree over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.size,
            STANDARD.encode(self.root)
        )
    }

    /// The signed note, given the signature over [`Checkpoint::text`].
    pub fn note(&self, vkey: &Vkey, signature: &[u8]) -> String {
        let line = STANDARD.encode([&vkey.key_id()[..], signature].concat());
        format!("{}\n\u{2014} {} {line}\n", self.text(), vkey.name())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Signature {
    name: String,
    key_id: [u8; 4],
    bytes: Vec<u8>,
}

/// A checkpoint with signatures nobody has checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// What is signed.
    pub checkpoint: Checkpoint,
    signatures: Vec<Signature>,
}

impl Note {
    /// Reads a signed checkpoint. Fit for fuzzing.
    ///
    /// # Errors
    /// Fails, as tampered, on anything but three lines of text, an empty line and signatures.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let bad = |what: &str| tampered(format!("the checkpoint is not a signed note: {what}"));
        if bytes.len() > NOTE_MAX {
            return Err(bad("it is too long"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| bad("it is not UTF-8"))?;
        let (body, signatures) = text
            .rsplit_once("\n\n")
            .ok_or_else(|| bad("no signatures"))?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root), None) =
            (lines.next(), lines.next(), lines.next(), lines.next())
        else {
            return Err(bad("it has not three lines"));
        };
        check_origin(origin).map_err(|_| bad("its name is none of a log"))?;
        let number: u64 = size.parse().map_err(|_| bad("its size is no number"))?;
        if number.to_string() != size {
            return Err(bad("its size is no number"));
        }
        let root: Option<Hash> = STANDARD
            .decode(root)
            .ok()
            .and_then(|root| root.try_into().ok());
        let root = root.ok_or_else(|| bad("its root is no hash"))?;
        let signatures = signatures
            .strip_suffix('\n')
            .ok_or_else(|| bad("its end is missing"))?;
        let signatures: Option<Vec<_>> = signatures
            .split('\n')
            .take(SIGNATURES_MAX + 1)
            .map(signature)
            .collect();
        let signatures = signatures.filter(|list| list.len() <= SIGNATURES_MAX);
        let signatures = signatures.ok_or_else(|| bad("a signature line is malformed"))?;
        let checkpoint = Checkpoint {
            origin: origin.into(),
            size: number,
            root,
        };
        Ok(Self {
            checkpoint,
            signatures,
        })
    }

    /// Checks the signature of `vkey`. Signatures of other keys are ignored.
    ///
    /// # Errors
    /// Fails, as tampered, where there is none or it is wrong.
    pub fn verify(&self, vkey: &Vkey) -> Result<()> {
        let id = vkey.key_id();
        let text = self.checkpoint.text();
        let mut known = self
            .signatures
            .iter()
            .filter(|signature| signature.name == vkey.name() && signature.key_id == id)
            .peekable();
        if known.peek().is_none() {
            return Err(tampered(format!(
                "the checkpoint is not signed by the log's key `{}`",
                hex(&id)
            )));
        }
        if known.all(|signature| vkey.verifies(text.as_bytes(), &signature.bytes)) {
            return Ok(());
        }
        Err(tampered(format!(
            "the checkpoint's signature by key `{}` is wrong",
            hex(&id)
        )))
    }
}

fn signature(line: &str) -> Option<Signature> {
    let (name, encoded) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    check_origin(name).ok()?;
    let bytes = STANDARD.decode(encoded).ok()?;
    let (key_id, bytes) = bytes.split_first_chunk::<4>()?;
    Some(Signature {
        name: name.into(),
        key_id: *key_id,
        bytes: bytes.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::sealer::{Sealer, SoftwareSealer};
    use proptest::prelude::*;

    fn signed() -> (Vkey, Checkpoint, String) {
        let directory = tempfile::tempdir().unwrap();
        let sealer = SoftwareSealer::open(&directory.path().join("key")).unwrap();
        let vkey = Vkey::new("keepgate.test/plane", &sealer.public_key()).unwrap();
        let origin = "keepgate.test/plane".into();
        let checkpoint = Checkpoint {
            origin,
            size: 12,
            root: [5; 32],
        };
        let signature = sealer.sign(checkpoint.text().as_bytes()).unwrap();
        let note = checkpoint.note(&vkey, &signature);
        (vkey, checkpoint, note)
    }

    #[test]
    fn a_note_verifies_and_no_changed_byte_does() {
        let (vkey, checkpoint, note) = signed();
        let parsed = Note::parse(note.as_bytes()).unwrap();
        assert_eq!(parsed.checkpoint, checkpoint);
        parsed.verify(&vkey).unwrap();
        for place in 0..note.len() {
            for bit in 0..8 {
                let mut bytes = note.clone().into_bytes();
                bytes[place] ^= 1 << bit;
                let verdict = Note::parse(&bytes).and_then(|note| note.verify(&vkey));
                assert_eq!(verdict.unwrap_err().kind(), Kind::Tampered, "byte {place}");
            }
        }
    }

    #[test]
    fn keys_have_one_spelling() {
        let (vkey, _, _) = signed();
        let text = vkey.to_string();
        assert_eq!(Vkey::parse(&text).unwrap(), vkey);
        assert!(text.starts_with("keepgate.test/plane+"));
        assert!(Vkey::parse(&text.replace("plane+", "plane+0")).is_err());
        assert!(Vkey::parse(&text.to_uppercase()).is_err());
        assert!(Vkey::parse("a+b").is_err());
        let (other, _, note) = signed();
        let note = Note::parse(note.as_bytes()).unwrap();
        assert!(note.verify(&other).is_ok() && note.verify(&vkey).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Note::parse(&bytes);
        }
    }
}
