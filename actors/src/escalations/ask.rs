//! Asking the rules: from a failure to an event that is durable, joined or held back.

use std::sync::Arc;

use core314_domain::escalation::{
    Admission, Command, EscalationReason, Event, Failure, HeldBack, Recent, Rule, RuleId, Task, Windows,
};
use core314_domain::ids::{Owner, RowId};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::desk::{PATIENCE, TenantRules};
use super::known_events::KnownEvents;
use super::{Desk, EscalationError, Job, pagers, summary};
use crate::ports::StoreError;
use crate::ports::escalation::{EscalationWrite, EventStep, HeldBackNote, StoredEscalation, Verdicts};
use crate::ports::store::Outcome;

/// Verdicts that are kept with an event, beside those of the rules that act.
const MOST_VERDICTS: usize = 50;
/// How often a decision is taken again on what others have made of the event meanwhile.
const TRIES: usize = 8;

/// What a rule made of a failure.
#[derive(Debug, Clone)]
pub struct Taken {
    pub rule: RuleId,
    pub subject: String,
    pub admission: Admission,
    /// The event; absent where the failure was held back.
    pub escalation: Option<StoredEscalation>,
    /// When what was held back is told at the latest, as far as that is known.
    pub tell_ms: Option<i64>,
}

impl Taken {
    fn opened(subject: String, escalation: StoredEscalation) -> Self {
        let (rule, admission) = (escalation.rule, Admission::Open);
        Self { rule, subject, admission, escalation: Some(escalation), tell_ms: None }
    }
}

/// Why rules could not be asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AskError {
    /// Come back in a while: nothing is lost that was written down.
    #[error("the runtime is busy: try again")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A failure for the actor of a rule.
pub struct AskJob {
    pub owner: Owner,
    pub failure: Failure,
    /// The name of what has happened: told again, it counts once.
    pub cause: RowId,
    /// What is crossed out in the commit that takes it; absent: nothing, or another rule is still to take it.
    pub settles: Option<RowId>,
    /// The rules that were asked, and those of them that act: what is remembered of the others is looked for only where it
    /// is written down.
    pub rules: Arc<TenantRules>,
    pub acting: Arc<[Arc<Rule>]>,
    pub answer: oneshot::Sender<Result<Taken, AskError>>,
}

impl Desk {
    /// Asks the rules of a tenant. What each that acts made of the failure; nothing where none does. `settles`
    /// is an occurrence that is crossed out in the commit of the last.
    pub async fn ask(
        &self,
        owner: Owner,
        failure: Failure,
        cause: RowId,
        settles: Option<RowId>,
    ) -> Result<Vec<Taken>, AskError> {
        let rules = self.rules(owner.tenant).await?;
        let acting: Arc<[Arc<Rule>]> = rules.set.acting(&failure, &owner).into();
        let mut taken = Vec::with_capacity(acting.len());
        for (no, rule) in acting.iter().enumerate() {
            let settles = settles.filter(|_| no + 1 == acting.len());
            let (answer, heard) = oneshot::channel();
            let (failure, rules, acting) = (failure.clone(), rules.clone(), acting.clone());
            let job = AskJob { owner, failure, cause, settles, rules, acting, answer };
            self.hand(rule.id, owner.tenant, Job::Ask(Box::new(job))).map_err(|_| AskError::Busy)?;
            match tokio::time::timeout(PATIENCE, heard).await {
                Ok(Ok(done)) => taken.push(done?),
                Ok(Err(_)) | Err(_) => return Err(AskError::Busy),
            }
        }
        Ok(taken)
    }

    /// The event that shows what a rule made of a failure: one that was held back has the row that counts it, until that is
    /// bundled into the rule's next message.
    pub async fn event_of(&self, owner: Owner, taken: &Taken) -> Result<Option<RowId>, StoreError> {
        match &taken.escalation {
            Some(escalation) => Ok(Some(escalation.id)),
            None => self.book.suppressed(owner.tenant, taken.rule, taken.subject.clone()).await,
        }
    }

