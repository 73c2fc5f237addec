//! Claude Skills, as agents are given them. A skill has no server and nothing of it runs between
//! calls: each call of a script is a fresh jail of its own ([`run`]), and each of its texts is read
//! anew, for whoever asks for it ([`texts`]). Either happens only where everything in the skill's
//! folder is what was approved; the jailer compares it right before, and a skill that is not is
//! quarantined.

mod places;
mod result;
mod run;
mod texts;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::Keeper;
use super::questions::Question;
use super::refuse::Refusal;
use crate::audit::evidence::{Given, Outcome, Status};
use crate::call::Call;
use crate::call::id::Id;
use crate::call::tool::{Method, Upstream};
use crate::catalog::connector::skill::resources;
use crate::catalog::connector::skill::{Order, Script, order};
use crate::catalog::connector::{ConnectorLimits, Launch, Pin};
use crate::wire::manifest::Manifest;
pub(super) use places::Places;

/// MCP: there is no such resource.
const NO_RESOURCE: i64 = -32002;

/// A skill as it was approved.
#[derive(Debug)]
pub(super) struct Skill {
    /// The connector's name.
    name: String,
    /// [`Pin::digest`].
    digest: String,
    folder: PathBuf,
    scripts: BTreeMap<String, Script>,
    /// The jail of each script.
    jail: Manifest,
    limits: ConnectorLimits,
    /// Scripts that run, of this skill and all others.
    places: Arc<Places>,
}

/// One thing that is asked of a skill.
#[derive(Debug)]
pub(super) struct Job {
    skill: Arc<Skill>,
    what: What,
    /// It may change something.
    pub(super) effect: bool,
}

impl Job {
    /// Name of the skill's connector, digest of its pin, and the program or text that is asked for.
    pub(super) fn whom(&self) -> (&str, &str, String) {
        let to = match &self.what {
            What::Run(order) => order.program.clone(),
            What::Read { uri, .. } => uri.clone(),
            What::Prompt | What::Complete => self.skill.folder.to_string_lossy().into_owned(),
        };
        (&self.skill.name, &self.skill.digest, to)
    }
}

#[derive(Debug)]
enum What {
    /// A script.
    Run(Order),
    /// The instructions.
    Prompt,
    /// A file of it; nothing where none is listed under that URI.
    Read { uri: String, path: Option<PathBuf> },
    /// It has nothing to complete: its prompt has no arguments.
    Complete,
}

impl Skill {
    /// The skill of a connector; nothing where it is none.
    pub(super) fn of(name: &str, pin: &Pin, digest: &str, places: &Arc<Places>) -> Option<Self> {
        let Launch::Skill {
            folder,
            scripts,
            jail,
        } = &pin.connector.launch
        else {
            return None;
        };
        Some(Self {
            name: name.into(),
            digest: digest.into(),
            folder: folder.clone(),
            scripts: scripts.clone(),
            jail: jail.clone(),
            limits: pin.connector.limits,
            places: Arc::clone(places),
        })
    }
}

impl Keeper {
    /// What a call to a skill takes.
    pub(super) fn plan_skill(
        &self,
        call: &Call,
        skill: &Arc<Skill>,
        pin: &Pin,
        upstream: &Upstream,
    ) -> Result<Job, Refusal> {
        let what = match upstream.method {
            Method::Call => {
                let script = skill.scripts.get(&upstream.tool);
                let script = script.ok_or_else(|| Refusal::no_tool(call.tool().wire()))?;
                let order = order(&skill.folder, script, call.arguments());
                What::Run(order.map_err(|unfit| {
                    let argument = Some(unfit.argument);
                    Refusal::failed("bad_argument", argument, unfit.say, String::new())
                })?)
            }
            Method::Prompt => What::Prompt,
            Method::Read => {
                let uri = call.arguments().get("uri").and_then(Value::as_str);
                let uri = uri.unwrap_or_default();
                let listed = pin.resources.contains_key(uri);
                What::Read {
                    path: listed.then(|| resources::path(&skill.name, uri)).flatten(),
                    uri: uri.into(),
                }
            }
            Method::Complete => What::Complete,
        };
        Ok(Job {
            skill: Arc::clone(skill),
            what,
            effect: !call.tool().reads_only(),
        })
    }

