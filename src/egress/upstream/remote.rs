//! A server somewhere else: each message is a request of its own, and answers come as JSON or as a
//! stream of events.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::client::{Client, Does, Message, Order, Phase, Settings};
use super::meta::STATELESS;
use super::post::{self, Came, Endpoint, Post, Streamed};
use super::teller::{Teller, refuse};
use super::trail::Trail;
use crate::call::id::Id;
use crate::egress::Net;
use crate::wire::messages::{EgressToKeeper, Era};

/// What came and was not looked at yet.
const CAME_MAX: usize = 4;
/// How long a message that is no question may take.
const NOTICE: Duration = Duration::from_secs(30);
/// Such messages under way, above which the server is ended.
const NOTICES_MAX: usize = 64;
/// How long the end of a session may take.
const PARTING: Duration = Duration::from_secs(2);

/// Pause before the stream of a session is asked for again; doubles to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause. A stream that lasted as long begins with [`PAUSE_MIN`] again.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Least pause before the stream of a question is taken up again, and how often it may be.
const RESUME_MIN: Duration = Duration::from_millis(100);
const RESUMED_MAX: usize = 32;
/// Requests for no question that are told together.
const HOPS_TOLD: usize = 8;
/// That wait to be told until they are over.
const HOPS_MAX: usize = 64;

/// The connections with one server.
struct Remote {
    upstream: Id,
    endpoint: Arc<Endpoint>,
    net: Arc<Net>,
    session: Option<HeaderValue>,
    /// The question that begins the session.
    initializing: Option<u64>,
    running: JoinSet<()>,
    questions: BTreeMap<u64, Running>,
    came: mpsc::Sender<Came>,
    stream: Stream,
    /// What was done for each question of the keeper's that is under way.
    trails: BTreeMap<Id, Trail>,
    /// What was done besides, and not told yet.
    beside: VecDeque<Trail>,
}

/// A question under way.
struct Running {
    exchange: AbortHandle,
    trail: Trail,
    /// The last event of its stream that had a name.
    last: Option<HeaderValue>,
    /// How often the stream was taken up again.
    resumed: usize,
}

/// The stream for what is about no question, in the session era.
struct Stream {
    state: Open,
    pause: Duration,
    /// The last event's name.
    last: Option<HeaderValue>,
}

enum Open {
    /// Not yet.
    Never,
    /// Since then.
    Since(Instant),
    /// It has ended, and is asked for again then.
    Again(Instant),
    /// The server has none.
    None,
}

impl Stream {
    /// One has ended; it is asked for again, the later the less it lasted.
    fn ended(&mut self, streamed: Streamed, now: Instant) {
        let Streamed {
            status,
            last,
            retry,
        } = streamed;
        if status.is_some_and(|status| status.is_client_error()) {
            self.state = Open::None;
            return;
        }
        let lasted = match self.state {
            Open::Since(since) => now.duration_since(since),
            Open::Never | Open::Again(_) | Open::None => Duration::ZERO,
        };
        if lasted >= PAUSE_MAX {
            self.pause = PAUSE_MIN;
        }
        self.last = last.or_else(|| self.last.take());
        let pause = retry.map_or(self.pause, |retry| retry.clamp(self.pause, PAUSE_MAX));
        self.state = Open::Again(now + pause);
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }

    /// When it is to be asked for.
    fn due(&self) -> Option<Instant> {
        match self.state {
            Open::Again(at) => Some(at),
            Open::Never | Open::Since(_) | Open::None => None,
        }
    }
}

