//! A queue partition: the one writer of its runs, and the keeper of their order.
//!
//! It holds the runs that are doing something, the entries that may start, and the timers of the next minutes; all else
//! waits in the store and is paged in. It grants slots, starts attempts once their commit is durable, and has one commit
//! under way at a time, into which everything decided meanwhile is gathered.
//!
//! How someone could get this wrong: to act on an effect before its commit; to load a run while one of its writes is
//! under way; to count a slot twice. So effects ride on their write, loads wait for it, and the number of free slots is
//! computed from what is known to use one.

mod dispatch;
mod fetch;
mod gather;
mod held;
mod limits;
mod load;
mod news;
mod outbox;
mod ready;
mod runs;
mod statistics;
mod timers;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};

use core314_domain::ids::{RunId, StepNo, TenantId};
use core314_domain::limits::{Brought as Trigger, Claim, Hold};
use core314_domain::plan::FlowPlan;
use core314_domain::run::{Command, PlanRef, Refusal, RunHeader};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::attempts::Attempts;
use crate::commit_writer::{CommitResult, Writer};
use crate::flow_run::{Accepting, Brought, Decided, Remark, Wants};
use crate::gates::Passes;
use crate::plans::ReadyFlow;
use crate::ports::StoreError;
use crate::ports::store::{StoredLimits, StoredRun, TailRow};
use crate::runtime::Runtime;
use crate::supervision::{Behaviour, ChildExit, Ctx};

pub use limits::claim_of;
pub use news::News;
use outbox::Outbox;
use ready::ReadyQueue;
use runs::Resident;
use statistics::Statistics;
use timers::Timers;

/// Between two looks at the queue's age.
const AGE_INTERVAL_MS: i64 = 1_000;

/// What whoever told a run something hears back, once it is durable.
#[derive(Debug)]
pub enum Answer {
    Committed,
    Refused(Refusal),
    /// The idempotency key was used before.
    Duplicate {
        answer: Value,
        same_request: bool,
    },
    /// A live run of the flow has this name already.
    RunKeyTaken(RunId),
    /// The limit of its flow is full, and takes no run that would have to wait.
    Skipped {
        holders: Vec<RunId>,
    },
    /// The trigger is durable: it has joined this run, which gathers.
    Gathered {
        run: RunId,
    },
    /// More runs wait for limits here than may.
    Crowded,
    /// There is no such run.
    NotFound,
    /// It could not be stored; the words say why.
    Failed(String),
}

/// Where an answer goes.
pub type AnswerTo = oneshot::Sender<Answer>;

/// Messages of a partition.
pub enum PartitionMsg {
    /// A new run.
    Accept(Box<NewRun>),
    /// New runs that are stored in one commit.
    AcceptAll(Vec<NewRun>),
    /// A command for a run.
    Tell {
        run: RunId,
        command: Box<Command>,
        remark: Remark,
        answer: Option<AnswerTo>,
    },
    /// A flow run has decided.
    Decided {
        run: RunId,
        decided: Box<Decided>,
    },
    /// A flow run cannot decide before it has these results.
    Wanted {
        run: RunId,
        generation: u32,
        wants: Wants,
    },
    /// They were read.
    Brought {
        wanted: fetch::Wanted,
        found: Result<Brought, StoreError>,
    },
    /// An attempt's report is in the table.
    AttemptEnded {
        run: RunId,
        step: StepNo,
        attempt: u32,
    },
    /// The commit with this number is over.
    Committed {
        batch: u64,
        result: CommitResult,
    },
    /// Runs were read; those that are missing do not exist.
    Loaded {
        wanted: Vec<RunId>,
        found: Result<Vec<LoadedRun>, StoreError>,
    },
    /// Runs with work, from the store.
    QueuePage(Result<Vec<(i64, RunId)>, StoreError>),
    /// Timers of the next minutes, from the store.
    WakePage(Result<timers::WakePage, StoreError>),
    /// What was asked of an I/O thread in this life of the actor; an answer to an earlier one is not heard.
    Read {
        life: u32,
        what: Box<PartitionMsg>,
    },
    /// The claims of live runs on limits, from the store.
    Limits(Result<StoredLimits, StoreError>),
    /// What runs have gathered that are to begin.
    Gathered {
        runs: Vec<RunId>,
        found: Result<Vec<(RunId, Trigger)>, StoreError>,
    },
    /// What holds a run back from starting.
    Hold {
        run: RunId,
        answer: oneshot::Sender<Option<Hold>>,
    },
    /// Something has changed at the gate of an integration; without a name, there is a share for whoever waits for one.
    GateOpened {
        tenant: TenantId,
        name: Arc<str>,
    },
    /// Something may be due.
    Tick,
    /// Statistics are to be written.
    FlushStatistics,
    /// The position that the stored statistics cover, or the one after which was read; and the log behind it.
    StatisticsTail(Result<(i64, Vec<TailRow>), StoreError>),
    StatisticsWritten(CommitResult),
}

