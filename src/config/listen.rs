//! The tables `[planes.NAME.listen.LISTENER]`: TCP sockets on which agents speak MCP over HTTP.
//!
//! Without a certificate of its own a listener takes tokens, in the clear, so that it must be on
//! this host's loopback. With one it takes client certificates, and only those.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use toml::Spanned;
use url::{Host, Url};

use super::raw::Source;
use super::{Config, is_name};
use crate::error::{Context, Error, Kind, Result};
use crate::wire::messages::{DOORS_MAX, Door, DoorTls};
use crate::wire::text::{Escaped, escaped};

/// Names and origins of one listener at most.
const NAMES_MAX: usize = 32;
/// Longest file of a certificate or key, in bytes.
const PEM_MAX: u64 = 64 << 10;
/// What this host's loopback is called.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    /// Where it listens.
    pub address: SocketAddr,
    /// The names it is reached by, in lower case, without ports.
    pub hosts: Vec<String>,
    /// The origins of web pages that may use it, in lower case.
    pub origins: Vec<String>,
    /// Its own certificate and key; agents show theirs then.
    pub tls: Option<Tls>,
}

/// A listener's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Its chain of certificates, PEM, its own first.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawListen {
    address: Spanned<String>,
    hosts: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    origins: Vec<Spanned<String>>,
    cert: Option<Spanned<PathBuf>>,
    key: Option<Spanned<PathBuf>>,
}

impl Listen {
    /// What the front has to know; reads certificate and key.
    ///
    /// # Errors
    /// Fails where one of the files cannot be read, or does not hold what it should.
    pub fn door(&self, name: &str) -> Result<Door> {
        let tls = self.tls.as_ref().map(Tls::read).transpose()?;
        Ok(Door {
            name: name.into(),
            hosts: self.hosts.clone(),
            origins: self.origins.clone(),
            tls,
        })
    }

    /// How agents prove themselves here.
    pub fn proof(&self) -> &'static str {
        match self.tls {
            None => "token",
            Some(_) => "certificate",
        }
    }

    /// The URL of its MCP endpoint, by its first name.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        // Its own address where that is one to connect to: names may resolve to another one.
        let host = match self.address.ip() {
            ip if ip.is_loopback() => self.address.to_string(),
            _ => {
                let name = self.hosts.first().map_or("localhost", String::as_str);
                format!("{name}:{}", self.address.port())
            }
        };
        format!("{scheme}://{host}/mcp")
    }
}

impl Tls {
    /// Certificate and key as they are in the files.
    ///
    /// # Errors
    /// As [`Listen::door`].
    fn read(&self) -> Result<DoorTls> {
        let chain = read(&self.cert)?;
        let certificates = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unusable(&self.cert, "certificates (PEM)").because(error))?;
        if certificates.is_empty() {
            return Err(unusable(&self.cert, "certificates (PEM)"));
        }
        let key = read(&self.key)?;
        PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| unusable(&self.key, "a private key (PEM)").because(error))?;
        Ok(DoorTls { chain, key })
    }
}

fn unusable(path: &Path, what: &str) -> Error {
    let path = escaped(&path.to_string_lossy());
    Error::of(Kind::Usage, format!("`{path}` does not hold {what}"))
}

fn read(path: &Path) -> Result<String> {
    let what = || format!("read `{}`", escaped(&path.to_string_lossy()));
    let length = fs::metadata(path).context(what)?.len();
    if length > PEM_MAX {
        return Err(
            Error::of(Kind::Usage, what()).because(format!("it is longer than {PEM_MAX} bytes"))
        );
    }
    fs::read_to_string(path).context(what)
}

