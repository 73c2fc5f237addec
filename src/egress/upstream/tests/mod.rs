//! The client without I/O: a test is the server, the keeper and the clock.

mod good;
mod wrong;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::{Client, Does, Order, Put, Settings};
use crate::call::id::Id;
use crate::wire::messages::{EgressToKeeper, Era, Got, Passing, UpstreamLimits};

/// A client, and what it wanted done.
struct Machine {
    client: Client,
    now: Instant,
    /// Lines for the server, parsed.
    sent: Vec<Value>,
    told: Vec<(EgressToKeeper, Vec<u8>)>,
}

impl Machine {
    fn new(change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings {
            upstream: Id::random().unwrap(),
            era: None,
            limits: UpstreamLimits::default(),
            allow: Passing::default(),
            streams: false,
        };
        change(&mut settings);
        let now = Instant::now();
        let mut machine = Self {
            client: Client::new(settings, now),
            now,
            sent: Vec::new(),
            told: Vec::new(),
        };
        machine.drain();
        machine
    }

    /// One that serves `tools` (session era) and is open.
    fn open(change: impl FnOnce(&mut Settings)) -> Self {
        let mut machine = Self::new(|settings| {
            settings.era = Some(Era::Session);
            change(settings);
        });
        let hello = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {"listChanged": true}},
            "serverInfo": {"name": "s", "version": "1"},
        });
        machine.answer(&hello);
        machine.answer(&json!({"tools": [{"name": "echo"}]}));
        assert!(matches!(
            machine.told.remove(0).0,
            EgressToKeeper::Opened { .. }
        ));
        machine.sent.clear();
        machine
    }

    /// One of the stateless era that is open, with its subscription.
    fn stateless(change: impl FnOnce(&mut Settings)) -> Self {
        let mut machine = Self::new(change);
        machine.answer(&json!({
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {"listChanged": true}},
        }));
        machine.answer(&json!({"tools": [{"name": "echo"}]}));
        assert!(matches!(
            machine.told.remove(0).0,
            EgressToKeeper::Opened { .. }
        ));
        machine
    }

    fn drain(&mut self) {
        while let Some(does) = self.client.next() {
            match does {
                Does::Send(message) => {
                    let (end, line) = message.line.split_last().unwrap();
                    assert!(*end == b'\n' && !line.contains(&b'\n'));
                    let value: Value = serde_json::from_slice(line).unwrap();
                    assert_eq!(value["jsonrpc"], "2.0");
                    assert_eq!(
                        value["id"].as_u64().filter(|_| value["method"].is_string()),
                        message.id
                    );
                    self.sent.push(value);
                }
                Does::Forget(_) => {}
                Does::Tell(say, blob) => self.told.push((say, blob)),
            }
        }
    }

    /// The server says this line.
    fn says(&mut self, line: &str) -> Result<(), String> {
        let heard = self.client.hear(line.as_bytes(), None, self.now);
        self.drain();
        heard
    }

    /// The same, well.
    fn say(&mut self, message: &Value) {
        self.says(&message.to_string()).unwrap();
    }

    /// The server answers the newest question.
    fn answer(&mut self, result: &Value) {
        let id = self.question()["id"].clone();
        self.say(&json!({"jsonrpc": "2.0", "id": id, "result": result}));
    }

    /// It answers that with an error.
    fn refuse(&mut self, code: i64, data: &Value) {
        let id = self.question()["id"].clone();
        let error = json!({"code": code, "message": "no", "data": data});
        self.say(&json!({"jsonrpc": "2.0", "id": id, "error": error}));
    }

    /// The newest question.
    fn question(&self) -> &Value {
        let mut questions = self.sent.iter().rev();
        questions
            .find(|sent| sent["id"].is_u64() && sent["method"].is_string())
            .unwrap()
    }

    fn put(&mut self, method: &str, params: &str) -> Id {
        let ticket = Id::random().unwrap();
        let put = Put {
            ticket,
            method: method.into(),
            progress: true,
            wall_ms: 1_000,
            repeatable: true,
            headers: Vec::new(),
            params: params.into(),
        };
        self.client.obey(Order::Put(put), self.now);
        self.drain();
        ticket
    }

    fn later(&mut self, milliseconds: u64) -> Result<(), String> {
        self.now += Duration::from_millis(milliseconds);
        let ticked = self.client.tick(self.now);
        self.drain();
        ticked
    }

    /// What came of a question, and the blob.
    fn got(&mut self, ticket: Id) -> (Got, String) {
        let place = self.told.iter().position(
            |(say, _)| matches!(say, EgressToKeeper::Got { ticket: of, .. } if *of == ticket),
        );
        let (say, blob) = self.told.remove(place.expect("nothing came of it"));
        let EgressToKeeper::Got { got, .. } = say else {
            panic!()
        };
        (got, String::from_utf8(blob).unwrap())
    }
}
