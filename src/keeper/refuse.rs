//! Calls that do not happen: what the agent learns (a fixed class, an argument's name), and what
//! only the operator does (rule, line, hint).

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Asked, Keeper, OVERHEAD};
use crate::audit::Draft;
use crate::audit::evidence::described;
use crate::call::id::Id;
use crate::call::{Call, Unfit};
use crate::error::Error;
use crate::policy::{Pending, Reason};
use crate::wire::text::Escaped;

/// Longest name of an agent or tool in an entry, in characters.
const NAME_MAX: usize = 64;

/// JSON-RPC: invalid parameters.
const INVALID_PARAMS: i64 = -32602;
/// MCP: headers and body say different things.
const HEADER_MISMATCH: i64 = -32020;
/// What an agent is told where a person has to decide.
const PERSON: &str = "a person has to decide this; do not ask again by yourself";
/// The class of what may have happened.
const UNKNOWN: &str = "unknown";

/// Why a call does not happen.
#[derive(Debug)]
pub(super) struct Refusal {
    /// A word from a fixed list.
    pub(super) class: &'static str,
    /// The argument to blame.
    pub(super) argument: Option<String>,
    /// What the agent may read, where it is about the agent's own input.
    pub(super) say: Option<String>,
    /// JSON-RPC's code, where it is told by an error in place of a result.
    pub(super) fault: Option<i64>,
    /// The limit that was reached, and in how many seconds there may be room again.
    pub(super) limit: Option<(&'static str, u64)>,
    facts: Box<Map<String, Value>>,
    /// Not worth an entry of its own, so that refusals cannot fill the log.
    quiet: bool,
}

impl Refusal {
    fn new(class: &'static str) -> Self {
        Self {
            class,
            argument: None,
            say: None,
            fault: None,
            limit: None,
            facts: Box::default(),
            quiet: false,
        }
    }

    /// The arguments are not what the tool's schema says.
    pub(super) fn unfit(unfit: Unfit) -> Self {
        let Unfit {
            class,
            argument,
            say,
        } = unfit;
        Self {
            argument,
            say: Some(say),
            ..Self::new(class)
        }
    }

    /// The agent has no such tool: a protocol error.
    pub(super) fn no_tool(name: &str) -> Self {
        let say = Some(format!("unknown tool `{}`", Escaped::cut(name, 64)));
        Self {
            say,
            fault: Some(INVALID_PARAMS),
            ..Self::new("unknown_tool")
        }
    }

    /// HTTP's headers say something else of the arguments.
    pub(super) fn header_mismatch(header: &str) -> Self {
        let header = Escaped::cut(header, 64);
        Self {
            say: Some(format!(
                "header mismatch: `{header}` is missing, or is not what the arguments say"
            )),
            fault: Some(HEADER_MISMATCH),
            ..Self::new("header_mismatch")
        }
    }

    /// The socket's agent is not enrolled (any more).
    pub(super) fn no_agent() -> Self {
        let say = Some("this agent is not enrolled".to_owned());
        Self {
            say,
            ..Self::new("unknown_agent")
        }
    }

    /// Too many calls, or too much of something: `which` says of what, for programs, and `what` for
    /// people.
    pub(super) fn over_quota(which: &'static str, what: &str, retry_after: Duration) -> Self {
        let wait = retry_after.as_secs().saturating_add(1);
        Self {
            say: Some(format!("{what}; try again in {wait} s")),
            limit: Some((which, wait)),
            quiet: true,
            ..Self::new("over_quota")
        }
    }

    /// More calls at once than an agent, or all of them, may have.
    pub(super) fn busy() -> Self {
        let say = Some("too many calls at once; try again when some have ended".into());
        Self {
            say,
            quiet: true,
            ..Self::new("busy")
        }
    }

    /// Rules or policy say no.
    pub(super) fn forbidden(reason: Reason) -> Self {
        let Reason {
            class,
            argument,
            rule,
            at,
            hint,
        } = reason;
        let mut refusal = Self {
            argument,
            ..Self::new(class)
        };
        refusal.facts.insert("rule".into(), rule.into());
        if let Some((file, line)) = at {
            refusal
                .facts
                .insert("at".into(), format!("{file}:{line}").into());
        }
        refusal.facts.insert("hint".into(), hint.into());
        refusal
    }

