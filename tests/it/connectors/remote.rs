//! Servers elsewhere, over streamable HTTP.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::{Gate, lines};

struct Far {
    child: Child,
    url: String,
}

impl Far {
    fn new(gate: &Gate, port: &str, env: &[(&str, &str)]) -> Self {
        let mut command = Command::new("/usr/bin/python3");
        command
            .arg(gate.server().join("mcp.py"))
            .env("FAKE_MCP_HTTP", port);
        for (name, value) in env {
            command.env(name, value);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut port)
            .unwrap();
        let url = format!("http://127.0.0.1:{}/mcp", port.trim());
        Self { child, url }
    }

    fn port(&self) -> &str {
        let (_, rest) = self.url.rsplit_once(':').unwrap();
        rest.strip_suffix("/mcp").unwrap()
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn a_remote_server_is_vetted_pinned_and_its_change_is_told() {
    for era in ["session", "stateless"] {
        let gate = Gate::new();
        let far = Far::new(&gate, "0", &[("FAKE_MCP_ERA", era)]);
        gate.ends(2, &["import", "far", &far.url]);
        gate.ends(0, &["import", "far", &far.url, "--private", "127.0.0.0/8"]);
        let vetted = gate.json(3, &["vet", "far"]);
        assert_eq!(vetted["era"], era);
        assert_eq!(vetted["tools"].as_object().unwrap().len(), 2);
        assert_eq!(vetted["prompts"][0], "greet");
        assert_eq!(vetted["findings"][0]["id"], "jail-no-tls@connector");
        gate.ends(0, &["approve", "far", "--by", "alice"]);
        gate.ends(0, &["diff", "far"]);
        let port = far.port().to_owned();
        drop(far);
        gate.ends(1, &["diff", "far"]);
        let tools = r#"[{"name":"echo","inputSchema":{"type":"object"}}]"#;
        let far = Far::new(
            &gate,
            &port,
            &[("FAKE_MCP_ERA", era), ("FAKE_MCP_TOOLS", tools)],
        );
        let all = lines(&gate.json(20, &["diff", "far"]));
        assert!(
            all.iter().any(|line| line.contains("forget\" \"removed\"")),
            "{all:?}"
        );
        drop(far);
    }
}

#[test]
fn a_server_that_wants_a_key_gets_a_slot_and_cannot_be_vetted_without() {
    let gate = Gate::new();
    let far = Far::new(&gate, "0", &[("FAKE_MCP_KEY", "k")]);
    let words = [
        "import",
        "mail",
        &far.url,
        "--private",
        "127.0.0.0/8",
        "--header",
        "x-api-key",
    ];
    gate.ends(0, &words);
    let manifest = std::fs::read_to_string(gate.path("gate/connectors/mail.toml")).unwrap();
    assert!(
        manifest.contains("[secrets.x-api-key]\nheader = \"x-api-key\""),
        "{manifest}"
    );
    let said = gate.ends(10, &["vet", "mail"]);
    assert!(said.contains("wants a key (401)"), "{said}");
}
