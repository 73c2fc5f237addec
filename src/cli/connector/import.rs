//! `keepgate connector import`: writes a manifest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use url::Url;

use super::files::{directory, shown};
use super::install::{self, Ready};
use super::server;
use super::source::{Described, Source, Wanted};
use crate::call::declared::Declared;
use crate::catalog::connector::digest::Listing;
use crate::catalog::connector::manifest::Written;
use crate::catalog::connector::{
    CONNECTORS_MAX, Connector, ConnectorLimits, Launch, Passing, Placing, Resources, Slot,
    composio, skill, toml,
};
use crate::cli::app::App;
use crate::cli::args::ConnectorImportArgs;
use crate::cli::exit::Exit;
use crate::cli::jail::host;
use crate::cli::layout::count;
use crate::error::{Context, Error, Kind, Result};
use crate::jail::profile::{Draft, Host, Place};
use crate::sys::file::replace_durably;
use crate::wire::manifest::{Class, Manifest};
use crate::wire::text::{Escaped, escaped};

/// Programs that fetch what they run, each time anew.
const FETCHERS: [&str; 8] = [
    "npx", "uvx", "uv", "pipx", "bunx", "pnpm", "docker", "podman",
];
/// What the operating system's own packages hold: pinned by whoever keeps the system.
const SYSTEM: [&str; 6] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc"];
/// Ends of names of files that interpreters run.
const SCRIPTS: [&str; 10] = [
    "py", "pyz", "js", "mjs", "cjs", "ts", "sh", "rb", "pl", "jar",
];

pub(super) fn run(app: &App, options: &ConnectorImportArgs) -> Result<Exit> {
    let name = &options.name;
    let path = app.paths.connector(name);
    if path.symlink_metadata().is_ok() && !options.replace {
        let what = format!("there is a connector `{name}` already: {}", shown(&path));
        return Err(Error::of(Kind::Usage, what).hint(
            "take another name, or write over it with `--replace`: it has to be approved again",
        ));
    }
    room(app, name)?;
    let source = Source::of(options.source.as_deref(), &options.words)?;
    if !matches!(source, Source::Remote(_)) {
        not_remote(options)?;
    }
    let connector = match source {
        Source::Package(described) => package(app, options, described)?,
        Source::Remote(described) => remote(options, described)?,
        Source::Command => command(options)?,
        Source::Skill(folder) => skilled(options, &folder)?,
    };
    // Read back as it will be: what import writes has to pass what a person's manifest has to.
    let text = toml(&connector, &BTreeMap::new());
    let file = shown(&path);
    let draft = format!("{file} (which was not written)");
    let connector = Written::parse(&text, &draft)?.check(&this_host(app, name))?;
    let (connector, remarks, unlisted) = with_tools(app, connector)?;
    let text = toml(&connector, &remarks);
    Written::parse(&text, &draft)?;
    directory(&app.paths.connectors(), 0o700)?;
    replace_durably(&path, text.as_bytes(), 0o644).context(|| format!("write `{file}`"))?;
    if let Some(why) = &unlisted {
        app.screen.note(format!("its tools were not listed: {why}"));
    }
    let tools = u64::try_from(connector.tools.len()).unwrap_or(u64::MAX);
    let value = json!({
        "name": name,
        "manifest": path.to_string_lossy(),
        "launch": connector.launch.name(),
        "tools": connector.tools.keys().collect::<Vec<_>>(),
        "not_listed": unlisted.as_ref().map(|_| true),
    });
    app.screen.answer(&value, |_| {
        format!(
            "connector {name}: {}, every one declared for the worst\n  {file}\n\nnext:\n  edit what \
             you know better, then `keepgate connector vet {name}`",
            count(tools, "tool", "tools"),
        )
    })?;
    Ok(Exit::Ok)
}

/// This host as a connector's jail may see it: the packages that were installed for it are shown.
pub(super) fn this_host(app: &App, name: &str) -> Host {
    Host {
        given: vec![app.paths.connector_tree(name)],
        ..host(app, true)
    }
}

fn room(app: &App, name: &str) -> Result<()> {
    let there = super::list::names(app)?;
    if there.len() < CONNECTORS_MAX || there.iter().any(|other| other == name) {
        return Ok(());
    }
    Err(
        Error::new(format!("there are {CONNECTORS_MAX} connectors already"))
            .hint("remove one: `keepgate connector remove NAME`"),
    )
}

