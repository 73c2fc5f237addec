//! What a program file is, as far as a jail has to know before it runs: its headers, never more.
//! Sources: elf(5), the ELF-64 object file format, and `fs/binfmt_elf.c` and `fs/binfmt_script.c` of
//! the kernel.

/// Bytes at the beginning of a program that hold all that is looked at.
pub const HEAD: usize = 64 << 10;

/// Length of the file header.
const HEADER: usize = 64;
/// Length of one program header.
const SEGMENT: usize = 56;
/// Segment: the path of the dynamic loader.
const PT_INTERP: u32 = 3;
/// Segment: loaded into memory.
const PT_LOAD: u32 = 1;
/// Longest path of a loader or an interpreter.
const PATH_MAX: usize = 4096;

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// It needs nothing but the kernel.
    Static,
    /// It wants this dynamic loader, and libraries that the loader finds.
    Dynamic(String),
    /// The kernel starts this interpreter with it.
    Script(String),
    /// It cannot run here: why.
    Foreign(&'static str),
}

impl Program {
    /// Reads the first [`HEAD`] bytes of a file, or all of a shorter one.
    pub fn of(head: &[u8]) -> Self {
        match head {
            [b'#', b'!', rest @ ..] => script(rest),
            [0x7f, b'E', b'L', b'F', ..] => {
                elf(head).unwrap_or(Self::Foreign("its headers are cut"))
            }
            [] => Self::Foreign("it is empty"),
            _ => Self::Foreign("it is neither an ELF program nor a script with `#!`"),
        }
    }
}

fn script(rest: &[u8]) -> Program {
    let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | 0);
    let start = line
        .iter()
        .position(|byte| !blank(byte))
        .unwrap_or(line.len());
    let word = line.get(start..).unwrap_or_default();
    let end = word.iter().position(blank).unwrap_or(word.len());
    match path(word.get(..end).unwrap_or_default()) {
        Some(path) => Program::Script(path),
        None => Program::Foreign("its `#!` line names no interpreter"),
    }
}

/// `None` where a header lies beyond what there is.
fn elf(head: &[u8]) -> Option<Program> {
    let header = head.get(..HEADER)?;
    let (class, order) = (*header.get(4)?, *header.get(5)?);
    let kind = half(header, 16)?;
    let machine = half(header, 18)?;
    if (class, order, machine) != (2, 1, 62) {
        return Some(Program::Foreign("it is no program for 64-bit x86"));
    }
    if kind != 2 && kind != 3 {
        return Some(Program::Foreign("it is an ELF file, but no program"));
    }
    let (offset, size, number) = (long(header, 32)?, half(header, 54)?, half(header, 56)?);
    if usize::from(size) != SEGMENT || number == 0 {
        return Some(Program::Foreign("it has no segments, so it is no program"));
    }
    let mut loads = false;
    for index in 0..usize::from(number) {
        let at = usize::try_from(offset)
            .ok()?
            .checked_add(index.checked_mul(SEGMENT)?)?;
        let segment = head.get(at..at.checked_add(SEGMENT)?)?;
        match word(segment, 0)? {
            PT_INTERP => {
                let at = usize::try_from(long(segment, 8)?).ok()?;
                let len = usize::try_from(long(segment, 32)?).ok()?;
                if len > PATH_MAX {
                    return Some(Program::Foreign("the path of its loader is too long"));
                }
                let text = head.get(at..at.checked_add(len)?)?;
                let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
                return Some(match path(text) {
                    Some(path) => Program::Dynamic(path),
                    None => Program::Foreign("the path of its loader is none"),
                });
            }
            PT_LOAD => loads = true,
            _ => {}
        }
    }
    Some(match loads {
        true => Program::Static,
        false => Program::Foreign("it loads nothing, so it is no program"),
    })
}

fn path(bytes: &[u8]) -> Option<String> {
    let text = str::from_utf8(bytes).ok()?;
    (!text.is_empty() && text.len() <= PATH_MAX).then(|| text.to_owned())
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let piece = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_le_bytes(*piece))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let piece = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*piece))
}

fn long(bytes: &[u8], at: usize) -> Option<u64> {
    let piece = bytes.get(at..)?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*piece))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of these segments: kind, offset and length in the file.
    fn program(kind: u16, machine: u16, segments: &[(u32, u64, u64)], tail: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[16..18].copy_from_slice(&kind.to_le_bytes());
        bytes[18..20].copy_from_slice(&machine.to_le_bytes());
        bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
        bytes[56..58].copy_from_slice(&u16::try_from(segments.len()).unwrap().to_le_bytes());
        for (kind, offset, len) in segments {
            let mut segment = vec![0; SEGMENT];
            segment[..4].copy_from_slice(&kind.to_le_bytes());
            segment[8..16].copy_from_slice(&offset.to_le_bytes());
            segment[32..40].copy_from_slice(&len.to_le_bytes());
            bytes.append(&mut segment);
        }
        bytes.extend_from_slice(tail);
        bytes
    }

    #[test]
    fn programs_are_told_apart() {
        let plain = program(2, 62, &[(1, 0, 0)], b"");
        assert_eq!(Program::of(&plain), Program::Static);
        assert_eq!(
            Program::of(&program(3, 62, &[(6, 0, 0), (1, 0, 0)], b"")),
            Program::Static
        );
        let at = u64::try_from(HEADER + 2 * SEGMENT).unwrap();
        let dynamic = program(3, 62, &[(1, 0, 0), (3, at, 10)], b"/lib/ld.so\0");
        assert_eq!(Program::of(&dynamic), Program::Dynamic("/lib/ld.so".into()));
        let script = |text: &str| Program::of(text.as_bytes());
        assert_eq!(
            script("#! /bin/sh -e\nx"),
            Program::Script("/bin/sh".into())
        );
        assert_eq!(script("#!/bin/sh"), Program::Script("/bin/sh".into()));
        for bad in [
            program(1, 62, &[(1, 0, 0)], b""),
            program(2, 183, &[(1, 0, 0)], b""),
            program(2, 62, &[], b""),
            program(2, 62, &[(4, 0, 0)], b""),
            program(2, 62, &[(3, u64::MAX, 8)], b""),
            program(2, 62, &[(3, 0, u64::MAX)], b""),
            plain[..HEADER + 8].to_vec(),
            b"\x7fELF".to_vec(),
            b"#!\n/bin/sh".to_vec(),
            b"MZ".to_vec(),
            Vec::new(),
        ] {
            assert!(matches!(Program::of(&bad), Program::Foreign(_)), "{bad:?}");
        }
    }

    #[test]
    fn programs_of_this_host_are_what_they_are() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        let own = Program::of(&own[..HEAD.min(own.len())]);
        assert!(
            matches!(own, Program::Static | Program::Dynamic(_)),
            "{own:?}"
        );
    }
}
