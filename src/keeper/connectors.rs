//! The connectors of this plane: what was approved of each, who may use it, and whether it is
//! quarantined.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::mirrored;
use super::servers;
use super::skills::Skill;
use super::state::{self, Quarantine};
use super::upstreams::plan::Server;
use super::{Connected, Keeper, Trouble};
use crate::audit::Draft;
use crate::call::Listed;
use crate::call::rates::Rates;
use crate::call::tool::{Method, Tool, Upstream};
use crate::catalog::Catalog;
use crate::catalog::connector::means::carried;
use crate::catalog::connector::{Launch, Pin};
use crate::error::{Context, Result};
use crate::wire::messages::{SelfTest, Unusable};

/// Changes of a quarantined connector that its entry tells at most.
const CHANGES_MAX: usize = 256;

/// What is said where the jailer knows no better.
const LOOK_AGAIN: &str = "`keepgate connector vet` it to see it fail; mend that, then `systemctl reload \
    keepgate` has it looked at again";

/// All connectors that the configuration names.
#[derive(Debug)]
pub(super) struct Connectors(BTreeMap<String, Connector>);

/// One of them.
#[derive(Debug)]
pub(super) struct Connector {
    said: Connected,
    /// What was approved, where something was.
    pub(super) pin: Option<Arc<Pin>>,
    /// Its server, where one can be asked.
    pub(super) server: Option<Arc<Server>>,
    /// The skill, where it is one.
    pub(super) skill: Option<Arc<Skill>>,
    /// [`Pin::digest`]; empty where nothing was approved.
    pub(super) digest: String,
}

impl Connectors {
    pub(super) fn new(connected: Vec<Connected>) -> Self {
        let places = Arc::default();
        let one = |mut said: Connected| {
            let pin = said.pin.take().map(Arc::new);
            let digest = pin.as_ref().map(|pin| pin.digest()).unwrap_or_default();
            // The manifest was approved with its own limit; a plane can only tighten it.
            let approved = pin
                .as_ref()
                .map(|pin| pin.connector.limits.calls_per_minute);
            let most = approved.map_or(u64::MAX, u64::from);
            said.calls_per_minute = said.calls_per_minute.min(most);
            let name = said.name.clone();
            let server = pin
                .as_ref()
                .and_then(|pin| servers::of(&name, pin, &digest));
            let skill = pin
                .as_ref()
                .and_then(|pin| Skill::of(&name, pin, &digest, &places));
            let connector = Connector {
                server: server.map(Arc::new),
                skill: skill.map(Arc::new),
                said,
                pin,
                digest,
            };
            (name, connector)
        };
        Self(connected.into_iter().map(one).collect())
    }

    /// Their tools. What nobody can call is left out: a tool that cannot be shown to a model, and
    /// those of a connector that nothing answers for. One with a name that is taken is of no use from
    /// now on.
    pub(super) fn tools(&mut self, own: &Catalog) -> Vec<Tool> {
        let names = |tool: &Tool| [tool.name().to_owned(), tool.wire().to_owned()];
        let mut taken: BTreeSet<String> = own.tools().flat_map(|tool| names(tool)).collect();
        let mut all = Vec::new();
        for (name, connector) in &mut self.0 {
            let (mut tools, mut more) = (Vec::new(), BTreeSet::new());
            for tool in connector.tools(name) {
                // A tool may be called the same inside and on the wire.
                let both = BTreeSet::from(names(&tool));
                if both
                    .iter()
                    .any(|one| taken.contains(one) || more.contains(one))
                {
                    let why = format!("another tool is called `{}` already", tool.wire());
                    let hint = "take its `prefix = false` out, or give the connector another name";
                    connector.said.trouble.get_or_insert(Trouble {
                        why,
                        hint: hint.into(),
                        changes: Vec::new(),
                    });
                    (tools, more) = (Vec::new(), BTreeSet::new());
                    break;
                }
                more.extend(both);
                tools.push(tool);
            }
            taken.append(&mut more);
            all.append(&mut tools);
        }
        all
    }

