//! What an operator declares of a connector's tools. What is not declared is taken for the worst:
//! an undeclared tool is destructive and irreversible, an undeclared parameter decides where
//! something goes, an undeclared output is content from outside.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::kind::Amount;
use super::rates::Rates;
use super::tool::{EffectClass, Reversibility};
use crate::wire::text::Escaped;

/// Most labels that an entry of the log names; a result with more is untrusted as a whole.
const LABELS_MAX: usize = 64;
/// Characters of a name from a manifest that are shown.
const NAME_SHOWN: usize = 64;

/// What one tool does, as the operator says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declared {
    /// What it may do to the world at worst.
    pub class: EffectClass,
    /// Whether that can be taken back, at worst.
    pub reversibility: Reversibility,
    /// Its parameters by name. Ask [`Declared::parameter`], which knows the others too.
    pub parameters: BTreeMap<String, Parameter>,
    /// Labels of its results by JSON pointer (RFC 6901) into the structured result; the empty
    /// pointer is all of it. Ask [`Declared::output`].
    pub outputs: BTreeMap<String, Label>,
    /// How it is rehearsed.
    pub dry_run: DryRun,
    /// How it is taken back, where another tool of the connector can.
    pub undo: Option<Undo>,
    /// Which of its calls are worth a second look.
    pub high_value: Option<HighValue>,
    /// How often each agent may call it.
    #[serde(default, skip_serializing_if = "Rates::is_empty")]
    pub rates: Rates,
}

impl Default for Declared {
    /// The worst.
    fn default() -> Self {
        Self {
            class: EffectClass::Destructive,
            reversibility: Reversibility::Irreversible,
            parameters: BTreeMap::new(),
            outputs: BTreeMap::new(),
            dry_run: DryRun::None,
            undo: None,
            high_value: None,
            rates: Rates::default(),
        }
    }
}

impl Declared {
    /// What the parameter `name` is: a target of no known kind where nothing is declared.
    pub fn parameter(&self, name: &str) -> Parameter {
        self.parameters.get(name).copied().unwrap_or_default()
    }

    /// The label of what `pointer` leads to: that of the nearest place above it, or else untrusted.
    pub fn output(&self, pointer: &str) -> Label {
        let mut at = pointer;
        loop {
            if let Some(label) = self.outputs.get(at) {
                return *label;
            }
            match at.rfind('/').and_then(|slash| at.get(..slash)) {
                Some(above) => at = above,
                None => return Label::Untrusted,
            }
        }
    }

    /// The labels of one result: of all of it (the empty pointer), and of each declared place that
    /// its structured part has.
    pub fn labels(&self, structured: Option<&Value>) -> BTreeMap<&str, Label> {
        let there = |at: &&String| structured.is_some_and(|value| value.pointer(at).is_some());
        let mut labels: BTreeMap<&str, Label> = self
            .outputs
            .keys()
            .filter(there)
            .map(|at| (at.as_str(), self.output(at)))
            .collect();
        if labels.len() > LABELS_MAX {
            return [("", Label::Untrusted)].into();
        }
        labels.insert("", self.output(""));
        labels
    }

    /// Every value that decides what is reached, as a text: what is no text is its JSON. Values in
    /// lists and objects one by one, and the names of members too.
    pub fn targets(&self, arguments: &Map<String, Value>) -> Vec<String> {
        let mut targets = Vec::new();
        for (name, value) in arguments {
            if self.parameter(name).role == Role::Target {
                leaves(value, &mut targets);
            }
        }
        targets
    }
}

fn leaves(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, found)),
        Value::Object(members) => {
            for (name, value) in members {
                found.push(name.clone());
                leaves(value, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => found.push(value.to_string()),
    }
}

/// What a parameter is for, and what its values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// What it is for.
    pub role: Role,
    /// What its values are, where that is one of the known kinds.
    pub kind: Option<ValueKind>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every one, in the order in which they are listed.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word in manifests.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }
    };
}

words! {
    /// What a parameter is for.
    Role {
        /// It decides who or what is reached: recipients, paths, URLs, accounts.
        Target = "target",
        /// It is what is sent or written.
        Content = "content",
        /// It is how much.
        Amount = "amount",
        /// It is how: switches, formats, limits.
        Flag = "flag",
    }
}

impl Default for Role {
    /// The one with the strictest rules.
    fn default() -> Self {
        Self::Target
    }
}

words! {
    /// What a value is.
    ValueKind {
        /// An address of e-mail.
        Email = "email",
        /// A URL.
        Url = "url",
        /// An international bank account number.
        Iban = "iban",
        /// A path of a file.
        Path = "path",
        /// An identifier of something the server knows.
        Id = "id",
        /// A person, by name or handle.
        Person = "person",
        /// A channel or room.
        Channel = "channel",
        /// A date or time.
        Date = "date",
        /// A number of something, such as money.
        Amount = "amount",
    }
}

words! {
    /// Where what a tool gives comes from.
    Label {
        /// From outside: data, whatever it says.
        Untrusted = "untrusted",
        /// From a system the operator trusts to say it: an identifier, a count, a time.
        Trusted = "trusted",
    }
}