fn empty(options: &ConnectorImportArgs, launch: Launch) -> Connector {
    Connector {
        name: options.name.clone(),
        title: options.name.clone(),
        version: None,
        publisher: None,
        package: None,
        launch,
        secrets: BTreeMap::new(),
        tools: BTreeMap::new(),
        limits: ConnectorLimits::default(),
        allow: Passing::default(),
        resources: Resources::default(),
    }
}

fn package(app: &App, options: &ConnectorImportArgs, described: Described) -> Result<Connector> {
    let package = described
        .package
        .ok_or_else(|| Error::new("there is no package to install"))?;
    let Ready {
        tree,
        program,
        arguments,
        env,
        package,
    } = install::install(app, &options.name, &package)?;
    let mut jail = jail(options, std::slice::from_ref(&tree))?;
    jail.env.extend(env);
    jail.env.extend(described.env);
    let mut argv = vec![String::new()];
    argv.extend(arguments);
    argv.extend(described.arguments);
    argv.extend(options.words.iter().cloned());
    let launch = Launch::Stdio {
        program,
        argv,
        files: pinned(options, vec![tree])?,
        jail,
    };
    let mut connector = empty(options, launch);
    connector.title = described.title.unwrap_or(connector.title);
    connector.publisher = described.publisher;
    connector.version = described.version.or_else(|| Some(package.version.clone()));
    connector.package = Some(package);
    connector.secrets = slots(&described.secrets, |name| Placing::Env { name }, &[])?;
    Ok(connector)
}

/// What only a server elsewhere has, and would be passed over.
fn not_remote(options: &ConnectorImportArgs) -> Result<()> {
    let given = [
        ("--header", &options.header),
        ("--private", &options.private),
        ("--toolkit", &options.toolkit),
    ];
    match given.into_iter().find(|(_, given)| !given.is_empty()) {
        None => Ok(()),
        Some((option, _)) => Err(Error::of(
            Kind::Usage,
            format!("`{option}` is of a remote server, and this is none"),
        )
        .hint("take it away; a server in a jail gets keys as variables: see `[secrets.NAME]`")),
    }
}

fn remote(options: &ConnectorImportArgs, described: Described) -> Result<Connector> {
    let jailed = !options.ro.is_empty()
        || !options.rw.is_empty()
        || !options.net.is_empty()
        || !options.env.is_empty()
        || !options.pin.is_empty()
        || !options.words.is_empty();
    if jailed {
        return Err(Error::of(
            Kind::Usage,
            "a remote server has no jail, no files and no arguments",
        )
        .hint("of the options, only `--header`, `--private` and `--toolkit` are for it"));
    }
    let url = described.url.ok_or_else(|| Error::new("there is no URL"))?;
    let read = Url::parse(&url).ok();
    let composio = !options.toolkit.is_empty() || read.as_ref().is_some_and(composio::is_at);
    if let (true, Some(read)) = (composio, &read) {
        composio::check(read, &options.toolkit)
            .map_err(|fault| Error::of(Kind::Usage, fault.what).hint(fault.hint))?;
    }
    let launch = Launch::Remote {
        url,
        private: options.private.clone(),
        pin_sha256: None,
        toolkits: options.toolkit.clone(),
    };
    let mut connector = empty(options, launch);
    connector.title = described.title.unwrap_or(connector.title);
    connector.publisher = described.publisher;
    connector.version = described.version;
    let mut asked: Vec<Wanted> = options
        .header
        .iter()
        .map(|name| Wanted {
            name: name.clone(),
            required: true,
            about: None,
            prefix: match name.eq_ignore_ascii_case("authorization") {
                true => "Bearer ".into(),
                false => String::new(),
            },
        })
        .collect();
    if composio {
        connector.title = format!("Composio: {}", options.toolkit.join(", "));
        connector.publisher = Some("composio".into());
        let is_key = |wanted: &Wanted| wanted.name.eq_ignore_ascii_case(composio::KEY_HEADER);
        if !asked.iter().chain(&described.secrets).any(is_key) {
            asked.push(Wanted {
                name: composio::KEY_HEADER.into(),
                required: true,
                about: Some("API key of the Composio project".into()),
                prefix: String::new(),
            });
        }
    }
    connector.secrets = slots(
        &described.secrets,
        |name| Placing::Header {
            name: name.to_ascii_lowercase(),
            prefix: String::new(),
        },
        &asked,
    )?;
    Ok(connector)
}

