//! Real clients, and a jail's own network.
#![expect(
    clippy::disallowed_methods,
    reason = "real clients are programs, and a test starts them"
)]

use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::geteuid;

use super::super::fakes::says;
use super::*;

/// A TLS server, a way to it, and its certificate in a file.
struct Site {
    server: Server,
    way: Way,
    pem: tempfile::NamedTempFile,
}

impl Site {
    fn new() -> Self {
        let (server, pem) = secure();
        let way = Way::to_server(&server);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(pem.as_bytes()).unwrap();
        Self {
            server,
            way,
            pem: file,
        }
    }

    fn url(&self) -> String {
        format!("https://{NAME}:{}/", self.server.address.port())
    }

    fn ca(&self) -> &str {
        self.pem.path().to_str().unwrap()
    }

    fn proxy(&self) -> String {
        format!("http://{}", self.way.proxy)
    }

    /// The client got what it asked for, through one tunnel and one look-up.
    fn served(&self, output: &Output) {
        let text = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(text.contains("secure"), "{text} {errors}");
        let hops = self.way.end();
        assert_eq!(hops.len(), 1, "{hops:?}");
        assert_eq!(hops[0].fault, None, "{hops:?}");
    }
}

/// Runs a client; `None`, said aloud, where this machine does not have it.
fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Option<Output> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    for name in [
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "no_proxy",
        "NO_PROXY",
    ] {
        command.env_remove(name);
    }
    match command.envs(environment.iter().copied()).output() {
        Ok(output) => Some(output),
        Err(error) => {
            eprintln!("not tried with `{program}`: {error}");
            None
        }
    }
}

#[test]
fn curl_goes_through_and_shows_why_not() {
    let site = Site::new();
    let (url, proxy) = (site.url(), site.proxy());
    let arguments = ["-sS", "-x", &proxy, "--cacert", site.ca(), "-m", "20"];
    let with = |more: &[&str]| run("curl", &[&arguments[..], more].concat(), &[]);
    let Some(output) = with(&[&url]) else { return };
    site.served(&output);

    let site = Site::new();
    let proxy = site.proxy();
    let arguments = ["-sSv", "-x", &proxy, "-m", "20"];
    let other = "https://evil.test/";
    let output = run("curl", &[&arguments[..], &[other]].concat(), &[]).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("net = [\"evil.test:443\"]"), "{errors}");
    // Fronting: the tunnel is for one host, the name within for another.
    let port = site.server.address.port();
    let to = format!("evil.test:{port}:{NAME}:{port}");
    let fronted = format!("https://evil.test:{port}/");
    let more = ["--connect-to", &to, &fronted];
    let output = run("curl", &[&arguments[..], &more].concat(), &[]).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("unrecognized name"), "{errors}");
    let hops = site.way.end();
    assert!(
        hops[1]
            .fault
            .as_deref()
            .unwrap()
            .contains("names another host"),
        "{hops:?}"
    );

    let plain = says(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain");
    let way = Way::to_server(&plain);
    let url = format!("http://{NAME}:{}/", plain.address.port());
    let proxy = format!("http://{}", way.proxy);
    let body = "a".repeat(2 << 20);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &body).unwrap();
    let data = format!("@{}", file.path().display());
    let arguments = [
        "-sS",
        "-x",
        &proxy,
        "-m",
        "20",
        "--data-binary",
        &data,
        &url,
    ];
    let output = run("curl", &arguments, &[]).unwrap();
    assert_eq!(output.stdout, b"plain", "{output:?}");
    assert!(plain.requests.recv().unwrap().ends_with(&body));
}

#[test]
fn python_goes_through() {
    let site = Site::new();
    let script = "import ssl, sys, urllib.request as u\n\
                  c = ssl.create_default_context(cafile=sys.argv[2])\n\
                  o = u.build_opener(u.HTTPSHandler(context=c))\n\
                  print(o.open(sys.argv[1], timeout=20).read())";
    let (url, proxy) = (site.url(), site.proxy());
    let environment = [("https_proxy", proxy.as_str())];
    if let Some(output) = run("python3", &["-c", script, &url, site.ca()], &environment) {
        site.served(&output);
        let site = Site::new();
        let (url, proxy) = ("https://evil.test/", site.proxy());
        let environment = [("https_proxy", proxy.as_str())];
        let output = run("python3", &["-c", script, url, site.ca()], &environment).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("net = [\"evil.test:443\"]"), "{errors}");
    }
}

