//! A rate as a token bucket, kept as one number.
//!
//! The generic cell rate algorithm (ITU-T I.371, annex A): the bucket is the time at which it will be full again. A start
//! moves that time on by one interval, and is allowed while it lies at most `burst` intervals ahead. This is the token
//! bucket of (tokens, at) without a fraction that could be rounded two ways.

use super::Rate;

/// The state of a key's bucket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it is full again, in microseconds since the Unix epoch.
    pub full_at_us: i64,
}

impl Bucket {
    /// Takes a token, or says when there will be one, in microseconds since the Unix epoch.
    pub fn take(&mut self, rate: Rate, now_us: i64) -> Result<(), i64> {
        let at_us = self.ready_at_us(rate, now_us);
        if at_us > now_us {
            return Err(at_us);
        }
        self.full_at_us = self.seen_from(rate, now_us) + rate.interval_us;
        Ok(())
    }

    /// Puts a token back that was taken and not used.
    pub const fn give_back(&mut self, rate: Rate) {
        self.full_at_us = self.full_at_us.saturating_sub(rate.interval_us);
    }

    /// Whether it holds all that it can: as good as no bucket.
    pub const fn is_full(self, now_us: i64) -> bool {
        self.full_at_us <= now_us
    }

    fn ready_at_us(self, rate: Rate, now_us: i64) -> i64 {
        self.seen_from(rate, now_us) - rate.interval_us * i64::from(rate.burst - 1)
    }

    /// No bucket is emptier than empty: after a clock was set back it fills from there.
    fn seen_from(self, rate: Rate, now_us: i64) -> i64 {
        self.full_at_us.clamp(now_us, now_us + rate.interval_us * i64::from(rate.burst))
    }
}
