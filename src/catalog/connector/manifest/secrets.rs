//! `[secrets.NAME]`: where keys go.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::values::{self, NAME_MAX, cut, line};
use super::{From, is_name};
use crate::catalog::connector::{Launch, Placing, Slot};
use crate::error::Result;
use crate::jail::profile::Place;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSlot {
    header: Option<Spanned<String>>,
    query: Option<Spanned<String>>,
    body: Option<Spanned<String>>,
    basic: Option<Spanned<String>>,
    env: Option<Spanned<String>>,
    prefix: Option<Spanned<String>>,
    required: Option<bool>,
    about: Option<Spanned<String>>,
}

pub(super) fn secrets(
    raw: BTreeMap<Spanned<String>, RawSlot>,
    launch: &Launch,
    source: From<'_>,
) -> Result<BTreeMap<String, Slot>> {
    let mut slots: BTreeMap<String, Slot> = BTreeMap::new();
    for (name, slot) in raw {
        let place = source.place(&name);
        let name = name.into_inner();
        if !is_name(&name) {
            return Err(place.wrong(
                format!("`{}` cannot be the name of a secret", cut(&name)),
                "1 to 32 of a-z, 0-9 and `-`, beginning with a letter or digit",
            ));
        }
        let slot = slot.read(&place, source)?;
        let remote = matches!(launch, Launch::Remote { .. });
        if remote == matches!(slot.place, Placing::Env { .. }) {
            let (what, hint) = match remote {
                true => (
                    "a remote server has no environment",
                    "`header`, `query`, `body` or `basic`",
                ),
                false => (
                    "Keepgate does not make the requests of a server in a jail",
                    "`env`: a placeholder, replaced by the key on the way out",
                ),
            };
            return Err(place.wrong(what, hint));
        }
        if let Some((other, _)) = slots.iter().find(|(_, other)| other.place == slot.place) {
            return Err(place.wrong(
                format!("it goes where `{other}` goes"),
                "one place takes one key",
            ));
        }
        slots.insert(name, slot);
    }
    Ok(slots)
}

impl RawSlot {
    fn read(self, place: &Place, source: From<'_>) -> Result<Slot> {
        let prefix = self.prefix.as_ref().map(|text| values::text(text, source));
        let prefix = prefix.transpose()?;
        let given = [
            &self.header,
            &self.query,
            &self.body,
            &self.basic,
            &self.env,
        ];
        let placing = match given.map(Option::as_ref) {
            [Some(name), None, None, None, None] => Placing::Header {
                name: header(name, source)?,
                prefix: prefix.clone().unwrap_or_default(),
            },
            [None, Some(name), None, None, None] => Placing::Query {
                name: line(name, source)?,
            },
            [None, None, Some(pointer), None, None] => Placing::Body {
                pointer: values::pointer(pointer, source)?,
            },
            [None, None, None, Some(user), None] => Placing::Basic {
                user: line(user, source)?,
            },
            [None, None, None, None, Some(name)] => Placing::Env {
                name: variable(name, source)?,
            },
            _ => {
                return Err(place.wrong(
                    "it is not said, or said twice, where the key goes",
                    "exactly one of `header`, `query`, `body`, `basic`, `env`",
                ));
            }
        };
        if let (Some(at), false) = (&self.prefix, matches!(placing, Placing::Header { .. })) {
            return Err(source.place(at).wrong(
                "`prefix` has no meaning there",
                "it is of a `header`: take it away",
            ));
        }
        Ok(Slot {
            place: placing,
            required: self.required.unwrap_or(true),
            about: self.about.map(|text| line(&text, source)).transpose()?,
        })
    }
}

/// Headers that a slot may not set: they belong to the connection, or to MCP.
const NOT_HEADERS: [&str; 9] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "transfer-encoding",
];

fn header(said: &Spanned<String>, source: From<'_>) -> Result<String> {
    let name = said.get_ref();
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let lower = name.to_ascii_lowercase();
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(token) {
        return Err(source.place(said).wrong(
            format!("`{}` is no name of a header", cut(name)),
            "such as `authorization` or `x-api-key`",
        ));
    }
    if NOT_HEADERS.contains(&lower.as_str()) || lower.starts_with("mcp-param-") {
        return Err(source.place(said).wrong(
            format!("Keepgate itself sets `{lower}`"),
            "name the header the server reads the key from",
        ));
    }
    Ok(lower)
}

fn variable(said: &Spanned<String>, source: From<'_>) -> Result<String> {
    let name = said.get_ref();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let digit = name.as_bytes().first().is_some_and(u8::is_ascii_digit);
    if name.is_empty() || name.len() > 128 || digit || !name.bytes().all(plain) {
        return Err(source.place(said).wrong(
            format!("`{}` is no name of a variable", cut(name)),
            "A-Z, a-z, 0-9 and `_`, not beginning with a digit",
        ));
    }
    Ok(name.clone())
}
