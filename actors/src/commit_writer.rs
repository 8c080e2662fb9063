//! The commit writer: many actors' writes, one durable transaction.
//!
//! What waits while a transaction is under way goes into the next one, so batches grow with the load and a lone write
//! waits for nobody. Nothing is acknowledged before its commit. A store that is away makes the writer wait and try
//! again with the same batch: versions make that harmless, should the first try have succeeded unseen.
//!
//! A commit under way belongs to no actor: it goes on while its writer is restarted, and its callers are answered. Where commits run
//! on the writer's own thread ([`WriterArgs::is_alone`]) it stands still with that thread, also where that is given up as stuck,
//! and keeps the store's connection: the next writer's commits wait for it, as for a store that is away. If the thread ever goes
//! on, so does it, and answers from another one; if the thread ends, its callers hear that the outcome is unknown.
//!
//! What partitions commit that are kept clear ([`bulkhead`]) goes apart from what the others have gathered: on a lane of its
//! own, or, where the store has only one, before it, in turn with it. Then a batch of the others is as large as about
//! `SHARED_US` take by the pace of those before, for so long what goes apart may have to wait. Statistics, for which nobody
//! waits, go with the others.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::bulkhead;
use crate::failpoint;
use crate::ports::StoreError;
use crate::ports::store::{Outcome, Write};
use crate::runtime::{Counters, Runtime};
use crate::supervision::{Behaviour, Ctx, Ref};

/// What a caller is told: an outcome per write, or that the outcome of all of them is unknown.
pub type CommitResult = Result<Vec<Outcome>, StoreError>;

/// Called once with the result, on an I/O thread. Dropped without a call it says that the outcome is unknown.
pub struct Reply {
    call: Option<Box<dyn FnOnce(CommitResult) + Send>>,
    io: tokio::runtime::Handle,
}

impl Reply {
    /// A reply that calls this.
    pub fn new(io: &tokio::runtime::Handle, call: impl FnOnce(CommitResult) + Send + 'static) -> Self {
        Self { call: Some(Box::new(call)), io: io.clone() }
    }

    fn send(mut self, result: CommitResult) {
        if let Some(call) = self.call.take() {
            call(result);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            // On a thread of its own: this one may have been given up as stuck, and what it tells is not heard.
            let lost = StoreError::Unavailable("the commit writer was restarted".to_owned());
            self.io.spawn_blocking(move || call(Err(lost)));
        }
    }
}

/// Commits one write that nothing else belongs to. `then` is called with the outcome at hand, whether the caller still waits
/// or not.
pub async fn commit_one(
    writer: &Ref<CommitWriter>,
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
    writer.tell_urgent(WriterMsg::Commit { partition: 0, writes: vec![write], reply }).map_err(|_| gone())?;
    let mut outcomes = heard.await.map_err(|_| gone())??;
    outcomes.pop().ok_or_else(|| StoreError::Corrupt("the store gave no outcome".to_owned()))
}

/// What a writer is made of.
#[derive(Clone)]
pub struct WriterArgs {
    pub runtime: Arc<Runtime>,
    /// Whether its thread has nothing else to do. Then commits run there: SQLite answers each of their statements from another
    /// thread, and on the I/O threads each answer would wait behind whatever else has become ready.
    pub is_alone: bool,
}

/// Messages of the commit writer.
pub enum WriterMsg {
    /// Commit these together with whatever else waits on the lane of this partition.
    Commit { partition: u16, writes: Vec<Write>, reply: Reply },
    /// The lane's transaction is over.
    Idle { lane: usize },
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

/// The actor.
pub struct CommitWriter {
    runtime: Arc<Runtime>,
    is_alone: bool,
    /// Those of the store, and one more for what goes apart where the store has several.
    lanes: Vec<Lane>,
}

#[derive(Default)]
struct Lane {
    busy: bool,
    waiting: VecDeque<(Vec<Write>, Reply)>,
    /// What goes before it, in turn with it.
    apart: VecDeque<(Vec<Write>, Reply)>,
    /// When something went apart last, and whether the last batch did.
    apart_at_ms: i64,
    was_apart: bool,
    /// What a write of the others took of late, in microseconds; 0: not known.
    pace_us: Arc<AtomicU64>,
}

impl Lane {
    /// What the next batch is made of, and how many writes it may have.
    fn next(&mut self, max_batch: usize, now_ms: i64) -> (&mut VecDeque<(Vec<Write>, Reply)>, usize) {
        self.was_apart = !self.apart.is_empty() && (!self.was_apart || self.waiting.is_empty());
        if self.was_apart {
            self.apart_at_ms = now_ms;
            return (&mut self.apart, max_batch);
        }
        let shared = !self.apart.is_empty() || (0..OF_LATE_MS).contains(&(now_ms - self.apart_at_ms));
        let most = if shared { shared_batch(self.pace_us.load(Ordering::Relaxed)).min(max_batch) } else { max_batch };
        (&mut self.waiting, most)
    }
}

/// How many writes a batch has beside which others wait, by what one takes.
fn shared_batch(pace_us: u64) -> usize {
    let fit = SHARED_US.checked_div(pace_us).map_or(SHARED_MOST, |fit| fit as usize);
    fit.clamp(SHARED_LEAST, SHARED_MOST)
}

/// What a write takes by now: a slow batch among others counts for a quarter. A few writes say nothing: what they take is the
/// flush to disk.
fn note_pace(pace_us: &AtomicU64, writes: usize, took: Duration) {
    if writes < PACE_LEAST {
        return;
    }
    let (now, before) = (took.as_micros() as u64 / writes as u64, pace_us.load(Ordering::Relaxed));
    pace_us.store(if before == 0 { now } else { (3 * before + now) / 4 }.max(1), Ordering::Relaxed);
}

impl Behaviour for CommitWriter {
    const KIND: &'static str = "commit_writer";
    type Msg = WriterMsg;
    type Args = WriterArgs;

