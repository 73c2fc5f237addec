//! Calls of connectors' tools: what their server is asked, and what its answer comes to.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Keeper;
use super::counter::{Said, structured};
use super::mirrored;
use super::plan::{Foreign, Upstream};
use super::questions::Question;
use super::refuse::Refusal;
use super::upstreams::plan::Launch;
use super::upstreams::{Answer, Failure};
use crate::audit::evidence::{Authorized, Given, Outcome, Status};
use crate::call::Call;
use crate::call::declared::Label;
use crate::call::id::Id;
use crate::call::tool::{self, Method, Tool};
use crate::catalog::connector::Passing;
use crate::wire::jsonrpc::Members;

/// What an agent is told where nobody knows.
const UNKNOWN: &str = "nobody can say whether this happened; an operator has to look";
/// Members of `params` that answer what a server asked in an earlier result.
const ANSWERS: [&str; 2] = ["inputResponses", "requestState"];

impl Keeper {
    /// What the connector of `upstream` is asked for this call. `extra`: the other members of the
    /// agent's `params`, raw JSON of an object or nothing.
    pub(super) fn plan_foreign(
        &self,
        call: &Call,
        extra: &[u8],
        upstream: &tool::Upstream,
    ) -> Result<Foreign, Refusal> {
        let gone = || Refusal::no_tool(call.tool().wire());
        let connector = self.connectors.get(&upstream.connector).ok_or_else(gone)?;
        if let (Some(skill), Some(pin)) = (&connector.skill, &connector.pin) {
            let job = self.plan_skill(call, skill, pin, upstream)?;
            return Ok(Foreign::Skill(job));
        }
        let (Some(server), Some(pin)) = (&connector.server, &connector.pin) else {
            return Err(gone());
        };
        if let Launch::Remote(_) = &server.launch {
            let headers = mirrored::of(call.tool().input_schema(), call.arguments());
            headers.map_err(|argument| {
                let say = "its server wants it in a header of HTTP, and it does not fit there";
                Refusal::failed("bad_argument", Some(&argument), say, String::new())
            })?;
        }
        let limits = &pin.connector.limits;
        Ok(Foreign::Server(Upstream {
            server: Arc::clone(server),
            method: upstream.method.name(),
            params: params(call, extra, upstream, pin.connector.allow),
            effect: !call.tool().reads_only(),
            wall: Duration::from_millis(limits.call_ms),
            result: limits.result,
        }))
    }

    /// Asks the connector on behalf of `call`, and waits for what comes of it. What it gives has
    /// the labels that its manifest declares.
    pub(super) fn ask_foreign<M>(
        &self,
        ticket: &Authorized<M>,
        call: &Call,
        question: &Arc<Question>,
        foreign: &Foreign,
    ) -> Outcome {
        let ticket = ticket.ticket();
        let mut outcome = match foreign {
            Foreign::Server(upstream) => self.ask_upstream(ticket, question, upstream),
            Foreign::Skill(job) => self.ask_skill(ticket, call, question, job),
        };
        if let Given::Passed(raw) = &outcome.value {
            let labels = labels(call.tool(), raw);
            outcome.facts.insert("labels".into(), labels);
        }
        outcome
    }

    fn ask_upstream(&self, ticket: Id, question: &Arc<Question>, upstream: &Upstream) -> Outcome {
        let answer = self.ask_server(
            &upstream.server,
            question,
            ticket,
            upstream.method,
            &upstream.params,
            upstream.wall,
        );
        let mut facts = Map::new();
        facts.insert("connector".into(), upstream.server.name.as_str().into());
        facts.insert("pin".into(), upstream.server.digest.as_str().into());
        let hops = question.hops();
        if !hops.is_empty() {
            facts.insert("hops".into(), json!(hops));
        }
        outcome(answer, upstream, facts)
    }
}

/// Where what a server gave comes from, as far as that is declared: all of it is from outside.
fn labels(tool: &Tool, raw: &[u8]) -> Value {
    let Some(declared) = tool.declared() else {
        return json!({"": Label::Untrusted});
    };
    let structured = match declared.outputs.is_empty() {
        true => None,
        false => structured(raw),
    };
    json!(declared.labels(structured.as_ref()))
}

