//! `keepgate status`: every plane on one screen, from its keeper, or where that is silent from the
//! supervisor.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::app::App;
use super::client::{Client, OPERATORS, SHORT};
use super::exit::Exit;
use crate::config::{Config, DEFAULT_PLANE};
use crate::error::{Context, Error, Kind, Result};
use crate::wire::admin::Ask;
use crate::wire::messages::Role;
use crate::wire::text::escaped;

mod budgets;
pub(super) mod screen;

/// Roles a keeper is linked with.
const LINKS: usize = 3;
/// Longest status file read, in bytes.
const FILE_MAX: u64 = 1 << 20;

pub(super) fn run(app: &App) -> Result<Exit> {
    let value = gather(app)?;
    if not_ours(&value) {
        let dir = escaped(&app.paths.dir().to_string_lossy());
        return Err(Error::of(
            Kind::Denied,
            format!("this user may not ask what `{dir}` does"),
        )
        .hint(OPERATORS));
    }
    let good = value.get("good").and_then(Value::as_bool) == Some(true);
    app.screen
        .answer(&value, |value| screen::all(&app.screen, value))?;
    Ok(if good { Exit::Ok } else { Exit::Degraded })
}

/// Everything that is known: `{good, supervisor, config_error, planes: {NAME: {…}}}`.
pub(super) fn gather(app: &App) -> Result<Value> {
    let supervisor = supervisor(app);
    let config = Config::find(&app.paths.config());
    let config_error = config.as_ref().err().map(|error| error.message());
    let names = names(app, config.ok().flatten().as_ref(), &supervisor)?;
    let token = app.token()?;
    // Each keeper may take its time; none waits for another.
    let planes: Vec<(String, Value)> = std::thread::scope(|scope| {
        let asked: Vec<_> = names
            .into_iter()
            .map(|name| {
                let (socket, token) = (app.paths.admin_socket(&name), token.clone());
                let plane = name.clone();
                let ask =
                    move || Client::connect(&socket, &plane, token)?.ask_within(Ask::Status, SHORT);
                (name, scope.spawn(ask))
            })
            .collect();
        asked
            .into_iter()
            .map(|(name, asked)| {
                let answer = asked.join().unwrap_or_else(|_| Err(gone()));
                let mut plane = plane(answer, roles(&supervisor, &name));
                if let Some(listen) = listeners(&supervisor, &name)
                    && let Some(members) = plane.as_object_mut()
                {
                    members.insert("listen".into(), listen);
                }
                (name, plane)
            })
            .collect()
    });
    // Roles die with their supervisor, so one that answers has one.
    let runs = supervisor.is_some() || planes.iter().any(|(_, plane)| answers(plane));
    let good = runs && config_error.is_none() && planes.iter().all(|(_, plane)| is_good(plane));
    let planes: Map<String, Value> = planes.into_iter().collect();
    Ok(json!({
        "good": good,
        "version": env!("CARGO_PKG_VERSION"),
        "dir": app.paths.dir().to_string_lossy(),
        "supervisor": supervisor.map(|value| json!({"pid": value.get("pid")})),
        "config_error": config_error,
        "planes": planes,
    }))
}

/// Something may well run, but this user may ask none of it.
pub(super) fn not_ours(value: &Value) -> bool {
    let seen = value.get("supervisor").is_some_and(Value::is_object);
    let planes = value.get("planes").and_then(Value::as_object);
    let denied = |plane: &Value| plane.get("denied").and_then(Value::as_bool) == Some(true);
    !seen && planes.is_some_and(|planes| !planes.is_empty() && planes.values().all(denied))
}

fn gone() -> Error {
    Error::new("the question was not asked")
}

/// The planes to show: the one asked for, or those configured, or those that run.
fn names(app: &App, config: Option<&Config>, supervisor: &Option<Value>) -> Result<Vec<String>> {
    if app.asked_plane().is_some() {
        return Ok(vec![app.plane()?]);
    }
    let known = |config: &Config| config.planes.keys().cloned().collect();
    let running = || {
        let planes = supervisor.as_ref()?.get("planes")?.as_object()?;
        Some(planes.keys().cloned().collect())
    };
    Ok(config
        .map(known)
        .or_else(running)
        .unwrap_or_else(|| vec![DEFAULT_PLANE.into()]))
}

/// What the supervisor says of itself, where it runs and this user may read it.
pub(super) fn supervisor(app: &App) -> Option<Value> {
    supervisor_at(&app.paths.supervisor_status())
}

/// Why the keeper of a plane does not start, where it is tried again and again.
pub(super) fn keeper_refuses(status: &Path, plane: &str) -> Option<String> {
    let supervisor = supervisor_at(status)?;
    let keeper = supervisor
        .get("planes")?
        .get(plane)?
        .get(Role::Keeper.name())?;
    let why = keeper.get("why")?.as_str()?;
    let ready = keeper.get("ready").and_then(Value::as_bool);
    (ready == Some(false)).then(|| escaped(why))
}

