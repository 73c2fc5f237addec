//! The file as it is written: the same words as in [`Config`], every one optional, with the place
//! it was written at.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Component, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::agents::RawAgent;
use super::connectors::RawUse;
use super::listen::{self, RawListen};
use super::name::{bad, is_appliance};
use super::paths::CONNECTORS;
use super::{
    Appliance, Config, JAIL_UIDS_PER_PLANE, PLANES_MAX, Plane, Quota, Root, UIDS_PER_PLANE,
    is_name, resolv,
};
use crate::audit::quota::CALL_MAX;
use crate::call::http;
use crate::error::{Error, Kind, Result};
use crate::wire::messages::HttpRule;
use crate::wire::text::{Escaped, escaped};
use crate::wire::words::said;

/// Lowest uid a role may have: below are the system's own.
const UID_LOWEST: u32 = 1_000;
/// Highest uid a role may have: above are nobody, dynamic users and -1.
const UID_HIGHEST: u32 = 0x7fff_ffff;
/// Most roots of a plane, and most ways out.
const MANY: usize = 64;
/// Longest path of a root, in bytes (PATH_MAX less the name beneath it).
const PATH_MAX: usize = 2_048;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawConfig {
    appliance: RawAppliance,
    planes: Option<BTreeMap<Spanned<String>, RawPlane>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawAppliance {
    name: Option<Spanned<String>>,
    operator_uid: Option<u32>,
    uid_base: Option<Spanned<u32>>,
    jail_uid_base: Option<Spanned<u32>>,
    accept: Vec<Spanned<String>>,
    resolvers: Option<Vec<Spanned<String>>>,
    ca: Vec<Spanned<PathBuf>>,
    demo: bool,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawPlane {
    unattended: Option<bool>,
    observe: bool,
    roots: BTreeMap<Spanned<String>, Spanned<RawRoot>>,
    http: Vec<Spanned<HttpRule>>,
    listen: BTreeMap<Spanned<String>, Spanned<RawListen>>,
    quota: RawQuota,
    connectors: BTreeMap<Spanned<String>, RawUse>,
    agents: BTreeMap<Spanned<String>, RawAgent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRoot {
    path: Spanned<PathBuf>,
    #[serde(default)]
    writable: bool,
    uid: Option<Spanned<u32>>,
    gid: Option<u32>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawQuota {
    agent_calls_per_minute: Option<Spanned<u64>>,
    plane_calls_per_minute: Option<Spanned<u64>>,
    agent_log_bytes_per_day: Option<Spanned<u64>>,
    plane_log_bytes_per_day: Option<Spanned<u64>>,
    calls_per_run: Option<Spanned<u64>>,
    writes_per_run: Option<Spanned<u64>>,
    result_kib_per_run: Option<Spanned<u64>>,
}

pub(super) fn parse(text: &str, file: &str) -> Result<Config> {
    let source = Source { text, file };
    let raw: RawConfig = toml::from_str(text).map_err(|error| source.syntax(&error))?;
    let appliance = source.appliance(raw.appliance)?;
    let mut config = Config {
        appliance,
        ..Config::default()
    };
    if let Some(planes) = raw.planes {
        config.planes = source.planes(planes)?;
    }
    listen::apart(&config, file)?;
    let roles = config.role_uids();
    if roles.contains(&config.appliance.operator_uid) {
        let what = format!("`{file}`: `operator_uid` is one of the roles' own uids ({roles:?})");
        return Err(Error::of(Kind::Usage, what).hint("change `uid_base` or `operator_uid`"));
    }
    let jails = config.jail_uids();
    if jails.contains(&config.appliance.operator_uid) {
        let what = format!("`{file}`: `operator_uid` is one of the jails' own uids ({jails:?})");
        return Err(Error::of(Kind::Usage, what).hint("change `jail_uid_base` or `operator_uid`"));
    }
    if jails.start < roles.end && roles.start < jails.end {
        let what =
            format!("`{file}`: the roles' uids ({roles:?}) are among the jails' ({jails:?})");
        return Err(Error::of(Kind::Usage, what).hint("change `uid_base` or `jail_uid_base`"));
    }
    Ok(config)
}

/// The text, to name places in it.
pub(super) struct Source<'a> {
    text: &'a str,
    file: &'a str,
}

impl Source<'_> {
    fn line(&self, at: usize) -> usize {
        let before = self.text.as_bytes().iter().take(at);
        before.filter(|byte| **byte == b'\n').count() + 1
    }

    pub(super) fn wrong<T>(&self, at: &Spanned<T>, what: impl std::fmt::Display) -> Error {
        let line = self.line(at.span().start);
        Error::of(Kind::Usage, format!("`{}` line {line}: {what}", self.file))
    }

    /// The first of `each` uids for every plane there can be.
    fn uid_base(&self, word: &str, base: &Spanned<u32>, each: u32) -> Result<u32> {
        let most = u32::try_from(PLANES_MAX).unwrap_or(u32::MAX) * each;
        if (UID_LOWEST..=UID_HIGHEST - most).contains(base.get_ref()) {
            return Ok(*base.get_ref());
        }
        let what = format!("`{word}` {} is out of range", base.get_ref());
        let hint = format!("at least {UID_LOWEST}, and where no user has its uid");
        Err(self.wrong(base, what).hint(hint))
    }

    /// What the TOML reader says, on one line.
    fn syntax(&self, error: &toml::de::Error) -> Error {
        let line = error
            .span()
            .map(|span| format!(" line {}", self.line(span.start)));
        let said = said(error.message());
        let what = format!("`{}`{}: {said}", self.file, line.unwrap_or_default());
        Error::of(Kind::Usage, what)
            .hint("`keepgate init --print` shows a file with every setting explained")
    }

    fn appliance(&self, raw: RawAppliance) -> Result<Appliance> {
        let mut appliance = Appliance {
            demo: raw.demo,
            ..Appliance::default()
        };
        if let Some(name) = raw.name {
            if !is_appliance(name.get_ref()) {
                let what = bad(name.get_ref(), "an appliance").message();
                return Err(self
                    .wrong(&name, what)
                    .hint("1 to 64 of a-z, 0-9, `-` and `.`"));
            }
            appliance.name = name.into_inner();
        }
        if let Some(uid) = raw.operator_uid {
            appliance.operator_uid = uid;
        }
        if let Some(base) = raw.uid_base {
            appliance.uid_base = self.uid_base("uid_base", &base, UIDS_PER_PLANE)?;
        }
        if let Some(base) = raw.jail_uid_base {
            appliance.jail_uid_base = self.uid_base("jail_uid_base", &base, JAIL_UIDS_PER_PLANE)?;
        }
        for name in raw.accept {
            if !is_name(name.get_ref()) {
                let what = format!("`{}` is no degradation", Escaped::cut(name.get_ref(), 64));
                let hint = "`keepgate status` names those of this host";
                return Err(self.wrong(&name, what).hint(hint));
            }
            appliance.accept.push(name.into_inner());
        }
        if let Some(resolvers) = raw.resolvers {
            let resolvers = resolvers.iter().map(|text| self.resolver(text));
            appliance.resolvers = Some(resolvers.collect::<Result<_>>()?);
        }
        for path in raw.ca {
            if !path.get_ref().is_absolute() {
                return Err(self.wrong(&path, "a file in `ca` has no absolute path"));
            }
            appliance.ca.push(path.into_inner());
        }
        Ok(appliance)
    }

    fn resolver(&self, text: &Spanned<String>) -> Result<String> {
        let address = text.get_ref();
        let whole = address.parse::<SocketAddr>().ok();
        let bare = address.parse::<IpAddr>().ok();
        let server = whole.or(bare.map(|bare| SocketAddr::new(bare, resolv::PORT)));
        server.map(|server| server.to_string()).ok_or_else(|| {
            let shown = Escaped::cut(address, 64);
            self.wrong(text, format!("`{shown}` is no address of a DNS server"))
                .hint("write `9.9.9.9:53` or `[2620:fe::fe]:53`, never a name")
        })
    }

    fn planes(&self, raw: BTreeMap<Spanned<String>, RawPlane>) -> Result<BTreeMap<String, Plane>> {
        if raw.is_empty() || raw.len() > PLANES_MAX {
            let what = format!(
                "`{}`: {} planes; 1 to {PLANES_MAX} work",
                self.file,
                raw.len()
            );
            return Err(Error::of(Kind::Usage, what).hint("add a table `[planes.production]`"));
        }
        let mut planes = BTreeMap::new();
        for (name, plane) in raw {
            if !is_name(name.get_ref()) {
                return Err(self.named(&name, "a plane"));
            }
            if name.get_ref() == CONNECTORS {
                let what = format!("no plane can be called `{CONNECTORS}`");
                let hint = "its state would be where connectors' packages are: take another name";
                return Err(self.wrong(&name, what).hint(hint));
            }
            let built = self.plane(&name, plane)?;
            planes.insert(name.into_inner(), built);
        }
        Ok(planes)
    }

    pub(super) fn named(&self, name: &Spanned<String>, what: &str) -> Error {
        let error = bad(name.get_ref(), what);
        let hint = error.hint_text().unwrap_or_default().to_owned();
        self.wrong(name, error.message()).hint(hint)
    }

    fn plane(&self, name: &Spanned<String>, raw: RawPlane) -> Result<Plane> {
        if raw.roots.len() > MANY || raw.http.len() > MANY {
            let what = format!(
                "plane `{}` has more than {MANY} roots or ways out",
                name.get_ref()
            );
            return Err(self.wrong(name, what));
        }
        let mut plane = Plane {
            quota: self.quota(raw.quota)?,
            ..Plane::default()
        };
        plane.unattended = raw.unattended.unwrap_or(plane.unattended);
        plane.observe = raw.observe;
        plane.connectors = self.connectors(raw.connectors)?;
        plane.agents = self.agents(raw.agents, &plane.connectors)?;
        let mut seen = BTreeSet::new();
        for (name, root) in raw.roots {
            if !is_name(name.get_ref()) {
                return Err(self.named(&name, "a root"));
            }
            let root = self.root(root)?;
            if !seen.insert(root.path.clone()) {
                let path = escaped(&root.path.to_string_lossy());
                return Err(self.wrong(&name, format!("two roots are `{path}`")));
            }
            plane.roots.insert(name.into_inner(), root);
        }
        for rule in raw.http {
            if let Err(fault) = http::check(rule.get_ref()) {
                return Err(self
                    .wrong(&rule, format!("this way out does not work: {fault}"))
                    .hint("for example: scheme = \"https\", host = \"api.example.net\", port = 443, methods = [\"GET\"], path = \"/v1\""));
            }
            plane.http.push(rule.into_inner());
        }
        plane.listen = self.listeners(name, raw.listen)?;
        Ok(plane)
    }

    fn root(&self, raw: Spanned<RawRoot>) -> Result<Root> {
        let RawRoot {
            path,
            writable,
            uid,
            gid,
        } = raw.into_inner();
        let shown = escaped(&path.get_ref().to_string_lossy());
        let plain = path
            .get_ref()
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
        if !path.get_ref().is_absolute() || !plain {
            return Err(self
                .wrong(
                    &path,
                    format!("the root path `{shown}` is not absolute and plain"),
                )
                .hint("begin with `/`, without `..`"));
        }
        if shown.len() > PATH_MAX {
            return Err(self.wrong(&path, "the root path is too long"));
        }
        if path.get_ref().components().count() < 2 {
            return Err(self
                .wrong(&path, "`/` cannot be a root")
                .hint("name the one directory that tools should see"));
        }
        if uid.as_ref().is_some_and(|uid| *uid.get_ref() == u32::MAX) || gid == Some(u32::MAX) {
            return Err(self.wrong(&path, "the uid or gid of a root means nobody (-1)"));
        }
        // The same directory always has the same spelling from here on.
        let path: PathBuf = path.get_ref().components().collect();
        Ok(Root {
            path,
            writable,
            uid: uid.map(Spanned::into_inner),
            gid,
        })
    }

    fn quota(&self, raw: RawQuota) -> Result<Quota> {
        let mut quota = Quota {
            run: self.run_limits(
                raw.calls_per_run,
                raw.writes_per_run,
                raw.result_kib_per_run,
            )?,
            ..Quota::default()
        };
        for (value, least, into) in [
            (
                raw.agent_calls_per_minute,
                1,
                &mut quota.agent_calls_per_minute,
            ),
            (
                raw.plane_calls_per_minute,
                1,
                &mut quota.plane_calls_per_minute,
            ),
            (
                raw.agent_log_bytes_per_day,
                CALL_MAX,
                &mut quota.agent_log_bytes_per_day,
            ),
            (
                raw.plane_log_bytes_per_day,
                CALL_MAX,
                &mut quota.plane_log_bytes_per_day,
            ),
        ] {
            let Some(value) = value else { continue };
            if *value.get_ref() == 0 || *value.get_ref() > 1 << 50 {
                return Err(self
                    .wrong(&value, "a quota of 0, or one too great to mean anything")
                    .hint("revoke the agents of a plane to stop them: `keepgate agent revoke`"));
            }
            if *value.get_ref() < least {
                let what = format!("{} bytes a day do not hold one large call", value.get_ref());
                return Err(self
                    .wrong(&value, what)
                    .hint(format!("at least {least}: arguments may have 1 MiB")));
            }
            *into = value.into_inner();
        }
        Ok(quota)
    }
}
