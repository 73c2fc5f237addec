//! The least that a way of this form costs here: processes as the gate has them, between the same client
//! and the same server, that only pass each message on. What the gate costs beyond is what it does;
//! what this costs is the machine's.

use std::io::{BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair};

use super::client::Place;

/// Longest message, in bytes.
const MESSAGE_MAX: usize = 64 << 10;

/// A chain of three processes before a server on standard input and output.
pub(crate) struct Floor {
    front: Child,
    rest: [Child; 2],
    pub(crate) place: Place,
}

impl Floor {
    pub(crate) fn start(server: &std::path::Path) -> Self {
        let pair = || {
            socketpair(
                AddressFamily::Unix,
                SockType::SeqPacket,
                None,
                SockFlag::SOCK_CLOEXEC,
            )
            .unwrap()
        };
        let relay = |what: &str| {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["relay", what]).arg(server);
            command
        };
        let ((front, keeper_up), (keeper_down, egress)) = (pair(), pair());
        let rest = [
            relay("middle")
                .stdin(keeper_up)
                .stdout(keeper_down)
                .spawn()
                .unwrap(),
            relay("last").stdin(egress).spawn().unwrap(),
        ];
        let mut front = relay("first")
            .stdin(front)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = front.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let place = Place::Http {
            port: line.trim().parse().unwrap(),
            token: "none".into(),
        };
        Self { front, rest, place }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        for child in std::iter::once(&mut self.front).chain(&mut self.rest) {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// What such a process does, until whoever is before it is gone.
pub(crate) fn relay(what: &str, server: &str) {
    let input = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    match what {
        "first" => first(&input),
        "middle" => {
            let output = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
            let mut room = vec![0; MESSAGE_MAX];
            while let Some(message) = take(&input, &mut room) {
                give(&output, message);
                let answer = take(&output, &mut room).unwrap();
                give(&input, answer);
            }
        }
        _ => last(&input, server),
    }
}

fn take<'a>(from: &OwnedFd, room: &'a mut [u8]) -> Option<&'a [u8]> {
    let mut parts = [IoSliceMut::new(room)];
    let got = recvmsg::<()>(from.as_raw_fd(), &mut parts, None, MsgFlags::empty());
    let bytes = got.unwrap().bytes;
    (bytes > 0).then(|| &room[..bytes])
}

fn give(to: &OwnedFd, message: &[u8]) {
    let parts = [IoSlice::new(message)];
    sendmsg::<()>(to.as_raw_fd(), &parts, &[], MsgFlags::empty(), None).unwrap();
}

/// HTTP in, one connection after the other.
fn first(next: &OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    println!("{}", listener.local_addr().unwrap().port());
    for stream in listener.incoming() {
        let stream = stream.unwrap();
        stream.set_nodelay(true).unwrap();
        serve(&mut BufReader::new(stream), next);
    }
}

fn serve(stream: &mut BufReader<TcpStream>, next: &OwnedFd) {
    let mut room = vec![0; MESSAGE_MAX];
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while stream.read_line(&mut line).unwrap() > 2 {
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        if line.is_empty() {
            return;
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        // What has no id has no answer.
        let answer: &[u8] = match body.windows(5).any(|part| part == b"\"id\":") {
            false => b"",
            true => {
                give(next, &body);
                take(next, &mut room).unwrap()
            }
        };
        let mut whole = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        whole.push_str(std::str::from_utf8(answer).unwrap());
        stream.get_mut().write_all(whole.as_bytes()).unwrap();
    }
}

/// The server's client.
fn last(input: &OwnedFd, server: &str) {
    let mut child = Command::new("/usr/bin/python3")
        .args(["-I", server])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    let mut from = BufReader::new(child.stdout.take().unwrap());
    let (mut room, mut line) = (vec![0; MESSAGE_MAX], String::new());
    while let Some(message) = take(input, &mut room) {
        to.write_all(&[message, b"\n"].concat()).unwrap();
        line.clear();
        from.read_line(&mut line).unwrap();
        give(input, line.trim_end().as_bytes());
    }
    drop(to);
    child.wait().unwrap();
}