/// A run that was read, with its plan; or why that cannot be had.
pub type LoadedRun = (StoredRun, Result<ReadyFlow, StoreError>);

/// A run to accept.
pub struct NewRun {
    pub header: Arc<RunHeader>,
    pub plan: Arc<FlowPlan>,
    pub accepting: Accepting,
    /// What it claims of its flow's limits.
    pub claim: Option<Arc<Claim>>,
    /// How much it brings, where it gathers.
    pub bytes: usize,
    pub answer: AnswerTo,
}

/// What of a partition outlives its actor.
#[derive(Debug, Default)]
pub struct PartitionShared {
    pub attempts: Arc<Attempts>,
    /// The number of the commit whose outcome has not come back; 0: there is none.
    committing: AtomicU64,
    /// A write of statistics is under way whose outcome has not come back.
    counting: AtomicBool,
    /// How many commits there were.
    commits: AtomicU64,
    /// How many lives the actor has had.
    lives: AtomicU32,
    /// Runs that the partition holds in memory; for metrics.
    pub resident: AtomicU32,
    /// Runs that wait for a limit of their flow, and runs that hold one; for metrics.
    pub limit_waiting: AtomicU32,
    pub limit_holding: AtomicU32,
    /// Runs that gather triggers; for metrics.
    pub limit_gathering: AtomicU32,
    /// Entries that wait for a slot; for metrics.
    pub ready: AtomicU32,
    /// Entries that wait at the gates of integrations; for metrics.
    pub held: AtomicU32,
    /// Since when the one of them waits that has waited longest, in milliseconds since the Unix epoch, as it was about a
    /// second ago; 0: none waits. For metrics.
    pub ready_since_ms: AtomicI64,
}

/// What a partition is made of.
#[derive(Clone)]
pub struct PartitionArgs {
    pub number: u16,
    pub runtime: Arc<Runtime>,
    pub writer: Writer,
    pub shared: Arc<PartitionShared>,
}

/// The actor.
pub struct QueuePartition {
    number: u16,
    /// Which life of the actor this is.
    life: u32,
    /// How many actors of runs it has had: their names and generations.
    actors: u32,
    runtime: Arc<Runtime>,
    writer: Writer,
    shared: Arc<PartitionShared>,
    runs: HashMap<RunId, Resident>,
    /// Which run a child is.
    children: HashMap<u64, RunId>,
    ready: ReadyQueue,
    /// When the queue's age was looked at last.
    age_published_ms: i64,
    /// Attempts that use a slot, with what they do; what an earlier life of this actor began is not known.
    running: BTreeMap<(RunId, StepNo), Option<PlanRef>>,
    /// Slots given to commands that are not decided yet.
    granted: usize,
    /// Slots of attempts whose start is not committed yet.
    starting: usize,
    outbox: Outbox,
    /// New runs whose first decisions are awaited: nothing is committed before the last of them, so that they are stored
    /// together.
    gathering: HashSet<RunId>,
    /// Results that runs want before they decide.
    wanted: Vec<fetch::Wanted>,
    /// Runs to read from the store.
    to_load: VecDeque<RunId>,
    loads_under_way: usize,
    paging: load::Paging,
    timers: Timers,
    limits: limits::Desk,
    gathering_triggers: gather::Gathering,
    /// Entries that wait at the gates of integrations.
    held: held::Held,
    /// Passes for starts that are not committed yet.
    passes: BTreeMap<(RunId, StepNo), Passes>,
    statistics: Statistics,
    /// Nothing new starts: the node is stopping.
    draining: bool,
}

