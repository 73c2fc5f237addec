//! The host's DNS servers, from `resolv.conf(5)`.

use std::net::{IpAddr, SocketAddr};

const FILE: &str = "/etc/resolv.conf";
/// glibc looks at three; more do no harm.
const MOST: usize = 8;
/// The port of DNS.
pub(super) const PORT: u16 = 53;

/// Those of the host; empty where the file cannot be read or names none.
pub(super) fn of_host() -> Vec<String> {
    std::fs::read_to_string(FILE)
        .map(|text| servers(&text))
        .unwrap_or_default()
}

/// The `nameserver` lines as `IP:53`. Link-local addresses with a zone are passed over: the zone
/// has no meaning to a role without network interfaces of its own.
fn servers(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next())?
        })
        .filter_map(|address| address.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, PORT).to_string())
        .take(MOST)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_name_servers_count() {
        let text = "# nameserver 1.1.1.1\nsearch example.net\nnameserver 192.0.2.1\n\
                    nameserver\t2001:db8::1 # x\nnameserver fe80::1%eth0\nnameserver\n";
        assert_eq!(servers(text), ["192.0.2.1:53", "[2001:db8::1]:53"]);
    }
}
