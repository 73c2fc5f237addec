//! The vetting client: asks a server what it has, in whichever era it speaks, and believes nothing.

use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::catalog::connector::LISTED_MAX;
use crate::catalog::connector::listing::{Listed, Message, PAGES_MAX, page};
use crate::catalog::connector::report::Era;
use crate::error::{Error, Result};
use crate::wire::text::Escaped;

/// The stateless revision.
const STATELESS: &str = "2026-07-28";
/// The newest revision with sessions.
const SESSION: &str = "2025-11-25";
/// How long a server may think about a question of an era it may not know.
const PROBE: Duration = Duration::from_secs(5);
/// Notices, and questions of the server, that are heard before it is too many.
const CHATTER_MAX: usize = 2_000;
/// JSON-RPC's code for a method that is not there.
const NO_METHOD: i64 = -32601;

/// Bytes to and from a server, a message at a time.
pub(super) trait Transport {
    /// Sends one message.
    fn send(&mut self, message: &[u8]) -> Result<()>;
    /// The next message, or nothing until then.
    fn receive(&mut self, until: Instant) -> Result<Option<Vec<u8>>>;
}

/// A server that is asked.
#[derive(Debug)]
pub(super) struct Session<T> {
    transport: T,
    era: Era,
    asked: u64,
    chatter: usize,
    until: Instant,
}

/// A result, or code and text of an error.
type Answer = std::result::Result<Box<RawValue>, (i64, String)>;

/// What a server says of itself, in the era it speaks.
enum Greeted {
    Discovered(Value),
    Initialized(Value),
}

impl<T: Transport> Session<T> {
    /// Everything the server behind `transport` lists within `patience`.
    ///
    /// # Errors
    /// Fails where it breaks the rules of MCP, floods, or is silent.
    pub(super) fn list(transport: T, patience: Duration) -> Result<(Listed, T)> {
        let mut session = Self {
            transport,
            era: Era::Stateless,
            asked: 0,
            chatter: 0,
            until: Instant::now() + patience,
        };
        let about = session.open()?;
        let capable = |what: &str| {
            let found = about.get("capabilities").and_then(|all| all.get(what));
            found.is_some_and(Value::is_object)
        };
        // A server may have tools without saying so, never prompts or resources.
        let tools = session.pages("tools/list", "tools", capable("tools"))?;
        let mut prompts = Vec::new();
        if capable("prompts") {
            prompts = session.pages("prompts/list", "prompts", true)?;
        }
        let mut resources = Vec::new();
        if capable("resources") {
            resources = session.pages("resources/list", "resources", true)?;
            let method = "resources/templates/list";
            resources.append(&mut session.pages(method, "resourceTemplates", false)?);
        }
        let listed = Listed {
            era: session.era,
            server: name(&about),
            instructions: about
                .get("instructions")
                .and_then(Value::as_str)
                .map(str::to_owned),
            tools,
            prompts,
            resources,
        };
        Ok((listed, session.transport))
    }

