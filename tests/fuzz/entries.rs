//! One entry for each parser of outside bytes. Fuzz targets feed them, and `tests/it` replays the
//! corpus through them.
//!
//! An entry takes any bytes and says whether its parser took them. It must not panic: where a
//! parser promises more than an answer (one reading only, one spelling only), the entry asserts it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

use keepgate::audit::entry::Entry;
use keepgate::audit::note::{Note, Vkey};
use keepgate::audit::verify::{self, verify};
use keepgate::audit::{Reader, canonical};
use keepgate::call::http::{self, Target};
use keepgate::call::id::Id;
use keepgate::call::path::RootPath;
use keepgate::call::{Caller, admit};
use keepgate::catalog::Catalog;
use keepgate::catalog::connector::bundle::{Trusted, read_head};
use keepgate::catalog::connector::digest::Listing;
use keepgate::catalog::connector::listing::{self, page};
use keepgate::catalog::connector::manifest::Written;
use keepgate::catalog::connector::skill::{Skill, resources};
use keepgate::catalog::connector::{self, Connector};
use keepgate::config::Config;
use keepgate::egress::upstream::frames::{self, Said};
use keepgate::egress::{proxy, upstream};
use keepgate::front::{self, Line, Lines, Message};
use keepgate::jail::elf::{HEAD, Program};
use keepgate::jail::profile::{self, Draft};
use keepgate::policy::Engine;
use keepgate::time::Timestamp;
use keepgate::tools::http::{over, stream};
use keepgate::tools::order::Reply;
use keepgate::wire::messages::{
    ARGUMENTS_MAX, Control, EgressToKeeper, FrontToKeeper, JailerToKeeper, KeeperToEgress,
    KeeperToFront, KeeperToJailer, RESULT_MAX, Report,
};
use keepgate::wire::{admin, frame, json};
use serde_json::Value;

/// What an entry is: whether the parser took the bytes.
pub type Parser = fn(&[u8]) -> bool;

/// All entries by the name of their fuzz target and their corpus.
pub const ENTRIES: &[(&str, Parser)] = &[
    ("frame", packet),
    ("json", strict_json),
    ("front-line", front_line),
    ("front-message", front_message),
    ("http-headers", front::fuzz_headers),
    ("call-admit", call_admit),
    ("root-path", root_path),
    ("http-target", http_target),
    ("egress-stream", egress_stream),
    ("proxy-head", proxy::fuzz_head),
    ("proxy-tunnel", proxy::fuzz_tunnel),
    ("tool-reply", tool_reply),
    ("log-segment", log_segment),
    ("log-entry", log_entry),
    ("log-canonical", log_canonical),
    ("log-note", log_note),
    ("config", config),
    ("admin-question", admin_question),
    ("policy", policy),
    ("connector-bundle", connector_bundle),
    ("connector-listing", connector_listing),
    ("connector-manifest", connector_manifest),
    ("connector-server", connector_server),
    ("connector-skill", connector_skill),
    ("manifest", manifest),
    ("elf", elf),
    ("upstream-message", upstream_message),
    ("upstream-events", upstream::fuzz_events),
];

/// Runs the entry of that name; false where there is none.
pub fn run(name: &str, bytes: &[u8]) -> bool {
    let entry = ENTRIES.iter().find(|(known, _)| *known == name);
    entry.is_some_and(|(_, parser)| parser(bytes))
}

/// A packet as a role that was taken over would send it, read as each message there is.
fn packet(bytes: &[u8]) -> bool {
    let taken = [
        arrives::<Control>(bytes),
        arrives::<Report>(bytes),
        arrives::<FrontToKeeper>(bytes),
        arrives::<KeeperToFront>(bytes),
        arrives::<KeeperToJailer>(bytes),
        arrives::<JailerToKeeper>(bytes),
        arrives::<KeeperToEgress>(bytes),
        arrives::<EgressToKeeper>(bytes),
    ];
    taken.contains(&true)
}

fn arrives<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> bool {
    use std::os::fd::AsFd;
    let Ok((ours, theirs)) = frame::pair() else {
        return false;
    };
    let mut ours = File::from(ours);
    // What the kernel does not carry, nobody receives.
    drop(ours.write(bytes));
    drop(ours);
    matches!(frame::recv::<T>(theirs.as_fd(), RESULT_MAX), Ok(Some(_)))
}