fn supervisor_at(status: &Path) -> Option<Value> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(status).ok()?;
    file.take(FILE_MAX).read_to_string(&mut text).ok()?;
    let value: Value = serde_json::from_str(&text).context(String::new).ok()?;
    let pid = i32::try_from(value.get("pid")?.as_i64()?).ok()?;
    // A file left behind by one that was killed names a process that is no more.
    let alive = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None);
    (pid > 0 && alive != Err(nix::errno::Errno::ESRCH)).then_some(value)
}

fn roles(supervisor: &Option<Value>, plane: &str) -> Option<Value> {
    supervisor.as_ref()?.get("planes")?.get(plane).cloned()
}

/// The TCP sockets of a plane.
fn listeners(supervisor: &Option<Value>, plane: &str) -> Option<Value> {
    supervisor.as_ref()?.get("listen")?.get(plane).cloned()
}

/// One plane: the keeper's answer, or why there is none, and its roles.
fn plane(answer: Result<Value>, roles: Option<Value>) -> Value {
    let mut value = match answer {
        Ok(value @ Value::Object(_)) => value,
        Ok(_) => json!({"serving": false, "why": "the keeper's answer is none"}),
        Err(error) if error.kind() == Kind::Denied => {
            json!({"serving": false, "why": error.message(), "denied": true})
        }
        Err(error) => json!({"serving": false, "why": error.message()}),
    };
    let missing = missing(&value);
    if let Some(members) = value.as_object_mut() {
        members.insert("missing".into(), json!(missing));
        members.insert("roles".into(), roles.unwrap_or_default());
    }
    value
}

/// Degradations that the operator has not accepted.
fn missing(plane: &Value) -> Vec<String> {
    let list = |name: &str| -> Vec<&str> {
        let items = plane.get(name).and_then(Value::as_array);
        items
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect()
    };
    let accepted = list("accepted");
    let degraded = list("degraded").into_iter();
    degraded
        .filter(|name| !accepted.contains(name))
        .map(Into::into)
        .collect()
}

fn is_good(plane: &Value) -> bool {
    let yes = |name: &str| plane.get(name).and_then(Value::as_bool) == Some(true);
    let length = |name: &str| {
        plane
            .get(name)
            .and_then(Value::as_array)
            .map_or(0, Vec::len)
    };
    let blocked = plane
        .pointer("/log/blocked")
        .is_some_and(|why| !why.is_null());
    let roles = plane.get("roles").and_then(Value::as_object);
    let ready = roles.into_iter().flatten().all(|(_, role)| is_ready(role));
    yes("serving") && !blocked && ready && length("links") == LINKS && length("missing") == 0
}

/// The keeper itself has spoken.
fn answers(plane: &Value) -> bool {
    plane.get("version").is_some()
}

fn is_ready(role: &Value) -> bool {
    role.get("ready").and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Value {
        json!({
            "serving": true,
            "links": ["jailer", "egress", "front"],
            "log": {"blocked": null},
            "degraded": ["one-user"],
            "accepted": ["one-user"],
        })
    }

    #[test]
    fn who_may_ask_nothing_is_told_so() {
        let denied = || plane(Err(Error::of(Kind::Denied, "no")), None);
        let silent = || plane(Err(Error::new("no")), None);
        let ask = |supervisor: Value, planes: Value| {
            not_ours(&json!({"supervisor": supervisor, "planes": planes}))
        };
        assert!(ask(Value::Null, json!({"a": denied(), "b": denied()})));
        assert!(!ask(Value::Null, json!({"a": denied(), "b": silent()})));
        assert!(!ask(json!({"pid": 1}), json!({"a": denied()})));
        assert!(!ask(Value::Null, json!({})));
    }

    #[test]
    fn good_means_that_nothing_is_missing() {
        let roles = |ready| Some(json!({"keeper": {"ready": true}, "front": {"ready": ready}}));
        assert!(is_good(&plane(Ok(healthy()), roles(true))));
        assert!(is_good(&plane(Ok(healthy()), None)));
        assert!(!is_good(&plane(Ok(healthy()), roles(false))));
        for (name, bad) in [
            ("serving", json!(false)),
            ("links", json!(["jailer"])),
            ("log", json!({"blocked": "no space"})),
            ("accepted", json!([])),
        ] {
            let mut value = healthy();
            value[name] = bad;
            assert!(!is_good(&plane(Ok(value), None)), "{name}");
        }
        let silent = plane(Err(Error::new("no")), None);
        assert!(!is_good(&silent));
        assert_eq!(silent["why"], "no");
    }
}
