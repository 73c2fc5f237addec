//! Rewrites a compiled list so that a call's rules are found by binary search over call numbers.
//!
//! `seccompiler` compares the number with each call of the list, one after the other. The kernel
//! walks that chain for every number there is whenever a filter is installed, to learn which calls
//! it always allows (`seccomp_cache_prepare()`, `kernel/seccomp.c`), and at each call that depends
//! on its arguments. What is done about a call stays what `seccompiler` made of its rules; only the
//! way there is another.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use libc::sock_filter;

use super::bpf::{AND, AT_LEAST, EQUAL, JUMP, LOAD, MORE, RETURN};
use super::filter::NUMBER_AT;

/// Instructions with which `seccompiler` checks the ABI; whoever uses what is made here has done
/// that before.
const ABI: [u16; 3] = [LOAD, EQUAL, RETURN];

/// What is done about a call, as instructions that no jump leaves: they can stand anywhere.
type Body = Vec<sock_filter>;

/// The same list as `linear`, a program of `seccompiler`, for a place where the ABI is known to be
/// the list's and the number is loaded.
///
/// # Errors
/// Fails where `linear` is not built as `seccompiler` 0.5 builds its programs.
pub(super) fn searched(linear: &[sock_filter]) -> io::Result<Vec<sock_filter>> {
    let bodies = Bodies::read(linear)?;
    tree(&bodies.intervals())
}

/// A list taken apart.
struct Bodies {
    by_number: BTreeMap<u32, Body>,
    otherwise: Body,
}

impl Bodies {
    fn read(linear: &[sock_filter]) -> io::Result<Self> {
        let (abi, rest) = linear.split_at_checked(ABI.len()).ok_or_else(strange)?;
        if !abi.iter().map(|line| line.code).eq(ABI) {
            return Err(strange());
        }
        let mut by_number = BTreeMap::new();
        let mut rest = match rest {
            [first, rest @ ..] if first.code == LOAD && first.k == NUMBER_AT => rest,
            // No rules: nothing but an answer.
            rest => rest,
        };
        // `number == k ? the next line : the one after it`, which leads to the next call's.
        while let [is, body @ ..] = rest
            && (is.code, is.jt, is.jf) == (EQUAL, 0, 1)
        {
            let next = lands(body, 1)?;
            let (body, after) = body.split_at_checked(next).ok_or_else(strange)?;
            // The first of two would win.
            if by_number.insert(is.k, closed(body)?).is_some() {
                return Err(strange());
            }
            rest = after;
        }
        Ok(Self {
            by_number,
            otherwise: closed(rest)?,
        })
    }

    /// What is done about the numbers from each of these on, up to the next; the first is 0.
    fn intervals(&self) -> Vec<(u32, &Body)> {
        let mut all: Vec<(u32, &Body)> = vec![(0, &self.otherwise)];
        let mut add = |from: u32, body| {
            while all.last().is_some_and(|(last, _)| *last >= from) {
                all.pop();
            }
            if all.last().is_none_or(|(_, last)| *last != body) {
                all.push((from, body));
            }
        };
        for (number, body) in &self.by_number {
            add(*number, body);
            if let Some(next) = number.checked_add(1) {
                add(next, &self.otherwise);
            }
        }
        all
    }
}

fn strange() -> io::Error {
    io::Error::other("a compiled list is not built as expected")
}

/// Where one arrives who goes to line `at`: unconditional jumps are followed. Jumps lead forward
/// only, so that this ends.
fn lands(body: &[sock_filter], mut at: usize) -> io::Result<usize> {
    while let Some(line) = body.get(at)
        && line.code == JUMP
    {
        at = after(at, line.k)?;
    }
    Ok(at)
}

/// The line that a jump of `by` at line `at` leads to.
fn after(at: usize, by: impl TryInto<usize>) -> io::Result<usize> {
    let by = by.try_into().map_err(|_| strange())?;
    at.checked_add(1)
        .and_then(|next| next.checked_add(by))
        .ok_or_else(strange)
}

