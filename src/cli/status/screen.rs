//! The text of `keepgate status`.

use serde_json::Value;

use super::{answers, budgets, is_ready};
use crate::cli::layout::{count, duration, grouped, number, text, time};
use crate::cli::print::{Screen, Style};
use crate::wire::messages::Role;
use crate::wire::text::{Escaped, escaped};

/// Calls without an outcome that are named.
const UNKNOWN_NAMED: usize = 5;

/// Longest reason and hint of a connector that are shown, in characters.
const WHY_SHOWN: usize = 300;

/// All planes.
pub(super) fn all(screen: &Screen, value: &Value) -> String {
    let supervisor = value.get("supervisor").filter(|known| !known.is_null());
    let planes = value.get("planes").and_then(Value::as_object);
    let answer = planes
        .into_iter()
        .flatten()
        .any(|(_, plane)| answers(plane));
    let dir = text(value, "dir");
    let mut shown = match supervisor {
        Some(known) => format!("keepgate serves {dir}, pid {}\n", number(known, "pid")),
        None if answer => format!("keepgate serves {dir}\n"),
        None => format!(
            "{} {dir}\n",
            screen.paint(Style::Bad, "no supervisor is seen for"),
        ),
    };
    if let Some(error) = value.get("config_error").and_then(Value::as_str) {
        shown += &format!("{} {error}\n", screen.paint(Style::Bad, "configuration:"));
    }
    for (name, plane) in planes.into_iter().flatten() {
        shown.push('\n');
        shown += &one(screen, &escaped(name), plane);
    }
    shown
}

fn one(screen: &Screen, name: &str, plane: &Value) -> String {
    let serving = plane.get("serving").and_then(Value::as_bool) == Some(true);
    let state = match serving {
        true => screen.paint(Style::Good, "serving"),
        false => screen.paint(Style::Bad, "not serving"),
    };
    let mut shown = format!(
        "{} {state}\n",
        screen.paint(Style::Bold, format!("plane {name}"))
    );
    let mut row = |label: &str, what: String| {
        if !what.is_empty() {
            let label = screen.paint(Style::Dim, format!("{label:<11}"));
            shown += &format!("  {label} {what}\n");
        }
    };
    row("why", text(plane, "why"));
    if plane.get("mode").is_some() {
        row("mode", mode(screen, plane));
        row("separation", text(plane, "separation"));
        row("policy", policy(plane));
        row("agents", agents(plane));
        row("listens", listens(plane));
        row("made of", made_of(screen, plane));
        row("log", log(screen, plane));
        row("jail", jail(screen, plane));
        row("limits", limits(plane));
        row("degraded", degraded(screen, plane));
        row("unknown", unknown(screen, plane));
        row("up", duration(number(plane, "uptime_s")));
    }
    for (at, line) in connectors(screen, plane).into_iter().enumerate() {
        row(if at == 0 { "connectors" } else { "" }, line);
    }
    for (at, line) in budgets::lines(screen, plane).into_iter().enumerate() {
        row(if at == 0 { "used" } else { "" }, line);
    }
    for (at, line) in upstreams(screen, plane).into_iter().enumerate() {
        row(if at == 0 { "servers" } else { "" }, line);
    }
    for (at, line) in roles(screen, plane).into_iter().enumerate() {
        row(if at == 0 { "roles" } else { "" }, line);
    }
    shown
}

/// How many connectors can be used, and a line for each one that cannot: why, and what mends it.
fn connectors(screen: &Screen, plane: &Value) -> Vec<String> {
    let all = plane.get("connectors").and_then(Value::as_object);
    let Some(all) = all.filter(|all| !all.is_empty()) else {
        return Vec::new();
    };
    let (good, bad): (Vec<_>, Vec<_>) = all
        .iter()
        .partition(|(_, one)| text(one, "state") == "approved");
    let line = |(name, one): (&String, &Value)| {
        let state = text(one, "state");
        let state = match state.as_str() {
            "quarantined" => screen.paint(Style::Bad, state),
            _ => screen.paint(Style::Warn, state),
        };
        let why = Escaped::again(&text(one, "why"), WHY_SHOWN).to_string();
        let hint = match text(one, "hint").as_str() {
            "" => String::new(),
            hint => format!("; {}", Escaped::again(hint, WHY_SHOWN)),
        };
        format!("{name}: {state}: {why}{hint}")
    };
    let of = count(
        u64::try_from(all.len()).unwrap_or(0),
        "connector",
        "connectors",
    );
    let usable = format!("{} of {of} can be used", good.len());
    std::iter::once(usable)
        .chain(bad.into_iter().map(line))
        .collect()
}

