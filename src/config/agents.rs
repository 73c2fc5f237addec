//! The tables `[planes.NAME.agents.AGENT]`: what one agent may use less, or more, of than every agent
//! of its plane. Whoever is named here need not be enrolled; whoever is enrolled need not be named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::connectors::Use;
use super::is_name;
use super::raw::Source;
use crate::audit::quota::RunLimits;
use crate::catalog::runtime::Runtime;
use crate::error::Result;
use crate::wire::messages::AGENTS_MAX;
use crate::wire::text::Escaped;

/// Greatest number that means anything as a limit.
const MOST: u64 = 1 << 50;
/// Most tools that one list names.
const TOOLS_MAX: usize = 512;
/// Most paths, and models, of one runtime.
const PATHS_MAX: usize = 64;
/// Longest name of a model, in bytes.
const MODEL_MAX: usize = 200;
/// Longest name of a tool, in bytes.
const TOOL_MAX: usize = 256;

/// One table `[planes.NAME.agents.AGENT]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Agent {
    /// Calls a minute, of all tools; nothing where the plane's own number holds.
    pub calls_per_minute: Option<u64>,
    /// What one run may use; what is not said here is as for every agent of the plane.
    pub run: RunLimits,
    /// Tools it sees of a connector, by the connector's name and the server's own names; all that the
    /// connector's table allows where it is not named.
    pub connectors: BTreeMap<String, BTreeSet<String>>,
    /// What it is made of, where it runs on this host and is pinned.
    pub runtime: Option<Runtime>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawAgent {
    calls_per_minute: Option<Spanned<u64>>,
    calls_per_run: Option<Spanned<u64>>,
    writes_per_run: Option<Spanned<u64>>,
    result_kib_per_run: Option<Spanned<u64>>,
    connectors: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
    runtime: Option<Spanned<RawRuntime>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRuntime {
    paths: Vec<Spanned<PathBuf>>,
    #[serde(default)]
    models: Vec<Spanned<String>>,
}

impl Source<'_> {
    /// The tables of a plane that has these connectors.
    pub(super) fn agents(
        &self,
        raw: BTreeMap<Spanned<String>, RawAgent>,
        uses: &BTreeMap<String, Use>,
    ) -> Result<BTreeMap<String, Agent>> {
        let mut agents = BTreeMap::new();
        for (name, raw) in raw {
            if !is_name(name.get_ref()) {
                return Err(self.named(&name, "an agent"));
            }
            if agents.len() == AGENTS_MAX {
                let what = format!("a plane has {AGENTS_MAX} agents at most");
                return Err(self.wrong(&name, what));
            }
            let agent = self.agent(name.get_ref(), raw, uses)?;
            agents.insert(name.into_inner(), agent);
        }
        Ok(agents)
    }

    fn agent(&self, name: &str, raw: RawAgent, uses: &BTreeMap<String, Use>) -> Result<Agent> {
        let mut connectors = BTreeMap::new();
        for (connector, tools) in raw.connectors {
            let used = uses.get(connector.get_ref());
            if used.is_none_or(|used| !used.serves(name)) {
                let shown = Escaped::cut(connector.get_ref(), 64);
                let what = format!("agent `{name}` does not use a connector `{shown}`");
                return Err(self.wrong(&connector, what).hint(
                    "name the agent in `agents` of `[planes.PLANE.connectors.CONNECTOR]` first",
                ));
            }
            connectors.insert(connector.into_inner(), self.tools(tools)?);
        }
        Ok(Agent {
            calls_per_minute: self.limit(raw.calls_per_minute)?,
            run: self.run_limits(
                raw.calls_per_run,
                raw.writes_per_run,
                raw.result_kib_per_run,
            )?,
            connectors,
            runtime: raw.runtime.map(|raw| self.runtime(raw)).transpose()?,
        })
    }

    /// What an agent is made of.
    fn runtime(&self, raw: Spanned<RawRuntime>) -> Result<Runtime> {
        if raw.get_ref().paths.is_empty() {
            return Err(self
                .wrong(&raw, "it is not said what the agent is made of")
                .hint("`paths`: its interpreter or program, its packages, its lockfiles"));
        }
        let mut runtime = Runtime::default();
        let RawRuntime { paths, models } = raw.into_inner();
        for said in paths {
            let plain =
                |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
            let path = said.get_ref();
            if !path.is_absolute() || !path.components().all(plain) || path.parent().is_none() {
                let shown = Escaped::cut(&path.to_string_lossy(), 100).to_string();
                return Err(self
                    .wrong(&said, format!("`{shown}` is no absolute and plain path"))
                    .hint("begin with `/`, without `..`; `/` itself cannot be pinned"));
            }
            let path: PathBuf = path.components().collect();
            if runtime.paths.contains(&path) || runtime.paths.len() == PATHS_MAX {
                let what = format!("a path that is named twice, or more than {PATHS_MAX}");
                return Err(self.wrong(&said, what).hint("each tree once"));
            }
            runtime.paths.push(path);
        }
        for said in models {
            let name = said.get_ref();
            let plain = !name.is_empty() && name.len() <= MODEL_MAX && name.chars().all(printable);
            if !plain || runtime.models.len() == PATHS_MAX || runtime.models.contains(name) {
                let what = format!("`{}` is no name of a model", Escaped::cut(name, 64));
                return Err(self
                    .wrong(&said, what)
                    .hint("as its provider writes it, each once, without spaces"));
            }
            runtime.models.push(said.into_inner());
        }
        Ok(runtime)
    }

    /// What a run may use.
    pub(super) fn run_limits(
        &self,
        calls: Option<Spanned<u64>>,
        writes: Option<Spanned<u64>>,
        kib: Option<Spanned<u64>>,
    ) -> Result<RunLimits> {
        Ok(RunLimits {
            calls: self.limit(calls)?,
            writes: self.limit(writes)?,
            result_bytes: self.limit(kib)?.map(|kib| kib.saturating_mul(1 << 10)),
        })
    }

    /// A limit: at least 1.
    pub(super) fn limit(&self, said: Option<Spanned<u64>>) -> Result<Option<u64>> {
        match said {
            Some(value) if *value.get_ref() == 0 || *value.get_ref() > MOST => Err(self
                .wrong(&value, "a limit of 0, or one too great to mean anything")
                .hint(
                    "to stop an agent, revoke it: `keepgate agent revoke`; to forbid a tool, leave \
                     it out of `tools`",
                )),
            said => Ok(said.map(Spanned::into_inner)),
        }
    }

    /// A list of tools by their server's names.
    pub(super) fn tools(&self, said: Vec<Spanned<String>>) -> Result<BTreeSet<String>> {
        let mut tools = BTreeSet::new();
        for tool in said {
            self.tool(&tool)?;
            if tools.len() == TOOLS_MAX {
                return Err(self.wrong(&tool, format!("more than {TOOLS_MAX} tools")));
            }
            tools.insert(tool.into_inner());
        }
        Ok(tools)
    }

    /// A tool's name: what a server may call it.
    pub(super) fn tool(&self, tool: &Spanned<String>) -> Result<()> {
        let name = tool.get_ref();
        if !name.is_empty() && name.len() <= TOOL_MAX && !name.chars().any(char::is_control) {
            return Ok(());
        }
        let what = format!("`{}` is no name of a tool", Escaped::cut(name, 64));
        Err(self.wrong(tool, what).hint(
            "the server's own name for it, without the connector's: `keepgate connector show NAME`",
        ))
    }
}