    pub(super) fn get(&self, name: &str) -> Option<&Connector> {
        self.0.get(name)
    }

    /// All, by name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &Connector)> {
        self.0.iter()
    }
}

/// What a connector has beside tools.
fn beside(pin: &Pin) -> impl Iterator<Item = Method> {
    let (prompts, resources) = (!pin.prompts.is_empty(), pin.has_resources());
    Method::BESIDE
        .into_iter()
        .filter(move |method| match method {
            Method::Read => resources,
            Method::Prompt => prompts,
            Method::Complete => prompts || resources,
            Method::Call => false,
        })
}

impl Connector {
    fn tools(&self, name: &str) -> Vec<Tool> {
        let mut tools = Vec::new();
        let answers = self.server.is_some() || self.skill.is_some();
        let (Some(pin), true) = (&self.pin, answers) else {
            return tools;
        };
        for method in beside(pin) {
            match Tool::beside(name, &pin.manifest_sha256, method) {
                Ok(tool) => tools.push(tool),
                Err(error) => tracing::error!(%error, "a connector has less than it offers"),
            }
        }
        for (tool, raw) in &pin.tools {
            let (declared, lacks) = carried(&pin.connector, &pin.tools, tool);
            for lack in lacks {
                tracing::warn!(connector = name, tool, lack.say, "not acted on");
            }
            let listed = Listed {
                connector: name,
                manifest: &pin.manifest_sha256,
                raw,
                declared: &declared,
                prefix: self.said.prefix,
            };
            // MCP 2026-07-28, "Schema Extension": such a tool is not shown, others are.
            let marked = |tool: Tool| match &pin.connector.launch {
                Launch::Remote { .. } => mirrored::marks(tool.input_schema()).map(|()| tool),
                Launch::Stdio { .. } | Launch::Skill { .. } => Ok(tool),
            };
            match Tool::listed(&listed).and_then(marked) {
                Ok(tool) => tools.push(tool),
                Err(error) => tracing::warn!(connector = name, %error, "a tool is not shown"),
            }
        }
        tools
    }

    /// Names of its tools and prompts on the wire begin with its own.
    pub(super) fn prefixes(&self) -> bool {
        self.said.prefix
    }

    /// Whether `agent` may know of it.
    pub(super) fn serves(&self, agent: &str) -> bool {
        let agents = self.said.agents.as_ref();
        self.pin.is_some() && agents.is_none_or(|agents| agents.contains(agent))
    }

    /// Calls a minute of each agent: what the manifest was approved with, or less.
    pub(super) fn calls_per_minute(&self) -> u64 {
        self.said.calls_per_minute
    }

    /// How often each agent may call its single tools, by their names here; a plane only tightens what
    /// was approved.
    pub(super) fn rates(&self, name: &str) -> Vec<(String, Rates)> {
        let said = &self.said.limits;
        let one = |(pin, tool): (&Arc<Pin>, &String)| {
            let approved = pin.connector.declared(tool).rates;
            let rates = approved.tightened(said.get(tool).copied().unwrap_or_default());
            (!rates.is_empty()).then(|| (format!("{name}.{tool}"), rates))
        };
        let pin = self.pin.as_ref();
        let tools = pin
            .into_iter()
            .flat_map(|pin| pin.tools.keys().map(move |tool| (pin, tool)));
        tools.filter_map(one).collect()
    }

    /// Why it cannot be used since the start.
    pub(super) fn trouble(&self) -> Option<&Trouble> {
        self.said.trouble.as_ref()
    }
}

impl Keeper {
    /// Whether a connector can be used by `agent` now.
    pub(super) fn connected(&self, name: &str, agent: &str) -> bool {
        let serves =
            |connector: &Connector| connector.trouble().is_none() && connector.serves(agent);
        self.connectors.get(name).is_some_and(serves)
            && self.quarantine_of(name).is_none()
            && self.unusable_of(name).is_none()
    }

