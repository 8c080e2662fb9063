//! Escalations at work: who is told of what has failed, level by level, whatever dies in between.
//!
//! ```text
//! occurrence ─ relay ─► Desk::ask ─ rules of the tenant ─► Escalations ─► EscalationRule ─► one commit: event, tasks,
//!                                                              ▲   one per rule, one      failure crossed out, figures
//! rows with a time to wake ─ the next ten minutes ─────────────┘   thing at a time                │
//!                                                                                                 ▼
//!                                     notification or action, as a durable single execution ◄─ outbox rows
//! ```
//! Every wake-up is a row. [`Escalations`] holds those of the next minutes in their order, and tells each to the actor of its
//! rule, which it starts when it is absent. That actor does one thing at a time: what it decides is a commit against the
//! version that it read, and what is sent is sent after looking whether somebody has acknowledged. Nothing here is needed
//! after a crash.

mod act;
mod ask;
mod dependencies;
mod desk;
mod known_events;
mod message;
mod pagers;
mod people;
mod remedies;
mod rule_actor;
mod rule_queue;
mod send;
mod step;
mod summary;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use core314_domain::escalation::{Command, RuleId};
use core314_domain::ids::{RowId, TenantId};
use tokio::sync::oneshot;

use crate::ports::StoreError;
use crate::ports::escalation::{StoredEscalation, StoredRule, Waking};
use crate::supervision::{Behaviour, ChildExit, ChildSpec, Ctx, Ref, TimerKey};

pub use ask::{AskError, Taken};
pub use desk::{AckLinks, Acknowledger, Desk};
pub use message::{level_action_types, rule_actions};

use ask::AskJob;
use rule_actor::{EscalationRule, RuleArgs, RuleMsg};

/// Rows that are held at most; the horizon comes nearer where there are more.
const MOST_HELD: usize = 10_000;
const PAGE: usize = 500;
/// How often the rows are read again.
const READ_AGAIN: Duration = Duration::from_mins(1);
/// How soon they are read again where something may have changed meanwhile.
const BETWEEN_LOADS: Duration = Duration::from_millis(100);
/// How long to wait with a store that did not answer, and with an actor that died.
const PAUSE: Duration = Duration::from_secs(1);
/// Sleeping is measured by another clock than the time of day: nobody sleeps longer than this without a look at that.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// The member of a notification's metadata that says which escalation it is about.
pub const ABOUT_ESCALATION: &str = "escalation_event_id";

/// What an actor of a rule is to do.
pub enum Job {
    Ask(Box<AskJob>),
    Wake(RowId),
    Tell { escalation: RowId, command: Box<Command>, by: String, answer: oneshot::Sender<TellResult> },
}

/// What telling an event something gives.
pub type TellResult = Result<StoredEscalation, EscalationError>;

/// Why an event was not told something. The variants say what the caller should do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EscalationError {
    #[error("there is no such escalation")]
    NotFound,
    /// Look at the event.
    #[error(transparent)]
    Refused(#[from] core314_domain::escalation::Refused),
    /// Come back in a while.
    #[error("the runtime is busy: try again")]
    Busy,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the actor is told.
pub enum EscalationsMsg {
    /// Look what is due.
    Wake,
    /// Read the rows again.
    Load,
    Loaded(Result<Loaded, StoreError>),
    /// Something for the actor of a rule.
    Tell {
        rule: RuleId,
        tenant: TenantId,
        job: Job,
    },
    /// An event of a rule has its next time to wake; `None`: none.
    Known {
        escalation: RowId,
        rule: RuleId,
        tenant: TenantId,
        wake_ms: Option<i64>,
    },
    /// Something may have changed for open events.
    Nudge(Nudge),
    /// They have been told.
    Nudged,
    /// The actor of a rule has had nothing to do for a while, since it was told so many things.
    Idle {
        rule: RuleId,
        told: u64,
    },
}

/// Whose open events are to be looked at. What is asked for again before it is done is done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nudge {
    /// Of a tenant: a rule or a silence has changed.
    Tenant(TenantId),
    /// Of a rule: an event on which they depend has ended.
    Rule(RuleId, TenantId),
}

