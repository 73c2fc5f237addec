//! What a confined role may still do, and what it may not. [`confined_child`] is started again by
//! [`a_role_works_when_confined_and_does_nothing_else`], with an order in its environment, to become
//! a role and try. Without an order it shows that nothing of that is refused where nothing is
//! confined.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::chown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use keepgate::jail::confine::{self, Confine};
use keepgate::sys::file::replace_durably;
use keepgate::wire::frame;
use keepgate::wire::messages::Role;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockProtocol, SockType, listen, socket};
use serde::{Deserialize, Serialize};

/// Name of the variable that holds an [`Order`].
const ORDER: &str = "KEEPGATE_IT_CONFINED";
/// The uid of confined roles; the directory is theirs, so that no permission bit refuses anything.
const UID: u32 = 64_910;
/// What the child says when all but the deadly action is done.
const AT_WORK: &str = "at work, and nothing else";

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    role: Role,
    /// Name of the action that must kill.
    deadly: String,
    place: Place,
}

/// What there is to touch.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    directory: PathBuf,
    /// A TCP server that says hello.
    server: String,
}

/// An action, and the roles that may.
type Action = (&'static str, fn(&Place) -> io::Result<()>, &'static [Role]);

const ACTIONS: [Action; 12] = [
    ("read a file", |_| fs::read("/etc/passwd").map(drop), &[]),
    (
        "read /proc",
        |_| fs::read("/proc/self/status").map(drop),
        &[],
    ),
    (
        "list",
        |place| fs::read_dir(&place.directory).map(drop),
        &[],
    ),
    (
        "write",
        |place| fs::write(place.directory.join("new"), "x"),
        &[],
    ),
    (
        "connect to a unix socket",
        |place| UnixStream::connect(place.socket()).map(drop),
        &[],
    ),
    ("remove", |place| fs::remove_file(place.socket()), &[]),
    (
        "make a pair",
        |_| UnixStream::pair().map(drop),
        &[Role::Keeper],
    ),
    (
        "connect by TCP",
        |place| TcpStream::connect(&place.server).map(drop),
        &[Role::Egress],
    ),
    (
        "open a UDP socket",
        |_| UdpSocket::bind("127.0.0.1:0").map(drop),
        &[Role::Egress],
    ),
    (
        "listen",
        |_| TcpListener::bind("127.0.0.1:0").map(drop),
        &[],
    ),
    (
        "listen without a port of its own",
        |_| listen_unbound(),
        &[],
    ),
    ("open a raw socket", |_| raw_socket(), &[]),
];

/// An action that only an intruder makes.
type Deadly = (&'static str, fn() -> nix::Result<()>);

const DEADLY: [Deadly; 4] = [
    ("execve", || {
        nix::unistd::execve(c"/bin/true", &[c"true"], &[c""; 0]).map(drop)
    }),
    ("unshare", || unshare(CloneFlags::CLONE_NEWNS)),
    ("mount", || {
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
    }),
    ("chroot", || nix::unistd::chroot("/")),
];

impl Place {
    fn new() -> (tempfile::TempDir, Self) {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("state");
        fs::create_dir(&state).unwrap();
        for path in [directory.path(), &state] {
            chown(path, Some(UID), Some(UID)).unwrap();
        }
        let place = Self {
            directory: directory.path().into(),
            server: hello(),
        };
        (directory, place)
    }

    fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    fn state(&self) -> PathBuf {
        self.directory.join("state")
    }
}

/// The kernel gives a socket that listens without being bound some port, and asks no right to it.
fn listen_unbound() -> io::Result<()> {
    let (kind, flags) = (SockType::Stream, SockFlag::SOCK_CLOEXEC);
    let socket = socket(AddressFamily::Inet, kind, flags, None)?;
    listen(&socket, Backlog::MAXCONN)?;
    Ok(())
}

fn raw_socket() -> io::Result<()> {
    let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
    socket(AddressFamily::Inet, kind, flags, SockProtocol::Icmp)?;
    Ok(())
}

/// A server for as long as this process lives.
fn hello() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            // Many a client only wants to know that it could connect.
            drop(client.write_all(b"hello"));
        }
    });
    address
}

#[test]
fn a_role_works_when_confined_and_does_nothing_else() {
    for role in [Role::Keeper, Role::Front, Role::Egress] {
        for (deadly, _) in DEADLY {
            let (_directory, place) = Place::new();
            let order = Order {
                role,
                deadly: deadly.into(),
                place,
            };
            let output = again(&order);
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(
                text.contains(AT_WORK),
                "{order:?} {}: {text}",
                output.status
            );
            let signal = output.status.signal();
            assert_eq!(signal, Some(libc::SIGSYS), "{order:?}: {text}");
        }
    }
}

/// Runs [`confined_child`] with an order, in a process of its own.
fn again(order: &Order) -> Output {
    let test = format!("{}::confined_child", module_path!());
    let (_, test) = test.split_once("::").unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(ORDER, serde_json::to_string(order).unwrap())
        .output()
        .unwrap()
}

