//! Taking back by another tool of the same connector, as its manifest declares.
//!
//! ```text
//! before the intent   arguments of the call ─┐
//! after the answer    its structured result ─┼─▶ arguments of the undo ── schema, kinds ──▶ digest
//! from the manifest   constants             ─┘
//! ```
//!
//! The log holds no second copy of them: intent and outcome hold what they are made from, and the
//! digest says whether what is made later is what it was then. Where a secret was masked, or a
//! payload pruned, it is not, and nothing is undone.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::call::declared::Undo as Declared;
use crate::call::tool::Tool;
use crate::call::{Call, Caller, Unfit, admit, foresee};
use crate::wire::messages::Era;
use crate::wire::text::hex;

/// What an intent says of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    /// The connector.
    pub connector: String,
    /// Digest of what was approved of it: another one may mean something else by the same name.
    pub pin: String,
    /// What its server calls the tool that takes the call back.
    pub tool: String,
    /// What the server is spoken to in: the process that did it answers.
    pub era: Era,
    /// Where each argument comes from: `arguments:/path`, `result:/id`, or `value`.
    pub arguments: BTreeMap<String, String>,
    /// Digest of the undo's call, hexadecimal, where all of its arguments are known before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// A way to take calls of one tool back: what is declared, and the tool it names.
#[derive(Debug, Clone, Copy)]
pub struct Way<'a> {
    /// The connector.
    pub connector: &'a str,
    /// Digest of what was approved of it.
    pub pin: &'a str,
    /// What is declared.
    pub declared: &'a Declared,
    /// The tool that it names.
    pub tool: &'a Arc<Tool>,
}

impl Way<'_> {
    /// The undo of `call` as a call of its own, by `caller`; `result` is the structured part of the
    /// call's result.
    ///
    /// # Errors
    /// Says what is missing, or does not fit the tool that takes back, in a sentence that holds no
    /// value.
    pub fn call(
        &self,
        given: &Map<String, Value>,
        result: Option<&Value>,
        caller: Caller,
    ) -> Result<Call, String> {
        if result.is_none() && !self.declared.pending().is_empty() {
            return Err("its result has no structured part".into());
        }
        let arguments = self.declared.arguments(given, result)?;
        let raw = serde_json::to_vec(&arguments)
            .map_err(|_| "its arguments cannot be written".to_owned())?;
        admit(&raw, self.tool, caller).map_err(|unfit| self.unfit(&unfit))
    }

    fn unfit(&self, unfit: &Unfit) -> String {
        let of = unfit.argument.as_deref().unwrap_or("arguments");
        format!("`{of}` of `{}`: {}", self.declared.tool, unfit.say)
    }
}

/// Evidence that a call can be taken back by another tool, as far as that can be known before.
#[derive(Debug)]
pub struct Countered {
    recipe: Counter,
}

impl Countered {
    /// Checks the undo of `call` with what is known of it: all but what its result gives.
    ///
    /// # Errors
    /// As [`Way::call`].
    pub fn of(way: &Way<'_>, call: &Call, era: Era) -> Result<Self, String> {
        let pending = way.declared.pending();
        let digest = match pending.is_empty() {
            true => {
                let undo = way.call(call.arguments(), None, call.caller())?;
                Some(hex(undo.digest()))
            }
            false => {
                let known = way.declared.arguments(call.arguments(), None)?;
                foresee(way.tool, &known, &pending).map_err(|unfit| way.unfit(&unfit))?;
                None
            }
        };
        let origins = way.declared.arguments.iter();
        Ok(Self {
            recipe: Counter {
                connector: way.connector.into(),
                pin: way.pin.into(),
                tool: way.declared.tool.clone(),
                era,
                arguments: origins
                    .map(|(name, origin)| (name.clone(), origin.shown()))
                    .collect(),
                digest,
            },
        })
    }

