//! A keeper's threads: one a link, one a call, one for the operator, one that follows the log. That of
//! the front's link changes: who has read a call carries it out, and another one reads on.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value};

use super::asks::{self, Told};
use super::questions::{Question, Said};
use super::refuse::Refusal;
use super::seats::Full;
use super::{Asked, Keeper, OVERHEAD, Setup, admin, answer, deliveries, follow, hands, pipeline};
use crate::audit::Draft;
use crate::audit::evidence::{Released, Whose};
use crate::call::id::Id;
use crate::error::{Context, Error, Result};
use crate::jail::confine;
use crate::time::Clock;
use crate::wire::frame::{self, Frame};
use crate::wire::messages::{
    ASKED_MAX, Control, FrontToKeeper, KeeperToFront, LOOKED_MAX, Report, Role, SelfTest,
};

/// JSON-RPC: invalid parameters.
const INVALID_PARAMS: i64 = -32602;
/// Ours: too much at one time.
const BUSY: i64 = -32000;
/// How long calls in flight have to end when the plane stops.
const STOP_WAIT: Duration = Duration::from_secs(8);
/// How long it may take to record what was delivered; what is not is only not known later.
const FLUSH_WAIT: Duration = Duration::from_secs(1);

/// The whole life of a keeper. `fds` holds the operator's listening socket.
///
/// # Errors
/// Fails where the keeper may not serve: its confinement, its log or its policy is not in order.
pub fn run(control: OwnedFd, setup: Setup, fds: Vec<OwnedFd>) -> Result<()> {
    let hands = hands::Hands::new()?;
    confine::role(Role::Keeper, &setup.confine)?;
    let [operator] = <[OwnedFd; 1]>::try_from(fds)
        .map_err(|_| Error::new("the supervisor sent no admin socket"))?;
    let keeper = Arc::new(Keeper::open(setup, control, hands)?);
    keeper.servers.belongs_to(&keeper);
    let admin = Arc::clone(&keeper);
    thread("admin", move || {
        admin::serve(&admin, &UnixListener::from(operator))
    })?;
    let follower = Arc::clone(&keeper);
    thread("follow", move || follow::run(&follower))?;
    let deliverer = Arc::clone(&keeper);
    thread("deliveries", move || deliveries::run(&deliverer))?;
    keeper.report(&Report::Ready)?;
    keeper.report_agents()?;
    while let Some(frame) = frame::recv::<Control>(keeper.control.as_fd(), LOOKED_MAX)? {
        match frame.say {
            Control::Link { peer } => join(&keeper, peer, frame.fds)?,
            Control::Listening { agents } => {
                let (names, changed) = &keeper.listening;
                *names.lock().unwrap_or_else(PoisonError::into_inner) =
                    agents.into_iter().collect();
                changed.notify_all();
                keeper.open.store(true, Ordering::Release);
            }
            Control::Looked { agent } => {
                let looked = serde_json::from_slice(&frame.blob);
                let looked = looked.context(|| "read what an agent is".into())?;
                if let Err(error) = keeper.looked(&agent, looked) {
                    tracing::error!(agent, %error, "what an agent is could not be recorded");
                }
            }
            Control::Stop => break,
            Control::Setup
            | Control::Listen { .. }
            | Control::Admit { .. }
            | Control::Door
            | Control::Unlisten { .. } => {
                return Err(Error::new("the supervisor sent what is not for a keeper"));
            }
        }
    }
    keeper.stopping.store(true, Ordering::SeqCst);
    keeper.questions.forget();
    keeper.again.stir();
    if !keeper.seats.empty(STOP_WAIT) {
        tracing::warn!("calls were still in flight when the plane stopped; they end as unknown");
    }
    keeper.deliveries.end(FLUSH_WAIT);
    keeper.log.close();
    Ok(())
}

impl Keeper {
    /// Tells the supervisor something.
    pub(super) fn report(&self, report: &Report) -> Result<()> {
        frame::send(self.control.as_fd(), report, &[], &[])
    }

    /// Tells the supervisor who is enrolled.
    pub(super) fn report_agents(&self) -> Result<()> {
        let state = self.state();
        let agents = state
            .agents
            .iter()
            .map(|(name, agent)| (name.clone(), agent.proof.clone()))
            .collect();
        drop(state);
        self.report(&Report::Agents { agents })
    }

    /// Answers a question with a JSON-RPC error; `data` is raw JSON, or empty.
    fn fault(&self, id: u64, code: i64, message: &str, data: &[u8]) {
        let message = message.to_owned();
        self.tell_front(&KeeperToFront::Fault { id, code, message }, data);
    }