#[test]
fn confined_child() {
    let Some(order) = std::env::var_os(ORDER) else {
        return unconfined();
    };
    let order: Order = serde_json::from_str(order.to_str().unwrap()).unwrap();
    let (role, place) = (order.role, &order.place);
    let listener = UnixListener::bind(place.socket()).unwrap();
    let client = UnixStream::connect(place.socket()).unwrap();
    // As a jail's, which egress is given.
    let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
    let program = TcpStream::connect(proxy.local_addr().unwrap()).unwrap();
    let state = (role == Role::Keeper).then(|| place.state());
    let confine = Confine {
        uid: Some(UID),
        write: state.into_iter().collect(),
        ..Confine::default()
    };
    // Not `confine::role`: the test harness has a thread beside this one, which is not confined.
    confine::role_of_this_thread(role, &confine).unwrap();
    works_everywhere();
    match role {
        Role::Keeper => works_in_keeper(&place.state(), listener),
        Role::Front => works_in_front(listener),
        Role::Egress => works_in_egress(&place.server, proxy),
        Role::Jailer => panic!("a jailer is tested as the process it is"),
    }
    for (name, act, roles) in ACTIONS {
        match act(place) {
            Ok(()) => assert!(roles.contains(&role), "{role:?} may {name}"),
            Err(error) => {
                assert!(!roles.contains(&role), "{role:?} may not {name}: {error}");
                let refused = matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES));
                assert!(refused, "{role:?}, {name}: {error}");
            }
        }
    }
    drop((client, program));
    eprintln!("{AT_WORK}");
    let (_, deadly) = DEADLY
        .iter()
        .find(|(name, _)| *name == order.deadly)
        .unwrap();
    eprintln!("survived: {:?}", deadly());
}

/// The twin: were an action refused here as well, its refusal there would say nothing.
fn unconfined() {
    let (_directory, place) = Place::new();
    let _listener = UnixListener::bind(place.socket()).unwrap();
    for (name, act, _) in ACTIONS {
        act(&place).unwrap_or_else(|error| panic!("{name} without confinement: {error}"));
    }
    // This thread is one of several, so none of them may be taken for a role.
    let both = std::thread::scope(|scope| {
        let one = scope.spawn(|| confine::role(Role::Front, &Confine::default()));
        one.join().unwrap()
    });
    assert!(
        both.unwrap_err()
            .message()
            .contains("before it has threads")
    );
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

fn works_everywhere() {
    let worker = std::thread::Builder::new().name("worker".into());
    let worker = worker.spawn(|| vec![1_u8; 1 << 20].len()).unwrap();
    assert_eq!(worker.join().unwrap(), 1 << 20);
    // Its hasher wants random numbers.
    assert_eq!(std::collections::HashMap::from([(1, 1)]).len(), 1);
    runtime().block_on(async {
        let never = std::future::pending::<()>();
        let late = tokio::time::timeout(Duration::ZERO, never).await;
        assert!(late.is_err());
    });
}

fn works_in_keeper(state: &Path, listener: UnixListener) {
    let (a, b) = frame::pair().unwrap();
    frame::send(a.as_fd(), &"x", &vec![0; 1 << 20], &[a.as_fd()]).unwrap();
    let frame = frame::recv::<String>(b.as_fd(), 2 << 20).unwrap().unwrap();
    assert_eq!(frame.blob.len(), 1 << 20);
    let db = rusqlite::Connection::open(state.join("index.db")).unwrap();
    db.pragma_update(None, "journal_mode", "wal").unwrap();
    db.execute_batch("create table a(b); create index i on a(b);")
        .unwrap();
    for i in 0..50 {
        db.execute("insert into a values(?1)", [i]).unwrap();
    }
    let count = db.query_row("select count(*) from a order by b", [], |row| row.get(0));
    assert_eq!(count, Ok(50));
    db.execute_batch("vacuum").unwrap();
    drop(db);
    replace_durably(&state.join("f"), b"x", 0o600).unwrap();
    assert_eq!(fs::metadata(state.join("f")).unwrap().len(), 1);
    fs::create_dir_all(state.join("d/e")).unwrap();
    fs::copy(state.join("f"), state.join("d/e/f")).unwrap();
    fs::remove_dir_all(state.join("d")).unwrap();
    let mut options = File::options();
    let mut log = options
        .append(true)
        .create(true)
        .open(state.join("log"))
        .unwrap();
    log.write_all(b"x").unwrap();
    log.sync_data().unwrap();
    log.set_len(0).unwrap();
    let (mut operator, _) = listener.accept().unwrap();
    let peer = nix::sys::socket::sockopt::PeerCredentials;
    nix::sys::socket::getsockopt(&operator, peer).unwrap();
    operator
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    operator.write_all(b"x").unwrap();
    io::pipe().unwrap();
}

fn works_in_front(listener: UnixListener) {
    use tokio::io::AsyncWriteExt;
    runtime().block_on(async {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        let (mut agent, _) = listener.accept().await.unwrap();
        assert!(agent.peer_cred().is_ok());
        agent.write_all(b"x").await.unwrap();
    });
}

fn works_in_egress(server: &str, proxy: TcpListener) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    runtime().block_on(async {
        let mut stream = tokio::net::TcpStream::connect(server).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"hello");
        let question = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        question.connect("127.0.0.1:9").await.unwrap();
        question.send(b"x").await.unwrap();
        let kind = nix::sys::socket::sockopt::AcceptConn;
        assert!(nix::sys::socket::getsockopt(&proxy, kind).unwrap());
        assert!(proxy.local_addr().unwrap().ip().is_loopback());
        proxy.set_nonblocking(true).unwrap();
        let proxy = tokio::net::TcpListener::from_std(proxy).unwrap();
        let (mut program, _) = proxy.accept().await.unwrap();
        program.write_all(b"x").await.unwrap();
        program.shutdown().await.unwrap();
    });
}
