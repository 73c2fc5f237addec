//! Carrying out a call that is authorised: for real, or as a rehearsal. Every way it can end
//! becomes an [`Outcome`]; nothing here fails without one.

use serde_json::{Map, Value, json};

use super::hands::{Job, Ran};
use super::look::Sight;
use super::plan::{Plan, limits};
use super::{Asked, Keeper};
use crate::audit::evidence::{Authorized, Given, Outcome, Status};
use crate::call::Call;
use crate::error::{Error, Result};
use crate::mode::{Dry, Live};
use crate::tools::order::{Mode, Order, Reply};
use crate::undo::{Change, Recipe};
use crate::wire::messages::{FileState, JailFault};

/// What an agent is told where nobody knows.
const UNKNOWN: &str = "nobody can say whether this happened; an operator has to look";

/// Runs reads for real and shows effects without making them.
pub(super) fn rehearse(
    keeper: &Keeper,
    ticket: &Authorized<Dry>,
    call: &Call,
    asked: &Asked,
    plan: Plan,
    sight: &Sight,
) -> Outcome {
    match plan {
        Plan::Foreign(foreign) => keeper.rehearse_foreign(ticket, call, asked, &foreign),
        Plan::Http { effect: true, .. } => Outcome {
            status: Status::Skipped,
            value: told(
                "rehearsed_not_executed",
                "the request was checked and was not sent",
            ),
            facts: Map::new(),
        },
        Plan::Write { ref file, .. } => {
            let order = order(call, Mode::Rehearse, sight.absent());
            let files = vec![file.clone()];
            let mut facts = Map::new();
            let job = Job {
                tool: "file.write",
                order,
                files,
                lease: None,
                limits: limits("file.write"),
            };
            let ran = keeper.hands.run(ticket, job, &mut facts);
            keeper.hands.discard(ticket);
            ended(ran, Status::Rehearsed, facts)
        }
        Plan::Roots | Plan::Read(_) | Plan::Http { .. } => read(keeper, ticket, call, plan),
    }
}

/// Carries out a live call. `recipe` says how it is taken back, and with that what a written file
/// must still be.
pub(super) fn carry_out(
    keeper: &Keeper,
    ticket: &Authorized<Live>,
    call: &Call,
    asked: &Asked,
    plan: Plan,
    recipe: Option<&Recipe>,
) -> Outcome {
    match (plan, recipe) {
        (Plan::Foreign(foreign), None) if !foreign.effect() => {
            keeper.ask_foreign(ticket, call, &asked.question, &foreign)
        }
        (Plan::Foreign(foreign), Some(recipe)) => {
            let outcome = keeper.ask_foreign(ticket, call, &asked.question, &foreign);
            keeper.complete(call, recipe, outcome)
        }
        (Plan::Write { file, sha256, .. }, Some(Recipe::File(Change { before, .. }))) => {
            let absent = *before == FileState::Absent;
            let order = order(call, Mode::Live, absent);
            let mut facts = Map::new();
            let job = Job {
                tool: "file.write",
                order,
                files: vec![file],
                lease: None,
                limits: limits("file.write"),
            };
            let written = ended(
                keeper.hands.run(ticket, job, &mut facts),
                Status::Done,
                facts,
            );
            if written.status != Status::Done {
                keeper.hands.discard(ticket);
                return written;
            }
            match keeper.hands.publish(ticket, before, &sha256) {
                Ok(Ok(())) => written,
                Ok(Err((fault, detail))) => refused(fault, detail, written.facts),
                Err(error) => unknown(&error, written.facts),
            }
        }
        // A live effect without a way to take it back cannot be authorised; a live effect over HTTP
        // needs a person, so none reaches this point.
        (Plan::Write { .. } | Plan::Foreign(_) | Plan::Http { effect: true, .. }, _) => Outcome {
            status: Status::Failed,
            value: told("needs_person", "a person has to decide this"),
            facts: Map::new(),
        },
        (plan @ (Plan::Roots | Plan::Read(_) | Plan::Http { .. }), _) => {
            read(keeper, ticket, call, plan)
        }
    }
}

/// What changes nothing runs for real in every mode.
fn read<M>(keeper: &Keeper, ticket: &Authorized<M>, call: &Call, plan: Plan) -> Outcome {
    let (files, lease) = match plan {
        Plan::Roots => return roots(keeper),
        Plan::Read(file) => (vec![file], None),
        Plan::Http { lease, .. } => (Vec::new(), Some(lease)),
        Plan::Write { .. } | Plan::Foreign(_) => (Vec::new(), None),
    };
    let tool = call.tool().name();
    let mut facts = Map::new();
    let job = Job {
        tool,
        order: order(call, Mode::Live, false),
        files,
        lease,
        limits: limits(tool),
    };
    let ran = keeper.hands.run(ticket, job, &mut facts);
    ended(ran, Status::Done, facts)
}

