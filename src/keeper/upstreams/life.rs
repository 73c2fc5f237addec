//! The life of one server: a thread that starts it, watches it, and ends it.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::compare::{compare, joined, listing};
use super::plan::{Launch, Server};
use super::pool::Key;
use super::{Ended, Offered, Upstreams};
use crate::call::id::Id;
use crate::error::{Context, Result};
use crate::keeper::links::{Event, Inbox};
use crate::wire::messages::{
    EgressToKeeper, Hop, JailEnd, JailerToKeeper, KeeperToEgress, KeeperToJailer, Offer, Role,
};

/// Time beyond a server's own for its start, after which egress itself is taken to be stuck.
const SLACK: Duration = Duration::from_secs(5);
/// How long a server has to go once its standard input has ended.
const GRACE: Duration = Duration::from_secs(2);
/// How long jailer and egress have for their last words about a server that was killed.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Stack of such a thread.
const STACK: usize = 512 << 10;

/// Why a server is to end.
#[derive(Debug)]
enum Why {
    /// In order: it was idle, or is no longer wanted.
    Over(&'static str),
    /// It failed.
    Failed(String),
    /// It is not what was approved.
    Differs(String),
}

/// What is known of its end so far.
#[derive(Debug, Default)]
struct Last {
    gone: Option<Gone>,
    jail: Option<Option<JailEnd>>,
    hops: Option<Vec<Hop>>,
    /// The last requests to a server elsewhere.
    requests: Vec<Hop>,
    /// Why it never ran.
    fault: Option<String>,
    /// What it would have executed is not what is pinned: what, and the changes.
    altered: Option<(String, Vec<Value>)>,
    egress_lost: bool,
}

/// What egress said of its end.
#[derive(Debug, Default)]
struct Gone {
    why: String,
    words: String,
    ended: bool,
    mute: bool,
}

/// One server at work.
struct Life<'a> {
    upstreams: &'a Upstreams,
    key: &'a Key,
    server: &'a Server,
    upstream: Id,
    inbox: Inbox<'a>,
    /// Its proxy serves.
    proxy: bool,
    /// It has said what it offers.
    opened: bool,
    last: Last,
}

/// Begins the life of a server in a thread of its own.
pub(super) fn begin(upstreams: &Upstreams, key: Key, server: &Arc<Server>, upstream: Id) {
    let (own, server) = (upstreams.clone(), Arc::clone(server));
    let whose = key.clone();
    let builder = std::thread::Builder::new()
        .name("upstream".into())
        .stack_size(STACK);
    let started = builder.spawn(move || live(&own, &key, &server, upstream));
    if let Err(error) = started {
        let why = format!("start a thread for a server: {error}");
        upstreams.pool.ended(&whose, Some(why));
    }
}

fn live(upstreams: &Upstreams, key: &Key, server: &Server, upstream: Id) {
    let mut life = Life {
        upstreams,
        key,
        server,
        upstream,
        inbox: upstreams.links.listen(upstream),
        proxy: false,
        opened: false,
        last: Last::default(),
    };
    let started = life.start();
    let opened = started.map_err(|error| Why::Failed(error.message()));
    let why = match opened.and_then(|()| life.open()) {
        Ok(()) => life.serve(),
        Err(why) => why,
    };
    life.end(why);
}

