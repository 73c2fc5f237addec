//! A connector's manifest as it is written.
//!
//! ```toml
//! name = "git"                              # a-z, 0-9, `-`; first part of its tools' names
//! title = "Git"
//! version = "2026.10.19"
//! publisher = "modelcontextprotocol"
//! resources = "pinned"                      # or "data": the list of its resources comes and goes
//!
//! [package]                                 # where it was installed from
//! registry = "pypi"                         # or "npm"
//! identifier = "mcp-server-git"
//! version = "2026.10.19"
//! sha256 = "…"                              # of the published archive
//!
//! [stdio]                                   # or [remote], or [skill]
//! program = "/usr/bin/python3"
//! arguments = ["-m", "mcp_server_git"]
//! files = ["/srv/mcp/git"]                  # pinned: what it executes
//!
//! [jail]                                    # the keys of `keepgate jail check`; class foreign
//! ro = ["/usr", "/srv/mcp/git"]
//! rw = ["/srv/repositories/site"]
//!
//! [remote]
//! url = "https://mcp.example.net/mcp"
//! private = ["10.0.0.0/8"]
//! pin_sha256 = "…"                          # of the server's certificate
//! toolkits = ["gmail"]                      # a server of Composio: those its tools belong to
//!
//! [skill]
//! folder = "/srv/skills/pdf"
//! [skill.scripts.fill]
//! script = "scripts/fill.py"
//! with = ["/usr/bin/python3"]               # what runs it; nothing where it runs by itself
//! about = "Fill a form"
//!
//! [secrets.token]                           # exactly one of header, query, body, basic, env
//! header = "authorization"
//! prefix = "Bearer "
//! required = true
//! about = "Token of the service"
//!
//! [tools.git_commit]                        # an undeclared tool is destructive and irreversible
//! class = "write"                           # read egress write send share pay public credential destructive
//! reversibility = "mitigable"               # reversible mitigable irreversible
//! dry_run = { arguments = { dry_run = true } }    # or { tool = "preview" }
//! undo = { tool = "git_reset", arguments = { repo_path = "arguments:/repo_path" } }
//! calls_per_minute = 5                      # of each agent
//! calls_per_day = 50                        # from midnight to midnight UTC
//! high_value = "always"                     # or { parameter = "amount", above = 1000 }
//!                                           # or { parameter = "to", usual = ["ops"] }
//! [tools.git_commit.parameters]             # an undeclared parameter is a target
//! repo_path = { role = "target", kind = "path" }
//! message = { role = "content" }            # target content amount flag
//! [tools.git_commit.outputs]                # an undeclared output is untrusted
//! "/sha" = "trusted"                        # a place in the structured result
//!
//! [limits]
//! calls_per_minute = 600
//! [allow]                                   # what the server may ask of agents' clients
//! sampling = false
//! ```
//!
//! What is unknown, said twice or without effect is an error with its line and a hint.
//!
//! A live call of a tool with an effect runs without a person only where `undo` names a tool that
//! takes it back, and where that can be carried out ([`super::means`]). A dry run is carried out in
//! rehearsals: another tool has to be declared `read`; an argument is trusted to have the tool
//! rehearse, because a person approves the manifest that says so.

mod remote;
mod secrets;
mod values;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use self::remote::RawRemote;
use self::secrets::{RawSlot, secrets};
use self::values::{
    cut, few, is_pointer, json, line, named, number, path, pointer, sha256, text, word,
};
use super::skill::Script;
use super::{Connector, ConnectorLimits, Launch, Package, Passing, Registry, Resources};
use crate::call::declared::{
    Declared, DryRun, HighValue, Label, Origin, Parameter, Role, Undo, ValueKind,
};
use crate::call::rates::{self, Rates};
use crate::call::tool::{EffectClass, Reversibility};
use crate::error::{Context, Error, Kind, Result};
use crate::jail::profile::{self, Host, Place, Source};
use crate::wire::manifest::{Class, Manifest};
use crate::wire::text::escaped;
use crate::wire::words::said;

/// Longest manifest, in bytes.
pub const FILE_MAX: u64 = 1 << 20;
/// How a whole manifest looks.
const HINT: &str = "`keepgate connector import` writes a manifest with every key it can fill in";

