//! From what has happened to the runs that it starts, and to those that wait for it.
//!
//! ```text
//! decision, recommendation, metric, end of a run, escalation
//!        │ one commit
//!        ▼
//!   occurrence ──► relay ──► ingress ──► runs, durable ──► crossed out
//!        ▲           │
//!        └───────────┘ not now: the next look, or the next start
//! ```
//! Level-triggered: whoever writes an occurrence may nudge, and a timer looks all the same, so that a nudge that is lost
//! costs a delay and nothing else.
//!
//! Invariants:
//! - An occurrence is crossed out only when its runs are durable, or when nothing could ever start them.
//! - Its runs have idempotency keys made of its id: to start it again starts nothing twice.
//! - A chain of flows that start each other has an end: past so many links it is refused, and the audit log says so.
//! - What fails of a run that comes of an escalation starts no flow of the type `escalation`.

mod ask;
mod bursts;
mod deliver;
mod lineage;
mod portion;
mod start;
mod tell;

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use core314_domain::ids::{RowId, TenantId};
use core314_domain::words::TriggerType;
use futures_util::StreamExt;

use crate::commit_writer::Writer;
use crate::ingress::Ingress;
use crate::runtime::Runtime;
use crate::supervision::{Behaviour, Ctx, Ref};

use portion::Next;

pub use bursts::Bursts;
pub use start::{Started, action};

/// Occurrences that are read at once.
const PAGE: usize = 512;
/// Occurrences whose runs are started at once.
const AT_ONCE: usize = 128;
/// When to look again where the runtime was busy.
const SOON: Duration = Duration::from_secs(1);

/// What starts occurrences: shared by the actor and by callers who want to hear what their own one started.
pub struct Starter {
    pub runtime: Arc<Runtime>,
    pub ingress: Arc<Ingress>,
    pub writer: Writer,
    /// Of requests for approval, which tell of more than themselves.
    pub bursts: Bursts,
}

/// Messages of the relay.
pub enum RelayMsg {
    /// Something was written down.
    Look,
    /// An event came that runs may wait for, or a run began to wait for one.
    Deliver,
    /// A run of this tenant has ended.
    Ended(TenantId),
    /// Something of this tenant has failed for good.
    Failed(TenantId),
    /// An escalation event of this tenant has opened.
    Opened(TenantId),
    /// The time has come.
    Tick,
    /// The time has come to look again at what was left.
    Again,
    /// The look is over; whether something is left that may start later.
    Looked { is_left: bool },
}

/// The actor.
pub struct Relay {
    starter: Arc<Starter>,
    is_looking: bool,
    again: Again,
    /// What came while a look was under way.
    wanted: Wanted,
}

/// The look that follows upon what was left: there is one timer for it, however many looks leave something in its time.
/// With one for each, every nudge would begin a chain of looks of its own, until they come back to back.
#[derive(Default)]
struct Again {
    is_due: bool,
}

impl Again {
    /// Whether its timer is to be set.
    fn is_to_be_set(&mut self, is_left: bool) -> bool {
        is_left && !std::mem::replace(&mut self.is_due, true)
    }
}

#[derive(Default)]
struct Wanted {
    is_look: bool,
    is_delivery: bool,
    /// Those of whom it is not known whether any flow waits for ends.
    ended: BTreeSet<TenantId>,
    /// Those of whom it is not known whether they have escalation rules.
    failed: BTreeSet<TenantId>,
    /// Those of whom it is not known whether an escalation starts any flow.
    opened: BTreeSet<TenantId>,
}

impl Wanted {
    fn is_nothing(&self) -> bool {
        let tenants = [&self.ended, &self.failed, &self.opened];
        !self.is_look && !self.is_delivery && tenants.iter().all(|tenants| tenants.is_empty())
    }
}

impl Behaviour for Relay {
    const KIND: &'static str = "relay";
    type Msg = RelayMsg;
    type Args = Arc<Starter>;

    fn start(args: &Self::Args, ctx: &mut Ctx<'_, Self>) -> Self {
        // What an earlier life left is taken up at once.
        ctx.after(Duration::ZERO, RelayMsg::Tick);
        Self { starter: args.clone(), is_looking: false, again: Again::default(), wanted: Wanted::default() }
    }

    fn handle(&mut self, msg: RelayMsg, ctx: &mut Ctx<'_, Self>) {
        match msg {
            RelayMsg::Look => self.wanted.is_look = true,
            RelayMsg::Deliver => self.wanted.is_delivery = true,
            RelayMsg::Ended(tenant) => drop(self.wanted.ended.insert(tenant)),
            RelayMsg::Failed(tenant) => drop(self.wanted.failed.insert(tenant)),
            RelayMsg::Opened(tenant) => drop(self.wanted.opened.insert(tenant)),
            RelayMsg::Tick => {
                (self.wanted.is_look, self.wanted.is_delivery) = (true, true);
                let pause = self.starter.runtime.settings.sweep_interval_ms;
                ctx.after(Duration::from_millis(pause), RelayMsg::Tick);
            }
            RelayMsg::Again => {
                self.again.is_due = false;
                (self.wanted.is_look, self.wanted.is_delivery) = (true, true);
            }
            RelayMsg::Looked { is_left } => {
                self.is_looking = false;
                if self.again.is_to_be_set(is_left) {
                    ctx.after(SOON, RelayMsg::Again);
                }
            }
        }
        self.look(ctx.me());
    }

