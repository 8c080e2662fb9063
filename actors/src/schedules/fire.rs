//! Acting upon a schedule that is due: what to do with the instant, and doing it in one commit with the row.
//!
//! How someone could get this wrong: to move the row on in another commit than the run's, or to trust the row in memory.
//! Here every change names the version that it was planned on, and what fails in between leaves the instant due.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use core314_domain::Json;
use core314_domain::ids::{FlowId, RunId};
use core314_domain::run::matching_scope;
use core314_domain::schedule::{NotFired, Overlap, Schedule, Standing, Step};
use core314_domain::words::TriggerType;
use serde_json::json;

use super::{SchedulesArgs, rules};
use crate::clock::rfc3339;
use crate::commit_writer::commit_one;
use crate::failpoint;
use crate::ingress::{IdempotencyRequest, OnConflict, RunKey, Target, Trigger, TriggerError, Triggered};
use crate::plans::ReadyFlow;
use crate::ports::schedule::{NotFiredNote, ScheduleMove, ScheduleWrite, StoredSchedule};
use crate::ports::store::{Outcome, Write};
use crate::ports::{Scope, StoreError};
use crate::runtime::Counters;

/// The name of the runs of a schedule that looks at overlaps: one of them at a time can have it.
const RUN_KEY: &str = "schedule";
/// The first wait before another try, and the longest, in ms.
const RETRY_MS: i64 = 250;
const LONGEST_RETRY_MS: i64 = 30_000;
/// How often a run may be refused before its instant is given up.
const MOST_REFUSALS: u32 = 10;
/// How long to wait for the end of the run before, without a look at the store.
const WAIT_FOR_END: Duration = Duration::from_secs(30);
/// Longer details are cut.
const DETAIL_CHARS: usize = 500;

/// What an instant says of itself: the `trigger` of its run.
pub fn context(schedule: &Schedule, instant_ms: i64, now_ms: i64, missed: u64) -> Json {
    Arc::new(json!({
        "scheduled_for": rfc3339(instant_ms),
        "fired_at": rfc3339(now_ms),
        "schedule": schedule.text,
        "missed": missed,
    }))
}

/// The `trigger_source` of a schedule's runs.
pub fn source(flow: FlowId) -> Arc<str> {
    format!("schedule:{flow}").into()
}

/// The name of an instant: it starts one run, whoever tries.
pub fn idempotency(flow: FlowId, instant_ms: i64) -> IdempotencyRequest {
    let key = format!("schedule:{flow}:{}", rfc3339(instant_ms));
    // The key says all that there is to say.
    IdempotencyRequest { key, body_hash: [0; 32] }
}

/// The row of a flow as it is now. A store that is away is waited for.
pub async fn row(args: &SchedulesArgs, flow: FlowId) -> Option<StoredSchedule> {
    loop {
        match args.runtime.store.schedule(Scope::Platform, flow).await {
            Ok(row) => return row,
            Err(error) => {
                tracing::warn!(%flow, %error, "a schedule could not be read; it is read again");
                tokio::time::sleep(super::PAUSE).await;
            }
        }
    }
}

/// Acts upon a schedule. Returns when to try again where nothing could be done.
pub async fn act(args: &SchedulesArgs, row: &StoredSchedule, tries: u32) -> Option<i64> {
    let permit = args.slots.acquire().await.ok()?;
    let done = Due { args, row, tries }.settle().await;
    drop(permit);
    match done {
        Ok(Done::Settled) => None,
        Ok(Done::Later(again_ms)) => Some(again_ms),
        Ok(Done::Behind(run)) => {
            ended(args, run).await;
            Some(args.runtime.now_ms())
        }
        Err(error) => {
            tracing::warn!(flow = %row.flow, %error, "a schedule waits for the store");
            Some(args.runtime.now_ms() + backoff_ms(tries))
        }
    }
}

fn backoff_ms(tries: u32) -> i64 {
    (RETRY_MS << tries.min(10)).min(LONGEST_RETRY_MS)
}

/// Waits for the end of a run, or long enough to look again.
async fn ended(args: &SchedulesArgs, run: RunId) {
    let ends = &args.runtime.ends;
    let heard = ends.wait(run.0);
    // Registered first, so that an end in between is not missed.
    let has_ended = match args.runtime.store.load_runs(vec![run]).await {
        Ok(found) => found.first().is_none_or(|stored| stored.state.status.is_terminal()),
        Err(_) => false,
    };
    if !has_ended {
        // Told or not: whoever waited looks at the store.
        let _told = tokio::time::timeout(WAIT_FOR_END, heard).await;
    }
    ends.forget(run.0);
}

enum Done {
    /// The row is as it should be, or was changed by somebody else: it is read again.
    Settled,
    /// Try again then.
    Later(i64),
    /// Try again when this run has ended.
    Behind(RunId),
}

/// A schedule that is due.
struct Due<'a> {
    args: &'a SchedulesArgs,
    row: &'a StoredSchedule,
    tries: u32,
}

