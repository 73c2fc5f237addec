//! What a manifest may say, as far as that can be told without a look at the host. Files and the
//! command line come through here alike.

use std::path::{Component, Path, PathBuf};

use super::{Draft, MANY, Place, Said};
use crate::call::http;
use crate::error::Result;
use crate::wire::manifest::{Class, Destination};
use crate::wire::messages::HttpRule;
use crate::wire::text::{Escaped, escaped};

/// Longest path, in bytes.
const PATH_MAX: usize = 2_048;
/// Longest name of a variable, in bytes.
const NAME_MAX: usize = 128;
/// Longest value of a variable, in bytes.
const VALUE_MAX: usize = 32 << 10;
/// Variables that lead programs to the jail's own proxy.
const PROXY: [&str; 6] = [
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "all_proxy",
    "no_proxy",
    "node_use_env_proxy",
];

impl Draft {
    /// Shows `path` read-only.
    ///
    /// # Errors
    /// Kind usage where the class shows nothing or the path is not absolute and plain.
    pub fn ro(&mut self, path: &Path, place: &Place) -> Result<()> {
        let said = self.path("ro", path, place)?;
        self.ro.push(said);
        self.few(self.ro.len(), "paths in `ro`", place)
    }

    /// Shows the directory `path`, which the jail may change.
    ///
    /// # Errors
    /// As [`Draft::ro`].
    pub fn rw(&mut self, path: &Path, place: &Place) -> Result<()> {
        let said = self.path("rw", path, place)?;
        self.rw.push(said);
        self.few(self.rw.len(), "paths in `rw`", place)
    }

    /// Starts the program in `path`.
    ///
    /// # Errors
    /// As [`Draft::ro`].
    pub fn dir(&mut self, path: &Path, place: &Place) -> Result<()> {
        self.dir = Some(self.path("dir", path, place)?);
        Ok(())
    }

    /// As [`Draft::dir`], where none is said yet.
    ///
    /// # Errors
    /// As [`Draft::ro`].
    pub fn dir_if_none(&mut self, path: &Path, place: &Place) -> Result<()> {
        match self.dir {
            Some(_) => Ok(()),
            None => self.dir(path, place),
        }
    }

    /// Lets the jail's proxy connect to `HOST:PORT`.
    ///
    /// # Errors
    /// As [`Draft::destination`].
    pub fn net(&mut self, text: &str, place: &Place) -> Result<()> {
        let shown = Escaped::cut(text, 300);
        if text.contains("//") {
            return Err(place.wrong(
                format!("`{shown}` is a URL"),
                "name the host and the port alone: `api.example.net:443`",
            ));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| {
            let example = match text {
                "" => "api.example.net:443".into(),
                _ => format!("{shown}:443"),
            };
            place.wrong(
                format!("`{shown}` has no port"),
                format!("write `{example}`"),
            )
        })?;
        let inner = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if inner.is_none() && host.contains(':') {
            return Err(place.wrong(
                format!("`{shown}` can be read in two ways"),
                "write an IPv6 address in brackets: `[2001:db8::1]:443`",
            ));
        }
        let number = port.parse::<u16>().ok();
        let port = number
            .filter(|number| *number > 0 && number.to_string() == port)
            .ok_or_else(|| {
                place.wrong(
                    format!("the port of `{shown}` is none"),
                    "a plain number from 1 to 65535",
                )
            })?;
        let to = Destination {
            host: inner.unwrap_or(host).into(),
            port,
            private: Vec::new(),
        };
        self.destination(to, place)
    }

    /// Lets the jail's proxy connect there.
    ///
    /// # Errors
    /// Kind usage where the class has no network, or host, port or networks are in another form
    /// than egress reads them in.
    pub fn destination(&mut self, to: Destination, place: &Place) -> Result<()> {
        self.foreign("net", place)?;
        let shown = Escaped::cut(&to.host, 300);
        if to.host.chars().any(|c| c.is_ascii_uppercase()) {
            let lower = escaped(&to.host.to_ascii_lowercase());
            return Err(place.wrong(
                format!("the host `{shown}` is not in lower case"),
                format!("write `{lower}`"),
            ));
        }
        if let Some(name) = to.host.strip_suffix('.') {
            return Err(place.wrong(
                format!("the host `{shown}` ends in a dot"),
                format!("write `{}`", escaped(name)),
            ));
        }
        let rule = HttpRule {
            scheme: "https".into(),
            host: to.host.clone(),
            port: to.port,
            methods: vec!["GET".into()],
            path: "/".into(),
            private: to.private.clone(),
            pin_sha256: None,
        };
        http::check(&rule).map_err(|fault| {
            place.wrong(
                format!("the way out `{shown}` does not work: {fault}"),
                "a host name or address as it is, a port, and networks such as `10.0.0.0/8`; \
                 nothing stands for several hosts",
            )
        })?;
        let same = |said: &&Said<Destination>| {
            (said.what.host.as_str(), said.what.port) == (to.host.as_str(), to.port)
        };
        if let Some(before) = self.net.iter().find(same) {
            let what = format!("`{to}` is there already ({})", before.place);
            return Err(place.wrong(what, "take one of the two away"));
        }
        self.net.push(Said {
            what: to,
            place: place.clone(),
        });
        self.few(self.net.len(), "ways out", place)
    }

