//! `keepgate jail explain`: what the jail of a call was refused, from the log.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

use super::told::{self, Told};
use crate::cli::app::App;
use crate::cli::exit::Exit;
use crate::cli::log::find;
use crate::error::{Error, Kind, Result};
use crate::wire::messages::{Denial, Hop};
use crate::wire::text::escaped;

/// What an outcome says of its jail; entries of older versions may say less.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Jail {
    limit: Option<String>,
    denials: Vec<Denial>,
}

pub(in crate::cli) fn run(app: &App, dir: Option<PathBuf>, seq: u64) -> Result<Exit> {
    let outcome = outcome(app, dir, seq)?;
    let refused = refused(&outcome);
    let seq = outcome.get("seq").and_then(Value::as_u64).unwrap_or(seq);
    let value = json!({"seq": seq, "call": outcome.pointer("/body/call"), "refused": refused});
    app.screen.answer(&value, |_| sentences(&refused))?;
    Ok(Exit::Ok)
}

/// The outcome of the call that entry `seq` is about.
fn outcome(app: &App, dir: Option<PathBuf>, seq: u64) -> Result<Value> {
    let entry = find::seq(app, dir.clone(), seq)?;
    let kind = text(&entry, "/kind");
    if kind == "call.outcome" {
        return Ok(entry);
    }
    if kind != "call.intent" {
        let what = format!(
            "entry {seq} is a `{}`, and no jail ran for it",
            escaped(&kind)
        );
        return Err(Error::of(Kind::Usage, what)
            .hint("`keepgate policy explain` explains a call that was refused before it ran"));
    }
    find::outcome(app, dir, &text(&entry, "/body/call"))?.ok_or_else(|| {
        Error::of(
            Kind::Usage,
            format!("the call of entry {seq} has no outcome yet"),
        )
        .hint("`keepgate log tail -f` shows it when it comes")
    })
}

fn text(value: &Value, pointer: &str) -> String {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// Each thing that was refused.
fn refused(outcome: &Value) -> Vec<Told> {
    let part = |name: &str| outcome.pointer(name).cloned().unwrap_or(Value::Null);
    let jail: Jail = serde_json::from_value(part("/body/jail")).unwrap_or_default();
    let hops: Vec<Hop> = serde_json::from_value(part("/body/hops")).unwrap_or_default();
    told::all(jail.limit.as_deref(), None, &jail.denials, &hops)
}

fn sentences(refused: &[Told]) -> String {
    match refused {
        [] => "nothing was refused in this call".into(),
        _ => refused
            .iter()
            .map(|told| format!("{}\n", told.say))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_explained_sentence_by_sentence() {
        let outcome = json!({"seq": 7, "kind": "call.outcome", "body": {
            "call": "x",
            "jail": {"code": null, "signal": 9, "limit": "wall", "wall_us": 1, "cpu_us": 1,
                "rss_kib": 1, "denials": [{"layer": "seccomp", "attempt": "ptrace()",
                "allow": null, "count": 2}]},
            "hops": [
                {"target": "GET https://a.example/", "address": null, "status": null,
                    "fault": "not listed", "bytes": 0},
                {"target": "GET https://b.example/", "address": "192.0.2.1:443", "status": 200,
                    "fault": null, "bytes": 5},
            ],
        }});
        let refused = refused(&outcome);
        assert_eq!(refused.len(), 3, "{refused:?}");
        assert_eq!(refused[1].count, 2);
        let said = sentences(&refused);
        for part in [
            "limit `wall`",
            "`ptrace()` 2 times",
            "reach `GET https://a.example/`",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains("b.example"), "{said}");
    }

    #[test]
    fn a_call_that_was_refused_nothing_says_so() {
        for body in [
            json!({}),
            json!({"jail": {"limit": null}}),
            json!({"hops": "egress died"}),
        ] {
            let refused = refused(&json!({"body": body}));
            assert_eq!(sentences(&refused), "nothing was refused in this call");
        }
    }
}