/// An instant that is to fire.
struct Firing {
    instant_ms: i64,
    due_ms: i64,
    missed: u64,
    then: Standing,
    /// What is told of the instants before it.
    notes: Vec<(NotFiredNote, i64)>,
}

impl Due<'_> {
    async fn settle(&self) -> Result<Done, StoreError> {
        let row = self.row;
        let Ok(schedule) = Schedule::read(&row.config) else {
            tracing::warn!(flow = %row.flow, "a schedule cannot be read by this release; it does not fire");
            return self.commit(self.step(None, row.standing, Vec::new())).await;
        };
        let now_ms = self.args.runtime.now_ms();
        match schedule.decide(row.flow, row.standing, rules(&self.args.runtime), now_ms) {
            Step::Wait { due_ms: Some(due_ms) } if due_ms > now_ms => Ok(Done::Later(due_ms)),
            Step::Wait { .. } => self.commit(self.step(Some(&schedule), row.standing, Vec::new())).await,
            Step::Pass { missed, then } => {
                let last = row.standing.next_ms.unwrap_or(now_ms);
                let note = (NotFiredNote { reason: NotFired::Missed, instant_ms: last, detail: None }, missed as i64);
                self.commit(self.step(Some(&schedule), then, vec![note])).await
            }
            Step::Fire { instant_ms, missed, dropped, then } => {
                let before = |reason, count: u64| {
                    let instant_ms = row.standing.next_ms.unwrap_or(instant_ms);
                    (count > 0).then_some((NotFiredNote { reason, instant_ms, detail: None }, count as i64))
                };
                let notes = [before(NotFired::Missed, missed), before(NotFired::Overlap, dropped)];
                let due_ms = schedule.due_ms(row.flow, instant_ms);
                let notes = notes.into_iter().flatten().collect();
                self.fire(&schedule, Firing { instant_ms, due_ms, missed, then, notes }).await
            }
        }
    }

    async fn fire(&self, schedule: &Schedule, firing: Firing) -> Result<Done, StoreError> {
        let (runtime, row) = (&self.args.runtime, self.row);
        let now_ms = runtime.now_ms();
        let found = runtime.plans.current(runtime.catalog.as_ref(), row.owner.tenant, row.flow).await?;
        // A flow that was just deleted or paused: its row follows, or has followed already.
        let Some(flow) = found.filter(|flow| flow.is_active) else {
            return Ok(Done::Later(now_ms + backoff_ms(self.tries)));
        };
        let context = context(schedule, firing.instant_ms, now_ms, firing.missed);
        if let Some(detail) = unmet(&flow, &context, row, now_ms) {
            return self.pass(schedule, firing, NotFired::Conditions, detail).await;
        }
        let step = ScheduleMove {
            fired_ms: Some(firing.instant_ms),
            ..self.step(Some(schedule), firing.then, firing.notes.clone())
        };
        let trigger = self.trigger(schedule, context, firing.instant_ms, step.clone());
        failpoint::hit("schedule.before");
        let triggered = self.args.ingress.trigger(trigger).await;
        failpoint::hit("schedule.after");
        match triggered {
            Ok(Triggered::Accepted(_)) => {
                self.count(&step);
                let delay_ms = runtime.now_ms() - firing.due_ms;
                runtime.meters.schedule_delay.record(delay_ms.max(0) as u64);
                Ok(Done::Settled)
            }
            Ok(Triggered::NoMatch(_)) => self.refused(schedule, firing, TriggerError::NoSuchFlow).await,
            Ok(Triggered::Repeated(run)) => self.repeated(step, run.run).await,
            Err(TriggerError::RunKeyTaken(run)) => self.overlapped(schedule, firing, run).await,
            Err(error) => self.refused(schedule, firing, error).await,
        }
    }

    fn trigger(&self, schedule: &Schedule, context: Json, instant_ms: i64, step: ScheduleMove) -> Trigger {
        let flow = self.row.flow;
        let on_conflict = match schedule.overlap {
            Overlap::Allow => None,
            Overlap::Skip | Overlap::Queue => Some(OnConflict::Reject),
            Overlap::CancelRunning => Some(OnConflict::CancelRunning),
        };
        Trigger {
            owner: self.row.owner,
            target: Target::Scheduled(Box::new(step)),
            trigger_type: TriggerType::Schedule,
            source: source(flow),
            context,
            webhook: Arc::default(),
            triggered_by: source(flow),
            decision_event_id: None,
            recommendation_id: None,
            parent_run_id: None,
            run_key: on_conflict.map(|on_conflict| RunKey { key: RUN_KEY.into(), on_conflict }),
            idempotency: Some(idempotency(flow, instant_ms)),
        }
    }

    /// The instant has its run already: by another node, by a backfill, or by a commit whose answer was lost. Of those only
    /// the backfill has left the row where it was.
    async fn repeated(&self, step: ScheduleMove, run: RunId) -> Result<Done, StoreError> {
        let stored = self.args.runtime.store.schedule(Scope::Platform, self.row.flow).await?;
        if stored.is_none_or(|stored| stored.version != self.row.version) {
            return Ok(Done::Settled);
        }
        self.commit(ScheduleMove { run: Some(run), ..step }).await
    }

    /// An earlier run of the schedule goes on.
    async fn overlapped(&self, schedule: &Schedule, firing: Firing, run: RunId) -> Result<Done, StoreError> {
        let row = self.row;
        match schedule.overlap {
            Overlap::Allow | Overlap::Skip => {
                let detail = format!("run {run} goes on");
                self.pass(schedule, firing, NotFired::Overlap, detail).await
            }
            Overlap::Queue if row.standing.is_waiting => Ok(Done::Behind(run)),
            Overlap::Queue => {
                // From here on what is due was not missed, however long the run before it takes.
                let standing = Standing { next_ms: Some(firing.instant_ms), is_waiting: true, ..row.standing };
                self.commit(self.step(Some(schedule), standing, firing.notes)).await
            }
            Overlap::CancelRunning => Ok(Done::Later(self.args.runtime.now_ms() + backoff_ms(self.tries))),
        }
    }

    async fn refused(&self, schedule: &Schedule, firing: Firing, error: TriggerError) -> Result<Done, StoreError> {
        let is_final = match &error {
            TriggerError::Busy { .. }
            | TriggerError::NoSuchFlow
            | TriggerError::Inactive(_)
            | TriggerError::Store(StoreError::Unavailable(_)) => false,
            TriggerError::Failed(_) | TriggerError::RunKeyTaken(_) | TriggerError::Store(_) => {
                self.tries >= MOST_REFUSALS
            }
            // A flow whose limit skips what finds it full skips this instant.
            TriggerError::Condition { .. }
            | TriggerError::LimitKey { .. }
            | TriggerError::Skipped { .. }
            | TriggerError::TooLarge { .. }
            | TriggerError::Invalid(_)
            | TriggerError::KeyReused => true,
        };
        if is_final {
            tracing::error!(flow = %self.row.flow, %error, "an instant of a schedule is given up");
            return self.pass(schedule, firing, NotFired::Refused, error.to_string()).await;
        }
        tracing::debug!(flow = %self.row.flow, %error, "a schedule tries again");
        Ok(Done::Later(self.args.runtime.now_ms() + backoff_ms(self.tries)))
    }

    /// Passes over an instant, and says why.
    async fn pass(
        &self,
        schedule: &Schedule,
        firing: Firing,
        reason: NotFired,
        detail: String,
    ) -> Result<Done, StoreError> {
        // Unmet conditions may quote a NUL character of the flow's own text, which no store takes.
        let detail = detail.replace('\0', " ").chars().take(DETAIL_CHARS).collect();
        let mut notes = firing.notes;
        notes.push((NotFiredNote { reason, instant_ms: firing.instant_ms, detail: Some(detail) }, 1));
        let then = Standing { last_ms: self.row.standing.last_ms, ..firing.then };
        self.commit(self.step(Some(schedule), then, notes)).await
    }

    /// The row going on to where it stands then.
    fn step(&self, schedule: Option<&Schedule>, then: Standing, notes: Vec<(NotFiredNote, i64)>) -> ScheduleMove {
        let next_ms = then.next_ms.filter(|_| schedule.is_some());
        ScheduleMove {
            flow: self.row.flow,
            tenant: self.row.owner.tenant,
            expected_version: self.row.version,
            next_ms,
            due_ms: schedule.zip(next_ms).map(|(schedule, next_ms)| schedule.due_ms(self.row.flow, next_ms)),
            is_waiting: then.is_waiting,
            fired_ms: None,
            run: None,
            not_fired: notes,
            at_ms: self.args.runtime.now_ms(),
        }
    }

    async fn commit(&self, step: ScheduleMove) -> Result<Done, StoreError> {
        let write = Write::Schedule(Box::new(ScheduleWrite::Move(step.clone())));
        match commit_one(&self.args.writer, &self.args.runtime.io, write, || {}).await? {
            Outcome::Committed { .. } => self.count(&step),
            Outcome::Stale => {}
            other => return Err(crate::engine::unexpected(other)),
        }
        Ok(Done::Settled)
    }

    /// For metrics: what the durable step did.
    fn count(&self, step: &ScheduleMove) {
        let counters = &self.args.runtime.counters;
        if step.fired_ms.is_some() {
            Counters::add(&counters.schedules_fired, 1);
        }
        for (note, count) in &step.not_fired {
            counters.schedules_not_fired[note.reason as usize].fetch_add(*count as u64, Ordering::Relaxed);
        }
    }
}

/// The clause of the flow's conditions that does not hold, or why they cannot be evaluated.
fn unmet(flow: &ReadyFlow, context: &Json, row: &StoredSchedule, now_ms: i64) -> Option<String> {
    let scope = matching_scope(context.clone(), Arc::default(), &row.owner, now_ms);
    match flow.plan.condition.failing_clause(&scope) {
        Ok(clause) => clause,
        Err(error) => Some(format!("the conditions cannot be evaluated: {error}")),
    }
}
