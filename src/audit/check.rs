//! The check of one segment from its first byte: what opening and verifying have in common.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::canonical;
use super::entry::{PayloadRef, Skeleton, parse_hash};
use super::frame::{self, Frames, Header, Kind, Mix, Step, offset};
use super::note::{Note, Vkey, check_origin, key_change_text};
use super::segment::{KeyChanged, Opening, Previous, Segment};
use super::tree::{Frontier, Hash, leaf};
use crate::error::{self, Context, Error, Result};
use crate::wire::text::hex;

/// Everything that carries over from one entry to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) origin: String,
    /// Its size is the number of the next entry.
    pub(crate) tree: Frontier,
    /// Leaf hash of the last entry.
    pub(crate) prev: Hash,
    /// The key in force.
    pub(crate) vkey: Vkey,
}

/// One entry that fits.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) skeleton: &'a Skeleton<'a>,
    /// The stored bytes.
    pub(crate) bytes: &'a [u8],
    pub(crate) at: u64,
    /// Payloads of it that were pruned.
    pub(crate) pruned: u64,
}

/// What to check a segment against.
#[derive(Debug)]
pub(crate) struct Task<'a> {
    pub(crate) segment: &'a Segment,
    /// The chain up to this segment; `None` takes it from the segment's first entry.
    pub(crate) before: Option<(Chain, Previous)>,
    pub(crate) checkpoint: Option<&'a Note>,
    /// Whether this is the last segment, which may end in a torn tail.
    pub(crate) last: bool,
}

/// What checking a segment gave.
#[derive(Debug)]
pub(crate) struct Checked {
    /// The chain after the last entry; `None` where not even the first entry is whole.
    pub(crate) chain: Option<Chain>,
    /// Offset behind the last entry.
    pub(crate) end: u64,
    /// Bytes of the file; those after `end` are a torn tail.
    pub(crate) length: u64,
    pub(crate) mix: Mix,
}

/// A payload frame whose entry has not come yet.
#[derive(Debug)]
struct Waiting {
    at: u64,
    len: u64,
    check: [u8; 4],
    /// `None`: pruned, all zeros.
    digest: Option<Hash>,
}

struct Checker<'a> {
    task: Task<'a>,
    chain: Option<Chain>,
    mix: Option<Mix>,
    end: u64,
    waiting: Vec<Waiting>,
}

