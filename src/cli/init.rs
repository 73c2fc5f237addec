//! `keepgate init`: writes what an install begins with, and nothing over.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::unistd::geteuid;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::{Value, json};

use super::agent::quoted;
use super::app::App;
use super::args::InitArgs;
use super::exit::Exit;
use crate::config::{Appliance, Config, Starter, StarterRoot};
use crate::error::{Context, Error, Kind, Result};
use crate::policy::default_policy;
use crate::wire::text::escaped;

/// Bytes of the operator's token before it is text.
const TOKEN_LEN: usize = 32;

pub(super) fn run(app: &App, options: &InitArgs) -> Result<Exit> {
    let paths = &app.paths;
    let starter = Starter {
        name: options.name.clone(),
        demo: options.demo,
        roots: if options.demo {
            sample_roots(paths.dir())
        } else {
            Vec::new()
        },
    };
    let text = Config::defaults_text(&starter);
    let config = Config::parse(&text, "keepgate.toml")?;
    if options.print {
        app.screen.raw(text.as_bytes())?;
        return Ok(Exit::Ok);
    }
    let file = paths.config();
    if file.symlink_metadata().is_ok() {
        return Err(there(&file));
    }
    // Agents reach their sockets through it, but list nothing.
    directory(paths.dir(), if geteuid().is_root() { 0o711 } else { 0o700 })?;
    directory(&paths.policy_dir(), 0o700)?;
    for root in &starter.roots {
        directory(&root.path, 0o755)?;
        if root.user.is_some() {
            chown(&root.path, root.user, root.user)
                .context(|| format!("give away `{}`", escaped(&root.path.to_string_lossy())))?;
        }
    }
    for plane in config.planes.keys() {
        create(&paths.policy_file(plane), default_policy().as_bytes())?;
    }
    create(&paths.token_file(), token()?.as_bytes())?;
    // Last, so that an init that failed can be repeated.
    if !create(&file, text.as_bytes())? {
        return Err(there(&file));
    }
    let value = json!({
        "dir": paths.dir().to_string_lossy(),
        "config": file.to_string_lossy(),
        "policies": config.planes.keys()
            .map(|plane| paths.policy_file(plane).to_string_lossy().into_owned())
            .collect::<Vec<_>>(),
        "token_file": paths.token_file().to_string_lossy(),
        "demo": options.demo,
        "roots": starter.roots.iter().map(|root| &root.name).collect::<Vec<_>>(),
        "next": next(app),
    });
    app.screen.answer(&value, shown)?;
    Ok(Exit::Ok)
}

fn shown(value: &Value) -> String {
    let text = |name: &str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .map(escaped)
            .unwrap_or_default()
    };
    let list = |name: &str, before: &str| -> String {
        let items = value
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        items
            .filter_map(Value::as_str)
            .map(|item| format!("  {before}{}\n", escaped(item)))
            .collect()
    };
    let roots = match value.get("demo").and_then(Value::as_bool) {
        Some(true) => "sample roots: `mail` is read, `out` can be written\n",
        _ => "no root yet: tools see no file until the configuration names a directory\n",
    };
    format!(
        "a new install in {}\n\nconfiguration:\n  {}\npolicies (`keepgate policy apply` puts changes in force):\n{}\
         operator's token (asked for where all roles share one user):\n  {}\n{roots}\
         it rehearses: nothing is changed until `keepgate mode live`\n\nnext:\n{}",
        text("dir"),
        text("config"),
        list("policies", ""),
        text("token_file"),
        list("next", ""),
    )
}

/// The commands that come next, ready to paste.
fn next(app: &App) -> Vec<String> {
    let keepgate = match app.paths.asked() {
        true => format!(
            "keepgate --dir {}",
            quoted(&app.paths.dir().to_string_lossy())
        ),
        false => "keepgate".into(),
    };
    let mut next: Vec<String> = ["doctor", "serve", "status"]
        .map(|command| format!("{keepgate} {command}"))
        .into();
    // Where the roles have users of their own, an agent needs one too.
    let uid = match geteuid().is_root() {
        true => {
            next.push("useradd --system --create-home mailbot".into());
            " --uid \"$(id -u mailbot)\""
        }
        false => "",
    };
    next.push(format!("{keepgate} agent add mailbot{uid}"));
    next
}

fn sample_roots(dir: &Path) -> Vec<StarterRoot> {
    // A user nobody else is, next to the roles' own.
    let user = geteuid()
        .is_root()
        .then(|| Appliance::default().uid_base.saturating_sub(1));
    [("mail", false), ("out", true)]
        .map(|(name, writable)| StarterRoot {
            name: name.into(),
            path: dir.join(name),
            writable,
            user,
        })
        .into()
}

fn there(file: &Path) -> Error {
    let file = escaped(&file.to_string_lossy());
    Error::of(
        Kind::Usage,
        format!("there is an install already: `{file}`"),
    )
    .hint("`keepgate doctor` checks it; for another one use another `--dir`")
}

/// Makes the directory with these permission bits; one that is there stays as it is.
fn directory(path: &Path, mode: u32) -> Result<()> {
    let what = || format!("make directory `{}`", escaped(&path.to_string_lossy()));
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path).context(what)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).context(what)
}

/// Makes a file that only this user can read; false where it is there, which is left as it is.
fn create(path: &Path, bytes: &[u8]) -> Result<bool> {
    let what = || format!("write `{}`", escaped(&path.to_string_lossy()));
    match fs::File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).context(what),
        Ok(mut file) => {
            file.write_all(bytes)
                .and_then(|()| file.sync_all())
                .context(what)?;
            Ok(true)
        }
    }
}

fn token() -> Result<String> {
    let mut bytes = [0; TOKEN_LEN];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::new("the kernel gave no random numbers"))?;
    Ok(format!("{}\n", URL_SAFE_NO_PAD.encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_private_and_never_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let token = token().unwrap();
        assert_eq!(token.len(), 44);
        assert!(create(&path, token.as_bytes()).unwrap());
        assert!(!create(&path, b"other").unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), token);
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