/// What was read.
pub struct Loaded {
    waking: Vec<Waking>,
    missed: Vec<StoredRule>,
    next_heartbeat_ms: Option<i64>,
    horizon_ms: i64,
}

struct Child {
    actor: Ref<EscalationRule>,
    id: u64,
    told: u64,
}

/// The actor.
pub struct Escalations {
    desk: Arc<Desk>,
    rules: HashMap<RuleId, Child>,
    held: HashMap<RowId, Waking>,
    order: BTreeSet<(i64, RowId)>,
    /// Events whose actors are looking at them.
    acting: HashMap<RowId, Waking>,
    horizon_ms: i64,
    timer: Option<TimerKey>,
    reload: Option<TimerKey>,
    is_loading: bool,
    /// To be read again once what is being read is there.
    wants_load: bool,
    nudges: BTreeSet<Nudge>,
    is_nudging: bool,
}

impl Behaviour for Escalations {
    const KIND: &'static str = "escalations";
    type Msg = EscalationsMsg;
    type Args = Arc<Desk>;

    fn start(args: &Self::Args, ctx: &mut Ctx<'_, Self>) -> Self {
        ctx.after(Duration::ZERO, EscalationsMsg::Load);
        Self {
            desk: args.clone(),
            rules: HashMap::new(),
            held: HashMap::new(),
            order: BTreeSet::new(),
            acting: HashMap::new(),
            horizon_ms: 0,
            timer: None,
            reload: None,
            is_loading: false,
            wants_load: false,
            nudges: BTreeSet::new(),
            is_nudging: false,
        }
    }

    fn handle(&mut self, msg: EscalationsMsg, ctx: &mut Ctx<'_, Self>) {
        match msg {
            EscalationsMsg::Wake => self.timer = None,
            EscalationsMsg::Load => return self.load(ctx),
            EscalationsMsg::Loaded(loaded) => self.loaded(loaded, ctx),
            EscalationsMsg::Tell { rule, tenant, job } => drop(self.tell(rule, tenant, job, ctx)),
            EscalationsMsg::Known { escalation, rule, tenant, wake_ms } => {
                self.acting.remove(&escalation);
                self.forget(escalation);
                if let Some(at_ms) = wake_ms {
                    self.hold(Waking { at_ms, escalation, rule, tenant });
                }
            }
            EscalationsMsg::Nudge(nudge) => {
                self.nudges.insert(nudge);
                self.nudge(ctx);
                if matches!(nudge, Nudge::Tenant(_)) {
                    // A rule may wait for a signal sooner than what is known of.
                    self.load(ctx);
                }
                return;
            }
            EscalationsMsg::Nudged => {
                self.is_nudging = false;
                return self.nudge(ctx);
            }
            EscalationsMsg::Idle { rule, told } => self.idle(rule, told, ctx),
        }
        self.act(ctx);
        self.sleep(ctx);
    }

    fn child_exited(&mut self, child: ChildExit, ctx: &mut Ctx<'_, Self>) {
        let gone: Vec<RuleId> = self.rules.iter().filter(|(_, c)| c.id == child.id).map(|(id, _)| *id).collect();
        for rule in gone {
            self.rules.remove(&rule);
            // What it was about to look at is looked at again, by its next life.
            let again_ms = self.desk.now_ms() + PAUSE.as_millis() as i64;
            let left: Vec<Waking> = self.acting.values().filter(|waking| waking.rule == rule).copied().collect();
            for waking in left {
                self.acting.remove(&waking.escalation);
                self.hold(Waking { at_ms: again_ms, ..waking });
            }
        }
        self.sleep(ctx);
    }