/// Checks one segment from its first byte: frames, canonical form, payload digests, numbers,
/// chain, tree, key changes and the checkpoint. `visit` gets every entry that fits.
///
/// # Errors
/// As tampered with file, offset and number where something does not fit; whatever `visit` says.
pub(crate) fn check(
    task: Task<'_>,
    visit: &mut dyn FnMut(Seen<'_>) -> Result<()>,
) -> Result<Checked> {
    let segment = task.segment;
    let reading = || format!("read the segment `{}`", segment.path.display());
    let mut frames = Frames::new(segment.open()?, 0).context(reading)?;
    let chain = task.before.as_ref().map(|(chain, _)| chain.clone());
    let mut checker = Checker {
        task,
        chain,
        mix: None,
        end: 0,
        waiting: Vec::new(),
    };
    let broken = loop {
        match frames.step().context(reading)? {
            Step::Frame {
                at,
                header,
                content,
            } => {
                if let Some(why) = checker.frame(at, header, content, visit)? {
                    break Some((at, why));
                }
            }
            Step::End if checker.waiting.is_empty() && checker.mix.is_some() => break None,
            Step::End => break Some((frames.at(), "the entry is missing")),
            Step::Broken { at, why } => break Some((at, why)),
        }
    };
    if let Some((at, why)) = broken {
        let seq = checker.next_seq();
        let intact = !checker.task.last
            || frame::intact_entry_after(frames.file(), at + 1, frames.length(), checker.mix)
                .context(reading)?;
        if intact {
            return Err(segment.tampered(at, seq, why));
        }
    }
    Ok(Checked {
        end: checker.end,
        length: frames.length(),
        mix: checker.mix.unwrap_or_default(),
        chain: checker.chain,
    })
}

impl Checker<'_> {
    fn next_seq(&self) -> u64 {
        self.chain
            .as_ref()
            .map_or(self.task.segment.start, |chain| chain.tree.size())
    }

    fn bad(&self, at: u64, what: impl std::fmt::Display) -> Error {
        self.task.segment.tampered(at, self.next_seq(), what)
    }

    /// Takes one frame; says why where its content is not what its check says.
    fn frame(
        &mut self,
        at: u64,
        header: Header,
        content: &[u8],
        visit: &mut dyn FnMut(Seen<'_>) -> Result<()>,
    ) -> Result<Option<&'static str>> {
        let mix = self.mix.unwrap_or_default();
        if header.kind == Kind::Payload {
            let pruned = content.iter().all(|byte| *byte == 0);
            let digest = (!pruned).then(|| frame::payload_digest(content));
            if digest.is_some_and(|digest| frame::check(&digest, mix) != header.check) {
                return Ok(Some("the payload's bytes do not fit its check"));
            }
            let len = offset(content.len() - frame::SALT);
            self.waiting.push(Waiting {
                at,
                len,
                check: header.check,
                digest,
            });
            return Ok(None);
        }
        let hash = leaf(content);
        if frame::check(&hash, mix) != header.check {
            return Ok(Some("the entry's bytes do not fit its check"));
        }
        let skeleton = canonical::text(content).and_then(Skeleton::parse);
        let skeleton = skeleton.map_err(|fault| self.bad(at, fault))?;
        let pruned = self.payloads(at, &skeleton.payloads, mix)?;
        self.link(at, &skeleton, hash)?;
        self.end = at + offset(frame::HEADER + content.len());
        visit(Seen {
            skeleton: &skeleton,
            bytes: content,
            at,
            pruned,
        })?;
        Ok(None)
    }

    /// Compares what an entry says of its payloads with the frames before it.
    fn payloads(&mut self, at: u64, named: &[PayloadRef], mix: Mix) -> Result<u64> {
        let waiting = std::mem::take(&mut self.waiting);
        if named.len() != waiting.len() {
            let (found, want) = (waiting.len(), named.len());
            return Err(self.bad(
                at,
                format!("{found} payload frames come before it, not {want}"),
            ));
        }
        let mut pruned = 0;
        for (named, found) in named.iter().zip(&waiting) {
            let digest = found.digest.unwrap_or(named.digest);
            let fits = named.at == found.at
                && named.len == found.len
                && named.digest == digest
                && found.check == frame::check(&named.digest, mix);
            if !fits {
                let name = &named.name;
                return Err(self.bad(
                    found.at,
                    format!(
                        "payload `{name}` should be {} bytes at {} with digest {}, but is {} bytes with {}",
                        named.len, named.at, hex(&named.digest), found.len, hex(&digest)
                    ),
                ));
            }
            pruned += u64::from(found.digest.is_none());
        }
        Ok(pruned)
    }

    /// Puts an entry behind the chain.
    fn link(&mut self, at: u64, skeleton: &Skeleton<'_>, hash: Hash) -> Result<()> {
        if self.mix.is_none() {
            self.opening(at, skeleton)?;
            self.mix = Some(frame::mix_of(&hash));
        } else if skeleton.kind == "segment" {
            return Err(self.bad(at, "a `segment` entry that is not a segment's first"));
        }
        let Some(mut chain) = self.chain.take() else {
            return Err(self.bad(at, "a segment that does not begin with a `segment` entry"));
        };
        let fits = if skeleton.seq != chain.tree.size() {
            Err(format!(
                "its number should be {}, but is {}",
                chain.tree.size(),
                skeleton.seq
            ))
        } else if skeleton.prev != chain.prev {
            let (want, is) = (hex(&chain.prev), hex(&skeleton.prev));
            Err(format!("its `prev` should be {want}, but is {is}"))
        } else if skeleton.origin != chain.origin {
            Err(format!(
                "its origin should be `{}`, but is `{}`",
                chain.origin, skeleton.origin
            ))
        } else if skeleton.kind == "key.changed" {
            changed_key(&chain, skeleton).map(|vkey| chain.vkey = vkey)
        } else {
            Ok(())
        };
        if let Err(what) = fits {
            return Err(self.task.segment.tampered(at, chain.tree.size(), what));
        }
        chain.tree.push(hash);
        chain.prev = hash;
        if let Some(note) = self.task.checkpoint
            && note.checkpoint.size == chain.tree.size()
        {
            let verdict = compare(note, &chain);
            verdict.map_err(|error| self.task.segment.tampered(at, skeleton.seq, error))?;
        }
        self.chain = Some(chain);
        Ok(())
    }

    /// Checks a segment's first entry, and begins the chain with it where there is none.
    fn opening(&mut self, at: u64, skeleton: &Skeleton<'_>) -> Result<()> {
        let start = self.task.segment.start;
        if skeleton.kind != "segment" {
            return Err(self.bad(at, "a segment that does not begin with a `segment` entry"));
        }
        let opening: Opening = serde_json::from_str(skeleton.body)
            .map_err(|error| self.bad(at, format!("a malformed `segment` entry: {error}")))?;
        let chain = chain_of(&opening, skeleton).map_err(|what| self.bad(at, what))?;
        if chain.tree.size() != start || (opening.previous.is_none()) != (start == 0) {
            return Err(self.bad(at, "the `segment` entry does not fit the segment's name"));
        }
        match &self.task.before {
            None => {
                if let Some(note) = self.task.checkpoint
                    && note.checkpoint.size == start
                {
                    compare(note, &chain).map_err(|error| self.bad(at, error))?;
                }
                self.chain = Some(chain);
            }
            Some((before, previous)) => {
                if opening.previous.as_ref() != Some(previous) {
                    return Err(self.bad(
                        at,
                        format!(
                            "the segment before it is not `{}` of {} bytes",
                            previous.name, previous.bytes
                        ),
                    ));
                }
                if chain.tree != before.tree || chain.vkey != before.vkey {
                    return Err(self.bad(at, "its tree or its key are not those of the log"));
                }
            }
        }
        Ok(())
    }
}

