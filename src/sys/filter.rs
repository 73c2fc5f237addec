//! seccomp filters: compiled from JSON by `seccompiler`, with a head of our own for what its rules
//! cannot say, and rearranged so that a call is found by binary search.

use std::io;

use seccompiler::{BpfProgram, TargetArch, compile_from_json};
use serde_json::Value;

use super::bpf::{AT_LEAST, EQUAL, LINES_MAX, LOAD, RETURN};
use super::search::searched;

/// System calls no process of Keepgate makes; an answer of `EPERM` is enough here.
const SUPERVISOR: &str = include_str!("../jail/seccomp/supervisor.json");

/// Bit of system call numbers of the x32 ABI.
pub(super) const X32: u32 = 0x4000_0000;
/// `AUDIT_ARCH_X86_64`
pub(super) const ARCH: u32 = 0xc000_003e;
/// Bytes of one instruction.
const LINE: usize = 8;
/// Offsets in `struct seccomp_data`.
pub(super) const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;

/// A compiled filter.
#[derive(Clone)]
pub struct Filter(pub(super) Vec<libc::sock_filter>);

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Filter({} instructions)", self.0.len())
    }
}

/// What `clone3` gets, whose flags no filter can see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clone3 {
    /// `ENOSYS`, after which the C library calls `clone`, whose flags are checked.
    Missing,
    /// What the rules say.
    Ruled,
}

impl Filter {
    /// Compiles the rules of several JSON texts (one filter each) as one; the actions are those of
    /// the first. Another ABI's calls (32-bit, x32) kill the process.
    ///
    /// # Errors
    /// Fails where a text is not what `seccompiler` reads, or too long for the kernel (4096
    /// instructions).
    pub fn compile(texts: &[&str], clone3: Clone3) -> io::Result<Self> {
        let mut lines = head(clone3, texts);
        lines.extend(searched(&linear(texts)?)?);
        match lines.len() {
            0..=LINES_MAX => Ok(Self(lines)),
            _ => Err(io::Error::other("a filter of too many rules")),
        }
    }

    /// Its instructions as bytes, to be handed to another process: `struct sock_filter` of
    /// `linux/filter.h`, little-endian, one after the other.
    pub fn bytes(&self) -> Vec<u8> {
        let line = |i: &libc::sock_filter| {
            let ([a, b], [c, d, e, f]) = (i.code.to_le_bytes(), i.k.to_le_bytes());
            [a, b, i.jt, i.jf, c, d, e, f]
        };
        self.0.iter().flat_map(line).collect()
    }

    /// A filter from [`Filter::bytes`] of another process; the kernel checks it once more. Bytes
    /// after the last whole instruction mean nothing.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let line = |&[a, b, jt, jf, c, d, e, f]: &[u8; LINE]| libc::sock_filter {
            code: u16::from_le_bytes([a, b]),
            jt,
            jf,
            k: u32::from_le_bytes([c, d, e, f]),
        };
        Self(bytes.as_chunks().0.iter().map(line).collect())
    }

    /// As [`Filter::compile`], but a call that no rule allows waits until [`super::notify`] answers
    /// it. Other ABIs' calls are killed and `clone3` is answered as before, without a question.
    ///
    /// What another filter of the same process refuses is refused there: an errno outranks a
    /// question (`seccomp(2)`), and nobody is told.
    ///
    /// # Errors
    /// As [`Filter::compile`], and where a text answers something else than an errno: what it lets
    /// pass must not depend on who listens.
    pub fn observed(texts: &[&str], clone3: Clone3) -> io::Result<Self> {
        let Self(mut lines) = Self::compile(texts, clone3)?;
        let first = texts.first().copied().unwrap_or_default();
        let mut value: Value = serde_json::from_str(first)?;
        let filter = value
            .as_object_mut()
            .and_then(|map| map.values_mut().next());
        let answer =
            filter.and_then(|filter| filter.get("mismatch_action")?.get("errno")?.as_u64());
        let errno = answer
            .and_then(|errno| u32::try_from(errno).ok())
            .ok_or_else(|| io::Error::other("only a list that answers an errno can be observed"))?;
        let refusal = libc::SECCOMP_RET_ERRNO | (errno & libc::SECCOMP_RET_DATA);
        for line in lines.iter_mut().skip(head(clone3, texts).len()) {
            if line.code == RETURN && line.k == refusal {
                line.k = libc::SECCOMP_RET_USER_NOTIF;
            }
        }
        Ok(Self(lines))
    }

    /// What the supervisor, and so every role and jail, is denied.
    ///
    /// # Errors
    /// As [`Filter::compile`].
    pub fn supervisor() -> io::Result<Self> {
        Self::compile(&[SUPERVISOR], Clone3::Ruled)
    }

    /// Adds this filter to the calling thread and those it starts; `no_new_privs` must be set.
    ///
    /// # Errors
    /// What seccomp(2) says.
    pub fn install(&self) -> io::Result<()> {
        super::raw::seccomp(&self.0)?;
        Ok(())
    }

    /// What this filter answers to a call of this ABI, without making it.
    pub fn answer(&self, number: u32, arguments: [u64; 6]) -> Verdict {
        super::bpf::run(&self.0, ARCH, number, arguments).map_or(Verdict::Kill, Verdict::of)
    }
}

