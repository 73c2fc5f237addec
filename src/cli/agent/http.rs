//! Enrolling agents that connect over HTTP, and how they do.

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use super::certificate;
use super::snippets::{SERVER, indented, quoted};
use crate::cli::app::App;
use crate::cli::exit::Exit;
use crate::cli::layout::number;
use crate::config::{Config, Listen};
use crate::error::{Context, Error, Kind, Result};
use crate::time::{Clock, SystemClock};
use crate::wire::admin::Ask;
use crate::wire::messages::{Proof, Token};
use crate::wire::text::{escaped, hex};

/// Tokens begin with this, so that whoever looks for secrets in files knows one.
const TOKEN_MARK: &str = "keepgate_";
/// Random bytes of a token.
const TOKEN_BYTES: usize = 32;
/// Longest file of a certificate, in bytes.
const PEM_MAX: u64 = 64 << 10;

/// Enrols `name` with a new token and shows it, this once.
pub(super) fn with_token(app: &App, name: String, tools: Vec<String>) -> Result<Exit> {
    let plane = app.plane()?;
    let url = url(app, &plane, "token")?;
    let token = token()?;
    let sha256 = hex(digest(&SHA256, token.as_bytes()).as_ref());
    let mut value = app.keeper()?.ask(Ask::AgentAdd {
        name: name.clone(),
        proof: Proof::Token(Token { sha256 }),
        tools,
    })?;
    let ways = Ways {
        url: &url,
        token: Some(&token),
    };
    tell(&mut value, &plane, &ways);
    app.screen.answer(&value, |value| {
        let seq = number(value, "seq");
        format!(
            "agent {name} is enrolled in plane {plane} with a token: entry {seq} of the log\n\
             its token, which is not shown again: {token}\n\n{}",
            ways.text()
        )
    })?;
    Ok(Exit::Ok)
}

/// Enrols `name` with the certificate in `file`.
pub(super) fn with_certificate(
    app: &App,
    name: String,
    tools: Vec<String>,
    file: &Path,
) -> Result<Exit> {
    let plane = app.plane()?;
    let url = url(app, &plane, "certificate")?;
    let shown = escaped(&file.to_string_lossy());
    let what = || format!("read `{shown}`");
    if fs::metadata(file).context(what)?.len() > PEM_MAX {
        return Err(Error::of(
            Kind::Usage,
            format!("`{shown}` is too long for a certificate"),
        ));
    }
    let certificate = certificate::read(&fs::read(file).context(what)?)
        .map_err(|error| Error::of(Kind::Usage, format!("`{shown}`: {}", error.message())))?;
    let later = certificate::valid(&certificate, SystemClock.now()).map_err(|error| {
        let hint = "an expired certificate is refused at each connection: have a new one made, and \
                    look at this host's clock";
        Error::of(Kind::Usage, format!("`{shown}`: {}", error.message())).hint(hint)
    })?;
    if let Some(from) = later {
        app.screen
            .note(format!("note: the certificate is not valid before {from}"));
    }
    let sha256 = certificate.sha256.clone();
    let mut value = app.keeper()?.ask(Ask::AgentAdd {
        name: name.clone(),
        proof: Proof::Certificate(certificate),
        tools,
    })?;
    let ways = Ways {
        url: &url,
        token: None,
    };
    tell(&mut value, &plane, &ways);
    app.screen.answer(&value, |value| {
        let seq = number(value, "seq");
        format!(
            "agent {name} is enrolled in plane {plane} with a certificate: entry {seq} of the log\n\
             SHA-256 of its certificate: {sha256}\n\n{}",
            ways.text()
        )
    })?;
    Ok(Exit::Ok)
}

fn tell(value: &mut Value, plane: &str, ways: &Ways<'_>) {
    if let Some(members) = value.as_object_mut() {
        members.insert("plane".into(), plane.into());
        members.insert("url".into(), ways.url.into());
        if let Some(token) = ways.token {
            members.insert("token".into(), token.into());
        }
        members.insert("snippets".into(), ways.json());
    }
}

/// A listener of the plane that takes this kind of proof.
fn url(app: &App, plane: &str, kind: &str) -> Result<String> {
    let config = Config::find(&app.paths.config())?.unwrap_or_default();
    let known = config.planes.get(plane);
    let listener = known
        .into_iter()
        .flat_map(|plane| plane.listen.values())
        .find(|listen| listen.proof() == kind);
    listener.map(Listen::url).ok_or_else(|| {
        let what = format!("plane `{plane}` has no listener that takes a {kind}");
        Error::of(Kind::Usage, what).hint(format!(
            "add a table `[planes.{plane}.listen.NAME]` to the configuration and start `keepgate \
             serve` again; `keepgate init --print` shows one"
        ))
    })
}