    fn state(&self) -> &'static str {
        if self.acting.is_empty() { "waiting" } else { "climbing" }
    }
}

impl Escalations {
    fn load(&mut self, ctx: &Ctx<'_, Self>) {
        if self.is_loading {
            self.wants_load = true;
            return;
        }
        (self.is_loading, self.wants_load) = (true, false);
        let (desk, me) = (self.desk.clone(), ctx.me());
        self.desk.io().spawn(async move {
            let loaded = load(&desk).await;
            // An actor that is gone reads the rows when it starts again.
            let _ = me.tell_urgent(EscalationsMsg::Loaded(loaded));
        });
    }

    fn loaded(&mut self, loaded: Result<Loaded, StoreError>, ctx: &mut Ctx<'_, Self>) {
        self.is_loading = false;
        let Loaded { waking, missed, next_heartbeat_ms, horizon_ms } = match loaded {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!(%error, "the escalations could not be read; they are read again");
                self.reload = Some(ctx.after(PAUSE, EscalationsMsg::Load));
                return;
            }
        };
        self.horizon_ms = horizon_ms;
        for waking in waking {
            // What is being looked at is known better in a moment, and what is held was told since.
            if !self.acting.contains_key(&waking.escalation) && !self.held.contains_key(&waking.escalation) {
                self.hold(waking);
            }
        }
        let (desk, io) = (self.desk.clone(), self.desk.io().clone());
        io.spawn(async move { desk.heartbeats_missed(missed).await });
        let until_ms = next_heartbeat_ms.map(|due_ms| (due_ms - self.desk.now_ms()).max(PAUSE.as_millis() as i64));
        let pause = until_ms.map_or(READ_AGAIN, |ms| Duration::from_millis(ms as u64).min(READ_AGAIN));
        let pause = if self.wants_load { BETWEEN_LOADS } else { pause };
        if let Some(timer) = self.reload.replace(ctx.after(pause, EscalationsMsg::Load)) {
            ctx.cancel(timer);
        }
    }

    fn hold(&mut self, waking: Waking) {
        if waking.at_ms < self.horizon_ms.max(self.desk.now_ms() + 1) {
            self.order.insert((waking.at_ms, waking.escalation));
            self.held.insert(waking.escalation, waking);
        }
    }

    fn forget(&mut self, escalation: RowId) {
        if let Some(waking) = self.held.remove(&escalation) {
            self.order.remove(&(waking.at_ms, escalation));
        }
    }

    /// Hands what is due to the actors of its rules.
    fn act(&mut self, ctx: &mut Ctx<'_, Self>) {
        let now_ms = self.desk.now_ms();
        while let Some((_, escalation)) = self.order.first().copied().filter(|(at_ms, _)| *at_ms <= now_ms) {
            let Some(waking) = self.held.get(&escalation).copied() else {
                self.order.pop_first();
                continue;
            };
            self.forget(escalation);
            if self.tell(waking.rule, waking.tenant, Job::Wake(escalation), ctx) {
                self.acting.insert(escalation, waking);
            } else {
                self.hold(Waking { at_ms: now_ms + PAUSE.as_millis() as i64, ..waking });
            }
        }
    }

    /// Gives a rule's actor something to do, and says whether it takes it.
    fn tell(&mut self, rule: RuleId, tenant: TenantId, job: Job, ctx: &mut Ctx<'_, Self>) -> bool {
        if !self.rules.contains_key(&rule) {
            let args = RuleArgs { desk: self.desk.clone(), rule, tenant, parent: ctx.me() };
            match ctx.spawn_child::<EscalationRule>(&ChildSpec::new(format!("rule-{rule}")), args) {
                Ok(actor) => {
                    let id = actor.id();
                    self.rules.insert(rule, Child { actor, id, told: 0 });
                }
                // Its asker hears that nobody answers, and asks again.
                Err(error) => {
                    tracing::warn!(%rule, %error, "the actor of a rule could not be started");
                    return false;
                }
            }
        }
        let Some(child) = self.rules.get_mut(&rule) else { return false };
        child.told += 1;
        let told = child.told;
        let is_taken = child.actor.tell(RuleMsg::Do { job, told }).is_ok();
        if !is_taken {
            tracing::warn!(%rule, "the actor of a rule takes nothing now");
        }
        is_taken
    }

    fn idle(&mut self, rule: RuleId, told: u64, ctx: &mut Ctx<'_, Self>) {
        if self.rules.get(&rule).is_some_and(|child| child.told == told)
            && let Some(child) = self.rules.remove(&rule)
        {
            ctx.stop_child(child.id);
        }
    }

    /// Has the open events of the next of whom something may have changed looked at.
    fn nudge(&mut self, ctx: &Ctx<'_, Self>) {
        if self.is_nudging {
            return;
        }
        let Some(nudge) = self.nudges.pop_first() else { return };
        self.is_nudging = true;
        let (desk, nudged) = (self.desk.clone(), Nudged { me: ctx.me() });
        self.desk.io().spawn(async move {
            let open = match nudge {
                Nudge::Tenant(tenant) => desk.book.open_of(tenant, MOST_HELD).await,
                Nudge::Rule(rule, _) => desk.book.open_of_rule(rule, MOST_HELD).await,
            };
            match open {
                Ok(open) => nudged.tell(open),
                // Each has a time to wake in any case.
                Err(error) => tracing::warn!(%error, "open escalations could not be read"),
            }
        });
    }

    /// Sets the timer for the next that is due.
    fn sleep(&mut self, ctx: &mut Ctx<'_, Self>) {
        let due = self.order.first().map(|(at_ms, _)| (*at_ms - self.desk.now_ms()).max(0) as u64);
        let delay = due.map_or(LONGEST_SLEEP, Duration::from_millis).min(LONGEST_SLEEP);
        if let Some(timer) = self.timer.replace(ctx.after(delay, EscalationsMsg::Wake)) {
            ctx.cancel(timer);
        }
    }
}