/// What a filter answers to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is made.
    Allow,
    /// It fails with this errno.
    Errno(u16),
    /// It waits for an answer ([`Filter::observed`]).
    Ask,
    /// It ends the process.
    Kill,
}

impl Verdict {
    /// Reads `SECCOMP_RET_*`. Actions that no list of ours has count as a kill, as the kernel does
    /// with those it does not know.
    fn of(value: u32) -> Self {
        match value & libc::SECCOMP_RET_ACTION_FULL {
            libc::SECCOMP_RET_ALLOW => Self::Allow,
            libc::SECCOMP_RET_ERRNO => {
                Self::Errno(u16::try_from(value & libc::SECCOMP_RET_DATA).unwrap_or(u16::MAX))
            }
            libc::SECCOMP_RET_USER_NOTIF => Self::Ask,
            _ => Self::Kill,
        }
    }
}

fn rules(value: &mut Value) -> Option<&mut Vec<Value>> {
    value
        .as_object_mut()?
        .values_mut()
        .next()?
        .get_mut("filter")?
        .as_array_mut()
}

fn extend(whole: &mut Value, mut more: Value) -> io::Result<()> {
    let missing = || io::Error::other("a text without rules");
    let more = rules(&mut more).ok_or_else(missing)?;
    let all = rules(whole).ok_or_else(missing)?;
    all.append(more);
    // `seccompiler` would drop the wider of two rules where only one of them has conditions.
    let call = |rule: &Value| rule.get("syscall").cloned();
    let whole: Vec<Value> = all
        .iter()
        .filter(|rule| !narrow(rule))
        .filter_map(call)
        .collect();
    all.retain(|rule| !narrow(rule) || !call(rule).is_some_and(|call| whole.contains(&call)));
    Ok(())
}

/// The rule has conditions.
fn narrow(rule: &Value) -> bool {
    rule.get("args").is_some()
}