/// The canonical arguments that were judged, under the server's own name for the tool.
fn params(call: &Call, extra: &[u8], upstream: &tool::Upstream, allow: Passing) -> Vec<u8> {
    let text = String::from_utf8_lossy(extra);
    let mut members = Members::of(&text).unwrap_or_default();
    let asks = allow.sampling || allow.elicitation || allow.roots;
    members.keep(|name| name == "_meta" || asks && ANSWERS.contains(&name));
    if upstream.method == Method::Call {
        members.set("name", Value::from(upstream.tool.as_str()).to_string());
        let arguments = String::from_utf8_lossy(call.canonical()).into_owned();
        members.set("arguments", arguments);
    } else {
        for name in ["uri", "name", "arguments", "ref", "argument", "context"] {
            if let Some(value) = call.arguments().get(name) {
                members.set(name, value.to_string());
            }
        }
    }
    members.json().into_bytes()
}

fn outcome(
    answer: Result<Answer, Failure>,
    upstream: &Upstream,
    mut facts: Map<String, Value>,
) -> Outcome {
    let mut ended = |status, class: &str, say: &str, detail: Option<String>| {
        facts.insert("class".into(), class.into());
        if let Some(detail) = detail {
            facts.insert("detail".into(), detail.into());
        }
        Outcome {
            status,
            value: json!({"class": class, "message": say}).into(),
            facts: std::mem::take(&mut facts),
        }
    };
    let failed = Status::Failed;
    match answer {
        Ok(Answer::Result(raw)) if over(&raw, upstream.result) => {
            let say = "it was done, and its result is longer than the operator allows";
            let status = if upstream.effect {
                Status::Unknown
            } else {
                failed
            };
            let detail = format!(
                "{} bytes; `limits.result` is {}",
                raw.len(),
                upstream.result
            );
            ended(status, "result_too_large", say, Some(detail))
        }
        Ok(Answer::Result(raw)) => {
            if Said::of(&raw).is_error {
                facts.insert("is_error".into(), true.into());
            }
            Outcome {
                status: Status::Done,
                value: Given::Passed(raw),
                facts,
            }
        }
        Ok(Answer::Error(raw)) => {
            facts.insert("class".into(), "server_error".into());
            Outcome {
                status: failed,
                value: Given::Fault(raw),
                facts,
            }
        }
        Err(failure) if failure.may_be_done() && upstream.effect => {
            ended(Status::Unknown, "unknown", UNKNOWN, Some(words(failure)))
        }
        Err(Failure::TimedOut) => ended(
            failed,
            "timed_out",
            "the tool's server did not answer in time",
            None,
        ),
        Err(Failure::Cancelled) => ended(failed, "cancelled", "the call was cancelled", None),
        Err(failure @ Failure::Quarantined(_)) => {
            let say = "the operator has to look at the connector of this tool; nothing was done";
            ended(failed, "quarantined", say, Some(words(failure)))
        }
        Err(failure @ Failure::Busy(_)) => {
            let say = "too many calls at once; try again when some have ended";
            ended(failed, "busy", say, Some(words(failure)))
        }
        Err(failure) if failure.may_be_done() => {
            let say = "the tool's server ended before it answered";
            ended(failed, "unavailable", say, Some(words(failure)))
        }
        Err(failure) => {
            let say = "the tool's server was not available; nothing was done";
            ended(failed, "unavailable", say, Some(words(failure)))
        }
    }
}

fn over(raw: &[u8], most: u64) -> bool {
    u64::try_from(raw.len()).unwrap_or(u64::MAX) > most
}

fn words(failure: Failure) -> String {
    match failure {
        Failure::Unavailable(why)
        | Failure::Quarantined(why)
        | Failure::Busy(why)
        | Failure::Lost(why) => why,
        Failure::NotCarried => "the method is not carried".into(),
        Failure::TimedOut => "no answer in time".into(),
        Failure::Cancelled => "the agent no longer wanted it".into(),
    }
}
