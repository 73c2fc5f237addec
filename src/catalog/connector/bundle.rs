//! A connector as one signed file: manifest, report, and every file it executes. It is read without a
//! network, and nothing of it is written before all of it was verified.
//!
//! ```text
//! bundle    = "keepgate-bundle/v1\n" ‖ length(u32) ‖ head (JSON) ‖ length(u16) ‖ signature ‖ body…
//! signature = of "keepgate/v1/bundle" ‖ 0 ‖ SHA-256(head): Ed25519 (RFC 8032), or ECDSA P-256 with
//!             SHA-256 in ASN.1 DER
//! body      = the content of each file of the head, in its order     numbers little endian
//! ```
//!
//! The head names the SHA-256 of every file, so the signature covers all. Keys are PKCS#8 and
//! SubjectPublicKeyInfo in PEM, as `openssl genpkey -algorithm ed25519` and `openssl pkey -pubout`
//! write them.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
    UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};

use super::tree::Content;
use crate::error::{Context, Error, Kind, Result};
use crate::wire::text::escaped;

const MAGIC: &[u8] = b"keepgate-bundle/v1\n";
const TAG: &[u8] = b"keepgate/v1/bundle\0";
/// Longest head, in bytes.
pub const HEAD_MAX: usize = 128 << 20;
/// Longest signature, in bytes.
const SIGNATURE_MAX: usize = 128;
/// DER of a SubjectPublicKeyInfo up to the key: Ed25519 (RFC 8410), P-256 (RFC 5480).
const ED25519_HEAD: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];
const P256_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Name of the connector.
    pub connector: String,
    /// Version of the Keepgate that wrote it.
    pub keepgate: String,
    /// Pinned paths, as the manifest names them.
    pub roots: Vec<PathBuf>,
    /// Everything beneath them.
    pub entries: Vec<Packed>,
    /// The manifest's text.
    pub manifest: String,
    /// The report's text.
    pub report: String,
    /// The record of the installation, where there is one.
    pub installed: Option<String>,
    /// Who approved it where it was written; no approval where it is read.
    pub approved_by: Option<String>,
}

/// One file, directory or link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packed {
    /// Which of [`Head::roots`].
    pub root: usize,
    /// Path beneath it; empty for itself.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Bytes of a file; 0 otherwise.
    pub size: u64,
    /// What it is.
    pub content: Content,
}

/// The permission bits of an entry in a bundle: what it brings is written before anybody approved it,
/// so there is no set-id program, and nothing that others may change. The mode of a link says nothing.
pub fn brought(mode: u32, content: &Content) -> u32 {
    match content {
        Content::Link(_) => mode & 0o777,
        Content::Directory | Content::File(_) => mode & 0o755,
    }
}

impl Head {
    /// Its bytes in a bundle.
    ///
    /// # Errors
    /// Fails where it becomes longer than [`HEAD_MAX`].
    pub fn bytes(&self) -> Result<Vec<u8>> {
        let bytes = serde_json::to_vec(self).context(|| "write the head of a bundle".into())?;
        match bytes.len() <= HEAD_MAX {
            true => Ok(bytes),
            false => Err(Error::new("the connector has too many files for a bundle")),
        }
    }

    /// Every entry is beneath a directory that comes before it, and has a plain name: what is
    /// unpacked in this order goes through no link and leaves no root.
    fn check(&self) -> Result<()> {
        let mut directories = BTreeSet::new();
        let mut seen = BTreeSet::new();
        for entry in &self.entries {
            let path = Path::new(&entry.path);
            let plain = path
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            // Compared as text: as paths, `a//b` and `a/b` are the same.
            let whole: PathBuf = path.components().collect();
            let named = whole.as_os_str() == path.as_os_str();
            let top = entry.path.is_empty();
            let above = path
                .parent()
                .map(|above| above.to_string_lossy().into_owned());
            let inside =
                top || above.is_some_and(|above| directories.contains(&(entry.root, above)));
            let fits =
                entry.mode == brought(entry.mode, &entry.content) && entry.root < self.roots.len();
            let sized = matches!(entry.content, Content::File(_)) || entry.size == 0;
            let fresh = seen.insert((entry.root, entry.path.clone()));
            if !plain || !named || !inside || !fits || !sized || !fresh || entry.path.contains('\0')
            {
                let shown = escaped(&entry.path);
                return Err(tampered(format!("the path `{shown}` in it is not plain")));
            }
            if entry.content == Content::Directory {
                directories.insert((entry.root, entry.path.clone()));
            }
        }
        Ok(())
    }
}

