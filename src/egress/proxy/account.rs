//! What a proxy did, for the log: one hop a connection, and a count of what is beyond the limit.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::meter::Meter;
use crate::egress::hops;
use crate::wire::messages::Hop;

/// Most connections told one by one.
const HOPS_MAX: usize = 64;
/// Bytes that these may have together as JSON: all hops have to fit into one packet of 64 KiB.
const BYTES_MAX: usize = 36 << 10;
/// Most kinds of what is only counted.
const KINDS_MAX: usize = 16;

/// All connections of one ticket.
#[derive(Debug, Clone, Default)]
pub(super) struct Account(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    /// Hops with the number of their connection.
    told: Vec<(u64, Hop)>,
    bytes: usize,
    counted: BTreeMap<String, Counted>,
    /// Connections begun.
    begun: u64,
    /// Why those that are under way ended.
    over: &'static str,
}

#[derive(Debug, Default)]
struct Counted {
    connections: u64,
    failed: u64,
    bytes: u64,
}

/// One connection; it is in the book when this is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    account: Account,
    meter: Arc<Meter>,
    number: u64,
    kind: String,
    hop: Hop,
    ended: bool,
}

impl Account {
    /// A connection begins to ask for `label`, which may come from the jail. `kind`: what is counted
    /// together where there are too many, in egress' own words or as the manifest has it.
    pub(super) fn begin(&self, label: &str, kind: &str, meter: &Arc<Meter>) -> Entry {
        let mut book = self.book();
        book.begun = book.begun.saturating_add(1);
        Entry {
            account: self.clone(),
            meter: Arc::clone(meter),
            number: book.begun,
            kind: kind.into(),
            hop: hops::hop(label),
            ended: false,
        }
    }

    /// Connections that are still under way end for this reason.
    pub(super) fn over(&self, why: &'static str) {
        self.book().over = why;
    }

    /// Everything, in the order in which it began; what was only counted comes last.
    pub(super) fn finish(&self) -> Vec<Hop> {
        let mut book = self.book();
        book.told.sort_by_key(|(number, _)| *number);
        let told = std::mem::take(&mut book.told)
            .into_iter()
            .map(|(_, hop)| hop);
        let counted = std::mem::take(&mut book.counted);
        let counted = counted
            .into_iter()
            .map(|(kind, counted)| counted.hop(&kind));
        told.chain(counted).collect()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The address dialled.
    pub(super) fn dialled(&mut self, address: String) {
        self.hop.address = Some(address);
    }

    /// The status came.
    pub(super) fn status(&mut self, status: u16) {
        self.hop.status = Some(status);
    }

    /// The connection is over: well, or for a reason.
    pub(super) fn end(mut self, why: Option<&str>) {
        self.hop.fault = why.map(hops::fault);
        self.ended = true;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut book = self.account.book();
        self.hop.bytes = self.meter.moved();
        if !self.ended {
            self.hop.fault = Some(hops::fault(book.over));
        }
        let size = serde_json::to_string(&self.hop).map_or(usize::MAX, |json| json.len());
        let bytes = book.bytes.saturating_add(size);
        if book.told.len() < HOPS_MAX && bytes <= BYTES_MAX {
            book.bytes = bytes;
            book.told.push((self.number, self.hop.clone()));
            return;
        }
        let known = book.counted.contains_key(&self.kind) || book.counted.len() < KINDS_MAX;
        let kind = if known { self.kind.as_str() } else { "others" };
        let counted = book.counted.entry(kind.into()).or_default();
        counted.connections = counted.connections.saturating_add(1);
        counted.bytes = counted.bytes.saturating_add(self.hop.bytes);
        if self.hop.fault.is_some() {
            counted.failed = counted.failed.saturating_add(1);
        }
    }
}

impl Counted {
    fn hop(&self, kind: &str) -> Hop {
        let mut hop = hops::hop(&format!("{kind} ({} more connections)", self.connections));
        hop.bytes = self.bytes;
        if self.failed > 0 {
            hop.fault = Some(format!("{} of them were refused or failed", self.failed));
        }
        hop
    }
}

#[cfg(test)]
mod tests {
    use super::super::meter::Budget;
    use super::*;
    use crate::wire::frame;
    use crate::wire::messages::EgressToKeeper;

    #[test]
    fn any_number_of_connections_fits_into_one_packet() {
        use std::os::fd::AsFd;
        let account = Account::default();
        let meter = Meter::new(&Budget::new(1));
        let hostile = "\u{202e}\\".repeat(5000);
        for number in 0..1000 {
            let label = format!("CONNECT {number}.{hostile}");
            let kind = format!("{number}.{}:65535", "a.".repeat(120));
            account.begin(&label, &kind, &meter).end(Some(&hostile));
        }
        let hops = account.finish();
        let (ours, theirs) = frame::pair().unwrap();
        let ticket = crate::call::id::Id::random().unwrap();
        let say = EgressToKeeper::Closed { ticket, hops };
        frame::send(ours.as_fd(), &say, &[], &[]).unwrap();
        let frame = frame::recv::<EgressToKeeper>(theirs.as_fd(), 0).unwrap();
        let EgressToKeeper::Closed { hops, .. } = frame.unwrap().say else {
            panic!()
        };
        assert!(hops.len() > KINDS_MAX && hops.len() <= HOPS_MAX + KINDS_MAX + 1);
    }

    #[test]
    fn beyond_the_limit_each_kind_is_counted() {
        let account = Account::default();
        let meter = Meter::new(&Budget::new(1));
        for number in 0..100 {
            let label = format!("GET http://a.example/{number}");
            account.begin(&label, "http://a.example", &meter).end(None);
        }
        account
            .begin("CONNECT b.example:443", "unlisted", &meter)
            .end(Some("no"));
        let under_way = account.begin("GET http://a.example/x", "http://a.example", &meter);
        account.over("time is up");
        drop(under_way);
        let hops = account.finish();
        assert_eq!(hops.len(), HOPS_MAX + 2);
        assert_eq!(hops[0].target, "GET http://a.example/0");
        let [.., a, b] = hops.as_slice() else {
            panic!()
        };
        assert_eq!(a.target, "http://a.example (37 more connections)");
        assert_eq!(a.fault.as_deref(), Some("1 of them were refused or failed"));
        assert_eq!(b.target, "unlisted (1 more connections)");
    }

    #[test]
    fn what_is_cut_off_says_why() {
        let account = Account::default();
        let meter = Meter::new(&Budget::new(1));
        let late = account.begin("CONNECT late:443", "late", &meter);
        account
            .begin("CONNECT early:443", "early", &meter)
            .end(None);
        account.over("time is up");
        drop(late);
        let hops = account.finish();
        assert_eq!(hops[0].target, "CONNECT late:443");
        assert_eq!(hops[0].fault.as_deref(), Some("time is up"));
        assert_eq!(hops[1].fault, None);
    }
}
