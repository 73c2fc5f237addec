//! The configuration file that `keepgate init` writes: every setting, with why one would change it.

use std::path::PathBuf;

use super::Config;

/// What an install begins with.
#[derive(Debug, Clone, Default)]
pub struct Starter {
    /// Name of the appliance; `keepgate` where nothing is said.
    pub name: Option<String>,
    /// It is a demonstration, for ever.
    pub demo: bool,
    /// Roots of the plane `production`.
    pub roots: Vec<StarterRoot>,
}

/// A root that the new install has.
#[derive(Debug, Clone)]
pub struct StarterRoot {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub path: PathBuf,
    /// Tools may write beneath it.
    pub writable: bool,
    /// uid and gid that files are opened as.
    pub user: Option<u32>,
}

impl Config {
    /// The text of a new configuration file: commented, and with every default spelt out.
    pub fn defaults_text(starter: &Starter) -> String {
        let name = starter.name.as_deref().unwrap_or("keepgate");
        let mut text = HEAD.replace("{name}", name);
        if starter.demo {
            text.push_str(DEMO);
        }
        text.push_str(PRODUCTION);
        for root in &starter.roots {
            let path = toml::Value::from(root.path.to_string_lossy().into_owned());
            text += &format!("\n[planes.production.roots.{}]\npath = {path}\n", root.name);
            if root.writable {
                text.push_str("writable = true\n");
            }
            if let Some(user) = root.user {
                text += &format!("uid = {user}\ngid = {user}\n");
            }
        }
        text.push_str(PUBLIC);
        text
    }
}

const HEAD: &str = r#"# Keepgate's configuration. After a change: `keepgate doctor`, then start `keepgate serve` again.
# Every configuration that is served is recorded in the log.

[appliance]
# Name of this install. With a plane's name it is the origin of that plane's log: choose it before
# the first start, it stays as long as the log does.
name = "{name}"
# The uid that may give orders, besides root. Only where `keepgate serve` runs as root.
# operator_uid = 0
# Roles run as uids from here on, 8 for each plane. Nobody else may have them.
# uid_base = 64100
# Jails run as uids from here on, 128 for each plane. Nobody else may have them.
# jail_uid_base = 1879048192
# Protection this host lacks and you do without, by the names that `keepgate status` shows. Without
# cgroups, or a Landlock of kernel 6.12, nothing is served before that is said here.
# accept = ["no-cgroup-controllers"]
# DNS servers; without this, those in /etc/resolv.conf.
# resolvers = ["9.9.9.9:53"]
# Files (PEM) with certificates of your own authorities.
# ca = ["/etc/keepgate/ca.pem"]
"#;

const DEMO: &str = r#"# This install is a demonstration: it says so in its log and in `status`, for ever.
demo = true
"#;

const PRODUCTION: &str = r#"
# A plane is a complete, separate stack: processes, uids, keys, policy, log.
[planes.production]
# Nobody watches its agents: what needs a person is refused at once.
unattended = true
# What tools are refused is told in detail (`keepgate jail explain SEQ`). Calls take longer then.
# observe = true

# How much agents may do. More is refused, and recorded once a minute.
# [planes.production.quota]
# agent_calls_per_minute = 600
# plane_calls_per_minute = 3000
# agent_log_bytes_per_day = 1073741824   # at least 1050624: one call may need that
# plane_log_bytes_per_day = 4294967296
# calls_per_run = 1000        # a run ends after 30 minutes without a call; without these, no limit
# writes_per_run = 100        # calls that may change something
# result_kib_per_run = 65536

# What one agent may use, in place of what every agent of the plane may.
# [planes.production.agents.mailbot]
# calls_per_minute = 60
# calls_per_run = 200
# writes_per_run = 10
# result_kib_per_run = 1024
# connectors.git = ["git_log"]   # of that connector's tools, it sees only these
# An agent of this host that is pinned: another byte in there, and it makes no call until
# `keepgate agent pin mailbot --by NAME`.
# [planes.production.agents.mailbot.runtime]
# paths = ["/opt/mailbot", "/usr/bin/python3"]
# models = ["some-model-2026-10"]   # recorded with its runs

