//! The ClientHello of TLS (RFC 8446, section 4.1.2): just enough of it to know whom the client
//! asks for. No I/O.
//!
//! rustls' `Acceptor` reads the same and was the first choice; but it passes over a server name
//! that is an address, and a client without `signature_algorithms` is none to it. Tests and the
//! fuzz target hold the two readers against each other.

/// Longest ClientHello, in bytes, its four bytes of head included.
pub(super) const HELLO_MAX: usize = 16 << 10;
/// Bytes of a handshake message before its body: type, and length in three bytes.
pub(super) const MESSAGE_HEAD: usize = 4;
/// Handshake type of a ClientHello.
const CLIENT_HELLO: u8 = 1;
/// Most extensions.
const EXTENSIONS_MAX: usize = 128;
/// `server_name` (RFC 6066, section 3).
const SERVER_NAME: u16 = 0;
/// `encrypted_server_name`, a draft, and `encrypted_client_hello` (RFC 9849), which it became: the
/// real name cannot be seen. Clients that send the second as a decoy (GREASE) are refused too: the
/// two cannot be told apart.
const ENCRYPTED_NAME: [u16; 2] = [0xffce, 0xfe0d];

/// Why bytes are no ClientHello: one sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Odd(pub(super) &'static str);

/// How long the message that begins so is, its head included; `None` before that is known.
///
/// # Errors
/// Refuses what begins another message, and a message longer than [`HELLO_MAX`].
pub(super) fn length(message: &[u8]) -> Result<Option<usize>, Odd> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(Odd("the TLS handshake does not begin with a ClientHello"));
    }
    let Some([_, a, b, c]) = message.first_chunk::<MESSAGE_HEAD>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([0, *a, *b, *c]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    match length.checked_add(MESSAGE_HEAD) {
        Some(length) if length <= HELLO_MAX => Ok(Some(length)),
        Some(_) | None => Err(Odd("the ClientHello is longer than 16 KiB")),
    }
}

/// The name a whole ClientHello message asks for, as it stands there.
///
/// # Errors
/// Refuses a message that is malformed, has an extension twice, or more than one name.
pub(super) fn name(message: &[u8]) -> Result<Option<&str>, Odd> {
    const BAD: Odd = Odd("the ClientHello is malformed");
    if length(message)? != Some(message.len()) {
        return Err(BAD);
    }
    let mut hello = Cursor(message.get(MESSAGE_HEAD..).unwrap_or_default());
    let version = hello.u16().ok_or(BAD)?;
    hello.take(32).ok_or(BAD)?;
    let session = hello.vector8().ok_or(BAD)?;
    let suites = hello.vector16().ok_or(BAD)?;
    let compression = hello.vector8().ok_or(BAD)?;
    let sound = version >> 8 == 3
        && session.0.len() <= 32
        && !suites.0.is_empty()
        && suites.0.len().is_multiple_of(2)
        && !compression.0.is_empty();
    if !sound {
        return Err(BAD);
    }
    if hello.0.is_empty() {
        return Ok(None);
    }
    let mut extensions = hello.vector16().ok_or(BAD)?;
    if !hello.0.is_empty() {
        return Err(BAD);
    }
    let mut seen: Vec<u16> = Vec::new();
    let mut name = None;
    while !extensions.0.is_empty() {
        let kind = extensions.u16().ok_or(BAD)?;
        let data = extensions.vector16().ok_or(BAD)?;
        if seen.contains(&kind) || seen.len() == EXTENSIONS_MAX {
            return Err(Odd("the ClientHello has an extension twice, or too many"));
        }
        seen.push(kind);
        match kind {
            SERVER_NAME => {
                name = Some(server_name(data).ok_or(Odd(
                    "the ClientHello's server name is not one name of printable ASCII",
                ))?)
            }
            kind if ENCRYPTED_NAME.contains(&kind) => {
                return Err(Odd("the ClientHello's server name is encrypted"));
            }
            _ => {}
        }
    }
    Ok(name)
}

fn server_name(mut data: Cursor<'_>) -> Option<&str> {
    let mut list = data.vector16()?;
    let kind = list.u8()?;
    let name = list.vector16()?;
    let alone = data.0.is_empty() && list.0.is_empty() && kind == 0;
    let plain = !name.0.is_empty() && name.0.iter().all(u8::is_ascii_graphic);
    str::from_utf8(name.0).ok().filter(|_| alone && plain)
}