    /// Takes a failure under a rule: opens an event, joins one, or notes what holds it back.
    pub(super) async fn take(
        &self,
        job: &AskJob,
        rule: &Arc<Rule>,
        version: i64,
        recent: &mut Recent,
        known: &mut KnownEvents,
    ) -> Result<Taken, AskError> {
        let subject = rule.subject(&job.failure, &job.owner).unwrap_or_else(|error| {
            tracing::warn!(rule = %rule.id, %error, "the dedup_key cannot be evaluated: the flow is the subject");
            job.failure.subject()
        });
        for _ in 0..TRIES {
            // As its last commit left it, or as it is: where that has moved on meanwhile it is read the next time.
            let open = match known.take(&subject).filter(|open| !is_counted(job, open)) {
                Some(open) => Some(open),
                None => self.book.open_on(rule.id, subject.clone()).await?,
            };
            if let Some(open) = open {
                match self.join(job, open).await? {
                    Some(escalation) => {
                        known.keep(&escalation);
                        let escalation = Some(escalation);
                        let (rule, admission) = (rule.id, Admission::Join);
                        return Ok(Taken { rule, subject, admission, escalation, tell_ms: None });
                    }
                    None => continue,
                }
            }
            let now_ms = self.now_ms();
            let windows = Windows::of(&rule.document);
            recent.forget(&windows, now_ms);
            if let Some(by) = self.holds(job, rule, &windows, recent, &subject).await? {
                let tell_ms = summary::tell_ms(rule, &by, recent.full_until_ms(&windows, now_ms));
                self.hold_back(job, rule, version, (subject.clone(), by.clone()), tell_ms).await?;
                let (rule, admission) = (rule.id, Admission::HeldBack(by));
                return Ok(Taken { rule, subject, admission, escalation: None, tell_ms });
            }
            let around = self.around(rule, &job.failure, &job.owner, None).await?;
            let held_back = self.book.held_back(job.owner.tenant, rule.id).await?;
            let opening = (job.cause, job.owner.user, subject.clone());
            let decision = Event::open(rule, &job.failure, opening, held_back, &around, now_ms);
            let escalation = new_escalation(job, rule, version, decision.event.clone());
            match self.commit_step(rule, escalation, None, decision, job.settles, "rules").await? {
                Some(escalation) => {
                    recent.add(now_ms, &subject);
                    return Ok(Taken::opened(subject, escalation));
                }
                // Another node was faster, or a crash came between the commit and its answer: look again.
                None => {
                    if let Some(known) = self
                        .book
                        .escalation(crate::ports::Scope::Platform, Failure::event_id(job.cause, rule.id))
                        .await?
                    {
                        self.settle(job).await?;
                        return Ok(Taken::opened(subject, known));
                    }
                }
            }
        }
        Err(AskError::Busy)
    }

    /// Counts the failure in an open event. `None` where that has moved on: look again.
    async fn join(&self, job: &AskJob, open: StoredEscalation) -> Result<Option<StoredEscalation>, AskError> {
        if is_counted(job, &open) {
            self.settle(job).await?;
            return Ok(Some(open));
        }
        let command = Command::Join { cause: job.cause, urgency: job.failure.urgency() };
        match self.decide(open, &command, job.settles, "rules").await {
            Ok(Some(escalation)) => Ok(Some(escalation)),
            Ok(None) | Err(EscalationError::Refused(_)) => Ok(None),
            Err(EscalationError::Store(error)) => Err(error.into()),
            Err(EscalationError::Busy | EscalationError::NotFound) => Err(AskError::Busy),
        }
    }

    async fn holds(
        &self,
        job: &AskJob,
        rule: &Rule,
        windows: &Windows,
        recent: &Recent,
        subject: &str,
    ) -> Result<Option<HeldBack>, AskError> {
        let now_ms = self.now_ms();
        let rules = self.rules(job.owner.tenant).await?;
        let silent = rules.covering(rule.id, &job.failure, &job.owner).into_iter().find_map(|silence| {
            let until_ms = silence.until(now_ms)?;
            Some(HeldBack::Silence { name: silence.document.name.clone(), until_ms })
        });
        if silent.is_some() {
            return Ok(silent);
        }
        if !rule.document.depends_on.is_empty() {
            let open = self.open_dependency(&rules, rule, job.owner.tenant, None).await?;
            if let Some(rule_name) = open {
                return Ok(Some(HeldBack::Dependency { rule_name }));
            }
        }
        Ok(recent.holds_back(windows, subject, now_ms))
    }

    async fn hold_back(
        &self,
        job: &AskJob,
        rule: &Rule,
        version: i64,
        (subject, by): (String, HeldBack),
        tell_ms: Option<i64>,
    ) -> Result<(), AskError> {
        let failure = &job.failure;
        let note = HeldBackNote {
            id: Failure::event_id(job.cause, rule.id),
            owner: job.owner,
            rule: rule.id,
            rule_version: version,
            execution: failure.execution,
            log: failure.log,
            flow: failure.flow_id,
            run: failure.run,
            reason: failure.reason,
            subject,
            urgency: failure.urgency().unwrap_or(rule.document.urgency),
            by,
            context: (*failure.trigger()).clone(),
            asked: job.reasons(),
            conditions_met: conditions_met(rule),
            settles: job.settles,
            tell_ms,
            at_ms: self.now_ms(),
        };
        match self.commit(EscalationWrite::HeldBack(Box::new(note))).await? {
            Outcome::Committed { .. } => Ok(()),
            // Its row is there: a crash came between the commit and its answer.
            Outcome::Rejected { .. } | Outcome::Conflict => Ok(self.settle(job).await?),
            other => Err(crate::engine::unexpected(other).into()),
        }
    }