/// Instructions before the compiled ones: jumps are relative, so both can stand in one program. They
/// leave the call's number loaded.
pub(super) fn head(clone3: Clone3, texts: &[&str]) -> Vec<libc::sock_filter> {
    let line = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let clone3_number = u32::try_from(libc::SYS_clone3).unwrap_or(u32::MAX);
    let missing = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    let mut lines = vec![
        line(LOAD, 0, 0, ARCH_AT),
        line(EQUAL, 1, 0, ARCH),
        line(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
        line(LOAD, 0, 0, NUMBER_AT),
        line(AT_LEAST, 0, 1, X32),
        line(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ];
    if clone3 == Clone3::Missing {
        lines.push(line(EQUAL, 0, 1, clone3_number));
        lines.push(line(RETURN, 0, 0, missing));
    }
    // Lists that do not name it: allocators ask often and copy where they are told no, so nobody
    // who observes a jail should be asked. Moved, a stack keeps growing where no limit counts it.
    if !texts.iter().any(|text| text.contains("\"mremap\"")) {
        let mremap = u32::try_from(libc::SYS_mremap).unwrap_or(u32::MAX);
        let short = libc::SECCOMP_RET_ERRNO | libc::ENOMEM.cast_unsigned();
        lines.push(line(EQUAL, 0, 1, mremap));
        lines.push(line(RETURN, 0, 0, short));
    }
    lines
}

/// The rules of several texts as one program, as `seccompiler` makes it: one call after the other.
pub(super) fn linear(texts: &[&str]) -> io::Result<Vec<libc::sock_filter>> {
    let mut whole: Option<Value> = None;
    for text in texts {
        let value: Value = serde_json::from_str(text)?;
        match &mut whole {
            None => whole = Some(value),
            Some(whole) => extend(whole, value)?,
        }
    }
    let text = serde_json::to_vec(&whole)?;
    let programs = compile_from_json(&text[..], TargetArch::x86_64).map_err(io::Error::other)?;
    let program = programs
        .into_values()
        .next()
        .ok_or_else(|| io::Error::other("a text without filter"))?;
    Ok(ours(&program).collect())
}

fn ours(program: &BpfProgram) -> impl Iterator<Item = libc::sock_filter> {
    program.iter().map(|i| libc::sock_filter {
        code: i.code,
        jt: i.jt,
        jf: i.jf,
        k: i.k,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_joined_and_faults_are_errors() {
        let one = Filter::compile(&[SUPERVISOR], Clone3::Missing).unwrap();
        let two = Filter::compile(&[SUPERVISOR, SUPERVISOR], Clone3::Ruled).unwrap();
        assert!(!one.0.is_empty() && !two.0.is_empty());
        assert!(Filter::compile(&["{}"], Clone3::Ruled).is_err());
        assert!(Filter::compile(&["no"], Clone3::Ruled).is_err());
    }

    #[test]
    fn a_list_too_long_for_the_kernel_is_refused() {
        let rules = |count: usize| {
            let rule = |value: usize| {
                format!(
                    r#"{{"syscall": "ioctl", "args": [{{"index": 1, "type": "dword", "op": "eq", "val": {value}}}]}}"#
                )
            };
            let rules: Vec<String> = (0..count).map(rule).collect();
            format!(
                r#"{{"x": {{"mismatch_action": {{"errno": 1}}, "match_action": "allow", "filter": [{}]}}}}"#,
                rules.join(",")
            )
        };
        assert!(Filter::compile(&[&rules(500)], Clone3::Missing).is_ok());
        assert!(Filter::compile(&[&rules(1500)], Clone3::Missing).is_err());
    }

    #[test]
    fn a_filter_is_the_same_after_its_way_as_bytes() {
        let filter = Filter::compile(&[SUPERVISOR], Clone3::Ruled).unwrap();
        let bytes = filter.bytes();
        let same = Filter::from_bytes(&bytes);
        assert_eq!(bytes.len(), filter.0.len() * LINE);
        assert!(filter.0.len() > 100 && filter.0 == same.0);
        assert_eq!(Filter::from_bytes(&bytes[..LINE + 7]).0, filter.0[..1]);
    }

    #[test]
    fn an_observed_list_asks_where_it_refused_and_changes_nothing_else() {
        const LIST: &str = r#"{"x": {"mismatch_action": {"errno": 1}, "match_action": "allow", "filter": [
            {"syscall": "read"},
            {"syscall": "socket", "args": [{"index": 0, "type": "dword", "op": "eq", "val": 1}]}]}}"#;
        let plain = Filter::compile(&[LIST], Clone3::Missing).unwrap();
        let observed = Filter::observed(&[LIST], Clone3::Missing).unwrap();
        let number = |number: libc::c_long| u32::try_from(number).unwrap();
        for (call, first, before, after) in [
            (libc::SYS_read, 0, Verdict::Allow, Verdict::Allow),
            (libc::SYS_socket, 1, Verdict::Allow, Verdict::Allow),
            (libc::SYS_socket, 2, Verdict::Errno(1), Verdict::Ask),
            (libc::SYS_ptrace, 0, Verdict::Errno(1), Verdict::Ask),
            (libc::SYS_clone3, 0, Verdict::Errno(38), Verdict::Errno(38)),
            (9_999, 0, Verdict::Errno(1), Verdict::Ask),
            (
                libc::SYS_read | 0x4000_0000,
                0,
                Verdict::Kill,
                Verdict::Kill,
            ),
            (0xffff_ffff, 0, Verdict::Kill, Verdict::Kill),
        ] {
            let arguments = [first, 0, 0, 0, 0, 0];
            assert_eq!(plain.answer(number(call), arguments), before, "{call}");
            assert_eq!(observed.answer(number(call), arguments), after, "{call}");
        }
        for open in [
            LIST.replace(r#"{"errno": 1}"#, r#""log""#),
            LIST.replace(r#"{"errno": 1}"#, r#""trap""#),
        ] {
            assert!(Filter::compile(&[&open], Clone3::Ruled).is_ok());
            assert!(Filter::observed(&[&open], Clone3::Ruled).is_err());
        }
    }
}