/// One line for each server of an agent: what it does, since when, and its last error.
fn upstreams(screen: &Screen, plane: &Value) -> Vec<String> {
    let all = plane.get("upstreams").and_then(Value::as_array);
    let line = |one: &Value| {
        let state = text(one, "state");
        let state = match state.as_str() {
            "quarantined" => screen.paint(Style::Bad, state),
            "resting" => screen.paint(Style::Warn, state),
            _ => state,
        };
        let restarts = match number(one, "restarts") {
            0 => String::new(),
            n => format!(", {}", count(n, "restart", "restarts")),
        };
        // What of an error is a server's was escaped where it came in.
        let error = match one.get("error").and_then(Value::as_str) {
            None | Some("") => String::new(),
            Some(error) => format!("; last error: {}", Escaped::new(error)),
        };
        format!(
            "{} for {}: {state} since {}{restarts}{error}",
            text(one, "connector"),
            text(one, "agent"),
            time(&text(one, "since")),
        )
    };
    all.into_iter().flatten().map(line).collect()
}

fn mode(screen: &Screen, plane: &Value) -> String {
    let mode = match text(plane, "mode").as_str() {
        "live" => screen.paint(Style::Bold, "live: tools change things"),
        _ => "rehearse: nothing is changed".into(),
    };
    let since = match text(plane, "since").as_str() {
        "" => String::new(),
        since => format!(", since {}", time(since)),
    };
    let demo = match plane.get("demo").and_then(Value::as_bool) {
        Some(true) => screen.paint(Style::Warn, "  (a demonstration)"),
        _ => String::new(),
    };
    format!("{mode}{since}{demo}")
}

fn policy(plane: &Value) -> String {
    let Some(policy) = plane.get("policy").filter(|policy| policy.is_object()) else {
        return String::new();
    };
    let trouble = text(policy, "trouble");
    if !trouble.is_empty() {
        return format!("nothing is permitted: {trouble}; `keepgate policy apply` another one");
    }
    let since = time(&text(policy, "applied"));
    format!(
        "{:.12} from {}, since {since}",
        text(policy, "digest"),
        text(policy, "file")
    )
}

fn agents(plane: &Value) -> String {
    let flying = count(number(plane, "in_flight"), "call", "calls");
    format!(
        "{} enrolled, {flying} in flight",
        grouped(number(plane, "agents"))
    )
}

/// Agents of this host that are not what was pinned, each with what is known of it.
fn made_of(screen: &Screen, plane: &Value) -> String {
    let all = plane.get("runtimes").and_then(Value::as_object);
    let mut pinned = 0_u64;
    let mut others = Vec::new();
    for (name, runtime) in all.into_iter().flatten() {
        let (name, state) = (Escaped::cut(name, 64), text(runtime, "state"));
        match (state.as_str(), text(runtime, "why")) {
            ("pinned", _) => pinned += 1,
            (state, why) if why.is_empty() => others.push(format!("{name} is {state}")),
            (_, why) => {
                others.push(screen.paint(Style::Bad, format!("{name} calls nothing: {why}")))
            }
        }
    }
    if pinned > 0 {
        let what = count(
            pinned,
            "agent is what was pinned",
            "agents are what was pinned",
        );
        others.insert(0, what);
    }
    others.join("; ")
}

/// Where agents connect over HTTP, and what they show there.
fn listens(plane: &Value) -> String {
    let doors = plane.get("listen").and_then(Value::as_array);
    let doors: Vec<String> = doors
        .into_iter()
        .flatten()
        .map(|door| format!("{} ({})", text(door, "url"), text(door, "proof")))
        .collect();
    doors.join(", ")
}

fn log(screen: &Screen, plane: &Value) -> String {
    let Some(log) = plane.get("log") else {
        return String::new();
    };
    let size = count(number(log, "size"), "entry", "entries");
    match log.get("blocked").and_then(Value::as_str) {
        Some(why) => {
            let why = format!("takes no entries, so no call is served: {}", escaped(why));
            format!("{size}; {}", screen.paint(Style::Bad, why))
        }
        None => format!("{size}, root {:.16}", text(log, "root")),
    }
}