    /// Finds out how it speaks; gives what it says of itself.
    fn open(&mut self) -> Result<Value> {
        let probe = self.until.min(Instant::now() + PROBE);
        let discover = self.put("server/discover", json!({}))?;
        let late = match self.hear(&[discover], probe)? {
            Some((_, Ok(result))) => match stateless(&result)? {
                Some(about) => return Ok(about),
                None => None,
            },
            Some((_, Err(_))) => None,
            None => Some(discover),
        };
        self.era = Era::Session;
        let params = json!({
            "protocolVersion": SESSION,
            "capabilities": {},
            "clientInfo": client(),
        });
        let initialize = self.put("initialize", params)?;
        match self.greeted(initialize, late)? {
            Greeted::Discovered(about) => {
                self.era = Era::Stateless;
                Ok(about)
            }
            Greeted::Initialized(about) => {
                if about
                    .get("protocolVersion")
                    .and_then(Value::as_str)
                    .is_none()
                {
                    return Err(Error::new("the server names no version of MCP"));
                }
                self.write(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
                Ok(about)
            }
        }
    }

    /// What a server answers that was asked in both eras. One that was only slow answers the first
    /// question, `late`, after all, and then refuses `initialize`, because it speaks as it began.
    fn greeted(&mut self, initialize: u64, mut late: Option<u64>) -> Result<Greeted> {
        let mut refused = None;
        loop {
            let open: Vec<u64> = late.into_iter().chain([initialize]).collect();
            let open = match &refused {
                None => open.as_slice(),
                Some(_) => late.as_slice(),
            };
            match self.hear(open, self.until)? {
                None => return Err(refused.unwrap_or_else(|| silent("initialize"))),
                Some((id, Ok(result))) if id == initialize => {
                    return Ok(Greeted::Initialized(value(&result)?));
                }
                Some((id, Err((code, text)))) if id == initialize => {
                    refused = Some(fault("initialize", code, &text));
                }
                Some((_, answer)) => {
                    late = None;
                    if let Ok(result) = answer
                        && let Some(about) = stateless(&result)?
                    {
                        return Ok(Greeted::Discovered(about));
                    }
                }
            }
            if let Some(refused) = refused.take_if(|_| late.is_none()) {
                return Err(refused);
            }
        }
    }

    /// All pages of a listing; none where the server has no such method and need not have it.
    fn pages(&mut self, method: &str, key: &str, must: bool) -> Result<Vec<Box<RawValue>>> {
        let mut all = Vec::new();
        let mut cursor: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let params = match &cursor {
                Some(cursor) => json!({"cursor": cursor}),
                None => json!({}),
            };
            let asked = self.put(method, params)?;
            let result = match self.hear(&[asked], self.until)? {
                Some((_, Ok(result))) => result,
                Some((_, Err((NO_METHOD, _)))) if !must && cursor.is_none() => return Ok(all),
                Some((_, Err((code, text)))) => return Err(fault(method, code, &text)),
                None => return Err(silent(method)),
            };
            let (mut objects, next) = page(&result, key)?;
            all.append(&mut objects);
            if all.len() > LISTED_MAX {
                let what = format!("the server's listing of `{key}` has more than {LISTED_MAX}");
                return Err(Error::new(what));
            }
            match next {
                Some(next) => cursor = Some(next),
                None => return Ok(all),
            }
        }
        Err(Error::new(format!(
            "the server's listing of `{key}` has more than {PAGES_MAX} pages"
        )))
    }

    /// Asks; gives the question's number.
    fn put(&mut self, method: &str, mut params: Value) -> Result<u64> {
        self.asked += 1;
        if let (Era::Stateless, Some(members)) = (self.era, params.as_object_mut()) {
            let meta = json!({
                "io.modelcontextprotocol/protocolVersion": STATELESS,
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": client(),
            });
            members.insert("_meta".into(), meta);
        }
        let id = self.asked;
        self.write(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))?;
        Ok(id)
    }

    /// The next answer to one of the questions `open`; nothing where none comes until then.
    fn hear(&mut self, open: &[u64], until: Instant) -> Result<Option<(u64, Answer)>> {
        loop {
            let Some(line) = self.transport.receive(until)? else {
                return Ok(None);
            };
            match Message::parse(&line)? {
                Message::Result(to, result) if open.contains(&to) => {
                    return Ok(Some((to, Ok(result))));
                }
                Message::Fault(to, code, text) if open.contains(&to) => {
                    return Ok(Some((to, Err((code, text)))));
                }
                // An answer to a question that was given up.
                Message::Result(to, _) | Message::Fault(to, ..)
                    if (1..self.asked).contains(&to) => {}
                Message::Result(to, _) | Message::Fault(to, ..) => {
                    let what = format!("the server answers the question {to}, which nobody asked");
                    return Err(Error::new(what));
                }
                Message::Tells(_) => self.chatter()?,
                Message::Asks(id, method) => {
                    self.chatter()?;
                    let say = match method.as_str() {
                        "ping" => format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, id.get()),
                        _ => format!(
                            r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":{NO_METHOD},"message":"not while it is vetted"}}}}"#,
                            id.get()
                        ),
                    };
                    self.transport.send(say.as_bytes())?;
                }
            }
        }
    }

    fn chatter(&mut self) -> Result<()> {
        self.chatter += 1;
        match self.chatter <= CHATTER_MAX {
            true => Ok(()),
            false => Err(Error::new(format!(
                "the server sends more than {CHATTER_MAX} notices"
            ))),
        }
    }

    fn write(&mut self, message: &Value) -> Result<()> {
        self.transport.send(message.to_string().as_bytes())
    }
}