/// What is left to read.
#[derive(Clone, Copy)]
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> Option<Self> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(Self(taken))
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.0.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?.0.first_chunk::<2>()?;
        Some(u16::from_be_bytes(*bytes))
    }

    fn vector8(&mut self) -> Option<Self> {
        let count = self.u8()?;
        self.take(count.into())
    }

    fn vector16(&mut self) -> Option<Self> {
        let count = self.u16()?;
        self.take(count.into())
    }
}

#[cfg(test)]
pub(in crate::egress) mod tests {
    use super::*;

    /// A ClientHello message with these extensions, which are written as they are given.
    pub(in crate::egress) fn message(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
        let mut all = Vec::new();
        for (kind, data) in extensions {
            all.extend(kind.to_be_bytes());
            all.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
            all.extend(data);
        }
        body.extend(u16::try_from(all.len()).unwrap().to_be_bytes());
        body.extend(all);
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [&[1], &length[1..], &body].concat()
    }

    /// The data of a `server_name` extension with these names.
    pub(in crate::egress) fn names(names: &[&[u8]]) -> Vec<u8> {
        let mut list = Vec::new();
        for name in names {
            list.push(0);
            list.extend(u16::try_from(name.len()).unwrap().to_be_bytes());
            list.extend(*name);
        }
        [&u16::try_from(list.len()).unwrap().to_be_bytes()[..], &list].concat()
    }

    #[test]
    fn a_name_is_found_among_other_extensions() {
        let hello = message(&[
            (0x0a0a, Vec::new()),
            (16, b"\0\x03\x02h2".to_vec()),
            (0, names(&[b"A.example"])),
            (0xff01, vec![0; 100]),
        ]);
        assert_eq!(name(&hello), Ok(Some("A.example")));
        assert_eq!(name(&message(&[(16, Vec::new())])), Ok(None));
        let mut bare = message(&[]);
        bare.truncate(bare.len() - 2);
        bare[3] -= 2;
        assert_eq!(name(&bare), Ok(None));
    }

    #[test]
    fn an_unclear_name_is_refused() {
        let twice = (0, names(&[b"a.example"]));
        let bad = [
            vec![twice.clone(), twice],
            vec![(0, names(&[b"a.example", b"b.example"]))],
            vec![(0, names(&[]))],
            vec![(0, names(&[b""]))],
            vec![(0, names(&[b"a.example\0.b.example"]))],
            vec![(0, names(&[b"a example"]))],
            vec![(0, names(&[b"b\xfccher.example"]))],
            vec![(0, Vec::new())],
            vec![(0, [names(&[b"a.example"]), vec![0]].concat())],
            vec![(0, b"\0\x04\x01\0\x01a".to_vec())],
            vec![(0, names(&[b"a.example"])), (ENCRYPTED_NAME[0], vec![1])],
            vec![
                (0, names(&[b"a.example"])),
                (ENCRYPTED_NAME[1], vec![0; 100]),
            ],
            (0..129).map(|kind| (kind + 100, Vec::new())).collect(),
        ];
        for extensions in bad {
            assert!(name(&message(&extensions)).is_err(), "{extensions:?}");
        }
    }

    #[test]
    fn a_message_that_is_cut_or_longer_is_refused() {
        let hello = message(&[(0, names(&[b"a.example"])), (16, b"\0\x03\x02h2".to_vec())]);
        for length in 0..hello.len() {
            assert!(name(&hello[..length]).is_err(), "{length}");
            let mut cut = hello[..length].to_vec();
            if length >= MESSAGE_HEAD {
                cut[3] = u8::try_from(length - MESSAGE_HEAD).unwrap();
                // With its extensions gone as a whole it is an old client's, and has no name.
                assert!(!matches!(name(&cut), Ok(Some(_))), "{length}");
            }
        }
        let longer = [hello.as_slice(), &[0]].concat();
        assert!(name(&longer).is_err());
        assert!(length(&[2]).is_err());
        assert!(length(&[1, 0, 0x40, 0]).is_err());
        assert_eq!(length(&[1, 0, 0x3f, 0xfc]), Ok(Some(HELLO_MAX)));
        assert_eq!(length(&[1, 0, 0]), Ok(None));
    }
}
