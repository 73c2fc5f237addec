//! Whether an operator's rule lets a target out.

use super::{Scheme, Target, TargetFault, address, checked_name, fault};
use crate::wire::messages::HttpRule;

impl Target {
    /// Scheme, host, port and method are the rule's, and the path lies within its path. Whether the
    /// host's address may be dialled is for [`address::refused`] to say.
    pub fn matches(&self, rule: &HttpRule) -> bool {
        rule.scheme == self.scheme().name()
            && rule.host == self.host()
            && rule.port == self.port()
            && rule.methods.iter().any(|method| method == self.method())
            && path_within(self.path(), &rule.path)
    }
}

/// Whether `path` is `prefix` or lies beneath it, by whole segments: `/v1` holds `/v1` and `/v1/x`
/// but not `/v12`. An empty prefix holds nothing.
pub fn path_within(path: &str, prefix: &str) -> bool {
    prefix.starts_with('/')
        && path
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
}

/// Whether a rule can do what its operator means: a rule in another form than a [`Target`]'s would
/// match nothing, silently.
///
/// # Errors
/// Says what to write instead.
pub fn check(rule: &HttpRule) -> Result<(), TargetFault> {
    let scheme = match rule.scheme.as_str() {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        _ => return Err(fault("`scheme` is neither `https` nor `http`")),
    };
    if rule.port == 0 {
        return Err(fault("`port` is 0"));
    }
    if rule.methods.is_empty() {
        return Err(fault("`methods` is empty, so nothing is allowed"));
    }
    let host = match rule.host.parse::<std::net::Ipv6Addr>() {
        Ok(v6) => format!("[{v6}]"),
        Err(_) => checked_name(&rule.host).map_err(|_| fault("`host` is no host name"))?,
    };
    for method in &rule.methods {
        let url = format!("{}://{host}:{}{}", scheme.name(), rule.port, rule.path);
        let target = Target::parse(method, &url)?;
        if !target.matches(rule) || target.query().is_some() {
            return Err(fault(format!(
                "the rule never matches; its target reads `{}`",
                target.url()
            )));
        }
    }
    if let Some(bad) = rule
        .private
        .iter()
        .find(|text| address::Network::parse(text).is_none())
    {
        return Err(fault(format!(
            "`private` holds `{}`, which is no network",
            bad.escape_debug()
        )));
    }
    match &rule.pin_sha256 {
        Some(pin) if pin.len() != 64 || !pin.bytes().all(|b| b"0123456789abcdef".contains(&b)) => {
            Err(fault(
                "`pin_sha256` is not 64 lower-case hexadecimal digits",
            ))
        }
        Some(_) if scheme == Scheme::Http => Err(fault("`pin_sha256` needs `https`")),
        Some(_) | None => Ok(()),
    }
}
