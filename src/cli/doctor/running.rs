//! What runs now: supervisor, planes, agents.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde_json::Value;

use super::Check;
use crate::cli::app::App;
use crate::cli::layout::{number, text};
use crate::cli::status::screen;
use crate::config::{Config, Plane};
use crate::jail::NO_CGROUPS;
use crate::wire::admin::Ask;

pub(super) fn all(app: &App, config: &Config, status: &Value) -> Vec<Check> {
    let mut checks = vec![supervisor(status)];
    let Some(planes) = status.get("planes").and_then(Value::as_object) else {
        return checks;
    };
    for (name, plane) in planes {
        checks.push(serves(name, plane));
        checks.extend(version(name, plane));
        checks.extend(roles(name, plane));
        checks.extend(missing(name, plane));
        checks.extend(limits(name, plane));
        checks.extend(runtimes(name, plane));
        checks.extend(connectors(name, plane));
        let answers = plane.get("version").is_some();
        if let Some(configured) = config.planes.get(name).filter(|_| answers) {
            let agents = agents(app, name);
            checks.push(users(name, configured, &agents));
        }
    }
    checks
}

fn supervisor(status: &Value) -> Check {
    let why = "it starts the roles of every plane, and starts them again when they die";
    match status
        .get("supervisor")
        .filter(|supervisor| supervisor.is_object())
    {
        Some(supervisor) => Check::new(
            "run.supervisor",
            why,
            format!("pid {}", number(supervisor, "pid")),
        ),
        None => Check::new("run.supervisor", why, "none is seen").warn("keepgate serve"),
    }
}

fn serves(name: &str, plane: &Value) -> Check {
    let why = "a plane whose keeper is silent serves no call";
    let check = |found: String| Check::new(format!("run.{name}"), why, found);
    if plane.get("serving").and_then(Value::as_bool) == Some(true) {
        return check(format!("serving, {}", text(plane, "mode")));
    }
    let blocked = plane.pointer("/log/blocked").and_then(Value::as_str);
    if let Some(blocked) = blocked {
        return check(format!("the log takes no entries: {blocked}"))
            .fail("mend the disk, then start `keepgate serve` again");
    }
    let why = match text(plane, "why").as_str() {
        "" => "not serving".to_owned(),
        why => why.to_owned(),
    };
    check(why).warn("`keepgate status` shows the role that is missing, and why")
}

/// A role that does not run, though the keeper does: agents cannot connect, or nothing is carried out.
fn roles(name: &str, plane: &Value) -> Option<Check> {
    let roles = plane.get("roles")?.as_object()?;
    let why = "a plane whose front, jailer or egress does not run serves no call";
    let down = roles
        .iter()
        .find(|(_, role)| role.get("ready").and_then(Value::as_bool) == Some(false));
    let id = format!("run.{name}.roles");
    Some(match down {
        None => Check::new(id, why, "all run"),
        Some((role, seat)) => {
            let restarts = number(seat, "restarts");
            let found = match text(seat, "why").as_str() {
                "" => format!("{role} does not run, after {restarts} restarts"),
                said => format!("{role} does not run, after {restarts} restarts: {said}"),
            };
            Check::new(id, why, found).fail("mend what it says, and start `keepgate serve` again")
        }
    })
}

fn version(name: &str, plane: &Value) -> Option<Check> {
    let running = plane.get("version").and_then(Value::as_str)?;
    let why = "an old keeper serves until it is started again";
    let own = env!("CARGO_PKG_VERSION");
    Some(
        Check::new(format!("run.{name}.version"), why, running).warn_unless(
            running == own,
            format!("start `keepgate serve` again: this is {own}"),
        ),
    )
}

fn missing(name: &str, plane: &Value) -> Option<Check> {
    let missing = plane.get("missing").and_then(Value::as_array)?;
    plane.get("degraded")?;
    let names: Vec<&str> = missing.iter().filter_map(Value::as_str).collect();
    let why = "protection that is missing is named, and accepted or mended, never forgotten";
    let found = if names.is_empty() {
        "nothing is missing unsaid".into()
    } else {
        names.join(", ")
    };
    let mend = format!("mend it, or accept it in [appliance]: accept = {names:?}");
    Some(
        Check::new(format!("run.{name}.protection"), why, found)
            .warn_unless(names.is_empty(), mend),
    )
}