    /// Crosses the failure out where nothing else does.
    async fn settle(&self, job: &AskJob) -> Result<(), StoreError> {
        let Some(id) = job.settles else { return Ok(()) };
        let tenant = job.owner.tenant;
        let write = crate::ports::signal::SignalWrite::Settled { id, tenant, audit: Vec::new() };
        let write = crate::ports::store::Write::Signal(Box::new(write));
        self.engine()?.commit(write).await.map(drop)
    }

    /// Commits a step of an event; `None` where somebody else was faster.
    pub(super) async fn commit_step(
        &self,
        rule: &Rule,
        escalation: StoredEscalation,
        before: Option<crate::ports::escalation::EventBefore>,
        decision: core314_domain::escalation::Decision,
        settles: Option<RowId>,
        by: &str,
    ) -> Result<Option<StoredEscalation>, StoreError> {
        if before.is_some() && decision.stops {
            self.take_up(&escalation).await?;
        }
        let at_ms = self.now_ms();
        let mut escalation = escalation;
        escalation.event = decision.event;
        let is_message = before.is_some() && decision.tasks.iter().any(Task::bundles);
        let tenant = escalation.owner.tenant;
        let held_back = if is_message { self.book.held_back(tenant, rule.id).await? } else { 0 };
        let bundles = held_back > 0;
        if bundles {
            escalation.event.bundle(held_back);
        }
        escalation.deadlines = escalation.event.deadlines(rule);
        let mut outbox = self.rows(rule, &escalation, &decision.tasks).await?;
        if let Some(news) = before.and_then(|before| pagers::news(before, &escalation.event)) {
            outbox.extend(self.follow_ups(&escalation, news).await?);
        }
        let is_new_work = !outbox.is_empty();
        // What was just written down is done at once; were it not for a crash, the time would be moved on afterwards. Where there
        // is nothing new, what was to be looked at before still is.
        let earlier_ms = escalation.wake_ms.filter(|_| before.is_some());
        escalation.wake_ms = match decision.next_wake_ms {
            Some(_) if is_new_work => Some(at_ms),
            None => is_new_work.then_some(at_ms),
            Some(next_ms) => Some(earlier_ms.map_or(next_ms, |earlier_ms| earlier_ms.min(next_ms))),
        };
        let stops = decision.stops.then(|| super::step::stop_of(&escalation.event));
        let audit = super::step::audit(&escalation, before, by, at_ms);
        let step = EventStep { escalation: escalation.clone(), bundles, before, outbox, stops, settles, audit, at_ms };
        match self.commit(EscalationWrite::Step(Box::new(step))).await? {
            Outcome::Committed { .. } => {
                escalation.version += 1;
                self.tell_feed(&escalation);
                if before.is_none() {
                    self.runtime().escalation_opened(escalation.owner.tenant);
                }
                if escalation.event.status.is_closed() {
                    self.ended(escalation.owner.tenant, escalation.rule).await;
                }
                Ok(Some(escalation))
            }
            Outcome::Conflict => Ok(None),
            other => Err(crate::engine::unexpected(other)),
        }
    }
}

/// Whether an event counts the failure already. The end of a run that one of its executions has brought about is the same
/// failure.
fn is_counted(job: &AskJob, open: &StoredEscalation) -> bool {
    let is_own_end =
        job.failure.run.is_some() && job.failure.run == open.run && job.failure.reason == EscalationReason::RunFailed;
    is_own_end || open.event.knows(job.cause)
}

/// Which filters and conditions of a rule held.
fn conditions_met(rule: &Rule) -> Value {
    let document = &rule.document;
    json!({
        "trigger_conditions": document.trigger_conditions,
        "applies_to_action_types": document.applies_to_action_types,
        "applies_to_integrations": document.applies_to_integrations,
        "applies_to_flows": document.applies_to_flows,
    })
}

impl AskJob {
    /// What is kept of what the rules said: of those that act, and of the first others.
    fn reasons(&self) -> Value {
        let (asked, left_out) = self.rules.set.reasons(&self.acting, &self.failure, &self.owner, MOST_VERDICTS);
        json!({"asked": asked, "left_out": left_out})
    }
}

fn new_escalation(job: &AskJob, rule: &Rule, version: i64, event: Event) -> StoredEscalation {
    let failure = &job.failure;
    StoredEscalation {
        id: Failure::event_id(job.cause, rule.id),
        owner: job.owner,
        rule: rule.id,
        rule_version: version,
        execution: failure.execution,
        log: failure.log,
        flow: failure.flow_id,
        run: failure.run,
        event,
        context: failure.trigger(),
        verdicts: Some(Arc::new(Verdicts { asked: job.reasons(), conditions_met: conditions_met(rule) })),
        tags: rule.document.tags.clone(),
        deadlines: (None, None),
        version: 0,
        wake_ms: None,
    }
}
