//! A running egress with a test as its supervisor and keeper, and the tool as its jail.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

use landlock::{ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetStatus};
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::call::id::Id;
use crate::egress::{EgressSetup, run};
use crate::error::Result;
use crate::jail::confine::Confine;
use crate::tools::http::over;
use crate::tools::order::Fault;
use crate::wire::frame;
use crate::wire::manifest::Destination;
use crate::wire::messages::{Control, EgressToKeeper, Hop, HttpRule, KeeperToEgress, Report, Role};
use crate::wire::text::hex;

pub(super) struct World {
    pub(super) control: OwnedFd,
    pub(super) keeper: OwnedFd,
    thread: Option<JoinHandle<Result<()>>>,
}

/// As the real role, this thread may open no file at all, `/dev/urandom` included. Where this makes
/// egress panic for want of random numbers, `getrandom_backend="linux_getrandom"` is missing in
/// `.cargo/config.toml`: in a static binary `getrandom` otherwise reads the device.
fn no_files() {
    let rights = AccessFs::from_all(ABI::V5);
    let ruleset = Ruleset::default()
        .handle_access(rights)
        .unwrap()
        .create()
        .unwrap();
    assert_eq!(
        ruleset.restrict_self().unwrap().ruleset,
        RulesetStatus::FullyEnforced
    );
    assert!(File::open("/dev/urandom").is_err());
}

/// A request and what the keeper would allow for it.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) headers: Value,
    pub(super) body: String,
    pub(super) rules: Vec<HttpRule>,
    pub(super) wall_ms: u64,
    pub(super) bytes: u64,
    pub(super) redirects: u8,
}

impl World {
    pub(super) fn plain() -> Self {
        Self::start(Vec::new(), Vec::new())
    }

    pub(super) fn start(resolvers: Vec<String>, ca: Vec<String>) -> Self {
        let (control, theirs) = frame::pair().unwrap();
        let setup = setup(resolvers, ca);
        let thread = std::thread::spawn(move || {
            no_files();
            run(theirs, setup)
        });
        let ready = frame::recv::<Report>(control.as_fd(), 0).unwrap().unwrap();
        assert!(matches!(ready.say, Report::Ready));
        let (keeper, theirs) = frame::pair().unwrap();
        let link = Control::Link { peer: Role::Keeper };
        frame::send(control.as_fd(), &link, &[], &[theirs.as_fd()]).unwrap();
        Self {
            control,
            keeper,
            thread: Some(thread),
        }
    }

    /// Gives egress a lease; the jail's end of its stream.
    pub(super) fn lease(&self, call: &Call) -> (Id, UnixStream) {
        let (theirs, jail) = UnixStream::pair().unwrap();
        let ticket = Id::random().unwrap();
        let say = KeeperToEgress::Lease {
            ticket,
            rules: call.rules.clone(),
            method: call.method.clone(),
            url: call.url.clone(),
            body_sha256: hex(digest(&SHA256, call.body.as_bytes()).as_ref()),
            wall_ms: call.wall_ms,
            bytes: call.bytes,
            redirects: call.redirects,
        };
        frame::send(self.keeper.as_fd(), &say, &[], &[theirs.as_fd()]).unwrap();
        (ticket, jail)
    }

    /// Gives egress a proxy; where its jail finds it.
    pub(super) fn proxy(
        &self,
        allow: &[Destination],
        wall_ms: u64,
        bytes: u64,
    ) -> (Id, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ticket = self.proxy_on(&[listener.as_fd()], allow, wall_ms, bytes);
        (ticket, address)
    }

    /// As [`Self::proxy`], with these descriptors.
    pub(super) fn proxy_on(
        &self,
        fds: &[BorrowedFd<'_>],
        allow: &[Destination],
        wall_ms: u64,
        bytes: u64,
    ) -> Id {
        let ticket = Id::random().unwrap();
        let say = KeeperToEgress::Proxy {
            ticket,
            allow: allow.to_vec(),
            wall_ms: Some(wall_ms),
            bytes,
        };
        frame::send(self.keeper.as_fd(), &say, &[], fds).unwrap();
        ticket
    }

    /// Ends a lease or proxy, and says what it did.
    pub(super) fn revoke(&self, ticket: Id) -> Vec<Hop> {
        let say = KeeperToEgress::Revoke { ticket };
        frame::send(self.keeper.as_fd(), &say, &[], &[]).unwrap();
        self.closed(ticket)
    }

    pub(super) fn closed(&self, ticket: Id) -> Vec<Hop> {
        let frame = frame::recv::<EgressToKeeper>(self.keeper.as_fd(), 0)
            .unwrap()
            .unwrap();
        let EgressToKeeper::Closed {
            ticket: closed,
            hops,
        } = frame.say
        else {
            panic!("{:?}", frame.say)
        };
        assert_eq!(closed, ticket);
        hops
    }

    /// The whole way of one call.
    pub(super) fn call(&self, call: &Call) -> (std::result::Result<Value, Fault>, Vec<Hop>) {
        let (ticket, jail) = self.lease(call);
        let result = over(&call.order(), &mut File::from(OwnedFd::from(jail)));
        (result, self.closed(ticket))
    }

    /// The class of the fault and the fault of the last hop.
    pub(super) fn fault(&self, call: &Call) -> (String, String) {
        let (result, hops) = self.call(call);
        let why = hops
            .last()
            .and_then(|hop| hop.fault.clone())
            .unwrap_or_default();
        (result.expect_err("it was answered").class, why)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(frame::send(self.control.as_fd(), &Control::Stop, &[], &[]));
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap().unwrap();
        }
    }
}

impl Call {
    /// `GET url` with a rule that lets it out to loopback.
    pub(super) fn get(url: &str) -> Self {
        Self {
            method: "GET".into(),
            url: url.into(),
            headers: json!({}),
            body: String::new(),
            rules: vec![rule(url)],
            wall_ms: 20_000,
            bytes: 1 << 20,
            redirects: 3,
        }
    }

    pub(super) fn post(url: &str, body: &str) -> Self {
        Self {
            method: "POST".into(),
            body: body.into(),
            ..Self::get(url)
        }
    }

    pub(super) fn order(&self) -> Vec<u8> {
        let arguments = json!({"method": self.method, "url": self.url, "headers": self.headers,
            "body": self.body});
        json!({"arguments": arguments, "mode": "live"})
            .to_string()
            .into_bytes()
    }
}

/// Lets `GET`, `HEAD` and `POST` out to the origin of `url`, on loopback.
pub(super) fn rule(url: &str) -> HttpRule {
    let target = crate::call::http::Target::parse("GET", url).unwrap();
    HttpRule {
        scheme: target.scheme().name().into(),
        host: target.host().into(),
        port: target.port(),
        methods: vec!["GET".into(), "HEAD".into(), "POST".into()],
        path: "/".into(),
        private: vec!["127.0.0.0/8".into(), "::1".into()],
        pin_sha256: None,
    }
}

pub(super) fn setup(resolvers: Vec<String>, ca: Vec<String>) -> EgressSetup {
    let confine = json!({"uid": null, "gid": null, "read": [], "write": [], "accept": []});
    let confine: Confine = serde_json::from_value(confine).unwrap();
    EgressSetup {
        confine,
        plane: "test".into(),
        resolvers,
        ca,
        roots: Vec::new(),
    }
}
