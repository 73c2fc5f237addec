//! Everybody who waits for one commit: woken together, each with an answer of its own.
//!
//! A wake of its own for each of many callers would cost more than the entries do.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::draft::Prepared;
use super::queue::lock;
use crate::error::Result;

/// The appends of one commit. Each has a ticket: its number among them.
#[derive(Debug, Default)]
pub(crate) struct Round {
    told: Mutex<Told>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Told {
    /// By ticket, so far; taken by whom they are for.
    answers: Vec<Option<Result<Box<Prepared>>>>,
    /// Why nobody else is answered any more.
    refused: Option<String>,
}

/// What a caller hears.
#[derive(Debug)]
pub(crate) enum Heard {
    Answer(Result<Box<Prepared>>),
    /// The log is blocked, for this reason.
    Refused(String),
    /// Nothing, for too long.
    Silence,
}

impl Round {
    /// Answers the next tickets.
    pub(crate) fn tell(&self, answers: Vec<Result<Box<Prepared>>>) {
        lock(&self.told)
            .answers
            .extend(answers.into_iter().map(Some));
        self.news.notify_all();
    }

    /// Refuses everybody who has no answer yet. The first reason stays.
    pub(crate) fn refuse(&self, why: &str) {
        lock(&self.told).refused.get_or_insert_with(|| why.into());
        self.news.notify_all();
    }

    /// Waits for the answer to `ticket`, for `stall` at most.
    pub(crate) fn wait(&self, ticket: usize, stall: Duration) -> Heard {
        // The first caller keeps the time for those who came after it: a timer for each would
        // cost as much as a wake. Whoever is left when it was answered alone keeps its own.
        let mut deadline = (ticket == 0).then(|| Instant::now() + stall);
        let mut told = lock(&self.told);
        loop {
            if let Some(answer) = told.answers.get_mut(ticket).and_then(Option::take) {
                return Heard::Answer(answer);
            }
            if let Some(why) = &told.refused {
                return Heard::Refused(why.clone());
            }
            told = match deadline {
                None => {
                    deadline = Some(Instant::now() + stall);
                    self.news.wait(told).unwrap_or_else(PoisonError::into_inner)
                }
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Heard::Silence;
                    }
                    self.news
                        .wait_timeout(told, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }
}
