//! What was decided, as evidence: a [`Grant`] comes only from an evaluation that permits, is bound
//! to the call's digest, and is used up by the intent.

use super::evaluate::{Evaluation, Outcome};
use crate::call::Call;
use crate::error::{Error, Kind, Result};

/// Whether a call may happen.
#[derive(Debug)]
#[must_use]
pub enum Decision {
    /// Yes.
    Permit(Grant),
    /// If a person says so.
    Ask(Pending),
    /// No.
    Forbid(Reason),
}

/// Policy said yes to one call. Cannot be copied.
#[derive(Debug)]
pub struct Grant {
    call: [u8; 32],
    policy: String,
    rules: Vec<String>,
}

/// A person has to say yes to one call. Cannot be copied.
#[derive(Debug)]
pub struct Pending {
    call: [u8; 32],
    policy: String,
    rules: Vec<String>,
    why: Vec<String>,
}

/// Why a call may not happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What the agent is told: one of [`CLASSES`].
    pub class: &'static str,
    /// The argument to blame, which the agent is told too.
    pub argument: Option<String>,
    /// For the operator only: the rule's name, or a built-in rule's.
    pub rule: String,
    /// For the operator only: file and line of the rule.
    pub at: Option<(String, u32)>,
    /// For the operator only: how to mend it.
    pub hint: String,
}

/// All classes of [`Reason`], and what each means for an agent.
pub const CLASSES: [(&str, &str); 7] = [
    (
        "not_permitted",
        "the operator's policy does not allow this call",
    ),
    ("needs_person", "a person has to allow each such call"),
    (
        "bad_argument",
        "the named argument has a form that is not accepted",
    ),
    (
        "unknown_root",
        "there is no root with this name; list `.` to see those there are",
    ),
    ("read_only_root", "nothing may be changed beneath this root"),
    (
        "host_not_allowed",
        "this method, host, port or path is not one the operator has listed",
    ),
    (
        "needs_separation",
        "this appliance is not set up for effects that cannot be taken back",
    ),
];

impl Decision {
    /// The only way to a decision.
    pub(super) fn of(evaluation: Evaluation, call: &Call, policy: &str) -> Self {
        let (digest, policy) = (*call.digest(), policy.to_owned());
        match evaluation.outcome {
            Outcome::Permit(rules) => Self::Permit(Grant {
                call: digest,
                policy,
                rules,
            }),
            Outcome::Ask { rules, why } => Self::Ask(Pending {
                call: digest,
                policy,
                rules,
                why,
            }),
            Outcome::Forbid(reason) => Self::Forbid(reason),
        }
    }
}

impl Grant {
    /// Checks that it was given for this call.
    ///
    /// # Errors
    /// Fails where it was given for another.
    pub fn covers(&self, call: &Call) -> Result<()> {
        if self.call == *call.digest() {
            return Ok(());
        }
        Err(Error::of(
            Kind::Denied,
            "the permission was given for another call",
        ))
    }

    /// Digest of the policy that gave it, lower-case hex.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Names of the rules that permit the call.
    pub fn rules(&self) -> &[String] {
        &self.rules
    }
}

impl Pending {
    /// Digest of the call it is about.
    pub fn call(&self) -> &[u8; 32] {
        &self.call
    }

    /// Digest of the policy that asks, lower-case hex.
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// Names of the rules that would permit the call, and of the built-in rules that want a person.
    pub fn rules(&self) -> &[String] {
        &self.rules
    }

    /// Why built-in rules want a person, a sentence each. For the operator: an agent never sees it.
    pub fn why(&self) -> &[String] {
        &self.why
    }
}
