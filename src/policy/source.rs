//! A policy file: its rules with their names and lines, and errors that name line and column.

use std::collections::BTreeMap;
use std::str::FromStr;

use cedar_policy::ffi::DetailedError;
use cedar_policy::{
    Effect, ParseErrors, Policy, PolicyId, PolicySet, Schema, ValidationMode, ValidationWarning,
    Validator,
};

use super::depth::{self, LEVELS_MAX};
use super::names::{self, Named};
use crate::error::{Error, Kind, Result};
use crate::wire::text::{Escaped, escaped};

/// Longest policy file, in bytes.
pub(super) const BYTES_MAX: usize = 256 << 10;
/// Most rules in a policy file.
pub(super) const RULES_MAX: usize = 1000;
/// How Cedar calls rules, before their place in the file.
const CEDARS_NAME: &str = "policy";
/// Longest name of a rule (`@id`), in bytes.
const ID_MAX: usize = 64;
/// Most actions that a hint lists.
const ACTIONS_SHOWN: usize = 24;
/// The hint for a rule that is true of no call there could be.
const NEVER: &str = "this rule would never say anything: mend its condition, or take it out";
/// A rule the evaluator would give up on.
const TOO_DEEP: &str = "a rule has more operators in a row, or within each other, than can be \
                        evaluated (about 200)";
/// How to mend it.
const SPLIT: &str = "split it into several rules, or ask a set: \
                     `[\"a\", \"b\"].contains(context.host)` in place of `… == … || …`";
/// Longest annotation that is shown, in characters.
const NOTE_MAX: usize = 400;
/// Longest of Cedar's own sentences that is shown, in characters.
const SENTENCE_MAX: usize = 400;

/// One rule of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// `@id`, or Cedar's own name: `policy0` for the first rule of the file, and so on.
    pub(super) id: String,
    /// `permit` or `forbid`.
    pub(super) effect: &'static str,
    /// Line on which it begins, from 1.
    pub(super) line: u32,
    /// `@reason`: why there is such a rule.
    pub(super) reason: Option<String>,
    /// `@hint`: what to do when it says no.
    pub(super) hint: Option<String>,
}

/// A policy file that was read and validated.
#[derive(Debug)]
pub(super) struct Source {
    /// The rules as Cedar evaluates them.
    pub(super) set: PolicySet,
    /// The same as the operator wrote them, in the order of the file. Cedar calls the first one
    /// `policy0`, and so on.
    pub(super) rules: Vec<Rule>,
    /// Agents and roots they name, in the order of the file.
    pub(super) names: Vec<Named>,
}

impl Source {
    /// Reads a policy and validates it strictly.
    ///
    /// # Errors
    /// Names `file:line:column`, what is wrong there, and how to mend it.
    pub(super) fn read(text: &str, file: &str, schema: &Schema) -> Result<Self> {
        let page = Page { text, file, schema };
        if text.len() > BYTES_MAX {
            return Err(page.whole(format!("it is longer than {BYTES_MAX} bytes")));
        }
        if let Some((at, what)) = depth::beyond(text) {
            return Err(page.at(at, what).hint("split it into several rules"));
        }
        let set = PolicySet::from_str(text).map_err(|errors| page.unparsed(&errors))?;
        let starts = statements(text);
        if set.num_of_templates() > 0 {
            return Err(page
                .whole("it holds a template (`?principal` or `?resource`)")
                .hint("name the principal, or leave the scope open: `principal`"));
        }
        if set.num_of_policies() > RULES_MAX {
            return Err(page.whole(format!("it has more than {RULES_MAX} rules")));
        }
        let rules = page.rules(&set, &starts)?;
        page.validate(&set)?;
        let names = page.names(&set, &rules, &starts)?;
        Ok(Self { set, rules, names })
    }

    /// Why a rule is refused that is too deep to be evaluated.
    pub(super) fn too_deep(&self, id: &PolicyId, file: &str) -> Error {
        let line = self.place(id).and_then(|place| self.rules.get(place));
        let line = line.map_or(1, |rule| rule.line);
        let what = format!("{}:{line}: {TOO_DEEP}", escaped(file));
        Error::of(Kind::Usage, what).hint(SPLIT)
    }

    /// The place of a rule in the file, from 0, by Cedar's name for it.
    pub(super) fn place(&self, id: &PolicyId) -> Option<usize> {
        let name: &str = id.as_ref();
        let place = name.strip_prefix(CEDARS_NAME)?.parse().ok()?;
        (place < self.rules.len()).then_some(place)
    }
}

