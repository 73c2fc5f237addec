//! A call as a line of C: names for flags, text for what pointers point to.

use super::words::{self as w, Names};
use super::{ATTEMPT_MAX, Call, Memory, address, cut, shapes};
use crate::sys::calls;
use crate::wire::text::escaped;

/// Most bytes of a path or name that are read; more than an attempt has room for.
const TEXT_MAX: usize = 256;
/// Most bytes of each text that are shown.
const TEXT_SHOWN: usize = 140;

/// How an argument is shown.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// A number with a sign, 32 bits: descriptors, pids, ids.
    Int,
    /// A length or another unsigned number.
    Size,
    /// Bits without names.
    Hex,
    /// An address, or `NULL`.
    Pointer,
    /// Bytes up to NUL, between quotation marks.
    Text,
    /// A directory's descriptor, or `AT_FDCWD`.
    Dir,
    /// Permission bits in octal, with a kind of file before them where one is given.
    Mode,
    /// A number with a name.
    One(Names),
    /// Bits with names.
    All(Names),
    /// A socket's type: a name and flags.
    SocketType,
    /// A protocol, whose names are those of internet families only.
    Protocol,
    /// Flags of `clone`, a signal in the lowest byte.
    CloneFlags,
    /// A socket address whose length is the next argument, which is not shown.
    Address,
    /// A socket option, whose names depend on the level before it.
    SocketOption,
}

use Kind::{
    Address, All, CloneFlags, Dir, Hex, Int, Mode, One, Pointer, Protocol, Size, SocketOption,
    SocketType, Text,
};

/// The call in words, at most [`ATTEMPT_MAX`] bytes.
pub(super) fn attempt(call: Call, memory: &dyn Memory) -> String {
    let Some(name) = calls::name(call.number) else {
        return unknown(call);
    };
    let parts: Vec<String> = match shapes::of(call.number) {
        Some(kinds) => kinds
            .iter()
            .enumerate()
            .map(|(index, kind)| part(call, index, *kind, memory))
            .collect(),
        None => call.arguments.iter().map(|value| number(*value)).collect(),
    };
    cut(format!("{name}({})", parts.join(", ")), ATTEMPT_MAX)
}

fn unknown(call: Call) -> String {
    let arguments: Vec<String> = call.arguments.iter().map(|value| number(*value)).collect();
    format!("syscall {}({})", call.number, arguments.join(", "))
}

fn number(value: u64) -> String {
    match value {
        0..=9 => value.to_string(),
        _ => format!("{value:#x}"),
    }
}

/// An address, or `NULL`.
pub(super) fn pointer(value: u64) -> String {
    match value {
        0 => "NULL".into(),
        _ => format!("{value:#x}"),
    }
}

/// Outside bytes between quotation marks, on one line, and without a way out of them.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let text = escaped(&String::from_utf8_lossy(bytes)).replace('"', "\\\"");
    format!("\"{}\"", cut(text, TEXT_SHOWN))
}

/// Text in the caller's memory, without its end; nothing where it cannot be read.
pub(super) fn text(at: u64, memory: &dyn Memory) -> Option<Vec<u8>> {
    let mut room = [0; TEXT_MAX];
    let got = memory.read(at, &mut room).min(TEXT_MAX);
    let bytes = room.get(..got).filter(|bytes| !bytes.is_empty())?;
    let end = bytes.iter().position(|byte| *byte == 0);
    bytes.get(..end.unwrap_or(got)).map(<[u8]>::to_vec)
}

fn part(call: Call, index: usize, kind: Kind, memory: &dyn Memory) -> String {
    let (low, whole) = (call.low(index), call.word(index));
    let wide = u64::from(low);
    match kind {
        Int => low.cast_signed().to_string(),
        Size => whole.to_string(),
        Hex => number(whole),
        Pointer => pointer(whole),
        Text => match whole {
            0 => "NULL".into(),
            _ => text(whole, memory).map_or_else(|| pointer(whole), |bytes| quoted(&bytes)),
        },
        Dir => match low.cast_signed() {
            libc::AT_FDCWD => "AT_FDCWD".into(),
            fd => fd.to_string(),
        },
        Mode => mode(low & 0o177_777),
        One(names) => w::one(names, wide).unwrap_or_else(|| number(wide)),
        All(names) => w::all(names, whole),
        SocketType => socket_kind(wide),
        Protocol => protocol(call, wide),
        CloneFlags => clone(whole),
        Address => address::shown(whole, call.low(index.saturating_add(1)), memory),
        SocketOption => option(call, wide),
    }
}

fn mode(mode: u32) -> String {
    let (kind, bits) = (mode & libc::S_IFMT, mode & !libc::S_IFMT);
    match kind {
        0 => format!("{bits:05o}"),
        _ => {
            let kind = u64::from(kind);
            let name = w::one(w::FILE_KINDS, kind).unwrap_or_else(|| format!("0{kind:o}"));
            format!("{name}|{bits:04o}")
        }
    }
}

fn socket_kind(value: u64) -> String {
    let kind = value & 15;
    let mut shown = w::one(w::SOCKET_KINDS, kind).unwrap_or_else(|| number(kind));
    if value & !15 != 0 {
        shown.push('|');
        shown.push_str(&w::all(w::SOCKET_FLAGS, value & !15));
    }
    shown
}

fn protocol(call: Call, value: u64) -> String {
    let internet = matches!(call.low(0).cast_signed(), libc::AF_INET | libc::AF_INET6);
    let name = if internet {
        w::one(w::PROTOCOLS, value)
    } else {
        None
    };
    name.unwrap_or_else(|| value.to_string())
}

fn clone(value: u64) -> String {
    let (signal, flags) = (value & 0xff, value & !0xff);
    let signal = match signal {
        0 => None,
        signal => Some(w::one(w::SIGNALS, signal).unwrap_or_else(|| number(signal))),
    };
    match (flags, signal) {
        (0, signal) => signal.unwrap_or_else(|| "0".into()),
        (flags, None) => w::all(w::CLONE_FLAGS, flags),
        (flags, Some(signal)) => format!("{}|{signal}", w::all(w::CLONE_FLAGS, flags)),
    }
}

fn option(call: Call, value: u64) -> String {
    let name = match call.low(1).cast_signed() {
        libc::SOL_SOCKET => w::one(w::SOCKET_OPTIONS, value),
        libc::IPPROTO_TCP => w::one(w::TCP_OPTIONS, value),
        _ => None,
    };
    name.unwrap_or_else(|| value.to_string())
}
