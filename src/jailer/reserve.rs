//! How much CPU time a jail that lasts may use: a reserve of as many seconds as its manifest's `cpu_s`.
//! It comes back at half the speed of one processor while its server answers, and at a twentieth while
//! it does not. So a server may use more than `cpu_s` in its life, however long that is, and one that
//! spins, in a call or between two, is ended soon after it has used `cpu_s`. (Time alone is no measure:
//! on a busy host a program that spins gets a small part of a processor, and so does one that works.)
//!
//! All its processes are counted together: by its cgroup, or from `/proc`. What cannot be counted is
//! taken for one processor at full speed.

use std::time::{Duration, Instant};

/// How fast a reserve comes back: so many seconds for one second of CPU time, while there are answers
/// and while there are none.
const BACK: (u32, u32) = (2, 20);
/// For how long one answer counts. The keeper tells of at most one in half that time.
const ANSWER: Duration = Duration::from_secs(2);
/// Shortest and longest time between two counts.
const COUNTS: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

/// One jail's.
#[derive(Debug)]
pub(super) struct Reserve {
    most: Duration,
    left: Duration,
    /// CPU time that was counted so far.
    used: Duration,
    counted: Instant,
    due: Instant,
    /// Until then it comes back fast.
    answering: Instant,
    /// Processors it can use at a time.
    processors: u32,
}

impl Reserve {
    /// A full one, of a jail that was started at `now`.
    pub(super) fn new(cpu_s: u64, processors: u32, now: Instant) -> Self {
        let most = Duration::from_secs(cpu_s);
        let mut new = Self {
            most,
            left: most,
            used: Duration::ZERO,
            counted: now,
            due: now,
            answering: now,
            processors: processors.max(1),
        };
        new.due = now + new.pause();
        new
    }

    /// When to count again: before it can have been used up.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Its server has answered something just now.
    pub(super) fn answered(&mut self, now: Instant) {
        self.answering = now + ANSWER;
    }

    /// Takes off what was used, as counted at `now`: microseconds of CPU time of the jail's whole life.
    /// False where nothing is left.
    pub(super) fn count(&mut self, used_us: Option<u64>, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.counted);
        let before = self.used;
        // An ended process that nobody has waited for yet is missing for a moment.
        self.used = match used_us {
            Some(used_us) => before.max(Duration::from_micros(used_us)),
            None => before.saturating_add(passed),
        };
        let spent = self.used.saturating_sub(before);
        let fast = self.answering.min(now);
        let fast = fast.saturating_duration_since(self.counted);
        let back = fast / BACK.0 + passed.saturating_sub(fast) / BACK.1;
        let back = self.left.saturating_add(back);
        self.left = back.saturating_sub(spent).min(self.most);
        self.counted = now;
        self.due = now + self.pause();
        !self.left.is_zero()
    }

    /// Microseconds of CPU time that were counted so far.
    pub(super) fn used_us(&self) -> u64 {
        u64::try_from(self.used.as_micros()).unwrap_or(u64::MAX)
    }

    fn pause(&self) -> Duration {
        (self.left / self.processors).clamp(COUNTS.0, COUNTS.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// How long a jail lasts that uses `used_ms` of each second, at most `most` seconds; counted
    /// whenever it is due, and answering or not.
    fn lasts(cpu_s: u64, used_ms: u64, answers: bool, most: u32) -> Option<Duration> {
        let begin = Instant::now();
        let mut reserve = Reserve::new(cpu_s, 4, begin);
        let (mut now, mut told) = (begin, begin);
        loop {
            if answers && told <= now {
                reserve.answered(now);
                told = now + ANSWER / 2;
            }
            now = match answers {
                true => reserve.due().min(told),
                false => reserve.due(),
            };
            let passed = now - begin;
            if passed > SECOND * most {
                return None;
            }
            let used_us = u64::try_from(passed.as_micros()).unwrap() * used_ms / 1_000;
            if reserve.due() <= now && !reserve.count(Some(used_us), now) {
                return Some(passed);
            }
        }
    }

    #[test]
    fn a_server_that_answers_lives_on_and_one_that_spins_does_not() {
        for used_ms in [0, 100, 490] {
            assert_eq!(lasts(2, used_ms, true, 10_000), None, "{used_ms}");
        }
        let about = |lasts: Option<Duration>, seconds: u32| {
            let lasts = lasts.unwrap();
            let most = SECOND * (seconds + 2);
            assert!(
                lasts >= SECOND * seconds && lasts < most,
                "{lasts:?} {seconds}"
            );
        };
        // Without an answer: alone on a processor, on four, and on a tenth of a busy one.
        about(lasts(60, 1_000, false, 1_000), 63);
        about(lasts(60, 4_000, false, 1_000), 15);
        about(lasts(60, 100, false, 10_000), 1_200);
        // Answers in between bring back half a processor, and no more.
        about(lasts(60, 1_000, true, 1_000), 120);
        // What idles may do something now and then.
        assert_eq!(lasts(2, 40, false, 10_000), None);
    }

    #[test]
    fn a_rest_fills_it_up_and_no_further() {
        let begin = Instant::now();
        let mut reserve = Reserve::new(10, 1, begin);
        assert!(reserve.count(Some(9_000_000), begin + SECOND * 20));
        assert_eq!(reserve.left, SECOND * 2);
        assert!(reserve.count(Some(9_000_000), begin + SECOND * 1_000));
        assert_eq!(reserve.left, SECOND * 10);
        assert!(!reserve.count(Some(20_000_000), begin + SECOND * 1_001));
    }

    #[test]
    fn what_cannot_be_counted_counts_as_spinning() {
        let begin = Instant::now();
        let mut reserve = Reserve::new(4, 1, begin);
        assert!(reserve.count(None, begin + SECOND * 4));
        assert!(!reserve.count(None, begin + SECOND * 5));
        // Less than before is no credit.
        let mut reserve = Reserve::new(4, 1, begin);
        assert!(reserve.count(Some(3_000_000), begin));
        assert!(reserve.count(Some(1_000_000), begin));
        assert!(reserve.count(Some(3_500_000), begin));
        assert!(!reserve.count(Some(4_000_000), begin));
    }
}
