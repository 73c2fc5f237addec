//! Installing a package with the host's own npm or pip, without running anything of it: exact
//! versions, no install scripts, no building. What came is recorded with the digests its registry
//! published, and is the tree that is measured, shown to the jail and executed.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::files::{away, directory, installed, read, shown, state};
use crate::catalog::connector::installed::{Installed, Part};
use crate::catalog::connector::tree::Measured;
use crate::catalog::connector::{Package, Registry};
use crate::cli::app::App;
use crate::error::{Context, Error, Kind, Result};
use crate::sys::file::{rename_durably, replace_durably};
use crate::wire::text::{Escaped, escaped};

/// Where programs of the system are.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long an installer may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// Longest words of one that are kept, in bytes.
const SAID_MAX: u64 = 1 << 20;
/// Longest file of an installer that is read, in bytes.
const FILE_MAX: u64 = 32 << 20;
/// Variables of the caller that say where packages come from; no others are passed on.
const PASSED: [&str; 10] = [
    "HOME",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NODE_EXTRA_CA_CERTS",
];

/// An installed package, and how its server is started.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) tree: PathBuf,
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    /// As asked for, with the digest that was published.
    pub(super) package: Package,
}

/// Installs `package` as the tree of the connector `name`, in place of one that is there.
///
/// # Errors
/// Fails where the host has no installer, it fails, or what came is not what was published.
pub(super) fn install(app: &App, name: &str, package: &Package) -> Result<Ready> {
    let state = state(app, name)?;
    let (fresh, tree) = (state.join("new"), app.paths.connector_tree(name));
    away(&fresh)?;
    directory(&fresh, 0o755)?;
    let done = match package.registry {
        Registry::Npm => npm(&fresh, package),
        Registry::Pypi => pip(&fresh, &state, package),
    };
    let (parts, entry) = done.inspect_err(|_| drop(away(&fresh)))?;
    let mut package = package.clone();
    compare_published(&mut package, &parts).inspect_err(|_| drop(away(&fresh)))?;
    for_everybody(&fresh)?;
    away(&tree)?;
    rename_durably(&fresh, &tree).context(|| format!("name `{}`", shown(&tree)))?;
    let record = Installed {
        registry: package.registry,
        asked: package.identifier.clone(),
        packages: parts,
        tree: Measured::read(&tree)?.tree(),
    };
    let mut bytes = serde_json::to_vec_pretty(&record).context(|| "write the record".into())?;
    bytes.push(b'\n');
    let path = installed(app, name);
    replace_durably(&path, &bytes, 0o644).context(|| format!("write `{}`", shown(&path)))?;
    Ok(entry.ready(tree, package))
}

/// What is started, as far as it is beneath the tree.
#[derive(Debug)]
struct Entry {
    program: PathBuf,
    script: PathBuf,
    python: bool,
}

impl Entry {
    fn ready(self, tree: PathBuf, package: Package) -> Ready {
        let script = tree.join(&self.script).to_string_lossy().into_owned();
        let (arguments, env) = match self.python {
            true => (
                vec!["-s".into(), script],
                vec![
                    ("PYTHONPATH".into(), tree.to_string_lossy().into_owned()),
                    ("PYTHONDONTWRITEBYTECODE".into(), "1".into()),
                ],
            ),
            false => (vec![script], Vec::new()),
        };
        Ready {
            tree,
            program: self.program,
            arguments,
            env,
            package,
        }
    }
}

fn compare_published(package: &mut Package, parts: &[Part]) -> Result<()> {
    let same = |part: &&Part| {
        let plain = |name: &str| name.to_lowercase().replace(['_', '.'], "-");
        plain(&part.name) == plain(&package.identifier)
    };
    let digest = parts
        .iter()
        .find(same)
        .and_then(|part| part.digest.as_ref());
    let sha256 = digest.and_then(|digest| digest.strip_prefix("sha256-"));
    match (&package.sha256, sha256) {
        (Some(wanted), Some(came)) if wanted != came => {
            let what = format!(
                "`{}` {} is not what was published: its digest is {came}, and {wanted} was to come",
                package.identifier, package.version
            );
            Err(Error::of(Kind::Tampered, what)
                .hint("ask the publisher; nothing was kept of what came"))
        }
        (None, Some(came)) => {
            package.sha256 = Some(came.into());
            Ok(())
        }
        // npm publishes digests of another kind, which it compares itself.
        _ => Ok(()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the host's package installers are no jailed programs and no roles: they are what the \
              operator would run by hand, with the same rights"
)]
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", PATH).env("LANG", "C.UTF-8");
    for (name, value) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let lower = text.to_ascii_lowercase();
        let says = PASSED.contains(&&*text)
            || lower.starts_with("pip_")
            || lower.starts_with("npm_config_");
        if says {
            command.env(&name, value);
        }
    }
    command.stdin(Stdio::null());
    command
}

