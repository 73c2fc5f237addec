//! MCP over HTTP, and the stateless era, against the real binary: with the official Python SDKs of
//! both eras (`KEEPGATE_PYTHON`, `KEEPGATE_PYTHON_2`; `scripts/test` makes them) and by hand.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{AGENT, Appliance, binary, eventually};

/// A port that was free a moment ago.
pub(crate) fn port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Lines of a configuration that have `production` listen there.
pub(crate) fn local(port: u16) -> String {
    format!("[planes.production.listen.local]\naddress = \"127.0.0.1:{port}\"\n")
}

/// Runs a client of an SDK as a user that is nobody here.
fn client(sdk: &str, program: &str, arguments: &[&str]) -> Output {
    let python = std::env::var(sdk).unwrap_or_else(|_| {
        panic!("{sdk} must name a Python with the `mcp` package; run scripts/test")
    });
    Command::new(python)
        .args(["-I", "-c", program])
        .args(arguments)
        .current_dir("/")
        .uid(AGENT)
        .gid(AGENT)
        .output()
        .unwrap()
}

fn told(appliance: &Appliance, done: &Output) -> Value {
    assert!(
        done.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&done.stderr),
        appliance.diagnostics()
    );
    serde_json::from_slice(&done.stdout).unwrap()
}

/// A session over HTTP with the SDK up to 2025-11-25.
const SESSION: &str = r#"
import asyncio, json, sys
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client

async def main(url, token):
    http = create_mcp_http_client(headers={"Authorization": f"Bearer {token}"})
    async with http, streamable_http_client(url, http_client=http) as streams:
        async with ClientSession(streams[0], streams[1]) as session:
            hello = await session.initialize()
            tools = await session.list_tools()
            good = await session.call_tool("file__read", {"path": "mail/hello.txt"})
            await session.send_ping()
            print(json.dumps({
                "version": hello.protocolVersion,
                "tools": len(tools.tools),
                "text": good.structuredContent["text"],
            }))

asyncio.run(main(*sys.argv[1:]))
"#;

/// The stateless era, over HTTP with a token, TLS with a certificate, or standard input and output.
const STATELESS: &str = r#"
import asyncio, json, ssl, sys
import httpx2
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

async def main(how, *words):
    http = None
    if how == "token":
        url, token = words
        http = httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"})
        server = streamable_http_client(url, http_client=http)
    elif how == "certificate":
        url, ca, cert, key = words
        context = ssl.create_default_context(cafile=ca)
        context.load_cert_chain(cert, key)
        http = httpx2.AsyncClient(verify=context)
        server = streamable_http_client(url, http_client=http)
    else:
        server = StdioServerParameters(command=words[0], args=list(words[1:]))
    async with Client(server) as client:
        tools = await client.list_tools()
        good = await client.call_tool("file__read", {"path": "mail/hello.txt"})
        bad = await client.call_tool("http__request", {"method": "GET", "url": "https://collector.example/x"})
        try:
            await client.call_tool("no__tool", {})
            unknown = None
        except Exception as error:
            unknown = str(error)
        async with client.listen(tools_list_changed=True) as news:
            listens = True
        print(json.dumps({
            "version": client.protocol_version,
            "server": client.server_info.name,
            "tools": len(tools.tools),
            "text": good.structured_content["text"],
            "bad": bad.is_error,
            "unknown": unknown,
            "listens": listens,
        }))
    if http is not None:
        await http.aclose()

asyncio.run(main(*sys.argv[1:]))
"#;

/// An agent with a token: its URL, and the token.
pub(crate) fn enrol(appliance: &Appliance, name: &str) -> (String, String) {
    let told = appliance.must(&["agent", "add", name, "--token"]);
    let text = |member: &str| told[member].as_str().unwrap().to_owned();
    (text("url"), text("token"))
}

