//! One call, from an agent's bytes to the answer that may leave. The order is in the types: what
//! each step needs, only the step before can make.

use std::sync::Arc;

use super::again::{Kept, Turn};
use super::refuse::Refusal;
use super::{Asked, Keeper, act};
use crate::audit::evidence::{Ledger, Released};
use crate::call::Call;
use crate::mode::Current;
use crate::policy::Decision;

/// Admits, judges, writes the intent, carries out, writes the outcome; once, if the call comes
/// again because its answer was lost.
pub(super) fn run(keeper: &Keeper, asked: &Asked) -> Result<Arc<Released>, Refusal> {
    let call = keeper.admit(asked)?;
    match keeper.turn(&call, asked) {
        Turn::New(turn) => {
            let came_to = decide(keeper, &call, asked, turn.key()).map(Arc::new);
            match &came_to {
                Ok(released) => keeper.came_to(turn, Kept::Outcome(Arc::clone(released))),
                Err(refusal) if refusal.is_unknown() => keeper.came_to(turn, Kept::Unknown),
                // Nothing has happened: the next one is judged anew.
                Err(_) => drop(turn),
            }
            came_to
        }
        Turn::Again(first, Kept::Outcome(released)) => {
            keeper.record_again(&call, first).map(|()| released)
        }
        Turn::Again(first, Kept::Gone) => Err(Refusal::done_before(first)),
        Turn::Again(first, Kept::Unknown) => Err(Refusal::unknown_before(first)),
        Turn::Busy => Err(Refusal::busy()),
    }
    .map_err(|refusal| refusal.of(&call))
}

/// `again` names the calls that are the same as this one.
fn decide(
    keeper: &Keeper,
    call: &Call,
    asked: &Asked,
    again: Option<String>,
) -> Result<Released, Refusal> {
    let lacks = keeper.lacks();
    let ledger = Ledger::new(&keeper.log, &keeper.masker).degraded(&lacks);
    // Held until the intent is durable: policy, mode and agents cannot change in between.
    let rules = keeper.rules();
    let mode = rules.mode(call)?;
    let ground = keeper.ground(call, mode.mode());
    let grant = match rules.engine().judge(call, &ground) {
        Decision::Permit(grant) => grant,
        Decision::Ask(pending) => return Err(Refusal::needs_person(&pending)),
        Decision::Forbid(reason) => return Err(Refusal::forbidden(reason)),
    };
    let plan = keeper.plan(call, asked, &ground)?;
    let sight = keeper.look(call, asked, &plan)?;
    match mode {
        Current::Dry(dry) => {
            let ticket = ledger.intent_dry(call, grant, dry, sight.recipe().as_ref())?;
            drop(rules);
            let outcome = act::rehearse(keeper, &ticket, call, asked, plan, &sight);
            ticket
                .close(ledger, outcome)
                .map_err(|error| Refusal::unrecorded(&error))
        }
        Current::Live(live) => {
            let undo = keeper.undo(sight)?;
            let recipe = undo.recipe();
            let ticket = ledger.intent_live(call, grant, live, undo, again)?;
            drop(rules);
            let outcome = act::carry_out(keeper, &ticket, call, asked, plan, recipe.as_ref());
            ticket
                .close(ledger, outcome)
                .map_err(|error| Refusal::unrecorded(&error))
        }
    }
}