fn run(mut command: Command, what: &str) -> Result<()> {
    // npm may wait for ever where what answers it does not end.
    let mut ended = within(&mut command, what)?;
    if ended.is_none() {
        ended = within(&mut command, what)?;
    }
    let Some((status, said)) = ended else {
        let what = format!("{what} did not end within {} s, twice", PATIENCE.as_secs());
        return Err(Error::new(what).hint("try again; without a network, import a bundle"));
    };
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = lines
        .get(lines.len().saturating_sub(3)..)
        .unwrap_or_default();
    let last = last.join(" | ");
    Err(Error::new(format!(
        "{what} failed ({}): {}",
        status,
        Escaped::cut(&last, 500)
    ))
    .hint("run it by hand to see more; without a network, import a bundle: `keepgate connector import-bundle`"))
}

/// How it ended and what it said to standard error; nothing where it had to be killed.
fn within(command: &mut Command, what: &str) -> Result<Option<(ExitStatus, Vec<u8>)>> {
    let what = || format!("run {what}");
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context(what)?;
    let errors = child.stderr.take();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        let mut said = Vec::new();
        if let Some(errors) = errors {
            // What cannot be read is not told; that it ends is what counts.
            drop(errors.take(SAID_MAX).read_to_end(&mut said));
        }
        drop(tell.send(said));
    });
    let said = told.recv_timeout(PATIENCE).ok();
    if said.is_none() {
        child.kill().context(what)?;
    }
    let status = child.wait().context(what)?;
    Ok(said.map(|said| (status, said)))
}

/// The first of these that is there.
fn program(names: &[&str], package: &str) -> Result<PathBuf> {
    let candidates = names.iter().flat_map(|name| {
        std::env::split_paths("/usr/bin:/usr/local/bin").map(move |dir| dir.join(name))
    });
    candidates
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| {
            let name = names.first().copied().unwrap_or_default();
            Error::new(format!(
                "there is no `{name}` in /usr/bin or /usr/local/bin"
            ))
            .hint(format!("install it: `apt-get install {package}`"))
        })
}

// --- npm -----------------------------------------------------------------------------------------

