//! The head of a request to the proxy (RFC 9112, sections 2 to 6), read strictly and once. No I/O.
//!
//! A request that two readers could take for different ones is refused: bare line ends, folded
//! lines, blanks before a colon, a length given twice or in two ways. hyper reads the head again
//! and moves the body; what passes here has one meaning for both.

/// Longest head, in bytes, its empty line included.
pub(super) const HEAD_MAX: usize = 32 << 10;
/// Most fields of a head.
pub(super) const FIELDS_MAX: usize = 100;
/// Longest method, in bytes.
const METHOD_MAX: usize = 16;

/// A request's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// As sent: a token.
    pub(super) method: String,
    /// The request target as sent: printable ASCII without blanks.
    pub(super) target: String,
    /// HTTP/1.0 instead of HTTP/1.1.
    pub(super) old: bool,
    /// Names in lower case, values without the blanks around them.
    pub(super) fields: Vec<(String, Vec<u8>)>,
    /// What follows the head.
    pub(super) body: Body,
}

/// How long the body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// There is none.
    None,
    /// So many bytes.
    Length(u64),
    /// It says so in chunks.
    Chunked,
}

/// Why bytes are no head: one sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Odd(pub(super) &'static str);

/// Where the head ends, if it has: behind the first empty line.
pub(super) fn end(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    at.checked_add(4)
}

impl Head {
    /// Reads a whole head, its empty line included.
    ///
    /// # Errors
    /// Refuses everything but one strict HTTP/1.1 or HTTP/1.0 head.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Odd> {
        let bytes = bytes
            .strip_suffix(b"\r\n\r\n")
            .filter(|_| bytes.len() <= HEAD_MAX)
            .ok_or(Odd("the request's head is too long or has no end"))?;
        let mut lines = Lines(Some(bytes));
        let (method, target, old) = request_line(lines.next().unwrap_or_default())?;
        let mut fields = Vec::new();
        for line in lines {
            if fields.len() == FIELDS_MAX {
                return Err(Odd("the request has more than 100 header fields"));
            }
            fields.push(field(line)?);
        }
        let body = body(&fields, old)?;
        Ok(Self {
            method,
            target,
            old,
            fields,
            body,
        })
    }

    /// All values of the field `name`, which is in lower case.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        values(&self.fields, name)
    }
}

/// Lines that end in CR LF, and nothing else does.
struct Lines<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let bytes = self.0.take()?;
        let at = bytes.windows(2).position(|two| two == b"\r\n");
        let (line, rest) = match at.and_then(|at| bytes.split_at_checked(at)) {
            Some((line, rest)) => (line, rest.strip_prefix(b"\r\n")),
            None => (bytes, None),
        };
        self.0 = rest;
        Some(line)
    }
}

fn request_line(line: &[u8]) -> Result<(String, String, bool), Odd> {
    let odd = Odd("the first line is no `METHOD TARGET HTTP/1.1`");
    let text = str::from_utf8(line).map_err(|_| odd)?;
    let mut words = text.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(odd);
    };
    let old = match version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return Err(odd),
    };
    let token = !method.is_empty() && method.len() <= METHOD_MAX && method.bytes().all(is_token);
    let visible = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_graphic());
    match token && visible {
        true => Ok((method.into(), target.into(), old)),
        false => Err(odd),
    }
}

fn field(line: &[u8]) -> Result<(String, Vec<u8>), Odd> {
    if line
        .first()
        .is_some_and(|byte| matches!(byte, b' ' | b'\t'))
    {
        return Err(Odd("a header field is folded over two lines"));
    }
    let at = line.iter().position(|byte| *byte == b':');
    let (name, value) = at
        .and_then(|at| line.split_at_checked(at))
        .ok_or(Odd("a header field has no colon"))?;
    if name.is_empty() || !name.iter().copied().all(is_token) {
        return Err(Odd("a header field has a name that is none"));
    }
    let value = value.strip_prefix(b":").unwrap_or_default();
    let plain = |byte: &u8| matches!(byte, b'\t' | b' '..=b'~' | 0x80..=0xff);
    if !value.iter().all(plain) {
        return Err(Odd("a header field holds a control character"));
    }
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    Ok((name, value.trim_ascii().to_vec()))
}

/// RFC 9112, section 6.3, without its repairs.
fn body(fields: &[(String, Vec<u8>)], old: bool) -> Result<Body, Odd> {
    let mut codings = values(fields, "transfer-encoding");
    let mut lengths = values(fields, "content-length");
    let (coding, length) = (codings.next(), lengths.next());
    if codings.next().is_some() || lengths.next().is_some() {
        return Err(Odd("the request gives its length twice"));
    }
    match (coding, length) {
        (Some(_), Some(_)) => Err(Odd("the request gives its length in two ways")),
        (Some(_), None) if old => Err(Odd("HTTP/1.0 knows no transfer codings")),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Body::Chunked),
        (Some(_), None) => Err(Odd("the only transfer coding is `chunked`")),
        (None, Some(digits)) => {
            let digits = str::from_utf8(digits).unwrap_or_default();
            let number: Option<u64> = digits.parse().ok();
            number
                .filter(|number| number.to_string() == digits)
                .map(Body::Length)
                .ok_or(Odd("the request's length is no plain number"))
        }
        (None, None) => Ok(Body::None),
    }
}