/// Agents of this host are what was pinned.
fn runtimes(name: &str, plane: &Value) -> Option<Check> {
    let all = plane.get("runtimes")?.as_object()?;
    if all.is_empty() {
        return None;
    }
    let why = "an agent whose own files have changed is not the one that was looked at";
    let id = format!("run.{name}.runtimes");
    let other = all.iter().find(|(_, one)| text(one, "state") != "pinned");
    Some(match other {
        None => Check::new(id, why, format!("{} pinned, all as they were", all.len())),
        Some((agent, one)) => {
            let found = match text(one, "why").as_str() {
                "" => format!("{agent} is {}", text(one, "state")),
                why => format!("{agent} calls nothing: {why}"),
            };
            let mend = match text(one, "hint").as_str() {
                "" => format!("keepgate agent diff {agent}"),
                hint => hint.to_owned(),
            };
            Check::new(id, why, found).warn(mend)
        }
    })
}

/// Whole jails are limited and ended by their cgroups.
fn limits(name: &str, plane: &Value) -> Option<Check> {
    let how = plane.pointer("/jailer/self_test/limiting")?;
    let why = "what a jail may use is counted for all its processes together only in a cgroup";
    let check = Check::new(format!("run.{name}.limits"), why, screen::limits(plane));
    let lacks = how.get("why").is_some_and(Value::is_string);
    let accepted = plane.get("accepted").and_then(Value::as_array);
    if accepted.is_some_and(|names| names.iter().any(|name| name == NO_CGROUPS)) {
        return Some(check);
    }
    Some(check.warn_unless(!lacks, text(how, "mend")))
}

/// A check for each connector that cannot be used.
fn connectors(name: &str, plane: &Value) -> Vec<Check> {
    let all = plane.get("connectors").and_then(Value::as_object);
    let bad = all.into_iter().flatten().filter_map(|(connector, one)| {
        let state = text(one, "state");
        if state == "approved" {
            return None;
        }
        let why =
            "agents do not see the tools of a connector that cannot be used; the others go on";
        let found = format!("{state}: {}", text(one, "why"));
        let check = Check::new(format!("run.{name}.connectors.{connector}"), why, found);
        Some(check.warn(match text(one, "hint").as_str() {
            "" => format!(
                "`keepgate connector diff {connector}` shows what changed; vet and approve it again"
            ),
            hint => hint.to_owned(),
        }))
    });
    bad.collect()
}

/// Name of each enrolled agent, and uid of those that are users of this host; none where the keeper does not say.
fn agents(app: &App, plane: &str) -> Vec<(String, Option<u64>)> {
    let asked = app.keeper_if_any(plane).ok().flatten();
    let answer = asked
        .and_then(|keeper| keeper.ask(Ask::AgentList).ok())
        .unwrap_or_default();
    let agents = answer
        .get("agents")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    agents
        .map(|agent| {
            (
                text(agent, "name"),
                agent.get("uid").and_then(Value::as_u64),
            )
        })
        .collect()
}