/// Tells the actor that a nudge is over, however it ended.
struct Nudged {
    me: Ref<Escalations>,
}

impl Nudged {
    fn tell(&self, open: Vec<Waking>) {
        for Waking { escalation, rule, tenant, .. } in open {
            let _ = self.me.tell_urgent(EscalationsMsg::Tell { rule, tenant, job: Job::Wake(escalation) });
        }
    }
}

impl Drop for Nudged {
    fn drop(&mut self) {
        // An actor that is gone reads its rows when it starts again.
        let _ = self.me.tell_urgent(EscalationsMsg::Nudged);
    }
}

/// Reads the rows up to the horizon, and the rules whose signal stays away.
async fn load(desk: &Desk) -> Result<Loaded, StoreError> {
    let until_ms = desk.now_ms() + desk.horizon_ms();
    let missed = desk.book.missed_heartbeats(desk.now_ms(), PAGE).await?;
    // Those that are missed move on in a moment; the others are looked at in their time.
    let next_heartbeat_ms = if missed.is_empty() { desk.book.next_heartbeat().await? } else { Some(desk.now_ms()) };
    let mut waking: Vec<Waking> = Vec::new();
    while waking.len() < MOST_HELD {
        let after = waking.last().map(|last| (last.at_ms, last.escalation));
        let page = desk.book.waking(until_ms, after, PAGE).await?;
        let is_last = page.len() < PAGE;
        waking.extend(page);
        if is_last {
            return Ok(Loaded { waking, missed, next_heartbeat_ms, horizon_ms: until_ms });
        }
    }
    let horizon_ms = waking.last().map_or(until_ms, |last| last.at_ms + 1);
    Ok(Loaded { waking, missed, next_heartbeat_ms, horizon_ms })
}
