//! `jail explain`: what a call's jail was refused, from the log.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use serde_json::json;

use crate::harness::{Appliance, copy};

/// Sends everybody elsewhere.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.read_line(&mut line).is_ok_and(|len| len > 2) {
                line.clear();
            }
            let answer = "HTTP/1.1 302 Found\r\nLocation: http://192.0.2.1/\r\n\
                          Content-Length: 0\r\nConnection: close\r\n\r\n";
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    port
}

#[test]
fn a_refused_hop_is_explained_and_an_untroubled_call_too() {
    let port = server();
    let mut appliance = Appliance::start(&format!(
        "[[planes.production.http]]\nscheme = \"http\"\nhost = \"127.0.0.1\"\nport = {port}\n\
         methods = [\"GET\"]\npath = \"/\"\nprivate = [\"127.0.0.0/8\"]\n"
    ));
    appliance.enrol("a");
    let mut session = appliance.session("a");
    session.works("file__read", json!({"path": "mail/hello.txt"}));
    let url = format!("http://127.0.0.1:{port}/");
    session.fails("http__request", json!({"method": "GET", "url": url}));
    let seqs: Vec<String> = ["call.intent", "call.outcome"]
        .iter()
        .flat_map(|kind| appliance.entries(kind))
        .map(|entry| entry["seq"].to_string())
        .collect();
    let [read, sent, done, refused] = seqs.as_slice() else {
        panic!("{seqs:?}")
    };
    for seq in [read, done] {
        let told = appliance.must(&["jail", "explain", seq]);
        assert_eq!(told["refused"], json!([]), "{told}");
        let shown = appliance.cli(&["jail", "explain", seq]);
        assert_eq!(shown.stdout, b"nothing was refused in this call\n");
    }
    for seq in [sent, refused] {
        let told = appliance.must(&["jail", "explain", seq]);
        assert_eq!(told["refused"][0]["layer"], "egress", "{told}");
        assert_eq!(told["seq"].to_string(), *refused);
        let say = told["refused"][0]["say"].as_str().unwrap();
        assert!(say.contains("192.0.2.1"), "{told}");
    }
    let none = appliance.cli(&["jail", "explain", "0"]);
    assert_eq!(none.status.code(), Some(2), "{none:?}");
    // The same from a copy, without anybody who serves.
    let there = appliance.path("copy");
    appliance.stop();
    copy(&appliance.path("state/production/log"), &there);
    let words = ["jail", "explain", refused, "--log", there.to_str().unwrap()];
    let told = appliance.must(&words);
    assert_eq!(told["refused"][0]["layer"], "egress", "{told}");
}