fn client() -> Value {
    json!({"name": "keepgate-vet", "version": env!("CARGO_PKG_VERSION")})
}

/// What a server says of itself that speaks the stateless era; nothing, where it does not.
fn stateless(result: &RawValue) -> Result<Option<Value>> {
    let about = value(result)?;
    let known = about
        .get("supportedVersions")
        .and_then(Value::as_array)
        .is_some_and(|all| all.iter().any(|one| one == STATELESS));
    Ok(known.then_some(about))
}

fn value(raw: &RawValue) -> Result<Value> {
    serde_json::from_str(raw.get())
        .ok()
        .filter(Value::is_object)
        .ok_or_else(|| Error::new("the server's answer is no object"))
}

/// What a server says it is, from its answer to `initialize` or `server/discover`.
pub(super) fn name(about: &Value) -> String {
    let meta = |about: &Value| {
        let all = about.get("_meta")?;
        all.get("io.modelcontextprotocol/serverInfo").cloned()
    };
    let info = about.get("serverInfo").cloned().or_else(|| meta(about));
    let part = |name: &str| {
        let text = info.as_ref().and_then(|info| info.get(name)?.as_str());
        Escaped::cut(text.unwrap_or("?"), 100).to_string()
    };
    format!("{} {}", part("name"), part("version"))
}

fn fault(method: &str, code: i64, text: &str) -> Error {
    let text = Escaped::cut(text, 200);
    Error::new(format!("the server refuses `{method}`: {text} ({code})"))
}