/// Is its client until it ends, breaks the rules, or the keeper closes it.
pub(super) async fn run(
    settings: Settings,
    endpoint: Endpoint,
    net: Arc<Net>,
    mut orders: mpsc::Receiver<Order>,
    teller: &Teller,
) {
    let (came, mut coming) = mpsc::channel(CAME_MAX);
    let mut remote = Remote {
        upstream: settings.upstream,
        endpoint: Arc::new(endpoint),
        net,
        session: None,
        initializing: None,
        running: JoinSet::new(),
        questions: BTreeMap::new(),
        came,
        stream: Stream {
            state: Open::Never,
            pause: PAUSE_MIN,
            last: None,
        },
        trails: BTreeMap::new(),
        beside: VecDeque::new(),
    };
    let mut client = Client::new(settings, Instant::now().into());
    let why = remote
        .serve(&mut client, &mut coming, &mut orders, teller)
        .await;
    refuse(&mut orders, teller).await;
    remote.running.shutdown().await;
    client.end(&why, false, &[]);
    let mut gone = None;
    while let Some(does) = client.next() {
        match does {
            Does::Tell(say @ EgressToKeeper::Gone { .. }, _) => gone = Some(say),
            Does::Tell(say, blob) => teller.tell(&remote.with_hops(say), &blob).await,
            Does::Send(_) | Does::Forget(_) => {}
        }
    }
    // What it did is told before its end.
    remote.part(&client).await;
    remote.tell_hops(teller, 0).await;
    if let Some(gone) = gone {
        teller.tell(&gone, &[]).await;
    }
}

