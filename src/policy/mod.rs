//! What may happen: built-in rules, and the operator's policy in Cedar, which can only tighten them.
//!
//! A call is judged by [`Engine::judge`]: first by the built-in rules, then by the policy, asked
//! with `context.unattended` true and, where that permits nothing, false. Permitted without a
//! person is [`Decision::Permit`], only with one [`Decision::Ask`], neither [`Decision::Forbid`].
//! [`Engine::explain`] shows the same evaluation.
//!
//! Rules see a call as `principal` (`Agent::"NAME"`, in `Plane::"NAME"`), `action`
//! (`Action::"file__read"`, in a group per effect class such as `Action::"read"`), `resource` (the
//! plane) and `context`: the arguments as `context.input.NAME`, and beside them what Keepgate took
//! from them itself (`root` and `path`; `scheme`, `host`, `port` and `url_path`), `mode` and
//! `unattended`. Of a connector's tool they see `targets`, the texts of all arguments that its
//! manifest does not declare to be anything else, and `high_value`. Where a rule cannot be evaluated, the call is refused.
#![forbid(unsafe_code)]

mod decision;
mod depth;
mod engine;
mod evaluate;
mod explain;
mod ground;
mod names;
mod question;
mod rules;
mod schema;
mod shape;
mod source;
mod trial;

pub use decision::{CLASSES, Decision, Grant, Pending, Reason};
pub use depth::EVALUATION_STACK;
pub use engine::Engine;
pub use explain::{Explanation, Matched};
pub use ground::{Ground, RootGround};
pub use names::{Kind as NameKind, Warning};
pub use rules::{Said, Verdict, changes};

/// The policy of a fresh appliance, with comments that teach how to write one.
pub fn default_policy() -> &'static str {
    include_str!("default.cedar")
}

/// The policy of the demonstration: it reads `mail`, writes to `out`, and sends nothing.
pub fn demo_policy() -> &'static str {
    include_str!("demo.cedar")
}

#[cfg(test)]
mod tests;
