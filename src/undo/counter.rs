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