impl Remote {
    /// Gives the reason for its end.
    async fn serve(
        &mut self,
        client: &mut Client,
        coming: &mut mpsc::Receiver<Came>,
        orders: &mut mpsc::Receiver<Order>,
        teller: &Teller,
    ) -> String {
        loop {
            while let Some(does) = client.next() {
                match does {
                    Does::Send(message) => self.send(client, message),
                    Does::Forget(id) => self.forget(id),
                    Does::Tell(say, blob) => teller.tell(&self.with_hops(say), &blob).await,
                }
            }
            while self.running.try_join_next().is_some() {}
            let others = self.running.len().saturating_sub(self.questions.len());
            if others > NOTICES_MAX {
                return "it does not take the messages that are no questions".into();
            }
            self.tell_hops(teller, HOPS_TOLD).await;
            let now = || Instant::now().into();
            self.open_stream(client);
            let wake = client.wake();
            let wake = [wake, self.stream.due().map(Instant::into_std)];
            let heard = tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => {
                        client.obey(order, now());
                        Ok(())
                    }
                    None => return "the keeper has closed it".into(),
                },
                came = coming.recv() => match came {
                    Some(Came::Session(of, session)) => {
                        // Some servers say one with what they refuse, and it is over then.
                        if of.is_some() && of == self.initializing {
                            self.session = Some(session);
                        }
                        Ok(())
                    }
                    Some(Came::Message(of, bytes, _seat)) => client.hear(&bytes, of, now()),
                    Some(Came::Over(Some(id), _, streamed))
                        if self.resumes(client, id, &streamed) => Ok(()),
                    Some(Came::Over(Some(id), why, _)) => {
                        self.questions.remove(&id);
                        let why = why.unwrap_or_else(|| "it gave no answer".into());
                        client.failed(id, &why, now())
                    }
                    Some(Came::Stream(streamed)) => {
                        self.stream.ended(streamed, Instant::now());
                        Ok(())
                    }
                    Some(Came::Over(None, ..)) | None => Ok(()),
                    Some(Came::Broken(why)) => Err(why),
                },
                () = at(wake.into_iter().flatten().min()) => client.tick(now()),
            };
            if let Err(why) = heard {
                return why;
            }
        }
    }

    /// With the requests that were made for a question, where it is one's end.
    fn with_hops(&mut self, say: EgressToKeeper) -> EgressToKeeper {
        let EgressToKeeper::Got { ticket, got, .. } = say else {
            return say;
        };
        let trail = self.trails.remove(&ticket);
        let hops = trail.map(|trail| trail.so_far()).unwrap_or_default();
        EgressToKeeper::Got { ticket, got, hops }
    }

    /// Tells what was done besides questions and is over, where it is more than `most`.
    async fn tell_hops(&mut self, teller: &Teller, most: usize) {
        if self.beside.len() <= most {
            return;
        }
        // One that lasts, such as a stream, is told when it is over; at the end all are.
        let all = most == 0 || self.beside.len() > HOPS_MAX;
        let over = |trail: &Trail| all || trail.is_over();
        let (told, kept): (Vec<Trail>, _) = self.beside.drain(..).partition(over);
        self.beside = kept.into();
        for some in told.chunks(HOPS_TOLD) {
            let say = EgressToKeeper::Hops {
                upstream: self.upstream,
                hops: some.iter().flat_map(Trail::so_far).collect(),
            };
            teller.tell(&say, &[]).await;
        }
    }

    fn send(&mut self, client: &Client, message: Message) {
        let Message {
            id,
            method,
            name,
            line,
            ticket,
            repeatable,
            headers: mirrored,
        } = message;
        if method == "initialize" {
            (self.session, self.initializing) = (None, id);
        }
        let mut headers = post::headers();
        post::in_session(&mut headers, self.session.as_ref());
        let stateless = client.era == Era::Stateless || method == "server/discover";
        if stateless {
            post::set(&mut headers, VERSION, STATELESS);
            post::set(&mut headers, "mcp-method", &method);
            let named = ["tools/call", "resources/read", "prompts/get"];
            if let Some(name) = name.filter(|_| named.contains(&method.as_str())) {
                post::set(&mut headers, "mcp-name", &name);
            }
            for (name, value) in mirrored {
                match HeaderName::try_from(format!("mcp-param-{name}")) {
                    Ok(name) => post::mirror(&mut headers, name, &value),
                    Err(error) => tracing::error!(%error, "an argument has no header"),
                }
            }
        } else if method != "initialize" {
            post::set(&mut headers, VERSION, &client.version);
        }
        let post = Post {
            method: "POST",
            id,
            headers,
            body: line.into(),
            repeatable,
        };
        let (exchange, trail) = self.begin(post, ticket);
        if let Some(id) = id {
            let running = Running {
                exchange,
                trail,
                last: None,
                resumed: 0,
            };
            self.questions.insert(id, running);
        }
    }

    fn begin(&mut self, post: Post, ticket: Option<Id>) -> (AbortHandle, Trail) {
        let trail = Trail::default();
        match ticket {
            Some(ticket) => drop(self.trails.insert(ticket, trail.clone())),
            None => self.beside.push_back(trail.clone()),
        }
        let running = self.spawn(post, &trail, Duration::ZERO);
        (running, trail)
    }

    /// Takes up the stream of a question that ended before the answer, behind the last event that
    /// came (2025-11-25, "Resumability and Redelivery"): a server may close it to be asked again, and
    /// a network may break it. Nothing is asked a second time by that. Whether it can be.
    fn resumes(&mut self, client: &Client, id: u64, streamed: &Streamed) -> bool {
        let wanted = client.era == Era::Session && client.asked.contains_key(&id);
        let refused = streamed.status.is_some_and(|status| !status.is_success());
        let Some(running) = self.questions.get(&id).filter(|_| wanted && !refused) else {
            return false;
        };
        let (trail, resumed) = (running.trail.clone(), running.resumed + 1);
        let last = streamed.last.clone().or_else(|| running.last.clone());
        if last.is_none() || resumed > RESUMED_MAX {
            return false;
        }
        let post = self.streaming(client, Some(id), last.as_ref());
        let pause = streamed.retry.unwrap_or(PAUSE_MIN);
        let exchange = self.spawn(post, &trail, pause.clamp(RESUME_MIN, PAUSE_MAX));
        let running = Running {
            exchange,
            trail,
            last,
            resumed,
        };
        self.questions.insert(id, running);
        true
    }

    /// A request for a stream: that of a question, or of what is about none.
    fn streaming(&self, client: &Client, id: Option<u64>, last: Option<&HeaderValue>) -> Post {
        let mut headers = post::stream_headers();
        post::in_session(&mut headers, self.session.as_ref());
        post::set(&mut headers, VERSION, &client.version);
        if let Some(last) = last {
            headers.insert(HeaderName::from_static("last-event-id"), last.clone());
        }
        Post {
            method: "GET",
            id,
            headers,
            body: Bytes::new(),
            repeatable: false,
        }
    }

    fn spawn(&mut self, post: Post, trail: &Trail, pause: Duration) -> AbortHandle {
        let (endpoint, net) = (Arc::clone(&self.endpoint), Arc::clone(&self.net));
        let came = self.came.clone();
        // The client itself gives up a question, and a stream stays.
        let limited = post.id.is_none() && post.method == "POST";
        let noted = trail.clone();
        self.running.spawn(async move {
            if !pause.is_zero() {
                sleep(pause).await;
            }
            let exchange = endpoint.exchange(post, &net, &came, &noted);
            if !limited {
                return exchange.await;
            }
            if timeout(NOTICE, exchange).await.is_err() {
                noted.give_up("it took too long");
            }
        })
    }

    /// Closing the stream of a question cancels it in the stateless era.
    fn forget(&mut self, id: u64) {
        if let Some(running) = self.questions.remove(&id) {
            running.exchange.abort();
            running.trail.give_up("nobody waits for it any more");
        }
    }

    /// In the session era what is about no question comes by a stream of its own, where the server
    /// has one. One that ends is asked for again; what was told meanwhile is lost, so everything is
    /// listed again.
    fn open_stream(&mut self, client: &mut Client) {
        let now = Instant::now();
        let open = matches!(client.phase, Phase::Open) && client.era == Era::Session;
        let again = match self.stream.state {
            Open::Never => false,
            Open::Again(at) if at <= now => true,
            Open::Since(_) | Open::Again(_) | Open::None => return,
        };
        if !open {
            return;
        }
        self.stream.state = Open::Since(now);
        let post = self.streaming(client, None, self.stream.last.as_ref());
        self.begin(post, None);
        if again {
            client.missed(now.into());
        }
    }

    /// Ends the session at the server, as far as that wants to know.
    async fn part(&mut self, client: &Client) {
        if self.session.is_none() {
            return;
        }
        let mut headers = HeaderMap::new();
        post::in_session(&mut headers, self.session.as_ref());
        post::set(&mut headers, VERSION, &client.version);
        let post = Post {
            method: "DELETE",
            id: None,
            headers,
            body: Bytes::new(),
            repeatable: false,
        };
        let (nobody, _) = mpsc::channel(1);
        let trail = Trail::default();
        self.beside.push_back(trail.clone());
        let exchange = self.endpoint.exchange(post, &self.net, &nobody, &trail);
        drop(timeout(PARTING, exchange).await);
    }
}

