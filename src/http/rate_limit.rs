//! How often each tenant may ask: a token bucket for each, in memory, of this node alone.
//!
//! A bucket is kept as one number, the time at which it will be full again (the generic cell rate algorithm, ITU-T I.371):
//! a request moves that time on by `1 / per_second`, and is refused where it would lie more than `burst` requests ahead.
//! A bucket that is full says nothing and is thrown away. So memory is bounded by those who asked within the last
//! `burst / per_second` seconds, and beyond that by a fixed number: who cannot be remembered then is let through, because
//! the limit is there to be fair between tenants, not to keep anybody out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use core314_domain::ids::TenantId;
use serde::Deserialize;

use super::problem::Problem;

/// Buckets at most.
const MAX_BUCKETS: usize = 100_000;
/// Fewer buckets than this are not worth a search for full ones.
const FEW_BUCKETS: usize = 1_000;
/// Between two searches.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// How often a tenant may ask.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimitSettings {
    /// Requests a second, on and on; 0: without limit.
    pub per_second: u32,
    /// Requests at once, at least 1.
    pub burst: u32,
}

/// The buckets of all tenants.
pub struct RateLimit {
    settings: RateLimitSettings,
    started: Instant,
    buckets: Mutex<Buckets>,
    refused: AtomicU64,
}

struct Buckets {
    /// When each will be full, since the start.
    full_at: HashMap<TenantId, Duration>,
    /// At how many buckets full ones are looked for.
    sweep_at: usize,
    /// Not before this time, so that a search that finds none is not repeated at every request.
    next_sweep: Duration,
}

impl RateLimit {
    pub fn new(settings: RateLimitSettings) -> Self {
        let buckets =
            Mutex::new(Buckets { full_at: HashMap::new(), sweep_at: FEW_BUCKETS, next_sweep: Duration::ZERO });
        Self { settings, started: Instant::now(), buckets, refused: AtomicU64::new(0) }
    }

    /// Counts a request of a tenant; a problem where it asks too often.
    pub fn take(&self, tenant: TenantId) -> Result<(), Problem> {
        if self.settings.per_second == 0 {
            return Ok(());
        }
        self.take_at(tenant, self.started.elapsed()).map_err(|wait| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            Problem::RateLimited { retry_after_seconds: wait.as_secs() + u64::from(wait.subsec_nanos() > 0) }
        })
    }

    /// Requests that were refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// The same at a time since the start. The error is how long to wait.
    fn take_at(&self, tenant: TenantId, now: Duration) -> Result<(), Duration> {
        let each = Duration::from_secs(1) / self.settings.per_second;
        let depth = each * self.settings.burst.max(1);
        // The guarded code does not panic half-way: a poisoned lock still guards a whole map.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = buckets.full_at.get(&tenant).copied().unwrap_or_default().max(now) + each;
        if let Some(wait) = full_at.checked_sub(now + depth).filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        buckets.remember(tenant, full_at, now);
        Ok(())
    }
}

impl Buckets {
    fn remember(&mut self, tenant: TenantId, full_at: Duration, now: Duration) {
        if let Some(known) = self.full_at.get_mut(&tenant) {
            *known = full_at;
            return;
        }
        if self.full_at.len() >= self.sweep_at && now >= self.next_sweep {
            self.next_sweep = now + SWEEP_INTERVAL;
            self.full_at.retain(|_, full_at| *full_at > now);
            self.full_at.shrink_to(2 * self.full_at.len());
            // Twice as many before the next search: its cost is shared by as many requests.
            self.sweep_at = (2 * self.full_at.len()).clamp(FEW_BUCKETS, MAX_BUCKETS);
        }
        if self.full_at.len() < MAX_BUCKETS {
            self.full_at.insert(tenant, full_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn limit(per_second: u32, burst: u32) -> RateLimit {
        RateLimit::new(RateLimitSettings { per_second, burst })
    }

    fn tenant(n: usize) -> TenantId {
        TenantId(Uuid::from_u128(n as u128))
    }

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_burst_is_let_through_and_then_as_many_as_agreed() {
        let limit = limit(10, 3);
        for _ in 0..3 {
            assert_eq!(limit.take_at(tenant(1), ms(0)), Ok(()));
        }
        assert_eq!(limit.take_at(tenant(1), ms(0)), Err(ms(100)));
        assert_eq!(limit.take_at(tenant(1), ms(40)), Err(ms(60)), "a refusal costs nothing");
        assert_eq!(limit.take_at(tenant(2), ms(40)), Ok(()), "another tenant's bucket is its own");
        assert_eq!(limit.take_at(tenant(1), ms(100)), Ok(()));
        assert_eq!(limit.take_at(tenant(1), ms(100)), Err(ms(100)));
        let over_a_second = (0..2_000).filter(|n| limit.take_at(tenant(3), ms(*n)).is_ok()).count();
        assert_eq!(over_a_second, 3 + 19);
    }

    #[test]
    fn idle_buckets_are_collected_and_their_number_is_bounded() {
        let limit = limit(1, 1);
        let count = || limit.buckets.lock().unwrap().full_at.len();
        for n in 0..50_000 {
            limit.take_at(tenant(n), ms(n as u64)).unwrap();
            assert!(count() <= 2_002, "a bucket is full after a second: {}", count());
        }
        for n in 0..MAX_BUCKETS + 100 {
            limit.take_at(tenant(100_000 + n), ms(60_000)).unwrap();
        }
        assert_eq!(count(), MAX_BUCKETS);
        limit.take_at(tenant(1), ms(120_000)).unwrap();
        assert_eq!(count(), 1);
    }

    #[test]
    fn who_asks_too_often_is_told_when_to_come_back() {
        let limit = limit(1, 2);
        let outcomes: Vec<_> = (0..3).map(|_| limit.take(tenant(1))).collect();
        assert_eq!(outcomes[..2], [Ok(()), Ok(())]);
        assert_eq!(outcomes[2], Err(Problem::RateLimited { retry_after_seconds: 1 }));
        assert_eq!(limit.refused(), 1);
        let off = RateLimit::new(RateLimitSettings::default());
        assert!((0..1_000).all(|_| off.take(tenant(1)).is_ok()));
        assert!(off.buckets.lock().unwrap().full_at.is_empty());
    }
}
