//! The one evaluation of a call; decision and explanation are two views of it.

use cedar_policy::{AuthorizationError, Authorizer, Decision as Effect};

use super::decision::Reason;
use super::ground::Ground;
use super::question::Question;
use super::rules::{self, Said, Subject, Verdict};
use super::schema::Model;
use super::source::{Rule, Source};
use crate::call::Call;
use crate::error::Result;
use crate::wire::text::Escaped;

/// Characters of one of Cedar's own errors that are shown.
const ERROR_SHOWN: usize = 200;

/// Rules are evaluated against these.
#[derive(Clone, Copy)]
pub(super) struct Policy<'a> {
    pub(super) model: &'a Model,
    pub(super) source: &'a Source,
    /// Name of the file the rules came from.
    pub(super) file: &'a str,
    pub(super) authorizer: &'a Authorizer,
}

/// What was found about one call.
#[derive(Debug)]
pub(super) struct Evaluation {
    /// What every built-in rule says.
    pub(super) verdicts: Vec<Verdict>,
    /// What the call is about, where its arguments can be read.
    pub(super) subject: Option<Subject>,
    /// What follows.
    pub(super) outcome: Outcome,
}

/// What follows from all rules together.
#[derive(Debug)]
pub(super) enum Outcome {
    /// These rules permit it.
    Permit(Vec<String>),
    /// These rules want a person.
    Ask {
        /// Those that permit it with one, and the built-in ones that want one.
        rules: Vec<String>,
        /// What each built-in one of them says.
        why: Vec<String>,
    },
    /// No.
    Forbid(Reason),
}

/// What the policy says to one question.
enum Answer {
    /// Rules at these places permit it.
    Permits(Vec<usize>),
    /// Rules at these places forbid it; none where none permits it.
    Denies(Vec<usize>),
    /// A rule could not be evaluated.
    Broken(Reason),
}

