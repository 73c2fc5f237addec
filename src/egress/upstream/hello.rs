//! The beginning: which era a server speaks, and what it offers (2026-07-28, "stdio: Backward
//! Compatibility"; 2025-11-25, "Lifecycle").

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Client, Does, For, Phase};
use super::frames::Fault;
use super::listing::{Listing, Page};
use super::meta::{self, SESSION, STATELESS};
use crate::wire::jsonrpc::Members;
use crate::wire::messages::{EgressToKeeper, Era, Offer, Passing};
use crate::wire::text::Escaped;

/// Longest answer to the first question, in bytes.
const HELLO_MAX: usize = 256 << 10;
/// JSON-RPC: no such method.
const METHOD_NOT_FOUND: i64 = -32601;
/// Errors that only a server of the stateless era knows: it does not speak this version; headers do
/// not fit; it wants more of the client.
const UNSUPPORTED_VERSION: i64 = -32022;
const MODERN: [i64; 2] = [-32020, -32021];
/// Shortest time between two listings because something has changed.
const RELIST: Duration = Duration::from_secs(1);
/// Time until a subscription that the server has ended is made anew.
const LISTEN_AGAIN: Duration = Duration::from_secs(30);

/// What `server/discover` answers, as far as it is looked at.
#[derive(Deserialize)]
struct Discovered<'a> {
    #[serde(rename = "supportedVersions")]
    versions: Vec<String>,
    #[serde(default, borrow)]
    capabilities: Option<&'a RawValue>,
}

/// What `initialize` answers, as far as it is looked at.
#[derive(Deserialize)]
struct Initialized<'a> {
    #[serde(rename = "protocolVersion")]
    version: String,
    #[serde(default, borrow)]
    capabilities: Option<&'a RawValue>,
}

/// The data of an unsupported version.
#[derive(Deserialize)]
struct Supported {
    supported: Vec<String>,
}

impl Client {
    /// Asks the first question.
    pub(super) fn begin(&mut self, now: Instant) {
        let start = Duration::from_millis(self.settings.limits.start_ms);
        if self.settings.era == Some(Era::Session) {
            return self.initialize(now + start);
        }
        // Some servers say nothing to what they do not know; a slow one is not to be mistaken for
        // one of those too soon.
        self.phase = Phase::Probing {
            fall_back: now + start / 4,
        };
        self.ask(For::Discover, "server/discover", "{}", Some(now + start));
    }

    /// Asks as in the session era too where there was no answer for long.
    pub(super) fn fall_back(&mut self, now: Instant) {
        if let Phase::Probing { fall_back } = self.phase
            && fall_back <= now
            && !self.is_asked(For::Initialize)
        {
            let discover = self
                .asked
                .values()
                .find(|asked| asked.what == For::Discover);
            if let Some(until) = discover.and_then(|asked| asked.until) {
                self.initialize(until);
            }
        }
    }

    fn initialize(&mut self, until: Instant) {
        let [newest, ..] = SESSION;
        let (capabilities, own) = (meta::own_capabilities(self.settings.allow), meta::OWN);
        let params = format!(
            "{{\"protocolVersion\":\"{newest}\",\"capabilities\":{capabilities},\"clientInfo\":{own}}}"
        );
        self.ask(For::Initialize, "initialize", &params, Some(until));
    }

