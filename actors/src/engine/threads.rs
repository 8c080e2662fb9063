//! Which threads partitions and commit writers live on.
//!
//! Where the store's batches can be shared out evenly, each worker has its own writer: no commit waits for another thread. Else
//! all share one, on a thread of its own: a handler that blocks its worker holds up nobody's commits. Partitions that are kept
//! clear of floods ([`bulkhead`]) have one more thread, with its own writer where each has one: what the commit of a flood brings
//! to be done on a thread, all at once, is never before what they do.

use std::ops::Range;

use crate::bulkhead;

/// How they are shared out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Threads {
    partitions: u16,
    /// Workers for the partitions of all.
    workers: usize,
    writers: Range<usize>,
    /// The thread of what is kept clear; one of the workers where nothing is.
    apart: usize,
    /// Whether there is one writer, on a thread without partitions, of a store that does best with that.
    pub is_writer_alone: bool,
}

impl Threads {
    /// For so many workers, batches that the store takes at once, and partitions; `is_answered_apart`: whether the store
    /// answers from a thread of its own.
    pub fn new(workers: usize, lanes: usize, is_answered_apart: bool, partitions: u16) -> Self {
        let keeps = bulkhead::keeps(partitions);
        let each_has_one = lanes >= workers && lanes.is_multiple_of(workers);
        let writers = if each_has_one { 0..workers } else { workers..workers + 1 };
        let apart = if keeps { writers.end } else { 0 };
        // A store that takes one batch at a time has one writer, who knows what goes before what.
        let writers = if keeps && each_has_one && lanes > 1 { 0..workers + 1 } else { writers };
        Self { partitions, workers, writers, apart, is_writer_alone: is_answered_apart && !each_has_one }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.writers.end.max(self.apart + 1)
    }

    /// Those with a commit writer each.
    pub fn writers(&self) -> Range<usize> {
        self.writers.clone()
    }

    /// The thread of a partition, and the place of its writer among them.
    pub fn of(&self, partition: u16) -> (usize, usize) {
        let is_kept = bulkhead::is_kept(partition, self.partitions);
        let thread = if is_kept { self.apart } else { usize::from(partition) % self.workers };
        (thread, if self.writers.contains(&thread) { thread - self.writers.start } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_clear_has_a_thread_of_its_own() {
        // PostgreSQL: each thread has its writer.
        let threads = Threads::new(2, 4, false, 64);
        assert_eq!((threads.count(), threads.writers(), threads.is_writer_alone), (3, 0..3, false));
        assert_eq!([0, 1, 55, 56, 63].map(|n| threads.of(n)), [(0, 0), (1, 1), (1, 1), (2, 2), (2, 2)]);
        // SQLite: all share one, on a thread without partitions.
        let threads = Threads::new(2, 1, true, 64);
        assert_eq!((threads.count(), threads.writers(), threads.is_writer_alone), (4, 2..3, true));
        assert_eq!([0, 1, 55, 56, 63].map(|n| threads.of(n)), [(0, 0), (1, 0), (1, 0), (3, 0), (3, 0)]);
        // PostgreSQL with one lane: they share one, too, and its commits are waited for beside other work.
        let of_one_lane = Threads::new(2, 1, false, 64);
        assert_eq!(of_one_lane, Threads { is_writer_alone: false, ..threads });
    }

    #[test]
    fn few_partitions_need_no_more_threads_than_before() {
        let threads = Threads::new(2, 4, false, 7);
        assert_eq!((threads.count(), threads.writers(), threads.of(6)), (2, 0..2, (0, 0)));
        let threads = Threads::new(2, 1, true, 7);
        assert_eq!((threads.count(), threads.writers(), threads.of(6)), (3, 2..3, (0, 0)));
    }

    #[test]
    fn one_core_has_two_threads() {
        let threads = Threads::new(1, 4, false, 64);
        assert_eq!((threads.count(), threads.of(0), threads.of(63)), (2, (0, 0), (1, 1)));
        let threads = Threads::new(1, 1, true, 64);
        assert_eq!((threads.count(), threads.writers(), threads.is_writer_alone), (2, 0..1, false));
        assert_eq!((threads.of(0), threads.of(63)), ((0, 0), (1, 0)), "SQLite has one writer");
    }

    #[test]
    fn batches_that_cannot_be_shared_out_have_one_writer() {
        let threads = Threads::new(3, 4, false, 64);
        assert_eq!((threads.count(), threads.writers(), threads.is_writer_alone), (5, 3..4, false));
        assert_eq!((threads.of(2), threads.of(60)), ((2, 0), (4, 0)));
    }
}
