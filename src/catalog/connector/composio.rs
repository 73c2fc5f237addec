//! Servers of Composio, a service that makes MCP servers out of other services' APIs, its toolkits.
//!
//! It has two kinds. A *server* was made for certain toolkits, and lists their tools to everybody who
//! asks: it can be pinned like any other. A *session* (tool router) has tools that find and run other
//! tools, so that its list says nothing of what it may do: it cannot be pinned, and is refused. So is
//! what has a server list more than its toolkits, or act for whoever is named in the call.
//!
//! Source: Composio's documentation, "Single Toolkit MCP" and `POST /api/v3/mcp/servers/generate`;
//! its transport takes one user or one account, named in the singular.

use url::Url;

/// What says which toolkits a server has.
pub const HINT: &str = "make a server for certain toolkits at Composio, and name its URL: \
     `https://backend.composio.dev/v3/mcp/SERVER_ID?user_id=USER`";
/// The header that takes the API key of a project.
pub const KEY_HEADER: &str = "x-api-key";

/// Where its own servers are.
const DOMAIN: &str = "composio.dev";
/// Most toolkits of one server.
const TOOLKITS_MAX: usize = 32;
/// Longest name of a toolkit or a server, in bytes.
const NAME_MAX: usize = 64;
/// Toolkits of this name, and of names that begin so, find and run the tools of others.
const ROUTER: &str = "composio";
/// Longest name of a user or an account, in bytes.
const WHOSE_MAX: usize = 256;

/// Why a server cannot be pinned: what is wrong, and what mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong.
    pub what: String,
    /// What mends it.
    pub hint: String,
}

fn fault(what: impl Into<String>, hint: impl Into<String>) -> Fault {
    Fault {
        what: what.into(),
        hint: hint.into(),
    }
}

/// Whether the service itself is there.
pub fn is_at(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    host == DOMAIN
        || host
            .strip_suffix(DOMAIN)
            .is_some_and(|above| above.ends_with('.'))
}

/// Whether `url` is a server whose tools are those of `toolkits`, for one user.
///
/// # Errors
/// What does not let it be pinned.
pub fn check(url: &Url, toolkits: &[String]) -> Result<(), Fault> {
    named(toolkits)?;
    let parts: Vec<&str> = url.path_segments().into_iter().flatten().collect();
    let parts = parts.strip_suffix(&["mcp"]).unwrap_or(&parts);
    let server = match parts {
        ["v3" | "v3.1", "mcp", id] | ["composio", "server", id] => plain(id, true),
        _ => false,
    };
    if !server {
        let what = "it is no server with fixed toolkits: a session finds its tools as it goes, and \
                    what it will do cannot be pinned";
        return Err(fault(what, HINT));
    }
    query(url)
}

fn named(toolkits: &[String]) -> Result<(), Fault> {
    if toolkits.is_empty() {
        return Err(fault(
            "it is not said which toolkits the server has",
            "name them as Composio does, each: `toolkits = [\"gmail\"]`, or `--toolkit gmail` with \
             `connector import`",
        ));
    }
    if toolkits.len() > TOOLKITS_MAX {
        return Err(fault(
            format!("more than {TOOLKITS_MAX} toolkits"),
            "make several servers, each a connector of its own",
        ));
    }
    for (place, name) in toolkits.iter().enumerate() {
        if !plain(name, false) {
            let shown = crate::wire::text::Escaped::cut(name, 60);
            return Err(fault(
                format!("`{shown}` is no toolkit"),
                "as Composio writes it: a-z, 0-9, `_`, such as `gmail` or `google_maps`",
            ));
        }
        if name.starts_with(ROUTER) {
            return Err(fault(
                format!("the tools of toolkit `{name}` find and run those of any other"),
                HINT,
            ));
        }
        if toolkits.iter().take(place).any(|other| other == name) {
            return Err(fault(
                format!("toolkit `{name}` is named twice"),
                "name it once",
            ));
        }
    }
    Ok(())
}

/// A name that Composio gives: of a toolkit, or with capitals and `-` of a server.
fn plain(name: &str, server: bool) -> bool {
    let more = |byte: u8| server && (byte.is_ascii_uppercase() || byte == b'-');
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    !name.is_empty() && name.len() <= NAME_MAX && name.bytes().all(|byte| good(byte) || more(byte))
}

/// One user or one account, and nothing that has the server list or do more.
fn query(url: &Url) -> Result<(), Fault> {
    let mut whose: Vec<String> = Vec::new();
    for (name, value) in url.query_pairs() {
        match (&*name, &*value) {
            ("user_id" | "connected_account_id", "") => {}
            ("user_id" | "connected_account_id", value) if is_one(value) => {
                whose.push(name.into_owned());
            }
            ("user_id" | "connected_account_id" | "user_ids" | "connected_account_ids", _) => {
                return Err(fault(
                    format!("`{name}` names several whose accounts are used"),
                    "one connector acts for one: `user_id=USER` or `connected_account_id=ACCOUNT`",
                ));
            }
            ("include_composio_helper_actions", "false") => {}
            ("include_composio_helper_actions", _) => {
                return Err(fault(
                    "its helper actions have agents connect accounts by themselves",
                    "take `include_composio_helper_actions` away, and connect the account at Composio",
                ));
            }
            ("transport", _) => {
                return Err(fault(
                    "`transport` asks for another way than streamable HTTP",
                    "take `transport` away",
                ));
            }
            (name, _) => {
                let name = crate::wire::text::Escaped::cut(name, 60);
                return Err(fault(
                    format!("nobody here knows what `{name}` does"),
                    "take it away: only `user_id` or `connected_account_id` is needed; a key is no \
                     part of a URL",
                ));
            }
        }
    }
    match whose.len() {
        1 => Ok(()),
        0 => Err(fault(
            "it is not said whose accounts are used",
            "end the URL with `?user_id=USER` or `?connected_account_id=ACCOUNT`",
        )),
        _ => Err(fault(
            "it is said twice whose accounts are used",
            "keep one of `user_id` and `connected_account_id`",
        )),
    }
}

