//! What the foreign list is for: interpreters, git and shells do their ordinary work under it, and
//! what they are refused is told.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::channel;

use keepgate::jail::denied::{self, Call, Denials, Memory};
use keepgate::jail::lists::{FOREIGN, LOCAL};
use keepgate::sys::filter::{Clone3, Filter};
use keepgate::sys::notify::Listener;
use keepgate::sys::process;
use keepgate::wire::manifest::Class;
use keepgate::wire::messages::Denial;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// The memory of a thread, through `/proc`.
struct Thread(std::fs::File);

impl Memory for Thread {
    fn read(&self, address: u64, into: &mut [u8]) -> usize {
        self.0.read_at(into, address).unwrap_or(0)
    }
}

/// Answers all refused calls until nobody is left to make one.
fn answer(listener: &Listener) -> Vec<Denial> {
    let mut denials = Denials::default();
    loop {
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        assert_eq!(
            poll(&mut fds, PollTimeout::from(60_000_u16)),
            Ok(1),
            "nothing happens"
        );
        let events = fds[0].revents().unwrap();
        if !events.contains(PollFlags::POLLIN) {
            return denials.finish();
        }
        let Some(told) = listener.receive().unwrap() else {
            continue;
        };
        let memory = std::fs::File::open(format!("/proc/{}/mem", told.thread));
        let call = Call {
            number: told.number,
            arguments: told.arguments,
        };
        let (denial, errno) = match memory {
            Ok(memory) => denied::denied(Class::Foreign, call, &Thread(memory)),
            Err(_) => continue,
        };
        if listener.waits(&told).unwrap() && !call.asks_for_names() {
            denials.add(denial);
        }
        listener.refuse(told, errno).unwrap();
    }
}

/// Runs a program under the observed list; what it did, and what it was refused.
fn run(
    program: &str,
    arguments: &[&str],
    directory: &Path,
    lists: &'static [&'static str],
) -> (Output, Vec<Denial>) {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(directory)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory);
    let (send, receive) = channel();
    let thread = std::thread::spawn(move || {
        process::no_new_privs().unwrap();
        let filter = Filter::observed(lists, Clone3::Missing).unwrap();
        send.send(filter.install_observed().unwrap()).unwrap();
        command.output().unwrap()
    });
    let denials = answer(&receive.recv().unwrap());
    (thread.join().unwrap(), denials)
}

fn attempts(denials: &[Denial]) -> Vec<&str> {
    denials
        .iter()
        .map(|denial| denial.attempt.as_str())
        .collect()
}

/// What programs ask only to be faster, and do without: libuv 1.50 and newer (node in Debian 13)
/// wants a ring for its polls. Rings stay refused: what goes through them passes no list.
const DONE_WITHOUT: [&str; 1] = ["io_uring_setup("];

/// Runs a program, which scripts/test installs; it must do its work without being refused anything it
/// needs.
fn works(program: &str, arguments: &[&str], says: &str) {
    works_under(&[FOREIGN], program, arguments, says);
}

fn works_under(lists: &'static [&'static str], program: &str, arguments: &[&str], says: &str) {
    let directory = tempfile::tempdir().unwrap();
    let (output, denials) = run(program, arguments, directory.path(), lists);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?} {denials:?}");
    assert_eq!(said.trim(), says, "{output:?} {denials:?}");
    let mut needed = attempts(&denials);
    needed.retain(|attempt| !DONE_WITHOUT.iter().any(|begin| attempt.starts_with(begin)));
    assert_eq!(needed, [""; 0], "{program} {arguments:?}");
}

#[test]
fn shells_work_under_the_foreign_list() {
    works(
        "sh",
        &[
            "-c",
            "mkdir d && echo a >d/f && chmod 755 d/f && cp -a d e && mv e g && \
                 cat g/f | sort | tr a b && ln -s g/f h && test -x h && rm -r d g h && \
                 mkfifo p && (echo c >p & cat p) && nice true && sleep 0.01 && touch -d 2001-01-01 t",
        ],
        "b\nc",
    );
    works(
        "bash",
        &[
            "-c",
            "ulimit -n 256; trap 'echo end' EXIT; cat <(echo x) & wait; read y < <(printf z); echo $y",
        ],
        "x\nz\nend",
    );
}

#[test]
fn git_works_under_the_foreign_list() {
    let script = "git init -q r && cd r && git config user.name a && git config user.email a@b.example && \
         for i in 1 2 3; do echo $i >f; git add f; git commit -qm $i; done && git gc -q && git branch x && \
         git clone -q . ../s && cd ../s && git log --oneline | wc -l && git status --porcelain";
    works("sh", &["-c", script], "3");
}

#[test]
fn python_works_under_the_foreign_list() {
    let script = "
import asyncio, hashlib, json, mmap, multiprocessing, os, shutil, socket, sqlite3, subprocess, sys, tempfile, threading, time
async def main():
    p = await asyncio.create_subprocess_exec('echo', 'a', stdout=asyncio.subprocess.PIPE)
    out, _ = await p.communicate()
    server = await asyncio.start_server(lambda r, w: w.close(), '127.0.0.1', 0)
    r, w = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
    assert await r.read() == b''
    server.close()
    return out
assert asyncio.run(main()) == b'a\\n'
with tempfile.TemporaryDirectory() as d:
    db = sqlite3.connect(d + '/x.db'); db.execute('create table t(a)'); db.commit(); db.close()
    open(d + '/a', 'w').write('x'); shutil.copy2(d + '/a', d + '/b'); os.chmod(d + '/b', 0o640)
    os.replace(d + '/b', d + '/c'); os.utime(d + '/c'); shutil.copytree(d, d + '2'); shutil.rmtree(d + '2')
t = threading.Thread(target=lambda: None); t.start(); t.join()
a, b = socket.socketpair(); a.send(b'x'); assert b.recv(1) == b'x'
assert subprocess.run(['true']).returncode == 0
os.getpid(); os.urandom(4); time.sleep(0.001); mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE).close(); os.sched_getaffinity(0)
c = multiprocessing.get_context('spawn' if sys.argv[1:] else 'fork')
q = c.Queue(); p = c.Process(target=q.put, args=(1,)); p.start(); assert q.get() == 1; p.join()
print('done')
";
    works("python3", &["-c", script], "done");
}

