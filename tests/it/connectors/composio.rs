//! Servers of Composio, by a fake that keeps to what is documented of them.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use super::Gate;
use crate::harness::Appliance;

const SERVER: &str = "5bc757cc-7a8e-431c-8616-7f57cbed2423";

struct Composio {
    child: Child,
    port: u16,
}

impl Composio {
    /// One whose project wants that key, or none; while there is a file `more`, it lists what it
    /// should not.
    fn start(key: &str, more: &Path) -> Self {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fakes/composio.py");
        let mut child = Command::new("/usr/bin/python3")
            .arg(program)
            .env("FAKE_MCP_HTTP", "0")
            .env("FAKE_MCP_KEY", key)
            .env("FAKE_COMPOSIO_MORE", more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let port = line.trim().parse().unwrap();
        Self { child, port }
    }

    fn url(&self, rest: &str) -> String {
        format!("http://127.0.0.1:{}{rest}", self.port)
    }
}

impl Drop for Composio {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn import<'a>(url: &'a str, toolkit: &'a str) -> Vec<&'a str> {
    let mut words = vec!["import", "mail", url, "--private", "127.0.0.0/8"];
    if !toolkit.is_empty() {
        words.extend(["--toolkit", toolkit]);
    }
    words
}

#[test]
fn its_key_has_a_slot_and_without_a_vault_such_a_server_cannot_be_vetted() {
    let gate = Gate::new();
    let there = Composio::start("k", Path::new("/none"));
    let url = there.url(&format!("/v3/mcp/{SERVER}?user_id=u1"));
    gate.ends(0, &import(&url, "gmail"));
    let manifest = fs::read_to_string(gate.path("gate/connectors/mail.toml")).unwrap();
    for part in [
        "title = \"Composio: gmail\"",
        "toolkits = [\"gmail\"]",
        "[secrets.x-api-key]\nheader = \"x-api-key\"",
    ] {
        assert!(manifest.contains(part), "{part}: {manifest}");
    }
    let said = gate.ends(10, &["vet", "mail"]);
    assert!(said.contains("wants a key (401)"), "{said}");
    let shown = gate.json(0, &["show", "mail"]);
    assert_eq!(shown["toolkits"][0], "gmail", "{shown}");
}

#[test]
fn what_has_no_fixed_tools_is_refused_before_it_is_asked() {
    let gate = Gate::new();
    let at = "https://backend.composio.dev";
    for (rest, toolkit, why, hint) in [
        (
            "/v3/mcp/s?user_id=u",
            "",
            "which toolkits",
            "--toolkit gmail",
        ),
        (
            "/tool_router/trs_1/mcp",
            "gmail",
            "no server with fixed toolkits",
            "user_id=USER",
        ),
        (
            "/v3/mcp/s?user_id=u",
            "composio",
            "find and run those of any other",
            "SERVER_ID",
        ),
        (
            "/v3/mcp/s",
            "gmail",
            "whose accounts are used",
            "?user_id=USER",
        ),
        ("/v3/mcp/s?user_ids=a", "gmail", "several", "user_id=USER"),
        (
            "/v3/mcp/s?user_id=a&include_composio_helper_actions=true",
            "gmail",
            "helper actions",
            "take `include_composio_helper_actions` away",
        ),
    ] {
        let said = gate.ends(2, &import(&format!("{at}{rest}"), toolkit));
        assert!(said.contains(why) && said.contains(hint), "{rest}: {said}");
        assert!(!gate.path("gate/connectors/mail.toml").exists());
    }
    // Nor by a manifest that somebody wrote.
    let manifest = "name = \"mail\"\n[remote]\nurl = \"https://connect.composio.dev/mcp\"\n";
    fs::create_dir_all(gate.path("gate/connectors")).unwrap();
    fs::write(gate.path("gate/connectors/mail.toml"), manifest).unwrap();
    let said = gate.ends(2, &["vet", "mail"]);
    assert!(
        said.contains("line 3") && said.contains("which toolkits"),
        "{said}"
    );
    // A toolkit is of nothing else.
    let said = gate.ends(2, &["import", "x", "--toolkit", "gmail", "--", "/bin/true"]);
    assert!(said.contains("`--toolkit` is of a remote server"), "{said}");
}

#[test]
fn a_server_with_fixed_toolkits_is_pinned_called_and_quarantined_when_it_has_more() {
    let (mut appliance, more) = appliance();
    let there = Composio::start("", &more);
    let url = there.url(&format!("/v3/mcp/{SERVER}/mcp?connected_account_id=ca_1"));
    let connector = |words: &[&str]| {
        let words: Vec<&str> = ["connector"].iter().chain(words).copied().collect();
        let done = appliance.cli(&words);
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        (done.status.code(), said)
    };
    // One that lists what it was not made for is told before anybody approves it.
    fs::write(&more, "").unwrap();
    assert_eq!(connector(&import(&url, "gmail")).0, Some(0));
    let (code, said) = connector(&["vet", "mail"]);
    assert_eq!(code, Some(10), "{said}");
    assert!(
        said.contains("outside-toolkits@SLACK_SEND_MESSAGE"),
        "{said}"
    );
    fs::remove_file(&more).unwrap();
    let (code, said) = connector(&["vet", "mail"]);
    assert_eq!(code, Some(3), "{said}");
    appliance.must(&["connector", "approve", "mail", "--by", "alice"]);
    let (_, report) = connector(&["list", "--report"]);
    assert!(report.contains("- toolkits: `gmail`"), "{report}");

    let manifest = appliance.path("connectors/mail.toml");
    let text = fs::read_to_string(&manifest).unwrap();
    let read = "[tools.GMAIL_FETCH_EMAILS]\nclass = \"read\"\nreversibility = \"reversible\"\n\
                [tools.GMAIL_FETCH_EMAILS.parameters]\nquery = { role = \"content\" }\n";
    fs::write(&manifest, format!("{text}\n{read}")).unwrap();
    connector(&["vet", "mail"]);
    appliance.must(&["connector", "approve", "mail", "--by", "alice"]);
    appliance.serve();
    appliance.enrol("bot");
    appliance.enrol("other");
    let mut bot = appliance.session("bot");
    let got = bot.call("mail__GMAIL_FETCH_EMAILS", json!({"query": "is:unread"}));
    let text = got["content"][0]["text"].as_str();
    let text = text.unwrap_or_else(|| panic!("{got}\n{}", appliance.diagnostics()));
    assert!(
        text.contains("\"successful\": true") && text.contains("is:unread"),
        "{text}"
    );
    let hops = &appliance.entries("call.outcome")[0]["body"]["hops"];
    let target = format!("POST {}", url.split('?').next().unwrap());
    assert_eq!(hops[0]["target"], target, "{hops}");

    // Who gets a server of its own next is told that it is another one.
    fs::write(&more, "").unwrap();
    let got = appliance
        .session("other")
        .call("mail__GMAIL_FETCH_EMAILS", json!({"query": "x"}));
    assert_eq!(got["_meta"]["keepgate/class"], "quarantined", "{got}");
    let told = appliance.entries("connector.quarantined").pop().unwrap();
    assert!(told.to_string().contains("SLACK_SEND_MESSAGE"), "{told}");
}

/// An appliance whose agents use connector `mail`, and the file that has its server list more.
fn appliance() -> (Appliance, PathBuf) {
    let appliance = Appliance::init("");
    let config = appliance.path("keepgate.toml");
    let text = fs::read_to_string(&config).unwrap();
    let more = "\n[planes.production.connectors.mail]\nagents = [\"bot\", \"other\"]\n";
    fs::write(&config, text + more).unwrap();
    let file = appliance.path("more");
    (appliance, file)
}
