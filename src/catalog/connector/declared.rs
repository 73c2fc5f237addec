//! What an operator declares of a connector's tools. What is not declared is taken for the worst:
//! an undeclared tool is destructive and irreversible, an undeclared parameter decides where
//! something goes, an undeclared output is content from outside.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::rates::Rates;
use crate::call::tool::{EffectClass, Reversibility};

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
        /// The greatest number that is not.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_declared_is_the_worst() {
        let worst = Declared::default();
        assert_eq!(worst.class, EffectClass::Destructive);
        assert!(worst.class.needs_person());
        assert_eq!(worst.reversibility, Reversibility::Irreversible);
        assert_eq!(worst.parameter("any").role, Role::Target);
        assert_eq!(worst.parameter("any").kind, None);
        assert_eq!(worst.output("/any/0"), Label::Untrusted);
        assert_eq!(worst.dry_run, DryRun::None);
    }

    #[test]
    fn the_nearest_label_counts() {
        let mut declared = Declared::default();
        declared.outputs.insert("/id".into(), Label::Trusted);
        declared.outputs.insert("/id/note".into(), Label::Untrusted);
        assert_eq!(declared.output("/id"), Label::Trusted);
        assert_eq!(declared.output("/id/0"), Label::Trusted);
        assert_eq!(declared.output("/id/note/x"), Label::Untrusted);
        assert_eq!(declared.output("/ident"), Label::Untrusted);
        assert_eq!(declared.output(""), Label::Untrusted);
    }
}
