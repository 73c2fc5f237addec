//! Denials of every layer, the line of a manifest that would allow each, and one sentence a denial.
//!
//! A line is named only where it would really allow what was tried: an operator who adds it and is
//! refused again has learned to distrust the next one.

use std::net::IpAddr;
use std::sync::LazyLock;

use super::{ATTEMPT_MAX, Call, Memory, address};
use crate::jail::lists::{FOREIGN, LOCAL};
use crate::sys::filter::{Clone3, Filter, Verdict};
use crate::wire::manifest::{Class, Quantities};
use crate::wire::messages::{Denial, Hop, Layer};
use crate::wire::text::Escaped;

/// How the proxy begins what it says of a destination that no manifest names.
pub const UNLISTED: &str = "the jail's manifest does not lead to ";
/// How egress ends what it says of an address that is not public.
pub const NOT_PUBLIC: &str = "; list it under `private` in the rule to allow it";
/// What no manifest can name.
const NONE: &str = "no manifest can allow it";

/// What foreign jails may do, for the question whether their class would help.
static WIDER: LazyLock<Option<Filter>> =
    LazyLock::new(|| Filter::compile(&[FOREIGN], Clone3::Missing).ok());
/// What those may beside that have their own loopback.
static LOCALLY: LazyLock<Option<Filter>> =
    LazyLock::new(|| Filter::compile(&[LOCAL], Clone3::Missing).ok());

/// The line that would allow a call to a jail of `class`.
pub(super) fn line(class: Class, call: Call, memory: &dyn Memory) -> Option<String> {
    match class {
        Class::Foreign if allows(&LOCALLY, call) => Some("loopback = true".into()),
        Class::Foreign => network(call, memory),
        Class::Native | Class::NativeGeneric => {
            let foreign = format!("class = \"{}\"", Class::Foreign.name());
            allows(&WIDER, call).then_some(foreign)
        }
    }
}

fn allows(filter: &LazyLock<Option<Filter>>, call: Call) -> bool {
    let number = u32::try_from(call.number).ok();
    let answer = (filter.as_ref().zip(number)).map(|(of, at)| of.answer(at, call.arguments));
    answer == Some(Verdict::Allow)
}

/// Reaching or offering an internet address. Other families have no line.
fn network(call: Call, memory: &dyn Memory) -> Option<String> {
    let loopback = || Some("loopback = true".into());
    match libc::c_long::from(call.number) {
        libc::SYS_connect => {
            let address = address::internet(call, 1, memory)?;
            match address.ip().to_canonical().is_loopback() {
                true => loopback(),
                false => Some(format!("net = [\"{address}\"]")),
            }
        }
        libc::SYS_bind => {
            let ip = address::internet(call, 1, memory)?.ip().to_canonical();
            (ip.is_loopback() || ip.is_unspecified()).then(loopback)?
        }
        libc::SYS_listen => loopback(),
        _ => None,
    }
}

/// What the way out refused. Nothing where the hop went well or failed for another reason than a
/// manifest: a server that does not answer has denied nothing.
pub fn of_hop(hop: &Hop) -> Option<Denial> {
    let fault = hop.fault.as_deref()?;
    let allow = match fault.strip_prefix(UNLISTED) {
        Some(rest) => {
            // Only the proxy's own spelling of a destination is repeated: a line that an operator
            // may copy must not be written by a jail.
            let there = rest.split(';').next().filter(|there| plain(there))?;
            format!("net = [\"{there}\"]")
        }
        None => private(hop, fault.strip_suffix(NOT_PUBLIC)?)?,
    };
    Some(Denial {
        layer: Layer::Egress,
        attempt: Escaped::again(&hop.target, ATTEMPT_MAX).to_string(),
        allow: Some(allow),
        count: 1,
    })
}

/// The line for a listed destination whose address is not public: `10.1.2.3 is private, …`.
fn private(hop: &Hop, refused: &str) -> Option<String> {
    let there = hop.target.strip_prefix("CONNECT ")?;
    let (host, port) = there.rsplit_once(':').filter(|_| plain(there))?;
    let port: u16 = port.parse().ok()?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let networks: Vec<String> = refused
        .split(", ")
        .filter_map(|one| one.split(' ').next()?.parse::<IpAddr>().ok())
        .map(|ip| format!("\"{ip}/{}\"", if ip.is_ipv4() { 32 } else { 128 }))
        .collect();
    let networks = networks.join(", ");
    Some(format!(
        "net = [{{ host = \"{host}\", port = {port}, private = [{networks}] }}]"
    ))
}

/// A host and a port without anything that could end a string or a line.
fn plain(there: &str) -> bool {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    there.contains(':') && there.len() <= ATTEMPT_MAX && there.bytes().all(fine)
}

