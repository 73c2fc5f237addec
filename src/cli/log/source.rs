//! Where entries come from: the keeper's index where it answers, else the files themselves.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::audit::{Entry, Reader};
use crate::cli::app::App;
use crate::cli::client::Client;
use crate::error::{Context, Error, Kind, Result};
use crate::time::Timestamp;
use crate::wire::admin::{Ask, Filter};

/// One of the two.
#[derive(Debug)]
pub(super) enum Source {
    /// The plane's keeper.
    Keeper(Client),
    /// The log's directory.
    Files(Reader),
}

impl Source {
    /// The files in `dir`, or the plane's keeper, or where none answers the plane's files.
    pub(super) fn open(app: &App, dir: Option<PathBuf>) -> Result<Self> {
        let keeper = match dir {
            Some(_) => None,
            None => app.keeper_if_any(&app.plane()?)?,
        };
        match keeper {
            Some(keeper) => Ok(Self::Keeper(keeper)),
            None => reader(app, dir.as_deref()).map(Self::Files),
        }
    }

    /// The entries a filter wants, oldest first, and whether there may be more.
    pub(super) fn query(&self, filter: &Filter) -> Result<(Vec<Value>, bool)> {
        match self {
            Self::Keeper(keeper) => {
                let mut value = keeper.ask(Ask::Query {
                    filter: filter.clone(),
                })?;
                let more = value.get("more").and_then(Value::as_bool).unwrap_or(false);
                let entries = value.get_mut("entries").map(Value::take);
                let Some(Value::Array(entries)) = entries else {
                    return Err(Error::new("the keeper's answer has no entries"));
                };
                Ok((entries, more))
            }
            Self::Files(reader) => scan(reader, filter),
        }
    }
}

/// An entry as stored.
pub(super) fn json(entry: &Entry) -> Result<Value> {
    serde_json::from_slice(entry.bytes()).context(|| format!("read entry {}", entry.seq))
}

/// The plane's files, or those in `dir`.
pub(super) fn reader(app: &App, dir: Option<&Path>) -> Result<Reader> {
    match dir {
        Some(dir) => Reader::open(dir),
        None => Reader::open(&app.paths.log(&app.plane()?)),
    }
    .map_err(|error| hinted(error, dir.is_some()))
}

/// Says how to reach a log that this user cannot read, or that there is none of yet.
pub(super) fn hinted(error: Error, named: bool) -> Error {
    match error.io_kind() {
        Some(ErrorKind::PermissionDenied) => {
            error.hint("run it as root, or on a copy of the log that this user may read")
        }
        Some(ErrorKind::NotFound) if !named => error.hint("`keepgate serve` begins the log"),
        _ => error,
    }
}

/// As the keeper's index does it, by reading the log.
fn scan(reader: &Reader, filter: &Filter) -> Result<(Vec<Value>, bool)> {
    let matcher = Matcher::new(filter)?;
    let limit = usize::try_from(filter.limit.unwrap_or(100)).unwrap_or(usize::MAX);
    // What an outcome's intent said of agent and tool.
    let mut calls: HashMap<String, (Option<String>, Option<String>)> = HashMap::new();
    let mut found = VecDeque::new();
    for entry in reader.entries(0)? {
        let entry = entry?;
        let call = entry.text("call").map(str::to_owned);
        let own = (
            entry.text("agent").map(str::to_owned),
            entry.text("tool").map(str::to_owned),
        );
        let known = call
            .as_ref()
            .and_then(|call| calls.get(call).cloned())
            .unwrap_or_default();
        let (agent, tool) = (own.0.or(known.0), own.1.or(known.1));
        if matcher.wants(&entry, agent.as_deref(), tool.as_deref()) {
            if found.len() == limit && filter.after.is_some() {
                return Ok((found.into(), true));
            }
            found.push_back(json(&entry)?);
            if found.len() > limit {
                found.pop_front();
            }
        }
        match (call, entry.kind.as_str()) {
            (Some(call), "call.intent") => drop(calls.insert(call, (agent, tool))),
            (Some(call), "call.outcome") => drop(calls.remove(&call)),
            _ => {}
        }
    }
    let more = found.len() == limit && filter.after.is_none();
    Ok((found.into(), more))
}

struct Matcher<'a> {
    filter: &'a Filter,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl<'a> Matcher<'a> {
    fn new(filter: &'a Filter) -> Result<Self> {
        let time = |text: &Option<String>| {
            text.as_deref()
                .map(str::parse::<Timestamp>)
                .transpose()
                .map_err(|why| Error::of(Kind::Usage, "a time in the filter is none").because(why))
        };
        Ok(Self {
            filter,
            since: time(&filter.since)?,
            until: time(&filter.until)?,
        })
    }

    fn wants(&self, entry: &Entry, agent: Option<&str>, tool: Option<&str>) -> bool {
        let filter = self.filter;
        filter.after.is_none_or(|after| entry.seq > after)
            && self.since.is_none_or(|since| entry.time >= since)
            && self.until.is_none_or(|until| entry.time < until)
            && filter
                .agent
                .as_deref()
                .is_none_or(|wanted| agent == Some(wanted))
            && fits(filter.tool.as_deref(), tool)
            && fits(filter.kind.as_deref(), Some(&entry.kind))
            && filter
                .request
                .as_deref()
                .is_none_or(|id| entry.text("call") == Some(id))
    }
}