    /// Does what was asked of a skill, and says what came of it.
    pub(super) fn ask_skill(
        &self,
        ticket: Id,
        call: &Call,
        question: &Arc<Question>,
        job: &Job,
    ) -> Outcome {
        let skill = &job.skill;
        let mut facts = Map::new();
        facts.insert("connector".into(), skill.name.as_str().into());
        facts.insert("pin".into(), skill.digest.as_str().into());
        let came_to = match &job.what {
            What::Run(order) => {
                let ran = self.run_script(ticket, question, skill, order, job.effect);
                return match ran {
                    Ok(ran) => result::of(ran, job, call.id(), facts),
                    Err(failure) => self.failed(failure, job, facts),
                };
            }
            What::Prompt => self.instructions(ticket, skill),
            What::Read { uri, path } => match path {
                Some(path) => self.resource(ticket, skill, uri, path),
                None => return no_resource(uri, facts),
            },
            What::Complete => {
                let nothing = json!({"completion": {"values": [], "total": 0, "hasMore": false}});
                Ok(nothing.to_string().into_bytes())
            }
        };
        match came_to {
            Ok(raw) if over(&raw, skill.limits.result) => {
                let detail = format!(
                    "{} bytes; `limits.result` is {}",
                    raw.len(),
                    skill.limits.result
                );
                let say = "it is longer than the operator allows";
                ended(Status::Failed, "result_too_large", say, Some(detail), facts)
            }
            Ok(raw) => Outcome {
                status: Status::Done,
                value: Given::Passed(raw),
                facts,
            },
            Err(failure) => self.failed(failure, job, facts),
        }
    }

    /// The outcome of what came to nothing. A skill that is not what was approved is quarantined.
    fn failed(&self, failure: Failure, job: &Job, facts: Map<String, Value>) -> Outcome {
        let name = &job.skill.name;
        match failure {
            Failure::Altered { why, changes, ran } => {
                let why = format!("its files are not what was approved: {why}");
                if let Err(error) = self.quarantine(name, &why, &changes) {
                    tracing::error!(connector = name, %error, "a quarantine is not recorded");
                }
                if ran && job.effect {
                    let say = "nobody can say whether this happened; an operator has to look";
                    return ended(Status::Unknown, "unknown", say, Some(why), facts);
                }
                let say = match ran {
                    true => "the operator has to look at this skill; it was ended",
                    false => "the operator has to look at this skill; nothing was done",
                };
                ended(Status::Failed, "quarantined", say, Some(why), facts)
            }
            Failure::Busy => {
                let say = "too many scripts run at once; try again when some have ended";
                ended(Status::Failed, "busy", say, None, facts)
            }
            Failure::NotDone(detail) => {
                let say = "the skill was not available; nothing was done";
                ended(Status::Failed, "unavailable", say, Some(detail), facts)
            }
            Failure::Lost(detail) if job.effect => {
                let say = "nobody can say whether this happened; an operator has to look";
                ended(Status::Unknown, "unknown", say, Some(detail), facts)
            }
            Failure::Lost(detail) => {
                let say = "a part of the appliance was not available; nothing was changed";
                ended(Status::Failed, "unavailable", say, Some(detail), facts)
            }
        }
    }
}

/// Why nothing came of it.
#[derive(Debug)]
enum Failure {
    /// What is pinned is not what it was: nothing was run or read, or what ran was ended.
    Altered {
        why: String,
        changes: Vec<Value>,
        ran: bool,
    },
    /// Too many scripts run: it was not started.
    Busy,
    /// It was not done, for this reason.
    NotDone(String),
    /// Nobody knows whether it was done.
    Lost(String),
}

fn ended(
    status: Status,
    class: &str,
    say: &str,
    detail: Option<String>,
    mut facts: Map<String, Value>,
) -> Outcome {
    facts.insert("class".into(), class.into());
    if let Some(detail) = detail {
        facts.insert("detail".into(), detail.into());
    }
    Outcome {
        status,
        value: json!({"class": class, "message": say}).into(),
        facts,
    }
}

fn no_resource(uri: &str, mut facts: Map<String, Value>) -> Outcome {
    facts.insert("class".into(), "not_found".into());
    let fault = json!({
        "code": NO_RESOURCE,
        "message": "there is no such resource",
        "data": {"uri": uri},
    });
    Outcome {
        status: Status::Failed,
        value: Given::Fault(fault.to_string().into_bytes()),
        facts,
    }
}

fn over(raw: &[u8], most: u64) -> bool {
    u64::try_from(raw.len()).unwrap_or(u64::MAX) > most
}
