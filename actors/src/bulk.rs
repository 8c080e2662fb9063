//! The driver of bulk jobs: tells many runs the same, at the pace of each job.
//!
//! One actor a node. It holds nothing that the store does not: each turn reads the running jobs, asks each what may be done
//! now, notes which runs are about to be told, tells them, and notes what came of it.
//!
//! No run is told twice. A run is noted as `sending` before it is told, with how often it had been taken up again; whoever
//! finds it so after a crash looks at the run and knows whether it was. A new run carries an idempotency key of job and
//! run. A turn runs on an I/O thread and outlives the actor, so a restarted actor waits for the turn of its earlier life.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use core314_domain::bulk::{BulkItem, BulkJob, BulkStatus, BulkVerb, ItemStatus, MOST_AT_ONCE, Step};
use core314_domain::ids::{RowId, RunId};
use core314_domain::run::{Command, RunState};
use core314_domain::words::RunStatus;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::engine::{Engine, Inner, Rerun, RerunError, Restart, TellError, unexpected};
use crate::failpoint;
use crate::flow_run::Remark;
use crate::ingress::{IdempotencyRequest, TriggerError, Triggered};
use crate::ports::bulk::BulkJobs;
use crate::ports::store::Outcome;
use crate::ports::{Scope, StoreError};
use crate::supervision::{Behaviour, Ctx, Ref};

/// Between two looks at running jobs. Without any there is no look.
const TURN: Duration = Duration::from_millis(20);
/// Jobs that are driven at once; the others wait for the oldest.
const MOST_JOBS: usize = 16;
/// Ends that are noted in one turn.
const MOST_ENDS: usize = 1_000;

/// What the driver shares with those who make and change jobs.
pub struct BulkDesk {
    pub jobs: Arc<dyn BulkJobs>,
    /// There may be something to do.
    nudged: AtomicBool,
    /// A turn is under way.
    busy: AtomicBool,
    /// Who is told of a nudge; there once it drives.
    driver: OnceLock<Ref<BulkDriver>>,
}

impl BulkDesk {
    /// Over these jobs. What an earlier process left is taken up.
    pub fn new(jobs: Arc<dyn BulkJobs>) -> Self {
        Self { jobs, nudged: AtomicBool::new(true), busy: AtomicBool::new(false), driver: OnceLock::new() }
    }

    /// There is something to do.
    pub fn nudge(&self) {
        self.nudged.store(true, Ordering::SeqCst);
        if let Some(driver) = self.driver.get() {
            // One that is restarting looks by itself, and one with a full mailbox is about to.
            let _ = driver.tell(BulkMsg::Nudged);
        }
    }

    /// This one drives from now on.
    pub(crate) fn is_driven_by(&self, driver: Ref<BulkDriver>) {
        if self.driver.set(driver).is_ok() {
            self.nudge();
        }
    }
}

/// What the driver is made of.
#[derive(Clone)]
pub(crate) struct BulkArgs {
    pub engine: Weak<Inner>,
    pub desk: Arc<BulkDesk>,
}

/// The actor.
pub(crate) struct BulkDriver {
    args: BulkArgs,
    /// A look is to come.
    is_armed: bool,
}

/// Messages of the driver.
pub(crate) enum BulkMsg {
    /// There may be something to do.
    Nudged,
    /// Time has passed.
    Turn,
}

impl Behaviour for BulkDriver {
    const KIND: &'static str = "bulk_driver";
    type Msg = BulkMsg;
    type Args = BulkArgs;

    fn start(args: &BulkArgs, ctx: &mut Ctx<'_, Self>) -> Self {
        args.desk.nudged.store(true, Ordering::SeqCst);
        let mut driver = Self { args: args.clone(), is_armed: false };
        driver.arm(ctx);
        driver
    }

    fn handle(&mut self, msg: BulkMsg, ctx: &mut Ctx<'_, Self>) {
        match msg {
            BulkMsg::Nudged => self.arm(ctx),
            BulkMsg::Turn => {
                self.is_armed = false;
                self.look(ctx);
            }
        }
    }
}