impl Source<'_> {
    pub(super) fn listeners(
        &self,
        plane: &Spanned<String>,
        raw: BTreeMap<Spanned<String>, Spanned<RawListen>>,
    ) -> Result<BTreeMap<String, Listen>> {
        if raw.len() > DOORS_MAX {
            let what = format!(
                "plane `{}` has more than {DOORS_MAX} listeners",
                plane.get_ref()
            );
            return Err(self.wrong(plane, what));
        }
        raw.into_iter()
            .map(|(name, listen)| {
                if !is_name(name.get_ref()) {
                    return Err(self.named(&name, "a listener"));
                }
                Ok((name.into_inner(), self.listen(listen)?))
            })
            .collect()
    }

    fn listen(&self, raw: Spanned<RawListen>) -> Result<Listen> {
        let place = Spanned::new(raw.span(), ());
        let RawListen {
            address: text,
            hosts,
            origins,
            cert,
            key,
        } = raw.into_inner();
        let shown = Escaped::cut(text.get_ref(), 64);
        let address: SocketAddr = text.get_ref().parse().map_err(|_| {
            self.wrong(&text, format!("`{shown}` is no address with a port"))
                .hint("write `127.0.0.1:7411` or `[::1]:7411`, never a name")
        })?;
        if address.port() == 0 {
            return Err(self.wrong(&text, "a listener needs a port of its own, not 0"));
        }
        let loopback = is_loopback(address.ip());
        let tls = match (cert, key) {
            (None, None) if loopback => None,
            (None, None) => {
                let what =
                    format!("`{address}` is not on the loopback, and has no `cert` and `key`");
                return Err(self.wrong(&text, what).hint(
                    "tokens never leave this host in the clear: give it a certificate, or listen on 127.0.0.1",
                ));
            }
            (Some(cert), Some(key)) => {
                for path in [&cert, &key] {
                    if !path.get_ref().is_absolute() {
                        return Err(self.wrong(path, "a listener's file has no absolute path"));
                    }
                }
                Some(Tls {
                    cert: cert.into_inner(),
                    key: key.into_inner(),
                })
            }
            (Some(_), None) | (None, Some(_)) => {
                return Err(self.wrong(&place, "`cert` and `key` go together"));
            }
        };
        let hosts = match hosts {
            None if loopback => LOOPBACK.map(Into::into).to_vec(),
            None => {
                return Err(self
                    .wrong(&place, "`hosts` is missing")
                    .hint("name what agents call this host: hosts = [\"gate.example.net\"]"));
            }
            Some(hosts) => self.many(&place, &hosts, |host| self.host(host))?,
        };
        if hosts.is_empty() {
            return Err(self.wrong(&place, "a listener without `hosts` can be used by nobody"));
        }
        let mut origins = self.many(&place, &origins, |origin| self.origin(origin))?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        // What it serves itself is no other site.
        origins.extend(
            hosts
                .iter()
                .map(|host| format!("{scheme}://{host}:{}", address.port())),
        );
        Ok(Listen {
            address,
            hosts,
            origins,
            tls,
        })
    }

    fn many(
        &self,
        place: &Spanned<()>,
        all: &[Spanned<String>],
        each: impl Fn(&Spanned<String>) -> Result<String>,
    ) -> Result<Vec<String>> {
        if all.len() > NAMES_MAX {
            let what = format!("more than {NAMES_MAX} names or origins of one listener");
            return Err(self.wrong(place, what));
        }
        all.iter().map(each).collect()
    }

    /// A host as it stands in a URL, without a port.
    fn host(&self, text: &Spanned<String>) -> Result<String> {
        let shown = Escaped::cut(text.get_ref(), 64);
        let bare = text.get_ref().parse::<IpAddr>();
        let written = match bare {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            Ok(IpAddr::V4(_)) | Err(_) => text.get_ref().to_ascii_lowercase(),
        };
        match Host::parse(&written) {
            Ok(host) if host.to_string() == written => Ok(written),
            Ok(_) | Err(_) => Err(self
                .wrong(text, format!("`{shown}` is no host name or address"))
                .hint("without scheme and port, for example `gate.example.net`")),
        }
    }

    fn origin(&self, text: &Spanned<String>) -> Result<String> {
        let written = text.get_ref().to_ascii_lowercase();
        let shown = Escaped::cut(text.get_ref(), 64);
        let origin = Url::parse(&written)
            .map(|url| url.origin())
            .ok()
            .filter(url::Origin::is_tuple)
            .map(|origin| origin.ascii_serialization());
        match origin {
            Some(origin) if origin == written => Ok(written),
            Some(_) | None => Err(self.wrong(text, format!("`{shown}` is no origin")).hint(
                "scheme, host and port if it is not the usual one: `https://tools.example.net`",
            )),
        }
    }
}

