//! Which addresses may be dialled: public unicast ones, and those an operator lists.
//!
//! Sources: the IANA IPv4 and IPv6 special-purpose address registries (RFC 6890 and its updates),
//! and the addresses at which clouds hand out credentials.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network in CIDR notation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

/// Reserved IPv4 networks.
const V4: [([u8; 4], u8, &str); 17] = [
    ([0, 0, 0, 0], 8, "unspecified"),
    ([10, 0, 0, 0], 8, "private"),
    ([100, 64, 0, 0], 10, "carrier-grade NAT"),
    ([127, 0, 0, 0], 8, "loopback"),
    ([169, 254, 0, 0], 16, "link-local"),
    ([172, 16, 0, 0], 12, "private"),
    ([192, 0, 0, 0], 24, "protocol assignments"),
    ([192, 0, 2, 0], 24, "documentation"),
    ([192, 31, 196, 0], 24, "protocol assignments"),
    ([192, 52, 193, 0], 24, "protocol assignments"),
    ([192, 88, 99, 0], 24, "6to4 relay"),
    ([192, 168, 0, 0], 16, "private"),
    ([192, 175, 48, 0], 24, "protocol assignments"),
    ([198, 18, 0, 0], 15, "benchmarking"),
    ([198, 51, 100, 0], 24, "documentation"),
    ([203, 0, 113, 0], 24, "documentation"),
    ([240, 0, 0, 0], 4, "reserved"),
];