fn strict_json(bytes: &[u8]) -> bool {
    let limits = json::Limits::default();
    let parsed = json::parse(bytes, &limits);
    assert_eq!(
        json::check(bytes, &limits).is_ok(),
        parsed.is_ok(),
        "check and parse differ"
    );
    let Ok(value) = parsed else { return false };
    assert!(
        serde_json::from_slice::<Value>(bytes).is_ok(),
        "another reader refuses it"
    );
    let written = value.to_string();
    let longer = json::Limits {
        bytes: usize::MAX,
        ..limits
    };
    assert_eq!(
        json::parse(written.as_bytes(), &longer),
        Ok(value),
        "a second reading differs"
    );
    true
}

fn front_line(bytes: &[u8]) -> bool {
    let found = lines_of(bytes, bytes.len());
    for size in [1, 3, 64] {
        assert_eq!(lines_of(bytes, size), found, "chunks matter");
    }
    !found.is_empty() && !found.contains(&Line::TooLong)
}

fn lines_of(bytes: &[u8], size: usize) -> Vec<Line> {
    let mut lines = Lines::new(64);
    let mut found = Vec::new();
    for chunk in bytes.chunks(size.max(1)) {
        let mut rest = chunk;
        while !rest.is_empty() {
            let (line, after) = lines.take(rest);
            found.extend(line);
            rest = after;
        }
    }
    found
}

fn upstream_message(bytes: &[u8]) -> bool {
    match frames::read(bytes) {
        Ok(said) => {
            let seen: Value = serde_json::from_slice(bytes).unwrap_or_default();
            match said {
                Said::Answer { id, answer } => {
                    assert_eq!(seen["id"], id, "another reader sees another question");
                    let member = if answer.is_ok() { "result" } else { "error" };
                    let raw: Value = serde_json::from_str(answer.unwrap_or_else(|raw| raw).get())
                        .unwrap_or_default();
                    assert_eq!(seen[member], raw, "another reader sees another answer");
                }
                Said::Asks { method, .. } | Said::Tells { method, .. } => {
                    let known = seen.is_null() || seen["method"] == method;
                    assert!(known, "another reader sees another method");
                }
                Said::Complaint => {}
            }
            true
        }
        Err(why) => {
            assert!(
                why.len() < 4096 && !why.contains(char::is_control),
                "{why:?}"
            );
            false
        }
    }
}

fn front_message(bytes: &[u8]) -> bool {
    if let Ok(messages) = front::batch(bytes) {
        let seen: Vec<Value> = serde_json::from_slice(bytes).unwrap_or_default();
        assert_eq!(seen.len(), messages.len(), "another reader sees others");
        assert!(front::read(bytes).is_err(), "a batch is no message");
        return messages
            .iter()
            .all(|one| one.get().len() < bytes.len() && front_message(one.get().as_bytes()));
    }
    match front::read(bytes) {
        Ok(Message::Request { method, .. } | Message::Notification { method, .. }) => {
            let seen: Value = serde_json::from_slice(bytes).unwrap_or_default();
            assert_eq!(
                seen.get("method"),
                Some(&method.into()),
                "another reader sees another"
            );
            true
        }
        Ok(Message::Response { .. }) => true,
        Err(refusal) => {
            let shown = refusal.to_string();
            assert!(
                !shown.contains(char::is_control),
                "a refusal shows raw bytes: {shown:?}"
            );
            false
        }
    }
}

fn catalog() -> Option<&'static Catalog> {
    static CATALOG: OnceLock<Option<Catalog>> = OnceLock::new();
    CATALOG.get_or_init(|| Catalog::native().ok()).as_ref()
}

/// The arguments of every tool there is.
fn call_admit(bytes: &[u8]) -> bool {
    let Ok(id) = "0000000000000000".parse::<Id>() else {
        return false;
    };
    let caller = || Caller {
        agent: "fuzz".into(),
        run: id,
        call: id,
        received: Timestamp::from_micros(0),
    };
    let mut taken = false;
    for tool in catalog().into_iter().flat_map(Catalog::tools) {
        let Ok(call) = admit(bytes, &Arc::clone(tool), caller()) else {
            continue;
        };
        taken = true;
        assert!(bytes.len() <= ARGUMENTS_MAX);
        let again = admit(call.canonical(), tool, caller());
        let same = again.is_ok_and(|again| again.digest() == call.digest());
        assert!(same, "the canonical form is another call");
    }
    taken
}