    /// Sets a variable of the program's environment.
    ///
    /// # Errors
    /// Kind usage where the name is no name, the value cannot be one, or Keepgate sets it.
    pub fn env(&mut self, name: &str, value: &str, place: &Place) -> Result<()> {
        self.foreign("env", place)?;
        let shown = Escaped::cut(name, 64);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let digit = name.as_bytes().first().is_some_and(u8::is_ascii_digit);
        if name.is_empty() || name.len() > NAME_MAX || digit || !name.bytes().all(plain) {
            return Err(place.wrong(
                format!("`{shown}` is no name of a variable"),
                "A-Z, a-z, 0-9 and `_`, not beginning with a digit",
            ));
        }
        if PROXY.contains(&name.to_ascii_lowercase().as_str()) {
            return Err(place.wrong(
                format!("Keepgate itself sets `{shown}`"),
                "name the hosts in `net`; programs find the jail's proxy by these variables",
            ));
        }
        if value.len() > VALUE_MAX || value.contains('\0') {
            return Err(place.wrong(
                format!("the value of `{shown}` is too long or holds a NUL"),
                format!("at most {VALUE_MAX} bytes of text; put more into a file"),
            ));
        }
        self.manifest.env.insert(name.into(), value.into());
        self.few(self.manifest.env.len(), "variables", place)
    }

    /// Gives the jail a loopback of its own.
    ///
    /// # Errors
    /// Kind usage where the class has no network.
    pub fn loopback(&mut self, on: bool, place: &Place) -> Result<()> {
        self.foreign("loopback", place)?;
        self.manifest.loopback = on;
        Ok(())
    }

    /// Shows the jail all of `/proc`.
    ///
    /// # Errors
    /// Kind usage where the class has no files.
    pub fn whole_proc(&mut self, on: bool, place: &Place) -> Result<()> {
        self.foreign("whole_proc", place)?;
        self.manifest.whole_proc = on;
        Ok(())
    }

    /// Has denied system calls observed and told.
    ///
    /// # Errors
    /// Kind usage where a foreign jail would not be observed.
    pub fn observe(&mut self, on: bool, place: &Place) -> Result<()> {
        if !on && self.class() == Class::Foreign {
            return Err(place.wrong("foreign jails are always observed", "take `observe` away"));
        }
        self.manifest.observe = on;
        Ok(())
    }

    fn foreign(&self, key: &str, place: &Place) -> Result<()> {
        match self.class() {
            Class::Foreign => Ok(()),
            class @ (Class::Native | Class::NativeGeneric) => Err(place.wrong(
                format!(
                    "`{key}` has no meaning in class `{}`, which has no files, no network and no \
                     environment",
                    class.name()
                ),
                format!("take `{key}` away, or use class `foreign`"),
            )),
        }
    }

    fn few(&self, number: usize, what: &str, place: &Place) -> Result<()> {
        if number <= MANY {
            return Ok(());
        }
        Err(place.wrong(
            format!("more than {MANY} {what}"),
            "name the directory above instead",
        ))
    }

    fn path(&self, key: &str, path: &Path, place: &Place) -> Result<Said<PathBuf>> {
        self.foreign(key, place)?;
        let text = path.to_string_lossy();
        let shown = Escaped::cut(&text, 300);
        let wrong =
            |what: &str, hint: &str| Err(place.wrong(format!("the path `{shown}` {what}"), hint));
        if !path.is_absolute() {
            return wrong("is not absolute", "begin with `/`");
        }
        if path.to_str().is_none() {
            return wrong("is not UTF-8", "rename it, or name the directory above");
        }
        if text.contains('\0') || path.as_os_str().len() > PATH_MAX {
            return wrong("holds a NUL or is too long", "at most 2048 bytes");
        }
        let plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
        if !path.components().all(plain) {
            return wrong("holds `..`", "write where it leads");
        }
        Ok(Said {
            // One directory has one spelling from here on: no `.`, no slash too many.
            what: path.components().collect(),
            place: place.clone(),
        })
    }
}
