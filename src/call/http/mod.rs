//! Where an HTTP request would go, read once and in one way only.
//!
//! Keeper, policy and egress all decide on a [`Target`]. A URL becomes one only where two readers
//! agree on it: this file takes it apart by hand, the `url` crate parses it as browsers do (WHATWG
//! URL), and every part has to come out the same. What a reader would repair, guess at or drop
//! (dot segments, decimal addresses, back-slashes, user info, tabs) is refused instead.
#![forbid(unsafe_code)]

pub mod address;
pub mod header;
mod redirect;
mod rule;

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use url::{Host, Url};

pub use redirect::Redirect;
pub use rule::{check, path_within};

/// Longest URL, in bytes.
pub const URL_MAX: usize = 8 << 10;
/// Longest host name (RFC 1035), in bytes.
const HOST_MAX: usize = 253;
/// Longest label of a host name (RFC 1035), in bytes.
const LABEL_MAX: usize = 63;
/// Longest method, in bytes.
const METHOD_MAX: usize = 16;

/// Encodings in a path that servers undo at different moments: a dot, a slash, a back-slash, NUL,
/// and the same encoded twice.
const ENCODED: [&str; 8] = [
    "%2e", "%2f", "%5c", "%00", "%252e", "%252f", "%255c", "%2500",
];

/// A method and a URL that has one reading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    method: String,
    scheme: Scheme,
    host: String,
    address: Option<IpAddr>,
    port: u16,
    path: String,
    query: Option<String>,
    url: String,
}

/// How the request travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

/// Why a method and a URL are no target, or a target no way out: one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetFault(String);

impl Target {
    /// Reads a method and an absolute URL. A fragment is dropped: it never leaves the client.
    ///
    /// # Errors
    /// Refuses everything but an upper-case method (not `CONNECT` or `TRACE`) and an `http` or
    /// `https` URL of at most [`URL_MAX`] bytes in the form in which it would be sent.
    pub fn parse(method: &str, text: &str) -> Result<Self, TargetFault> {
        check_method(method)?;
        if text.len() > URL_MAX {
            return Err(fault(format!("the url is longer than {URL_MAX} bytes")));
        }
        if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic() || *c == '\\') {
            return Err(fault(format!(
                "the url holds U+{:04X}; percent-encode it, or write the host in punycode",
                u32::from(odd)
            )));
        }
        let parts = Parts::split(text)?;
        let parsed = Url::parse(text).map_err(|why| fault(format!("the url is not one: {why}")))?;
        parts.agree(&parsed)?;
        check_path(parts.path)?;
        let (host, address) = match parsed.host() {
            Some(Host::Domain(name)) => (checked_name(name)?, None),
            Some(Host::Ipv4(v4)) => (v4.to_string(), Some(IpAddr::V4(v4))),
            Some(Host::Ipv6(v6)) => mapped(v6),
            None => return Err(fault("the url has no host")),
        };
        let scheme = parts.scheme;
        let port = parsed.port().unwrap_or(scheme.port());
        let path = parsed.path().to_owned();
        let query = parsed.query().map(str::to_owned);
        let url = write_url(scheme, &host, address, port, &path, query.as_deref());
        Ok(Self {
            method: method.into(),
            scheme,
            host,
            address,
            port,
            path,
            query,
            url,
        })
    }

    /// The method, in upper case.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// How the request travels.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host in lower case without brackets or trailing dot.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The address, where the host is one; an IPv4-mapped IPv6 address is the IPv4 address.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path, with a leading slash, percent-encoded as it is sent.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The query without its question mark.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// The URL as it is sent: lower-case host, no default port, no fragment.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Host and port as the `Host` header has them.
    pub fn authority(&self) -> String {
        write_authority(self.scheme, &self.host, self.address, self.port)
    }

    /// What a log may hold: method and URL without the query, where secrets like to be.
    pub fn label(&self) -> String {
        let bare = write_url(
            self.scheme,
            &self.host,
            self.address,
            self.port,
            &self.path,
            None,
        );
        format!("{} {bare}", self.method)
    }

    /// Same scheme, host and port.
    pub fn same_origin(&self, other: &Self) -> bool {
        (self.scheme, &self.host, self.port) == (other.scheme, &other.host, other.port)
    }

    /// The same target for another method.
    fn with_method(mut self, method: &str) -> Self {
        self.method = method.into();
        self
    }
}