/// The chain before the entry a segment begins with, as the entry itself says.
fn chain_of(opening: &Opening, skeleton: &Skeleton<'_>) -> Result<Chain, String> {
    let hashes: Option<Vec<Hash>> = opening
        .frontier
        .iter()
        .map(|text| parse_hash(text))
        .collect();
    let tree = hashes.and_then(|hashes| Frontier::of(opening.size, hashes));
    let tree = tree.ok_or("the `segment` entry has no fitting frontier")?;
    let vkey = Vkey::parse(&opening.vkey).map_err(|error| error.message())?;
    check_origin(skeleton.origin).map_err(|error| error.message())?;
    if vkey.name() != skeleton.origin {
        return Err("the key in force is that of another log".into());
    }
    let prev = if opening.size == 0 {
        [0; 32]
    } else {
        skeleton.prev
    };
    Ok(Chain {
        origin: skeleton.origin.into(),
        tree,
        prev,
        vkey,
    })
}

/// The new key of a `key.changed` entry.
fn changed_key(chain: &Chain, skeleton: &Skeleton<'_>) -> Result<Vkey, String> {
    let body: KeyChanged = serde_json::from_str(skeleton.body)
        .map_err(|error| format!("a malformed `key.changed` entry: {error}"))?;
    let new = Vkey::parse(&body.new).map_err(|error| error.message())?;
    if body.old != chain.vkey.to_string() || new.name() != chain.origin {
        return Err("the key it replaces is not the key in force".into());
    }
    let text = key_change_text(&chain.origin, chain.tree.size(), &body.old, &body.new);
    let signature = STANDARD.decode(&body.signature).unwrap_or_default();
    if chain.vkey.verifies(text.as_bytes(), &signature) {
        return Ok(new);
    }
    Err("the old key's signature of the key change is wrong".into())
}

/// Compares a checkpoint with the chain of the same size.
pub(crate) fn compare(note: &Note, chain: &Chain) -> Result<()> {
    let checkpoint = &note.checkpoint;
    let bad = |what: String| Err(Error::of(error::Kind::Tampered, what));
    if checkpoint.origin != chain.origin {
        return bad(format!(
            "the checkpoint is of the log `{}`, not of `{}`",
            checkpoint.origin, chain.origin
        ));
    }
    note.verify(&chain.vkey)?;
    if checkpoint.root == chain.tree.root() {
        return Ok(());
    }
    bad(format!(
        "the checkpoint says that the root over {} entries is {}, but it is {}",
        checkpoint.size,
        hex(&checkpoint.root),
        hex(&chain.tree.root())
    ))
}