/// `body` without what is never reached and without jumps to jumps, checked to be left by answers
/// only.
fn closed(body: &[sock_filter]) -> io::Result<Body> {
    let mut reached = BTreeSet::from([lands(body, 0)?]);
    let mut ways: Vec<(sock_filter, Option<[usize; 2]>)> = Vec::new();
    let mut lines_at: Vec<usize> = Vec::new();
    // Whoever leads to a line stands before it, so that one pass finds all.
    for (at, line) in body.iter().enumerate() {
        if !reached.contains(&at) {
            continue;
        }
        let ways_on = match line.code {
            RETURN => None,
            LOAD | AND => Some([lands(body, after(at, 0_u8)?)?; 2]),
            EQUAL | MORE | AT_LEAST => Some([
                lands(body, after(at, line.jt)?)?,
                lands(body, after(at, line.jf)?)?,
            ]),
            _ => return Err(strange()),
        };
        reached.extend(ways_on.into_iter().flatten());
        ways.push((*line, ways_on));
        lines_at.push(at);
    }
    if reached.last().is_none_or(|last| *last >= body.len()) {
        return Err(strange());
    }
    let mut whole = Backwards::default();
    for (at, (line, ways)) in lines_at.into_iter().zip(ways).rev() {
        whole.add(at, line, ways)?;
    }
    whole.lines.reverse();
    Ok(whole.lines)
}

/// A body that is put together from its end: what is jumped to has its place already.
#[derive(Default)]
struct Backwards {
    lines: Vec<sock_filter>,
    /// Of a line of the original: how many lines there are from it to the end.
    places: BTreeMap<usize, usize>,
}

impl Backwards {
    /// Puts `line`, which was number `at`, before all others; it leads to these where it is met and
    /// where it is not, or is an answer.
    fn add(
        &mut self,
        at: usize,
        mut line: sock_filter,
        ways: Option<[usize; 2]>,
    ) -> io::Result<()> {
        if let Some([met, not]) = ways {
            let (met, not) = (self.distance(met)?, self.distance(not)?);
            match line.code {
                // These have no jump of their own.
                LOAD | AND if met > 0 => self.lines.push(jump(met)?),
                LOAD | AND => {}
                _ => (line.jt, line.jf) = (short(met)?, short(not)?),
            }
        }
        self.lines.push(line);
        self.places.insert(at, self.lines.len());
        Ok(())
    }

    /// Lines between what is put before all others next and the line that was number `to`.
    fn distance(&self, to: usize) -> io::Result<usize> {
        let place = self.places.get(&to).ok_or_else(strange)?;
        self.lines.len().checked_sub(*place).ok_or_else(strange)
    }
}

/// The way of a conditional jump, which has 8 bits for it.
fn short(way: usize) -> io::Result<u8> {
    u8::try_from(way).map_err(|_| strange())
}

/// An unconditional jump, which has 32.
fn jump(way: usize) -> io::Result<sock_filter> {
    let k = u32::try_from(way).map_err(|_| strange())?;
    Ok(line(JUMP, 0, 0, k))
}

