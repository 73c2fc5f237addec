//! The rules that no policy can loosen. They are judged first, all of them, in this order; the
//! first that refuses gives the reason.

use serde::Serialize;
use serde_json::Value;

use super::ground::Ground;
use crate::call::Call;
use crate::call::declared::{Declared, DryRun, HighValue};
use crate::call::http::{Target, header, path_within};
use crate::call::path::RootPath;
use crate::call::tool::{EffectClass, Meaning, Reversibility};
use crate::wire::admin::Mode;
use crate::wire::messages::HttpRule;
use crate::wire::text::Escaped;

/// What one built-in rule says of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// The rule: `builtin:root` and so on.
    pub rule: &'static str,
    /// What it says.
    #[serde(flatten)]
    pub said: Said,
}

/// What a built-in rule says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Said {
    /// Nothing against it.
    Pass,
    /// A person has to decide, whatever the policy says.
    Ask {
        /// Why.
        why: String,
    },
    /// No, whatever the policy says.
    Forbid {
        /// What the agent is told: see [`super::CLASSES`].
        class: &'static str,
        /// The argument to blame.
        argument: Option<String>,
        /// How to mend it, for the operator.
        hint: String,
    },
}

/// What a call is about, taken from its arguments once, for the rules and for the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    /// The file or directory, where there is one; nothing beneath no root for the list of roots.
    pub(super) path: Option<RootPath>,
    /// `.`: the list of roots.
    pub(super) all_roots: bool,
    /// Where a request would go.
    pub(super) target: Option<Target>,
}

/// All built-in rules on one call, and what it is about where its arguments can be read.
pub(super) fn judge(call: &Call, ground: &Ground<'_>) -> (Vec<Verdict>, Option<Subject>) {
    let mut verdicts = vec![verdict("builtin:agent", agent(call, ground))];
    let subject = match Subject::of(call) {
        Ok(subject) => {
            verdicts.push(verdict("builtin:argument", Said::Pass));
            subject
        }
        Err(said) => {
            verdicts.push(verdict("builtin:argument", said));
            return (verdicts, None);
        }
    };
    if let Some(path) = &subject.path {
        verdicts.push(verdict("builtin:root", root(path, ground)));
        if changes_files(call) {
            verdicts.push(verdict("builtin:writable-root", writable(path, ground)));
        }
    }
    if let Some(target) = &subject.target {
        verdicts.push(verdict("builtin:http-rule", listed(target, ground)));
    }
    if let Some(rule) = call.tool().declared().and_then(|it| it.high_value.as_ref()) {
        let said = high_value(rule, call, ground);
        verdicts.push(verdict("builtin:high-value", said));
    }
    if ground.mode == Mode::Live {
        let effect = Effect::of(call, &subject);
        verdicts.push(verdict("builtin:separation", separation(&effect, ground)));
        verdicts.push(verdict("builtin:person", person(&effect)));
    }
    (verdicts, Some(subject))
}

/// Whether a call may change something, as far as its arguments narrow down what its tool may do; one
/// whose arguments cannot be read may.
pub fn changes(call: &Call) -> bool {
    let Ok(subject) = Subject::of(call) else {
        return true;
    };
    let classes = Effect::of(call, &subject).classes;
    !classes.iter().all(|class| class.only_reads())
}

impl Subject {
    fn of(call: &Call) -> Result<Self, Said> {
        let mut subject = Self {
            path: None,
            all_roots: false,
            target: None,
        };
        let text = |name: &str| call.arguments().get(name).and_then(Value::as_str);
        for (name, meaning) in call.tool().meanings() {
            match meaning {
                Meaning::RootPathOrRoots if text(name) == Some(".") => subject.all_roots = true,
                Meaning::RootPath | Meaning::RootPathOrRoots => {
                    let Some(path) = text(name) else { continue };
                    let path = RootPath::parse(path)
                        .map_err(|fault| bad_argument(name, &fault.to_string()))?;
                    subject.path = Some(path);
                }
                Meaning::Url => {
                    let Some(url) = text(name) else { continue };
                    let method = text("method").unwrap_or("GET");
                    let target = Target::parse(method, url).map_err(|fault| {
                        // A method that is none is refused whatever the URL.
                        let bare = Target::parse(method, "https://host.invalid/").is_err();
                        let blamed = if bare { "method" } else { name };
                        bad_argument(blamed, &fault.to_string())
                    })?;
                    subject.target = Some(target);
                }
                Meaning::Headers => headers(name, call.arguments().get(name))?,
            }
        }
        Ok(subject)
    }
}

/// What a call does to the world, as far as its arguments narrow down what its tool may do.
struct Effect {
    classes: Vec<EffectClass>,
    reversibility: Reversibility,
}

impl Effect {
    fn of(call: &Call, subject: &Subject) -> Self {
        let tool = call.tool();
        let mut classes = tool.classes().to_vec();
        let fetches = |target: &Target| matches!(target.method(), "GET" | "HEAD");
        if subject.target.as_ref().is_some_and(fetches) {
            // Such a request sends nothing but itself. Every other class of the tool stays.
            classes.retain(|class| *class != EffectClass::Send);
            if classes.iter().all(|class| class.only_reads()) {
                return Self {
                    classes,
                    reversibility: Reversibility::Reversible,
                };
            }
        }
        Self {
            classes,
            reversibility: tool.reversibility(),
        }
    }

    fn irreversible(&self) -> bool {
        self.reversibility == Reversibility::Irreversible
    }
}

