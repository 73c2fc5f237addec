//! `run/status.json`: who runs, for `keepgate status` when a keeper cannot answer for itself.

use serde_json::{Map, Value, json};

use super::plane::Plane;
use crate::config::Paths;
use crate::wire::messages::Role;

/// Writes what is known now, where it differs from what is there. Best effort: it is a courtesy to
/// the operator, never read by Keepgate's roles.
pub(super) fn write(paths: &Paths, all: &[Plane]) {
    let planes: Map<String, Value> = all
        .iter()
        .map(|plane| (plane.name.clone(), of(plane)))
        .collect();
    let doors: Map<String, Value> = all
        .iter()
        .map(|plane| (plane.name.clone(), plane.doors()))
        .collect();
    let text = format!(
        "{:#}\n",
        json!({"pid": std::process::id(), "planes": planes, "listen": doors})
    );
    let path = paths.supervisor_status();
    if std::fs::read_to_string(&path).is_ok_and(|known| known == text) {
        return;
    }
    if let Err(error) = crate::sys::file::replace(&path, text.as_bytes(), 0o600) {
        tracing::warn!(%error, "cannot write the supervisor's status");
    }
}

/// Nobody runs any more.
pub(super) fn remove(paths: &Paths) {
    // One that is not there needs no removing; one that stays is a courtesy that lies.
    drop(std::fs::remove_file(paths.supervisor_status()));
}

fn of(plane: &Plane) -> Value {
    let roles: Map<String, Value> = Role::ALL
        .into_iter()
        .filter_map(|role| Some((role, plane.roles.get(&role)?)))
        .map(|(role, seat)| {
            let value = json!({
                "pid": seat.pid(),
                "ready": seat.is_ready(),
                "restarts": seat.restarts,
                "why": seat.why,
                "unusable": seat.partly,
            });
            (role.name().to_owned(), value)
        })
        .collect();
    Value::Object(roles)
}
