//! Who signs checkpoints: a software key now, a TPM later.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

use super::note::Vkey;
use crate::error::{Context, Error, Result};
use crate::sys::file::replace_durably;

/// Longest key file, in bytes.
const KEY_FILE_MAX: u64 = 4096;

/// Holds a log's P-256 key and signs with it.
pub trait Sealer: Send + Sync + fmt::Debug {
    /// The public key as SubjectPublicKeyInfo DER (RFC 5480), the point uncompressed.
    fn public_key(&self) -> Vec<u8>;

    /// ECDSA over P-256 and SHA-256 of `message`, as ASN.1 DER.
    ///
    /// # Errors
    /// Fails where the key cannot be used now.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>>;
}

/// The text form of a sealer's public key for the log `origin`.
///
/// # Errors
/// Fails where the sealer's key is not of P-256.
pub fn vkey(sealer: &dyn Sealer, origin: &str) -> Result<Vkey> {
    Vkey::new(origin, &sealer.public_key())
}

/// A key in a file: whoever reads the file can sign as this log.
pub struct SoftwareSealer {
    pair: EcdsaKeyPair,
    random: SystemRandom,
}

impl fmt::Debug for SoftwareSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SoftwareSealer(..)")
    }
}

impl SoftwareSealer {
    /// Opens the key in the PKCS#8 file `path`, and makes it, with mode 0600, where it is absent.
    ///
    /// # Errors
    /// Fails where the file holds no P-256 key, others may read it, or it cannot be written.
    pub fn open(path: &Path) -> Result<Self> {
        match File::open(path) {
            Ok(file) => Self::read(file, path),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Self::create(path),
            Err(error) => {
                Err(Error::new(format!("open the log key `{}`", path.display())).because(error))
            }
        }
    }

    /// Makes a new key in the file `path`, with mode 0600.
    ///
    /// # Errors
    /// Fails where the file is there already or cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        if path.symlink_metadata().is_ok() {
            return Err(Error::new(format!(
                "the log key `{}` is there already",
                path.display()
            )));
        }
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random)
            .map_err(|_| Error::new("the kernel gave no random numbers"))?;
        replace_durably(path, pkcs8.as_ref(), 0o600)
            .context(|| format!("write the log key `{}`", path.display()))?;
        Self::of(pkcs8.as_ref(), path)
    }

    fn read(file: File, path: &Path) -> Result<Self> {
        let what = || format!("read the log key `{}`", path.display());
        let mode = file.metadata().context(what)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(
                Error::new(format!("others may read the log key `{}`", path.display()))
                    .hint(format!("make a new one, or `chmod 600 {}`", path.display())),
            );
        }
        let mut bytes = Vec::new();
        file.take(KEY_FILE_MAX)
            .read_to_end(&mut bytes)
            .context(what)?;
        Self::of(&bytes, path)
    }

    fn of(pkcs8: &[u8], path: &Path) -> Result<Self> {
        let random = SystemRandom::new();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &random)
            .map_err(|_| Error::new(format!("`{}` holds no P-256 key", path.display())))?;
        Ok(Self { pair, random })
    }
}

impl Sealer for SoftwareSealer {
    fn public_key(&self) -> Vec<u8> {
        Vkey::spki_of_point(self.pair.public_key().as_ref())
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let signature = self
            .pair
            .sign(&self.random, message)
            .map_err(|_| Error::new("sign with the log key"))?;
        Ok(signature.as_ref().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_key_is_kept_private_and_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log.key");
        let made = SoftwareSealer::open(&path).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        let again = SoftwareSealer::open(&path).unwrap();
        assert_eq!(made.public_key(), again.public_key());
        let key = vkey(&made, "test").unwrap();
        assert!(key.verifies(b"message", &again.sign(b"message").unwrap()));
        assert!(!key.verifies(b"massage", &again.sign(b"message").unwrap()));
        assert_eq!(format!("{made:?}"), "SoftwareSealer(..)");
        assert!(SoftwareSealer::create(&path).is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(SoftwareSealer::open(&path).is_err());
        std::fs::write(directory.path().join("bad"), b"x").unwrap();
    }
}
