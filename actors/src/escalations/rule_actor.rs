//! The actor of a rule: does one thing at a time for its rule's events, and holds its throttle windows.
//!
//! Everything that waits (for the store, for a run to be accepted) happens in a task of its own; the actor hears of its end
//! and goes on with the next. What it holds is read from the rows at its start, and nothing of it is needed after a crash.

use std::sync::Arc;
use std::time::Duration;

use core314_domain::escalation::{Admission, Command, Recent, Rule, RuleId, Windows};
use core314_domain::ids::{RowId, TenantId};
use tokio::sync::oneshot;

use super::ask::{AskError, AskJob, Taken};
use super::known_events::KnownEvents;
use super::rule_queue::RuleQueue;
use super::summary::Summed;
use super::{Desk, EscalationError, Escalations, EscalationsMsg, Job, TellResult};
use crate::ports::StoreError;
use crate::runtime::Counters;
use crate::supervision::{Behaviour, Ctx, Ref};

/// An actor with nothing to do for so long leaves.
const IDLE: Duration = Duration::from_mins(10);
/// How long to wait after a look that failed.
const AGAIN_MS: i64 = 1_000;

/// What the actor is made of.
#[derive(Clone)]
pub(crate) struct RuleArgs {
    pub desk: Arc<Desk>,
    pub rule: RuleId,
    pub tenant: TenantId,
    pub parent: Ref<Escalations>,
}

/// What the actor is told.
pub(crate) enum RuleMsg {
    /// Something to do; `told` counts what it was told.
    Do { job: Job, told: u64 },
    /// What was done is over; what it was lent comes back, unless the task died.
    Over { held: Held },
    /// Nothing may have come for a while.
    Idle { told: u64 },
}

/// What the actor holds, and lends to what it does.
#[derive(Default)]
pub(crate) struct Held {
    /// Read from the rows when it is first needed.
    recent: Option<Recent>,
    known: KnownEvents,
    /// When the parent wakes it for what was held back, by the rule's own name.
    sums_up_ms: Option<i64>,
}

/// The actor.
pub(crate) struct EscalationRule {
    args: RuleArgs,
    queue: RuleQueue,
    is_busy: bool,
    told: u64,
    held: Held,
}

impl Behaviour for EscalationRule {
    const KIND: &'static str = "escalation_rule";
    type Msg = RuleMsg;
    type Args = RuleArgs;

    fn start(args: &RuleArgs, _: &mut Ctx<'_, Self>) -> Self {
        Self { args: args.clone(), queue: RuleQueue::default(), is_busy: false, told: 0, held: Held::default() }
    }

    fn handle(&mut self, msg: RuleMsg, ctx: &mut Ctx<'_, Self>) {
        match msg {
            RuleMsg::Do { job, told } => {
                self.told = told;
                self.queue.push(job);
            }
            RuleMsg::Over { held } => {
                self.is_busy = false;
                self.held = held;
                if self.queue.is_empty() {
                    ctx.after(IDLE, RuleMsg::Idle { told: self.told });
                }
            }
            RuleMsg::Idle { told } => {
                if told == self.told && !self.is_busy {
                    // A parent that is gone takes its children with it.
                    let _ = self.args.parent.tell_urgent(EscalationsMsg::Idle { rule: self.args.rule, told });
                }
            }
        }
        self.go_on(ctx.me());
    }

    fn state(&self) -> &'static str {
        if self.is_busy { "working" } else { "idle" }
    }
}

impl EscalationRule {
    fn go_on(&mut self, me: Ref<Self>) {
        if self.is_busy {
            return;
        }
        let Some(job) = self.queue.pop() else { return };
        self.is_busy = true;
        let (args, held) = (self.args.clone(), std::mem::take(&mut self.held));
        self.args.desk.clone().io().spawn(async move {
            // Whatever happens to this task, the actor must not wait for it for ever.
            let mut over = Over { me, held: Held::default() };
            over.held = Box::pin(args.work(job, held)).await;
        });
    }
}

/// Tells the actor that its task is over, however it ended.
struct Over {
    me: Ref<EscalationRule>,
    held: Held,
}

impl Drop for Over {
    fn drop(&mut self) {
        // An actor that is gone reads its rows when it starts again.
        let _ = self.me.tell_urgent(RuleMsg::Over { held: std::mem::take(&mut self.held) });
    }
}

impl RuleArgs {
    async fn work(&self, job: Job, mut held: Held) -> Held {
        match job {
            Job::Ask(job) => Box::pin(self.ask(*job, &mut held)).await,
            Job::Wake(escalation) => self.look(escalation, &mut held).await,
            Job::Tell { escalation, command, by, answer } => {
                held.known.forget(escalation);
                if self.tell(escalation, &command, &by, answer).await {
                    self.look(escalation, &mut held).await;
                }
            }
        }
        held
    }

    async fn ask(&self, job: AskJob, held: &mut Held) {
        let taken = self.take(&job, held).await;
        let known = taken.as_ref().ok().and_then(|taken: &Taken| taken.escalation.as_ref());
        let known = known.map(|stored| (stored.id, stored.wake_ms));
        if let Ok(taken) = &taken {
            let place = match taken.admission {
                Admission::Open => 0,
                Admission::Join => 1,
                Admission::HeldBack(_) => 2,
            };
            Counters::add(&self.desk.runtime().counters.failures_taken[place], 1);
            self.tell_when(taken.tell_ms, held);
        }
        // Whoever has gone away asks again, and finds it done.
        let _ = job.answer.send(taken);
        match known {
            // A failure that has only joined an event gives nothing to do but in its time.
            Some((escalation, wake_ms)) if wake_ms.is_some_and(|at_ms| at_ms > self.desk.now_ms()) => {
                self.tell_next(escalation, wake_ms);
            }
            Some((escalation, _)) => self.look(escalation, held).await,
            None => {}
        }
    }

