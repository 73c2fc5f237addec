//! What connectors have beside tools: resources, prompts, completions, log messages. Lists come from
//! what was approved; what is read goes through the gate like any call.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::asks::Told;
use super::connectors::Connector;
use super::questions::Question;
use super::upstreams::{Answer, Failure};
use super::{Asked, Keeper, answer};
use crate::call::id::Id;
use crate::call::tool::Method;
use crate::time::Clock;
use crate::wire::jsonrpc::Members;
use crate::wire::text::Escaped;

/// JSON-RPC: invalid parameters.
const INVALID_PARAMS: i64 = -32602;
/// MCP: there is no such resource.
const NO_RESOURCE: i64 = -32002;
/// Ours: it cannot be had now.
const UNAVAILABLE: i64 = -32001;
/// How long a server has for what is no call.
const WAIT: Duration = Duration::from_secs(30);
/// Between a connector's name and its prompt's on the wire.
const BETWEEN: &str = "__";

impl Keeper {
    /// Connectors that `question`'s agent may use now.
    fn connectors_of<'a>(
        &'a self,
        agent: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a Connector)> {
        let all = self.connectors.all();
        all.filter(move |(name, _)| self.connected(name, agent))
    }

    /// What this server says it can do.
    pub(super) fn capabilities(&self, agent: &str) -> Value {
        let mut capabilities = Map::new();
        capabilities.insert("tools".into(), json!({"listChanged": true}));
        let (mut any, mut prompts, mut resources) = (false, false, false);
        for (_, connector) in self.connectors_of(agent) {
            let Some(pin) = &connector.pin else { continue };
            any |= connector.server.is_some();
            prompts |= !pin.prompts.is_empty();
            resources |= pin.has_resources();
        }
        if prompts {
            capabilities.insert("prompts".into(), json!({"listChanged": true}));
        }
        if resources {
            let resources = json!({"subscribe": true, "listChanged": true});
            capabilities.insert("resources".into(), resources);
        }
        if prompts || resources {
            capabilities.insert("completions".into(), json!({}));
        }
        if any {
            capabilities.insert("logging".into(), json!({}));
        }
        Value::Object(capabilities)
    }

    /// The list of a kind that an agent sees; nothing where there is no such list here.
    pub(super) fn list(&self, agent: &str, method: &str) -> Option<Told> {
        let (member, key) = match method {
            "resources/list" => ("resources", "uri"),
            "resources/templates/list" => ("resourceTemplates", "uriTemplate"),
            "prompts/list" => ("prompts", "name"),
            _ => return None,
        };
        let mut text = format!("{{\"{member}\":[");
        let start = text.len();
        let mut any = false;
        for (name, connector) in self.connectors_of(agent) {
            let Some(pin) = &connector.pin else { continue };
            any = true;
            let all = if key == "name" {
                pin.prompts.clone()
            } else {
                pin.listed_resources()
            };
            for raw in all.values() {
                let Some(shown) = shown(raw, key, name, connector.prefixes()) else {
                    continue;
                };
                if text.len() > start {
                    text.push(',');
                }
                text.push_str(&shown);
            }
        }
        text.push_str("]}");
        any.then(|| Told::Result(text.into_bytes()))
    }

    /// A question for what a server has beside tools as a call; nothing where it is another one.
    ///
    /// # Errors
    /// What the agent is told where its `params` name nothing there is.
    pub(super) fn offered(
        &self,
        question: &Arc<Question>,
        client: &str,
        method: &str,
        params: &[u8],
    ) -> Result<Option<Asked>, Told> {
        let Some(method) = Method::BESIDE.into_iter().find(|one| one.name() == method) else {
            return Ok(None);
        };
        let wrong = |why: &str| Told::fault(INVALID_PARAMS, why);
        let text = std::str::from_utf8(params).map_err(|_| wrong("`params` is not UTF-8"))?;
        let mut extra = Members::of(text).ok_or_else(|| wrong("`params` is not an object"))?;
        let mut arguments = Members::default();
        for name in ["uri", "name", "arguments", "ref", "argument", "context"] {
            if let Some(value) = extra.get(name).map(str::to_owned) {
                arguments.set(name, value);
            }
        }
        let named = |members: &Members<'_>, name: &str| {
            let value: Option<Value> = members
                .get(name)
                .and_then(|raw| serde_json::from_str(raw).ok());
            value
        };
        let connector = match method {
            Method::Read => {
                let uri = named(&arguments, "uri");
                let uri = uri.as_ref().and_then(Value::as_str);
                self.connector_of_resource(
                    &question.agent,
                    uri.ok_or_else(|| wrong("`uri` is missing or not a string"))?,
                )?
            }
            Method::Prompt => {
                let name = named(&arguments, "name");
                let name = name.as_ref().and_then(Value::as_str);
                let (connector, own) = self.connector_of_prompt(
                    &question.agent,
                    name.ok_or_else(|| wrong("`name` is missing or not a string"))?,
                )?;
                arguments.set("name", Value::from(own).to_string());
                connector
            }
            Method::Complete => {
                let mut about =
                    named(&arguments, "ref").ok_or_else(|| wrong("`ref` is missing"))?;
                let name = about.get("name").and_then(Value::as_str).map(str::to_owned);
                let uri = about.get("uri").and_then(Value::as_str).map(str::to_owned);
                match (name, uri) {
                    (Some(name), _) => {
                        let (connector, own) = self.connector_of_prompt(&question.agent, &name)?;
                        if let Some(members) = about.as_object_mut() {
                            members.insert("name".into(), own.into());
                        }
                        arguments.set("ref", about.to_string());
                        connector
                    }
                    (None, Some(uri)) => self.connector_of_resource(&question.agent, &uri)?,
                    (None, None) => {
                        return Err(wrong("`ref` names neither a prompt nor a resource"));
                    }
                }
            }
            Method::Call => return Ok(None),
        };
        extra.keep(|name| name == "_meta" || name == "inputResponses" || name == "requestState");
        let call = Id::random().map_err(|_| Told::fault(UNAVAILABLE, "no random number"))?;
        Ok(Some(Asked {
            call,
            agent: question.agent.clone(),
            tool: format!("{connector}{BETWEEN}{}", method.name()),
            client: client.into(),
            arguments: arguments.json().into_bytes(),
            extra: extra.json().into_bytes(),
            mirrored: None,
            beside: true,
            question: Arc::clone(question),
            received: self.clock.now(),
        }))
    }

    /// The connector that has the resource `uri`: by name, by a template of it, or because it is the
    /// only one that has any.
    fn connector_of_resource(&self, agent: &str, uri: &str) -> Result<String, Told> {
        let mut having = Vec::new();
        for (name, connector) in self.connectors_of(agent) {
            let Some(pin) = &connector.pin else { continue };
            let fits = |template: &str| {
                let fixed = template.split('{').next().unwrap_or_default();
                template.contains('{') && !fixed.is_empty() && uri.starts_with(fixed)
            };
            if pin.resources.contains_key(uri) || pin.resources.keys().any(|key| fits(key)) {
                return Ok(name.clone());
            }
            // A skill has what it lists, and nothing else.
            if pin.has_resources() && connector.skill.is_none() {
                having.push(name);
            }
        }
        match having.as_slice() {
            [only] => Ok((*only).clone()),
            _ => Err(Told::Fault {
                code: NO_RESOURCE,
                message: format!("there is no resource `{}`", Escaped::cut(uri, 128)),
                data: json!({"uri": uri}).to_string().into_bytes(),
            }),
        }
    }

    /// The connector that has the prompt `wire`, and what its server calls it.
    fn connector_of_prompt(&self, agent: &str, wire: &str) -> Result<(String, String), Told> {
        for (name, connector) in self.connectors_of(agent) {
            let Some(pin) = &connector.pin else { continue };
            let own = match connector.prefixes() {
                true => wire
                    .strip_prefix(name.as_str())
                    .and_then(|rest| rest.strip_prefix(BETWEEN)),
                false => Some(wire),
            };
            if let Some(own) = own.filter(|own| pin.prompts.contains_key(*own)) {
                return Ok((name.clone(), own.to_owned()));
            }
        }
        let what = format!("there is no prompt `{}`", Escaped::cut(wire, 128));
        Err(Told::fault(INVALID_PARAMS, what))
    }

    /// A wish for news of a resource, or no more of them.
    pub(super) fn subscribe(&self, question: &Arc<Question>, method: &str, params: &[u8]) -> Told {
        #[derive(serde::Deserialize)]
        struct Wish {
            uri: String,
        }
        let Ok(Wish { uri }) = serde_json::from_slice(params) else {
            return Told::fault(INVALID_PARAMS, "`uri` is missing or not a string");
        };
        match self.connector_of_resource(&question.agent, &uri) {
            Ok(connector) => self.ask_beside(question, &connector, method, params),
            Err(told) => told,
        }
    }

    /// How much servers tell: said to every one that the agent may use.
    pub(super) fn set_level(&self, question: &Arc<Question>, method: &str, params: &[u8]) -> Told {
        let names: Vec<String> = self
            .connectors_of(&question.agent)
            .map(|(name, _)| name.clone())
            .collect();
        let mut told = Told::fault(super::asks::METHOD_NOT_FOUND, "nothing here tells anything");
        for name in names {
            let one = self.ask_beside(question, &name, method, params);
            if matches!(one, Told::Result(_)) || !matches!(told, Told::Result(_)) {
                told = one;
            }
        }
        told
    }

    fn ask_beside(
        &self,
        question: &Arc<Question>,
        connector: &str,
        method: &str,
        params: &[u8],
    ) -> Told {
        if let Err(refusal) = self.runtime(&question.agent) {
            return Told::fault(UNAVAILABLE, refusal.say.unwrap_or_default());
        }
        let known = self.connectors.get(connector);
        if known.is_some_and(|one| one.skill.is_some()) {
            // What is pinned never changes, so there will be no news; and nothing in it tells any.
            return match method {
                "resources/subscribe" | "resources/unsubscribe" => Told::Result(b"{}".to_vec()),
                _ => Told::fault(super::asks::METHOD_NOT_FOUND, "a skill tells nothing"),
            };
        }
        let server = known.and_then(|one| one.server.as_ref());
        let (Some(server), Ok(ticket)) = (server, Id::random()) else {
            return Told::fault(UNAVAILABLE, "the connector has no server");
        };
        match self.ask_server(server, question, ticket, method, params, WAIT) {
            Ok(Answer::Result(raw)) => Told::Result(raw),
            Ok(Answer::Error(raw)) => {
                let fault = answer::fault(&raw);
                Told::Fault {
                    code: fault.code,
                    message: fault.message,
                    data: fault.data.into_bytes(),
                }
            }
            Err(Failure::NotCarried) => Told::fault(
                super::asks::METHOD_NOT_FOUND,
                "its server does not know this",
            ),
            Err(failure) => {
                tracing::warn!(connector, ?failure, method, "a server gave no answer");
                Told::fault(UNAVAILABLE, "the server was not available; try again")
            }
        }
    }
}

/// A listed object as agents see it: a prompt has its connector's name before its own. Nothing where
/// it is not of this kind.
fn shown(raw: &RawValue, key: &str, connector: &str, prefix: bool) -> Option<String> {
    let mut members = Members::of(raw.get())?;
    let own: String = serde_json::from_str(members.get(key)?).ok()?;
    if key == "name" && prefix {
        let wire = format!("{connector}{BETWEEN}{own}");
        members.set("name", Value::from(wire).to_string());
        return Some(members.json());
    }
    Some(raw.get().to_owned())
}