fn root_path(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else {
        return false;
    };
    let Ok(path) = RootPath::parse(text) else {
        return false;
    };
    let inside = |part: &str| !matches!(part, "" | "." | "..");
    assert!(
        inside(path.root()) && !path.root().contains('/'),
        "a root that is none"
    );
    let rel = path.rel();
    assert!(
        rel.is_empty() || rel.split('/').all(inside),
        "it leaves the root: {rel:?}"
    );
    assert!(!text.contains(char::is_control), "a control character");
    true
}

fn http_target(bytes: &[u8]) -> bool {
    http::fuzz_target(bytes);
    let Ok(text) = str::from_utf8(bytes) else {
        return false;
    };
    let (method, url) = text.split_once(' ').unwrap_or(("GET", text));
    Target::parse(method, url).is_ok()
}

/// What egress reads from a jail, and what the tool makes of a hostile egress.
fn egress_stream(bytes: &[u8]) -> bool {
    /// Says what it was given and hears nothing.
    struct Hostile<'a>(&'a [u8]);
    impl Read for Hostile<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.read(buffer)
        }
    }
    impl Write for Hostile<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    stream::fuzz_stream(bytes);
    let order = br#"{"arguments":{"method":"GET","url":"https://a.example/"},"mode":"live"}"#;
    over(order, &mut Hostile(bytes)).is_ok()
}

/// As the keeper reads what a jailed tool wrote.
fn tool_reply(bytes: &[u8]) -> bool {
    let limits = json::Limits {
        bytes: RESULT_MAX,
        ..json::Limits::default()
    };
    let Ok(value) = json::parse(bytes, &limits) else {
        return false;
    };
    serde_json::from_value::<Reply>(value).is_ok()
}

/// A whole log. Its files one after the other: tag(1) ‖ length(u16 LE) ‖ content, where tag 0 is the
/// checkpoint and another one the segment that begins with entry tag-1.
fn log_segment(bytes: &[u8]) -> bool {
    let Ok(directory) = tempfile::tempdir() else {
        return false;
    };
    let mut rest = bytes;
    while let Some((head, after)) = rest.split_first_chunk::<3>() {
        let [tag, low, high] = *head;
        let length = usize::from(u16::from_le_bytes([low, high]));
        let (content, after) = after.split_at_checked(length).unwrap_or((after, &[]));
        let name = match tag.checked_sub(1) {
            None => "checkpoint".to_owned(),
            Some(start) => format!("{start:020}.seg"),
        };
        if fs::write(directory.path().join(name), content).is_err() {
            return false;
        }
        rest = after;
    }
    let mut entries = 0;
    let mut readable = true;
    if let Ok(reader) = Reader::open(directory.path())
        && let Ok(all) = reader.entries(0)
    {
        for entry in all {
            let Ok(entry) = entry else {
                readable = false;
                break;
            };
            entries += 1;
            for payload in &entry.payloads {
                readable &= reader.payload(&entry, &payload.name).is_ok();
            }
        }
    }
    let options = verify::Options {
        vkey: None,
        progress: &mut |_, _| {},
    };
    let Ok(report) = verify(directory.path(), options) else {
        return false;
    };
    assert!(readable, "it verifies and cannot be read");
    assert_eq!(report.entries, entries, "verified and read entries differ");
    let covered = report.checkpoint.map_or(0, |checkpoint| checkpoint.size);
    assert!(
        covered <= report.entries,
        "the checkpoint covers more than there is"
    );
    true
}

fn log_entry(bytes: &[u8]) -> bool {
    let Ok(entry) = Entry::parse(bytes, 0, 0) else {
        return false;
    };
    assert_eq!(entry.bytes(), bytes);
    assert_eq!(
        canonical::check(bytes),
        Ok(()),
        "an entry that is not canonical"
    );
    true
}

fn log_canonical(bytes: &[u8]) -> bool {
    let passes = canonical::check(bytes).is_ok();
    let again = serde_json::from_slice::<Value>(bytes)
        .ok()
        .and_then(|value| {
            let mut written = Vec::new();
            canonical::write(&value, &mut written)
                .ok()
                .map(|()| written)
        });
    let same = again.as_deref() == Some(bytes);
    assert_eq!(passes, same, "canonical by one reader only");
    passes
}

