//! The front's open questions: whether somebody still wants the answer, what can be told on the way
//! to it, and what the client says when it is asked in turn.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::wire::messages::{Era, Hop};

/// One question of an agent.
pub(super) struct Question {
    /// The front's number for it.
    pub(super) id: u64,
    /// Who asks.
    pub(super) agent: String,
    /// How it speaks.
    pub(super) era: Era,
    /// It wants to hear of progress.
    pub(super) progress: bool,
    /// No client asks: there is nobody to be told anything, or asked in turn.
    pub(super) nobody: bool,
    gone: AtomicBool,
    stopped: AtomicBool,
    hook: Mutex<Option<Hook>>,
    hops: Mutex<Vec<Hop>>,
}

/// What ends the work on a question, and whether that work may change something.
type Hook = (bool, Box<dyn FnOnce() + Send>);

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Question")
            .field("id", &self.id)
            .field("agent", &self.agent)
            .field("era", &self.era)
            .field("gone", &self.is_gone())
            .finish_non_exhaustive()
    }
}

impl Question {
    /// A question nobody has given up.
    pub(super) fn new(id: u64, agent: String, era: Era, progress: bool) -> Self {
        Self {
            id,
            agent,
            era,
            progress,
            nobody: false,
            gone: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            hook: Mutex::default(),
            hops: Mutex::default(),
        }
    }

    /// The operator's, to the server of `agent`.
    pub(super) fn of_nobody(agent: String, era: Era) -> Self {
        Self {
            nobody: true,
            ..Self::new(0, agent, era, false)
        }
    }

    /// Nobody wants the answer any more; what was begun goes on, and is recorded.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    /// The work on it is over early. Work that has an `effect`, which may change something, ends so
    /// only where the agent said it: were it cut off with a connection that is lost, nobody could say
    /// what became of it, and the answer could not be fetched by the same call made again.
    pub(super) fn is_stopped(&self, effect: bool) -> bool {
        match effect {
            true => self.stopped.load(Ordering::SeqCst),
            false => self.is_gone(),
        }
    }

    /// Runs `hook` once [`Question::is_stopped`]; at once where that is so already. A second hook
    /// takes the place of the first.
    pub(super) fn when_stopped(&self, effect: bool, hook: impl FnOnce() + Send + 'static) {
        let mut place = lock(&self.hook);
        if self.is_stopped(effect) {
            drop(place);
            return hook();
        }
        *place = Some((effect, Box::new(hook)));
    }

    /// Requests were made for it.
    pub(super) fn requested(&self, hops: Vec<Hop>) {
        lock(&self.hops).extend(hops);
    }

    /// The requests that were made for it since this was last asked.
    pub(super) fn hops(&self) -> Vec<Hop> {
        std::mem::take(&mut lock(&self.hops))
    }

    fn leave(&self, meant: bool) {
        let mut place = lock(&self.hook);
        self.gone.store(true, Ordering::SeqCst);
        self.stopped.fetch_or(meant, Ordering::SeqCst);
        let hook = place.take_if(|(effect, _)| self.is_stopped(*effect));
        drop(place);
        if let Some((_, hook)) = hook {
            hook();
        }
    }
}

/// What a client said to a question of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// It is a result, not an error.
    pub(super) ok: bool,
    /// Raw JSON of either.
    pub(super) raw: Vec<u8>,
}

/// All open questions, both ways.
#[derive(Debug, Default)]
pub(super) struct Questions {
    open: Mutex<HashMap<u64, Arc<Question>>>,
    asks: Mutex<Asks>,
}

#[derive(Debug, Default)]
struct Asks {
    last: u64,
    waiting: HashMap<u64, (String, Sender<Said>)>,
}

impl Questions {
    /// Opens a question: it can be cancelled from now on.
    pub(super) fn begin(&self, question: Question) -> Arc<Question> {
        let question = Arc::new(question);
        lock(&self.open).insert(question.id, Arc::clone(&question));
        question
    }