const VERSION: &str = "mcp-protocol-version";

async fn at(wake: Option<std::time::Instant>) {
    match wake {
        Some(wake) => sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use hyper::StatusCode;

    use super::*;

    #[test]
    fn a_stream_that_ends_is_asked_for_again_the_later_the_less_it_lasted() {
        let mut stream = Stream {
            state: Open::Never,
            pause: PAUSE_MIN,
            last: None,
        };
        let mut pauses = Vec::new();
        let mut now = Instant::now();
        for _ in 0..9 {
            stream.state = Open::Since(now);
            stream.ended(Streamed::default(), now);
            let due = stream.due().unwrap();
            pauses.push(due.duration_since(now).as_secs());
            now = due;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        // One that lasted begins anew, and what a server wishes is within bounds.
        stream.state = Open::Since(now);
        now += PAUSE_MAX;
        let wish = Streamed {
            retry: Some(Duration::from_secs(3_600)),
            last: Some(HeaderValue::from_static("7")),
            status: Some(StatusCode::OK),
        };
        stream.ended(wish, now);
        assert_eq!(stream.due(), Some(now + PAUSE_MAX));
        assert_eq!(stream.last.as_ref().unwrap(), "7");
        stream.state = Open::Since(now);
        stream.ended(Streamed::default(), now);
        assert_eq!(stream.due(), Some(now + PAUSE_MIN * 2));
        let none = Streamed {
            status: Some(StatusCode::METHOD_NOT_ALLOWED),
            ..Streamed::default()
        };
        stream.ended(none, now);
        assert_eq!(stream.due(), None);
    }
}