/// The ground has to be the caller's own: a mistake here would judge one agent as another.
fn agent(call: &Call, ground: &Ground<'_>) -> Said {
    if call.agent() == ground.agent {
        return Said::Pass;
    }
    let hint = "the call was judged on another agent's ground: this is a fault in Keepgate";
    Said::Forbid {
        class: "not_permitted",
        argument: None,
        hint: hint.into(),
    }
}

fn root(path: &RootPath, ground: &Ground<'_>) -> Said {
    if ground.roots.contains_key(path.root()) {
        return Said::Pass;
    }
    let hint = format!(
        "plane `{}` has no root `{}`; add `[planes.{}.roots.NAME]` to the configuration, or tell \
         the agent's developer the roots there are",
        ground.plane,
        Escaped::cut(path.root(), 64),
        ground.plane,
    );
    Said::Forbid {
        class: "unknown_root",
        argument: Some("path".into()),
        hint,
    }
}

fn writable(path: &RootPath, ground: &Ground<'_>) -> Said {
    if ground
        .roots
        .get(path.root())
        .is_none_or(|root| root.writable)
    {
        return Said::Pass;
    }
    let hint = format!(
        "root `{root}` is read-only; set `writable = true` in `[planes.{}.roots.{root}]` if agents \
         may change what is in it",
        ground.plane,
        root = Escaped::cut(path.root(), 64),
    );
    Said::Forbid {
        class: "read_only_root",
        argument: Some("path".into()),
        hint,
    }
}

fn listed(target: &Target, ground: &Ground<'_>) -> Said {
    if ground.http.iter().any(|rule| target.matches(rule)) {
        return Said::Pass;
    }
    let same_origin = |rule: &&HttpRule| {
        rule.scheme == target.scheme().name()
            && rule.host == target.host()
            && rule.port == target.port()
    };
    let near: Vec<&HttpRule> = ground.http.iter().filter(same_origin).collect();
    let on_path = near
        .iter()
        .any(|rule| path_within(target.path(), &rule.path));
    let (argument, why) = if on_path {
        (
            "method",
            format!(
                "no `http` rule for this host and path has method `{}`",
                target.method()
            ),
        )
    } else if near.is_empty() {
        ("url", format!("no `http` rule names {}", origin(target)))
    } else {
        (
            "url",
            format!("no `http` rule for {} holds this path", origin(target)),
        )
    };
    let hint = format!(
        "{why}; add one to `[[planes.{}.http]]` if agents may ask it",
        ground.plane
    );
    Said::Forbid {
        class: "host_not_allowed",
        argument: Some(argument.into()),
        hint,
    }
}

fn origin(target: &Target) -> String {
    let host = Escaped::cut(target.host(), 253);
    format!(
        "scheme `{}`, host `{host}`, port {}",
        target.scheme().name(),
        target.port()
    )
}

/// Where all roles share one uid, a taken-over role could do what the gate refuses: nothing that
/// cannot be taken back runs there.
fn separation(effect: &Effect, ground: &Ground<'_>) -> Said {
    if !effect.irreversible() || !ground.separation_one_user {
        return Said::Pass;
    }
    let hint = "an effect that cannot be taken back needs roles with uids of their own; run \
                `keepgate serve` as root";
    Said::Forbid {
        class: "needs_separation",
        argument: None,
        hint: hint.into(),
    }
}

fn person(effect: &Effect) -> Said {
    let class = effect.classes.iter().find(|class| class.needs_person());
    match (class, effect.irreversible()) {
        (Some(class), _) => Said::Ask {
            why: format!(
                "a live call of class `{}` needs a person each time",
                class.name()
            ),
        },
        (None, true) => Said::Ask {
            why: "what cannot be taken back needs a person each time".into(),
        },
        (None, false) => Said::Pass,
    }
}

/// The manifest's own rule. In a rehearsal it counts where a server would be asked: whether that
/// rehearses is its word.
fn high_value(rule: &HighValue, call: &Call, ground: &Ground<'_>) -> Said {
    let dry_run = |declared: &Declared| declared.dry_run != DryRun::None;
    let asked = ground.mode == Mode::Live
        || call.tool().reads_only()
        || call.tool().declared().is_some_and(dry_run);
    match rule.holds(call.arguments()) {
        Some(why) if asked => Said::Ask { why },
        Some(_) | None => Said::Pass,
    }
}

fn changes_files(call: &Call) -> bool {
    !call.tool().reads_only()
}

/// Headers that egress would refuse are refused here already, before anything is on record as
/// intended.
fn headers(name: &str, value: Option<&Value>) -> Result<(), Said> {
    let mut bytes = 0_usize;
    for (header, value) in value.and_then(Value::as_object).into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        bytes = bytes
            .saturating_add(header.len())
            .saturating_add(value.len());
        if let Some(why) = header::refused(header).or_else(|| header::refused_value(value)) {
            let at = format!("{name}/{}", Escaped::cut(header, 64));
            return Err(bad_argument(&at, why));
        }
    }
    if bytes > header::BYTES_MAX {
        let why = format!(
            "all headers together are longer than {} bytes",
            header::BYTES_MAX
        );
        return Err(bad_argument(name, &why));
    }
    Ok(())
}

fn bad_argument(argument: &str, why: &str) -> Said {
    Said::Forbid {
        class: "bad_argument",
        argument: Some(argument.into()),
        hint: format!(
            "the agent has to write it differently: {}",
            Escaped::cut(why, 400)
        ),
    }
}

fn verdict(rule: &'static str, said: Said) -> Verdict {
    Verdict { rule, said }
}
