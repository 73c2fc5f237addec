//! What `import` installed: every package of the tree with the digest its registry published, and
//! what the tree was when the installer had ended.

use serde::{Deserialize, Serialize};

use super::Registry;
use super::tree::Tree;

/// The record of one installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Installed {
    /// Where it all came from.
    pub registry: Registry,
    /// The package that was asked for.
    pub asked: String,
    /// All packages, it among them.
    pub packages: Vec<Part>,
    /// The tree as the installer left it.
    pub tree: Tree,
}

/// One package of a tree.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Digest of the published archive, `sha256-HEX` or as npm writes it (`sha512-BASE64`); nothing
    /// where the registry told none.
    pub digest: Option<String>,
    /// It wanted to run a script when it was installed, which it did not.
    pub script: bool,
}