/// How a tool is rehearsed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum DryRun {
    /// It cannot be: a rehearsal says so and does not call it.
    None,
    /// By itself, with these arguments beside the others.
    Arguments(BTreeMap<String, Value>),
    /// By another tool of the connector, with the same arguments.
    Tool(String),
}

/// How a tool is taken back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Undo {
    /// The tool of the same connector that does it.
    pub tool: String,
    /// Its arguments: by name, where each comes from.
    pub arguments: BTreeMap<String, Origin>,
}

impl Undo {
    /// The arguments of the undo, as far as they are known from what the call was given and, once
    /// there is one, from its structured result. What the call was not given is left out.
    ///
    /// # Errors
    /// The first place of the result that it does not have.
    pub fn arguments(
        &self,
        given: &Map<String, Value>,
        result: Option<&Value>,
    ) -> Result<Map<String, Value>, String> {
        let given = Value::Object(given.clone());
        let mut arguments = Map::new();
        for (name, origin) in &self.arguments {
            let value = match (origin, result) {
                (Origin::Value(value), _) => Some(value),
                (Origin::Arguments(at), _) => given.pointer(at),
                (Origin::Result(_), None) => None,
                (Origin::Result(at), Some(result)) => {
                    let at = result.pointer(at).ok_or_else(|| {
                        format!("its result has no `{}`", Escaped::cut(at, NAME_SHOWN))
                    })?;
                    Some(at)
                }
            };
            if let Some(value) = value {
                arguments.insert(name.clone(), value.clone());
            }
        }
        Ok(arguments)
    }

    /// Names of the arguments that only the result of the call can give.
    pub fn pending(&self) -> Vec<&str> {
        let of_result = |origin: &Origin| matches!(origin, Origin::Result(_));
        let pending = self.arguments.iter();
        pending
            .filter(|(_, origin)| of_result(origin))
            .map(|(name, _)| name.as_str())
            .collect()
    }
}

/// Where an argument of an undo comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Origin {
    /// From the call's arguments, by JSON pointer: `"arguments:/path"`.
    Arguments(String),
    /// From the call's structured result, by JSON pointer: `"result:/id"`.
    Result(String),
    /// Always this: `{ value = true }`.
    Value(Value),
}

impl Origin {
    /// As manifests and the log write it; the value of a constant is left out.
    pub fn shown(&self) -> String {
        match self {
            Self::Arguments(at) => format!("arguments:{at}"),
            Self::Result(at) => format!("result:{at}"),
            Self::Value(_) => "value".into(),
        }
    }
}

/// Which calls are worth a second look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum HighValue {
    /// All.
    Always,
    /// Those whose parameter is a number above this one, or no number at all.
    Above {
        /// The parameter.
        parameter: String,
        /// The greatest number that is not; a negative number always is.
        above: i64,
    },
    /// Those whose parameter is none of these texts.
    NotOneOf {
        /// The parameter.
        parameter: String,
        /// The usual texts.
        usual: Vec<String>,
    },
}

impl HighValue {
    /// Whether a call with these arguments is of high value, and why: a sentence for the operator
    /// that holds no value. What is missing or cannot be read is.
    pub fn holds(&self, arguments: &Map<String, Value>) -> Option<String> {
        let shown = |name: &str| Escaped::cut(name, NAME_SHOWN).to_string();
        match self {
            Self::Always => Some("every call of this tool is of high value".into()),
            Self::Above { parameter, above } => {
                let name = shown(parameter);
                match arguments.get(parameter).map(Amount::read) {
                    None => Some(format!(
                        "`{name}` is missing, so nobody knows how much it is"
                    )),
                    Some(None) => Some(format!("`{name}` is no amount that can be read")),
                    Some(Some(amount)) if amount.above(*above) => {
                        Some(format!("`{name}` is above {above}"))
                    }
                    Some(Some(_)) => None,
                }
            }
            Self::NotOneOf { parameter, usual } => {
                let name = shown(parameter);
                let known = |text: &str| usual.iter().any(|usual| usual == text);
                match arguments.get(parameter) {
                    None | Some(Value::Null) => Some(format!("`{name}` is missing")),
                    Some(Value::String(text)) if known(text) => None,
                    Some(Value::Array(items))
                        if !items.is_empty()
                            && items.iter().all(|item| item.as_str().is_some_and(known)) =>
                    {
                        None
                    }
                    Some(_) => Some(format!("`{name}` is none of the usual ones")),
                }
            }
        }
    }

    /// The rule in a few words, for lists.
    pub fn shown(&self) -> String {
        match self {
            Self::Always => "always".into(),
            Self::Above { parameter, above } => {
                format!("{} > {above}", Escaped::cut(parameter, NAME_SHOWN))
            }
            Self::NotOneOf { parameter, usual } => format!(
                "{} none of {} usual",
                Escaped::cut(parameter, NAME_SHOWN),
                usual.len()
            ),
        }
    }
}

#[cfg(test)]
mod tests;
