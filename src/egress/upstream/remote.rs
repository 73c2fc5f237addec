//! A server somewhere else: each message is a request of its own, and answers come as JSON or as a
//! stream of events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderValue};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::client::{Client, Does, Message, Order, Phase, Settings};
use super::meta::STATELESS;
use super::post::{self, Came, Endpoint, Post};
use super::teller::{Teller, refuse};
use crate::egress::Net;
use crate::wire::messages::Era;

/// What came and was not looked at yet.
const CAME_MAX: usize = 4;
/// How long a message that is no question may take.
const NOTICE: Duration = Duration::from_secs(30);
/// Such messages under way, above which the server is ended.
const NOTICES_MAX: usize = 64;
/// How long the end of a session may take.
const PARTING: Duration = Duration::from_secs(2);

/// The connections with one server.
struct Remote {
    endpoint: Arc<Endpoint>,
    net: Arc<Net>,
    session: Option<HeaderValue>,
    running: JoinSet<()>,
    questions: BTreeMap<u64, AbortHandle>,
    came: mpsc::Sender<Came>,
    /// The stream for what is about no question was asked for.
    streams: bool,
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
        endpoint: Arc::new(endpoint),
        net,
        session: None,
        running: JoinSet::new(),
        questions: BTreeMap::new(),
        came,
        streams: false,
    };
    let mut client = Client::new(settings, Instant::now().into());
    let why = remote
        .serve(&mut client, &mut coming, &mut orders, teller)
        .await;
    refuse(&mut orders, teller).await;
    remote.running.shutdown().await;
    client.end(&why, false, &[]);
    while let Some(does) = client.next() {
        if let Does::Tell(say, blob) = does {
            teller.tell(&say, &blob).await;
        }
    }
    remote.part(&client).await;
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
                    Does::Tell(say, blob) => teller.tell(&say, &blob).await,
                }
            }
            while self.running.try_join_next().is_some() {}
            let others = self.running.len().saturating_sub(self.questions.len());
            if others > NOTICES_MAX {
                return "it does not take the messages that are no questions".into();
            }
            self.open_stream(client);
            let now = || Instant::now().into();
            let wake = client.wake();
            let heard = tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => {
                        client.obey(order, now());
                        Ok(())
                    }
                    None => return "the keeper has closed it".into(),
                },
                came = coming.recv() => match came {
                    Some(Came::Session(session)) => {
                        self.session.get_or_insert(session);
                        Ok(())
                    }
                    Some(Came::Message(of, bytes, _seat)) => client.hear(&bytes, of, now()),
                    Some(Came::Over(Some(id), why)) => {
                        self.questions.remove(&id);
                        let why = why.unwrap_or_else(|| "it gave no answer".into());
                        client.failed(id, &why, now())
                    }
                    Some(Came::Over(None, _)) | None => Ok(()),
                    Some(Came::Broken(why)) => Err(why),
                },
                () = at(wake) => client.tick(now()),
            };
            if let Err(why) = heard {
                return why;
            }
        }
    }

    fn send(&mut self, client: &Client, message: Message) {
        let Message {
            id,
            method,
            name,
            line,
        } = message;
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
        } else if method != "initialize" {
            post::set(&mut headers, VERSION, &client.version);
        }
        let post = Post {
            method: "POST",
            id,
            headers,
            body: line,
        };
        let running = self.begin(post);
        if let Some(id) = id {
            self.questions.insert(id, running);
        }
    }

    fn begin(&mut self, post: Post) -> AbortHandle {
        let (endpoint, net) = (Arc::clone(&self.endpoint), Arc::clone(&self.net));
        let came = self.came.clone();
        // The client itself gives up a question, and a stream stays.
        let limited = post.id.is_none() && post.method == "POST";
        self.running.spawn(async move {
            let exchange = endpoint.exchange(post, &net, &came);
            match limited {
                true => drop(timeout(NOTICE, exchange).await),
                false => exchange.await,
            }
        })
    }

    /// Closing the stream of a question cancels it in the stateless era.
    fn forget(&mut self, id: u64) {
        if let Some(running) = self.questions.remove(&id) {
            running.abort();
        }
    }

    /// In the session era what is about no question comes by a stream of its own, where the server
    /// has one. It is asked for once: one that ends is not made anew.
    fn open_stream(&mut self, client: &Client) {
        let open = matches!(client.phase, Phase::Open) && client.era == Era::Session;
        if !open || std::mem::replace(&mut self.streams, open) {
            return;
        }
        let mut headers = post::stream_headers();
        post::in_session(&mut headers, self.session.as_ref());
        post::set(&mut headers, VERSION, &client.version);
        self.begin(Post {
            method: "GET",
            id: None,
            headers,
            body: Vec::new(),
        });
    }

    /// Ends the session at the server, as far as that wants to know.
    async fn part(&self, client: &Client) {
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
            body: Vec::new(),
        };
        let (nobody, _) = mpsc::channel(1);
        drop(timeout(PARTING, self.endpoint.exchange(post, &self.net, &nobody)).await);
    }
}

const VERSION: &str = "mcp-protocol-version";

async fn at(wake: Option<std::time::Instant>) {
    match wake {
        Some(wake) => sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}