impl Scheme {
    /// `http` or `https`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port where the URL names none.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl fmt::Display for TargetFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TargetFault {}

/// For a fuzz target: whatever becomes a target has to survive a second reading unchanged.
///
/// # Panics
/// Never, unless the promise is broken.
pub fn fuzz_target(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let (method, url) = text.split_once(' ').unwrap_or(("GET", text));
    if let Ok(target) = Target::parse(method, url) {
        let again = Target::parse(target.method(), target.url());
        assert_eq!(again.as_ref(), Ok(&target), "a target is read in two ways");
        for status in [301, 303, 307] {
            if let Some(Ok(next)) = target.redirect(status, url) {
                assert!(Target::parse(next.target.method(), next.target.url()).is_ok());
            }
        }
    }
}

/// A URL taken apart by hand.
struct Parts<'a> {
    scheme: Scheme,
    host: &'a str,
    port: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, TargetFault> {
        let text = text.split_once('#').map_or(text, |(before, _)| before);
        let (name, rest) = text
            .split_once("://")
            .ok_or_else(|| fault("the url does not begin with `https://` or `http://`"))?;
        let scheme = match name.to_ascii_lowercase().as_str() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return Err(fault("only `https` and `http` are spoken")),
        };
        let (rest, query) = rest
            .split_once('?')
            .map_or((rest, None), |(a, b)| (a, Some(b)));
        let (authority, path) = match rest.find('/').and_then(|at| rest.split_at_checked(at)) {
            Some((authority, path)) => (authority, path),
            None => (rest, "/"),
        };
        if authority.contains('@') {
            return Err(fault(
                "the url holds user info; credentials do not belong in a url",
            ));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(inner) => {
                let end = inner.find(']').map(|at| at + 2);
                let (host, rest) = end
                    .and_then(|end| authority.split_at_checked(end))
                    .ok_or_else(|| fault("the url's address has no closing bracket"))?;
                match (rest, rest.strip_prefix(':')) {
                    ("", _) => (host, None),
                    (_, Some(port)) => (host, Some(port)),
                    _ => return Err(fault("the url's port is not one")),
                }
            }
            None => authority
                .split_once(':')
                .map_or((authority, None), |(a, b)| (a, Some(b))),
        };
        Ok(Self {
            scheme,
            host,
            port,
            path,
            query,
        })
    }

    /// The other reader has to have understood the same.
    fn agree(&self, parsed: &Url) -> Result<(), TargetFault> {
        if parsed.scheme() != self.scheme.name() {
            return Err(fault("the url's scheme can be read in two ways"));
        }
        let host = self.host.to_ascii_lowercase();
        if parsed.host_str() != Some(host.as_str()) {
            return Err(fault(format!(
                "the url's host can be read in two ways; write it as `{}`",
                parsed.host_str().unwrap_or_default()
            )));
        }
        if let Some(port) = self.port {
            let known = parsed.port_or_known_default().unwrap_or(0);
            if known == 0 || known.to_string() != port {
                return Err(fault(
                    "the url's port is not a plain number from 1 to 65535",
                ));
            }
        }
        if parsed.path() != self.path {
            return Err(fault(format!(
                "the url's path can be read in two ways; write it as `{}`",
                parsed.path()
            )));
        }
        if parsed.query() != self.query {
            return Err(fault(
                "the url's query holds characters that must be percent-encoded",
            ));
        }
        Ok(())
    }
}

fn check_method(method: &str) -> Result<(), TargetFault> {
    let token = !method.is_empty()
        && method.len() <= METHOD_MAX
        && method.bytes().all(|byte| byte.is_ascii_uppercase());
    match method {
        "CONNECT" | "TRACE" => Err(fault("`CONNECT` and `TRACE` are never sent")),
        _ if token => Ok(()),
        _ => Err(fault("the method is not an upper-case word such as `GET`")),
    }
}

/// A host name: labels of letters, digits, hyphens and underscores.
fn checked_name(name: &str) -> Result<String, TargetFault> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if name.ends_with('.') {
        return Err(fault("the url's host ends in a dot"));
    }
    if name.len() > HOST_MAX || !name.split('.').all(label) {
        return Err(fault("the url's host is no host name"));
    }
    Ok(name.to_owned())
}

fn check_path(path: &str) -> Result<(), TargetFault> {
    let lower = path.to_ascii_lowercase();
    if ENCODED.iter().any(|code| lower.contains(code)) {
        return Err(fault(
            "the url's path holds an encoded dot, slash, back-slash or NUL",
        ));
    }
    let mut pieces = path.split('%');
    pieces.next();
    if !pieces.all(|piece| {
        piece
            .as_bytes()
            .first_chunk::<2>()
            .is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    }) {
        return Err(fault(
            "the url's path holds a `%` that is no percent-encoding",
        ));
    }
    // Some servers take `..;x` for `..` after they have checked the path.
    let sly = |segment: &str| {
        let rest = segment.trim_start_matches('.');
        rest.len() < segment.len() && (rest.starts_with(';') || rest.starts_with("%3b"))
    };
    if lower.split('/').any(sly) {
        return Err(fault("the url's path holds a dot segment with a parameter"));
    }
    Ok(())
}

fn mapped(v6: Ipv6Addr) -> (String, Option<IpAddr>) {
    let address = IpAddr::V6(v6).to_canonical();
    (address.to_string(), Some(address))
}

fn write_authority(scheme: Scheme, host: &str, address: Option<IpAddr>, port: u16) -> String {
    let host = match address {
        Some(IpAddr::V6(v6)) => format!("[{v6}]"),
        Some(IpAddr::V4(_)) | None => host.to_owned(),
    };
    if port == scheme.port() {
        host
    } else {
        format!("{host}:{port}")
    }
}

fn write_url(
    scheme: Scheme,
    host: &str,
    address: Option<IpAddr>,
    port: u16,
    path: &str,
    query: Option<&str>,
) -> String {
    let mut url = format!(
        "{}://{}{path}",
        scheme.name(),
        write_authority(scheme, host, address, port)
    );
    if let Some(query) = query {
        url.push('?');
        url.push_str(query);
    }
    url
}

fn fault(say: impl Into<String>) -> TargetFault {
    TargetFault(say.into())
}

#[cfg(test)]
mod tests;
