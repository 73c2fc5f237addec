//! What a jailed `http.request` and egress say to each other on the stream between them.
//!
//! ```text
//! frame   = kind(1) ‖ length(u32 LE) ‖ payload
//! tool    → egress   one ask = 'Q' head (JSON) ‖ 'B' body; the next ask only after the answer's end
//! egress  → tool     'H' head (JSON) ‖ 'D' body piece … ‖ 'E' end (JSON)   or, at any point,
//!                    'F' fault (JSON), after which egress closes the stream
//! ```
//!
//! Neither end trusts the other: the tool may have been taken over by what it parsed, and egress by
//! what it speaks with. Lengths are checked before memory is taken; what is no frame ends the lease.

use std::fmt;
use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::tools::order::Fault;
use crate::wire::messages::ARGUMENTS_MAX;

/// Bytes before a payload.
pub const HEADER: usize = 5;
/// Longest body piece, in bytes.
pub const PIECE_MAX: usize = 64 << 10;
/// Longest JSON payload, in bytes: a response head of 64 KiB may double when written as JSON.
pub const HEAD_MAX: usize = 256 << 10;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Head of a request.
    Ask,
    /// Body of a request, possibly empty.
    Body,
    /// Head of a response.
    Head,
    /// A piece of a response's body.
    Piece,
    /// The response is over.
    End,
    /// There is no response, or no more of it.
    Fault,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::Ask,
        Self::Body,
        Self::Head,
        Self::Piece,
        Self::End,
        Self::Fault,
    ];

    fn tag(self) -> u8 {
        match self {
            Self::Ask => b'Q',
            Self::Body => b'B',
            Self::Head => b'H',
            Self::Piece => b'D',
            Self::End => b'E',
            Self::Fault => b'F',
        }
    }

    fn max(self) -> usize {
        match self {
            Self::Ask | Self::Head | Self::End | Self::Fault => HEAD_MAX,
            Self::Body => ARGUMENTS_MAX,
            Self::Piece => PIECE_MAX,
        }
    }

    /// Reads the bytes before a payload: its kind and its length.
    ///
    /// # Errors
    /// Refuses unknown kinds and lengths beyond the kind's limit.
    pub fn header(bytes: [u8; HEADER]) -> Result<(Self, usize), Garbled> {
        let [tag, length @ ..] = bytes;
        let kind = Self::ALL
            .into_iter()
            .find(|kind| kind.tag() == tag)
            .ok_or(Garbled)?;
        let length = usize::try_from(u32::from_le_bytes(length)).map_err(|_| Garbled)?;
        if length > kind.max() {
            Err(Garbled)
        } else {
            Ok((kind, length))
        }
    }

    /// A frame as bytes.
    ///
    /// # Errors
    /// Refuses a payload beyond the kind's limit.
    pub fn frame(self, payload: &[u8]) -> Result<Vec<u8>, Garbled> {
        let length = u32::try_from(payload.len()).map_err(|_| Garbled)?;
        if payload.len() > self.max() {
            return Err(Garbled);
        }
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.push(self.tag());
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(payload);
        Ok(bytes)
    }
}

/// Head of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// In upper case.
    pub method: String,
    /// Absolute, without fragment.
    pub url: String,
    /// Names and values as the agent gave them.
    pub headers: Vec<(String, String)>,
}

/// Head of a response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// HTTP status.
    pub status: u16,
    /// The URL that answered, as it was sent.
    pub url: String,
    /// Lower-case names that an agent may see, with their values; a name may occur more than once.
    pub headers: Vec<(String, String)>,
    /// A redirect that egress would let out: its body is not sent, and the tool may ask for it.
    pub follow: bool,
}

/// End of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct End {
    /// The body went on beyond the lease's limit.
    pub truncated: bool,
}

/// The other end said something that is no frame, or not in its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Garbled;

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stream between tool and egress is garbled")
    }
}

impl std::error::Error for Garbled {}

impl From<Garbled> for io::Error {
    fn from(garbled: Garbled) -> Self {
        Self::new(io::ErrorKind::InvalidData, garbled)
    }
}

/// Reads the JSON payload of a frame.
///
/// # Errors
/// Refuses what is not exactly one `T`.
pub fn json<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Garbled> {
    serde_json::from_slice(payload).map_err(|_| Garbled)
}

