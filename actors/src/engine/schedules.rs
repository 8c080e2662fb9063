//! What people do with schedules: look, pause, resume, and start the runs of instants that have passed.

use std::sync::Arc;

use std::time::Duration;

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::ids::{FlowId, Owner};
use core314_domain::plan::Problem;
use core314_domain::run::matching_scope;
use core314_domain::schedule::{MOST_COUNTED, NotFired, Schedule};
use core314_domain::words::TriggerType;
use serde_json::json;

use super::{Engine, unexpected};
use crate::clock::rfc3339;
use crate::ingress::{Accepted, Target, Trigger, TriggerError, Triggered};
use crate::ports::schedule::{NotFiredNote, ScheduleMove, ScheduleWrite, StoredSchedule};
use crate::ports::store::{Outcome, Write};
use crate::ports::{Scope, StoreError};
use crate::schedules::{SchedulesMsg, context, idempotency, source};

/// How often a change is planned again because the schedule has moved on meanwhile.
const TRIES: u64 = 40;

/// Why nothing was done to a schedule. The variants say what the caller should do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ScheduleError {
    /// It does not exist, for this caller.
    #[error("there is no such schedule")]
    NotFound,
    /// Mend the flow: it was saved by a release that did not look at its schedule.
    #[error("the schedule of the flow has {} problem(s), the first at '{}': {}", .0.len(), .0[0].pointer, .0[0].message)]
    Invalid(Vec<Problem>),
    /// Change the document: it says so itself.
    #[error("the flow's document pauses the schedule: set trigger_config.paused to false")]
    PausedByDocument,
    /// Ask for less, or allow for more.
    #[error("the range holds more than {max} instants")]
    TooMany { max: usize },
    /// Come back in a while.
    #[error("the schedule fires again and again just now: try again")]
    Busy,
    #[error(transparent)]
    Trigger(#[from] TriggerError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A range whose instants are to have runs.
#[derive(Debug, Clone, Copy)]
pub struct Backfill {
    /// The first and the last ms that belong to it.
    pub from_ms: i64,
    pub to_ms: i64,
    /// A range that holds more is refused.
    pub max: usize,
}

/// What became of one instant of a backfill.
#[derive(Debug, Clone)]
pub enum Backfilled {
    Started(Accepted),
    /// The instant has its run already.
    Repeated(Accepted),
    /// The clause of the flow's conditions that does not hold.
    Unmet(String),
    Failed(TriggerError),
}

impl Engine {
    /// The schedule of a flow.
    pub async fn schedule(&self, scope: Scope, flow: FlowId) -> Result<Option<StoredSchedule>, StoreError> {
        self.inner.runtime.store.schedule(scope, flow).await
    }

    /// Keeps a schedule from firing until it is resumed. One that is paused stays so.
    pub async fn pause_schedule(&self, owner: Owner, flow: FlowId, by: String) -> Result<(), ScheduleError> {
        self.change_schedule(owner, flow, |row| {
            if row.paused.is_some() {
                return Ok(None);
            }
            let at_ms = self.now_ms();
            Ok(Some(ScheduleWrite::Pause {
                flow,
                tenant: owner.tenant,
                expected_version: row.version,
                by: by.clone(),
                at_ms,
                audit: self.entry(AuditEvent::SchedulePaused, owner, by.clone(), ("flow", flow.0)),
            }))
        })
        .await
    }

    /// Lets a schedule fire again, from now on. What has passed while it was paused is counted, and can be filled in.
    pub async fn resume_schedule(&self, owner: Owner, flow: FlowId, by: String) -> Result<(), ScheduleError> {
        self.change_schedule(owner, flow, |row| {
            let schedule = Schedule::read(&row.config).map_err(ScheduleError::Invalid)?;
            if schedule.is_paused {
                return Err(ScheduleError::PausedByDocument);
            }
            let Some((paused_ms, _)) = row.paused else { return Ok(None) };
            let audit = self.entry(AuditEvent::ScheduleResumed, owner, by.clone(), ("flow", flow.0));
            let step = resumed(&schedule, row, paused_ms, audit.at_ms);
            Ok(Some(ScheduleWrite::Resume { step, audit }))
        })
        .await
    }

    /// Plans a change on the row as it is, again where it has moved on.
    async fn change_schedule(
        &self,
        owner: Owner,
        flow: FlowId,
        plan: impl Fn(&StoredSchedule) -> Result<Option<ScheduleWrite>, ScheduleError>,
    ) -> Result<(), ScheduleError> {
        for tried in 0..TRIES {
            // A schedule that catches up changes its row again and again: wait for a gap between two firings.
            tokio::time::sleep(Duration::from_millis(tried.min(50))).await;
            let row = self.schedule(Scope::Tenant(owner.tenant), flow).await?.ok_or(ScheduleError::NotFound)?;
            let Some(write) = plan(&row)? else { return Ok(()) };
            let schedules = self.inner.schedules.clone();
            let then = move || {
                // An actor that is restarting reads everything anyway.
                let _ = schedules.tell_urgent(SchedulesMsg::Changed(flow));
            };
            match self.commit_then(Write::Schedule(Box::new(write)), then).await? {
                Outcome::Committed { .. } => return Ok(()),
                Outcome::Stale => {}
                other => return Err(unexpected(other).into()),
            }
        }
        Err(ScheduleError::Busy)
    }

    /// The instants of a range, without doing anything.
    pub fn instants(&self, schedule: &Schedule, range: Backfill) -> Result<Vec<i64>, ScheduleError> {
        let next = |at_ms: &i64| schedule.next_after(*at_ms).filter(|next_ms| *next_ms <= range.to_ms);
        let first = next(&range.from_ms.saturating_sub(1));
        let found: Vec<i64> = std::iter::successors(first, next).take(range.max.saturating_add(1)).collect();
        if found.len() > range.max { Err(ScheduleError::TooMany { max: range.max }) } else { Ok(found) }
    }

    /// Starts the runs of instants that have passed, each one once: an instant that has fired within the time for which
    /// idempotency keys are remembered has its run already.
    pub async fn backfill(
        &self,
        owner: Owner,
        flow: FlowId,
        schedule: &Schedule,
        instants: Vec<i64>,
        by: String,
    ) -> Result<Vec<(i64, Backfilled)>, ScheduleError> {
        let runtime = &self.inner.runtime;
        let found = runtime.plans.current(runtime.catalog.as_ref(), owner.tenant, flow).await?;
        let ready = found.ok_or(ScheduleError::NotFound)?;
        let now_ms = self.now_ms();
        let (mut done, mut triggers) = (Vec::with_capacity(instants.len()), Vec::new());
        for instant_ms in instants {
            let context = context(schedule, instant_ms, now_ms, 0);
            let scope = matching_scope(context.clone(), Arc::default(), &owner, now_ms);
            let unmet = ready.plan.condition.failing_clause(&scope).unwrap_or_else(|error| Some(error.to_string()));
            match unmet {
                Some(clause) => done.push((instant_ms, Backfilled::Unmet(clause))),
                None => triggers.push((instant_ms, past(owner, flow, instant_ms, context, &by))),
            }
        }
        let audit = AuditEntry {
            details: json!({"instants": done.len() + triggers.len(), "runs": triggers.len()}),
            ..self.entry(AuditEvent::ScheduleBackfilled, owner, by, ("flow", flow.0))
        };
        self.commit(Write::Audit(Box::new(audit))).await?;
        let (instants, triggers): (Vec<i64>, Vec<Trigger>) = triggers.into_iter().unzip();
        let answers = self.trigger_all(triggers).await?;
        done.extend(instants.into_iter().zip(answers.into_iter().map(|answer| match answer {
            Ok(Triggered::Accepted(run)) => Backfilled::Started(run),
            Ok(Triggered::Repeated(run)) => Backfilled::Repeated(run),
            Ok(Triggered::NoMatch(_)) => Backfilled::Failed(TriggerError::NoSuchFlow),
            Err(error) => Backfilled::Failed(error),
        })));
        done.sort_unstable_by_key(|(instant_ms, _)| *instant_ms);
        Ok(done)
    }
}

/// The trigger of an instant that has passed.
fn past(owner: Owner, flow: FlowId, instant_ms: i64, context: core314_domain::Json, by: &str) -> Trigger {
    Trigger {
        owner,
        target: Target::Flow(flow),
        trigger_type: TriggerType::Schedule,
        source: source(flow),
        context,
        webhook: Arc::default(),
        triggered_by: by.into(),
        decision_event_id: None,
        recommendation_id: None,
        parent_run_id: None,
        run_key: None,
        idempotency: Some(idempotency(flow, instant_ms)),
    }
}

/// The row going on from now, with what has passed since the pause.
fn resumed(schedule: &Schedule, row: &StoredSchedule, paused_ms: i64, now_ms: i64) -> ScheduleMove {
    let next = |at_ms: &i64| schedule.next_after(*at_ms).filter(|next_ms| *next_ms <= now_ms);
    // What was due before the pause and had not fired yet passed, too.
    let since = row.standing.next_ms.map_or(paused_ms, |next_ms| paused_ms.min(next_ms - 1));
    let since = row.standing.last_ms.map_or(since, |last_ms| last_ms.max(since));
    let passed: Vec<i64> = std::iter::successors(next(&since), next).take(MOST_COUNTED).collect();
    let note = |instant_ms: &i64| {
        let detail = Some(format!("paused from {} to {}", rfc3339(paused_ms), rfc3339(now_ms)));
        (NotFiredNote { reason: NotFired::Paused, instant_ms: *instant_ms, detail }, passed.len() as i64)
    };
    let next_ms = schedule.next_after(now_ms).filter(|_| row.is_active);
    ScheduleMove {
        flow: row.flow,
        tenant: row.owner.tenant,
        expected_version: row.version,
        next_ms,
        due_ms: next_ms.map(|next_ms| schedule.due_ms(row.flow, next_ms)),
        is_waiting: false,
        fired_ms: None,
        run: None,
        not_fired: passed.last().map(note).into_iter().collect(),
        at_ms: now_ms,
    }
}
