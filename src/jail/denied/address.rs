//! Socket addresses (`sockaddr(3type)`) in words.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use super::{Call, Memory, show, words};

/// Most bytes of an address that are read (`sizeof(struct sockaddr_storage)`).
const BYTES_MAX: usize = 128;

/// An address in words; the pointer where nothing can be read there.
pub(super) fn shown(at: u64, len: u32, memory: &dyn Memory) -> String {
    match at {
        0 => "NULL".into(),
        _ => read(at, len, memory).map_or_else(|| show::pointer(at), |bytes| in_words(&bytes)),
    }
}

/// The internet address that argument `index` points to, its length beside it.
pub(super) fn internet(call: Call, index: usize, memory: &dyn Memory) -> Option<SocketAddr> {
    parsed(&read(call.word(index), call.low(index + 1), memory)?)
}

fn parsed(bytes: &[u8]) -> Option<SocketAddr> {
    let port = u16::from_be_bytes(part(bytes, 2)?);
    match i32::from(family(bytes)?) {
        libc::AF_INET => {
            let ip = Ipv4Addr::from(part::<4>(bytes, 4)?);
            Some(SocketAddrV4::new(ip, port).into())
        }
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(part::<16>(bytes, 8)?);
            let scope = part(bytes, 24).map(u32::from_ne_bytes);
            Some(SocketAddrV6::new(ip, port, 0, scope.unwrap_or_default()).into())
        }
        _ => None,
    }
}

fn read(at: u64, len: u32, memory: &dyn Memory) -> Option<Vec<u8>> {
    let mut room = [0; BYTES_MAX];
    let len = usize::try_from(len).unwrap_or(BYTES_MAX).min(BYTES_MAX);
    let got = memory.read(at, room.get_mut(..len)?).min(len);
    let bytes = room.get(..got)?.to_vec();
    family(&bytes).map(|_| bytes)
}

fn family(bytes: &[u8]) -> Option<u16> {
    part(bytes, 0).map(u16::from_ne_bytes)
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn in_words(bytes: &[u8]) -> String {
    let family = family(bytes).unwrap_or_default();
    let number = |at| part(bytes, at).map(u32::from_ne_bytes).unwrap_or_default();
    match i32::from(family) {
        libc::AF_INET | libc::AF_INET6 => parsed(bytes).map_or_else(
            || format!("{} (short)", words::family(u32::from(family))),
            |address| address.to_string(),
        ),
        libc::AF_UNIX => unix(bytes.get(2..).unwrap_or_default()),
        libc::AF_NETLINK => format!("netlink {}", number(4)),
        libc::AF_VSOCK => format!("vsock {}:{}", number(8), number(4)),
        _ => words::family(u32::from(family)),
    }
}

fn unix(path: &[u8]) -> String {
    match path {
        [] => "unix unnamed".into(),
        [0, name @ ..] => format!("unix @{}", show::quoted(name)),
        path => {
            let end = path.iter().position(|byte| *byte == 0);
            let name = path.get(..end.unwrap_or(path.len())).unwrap_or(path);
            format!("unix {}", show::quoted(name))
        }
    }
}