impl BulkDriver {
    fn arm(&mut self, ctx: &mut Ctx<'_, Self>) {
        if !std::mem::replace(&mut self.is_armed, true) {
            ctx.after(TURN, BulkMsg::Turn);
        }
    }

    fn look(&mut self, ctx: &mut Ctx<'_, Self>) {
        let (desk, Some(inner)) = (self.args.desk.clone(), self.args.engine.upgrade()) else { return };
        if desk.busy.load(Ordering::SeqCst) {
            return self.arm(ctx);
        }
        if !desk.nudged.swap(false, Ordering::SeqCst) {
            return;
        }
        desk.busy.store(true, Ordering::SeqCst);
        let io = inner.runtime.io.clone();
        io.spawn(async move {
            // Let go of when the turn is over, however it ends.
            let _busy = Busy(desk.clone());
            turn(&Engine { inner }, &desk).await;
        });
    }
}

struct Busy(Arc<BulkDesk>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.store(false, Ordering::SeqCst);
    }
}

/// Does for each running job what may be done now.
async fn turn(engine: &Engine, desk: &BulkDesk) {
    let jobs = match desk.jobs.running_bulk_jobs(MOST_JOBS).await {
        Ok(jobs) => jobs,
        Err(error) => {
            tracing::warn!(%error, "the bulk jobs could not be read; they are looked at again");
            return desk.nudge();
        }
    };
    for job in jobs {
        // A job that is running is looked at until it is over: the ends of its runs are found, not told.
        desk.nudge();
        let id = job.id;
        if let Err(error) = advance(engine, desk, job).await {
            tracing::warn!(bulk = %id, %error, "a bulk job could not go on; it is tried again");
        }
    }
}

async fn advance(engine: &Engine, desk: &BulkDesk, mut job: BulkJob) -> Result<(), StoreError> {
    let jobs = desk.jobs.as_ref();
    // What an earlier process had begun and not noted comes first.
    let begun = jobs.bulk_items(job.id, ItemStatus::Sending, MOST_AT_ONCE).await?;
    let mut items = join_all(begun.into_iter().map(|item| resolve(engine, &job, item))).await;
    let ends = jobs.bulk_ends(job.id, MOST_ENDS).await?;
    ends.iter().for_each(|(_, status)| job.progress.ended(job.plan.verb, *status));
    count(&mut job, &items);
    match job.step(engine.now_ms()) {
        Step::End(status) => {
            job.status = status;
            save(jobs, job, items, ends).await.map(drop)
        }
        Step::Wait(_) if items.is_empty() && ends.is_empty() => Ok(()),
        Step::Wait(_) => save(jobs, job, items, ends).await.map(drop),
        Step::Tell(wanted) => {
            let next = jobs.bulk_items(job.id, ItemStatus::Pending, wanted).await?;
            let next = join_all(next.into_iter().map(|item| mark(engine, item))).await;
            items.extend(next.iter().cloned());
            let Some(mut job) = save(jobs, job, items, ends).await? else { return Ok(()) };
            failpoint::hit("bulk.marked");
            let told = join_all(next.into_iter().map(|item| tell(engine, &job, item))).await;
            failpoint::hit("bulk.told");
            count(&mut job, &told);
            save(jobs, job, told, Vec::new()).await.map(drop)
        }
    }
}

fn count(job: &mut BulkJob, items: &[BulkItem]) {
    for item in items {
        match item.status {
            ItemStatus::Done => job.progress.done += 1,
            ItemStatus::Refused => job.progress.refused += 1,
            ItemStatus::Pending | ItemStatus::Sending => {}
        }
    }
}