fn roots(keeper: &Keeper) -> Outcome {
    let entries: Vec<Value> = keeper
        .setup
        .roots
        .keys()
        .map(|name| json!({"name": name, "type": "directory"}))
        .collect();
    let value = json!({"path": ".", "entries": entries, "truncated": false});
    Outcome {
        status: Status::Done,
        value: value.into(),
        facts: Map::new(),
    }
}

fn order(call: &Call, mode: Mode, absent: bool) -> Order {
    Order {
        arguments: call.arguments().clone(),
        mode,
        absent,
    }
}

fn ended(ran: Result<Ran>, good: Status, mut facts: Map<String, Value>) -> Outcome {
    match ran {
        Ok(Ran::Replied(Reply::Done { value })) => Outcome {
            status: good,
            value: value.into(),
            facts,
        },
        Ok(Ran::Replied(Reply::Fault { fault })) => {
            facts.insert("class".into(), fault.class.as_str().into());
            Outcome {
                status: Status::Failed,
                value: told(&fault.class, &fault.say),
                facts,
            }
        }
        Ok(Ran::Refused(fault, detail)) => refused(fault, detail, facts),
        Ok(Ran::Broken(class)) => {
            facts.insert("class".into(), class.into());
            let say = "the tool ended without a usable answer";
            Outcome {
                status: Status::Failed,
                value: told(class, say),
                facts,
            }
        }
        Err(error) => {
            facts.insert("class".into(), "unavailable".into());
            facts.insert("detail".into(), error.message().into());
            let say = "a part of the appliance was not available; nothing was changed";
            Outcome {
                status: Status::Failed,
                value: told("unavailable", say),
                facts,
            }
        }
    }
}

fn refused(fault: JailFault, detail: String, mut facts: Map<String, Value>) -> Outcome {
    let (class, say) = words(fault);
    facts.insert("class".into(), class.into());
    facts.insert("detail".into(), detail.into());
    Outcome {
        status: status(fault),
        value: told(class, say),
        facts,
    }
}

fn unknown(error: &Error, mut facts: Map<String, Value>) -> Outcome {
    facts.insert("class".into(), "unknown".into());
    facts.insert("detail".into(), error.message().into());
    Outcome {
        status: Status::Unknown,
        value: told("unknown", UNKNOWN),
        facts,
    }
}

/// Whether what the jailer did not do is certainly not done.
pub(super) fn status(fault: JailFault) -> Status {
    match fault {
        JailFault::Stuck => Status::Unknown,
        JailFault::NotFound
        | JailFault::WrongKind
        | JailFault::NotPermitted
        | JailFault::Outside
        | JailFault::Changed
        | JailFault::TooLarge
        | JailFault::Failed => Status::Failed,
    }
}

/// The class and sentence for each way a file can refuse.
pub(super) fn words(fault: JailFault) -> (&'static str, &'static str) {
    match fault {
        JailFault::NotFound => ("not_found", "nothing has that name"),
        JailFault::WrongKind => (
            "wrong_kind",
            "it is not the kind of file this tool works on",
        ),
        JailFault::NotPermitted => (
            "no_access",
            "the system does not let this root's user do it",
        ),
        JailFault::Outside => (
            "outside_root",
            "the path leads out of its root or over a link",
        ),
        JailFault::Changed => (
            "changed",
            "the file is not what it was; nothing was written",
        ),
        JailFault::TooLarge => ("too_large", "the file is larger than this tool handles"),
        JailFault::Stuck => ("unknown", UNKNOWN),
        JailFault::Failed => ("failed", "it could not be done"),
    }
}

fn told(class: &str, say: &str) -> Given {
    json!({"class": class, "message": say}).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stuck_is_unknown_and_the_entry_says_where_it_is() {
        let where_it_is = "content stays beside the file as `.keepgate-x`";
        let outcome = refused(JailFault::Stuck, where_it_is.into(), Map::new());
        assert_eq!(outcome.status, Status::Unknown);
        assert_eq!(outcome.facts["detail"], where_it_is);
        // The agent learns no name it may not list.
        assert!(!format!("{:?}", outcome.value).contains(".keepgate"));
        let outcome = refused(JailFault::Changed, String::new(), Map::new());
        assert_eq!(outcome.status, Status::Failed);
    }
}