impl Policy<'_> {
    /// Evaluates everything there is to say about `call`.
    pub(super) fn evaluate(&self, call: &Call, ground: &Ground<'_>) -> Evaluation {
        let (verdicts, subject) = rules::judge(call, ground);
        let refused = verdicts.iter().find_map(refusal);
        let outcome = match (refused, &subject) {
            (Some(reason), _) => Outcome::Forbid(reason),
            (None, Some(subject)) => self
                .asked(call, ground, subject, &verdicts)
                .unwrap_or_else(|error| Outcome::Forbid(unasked(&error.message()))),
            (None, None) => Outcome::Forbid(unasked("its arguments could not be read")),
        };
        Evaluation {
            verdicts,
            subject,
            outcome,
        }
    }

    /// What the policy says where the built-in rules do not refuse.
    fn asked(
        &self,
        call: &Call,
        ground: &Ground<'_>,
        subject: &Subject,
        verdicts: &[Verdict],
    ) -> Result<Outcome> {
        let question = Question::new(self.model, call, ground, subject)?;
        let want_person: Vec<(&str, &str)> = verdicts.iter().filter_map(asks).collect();
        let alone = self.answer(&question, true)?;
        let (permits, person) = match alone {
            Answer::Permits(permits) => (permits, !want_person.is_empty()),
            Answer::Broken(reason) => return Ok(Outcome::Forbid(reason)),
            Answer::Denies(_) => match self.answer(&question, false)? {
                Answer::Permits(permits) => (permits, true),
                Answer::Broken(reason) => return Ok(Outcome::Forbid(reason)),
                Answer::Denies(by) => return Ok(Outcome::Forbid(self.denied(&by, call, ground))),
            },
        };
        let permits_rules = permits
            .iter()
            .filter_map(|place| self.source.rules.get(*place));
        let mut names: Vec<String> = permits_rules.clone().map(|rule| rule.id.clone()).collect();
        if !person {
            return Ok(Outcome::Permit(names));
        }
        let first = permits_rules
            .clone()
            .next()
            .map(|rule| (rule.id.clone(), self.at(rule)));
        names.extend(want_person.iter().map(|(rule, _)| (*rule).to_owned()));
        let why: Vec<String> = want_person.iter().map(|(_, why)| (*why).into()).collect();
        if !ground.unattended {
            return Ok(Outcome::Ask { rules: names, why });
        }
        let (rule, at) = match (want_person.first(), first) {
            (Some((rule, _)), _) => ((*rule).to_owned(), None),
            (None, Some((rule, at))) => (rule, Some(at)),
            (None, None) => (NO_RULE.to_owned(), None),
        };
        let because = match why.is_empty() {
            true => String::new(),
            false => format!("{}; ", why.join("; ")),
        };
        let hint = format!(
            "{because}plane `{}` is set `unattended = true`, so nobody can be asked; let a person \
             watch it, or change the rule",
            ground.plane
        );
        Ok(Outcome::Forbid(Reason {
            class: "needs_person",
            argument: None,
            rule,
            at,
            hint,
        }))
    }

    fn answer(&self, question: &Question<'_>, unattended: bool) -> Result<Answer> {
        let request = question.request(unattended)?;
        let response =
            self.authorizer
                .is_authorized(&request, &self.source.set, question.entities());
        let errors = response.diagnostics().errors();
        let mut errors: Vec<_> = errors
            .map(|AuthorizationError::PolicyEvaluationError(error)| error)
            .collect();
        // Cedar skips a rule it cannot evaluate. A skipped `forbid` would permit, so this refuses.
        errors.sort_by_key(|error| self.source.place(error.policy_id()));
        if let Some(error) = errors.first() {
            let rule = self.source.place(error.policy_id());
            let rule = rule.and_then(|place| self.source.rules.get(place));
            return Ok(Answer::Broken(
                self.broken(rule, &error.inner().to_string()),
            ));
        }
        let reasons = response.diagnostics().reason();
        let mut places: Vec<usize> = reasons.filter_map(|id| self.source.place(id)).collect();
        places.sort_unstable();
        Ok(match response.decision() {
            Effect::Allow if !places.is_empty() => Answer::Permits(places),
            Effect::Allow | Effect::Deny => Answer::Denies(places),
        })
    }

    fn denied(&self, by: &[usize], call: &Call, ground: &Ground<'_>) -> Reason {
        let rule = by.first().and_then(|place| self.source.rules.get(*place));
        let (rule, at, hint) = match rule {
            Some(rule) => {
                let hint = rule.hint.clone().unwrap_or_else(|| {
                    format!(
                        "rule `{}` forbids it; change it and apply the policy again",
                        rule.id
                    )
                });
                (rule.id.clone(), Some(self.at(rule)), hint)
            }
            None => (NO_RULE.to_owned(), None, permit_hint(call, ground)),
        };
        Reason {
            class: "not_permitted",
            argument: None,
            rule,
            at,
            hint,
        }
    }

    fn broken(&self, rule: Option<&Rule>, why: &str) -> Reason {
        let why = Escaped::cut(why, ERROR_SHOWN);
        let hint = format!(
            "the rule could not be evaluated ({why}), so the call was refused; guard it, for \
             example with a bound on the value"
        );
        Reason {
            class: "not_permitted",
            argument: None,
            rule: rule.map_or(NO_RULE, |rule| rule.id.as_str()).to_owned(),
            at: rule.map(|rule| self.at(rule)),
            hint,
        }
    }

    fn at(&self, rule: &Rule) -> (String, u32) {
        (self.file.to_owned(), rule.line)
    }
}

/// Stands for the rule where no rule permits a call.
pub(super) const NO_RULE: &str = "default:deny";
/// Stands for the rule where the policy could not be asked.
const UNASKED: &str = "builtin:question";

/// A built-in rule that wants a person, and why.
fn asks(verdict: &Verdict) -> Option<(&str, &str)> {
    match &verdict.said {
        Said::Ask { why } => Some((verdict.rule, why)),
        Said::Pass | Said::Forbid { .. } => None,
    }
}

fn refusal(verdict: &Verdict) -> Option<Reason> {
    match &verdict.said {
        Said::Forbid {
            class,
            argument,
            hint,
        } => Some(Reason {
            class,
            argument: argument.clone(),
            rule: verdict.rule.to_owned(),
            at: None,
            hint: hint.clone(),
        }),
        Said::Pass | Said::Ask { .. } => None,
    }
}

fn unasked(why: &str) -> Reason {
    let hint = format!(
        "the policy could not be asked: {}; apply the policy again, and report this if it stays",
        Escaped::cut(why, ERROR_SHOWN)
    );
    Reason {
        class: "not_permitted",
        argument: None,
        rule: UNASKED.to_owned(),
        at: None,
        hint,
    }
}

/// The shortest rule that would permit the call, for the operator to narrow.
fn permit_hint(call: &Call, ground: &Ground<'_>) -> String {
    format!(
        "no rule permits it; for example: permit (principal == Agent::\"{}\", action == \
         Action::\"{}\", resource);",
        Escaped::cut(ground.agent, 64),
        call.tool().wire(),
    )
}
