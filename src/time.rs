//! Wall and monotonic time behind a trait, so that tests can stop the clock or turn it back.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds since 1970-01-01T00:00:00Z, without leap seconds (POSIX time).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the epoch.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// Later by `micros` microseconds, saturating.
    #[must_use]
    pub fn plus_micros(self, micros: i64) -> Self {
        Self(self.0.saturating_add(micros))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with six digits, for example `2026-11-23T09:12:47.123456Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match chrono::DateTime::from_timestamp_micros(self.0) {
            Some(time) => f.write_str(&time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl FromStr for Timestamp {
    type Err = chrono::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        chrono::DateTime::parse_from_rfc3339(text).map(|time| Self(time.timestamp_micros()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A source of time.
pub trait Clock: Send + Sync + fmt::Debug {
    /// Wall-clock time.
    fn now(&self) -> Timestamp;
    /// Microseconds since boot, suspend included (`CLOCK_BOOTTIME`).
    fn since_boot_micros(&self) -> i64;
}

/// The kernel's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp(read(nix::time::ClockId::CLOCK_REALTIME))
    }

    fn since_boot_micros(&self) -> i64 {
        read(nix::time::ClockId::CLOCK_BOOTTIME)
    }
}

/// `clock_gettime(2)` of a clock that every supported kernel has cannot fail; zero if it did.
fn read(clock: nix::time::ClockId) -> i64 {
    clock.now().map_or(0, |time| {
        time.tv_sec()
            .saturating_mul(1_000_000)
            .saturating_add(time.tv_nsec() / 1_000)
    })
}

/// Between two beats of [`pulse`]: less than what calls are given to end in.
const BEAT: std::time::Duration = std::time::Duration::from_secs(5);

/// Keeps a timer of the tokio runtime due soon, for as long as it is polled. Each new timer that is due
/// before all others goes through the kernel to tell the runtime so (eventfd(2)), and that of a call in
/// a runtime without others always is.
pub async fn pulse() {
    let mut beat = tokio::time::interval(BEAT);
    loop {
        beat.tick().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_survives_text() {
        let time = Timestamp::from_micros(1_795_511_567_123_456);
        assert_eq!(time.to_string(), "2026-11-24T09:12:47.123456Z");
        assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
    }
}
