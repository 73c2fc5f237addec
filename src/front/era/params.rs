//! Parameters that mean something to the front; everything else in them passes.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Ask, Form};
use crate::front::message::{INVALID_PARAMS, Refusal, present, string};
use crate::front::object::Object;
use crate::wire::messages::{ARGUMENTS_MAX, EXTRA_MAX};

/// Longest label a client gives itself, in bytes.
const CLIENT_MAX: usize = 256;
/// Longest name of a tool, in bytes; the names of real tools are shorter.
const TOOL_MAX: usize = 128;
/// Longest progress token, in bytes as it is written.
const TOKEN_MAX: usize = 256;
/// Longest URI of a resource, in bytes.
pub(in crate::front) const URI_MAX: usize = 8 << 10;
/// What a client can ask to be told: its own, which goes back to it.
const TOKEN: &str = "progressToken";

/// Reads `params` as a structure.
pub(super) fn members<'a, T: Deserialize<'a> + Default>(
    params: Option<&'a RawValue>,
) -> Result<T, Refusal> {
    match params {
        None => Ok(T::default()),
        Some(params) => {
            serde_json::from_str(params.get()).map_err(|_| invalid("`params` is not an object"))
        }
    }
}

/// Raw JSON of `params`, of a bounded length.
fn raw(params: Option<&RawValue>) -> Result<&[u8], Refusal> {
    let raw = params.map_or("{}", RawValue::get);
    match raw.len() <= ARGUMENTS_MAX {
        true => Ok(raw.as_bytes()),
        false => Err(invalid(format!(
            "`params` is longer than {ARGUMENTS_MAX} bytes"
        ))),
    }
}

/// A `tools/list`, which has one page.
pub(super) fn list<'a>(params: Option<&RawValue>) -> Result<(Ask<'a>, Form), Refusal> {
    first_page(params)?;
    Ok((Ask::List, Form::Kept))
}

/// A method that is the keeper's to answer.
pub(super) fn other<'a>(
    method: &'static str,
    params: Option<&'a RawValue>,
) -> Result<Ask<'a>, Refusal> {
    if method.ends_with("/list") {
        first_page(params)?;
    }
    let params = raw(params)?;
    Ok(Ask::Other { method, params })
}

/// Lists have one page each, so that no cursor was ever given out.
fn first_page(params: Option<&RawValue>) -> Result<(), Refusal> {
    let page: Page<'_> = members(params)?;
    match page.cursor {
        Some(_) => Err(invalid("unknown `cursor`")),
        None => Ok(()),
    }
}

/// A `tools/call`.
pub(super) fn call(params: Option<&RawValue>) -> Result<(Ask<'_>, Form), Refusal> {
    let call: Call<'_> = members(params)?;
    let tool = call
        .name
        .and_then(string)
        .ok_or_else(|| invalid("`name` is missing or not a string"))?;
    if tool.len() > TOOL_MAX {
        return Err(invalid(format!("`name` is longer than {TOOL_MAX} bytes")));
    }
    let arguments = call.arguments.map_or("{}", RawValue::get);
    if !arguments.starts_with('{') {
        return Err(invalid("`arguments` is not an object"));
    }
    if arguments.len() > ARGUMENTS_MAX {
        return Err(invalid(format!(
            "`arguments` is longer than {ARGUMENTS_MAX} bytes"
        )));
    }
    let ask = Ask::Call {
        tool,
        arguments: arguments.as_bytes(),
        extra: extra(params)?,
        mirrored: None,
    };
    Ok((ask, Form::Plain))
}

/// The members of a call's `params` that are for whoever carries it out.
fn extra(params: Option<&RawValue>) -> Result<Vec<u8>, Refusal> {
    let Some(mut all) = params.and_then(|params| Object::parse(params.get().as_bytes())) else {
        return Ok(Vec::new());
    };
    let meta = all.get("_meta").map(|meta| {
        let Some(mut meta) = Object::parse(meta.get().as_bytes()) else {
            return Err(invalid("`_meta` is not an object"));
        };
        meta.retain(|name| name != TOKEN);
        Ok(meta)
    });
    let meta = meta.transpose()?.filter(|meta| !meta.is_empty());
    all.retain(|name| matches!(name, "inputResponses" | "requestState"));
    let extra = match meta {
        Some(meta) => all.with("_meta", &meta.raw()),
        None if all.is_empty() => return Ok(Vec::new()),
        None => all.raw(),
    };
    match extra.len() <= EXTRA_MAX {
        true => Ok(extra),
        false => Err(invalid(format!(
            "what is beside `name` and `arguments` is longer than {EXTRA_MAX} bytes"
        ))),
    }
}