    /// What the intent says.
    pub fn recipe(&self) -> &Counter {
        &self.recipe
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use serde_json::value::to_raw_value;

    use super::*;
    use crate::call::Listed;
    use crate::call::declared::{Declared as Whole, Origin, Parameter, ValueKind};
    use crate::call::id::Id;
    use crate::time::Timestamp;

    fn tool(name: &str, properties: &Value, required: &Value, declared: &Whole) -> Arc<Tool> {
        let schema = json!({"type": "object", "properties": properties, "required": required,
                            "additionalProperties": false});
        let raw = to_raw_value(&json!({"name": name, "inputSchema": schema})).unwrap();
        let listed = Listed {
            connector: "x",
            manifest: "",
            raw: &raw,
            declared,
            prefix: true,
        };
        Arc::new(Tool::listed(&listed).unwrap())
    }

    fn caller() -> Caller {
        let id = Id::random().unwrap();
        Caller {
            agent: "a".into(),
            run: id,
            call: id,
            received: Timestamp::from_micros(0),
        }
    }

    /// The tool that takes back: a number and an address.
    fn back() -> Arc<Tool> {
        let mut declared = Whole::default();
        let kind = Parameter {
            kind: Some(ValueKind::Email),
            ..Parameter::default()
        };
        declared.parameters.insert("of".into(), kind);
        let properties = json!({"id": {"type": "integer"}, "of": {"type": "string"}});
        tool("back", &properties, &json!(["id"]), &declared)
    }

    fn call(arguments: &Value) -> Call {
        let properties = json!({"id": {}, "of": {}});
        let tool = tool("do", &properties, &json!([]), &Whole::default());
        admit(arguments.to_string().as_bytes(), &tool, caller()).unwrap()
    }

    fn declared(id: Origin) -> Declared {
        let of = Origin::Arguments("/of".into());
        Declared {
            tool: "back".into(),
            arguments: [("id".to_owned(), id), ("of".to_owned(), of)].into(),
        }
    }

    #[test]
    fn what_is_known_before_is_checked_before() {
        let back = back();
        let of = |id: Origin, arguments: Value| {
            let declared = declared(id);
            let way = Way {
                connector: "x",
                pin: "00",
                declared: &declared,
                tool: &back,
            };
            Countered::of(&way, &call(&arguments), Era::Session)
                .map(|countered| countered.recipe().digest.is_some())
        };
        let result = || Origin::Result("/id".into());
        let argument = || Origin::Arguments("/id".into());
        assert_eq!(of(result(), json!({"of": "a@b.example"})), Ok(false));
        assert_eq!(of(result(), json!({})), Ok(false));
        assert_eq!(of(argument(), json!({"id": 7})), Ok(true));
        assert_eq!(of(Origin::Value(json!(7)), json!({})), Ok(true));
        for (id, arguments, why) in [
            (argument(), json!({}), "`id` of `back`: it is missing"),
            (
                argument(),
                json!({"id": "7"}),
                "`id` of `back`: expected integer",
            ),
            (
                result(),
                json!({"of": 7}),
                "`of` of `back`: expected string",
            ),
            (
                result(),
                json!({"of": "Ann <a@b.example>"}),
                "`of` of `back`: expected one e-mail",
            ),
        ] {
            let said = of(id, arguments).unwrap_err();
            assert!(said.starts_with(why), "{said}");
        }
    }

    #[test]
    fn the_same_call_and_result_make_the_same_undo_and_others_another() {
        let back = back();
        let declared = declared(Origin::Result("/made/id".into()));
        let way = Way {
            connector: "x",
            pin: "00",
            declared: &declared,
            tool: &back,
        };
        let given = json!({"of": "a@b.example"});
        let made = |given: &Value, result: Option<Value>| {
            let call = way.call(given.as_object().unwrap(), result.as_ref(), caller());
            call.map(|call| (call.arguments().clone(), *call.digest()))
        };
        let seven = || Some(json!({"made": {"id": 7}}));
        let (arguments, digest) = made(&given, seven()).unwrap();
        assert_eq!(
            Value::Object(arguments),
            json!({"id": 7, "of": "a@b.example"})
        );
        assert_eq!(made(&given, seven()).unwrap().1, digest);
        // As where a secret was masked in what the log holds.
        let masked = json!({"of": "b@b.example"});
        assert_ne!(made(&masked, seven()).unwrap().1, digest);
        for (result, why) in [
            (None, "its result has no structured part"),
            (Some(json!({"id": 7})), "its result has no `/made/id`"),
            (
                Some(json!({"made": {"id": "7"}})),
                "`id` of `back`: expected integer",
            ),
        ] {
            let said = made(&given, result).unwrap_err();
            assert!(said.starts_with(why), "{said}");
        }
    }

    #[test]
    fn a_recipe_is_read_back_and_what_older_versions_wrote_is_one_of_a_file() {
        let recipe = Counter {
            connector: "x".into(),
            pin: "00".into(),
            tool: "back".into(),
            era: Era::Stateless,
            arguments: [("id".to_owned(), "result:/id".to_owned())].into(),
            digest: None,
        };
        let value = serde_json::to_value(super::super::Recipe::Tool(recipe.clone())).unwrap();
        let read: super::super::Recipe = serde_json::from_value(value).unwrap();
        assert_eq!(read, super::super::Recipe::Tool(recipe));
        let file = json!({
            "file": {"root": "/r", "path": "a", "open": "replace", "uid": null, "gid": null},
            "before": {"is": "absent"},
            "after": {"is": "present", "len": 1, "sha256": "00", "mode": 416},
        });
        let read: super::super::Recipe = serde_json::from_value(file).unwrap();
        assert!(matches!(read, super::super::Recipe::File(_)), "{read:?}");
    }
}
