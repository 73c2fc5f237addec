//! How to connect an agent: ready to paste for the clients people use. All start `keepgate mcp`,
//! which needs no token and no port.

use serde_json::{Value, json};

use crate::error::{Context, Result};

/// What clients call the server.
pub(super) const SERVER: &str = "keepgate";

/// The command that a client starts, in every client's words.
#[derive(Debug)]
pub(super) struct Snippets {
    program: String,
    arguments: Vec<String>,
}

impl Snippets {
    /// For `agent`, with the options that select install and plane. The program is this one, by
    /// its absolute path.
    pub(super) fn new(agent: &str, options: &[String]) -> Result<Self> {
        let program = std::env::current_exe().context(|| "find this program".into())?;
        let mut arguments = options.to_vec();
        arguments.extend(["mcp", "--agent", agent].map(Into::into));
        Ok(Self {
            program: program.to_string_lossy().into_owned(),
            arguments,
        })
    }

    /// All of them by name, for `--json`.
    pub(super) fn json(&self) -> Value {
        json!({
            "command": self.program,
            "args": self.arguments,
            "claude_code": self.claude(),
            "mcp_json": self.mcp_json(),
            "codex_toml": self.codex(),
            "python": self.python(),
        })
    }

    /// All of them to read and copy; `uid` is who has to run the client.
    pub(super) fn text(&self, uid: u32) -> String {
        format!(
            "run the agent as uid {uid}, and connect it with one of:\n\n\
             Claude Code, on the command line:\n\n{}\n\
             Claude Code and others, in .mcp.json (Claude Code: --strict-mcp-config keeps others out):\n\n{}\n\
             Codex, in ~/.codex/config.toml:\n\n{}\n\
             Python, with the official SDK (pip install mcp):\n\n{}",
            indented(&self.claude()),
            indented(&format!("{:#}", self.mcp_json())),
            indented(&self.codex()),
            indented(&self.python()),
        )
    }

    fn claude(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.arguments);
        let words: Vec<String> = words.map(|word| quoted(word)).collect();
        format!("claude mcp add {SERVER} -- {}", words.join(" "))
    }

    fn mcp_json(&self) -> Value {
        let server = json!({"type": "stdio", "command": self.program, "args": self.arguments});
        json!({"mcpServers": {SERVER: server}})
    }

    fn codex(&self) -> String {
        let arguments: Vec<toml::Value> = self
            .arguments
            .iter()
            .map(|word| toml::Value::from(word.as_str()))
            .collect();
        let program = toml::Value::from(self.program.as_str());
        let arguments = toml::Value::from(arguments);
        format!("[mcp_servers.{SERVER}]\ncommand = {program}\nargs = {arguments}\n")
    }

    fn python(&self) -> String {
        // A JSON string of these words is a Python string too.
        let (program, arguments) = (json!(self.program), json!(self.arguments));
        format!(
            "import asyncio\n\
             from mcp import ClientSession, StdioServerParameters\n\
             from mcp.client.stdio import stdio_client\n\n\
             server = StdioServerParameters(command={program}, args={arguments})\n\n\
             async def main():\n    \
             async with stdio_client(server) as (read, write):\n        \
             async with ClientSession(read, write) as session:\n            \
             await session.initialize()\n            \
             print(await session.call_tool(\"file__list\", {{\"path\": \".\"}}))\n\n\
             asyncio.run(main())\n"
        )
    }
}

pub(super) fn indented(text: &str) -> String {
    text.lines()
        .map(|line| {
            if line.is_empty() {
                "\n".into()
            } else {
                format!("    {line}\n")
            }
        })
        .collect()
}

/// One word for a POSIX shell.
pub(in crate::cli) fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+=:@,".contains(&byte);
    match !word.is_empty() && word.bytes().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_arrive_as_they_are_in_every_client() {
        let hard = "/a b/it's \"x\"";
        let snippets = Snippets {
            program: "/usr/bin/keepgate".into(),
            arguments: ["--dir", hard, "mcp", "--agent", "a"]
                .map(Into::into)
                .to_vec(),
        };
        assert_eq!(
            snippets.claude(),
            "claude mcp add keepgate -- /usr/bin/keepgate --dir '/a b/it'\\''s \"x\"' mcp --agent a"
        );
        let codex: toml::Table = toml::from_str(&snippets.codex()).unwrap();
        assert_eq!(
            codex["mcp_servers"]["keepgate"]["args"][1].as_str(),
            Some(hard)
        );
        assert_eq!(
            snippets.mcp_json()["mcpServers"]["keepgate"]["args"][1],
            hard
        );
        assert!(snippets.python().contains(r#""/a b/it's \"x\"""#));
        assert!(snippets.text(7).contains("as uid 7"));
    }
}
