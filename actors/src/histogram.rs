//! A histogram that many threads count into without waiting for each other.

use std::sync::atomic::{AtomicU64, Ordering};

/// How many values fell below each of some bounds. Values are whole numbers in the unit that their owner names.
#[derive(Debug)]
pub struct Histogram {
    /// Upper bounds, ascending, each included.
    bounds: &'static [u64],
    /// One for each bound, and one for what is above them.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// What a histogram has counted: as Prometheus wants it, cumulative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// Each bound with the number of values up to it.
    pub buckets: Vec<(u64, u64)>,
    pub count: u64,
    pub sum: u64,
}

/// From 50 µs to 10 s, in µs: what a commit, a request or a call may take.
pub const MICROSECONDS: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// From 1 ms to 10 minutes, in ms: what an entry may wait for.
pub const MILLISECONDS: &[u64] =
    &[1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 600_000];

/// From 10 ms to a day, in ms: what a phase of a run may take.
pub const PHASES: &[u64] = &[
    10, 100, 500, 1_000, 5_000, 10_000, 15_000, 30_000, 60_000, 90_000, 120_000, 300_000, 900_000, 3_600_000,
    21_600_000, 86_400_000,
];

/// How many things are done in one go.
pub const SIZES: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];

impl Histogram {
    /// An empty one with these bounds, which ascend.
    pub fn new(bounds: &'static [u64]) -> Self {
        debug_assert!(bounds.is_sorted_by(|a, b| a < b), "bounds ascend");
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub fn record(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// What was counted so far. The count is that of the buckets, whatever is counted meanwhile.
    pub fn counted(&self) -> Counted {
        let mut count = 0;
        let mut up_to = |bucket: &AtomicU64| {
            count += bucket.load(Ordering::Relaxed);
            count
        };
        let buckets = self.bounds.iter().zip(&self.counts).map(|(bound, bucket)| (*bound, up_to(bucket))).collect();
        up_to(&self.counts[self.bounds.len()]);
        Counted { buckets, count, sum: self.sum.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_include_their_bound_and_add_up() {
        let histogram = Histogram::new(&[1, 10, 100]);
        [0, 1, 2, 10, 11, 100, 101, 5_000].into_iter().for_each(|value| histogram.record(value));
        let counted = histogram.counted();
        assert_eq!(counted.buckets, [(1, 2), (10, 4), (100, 6)]);
        assert_eq!((counted.count, counted.sum), (8, 5_225));
        for bounds in [MICROSECONDS, MILLISECONDS, PHASES, SIZES] {
            assert_eq!(Histogram::new(bounds).counted().count, 0);
        }
    }
}