fn jail(screen: &Screen, plane: &Value) -> String {
    let Some(jailer) = plane.get("jailer").filter(|jailer| jailer.is_object()) else {
        return screen.paint(Style::Bad, "no self-test yet");
    };
    let test = jailer.get("self_test").unwrap_or(jailer);
    let abi = number(test, "landlock_abi");
    let attempted = count(
        number(test, "attempted"),
        "forbidden action",
        "forbidden actions",
    );
    match jailer.get("fit").and_then(Value::as_bool) {
        Some(true) => format!("all of {attempted} failed as they must, Landlock ABI {abi}"),
        _ => {
            let through = names(test, "succeeded").join(", ");
            let why = match through.is_empty() {
                false => through,
                true => "what it is or lacks is not accepted; see `roles`".into(),
            };
            screen.paint(Style::Bad, format!("unfit: {why}"))
        }
    }
}

/// How jails are limited as groups, and why by less than could be.
pub(in crate::cli) fn limits(plane: &Value) -> String {
    let Some(how) = plane.pointer("/jailer/self_test/limiting") else {
        return String::new();
    };
    let mut by = names(how, "controllers");
    by.extend((how.get("kill").and_then(Value::as_bool) == Some(true)).then(|| "kill".into()));
    let shown = match by.as_slice() {
        [] => "of each process only (rlimits)".to_owned(),
        by => format!("of whole jails, by cgroup: {}", by.join(", ")),
    };
    match how.get("why").and_then(Value::as_str) {
        Some(why) => format!("{shown}; {}", Escaped::cut(why, 256)),
        None => shown,
    }
}

fn degraded(screen: &Screen, plane: &Value) -> String {
    let missing = names(plane, "missing");
    let shown = |name: String| match missing.contains(&name) {
        true => screen.paint(Style::Warn, name),
        false => format!("{name} (accepted)"),
    };
    names(plane, "degraded")
        .into_iter()
        .map(shown)
        .collect::<Vec<_>>()
        .join(", ")
}

fn names(value: &Value, member: &str) -> Vec<String> {
    let items = value
        .get(member)
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    items
        .filter_map(Value::as_str)
        .map(|name| Escaped::cut(name, 64).to_string())
        .collect()
}

fn unknown(screen: &Screen, plane: &Value) -> String {
    let Some(unknown) = plane
        .get("unknown")
        .filter(|unknown| number(unknown, "total") > 0)
    else {
        return String::new();
    };
    let total = count(number(unknown, "total"), "call has", "calls have");
    let calls = unknown
        .get("calls")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let named: Vec<String> = calls
        .take(UNKNOWN_NAMED)
        .map(|call| format!("entry {}", number(call, "seq")))
        .collect();
    let total = screen.paint(Style::Warn, format!("{total} no outcome"));
    format!(
        "{total}: look at {} with `keepgate log show`",
        named.join(", ")
    )
}

