//! Lines out of a stream of bytes, with an end to how long they may be.

/// What [`Lines::take`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// A line without its newline.
    Whole(Vec<u8>),
    /// A line went over the limit; what is left of it is passed over in silence.
    TooLong,
}

/// Splits a stream at `\n`. Holds at most one unfinished line.
#[derive(Debug)]
pub struct Lines {
    unfinished: Vec<u8>,
    max: usize,
    passing_over: bool,
}

impl Lines {
    /// Lines of at most `max` bytes.
    pub fn new(max: usize) -> Self {
        Self {
            unfinished: Vec::new(),
            max,
            passing_over: false,
        }
    }

    /// Takes bytes up to the end of the first line in `chunk`; gives that line, if it ended or went
    /// over the limit, and what follows it.
    pub fn take<'a>(&mut self, chunk: &'a [u8]) -> (Option<Line>, &'a [u8]) {
        let (part, rest, ends) = match chunk.iter().position(|byte| *byte == b'\n') {
            Some(place) => {
                let (part, rest) = chunk.split_at_checked(place).unwrap_or((chunk, &[]));
                (part, rest.get(1..).unwrap_or_default(), true)
            }
            None => (chunk, &[][..], false),
        };
        if self.passing_over {
            self.passing_over = !ends;
            return (None, rest);
        }
        if self.unfinished.len().saturating_add(part.len()) > self.max {
            self.unfinished = Vec::new();
            self.passing_over = !ends;
            return (Some(Line::TooLong), rest);
        }
        self.unfinished.extend_from_slice(part);
        (
            ends.then(|| Line::Whole(std::mem::take(&mut self.unfinished))),
            rest,
        )
    }

    /// Bytes held of a line that has not ended.
    pub fn held(&self) -> usize {
        self.unfinished.len()
    }

    /// Bytes have come that are no line yet.
    pub fn is_unfinished(&self) -> bool {
        self.passing_over || !self.unfinished.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(lines: &mut Lines, mut chunk: &[u8]) -> Vec<Line> {
        let mut found = Vec::new();
        while !chunk.is_empty() {
            let (line, rest) = lines.take(chunk);
            found.extend(line);
            chunk = rest;
        }
        found
    }

    #[test]
    fn a_long_line_is_told_at_once_and_passed_over() {
        let mut lines = Lines::new(4);
        assert_eq!(
            all(&mut lines, b"abcd\nab"),
            [Line::Whole(b"abcd".to_vec())]
        );
        assert_eq!(all(&mut lines, b"cde"), [Line::TooLong]);
        assert!(lines.is_unfinished());
        assert_eq!(
            all(&mut lines, b"fghijk\n\nx\nabcde\ny\n"),
            [
                Line::Whole(b"".to_vec()),
                Line::Whole(b"x".to_vec()),
                Line::TooLong,
                Line::Whole(b"y".to_vec()),
            ]
        );
        assert!(!lines.is_unfinished());
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(text in "[ab\n]{0,64}", cut in 1_usize..9) {
            let whole = all(&mut Lines::new(5), text.as_bytes());
            let mut lines = Lines::new(5);
            let parts: Vec<Line> =
                text.as_bytes().chunks(cut).flat_map(|part| all(&mut lines, part)).collect();
            prop_assert_eq!(whole, parts);
        }
    }
}
