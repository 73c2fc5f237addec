//! A question made up for each tool, which every rule has to answer when a policy is loaded: what
//! cannot be evaluated then would refuse each call later.

use cedar_policy::{
    AuthorizationError, Authorizer, Context, EvaluationError, PolicyId, Request,
    RestrictedExpression,
};

use super::depth::EVALUATION_STACK;
use super::schema::{Action, Model};
use super::source::Source;
use crate::error::{Context as _, Error, Result};

/// Evaluates every rule once for each tool, with half the stack a call has. Other errors than that
/// it is too deep come from the made-up values, and mean nothing.
///
/// # Errors
/// Names the first rule that cannot be evaluated.
pub(super) fn run(source: &Source, model: &Model, file: &str) -> Result<()> {
    let trial = || -> Result<Option<PolicyId>> {
        for action in model.actions() {
            let request = request(model, action)?;
            let response = Authorizer::new().is_authorized(&request, &source.set, &model.entities);
            let deep = response.diagnostics().errors().find_map(too_deep);
            if deep.is_some() {
                return Ok(deep.cloned());
            }
        }
        Ok(None)
    };
    let deep = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("policy".into())
            .stack_size(EVALUATION_STACK / 2);
        let thread = thread.spawn_scoped(scope, trial);
        let thread = thread.context(|| "start a thread to try a policy".into())?;
        thread
            .join()
            .unwrap_or_else(|_| Err(Error::new("trying the policy failed")))
    })?;
    match deep {
        None => Ok(()),
        Some(id) => Err(source.too_deep(&id, file)),
    }
}

fn too_deep(error: &AuthorizationError) -> Option<&PolicyId> {
    let AuthorizationError::PolicyEvaluationError(error) = error;
    matches!(error.inner(), EvaluationError::RecursionLimit(_)).then(|| error.policy_id())
}

fn request(model: &Model, action: &Action) -> Result<Request> {
    let what = || "make up a call to try the policy with".to_owned();
    let text = || RestrictedExpression::new_string("x".to_owned());
    let input = action.fields.example();
    let input = input.ok_or_else(|| Error::new(what()))?;
    let number = RestrictedExpression::new_long(1);
    let mut pairs = vec![
        ("input", input),
        ("unattended", RestrictedExpression::new_bool(false)),
        ("port", number),
        ("high_value", RestrictedExpression::new_bool(true)),
        ("targets", RestrictedExpression::new_set([text()])),
    ];
    let texts = ["mode", "root", "path", "scheme", "host", "url_path"];
    pairs.extend(texts.map(|name| (name, text())));
    let pairs = pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    let context = Context::from_pairs(pairs).context(what)?;
    // Not held against the schema: it has more than any one tool has.
    let (principal, resource) = (model.agent("x"), model.plane("x"));
    Request::new(principal, action.uid.clone(), resource, context, None).context(what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use crate::error::Kind;
    use crate::policy::depth::STACK;
    use crate::policy::source::Rule;

    /// Both policies as if nothing but the trial had looked at them.
    fn tried(condition: &str) -> Result<()> {
        let text = format!(
            "permit (principal, action, resource);\n\
             forbid (principal, action, resource) when {{ {condition} }};"
        );
        let rule = |line| Rule {
            id: format!("rule-{line}"),
            effect: "permit",
            line,
            reason: None,
            hint: None,
        };
        let try_it = || {
            let source = Source {
                set: text.parse().unwrap(),
                rules: vec![rule(1), rule(2)],
                names: Vec::new(),
            };
            let model = Model::of(&Catalog::native().unwrap()).unwrap();
            run(&source, &model, "t.cedar")
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK);
            let thread = thread.spawn_scoped(scope, try_it).unwrap();
            thread.join().unwrap()
        })
    }

    #[test]
    fn what_cannot_be_evaluated_is_named_and_made_up_values_mean_nothing() {
        tried("context.root == \"x\" && context.input.none == 1").unwrap();
        tried("ip(context.host).isLoopback()").unwrap();
        let error = tried(&format!("1{} == 0", "+1".repeat(999))).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.message().starts_with("t.cedar:2: "), "{error}");
    }
}
