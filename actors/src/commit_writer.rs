//! The commit writer: many actors' writes, one durable transaction.
//!
//! What waits while a transaction is under way goes into the next one, so batches grow with the load and a lone write
//! waits for nobody. Nothing is acknowledged before its commit. A store that is away makes the writer wait and try
//! again with the same batch: versions make that harmless, should the first try have succeeded unseen.
//!
//! What waits belongs to no life of the writer ([`queue`]): the next one goes on with it, also where the thread of the one before
//! hangs and will never let go of anything. A commit under way belongs to no actor either: it goes on while its writer is
//! restarted, and its callers are answered. Where commits run
//! on the writer's own thread ([`WriterArgs::is_alone`]) it stands still with that thread, also where that is given up as stuck,
//! and keeps the store's connection: the next writer's commits wait for it, as for a store that is away. If the thread ever goes
//! on, so does it, and answers from another one; if the thread ends, its callers hear that the outcome is unknown.
//!
//! What partitions commit that are kept clear ([`bulkhead`]) goes apart from what the others have gathered: on a lane of its
//! own, or, where the store has only one, before it, in turn with it. Then a batch of the others is as large as about
//! `SHARED_US` take by the pace of those before, for so long what goes apart may have to wait. Statistics, for which nobody
//! waits, go with the others.

mod queue;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use queue::{Lane, Queue, note_pace};
pub use queue::{Writer, commit_one};

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

/// What a writer is made of.
#[derive(Clone)]
struct WriterArgs {
    runtime: Arc<Runtime>,
    queue: Arc<Queue>,
    /// Whether its thread has nothing else to do. Then commits run there: SQLite answers each of their statements from another
    /// thread, and on the I/O threads each answer would wait behind whatever else has become ready.
    is_alone: bool,
}

/// Messages of the commit writer.
enum WriterMsg {
    /// Something waits on this lane.
    Waiting { lane: usize },
    /// The lane's transaction is over.
    Idle { lane: usize },
}

/// The actor.
struct CommitWriter {
    args: WriterArgs,
    /// On which lanes this life has a transaction under way.
    busy: Vec<bool>,
}

impl Behaviour for CommitWriter {
    const KIND: &'static str = "commit_writer";
    type Msg = WriterMsg;
    type Args = WriterArgs;

    fn start(args: &Self::Args, ctx: &mut Ctx<'_, Self>) -> Self {
        let lanes = args.queue.lanes().len();
        // What waited for the life before.
        for lane in 0..lanes {
            let _ = ctx.me().tell_urgent(WriterMsg::Waiting { lane });
        }
        Self { args: args.clone(), busy: vec![false; lanes] }
    }

    fn handle(&mut self, msg: WriterMsg, ctx: &mut Ctx<'_, Self>) {
        let lane = match msg {
            WriterMsg::Waiting { lane } => lane,
            WriterMsg::Idle { lane } => {
                self.busy[lane] = false;
                lane
            }
        };
        self.flush(lane, ctx.me());
    }

    fn stopping(&mut self, _ctx: &mut Ctx<'_, Self>) {
        // Nobody will commit it.
        let left: Vec<Lane> = self.args.queue.lanes().iter_mut().map(std::mem::take).collect();
        drop(left);
    }

    fn state(&self) -> &'static str {
        if self.busy.contains(&true) { "committing" } else { "idle" }
    }
}

impl CommitWriter {
    fn flush(&mut self, number: usize, me: Ref<Self>) {
        if self.busy[number] {
            return;
        }
        let runtime = self.args.runtime.clone();
        let (mut batch, mut replies) = (Vec::new(), Vec::new());
        let pace = {
            let mut lanes = self.args.queue.lanes();
            let lane = &mut lanes[number];
            if lane.is_empty() {
                return;
            }
            let (waiting, most) = lane.next(runtime.settings.max_batch, runtime.now_ms());
            let mut bytes = 0;
            while let Some((writes, _)) = waiting.front() {
                bytes += writes.iter().map(weight).sum::<usize>();
                if !batch.is_empty() && (batch.len() + writes.len() > most || bytes > runtime.settings.max_batch_bytes)
                {
                    break;
                }
                let (writes, reply) = waiting.pop_front().expect("it has a front");
                replies.push((writes.len(), reply));
                batch.extend(writes);
            }
            lane.pace()
        };
        self.busy[number] = true;
        let is_alone = self.args.is_alone;
        let io = runtime.io.clone();
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
            io.spawn(work);
        }
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