/// Saves what was done. What a person has made of the job's state in the meantime stands: then nothing more is begun, and
/// the answer is `None`.
async fn save(
    jobs: &dyn BulkJobs,
    mut job: BulkJob,
    items: Vec<BulkItem>,
    ends: Vec<(u32, RunStatus)>,
) -> Result<Option<BulkJob>, StoreError> {
    if jobs.save_bulk(job.clone(), items.clone(), ends.clone()).await? {
        job.version += 1;
        return Ok(Some(job));
    }
    let Some(newer) = jobs.bulk_job(Scope::Platform, job.id).await? else { return Ok(None) };
    // Runs that were about to be told are not: they wait for the job to go on.
    let items = items.into_iter().map(|item| match item.status {
        ItemStatus::Sending => BulkItem { status: ItemStatus::Pending, ..item },
        _ => item,
    });
    let status = if newer.status == BulkStatus::Running { job.status } else { newer.status };
    let job = BulkJob { status, version: newer.version, ..job };
    if !jobs.save_bulk(job, items.collect(), ends).await? {
        return Err(StoreError::Unavailable("the job is being changed again and again".to_owned()));
    }
    Ok(None)
}

/// Notes that a run is about to be told. One that cannot be read now is never taken for told.
async fn mark(engine: &Engine, item: BulkItem) -> BulkItem {
    let mark = reopened(engine, item.run).await.map_or(i64::MAX, |(reopened, _)| reopened);
    BulkItem { status: ItemStatus::Sending, mark, ..item }
}

/// How often a run was taken up again, and where it stands. `None` where it cannot be read.
async fn reopened(engine: &Engine, run: RunId) -> Option<(i64, RunStatus)> {
    let stored = engine.stored_run(Scope::Platform, run).await.ok()??;
    let state = RunState::load(&stored.state).ok()?;
    Some((i64::from(state.reopened), state.status))
}

/// Finds out what became of a run that was about to be told when the process died.
async fn resolve(engine: &Engine, job: &BulkJob, item: BulkItem) -> BulkItem {
    if was_told(engine, job, &item).await {
        return BulkItem { status: ItemStatus::Done, target: Some(item.run), ..item };
    }
    tell(engine, job, item).await
}

/// Whether a run was told since it was marked.
async fn was_told(engine: &Engine, job: &BulkJob, item: &BulkItem) -> bool {
    match (job.plan.verb, reopened(engine, item.run).await) {
        (BulkVerb::Retry, Some((reopened, _))) => reopened > item.mark,
        (BulkVerb::Cancel, Some((_, status))) => status == RunStatus::Cancelled,
        // The same key gives the same run.
        (BulkVerb::Restart | BulkVerb::Rerun, _) | (_, None) => false,
    }
}

/// Tells a run, and says what came of it. A runtime that is busy leaves it to be told later.
async fn tell(engine: &Engine, job: &BulkJob, item: BulkItem) -> BulkItem {
    let scope = Scope::Tenant(job.owner.tenant);
    let by: Arc<str> = job.plan.by.as_str().into();
    let command = match job.plan.verb {
        BulkVerb::Retry => Command::Retry { step: None },
        BulkVerb::Cancel => Command::Cancel { reason: format!("cancelled by {by}, with bulk job {}", job.id) },
        BulkVerb::Restart | BulkVerb::Rerun => return begin_anew(engine, job, scope, item).await,
    };
    let remark = Remark { by: Some(by), ..Remark::default() };
    match engine.tell(scope, item.run, command, remark).await {
        Ok(()) => BulkItem { status: ItemStatus::Done, target: Some(item.run), ..item },
        // Whether it was told is found out by its mark, the next time.
        Err(TellError::Busy | TellError::Store(_)) => item,
        // An earlier word, whose answer was late, was heard after all.
        Err(TellError::Refused(_)) if was_told(engine, job, &item).await => {
            BulkItem { status: ItemStatus::Done, target: Some(item.run), ..item }
        }
        Err(error) => BulkItem { status: ItemStatus::Refused, error: Some(error.to_string()), ..item },
    }
}