impl Life<'_> {
    /// Has it started.
    fn start(&mut self) -> Result<()> {
        let links = &self.upstreams.links;
        let (upstream, server) = (self.upstream, self.server);
        let (remote, pipes) = match &server.launch {
            Launch::Remote(remote) => (Some(remote.clone()), Vec::new()),
            Launch::Jailed {
                manifest,
                program,
                argv,
            } => {
                let pipe = || pipe2(OFlag::O_CLOEXEC).context(|| "make a pipe for a server".into());
                let ((their_in, input), (output, their_out), (error, their_err)) =
                    (pipe()?, pipe()?, pipe()?);
                let say = KeeperToJailer::Run {
                    ticket: upstream,
                    lasting: true,
                    manifest: manifest.name.clone(),
                    program: program.clone(),
                    argv: argv.clone(),
                };
                let theirs = [their_in.as_fd(), their_out.as_fd(), their_err.as_fd()];
                links.send(Role::Jailer, &say, &[], &theirs)?;
                (None, vec![input, output, error])
            }
        };
        let say = KeeperToEgress::Upstream {
            upstream,
            remote,
            era: self.upstreams.pool.era(self.key),
            limits: server.limits,
            allow: server.allow,
        };
        let fds: Vec<_> = pipes.iter().map(AsFd::as_fd).collect();
        links.send(Role::Egress, &say, &[], &fds)
    }

    /// Waits until it says what it offers, and compares that.
    fn open(&mut self) -> Result<(), Why> {
        let start = Duration::from_millis(self.server.limits.start_ms);
        let until = Instant::now() + start + SLACK;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Some(event) = self.inbox.next(left) else {
                return Err(Why::Failed("egress did not open it in time".into()));
            };
            match event {
                Event::Egress(EgressToKeeper::Opened { era, version, .. }, blob) => {
                    let json = String::from_utf8(blob).unwrap_or_default();
                    self.check(&json)?;
                    let offered = Offered { era, version, json };
                    self.upstreams.pool.opened(self.key, self.upstream, offered);
                    self.opened = true;
                    return Ok(());
                }
                other @ (Event::Egress(..) | Event::Jailer(..) | Event::Lost(_) | Event::Wake) => {
                    self.hear(other)?;
                }
            }
        }
    }

    /// Until there is a reason to end it.
    fn serve(&mut self) -> Why {
        loop {
            let idle = self.server.idle;
            let wait = match self.upstreams.pool.idle(self.key) {
                Some(so_far) if so_far >= idle => {
                    if self.upstreams.pool.retire(self.key, self.upstream, idle) {
                        return Why::Over("nothing was asked of it for long");
                    }
                    idle
                }
                Some(so_far) => idle.saturating_sub(so_far),
                None => idle,
            };
            // A question that ends wakes nobody: idle time is looked at again after it.
            let wait = wait.max(Duration::from_millis(1));
            if let Some(event) = self.inbox.next(wait)
                && let Err(why) = self.hear(event)
            {
                return why;
            }
        }
    }

    /// Hears one thing that is about no question.
    fn hear(&mut self, event: Event) -> Result<(), Why> {
        let agent = &self.key.agent;
        let told = &self.upstreams.told;
        match event {
            Event::Jailer(JailerToKeeper::Listening { .. }, fds) => return self.let_out(fds),
            Event::Egress(EgressToKeeper::Notice { method, .. }, params) => {
                told.notice(agent, self.server, &method, &params);
            }
            Event::Egress(EgressToKeeper::Changed { what, .. }, blob) => {
                // Resources come and go with the data they are; tools and prompts are code.
                let listed = std::str::from_utf8(&blob).unwrap_or_default();
                match what {
                    Offer::Tools => self.check_tools(listed)?,
                    Offer::Prompts => self.check_beside(Offer::Prompts, &[listed])?,
                    Offer::Resources | Offer::Templates => {}
                }
                told.changed(agent, self.server, what);
            }
            Event::Egress(EgressToKeeper::Hops { hops, .. }, _) => {
                told.requested(agent, self.server, &hops);
            }
            Event::Wake => return Err(Why::Over("it is no longer wanted")),
            Event::Egress(EgressToKeeper::Closed { hops, .. }, _) => {
                self.last.hops = Some(hops);
                return Err(Why::Failed("its way out has ended".into()));
            }
            other @ (Event::Egress(..) | Event::Jailer(..) | Event::Lost(_)) => {
                if self.last.hear(other) {
                    return Err(Why::Failed(String::new()));
                }
            }
        }
        Ok(())
    }

    /// The jail's proxy socket came: egress serves it as long as the jail lives.
    fn let_out(&mut self, fds: Vec<OwnedFd>) -> Result<(), Why> {
        let Launch::Jailed { manifest, .. } = &self.server.launch else {
            return Ok(());
        };
        let say = KeeperToEgress::Proxy {
            ticket: self.upstream,
            allow: manifest.net.clone(),
            wall_ms: None,
            bytes: manifest.limits.net,
        };
        let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
        let sent = self.upstreams.links.send(Role::Egress, &say, &[], &fds);
        sent.map_err(|error| Why::Failed(error.message()))?;
        self.proxy = true;
        Ok(())
    }

    /// Compares all that it lists at its start.
    fn check(&self, json: &str) -> Result<(), Why> {
        let listed: Listed<'_> = serde_json::from_str(json).unwrap_or_default();
        let [tools, prompts, resources, templates] = [
            listed.tools,
            listed.prompts,
            listed.resources,
            listed.templates,
        ]
        .map(|one| one.map_or("", RawValue::get));
        self.check_tools(tools)?;
        self.check_beside(Offer::Prompts, &[prompts])?;
        match &self.server.beside {
            Some(beside) if beside.data => self.check_beside(Offer::Templates, &[templates]),
            _ => self.check_beside(Offer::Resources, &[resources, templates]),
        }
    }

    fn check_tools(&self, tools: &str) -> Result<(), Why> {
        let difference = compare(tools, &self.server.tools);
        if difference.is_nothing() {
            return Ok(());
        }
        let why = format!("its tools are not the approved ones: {difference}");
        // It was vetted in the other era where it speaks that, and may list them otherwise there.
        if !self.opened && self.upstreams.pool.shun(self.key) {
            return Err(Why::Failed(why));
        }
        Err(self.differs(why, Offer::Tools, tools))
    }

    /// Compares what it lists beside tools: JSON arrays that make one list together.
    fn check_beside(&self, what: Offer, arrays: &[&str]) -> Result<(), Why> {
        let Some(beside) = &self.server.beside else {
            return Ok(());
        };
        let (approved, name) = match what {
            Offer::Prompts => (&beside.prompts_sha256, "prompts"),
            Offer::Resources | Offer::Templates => (&beside.resources_sha256, "resources"),
            Offer::Tools => return Ok(()),
        };
        let joined = joined(arrays);
        match listing(what, &joined) {
            Ok(listing) if listing.sha256() == *approved => Ok(()),
            _ => {
                let why = format!("its {name} are not the approved ones");
                Err(self.differs(why, what, &joined))
            }
        }
    }

    /// Takes its pin out of use, and tells what differs.
    fn differs(&self, why: String, what: Offer, listed: &str) -> Why {
        self.quarantine(&why);
        let told = &self.upstreams.told;
        told.differs(&self.key.agent, self.server, what, listed);
        Why::Differs(why)
    }

    /// Nobody uses a server of this pin again; those that run end.
    fn quarantine(&self, why: &str) {
        let others = self.upstreams.pool.quarantine(&self.key.digest, why);
        for other in others.into_iter().filter(|other| *other != self.upstream) {
            self.upstreams.links.wake(other);
        }
    }

    /// Ends it, hears its last words, and says how it ended.
    fn end(mut self, why: Why) {
        let pool = &self.upstreams.pool;
        let failed = !matches!(why, Why::Over(_));
        pool.ending(self.key, self.upstream);
        let jailed = matches!(self.server.launch, Launch::Jailed { .. });
        if !jailed {
            self.last.jail = Some(None);
        }
        if matches!(why, Why::Failed(_)) && self.last.went() {
            // How its jail ended, and its last words, come by different ways.
            self.last.complete(&self.inbox, GRACE, false);
        }
        let (upstream, links) = (self.upstream, &self.upstreams.links);
        // A role that is gone has ended its part already.
        let order = |say: &KeeperToEgress| drop(links.send(Role::Egress, say, &[], &[]));
        order(&KeeperToEgress::Close { upstream });
        if matches!(why, Why::Over(_)) {
            self.last.complete(&self.inbox, GRACE, self.proxy);
        }
        if self.last.jail.is_none() {
            let say = KeeperToJailer::Kill { ticket: upstream };
            drop(links.send(Role::Jailer, &say, &[], &[]));
        }
        if self.proxy {
            order(&KeeperToEgress::Revoke { ticket: upstream });
        }
        self.last.complete(&self.inbox, LAST_WORDS, self.proxy);
        // Egress may have told of its end first.
        let mut why = why;
        if let Some((what, changes)) = self.last.altered.take() {
            let text = format!("what it executes is not what was approved: {what}");
            self.quarantine(&text);
            let told = &self.upstreams.told;
            told.altered(&self.key.agent, self.server, &text, &changes);
            why = Why::Differs(text);
        }
        let went = failed && self.last.went();
        let Last {
            gone,
            jail,
            hops,
            requests,
            fault,
            ..
        } = self.last;
        let Gone {
            why: said,
            words,
            mute,
            ..
        } = gone.unwrap_or_default();
        if mute && !self.opened && !matches!(why, Why::Differs(_)) {
            pool.doubt(self.key);
        }
        let jail = jail.flatten();
        let mut text = match why {
            Why::Over(why) => why.to_owned(),
            Why::Differs(why) => why,
            Why::Failed(why) if !why.is_empty() => why,
            Why::Failed(_) => fault.unwrap_or(said),
        };
        if went && let Some(end) = &jail {
            text.push_str(&how(end));
        }
        if failed && let Some(last) = words.rsplit("\\n").find(|line| !line.is_empty()) {
            text.push_str(&format!("; its last words: {last}"));
        }
        pool.ended(self.key, failed.then(|| text.clone()));
        let ended = Ended {
            upstream,
            why: text,
            failed,
            words,
            jail,
            hops: hops.unwrap_or(requests),
        };
        self.upstreams
            .told
            .ended(&self.key.agent, self.server, &ended);
    }
}

