//! One call, from an agent's bytes to the answer that may leave. The order is in the types: what
//! each step needs, only the step before can make.

use super::refuse::Refusal;
use super::{Asked, Keeper, act};
use crate::audit::evidence::{Ledger, Released};
use crate::call::Call;
use crate::mode::Current;
use crate::policy::Decision;

/// Admits, judges, writes the intent, carries out, writes the outcome.
pub(super) fn run(keeper: &Keeper, asked: &Asked) -> Result<Released, Refusal> {
    let call = keeper.admit(asked)?;
    decide(keeper, &call).map_err(|refusal| refusal.of(&call))
}

fn decide(keeper: &Keeper, call: &Call) -> Result<Released, Refusal> {
    let ledger = Ledger::new(&keeper.log, &keeper.masker);
    // Held until the intent is durable: policy, mode and agents cannot change in between.
    let rules = keeper.rules();
    let mode = rules.mode(call)?;
    let ground = keeper.ground(call, mode.mode());
    let grant = match rules.engine().judge(call, &ground) {
        Decision::Permit(grant) => grant,
        Decision::Ask(pending) => return Err(Refusal::needs_person(&pending)),
        Decision::Forbid(reason) => return Err(Refusal::forbidden(reason)),
    };
    let plan = keeper.plan(call, &ground)?;
    let sight = keeper.look(call, &plan)?;
    match mode {
        Current::Dry(dry) => {
            let ticket = ledger.intent_dry(call, grant, dry, sight.recipe())?;
            drop(rules);
            let outcome = act::rehearse(keeper, &ticket, call, plan, &sight);
            ticket
                .close(ledger, outcome)
                .map_err(|error| Refusal::unrecorded(&error))
        }
        Current::Live(live) => {
            let undo = keeper.undo(sight)?;
            let before = undo.recipe().map(|recipe| recipe.before.clone());
            let ticket = ledger.intent_live(call, grant, live, undo)?;
            drop(rules);
            let outcome = act::carry_out(keeper, &ticket, call, plan, before.as_ref());
            ticket
                .close(ledger, outcome)
                .map_err(|error| Refusal::unrecorded(&error))
        }
    }
}