/// Equal, or with a trailing `*` beginning so.
fn fits(wanted: Option<&str>, text: Option<&str>) -> bool {
    let Some(wanted) = wanted else { return true };
    let Some(text) = text else { return false };
    wanted
        .strip_suffix('*')
        .map_or(wanted == text, |start| text.starts_with(start))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use serde_json::{Map, json};

    use super::*;
    use crate::audit::{Draft, Fold, Log, Options, SoftwareSealer};
    use crate::time::SystemClock;

    #[test]
    fn files_that_cannot_be_read_have_a_hint() {
        let of = |kind: ErrorKind, named| {
            let error = Error::new("read it").because(std::io::Error::from(kind));
            hinted(error, named).hint_text().map(str::to_owned)
        };
        assert!(
            of(ErrorKind::PermissionDenied, true)
                .unwrap()
                .contains("root")
        );
        assert!(of(ErrorKind::NotFound, false).unwrap().contains("serve"));
        assert_eq!(of(ErrorKind::NotFound, true), None);
        assert_eq!(hinted(Error::new("x"), false).hint_text(), None);
    }

    struct Nothing;

    impl Fold for Nothing {
        fn apply(&mut self, _: &Entry) {}
        fn snapshot(&self) -> Value {
            Value::Null
        }
        fn restore(&mut self, _: &Value) -> Result<()> {
            Ok(())
        }
    }

    fn body(members: &[(&str, &str)]) -> Map<String, Value> {
        members
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect()
    }

    /// A log of three calls, and its directory.
    fn log() -> (tempfile::TempDir, Reader) {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("log");
        std::fs::create_dir(&dir).unwrap();
        let sealer = Arc::new(SoftwareSealer::open(&directory.path().join("key")).unwrap());
        let fold = Arc::new(Mutex::new(Nothing));
        let log = Log::open(
            &dir,
            "t/p",
            sealer,
            Arc::new(SystemClock),
            fold,
            Options::default(),
        )
        .unwrap();
        for (call, agent, tool) in [
            ("1", "a", "file.read"),
            ("2", "b", "file.write"),
            ("3", "a", "http.request"),
        ] {
            let intent = body(&[
                ("call", call),
                ("agent", agent),
                ("tool", tool),
                ("mode", "live"),
            ]);
            log.append(Draft::new("call.intent", intent)).unwrap();
            let outcome = body(&[("call", call), ("status", "done")]);
            log.append(Draft::new("call.outcome", outcome)).unwrap();
        }
        log.close();
        (directory, Reader::open(&dir).unwrap())
    }

    #[test]
    fn a_scan_finds_what_the_index_would() {
        let (_directory, reader) = log();
        let count = |filter: Filter| scan(&reader, &filter).unwrap().0.len();
        let filter = Filter::default;
        assert_eq!(count(filter()), 7);
        assert_eq!(
            count(Filter {
                agent: Some("a".into()),
                ..filter()
            }),
            4
        );
        assert_eq!(
            count(Filter {
                tool: Some("file.*".into()),
                ..filter()
            }),
            4
        );
        assert_eq!(
            count(Filter {
                tool: Some("file.read".into()),
                ..filter()
            }),
            2
        );
        assert_eq!(
            count(Filter {
                kind: Some("call.intent".into()),
                ..filter()
            }),
            3
        );
        assert_eq!(
            count(Filter {
                request: Some("2".into()),
                ..filter()
            }),
            2
        );
        assert_eq!(
            count(Filter {
                until: Some("2020-01-01T00:00:00Z".into()),
                ..filter()
            }),
            0
        );
        assert_eq!(
            count(Filter {
                since: Some("2020-01-01T00:00:00Z".into()),
                ..filter()
            }),
            7
        );
        let (newest, more) = scan(
            &reader,
            &Filter {
                limit: Some(2),
                ..filter()
            },
        )
        .unwrap();
        assert_eq!((newest[1]["seq"].as_u64(), more), (Some(6), true));
        let after = Filter {
            after: Some(1),
            limit: Some(2),
            ..filter()
        };
        let (first, more) = scan(&reader, &after).unwrap();
        assert_eq!((first[0]["seq"].as_u64(), more), (Some(2), true));
        assert!(
            scan(
                &reader,
                &Filter {
                    since: Some("x".into()),
                    ..filter()
                }
            )
            .is_err()
        );
    }
}
