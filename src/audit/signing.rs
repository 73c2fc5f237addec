//! What the log signs: checkpoints and key changes.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::commit::Dead;
use super::log::{Head, Written};
use super::note::{Checkpoint, Vkey, key_change_text};
use super::sealer::{self, Sealer};
use super::segment::{CHECKPOINT, KeyChanged};
use super::tree::Hash;
use super::writer::{Writer, members};
use crate::error::{Error, Result};
use crate::sys::file::replace_durably;

impl Writer {
    pub(super) fn rotate(&mut self, sealer: Arc<dyn Sealer>) -> Result<Result<Written>, Dead> {
        let change = match self.key_change(&*sealer) {
            Ok(change) => change,
            Err(error) => return Ok(Err(error)),
        };
        let (body, vkey) = change;
        let written = match self.put_own("key.changed", body) {
            Ok(written) => written,
            Err(error) => return Err(Dead(error.message())),
        };
        self.sealer = sealer;
        self.chain.vkey = vkey;
        Ok(self.sign()?.map(|_| written))
    }

    fn key_change(&self, sealer: &dyn Sealer) -> Result<(Map<String, Value>, Vkey)> {
        let vkey = sealer::vkey(sealer, &self.chain.origin)?;
        let (old, new) = (self.chain.vkey.to_string(), vkey.to_string());
        let text = key_change_text(&self.chain.origin, self.chain.tree.size(), &old, &new);
        let signature = STANDARD.encode(self.sealer.sign(text.as_bytes())?);
        Ok((
            members(&KeyChanged {
                new,
                old,
                signature,
            })?,
            vkey,
        ))
    }

    /// When the next checkpoint is due; `None` when all is signed.
    pub(crate) fn checkpoint_due(&self) -> Option<Instant> {
        if self.signed == self.chain.tree.size() {
            return None;
        }
        Some(self.signed_at + self.options.checkpoint_every)
    }

    /// Signs when it is due and nobody waits, or when it is overdue once more.
    pub(super) fn checkpoint_if_due(&mut self, idle: bool) -> Result<(), Dead> {
        let Some(due) = self.checkpoint_due() else {
            return Ok(());
        };
        let now = Instant::now();
        let overdue = due + self.options.checkpoint_every;
        if now < due || (now < overdue && !idle) {
            return Ok(());
        }
        let Head { size, root } = self.shared.head();
        match self.settled.replace((size, root)) {
            Some((size, root)) if size > self.signed => {
                if let Err(error) = self.sign_over(size, root)? {
                    warn_unsigned(&error);
                }
            }
            Some(_) | None => self.signed_at = now,
        }
        Ok(())
    }

    pub(super) fn sign_or_warn(&mut self) -> Result<(), Dead> {
        if let Err(error) = self.sign()? {
            warn_unsigned(&error);
        }
        Ok(())
    }

    /// Signs and stores a checkpoint over everything, which must be durable. A sealer that fails is tried again; a
    /// disk that fails ends the log.
    pub(super) fn sign(&mut self) -> Result<Result<String>, Dead> {
        self.settled = None;
        self.sign_over(self.chain.tree.size(), self.chain.tree.root())
    }

    fn sign_over(&mut self, size: u64, root: Hash) -> Result<Result<String>, Dead> {
        self.signed_at = Instant::now();
        let origin = self.chain.origin.clone();
        let checkpoint = Checkpoint { origin, size, root };
        let signature = match self.sealer.sign(checkpoint.text().as_bytes()) {
            Ok(signature) => signature,
            Err(error) => return Ok(Err(error)),
        };
        let note = checkpoint.note(&self.chain.vkey, &signature);
        let path = self.dir.join(CHECKPOINT);
        replace_durably(&path, note.as_bytes(), 0o640)
            .map_err(|error| Dead(format!("write `{}`: {error}", path.display())))?;
        self.signed = checkpoint.size;
        Ok(Ok(note))
    }

    /// [`Writer::sign`] before the thread runs.
    pub(crate) fn sign_now(&mut self) -> Result<String> {
        self.sign()
            .unwrap_or_else(|Dead(why)| Err(self.shared.blocked_error(&why)))
    }
}

pub(super) fn warn_unsigned(error: &Error) {
    tracing::warn!(%error, "the log's checkpoint could not be signed; it is tried again");
}