#[derive(Deserialize)]
struct NpmLock {
    packages: std::collections::BTreeMap<String, NpmPart>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct NpmPart {
    version: Option<String>,
    integrity: Option<String>,
    #[serde(default)]
    has_install_script: bool,
}

fn npm(tree: &Path, package: &Package) -> Result<(Vec<Part>, Entry)> {
    let node = program(&["node", "nodejs"], "nodejs")?;
    let mut npm = command(&program(&["npm"], "npm")?);
    npm.current_dir(tree).args([
        "install",
        "--ignore-scripts",
        "--save-exact",
        "--omit=dev",
        "--bin-links=false",
        "--package-lock=true",
        "--no-audit",
        "--no-fund",
        "--no-update-notifier",
        // Without a network it says so within seconds.
        "--fetch-retries=1",
        "--fetch-retry-mintimeout=1000",
        "--loglevel=error",
    ]);
    npm.arg("--prefix").arg(tree);
    npm.arg("--")
        .arg(format!("{}@{}", package.identifier, package.version));
    run(npm, "npm")?;
    let lock = json_file(&tree.join("package-lock.json"))?;
    let lock: NpmLock =
        serde_json::from_value(lock).context(|| "read the lock file that npm wrote".into())?;
    let parts = lock.packages.into_iter().filter_map(|(path, part)| {
        let name = path.rsplit_once("node_modules/")?.1;
        Some(Part {
            name: name.into(),
            version: part.version.unwrap_or_default(),
            digest: part.integrity,
            script: part.has_install_script,
        })
    });
    let mut parts: Vec<Part> = parts.collect();
    parts.sort();
    parts.dedup();
    let own = Path::new("node_modules").join(&package.identifier);
    let about = json_file(&tree.join(&own).join("package.json"))?;
    let script = bin(&about, &package.identifier)?;
    Ok((
        parts,
        Entry {
            program: node,
            script: own.join(script),
            python: false,
        },
    ))
}

/// The one program of a package of Node.
fn bin(about: &Value, identifier: &str) -> Result<PathBuf> {
    let short = identifier.rsplit('/').next().unwrap_or(identifier);
    let named = match about.get("bin") {
        Some(Value::String(path)) => Some(path),
        Some(Value::Object(all)) => {
            let only = match all.len() {
                1 => all.values().next(),
                _ => all.get(short),
            };
            match only {
                Some(Value::String(path)) => Some(path),
                _ => None,
            }
        }
        _ => None,
    };
    let path = named.map(|path| path.trim_start_matches("./"));
    let plain = |path: &&str| {
        let part = |part| matches!(part, std::path::Component::Normal(_));
        Path::new(path).components().all(part)
    };
    path.filter(plain).map(PathBuf::from).ok_or_else(|| {
        Error::new(format!(
            "`{}` has no program of its own name",
            escaped(identifier)
        ))
        .hint("import it by a command line: `keepgate connector import NAME -- node …`")
    })
}

// --- pip -----------------------------------------------------------------------------------------

#[derive(Deserialize)]
struct PipReport {
    install: Vec<PipItem>,
}

#[derive(Deserialize)]
struct PipItem {
    download_info: PipDownload,
    metadata: PipMetadata,
}

#[derive(Deserialize)]
struct PipDownload {
    archive_info: Option<PipArchive>,
}

#[derive(Deserialize)]
struct PipArchive {
    hashes: Option<std::collections::BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct PipMetadata {
    name: String,
    version: String,
}

fn pip(tree: &Path, state: &Path, package: &Package) -> Result<(Vec<Part>, Entry)> {
    let python = program(&["python3"], "python3 python3-pip")?;
    let report = state.join("pip-report.json");
    let mut pip = command(&python);
    pip.current_dir(tree).args([
        "-m",
        "pip",
        "install",
        "--only-binary",
        ":all:",
        "--no-compile",
        "--no-input",
        "--quiet",
        "--disable-pip-version-check",
        "--root-user-action=ignore",
        "--ignore-installed",
    ]);
    pip.arg("--target").arg(tree).arg("--report").arg(&report);
    pip.arg(format!("{}=={}", package.identifier, package.version));
    let ran = run(pip, "pip");
    let value = ran.and_then(|()| json_file(&report));
    away(&report)?;
    let report: PipReport =
        serde_json::from_value(value?).context(|| "read the report that pip wrote".into())?;
    let parts = report.install.into_iter().map(|item| {
        let hashes = item.download_info.archive_info.and_then(|info| info.hashes);
        let sha256 = hashes.and_then(|hashes| hashes.get("sha256").cloned());
        Part {
            name: item.metadata.name,
            version: item.metadata.version,
            digest: sha256.map(|hex| format!("sha256-{hex}")),
            script: false,
        }
    });
    let mut parts: Vec<Part> = parts.collect();
    parts.sort();
    let script = console(tree, package)?;
    Ok((
        parts,
        Entry {
            program: python,
            script: Path::new("bin").join(script),
            python: true,
        },
    ))
}

/// The one console script of a package of Python: pip wrote it to `bin`.
fn console(tree: &Path, package: &Package) -> Result<String> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '.'], "_");
    let own = format!(
        "{}-{}.dist-info",
        plain(&package.identifier),
        package.version
    );
    let entries = fs::read_dir(tree).context(|| format!("list `{}`", shown(tree)))?;
    let info = entries.flatten().find(|entry| {
        let name = entry.file_name();
        plain(&name.to_string_lossy()) == plain(&own)
    });
    let text = match info {
        Some(info) => read(&info.path().join("entry_points.txt"), FILE_MAX)?.unwrap_or_default(),
        None => Vec::new(),
    };
    let text = String::from_utf8_lossy(&text);
    let mut names = Vec::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line == "[console_scripts]";
        } else if let (true, Some((name, _))) = (inside, line.split_once('=')) {
            names.push(name.trim().to_owned());
        }
    }
    let chosen = match names.as_slice() {
        [only] => Some(only),
        several => several
            .iter()
            .find(|name| plain(name) == plain(&package.identifier)),
    };
    chosen
        .filter(|name| !name.contains('/') && tree.join("bin").join(name).is_file())
        .cloned()
        .ok_or_else(|| {
            let name = escaped(&package.identifier);
            Error::new(format!("`{name}` has no program of its own name")).hint(
                "import it by a command line: `keepgate connector import NAME -- python3 -m …`",
            )
        })
}

fn json_file(path: &Path) -> Result<Value> {
    let bytes = read(path, FILE_MAX)?
        .ok_or_else(|| Error::new(format!("the installer left no `{}`", shown(path))))?;
    serde_json::from_slice(&bytes).context(|| format!("read `{}`", shown(path)))
}

/// Whoever runs in the jail reads it, whatever this shell's umask is, and nobody else writes it.
fn for_everybody(path: &Path) -> Result<()> {
    let what = || format!("set the mode of `{}`", shown(path));
    let meta = path.symlink_metadata().context(what)?;
    if meta.is_symlink() {
        return Ok(());
    }
    let runs = meta.is_dir() || meta.permissions().mode() & 0o111 != 0;
    let mode = if runs { 0o755 } else { 0o644 };
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).context(what)?;
    if meta.is_dir() {
        for entry in fs::read_dir(path).context(what)? {
            for_everybody(&entry.context(what)?.path())?;
        }
    }
    Ok(())
}