fn values<'a>(fields: &'a [(String, Vec<u8>)], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |(known, _)| known == name)
        .map(|(_, value)| value.as_slice())
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// For a fuzz target: a head that is taken is written and read again as the same.
pub(super) fn fuzz(bytes: &[u8]) -> Option<Head> {
    let (head, _) = end(bytes).and_then(|end| bytes.split_at_checked(end))?;
    let head = Head::parse(head).ok()?;
    let version = if head.old { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut written = format!("{} {} {version}\r\n", head.method, head.target).into_bytes();
    for (name, value) in &head.fields {
        for part in [name.as_bytes(), b":", value, b"\r\n"] {
            written.extend_from_slice(part);
        }
    }
    written.extend_from_slice(b"\r\n");
    assert_eq!(end(&written), Some(written.len()), "a head within a head");
    if written.len() <= HEAD_MAX {
        let again = Head::parse(&written);
        assert_eq!(again.as_ref(), Ok(&head), "a second reading differs");
    }
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Head, &'static str> {
        Head::parse(text.as_bytes()).map_err(|odd| odd.0)
    }

    #[test]
    fn what_clients_send_is_read_as_it_stands() {
        let head = read("CONNECT a.example:443 HTTP/1.0\r\n\r\n").unwrap();
        assert_eq!(
            (head.method.as_str(), head.old, head.body),
            ("CONNECT", true, Body::None)
        );
        let head = read(
            "POST http://a.example/?q HTTP/1.1\r\nHost: a.example\r\nX:\r\nCONTENT-length:  12 \t\r\n\r\n",
        )
        .unwrap();
        assert_eq!(head.target, "http://a.example/?q");
        assert_eq!(head.body, Body::Length(12));
        assert_eq!(head.all("host").collect::<Vec<_>>(), [b"a.example"]);
        assert_eq!(head.all("x").collect::<Vec<_>>(), [b""]);
        let head = read("PUT http://a/ HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n").unwrap();
        assert_eq!(head.body, Body::Chunked);
        assert_eq!(end(b"GET / HTTP/1.1\r\n\r\nrest"), Some(18));
        assert_eq!(end(b"GET / HTTP/1.1\r\n\r"), None);
    }

    #[test]
    fn what_two_readers_could_understand_differently_is_refused() {
        let line = [
            "GET  / HTTP/1.1",
            " GET / HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET\t/\tHTTP/1.1",
            "GET / HTTP/1.2",
            "GET / HTTP/2.0",
            "GET / http/1.1",
            "GET /",
            "GET",
            "",
            "G(T / HTTP/1.1",
            "GET /\0 HTTP/1.1",
            "GET /\u{e4} HTTP/1.1",
            "GET / HTTP/1.1\nX: y",
            "GET / HTTP/1.1\rX: y",
            "ABCDEFGHIJKLMNOPQ / HTTP/1.1",
            "PRI * HTTP/2.0",
            "\r\nGET / HTTP/1.1",
        ];
        for line in line {
            assert!(read(&format!("{line}\r\n\r\n")).is_err(), "{line:?}");
        }
        let fields = [
            " Host: a",
            "\tHost: a",
            "Host : a",
            "Host\t: a",
            "Host",
            ": a",
            "Ho st: a",
            "Host\0: a",
            "X: a\0b",
            "X: a\nb",
            "X: a\rb",
            "X: a\u{7f}",
            "X: a\r\n b",
            "Content-Length: 1\r\nContent-Length: 1",
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: 1, 1",
            "Content-Length: +1",
            "Content-Length: -1",
            "Content-Length: 01",
            "Content-Length: 0x1",
            "Content-Length: 1 1",
            "Content-Length: ",
            "Content-Length: 18446744073709551616",
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 0",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: \u{b}chunked",
            "Transfer-Encoding:",
        ];
        for fields in fields {
            let text = format!("POST http://a/ HTTP/1.1\r\n{fields}\r\n\r\n");
            assert!(read(&text).is_err(), "{fields:?}");
        }
        assert!(read("POST http://a/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        assert!(read("GET / HTTP/1.1\r\n").is_err());
    }

    #[test]
    fn a_head_is_bounded() {
        let fields = |count| format!("GET http://a/ HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
        assert!(read(&fields(FIELDS_MAX)).is_ok());
        assert!(read(&fields(FIELDS_MAX + 1)).is_err());
        let long = |count| format!("GET http://a/ HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(count));
        let most = HEAD_MAX - long(0).len();
        assert!(read(&long(most)).is_ok());
        assert!(read(&long(most + 1)).is_err());
    }
}
