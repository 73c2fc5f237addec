//! `--net` and `net`: a program's way out through its own proxy.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use super::{directory, manifest, needs, run};

/// Answers every request with `hello`; gives its port.
fn server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|len| len > 2) {
                line.clear();
            }
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    port
}

const FETCH: &str = "import sys, urllib.request\n\
    try: print(urllib.request.urlopen(sys.argv[1], timeout=20).read().decode())\n\
    except Exception as error: print('failed:', error)";

#[test]
fn a_listed_host_is_reached_and_another_is_told_with_its_line() {
    needs("python3");
    let (listed, other) = (server(), server());
    let directory = directory();
    let shown = super::keepgate(&["jail", "check", "foreign"]).code(0).out;
    let net = format!(
        "net = [{{ host = \"127.0.0.1\", port = {listed}, private = [\"127.0.0.1/32\"] }}]\n"
    );
    let file = manifest(directory.path(), &shown.replace("net = []\n", &net));
    let url = |port| format!("http://127.0.0.1:{port}/");
    let fetch = |port| {
        let url = url(port);
        run(&[
            "--json",
            "--profile",
            &file,
            "--",
            "python3",
            "-c",
            FETCH,
            &url,
        ])
        .code(0)
        .json()
    };
    let good = fetch(listed);
    assert_eq!(good["stdout"], "hello\n", "{good}");
    assert_eq!(good["hops"].as_array().unwrap().len(), 1, "{good}");
    let bad = fetch(other);
    assert!(
        bad["stdout"].as_str().unwrap().starts_with("failed:"),
        "{bad}"
    );
    let line = format!("net = [\"127.0.0.1:{other}\"]");
    assert_eq!(bad["denials"][0]["allow"], line.as_str(), "{bad}");
}

#[test]
fn without_a_way_out_there_is_none() {
    needs("python3");
    let url = format!("http://127.0.0.1:{}/", server());
    let ended = run(&["-q", "--", "python3", "-c", FETCH, &url]).code(0);
    assert!(ended.out.starts_with("failed:"), "{ended:?}");
    run(&["--net", "Example.NET:443", "--", "true"])
        .code(125)
        .says("write `example.net`");
    run(&["--net", "example.net", "--", "true"])
        .code(125)
        .says("has no port");
    run(&["--net", "*.example.net:443", "--", "true"])
        .code(125)
        .says("does not work");
}
