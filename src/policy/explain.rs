//! Everything an operator may know about a decision.

use cedar_policy::{Authorizer, PolicySet};
use serde::Serialize;
use serde_json::Value;

use super::evaluate::{Evaluation, Outcome, Policy};
use super::ground::Ground;
use super::question::Question;
use super::rules::Verdict;
use super::source::{Rule, cedars_name};
use crate::call::Call;

/// A decision, and how it came about. For the operator: an agent never sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// `permit`, `ask` or `forbid`.
    pub decision: &'static str,
    /// What the agent is told, where it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<&'static str>,
    /// The argument to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argument: Option<String>,
    /// The rule that decided: the first that forbids, or the first that permits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// `FILE:LINE` of that rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// How to change the decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Every rule of the policy that speaks about this call, in the order of the file.
    pub rules: Vec<Matched>,
    /// What every built-in rule says; no policy can loosen them.
    pub builtin: Vec<Verdict>,
    /// What rules see of the call: `context` without `unattended`, which is asked both ways.
    pub context: Value,
    /// Digest of the policy, lower-case hex.
    pub policy: String,
    /// Name of the plane.
    pub plane: String,
    /// `rehearse` or `live`.
    pub mode: &'static str,
}

/// One rule of the policy that speaks about a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Matched {
    /// Its name.
    pub id: String,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// `FILE:LINE`.
    pub at: String,
    /// `always`, `unattended` (only without a person) or `attended` (only with one), or `broken`: it
    /// could not be evaluated.
    pub applies: &'static str,
    /// Its `@reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its `@hint`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Whether one rule speaks about a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Yes,
    No,
    Broken,
}

impl Explanation {
    /// Explains an evaluation.
    pub(super) fn of(
        evaluation: Evaluation,
        policy: Policy<'_>,
        digest: &str,
        call: &Call,
        ground: &Ground<'_>,
    ) -> Self {
        let Evaluation {
            verdicts,
            subject,
            outcome,
        } = evaluation;
        let question = subject
            .as_ref()
            .and_then(|subject| Question::new(policy.model, call, ground, subject).ok());
        let rules = question
            .as_ref()
            .map(|question| matched(policy, question))
            .unwrap_or_default();
        let context = question.as_ref().map(Question::shown).unwrap_or_default();
        let told = Told::of(outcome, &rules);
        Self {
            decision: told.decision,
            class: told.class,
            argument: told.argument,
            rule: told.rule,
            at: told.at,
            hint: told.hint,
            rules,
            builtin: verdicts,
            context,
            policy: digest.to_owned(),
            plane: ground.plane.to_owned(),
            mode: ground.mode.name(),
        }
    }
}

#[derive(Default)]
struct Told {
    decision: &'static str,
    class: Option<&'static str>,
    argument: Option<String>,
    rule: Option<String>,
    at: Option<String>,
    hint: Option<String>,
}

impl Told {
    fn of(outcome: Outcome, rules: &[Matched]) -> Self {
        let first = |names: Vec<String>| {
            let rule = names.into_iter().next();
            let at = rules.iter().find(|one| Some(&one.id) == rule.as_ref());
            (rule, at.map(|one| one.at.clone()))
        };
        match outcome {
            Outcome::Permit(names) => {
                let (rule, at) = first(names);
                Self {
                    decision: "permit",
                    rule,
                    at,
                    ..Self::default()
                }
            }
            Outcome::Ask { rules, .. } => {
                let (rule, at) = first(rules);
                let hint = "a person has to allow it; a rule that permits it while \
                            `context.unattended` is true would not ask, where no built-in rule does";
                let class = Some("needs_person");
                Self {
                    decision: "ask",
                    class,
                    rule,
                    at,
                    hint: Some(hint.into()),
                    argument: None,
                }
            }
            Outcome::Forbid(reason) => Self {
                decision: "forbid",
                class: Some(reason.class),
                argument: reason.argument,
                rule: Some(reason.rule),
                at: reason.at.map(|(file, line)| format!("{file}:{line}")),
                hint: Some(reason.hint),
            },
        }
    }
}

/// Asks every rule by itself. Slower than one question to all, and only for people.
fn matched(policy: Policy<'_>, question: &Question<'_>) -> Vec<Matched> {
    let speaks = |place: usize, unattended: bool| speaks(policy, question, place, unattended);
    let rules = policy.source.rules.iter().enumerate();
    rules
        .filter_map(|(place, rule)| {
            let applies = match (speaks(place, true), speaks(place, false)) {
                (Speaks::Broken, _) | (_, Speaks::Broken) => "broken",
                (Speaks::Yes, Speaks::Yes) => "always",
                (Speaks::Yes, Speaks::No) => "unattended",
                (Speaks::No, Speaks::Yes) => "attended",
                (Speaks::No, Speaks::No) => return None,
            };
            let Rule {
                id,
                effect,
                line,
                reason,
                hint,
            } = rule.clone();
            let at = format!("{}:{line}", policy.file);
            Some(Matched {
                id,
                effect,
                at,
                applies,
                reason,
                hint,
            })
        })
        .collect()
}

fn speaks(policy: Policy<'_>, question: &Question<'_>, place: usize, unattended: bool) -> Speaks {
    let one = policy.source.set.policy(&cedars_name(place)).cloned();
    let set = one.and_then(|one| PolicySet::from_policies([one]).ok());
    let (Some(set), Ok(request)) = (set, question.request(unattended)) else {
        return Speaks::Broken;
    };
    let response = Authorizer::new().is_authorized(&request, &set, question.entities());
    if response.diagnostics().errors().next().is_some() {
        return Speaks::Broken;
    }
    match response.diagnostics().reason().next() {
        Some(_) => Speaks::Yes,
        None => Speaks::No,
    }
}
