//! What an agent gets of a script that ran: MCP's `CallToolResult`, with its output as text and as
//! structured content. What is no UTF-8 in it is replaced (U+FFFD).

use serde_json::{Map, Value, json};

use super::run::{Output, Ran, Stop};
use super::{Job, over};
use crate::audit::evidence::{Given, Outcome, Status};
use crate::call::id::Id;
use crate::wire::messages::{JailEnd, RESULT_MAX};

/// The outcome of a script that ran. One that was ended before it had done all it does is `unknown`
/// where it may have changed something.
pub(super) fn of(ran: Ran, job: &Job, call: Id, mut facts: Map<String, Value>) -> Outcome {
    let Ran {
        end,
        stopped,
        output,
        hops,
    } = ran;
    facts.insert("jail".into(), json!(end));
    if !hops.is_empty() {
        facts.insert("hops".into(), json!(hops));
    }
    let how = How::of(&end, stopped);
    let status = how.status(job.effect);
    if !how.by_itself {
        facts.insert("class".into(), how.class().into());
    }
    if how.is_error() {
        facts.insert("is_error".into(), true.into());
    }
    let most = job.skill.limits.result;
    Outcome {
        status,
        value: Given::Passed(result(&output, &how, call, most)),
        facts,
    }
}

/// How a script ended.
#[derive(Debug, PartialEq, Eq)]
struct How {
    code: i32,
    /// `exit`, `signal`, or the limit it met.
    ended: String,
    /// Nobody ended it.
    by_itself: bool,
}

impl How {
    fn of(end: &JailEnd, stopped: Option<Stop>) -> Self {
        let killed = 128 + libc::SIGKILL;
        let code = end.code.or(end.signal.map(|signal| 128 + signal));
        let by_limit = |limit: &str| Self {
            code: code.filter(|code| *code != 0).unwrap_or(killed),
            ended: limit.into(),
            by_itself: false,
        };
        match (stopped, end.limit.as_deref()) {
            (Some(Stop::Output), _) => by_limit("output"),
            // What ended in its last moment has ended by itself.
            (Some(Stop::Time | Stop::Cancelled), None) if end.code.is_some() => Self {
                code: end.code.unwrap_or(killed),
                ended: "exit".into(),
                by_itself: true,
            },
            (Some(Stop::Time), _) | (None, Some("wall")) => by_limit("time"),
            (Some(Stop::Cancelled), _) => by_limit("cancelled"),
            (None, Some(limit)) => by_limit(limit),
            (None, None) => Self {
                code: code.unwrap_or(killed),
                ended: if end.code.is_some() { "exit" } else { "signal" }.into(),
                by_itself: true,
            },
        }
    }

    /// What had not done all it does may have done the half of it.
    fn status(&self, effect: bool) -> Status {
        match (self.by_itself, effect) {
            (true, _) => Status::Done,
            (false, true) => Status::Unknown,
            (false, false) => Status::Failed,
        }
    }

    fn is_error(&self) -> bool {
        self.code != 0 || !self.by_itself
    }

    fn class(&self) -> &'static str {
        match self.ended.as_str() {
            "time" => "timed_out",
            "output" => "result_too_large",
            "cancelled" => "cancelled",
            _ => "limit",
        }
    }

    /// In words; nothing for one that did well.
    fn say(&self) -> Option<String> {
        let words = match (self.ended.as_str(), self.code) {
            ("exit", 0) => return None,
            ("exit", code) => format!("exit status {code}"),
            ("signal", code) => format!("ended by signal {}", code - 128),
            ("time", _) => "ended: it took longer than it may".into(),
            ("output", _) => "ended: it wrote more than it may".into(),
            ("cancelled", _) => "ended: it was cancelled".into(),
            (limit, _) => format!("ended: it met its limit `{limit}`"),
        };
        Some(words)
    }
}

/// The result object, at most `most` bytes: what the script wrote is cut until it fits.
fn result(output: &Output, how: &How, call: Id, most: u64) -> Vec<u8> {
    let most = most.min(u64::try_from(RESULT_MAX).unwrap_or(u64::MAX));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (mut stdout, mut stderr) = (text(&output.stdout), text(&output.stderr));
    let mut cut = how.ended == "output";
    loop {
        let raw = written(&stdout, &stderr, cut, how, call);
        if !over(&raw, most) || stdout.is_empty() && stderr.is_empty() {
            return raw;
        }
        cut = true;
        for text in [&mut stdout, &mut stderr] {
            text.truncate(text.floor_char_boundary(text.len() / 4 * 3));
        }
    }
}