    /// The policy wants a person, and there is no way to ask one yet.
    pub(super) fn needs_person(pending: &Pending) -> Self {
        let mut refusal = Self::new("needs_person");
        refusal.facts.insert("rules".into(), json!(pending.rules()));
        refusal.facts.insert("why".into(), json!(pending.why()));
        refusal.say = Some(PERSON.into());
        refusal
    }

    /// It would be permitted, because its tool's calls can be taken back; this one could not be.
    pub(super) fn not_taken_back(why: String) -> Self {
        let mut refusal = Self::failed("needs_person", None, PERSON, why);
        refusal.facts.insert("rule".into(), "builtin:undo".into());
        refusal
    }

    /// It cannot be done, and was not begun.
    pub(super) fn failed(
        class: &'static str,
        argument: Option<&str>,
        say: &str,
        detail: String,
    ) -> Self {
        let mut refusal = Self::new(class);
        refusal.argument = argument.map(Into::into);
        refusal.say = Some(say.into());
        refusal.facts.insert("detail".into(), detail.into());
        refusal
    }

    /// It may have been done, but the log did not take the outcome.
    pub(super) fn unrecorded(error: &Error) -> Self {
        let say = "nobody can say whether this happened: its outcome could not be recorded";
        Self::failed(UNKNOWN, None, say, error.message())
    }

    /// The same call came before, and nobody can say what became of it.
    pub(super) fn unknown_before(first: Id) -> Self {
        let say = "nobody can say whether this call happened when it came before; an operator has \
                   to look";
        Self::failed(UNKNOWN, None, say, format!("it repeats request {first}"))
    }

    /// The same call was carried out before, and what it gave cannot be given again.
    pub(super) fn done_before(first: Id) -> Self {
        let say = format!(
            "this call was carried out when it came before, as request {first}; its result was lost \
             when Keepgate started anew. Nothing was done now: make the call again only if a second \
             one is meant"
        );
        Self::failed(
            "done_before",
            None,
            &say,
            format!("it repeats request {first}"),
        )
    }

    /// It may have happened.
    pub(super) fn is_unknown(&self) -> bool {
        self.class == UNKNOWN
    }

    /// Adds what is known of the call.
    pub(super) fn of(mut self, call: &Call) -> Self {
        let mut facts = Box::new(described(call));
        facts.append(&mut self.facts);
        Self { facts, ..self }
    }

    /// Writes the refusal down. A log that takes no entries takes no refusals: the agent gets the
    /// same answer, and `status` says why.
    pub(super) fn record(&self, keeper: &Keeper, asked: &Asked) {
        if self.quiet || keeper.log.blocked().is_some() {
            return;
        }
        let counted = keeper.counted(&asked.agent);
        if counted != asked.agent && keeper.count(counted, OVERHEAD).is_err() {
            return;
        }
        let mut body = Map::clone(&self.facts);
        body.insert("call".into(), json!(asked.call));
        body.insert("agent".into(), cut(&asked.agent).into());
        body.insert("class".into(), self.class.into());
        let tool = keeper.catalog.tool(&asked.tool);
        let tool = tool.map_or(asked.tool.as_str(), |tool| tool.name());
        body.entry("tool").or_insert_with(|| cut(tool).into());
        body.insert("client".into(), cut(&asked.client).into());
        if let Some(argument) = &self.argument {
            body.insert("argument".into(), argument.as_str().into());
        }
        if let Some(say) = &self.say {
            body.insert("say".into(), say.as_str().into());
        }
        let mut draft = Draft::new("call.refused", body);
        if counted == asked.agent {
            draft = draft.payload("arguments", keeper.masker.mask(&asked.arguments));
        }
        if let Err(error) = keeper.log.append(draft) {
            tracing::error!(call = %asked.call, %error, "a refusal could not be recorded");
        }
    }
}

/// A name somebody else chose, no longer than names are.
fn cut(name: &str) -> String {
    name.chars().take(NAME_MAX).collect()
}

impl From<Error> for Refusal {
    /// Something below does not work: the call is refused before any effect.
    fn from(error: Error) -> Self {
        tracing::error!(%error, "a call was refused because a part of the appliance failed");
        let say = "a part of the appliance was not available; nothing was changed";
        Self::failed("unavailable", None, say, error.message())
    }
}