#[test]
fn node_works_under_the_foreign_list() {
    let script = "
const fs = require('fs'), cp = require('child_process'), net = require('net'), os = require('os');
const { Worker } = require('worker_threads');
fs.mkdirSync('d/e', { recursive: true }); fs.writeFileSync('d/e/f', 'x'); fs.cpSync('d', 'g', { recursive: true });
fs.copyFileSync('d/e/f', 'h', fs.constants.COPYFILE_FICLONE); fs.renameSync('h', 'i'); fs.chmodSync('i', 0o600);
const watch = fs.watch('d', () => {}); watch.close();
if (cp.execFileSync('echo', ['a']).toString() !== 'a\\n') throw 1;
os.cpus(); os.totalmem(); os.setPriority(0, 5);
const wasm = new WebAssembly.Module(new Uint8Array([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]));
let f = (n) => { let s = 0; for (let i = 0; i < n; i++) s += i; return s; }; f(1e6);
new Worker('require(\"worker_threads\").parentPort.postMessage(1)', { eval: true }).on('message', () => {
  const server = net.createServer((s) => s.end('y')).listen(0, '127.0.0.1', () => {
    net.connect(server.address().port, '127.0.0.1').on('data', async () => {
      server.close();
      const web = require('http').createServer((q, r) => r.end('w')).listen('web.sock', async () => {
        require('http').get({ socketPath: 'web.sock' }, (r) => { r.resume(); r.on('end', () => { web.close(); console.log('done'); process.exit(0); }); });
      });
    });
  });
});
";
    works_under(&[FOREIGN, LOCAL], "node", &["-e", script], "done");
}

#[test]
fn what_a_program_is_refused_is_told_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("x");
    let script = "
import ctypes, errno, mmap, os, socket, sys
def told(what, number):
    try: what()
    except OSError as e: assert e.errno == number, (e, number)
    else: raise SystemExit('got through')
libc = ctypes.CDLL(None, use_errno=True)
def call(*a):
    if libc.syscall(*a) < 0: raise OSError(ctypes.get_errno(), 'x')
told(lambda: socket.socket(socket.AF_UNIX), errno.EACCES)
told(lambda: mmap.mmap(-1, 4096), errno.EPERM)
told(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM), errno.EPROTONOSUPPORT)
told(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262), errno.EPROTONOSUPPORT)
told(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0), errno.EAFNOSUPPORT)
open(sys.argv[1], 'w').close()
told(lambda: os.chmod(sys.argv[1], 0o4755), errno.EPERM)
told(lambda: os.open(sys.argv[1] + '2', os.O_CREAT | os.O_WRONLY, 0o6755), errno.EPERM)
told(lambda: os.memfd_create('m'), errno.ENOSYS)
told(lambda: call(437, -100, b'/', 0, 0), errno.ENOSYS)
told(lambda: call(101, 16, 1, 0, 0), errno.EPERM)
told(lambda: call(425, 8, 0), errno.ENOSYS)
told(lambda: call(435, 0, 88), errno.ENOSYS)
told(lambda: call(9999), errno.ENOSYS)
for _ in range(5): told(lambda: os.setuid(0), errno.EPERM)
print(os.stat(sys.argv[1]).st_mode & 0o7000)
";
    let path = file.to_str().unwrap();
    let (output, denials) = run(
        "python3",
        &["-c", script, path],
        directory.path(),
        &[FOREIGN],
    );
    assert!(output.status.success(), "{output:?} {denials:?}");
    assert_eq!(output.stdout, b"0\n");
    let expected = [
        "socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0)".to_owned(),
        "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_SHARED|MAP_ANONYMOUS, -1, 0)".into(),
        "socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, 0)".into(),
        "socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_MPTCP)".into(),
        "socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, 0)".into(),
        format!("chmod(\"{path}\", 04755)"),
        format!("openat(AT_FDCWD, \"{path}2\", O_WRONLY|O_CREAT|O_CLOEXEC, 06755)"),
        "memfd_create(\"m\", MFD_CLOEXEC)".into(),
        "openat2(AT_FDCWD, \"/\", NULL, 0)".into(),
        "ptrace(PTRACE_ATTACH, 1)".into(),
        "io_uring_setup(8)".into(),
        "syscall 9999(0, 0, 0, 0, 0, 0)".into(),
        "setuid(0)".into(),
    ];
    let said: Vec<&str> = attempts(&denials);
    let said: Vec<&str> = said
        .into_iter()
        .map(|attempt| {
            if attempt.starts_with("syscall 9999(") {
                "syscall 9999(0, 0, 0, 0, 0, 0)"
            } else {
                attempt
            }
        })
        .collect();
    assert_eq!(said, expected);
    assert_eq!(denials[12].count, 5);
    assert_eq!(denials[0].allow.as_deref(), Some("loopback = true"));
    assert!(denials[1..].iter().all(|denial| denial.allow.is_none()));
    assert_eq!(Errno::ENOSYS as i32, 38);
}