    fn state(&self) -> &'static str {
        if self.is_looking { "looking" } else { "idle" }
    }
}

impl Relay {
    fn look(&mut self, me: Ref<Self>) {
        if self.is_looking || self.wanted.is_nothing() {
            return;
        }
        self.is_looking = true;
        let (starter, wanted) = (self.starter.clone(), std::mem::take(&mut self.wanted));
        self.starter.runtime.io.spawn(async move {
            // Whatever happens to this task, the relay must not wait for it for ever.
            let mut looked = Looked { me, is_left: true };
            looked.is_left = starter.look(wanted).await;
        });
    }
}

/// Tells the relay that a look is over, however it ended.
struct Looked {
    me: Ref<Relay>,
    is_left: bool,
}

impl Drop for Looked {
    fn drop(&mut self) {
        // A relay that is gone looks when it starts again.
        let _ = self.me.tell_urgent(RelayMsg::Looked { is_left: self.is_left });
    }
}

impl Starter {
    /// Starts what is to be started. True if something is left.
    async fn look(&self, wanted: Wanted) -> bool {
        let starts_any = async |tenant, trigger| {
            let runtime = &self.runtime;
            let found = runtime.plans.active(runtime.catalog.as_ref(), tenant, trigger).await;
            // Where it is not known, looking is right.
            !found.is_ok_and(|flows| flows.is_empty())
        };
        let is_left = wanted.is_delivery && self.deliver().await;
        let mut is_due = wanted.is_look;
        for tenant in wanted.ended {
            is_due |= starts_any(tenant, TriggerType::FlowFinished).await;
        }
        for tenant in wanted.opened {
            is_due |= starts_any(tenant, TriggerType::Escalation).await;
        }
        for tenant in wanted.failed {
            is_due |= self.may_escalate(tenant).await;
        }
        (is_due && self.sweep().await) || is_left
    }

    /// Whether the tenant has a rule that may act. Where it is not known, looking is right.
    async fn may_escalate(&self, tenant: TenantId) -> bool {
        let Some(desk) = self.runtime.escalation.get().and_then(Weak::upgrade) else { return false };
        match desk.has_rules(tenant) {
            Some(known) => known,
            None => desk.rules(tenant).await.is_err() || desk.has_rules(tenant) != Some(false),
        }
    }

    async fn sweep(&self) -> bool {
        let (mut after, mut is_left): (Option<RowId>, bool) = (None, false);
        loop {
            let page = match self.runtime.store.occurrences(after, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "what is to be started could not be read");
                    return true;
                }
            };
            after = page.last().map(|last| last.id);
            let is_last = page.len() < PAGE;
            let started = self.reads_of(page).map(|next| self.try_one(next));
            // Every one is tried: one that cannot be started just now keeps no other from it.
            is_left |= !started.buffer_unordered(AT_ONCE).fold(true, async |all, is_done| all && is_done).await;
            if is_last {
                return is_left;
            }
        }
    }

    /// Whether the occurrence is settled.
    async fn try_one(&self, Next { occurrence, about }: Next) -> bool {
        match self.start_knowing(&occurrence, about.as_deref()).await {
            Ok(_) => true,
            Err(error) => {
                tracing::debug!(occurrence = %occurrence.id, kind = %occurrence.kind, %error, "it is started later");
                false
            }
        }
    }
}

impl Runtime {
    /// A run of this tenant has ended: the relay looks, where any flow may wait for that.
    pub fn run_ended(&self, tenant: TenantId) {
        match self.plans.has_active(tenant, TriggerType::FlowFinished) {
            Some(false) => {}
            Some(true) => self.nudge(RelayMsg::Look),
            None => self.nudge(RelayMsg::Ended(tenant)),
        }
    }

    /// Something of this tenant has failed for good: the relay looks, where a rule may be asked.
    pub fn failed(&self, tenant: TenantId) {
        let Some(desk) = self.escalation.get().and_then(Weak::upgrade) else { return };
        match desk.has_rules(tenant) {
            Some(false) => {}
            Some(true) => self.nudge(RelayMsg::Look),
            None => self.nudge(RelayMsg::Failed(tenant)),
        }
    }

    /// An escalation event of this tenant has opened: the relay looks, where that may start any flow.
    pub fn escalation_opened(&self, tenant: TenantId) {
        match self.plans.has_active(tenant, TriggerType::Escalation) {
            Some(false) => {}
            Some(true) => self.nudge(RelayMsg::Look),
            None => self.nudge(RelayMsg::Opened(tenant)),
        }
    }

    /// Something was written down that starts flows.
    pub fn occurred(&self) {
        self.nudge(RelayMsg::Look);
    }

    /// An event was kept, or a run waits for one: whoever is to be told is told.
    pub fn events_wait(&self) {
        self.nudge(RelayMsg::Deliver);
    }

    fn nudge(&self, msg: RelayMsg) {
        if let Some(relay) = self.relay.get() {
            // A full mailbox means that it looks soon, and its timer does in any case.
            let _ = relay.tell(msg);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_follows_however_many_leave_something() {
        let mut again = Again::default();
        assert!(!again.is_to_be_set(false), "nothing is left");
        assert!(again.is_to_be_set(true));
        // Nudges look in between.
        for is_left in [true, false, true] {
            assert!(!again.is_to_be_set(is_left), "it is due already");
        }
        again.is_due = false;
        assert!(again.is_to_be_set(true), "what it has left is looked at once more");
    }
}