/// The limit that ended a jail (`JailEnd::limit`) as a denial; nothing where it was killed for
/// another reason. The line doubles what it had.
pub fn of_limit(limit: &str, had: Quantities) -> Option<Denial> {
    const MIB: u64 = 1 << 20;
    let (key, unit, value, attempt) = match limit {
        "wall" => ("wall_s", 1_000, had.wall_ms, "run longer"),
        "cpu" => ("cpu_s", 1, had.cpu_s, "use more processor time"),
        "memory" => ("memory_mib", MIB, had.memory, "use more memory"),
        "processes" => ("processes", 1, had.processes, "start more processes"),
        "output" => ("output_mib", MIB, had.output, "write more output"),
        "file" => ("file_mib", MIB, had.file, "write a longer file"),
        _ => return None,
    };
    let doubled = value.saturating_mul(2).div_ceil(unit);
    Some(Denial {
        layer: Layer::Limit,
        attempt: format!("{attempt} than limits.{key} = {}", value.div_ceil(unit)),
        allow: Some(format!("limits.{key} = {doubled}")),
        count: 1,
    })
}

/// One sentence, without a full stop: who refused, what was tried, what would allow it.
pub fn sentence(denial: &Denial) -> String {
    let who = match denial.layer {
        Layer::Seccomp => "the system call list",
        Layer::Egress => "the way out",
        Layer::Limit => "a limit",
    };
    let often = match denial.count {
        0 | 1 => String::new(),
        count => format!(" {count} times"),
    };
    let allow = match &denial.allow {
        Some(line) => format!("to allow it, the manifest needs `{line}`"),
        None if denial.attempt == super::collect::OTHERS => {
            return format!("{} more refusals are not told one by one", denial.count);
        }
        None => NONE.into(),
    };
    format!("{who} refused `{}`{often}; {allow}", denial.attempt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(target: &str, fault: &str) -> Hop {
        Hop {
            target: target.into(),
            address: None,
            status: None,
            fault: Some(fault.into()),
            bytes: 0,
        }
    }

    #[test]
    fn what_the_manifest_does_not_name_has_its_line() {
        let said = format!("{UNLISTED}a.example:443; to allow it: net = [\"a.example:443\"]");
        let denial = of_hop(&hop("CONNECT a.example:443", &said)).unwrap();
        assert_eq!(denial.layer, Layer::Egress);
        assert_eq!(denial.allow.as_deref(), Some("net = [\"a.example:443\"]"));
        assert_eq!(
            sentence(&denial),
            "the way out refused `CONNECT a.example:443`; to allow it, the manifest needs \
             `net = [\"a.example:443\"]`"
        );
        let six = format!("{UNLISTED}[2001:db8::1]:443; to allow it: …");
        let denial = of_hop(&hop("CONNECT [2001:db8::1]:443", &six)).unwrap();
        assert_eq!(
            denial.allow.as_deref(),
            Some("net = [\"[2001:db8::1]:443\"]")
        );
    }

    #[test]
    fn an_address_that_is_not_public_has_its_line() {
        let said = format!("10.1.2.3 is private, fd00::1 is private{NOT_PUBLIC}");
        let denial = of_hop(&hop("CONNECT db.example:5432", &said)).unwrap();
        assert_eq!(
            denial.allow.as_deref(),
            Some(
                "net = [{ host = \"db.example\", port = 5432, private = [\"10.1.2.3/32\", \"fd00::1/128\"] }]"
            )
        );
    }

    #[test]
    fn a_jail_writes_no_line_and_a_failure_is_no_denial() {
        for (target, fault) in [
            ("CONNECT x", "the URL is odd: net = [\"evil.example:443\"]"),
            (
                "CONNECT x",
                "the jail's manifest does not lead to a\"]\nrw = [\"/\":1; …",
            ),
            (
                "CONNECT x",
                "the jail's manifest does not lead to nowhere; …",
            ),
            ("CONNECT a.example:443", "nobody answers"),
            (
                "x\"; y:1",
                "10.0.0.1 is private; list it under `private` in the rule to allow it",
            ),
        ] {
            assert_eq!(of_hop(&hop(target, fault)), None, "{fault}");
        }
        let fine = Hop {
            fault: None,
            ..hop("CONNECT a.example:443", "")
        };
        assert_eq!(of_hop(&fine), None);
    }

    #[test]
    fn limits_name_what_they_were_and_what_they_could_be() {
        let had = crate::wire::manifest::Manifest::of(Class::Foreign).limits;
        let denial = of_limit("memory", had).unwrap();
        assert_eq!(denial.layer, Layer::Limit);
        assert_eq!(
            sentence(&denial),
            "a limit refused `use more memory than limits.memory_mib = 512`; to allow it, the \
             manifest needs `limits.memory_mib = 1024`"
        );
        for limit in ["wall", "cpu", "processes", "output", "file"] {
            assert!(of_limit(limit, had).unwrap().allow.is_some(), "{limit}");
        }
        assert_eq!(of_limit("killed", had), None);
    }
}