fn printable(letter: char) -> bool {
    letter.is_ascii_graphic()
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    const GIT: &str = "[planes.p.connectors.git]\nagents = [\"bot\"]\n";

    #[test]
    fn an_agents_own_limits_stand_beside_those_of_every_agent() {
        let text = format!(
            "{GIT}[planes.p.quota]\ncalls_per_run = 500\nwrites_per_run = 20\n\
             [planes.p.agents.bot]\ncalls_per_minute = 30\nwrites_per_run = 2\n\
             result_kib_per_run = 3\nconnectors.git = [\"git_log\"]\n\
             runtime = {{ paths = [\"/srv/bot/\"], models = [\"m-1\"] }}\n"
        );
        let config = Config::parse(&text, "k.toml").unwrap();
        let plane = &config.planes["p"];
        let bot = &plane.agents["bot"];
        assert_eq!(bot.calls_per_minute, Some(30));
        let runtime = bot.runtime.as_ref().unwrap();
        assert_eq!(runtime.paths, [PathBuf::from("/srv/bot")]);
        assert_eq!(runtime.models, ["m-1"]);
        let run = RunLimits {
            calls: Some(500),
            writes: Some(2),
            result_bytes: Some(3 << 10),
        };
        assert_eq!(bot.run.or(plane.quota.run), run);
        assert_eq!(bot.connectors["git"], ["git_log".to_owned()].into());
    }

    #[test]
    fn mistakes_have_their_line_and_a_hint() {
        for (text, line, says) in [
            ("[planes.p.agents.B]\n", 1, "agent"),
            ("[planes.p.agents.b]\ncalls = 1\n", 2, "unknown field"),
            (
                "[planes.p.agents.b]\ncalls_per_run = 0\n",
                2,
                "a limit of 0",
            ),
            (
                "[planes.p.agents.b.runtime]\nmodels = []\n",
                1,
                "missing field `paths`",
            ),
            (
                "[planes.p.agents.b.runtime]\npaths = []\n",
                1,
                "what the agent is made of",
            ),
            (
                "[planes.p.agents.b.runtime]\npaths = [\"/srv\", \"srv/x\"]\n",
                2,
                "no absolute",
            ),
            (
                "[planes.p.agents.b.runtime]\npaths = [\"/\"]\n",
                2,
                "no absolute",
            ),
            (
                "[planes.p.agents.b.runtime]\npaths = [\"/a\", \"/a/\"]\n",
                2,
                "named twice",
            ),
            (
                "[planes.p.agents.b.runtime]\npaths = [\"/a\"]\nmodels = [\"a b\"]\n",
                3,
                "no name of a model",
            ),
            ("[planes.p.quota]\nwrites_per_run = 0\n", 2, "a limit of 0"),
            (
                "[planes.p.agents.b]\nconnectors.git = [\"x\"]\n",
                2,
                "does not use a connector `git`",
            ),
            (
                "[planes.p.connectors.git]\nagents = [\"b\"]\n[planes.p.agents.b.connectors]\ngit = [\"\"]\n",
                4,
                "no name of a tool",
            ),
            (
                "[planes.p.connectors.git]\nagents = [\"a\"]\n[planes.p.agents.b.connectors]\ngit = [\"x\"]\n",
                4,
                "does not use a connector",
            ),
        ] {
            let error = Config::parse(text, "k.toml").unwrap_err();
            let said = error.message();
            assert!(said.contains(&format!("line {line}")), "{said}");
            assert!(said.contains(says), "{said}");
            assert!(error.hint_text().is_some(), "{said}");
        }
    }
}
