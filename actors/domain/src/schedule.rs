//! A schedule: the instants at which a flow starts by itself.
//!
//! A `trigger_config` says them as cron fields over a time zone's wall clock, or as an interval in absolute time. It is
//! read and checked when its flow is saved; from then on everything here is a function of its arguments.
//!
//! ```text
//! trigger_config ─ read ─► Schedule ─ next_after(t) ─► instants ─ decide(standing, now) ─► fire, pass or wait
//! ```
//!
//! Invariants:
//! - Instants are whole seconds, strictly growing: `next_after(t) > t`.
//! - The time zone's changes follow one rule, which [`zone`] states.
//! - A schedule that was read has at least one instant.

mod calendar;
mod config;
mod cron;
mod decide;
mod interval;
mod zone;

#[cfg(test)]
mod tests;

use sha2::{Digest, Sha256};

pub use config::{Missed, NotFired, Overlap, ScheduleConfig, check};
pub use decide::{MOST_COUNTED, Rules, Standing, Step};

use crate::ids::FlowId;
use cron::Cron;

/// A schedule, read and checked.
#[derive(Debug, Clone)]
pub struct Schedule {
    timing: Timing,
    zone: chrono_tz::Tz,
    /// How it was written, for people: the cron expression, or `every 90s`.
    pub text: String,
    pub missed: Missed,
    pub overlap: Overlap,
    /// Each start is delayed by up to so much, in ms.
    jitter_ms: i64,
    /// In seconds since the epoch: no instant before it.
    start_s: Option<i64>,
    /// In seconds since the epoch: no instant after it.
    end_s: Option<i64>,
    /// The document itself says that it does not fire.
    pub is_paused: bool,
}

#[derive(Debug, Clone)]
enum Timing {
    Cron(Box<Cron>),
    /// So many seconds apart, counted from the start, or from the epoch.
    Every(i64),
}

impl Schedule {
    /// The name of the time zone.
    pub fn timezone(&self) -> &'static str {
        self.zone.name()
    }

    /// The first instant after `after_ms`; `None` when there is none. Both are ms since the epoch.
    pub fn next_after(&self, after_ms: i64) -> Option<i64> {
        let after = after_ms.div_euclid(1_000);
        let after = self.start_s.map_or(after, |start| after.max(start - 1));
        let next = match &self.timing {
            Timing::Cron(cron) => zone::next_after(cron, self.zone, after)?,
            Timing::Every(period_s) => interval::next_after(*period_s, self.start_s.unwrap_or(0), after)?,
        };
        let is_in_time = self.end_s.is_none_or(|end| next <= end);
        is_in_time.then(|| next.checked_mul(1_000)).flatten()
    }

    /// The first `count` instants after `after_ms`.
    pub fn instants(&self, after_ms: i64, count: usize) -> Vec<i64> {
        let next = |at_ms: &i64| self.next_after(*at_ms);
        std::iter::successors(self.next_after(after_ms), next).take(count).collect()
    }

    /// When the flow is started for an instant: its delay by jitter depends on the flow and the instant alone, so that
    /// every node, and every try, computes the same.
    pub fn due_ms(&self, flow: FlowId, instant_ms: i64) -> i64 {
        if self.jitter_ms == 0 {
            return instant_ms;
        }
        let digest: [u8; 32] =
            Sha256::new().chain_update(flow.0.as_bytes()).chain_update(instant_ms.to_be_bytes()).finalize().into();
        let number = digest[..8].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        instant_ms.saturating_add((number % (self.jitter_ms as u64 + 1)) as i64)
    }

    /// An instant as the wall clock of its zone shows it: RFC 3339 with the zone's offset.
    pub fn local(&self, instant_ms: i64) -> String {
        let utc = chrono::DateTime::from_timestamp_millis(instant_ms).unwrap_or_default();
        utc.with_timezone(&self.zone).to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    }
}