    fn start(args: &Self::Args, _ctx: &mut Ctx<'_, Self>) -> Self {
        let lanes = match args.runtime.store.lanes() {
            0 | 1 => 1,
            several => several + 1,
        };
        let lanes = (0..lanes).map(|_| Lane::default()).collect();
        Self { runtime: args.runtime.clone(), is_alone: args.is_alone, lanes }
    }

    fn handle(&mut self, msg: WriterMsg, ctx: &mut Ctx<'_, Self>) {
        let lane = match msg {
            WriterMsg::Commit { partition, writes, reply } => {
                let is_kept = bulkhead::is_kept(partition, self.runtime.settings.partitions);
                let goes_apart = is_kept && writes.len() <= bulkhead::WRITES && !are_statistics(&writes);
                let several = self.lanes.len() - 1;
                let lane = match usize::from(partition).checked_rem(several) {
                    Some(_) if goes_apart => several,
                    // Together, so that what goes apart need not wait for a connection.
                    Some(_) if is_kept => 0,
                    lane => lane.unwrap_or(0),
                };
                let queue = &mut self.lanes[lane];
                let queue = if goes_apart && several == 0 { &mut queue.apart } else { &mut queue.waiting };
                queue.push_back((writes, reply));
                lane
            }
            WriterMsg::Idle { lane } => {
                self.lanes[lane].busy = false;
                lane
            }
        };
        self.flush(lane, ctx.me());
    }

    fn state(&self) -> &'static str {
        if self.lanes.iter().any(|l| l.busy) { "committing" } else { "idle" }
    }
}

impl CommitWriter {
    fn flush(&mut self, number: usize, me: Ref<Self>) {
        let (max_batch, max_bytes) = (self.runtime.settings.max_batch, self.runtime.settings.max_batch_bytes);
        let lane = &mut self.lanes[number];
        if lane.busy || lane.waiting.is_empty() && lane.apart.is_empty() {
            return;
        }
        let (waiting, max_batch) = lane.next(max_batch, self.runtime.now_ms());
        let mut batch = Vec::new();
        let mut replies = Vec::new();
        let mut bytes = 0;
        while let Some((writes, _)) = waiting.front() {
            bytes += writes.iter().map(weight).sum::<usize>();
            if !batch.is_empty() && (batch.len() + writes.len() > max_batch || bytes > max_bytes) {
                break;
            }
            let (writes, reply) = waiting.pop_front().expect("it has a front");
            replies.push((writes.len(), reply));
            batch.extend(writes);
        }
        lane.busy = true;
        let (runtime, pace) = (self.runtime.clone(), (!lane.was_apart).then(|| lane.pace_us.clone()));
        let is_alone = self.is_alone;
        let work = async move {
            // Whatever happens to this task, the lane must not stay busy for ever.
            let _idle = OnDrop(Some(move || {
                let _ = me.tell_urgent(WriterMsg::Idle { lane: number });
            }));
            let result = commit(&runtime, batch, pace.as_deref()).await;
            if is_alone {
                // This thread may have been given up as stuck meanwhile: what it tells is not heard then.
                runtime.io.spawn(async move { answer(replies, result) });
            } else {
                answer(replies, result);
            }
        };
        if is_alone {
            actix_rt::spawn(work);
        } else {
            self.runtime.io.spawn(work);
        }
    }
}

/// Whether there is nothing else: nobody waits for them, and they take long.
fn are_statistics(writes: &[Write]) -> bool {
    writes.iter().all(|write| matches!(write, Write::Statistics(_)))
}

/// About the bytes of JSON in a write, where it can be large.
fn weight(write: &Write) -> usize {
    match write {
        Write::Run(run) => run.bytes,
        Write::Gather(join) => join.bytes,
        _ => 0,
    }
}

/// Commits, waiting for a store that is away. What that takes is no pace: the try that commits is.
async fn commit(runtime: &Runtime, batch: Vec<Write>, pace_us: Option<&AtomicU64>) -> CommitResult {
    Counters::add(&runtime.counters.batches, 1);
    Counters::add(&runtime.counters.writes, batch.len() as u64);
    runtime.meters.commit_writes.record(batch.len() as u64);
    let mut pause = Duration::from_millis(50);
    let (mut is_again, mut waiting) = (false, None);
    loop {
        failpoint::hit("commit.before");
        let started = Instant::now();
        let result = runtime.store.commit(batch.clone()).await;
        failpoint::hit("commit.after");
        let took = started.elapsed();
        runtime.meters.commit_time.record(took.as_micros() as u64);
        if let (Ok(_), Some(pace_us)) = (&result, pace_us) {
            note_pace(pace_us, batch.len(), took);
        }
        let Err(StoreError::Unavailable(message)) = result else { return result };
        Counters::add(&runtime.counters.commit_retries, 1);
        if is_again {
            waiting.get_or_insert_with(|| runtime.unwritten.enter()).refused(&message);
        }
        is_again = true;
        tracing::warn!(%message, writes = batch.len(), "the store is away; the batch is tried again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

/// Gives each caller the outcomes of its own writes.
fn answer(replies: Vec<(usize, Reply)>, result: CommitResult) {
    match result {
        Ok(outcomes) => {
            let mut outcomes = outcomes.into_iter();
            for (count, reply) in replies {
                reply.send(Ok(outcomes.by_ref().take(count).collect()));
            }
        }
        Err(error) => replies.into_iter().for_each(|(_, reply)| reply.send(Err(error.clone()))),
    }
}

/// Calls when dropped, be it by a panic.
struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(call) = self.0.take() {
            call();
        }
    }
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