fn line(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Finds the interval that a number is in by halves.
fn tree(intervals: &[(u32, &Body)]) -> io::Result<Vec<sock_filter>> {
    let (low, high) = intervals.split_at(intervals.len() / 2);
    let Some((from, first)) = high.first() else {
        return Err(strange());
    };
    if low.is_empty() {
        return Ok((*first).clone());
    }
    let (low, high) = (tree(low)?, tree(high)?);
    let mut lines = match u8::try_from(low.len()) {
        Ok(way) => vec![line(AT_LEAST, way, 0, *from)],
        Err(_) => vec![line(AT_LEAST, 0, 1, *from), jump(low.len())?],
    };
    lines.extend(low);
    lines.extend(high);
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOW: sock_filter = RETURNS[0];
    const REFUSE: sock_filter = RETURNS[1];
    const RETURNS: [sock_filter; 2] = [
        sock_filter {
            code: RETURN,
            jt: 0,
            jf: 0,
            k: 1,
        },
        sock_filter {
            code: RETURN,
            jt: 0,
            jf: 0,
            k: 2,
        },
    ];

    #[test]
    fn what_is_never_reached_is_gone_and_jumps_end_where_they_led() {
        let first_argument = 16;
        let body = [
            line(JUMP, 0, 0, 1),
            line(JUMP, 0, 0, 7),
            line(LOAD, 0, 0, first_argument),
            line(JUMP, 0, 0, 1),
            REFUSE,
            line(EQUAL, 0, 1, 5),
            ALLOW,
            line(JUMP, 0, 0, 0),
            REFUSE,
        ];
        let expected = [
            line(LOAD, 0, 0, first_argument),
            line(EQUAL, 0, 1, 5),
            ALLOW,
            REFUSE,
        ];
        assert_eq!(closed(&body).unwrap(), expected);
        // A load that does not lead to the next line that is left.
        let body = [
            line(EQUAL, 0, 2, 5),
            line(LOAD, 0, 0, first_argument),
            line(JUMP, 0, 0, 1),
            ALLOW,
            REFUSE,
        ];
        let expected = [
            line(EQUAL, 0, 2, 5),
            line(LOAD, 0, 0, first_argument),
            line(JUMP, 0, 0, 1),
            ALLOW,
            REFUSE,
        ];
        assert_eq!(closed(&body).unwrap(), expected);
    }

    #[test]
    fn what_is_left_otherwise_than_by_an_answer_is_no_body() {
        for body in [
            &[][..],
            &[line(LOAD, 0, 0, 16)],
            &[line(JUMP, 0, 0, 3), ALLOW],
            &[line(EQUAL, 0, 9, 5), ALLOW],
            &[line(0x87, 0, 0, 0), ALLOW],
        ] {
            assert!(closed(body).is_err(), "{body:?}");
        }
        let abi = [line(LOAD, 0, 0, 4), line(EQUAL, 1, 0, 9), REFUSE];
        let number = line(LOAD, 0, 0, 0);
        let twice = [line(EQUAL, 0, 1, 5), ALLOW, line(JUMP, 0, 0, 0)].repeat(2);
        for rest in [&[][..], &[number], &[line(EQUAL, 0, 1, 5), ALLOW], &twice] {
            assert!(searched(&[&abi, rest].concat()).is_err(), "{rest:?}");
        }
        assert!(searched(&[number, number, number, ALLOW]).is_err());
        assert_eq!(searched(&[&abi[..], &[REFUSE]].concat()).unwrap(), [REFUSE]);
    }

    /// Every number leads to its own body, with a way of one byte or of four.
    #[test]
    fn each_number_leads_to_its_own_rules() {
        for lines in [1, 40] {
            let body = |answer: u32| {
                let check = [line(LOAD, 0, 0, 16), line(EQUAL, 0, 1, 7), ALLOW].repeat(lines);
                let mut body = check[..lines * 3 - 3].to_vec();
                body.push(line(RETURN, 0, 0, answer));
                body
            };
            let otherwise = vec![REFUSE];
            let by_number: BTreeMap<u32, Body> = [0, 1, 5, 6, 7, 300, u32::MAX]
                .map(|number| (number, body(number ^ 0xff)))
                .into();
            let bodies = Bodies {
                by_number,
                otherwise,
            };
            let mut program = vec![line(LOAD, 0, 0, NUMBER_AT)];
            program.extend(tree(&bodies.intervals()).unwrap());
            for number in (0..400).chain([u32::MAX - 1, u32::MAX]) {
                let known = bodies.by_number.contains_key(&number);
                let expected = if known { number ^ 0xff } else { 2 };
                let said = super::super::bpf::run(&program, 0, number, [0; 6]);
                assert_eq!(said, Some(expected), "{number}");
            }
        }
    }
}
