//! What waits for a commit writer: lanes that outlive its lives.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{CommitWriter, Reply, WriterArgs, WriterMsg};
use crate::bulkhead;
use crate::ports::StoreError;
use crate::ports::store::{Outcome, Write};
use crate::runtime::Runtime;
use crate::supervision::{ChildSpec, Ref, StartError, SupervisorRef, TellError};

/// What one caller wants committed.
type Waiting = (Vec<Write>, Reply);

/// The way to a commit writer.
#[derive(Clone)]
pub struct Writer {
    actor: Ref<CommitWriter>,
    queue: Arc<Queue>,
}

impl Writer {
    /// Starts a writer. `is_alone`: its thread has nothing else to do.
    pub fn start(
        root: &SupervisorRef,
        spec: ChildSpec,
        runtime: &Arc<Runtime>,
        is_alone: bool,
    ) -> Result<Self, StartError> {
        let queue = Arc::new(Queue::new(runtime.store.lanes(), runtime.settings.partitions));
        let args = WriterArgs { runtime: runtime.clone(), queue: queue.clone(), is_alone };
        Ok(Self { actor: root.start_child::<CommitWriter>(spec, args)?, queue })
    }

    /// Commits these together with whatever else waits on the lane of this partition. Refused, it drops the reply, which says
    /// that the outcome is unknown.
    pub fn commit(&self, partition: u16, writes: Vec<Write>, reply: Reply) -> Result<(), TellError> {
        let (lane, goes_first) = self.queue.place(partition, &writes);
        let mut lanes = self.queue.lanes();
        // Told first, because who may not tell may not commit; the writer does not look before the lanes are let go of.
        self.actor.tell_urgent(WriterMsg::Waiting { lane })?;
        let lane = &mut lanes[lane];
        if goes_first { &mut lane.apart } else { &mut lane.waiting }.push_back((writes, reply));
        Ok(())
    }
}

/// Commits one write that nothing else belongs to. `then` is called with the outcome at hand, whether the caller still waits
/// or not.
pub async fn commit_one(
    writer: &Writer,
    io: &tokio::runtime::Handle,
    write: Write,
    then: impl FnOnce() + Send + 'static,
) -> Result<Outcome, StoreError> {
    let (send, heard) = oneshot::channel();
    let reply = Reply::new(io, move |result| {
        then();
        // A caller that has gone away does not want to know.
        drop(send.send(result));
    });
    let gone = || StoreError::Unavailable("the commit writer is restarting; try again".to_owned());
    writer.commit(0, vec![write], reply).map_err(|_| gone())?;
    let mut outcomes = heard.await.map_err(|_| gone())??;
    outcomes.pop().ok_or_else(|| StoreError::Corrupt("the store gave no outcome".to_owned()))
}

/// The lanes of a writer: those of the store, and one more for what goes apart where the store has several.
pub(super) struct Queue {
    lanes: Mutex<Vec<Lane>>,
    /// How many the store has.
    several: usize,
    partitions: u16,
}

impl Queue {
    fn new(of_store: usize, partitions: u16) -> Self {
        let several = if of_store > 1 { of_store } else { 0 };
        Self { lanes: Mutex::new((0..=several).map(|_| Lane::default()).collect()), several, partitions }
    }

    pub fn lanes(&self) -> MutexGuard<'_, Vec<Lane>> {
        // Each change of a lane is one call: there is nothing half-done for a panic to leave.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The lane of these writes, and whether they go before it, in turn with what else waits there.
    fn place(&self, partition: u16, writes: &[Write]) -> (usize, bool) {
        let is_kept = bulkhead::is_kept(partition, self.partitions);
        let goes_apart = is_kept && writes.len() <= bulkhead::WRITES && !are_statistics(writes);
        let lane = match usize::from(partition).checked_rem(self.several) {
            Some(_) if goes_apart => self.several,
            // Together, so that what goes apart need not wait for a connection.
            Some(_) if is_kept => 0,
            lane => lane.unwrap_or(0),
        };
        (lane, goes_apart && self.several == 0)
    }
}

/// Whether there is nothing else: nobody waits for them, and they take long.
fn are_statistics(writes: &[Write]) -> bool {
    writes.iter().all(|write| matches!(write, Write::Statistics(_)))
}

/// How long a batch takes, in microseconds, while writes wait beside it that go apart, or have of late.
const SHARED_US: u64 = 4_000;
/// How many writes it has at least, however slow the store is, and at most.
const SHARED_LEAST: usize = 32;
const SHARED_MOST: usize = 128;
/// How many writes say what one takes. Of a batch that was cut short and the next one, one has so many, whatever their messages
/// are made of: a pace that has become another is noticed.
const PACE_LEAST: usize = SHARED_LEAST / 2;
/// How long ago is of late.
const OF_LATE_MS: i64 = 1_000;

/// What waits for one of a writer's transactions at a time.
#[derive(Default)]
pub(super) struct Lane {
    waiting: VecDeque<Waiting>,
    /// What goes before it, in turn with it.
    apart: VecDeque<Waiting>,
    /// When something went apart last, and whether the last batch did.
    apart_at_ms: i64,
    was_apart: bool,
    /// What a write of the others took of late, in microseconds; 0: not known.
    pace_us: Arc<AtomicU64>,
}