impl Last {
    /// Takes one event; whether it is one with which a server ends.
    fn hear(&mut self, event: Event) -> bool {
        match event {
            Event::Jailer(JailerToKeeper::Exited { end, .. }, _) => self.jail = Some(Some(end)),
            Event::Jailer(
                JailerToKeeper::Altered {
                    why, changes, ran, ..
                },
                _,
            ) => {
                if !ran {
                    self.jail = Some(None);
                }
                self.altered = Some((why, changes));
            }
            Event::Jailer(JailerToKeeper::Fault { detail, .. }, _) => {
                self.jail = Some(None);
                self.fault = Some(detail);
            }
            Event::Egress(
                EgressToKeeper::Gone {
                    why,
                    words,
                    ended,
                    mute,
                    ..
                },
                _,
            ) => {
                self.gone = Some(Gone {
                    why,
                    words,
                    ended,
                    mute,
                });
            }
            Event::Egress(EgressToKeeper::Closed { hops, .. }, _) => self.hops = Some(hops),
            Event::Egress(EgressToKeeper::Hops { hops, .. }, _) => {
                self.requests.extend(hops);
                return false;
            }
            Event::Lost(Role::Egress) => {
                self.egress_lost = true;
                self.gone.get_or_insert_with(|| Gone {
                    why: "egress died".into(),
                    ..Gone::default()
                });
            }
            Event::Lost(Role::Jailer) => {
                self.jail.get_or_insert(None);
                self.fault = Some("the jailer died".into());
            }
            Event::Jailer(..) | Event::Egress(..) | Event::Lost(_) | Event::Wake => return false,
        }
        true
    }