fn tampered(what: impl Into<String>) -> Error {
    let what = format!("the bundle is damaged: {}", what.into());
    Error::of(Kind::Tampered, what).hint("nothing of it was written; fetch it again, and the key")
}

/// The bytes before the bodies: everything but the files' contents.
///
/// # Errors
/// Fails where the key is none, or the head is too long.
pub fn begin(head: &Head, key: &Signing) -> Result<Vec<u8>> {
    let bytes = head.bytes()?;
    let signature = key.sign(&signed(&bytes))?;
    let length = u32::try_from(bytes.len()).context(|| "measure the head".into())?;
    let short = u16::try_from(signature.len()).context(|| "measure the signature".into())?;
    Ok([
        MAGIC,
        &length.to_le_bytes(),
        &bytes,
        &short.to_le_bytes(),
        &signature,
    ]
    .concat())
}

/// Reads and verifies everything before the bodies; what a fuzzer calls with any key.
///
/// # Errors
/// Kind tampered on anything but what [`begin`] gave with the other half of `trust`.
pub fn read_head(from: &mut impl Read, trust: &Trusted) -> Result<Head> {
    let mut magic = [0; MAGIC.len()];
    take(from, &mut magic)?;
    if magic != *MAGIC {
        return Err(tampered("it does not begin as one"));
    }
    let mut length = [0; 4];
    take(from, &mut length)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > HEAD_MAX {
        return Err(tampered("its head is too long"));
    }
    // No more memory than there are bytes.
    let mut bytes = Vec::new();
    let most = u64::try_from(length).unwrap_or(u64::MAX);
    from.take(most)
        .read_to_end(&mut bytes)
        .context(|| "read the bundle".into())?;
    if bytes.len() != length {
        return Err(tampered("its head is cut off"));
    }
    let mut short = [0; 2];
    take(from, &mut short)?;
    let short = usize::from(u16::from_le_bytes(short));
    if short > SIGNATURE_MAX {
        return Err(tampered("its signature is too long"));
    }
    let mut signature = vec![0; short];
    take(from, &mut signature)?;
    if !trust.verifies(&signed(&bytes), &signature) {
        return Err(Error::of(
            Kind::Tampered,
            "the bundle is not signed by the key that is trusted",
        )
        .hint(
            "nothing of it was written; name the public key of whoever wrote it: `--trust FILE`",
        ));
    }
    let head: Head = serde_json::from_slice(&bytes)
        .map_err(|error| tampered(format!("its head is not read: {error}")))?;
    head.check()?;
    Ok(head)
}

fn take(from: &mut impl Read, into: &mut [u8]) -> Result<()> {
    from.read_exact(into).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            tampered("it is cut off")
        } else {
            Error::new("read the bundle").because(error)
        }
    })
}

fn signed(head: &[u8]) -> Vec<u8> {
    [TAG, digest(&SHA256, head).as_ref()].concat()
}

/// A private key.
pub enum Signing {
    /// Ed25519.
    Ed25519(Ed25519KeyPair),
    /// ECDSA over P-256.
    P256(EcdsaKeyPair),
}

impl std::fmt::Debug for Signing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signing(..)")
    }
}

impl Signing {
    /// Of a PEM file's text.
    ///
    /// # Errors
    /// Kind usage where it holds no private key of either kind.
    pub fn parse(text: &str) -> Result<Self> {
        let bad = || {
            Error::of(Kind::Usage, "the file holds no private key for bundles")
                .hint("`openssl genpkey -algorithm ed25519 -out KEY` makes one")
        };
        let der = pem(text, "PRIVATE KEY").ok_or_else(bad)?;
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
            return Ok(Self::Ed25519(pair));
        }
        let random = SystemRandom::new();
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &der, &random)
            .map(Self::P256)
            .map_err(|_| bad())
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            Self::P256(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| Error::new("sign the bundle")),
        }
    }
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trusted {
    /// Ed25519: 32 bytes.
    Ed25519(Vec<u8>),
    /// P-256: the uncompressed point.
    P256(Vec<u8>),
}

impl Trusted {
    /// Of a PEM file's text.
    ///
    /// # Errors
    /// Kind usage where it holds no public key of either kind.
    pub fn parse(text: &str) -> Result<Self> {
        let der = pem(text, "PUBLIC KEY").unwrap_or_default();
        let ed25519 = der
            .strip_prefix(&ED25519_HEAD)
            .filter(|key| key.len() == 32);
        let p256 = der.strip_prefix(&P256_HEAD).filter(|key| key.len() == 65);
        match (ed25519, p256) {
            (Some(key), _) => Ok(Self::Ed25519(key.to_vec())),
            (None, Some(point)) => Ok(Self::P256(point.to_vec())),
            (None, None) => Err(
                Error::of(Kind::Usage, "the file holds no public key for bundles")
                    .hint("`openssl pkey -in KEY -pubout -out PUBLIC` makes it"),
            ),
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key)
                .verify(message, signature)
                .is_ok(),
            Self::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point)
                .verify(message, signature)
                .is_ok(),
        }
    }
}

