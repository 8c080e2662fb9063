//! Slows down those who guess: each client address may fail so often at once, and so often a minute.
//!
//! A token bucket per address. Only failures are counted, and only a failure is answered with 429: a valid credential
//! passes whatever came from its address before. Memory is bounded: when too many addresses fail at once, those that
//! are new share one bucket.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::http::problem::Problem;

/// Addresses that are remembered at once.
const MOST_ADDRESSES: usize = 10_000;
/// Stands for all that find no room.
const EVERYBODY_ELSE: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

/// Counts failures.
pub struct Failures {
    burst: f64,
    per_second: f64,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

/// How many more failures an address has, as of a time.
struct Bucket {
    left: f64,
    at: Instant,
}

impl Failures {
    /// So many failures at once, and so many more each minute; at least 1 each.
    pub fn new(burst: u64, per_minute: u64) -> Self {
        let per_second = per_minute.max(1) as f64 / 60.0;
        Self { burst: burst.max(1) as f64, per_second, buckets: Mutex::default() }
    }

    /// Counts a failure. An error where there were too many: when to come back.
    pub fn count(&self, address: IpAddr) -> Result<(), Problem> {
        self.count_at(address, Instant::now())
    }

    fn count_at(&self, address: IpAddr, now: Instant) -> Result<(), Problem> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let address = network(address);
        if buckets.len() >= MOST_ADDRESSES && !buckets.contains_key(&address) {
            buckets.retain(|_, bucket| self.refilled(bucket, now) < self.burst);
        }
        let has_room = buckets.len() < MOST_ADDRESSES || buckets.contains_key(&address);
        let address = if has_room { address } else { EVERYBODY_ELSE };
        let bucket = buckets.entry(address).or_insert(Bucket { left: self.burst, at: now });
        let left = self.refilled(bucket, now);
        if left < 1.0 {
            *bucket = Bucket { left, at: now };
            let retry_after_seconds = ((1.0 - left) / self.per_second).ceil().max(1.0) as u64;
            return Err(Problem::RateLimited { retry_after_seconds });
        }
        *bucket = Bucket { left: left - 1.0, at: now };
        Ok(())
    }

    /// What a bucket holds by now.
    fn refilled(&self, bucket: &Bucket, now: Instant) -> f64 {
        let since = now.saturating_duration_since(bucket.at).as_secs_f64();
        since.mul_add(self.per_second, bucket.left).min(self.burst)
    }
}

/// The network that one client has: for IPv6 the first 64 bits, because whoever has one address there has all of them.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    fn v4(n: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from_bits(n))
    }

    #[test]
    fn an_address_fails_so_often_and_then_waits() {
        let (failures, start) = (Failures::new(3, 60), Instant::now());
        let count = |at: u64| failures.count_at(v4(1), start + Duration::from_secs(at));
        assert_eq!([count(0), count(0), count(0)], [Ok(()), Ok(()), Ok(())]);
        assert_eq!(count(0), Err(Problem::RateLimited { retry_after_seconds: 1 }));
        assert_eq!(failures.count_at(v4(2), start), Ok(()), "another address is not concerned");
        assert_eq!([count(1), count(1)], [Ok(()), Err(Problem::RateLimited { retry_after_seconds: 1 })]);
        let slow = Failures::new(1, 2);
        assert_eq!(slow.count_at(v4(1), start), Ok(()));
        assert_eq!(slow.count_at(v4(1), start), Err(Problem::RateLimited { retry_after_seconds: 30 }));
    }

    #[test]
    fn addresses_of_one_network_share_a_bucket() {
        let (failures, now) = (Failures::new(1, 1), Instant::now());
        let v6 = |text: &str| failures.count_at(text.parse().unwrap(), now);
        assert_eq!(v6("2001:db8::1"), Ok(()));
        assert!(v6("2001:db8::ffff:1").is_err());
        assert_eq!(v6("2001:db8:0:1::1"), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_old_addresses_make_room() {
        let (failures, start) = (Failures::new(1, 60), Instant::now());
        for n in 0..2 * MOST_ADDRESSES as u32 {
            // The newcomers share a bucket, so some of these are refused.
            let _counted = failures.count_at(v4(n), start);
        }
        let held = || failures.buckets.lock().unwrap().len();
        assert!(held() <= MOST_ADDRESSES + 1, "{}", held());
        assert!(failures.count_at(v4(u32::MAX), start).is_err(), "no room, and the shared bucket is empty");
        assert_eq!(failures.count_at(v4(u32::MAX), start + Duration::from_secs(2)), Ok(()));
        assert!(held() < 3, "whoever has not failed lately is forgotten");
    }
}
