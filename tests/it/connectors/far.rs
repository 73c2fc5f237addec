//! The official Python SDKs' servers, elsewhere: over streamable HTTP with TLS, through the whole gate.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::harness::{Appliance, Session, eventually};

struct Far {
    child: Child,
    url: String,
    pin: String,
}

impl Far {
    /// Starts `remote.py` with the SDK that the variable `sdk` names.
    fn new(sdk: &str, place: &Path) -> Self {
        let python = std::env::var(sdk).unwrap_or_else(|_| {
            panic!("{sdk} must name a Python with the `mcp` package; run scripts/test")
        });
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let (chain, secret) = (place.join("far.pem"), place.join("far.key"));
        fs::write(&chain, certificate.pem()).unwrap();
        fs::write(&secret, key.serialize_pem()).unwrap();
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/python/remote.py");
        let mut child = Command::new(python)
            .arg("-I")
            .args([&program, &chain, &secret])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().unwrap();
        let hex = digest(&SHA256, certificate.der());
        let hex = hex.as_ref().iter().map(|byte| format!("{byte:02x}"));
        Self {
            child,
            url: format!("https://127.0.0.1:{port}/mcp"),
            pin: hex.collect(),
        }
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// An appliance whose agent `bot` uses the server as connector `far`.
fn appliance(sdk: &str) -> (Appliance, Far) {
    let mut appliance = Appliance::init("");
    let place = appliance.path("far");
    fs::create_dir(&place).unwrap();
    let far = Far::new(sdk, &place);
    let connectors = appliance.path("connectors");
    fs::create_dir_all(&connectors).unwrap();
    fs::set_permissions(&connectors, fs::Permissions::from_mode(0o755)).unwrap();
    let manifest = format!(
        "name = \"far\"\n[remote]\nurl = \"{}\"\nprivate = [\"127.0.0.0/8\"]\npin_sha256 = \"{}\"\n\
         [tools.where]\nclass = \"read\"\nreversibility = \"reversible\"\n\
         [tools.later]\nclass = \"read\"\nreversibility = \"reversible\"\n",
        far.url, far.pin
    );
    fs::write(connectors.join("far.toml"), manifest).unwrap();
    let done = appliance.cli(&["connector", "vet", "far"]);
    assert!(matches!(done.status.code(), Some(0 | 3)), "{done:?}");
    appliance.must(&["connector", "approve", "far", "--by", "alice"]);
    let config = appliance.path("keepgate.toml");
    let text = fs::read_to_string(&config).unwrap();
    let more = "\n[planes.production.connectors.far]\nagents = [\"bot\", \"other\"]\n";
    fs::write(&config, text + more).unwrap();
    appliance.serve();
    appliance.enrol("bot");
    appliance.enrol("other");
    (appliance, far)
}

fn place(region: &str, stateless: bool) -> Value {
    let mut call = json!({"name": "far__where", "arguments": {"region": region}});
    if stateless {
        call["_meta"] = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        });
    }
    call
}

/// What the server says of a call.
#[track_caller]
fn told(session: &mut Session, region: &str, stateless: bool) -> Value {
    let answer = session.request("tools/call", place(region, stateless));
    let text = answer["result"]["content"][0]["text"].as_str();
    let text = text.unwrap_or_else(|| panic!("{answer}"));
    let told: Value = serde_json::from_str(text).unwrap_or_else(|_| panic!("{answer}"));
    assert_eq!(told["region"], region);
    told
}

/// Every call has its one request on record.
#[track_caller]
fn recorded(appliance: &Appliance, far: &Far, calls: usize) {
    let outcomes = appliance.entries("call.outcome");
    assert_eq!(outcomes.len(), calls);
    let address = far
        .url
        .trim_start_matches("https://")
        .trim_end_matches("/mcp");
    for outcome in &outcomes {
        let hops = outcome["body"]["hops"].as_array().unwrap();
        assert_eq!(hops.len(), 1, "{outcome}");
        assert_eq!(hops[0]["target"], format!("POST {}", far.url));
        assert_eq!(
            (&hops[0]["status"], &hops[0]["address"]),
            (&200.into(), &address.into())
        );
        assert!(hops[0]["bytes"].as_u64().unwrap() > 0);
    }
}

#[test]
fn a_stateless_client_reaches_a_remote_server_with_its_arguments_in_headers() {
    let (appliance, far) = appliance("KEEPGATE_PYTHON_2");
    let mut bot = appliance.connect("bot");
    let first = told(&mut bot, "us-west1", true);
    assert_eq!(first["header"], "us-west1");
    let second = told(&mut bot, "größe", true);
    assert_eq!(second["header"], "=?base64?Z3LDtsOfZQ==?=");
    // The same connection, which another agent never gets.
    assert_eq!(second["port"], first["port"]);
    let others = told(&mut appliance.connect("other"), "x", true);
    assert_ne!(others["port"], first["port"]);
    recorded(&appliance, &far, 3);
    // What has no place in a header is refused before anything is asked.
    let long = "x".repeat(10_000);
    let answer = bot.request("tools/call", place(&long, true));
    assert_eq!(
        answer["result"]["_meta"]["keepgate/class"], "bad_argument",
        "{answer}"
    );
    assert_eq!(appliance.entries("call.intent").len(), 3);
}

#[test]
fn a_session_client_reaches_remote_servers_of_both_sdks() {
    for sdk in ["KEEPGATE_PYTHON", "KEEPGATE_PYTHON_2"] {
        let (appliance, far) = appliance(sdk);
        let mut bot = appliance.session("bot");
        let first = told(&mut bot, "us-west1", false);
        assert_eq!(first["header"], Value::Null, "{sdk}");
        let second = told(&mut bot, "eu", false);
        assert_eq!(second["port"], first["port"], "{sdk}");
        recorded(&appliance, &far, 2);
        // What was asked beside calls is on record too: its beginning, its stream and its end.
        appliance.must(&["agent", "revoke", "bot"]);
        eventually("its server has ended", || {
            appliance.entries("connector.ended").len() == 1
        });
        let mut all = appliance.entries("connector.requests");
        all.extend(appliance.entries("connector.ended"));
        let hops = all
            .iter()
            .flat_map(|entry| entry["body"]["hops"].as_array().unwrap());
        let hops: Vec<String> = hops
            .map(|hop| hop["target"].as_str().unwrap().to_owned())
            .collect();
        for method in ["POST", "GET", "DELETE"] {
            let target = format!("{method} {}", far.url);
            assert!(hops.contains(&target), "{sdk} {target}: {hops:?}");
        }
    }
}

#[test]
fn a_stream_that_its_server_closes_is_taken_up_again_until_the_answer() {
    for sdk in ["KEEPGATE_PYTHON", "KEEPGATE_PYTHON_2"] {
        let (appliance, far) = appliance(sdk);
        let mut bot = appliance.session("bot");
        let got = bot.call("far__later", json!({}));
        let diagnostics = || appliance.diagnostics();
        assert_eq!(
            got["content"][0]["text"],
            "later",
            "{sdk} {got}\n{}",
            diagnostics()
        );
        let outcomes = appliance.entries("call.outcome");
        let hops = outcomes[0]["body"]["hops"].as_array().unwrap();
        let targets: Vec<&str> = hops
            .iter()
            .map(|hop| hop["target"].as_str().unwrap())
            .collect();
        let [post, get] = ["POST", "GET"].map(|method| format!("{method} {}", far.url));
        assert_eq!(targets, [post, get], "{sdk}");
    }
}
