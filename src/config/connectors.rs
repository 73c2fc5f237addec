//! The tables `[planes.NAME.connectors.CONNECTOR]`: which approved connectors a plane's agents use.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use toml::Spanned;

use super::is_name;
use super::raw::Source;
use crate::call::rates::MOST;
use crate::catalog::connector::Rates;
use crate::error::Result;
use crate::wire::text::Escaped;

/// Most connectors of a plane.
const MANY: usize = 64;
/// Stands for every agent of the plane.
const ALL: &str = "*";
/// What the names of Keepgate's own tools begin with.
const TAKEN: [&str; 3] = ["file", "http", "keepgate"];

/// One table `[planes.NAME.connectors.CONNECTOR]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// Agents that see its tools; `None` for all of the plane.
    pub agents: Option<BTreeSet<String>>,
    /// Names of its tools on the wire begin with `CONNECTOR__`.
    pub prefix: bool,
    /// Its tools that they see, by the server's own names; `None` for all.
    pub tools: Option<BTreeSet<String>>,
    /// Calls a minute of each agent to it.
    pub calls_per_minute: u64,
    /// How often each agent may call single tools of it.
    pub limits: BTreeMap<String, Rates>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawUse {
    agents: Vec<Spanned<String>>,
    #[serde(default = "yes")]
    prefix: Spanned<bool>,
    calls_per_minute: Option<Spanned<u64>>,
    tools: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    limits: BTreeMap<Spanned<String>, RawRates>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRates {
    calls_per_minute: Option<Spanned<u64>>,
    calls_per_day: Option<Spanned<u64>>,
}

fn yes() -> Spanned<bool> {
    Spanned::new(0..0, true)
}

/// Calls a minute of an agent where nothing is said.
const CALLS: u64 = 600;

impl Use {
    /// Whether `agent` sees its tools.
    pub fn serves(&self, agent: &str) -> bool {
        self.agents
            .as_ref()
            .is_none_or(|agents| agents.contains(agent))
    }
}

impl Source<'_> {
    pub(super) fn connectors(
        &self,
        raw: BTreeMap<Spanned<String>, RawUse>,
    ) -> Result<BTreeMap<String, Use>> {
        let several = raw.len() > 1;
        let mut uses = BTreeMap::new();
        for (name, raw) in raw {
            if !is_name(name.get_ref()) {
                return Err(self.named(&name, "a connector"));
            }
            if TAKEN.contains(&name.get_ref().as_str()) {
                let what = format!(
                    "`{}` is the name of tools of Keepgate's own",
                    name.get_ref()
                );
                return Err(self
                    .wrong(&name, what)
                    .hint("import the connector under another name"));
            }
            if uses.len() == MANY {
                let what = format!("a plane has {MANY} connectors at most");
                return Err(self.wrong(&name, what));
            }
            if several && !raw.prefix.get_ref() {
                let what = "only a plane's only connector can do without its prefix";
                return Err(self
                    .wrong(&raw.prefix, what)
                    .hint("take `prefix = false` out, or give the connector a plane of its own"));
            }
            let used = self.connector(raw)?;
            uses.insert(name.into_inner(), used);
        }
        Ok(uses)
    }

    fn connector(&self, raw: RawUse) -> Result<Use> {
        let mut agents = BTreeSet::new();
        let all = raw.agents.iter().any(|agent| agent.get_ref() == ALL);
        for agent in raw.agents {
            let name = agent.get_ref();
            if name != ALL && !is_name(name) {
                let what = format!("`{}` is no name of an agent", Escaped::cut(name, 64));
                return Err(self.wrong(&agent, what).hint(
                    "a name has a-z, 0-9 and `-`; `\"*\"` stands for all agents of the plane",
                ));
            }
            agents.insert(agent.into_inner());
        }
        let calls_per_minute = match raw.calls_per_minute {
            Some(calls) if *calls.get_ref() == 0 => {
                return Err(self
                    .wrong(&calls, "no calls a minute at all")
                    .hint("take the connector out of the plane, or its agents"));
            }
            Some(calls) => calls.into_inner(),
            None => CALLS,
        };
        let tools = raw.tools.map(|tools| self.tools(tools)).transpose()?;
        let mut limits = BTreeMap::new();
        for (tool, raw) in raw.limits {
            self.tool(&tool)?;
            let rates = Rates {
                calls_per_minute: self.limit(raw.calls_per_minute)?.map(|n| n.min(MOST)),
                calls_per_day: self.limit(raw.calls_per_day)?.map(|n| n.min(MOST)),
            };
            if rates.is_empty() {
                return Err(self
                    .wrong(&tool, "no limit is said")
                    .hint("`calls_per_minute`, `calls_per_day`, or both"));
            }
            limits.insert(tool.into_inner(), rates);
        }
        Ok(Use {
            agents: (!all).then_some(agents),
            prefix: raw.prefix.into_inner(),
            tools,
            calls_per_minute,
            limits,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use crate::catalog::connector::Rates;

    fn parse(text: &str) -> crate::error::Result<Config> {
        Config::parse(text, "k.toml")
    }

    #[test]
    fn connectors_are_read_with_who_uses_them() {
        let config = parse(
            "[planes.p.connectors.git]\nagents = [\"a\", \"b\"]\ncalls_per_minute = 5\n\
             tools = [\"log\"]\n\
             limits.push = { calls_per_minute = 2, calls_per_day = 9 }\n\
             [planes.q.connectors.x]\nagents = [\"*\"]\nprefix = false\n",
        )
        .unwrap();
        let git = &config.planes["p"].connectors["git"];
        assert!(git.serves("a") && !git.serves("c") && git.prefix);
        assert_eq!(git.calls_per_minute, 5);
        assert_eq!(git.tools, Some(["log".to_owned()].into()));
        let rates = Rates {
            calls_per_minute: Some(2),
            calls_per_day: Some(9),
        };
        assert_eq!(git.limits["push"], rates);
        let x = &config.planes["q"].connectors["x"];
        assert!(x.serves("anybody") && !x.prefix);
    }

    #[test]
    fn mistakes_have_their_line_and_a_hint() {
        for (text, line, says) in [
            ("[planes.p.connectors.G]\nagents = []\n", 1, "connector"),
            (
                "[planes.p.connectors.http]\nagents = []\n",
                1,
                "Keepgate's own",
            ),
            ("[planes.p.connectors.g]\n", 1, "agents"),
            (
                "[planes.p.connectors.g]\nagents = [\"A b\"]\n",
                2,
                "no name of an agent",
            ),
            (
                "[planes.p.connectors.g]\nagents = []\nkey = 1\n",
                3,
                "unknown field",
            ),
            (
                "[planes.p.connectors.g]\nagents = []\ncalls_per_minute = 0\n",
                3,
                "no calls",
            ),
            (
                "[planes.p.connectors.g]\nagents = []\n[planes.p.connectors.g.limits.x]\n",
                3,
                "no limit",
            ),
            (
                "[planes.p.connectors.g]\nagents = []\nlimits.x.calls_per_day = 0\n",
                3,
                "a limit of 0",
            ),
            (
                "[planes.p.connectors.g]\nagents = []\nlimits.x.calls = 1\n",
                3,
                "unknown field",
            ),
            (
                "[planes.p.connectors.g]\nagents = []\n[planes.p.connectors.h]\nagents = []\nprefix = false\n",
                5,
                "only connector",
            ),
        ] {
            let error = parse(text).unwrap_err();
            let said = error.message();
            assert!(said.contains(&format!("line {line}")), "{said}");
            assert!(said.contains(says), "{said}");
        }
    }
}