/// A manifest that was not compared with a host yet.
#[derive(Debug, Clone)]
pub struct Written {
    connector: Connector,
    jail: Option<profile::Draft>,
}

impl Written {
    /// Reads the file `path`; gives its bytes too, which are what is pinned.
    ///
    /// # Errors
    /// Fails where it cannot be read, and as [`Written::parse`].
    pub fn load(path: &Path) -> Result<(Self, Vec<u8>)> {
        let shown = escaped(&path.to_string_lossy());
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes))
            .context(|| format!("read the manifest `{shown}`"))
            .map_err(|error| {
                error
                    .kind_is(Kind::Usage)
                    .hint("`keepgate connector list` says which there are")
            })?;
        Ok((Self::parse_bytes(&bytes, &shown)?, bytes))
    }

    /// As [`Written::parse`], of bytes that may be anything; what a fuzzer calls.
    ///
    /// # Errors
    /// As [`Written::parse`], and where they are longer than [`FILE_MAX`] or not UTF-8.
    pub fn parse_bytes(bytes: &[u8], file: &str) -> Result<Self> {
        let wrong = |what: String| Error::of(Kind::Usage, format!("`{file}` {what}")).hint(HINT);
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > FILE_MAX {
            return Err(wrong(format!("is longer than {FILE_MAX} bytes")));
        }
        let text = str::from_utf8(bytes)
            .map_err(|at| wrong(format!("is not UTF-8 text (byte {})", at.valid_up_to())))?;
        Self::parse(text, file)
    }

    /// Reads a manifest; `file` is its name in errors. Looks at the text only, never at the host.
    ///
    /// # Errors
    /// Kind usage with file, line, what is wrong and a hint.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        let source = Source { text, file };
        let raw: Raw = toml::from_str(text).map_err(|error| source.syntax(&error, HINT))?;
        raw.read(&source)
    }

    /// The connector's name.
    pub fn name(&self) -> &str {
        &self.connector.name
    }

    /// Compares its jail with the host; see [`profile::Draft::check`].
    ///
    /// # Errors
    /// As there.
    pub fn check(self, host: &Host) -> Result<Connector> {
        let Self { connector, jail } = self;
        let name = connector.name.clone();
        let checked = jail.map(|draft| draft.check(host)).transpose()?;
        Ok(with_jail(connector, checked, &name))
    }

    /// The connector as it was said, without a look at the host.
    pub fn into_connector(self) -> Connector {
        let Self { connector, jail } = self;
        let name = connector.name.clone();
        let said = jail.map(profile::Draft::into_manifest);
        with_jail(connector, said, &name)
    }
}

impl Connector {
    /// Reads a manifest without a look at the host; see [`Written::parse`].
    ///
    /// # Errors
    /// As there.
    pub fn parse(text: &str, file: &str) -> Result<Self> {
        Written::parse(text, file).map(Written::into_connector)
    }
}

fn with_jail(mut connector: Connector, manifest: Option<Manifest>, name: &str) -> Connector {
    if let (Launch::Stdio { jail, .. } | Launch::Skill { jail, .. }, Some(manifest)) =
        (&mut connector.launch, manifest)
    {
        *jail = Manifest {
            name: name.into(),
            ..manifest
        };
    }
    connector
}