/// Cedar's name for the rule at `place`.
pub(super) fn cedars_name(place: usize) -> PolicyId {
    PolicyId::new(format!("{CEDARS_NAME}{place}"))
}

struct Page<'a> {
    text: &'a str,
    file: &'a str,
    schema: &'a Schema,
}

impl Page<'_> {
    fn rules(&self, set: &PolicySet, starts: &[usize]) -> Result<Vec<Rule>> {
        let mut rules = Vec::with_capacity(starts.len());
        let mut lines: BTreeMap<String, u32> = BTreeMap::new();
        for (place, start) in starts.iter().enumerate() {
            let name = cedars_name(place);
            let Some(policy) = set.policy(&name) else {
                break;
            };
            let note = |key: &str| {
                let text = policy.annotation(key).filter(|text| !text.is_empty());
                text.map(|text| Escaped::cut(text, NOTE_MAX).to_string())
            };
            let id = policy.annotation("id").unwrap_or(name.as_ref()).to_owned();
            if !good_id(&id) {
                let what = format!(
                    "`@id(\"{}\")` is no name of a rule",
                    Escaped::cut(&id, ID_MAX)
                );
                return Err(self
                    .at(*start, what)
                    .hint("1 to 64 of a-z, A-Z, 0-9, `-`, `_` and `.`"));
            }
            let line = self.position(*start).0;
            if let Some(other) = lines.insert(id.clone(), line) {
                let what = format!("another rule is called `{id}`, on line {other}");
                return Err(self
                    .at(*start, what)
                    .hint("give each rule an `@id` of its own"));
            }
            let effect = match policy.effect() {
                Effect::Permit => "permit",
                Effect::Forbid => "forbid",
            };
            let (reason, hint) = (note("reason"), note("hint"));
            rules.push(Rule {
                id,
                effect,
                line,
                reason,
                hint,
            });
        }
        // Two readers that count differently would blame the wrong rule.
        if rules.len() != set.num_of_policies() || rules.len() != starts.len() {
            return Err(self.whole("its rules cannot be told apart"));
        }
        Ok(rules)
    }

    /// The agents and roots of all rules, none of which may be too deep.
    fn names(&self, set: &PolicySet, rules: &[Rule], starts: &[usize]) -> Result<Vec<Named>> {
        let mut named = Vec::new();
        for (place, (rule, start)) in rules.iter().zip(starts).enumerate() {
            let tree = set.policy(&cedars_name(place)).map(Policy::to_json);
            let Some(Ok(tree)) = tree else {
                return Err(self.at(*start, "this rule cannot be looked into"));
            };
            if depth::levels(&tree) > LEVELS_MAX {
                return Err(self.at(*start, TOO_DEEP).hint(SPLIT));
            }
            let end = starts.get(place + 1).copied().unwrap_or(self.text.len());
            let text = self.text.get(*start..end).unwrap_or_default();
            let line = |piece: &str| {
                let at = text.find(piece);
                at.map_or(rule.line, |at| self.position(*start + at).0)
            };
            named.extend(names::of(&tree, &rule.id, line));
        }
        Ok(named)
    }

    fn validate(&self, set: &PolicySet) -> Result<()> {
        let result = Validator::new(self.schema.clone()).validate(set, ValidationMode::Strict);
        let errors = result
            .validation_errors()
            .map(|error| (false, DetailedError::from(error)));
        // A rule that can never say anything is a mistake, and so is text that reads as another.
        // Most often it only follows from an error: then that is what is told.
        let warnings = result
            .validation_warnings()
            .filter(|warning| fatal(warning));
        let warnings = warnings.map(|warning| (true, DetailedError::from(warning)));
        let mut found: Vec<(bool, usize, DetailedError)> = errors
            .chain(warnings)
            .map(|(late, error)| (late, offset(&error).unwrap_or(self.text.len()), error))
            .collect();
        found.sort_by_key(|(late, offset, _)| (*late, *offset));
        let more = found.len().saturating_sub(1);
        match found.into_iter().next() {
            None => Ok(()),
            Some((_, offset, error)) => Err(self.told(offset, &error, more)),
        }
    }

    fn unparsed(&self, errors: &ParseErrors) -> Error {
        let error = DetailedError::from(errors);
        let offset = offset(&error).unwrap_or(self.text.len());
        self.told(offset, &error, errors.iter().count().saturating_sub(1))
    }

    /// What Cedar said, in our words where ours are better.
    fn told(&self, offset: usize, error: &DetailedError, more: usize) -> Error {
        // The line says which rule it is; Cedar's own name for it says nothing to an operator.
        let named = error.message.strip_prefix("for policy `");
        let what = named.and_then(|rest| rest.split_once("`, "));
        let what = what.map_or(error.message.as_str(), |(_, what)| what);
        let mut what = Escaped::cut(what, SENTENCE_MAX).to_string();
        if let Some(label) = error
            .source_locations
            .first()
            .and_then(|at| at.label.as_deref())
        {
            what.push_str(&format!(": {}", Escaped::cut(label, SENTENCE_MAX)));
        }
        if more > 0 {
            what.push_str(&format!(" (and {more} more)"));
        }
        let hint = match &error.help {
            // Cedar would propose the most similar word, which may be a group of actions.
            _ if error.message.contains("unrecognized action") => self.actions(),
            _ if error.message.contains("policy is impossible") => NEVER.to_owned(),
            Some(help) => Escaped::cut(help, SENTENCE_MAX).to_string(),
            None => "`keepgate policy show --schema` lists what a rule can name".to_owned(),
        };
        self.at(offset, what).hint(hint)
    }

    fn actions(&self) -> String {
        let mut names: Vec<String> = self
            .schema
            .actions()
            .map(|uid| format!("`{}`", escaped(&uid.to_string())))
            .collect();
        names.sort();
        names.truncate(ACTIONS_SHOWN);
        format!("the actions are {}", names.join(", "))
    }

    fn at(&self, offset: usize, what: impl std::fmt::Display) -> Error {
        let (line, column) = self.position(offset);
        Error::of(
            Kind::Usage,
            format!("{}:{line}:{column}: {what}", escaped(self.file)),
        )
    }

    fn whole(&self, what: impl std::fmt::Display) -> Error {
        Error::of(Kind::Usage, format!("{}: {what}", escaped(self.file)))
    }

    /// Line and column (in characters) of a byte, from 1.
    fn position(&self, offset: usize) -> (u32, u32) {
        let before = self
            .text
            .get(..self.text.floor_char_boundary(offset))
            .unwrap_or_default();
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let column = before
            .rsplit('\n')
            .next()
            .map_or(0, |last| last.chars().count())
            + 1;
        (
            u32::try_from(line).unwrap_or(u32::MAX),
            u32::try_from(column).unwrap_or(u32::MAX),
        )
    }
}