    /// Tells the front; one that is gone needs no answer.
    pub(super) fn tell_front(&self, say: &KeeperToFront, blob: &[u8]) {
        if let Err(error) = self.hands.links().send(Role::Front, say, blob, &[]) {
            tracing::debug!(%error, "an answer had nobody to go to");
        }
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let builder = std::thread::Builder::new()
        .name(name.into())
        .stack_size(1 << 20);
    builder
        .spawn(work)
        .map(drop)
        .context(|| format!("start thread `{name}`"))
}

fn join(keeper: &Arc<Keeper>, peer: Role, fds: Vec<OwnedFd>) -> Result<()> {
    let [socket] = <[OwnedFd; 1]>::try_from(fds)
        .map_err(|_| Error::new("the supervisor sent a link without its socket"))?;
    let socket = Arc::new(socket);
    let generation = keeper.hands.links().join(peer, Arc::clone(&socket));
    if peer == Role::Front {
        // Whoever asked through the earlier one is gone with it.
        keeper.questions.forget();
        keeper.again.forget_questions();
    }
    let end = End {
        keeper: Arc::clone(keeper),
        peer,
        socket,
        generation,
    };
    let seats = &keeper.seats;
    match peer {
        Role::Front => {
            // An earlier keeper may have shown its agents something else.
            keeper.tell_lists();
            let began = seats.begin(move || Arc::new(end).read_front());
            began.context(|| "start a thread for the front".into())
        }
        Role::Jailer | Role::Egress => thread(peer.name(), move || end.read_hands()),
        Role::Keeper => Err(Error::new("the supervisor linked the keeper to itself")),
    }
}

/// The keeper's end of a link to a peer role.
struct End {
    keeper: Arc<Keeper>,
    peer: Role,
    socket: Arc<OwnedFd>,
    generation: u64,
}

/// Whether a thread goes on with reading its link.
enum Reads {
    On,
    /// Another one does.
    NoMore,
}

impl End {
    fn read_hands(&self) {
        let mut tested = |report: &SelfTest| self.keeper.jailer_tested(report);
        let links = self.keeper.hands.links();
        self.lost(links.read_telling(self.peer, &self.socket, &mut tested));
    }