/// Whether `text` can name a connector: 1 to 32 of a-z, 0-9 and `-`, beginning with a letter or digit.
pub fn is_name(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= 32
        && text.as_bytes().first().is_some_and(plain)
        && text.bytes().all(|byte| plain(&byte) || byte == b'-')
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    name: Spanned<String>,
    title: Option<Spanned<String>>,
    version: Option<Spanned<String>>,
    publisher: Option<Spanned<String>>,
    resources: Option<Spanned<String>>,
    package: Option<RawPackage>,
    stdio: Option<Spanned<RawStdio>>,
    remote: Option<Spanned<RawRemote>>,
    skill: Option<Spanned<RawSkill>>,
    jail: Option<Spanned<profile::Raw>>,
    #[serde(default)]
    secrets: BTreeMap<Spanned<String>, RawSlot>,
    #[serde(default)]
    tools: BTreeMap<Spanned<String>, RawDeclared>,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    allow: RawPassing,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPackage {
    registry: Spanned<String>,
    identifier: Spanned<String>,
    version: Spanned<String>,
    sha256: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStdio {
    program: Spanned<PathBuf>,
    #[serde(default)]
    arguments: Vec<Spanned<String>>,
    #[serde(default)]
    files: Vec<Spanned<PathBuf>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSkill {
    folder: Spanned<PathBuf>,
    #[serde(default)]
    scripts: BTreeMap<Spanned<String>, RawScript>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScript {
    script: Spanned<String>,
    #[serde(default)]
    with: Vec<Spanned<String>>,
    about: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawDeclared {
    class: Option<Spanned<String>>,
    reversibility: Option<Spanned<String>>,
    #[serde(default)]
    parameters: BTreeMap<Spanned<String>, RawParameter>,
    #[serde(default)]
    outputs: BTreeMap<Spanned<String>, Spanned<String>>,
    dry_run: Option<Spanned<toml::Value>>,
    undo: Option<RawUndo>,
    high_value: Option<Spanned<toml::Value>>,
    calls_per_minute: Option<Spanned<u64>>,
    calls_per_day: Option<Spanned<u64>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawParameter {
    role: Option<Spanned<String>>,
    kind: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawUndo {
    tool: Spanned<String>,
    #[serde(default)]
    arguments: BTreeMap<Spanned<String>, Spanned<toml::Value>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawLimits {
    calls_per_minute: Option<Spanned<u64>>,
    calls_at_a_time: Option<Spanned<u64>>,
    result_kib: Option<Spanned<u64>>,
    call_s: Option<Spanned<u64>>,
    start_s: Option<Spanned<u64>>,
    idle_s: Option<Spanned<u64>>,
    notices_per_minute: Option<Spanned<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RawPassing {
    sampling: bool,
    elicitation: bool,
    roots: bool,
}

/// The files' places.
type From<'a> = &'a Source<'a>;

impl Raw {
    fn read(self, source: From<'_>) -> Result<Written> {
        let place = source.place(&self.name);
        let name = self.name.into_inner();
        if !is_name(&name) {
            return Err(place.wrong(
                format!("`{}` cannot be the name of a connector", cut(&name)),
                "1 to 32 of a-z, 0-9 and `-`, beginning with a letter or digit",
            ));
        }
        let title = self.title.map(|title| line(&title, source)).transpose()?;
        let (launch, jail) = launch(self.stdio, self.remote, self.skill, self.jail, source)?;
        few(self.tools.len(), "tools", &place)?;
        few(self.secrets.len(), "secrets", &place)?;
        let secrets = secrets(self.secrets, &launch, source)?;
        let mut tools = BTreeMap::new();
        for (tool, raw) in self.tools {
            let at = source.place(&tool);
            let tool = named(tool, "a tool", source)?;
            tools.insert(tool, raw.read(&at, source)?);
        }
        let resources = resources(self.resources.as_ref(), &launch, source)?;
        let connector = Connector {
            resources,
            title: title.unwrap_or_else(|| name.clone()),
            name,
            version: self.version.map(|text| line(&text, source)).transpose()?,
            publisher: self.publisher.map(|text| line(&text, source)).transpose()?,
            package: self.package.map(|raw| raw.read(source)).transpose()?,
            launch,
            secrets,
            tools,
            limits: self.limits.read(source)?,
            allow: Passing {
                sampling: self.allow.sampling,
                elicitation: self.allow.elicitation,
                roots: self.allow.roots,
            },
        };
        Ok(Written { connector, jail })
    }
}

fn resources(
    said: Option<&Spanned<String>>,
    launch: &Launch,
    source: From<'_>,
) -> Result<Resources> {
    let Some(said) = said else {
        return Ok(Resources::default());
    };
    let kinds = [Resources::Pinned, Resources::Data];
    let kind = word(said, &kinds, Resources::name, "kind of resources", source)?;
    match (kind, launch) {
        (Resources::Data, Launch::Skill { .. }) => Err(source.place(said).wrong(
            "the resources of a skill are its files, which are pinned",
            "take `resources` away",
        )),
        _ => Ok(kind),
    }
}

impl RawPackage {
    fn read(self, source: From<'_>) -> Result<Package> {
        let all = [Registry::Npm, Registry::Pypi];
        let registry = word(&self.registry, &all, Registry::name, "registry", source)?;
        let identifier = line(&self.identifier, source)?;
        let version = line(&self.version, source)?;
        let exact = |byte: u8| byte.is_ascii_alphanumeric() || b".-+_!".contains(&byte);
        if version.is_empty() || version == "latest" || !version.bytes().all(exact) {
            return Err(source.place(&self.version).wrong(
                format!("`{}` is no exact version", cut(&version)),
                "name one version, such as `2026.10.19`: no range and no `latest`",
            ));
        }
        let sha256 = self.sha256.map(|text| sha256(&text, source)).transpose()?;
        Ok(Package {
            registry,
            identifier,
            version,
            sha256,
        })
    }
}

type Launched = (Launch, Option<profile::Draft>);

fn launch(
    stdio: Option<Spanned<RawStdio>>,
    remote: Option<Spanned<RawRemote>>,
    skill: Option<Spanned<RawSkill>>,
    jail: Option<Spanned<profile::Raw>>,
    source: From<'_>,
) -> Result<Launched> {
    let none = || Manifest::of(Class::Foreign);
    match (stdio, remote, skill) {
        (Some(stdio), None, None) => {
            let draft = jailed(jail, &source.place(&stdio), source)?;
            let raw = stdio.into_inner();
            let program = path(&raw.program, source)?;
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            let mut argv = vec![name.into_owned()];
            for argument in &raw.arguments {
                argv.push(text(argument, source)?);
            }
            few(argv.len(), "arguments", &source.place(&raw.program))?;
            let files = raw.files.iter().map(|file| path(file, source));
            let files = files.collect::<Result<Vec<_>>>()?;
            few(files.len(), "files", &source.place(&raw.program))?;
            let launch = Launch::Stdio {
                program,
                argv,
                files,
                jail: none(),
            };
            Ok((launch, Some(draft)))
        }
        (None, Some(remote), None) => {
            if let Some(jail) = jail {
                return Err(source.place(&jail).wrong(
                    "a remote server has no jail",
                    "take `[jail]` away: what leaves and what comes back is egress' business",
                ));
            }
            Ok((remote.into_inner().read(source)?, None))
        }
        (None, None, Some(skill)) => {
            let draft = jailed(jail, &source.place(&skill), source)?;
            let raw = skill.into_inner();
            let folder = path(&raw.folder, source)?;
            let mut scripts = BTreeMap::new();
            for (tool, script) in raw.scripts {
                let tool = named(tool, "a tool", source)?;
                scripts.insert(tool, script.read(source)?);
            }
            let launch = Launch::Skill {
                folder,
                scripts,
                jail: none(),
            };
            Ok((launch, Some(draft)))
        }
        (None, None, None) => Err(Place::line(source.file, 1).wrong(
            "it does not say how the connector is started",
            "write one of the tables `[stdio]`, `[remote]`, `[skill]`",
        )),
        (stdio, remote, _) => {
            let place = remote.as_ref().map(|at| source.place(at));
            let place = place.or_else(|| stdio.as_ref().map(|at| source.place(at)));
            let place = place.unwrap_or_else(|| Place::line(source.file, 1));
            Err(place.wrong(
                "a connector is started in one way only",
                "keep one of the tables `[stdio]`, `[remote]`, `[skill]`",
            ))
        }
    }
}

fn jailed(
    jail: Option<Spanned<profile::Raw>>,
    place: &Place,
    source: From<'_>,
) -> Result<profile::Draft> {
    let Some(jail) = jail else {
        return Err(place.wrong(
            "there is no `[jail]`",
            "say what it sees: `[jail]` with `ro`, `rw`, `net`; `keepgate jail check foreign` \
             prints the usual ones",
        ));
    };
    let at = source.place(&jail);
    let draft = jail.into_inner().draft(source, Class::Foreign, &at)?;
    match draft.class() {
        Class::Foreign => Ok(draft),
        class @ (Class::Native | Class::NativeGeneric) => Err(at.wrong(
            format!("a connector cannot run in class `{}`", class.name()),
            "take `class` away: connectors run in class `foreign`",
        )),
    }
}

impl RawScript {
    fn read(self, source: From<'_>) -> Result<Script> {
        let place = source.place(&self.script);
        let script = text(&self.script, source)?;
        let plain = Path::new(&script)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if script.is_empty() || !plain {
            return Err(place.wrong(
                format!("`{}` is no path beneath the skill's folder", cut(&script)),
                "write it from the folder on, such as `scripts/fill.py`",
            ));
        }
        let with = self.with.iter().map(|word| text(word, source));
        let with = with.collect::<Result<Vec<_>>>()?;
        if let (Some(first), Some(at)) = (with.first(), self.with.first())
            && !Path::new(first).is_absolute()
        {
            return Err(source.place(at).wrong(
                format!("`{}` is no absolute path", cut(first)),
                "name the program as the jail sees it, such as `/usr/bin/python3`",
            ));
        }
        Ok(Script {
            script: script.into(),
            with,
            about: self.about.map(|about| text(&about, source)).transpose()?,
        })
    }
}

impl RawDeclared {
    fn read(self, place: &Place, source: From<'_>) -> Result<Declared> {
        let worst = Declared::default();
        let class = |said| word(said, &EffectClass::ALL, EffectClass::name, "class", source);
        let class = self.class.as_ref().map(class).transpose()?;
        let reversibility = self.reversibility.as_ref().map(|said| {
            let all = [
                Reversibility::Reversible,
                Reversibility::Mitigable,
                Reversibility::Irreversible,
            ];
            word(said, &all, reversible, "reversibility", source)
        });
        few(self.parameters.len(), "parameters", place)?;
        few(self.outputs.len(), "outputs", place)?;
        let undo = self.undo.as_ref().map_or(0, |undo| undo.arguments.len());
        few(undo, "arguments of an undo", place)?;
        let mut parameters = BTreeMap::new();
        for (name, raw) in self.parameters {
            parameters.insert(named(name, "a parameter", source)?, raw.read(source)?);
        }
        let mut outputs = BTreeMap::new();
        for (at, label) in self.outputs {
            let label = word(&label, Label::ALL, Label::name, "label", source)?;
            outputs.insert(pointer(&at, source)?, label);
        }
        Ok(Declared {
            class: class.unwrap_or(worst.class),
            reversibility: reversibility.transpose()?.unwrap_or(worst.reversibility),
            parameters,
            outputs,
            dry_run: self
                .dry_run
                .map_or(Ok(DryRun::None), |raw| dry_run(raw, source))?,
            undo: self.undo.map(|raw| raw.read(source)).transpose()?,
            high_value: self
                .high_value
                .map(|raw| high_value(raw, source))
                .transpose()?,
            rates: Rates {
                calls_per_minute: number(self.calls_per_minute, rates::MOST, source)?,
                calls_per_day: number(self.calls_per_day, rates::MOST, source)?,
            },
        })
    }
}

/// The word in manifests.
pub fn reversible(reversibility: Reversibility) -> &'static str {
    match reversibility {
        Reversibility::Reversible => "reversible",
        Reversibility::Mitigable => "mitigable",
        Reversibility::Irreversible => "irreversible",
    }
}

impl RawParameter {
    fn read(self, source: From<'_>) -> Result<Parameter> {
        let role = self.role.as_ref();
        let role = role.map(|said| word(said, Role::ALL, Role::name, "role", source));
        let kind = self.kind.as_ref();
        let kind = kind.map(|said| word(said, ValueKind::ALL, ValueKind::name, "kind", source));
        Ok(Parameter {
            role: role.transpose()?.unwrap_or_default(),
            kind: kind.transpose()?,
        })
    }
}

fn dry_run(raw: Spanned<toml::Value>, source: From<'_>) -> Result<DryRun> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Form {
        tool: Option<String>,
        arguments: Option<BTreeMap<String, toml::Value>>,
    }
    let hint = "`{ arguments = { dry_run = true } }`, or `{ tool = \"preview\" }`";
    let place = source.place(&raw);
    let form: Form = raw
        .into_inner()
        .try_into()
        .map_err(|error: toml::de::Error| {
            place.wrong(format!("no dry run: {}", said(error.message())), hint)
        })?;
    match (form.tool, form.arguments) {
        (Some(tool), None) => Ok(DryRun::Tool(tool)),
        (None, Some(arguments)) if !arguments.is_empty() => {
            let value = |(name, value)| Ok((name, json(value, &place)?));
            Ok(DryRun::Arguments(
                arguments.into_iter().map(value).collect::<Result<_>>()?,
            ))
        }
        _ => Err(place.wrong("no dry run: one of `tool` and `arguments`", hint)),
    }
}

impl RawUndo {
    fn read(self, source: From<'_>) -> Result<Undo> {
        let mut arguments = BTreeMap::new();
        for (name, from) in self.arguments {
            let name = named(name, "a parameter", source)?;
            arguments.insert(name, origin(from, source)?);
        }
        Ok(Undo {
            tool: line(&self.tool, source)?,
            arguments,
        })
    }
}

fn origin(raw: Spanned<toml::Value>, source: From<'_>) -> Result<Origin> {
    let hint = "`\"arguments:/path\"`, `\"result:/id\"`, or `{ value = true }`";
    let place = source.place(&raw);
    match raw.into_inner() {
        toml::Value::String(from) => match from.split_once(':') {
            Some(("arguments", at)) if is_pointer(at) => Ok(Origin::Arguments(at.into())),
            Some(("result", at)) if is_pointer(at) => Ok(Origin::Result(at.into())),
            _ => Err(place.wrong(format!("`{}` says not where from", cut(&from)), hint)),
        },
        toml::Value::Table(mut table) if table.len() == 1 => match table.remove("value") {
            Some(value) => Ok(Origin::Value(json(value, &place)?)),
            None => Err(place.wrong("a table here has one key, `value`", hint)),
        },
        toml::Value::Integer(_)
        | toml::Value::Float(_)
        | toml::Value::Boolean(_)
        | toml::Value::Datetime(_)
        | toml::Value::Array(_)
        | toml::Value::Table(_) => {
            Err(place.wrong("it is not said where the argument comes from", hint))
        }
    }
}

fn high_value(raw: Spanned<toml::Value>, source: From<'_>) -> Result<HighValue> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Form {
        parameter: String,
        above: Option<i64>,
        usual: Option<Vec<String>>,
    }
    let hint = "`\"always\"`, `{ parameter = \"amount\", above = 1000 }`, or \
                `{ parameter = \"to\", usual = [\"ops\"] }`";
    let place = source.place(&raw);
    if raw.get_ref().as_str() == Some("always") {
        return Ok(HighValue::Always);
    }
    let form: Form = raw
        .into_inner()
        .try_into()
        .map_err(|error: toml::de::Error| {
            place.wrong(
                format!("no rule of high value: {}", said(error.message())),
                hint,
            )
        })?;
    let parameter = form.parameter;
    match (form.above, form.usual) {
        (Some(above), None) => Ok(HighValue::Above { parameter, above }),
        (None, Some(usual)) => Ok(HighValue::NotOneOf { parameter, usual }),
        _ => Err(place.wrong("no rule of high value: one of `above` and `usual`", hint)),
    }
}

impl RawLimits {
    fn read(self, source: From<'_>) -> Result<ConnectorLimits> {
        let usual = ConnectorLimits::default();
        let number = |said: Option<Spanned<u64>>, most: u64| number(said, most, source);
        let small = |value: Option<u64>, usual: u32| {
            value.map_or(usual, |value| u32::try_from(value).unwrap_or(u32::MAX))
        };
        let seconds =
            |value: Option<u64>, usual: u64| value.map_or(usual, |s| s.saturating_mul(1_000));
        Ok(ConnectorLimits {
            calls_per_minute: small(
                number(self.calls_per_minute, 100_000)?,
                usual.calls_per_minute,
            ),
            calls_at_a_time: small(number(self.calls_at_a_time, 256)?, usual.calls_at_a_time),
            result: number(self.result_kib, 16 << 10)?.map_or(usual.result, |kib| kib << 10),
            call_ms: seconds(number(self.call_s, 86_400)?, usual.call_ms),
            start_ms: seconds(number(self.start_s, 600)?, usual.start_ms),
            idle_ms: seconds(number(self.idle_s, 86_400)?, usual.idle_ms),
            notices_per_minute: small(
                number(self.notices_per_minute, 100_000)?,
                usual.notices_per_minute,
            ),
        })
    }
}

#[cfg(test)]
mod tests;