fn pem(text: &str, what: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {what}-----"))?;
    let (inner, _) = rest.split_once(&format!("-----END {what}-----"))?;
    let joined: String = inner.split_whitespace().collect();
    STANDARD.decode(joined).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::text::unhex;

    /// The key of RFC 8032, section 7.1, TEST 1, in PKCS#8 and SubjectPublicKeyInfo (RFC 8410).
    fn keys() -> (Signing, Trusted) {
        let private = unhex("302e020100300506032b6570042204209d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let public = [
            &ED25519_HEAD[..],
            &unhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a").unwrap(),
        ]
        .concat();
        let text = |what: &str, der: &[u8]| {
            format!(
                "-----BEGIN {what}-----\n{}\n-----END {what}-----\n",
                STANDARD.encode(der)
            )
        };
        (
            Signing::parse(&text("PRIVATE KEY", &private)).unwrap(),
            Trusted::parse(&text("PUBLIC KEY", &public)).unwrap(),
        )
    }

    fn head() -> Head {
        let entry = |path: &str, content| Packed {
            root: 0,
            path: path.into(),
            mode: 0o755,
            size: 0,
            content,
        };
        Head {
            connector: "fake".into(),
            keepgate: "0".into(),
            roots: vec!["/srv/x".into()],
            entries: vec![
                entry("", Content::Directory),
                entry("a", Content::Directory),
                entry("a/b", Content::File("0".into())),
                entry("l", Content::Link("../../etc".into())),
            ],
            manifest: "m".into(),
            report: "r".into(),
            installed: None,
            approved_by: None,
        }
    }

    #[test]
    fn a_head_is_read_back_and_no_changed_byte_is() {
        let (key, trust) = keys();
        let bytes = begin(&head(), &key).unwrap();
        assert_eq!(read_head(&mut &*bytes, &trust).unwrap(), head());
        for place in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[place] ^= 1;
            let error = read_head(&mut &*wrong, &trust).unwrap_err();
            assert_eq!(error.kind(), Kind::Tampered, "byte {place}: {error}");
            assert!(
                read_head(&mut &bytes[..place], &trust).is_err(),
                "cut at {place}"
            );
        }
    }

    #[test]
    fn other_keys_do_not_count_and_both_kinds_do() {
        let (key, _) = keys();
        let random = SystemRandom::new();
        let der = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der.as_ref(), &random);
        let pair = pair.unwrap();
        let point = ring::signature::KeyPair::public_key(&pair)
            .as_ref()
            .to_vec();
        let trust = Trusted::P256(point);
        let good = begin(&head(), &Signing::P256(pair)).unwrap();
        assert!(read_head(&mut &*good, &trust).is_ok());
        let other = begin(&head(), &key).unwrap();
        assert!(read_head(&mut &*other, &trust).is_err());
        assert!(Trusted::parse("").is_err() && Signing::parse("x").is_err());
    }

    #[test]
    fn modes_that_give_rights_away_are_refused_though_signed() {
        let (key, trust) = keys();
        for mode in [0o4755, 0o2755, 0o1755, 0o775, 0o757, 0o100_755] {
            for place in [0, 1, 2] {
                let mut wrong = head();
                wrong.entries[place].mode = mode;
                let bytes = begin(&wrong, &key).unwrap();
                let error = read_head(&mut &*bytes, &trust).unwrap_err();
                assert_eq!(error.kind(), Kind::Tampered, "{mode:o} of {place}: {error}");
            }
        }
    }

    #[test]
    fn paths_that_lead_out_are_refused_though_signed() {
        let (key, trust) = keys();
        for path in ["../x", "/x", "a//b", "./x", "l/x", "none/x", "a", "a/b/c"] {
            let mut wrong = head();
            wrong.entries.push(Packed {
                root: 0,
                path: path.into(),
                mode: 0o644,
                size: 0,
                content: Content::File("0".into()),
            });
            let bytes = begin(&wrong, &key).unwrap();
            assert!(read_head(&mut &*bytes, &trust).is_err(), "{path}");
        }
    }
}