/// 256 random bits that nobody guesses.
fn token() -> Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no random numbers"))
        .context(|| "make a token".into())?;
    Ok(format!("{TOKEN_MARK}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// How clients connect, ready to paste.
struct Ways<'a> {
    url: &'a str,
    token: Option<&'a str>,
}

impl Ways<'_> {
    fn json(&self) -> Value {
        json!({
            "url": self.url,
            "claude_code": self.claude(),
            "mcp_json": self.mcp_json(),
            "codex_toml": self.codex(),
            "python": self.python(),
        })
    }

    fn text(&self) -> String {
        if self.token.is_none() {
            return format!(
                "its endpoint: {}\n\nconnect it with an HTTP client that shows the certificate. \
                 Python, with the official SDK (pip install mcp):\n\n{}",
                self.url,
                indented(&self.python()),
            );
        }
        format!(
            "connect it with one of:\n\n\
             Claude Code, on the command line:\n\n{}\n\
             Claude Code and others, in .mcp.json:\n\n{}\n\
             Codex, in ~/.codex/config.toml, with the token in KEEPGATE_AGENT_TOKEN:\n\n{}\n\
             Python, with the official SDK (pip install mcp):\n\n{}",
            indented(&self.claude()),
            indented(&format!("{:#}", self.mcp_json())),
            indented(&self.codex()),
            indented(&self.python()),
        )
    }

    fn header(&self) -> Option<String> {
        self.token.map(|token| format!("Bearer {token}"))
    }

    fn claude(&self) -> String {
        let url = quoted(self.url);
        let header = self.header().map(|header| {
            let header = quoted(&format!("Authorization: {header}"));
            format!(" --header {header}")
        });
        let header = header.unwrap_or_default();
        format!("claude mcp add --transport http {SERVER} {url}{header}")
    }

    fn mcp_json(&self) -> Value {
        let mut server = json!({"type": "http", "url": self.url});
        if let (Some(header), Some(members)) = (self.header(), server.as_object_mut()) {
            members.insert("headers".into(), json!({"Authorization": header}));
        }
        json!({"mcpServers": {SERVER: server}})
    }

    fn codex(&self) -> String {
        let url = toml::Value::from(self.url);
        let token = match self.token {
            Some(_) => "bearer_token_env_var = \"KEEPGATE_AGENT_TOKEN\"\n",
            None => "",
        };
        format!("[mcp_servers.{SERVER}]\nurl = {url}\n{token}")
    }

    fn python(&self) -> String {
        // A JSON string of these words is a Python string too.
        let url = json!(self.url);
        let (imports, client) = match self.header() {
            Some(header) => (
                "from mcp.shared._httpx_utils import create_mcp_http_client\n",
                format!(
                    "http = create_mcp_http_client(headers={})",
                    json!({"Authorization": header})
                ),
            ),
            None => (
                "import httpx2, ssl\n",
                "tls = ssl.create_default_context(cafile=\"gate.pem\")\n    \
                 tls.load_cert_chain(\"agent.pem\", \"agent.key\")\n    \
                 http = httpx2.AsyncClient(verify=tls)"
                    .to_owned(),
            ),
        };
        format!(
            "import asyncio\n\
             from mcp import ClientSession\n\
             from mcp.client.streamable_http import streamable_http_client\n\
             {imports}\n\
             async def main():\n    \
             {client}\n    \
             async with http, streamable_http_client({url}, http_client=http) as streams:\n        \
             async with ClientSession(streams[0], streams[1]) as session:\n            \
             await session.initialize()\n            \
             print(await session.call_tool(\"file__list\", {{\"path\": \".\"}}))\n\n\
             asyncio.run(main())\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_tokens_are_alike_and_each_is_one_word() {
        let (one, other) = (token().unwrap(), token().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), TOKEN_MARK.len() + 43);
        assert_eq!(quoted(&one), one);
    }

    #[test]
    fn every_client_gets_the_address_and_the_token() {
        let ways = Ways {
            url: "http://127.0.0.1:7411/mcp",
            token: Some("keepgate_x"),
        };
        assert_eq!(
            ways.claude(),
            "claude mcp add --transport http keepgate http://127.0.0.1:7411/mcp \
             --header 'Authorization: Bearer keepgate_x'"
        );
        let server = &ways.mcp_json()["mcpServers"]["keepgate"];
        assert_eq!(server["headers"]["Authorization"], "Bearer keepgate_x");
        let codex: toml::Table = toml::from_str(&ways.codex()).unwrap();
        assert_eq!(
            codex["mcp_servers"]["keepgate"]["url"].as_str(),
            Some(ways.url)
        );
        assert!(ways.python().contains("Bearer keepgate_x"));
        let remote = Ways {
            url: "https://gate.example.net:7443/mcp",
            token: None,
        };
        assert!(remote.python().contains("load_cert_chain"));
        assert!(!remote.claude().contains("--header"));
    }
}