    /// Reads until the link ends, or another thread reads.
    fn read_front(self: Arc<Self>) {
        let ended = loop {
            match frame::recv(self.socket.as_fd(), ASKED_MAX) {
                Ok(Some(frame)) => match front(&self, frame) {
                    Ok(Reads::On) => {}
                    Ok(Reads::NoMore) => return,
                    Err(error) => break Err(error),
                },
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        self.lost(ended);
    }

    fn lost(&self, ended: Result<()>) {
        if let Err(error) = ended {
            tracing::error!(peer = self.peer.name(), %error, "a link ends");
        }
        self.keeper.hands.links().lost(self.peer, self.generation);
    }

    /// Works for `agent` here, while another thread reads on.
    fn seat(
        self: &Arc<Self>,
        agent: &str,
        work: impl FnOnce(),
    ) -> std::result::Result<Reads, Full> {
        let reads = Arc::clone(self);
        let seats = &self.keeper.seats;
        seats.seat(agent, move || reads.read_front(), work)?;
        Ok(Reads::NoMore)
    }
}

fn front(end: &Arc<End>, frame: Frame<FrontToKeeper>) -> Result<Reads> {
    let keeper = &end.keeper;
    match frame.say {
        FrontToKeeper::List { id, agent, .. } => {
            let tools = keeper.listing(&agent);
            keeper.tell_front(&KeeperToFront::Listed { id }, tools.as_bytes());
            Ok(Reads::On)
        }
        FrontToKeeper::Came { agent } => {
            keeper.runtimes.came(&agent);
            Ok(Reads::On)
        }
        FrontToKeeper::Malformed { agent, why } => {
            let name = keeper.counted(&agent).to_owned();
            Ok(end
                .seat(&name, || malformed(keeper, &agent, &why))
                .unwrap_or_else(|Full| {
                    tracing::warn!(agent = name, "malformed input came too fast to be recorded");
                    Reads::On
                }))
        }
        FrontToKeeper::Cancel { id, meant } => {
            keeper.questions.cancel(id, meant);
            keeper.again.stir();
            Ok(Reads::On)
        }
        FrontToKeeper::Delivered { id } => {
            if let Some(call) = keeper.again.delivered(id) {
                keeper.deliveries.tell(call);
            }
            Ok(Reads::On)
        }
        FrontToKeeper::Said { agent, ask, ok } => {
            let raw = frame.blob;
            keeper.questions.said(&agent, ask, Said { ok, raw });
            Ok(Reads::On)
        }
        FrontToKeeper::Ask {
            id,
            agent,
            client,
            era,
            method,
            progress,
        } => {
            if matches!(method.as_str(), "initialize" | "server/discover") {
                keeper.runtimes.came(&agent);
            }
            let name = keeper.counted(&agent).to_owned();
            let question = keeper
                .questions
                .begin(Question::new(id, agent, era, progress));
            let params = frame.blob;
            let work = || asked(keeper, &question, &client, &method, &params);
            Ok(end.seat(&name, work).unwrap_or_else(|Full| {
                keeper.questions.end(id);
                let message = "too many questions at once; try again when some are answered";
                keeper.fault(id, BUSY, message, &[]);
                Reads::On
            }))
        }
        FrontToKeeper::Open {
            id,
            agent,
            tool,
            client,
            era,
            extra,
            mirrored,
            progress,
        } => {
            let received = keeper.clock.now();
            let mut extra_bytes = frame.blob;
            if extra > extra_bytes.len() {
                return Err(Error::new("the front sent less than it says"));
            }
            let arguments = extra_bytes.split_off(extra);
            let question = Question::new(id, agent.clone(), era, progress);
            let asked = Asked {
                call: Id::random()?,
                agent,
                tool,
                client,
                arguments,
                extra: extra_bytes,
                beside: false,
                mirrored,
                question: keeper.questions.begin(question),
                received,
            };
            let name = keeper.counted(&asked.agent).to_owned();
            let request = asked.call;
            let work = || call(keeper, &asked);
            Ok(end.seat(&name, work).unwrap_or_else(|Full| {
                keeper.questions.end(id);
                let busy = answer::refused(&Refusal::busy(), request);
                keeper.tell_front(&KeeperToFront::Answer { id }, &busy);
                Reads::On
            }))
        }
    }
}

fn call(keeper: &Keeper, asked: &Asked) {
    let id = asked.question.id;
    let carried = carry(keeper, asked);
    keeper.questions.end(id);
    match carried {
        Ok(released) if released.whose() == Whose::Fault => {
            let fault = answer::fault(released.result());
            keeper.fault(id, fault.code, &fault.message, fault.data.as_bytes());
        }
        Ok(released) if asked.beside && released.whose() == Whose::Own => {
            let (code, message) = answer::failed_beside(&released);
            keeper.fault(id, code, &message, &[]);
        }
        Ok(released) => {
            let answer = answer::released(&released);
            keeper.tell_front(&KeeperToFront::Answer { id }, &answer);
        }
        Err(refusal) => match refusal.fault {
            Some(code) => {
                let message = refusal.say.unwrap_or_default();
                keeper.fault(id, code, &message, &[]);
            }
            None if asked.beside => {
                let (code, message) = answer::refused_beside(&refusal, asked.call);
                keeper.fault(id, code, &message, &[]);
            }
            None => {
                let answer = answer::refused(&refusal, asked.call);
                keeper.tell_front(&KeeperToFront::Answer { id }, &answer);
            }
        },
    }
}

/// Answers a question that is no call of a tool.
fn asked(keeper: &Keeper, question: &Arc<Question>, client: &str, method: &str, params: &[u8]) {
    let id = question.id;
    let enrolled = keeper.state().agents.contains_key(&question.agent);
    let told = match (enrolled, keeper.offered(question, client, method, params)) {
        (false, _) => Told::fault(INVALID_PARAMS, "this agent is not enrolled"),
        (true, Ok(Some(asked))) => return call(keeper, &asked),
        (true, Ok(None)) => keeper.answer(question, method, params),
        (true, Err(told)) => told,
    };
    match told {
        Told::Result(result) => {
            if !asks::stays_open(method) {
                keeper.questions.end(id);
            }
            keeper.tell_front(&KeeperToFront::Answer { id }, &result);
        }
        Told::Fault {
            code,
            message,
            data,
        } => {
            keeper.questions.end(id);
            keeper.fault(id, code, &message, &data);
        }
    }
}

/// Runs the call, and counts or records what came of it.
pub(super) fn carry(keeper: &Keeper, asked: &Asked) -> std::result::Result<Arc<Released>, Refusal> {
    pipeline::run(keeper, asked)
        .inspect(|released| keeper.charge(&asked.agent, released.result().len()))
        .inspect_err(|refusal| refusal.record(keeper, asked))
}

fn malformed(keeper: &Keeper, agent: &str, why: &str) {
    let mut body = Map::new();
    let agent = keeper.counted(agent);
    body.insert("agent".into(), Value::from(agent));
    body.insert("why".into(), Value::from(why));
    if keeper.count(agent, OVERHEAD).is_ok()
        && let Err(error) = keeper.log.append(Draft::new("front.malformed", body))
    {
        tracing::error!(agent, %error, "malformed input could not be recorded");
    }
}