/// Starts a new run in the place of this one: from the start, or from a step.
async fn begin_anew(engine: &Engine, job: &BulkJob, scope: Scope, item: BulkItem) -> BulkItem {
    let key = format!("bulk:{}:{}", job.id, item.no);
    // The key says all of the request: there is nothing else to tell two of them apart.
    let idempotency = Some(IdempotencyRequest { key, body_hash: [0; 32] });
    let by = job.plan.by.clone();
    let begun = match job.plan.from_step.clone() {
        Some(from_step) => {
            let again = Rerun { from_step, version: job.plan.version, run_key: None, by, idempotency };
            engine.rerun(scope, item.run, again).await
        }
        None => engine.restart(scope, item.run, Restart { by, idempotency }).await.map_err(RerunError::Trigger),
    };
    match begun {
        Ok(Triggered::Accepted(new) | Triggered::Repeated(new)) => {
            BulkItem { status: ItemStatus::Done, target: Some(new.run), ..item }
        }
        Ok(Triggered::NoMatch(_)) => {
            BulkItem { status: ItemStatus::Refused, error: Some("no flow takes its trigger".to_owned()), ..item }
        }
        Err(
            RerunError::Trigger(TriggerError::Busy { .. } | TriggerError::Store(_) | TriggerError::Failed(_))
            | RerunError::Store(_),
        ) => item,
        Err(error) => BulkItem { status: ItemStatus::Refused, error: Some(error.to_string()), ..item },
    }
}

/// Why a job was not made or changed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BulkError {
    /// It does not exist, for this caller.
    #[error("there is no such bulk job")]
    NotFound,
    /// Look at the job: it is not in a state in which this could be done.
    #[error("the job is {0}: it cannot be changed any more")]
    Over(BulkStatus),
    /// Use another idempotency key.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Makes a job of these runs, and begins with it. The same request again is answered with the same job.
    pub async fn create_bulk(
        &self,
        job: BulkJob,
        runs: Vec<RunId>,
        request: Option<IdempotencyRequest>,
    ) -> Result<BulkJob, BulkError> {
        let desk = self.bulk_desk()?;
        let name = request.map(|request| self.name(&request, json!({"id": job.id})));
        match desk.jobs.create_bulk(job.clone(), runs, name).await? {
            None => {
                desk.nudge();
                Ok(job)
            }
            Some(Outcome::Duplicate { answer, same_request: true }) => {
                let known = answer.get("id").and_then(Value::as_str).and_then(|id| id.parse().ok());
                self.bulk_job(Scope::Tenant(job.owner.tenant), known.ok_or(BulkError::KeyReused)?).await
            }
            Some(Outcome::Duplicate { .. }) => Err(BulkError::KeyReused),
            Some(other) => Err(unexpected(other).into()),
        }
    }

    /// A job that the scope may see.
    pub async fn bulk_job(&self, scope: Scope, id: RowId) -> Result<BulkJob, BulkError> {
        self.bulk_desk()?.jobs.bulk_job(scope, id).await?.ok_or(BulkError::NotFound)
    }

    /// The newest jobs that the scope may see.
    pub async fn bulk_jobs(&self, scope: Scope, limit: usize) -> Result<Vec<BulkJob>, BulkError> {
        Ok(self.bulk_desk()?.jobs.bulk_jobs(scope, limit).await?)
    }

    /// Pauses, resumes or cancels a job.
    pub async fn change_bulk(&self, scope: Scope, id: RowId, status: BulkStatus) -> Result<BulkJob, BulkError> {
        let desk = self.bulk_desk()?;
        loop {
            let found = self.bulk_job(scope, id).await?;
            if found.status.is_over() {
                return Err(BulkError::Over(found.status));
            }
            let changed = BulkJob { status, updated_at_ms: self.now_ms(), ..found };
            if desk.jobs.save_bulk(changed.clone(), Vec::new(), Vec::new()).await? {
                desk.nudge();
                return Ok(BulkJob { version: changed.version + 1, ..changed });
            }
        }
    }
}
