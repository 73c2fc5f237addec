//! What scripts are given, what they reach, and how they end.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use serde_json::{Value, json};

use super::{ERAS, World, reads, running, said, source, stdout};
use crate::harness::eventually;

#[test]
fn a_script_gets_its_arguments_as_they_are() {
    let mut world = World::new();
    world.approved("reports", reads);
    world.serve();
    let odd = json!([
        "--",
        "-c",
        "",
        " ",
        "it's",
        "\"quoted\"",
        "$(id) `id` ${HOME}",
        "line\nbreak\r\n\ttab",
        "*",
        "a;b|c&d>e",
        "\\",
        "\u{1}\u{1b}[31m",
        "ä 漢 🙂 \u{202e}",
        "@file",
        "%s%n",
        "!!"
    ]);
    let megabyte = "0123456789abcdef".repeat(62_500);
    let full: Vec<String> = (0..60).map(|n| format!("{n:0600}")).collect();
    let asked = json!([
        ["call", "reports__echo", {"args": odd}],
        ["call", "reports__count", {"args": ["--", "a b", "'\n'"], "stdin": "1\n2\n3\n"}],
        ["call", "reports__echo", {"stdin": megabyte}],
        ["call", "reports__echo", {"args": full}],
        ["call", "reports__echo", {"args": [megabyte]}],
        ["call", "reports__echo", {"args": vec!["x".repeat(4096); 20]}],
        ["call", "reports__echo", {"args": ["a\u{0}b"]}],
        ["call", "reports__echo", {"args": vec![""; 65]}],
        ["call", "reports__echo", {"args": "one text"}],
        ["call", "reports__echo", {"arguments": []}],
    ]);
    let told = world.asks(ERAS[0], &asked);
    assert_eq!(said(&told[0])["args"], odd);
    assert_eq!(
        stdout(&told[1]),
        "3 arguments, 3 lines\n[--]\n[a\\ b]\n[$'\\'\\n\\'']\n"
    );
    let digest = ring::digest::digest(&ring::digest::SHA256, megabyte.as_bytes());
    let digest = keepgate::wire::text::hex(digest.as_ref());
    assert_eq!(said(&told[2])["stdin"], json!([1_000_000, digest]));
    assert_eq!(said(&told[3])["args"], json!(full));
    for (place, refused) in told.iter().enumerate().skip(4) {
        assert_eq!(refused["isError"], true, "{place}: {refused}");
        assert_eq!(
            refused["_meta"]["keepgate/class"], "bad_argument",
            "{place}: {refused}"
        );
        let text = refused["content"][0]["text"].as_str().unwrap();
        assert!(text.len() < 1_000, "{place}: {text:.2000}");
    }
    let ran = world.appliance.entries("call.outcome").len();
    assert_eq!(ran, 4, "what cannot be given was given");
}