/// Reserved IPv6 networks. Outside 2000::/3 everything is refused anyway; names are for the log.
const V6: [([u16; 8], u8, &str); 13] = [
    ([0, 0, 0, 0, 0, 0, 0, 1], 128, "loopback"),
    ([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "local NAT64"),
    ([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discard"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "Teredo"),
    ([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "protocol assignments"),
    ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "documentation"),
    ([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, "6to4"),
    (
        [0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0],
        48,
        "protocol assignments",
    ),
    ([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "documentation"),
    ([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "segment routing"),
    ([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "private"),
    ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, "link-local"),
    ([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "site-local"),
];

/// Where clouds answer with credentials: AWS, Google, Azure and others share the first; then AWS
/// containers, Tencent, Alibaba, Oracle, and Azure's wire server, which is a public address.
const METADATA_V4: [[u8; 4]; 7] = [
    [169, 254, 169, 254],
    [169, 254, 170, 2],
    [169, 254, 170, 23],
    [169, 254, 0, 23],
    [100, 100, 100, 200],
    [192, 0, 0, 192],
    [168, 63, 129, 16],
];
/// The same for IPv6: AWS, AWS containers, Google, OpenStack.
const METADATA_V6: [[u16; 8]; 4] = [
    [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254],
    [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23],
    [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254],
    [0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe],
];
const NAT64: [u16; 8] = [0x64, 0xff9b, 0, 0, 0, 0, 0, 0];
const METADATA: &str = "cloud metadata";

/// Why `address` may not be dialled: the kind of network it is in. `None` where it is public, or
/// `private` (CIDR notation; what is none lists nothing) lists it.
///
/// A metadata address is listed only by a network of that one address. Unspecified, multicast and
/// broadcast addresses cannot be listed. An IPv4-mapped IPv6 address is its IPv4 address.
pub fn refused(address: IpAddr, private: &[String]) -> Option<&'static str> {
    let address = address.to_canonical();
    let kind = match address {
        IpAddr::V4(v4) => kind_of_v4(v4),
        IpAddr::V6(v6) => kind_of_v6(v6),
    }?;
    if address.is_unspecified() || address.is_multicast() || address == Ipv4Addr::BROADCAST {
        return Some(kind);
    }
    let listed = private
        .iter()
        .filter_map(|text| Network::parse(text))
        .any(|network| network.contains(address) && (kind != METADATA || network.is_single()));
    (!listed).then_some(kind)
}

impl Network {
    /// Reads `ADDRESS/BITS`, or an address alone. Bits beyond the network have to be zero: otherwise
    /// it is unclear which of the two was meant.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let base: IpAddr = address.parse().ok()?;
        let width = if base.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(digits) => {
                let bits: u8 = digits.parse().ok()?;
                (bits.to_string() == digits && bits <= width).then_some(bits)?
            }
        };
        let network = Self { base, bits };
        (network.first() == base && base.to_canonical() == base).then_some(network)
    }

    /// Whether `address` lies in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.base.is_ipv4()
            && Self {
                base: address,
                bits: self.bits,
            }
            .first()
                == self.base
    }

    fn is_single(&self) -> bool {
        self.bits == if self.base.is_ipv4() { 32 } else { 128 }
    }

    fn first(&self) -> IpAddr {
        match self.base {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(self.bits))
                    .unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        }
    }
}

fn kind_of_v4(v4: Ipv4Addr) -> Option<&'static str> {
    if METADATA_V4.contains(&v4.octets()) {
        return Some(METADATA);
    }
    if v4.is_broadcast() {
        return Some("broadcast");
    }
    if v4.is_multicast() {
        return Some("multicast");
    }
    let within = |base: [u8; 4], bits| {
        Network {
            base: base.into(),
            bits,
        }
        .contains(v4.into())
    };
    V4.iter()
        .find(|(base, bits, _)| within(*base, *bits))
        .map(|(_, _, kind)| *kind)
}

fn kind_of_v6(v6: Ipv6Addr) -> Option<&'static str> {
    if METADATA_V6.contains(&v6.segments()) {
        return Some(METADATA);
    }
    if v6.is_multicast() {
        return Some("multicast");
    }
    if v6.is_unspecified() {
        return Some("unspecified");
    }
    let within = |base: [u16; 8], bits| {
        Network {
            base: base.into(),
            bits,
        }
        .contains(v6.into())
    };
    if within(NAT64, 96) {
        let [.., a, b, c, d] = v6.octets();
        return kind_of_v4(Ipv4Addr::new(a, b, c, d));
    }
    let named = V6
        .iter()
        .find(|(base, bits, _)| within(*base, *bits))
        .map(|(_, _, kind)| *kind);
    let global = within([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);
    named.or((!global).then_some("not global unicast"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(address: &str, private: &[&str]) -> Option<&'static str> {
        let private: Vec<String> = private.iter().map(|text| (*text).into()).collect();
        refused(address.parse().unwrap(), &private)
    }

    #[test]
    fn both_ends_of_every_reserved_network_are_refused() {
        let table = [
            ("0.0.0.0", "0.255.255.255", "unspecified"),
            ("10.0.0.0", "10.255.255.255", "private"),
            ("100.64.0.0", "100.127.255.255", "carrier-grade NAT"),
            ("127.0.0.1", "127.255.255.255", "loopback"),
            ("169.254.0.0", "169.254.255.255", "link-local"),
            ("172.16.0.0", "172.31.255.255", "private"),
            ("192.0.0.0", "192.0.0.255", "protocol assignments"),
            ("192.0.2.0", "192.0.2.255", "documentation"),
            ("192.88.99.0", "192.88.99.255", "6to4 relay"),
            ("192.168.0.0", "192.168.255.255", "private"),
            ("198.18.0.0", "198.19.255.255", "benchmarking"),
            ("198.51.100.0", "198.51.100.255", "documentation"),
            ("203.0.113.0", "203.0.113.255", "documentation"),
            ("224.0.0.0", "239.255.255.255", "multicast"),
            ("240.0.0.0", "255.255.255.254", "reserved"),
            ("255.255.255.255", "255.255.255.255", "broadcast"),
            ("::", "::", "unspecified"),
            ("::1", "::1", "loopback"),
            ("::2", "::7f00:1", "not global unicast"),
            ("::ffff:10.0.0.1", "::ffff:10.255.255.255", "private"),
            ("::ffff:127.0.0.1", "::ffff:127.1.2.3", "loopback"),
            ("64:ff9b::a00:1", "64:ff9b::aff:ffff", "private"),
            ("64:ff9b::7f00:1", "64:ff9b::7f00:1", "loopback"),
            (
                "64:ff9b:1::",
                "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
                "local NAT64",
            ),
            ("100::", "100::ffff:ffff:ffff:ffff", "discard"),
            ("2001::", "2001:0:ffff:ffff:ffff:ffff:ffff:ffff", "Teredo"),
            (
                "2001:2::",
                "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
                "protocol assignments",
            ),
            (
                "2001:db8::",
                "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
                "documentation",
            ),
            ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "6to4"),
            (
                "3fff::",
                "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
                "documentation",
            ),
            ("5f00::", "5f00:ffff::", "segment routing"),
            (
                "fc00::",
                "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "private",
            ),
            (
                "fe80::1",
                "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "link-local",
            ),
            (
                "fec0::",
                "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "site-local",
            ),
            (
                "ff00::",
                "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
                "multicast",
            ),
            ("4000::", "4fff::", "not global unicast"),
        ];
        for (first, last, expected) in table {
            assert_eq!(kind(first, &[]), Some(expected), "{first}");
            assert_eq!(kind(last, &[]), Some(expected), "{last}");
        }
    }

    #[test]
    fn public_neighbours_are_not_refused() {
        let table = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.0",
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "64:ff9b::101:101",
            "::ffff:1.1.1.1",
        ];
        for address in table {
            assert_eq!(kind(address, &[]), None, "{address}");
        }
    }

    #[test]
    fn metadata_has_to_be_listed_by_itself() {
        let table = [
            ("169.254.169.254", "169.254.0.0/16"),
            ("169.254.170.2", "169.254.0.0/16"),
            ("100.100.100.200", "100.64.0.0/10"),
            ("192.0.0.192", "192.0.0.0/24"),
            ("168.63.129.16", "168.0.0.0/8"),
            ("fd00:ec2::254", "fd00::/8"),
            ("fd20:ce::254", "fd00::/8"),
            ("fe80::a9fe:a9fe", "fe80::/10"),
            ("::ffff:169.254.169.254", "169.254.0.0/16"),
        ];
        for (address, wide) in table {
            assert_eq!(kind(address, &[]), Some(METADATA), "{address}");
            assert_eq!(
                kind(address, &[wide, "0.0.0.0/0", "::/0"]),
                Some(METADATA),
                "{address}"
            );
        }
        assert_eq!(kind("169.254.169.254", &["169.254.169.254/32"]), None);
        assert_eq!(kind("fd00:ec2::254", &["fd00:ec2::254"]), None);
        // NAT64 reaches the same server.
        assert_eq!(
            kind("64:ff9b::a9fe:a9fe", &["64:ff9b::/96"]),
            Some(METADATA)
        );
    }

    #[test]
    fn a_listed_network_is_dialled_and_nothing_beside_it() {
        assert_eq!(kind("10.1.2.3", &["10.1.0.0/16"]), None);
        assert_eq!(kind("10.2.2.3", &["10.1.0.0/16"]), Some("private"));
        assert_eq!(kind("::ffff:10.1.2.3", &["10.1.0.0/16"]), None);
        assert_eq!(kind("fd12::1", &["fd12::/16"]), None);
        for never in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1"] {
            assert!(kind(never, &["0.0.0.0/0", "::/0"]).is_some(), "{never}");
        }
    }

    #[test]
    fn an_unclear_network_lists_nothing() {
        let bad = [
            "10.1.0.0/8",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "10.0.0",
            "",
            "/8",
            "010.0.0.0/8",
            "10.0.0.0/8 ",
            "::ffff:10.0.0.0/104",
            "fd00::/129",
            "10.0.0.0/8/8",
        ];
        for text in bad {
            assert_eq!(Network::parse(text), None, "{text}");
        }
        assert!(
            Network::parse("0.0.0.0/0")
                .unwrap()
                .contains("1.2.3.4".parse().unwrap())
        );
        assert!(
            !Network::parse("0.0.0.0/0")
                .unwrap()
                .contains("::1".parse().unwrap())
        );
    }
}
