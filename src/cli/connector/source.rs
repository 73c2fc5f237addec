//! What `import` is to make a connector of: a package, a command, a folder, a URL.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::files::{read, shown};
use crate::catalog::connector::{Package, Registry};
use crate::error::{Error, Kind, Result};
use crate::wire::json::{self, Limits};
use crate::wire::text::{Escaped, escaped};

/// Longest `server.json`, in bytes.
const FILE_MAX: u64 = 1 << 20;

/// Where a connector comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// A package of a registry.
    Package(Described),
    /// A server elsewhere.
    Remote(Described),
    /// A command on this host.
    Command,
    /// A folder with a `SKILL.md`.
    Skill(PathBuf),
}

/// What is known of a server before it is installed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Described {
    pub(super) title: Option<String>,
    pub(super) publisher: Option<String>,
    pub(super) version: Option<String>,
    pub(super) package: Option<Package>,
    pub(super) url: Option<String>,
    /// Arguments of the program.
    pub(super) arguments: Vec<String>,
    /// Variables without a secret and with a value.
    pub(super) env: Vec<(String, String)>,
    /// Variables, or headers of a remote server, that take a key: name, required, what it is, and
    /// what comes before the key.
    pub(super) secrets: Vec<Wanted>,
}

/// A key that a server wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) required: bool,
    pub(super) about: Option<String>,
    pub(super) prefix: String,
}

impl Source {
    /// Of the word on the command line.
    pub(super) fn of(word: Option<&str>, words: &[String]) -> Result<Self> {
        let Some(word) = word else {
            return match words.is_empty() {
                false => Ok(Self::Command),
                true => Err(Error::of(Kind::Usage, "it is not said what to import")
                    .hint("name a SOURCE, or a command behind `--`; see `keepgate connector import --help`")),
            };
        };
        if let Some(text) = word.strip_prefix("npm:") {
            return package(Registry::Npm, text, '@');
        }
        if let Some(text) = word.strip_prefix("pypi:") {
            return package(Registry::Pypi, text, '@');
        }
        if word.starts_with("https://") || word.starts_with("http://") {
            return Ok(Self::Remote(Described {
                url: Some(word.into()),
                ..Described::default()
            }));
        }
        let path = Path::new(word);
        if path.is_dir() {
            return Ok(Self::Skill(path.into()));
        }
        let bytes = read(path, FILE_MAX)?.ok_or_else(|| {
            Error::of(Kind::Usage, format!("there is no `{}`", escaped(word))).hint(
                "a `server.json` file, a skill's folder, `npm:NAME@VERSION`, \
                 `pypi:NAME@VERSION`, or a URL",
            )
        })?;
        server_json(&bytes, &shown(path))
    }
}

fn package(registry: Registry, text: &str, at: char) -> Result<Source> {
    let split = text
        .rsplit_once(at)
        .filter(|(name, version)| !name.is_empty() && !version.is_empty());
    let Some((identifier, version)) = split else {
        let name = registry.name();
        return Err(Error::of(
            Kind::Usage,
            format!("`{name}:{}` names no version", Escaped::cut(text, 100)),
        )
        .hint(format!(
            "write `{name}:NAME@VERSION`, the version exactly; `{}` tells which there are",
            match registry {
                Registry::Npm => "npm view NAME versions",
                Registry::Pypi => "pip index versions NAME",
            }
        )));
    };
    let package = checked(registry, identifier, version, None)?;
    Ok(Source::Package(Described {
        version: Some(version.into()),
        package: Some(package),
        ..Described::default()
    }))
}

/// Names and versions become words of a command line: nothing in them may be read as an option, a
/// path or a URL.
fn checked(
    registry: Registry,
    identifier: &str,
    version: &str,
    sha256: Option<String>,
) -> Result<Package> {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let name = |text: &str| {
        text.as_bytes()
            .first()
            .is_some_and(u8::is_ascii_alphanumeric)
            && text.bytes().all(word)
            && text.len() <= 214
    };
    let good = match (registry, identifier.strip_prefix('@')) {
        (Registry::Npm, Some(scoped)) => scoped
            .split_once('/')
            .is_some_and(|(scope, rest)| name(scope) && name(rest)),
        (_, None) => name(identifier),
        (Registry::Pypi, Some(_)) => false,
    };
    if !good {
        let shown = Escaped::cut(identifier, 100);
        return Err(Error::of(
            Kind::Usage,
            format!("`{shown}` is no name of a package of {}", registry.name()),
        )
        .hint("write it as the registry does"));
    }
    let exact = |byte: u8| byte.is_ascii_alphanumeric() || b".-+_!".contains(&byte);
    let digit = version.as_bytes().first().is_some_and(u8::is_ascii_digit);
    if !digit || version.len() > 100 || !version.bytes().all(exact) {
        let shown = Escaped::cut(version, 100);
        return Err(
            Error::of(Kind::Usage, format!("`{shown}` is no exact version"))
                .hint("one version, such as `2026.10.19`: no range, no `latest`"),
        );
    }
    Ok(Package {
        registry,
        identifier: identifier.into(),
        version: version.into(),
        sha256,
    })
}