/// 127.0.0.0/8 and ::1.
fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// No two listeners, of any plane, have the same address.
pub(super) fn apart(config: &Config, file: &str) -> Result<()> {
    let mut seen = BTreeMap::new();
    for (plane, known) in &config.planes {
        for (name, listen) in &known.listen {
            if let Some((other, first)) = seen.insert(listen.address, (plane, name)) {
                let what = format!(
                    "`{file}`: listener `{name}` of plane `{plane}` and `{first}` of `{other}` \
                     have the same address {}",
                    listen.address
                );
                return Err(Error::of(Kind::Usage, what).hint("give each a port of its own"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(table: &str) -> Result<Config> {
        Config::parse(&format!("[planes.p.listen.l]\n{table}"), "t")
    }

    fn listen(table: &str) -> Listen {
        parse(table).unwrap().planes["p"].listen["l"].clone()
    }

    #[test]
    fn a_local_listener_needs_nothing_but_its_address() {
        let local = listen("address = \"127.0.0.1:7411\"\n");
        assert_eq!(local.hosts, LOOPBACK);
        assert!(local.origins.contains(&"http://localhost:7411".into()));
        assert_eq!(local.url(), "http://127.0.0.1:7411/mcp");
        assert_eq!(local.proof(), "token");
        assert_eq!(
            listen("address = \"[::1]:80\"\n").url(),
            "http://[::1]:80/mcp"
        );
    }

    #[test]
    fn a_remote_listener_has_names_and_a_certificate() {
        let remote = listen(
            "address = \"0.0.0.0:7443\"\nhosts = [\"Gate.example.net\", \"2001:db8::1\"]\n\
             origins = [\"https://tools.example.net\"]\ncert = \"/c\"\nkey = \"/k\"\n",
        );
        assert_eq!(remote.hosts, ["gate.example.net", "[2001:db8::1]"]);
        assert_eq!(
            remote.origins,
            [
                "https://tools.example.net",
                "https://gate.example.net:7443",
                "https://[2001:db8::1]:7443"
            ]
        );
        assert_eq!(remote.url(), "https://gate.example.net:7443/mcp");
        assert_eq!(remote.proof(), "certificate");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let remote = "address = \"0.0.0.0:1\"\ncert = \"/c\"\nkey = \"/k\"\n";
        for (table, what) in [
            (
                "address = \"localhost:1\"\n".to_owned(),
                "line 2: `localhost:1` is no address",
            ),
            (
                "address = \"127.0.0.1:0\"\n".into(),
                "line 2: a listener needs a port",
            ),
            (
                "address = \"192.0.2.1:1\"\n".into(),
                "is not on the loopback, and has no `cert`",
            ),
            (
                "address = \"0.0.0.0:1\"\nhosts = [\"a\"]\n".into(),
                "is not on the loopback",
            ),
            (
                "address = \"127.0.0.1:1\"\ncert = \"/c\"\n".into(),
                "`cert` and `key` go together",
            ),
            (
                "address = \"127.0.0.1:1\"\ncert = \"c\"\nkey = \"/k\"\n".into(),
                "line 3: a listener's file",
            ),
            (remote.into(), "`hosts` is missing"),
            (format!("{remote}hosts = []\n"), "can be used by nobody"),
            (
                format!("{remote}hosts = [\"a:1\"]\n"),
                "line 5: `a:1` is no host name",
            ),
            (
                format!("{remote}hosts = [\"https://a\"]\n"),
                "`https://a` is no host name",
            ),
            (
                format!("{remote}hosts = [\"a\"]\norigins = [\"a.example\"]\n"),
                "line 6: `a.example` is no origin",
            ),
            (
                format!("{remote}hosts = [\"a\"]\norigins = [\"https://a.example/\"]\n"),
                "is no origin",
            ),
            ("x = 1\n".into(), "unknown field `x`"),
        ] {
            let error = parse(&table).unwrap_err();
            assert!(
                error.message().contains(what),
                "{table}\n{}",
                error.message()
            );
            assert_eq!(error.kind(), Kind::Usage);
        }
        let twice = "[planes.a.listen.x]\naddress = \"127.0.0.1:5\"\n\
                     [planes.b.listen.y]\naddress = \"127.0.0.1:5\"\n";
        let error = Config::parse(twice, "t").unwrap_err();
        assert!(error.message().contains("`y` of plane `b` and `x` of `a`"));
    }

    #[test]
    fn files_are_read_and_must_hold_what_they_should() {
        let temp = tempfile::tempdir().unwrap();
        let path = |name: &str| temp.path().join(name);
        let own = rcgen::generate_simple_self_signed(["a".into()]).unwrap();
        fs::write(path("c"), own.cert.pem()).unwrap();
        fs::write(path("k"), own.signing_key.serialize_pem()).unwrap();
        fs::write(path("bad"), "x").unwrap();
        let tls = |cert: &str, key: &str| Tls {
            cert: path(cert),
            key: path(key),
        };
        let read = tls("c", "k").read().unwrap();
        assert_eq!(format!("{read:?}"), "DoorTls(..)");
        for (cert, key, what) in [
            ("none", "k", "No such file"),
            ("bad", "k", "does not hold certificates"),
            ("c", "bad", "does not hold a private key"),
            ("c", "c", "does not hold a private key"),
        ] {
            let error = tls(cert, key).read().unwrap_err();
            assert!(error.message().contains(what), "{}", error.message());
        }
    }
}
