//! The index of a log: an SQLite file that says where the entries are. It is never the truth: it
//! is not synced, anybody may delete it, and what it points to is read from the log itself.

use std::path::{Path, PathBuf};

use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OptionalExtension, params, params_from_iter};
use serde_json::Value;

use super::entry::Entry;
use super::reader::{Entries, Place, Reader};
use super::tree::Hash;
use crate::error::{Context, Error, Kind, Result};
use crate::time::Timestamp;
use crate::wire::admin::Filter;
use crate::wire::text::{escaped, hex};

/// Entries an answer holds where the filter does not say.
pub const LIMIT_DEFAULT: u32 = 100;
/// Most entries of an answer.
pub const LIMIT_MAX: u32 = 1000;
/// Entries in one transaction of [`Index::catch_up`].
const CHUNK: usize = 10_000;
/// Changes with the tables.
const SCHEMA: i64 = 2;
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS entry (
        seq INTEGER PRIMARY KEY, segment INTEGER NOT NULL, at INTEGER NOT NULL,
        time INTEGER NOT NULL, kind TEXT NOT NULL, call TEXT, agent TEXT, tool TEXT,
        undoes INTEGER);
    CREATE INDEX IF NOT EXISTS entry_call ON entry (call) WHERE call IS NOT NULL;
    CREATE INDEX IF NOT EXISTS entry_agent ON entry (agent, seq) WHERE agent IS NOT NULL;
    CREATE INDEX IF NOT EXISTS entry_kind ON entry (kind, seq);
    CREATE INDEX IF NOT EXISTS entry_undoes ON entry (undoes) WHERE undoes IS NOT NULL;";

/// The open index.
#[derive(Debug)]
pub struct Index {
    path: PathBuf,
    database: Connection,
    /// The last entry that this process has indexed: its number and leaf.
    newest: Option<(u64, Hash)>,
}

impl Index {
    /// Opens the index in the file `path`. A file that is damaged, of another version or was not
    /// closed before the machine stopped is deleted and made anew, empty.
    ///
    /// # Errors
    /// Fails where no file can be made there.
    pub fn open(path: &Path) -> Result<Self> {
        let opened = connect(path).and_then(|database| Ok((is_usable(&database)?, database)));
        let database = match opened {
            Ok((true, database)) => database,
            Ok((false, database)) => {
                drop(database);
                fresh(path)?
            }
            Err(_) => fresh(path)?,
        };
        Ok(Self {
            path: path.into(),
            database,
            newest: None,
        })
    }

    /// Indexes what the log has more; gives the number of entries indexed in all. An index of
    /// another log, or one that turns out to be damaged, is built again.
    ///
    /// # Errors
    /// Fails where the log cannot be read or the file not be written.
    pub fn catch_up(&mut self, reader: &Reader) -> Result<u64> {
        match self.try_catch_up(reader) {
            Ok(Some(count)) => Ok(count),
            Ok(None) => self.rebuild(reader),
            Err(error) if error.kind() == Kind::Tampered => Err(error),
            Err(_) => self.rebuild(reader),
        }
    }

    /// Indexes entries that were just read from the log, without reading them again where they follow
    /// on what is indexed; otherwise as [`Index::catch_up`].
    ///
    /// # Errors
    /// As there.
    pub fn extend(&mut self, entries: &[Entry], reader: &Reader) -> Result<()> {
        let Some(first) = entries.first() else {
            return Ok(());
        };
        let follows = |(seq, leaf): (u64, Hash)| first.seq == seq + 1 && first.prev == leaf;
        if self.newest.is_some_and(follows) && self.insert(entries).is_ok() {
            return Ok(());
        }
        self.catch_up(reader).map(drop)
    }

    /// Drops the index and builds it from the log; gives the number of entries.
    ///
    /// # Errors
    /// As [`Index::catch_up`].
    pub fn rebuild(&mut self, reader: &Reader) -> Result<u64> {
        // Closed before its file goes.
        self.database = Connection::open_in_memory().context(|| self.what("close"))?;
        self.database = fresh(&self.path)?;
        self.try_catch_up(reader)?
            .ok_or_else(|| Error::new(self.what("rebuild")))
    }

    fn what(&self, verb: &str) -> String {
        format!("{verb} the index `{}`", self.path.display())
    }

    /// `None` where the last indexed entry is not the log's.
    fn try_catch_up(&mut self, reader: &Reader) -> Result<Option<u64>> {
        let (mut entries, mut count): (Entries, u64) = match self.last()? {
            Some((place, leaf)) => match reader.entry_at(place.segment, place.at) {
                Ok(entry) if entry.seq == place.seq && hex(&entry.leaf()) == leaf => {
                    (reader.entries_after(place)?, place.seq + 1)
                }
                Ok(_) | Err(_) => return Ok(None),
            },
            None => (reader.entries(0)?, 0),
        };
        loop {
            let chunk: Vec<Entry> = entries.by_ref().take(CHUNK).collect::<Result<_>>()?;
            let Some(last) = chunk.last() else {
                return Ok(Some(count));
            };
            count = last.seq + 1;
            self.insert(&chunk).context(|| self.what("write"))?;
        }
    }