impl Behaviour for QueuePartition {
    const KIND: &'static str = "queue_partition";
    type Msg = PartitionMsg;
    type Args = PartitionArgs;

    fn start(args: &PartitionArgs, ctx: &mut Ctx<'_, Self>) -> Self {
        let life = args.shared.lives.fetch_add(1, Ordering::Relaxed) + 1;
        let mut partition = Self {
            number: args.number,
            life,
            actors: 0,
            runtime: args.runtime.clone(),
            writer: args.writer.clone(),
            shared: args.shared.clone(),
            runs: HashMap::new(),
            children: HashMap::new(),
            ready: ReadyQueue::new(args.runtime.settings.tenant_weights.clone()),
            age_published_ms: 0,
            running: args.shared.attempts.running().into_iter().map(|key| (key, None)).collect(),
            granted: 0,
            starting: 0,
            outbox: Outbox::default(),
            gathering: HashSet::new(),
            wanted: Vec::new(),
            to_load: VecDeque::new(),
            loads_under_way: 0,
            paging: load::Paging::default(),
            timers: Timers::default(),
            limits: limits::Desk::default(),
            gathering_triggers: gather::Gathering::default(),
            held: held::Held::default(),
            passes: BTreeMap::new(),
            statistics: Statistics::default(),
            draining: false,
        };
        // A commit of an earlier life is awaited before anything is read: what it stores must be seen.
        let committing = args.shared.committing.load(Ordering::Acquire);
        partition.outbox.await_earlier(committing);
        if life > 1 && committing == 0 {
            // The outcome of a commit may have come to the earlier life, which told nobody.
            partition.runtime.feed.begin_anew();
        }

        partition.read_timers(ctx);
        partition.read_statistics_tail(ctx);
        partition.pump(ctx);
        partition
    }

    fn handle(&mut self, msg: PartitionMsg, ctx: &mut Ctx<'_, Self>) {
        let msg = match msg {
            PartitionMsg::Read { life, what } if life == self.life => *what,
            PartitionMsg::Read { .. } => return,
            msg => msg,
        };
        match msg {
            PartitionMsg::Read { .. } => {}
            PartitionMsg::Accept(new) => self.accept(*new, ctx),
            PartitionMsg::AcceptAll(all) => self.accept_all(all, ctx),
            PartitionMsg::Limits(found) => self.limits_read(found, ctx),
            PartitionMsg::Gathered { runs, found } => self.gathered_read(runs, found, ctx),
            PartitionMsg::Hold { run, answer } => self.tell_hold(run, answer),
            PartitionMsg::Tell { run, command, remark, answer } => self.tell(run, command, remark, answer),
            PartitionMsg::Decided { run, decided } => self.decided(run, *decided, ctx),
            PartitionMsg::Wanted { run, generation, wants } => self.wants(run, generation, wants),
            PartitionMsg::Brought { wanted, found } => self.brought(wanted, found, ctx),
            PartitionMsg::AttemptEnded { run, step, attempt } => self.attempt_ended(run, step, attempt),
            PartitionMsg::Committed { batch, result } => self.committed(batch, result, ctx),
            PartitionMsg::Loaded { wanted, found } => self.loaded(&wanted, found, ctx),
            PartitionMsg::QueuePage(result) => self.queue_page(result, ctx),
            PartitionMsg::WakePage(result) => self.wake_page(result, ctx),
            PartitionMsg::GateOpened { tenant, name } => self.gate_opened(tenant, name),
            PartitionMsg::Tick => self.tick(ctx),
            PartitionMsg::FlushStatistics => self.flush_statistics(ctx),
            PartitionMsg::StatisticsTail(result) => self.statistics_tail(result, ctx),
            PartitionMsg::StatisticsWritten(result) => self.statistics_written(&result, ctx),
        }
        self.pump(ctx);
    }