/// The parts of the MCP registry's `server.json` (schema of 2025-12-11) that are used. It is
/// somebody else's format: what is not known is passed over.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Server {
    name: String,
    title: Option<String>,
    version: Option<String>,
    #[serde(default)]
    packages: Vec<RawPackage>,
    #[serde(default)]
    remotes: Vec<RawRemote>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawPackage {
    registry_type: String,
    identifier: String,
    version: Option<String>,
    file_sha256: Option<String>,
    transport: Option<RawTransport>,
    #[serde(default)]
    package_arguments: Vec<RawInput>,
    #[serde(default)]
    environment_variables: Vec<RawInput>,
}

#[derive(Deserialize)]
struct RawTransport {
    r#type: String,
}

#[derive(Deserialize)]
struct RawRemote {
    r#type: String,
    url: String,
    #[serde(default)]
    headers: Vec<RawInput>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawInput {
    r#type: Option<String>,
    name: Option<String>,
    value: Option<String>,
    default: Option<String>,
    description: Option<String>,
    #[serde(default)]
    is_required: bool,
    #[serde(default)]
    is_secret: bool,
}

/// Reads a `server.json`; what a fuzzer calls.
///
/// # Errors
/// Kind usage where it is not JSON of that form, or holds nothing that can be imported.
pub(super) fn server_json(bytes: &[u8], file: &str) -> Result<Source> {
    let wrong = |why: String| {
        Error::of(Kind::Usage, format!("`{file}`: {why}"))
            .hint("it should be a `server.json` of the MCP registry, schema 2025-12-11")
    };
    json::check(bytes, &Limits::default()).map_err(|bad| wrong(bad.to_string()))?;
    let server: Server =
        serde_json::from_slice(bytes).map_err(|error| wrong(escaped(&error.to_string())))?;
    let publisher = server.name.split_once('/').map(|(publisher, _)| publisher);
    let described = Described {
        title: server.title.filter(|title| one_line(title)),
        publisher: publisher.filter(|text| one_line(text)).map(str::to_owned),
        version: server.version.clone().filter(|version| one_line(version)),
        ..Described::default()
    };
    let usable = |package: &&RawPackage| {
        let stdio = package
            .transport
            .as_ref()
            .is_none_or(|transport| transport.r#type == "stdio");
        stdio && matches!(package.registry_type.as_str(), "npm" | "pypi")
    };
    if let Some(package) = server.packages.iter().find(usable) {
        let registry = match package.registry_type.as_str() {
            "npm" => Registry::Npm,
            _ => Registry::Pypi,
        };
        let version = package.version.as_deref().or(server.version.as_deref());
        let sha256 = package.file_sha256.clone().map(|hex| hex.to_lowercase());
        let checked = checked(
            registry,
            &package.identifier,
            version.unwrap_or_default(),
            sha256,
        )?;
        return Ok(Source::Package(Described {
            package: Some(checked),
            arguments: arguments(&package.package_arguments),
            env: plain(&package.environment_variables),
            secrets: secret(&package.environment_variables),
            ..described
        }));
    }
    let remote = server
        .remotes
        .iter()
        .find(|remote| remote.r#type == "streamable-http");
    match remote {
        Some(remote) => Ok(Source::Remote(Described {
            url: Some(remote.url.clone()),
            secrets: secret(&remote.headers),
            ..described
        })),
        None => Err(wrong(
            "it has no package of npm or pypi with standard input and output, and no remote with \
             streamable HTTP"
                .into(),
        )),
    }
}

fn one_line(text: &str) -> bool {
    !text.is_empty() && text.len() <= 400 && !text.chars().any(char::is_control)
}

/// Fixed arguments only; what a person has to choose comes behind `--`.
fn arguments(inputs: &[RawInput]) -> Vec<String> {
    let mut words = Vec::new();
    for input in inputs {
        let Some(value) = input.value.as_ref().or(input.default.as_ref()) else {
            continue;
        };
        if let (Some("named"), Some(name)) = (input.r#type.as_deref(), &input.name) {
            words.push(name.clone());
        }
        words.push(value.clone());
    }
    words
}

fn plain(inputs: &[RawInput]) -> Vec<(String, String)> {
    let open = inputs.iter().filter(|input| !input.is_secret);
    open.filter_map(|input| {
        let value = input.value.as_ref().or(input.default.as_ref())?;
        Some((input.name.clone()?, value.clone()))
    })
    .collect()
}

fn secret(inputs: &[RawInput]) -> Vec<Wanted> {
    let secret = inputs.iter().filter(|input| input.is_secret);
    secret
        .filter_map(|input| {
            // `Bearer {token}`: what comes before the placeholder is fixed.
            let prefix = input
                .value
                .as_deref()
                .and_then(|value| value.split_once('{'));
            Some(Wanted {
                name: input.name.clone()?,
                required: input.is_required,
                about: input.description.clone().filter(|text| one_line(text)),
                prefix: prefix.map_or(String::new(), |(before, _)| before.into()),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_could_be_options_paths_or_ranges_are_no_packages() {
        for bad in [
            "npm:left-pad",
            "npm:left-pad@",
            "npm:left-pad@latest",
            "npm:left-pad@^1.0.0",
            "npm:--global@1.0.0",
            "npm:../x@1.0.0",
            "npm:@scope@1.0.0",
            "npm:git+ssh://x/y@1.0.0",
            "pypi:@scope/x@1.0.0",
            "pypi:x[extra]@1.0.0",
            "pypi:x @ file:///tmp/x@1.0.0",
            "pypi:x@>=1",
        ] {
            assert!(Source::of(Some(bad), &[]).is_err(), "{bad}");
        }
        let Source::Package(described) =
            Source::of(Some("npm:@scope/x.y@1.2.3-rc.1"), &[]).unwrap()
        else {
            panic!("no package");
        };
        let package = described.package.unwrap();
        assert_eq!(package.identifier, "@scope/x.y");
        assert_eq!(package.version, "1.2.3-rc.1");
        assert_eq!(Source::of(None, &["x".into()]).unwrap(), Source::Command);
        assert!(Source::of(None, &[]).is_err());
        assert!(Source::of(Some("/none"), &[]).is_err());
    }

    #[test]
    fn a_server_json_gives_packages_secrets_and_remotes() {
        let text = r#"{
            "$schema": "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json",
            "name": "io.github.example/mail", "description": "d", "title": "Mail", "version": "1.0.2",
            "packages": [
                {"registryType": "oci", "identifier": "x"},
                {"registryType": "npm", "identifier": "@example/mail", "version": "1.0.2",
                 "fileSha256": "AB", "transport": {"type": "stdio"},
                 "packageArguments": [{"type": "positional", "value": "serve"},
                    {"type": "named", "name": "--log", "default": "info"},
                    {"type": "positional", "valueHint": "dir"}],
                 "environmentVariables": [
                    {"name": "MAIL_TOKEN", "isSecret": true, "isRequired": true, "description": "t"},
                    {"name": "MAIL_HOST", "default": "mail.example"}, {"name": "NONE"}]}],
            "remotes": [{"type": "streamable-http", "url": "https://mail.example/mcp"}]}"#;
        let Source::Package(described) = server_json(text.as_bytes(), "s").unwrap() else {
            panic!("no package");
        };
        assert_eq!(described.publisher.as_deref(), Some("io.github.example"));
        assert_eq!(described.arguments, ["serve", "--log", "info"]);
        assert_eq!(
            described.env,
            [("MAIL_HOST".to_owned(), "mail.example".to_owned())]
        );
        assert_eq!(described.secrets[0].name, "MAIL_TOKEN");
        assert!(described.secrets[0].required);

        let text = r#"{"name": "a/b", "description": "d", "version": "1", "remotes": [
            {"type": "sse", "url": "https://old.example"},
            {"type": "streamable-http", "url": "https://mail.example/mcp",
             "headers": [{"name": "Authorization", "isSecret": true, "value": "Bearer {token}"}]}]}"#;
        let Source::Remote(described) = server_json(text.as_bytes(), "s").unwrap() else {
            panic!("no remote");
        };
        assert_eq!(described.url.as_deref(), Some("https://mail.example/mcp"));
        assert_eq!(described.secrets[0].prefix, "Bearer ");
        for bad in [
            r#"{"name":"a","packages":[]}"#,
            r#"{"name":"a","name":"b"}"#,
            r#"{"name":"a","packages":[{"registryType":"npm","identifier":"--x","version":"1.0"}]}"#,
            r#"{"name":"a","packages":[{"registryType":"npm","identifier":"x","version":"latest"}]}"#,
        ] {
            assert!(server_json(bad.as_bytes(), "s").is_err(), "{bad}");
        }
    }
}