#[test]
fn the_official_sdks_of_both_eras_are_served_over_http_and_stdio() {
    let appliance = Appliance::start(&local(port()));
    let (url, token) = enrol(&appliance, "w");
    let done = client("KEEPGATE_PYTHON", SESSION, &[&url, &token]);
    assert_eq!(
        told(&appliance, &done),
        json!({"version": "2025-11-25", "tools": 4, "text": "hello from the mailbox\n"})
    );
    // What the operator was told to paste works as it is, with either SDK.
    let pasted = appliance.must(&["agent", "add", "p", "--token"]);
    let pasted = pasted["snippets"]["python"].as_str().unwrap();
    for sdk in ["KEEPGATE_PYTHON", "KEEPGATE_PYTHON_2"] {
        let done = client(sdk, pasted, &[]);
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        assert!(
            String::from_utf8_lossy(&done.stdout).contains("mail"),
            "{done:?}"
        );
    }
    appliance.enrol("a");
    let (program, directory) = (binary(), appliance.directory.path());
    let (program, directory) = (program.to_str().unwrap(), directory.to_str().unwrap());
    let over_stdio = ["stdio", program, "--dir", directory, "mcp", "--agent", "a"];
    for words in [&["token", &url, &token][..], &over_stdio] {
        let done = client("KEEPGATE_PYTHON_2", STATELESS, words);
        let told = told(&appliance, &done);
        assert_eq!(told["version"], "2026-07-28", "{told}");
        assert_eq!(told["server"], "keepgate");
        assert_eq!(told["tools"], 4);
        assert_eq!(told["text"], "hello from the mailbox\n");
        assert_eq!(
            (&told["bad"], &told["listens"]),
            (&json!(true), &json!(true))
        );
        assert!(
            told["unknown"].as_str().unwrap().contains("no__tool"),
            "{told}"
        );
    }
    // The answers of both are calls in the log, by who proved to be whom.
    let agents: Vec<Value> = appliance
        .entries("call.outcome")
        .iter()
        .map(|entry| entry["body"]["status"].clone())
        .collect();
    assert_eq!(agents, ["done"; 5]);
}

#[test]
fn a_token_is_shown_once_and_replaced_or_revoked_at_once() {
    let appliance = Appliance::start(&local(port()));
    let (url, token) = enrol(&appliance, "w");
    let ask = |token: &str| {
        Http::connect(&url)
            .post(token, &modern("tools/list", json!({})))
            .0
    };
    assert_eq!(ask(&token), 200);
    assert_eq!(ask("keepgate_wrong"), 401);
    let listed = appliance.must(&["agent", "list"]);
    assert_eq!(listed["agents"][0]["proof"], "token");
    for text in [
        listed.to_string(),
        appliance.json(&["status"]).to_string(),
        appliance.diagnostics(),
    ] {
        assert!(!text.contains(&token));
    }
    assert!(!holds(&appliance.path("state"), token.as_bytes()));
    let (_, new) = enrol(&appliance, "w");
    assert_eq!((ask(&token), ask(&new)), (401, 200));
    // It survives a restart, and its revocation too.
    let mut appliance = appliance;
    appliance.stop();
    appliance.serve();
    assert_eq!(ask(&new), 200);
    // And the end of the front.
    let front = nix::unistd::Pid::from_raw(appliance.role("front"));
    nix::sys::signal::kill(front, nix::sys::signal::Signal::SIGKILL).unwrap();
    eventually("the next front serves the same doors", || {
        let list = modern("tools/list", json!({}));
        let answer = Http::connect(&url).try_post(&new, &list);
        answer.is_ok_and(|(status, _)| status == 200)
    });
    appliance.must(&["agent", "revoke", "w"]);
    eventually("the agent is cut off", || ask(&new) == 401);
    let status = appliance.json(&["status"]);
    assert_eq!(
        status["planes"]["production"]["listen"][0]["url"],
        url.as_str()
    );
    // Without a listener there is nothing to prove it to.
    let bare = appliance.cli(&[
        "--plane",
        "production",
        "agent",
        "add",
        "x",
        "--cert",
        "/dev/null",
    ]);
    assert!(!bare.status.success());
    assert!(String::from_utf8_lossy(&bare.stderr).contains("no listener that takes a certificate"));
}

fn holds(directory: &Path, text: &[u8]) -> bool {
    fs::read_dir(directory).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, text);
        }
        let bytes = fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|window| window == text)
    })
}