    fn poison_key(msg: &PartitionMsg) -> Option<String> {
        match msg {
            // What sets a run aside must be heard.
            PartitionMsg::Decided { decided, .. } if decided.is_quarantine => None,
            PartitionMsg::Tell { run, .. }
            | PartitionMsg::Decided { run, .. }
            | PartitionMsg::AttemptEnded { run, .. } => Some(run.to_string()),
            PartitionMsg::Accept(new) => Some(new.header.id.to_string()),
            PartitionMsg::AcceptAll(_)
            | PartitionMsg::Committed { .. }
            | PartitionMsg::Loaded { .. }
            | PartitionMsg::Wanted { .. }
            | PartitionMsg::Brought { .. }
            | PartitionMsg::QueuePage(_)
            | PartitionMsg::WakePage(_)
            | PartitionMsg::Read { .. }
            | PartitionMsg::Limits(_)
            | PartitionMsg::Gathered { .. }
            | PartitionMsg::Hold { .. }
            | PartitionMsg::GateOpened { .. }
            | PartitionMsg::Tick
            | PartitionMsg::FlushStatistics
            | PartitionMsg::StatisticsTail(_)
            | PartitionMsg::StatisticsWritten(_) => None,
        }
    }

    fn poisoned(&mut self, key: &str, failure: &str, ctx: &mut Ctx<'_, Self>) {
        let Ok(run) = key.parse() else { return };
        if !self.is_being_set_aside(run) {
            self.quarantine(run, failure, ctx);
            self.pump(ctx);
        }
    }

    fn child_exited(&mut self, child: ChildExit, ctx: &mut Ctx<'_, Self>) {
        self.run_exited(&child, ctx);
        self.pump(ctx);
    }

    /// Lets attempts under way end and commits what they did. The supervisor's patience is the grace.
    fn shutdown(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.draining = true;
        self.pump(ctx);
    }

    fn state(&self) -> &'static str {
        match (self.draining, self.runs.is_empty()) {
            (true, _) => "draining",
            (false, true) => "idle",
            (false, false) => "running",
        }
    }
}

impl QueuePartition {
    /// Does whatever has become possible: dispatch, commit, read; and stops when drained.
    fn pump(&mut self, ctx: &mut Ctx<'_, Self>) {
        self.read_limits(ctx);
        self.gather(ctx);
        self.dispatch(ctx);
        self.flush(ctx);
        self.load(ctx);
        self.fetch(ctx);
        self.shared.resident.store(self.runs.len() as u32, Ordering::Relaxed);
        self.shared.ready.store(self.ready.len() as u32, Ordering::Relaxed);
        self.shared.held.store(self.held.len() as u32, Ordering::Relaxed);
        if self.limits.next_due_ms().is_some() || self.held.next_due_ms().is_some() {
            self.arm(ctx);
        }
        self.publish_age();
        self.publish_limits();
        let undecided = || self.runs.values().any(|r| !r.asked.is_empty() || !r.waiting.is_empty());
        if self.draining
            && !undecided()
            && self.running.is_empty()
            && self.starting == 0
            && self.granted == 0
            && self.outbox.is_clear()
        {
            ctx.stop();
        }
    }

    /// Says how old the queue is. Once a second is enough, as the search costs as much as the queue is long.
    fn publish_age(&mut self) {
        if self.ready.is_empty() {
            self.age_published_ms = 0;
            return self.shared.ready_since_ms.store(0, Ordering::Relaxed);
        }
        let now_ms = self.runtime.now_ms();
        if now_ms - self.age_published_ms >= AGE_INTERVAL_MS {
            self.age_published_ms = now_ms;
            self.shared.ready_since_ms.store(self.ready.waits_since_ms().unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// Slots that nothing uses.
    fn free(&self) -> usize {
        let used = self.running.len() + self.granted + self.starting;
        self.runtime.settings.slots_per_partition.saturating_sub(used)
    }

    /// Reads on an I/O thread; the result comes back as a message.
    fn read<T: Send + 'static>(
        &self,
        ctx: &Ctx<'_, Self>,
        work: impl Future<Output = T> + Send + 'static,
        message: impl FnOnce(T) -> PartitionMsg + Send + 'static,
    ) {
        let (me, life) = (ctx.me(), self.life);
        self.runtime.io.spawn(async move {
            let what = Box::new(message(work.await));
            // A partition that is gone reads again when it starts.
            let _ = me.tell_urgent(PartitionMsg::Read { life, what });
        });
    }
}
