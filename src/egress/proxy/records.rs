//! Follows a tunnel until it is sure for whom it is: TLS from the client's first byte (RFC 8446,
//! section 5.1), and a ClientHello that names the host the tunnel was opened to. No I/O.
//!
//! A server may answer a ClientHello with HelloRetryRequest, and then acts on the client's second
//! ClientHello, server name included. So the server's first record is looked at as well: while
//! that is not known the client may not go on with the handshake, and after a HelloRetryRequest
//! its second hello is held to the same name.

use super::hello::{self, Odd};

/// Content types of records.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// Bytes of a record before its content: type, version, length.
const RECORD_HEAD: usize = 5;
/// Longest content of a record, in bytes: TLS 1.2 allows its ciphers 2048 beyond 2^14.
const RECORD_MAX: usize = (1 << 14) + 2048;
/// Most records for one ClientHello.
const PIECES_MAX: usize = 64;
/// Bytes of a server's first record up to the end of its random: record head, message head,
/// version, random.
const ANSWER: usize = RECORD_HEAD + hello::MESSAGE_HEAD + 2 + 32;
/// Handshake type of a ServerHello.
const SERVER_HELLO: u8 = 2;
/// The random that makes a ServerHello a HelloRetryRequest (RFC 8446, section 4.1.3).
pub(in crate::egress) const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

const NO_TLS: Odd = Odd("the client does not speak TLS in its tunnel");

/// What the server's first record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Not here yet.
    Unknown,
    /// A HelloRetryRequest.
    Retry,
    /// Anything else: no second ClientHello can follow.
    Final,
}

/// Reads the beginning of what a server says.
#[derive(Debug, Default)]
pub(super) struct Server {
    head: Vec<u8>,
}

impl Server {
    /// Takes what came; says what the first record is, as soon as that is clear.
    ///
    /// # Errors
    /// Refuses a ServerHello that is spread over records before it can be told from a retry.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Answer, Odd> {
        let missing = ANSWER.saturating_sub(self.head.len());
        self.head.extend(bytes.iter().take(missing));
        let begins = [(0, HANDSHAKE), (RECORD_HEAD, SERVER_HELLO)];
        for (at, expected) in begins {
            match self.head.get(at) {
                None => return Ok(Answer::Unknown),
                Some(byte) if *byte != expected => return Ok(Answer::Final),
                Some(_) => {}
            }
        }
        if let Some([_, _, _, high, low]) = self.head.first_chunk::<RECORD_HEAD>()
            && usize::from(u16::from_be_bytes([*high, *low])) < ANSWER - RECORD_HEAD
        {
            return Err(Odd("the server's first message comes in pieces"));
        }
        Ok(match self.head.last_chunk::<32>() {
            Some(random) if self.head.len() == ANSWER => match *random == RETRY {
                true => Answer::Retry,
                false => Answer::Final,
            },
            Some(_) | None => Answer::Unknown,
        })
    }
}

/// Reads what the client says, record by record, until it is settled.
#[derive(Debug)]
pub(super) struct Client {
    host: String,
    /// The host is an address: a client names it, or nothing.
    nameless: bool,
    state: State,
    head: Vec<u8>,
    /// Bytes missing of the present record.
    left: usize,
    message: Vec<u8>,
    pieces: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the first ClientHello, or before it.
    First,
    /// Behind it: the server has the word.
    Between,
    /// In the second ClientHello.
    Second,
    /// Nothing that follows is a ClientHello in the clear.
    Settled,
}

impl Client {
    /// For a tunnel to `host`; `nameless` where that is an address.
    pub(super) fn new(host: &str, nameless: bool) -> Self {
        Self {
            host: host.into(),
            nameless,
            state: State::First,
            head: Vec::new(),
            left: 0,
            message: Vec::new(),
            pieces: 0,
        }
    }

    /// The first ClientHello is complete and right.
    pub(super) fn named(&self) -> bool {
        self.state != State::First
    }

    /// What was taken so far may go to the server: no ClientHello is under way in it.
    pub(super) fn clear(&self) -> bool {
        match self.state {
            State::First | State::Second => false,
            State::Between => self.head.is_empty(),
            State::Settled => true,
        }
    }

