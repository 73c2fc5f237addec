//! Orders that wait until what is pinned was looked at: to run programs, and to read files.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Instant;

use super::jails::Program;
use crate::call::id::Id;

/// An order to run a program.
#[derive(Debug)]
pub(super) struct Order {
    /// Whose.
    pub(super) ticket: Id,
    /// It has no time limit.
    pub(super) lasting: bool,
    /// Name of its manifest.
    pub(super) manifest: String,
    /// Path in a foreign jail.
    pub(super) program: String,
    /// Arguments.
    pub(super) argv: Vec<String>,
    /// What it gets.
    pub(super) fds: Vec<OwnedFd>,
    /// When it came: what it waits for is part of its time.
    pub(super) since: Instant,
}

impl Order {
    /// What is to be run.
    pub(super) fn program(&self) -> Program<'_> {
        Program {
            manifest: &self.manifest,
            program: &self.program,
            argv: &self.argv,
            lasting: self.lasting,
            since: self.since,
        }
    }
}

/// An order to read a pinned file.
#[derive(Debug)]
pub(super) struct Reading {
    /// Whose.
    pub(super) ticket: Id,
    /// Name of the manifest whose jails see it.
    pub(super) manifest: String,
    /// Where they see it.
    pub(super) path: PathBuf,
    /// Larger files are refused.
    pub(super) max: u64,
}

/// What waits.
#[derive(Debug)]
pub(super) enum Wanted {
    /// A program.
    Run(Order),
    /// A file.
    Read(Reading),
}

impl Wanted {
    /// Whose it is.
    pub(super) fn ticket(&self) -> Id {
        match self {
            Self::Run(order) => order.ticket,
            Self::Read(reading) => reading.ticket,
        }
    }

    fn manifest(&self) -> &str {
        match self {
            Self::Run(order) => &order.manifest,
            Self::Read(reading) => &reading.manifest,
        }
    }

    fn lasts(&self) -> bool {
        matches!(self, Self::Run(Order { lasting: true, .. }))
    }
}

/// Orders with the number of the look that each waits for.
#[derive(Debug, Default)]
pub(super) struct Held(Vec<(u64, Wanted)>);

impl Held {
    /// Keeps one until that look has ended.
    pub(super) fn keep(&mut self, look: u64, wanted: Wanted) {
        self.0.push((look, wanted));
    }

    /// Those of a manifest that waited for this look or an earlier one, in the order they came.
    pub(super) fn take(&mut self, manifest: &str, look: u64) -> Vec<Wanted> {
        let ready =
            |(number, wanted): &mut (u64, Wanted)| *number <= look && wanted.manifest() == manifest;
        let ready = self.0.extract_if(.., ready);
        ready.map(|(_, wanted)| wanted).collect()
    }

    /// Takes the order of this ticket back.
    pub(super) fn withdraw(&mut self, ticket: Id) -> Option<Wanted> {
        let at = self
            .0
            .iter()
            .position(|(_, wanted)| wanted.ticket() == ticket)?;
        Some(self.0.remove(at).1)
    }

    /// Whether one has this ticket.
    pub(super) fn holds(&self, ticket: Id) -> bool {
        self.0.iter().any(|(_, wanted)| wanted.ticket() == ticket)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// How many of them last.
    pub(super) fn lasting(&self) -> usize {
        self.0.iter().filter(|(_, wanted)| wanted.lasts()).count()
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_waits_for_its_own_look() {
        let order = |manifest: &str, lasting| {
            Wanted::Run(Order {
                ticket: Id::random().unwrap(),
                lasting,
                manifest: manifest.into(),
                program: "/bin/true".into(),
                argv: Vec::new(),
                fds: Vec::new(),
                since: Instant::now(),
            })
        };
        let reading = Wanted::Read(Reading {
            ticket: Id::random().unwrap(),
            manifest: "n".into(),
            path: "/a".into(),
            max: 9,
        });
        let mut held = Held::default();
        let (one, two, other) = (order("m", false), order("m", true), reading);
        let tickets = [one.ticket(), two.ticket(), other.ticket()];
        held.keep(1, one);
        held.keep(3, two);
        held.keep(2, other);
        assert_eq!((held.len(), held.lasting()), (3, 1));
        let taken =
            |orders: Vec<Wanted>| -> Vec<Id> { orders.iter().map(Wanted::ticket).collect() };
        assert_eq!(taken(held.take("m", 2)), [tickets[0]]);
        assert!(held.holds(tickets[1]) && !held.holds(tickets[0]));
        assert_eq!(taken(held.take("m", 3)), [tickets[1]]);
        assert!(held.withdraw(tickets[2]).is_some() && held.len() == 0);
    }
}