    /// What the log says of it: what an earlier keeper knew holds until the jailer has looked again.
    fn unusable_of(&self, name: &str) -> Option<state::Unusable> {
        let state = self.state();
        state.connectors.get(name)?.unusable.clone()
    }

    /// Why a connector cannot be asked now, where it cannot.
    pub(super) fn out_of_use(&self, name: &str) -> Option<String> {
        let trouble = self.connectors.get(name).and_then(Connector::trouble);
        let quarantine = self.quarantine_of(name).map(|quarantine| quarantine.why);
        let trouble = trouble.map(|trouble| trouble.why.clone());
        let unusable = || self.unusable_of(name).map(|unusable| unusable.why);
        quarantine.or(trouble).or_else(unusable)
    }

    fn quarantine_of(&self, name: &str) -> Option<Quarantine> {
        let state = self.state();
        state.connectors.get(name)?.quarantine.clone()
    }

    /// Whether the configuration lets `agent` see this tool of a connector. Of what its server has beside
    /// tools it says nothing.
    pub(super) fn shows(&self, of: &Upstream, agent: &str) -> bool {
        let lists = |tools: &BTreeSet<String>| tools.contains(&of.tool);
        let all = self.connectors.get(&of.connector);
        let all = all.and_then(|connector| connector.said.tools.as_ref());
        let own = self.setup.agents.get(agent);
        let own = own.and_then(|bounds| bounds.connectors.get(&of.connector));
        of.method != Method::Call || all.is_none_or(lists) && own.is_none_or(lists)
    }

    /// Records what is approved and was not known, and what is not as it was approved.
    pub(super) fn record_connectors(&self) -> Result<()> {
        let known = self.state().connectors.clone();
        for (name, connector) in self.connectors.all() {
            let Some(pin) = &connector.pin else { continue };
            let approved = &pin.approved;
            let same = known.get(name).is_some_and(|known| {
                known.pin == connector.digest && known.approved == approved.at.to_string()
            });
            if !same {
                let mut body = named(name, &connector.digest);
                body.insert("version".into(), json!(pin.connector.version));
                body.insert("by".into(), approved.by.as_str().into());
                body.insert("approved".into(), approved.at.to_string().into());
                body.insert("report".into(), approved.report_sha256.as_str().into());
                body.insert("accepted".into(), json!(approved.accepted));
                body.insert("tools".into(), json!(pin.tools.len()));
                body.insert("set".into(), pin.set_sha256.as_str().into());
                self.log.append(Draft::new("connector.pinned", body))?;
            }
            let Some(trouble) = connector.trouble() else {
                continue;
            };
            if trouble.changes.is_empty() {
                self.record_unusable(name, &trouble.why, &trouble.hint)?;
            } else if !same || self.quarantine_of(name).is_none() {
                self.quarantine(name, &trouble.why, &trouble.changes)?;
            }
        }
        for name in known
            .keys()
            .filter(|name| self.connectors.get(name).is_none())
        {
            let body = named(name, "");
            self.log.append(Draft::new("connector.removed", body))?;
        }
        Ok(())
    }

    /// Takes a connector out of use until it is approved anew. Once only: what else is found later
    /// changes nothing.
    ///
    /// # Errors
    /// Fails where the log takes no entries; then nothing else runs either.
    pub(super) fn quarantine(&self, name: &str, why: &str, changes: &[Value]) -> Result<()> {
        if self.quarantine_of(name).is_some() {
            return Ok(());
        }
        tracing::error!(connector = name, why, "a connector is quarantined");
        let digest = self.connectors.get(name).map_or("", |c| &c.digest);
        self.upstreams.withdraw(digest);
        if let Some(skill) = self.connectors.get(name).and_then(|c| c.skill.as_ref()) {
            skill.end_scripts(self.hands.links());
        }
        let mut body = named(name, digest);
        body.insert("why".into(), why.into());
        body.insert("changes".into(), changes.len().into());
        let told: Vec<&Value> = changes.iter().take(CHANGES_MAX).collect();
        let told = serde_json::to_vec(&told).context(|| "tell what changed".into())?;
        let draft = Draft::new("connector.quarantined", body);
        self.log
            .append(draft.payload("changes", self.masker.mask(&told)))?;
        self.tell_lists();
        Ok(())
    }