impl Lane {
    /// What the next batch is made of, and how many writes it may have.
    pub fn next(&mut self, max_batch: usize, now_ms: i64) -> (&mut VecDeque<Waiting>, usize) {
        self.was_apart = !self.apart.is_empty() && (!self.was_apart || self.waiting.is_empty());
        if self.was_apart {
            self.apart_at_ms = now_ms;
            return (&mut self.apart, max_batch);
        }
        let shared = !self.apart.is_empty() || (0..OF_LATE_MS).contains(&(now_ms - self.apart_at_ms));
        let most = if shared { shared_batch(self.pace_us.load(Ordering::Relaxed)).min(max_batch) } else { max_batch };
        (&mut self.waiting, most)
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.apart.is_empty()
    }

    /// Where the pace of the batch that was taken last is noted, if it says anything.
    pub fn pace(&self) -> Option<Arc<AtomicU64>> {
        (!self.was_apart).then(|| self.pace_us.clone())
    }
}

/// How many writes a batch has beside which others wait, by what one takes.
fn shared_batch(pace_us: u64) -> usize {
    let fit = SHARED_US.checked_div(pace_us).map_or(SHARED_MOST, |fit| fit as usize);
    fit.clamp(SHARED_LEAST, SHARED_MOST)
}

/// What a write takes by now: a slow batch among others counts for a quarter. A few writes say nothing: what they take is the
/// flush to disk.
pub(super) fn note_pace(pace_us: &AtomicU64, writes: usize, took: Duration) {
    if writes < PACE_LEAST {
        return;
    }
    let (now, before) = (took.as_micros() as u64 / writes as u64, pace_us.load(Ordering::Relaxed));
    pace_us.store(if before == 0 { now } else { (3 * before + now) / 4 }.max(1), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use core314_domain::ids::RowId;
    use uuid::Uuid;

    use super::*;
    use crate::ports::store::StatisticsWrite;

    fn statistics() -> Write {
        Write::Statistics(Box::new(StatisticsWrite { partition: 63, epoch: 1, rows: Vec::new(), covered_seq: 0 }))
    }

    #[test]
    fn a_batch_beside_which_others_wait_is_as_large_as_its_time() {
        let pace = AtomicU64::new(0);
        assert_eq!(shared_batch(0), SHARED_MOST, "nothing is known");
        note_pace(&pace, 1, Duration::from_millis(3));
        assert_eq!(pace.load(Ordering::Relaxed), 0, "a lone write says nothing");
        note_pace(&pace, SHARED_LEAST / 2 - 1, Duration::from_millis(3));
        assert_eq!(pace.load(Ordering::Relaxed), 0, "nor do a few");
        note_pace(&pace, 100, Duration::from_millis(8));
        assert_eq!(shared_batch(pace.load(Ordering::Relaxed)), 50, "80 µs each");
        note_pace(&pace, 1_000, Duration::from_millis(400));
        assert_eq!(pace.load(Ordering::Relaxed), 160, "(3 * 80 + 400) / 4");
        assert_eq!(shared_batch(160), SHARED_LEAST);
        assert_eq!(shared_batch(1), SHARED_MOST);
        note_pace(&pace, SHARED_LEAST / 2, Duration::from_micros(16 * 40));
        assert_eq!(pace.load(Ordering::Relaxed), 130, "of so many, too: (3 * 160 + 40) / 4");
    }

    #[test]
    fn what_goes_apart_takes_turns_with_the_others() {
        let io = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let reply = || Reply::new(io.handle(), drop);
        let mut lane = Lane::default();
        lane.waiting.extend((0..2).map(|_| (vec![statistics()], reply())));
        assert_eq!(lane.next(1_024, 0).1, SHARED_MOST, "the clock begins as if something had gone apart just now");
        assert_eq!(lane.next(1_024, OF_LATE_MS).1, 1_024, "nobody waits beside it");
        lane.apart.push_back((vec![statistics()], reply()));
        assert_eq!((lane.next(1_024, 9_000).1, lane.was_apart), (1_024, true));
        assert_eq!((lane.next(1_024, 9_000).1, lane.was_apart), (SHARED_MOST, false), "then it is the others' turn");
        lane.apart.clear();
        assert_eq!(lane.next(1_024, 9_999).1, SHARED_MOST, "of late");
        assert_eq!(lane.next(1_024, 10_000).1, 1_024, "not any more");
        for (_, reply) in lane.waiting.drain(..) {
            reply.send(Ok(Vec::new()));
        }
    }

    #[test]
    fn statistics_alone_wait_for_the_others() {
        let letter = Write::DeadLetter(Box::new(crate::ports::store::DeadLetter {
            id: RowId(Uuid::nil()),
            owner: core314_domain::ids::Owner::platform(),
            run: None,
            actor_path: String::new(),
            message: String::new(),
            failure: String::new(),
            at_ms: 0,
        }));
        assert!(are_statistics(&[statistics()]));
        assert!(!are_statistics(&[statistics(), letter]));
    }
}