    /// It went of its own.
    fn went(&self) -> bool {
        let said = self.gone.as_ref().map(|gone| gone.ended);
        said.unwrap_or(matches!(self.jail, Some(Some(_))))
    }

    /// Waits for what is still to be heard.
    fn complete(&mut self, inbox: &Inbox<'_>, wait: Duration, proxy: bool) {
        let until = Instant::now() + wait;
        loop {
            let hops = !proxy || self.hops.is_some() || self.egress_lost;
            if self.gone.is_some() && self.jail.is_some() && hops {
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            match inbox.next(left) {
                Some(event) => drop(self.hear(event)),
                None => return,
            }
        }
    }
}

/// How a jail ended, for an operator.
fn how(end: &JailEnd) -> String {
    match (&end.limit, end.signal, end.code) {
        (Some(limit), ..) if limit != "killed" => format!("; it met its limit `{limit}`"),
        (Some(_), ..) => String::new(),
        (None, Some(signal), _) => format!("; it was ended by signal {signal}"),
        (None, None, Some(code)) => format!("; it exited with status {code}"),
        (None, None, None) => String::new(),
    }
}

/// What a server lists, as egress tells it.
#[derive(Default, Deserialize)]
struct Listed<'a> {
    #[serde(borrow, default)]
    tools: Option<&'a RawValue>,
    #[serde(borrow, default)]
    prompts: Option<&'a RawValue>,
    #[serde(borrow, default)]
    resources: Option<&'a RawValue>,
    #[serde(borrow, default)]
    templates: Option<&'a RawValue>,
}