    /// Takes what came, knowing what the server has answered so far.
    ///
    /// # Errors
    /// Refuses what is no TLS, and a ClientHello that names another host or none.
    pub(super) fn feed(&mut self, bytes: &[u8], answer: Answer) -> Result<(), Odd> {
        if self.state == State::Between && answer == Answer::Final {
            self.settle();
        }
        let mut bytes = bytes;
        while !bytes.is_empty() && self.state != State::Settled {
            if self.left == 0 {
                let missing = RECORD_HEAD.saturating_sub(self.head.len());
                let (head, rest) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
                self.head.extend_from_slice(head);
                bytes = rest;
                self.begin(answer)?;
            } else {
                let (content, rest) = bytes.split_at_checked(self.left).unwrap_or((bytes, &[]));
                self.left = self.left.saturating_sub(content.len());
                bytes = rest;
                if matches!(self.state, State::First | State::Second) {
                    self.message.extend_from_slice(content);
                    self.judge()?;
                }
            }
        }
        Ok(())
    }

    /// A record begins, where its head is complete.
    fn begin(&mut self, answer: Answer) -> Result<(), Odd> {
        let begins = |kind| {
            matches!(
                (self.state, kind),
                (State::First | State::Second, HANDSHAKE)
            ) || (self.state == State::Between
                && matches!(
                    kind,
                    CHANGE_CIPHER_SPEC | ALERT | HANDSHAKE | APPLICATION_DATA
                ))
        };
        let sound = self.head.first().is_none_or(|kind| begins(*kind))
            && self.head.get(1).is_none_or(|major| *major == 3);
        if !sound {
            return Err(NO_TLS);
        }
        let Some([kind, _, _, high, low]) = self.head.first_chunk::<RECORD_HEAD>().copied() else {
            return Ok(());
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 || length > RECORD_MAX {
            return Err(NO_TLS);
        }
        self.head.clear();
        self.left = length;
        if self.state == State::Between && kind == HANDSHAKE {
            match answer {
                Answer::Unknown => {
                    return Err(Odd("the client goes on before the server has answered"));
                }
                Answer::Retry => self.state = State::Second,
                Answer::Final => self.settle(),
            }
        }
        if matches!(self.state, State::First | State::Second) {
            self.pieces = self.pieces.saturating_add(1);
            if self.pieces > PIECES_MAX {
                return Err(Odd("the ClientHello comes in too many pieces"));
            }
        }
        Ok(())
    }

    /// Looks at the message as far as it is here.
    fn judge(&mut self) -> Result<(), Odd> {
        let Some(length) = hello::length(&self.message)? else {
            return Ok(());
        };
        if self.message.len() < length {
            return Ok(());
        }
        if self.left != 0 || self.message.len() > length {
            return Err(Odd("something follows the ClientHello in its record"));
        }
        match hello::name(&self.message)? {
            Some(name) if name.eq_ignore_ascii_case(&self.host) => {}
            None if self.nameless => {}
            Some(_) => return Err(Odd("the ClientHello names another host than the tunnel's")),
            None => return Err(Odd("the ClientHello names no host")),
        }
        match self.state {
            State::First => self.state = State::Between,
            State::Between | State::Second | State::Settled => self.state = State::Settled,
        }
        self.message = Vec::new();
        self.pieces = 0;
        Ok(())
    }

    fn settle(&mut self) {
        self.state = State::Settled;
    }
}

/// For a fuzz target: whether the bytes begin a tunnel to `a.example`.
pub(super) fn fuzz(bytes: &[u8]) -> bool {
    let read = |size: usize| {
        let mut client = Client::new("a.example", false);
        for chunk in bytes.chunks(size.max(1)) {
            client.feed(chunk, Answer::Unknown)?;
        }
        Ok::<_, Odd>(client.named())
    };
    let named = read(bytes.len());
    for size in [1, 7, 4096] {
        assert_eq!(read(size), named, "it matters how the bytes come apart");
    }
    let mut server = Server::default();
    let whole = Server::default().feed(bytes);
    let pieces = bytes
        .chunks(5)
        .map(|chunk| server.feed(chunk))
        .find(|answer| !matches!(answer, Ok(Answer::Unknown)));
    assert_eq!(
        pieces.unwrap_or(Ok(Answer::Unknown)),
        whole,
        "a server in pieces is another"
    );
    if named == Ok(true)
        && let Some(other) = by_rustls(bytes)
    {
        assert_eq!(other, "a.example", "rustls reads another name");
    }
    named == Ok(true)
}

/// The name as rustls reads it, where it takes the bytes and finds one.
fn by_rustls(mut bytes: &[u8]) -> Option<String> {
    let mut acceptor = rustls::server::Acceptor::default();
    while acceptor.read_tls(&mut bytes).ok()? > 0 {
        match acceptor.accept() {
            Ok(Some(accepted)) => return accepted.client_hello().server_name().map(str::to_owned),
            Ok(None) => {}
            Err(_) => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests;
