//! A response body as a part of a JSON result: as text where it is one, otherwise as base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Text may grow by escapes to so many bytes; beyond, base64 is shorter and bounded.
const ESCAPED_MAX: usize = 3 << 20;

/// The name of the result's field, its content, and how many bytes of the body are in it. In a cut
/// body an unfinished character at the end is left out of the text.
pub(super) fn show(body: &[u8], cut: bool) -> (&'static str, String, usize) {
    match text(body, cut).filter(|text| escaped_len(text) <= ESCAPED_MAX) {
        Some(text) => ("text", text.to_owned(), text.len()),
        None => ("base64", STANDARD.encode(body), body.len()),
    }
}

/// Cuts `text` to at most `max` bytes at a character's border and says so with `…`.
pub(super) fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.push('…');
    }
}

fn text(body: &[u8], cut: bool) -> Option<&str> {
    if body.contains(&0) {
        return None;
    }
    match str::from_utf8(body) {
        Ok(text) => Some(text),
        // No length: the bytes end within a character, which a cut explains.
        Err(error) if cut && error.error_len().is_none() => body
            .get(..error.valid_up_to())
            .and_then(|start| str::from_utf8(start).ok()),
        Err(_) => None,
    }
}

/// Bytes of `text` within a JSON string.
fn escaped_len(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 8 | 12 => 2,
            0..=31 => 6,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stays_text_and_the_rest_is_base64() {
        let table = [
            (&b"plain"[..], false, ("text", "plain")),
            (b"", false, ("text", "")),
            ("\u{fc}".as_bytes(), false, ("text", "\u{fc}")),
            (b"a\xc3", true, ("text", "a")),
            (b"a\xc3", false, ("base64", "YcM=")),
            (b"\xc3a", true, ("base64", "w2E=")),
            (b"a\0", false, ("base64", "YQA=")),
            (b"\x1f\x8b\x08", false, ("base64", "H4sI")),
        ];
        for (body, cut, expected) in table {
            let (name, content, bytes) = show(body, cut);
            assert_eq!((name, content.as_str()), expected, "{body:?}");
            assert_eq!(
                bytes,
                if name == "text" {
                    content.len()
                } else {
                    body.len()
                }
            );
        }
    }

    #[test]
    fn escapes_cannot_blow_a_result_up() {
        let body = vec![1; 2 << 20];
        let (name, content, _) = show(&body, false);
        assert_eq!(name, "base64");
        assert!(content.len() < ESCAPED_MAX);
        assert_eq!(
            escaped_len("a\"\u{1}\n"),
            serde_json::to_string("a\"\u{1}\n").unwrap().len() - 2
        );
    }

    #[test]
    fn a_cut_respects_characters() {
        let mut value = "a\u{fc}b".to_owned();
        cut(&mut value, 2);
        assert_eq!(value, "a…");
    }
}
