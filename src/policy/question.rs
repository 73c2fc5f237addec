//! A call as the question that Cedar is asked.

use cedar_policy::{Context, Entities, Entity, Request, RestrictedExpression};
use serde_json::{Map, Value};

use super::ground::Ground;
use super::rules::Subject;
use super::schema::{Action, Model};
use crate::call::Call;
use crate::call::declared::Declared;
use crate::call::http::Target;
use crate::error::{Context as _, Error, Result};

/// Characters of a text that an explanation shows.
const SHOWN_MAX: usize = 200;

/// Everything Cedar needs to answer for one call.
pub(super) struct Question<'a> {
    model: &'a Model,
    call: &'a Call,
    ground: &'a Ground<'a>,
    action: &'a Action,
    subject: &'a Subject,
    entities: Entities,
}

impl<'a> Question<'a> {
    /// The question about `call`.
    ///
    /// # Errors
    /// Fails where the model does not know the call's tool, or knows it with another pin.
    pub(super) fn new(
        model: &'a Model,
        call: &'a Call,
        ground: &'a Ground<'a>,
        subject: &'a Subject,
    ) -> Result<Self> {
        let action = model
            .action(call.tool().wire())
            .filter(|action| action.pin == *call.tool().digest());
        let action = action.ok_or_else(|| {
            Error::new("the policy was checked against another definition of this tool")
        })?;
        let what = || "describe the agent to the policy".to_owned();
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let plane = model.plane(ground.plane);
        let attributes = [
            ("name".to_owned(), text(ground.agent)),
            ("plane".to_owned(), text(ground.plane)),
        ];
        let agent = Entity::new(
            model.agent(ground.agent),
            attributes.into_iter().collect(),
            [plane.clone()].into_iter().collect(),
        )
        .context(what)?;
        let plane = Entity::new_no_attrs(plane, [].into_iter().collect());
        let entities = model
            .entities
            .clone()
            .add_entities([agent, plane], None)
            .context(what)?;
        Ok(Self {
            model,
            call,
            ground,
            action,
            subject,
            entities,
        })
    }

    /// The entities the request is about.
    pub(super) fn entities(&self) -> &Entities {
        &self.entities
    }

    /// The request, with or without a person.
    ///
    /// # Errors
    /// Fails where the call does not fit the schema that policies are validated against.
    pub(super) fn request(&self, unattended: bool) -> Result<Request> {
        let what = || "describe the call to the policy".to_owned();
        let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
        let input = self.action.fields.expression(self.call.arguments());
        let input = input.ok_or_else(|| Error::new(what()))?;
        let mut pairs = vec![
            ("input", input),
            ("mode", text(self.ground.mode.name())),
            ("unattended", RestrictedExpression::new_bool(unattended)),
        ];
        if let Some((root, path)) = self.subject.file() {
            pairs.extend([("root", text(root)), ("path", text(path))]);
        }
        if let Some(target) = &self.subject.target {
            pairs.extend([
                ("scheme", text(target.scheme().name())),
                ("host", text(target.host())),
                ("port", RestrictedExpression::new_long(target.port().into())),
                ("url_path", text(target.path())),
            ]);
        }
        if let Some(declared) = self.call.tool().declared() {
            let targets = declared.targets(self.call.arguments());
            let targets = targets.iter().map(|target| text(target));
            pairs.extend([
                (
                    "high_value",
                    RestrictedExpression::new_bool(self.high_value(declared)),
                ),
                ("targets", RestrictedExpression::new_set(targets)),
            ]);
        }
        let pairs = pairs
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        let context = Context::from_pairs(pairs).context(what)?;
        let principal = self.model.agent(self.ground.agent);
        let resource = self.model.plane(self.ground.plane);
        let action = self.action.uid.clone();
        Request::new(
            principal,
            action,
            resource,
            context,
            Some(&self.model.schema),
        )
        .context(what)
    }

    fn high_value(&self, declared: &Declared) -> bool {
        let rule = declared.high_value.as_ref();
        rule.is_some_and(|rule| rule.holds(self.call.arguments()).is_some())
    }

    /// What rules see of the call, for people; long texts are cut.
    pub(super) fn shown(&self) -> Value {
        let mut seen = Map::new();
        let input = self.action.fields.visible(self.call.arguments());
        seen.insert("input".into(), Value::Object(input));
        seen.insert("mode".into(), self.ground.mode.name().into());
        if let Some((root, path)) = self.subject.file() {
            seen.insert("root".into(), root.into());
            seen.insert("path".into(), path.into());
        }
        if let Some(target) = &self.subject.target {
            seen.extend(shown_target(target));
        }
        if let Some(declared) = self.call.tool().declared() {
            let targets = declared.targets(self.call.arguments());
            seen.insert("targets".into(), targets.into());
            seen.insert("high_value".into(), self.high_value(declared).into());
        }
        let mut seen = Value::Object(seen);
        cut(&mut seen);
        seen
    }
}

impl Subject {
    /// Root and path as rules see them; both empty for the list of roots.
    fn file(&self) -> Option<(&str, &str)> {
        match &self.path {
            Some(path) => Some((path.root(), path.rel())),
            None => self.all_roots.then_some(("", "")),
        }
    }
}

fn shown_target(target: &Target) -> [(String, Value); 4] {
    [
        ("scheme".into(), target.scheme().name().into()),
        ("host".into(), target.host().into()),
        ("port".into(), target.port().into()),
        ("url_path".into(), target.path().into()),
    ]
}

fn cut(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some((at, _)) = text.char_indices().nth(SHOWN_MAX) {
                text.truncate(at);
                text.push('…');
            }
        }
        Value::Array(items) => items.iter_mut().for_each(cut),
        Value::Object(members) => members.values_mut().for_each(cut),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
