//! Server-sent events (WHATWG HTML, section 9.2) as far as MCP uses them: the data of each event, the
//! name of the last, and how soon to ask again.

use std::time::Duration;

use super::frames::MESSAGE_MAX;

/// Splits a stream into the data of its events. Holds one unfinished event.
#[derive(Debug, Default)]
pub(super) struct Events {
    line: Vec<u8>,
    data: Vec<u8>,
    /// The event has data, even if empty.
    any: bool,
    /// The last event's name, and how long the server wants to be left alone.
    last: Vec<u8>,
    retry: Option<Duration>,
    /// The last line ended with a carriage return: a newline that follows belongs to it.
    returned: bool,
}

impl Events {
    /// Takes a piece; gives the data of the events that it completes.
    ///
    /// # Errors
    /// Fails on an event longer than a message may be.
    pub(super) fn take(&mut self, piece: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let mut events = Vec::new();
        for byte in piece {
            let follows = std::mem::take(&mut self.returned);
            match byte {
                b'\n' if follows => {}
                b'\r' | b'\n' => {
                    self.returned = *byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.end_line(&line));
                }
                other => self.line.push(*other),
            }
            if self.held() > MESSAGE_MAX {
                return Err(format!("it sent an event of more than {MESSAGE_MAX} bytes"));
            }
        }
        Ok(events)
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.line.len().saturating_add(self.data.len())
    }

    /// The name of the last event that had one; empty where none had.
    pub(super) fn last_id(&self) -> &[u8] {
        &self.last
    }

    /// How long the server wants to be left alone before its stream is asked for again.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// A field that is about the stream and not an event's data.
    fn about(&mut self, line: &[u8]) {
        let value = |name: &[u8]| {
            let rest = line.strip_prefix(name)?.strip_prefix(b":".as_slice())?;
            Some(rest.strip_prefix(b" ".as_slice()).unwrap_or(rest))
        };
        if let Some(id) = value(b"id").filter(|id| !id.contains(&0)) {
            self.last = id.to_vec();
        } else if let Some(text) = value(b"retry").and_then(|text| str::from_utf8(text).ok())
            && let Ok(milliseconds) = text.parse()
        {
            self.retry = Some(Duration::from_millis(milliseconds));
        }
    }

    fn end_line(&mut self, line: &[u8]) -> Option<Vec<u8>> {
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.any).then_some(data);
        }
        let Some(rest) = line.strip_prefix(b"data".as_slice()) else {
            self.about(line);
            return None;
        };
        let value = match rest.split_first() {
            None => rest,
            Some((b':', value)) => value.strip_prefix(b" ".as_slice()).unwrap_or(value),
            // A field of another name, such as `database`.
            Some(_) => return None,
        };
        if self.any {
            self.data.push(b'\n');
        }
        self.any = true;
        self.data.extend_from_slice(value);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, cut: usize) -> Vec<String> {
        let mut events = Events::default();
        let parts = text.as_bytes().chunks(cut);
        let data = parts.flat_map(|part| events.take(part).unwrap());
        data.map(|data| String::from_utf8(data).unwrap()).collect()
    }

    #[test]
    fn the_data_of_each_event_comes_out_however_it_is_cut() {
        let text = ": hello\r\nid: 1\ndata: {\"a\":\r\ndata:1}\n\nevent: x\n\ndata\r\rdatabase: no\n\n\
                    retry: 5\ndata:  two\n\ndata: unfinished";
        for cut in 1..20 {
            assert_eq!(all(text, cut), ["{\"a\":\n1}", "", " two"], "{cut}");
        }
        let mut events = Events::default();
        events.take(text.as_bytes()).unwrap();
        assert_eq!(events.last_id(), b"1");
        assert_eq!(events.retry(), Some(Duration::from_millis(5)));
        events.take(b"\nid: a\0b\nretry: soon\nid\n\n").unwrap();
        assert_eq!(events.last_id(), b"1");
        assert_eq!(events.retry(), Some(Duration::from_millis(5)));
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut events = Events::default();
        let piece = vec![b'x'; 1 << 20];
        assert!((0..8).any(|_| events.take(&piece).is_err()));
        let mut events = Events::default();
        let piece = b"data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n".repeat(10_000);
        assert!((0..20).any(|_| events.take(&piece).is_err()));
    }
}
