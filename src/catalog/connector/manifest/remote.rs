//! `[remote]`: a server elsewhere.

use serde::Deserialize;
use toml::Spanned;

use super::From;
use super::values::{cut, sha256, text};
use crate::call::http;
use crate::catalog::connector::{Launch, composio};
use crate::error::Result;
use crate::wire::messages::HttpRule;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRemote {
    url: Spanned<String>,
    #[serde(default)]
    private: Vec<Spanned<String>>,
    pin_sha256: Option<Spanned<String>>,
    #[serde(default)]
    toolkits: Vec<Spanned<String>>,
}

impl RawRemote {
    pub(super) fn read(self, source: From<'_>) -> Result<Launch> {
        let place = source.place(&self.url);
        let url = text(&self.url, source)?;
        let private = self.private.iter().map(|net| text(net, source));
        let private = private.collect::<Result<Vec<_>>>()?;
        let bad = |what: String| {
            place.wrong(
                what,
                "an absolute `https://` URL without user, password and fragment; networks such as \
                 `10.0.0.0/8`",
            )
        };
        let read = url::Url::parse(&url)
            .map_err(|error| bad(format!("`{}` is no URL: {error}", cut(&url))))?;
        let plain = read.username().is_empty()
            && read.password().is_none()
            && read.fragment().is_none()
            && matches!(read.scheme(), "https" | "http");
        let (Some(host), true) = (read.host_str(), plain) else {
            // What is before an `@` may be a password.
            let shown = url.rsplit('@').next().unwrap_or_default();
            return Err(bad(format!("`{}` cannot be a server", cut(shown))));
        };
        if read.scheme() == "http" && private.is_empty() {
            return Err(place.wrong(
                "a server without TLS has to be in a private network",
                "write `https://`, or name the network in `private`",
            ));
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let rule = HttpRule {
            scheme: read.scheme().into(),
            host: host.into(),
            port: read.port_or_known_default().unwrap_or(443),
            methods: vec!["POST".into()],
            path: "/".into(),
            private: private.clone(),
            pin_sha256: None,
        };
        http::check(&rule).map_err(|fault| bad(format!("`{}`: {fault}", cut(&url))))?;
        let pin_sha256 = self.pin_sha256.map(|text| sha256(&text, source));
        let toolkits = self.toolkits.iter().map(|name| text(name, source));
        let toolkits = toolkits.collect::<Result<Vec<_>>>()?;
        if composio::is_at(&read) || !toolkits.is_empty() {
            composio::check(&read, &toolkits)
                .map_err(|fault| place.wrong(fault.what, fault.hint))?;
        }
        Ok(Launch::Remote {
            url: read.into(),
            private,
            pin_sha256: pin_sha256.transpose()?,
            toolkits,
        })
    }
}
