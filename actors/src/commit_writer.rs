//! The commit writer: many actors' writes, one durable transaction.
//!
//! What waits while a transaction is under way goes into the next one, so batches grow with the load and a lone write
//! waits for nobody. Nothing is acknowledged before its commit. A store that is away makes the writer wait and try
//! again with the same batch: versions make that harmless, should the first try have succeeded unseen.
//!
//! What partitions commit that are kept clear ([`bulkhead`]) goes apart from what the others have gathered: on a lane of its
//! own, or, where the store has only one, before it.

use std::collections::VecDeque;
use std::sync::Arc;
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

/// Messages of the commit writer.
pub enum WriterMsg {
    /// Commit these together with whatever else waits on the lane of this partition.
    Commit { partition: u16, writes: Vec<Write>, reply: Reply },
    /// The lane's transaction is over.
    Idle { lane: usize },
}

/// Writes of one batch while writes wait beside it that go apart, or have of late: so long those may have to wait.
const SHARED_BATCH: usize = 128;
/// How long ago is of late.
const OF_LATE_MS: i64 = 1_000;

/// The actor.
pub struct CommitWriter {
    runtime: Arc<Runtime>,
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
        (&mut self.waiting, if shared { SHARED_BATCH.min(max_batch) } else { max_batch })
    }
}

impl Behaviour for CommitWriter {
    const KIND: &'static str = "commit_writer";
    type Msg = WriterMsg;
    type Args = Arc<Runtime>;

    fn start(args: &Self::Args, _ctx: &mut Ctx<'_, Self>) -> Self {
        let lanes = match args.store.lanes() {
            0 | 1 => 1,
            several => several + 1,
        };
        let lanes = (0..lanes).map(|_| Lane::default()).collect();
        Self { runtime: args.clone(), lanes }
    }

    fn handle(&mut self, msg: WriterMsg, ctx: &mut Ctx<'_, Self>) {
        let lane = match msg {
            WriterMsg::Commit { partition, writes, reply } => {
                let is_kept = bulkhead::is_kept(partition, self.runtime.settings.partitions);
                let goes_apart = is_kept && writes.len() <= bulkhead::WRITES;
                let several = self.lanes.len() - 1;
                let lane = match usize::from(partition).checked_rem(several) {
                    Some(_) if goes_apart => several,
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
        let runtime = self.runtime.clone();
        self.runtime.io.spawn(async move {
            // Whatever happens to this task, the lane must not stay busy for ever.
            let _idle = OnDrop(Some(move || {
                let _ = me.tell_urgent(WriterMsg::Idle { lane: number });
            }));
            let result = commit(&runtime, batch).await;
            answer(replies, result);
        });
    }
}

/// About the bytes of JSON in a write, where it can be large.
fn weight(write: &Write) -> usize {
    match write {
        Write::Run(run) => run.bytes,
        Write::Gather(join) => join.bytes,
        _ => 0,
    }
}

/// Commits, waiting for a store that is away.
async fn commit(runtime: &Runtime, batch: Vec<Write>) -> CommitResult {
    Counters::add(&runtime.counters.batches, 1);
    Counters::add(&runtime.counters.writes, batch.len() as u64);
    runtime.meters.commit_writes.record(batch.len() as u64);
    let mut pause = Duration::from_millis(50);
    loop {
        failpoint::hit("commit.before");
        let started = Instant::now();
        let result = runtime.store.commit(batch.clone()).await;
        failpoint::hit("commit.after");
        runtime.meters.commit_time.record(started.elapsed().as_micros() as u64);
        let Err(StoreError::Unavailable(message)) = result else { return result };
        Counters::add(&runtime.counters.commit_retries, 1);
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