/// Where each rule begins, in bytes. In Cedar a `;` outside text and comments ends a rule.
fn statements(text: &str) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut fresh = true;
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'/' if bytes.peek().is_some_and(|(_, next)| *next == b'/') => {
                while bytes
                    .next_if(|(_, next)| *next != b'\n' && *next != b'\r')
                    .is_some()
                {}
                continue;
            }
            // All of Cedar's white space beyond ASCII is refused by its own lexer.
            byte if byte.is_ascii_whitespace() || byte == 0x0b => continue,
            b';' => {
                fresh = true;
                continue;
            }
            b'"' => {
                while let Some((_, inner)) = bytes.next() {
                    match inner {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        if fresh {
            starts.push(at);
            fresh = false;
        }
    }
    starts
}

fn good_id(id: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=ID_MAX).contains(&id.len()) && id.bytes().all(letter)
}

fn offset(error: &DetailedError) -> Option<usize> {
    error
        .source_locations
        .iter()
        .map(|label| label.loc.start)
        .min()
}

/// A text may well mix scripts (a file's name); a name that does, and control characters that turn
/// the reading direction, hide something.
fn fatal(warning: &ValidationWarning) -> bool {
    !matches!(warning, ValidationWarning::MixedScriptString(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_found_where_they_begin() {
        let text = "// a; b\n\n@id(\"x;\\\"//\")\npermit (principal, action, resource); // c;\n\
                    forbid(principal, action, resource) when { \"//;\" == \"\\\\\" };\n// end;";
        let found: Vec<&str> = statements(text)
            .iter()
            .filter_map(|at| text.get(*at..*at + 6))
            .collect();
        assert_eq!(found, ["@id(\"x", "forbid"]);
        assert!(statements("").is_empty());
        assert_eq!(statements("\"").len(), 1);
        assert_eq!(statements("\"\\").len(), 1);
    }
}