fn silent(method: &str) -> Error {
    Error::new(format!("the server does not answer `{method}` in time"))
        .hint("give it more time in the manifest: `[limits] start_s`")
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Answers from a table: method, then what follows the id.
    #[derive(Debug)]
    struct Fake {
        answers: fn(&str, &Value) -> Vec<String>,
        out: VecDeque<Vec<u8>>,
        asked: Vec<String>,
    }

    impl Transport for Fake {
        fn send(&mut self, message: &[u8]) -> Result<()> {
            let value: Value = serde_json::from_slice(message).unwrap();
            let method = value["method"].as_str().unwrap_or("answer").to_owned();
            for line in (self.answers)(&method, &value) {
                self.out.push_back(line.into_bytes());
            }
            self.asked.push(method);
            Ok(())
        }

        fn receive(&mut self, _: Instant) -> Result<Option<Vec<u8>>> {
            Ok(self.out.pop_front())
        }
    }

    fn list(answers: fn(&str, &Value) -> Vec<String>) -> Result<(Listed, Fake)> {
        let fake = Fake {
            answers,
            out: VecDeque::new(),
            asked: Vec::new(),
        };
        Session::list(fake, Duration::from_secs(60))
    }

    fn say(value: &Value, result: &str) -> Vec<String> {
        let id = &value["id"];
        vec![format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#
        )]
    }

    fn no(value: &Value) -> Vec<String> {
        let id = &value["id"];
        vec![format!(
            r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32601,"message":"no"}}}}"#
        )]
    }

    #[test]
    fn an_old_server_is_initialized_and_all_its_pages_are_read() {
        let (listed, fake) = list(|method, value| match method {
            "initialize" => say(
                value,
                r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"a\u001b","version":"1"},"instructions":"read me"}"#,
            ),
            "tools/list" if value["params"]["cursor"] == "2" => {
                say(value, r#"{"tools":[{"name":"b"}]}"#)
            }
            "tools/list" => say(value, r#"{"tools":[{"name":"a"}],"nextCursor":"2"}"#),
            "notifications/initialized" => Vec::new(),
            _ => no(value),
        })
        .unwrap();
        assert_eq!(listed.era, Era::Session);
        assert_eq!(listed.server, "a\\u{1b} 1");
        assert_eq!(listed.instructions.as_deref(), Some("read me"));
        assert_eq!(listed.tools.len(), 2);
        let asked = ["server/discover", "initialize", "notifications/initialized"];
        assert_eq!(fake.asked[..3], asked);
    }

    #[test]
    fn a_stateless_server_is_discovered_and_every_question_says_the_revision() {
        let (listed, fake) = list(|method, value| {
            let meta = &value["params"]["_meta"];
            assert_eq!(meta["io.modelcontextprotocol/protocolVersion"], STATELESS);
            match method {
                "server/discover" => say(
                    value,
                    r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{},"prompts":{}}}"#,
                ),
                "tools/list" => say(value, r#"{"tools":[]}"#),
                "prompts/list" => say(value, r#"{"prompts":[{"name":"p"}]}"#),
                _ => no(value),
            }
        })
        .unwrap();
        assert_eq!((listed.era, listed.prompts.len()), (Era::Stateless, 1));
        assert_eq!(fake.asked.len(), 3);
    }

    /// It was asked for both eras by the time it answers the first question, and speaks that one.
    #[test]
    fn a_slow_server_of_both_eras_is_one_of_the_stateless_era() {
        const ABOUT: &str = r#"{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{}}}"#;
        fn refused(value: &Value) -> Vec<String> {
            let id = &value["id"];
            vec![format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32022,"message":"it is served otherwise"}}}}"#
            )]
        }
        type Answers = fn(&str, &Value) -> Vec<String>;
        let in_order: Answers = |method, value| match method {
            "server/discover" => Vec::new(),
            "initialize" => [say(&json!({"id": 1}), ABOUT), refused(value)].concat(),
            "tools/list" => say(value, r#"{"tools":[{"name":"a"}]}"#),
            _ => no(value),
        };
        let turned: Answers = |method, value| match method {
            "initialize" => [refused(value), say(&json!({"id": 1}), ABOUT)].concat(),
            _ => Vec::new(),
        };
        let (listed, fake) = list(in_order).unwrap();
        assert_eq!((listed.era, listed.tools.len()), (Era::Stateless, 1));
        assert_eq!(fake.asked, ["server/discover", "initialize", "tools/list"]);
        // It is asked for its tools in that era, whichever answer came first.
        let error = list(turned).unwrap_err();
        assert!(
            error.message().contains("does not answer `tools/list`"),
            "{error}"
        );
        // One that refuses both is told by what it said to the second.
        let neither: Answers = |method, value| match method {
            "initialize" => [refused(value), no(&json!({"id": 1}))].concat(),
            _ => Vec::new(),
        };
        let error = list(neither).unwrap_err();
        assert!(error.message().contains("refuses `initialize`"), "{error}");
    }

    #[test]
    fn whoever_lies_floods_or_is_silent_is_told() {
        type Answers = fn(&str, &Value) -> Vec<String>;
        let cases: [(Answers, &str); 5] = [
            (|_, _| Vec::new(), "does not answer `initialize`"),
            (
                |_, _| vec![r#"{"jsonrpc":"2.0","id":99,"result":{}}"#.into()],
                "the question 99, which nobody asked",
            ),
            (
                |method, value| match method {
                    "tools/list" => say(value, r#"{"tools":[],"nextCursor":"again"}"#),
                    "initialize" => say(value, r#"{"protocolVersion":"x","capabilities":{}}"#),
                    "notifications/initialized" => Vec::new(),
                    _ => no(value),
                },
                "more than 64 pages",
            ),
            (
                |_, _| vec![r#"{"jsonrpc":"2.0","method":"notifications/x"}"#.into(); 3_000],
                "more than 2000 notices",
            ),
            (
                |_, value| say(value, r#"{"a":1,"a":2}"#),
                "duplicate key `a`",
            ),
        ];
        for (answers, why) in cases {
            let error = list(answers).unwrap_err();
            assert!(error.message().contains(why), "{error}");
        }
    }
}