/// A line for each group: the ready ones together, each other with its reason.
fn roles(screen: &Screen, plane: &Value) -> Vec<String> {
    let Some(roles) = plane.get("roles").and_then(Value::as_object) else {
        return Vec::new();
    };
    let mut ready = Vec::new();
    let mut others = Vec::new();
    for role in Role::ALL {
        let Some(seat) = roles.get(role.name()) else {
            continue;
        };
        let restarts = match number(seat, "restarts") {
            0 => String::new(),
            n => format!(" ({})", count(n, "restart", "restarts")),
        };
        if is_ready(seat) {
            ready.push(format!("{}{restarts}", role.name()));
        } else {
            let why = match text(seat, "why").as_str() {
                "" => String::new(),
                why => format!(": {why}"),
            };
            let line = format!("{} is not ready{restarts}{why}", role.name());
            others.push(screen.paint(Style::Bad, line));
        }
    }
    if !ready.is_empty() {
        others.insert(0, format!("{} ready", ready.join(", ")));
    }
    others
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plane_is_one_short_screen() {
        let plane = json!({
            "serving": true, "mode": "rehearse", "since": null, "demo": true,
            "separation": "one user",
            "policy": {"digest": "0123456789abcdef", "file": "a.cedar", "applied": "2026-11-24T09:12:47.123456Z"},
            "agents": 2, "in_flight": 1,
            "listen": [{"name": "local", "url": "http://127.0.0.1:7411/mcp", "proof": "token"}],
            "log": {"size": 8812, "root": "ff00ff00ff00ff00ff", "blocked": null},
            "jailer": {"fit": true, "self_test": {"attempted": 61, "landlock_abi": 7, "limiting": {"controllers": ["pids"], "kill": true, "why": "no\nmore"}}},
            "degraded": ["one-user", "no-cgroup-controllers"], "missing": ["one-user"],
            "unknown": {"total": 1, "calls": [{"seq": 7}]},
            "uptime_s": 3_661,
            "connectors": {
                "files": {"state": "approved", "why": null, "hint": null},
                "mail": {"state": "unusable", "why": "`/opt/mail` is not there", "hint": "put it back"},
            },
            "upstreams": [{"agent": "a", "connector": "files", "state": "resting", "restarts": 2,
                "since": "2026-11-24T09:12:47.123456Z", "error": "it has ended"}],
            "roles": {"keeper": {"ready": true, "restarts": 1}, "front": {"ready": false, "why": "bad\u{1b}"}},
        });
        let value = json!({"dir": "/d", "supervisor": {"pid": 7}, "config_error": null, "planes": {"production": plane}});
        let expected = "keepgate serves /d, pid 7\n\n\
            plane production serving\n  \
            mode        rehearse: nothing is changed  (a demonstration)\n  \
            separation  one user\n  \
            policy      0123456789ab from a.cedar, since 2026-11-24 09:12:47 UTC\n  \
            agents      2 enrolled, 1 call in flight\n  \
            listens     http://127.0.0.1:7411/mcp (token)\n  \
            log         8,812 entries, root ff00ff00ff00ff00\n  \
            jail        all of 61 forbidden actions failed as they must, Landlock ABI 7\n  \
            limits      of whole jails, by cgroup: pids, kill; no\\nmore\n  \
            degraded    one-user, no-cgroup-controllers (accepted)\n  \
            unknown     1 call has no outcome: look at entry 7 with `keepgate log show`\n  \
            up          1 h 1 min\n  \
            connectors  1 of 2 connectors can be used\n              \
            mail: unusable: `/opt/mail` is not there; put it back\n  \
            servers     files for a: resting since 2026-11-24 09:12:47 UTC, 2 restarts; last error: it has ended\n  \
            roles       keeper (1 restart) ready\n              \
            front is not ready: bad\\u{1b}\n";
        assert_eq!(all(&Screen::new(false, true), &value), expected);
    }

    #[test]
    fn an_agent_that_is_another_one_is_told_with_what_changed() {
        let plane = json!({"runtimes": {
            "a": {"state": "pinned", "why": null},
            "b": {"state": "changed", "why": "file `/opt/b/agent.py` changed in content"},
            "c": {"state": "not looked at yet"},
        }});
        assert_eq!(
            made_of(&Screen::new(false, true), &plane),
            "1 agent is what was pinned; b calls nothing: file `/opt/b/agent.py` changed in content; \
             c is not looked at yet"
        );
        assert_eq!(made_of(&Screen::new(false, true), &json!({})), "");
    }

    #[test]
    fn limits_say_what_they_are_of() {
        let of = |how| limits(&json!({"jailer": {"self_test": {"limiting": how}}}));
        let all = json!({"controllers": ["memory", "pids", "cpu"], "kill": true, "why": null});
        assert_eq!(
            of(all),
            "of whole jails, by cgroup: memory, pids, cpu, kill"
        );
        let none = json!({"controllers": [], "kill": false, "why": "x"});
        assert_eq!(of(none), "of each process only (rlimits); x");
        assert_eq!(limits(&json!({})), "");
    }

    #[test]
    fn a_silent_plane_says_why() {
        let roles = json!({"keeper": {"ready": false, "restarts": 2, "why": "the log is torn"}});
        let plane = json!({"serving": false, "why": "plane `p` does not run here", "roles": roles});
        let value = json!({"dir": "/d", "supervisor": null, "planes": {"p": plane}});
        let shown = all(&Screen::new(false, true), &value);
        assert!(shown.contains("no supervisor is seen for /d"), "{shown}");
        assert!(
            shown.contains("keeper is not ready (2 restarts): the log is torn"),
            "{shown}"
        );
    }
}