#[test]
fn node_goes_through() {
    let site = Site::new();
    let script = "const http = require('http'), tls = require('tls');\n\
         const [proxy, host, port] = process.argv.slice(1);\n\
         const at = new URL(proxy);\n\
         http.request({host: at.hostname, port: at.port, method: 'CONNECT', path: host + ':' + port})\n\
         .on('connect', (response, socket) => {\n\
           const secure = tls.connect({socket, servername: host}, () =>\n\
             secure.write('GET / HTTP/1.1\\r\\nHost: ' + host + '\\r\\n\\r\\n'));\n\
           secure.on('data', data => process.stdout.write(data));\n\
         }).end();";
    let port = site.server.address.port().to_string();
    let proxy = site.proxy();
    let arguments = ["-e", script, &proxy, NAME, &port];
    if let Some(output) = run("node", &arguments, &[("NODE_EXTRA_CA_CERTS", site.ca())]) {
        site.served(&output);
    }
}

#[test]
fn openssl_goes_through_with_each_version_of_tls() {
    for version in ["-tls1_2", "-tls1_3"] {
        let site = Site::new();
        let authority = format!("{NAME}:{}", site.server.address.port());
        let proxy = site.way.proxy.to_string();
        let program = "printf 'GET / HTTP/1.1\\r\\nHost: kg.test\\r\\n\\r\\n' | \
                       openssl s_client -quiet -ign_eof -proxy \"$1\" -connect \"$2\" \
                       -servername kg.test -CAfile \"$3\" -verify_return_error \"$4\"";
        let arguments = ["-c", program, "sh", &proxy, &authority, site.ca(), version];
        let output = run("sh", &arguments, &[]).unwrap();
        if output.status.code() == Some(127) {
            eprintln!("not tried with `openssl`");
            return;
        }
        site.served(&output);
    }
}

/// What a jail has: a network of its own with nothing but a loopback.
fn in_own_network<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    assert!(geteuid().is_root(), "this test must run as root");
    let inside = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        // It starts in this thread's network.
        let up = Command::new("ip")
            .args(["link", "set", "lo", "up"])
            .status();
        assert!(up.unwrap().success());
        act()
    });
    inside.join().unwrap()
}

#[test]
fn a_jail_in_its_own_network_gets_out_through_its_socket_only() {
    let (server, pem) = secure();
    let port = server.address.port();
    let way = Way::to(&[]);
    let (give, given) = mpsc::channel::<OwnedFd>();
    let (serve, served) = mpsc::channel::<()>();
    let inside = std::thread::spawn(move || {
        in_own_network(move || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let proxy = listener.local_addr().unwrap();
            give.send(listener.into()).unwrap();
            served.recv().unwrap();
            // The server's address is that of the host's loopback, and this is another one.
            let direct = TcpStream::connect(("127.0.0.1", port)).unwrap_err();
            assert_eq!(direct.raw_os_error(), Some(libc::ECONNREFUSED));
            let mut tunnel = TcpStream::connect(proxy).unwrap();
            write!(tunnel, "CONNECT {NAME}:{port} HTTP/1.1\r\n\r\n").unwrap();
            let answer = head(&mut tunnel);
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            let mut tls = shake(tunnel, NAME, &pem);
            tls.write_all(b"GET / HTTP/1.1\r\nHost: kg.test\r\n\r\n")
                .unwrap();
            let mut text = String::new();
            tls.read_to_string(&mut text).unwrap();
            text
        })
    });
    let socket = given.recv().unwrap();
    let ticket = way
        .world
        .proxy_on(&[socket.as_fd()], &[there(NAME, port)], MINUTE, PLENTY);
    serve.send(()).unwrap();
    assert!(inside.join().unwrap().ends_with("secure"));
    let hops = way.world.revoke(ticket);
    assert_eq!(hops[0].target, format!("CONNECT {NAME}:{port}"));
    assert_eq!(hops[0].address, Some(server.address.to_string()));
}
