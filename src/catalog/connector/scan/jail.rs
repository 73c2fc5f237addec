//! Jails that show or allow too much.

use std::path::Path;

use super::super::Launch;
use super::super::report::Severity;
use super::{Found, Material, Subject};

/// Trees that hold much more than a server needs.
const BROAD: [&str; 14] = [
    "/", "/home", "/root", "/etc", "/var", "/var/lib", "/var/log", "/boot", "/opt", "/srv", "/mnt",
    "/media", "/run", "/sys",
];
/// What of the system only the system changes.
const CODE: [&str; 10] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc",
    "/boot",
    "/opt",
    "/var/lib/dpkg",
];
/// Directories with keys.
const KEYS: [&str; 11] = [
    ".ssh",
    ".aws",
    ".gnupg",
    ".kube",
    ".docker",
    ".config",
    ".azure",
    ".password-store",
    ".mozilla",
    ".cache",
    ".local",
];
/// Ways out beyond which the list is no list.
const MANY: usize = 16;

pub(super) fn scan(material: &Material<'_>, found: &mut Found) {
    let whole = Subject::whole();
    if let Launch::Remote { url, private, .. } = &material.connector.launch {
        if url.starts_with("http://") {
            found.add(
                "jail-no-tls",
                &whole,
                Severity::Medium,
                "remote.url",
                "what goes there can be read and changed on the way",
                Some(url),
                "use `https://`",
            );
        }
        wide(&whole, private, "remote.private", found);
        let read = url::Url::parse(url).ok();
        let mut names = read.iter().flat_map(url::Url::query_pairs);
        if let Some((name, _)) = names.find(|(name, _)| is_key(name)) {
            found.add(
                "jail-key-in-url",
                &whole,
                Severity::High,
                "remote.url",
                "a part of the URL looks like a key, and manifests are for everybody to read",
                Some(&name),
                "make it a secret slot: `[secrets.NAME]` with `query`",
            );
        }
        return;
    }
    let Some(jail) = material.connector.launch.jail() else {
        return;
    };
    for (paths, writable) in [(&jail.ro, false), (&jail.rw, true)] {
        for path in paths {
            one(&whole, path, writable, found);
        }
    }
    let pinned = material.connector.launch.files();
    for path in &jail.rw {
        let covers = |file: &&Path| file.starts_with(path) || path.starts_with(file);
        if let Some(file) = pinned.iter().copied().find(covers) {
            found.add(
                "jail-changes-its-code",
                &whole,
                Severity::High,
                "jail.rw",
                "it may change what it executes",
                Some(&file.to_string_lossy()),
                "what is pinned has to be read-only: keep data and code apart",
            );
        }
    }
    for to in &jail.net {
        wide(&whole, &to.private, "jail.net", found);
    }
    if jail.net.len() > MANY {
        found.add(
            "jail-many-hosts",
            &whole,
            Severity::Low,
            "jail.net",
            "it may go to many hosts",
            Some(&jail.net.len().to_string()),
            "name those that it needs",
        );
    }
    if jail.whole_proc {
        found.add(
            "jail-whole-proc",
            &whole,
            Severity::Medium,
            "jail.whole_proc",
            "it sees all of `/proc`",
            None,
            "take it away where the server works without",
        );
    }
    if let Launch::Stdio { argv, .. } = &material.connector.launch {
        let options = argv.iter().skip(1).filter(|word| word.starts_with("--"));
        let mut names = options.filter_map(|word| word.split('=').next());
        if let Some(name) = names.find(|name| is_key(name)) {
            found.add(
                "jail-key-in-arguments",
                &whole,
                Severity::High,
                "stdio.arguments",
                "an argument looks like a key, and manifests are for everybody to read",
                Some(name),
                "have the server take it from a variable, and make that a secret slot",
            );
        }
    }
    if let Some(name) = jail.env.keys().find(|name| is_key(name)) {
        found.add(
            "jail-key-in-environment",
            &whole,
            Severity::High,
            "jail.env",
            "a variable looks like a key, and manifests are for everybody to read",
            Some(name),
            "make it a secret slot: `[secrets.NAME]` with `env`",
        );
    }
}

/// The name of a variable, an option or a parameter whose value probably is a key.
fn is_key(name: &str) -> bool {
    // `--max-tokens` counts words of a model.
    let upper = name
        .to_ascii_uppercase()
        .replace('-', "_")
        .replace("TOKENS", "");
    let words = [
        "TOKEN",
        "SECRET",
        "PASSWORD",
        "API_KEY",
        "APIKEY",
        "ACCESS_KEY",
        "PRIVATE_KEY",
    ];
    upper == "KEY" || words.iter().any(|word| upper.contains(word))
}

fn one(whole: &Subject<'_>, path: &Path, writable: bool, found: &mut Found) {
    let shown = path.to_string_lossy();
    let at = if writable { "jail.rw" } else { "jail.ro" };
    let broad = BROAD.iter().any(|one| path == Path::new(one)) || home(path);
    if broad {
        found.add(
            "jail-too-broad",
            whole,
            Severity::High,
            at,
            "it sees much more than a server needs",
            Some(&shown),
            "name the directory it works in",
        );
    }
    let keys = path
        .components()
        .any(|part| KEYS.iter().any(|key| part.as_os_str() == *key));
    if keys {
        found.add(
            "jail-shows-keys",
            whole,
            Severity::High,
            at,
            "it sees a directory where people keep keys and settings",
            Some(&shown),
            "copy what it needs to a place of its own",
        );
    }
    let code = CODE.iter().any(|code| path.starts_with(code));
    if writable && code {
        found.add(
            "jail-changes-system",
            whole,
            Severity::High,
            at,
            "it may change what the system executes or is configured by",
            Some(&shown),
            "name a directory of data",
        );
    }
}

/// A whole home directory.
fn home(path: &Path) -> bool {
    path.parent() == Some(Path::new("/home"))
}

/// Networks so wide that they name nothing.
fn wide(whole: &Subject<'_>, networks: &[String], at: &str, found: &mut Found) {
    let bits = |net: &str| {
        net.rsplit_once('/')
            .and_then(|(_, bits)| bits.parse::<u8>().ok())
    };
    let least = |net: &str| if net.contains(':') { 16 } else { 8 };
    if let Some(net) = networks
        .iter()
        .find(|net| bits(net).is_some_and(|bits| bits < least(net)))
    {
        found.add(
            "jail-wide-network",
            whole,
            Severity::High,
            at,
            "a network so wide that it is no limit",
            Some(net),
            "name the network the server is in",
        );
    }
}