    /// The server answered `server/discover`, or could not be asked that way.
    pub(super) fn discovered(
        &mut self,
        answer: Result<&RawValue, Option<Fault<'_>>>,
        now: Instant,
    ) -> Result<(), String> {
        if !matches!(self.phase, Phase::Probing { .. }) {
            return Ok(());
        }
        let result = match answer {
            Ok(result) => result,
            Err(Some(fault)) if fault.code == UNSUPPORTED_VERSION => {
                let data = fault
                    .data
                    .and_then(|data| serde_json::from_str(data.get()).ok());
                let Supported { supported } = data.unwrap_or(Supported {
                    supported: Vec::new(),
                });
                return self.session(&supported, now);
            }
            Err(Some(fault)) if MODERN.contains(&fault.code) => {
                let why = fault.shown();
                return Err(format!("it refuses `server/discover`: {why}"));
            }
            Err(_) => {
                self.fall_back_now(now);
                return Ok(());
            }
        };
        let Ok(discovered) = serde_json::from_str::<Discovered<'_>>(result.get()) else {
            // An old server that answers everything.
            self.fall_back_now(now);
            return Ok(());
        };
        if !discovered
            .versions
            .iter()
            .any(|version| version == STATELESS)
        {
            return self.session(&discovered.versions, now);
        }
        let initialize = self
            .asked
            .iter()
            .find(|(_, asked)| asked.what == For::Initialize);
        if let Some(id) = initialize.map(|(id, _)| *id) {
            self.give_up(id, "");
        }
        self.open(
            Era::Stateless,
            STATELESS,
            discovered.capabilities,
            result,
            now,
        )
    }

    /// It knows `server/discover`, but not our version of the stateless era.
    fn session(&mut self, versions: &[String], now: Instant) -> Result<(), String> {
        if versions
            .iter()
            .any(|version| SESSION.contains(&version.as_str()))
        {
            self.fall_back_now(now);
            return Ok(());
        }
        let theirs = versions
            .iter()
            .take(8)
            .map(String::as_str)
            .collect::<Vec<_>>();
        let theirs = theirs.join(", ");
        Err(format!(
            "it speaks no protocol version that Keepgate speaks, only `{}`",
            Escaped::cut(&theirs, 80)
        ))
    }

    fn fall_back_now(&mut self, now: Instant) {
        if !self.is_asked(For::Initialize) {
            let start = Duration::from_millis(self.settings.limits.start_ms);
            self.initialize(now + start);
        }
        self.phase = Phase::Initializing;
    }

    /// A server that was spoken to in the session era first may be one of the stateless era only:
    /// it is asked for that, once. False where it was asked already.
    pub(super) fn may_be_of_the_other_era(&mut self, now: Instant) -> bool {
        let first = self.settings.era.take() == Some(Era::Session);
        if first {
            self.begin(now);
        }
        first
    }

    /// The server answered `initialize`.
    pub(super) fn initialized(
        &mut self,
        answer: Result<&RawValue, Fault<'_>>,
        now: Instant,
    ) -> Result<(), String> {
        let result = match answer {
            Ok(result) => result,
            Err(_) if self.may_be_of_the_other_era(now) => return Ok(()),
            Err(fault) => return Err(format!("it refuses `initialize`: {}", fault.shown())),
        };
        let Ok(initialized) = serde_json::from_str::<Initialized<'_>>(result.get()) else {
            return Err("its answer to `initialize` is none".into());
        };
        let Some(version) = SESSION
            .iter()
            .find(|version| **version == initialized.version)
        else {
            let theirs = Escaped::cut(&initialized.version, 40);
            return Err(format!(
                "it speaks protocol version `{theirs}`, which Keepgate does not"
            ));
        };
        let discover = self
            .asked
            .iter()
            .find(|(_, asked)| asked.what == For::Discover);
        if let Some(id) = discover.map(|(id, _)| *id) {
            self.give_up(id, "");
        }
        self.notify("notifications/initialized", "{}");
        self.open(Era::Session, version, initialized.capabilities, result, now)
    }

    fn open(
        &mut self,
        era: Era,
        version: &str,
        capabilities: Option<&RawValue>,
        hello: &RawValue,
        now: Instant,
    ) -> Result<(), String> {
        if hello.get().len() > HELLO_MAX {
            return Err(format!("its first answer is longer than {HELLO_MAX} bytes"));
        }
        self.era = era;
        self.version = version.into();
        self.capabilities = capabilities.map_or("{}", RawValue::get).to_owned();
        let mut wanted = Vec::new();
        for (name, offers) in [
            ("tools", &[Offer::Tools][..]),
            ("resources", &[Offer::Resources, Offer::Templates]),
            ("prompts", &[Offer::Prompts]),
        ] {
            if self.can(name) {
                wanted.extend(offers);
            }
        }
        self.phase = Phase::Listing {
            hello: hello.get().to_owned(),
            listing: Listing::new(wanted, self.settings.limits.items),
        };
        self.turn_page(now);
        Ok(())
    }

    /// The server says it has this.
    fn can(&self, name: &str) -> bool {
        let members = Members::of(&self.capabilities).unwrap_or_default();
        members.get(name).is_some_and(|value| value != "null")
    }

    /// The server says it tells of changes of this.
    fn tells_of(&self, name: &str) -> bool {
        let members = Members::of(&self.capabilities).unwrap_or_default();
        let one = members.get(name).and_then(Members::of);
        one.is_some_and(|one| one.get("listChanged") == Some("true"))
    }

    /// Asks for the next page of what is being listed, or ends the listing.
    pub(super) fn turn_page(&mut self, now: Instant) {
        let listing = match (&self.phase, &self.relisting) {
            (Phase::Listing { listing, .. }, _) | (_, Some(listing)) => listing,
            _ => return,
        };
        if let Some(Page { offer, cursor }) = listing.page() {
            let method = offer.method();
            let params = match cursor {
                Some(cursor) => format!("{{\"cursor\":{cursor}}}"),
                None => "{}".into(),
            };
            let wait = Duration::from_millis(self.settings.limits.start_ms);
            self.ask(For::Page, method, &params, Some(now + wait));
            return;
        }
        let upstream = self.settings.upstream;
        if let Phase::Listing { hello, listing } = &self.phase {
            let blob = listing.json(hello).into_bytes();
            let (era, version) = (self.era, self.version.clone());
            let say = EgressToKeeper::Opened {
                upstream,
                era,
                version,
            };
            self.does.push_back(Does::Tell(say, blob));
            self.phase = Phase::Open;
            self.listen_at = Some(now);
            self.listen(now);
            self.relist(now);
        } else if let Some(listing) = self.relisting.take() {
            for (what, array) in listing.into_arrays() {
                let say = EgressToKeeper::Changed { upstream, what };
                self.does.push_back(Does::Tell(say, array.into_bytes()));
            }
        }
    }

    /// A page came.
    pub(super) fn page(
        &mut self,
        answer: Result<&RawValue, Fault<'_>>,
        now: Instant,
    ) -> Result<(), String> {
        let listing = match (&mut self.phase, &mut self.relisting) {
            (Phase::Listing { listing, .. }, _) | (_, Some(listing)) => listing,
            _ => return Ok(()),
        };
        match answer {
            Ok(result) => listing.take(result)?,
            Err(fault) if fault.code == METHOD_NOT_FOUND => listing.skip(),
            Err(fault) => {
                let page = listing.page().map_or("", |page| page.offer.method());
                return Err(format!("it refuses `{page}`: {}", fault.shown()));
            }
        }
        self.turn_page(now);
        Ok(())
    }

    /// Something has changed.
    pub(super) fn has_changed(&mut self, method: &str, now: Instant) {
        match method {
            "notifications/tools/list_changed" => self.changed.extend([Offer::Tools]),
            "notifications/prompts/list_changed" => self.changed.extend([Offer::Prompts]),
            _ => self.changed.extend([Offer::Resources, Offer::Templates]),
        }
        if matches!(self.phase, Phase::Open) {
            self.relist(now);
        }
    }

    /// What was told may have been missed: everything is listed again that the server tells of.
    pub(super) fn missed(&mut self, now: Instant) {
        let all = [
            ("tools", "notifications/tools/list_changed"),
            ("prompts", "notifications/prompts/list_changed"),
            ("resources", "notifications/resources/list_changed"),
        ];
        for (name, method) in all {
            if self.tells_of(name) {
                self.has_changed(method, now);
            }
        }
    }

    /// Lists again what has changed, if it is time.
    pub(super) fn relist(&mut self, now: Instant) {
        if self.changed.is_empty() || self.relisting.is_some() || now < self.relist_at {
            return;
        }
        self.relist_at = now + RELIST;
        let changed = std::mem::take(&mut self.changed);
        self.relisting = Some(Listing::new(changed, self.settings.limits.items));
        self.turn_page(now);
    }

    /// Subscribes to changes of the lists, if it is time; the stateless era has no other way.
    pub(super) fn listen(&mut self, now: Instant) {
        if self.listen_at.is_none_or(|at| now < at) {
            return;
        }
        self.listen_at = None;
        let all = [
            ("tools", "toolsListChanged"),
            ("resources", "resourcesListChanged"),
            ("prompts", "promptsListChanged"),
        ];
        let wanted: Vec<String> = all
            .iter()
            .filter(|(name, _)| self.tells_of(name))
            .map(|(_, filter)| format!("\"{filter}\":true"))
            .collect();
        if self.era == Era::Stateless && !wanted.is_empty() {
            let params = format!("{{\"notifications\":{{{}}}}}", wanted.join(","));
            self.ask(For::Listen, "subscriptions/listen", &params, None);
        }
    }

    /// The server has ended our subscription; where it did that in order, there will be another.
    pub(super) fn no_longer_listens(&mut self, again: bool, now: Instant) {
        self.listen_at = again.then(|| now + LISTEN_AGAIN);
    }

    /// What a server may ask for, by method.
    pub(super) fn may_ask(allow: Passing, method: &str) -> bool {
        match method {
            "sampling/createMessage" => allow.sampling,
            "elicitation/create" => allow.elicitation,
            "roots/list" => allow.roots,
            _ => false,
        }
    }
}
