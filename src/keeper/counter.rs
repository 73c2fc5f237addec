//! How calls of connectors' tools are taken back: known as far as can be before the intent, and
//! completed by what the server gives.

use serde::Deserialize;
use serde_json::{Value, json};

use super::Keeper;
use crate::audit::evidence::{Given, Outcome, Status};
use crate::call::Call;
use crate::call::tool::Tool;
use crate::undo::{Countered, Recipe, Way};
use crate::wire::messages::Era;
use crate::wire::text::hex;

impl Keeper {
    /// The way in which calls of `tool` are taken back, where its manifest declares one.
    pub(super) fn way<'a>(&'a self, tool: &'a Tool) -> Option<Way<'a>> {
        let upstream = tool.upstream()?;
        let declared = tool.declared()?.undo.as_ref()?;
        let connector = self.connectors.get(&upstream.connector)?;
        let name = format!("{}.{}", upstream.connector, declared.tool);
        Some(Way {
            connector: &upstream.connector,
            pin: &connector.digest,
            declared,
            tool: self.catalog.tool(&name)?,
        })
    }

    /// How `call` is taken back, as far as that is known before.
    ///
    /// # Errors
    /// Says why it cannot be, for the operator.
    pub(super) fn countered(&self, call: &Call, era: Era) -> Result<Countered, String> {
        let way = self.way(call.tool());
        let way =
            way.ok_or("no tool is declared that takes it back, or none that can be called")?;
        Countered::of(&way, call, era)
    }

    /// Adds to the outcome of a call what its recipe lacked before, or that it lacks it still.
    pub(super) fn complete(&self, call: &Call, recipe: &Recipe, mut outcome: Outcome) -> Outcome {
        let (Recipe::Tool(counter), Some(way)) = (recipe, self.way(call.tool())) else {
            return outcome;
        };
        if !matches!(outcome.status, Status::Done | Status::Unknown) {
            return outcome;
        }
        let made = match (&counter.digest, &outcome.value) {
            (_, Given::Passed(raw)) if Said::of(raw).asks => {
                Err("its server asks something first, and has done nothing yet".into())
            }
            (Some(digest), _) => Ok(digest.clone()),
            (None, Given::Passed(raw)) => way
                .call(call.arguments(), structured(raw).as_ref(), call.caller())
                .map(|undo| hex(undo.digest())),
            (None, Given::Own(_) | Given::Fault(_)) => Err("there is no result of it".into()),
        };
        let undo = match made {
            Ok(digest) => json!({"digest": digest}),
            Err(why) => json!({"lacks": why}),
        };
        outcome.facts.insert("undo".into(), undo);
        outcome
    }
}

/// What a server says of its own result.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// It is an error of the tool.
    pub(super) is_error: bool,
    /// It is a question, to be answered with the same call again (MCP 2026-07-28).
    pub(super) asks: bool,
}

impl Said {
    /// Reads it; what cannot be read says nothing.
    pub(super) fn of(raw: &[u8]) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Members {
            #[serde(default)]
            is_error: bool,
            result_type: Option<String>,
        }
        let said: Result<Members, _> = serde_json::from_slice(raw);
        said.map_or_else(
            |_| Self::default(),
            |said| Self {
                is_error: said.is_error,
                asks: said.result_type.is_some_and(|kind| kind != "complete"),
            },
        )
    }
}

/// The structured part of a server's result.
pub(super) fn structured(raw: &[u8]) -> Option<Value> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Said {
        structured_content: Option<Value>,
    }
    let said: Said = serde_json::from_slice(raw).ok()?;
    said.structured_content
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_result_says_what_it_is() {
        let said = |raw: &str| {
            let Said { is_error, asks } = Said::of(raw.as_bytes());
            (is_error, asks)
        };
        assert_eq!(said(r#"{"content":[]}"#), (false, false));
        assert_eq!(
            said(r#"{"isError":true,"resultType":"complete"}"#),
            (true, false)
        );
        assert_eq!(said(r#"{"resultType":"input_required"}"#), (false, true));
        assert_eq!(said("[]"), (false, false));
        assert_eq!(
            structured(br#"{"structuredContent":[7]}"#),
            Some(json!([7]))
        );
        assert_eq!(structured(br#"{"content":[]}"#), None);
    }
}