#[test]
fn a_client_certificate_is_an_agent() {
    let make = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let cert = params.self_signed(&key).unwrap();
        (cert.pem(), key.serialize_pem())
    };
    let port = port();
    let mut appliance = Appliance::init("");
    let put = |name: &str, text: &str, mode| {
        let path = appliance.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (cert, key) = make("localhost");
    let (cert, key) = (put("gate.pem", &cert, 0o644), put("gate.key", &key, 0o600));
    let config = appliance.get("keepgate.toml");
    let listen = format!(
        "[planes.production.listen.remote]\naddress = \"127.0.0.1:{port}\"\n\
         hosts = [\"localhost\"]\ncert = {cert:?}\nkey = {key:?}\n"
    );
    let (known, stranger) = (make("agent"), make("agent"));
    let known = (put("a.pem", &known.0, 0o644), put("a.key", &known.1, 0o644));
    let stranger = (
        put("b.pem", &stranger.0, 0o644),
        put("b.key", &stranger.1, 0o644),
    );
    fs::write(appliance.path("keepgate.toml"), config + &listen).unwrap();
    appliance.serve();
    let enrolled = appliance.must(&["agent", "add", "r", "--cert", &known.0]);
    assert_eq!(enrolled["proof"], "certificate");
    let url = format!("https://localhost:{port}/mcp");
    let run = |(cert_own, key_own): &(String, String)| {
        client(
            "KEEPGATE_PYTHON_2",
            STATELESS,
            &["certificate", &url, &cert, cert_own, key_own],
        )
    };
    let told = told(&appliance, &run(&known));
    assert_eq!(
        (&told["version"], &told["tools"]),
        (&json!("2026-07-28"), &json!(4))
    );
    assert!(!run(&stranger).status.success());
    let malformed = appliance.entries("front.malformed");
    assert!(malformed.iter().any(|entry| {
        entry["body"]["agent"] == "-" && entry["body"]["why"] == "HTTP from nobody that is enrolled"
    }));
    appliance.must(&["agent", "revoke", "r"]);
    eventually("the certificate is no agent any more", || {
        !run(&known).status.success()
    });
}

/// A request of the stateless era.
pub(crate) fn modern(method: &str, params: Value) -> Value {
    let mut params = params;
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
}

fn address(url: &str) -> &str {
    let address = url.strip_prefix("http://").unwrap();
    address.strip_suffix("/mcp").unwrap()
}

/// A plain HTTP client.
pub(crate) struct Http {
    stream: BufReader<TcpStream>,
}

impl Http {
    pub(crate) fn connect(url: &str) -> Self {
        let stream = TcpStream::connect(address(url)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Leaves, and waits until the server has closed its side, too.
    pub(crate) fn leave(self) {
        let [server, own] = [
            self.stream.get_ref().peer_addr(),
            self.stream.get_ref().local_addr(),
        ]
        .map(|address| format!("0100007F:{:04X}", address.unwrap().port()));
        drop(self);
        eventually("the server has closed the connection", || {
            let sockets = fs::read_to_string("/proc/net/tcp").unwrap();
            !sockets.lines().any(|line| {
                let mut words = line.split_whitespace().skip(1);
                (words.next(), words.next()) == (Some(&server), Some(&own))
            })
        });
    }

    pub(crate) fn send(&mut self, token: &str, body: &Value) {
        self.try_send(token, body).unwrap();
    }

    fn try_send(&mut self, token: &str, body: &Value) -> io::Result<()> {
        let method = body["method"].as_str().unwrap();
        let name = body["params"]["name"].as_str().unwrap_or("none");
        let body = body.to_string();
        let request = format!(
            "POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nAccept: application/json\r\n\
             MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: {method}\r\nMcp-Name: {name}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.get_mut().write_all(request.as_bytes())
    }

    pub(crate) fn post(&mut self, token: &str, body: &Value) -> (u16, Value) {
        self.try_post(token, body).unwrap()
    }

    fn try_post(&mut self, token: &str, body: &Value) -> io::Result<(u16, Value)> {
        self.try_send(token, body)?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest.split(' ').next().unwrap().parse().unwrap();
            }
            if let Some(rest) = line.strip_prefix("content-length: ") {
                length = rest.parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }
}