fn slots(
    wanted: &[Wanted],
    place: impl Fn(String) -> Placing,
    more: &[Wanted],
) -> Result<BTreeMap<String, Slot>> {
    let mut slots = BTreeMap::new();
    for wanted in wanted.iter().chain(more) {
        let plain = |c: char| match c.is_ascii_alphanumeric() {
            true => c.to_ascii_lowercase(),
            false => '-',
        };
        let name: String = wanted.name.chars().map(plain).take(32).collect();
        let name = name.trim_matches('-').to_owned();
        if name.is_empty() {
            let shown = Escaped::cut(&wanted.name, 60);
            return Err(Error::new(format!(
                "`{shown}` cannot be the name of a secret"
            )));
        }
        let mut place = place(wanted.name.clone());
        if let Placing::Header { prefix, .. } = &mut place {
            prefix.clone_from(&wanted.prefix);
        }
        let slot = Slot {
            place,
            required: wanted.required,
            about: wanted.about.clone(),
        };
        slots.insert(name, slot);
    }
    Ok(slots)
}

fn command(options: &ConnectorImportArgs) -> Result<Connector> {
    let word = options
        .words
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    let program = program(word)?;
    let base = program.file_name().unwrap_or_default().to_string_lossy();
    if FETCHERS.contains(&&*base) {
        let what = format!("`{base}` fetches what it runs, each time anew: that cannot be pinned");
        return Err(Error::of(Kind::Usage, what)
            .hint("import the package itself: `npm:NAME@VERSION` or `pypi:NAME@VERSION`"));
    }
    let mut found = Vec::new();
    if let Some(root) = environment(&program) {
        found.push(root);
    } else if !of_system(&program) {
        found.push(program.clone());
    }
    let mut argv = vec![String::new()];
    for word in options.words.iter().skip(1) {
        let path = Path::new(word);
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        let script = SCRIPTS.contains(&&*extension) && path.is_file();
        if script {
            let path = whole(path)?;
            if !of_system(&path) {
                // What lies beside a script is what it imports.
                found.push(path.parent().unwrap_or(Path::new("/")).into());
            }
            argv.push(path.to_string_lossy().into_owned());
        } else {
            argv.push(word.clone());
        }
    }
    let files = pinned(options, found)?;
    let launch = Launch::Stdio {
        program,
        argv,
        jail: jail(options, &files)?,
        files,
    };
    Ok(empty(options, launch))
}

/// The program of a command: absolute, but with its last part as it is: a link to an interpreter is
/// how a Python environment works.
fn program(word: &str) -> Result<PathBuf> {
    let path = match word.contains('/') {
        true => std::path::absolute(word).context(|| format!("find `{}`", escaped(word)))?,
        false => {
            let all = std::env::split_paths(
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            );
            let mut all = all.map(|dir| dir.join(word));
            all.find(|path| path.is_file()).ok_or_else(|| {
                Error::of(
                    Kind::Usage,
                    format!("there is no program `{}`", escaped(word)),
                )
                .hint("name it by its path")
            })?
        }
    };
    let above = path.parent().unwrap_or(Path::new("/"));
    let real = above
        .canonicalize()
        .map(|above| above.join(path.file_name().unwrap_or_default()));
    let real = real.context(|| format!("find `{}`", shown(&path)))?;
    match real.is_file() {
        true => Ok(real),
        false => Err(
            Error::of(Kind::Usage, format!("`{}` is no program", shown(&real)))
                .hint("name the server's program, or the interpreter that runs it"),
        ),
    }
}

/// The Python environment a program belongs to.
fn environment(program: &Path) -> Option<PathBuf> {
    let root = program.parent()?.parent()?;
    root.join("pyvenv.cfg").is_file().then(|| root.into())
}

fn of_system(path: &Path) -> bool {
    SYSTEM.iter().any(|system| path.starts_with(system))
        && !path.starts_with("/usr/local/lib/keepgate")
}

fn whole(path: &Path) -> Result<PathBuf> {
    path.canonicalize()
        .context(|| format!("find `{}`", shown(path)))
        .map_err(|error| error.kind_is(Kind::Usage))
}

/// What is pinned: what was found, and what was asked for, each once.
fn pinned(options: &ConnectorImportArgs, found: Vec<PathBuf>) -> Result<Vec<PathBuf>> {
    let asked = options.pin.iter().map(|path| whole(path));
    let mut all: Vec<PathBuf> = asked.collect::<Result<_>>()?;
    all.extend(found);
    all.sort();
    all.dedup();
    let outer = |path: &PathBuf| {
        let above = |other: &&PathBuf| *other != path && path.starts_with(other);
        !all.iter().any(|other| above(&other))
    };
    Ok(all.iter().filter(|path| outer(path)).cloned().collect())
}