fn written(stdout: &str, stderr: &str, cut: bool, how: &How, call: Id) -> Vec<u8> {
    let mut content = Vec::new();
    let mut say = |text: String| content.push(json!({"type": "text", "text": text}));
    if !stdout.is_empty() {
        say(stdout.into());
    }
    if !stderr.is_empty() {
        say(format!("standard error:\n{stderr}"));
    }
    if cut {
        say("the script wrote more than is here".into());
    }
    match how.say() {
        Some(words) => say(words),
        None if stdout.is_empty() && stderr.is_empty() && !cut => {
            say("exit status 0, and nothing was written".into());
        }
        None => {}
    }
    let mut meta = json!({"keepgate/request": call});
    if !how.by_itself
        && let Some(members) = meta.as_object_mut()
    {
        members.insert("keepgate/class".into(), how.class().into());
    }
    let result = json!({
        "content": content,
        "structuredContent": {
            "exitCode": how.code,
            "ended": how.ended,
            "stdout": stdout,
            "stderr": stderr,
            "truncated": cut,
        },
        "isError": how.is_error(),
        "_meta": meta,
    });
    result.to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(code: Option<i32>, signal: Option<i32>, limit: Option<&str>) -> JailEnd {
        JailEnd {
            code,
            signal,
            limit: limit.map(str::to_owned),
            denials: Vec::new(),
            wall_us: 1,
            cpu_us: 1,
            rss_kib: 1,
            peak_kib: None,
        }
    }

    #[test]
    fn how_a_script_ended_is_told_from_who_ended_it() {
        let killed = || end(None, Some(9), Some("killed"));
        for (end, stopped, code, ended, by_itself) in [
            (end(Some(0), None, None), None, 0, "exit", true),
            (end(Some(3), None, None), None, 3, "exit", true),
            (end(None, Some(11), None), None, 139, "signal", true),
            (
                end(None, Some(9), Some("memory")),
                None,
                137,
                "memory",
                false,
            ),
            (end(None, Some(9), Some("wall")), None, 137, "time", false),
            (killed(), Some(Stop::Time), 137, "time", false),
            (killed(), Some(Stop::Output), 137, "output", false),
            (killed(), Some(Stop::Cancelled), 137, "cancelled", false),
            (
                end(Some(0), None, None),
                Some(Stop::Output),
                137,
                "output",
                false,
            ),
            (end(Some(0), None, None), Some(Stop::Time), 0, "exit", true),
            (
                end(Some(0), None, None),
                Some(Stop::Cancelled),
                0,
                "exit",
                true,
            ),
        ] {
            let how = How::of(&end, stopped);
            let expected = How {
                code,
                ended: ended.into(),
                by_itself,
            };
            assert_eq!(how, expected, "{end:?} {stopped:?}");
            let statuses = [how.status(false), how.status(true)];
            match by_itself {
                true => assert_eq!(statuses, [Status::Done; 2]),
                false => assert_eq!(statuses, [Status::Failed, Status::Unknown]),
            }
        }
    }

    #[test]
    fn a_result_is_never_longer_than_it_may_be() {
        let how = How::of(&end(Some(0), None, None), None);
        let call = Id::random().unwrap();
        let output = Output {
            stdout: vec![1; 100_000],
            stderr: "ä".repeat(50_000).into_bytes(),
        };
        for most in [1_000_u64, 10_000, 1 << 20, u64::MAX] {
            let raw = result(&output, &how, call, most);
            assert!(u64::try_from(raw.len()).unwrap() <= most);
            let value: Value = serde_json::from_slice(&raw).unwrap();
            let whole = value["structuredContent"]["stdout"].as_str().unwrap().len() == 100_000;
            assert_eq!(value["structuredContent"]["truncated"], !whole);
            assert_eq!(whole, most > 1 << 20);
            assert_eq!(value["isError"], false);
        }
        let nothing = result(&Output::default(), &how, call, 1 << 20);
        let value: Value = serde_json::from_slice(&nothing).unwrap();
        assert_eq!(value["content"].as_array().unwrap().len(), 1);
        assert_eq!(value["structuredContent"]["stdout"], "");
    }
}