/// One user or account: nothing that another reader could take for several, or for more.
fn is_one(value: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.@:+".contains(&byte);
    value.len() <= WHOSE_MAX && value.bytes().all(plain)
}

/// Whether a tool is of one of the toolkits: their names begin with it, in capitals.
pub fn is_of(tool: &str, toolkits: &[String]) -> bool {
    let router = format!("{}_", ROUTER.to_ascii_uppercase());
    !tool.starts_with(&router)
        && toolkits.iter().any(|toolkit| {
            let after = tool.strip_prefix(&toolkit.to_ascii_uppercase());
            after.is_some_and(|after| after.len() > 1 && after.starts_with('_'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "https://backend.composio.dev/v3/mcp/5bc757cc-7a8e?user_id=u1";

    fn kits(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.into()).collect()
    }

    fn said(url: &str, toolkits: &[&str]) -> Result<(), String> {
        check(&Url::parse(url).unwrap(), &kits(toolkits)).map_err(|fault| fault.what)
    }

    #[test]
    fn a_server_with_fixed_toolkits_for_one_user_can_be_pinned() {
        for url in [
            GOOD,
            "https://backend.composio.dev/v3/mcp/5bc757cc/mcp?connected_account_id=ca_x",
            "https://mcp.composio.dev/composio/server/5bc757cc/mcp?user_id=u1",
            "https://backend.composio.dev/v3/mcp/s?user_id=u&include_composio_helper_actions=false",
        ] {
            assert_eq!(said(url, &["gmail", "google_maps"]), Ok(()), "{url}");
            assert!(is_at(&Url::parse(url).unwrap()));
        }
        for url in [
            "https://composio.dev.example/x",
            "https://xcomposio.dev/",
            "https://a.example/",
        ] {
            assert!(!is_at(&Url::parse(url).unwrap()), "{url}");
        }
        assert!(is_at(
            &Url::parse("https://connect.composio.dev./mcp").unwrap()
        ));
    }

    #[test]
    fn what_finds_its_tools_or_its_users_as_it_goes_is_refused() {
        let session = "it is no server with fixed toolkits";
        for (url, toolkits, why) in [
            (
                "https://mcp.composio.dev/session/ses_1/mcp?user_id=u",
                &["gmail"][..],
                session,
            ),
            (
                "https://backend.composio.dev/tool_router/trs_1/mcp",
                &["gmail"],
                session,
            ),
            ("https://connect.composio.dev/mcp", &["gmail"], session),
            (
                "https://backend.composio.dev/v3/mcp/?user_id=u",
                &["gmail"],
                session,
            ),
            (
                "https://backend.composio.dev/v3/mcp/a%2Fb?user_id=u",
                &["gmail"],
                session,
            ),
            (GOOD, &[], "it is not said which toolkits"),
            (GOOD, &["composio"], "find and run those of any other"),
            (
                GOOD,
                &["composio_search"],
                "find and run those of any other",
            ),
            (GOOD, &["Gmail"], "`Gmail` is no toolkit"),
            (GOOD, &["gmail", "gmail"], "named twice"),
            (
                "https://backend.composio.dev/v3/mcp/s",
                &["gmail"],
                "whose accounts are used",
            ),
            (
                "https://backend.composio.dev/v3/mcp/s?user_id=",
                &["gmail"],
                "whose accounts",
            ),
            (
                "https://backend.composio.dev/v3/mcp/s?user_id=a&user_id=b",
                &["gmail"],
                "twice",
            ),
            (
                "https://backend.composio.dev/v3/mcp/s?user_id=a,b",
                &["gmail"],
                "several",
            ),
            (
                "https://backend.composio.dev/v3/mcp/s?connected_account_ids=c",
                &["gmail"],
                "several",
            ),
            (
                "https://backend.composio.dev/v3/mcp/s?user_id=a&include_composio_helper_actions=true",
                &["gmail"],
                "helper actions",
            ),
            (
                "https://backend.composio.dev/v3/mcp/s?user_id=a&transport=sse",
                &["gmail"],
                "transport",
            ),
            (
                "https://backend.composio.dev/v3/mcp/s?user_id=a&api_key=k",
                &["gmail"],
                "nobody here",
            ),
        ] {
            let said = said(url, toolkits).unwrap_err();
            assert!(said.contains(why), "{url}: {said}");
            assert!(!said.contains("=k"));
        }
        let many: Vec<String> = (0..33).map(|number| format!("t{number}")).collect();
        assert!(check(&Url::parse(GOOD).unwrap(), &many).is_err());
    }

    #[test]
    fn tools_are_told_by_the_toolkit_they_begin_with() {
        let own = kits(&["gmail", "google_maps"]);
        for tool in ["GMAIL_SEND_EMAIL", "GOOGLE_MAPS_ROUTE"] {
            assert!(is_of(tool, &own), "{tool}");
        }
        assert!(!is_of(
            "COMPOSIO_SEARCH_TOOLS",
            &kits(&["composio_search", "composio"])
        ));
        for tool in [
            "SLACK_SEND",
            "GMAIL",
            "GMAIL_",
            "GMAILX_SEND",
            "gmail_send",
            "COMPOSIO_SEARCH_TOOLS",
            "",
        ] {
            assert!(!is_of(tool, &own), "{tool}");
        }
    }
}
