//! What the profile `foreign` shows of a host: the programs and libraries of the system, and the
//! few files of `/etc` that most of them want. No home directory, no state, no key of the system.

use std::fs;
use std::path::{Path, PathBuf};

use super::view::View;

const USUAL: [&str; 12] = [
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/alternatives",
    "/etc/ssl",
    "/etc/ca-certificates",
    "/etc/pki",
    "/etc/ld.so.cache",
    "/etc/localtime",
];
/// Begin of the names of the loader's configuration in `/etc`.
const LOADER: &str = "ld.so.conf";

/// Those that are there; links only where what they lead to is shown too.
pub(super) fn paths() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = USUAL.iter().map(PathBuf::from).collect();
    let names = fs::read_dir("/etc").into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name());
    let mut loader: Vec<PathBuf> = names
        .filter(|name| name.to_string_lossy().starts_with(LOADER))
        .map(|name| Path::new("/etc").join(name))
        .collect();
    loader.sort();
    all.append(&mut loader);
    all.retain(|path| path.symlink_metadata().is_ok());
    let view = View::new(&all);
    let whole = all.iter().filter(|path| view.resolve(path).is_ok());
    whole.cloned().collect()
}