/// An agent that can write beneath a root by itself does not need the gate.
fn users(name: &str, plane: &Plane, agents: &[(String, Option<u64>)]) -> Check {
    let why = "an agent that reaches a root's files by itself goes around the gate";
    let check = |found: String| Check::new(format!("run.{name}.agents"), why, found);
    for (root, configured) in &plane.roots {
        let Ok(meta) = fs::metadata(&configured.path) else {
            continue;
        };
        let path = configured.path.display();
        let owner = u64::from(meta.uid());
        if let Some((agent, _)) = agents.iter().find(|(_, uid)| *uid == Some(owner)) {
            return check(format!(
                "root {root} belongs to agent {agent} (uid {owner})"
            ))
            .warn(format!("chown it to another user: chown -R USER {path}"));
        }
        if meta.mode() & 0o002 != 0 {
            return check(format!("anybody can write to root {root}"))
                .warn(format!("chmod o-w {path}"));
        }
    }
    check(format!("{} enrolled, none owns a root", agents.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_role_that_does_not_run_is_told_though_the_keeper_serves() {
        let plane = |ready| {
            json!({"serving": true, "roles": {
                "front": {"ready": ready, "restarts": 7, "why": "the key is not the certificate's"},
                "keeper": {"ready": true, "restarts": 0, "why": null},
            }})
        };
        assert_eq!(roles("p", &plane(true)).unwrap().verdict, Verdict::Ok);
        let check = roles("p", &plane(false)).unwrap();
        assert_eq!(check.verdict, Verdict::Fail);
        assert_eq!(
            check.found,
            "front does not run, after 7 restarts: the key is not the certificate's"
        );
    }

    #[test]
    fn a_plane_that_does_not_serve_says_why() {
        assert_eq!(
            serves("p", &json!({"serving": true, "mode": "live"})).verdict,
            Verdict::Ok
        );
        let check = serves(
            "p",
            &json!({"serving": false, "log": {"blocked": "no space"}}),
        );
        assert_eq!(check.verdict, Verdict::Fail);
        assert_eq!(
            serves("p", &json!({"serving": false, "why": "x"})).found,
            "x"
        );
        assert_eq!(
            supervisor(&json!({"supervisor": null})).verdict,
            Verdict::Warn
        );
        let missing = missing(
            "p",
            &json!({"missing": ["one-user"], "degraded": ["one-user"]}),
        );
        assert!(
            missing
                .unwrap()
                .mend
                .unwrap()
                .ends_with("accept = [\"one-user\"]")
        );
    }

    #[test]
    fn each_connector_that_cannot_be_used_is_told_with_what_mends_it() {
        let plane = json!({"connectors": {
            "files": {"state": "approved", "why": null, "hint": null},
            "mail": {"state": "unusable", "why": "`/opt/mail` is not there", "hint": "put it back"},
            "news": {"state": "quarantined", "why": "tool `x` was added", "hint": null},
        }});
        let checks = connectors("p", &plane);
        let ids: Vec<&str> = checks.iter().map(|check| check.id.as_str()).collect();
        assert_eq!(ids, ["run.p.connectors.mail", "run.p.connectors.news"]);
        assert!(checks.iter().all(|check| check.verdict == Verdict::Warn));
        assert_eq!(checks[0].found, "unusable: `/opt/mail` is not there");
        assert_eq!(checks[0].mend.as_deref(), Some("put it back"));
        assert!(checks[1].mend.as_deref().unwrap().contains("diff news"));
        assert!(connectors("p", &json!({})).is_empty());
    }

    #[test]
    fn what_limits_jails_is_told_with_what_would_limit_them_better() {
        let plane = |why: Value, accepted: Value| {
            let how = json!({"controllers": [], "kill": true, "why": why, "mend": "do x"});
            json!({"jailer": {"self_test": {"limiting": how}}, "accepted": accepted})
        };
        let check = limits("p", &plane(json!("y"), json!([]))).unwrap();
        assert_eq!(
            (check.verdict, check.mend.as_deref()),
            (Verdict::Warn, Some("do x"))
        );
        assert_eq!(check.found, "of whole jails, by cgroup: kill; y");
        let accepted = limits("p", &plane(json!("y"), json!([NO_CGROUPS]))).unwrap();
        assert_eq!(accepted.verdict, Verdict::Ok);
        let complete = limits("p", &plane(Value::Null, json!([]))).unwrap();
        assert_eq!(complete.verdict, Verdict::Ok);
        assert!(limits("p", &json!({"serving": false})).is_none());
    }

    #[test]
    fn an_agent_that_has_changed_is_found() {
        let plane = |state: &str, why: Value| json!({"runtimes": {"a": {"state": state, "why": why, "hint": "pin it"}}});
        let good = runtimes("p", &plane("pinned", Value::Null)).unwrap();
        assert_eq!(good.verdict, Verdict::Ok);
        let bad = runtimes("p", &plane("changed", json!("x.py was added"))).unwrap();
        assert_eq!(
            (bad.verdict, bad.mend.as_deref()),
            (Verdict::Warn, Some("pin it"))
        );
        assert_eq!(bad.found, "a calls nothing: x.py was added");
        assert!(runtimes("p", &json!({"runtimes": {}})).is_none());
    }

    #[test]
    fn an_agent_should_not_own_a_root() {
        let directory = tempfile::tempdir().unwrap();
        let text = format!("[planes.p.roots.r]\npath = {:?}\n", directory.path());
        let config = Config::parse(&text, "t").unwrap();
        let uid = u64::from(fs::metadata(directory.path()).unwrap().uid());
        let agents = |uid| vec![("t".to_owned(), None), ("a".to_owned(), Some(uid))];
        assert_eq!(
            users("p", &config.planes["p"], &agents(uid)).verdict,
            Verdict::Warn
        );
        assert_eq!(
            users("p", &config.planes["p"], &agents(uid + 1)).verdict,
            Verdict::Ok
        );
    }
}