    /// It is answered.
    pub(super) fn end(&self, id: u64) {
        lock(&self.open).remove(&id);
    }

    /// Nobody wants its answer, as the agent said if that is `meant`; one that is not open needs no
    /// cancelling.
    pub(super) fn cancel(&self, id: u64, meant: bool) {
        let question = lock(&self.open).remove(&id);
        if let Some(question) = question {
            question.leave(meant);
        }
    }

    /// The front is gone, and everybody who asked through it.
    pub(super) fn forget(&self) {
        let open = std::mem::take(&mut *lock(&self.open));
        open.values().for_each(|question| question.leave(false));
        lock(&self.asks).waiting.clear();
    }

    /// Begins to wait for what the client of `agent` says. Dropping the receiver ends it.
    pub(super) fn ask(&self, agent: &str) -> (u64, Receiver<Said>) {
        let (sender, receiver) = channel();
        let mut asks = lock(&self.asks);
        asks.last += 1;
        let ask = asks.last;
        asks.waiting.insert(ask, (agent.into(), sender));
        (ask, receiver)
    }

    /// Passes on what a client said; nothing, where that agent was not asked this.
    pub(super) fn said(&self, agent: &str, ask: u64, said: Said) {
        let mut asks = lock(&self.asks);
        if asks
            .waiting
            .get(&ask)
            .is_none_or(|(asked, _)| asked != agent)
        {
            tracing::warn!(agent, ask, "an answer to what was not asked");
            return;
        }
        if let Some((_, waiting)) = asks.waiting.remove(&ask) {
            // Whoever asked may have stopped waiting.
            drop(waiting.send(said));
        }
    }
}

/// A panic elsewhere aborts the process, so a poisoned lock cannot be seen.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question(id: u64) -> Question {
        Question::new(id, "a".into(), Era::Session, false)
    }

    #[test]
    fn a_cancelled_question_says_so_once_and_an_answered_one_never() {
        let questions = Questions::default();
        let (say, heard) = channel();
        let one = questions.begin(question(1));
        let told = say.clone();
        one.when_stopped(false, move || told.send(1).unwrap());
        let two = questions.begin(question(2));
        questions.end(2);
        for id in [1, 1, 2, 3] {
            questions.cancel(id, false);
        }
        assert!(one.is_gone() && !two.is_gone());
        let late = say.clone();
        one.when_stopped(false, move || late.send(9).unwrap());
        let three = questions.begin(question(3));
        three.when_stopped(false, move || say.send(3).unwrap());
        questions.forget();
        assert!(three.is_gone());
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [1, 9, 3]);
    }

    #[test]
    fn what_changes_something_is_stopped_only_by_who_says_so() {
        let questions = Questions::default();
        let (say, heard) = channel();
        for (id, meant) in [(1, false), (2, true)] {
            let begun = questions.begin(question(id));
            let told = say.clone();
            begun.when_stopped(true, move || told.send(id).unwrap());
            questions.cancel(id, meant);
            assert!(begun.is_gone());
            assert_eq!(begun.is_stopped(true), meant);
            let late = say.clone();
            begun.when_stopped(true, move || late.send(id + 10).unwrap());
        }
        let lost = questions.begin(question(3));
        lost.when_stopped(true, move || say.send(3).unwrap());
        questions.forget();
        assert!(lost.is_gone() && !lost.is_stopped(true));
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [2, 12]);
    }

    #[test]
    fn only_the_agent_that_was_asked_can_say() {
        let questions = Questions::default();
        let (ask, heard) = questions.ask("a");
        let said = |raw: &str| Said {
            ok: true,
            raw: raw.into(),
        };
        questions.said("b", ask, said("1"));
        questions.said("a", ask + 1, said("2"));
        assert!(heard.try_recv().is_err());
        questions.said("a", ask, said("3"));
        questions.said("a", ask, said("4"));
        assert_eq!(heard.try_iter().collect::<Vec<_>>(), [said("3")]);
        let (_, lost) = questions.ask("a");
        questions.forget();
        assert!(lost.recv().is_err());
    }
}