    /// Takes over which connectors the jailer can use, and records what is another answer than
    /// before.
    pub(super) fn jailer_tested(&self, report: &SelfTest) {
        let mut changed = false;
        for (name, connector) in self.connectors.all() {
            let Some(pin) = connector
                .pin
                .as_ref()
                .filter(|_| connector.trouble().is_none())
            else {
                continue;
            };
            let jail = pin.connector.launch.jail();
            let told = report.unusable.iter();
            let told = jail.and_then(|jail| told.clone().find(|one| one.manifest == jail.name));
            let recorded = match told {
                Some(Unusable { why, hint, .. }) => {
                    let why = format!("connector `{name}` cannot be jailed: {why}");
                    let hint = hint.as_deref().unwrap_or(LOOK_AGAIN);
                    self.record_unusable(name, &why, hint)
                }
                None => self.record_usable(name),
            };
            match recorded {
                Ok(another) => changed |= another,
                Err(error) => tracing::error!(connector = name, %error, "not recorded"),
            }
        }
        if changed {
            self.tell_lists();
        }
    }

    /// Records why a connector cannot be used, where that is not known yet.
    fn record_unusable(&self, name: &str, why: &str, hint: &str) -> Result<bool> {
        let known = self.unusable_of(name);
        if known.is_some_and(|known| known.why == why && known.hint == hint) {
            return Ok(false);
        }
        tracing::error!(connector = name, why, hint, "a connector cannot be used");
        let mut body = named(name, self.connectors.get(name).map_or("", |c| &c.digest));
        body.insert("why".into(), why.into());
        body.insert("hint".into(), hint.into());
        self.log.append(Draft::new("connector.unusable", body))?;
        Ok(true)
    }

    /// Records that a connector can be used again, where it could not be.
    fn record_usable(&self, name: &str) -> Result<bool> {
        if self.unusable_of(name).is_none() {
            return Ok(false);
        }
        tracing::info!(connector = name, "a connector can be used again");
        let body = named(name, self.connectors.get(name).map_or("", |c| &c.digest));
        self.log.append(Draft::new("connector.usable", body))?;
        Ok(true)
    }

    /// The connectors for `status`.
    pub(super) fn connectors_status(&self) -> Value {
        let one = |(name, connector): (&String, &Connector)| {
            let quarantine = self.quarantine_of(name);
            let unusable = self.unusable_of(name);
            let state = match (&quarantine, connector.trouble(), &unusable) {
                (Some(_), ..) => "quarantined",
                (None, None, None) => "approved",
                (None, ..) => "unusable",
            };
            let why = quarantine.as_ref().map(|q| q.why.as_str());
            let why = why.or(connector.trouble().map(|t| t.why.as_str()));
            let hint = connector.trouble().map(|t| t.hint.as_str());
            let since = quarantine.as_ref().map(|q| (q.since, q.seq));
            let (since, seq) = since
                .or(unusable.as_ref().map(|u| (u.since, u.seq)))
                .unzip();
            let pin = connector.pin.as_ref();
            let value = json!({
                "state": state,
                "why": why.or(unusable.as_ref().map(|u| u.why.as_str())),
                "hint": hint.or(unusable.as_ref().map(|u| u.hint.as_str())),
                "since": since,
                "seq": seq,
                "version": pin.and_then(|pin| pin.connector.version.as_deref()),
                "pin": connector.digest,
                "tools": pin.map_or(0, |pin| pin.tools.len()),
                "agents": connector.said.agents,
            });
            (name.clone(), value)
        };
        Value::Object(self.connectors.all().map(one).collect())
    }
}

fn named(name: &str, digest: &str) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("connector".into(), name.into());
    body.insert("pin".into(), digest.into());
    body
}