    async fn take(&self, job: &AskJob, held: &mut Held) -> Result<Taken, AskError> {
        let rules = self.desk.rules(self.tenant).await?;
        // Deleted since it was asked: it is asked again, and another may act.
        let (Some(rule), Some(facts)) = (rules.set.rule(self.rule), rules.facts(self.rule)) else {
            return Err(AskError::Busy);
        };
        let mut recent = self.recent(rule, held).await?;
        let taken = self.desk.take(job, rule, facts.version, &mut recent, &mut held.known).await?;
        held.recent = Some(recent);
        Ok(taken)
    }

    /// What the rule's windows are counted from. After an error it is read again.
    async fn recent(&self, rule: &Rule, held: &mut Held) -> Result<Recent, StoreError> {
        if let Some(recent) = held.recent.take() {
            return Ok(recent);
        }
        let windows = Windows::of(&rule.document);
        let since_ms = self.desk.now_ms() - windows.longest_ms();
        Ok(Recent::new(self.desk.book.recent(self.rule, since_ms, windows.most()).await?))
    }

    /// Has what was held back told at this time, or as soon as it is to be already. The rows that count it wake as well.
    fn tell_when(&self, tell_ms: Option<i64>, held: &mut Held) {
        let Some(tell_ms) = tell_ms else { return };
        let now_ms = self.desk.now_ms();
        let is_sooner = held.sums_up_ms.is_some_and(|at_ms| now_ms < at_ms && at_ms <= tell_ms);
        if !is_sooner {
            held.sums_up_ms = Some(tell_ms);
            self.tell_next(self.rule, Some(tell_ms));
        }
    }

    /// Tells what was held back, where its time has come and nothing has told it. When to look again.
    async fn sum_up(&self, row: RowId, held: &mut Held) -> Result<Option<i64>, StoreError> {
        let rules = self.desk.rules(self.tenant).await?;
        let mut recent = match rules.set.rule(self.rule) {
            Some(rule) => self.recent(rule, held).await?,
            None => Recent::default(),
        };
        let summed = self.desk.sum_up((self.rule, self.tenant), row, &mut recent).await?;
        held.recent = rules.set.rule(self.rule).is_some().then_some(recent);
        Ok(match summed {
            Summed::Nothing => None,
            Summed::Later(at_ms) => Some(at_ms),
            Summed::Told(event) => {
                held.known.forget(event.id);
                self.tell_next(event.id, event.wake_ms);
                None
            }
        })
    }

    /// Whether the event has taken it.
    async fn tell(&self, escalation: RowId, command: &Command, by: &str, answer: oneshot::Sender<TellResult>) -> bool {
        let told = self.desk.decide_on(escalation, command, by).await;
        let is_told = told.is_ok();
        let _ = answer.send(told);
        is_told
    }

    fn tell_next(&self, escalation: RowId, wake_ms: Option<i64>) {
        let (rule, tenant) = (self.rule, self.tenant);
        let _ = self.parent.tell_urgent(EscalationsMsg::Known { escalation, rule, tenant, wake_ms });
    }

    /// Looks at an event, and says when it is to be looked at again.
    async fn look(&self, escalation: RowId, held: &mut Held) {
        held.known.forget(escalation);
        let mut watch = Vec::new();
        let looked = match self.desk.look(escalation, &mut watch).await {
            // A row that counts what was held back, or the rule's own name, which no event has.
            Err(EscalationError::NotFound) => self.sum_up(escalation, held).await.map_err(EscalationError::from),
            looked => looked,
        };
        let wake_ms = match looked {
            Ok(wake_ms) => wake_ms,
            Err(error) => {
                tracing::warn!(%escalation, %error, "an escalation is looked at again");
                Some(self.desk.now_ms() + AGAIN_MS)
            }
        };
        self.tell_next(escalation, wake_ms);
        for run in watch {
            self.watch(escalation, run).await;
        }
    }

    /// Has the event looked at when a run has ended.
    async fn watch(&self, escalation: RowId, run: uuid::Uuid) {
        let heard = self.desk.runtime().ends.wait(run);
        // Registered first, so that an end in between is not missed.
        let ended = self.desk.runtime().store.load_runs(vec![core314_domain::ids::RunId(run)]).await;
        let has_ended = ended.is_ok_and(|found: Vec<_>| found.first().is_none_or(|run| run.state.status.is_terminal()));
        let (parent, rule, tenant) = (self.parent.clone(), self.rule, self.tenant);
        let desk = self.desk.clone();
        self.desk.io().spawn(async move {
            let in_time = has_ended || tokio::time::timeout(PATIENCE, heard).await.is_ok();
            desk.runtime().ends.forget(run);
            // In vain: it is looked at in a while in any case.
            if in_time {
                let _ = parent.tell_urgent(EscalationsMsg::Tell { rule, tenant, job: Job::Wake(escalation) });
            }
        });
    }
}

/// How long an end is waited for.
const PATIENCE: Duration = Duration::from_secs(30);
