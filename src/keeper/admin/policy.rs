//! Putting a policy in force. A policy that does not load changes nothing.

use serde_json::{Value, json};

use crate::error::Result;
use crate::keeper::Keeper;
use crate::keeper::start::{apply, sha256};
use crate::policy::{Engine, Warning};

impl Keeper {
    pub(super) fn policy_apply(&self, text: &str, file: &str) -> Result<Value> {
        let engine = Engine::load(text, file, &self.catalog)?;
        let digest = sha256(text);
        let warnings = self.unknown(&engine);
        let seq = self.exclusively(|in_force| {
            if sha256(in_force.text()) == digest {
                return Ok(None);
            }
            let seq = apply(&self.log, &self.setup.state, &engine, file)?;
            *in_force = engine;
            Ok(Some(seq))
        })?;
        Ok(json!({
            "digest": digest,
            "seq": seq,
            "changed": seq.is_some(),
            "warnings": warnings,
        }))
    }

    pub(super) fn policy_check(&self, text: &str, file: &str) -> Result<Value> {
        let engine = Engine::load(text, file, &self.catalog)?;
        Ok(json!({
            "digest": sha256(text),
            "rules": engine.rules(),
            "warnings": self.unknown(&engine),
        }))
    }

    /// What the policy names and this plane does not have.
    fn unknown(&self, engine: &Engine) -> Vec<Warning> {
        let state = self.state();
        let agents: Vec<&str> = state.agents.keys().map(String::as_str).collect();
        let roots: Vec<&str> = self.setup.roots.keys().map(String::as_str).collect();
        engine.unknown(Some(&agents), Some(&roots))
    }

    pub(super) fn policy_show(&self) -> Value {
        let rules = self.rules();
        let engine = rules.engine();
        let state = self.state();
        let policy = state.policy.as_ref();
        json!({
            "digest": policy.map(|policy| &policy.digest),
            "file": policy.map(|policy| &policy.file),
            "applied": policy.map(|policy| policy.since),
            "text": engine.text(),
            "schema": engine.schema(),
        })
    }
}
