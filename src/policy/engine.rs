//! A policy in force, ready to judge.

use std::fmt;

use cedar_policy::Authorizer;
use ring::digest::{SHA256, digest};

use super::decision::Decision;
use super::depth::STACK;
use super::evaluate::Policy;
use super::explain::Explanation;
use super::ground::Ground;
use super::names::{self, Kind as NameKind, Warning};
use super::schema::Model;
use super::source::Source;
use crate::call::Call;
use crate::catalog::Catalog;
use crate::error::{Context, Error, Result};
use crate::wire::text::{Escaped, hex};

/// Characters of a file's name that are shown.
const FILE_SHOWN: usize = 200;

/// A validated policy and the model of the tools it speaks about.
pub struct Engine {
    model: Model,
    source: Source,
    text: String,
    file: String,
    digest: String,
    authorizer: Authorizer,
    trouble: Option<String>,
}

impl Engine {
    /// Reads a policy (Cedar) and validates it strictly against the tools. `file` is the name in
    /// messages.
    ///
    /// # Errors
    /// Refuses, naming `file:line:column`, what Cedar cannot read; actions, attributes and entity
    /// types that there are none of; values of a wrong type; rules that can never say anything;
    /// templates; two rules with one `@id`; rules too deep to be evaluated; more than 256 KiB or
    /// 1000 rules.
    pub fn load(text: &str, file: &str, catalog: &Catalog) -> Result<Self> {
        let model = Model::of(catalog)?;
        // Reading recurses: on a stack of its own, whatever the caller's is.
        let read = || Source::read(text, file, &model.schema);
        let source = std::thread::scope(|scope| {
            let reader = std::thread::Builder::new()
                .name("policy".into())
                .stack_size(STACK);
            let reader = reader.spawn_scoped(scope, read);
            let reader = reader.context(|| "start a thread to read a policy".into())?;
            reader
                .join()
                .unwrap_or_else(|_| Err(Error::new("reading the policy failed")))
        })?;
        super::trial::run(&source, &model, file)?;
        Ok(Self {
            model,
            source,
            text: text.to_owned(),
            file: Escaped::cut(file, FILE_SHOWN).to_string(),
            digest: hex(digest(&SHA256, text.as_bytes()).as_ref()),
            authorizer: Authorizer::new(),
            trouble: None,
        })
    }

    /// In place of a policy that no longer fits the tools, because of `why`: nothing is permitted,
    /// until another one is put in force.
    ///
    /// # Errors
    /// Fails where the tools have no schema.
    pub fn refusing(why: &Error, file: &str, catalog: &Catalog) -> Result<Self> {
        let trouble = Some(why.message());
        let nothing = Self::load("", file, catalog)?;
        Ok(Self { trouble, ..nothing })
    }

    /// Why nothing is permitted, where that is because the policy does not fit the tools.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Judges a call: built-in rules first, then the policy, which can only tighten them.
    pub fn judge(&self, call: &Call, ground: &Ground<'_>) -> Decision {
        Decision::of(self.policy().evaluate(call, ground), call, &self.digest)
    }

    /// The same evaluation with everything an operator may know about it.
    pub fn explain(&self, call: &Call, ground: &Ground<'_>) -> Explanation {
        let evaluation = self.policy().evaluate(call, ground);
        Explanation::of(evaluation, self.policy(), &self.digest, call, ground)
    }

    /// The policy's address: SHA-256 of its text, lower-case hex.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The policy as it was given.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Name of the file it came from, escaped and cut.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// What rules can name, in Cedar's schema language.
    pub fn schema(&self) -> &str {
        &self.model.text
    }

    /// How many rules it has.
    pub fn rules(&self) -> usize {
        self.source.rules.len()
    }

    /// Agents and roots that rules name and that there are none of, in the order of their lines.
    /// `None` where nobody knows which there are.
    pub fn unknown(&self, agents: Option<&[&str]>, roots: Option<&[&str]>) -> Vec<Warning> {
        let names = &self.source.names;
        let missing = |kind, known: Option<&[&str]>| {
            let known = known.unwrap_or_default();
            names::missing(names, kind, &self.file, known).collect::<Vec<_>>()
        };
        let mut warnings = Vec::new();
        if agents.is_some() {
            warnings.extend(missing(NameKind::Agent, agents));
        }
        if roots.is_some() {
            warnings.extend(missing(NameKind::Root, roots));
        }
        warnings.sort_by_key(|warning| warning.line);
        warnings
    }

    fn policy(&self) -> Policy<'_> {
        Policy {
            model: &self.model,
            source: &self.source,
            file: &self.file,
            authorizer: &self.authorizer,
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("file", &self.file)
            .field("digest", &self.digest)
            .field("rules", &self.source.rules.len())
            .finish_non_exhaustive()
    }
}