    /// The last indexed entry with its leaf hash.
    fn last(&self) -> Result<Option<(Place, String)>> {
        let find = || -> rusqlite::Result<Option<(Place, String)>> {
            let place = self
                .database
                .query_row(
                    "SELECT seq, segment, at FROM entry ORDER BY seq DESC LIMIT 1",
                    [],
                    place,
                )
                .optional()?;
            let Some(place) = place else { return Ok(None) };
            Ok(Some((
                place,
                meta(&self.database, "leaf")?.unwrap_or_default(),
            )))
        };
        find().context(|| self.what("read"))
    }

    fn insert(&mut self, entries: &[Entry]) -> rusqlite::Result<()> {
        self.newest = None;
        let transaction = self.database.transaction()?;
        {
            // An outcome is found by what its intent says of agent and tool.
            let mut insert = transaction.prepare_cached(
                "INSERT INTO entry (seq, segment, at, time, kind, call, agent, tool, undoes) VALUES (
                    ?1, ?2, ?3, ?4, ?5, ?6,
                    COALESCE(?7, (SELECT agent FROM entry WHERE call = ?6 LIMIT 1)),
                    COALESCE(?8, (SELECT tool FROM entry WHERE call = ?6 LIMIT 1)), ?9)",
            )?;
            for entry in entries {
                insert.execute(params![
                    number(entry.seq),
                    number(entry.segment),
                    number(entry.at),
                    entry.time.as_micros(),
                    entry.kind,
                    entry.text("call"),
                    entry.text("agent"),
                    entry.text("tool"),
                    entry.body.get("undoes").and_then(Value::as_u64).map(number),
                ])?;
            }
        }
        let newest = entries.last().map(|last| (last.seq, last.leaf()));
        if let Some((_, leaf)) = &newest {
            set_meta(&transaction, "leaf", &hex(leaf))?;
        }
        transaction.commit()?;
        self.newest = newest;
        Ok(())
    }

    /// Where the entries are that the filter wants, oldest first. With `after` they are the first
    /// ones behind it, otherwise the newest.
    ///
    /// # Errors
    /// Kind usage on a filter with a malformed time or too great a limit.
    pub fn query(&self, filter: &Filter) -> Result<Vec<Place>> {
        let (conditions, mut values) = conditions(filter)?;
        let limit = filter.limit.unwrap_or(LIMIT_DEFAULT);
        if limit > LIMIT_MAX {
            return Err(Error::of(
                Kind::Usage,
                format!("a query for more than {LIMIT_MAX} entries"),
            )
            .hint("ask again with `after` set to the last number of the answer"));
        }
        let order = if filter.after.is_some() {
            "ASC"
        } else {
            "DESC"
        };
        values.push(Sql::Integer(limit.into()));
        let text = format!(
            "SELECT seq, segment, at FROM entry WHERE 1 {conditions} ORDER BY seq {order} LIMIT ?"
        );
        let find = || -> rusqlite::Result<Vec<Place>> {
            let mut statement = self.database.prepare_cached(&text)?;
            statement
                .query_map(params_from_iter(values), place)?
                .collect()
        };
        let mut places = find().context(|| self.what("query"))?;
        places.sort_by_key(|place| place.seq);
        Ok(places)
    }

    /// The entries the filter wants, read from the log.
    ///
    /// # Errors
    /// As [`Index::query`]; kind tampered where the log does not hold what the index says.
    pub fn entries(&self, filter: &Filter, reader: &Reader) -> Result<Vec<Entry>> {
        let places = self.query(filter)?;
        places.iter().map(|place| read(reader, place)).collect()
    }

    /// All entries of a call or request, oldest first.
    ///
    /// # Errors
    /// As [`Index::entries`].
    pub fn call(&self, call: &str, reader: &Reader) -> Result<Vec<Entry>> {
        let request = Some(call.to_owned());
        self.entries(
            &Filter {
                request,
                limit: Some(LIMIT_MAX),
                ..Filter::default()
            },
            reader,
        )
    }

    /// The intents to take entry `seq` back, oldest first.
    ///
    /// # Errors
    /// As [`Index::entries`].
    pub fn undoing(&self, seq: u64, reader: &Reader) -> Result<Vec<Entry>> {
        let find = || -> rusqlite::Result<Vec<Place>> {
            let mut statement = self.database.prepare_cached(
                "SELECT seq, segment, at FROM entry WHERE undoes = ? ORDER BY seq",
            )?;
            statement.query_map([number(seq)], place)?.collect()
        };
        let places = find().context(|| self.what("query"))?;
        places.iter().map(|place| read(reader, place)).collect()
    }

    /// The entry of this number; `None` where it is not indexed.
    ///
    /// # Errors
    /// As [`Index::entries`].
    pub fn seq(&self, seq: u64, reader: &Reader) -> Result<Option<Entry>> {
        let found = self
            .database
            .query_row(
                "SELECT seq, segment, at FROM entry WHERE seq = ?",
                [number(seq)],
                place,
            )
            .optional()
            .context(|| self.what("query"))?;
        found.map(|place| read(reader, &place)).transpose()
    }
}