/// Writes a JSON payload as a frame.
///
/// # Errors
/// Refuses what is beyond the kind's limit.
pub fn frame_of<T: Serialize>(kind: Kind, value: &T) -> Result<Vec<u8>, Garbled> {
    kind.frame(&serde_json::to_vec(value).map_err(|_| Garbled)?)
}

/// Sends a request: blocking, for the tool.
///
/// # Errors
/// What write(2) says, or an ask beyond its limits.
pub fn send(stream: &mut impl Write, ask: &Ask, body: &[u8]) -> io::Result<()> {
    let mut bytes = frame_of(Kind::Ask, ask)?;
    bytes.extend(Kind::Body.frame(body)?);
    stream.write_all(&bytes)
}

/// One thing egress says, for the tool.
#[derive(Debug)]
pub enum Said {
    /// Head of the response.
    Head(Head),
    /// A piece of its body.
    Piece(Vec<u8>),
    /// It is over.
    End(End),
    /// There is none.
    Fault(Fault),
}

/// Receives what egress says next: blocking, for the tool.
///
/// # Errors
/// What read(2) says, an early end of the stream, or [`Garbled`].
pub fn receive(stream: &mut impl Read) -> io::Result<Said> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header)?;
    let (kind, length) = Kind::header(header)?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload)?;
    Ok(match kind {
        Kind::Head => Said::Head(json(&payload)?),
        Kind::Piece => Said::Piece(payload),
        Kind::End => Said::End(json(&payload)?),
        Kind::Fault => Said::Fault(json(&payload)?),
        Kind::Ask | Kind::Body => return Err(Garbled.into()),
    })
}

/// For a fuzz target: what egress reads from a tool, and what a tool reads from egress.
pub fn fuzz_stream(bytes: &[u8]) {
    let mut rest = bytes;
    while receive(&mut rest).is_ok() {}
    let mut rest = bytes;
    while let Some((header, after)) = rest.split_first_chunk::<HEADER>() {
        let Ok((kind, length)) = Kind::header(*header) else {
            return;
        };
        let Some((payload, after)) = after.split_at_checked(length) else {
            return;
        };
        if kind == Kind::Ask && json::<Ask>(payload).is_err() {
            return;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_checked_before_memory_is_taken() {
        for (tag, max) in [
            (b'Q', HEAD_MAX),
            (b'B', ARGUMENTS_MAX),
            (b'D', PIECE_MAX),
            (b'H', HEAD_MAX),
        ] {
            let header = |length: usize| {
                let [a, b, c, d] = u32::try_from(length).unwrap().to_le_bytes();
                Kind::header([tag, a, b, c, d])
            };
            assert!(header(max).is_ok());
            assert_eq!(header(max + 1), Err(Garbled));
        }
        assert_eq!(Kind::header([b'Q', 255, 255, 255, 255]), Err(Garbled));
        assert_eq!(Kind::header([0, 0, 0, 0, 0]), Err(Garbled));
        assert_eq!(Kind::Piece.frame(&vec![0; PIECE_MAX + 1]), Err(Garbled));
    }

    #[test]
    fn what_egress_may_not_say_is_refused() {
        let head = br#"{"status":200,"url":"u","headers":[],"follow":false}"#;
        assert!(matches!(
            receive(&mut &Kind::Head.frame(head).unwrap()[..]),
            Ok(Said::Head(_))
        ));
        let extra = br#"{"status":200,"url":"u","headers":[],"follow":false,"x":1}"#;
        let twice = br#"{"status":200,"status":200,"url":"u","headers":[],"follow":false}"#;
        for payload in [&extra[..], twice, b"", b"{}", b"[]", b"\xff"] {
            assert!(receive(&mut &Kind::Head.frame(payload).unwrap()[..]).is_err());
        }
        for kind in [Kind::Ask, Kind::Body] {
            assert!(receive(&mut &kind.frame(b"{}").unwrap()[..]).is_err());
        }
        assert!(receive(&mut &b"D\x05\0\0\0abc"[..]).is_err());
        assert!(receive(&mut &b"D"[..]).is_err());
        fuzz_stream(b"Q\x02\0\0\0{}");
        fuzz_stream(b"B\x01\0\0\0aD\0\0\0\0");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(0_u8..=255, 0..64)) {
            fuzz_stream(&bytes);
        }
    }
}