/// The token that progress is to be marked with, raw.
pub(super) fn token(params: Option<&RawValue>) -> Result<Option<String>, Refusal> {
    let Meta { meta } = members(params)?;
    let Some(token) = meta
        .as_ref()
        .and_then(|meta| Object::parse(meta.get().as_bytes())?.get(TOKEN))
    else {
        return Ok(None);
    };
    let raw = token.get();
    let good = raw.starts_with('"') || raw.parse::<i64>().is_ok();
    match good && raw.len() <= TOKEN_MAX {
        true => Ok(Some(raw.to_owned())),
        false => Err(invalid(
            "`progressToken` is neither a short string nor a whole number",
        )),
    }
}

/// `uri` of a resource.
pub(super) fn uri(params: Option<&RawValue>) -> Result<String, Refusal> {
    let Resource { uri } = members(params)?;
    uri.and_then(string)
        .filter(|uri| uri.len() <= URI_MAX)
        .ok_or_else(|| invalid("`uri` is missing, too long or not a string"))
}

/// `clientInfo` as one short text; empty where it is anything else.
pub(super) fn label(info: Option<&RawValue>) -> String {
    #[derive(Deserialize)]
    struct Info {
        #[serde(default)]
        name: String,
        #[serde(default)]
        version: String,
    }
    let info: Option<Info> = info.and_then(|info| serde_json::from_str(info.get()).ok());
    let Some(info) = info else {
        return String::new();
    };
    let mut label = if info.version.is_empty() {
        info.name
    } else {
        format!("{} {}", info.name, info.version)
    };
    label.truncate(label.floor_char_boundary(CLIENT_MAX));
    label
}

pub(super) fn invalid(what: impl Into<String>) -> Refusal {
    Refusal::new(INVALID_PARAMS, what)
}

#[derive(Debug, Default, Deserialize)]
struct Page<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    cursor: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
struct Call<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    name: Option<&'a RawValue>,
    #[serde(default, borrow, deserialize_with = "present")]
    arguments: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
struct Resource<'a> {
    #[serde(default, borrow, deserialize_with = "present")]
    uri: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
struct Meta<'a> {
    #[serde(default, borrow, rename = "_meta", deserialize_with = "present")]
    meta: Option<&'a RawValue>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw_value(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.into()).unwrap()
    }

    #[test]
    fn what_is_beside_the_arguments_passes_without_the_token() {
        let beside = |params: &str| {
            extra(Some(&raw_value(params)))
                .map(|raw| String::from_utf8(raw).unwrap())
                .map_err(|refusal| refusal.what().to_owned())
        };
        assert_eq!(beside(r#"{"name":"a","arguments":{}}"#).unwrap(), "");
        assert_eq!(beside(r#"{"_meta":{"progressToken":1}}"#).unwrap(), "");
        assert_eq!(
            beside(r#"{"name":"a","_meta":{"progressToken":1,"x/y": [1 ]},"task":{},"requestState":"s"}"#)
                .unwrap(),
            r#"{"_meta":{"x/y":[1 ]},"requestState":"s"}"#
        );
        assert_eq!(
            beside(r#"{"inputResponses":{"k":{"a":1.0}}}"#).unwrap(),
            r#"{"inputResponses":{"k":{"a":1.0}}}"#
        );
        assert_eq!(
            beside(r#"{"_meta":7}"#).unwrap_err(),
            "`_meta` is not an object"
        );
        let long = format!(r#"{{"requestState":"{}"}}"#, "x".repeat(EXTRA_MAX));
        assert!(beside(&long).unwrap_err().contains("longer than 32768"));
    }

    #[test]
    fn tokens_are_short_strings_or_whole_numbers() {
        let token = |meta: &str| {
            token(Some(&raw_value(&format!(
                r#"{{"_meta":{{"progressToken":{meta}}}}}"#
            ))))
        };
        assert_eq!(token("\"\\u0061\"").unwrap().unwrap(), "\"\\u0061\"");
        assert_eq!(token("-7").unwrap().unwrap(), "-7");
        for bad in ["1.5", "null", "{}", &format!("\"{}\"", "x".repeat(300))] {
            assert!(token(bad).is_err());
        }
        assert!(super::token(None).unwrap().is_none());
    }

    #[test]
    fn params_have_an_end() {
        let long = raw_value(&format!("{{\"a\":\"{}\"}}", "x".repeat(ARGUMENTS_MAX)));
        assert!(raw(Some(&long)).is_err());
        assert_eq!(raw(None).unwrap(), b"{}");
    }
}