#[test]
fn how_a_script_ends_is_what_the_agent_is_told() {
    let mut world = World::new();
    world.approved("reports", reads);
    // Time for what ends by itself is plenty, and there is little for what does not.
    world.approved("short", |text| {
        reads(text).replace("call_s = 60", "call_s = 2")
    });
    world.approved("large", |text| {
        reads(text).replace("result_kib = 1024", "result_kib = 16384")
    });
    world.serve();
    let asked = json!([
        ["call", "reports__echo", {"args": ["--exit", "3"]}],
        ["call", "reports__try", {"args": ["signal", "11"]}],
        ["call", "short__try", {"args": ["sleep", "x"]}],
        ["call", "reports__try", {"args": ["flood", "x"]}],
        ["call", "large__try", {"args": ["flood", "x"]}],
        ["call", "reports__try", {"args": ["bytes", "x"]}],
        ["call", "reports__try", {"args": ["fork", "x"]}],
        ["call", "reports__try", {"args": ["leave", "x"]}],
        ["call", "reports__try", {"args": ["leave", "x"]}],
        ["call", "reports__try", {"args": []}],
    ]);
    let told = world.asks(ERAS[0], &asked);
    let structured = |place: usize| &told[place]["structuredContent"];
    let failed = |place: usize, ended: &str, code: i64| {
        let told = &told[place];
        assert_eq!(told["isError"], true, "{told:.2000}");
        assert_eq!(structured(place)["ended"], ended, "{told:.2000}");
        assert_eq!(structured(place)["exitCode"], code, "{told:.2000}");
    };
    failed(0, "exit", 3);
    assert_eq!(structured(0)["stderr"], "as you wish\n");
    assert!(structured(0)["stdout"].as_str().unwrap().contains("--exit"));
    let words: Vec<&str> = told[0]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["text"].as_str().unwrap())
        .collect();
    assert_eq!(
        words[1..],
        ["standard error:\nas you wish\n", "exit status 3"]
    );
    failed(1, "signal", 139);
    failed(2, "time", 137);
    assert_eq!(told[2]["_meta"]["keepgate/class"], "timed_out");
    for place in [3, 4] {
        failed(place, "output", 137);
        assert_eq!(structured(place)["truncated"], true);
        assert_eq!(told[place]["_meta"]["keepgate/class"], "result_too_large");
        let length = told[place].to_string().len();
        assert!((300 << 10..4 << 20).contains(&length), "{length}");
    }
    assert!(told[3].to_string().len() < 1 << 20);
    assert!(stdout(&told[5]).contains('\u{fffd}'));
    assert_eq!(stdout(&told[6]), "left\n");
    // Nothing of one call is there in the next.
    for place in [7, 8] {
        assert_eq!(said(&told[place])["got"], "found False");
    }
    failed(9, "exit", 1);
    assert!(
        structured(9)["stderr"]
            .as_str()
            .unwrap()
            .contains("IndexError")
    );
    let entries = world.appliance.entries("call.outcome");
    let of = |class: &str| {
        let own = entries.iter().filter(|one| one["body"]["class"] == class);
        own.map(|one| one["body"]["status"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(of("timed_out"), ["failed"]);
    assert_eq!(of("result_too_large"), ["failed", "failed"]);
    let marker = world.folder("").display().to_string();
    eventually("no jail is left", || running(&marker) == 0);
}

#[test]
fn a_script_reaches_nothing_beyond_its_jail() {
    let mut world = World::new();
    world.approved("reports", reads);
    world.approved("other", reads);
    world.serve();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let path = |name: &str| world.appliance.path(name).display().to_string();
    let own = world.folder("reports").join("SKILL.md");
    let other = world.folder("other").join("SKILL.md");
    let ways = [
        json!(["read", path("mail/hello.txt")]),
        json!(["read", path("keepgate.toml")]),
        json!(["read", other]),
        json!(["read", "/etc/shadow"]),
        json!(["read", "/proc/1/environ"]),
        json!(["write", own]),
        json!(["write", "/usr/bin/python3"]),
        json!(["reach", "127.0.0.1", port]),
        json!(["reach", "192.0.2.1", "80"]),
        json!(["reach", "example.invalid", "80"]),
        json!(["read", own]),
    ];
    let asked: Vec<Value> = ways
        .iter()
        .map(|way| json!(["call", "reports__try", {"args": way}]))
        .collect();
    let told = world.asks(ERAS[1], &json!(asked));
    let (may, may_not) = told.split_last().unwrap();
    for (way, told) in ways.iter().zip(may_not) {
        let said = said(told);
        assert!(said["refused"].is_string(), "{way}: {said}");
    }
    // The probe can read: what it is shown.
    assert!(said(may)["got"].as_str().unwrap().contains("reports"));
    assert_eq!(
        listener.accept().unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    assert_eq!(
        fs::read(&own).unwrap(),
        fs::read(source().join("SKILL.md")).unwrap()
    );
}

#[test]
fn a_script_goes_where_its_manifest_says_and_nowhere_else() {
    let listed = web("figures");
    let other = web("secrets");
    let mut world = World::new();
    world.approved("reports", |text| {
        let to = format!(
            "net = [{{ host = \"127.0.0.1\", port = {listed}, private = [\"127.0.0.1/32\"] }}]"
        );
        reads(text).replace("net = []", &to)
    });
    world.serve();
    let url = |port| format!("http://127.0.0.1:{port}/");
    let asked = json!([
        ["call", "reports__try", {"args": ["fetch", url(listed)]}],
        ["call", "reports__try", {"args": ["fetch", url(other)]}],
        ["call", "reports__try", {"args": ["reach", "127.0.0.1", other.to_string()]}],
    ]);
    let told = world.asks(ERAS[0], &asked);
    assert_eq!(said(&told[0])["got"], "figures");
    for refused in &told[1..] {
        assert!(said(refused)["refused"].is_string(), "{refused}");
    }
    // What left and what was to leave is written down.
    let entries = world.appliance.entries("call.outcome");
    let went = entries.iter().map(|one| one["body"]["hops"].to_string());
    let went: String = went.collect();
    assert!(went.contains(&listed.to_string()), "{went}");
}

/// Answers every request with a text; gives its port.
fn web(text: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|len| len > 2) {
                line.clear();
            }
            let length = text.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n");
            drop(write!(stream, "{head}Connection: close\r\n\r\n{text}"));
        }
    });
    port
}

#[test]
fn scripts_have_the_limits_of_their_manifest() {
    let mut world = World::new();
    world.approved("reports", |text| {
        reads(text)
            .replace("calls_at_a_time = 8", "calls_at_a_time = 1")
            .replace("call_s = 60", "call_s = 5")
    });
    world.approved("few", |text| {
        reads(text).replace("calls_per_minute = 600", "calls_per_minute = 2")
    });
    world.serve();
    let mut session = world.appliance.session("bot");
    let sleeps = json!({"name": "reports__try", "arguments": {"args": ["sleep", "x"]}});
    let both = [
        session.ask("tools/call", sleeps.clone()),
        session.ask("tools/call", sleeps),
    ];
    let mut classes = Vec::new();
    while classes.len() < both.len() {
        let told = session.next();
        if both.iter().any(|id| told["id"] == *id) {
            let class = &told["result"]["_meta"]["keepgate/class"];
            classes.push(class.as_str().unwrap().to_owned());
        }
    }
    assert_eq!(classes, ["busy", "timed_out"]);
    for class in [None, None, Some("over_quota")] {
        let told = session.call("few__echo", json!({}));
        assert_eq!(told["_meta"]["keepgate/class"].as_str(), class, "{told}");
    }
}

#[test]
fn a_script_that_nobody_waits_for_is_ended() {
    let mut world = World::new();
    world.approved("reports", reads);
    world.serve();
    let mut session = world.appliance.session("bot");
    let marker = world.folder("reports").join("scripts/try.py");
    let marker = marker.to_str().unwrap();
    let sleeps = json!({"name": "reports__try", "arguments": {"args": ["sleep", "x"]}});
    let sleeps = session.ask("tools/call", sleeps);
    eventually("the script runs", || running(marker) > 0);
    session.send(&json!({
        "jsonrpc": "2.0",
        "method": "notifications/cancelled",
        "params": {"requestId": sleeps},
    }));
    eventually("the script is gone", || running(marker) == 0);
    eventually("its end is written down", || {
        let entries = world.appliance.entries("call.outcome");
        entries
            .iter()
            .any(|one| one["body"]["class"] == "cancelled")
    });
}
