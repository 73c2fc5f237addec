//! What may happen: built-in rules, and the operator's policy in Cedar, which can only tighten them.
//!
//! A call is judged by [`Engine::judge`]: first by the [built-in rules](rules), then by the policy,
//! asked with `context.unattended` true and, where that permits nothing, false. Permitted without a
//! person is [`Decision::Permit`], only with one [`Decision::Ask`], neither [`Decision::Forbid`].
//! [`Engine::explain`] shows the same evaluation.
#![forbid(unsafe_code)]

mod shape;
mod schema;
#[cfg(test)]
mod spike { #[test] fn p() { let m = super::schema::Model::of(&crate::catalog::Catalog::native().unwrap()).unwrap(); println!("{}", m.text); } }
