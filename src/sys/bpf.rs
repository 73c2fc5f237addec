//! Reads a filter as the kernel does (`net/core/filter.c`, `seccomp_check_filter()`), for the
//! instructions that ours are made of: so that what a list would answer can be told without trying,
//! and tests can ask it about every call there is.

/// Most instructions of a program (`BPF_MAXINSNS`).
pub(super) const LINES_MAX: usize = 4096;

pub(super) const LOAD: u16 = 0x20;
pub(super) const AND: u16 = 0x54;
pub(super) const JUMP: u16 = 0x05;
pub(super) const EQUAL: u16 = 0x15;
pub(super) const MORE: u16 = 0x25;
pub(super) const AT_LEAST: u16 = 0x35;
pub(super) const RETURN: u16 = 0x06;

/// The value `program` returns for a call; `None` where it holds an instruction that is not read
/// here, or runs past its end: the kernel takes no such program.
pub(super) fn run(
    program: &[libc::sock_filter],
    arch: u32,
    number: u32,
    arguments: [u64; 6],
) -> Option<u32> {
    let data = words(arch, number, arguments);
    let (mut at, mut value) = (0_usize, 0_u32);
    for _ in 0..LINES_MAX {
        let line = program.get(at)?;
        let step = |met: bool| usize::from(if met { line.jt } else { line.jf });
        let skip = match line.code {
            LOAD => {
                let offset = usize::try_from(line.k).ok()?;
                value = *data.get(offset / 4).filter(|_| offset.is_multiple_of(4))?;
                0
            }
            AND => {
                value &= line.k;
                0
            }
            JUMP => usize::try_from(line.k).ok()?,
            EQUAL => step(value == line.k),
            MORE => step(value > line.k),
            AT_LEAST => step(value >= line.k),
            RETURN => return Some(line.k),
            _ => return None,
        };
        at = at.checked_add(1)?.checked_add(skip)?;
    }
    None
}

/// `struct seccomp_data` as 32-bit words: number, ABI, instruction pointer, arguments, the low half
/// of each first.
fn words(arch: u32, number: u32, arguments: [u64; 6]) -> [u32; 16] {
    let half = |value: u64| u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0);
    let mut words = [0; 16];
    let halves = arguments
        .iter()
        .flat_map(|value| [half(*value), half(value >> 32)]);
    let all = [number, arch, 0, 0].into_iter().chain(halves);
    for (word, value) in words.iter_mut().zip(all) {
        *word = value;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
        libc::sock_filter { code, jt, jf, k }
    }

    #[test]
    fn words_lie_where_the_kernel_has_them() {
        let arguments = [0x1_0000_0002, 0, 0, 0, 0, 0x5_0000_0006];
        for (offset, value) in [(0, 7), (4, 9), (16, 2), (20, 1), (56, 6), (60, 5)] {
            let program = [
                line(LOAD, 0, 0, offset),
                line(EQUAL, 0, 1, value),
                line(RETURN, 0, 0, 1),
                line(RETURN, 0, 0, 2),
            ];
            assert_eq!(run(&program, 9, 7, arguments), Some(1), "{offset}");
        }
    }

    #[test]
    fn what_no_kernel_takes_has_no_value() {
        let endless = line(JUMP, 0, 0, u32::MAX);
        for program in [
            vec![],
            vec![endless],
            vec![line(LOAD, 0, 0, 64), line(RETURN, 0, 0, 0)],
            vec![line(LOAD, 0, 0, 2), line(RETURN, 0, 0, 0)],
            vec![line(0x87, 0, 0, 0), line(RETURN, 0, 0, 0)],
        ] {
            assert_eq!(run(&program, 0, 0, [0; 6]), None);
        }
    }
}