# Agents that connect over HTTP: on this host with a token (`keepgate agent add NAME --token`), on
# others with a client certificate (`--cert FILE`); then the listener needs its own.
# [planes.production.listen.local]
# address = "127.0.0.1:7411"
# origins = []                       # web pages that may, for example "https://tools.example.net"
# [planes.production.listen.remote]
# address = "0.0.0.0:7443"
# hosts = ["gate.example.net"]       # the names it is reached by
# cert = "/etc/keepgate/tls/gate.pem"
# key = "/etc/keepgate/tls/gate.key"

# Directories that file tools see, as `NAME/path`. Links in them are never followed.
# [planes.production.roots.mail]
# path = "/srv/mail"
# writable = true       # without this, tools only read
# uid = 1000            # files are opened as this user; without it, as the directory's owner
# gid = 1000

# Connectors that its agents use, once they are approved: `keepgate connector --help`.
# [planes.production.connectors.git]
# agents = ["*"]          # or names of agents
# tools = ["git_log", "git_commit"]   # of its tools, agents see only these
# prefix = true           # names of its tools begin with `git__`
# calls_per_minute = 600  # of each agent
# limits.git_commit = { calls_per_minute = 5, calls_per_day = 50 }   # of each agent, one tool

# Ways out for `http.request`. Nothing else can be reached.
# [[planes.production.http]]
# scheme = "https"
# host = "api.example.net"
# port = 443
# methods = ["GET"]
# path = "/v1"          # this path and what is below it
# private = ["10.1.2.0/24"]   # private networks its address may be in
# pin_sha256 = "…"            # SHA-256 of its certificate, in place of authorities
"#;

const PUBLIC: &str = "\n[planes.public]\nunattended = true\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_init_writes_is_what_defaults_are() {
        let text = Config::defaults_text(&Starter::default());
        assert_eq!(Config::parse(&text, "t").unwrap(), Config::default());
    }

    #[test]
    fn a_demonstration_has_its_roots_and_says_so() {
        let root = |name: &str, writable| StarterRoot {
            name: name.into(),
            path: format!("/d/a b/{name}").into(),
            writable,
            user: Some(64_099),
        };
        let starter = Starter {
            name: Some("gate-1".into()),
            demo: true,
            roots: vec![root("mail", false), root("out", true)],
        };
        let config = Config::parse(&Config::defaults_text(&starter), "t").unwrap();
        assert!(config.appliance.demo && config.appliance.name == "gate-1");
        let plane = &config.planes["production"];
        assert!(plane.roots["out"].writable && !plane.roots["mail"].writable);
        assert_eq!(
            plane.roots["mail"].path,
            std::path::Path::new("/d/a b/mail")
        );
        assert_eq!(plane.roots["mail"].uid, Some(64_099));
    }

    #[test]
    fn every_commented_setting_is_a_real_one() {
        let all: String = Config::defaults_text(&Starter::default())
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(rest) if rest.contains(" = ") || rest.starts_with('[') => rest,
                _ => line,
            })
            .filter(|line| !line.starts_with("pin_sha256"))
            .map(|line| format!("{line}\n"))
            .collect();
        let config = Config::parse(&all, "t").unwrap();
        let plane = &config.planes["production"];
        assert_eq!(
            (plane.roots.len(), plane.http.len(), plane.listen.len()),
            (1, 1, 2)
        );
        let run = Default::default();
        assert!(plane.quota.run.calls.is_some_and(|calls| calls > 0));
        let quota = super::super::Quota { run, ..plane.quota };
        assert_eq!(quota, super::super::Quota::default());
        assert_eq!(config.resolvers(), ["9.9.9.9:53"]);
    }
}