fn log_note(bytes: &[u8]) -> bool {
    if let Ok(text) = str::from_utf8(bytes)
        && let Ok(vkey) = Vkey::parse(text)
    {
        assert_eq!(vkey.to_string(), text, "a key with two spellings");
        return true;
    }
    let Ok(note) = Note::parse(bytes) else {
        return false;
    };
    assert!(
        bytes.starts_with(note.checkpoint.text().as_bytes()),
        "signed is not what is read"
    );
    true
}

fn config(bytes: &[u8]) -> bool {
    Config::parse_bytes(bytes, "fuzz.toml").is_ok()
}

/// As the keeper reads a line of the admin socket.
fn admin_question(bytes: &[u8]) -> bool {
    let limits = json::Limits {
        bytes: admin::LINE_MAX,
        ..json::Limits::default()
    };
    let Ok(value) = json::parse(bytes, &limits) else {
        return false;
    };
    let Ok(question) = serde_json::from_value::<admin::Question>(value) else {
        return false;
    };
    if let Some(admin::Token(token)) = question.token.as_ref().filter(|token| token.0.len() > 16) {
        let shown = format!("{:?}", question.token);
        assert!(!shown.contains(token.as_str()), "a token shows");
    }
    true
}

fn policy(bytes: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(bytes) else {
        return false;
    };
    catalog().is_some_and(|catalog| Engine::load(text, "fuzz.cedar", catalog).is_ok())
}

fn manifest(bytes: &[u8]) -> bool {
    let Ok(draft) = Draft::parse_bytes(bytes, "fuzz.toml") else {
        return false;
    };
    let manifest = draft.into_manifest();
    let text = profile::toml(&manifest);
    assert!(
        text.bytes()
            .all(|byte| byte == b'\n' || byte.is_ascii_graphic() || byte == b' '),
        "what is printed moves the cursor"
    );
    let again = Draft::parse(&text, "fuzz.toml").map(Draft::into_manifest);
    assert!(
        again.is_ok_and(|again| again == manifest),
        "it prints as another manifest"
    );
    true
}

fn elf(bytes: &[u8]) -> bool {
    let head = bytes.get(..HEAD).unwrap_or(bytes);
    !matches!(Program::of(head), Program::Foreign(_))
}

fn connector_manifest(bytes: &[u8]) -> bool {
    let Ok(written) = Written::parse_bytes(bytes, "fuzz.toml") else {
        return false;
    };
    let said = written.into_connector();
    let text = connector::toml(&said, &std::collections::BTreeMap::new());
    assert!(text.is_ascii(), "what is written moves the cursor");
    let again = Connector::parse(&text, "fuzz.toml");
    assert!(
        again.is_ok_and(|again| again == said),
        "it is written as another connector"
    );
    true
}

fn connector_server(bytes: &[u8]) -> bool {
    keepgate::cli::reads_server_json(bytes)
}

fn connector_skill(bytes: &[u8]) -> bool {
    if let Ok(uri) = std::str::from_utf8(bytes)
        && let Some(path) = resources::path("pdf", uri)
    {
        let mut parts = path.components();
        assert!(
            parts.all(|part| matches!(part, std::path::Component::Normal(_))),
            "a resource leads elsewhere: {path:?}"
        );
    }
    Skill::parse(bytes, "fuzz.md").is_ok_and(|skill| {
        assert!(!skill.name.contains(['/', '.']), "a name leads elsewhere");
        true
    })
}

/// A line of a server, and the tools in it.
fn connector_listing(bytes: &[u8]) -> bool {
    let Ok(listing::Message::Result(_, result)) = listing::Message::parse(bytes) else {
        return false;
    };
    let Ok((tools, _)) = page(&result, "tools") else {
        return false;
    };
    let Ok(listing) = Listing::tools(tools) else {
        return false;
    };
    let again = Listing::tools(listing.raw.values().cloned().collect());
    assert!(
        again.is_ok_and(|again| again.sha256() == listing.sha256()),
        "a set with two digests"
    );
    true
}

/// Nothing is signed by this key (of RFC 8032, section 7.1, TEST 1) but the seeds.
fn connector_bundle(bytes: &[u8]) -> bool {
    const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";
    let trust = Trusted::parse(KEY);
    trust.is_ok_and(|trust| read_head(&mut &*bytes, &trust).is_ok())
}