/// The jail: the usual system directories, what is pinned, and what was asked for.
fn jail(options: &ConnectorImportArgs, pinned: &[PathBuf]) -> Result<Manifest> {
    let mut draft = Draft::builtin(Class::Foreign.name())
        .ok_or_else(|| Error::new("there is no profile `foreign`"))?;
    for path in pinned.iter().chain(&options.ro) {
        let path = whole(path)?;
        if !draft.shows(&path) {
            draft.ro(&path, &Place::option("--ro", &path.to_string_lossy()))?;
        }
    }
    for path in &options.rw {
        let path = whole(path)?;
        let place = Place::option("--rw", &path.to_string_lossy());
        if let Some(code) = pinned.iter().find(|code| code.starts_with(&path)) {
            let what = format!(
                "it holds what the server executes (`{}`), and would let it change that",
                shown(code)
            );
            let hint = "name the folder of its data alone, or keep its program elsewhere";
            return Err(place.wrong(what, hint));
        }
        draft.rw(&path, &place)?;
    }
    for text in &options.net {
        draft.net(text, &Place::option("--net", text))?;
    }
    for text in &options.env {
        let place = Place::option("--env", text.split('=').next().unwrap_or_default());
        let Some((name, value)) = text.split_once('=') else {
            return Err(place.wrong("it has no value", "write NAME=VALUE"));
        };
        draft.env(name, value, &place)?;
    }
    Ok(draft.into_manifest())
}

fn skilled(options: &ConnectorImportArgs, folder: &Path) -> Result<Connector> {
    let folder = whole(folder)?;
    let read = skill::Skill::load(&folder)?;
    let jail = jail(options, std::slice::from_ref(&folder))?;
    let launch = Launch::Skill {
        scripts: read.scripts(&folder)?,
        folder,
        jail,
    };
    let mut connector = empty(options, launch);
    connector.title = read.name.clone();
    connector.version = read.version.clone();
    Ok(connector)
}

type Told = (Connector, BTreeMap<String, Vec<String>>, Option<String>);

/// Declares every tool for the worst, with what the server says of it as a remark.
fn with_tools(app: &App, mut connector: Connector) -> Result<Told> {
    let mut remarks = BTreeMap::new();
    let listing = match &connector.launch {
        Launch::Stdio { .. } => match server::list(&connector, 1) {
            Ok((mut listed, degraded)) => {
                if !degraded.is_empty() {
                    app.screen.note(format!(
                        "note: less protection than a jail should have: {}",
                        degraded.join(", ")
                    ));
                }
                let listed = listed.pop().map(|listed| listed.tools).unwrap_or_default();
                Listing::tools(listed)?
            }
            Err(error) => return Ok((connector, remarks, Some(error.message()))),
        },
        Launch::Skill {
            folder, scripts, ..
        } => Listing::tools(skill::tools(folder, scripts)?)?,
        Launch::Remote { .. } => {
            let why = "it is asked over the network, by `keepgate connector vet`".to_owned();
            return Ok((connector, remarks, Some(why)));
        }
    };
    for (name, raw) in &listing.raw {
        let value: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        connector.tools.insert(name.clone(), Declared::default());
        remarks.insert(name.clone(), remark(&value));
    }
    Ok((connector, remarks, None))
}

/// What the server says of a tool, as words beside a declaration. A suggestion to a person: it never
/// lowers anything by itself.
fn remark(tool: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(text) = tool.get("description").and_then(Value::as_str) {
        let first = text.lines().map(str::trim).find(|line| !line.is_empty());
        let cut: String = first.unwrap_or_default().chars().take(100).collect();
        lines.push(format!("The server says: {cut}"));
    }
    let hints = tool.get("annotations");
    let hint = |name: &str| hints.and_then(|hints| hints.get(name)?.as_bool());
    match (hint("readOnlyHint"), hint("destructiveHint")) {
        (Some(true), _) => lines.push(
            "It claims to read only; if you know that it does: class = \"read\", reversibility = \
             \"reversible\""
                .into(),
        ),
        (_, Some(false)) => {
            lines.push("It claims to destroy nothing; if you know that: class = \"write\"".into())
        }
        _ => {}
    }
    if hint("openWorldHint") == Some(true) {
        lines.push("It says that it reaches beyond this host.".into());
    }
    let properties = tool
        .get("inputSchema")
        .and_then(|schema| schema.get("properties"));
    let names: Vec<String> = properties
        .and_then(Value::as_object)
        .map(|all| {
            all.keys()
                .map(|name| name.chars().take(60).collect())
                .collect()
        })
        .unwrap_or_default();
    if !names.is_empty() {
        lines.push(format!("Its parameters, all targets: {}", names.join(", ")));
    }
    lines
}
