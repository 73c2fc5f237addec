//! `keepgate doctor`: what is wrong, why it matters, what mends it. It looks and changes nothing.

mod files;
mod host;
mod log;
mod running;

use serde::Serialize;
use serde_json::{Value, json};

use super::app::App;
use super::exit::Exit;
use super::layout::{count, text};
use super::print::{Screen, Style};
use super::status;
use crate::config::Config;
use crate::error::{Context, Result};
use crate::wire::text::escaped;

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// As it should be.
    Ok,
    /// It works; it should be better.
    Warn,
    /// Keepgate will not serve, or not safely.
    Fail,
}

/// One check.
#[derive(Debug, Serialize)]
struct Check {
    /// Its name, the same in every version: `host.kernel`.
    id: String,
    verdict: Verdict,
    /// What there is.
    found: String,
    /// Why it matters.
    why: &'static str,
    /// A command, or a sentence, that mends it; nothing where all is well.
    mend: Option<String>,
}

impl Check {
    /// A check that is well until something else is said.
    fn new(id: impl Into<String>, why: &'static str, found: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            verdict: Verdict::Ok,
            found: found.into(),
            why,
            mend: None,
        }
    }

    fn warn(self, mend: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warn,
            mend: Some(mend.into()),
            ..self
        }
    }

    fn fail(self, mend: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Fail,
            mend: Some(mend.into()),
            ..self
        }
    }

    /// Fails, or only warns where the operator has accepted that by name.
    fn fail_unless(self, accepted: &[String], name: &str, mend: impl Into<String>) -> Self {
        match accepted.iter().any(|known| known == name) {
            true => self.warn(format!("accepted as `{name}`")),
            false => self.fail(mend),
        }
    }

    /// Warns where a condition does not hold.
    fn warn_unless(self, good: bool, mend: impl Into<String>) -> Self {
        if good { self } else { self.warn(mend) }
    }

    /// Fails where a condition does not hold.
    fn unless(self, good: bool, mend: impl Into<String>) -> Self {
        if good { self } else { self.fail(mend) }
    }
}

pub(super) fn run(app: &App) -> Result<Exit> {
    let checks = all(app)?;
    let worst = checks
        .iter()
        .map(|check| check.verdict)
        .max()
        .unwrap_or(Verdict::Ok);
    let value = json!({"verdict": worst, "checks": checks});
    app.screen
        .answer(&value, |value| shown(&app.screen, value))?;
    Ok(match worst {
        Verdict::Ok => Exit::Ok,
        Verdict::Warn => Exit::Degraded,
        Verdict::Fail => Exit::Error,
    })
}

fn all(app: &App) -> Result<Vec<Check>> {
    let found = Config::find(&app.paths.config());
    let config = found
        .as_ref()
        .ok()
        .and_then(Option::as_ref)
        .cloned()
        .unwrap_or_default();
    let accepted = &config.appliance.accept;
    let root = nix::unistd::geteuid().is_root();
    let status = status::gather(app).context(|| "ask for the status".into())?;
    let mut checks = host::all(accepted, root);
    checks.push(files::config(&app.paths, &found));
    // What `init` would make is not missed piece by piece, and what this user may not see is not
    // called missing.
    if matches!(found, Ok(None)) && nothing_seen(&status) {
        return Ok(checks);
    }
    checks.extend(files::all(app, &config, root));
    checks.extend(log::all(app, &config));
    checks.extend(running::all(app, &config, &status));
    Ok(checks)
}

/// No part of the install speaks to this user.
fn nothing_seen(status: &Value) -> bool {
    let planes = status.get("planes").and_then(Value::as_object);
    let speaks = |plane: &Value| plane.get("version").is_some();
    status.get("supervisor").is_none_or(Value::is_null)
        && !planes.into_iter().flatten().any(|(_, plane)| speaks(plane))
}

fn shown(screen: &Screen, value: &Value) -> String {
    let checks = value
        .get("checks")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut shown = String::new();
    let (mut warned, mut failed) = (0, 0);
    for check in &checks {
        let (style, word) = match text(check, "verdict").as_str() {
            "ok" => (Style::Good, "ok  "),
            "warn" => {
                warned += 1;
                (Style::Warn, "warn")
            }
            _ => {
                failed += 1;
                (Style::Bad, "FAIL")
            }
        };
        let (id, found) = (text(check, "id"), text(check, "found"));
        shown += &format!("{}  {id:<22} {found}\n", screen.paint(style, word));
        if let Some(mend) = check.get("mend").and_then(Value::as_str) {
            shown += &format!(
                "      why:  {}\n      mend: {}\n",
                text(check, "why"),
                escaped(mend)
            );
        }
    }
    let total = u64::try_from(checks.len()).unwrap_or(u64::MAX);
    shown
        + &format!(
            "\n{}: {warned} to look at, {failed} to mend\n",
            count(total, "check", "checks")
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_verdict_counts_and_accepted_lacks_only_warn() {
        assert!(Verdict::Ok < Verdict::Warn && Verdict::Warn < Verdict::Fail);
        let check = || Check::new("x", "why", "found");
        assert_eq!(
            check().fail_unless(&["a".into()], "a", "m").verdict,
            Verdict::Warn
        );
        assert_eq!(check().fail_unless(&[], "a", "m").verdict, Verdict::Fail);
        assert_eq!(check().unless(true, "m").mend, None);
    }

    #[test]
    fn an_install_is_seen_by_what_runs_of_it() {
        let status = |supervisor: Value, plane: Value| {
            nothing_seen(&json!({"supervisor": supervisor, "planes": {"p": plane}}))
        };
        assert!(status(Value::Null, json!({"serving": false})));
        assert!(!status(json!({"pid": 1}), json!({"serving": false})));
        assert!(!status(Value::Null, json!({"version": "0.1.0"})));
    }

    #[test]
    fn the_screen_explains_what_is_not_well() {
        let checks = vec![
            Check::new("host.kernel", "old ones lack layers", "6.18"),
            Check::new("files.token", "who reads it can give orders", "mode 644")
                .fail("chmod 600 x"),
        ];
        let value = json!({"verdict": Verdict::Fail, "checks": checks});
        assert_eq!(
            shown(&Screen::new(false, true), &value),
            "ok    host.kernel            6.18\n\
             FAIL  files.token            mode 644\n      \
             why:  who reads it can give orders\n      \
             mend: chmod 600 x\n\n2 checks: 0 to look at, 1 to mend\n"
        );
    }
}
