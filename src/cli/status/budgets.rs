//! Use against limits, on the screen of `keepgate status`.

use serde_json::Value;

use crate::cli::layout::{bytes, grouped, number, text};
use crate::cli::print::{Screen, Style};

/// Lines that are shown; `--json` has all.
const LINES: usize = 20;

/// A line for each agent that has used something limited: what it has used most of comes first.
pub(super) fn lines(screen: &Screen, plane: &Value) -> Vec<String> {
    let all = plane.get("limits").and_then(Value::as_array);
    let mut uses: Vec<&Value> = all.into_iter().flatten().collect();
    uses.sort_by_key(|one| {
        let (used, limit) = (number(one, "used"), number(one, "limit").max(1));
        let share = u128::from(used) * 1_000 / u128::from(limit);
        (text(one, "agent"), std::cmp::Reverse(share))
    });
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for one in uses {
        let agent = text(one, "agent");
        let shown = shown(screen, one);
        match lines.last_mut().filter(|(known, _)| *known == agent) {
            Some((_, parts)) => parts.push(shown),
            None => lines.push((agent, vec![shown])),
        }
    }
    let more = lines.len().saturating_sub(LINES);
    let lines = lines.into_iter().take(LINES);
    let mut lines: Vec<String> = lines
        .map(|(agent, parts)| format!("{agent}: {}", parts.join(", ")))
        .collect();
    if more > 0 {
        lines.push(format!("and {more} agents more: `--json` has all"));
    }
    lines
}

fn shown(screen: &Screen, one: &Value) -> String {
    let (used, limit) = (number(one, "used"), number(one, "limit"));
    let of = |what: &str| format!("{} of {} {what}", grouped(used), grouped(limit));
    let tool = text(one, "of");
    let what = match text(one, "which").as_str() {
        "run_calls" => of("calls this run"),
        "run_writes" => of("writes this run"),
        "run_result_bytes" => format!("{} of {} of results this run", bytes(used), bytes(limit)),
        "tool_calls_per_day" => of(&format!("calls of {tool} today")),
        "tool_calls_per_minute" | "connector_calls_per_minute" => {
            of(&format!("calls of {tool} this minute"))
        }
        _ => of("calls this minute"),
    };
    match used >= limit {
        true => screen.paint(Style::Warn, what),
        false => what,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_agent_has_a_line_with_what_is_nearest_to_its_end_first() {
        let one = |agent: &str, which: &str, of: &str, used: u64, limit: u64| json!({"agent": agent, "which": which, "of": of, "used": used, "limit": limit});
        let plane = json!({"limits": [
            one("b", "agent_entries", "", 3, 600),
            one("a", "run_calls", "", 12, 500),
            one("a", "tool_calls_per_day", "git.push", 3, 3),
            one("a", "run_result_bytes", "", 1 << 20, 4 << 20),
        ]});
        assert_eq!(
            lines(&Screen::new(false, true), &plane),
            [
                "a: 3 of 3 calls of git.push today, 1.0 MiB of 4.0 MiB of results this run, \
                 12 of 500 calls this run",
                "b: 3 of 600 calls this minute",
            ]
        );
        assert!(lines(&Screen::new(false, true), &json!({})).is_empty());
    }
}
