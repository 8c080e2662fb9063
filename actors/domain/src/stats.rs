//! Counters and sketches that add up: statistics without scanning history.
//!
//! Durations go into a [`Sketch`]: buckets of time, partitions and nodes add up.

mod sketch;

use serde::{Deserialize, Serialize};

use crate::ids::TenantId;
use crate::log::LogEntry;

pub use sketch::Sketch;

/// The widths of the time buckets that are kept, in milliseconds, each a multiple of the one before: five minutes for the
/// edges of a window, hours and days for its body. A window of a month reads about a hundred of them.
pub const BUCKET_WIDTHS_MS: [i64; 3] = [300_000, 3_600_000, 86_400_000];

/// What a row of statistics is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatKey {
    pub tenant: TenantId,
    pub action_type: String,
    pub bucket_width_ms: i64,
    pub bucket_start_ms: i64,
}

/// What is counted for a key. Everything adds up.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// Executions that ended, each counted once, by its final attempt.
    pub executions: i64,
    pub successful: i64,
    pub failed: i64,
    /// Attempts, whose durations the sketch holds.
    pub attempts: i64,
    pub duration_sum_ms: i64,
    pub sketch: Sketch,
}

impl Stat {
    /// Counts one attempt.
    pub fn record(&mut self, entry: &LogEntry) {
        self.record_attempt(entry.is_final, entry.success(), entry.duration_ms);
    }

    /// Counts one attempt by its figures.
    pub fn record_attempt(&mut self, is_final: bool, success: bool, duration_ms: Option<i64>) {
        if is_final {
            self.executions += 1;
            if success {
                self.successful += 1;
            } else {
                self.failed += 1;
            }
        }
        if let Some(ms) = duration_ms {
            self.attempts += 1;
            self.duration_sum_ms += ms;
            self.sketch.add(ms);
        }
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        self.executions += other.executions;
        self.successful += other.successful;
        self.failed += other.failed;
        self.attempts += other.attempts;
        self.duration_sum_ms += other.duration_sum_ms;
        self.sketch.merge(&other.sketch);
    }
}

/// The start of the bucket of this width in which a time lies.
pub fn bucket_start_ms(at_ms: i64, width_ms: i64) -> i64 {
    at_ms - at_ms.rem_euclid(width_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_align_before_and_after_the_epoch() {
        assert_eq!(bucket_start_ms(301_000, 300_000), 300_000);
        assert_eq!(bucket_start_ms(-1, 300_000), -300_000);
    }
}