fn read(reader: &Reader, place: &Place) -> Result<Entry> {
    let entry = reader.entry_at(place.segment, place.at)?;
    if entry.seq == place.seq {
        return Ok(entry);
    }
    Err(Error::new(format!(
        "the index says that entry {} is where {} is",
        place.seq, entry.seq
    ))
    .hint("build it again: `keepgate log rebuild-index`"))
}

impl Drop for Index {
    fn drop(&mut self) {
        // Failing only means that the next start builds the index again.
        let _ = set_meta(&self.database, "open", "");
    }
}

/// SQLite has signed integers; numbers of entries and offsets stay below 2^53.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn place(row: &rusqlite::Row<'_>) -> rusqlite::Result<Place> {
    let number = |column| {
        row.get(column)
            .map(|value: i64| u64::try_from(value).unwrap_or(0))
    };
    Ok(Place {
        seq: number(0)?,
        segment: number(1)?,
        at: number(2)?,
    })
}

fn conditions(filter: &Filter) -> Result<(String, Vec<Sql>)> {
    let (mut text, mut values) = (String::new(), Vec::new());
    let mut add = |condition: &str, value: Sql| {
        text.push_str(condition);
        values.push(value);
    };
    if let Some(agent) = &filter.agent {
        add(" AND agent = ?", Sql::Text(agent.clone()));
    }
    for (column, wanted) in [("tool", &filter.tool), ("kind", &filter.kind)] {
        let Some(wanted) = wanted else { continue };
        match wanted.strip_suffix('*') {
            Some(prefix) => {
                add(&format!(" AND {column} >= ?"), Sql::Text(prefix.into()));
                add(
                    &format!(" AND {column} < ?"),
                    Sql::Text(format!("{prefix}\u{10ffff}")),
                );
            }
            None => add(&format!(" AND {column} = ?"), Sql::Text(wanted.clone())),
        }
    }
    if let Some(request) = &filter.request {
        add(" AND call = ?", Sql::Text(request.to_lowercase()));
    }
    for (condition, time) in [
        (" AND time >= ?", &filter.since),
        (" AND time < ?", &filter.until),
    ] {
        let Some(time) = time else { continue };
        let parsed: Timestamp = time.parse().map_err(|_| {
            Error::of(Kind::Usage, format!("`{}` is not a time", escaped(time)))
                .hint("a time looks like `2026-11-23T09:12:47Z`")
        })?;
        add(condition, Sql::Integer(parsed.as_micros()));
    }
    if let Some(after) = filter.after {
        add(" AND seq > ?", Sql::Integer(number(after)));
    }
    Ok((text, values))
}

fn connect(path: &Path) -> Result<Connection> {
    let what = || format!("open the index `{}`", path.display());
    let database = Connection::open(path).context(what)?;
    database
        .pragma_update(None, "journal_mode", "WAL")
        .context(what)?;
    database
        .pragma_update(None, "synchronous", "OFF")
        .context(what)?;
    Ok(database)
}

/// Whether the tables are ours and were closed, or left open in this boot of the machine: a lost
/// process does no harm to them, a lost machine does.
fn is_usable(database: &Connection) -> Result<bool> {
    let check = || -> rusqlite::Result<bool> {
        let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if version != SCHEMA {
            return Ok(false);
        }
        let open = meta(database, "open")?.unwrap_or_default();
        if !open.is_empty() && Some(open) != boot() {
            return Ok(false);
        }
        set_meta(
            database,
            "open",
            &boot().unwrap_or_else(|| "unknown".into()),
        )?;
        Ok(true)
    };
    check().context(|| "read the index".into())
}

/// This boot of the machine.
fn boot() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// An empty index in place of whatever is there.
fn fresh(path: &Path) -> Result<Connection> {
    let what = || format!("make the index `{}`", path.display());
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match std::fs::remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::new(what()).because(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    let database = connect(path)?;
    database.execute_batch(TABLES).context(what)?;
    database
        .pragma_update(None, "user_version", SCHEMA)
        .context(what)?;
    is_usable(&database)?;
    Ok(database)
}

fn meta(database: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    database
        .prepare_cached("SELECT value FROM meta WHERE name = ?")?
        .query_row([name], |row| row.get(0))
        .optional()
}

fn set_meta(database: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    database
        .prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)")?
        .execute([name, value])
        .map(drop)
}
