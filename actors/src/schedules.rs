//! The actor that starts flows at their instants.
//!
//! Every wake-up is a row of the store. Memory holds those of the next minutes, in their order, and one timer for the
//! first. What is due is acted upon by a task of its own ([`fire`]): the run and the row that goes on are one commit, so a
//! crash loses no instant and doubles none, and of two nodes one is told that the other was faster.
//!
//! ```text
//! store ─ rows of the next ten minutes ─► held ─ due ─► acting: decide, match, accept + move ─► row, read again ─► held
//! ```
//!
//! Nothing here is needed after a crash: a fresh value reads the rows. A clock that jumps forward is noticed within
//! [`LONGEST_SLEEP`]; one that jumps back only makes what is held wait.

mod fire;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use core314_domain::document::FlowDocument;
use core314_domain::ids::FlowId;
use core314_domain::schedule::{Rules, Schedule};
use core314_domain::words::TriggerType;
use tokio::sync::Semaphore;

use crate::commit_writer::Writer;
use crate::ingress::Ingress;
use crate::ports::StoreError;
use crate::ports::schedule::{SchedulePlan, ScheduleWrite, StoredSchedule};
use crate::ports::store::Write;
use crate::runtime::Runtime;
use crate::supervision::{Behaviour, Ctx, TimerKey};

pub use fire::{context, idempotency, source};

/// Instants that are acted upon at once; others wait their turn.
const AT_ONCE: usize = 64;
/// Rows that are held at most; the horizon comes nearer where there are more.
const MOST_HELD: usize = 10_000;
const PAGE: usize = 500;
/// How often the rows are read again, at least: another node may have changed them.
const READ_AGAIN: Duration = Duration::from_mins(1);
/// How long to wait with a store that did not answer.
const PAUSE: Duration = Duration::from_secs(1);
/// Sleeping is measured by another clock than the time of day: nobody sleeps longer than this without a look at that.
const LONGEST_SLEEP: Duration = Duration::from_secs(10);

/// What saving this document makes of its flow's schedule; `None` where its trigger is another one.
pub fn plan(document: &FlowDocument, flow: FlowId, now_ms: i64) -> Option<SchedulePlan> {
    if document.trigger_type != TriggerType::Schedule {
        return None;
    }
    let is_active = document.is_active && !document.is_template;
    let config = document.trigger_config.clone();
    // Unreadable is what an earlier release has let through: it has no instant.
    let schedule = Schedule::read(&config).ok().filter(|schedule| is_active && !schedule.is_paused);
    let next_ms = schedule.as_ref().and_then(|schedule| schedule.next_after(now_ms));
    let due_ms = schedule.zip(next_ms).map(|(schedule, next)| schedule.due_ms(flow, next));
    Some(SchedulePlan { config, is_active, next_ms, due_ms })
}

/// What limits schedules on this node.
pub fn rules(runtime: &Runtime) -> Rules {
    let settings = &runtime.settings;
    Rules { grace_ms: settings.schedule_grace_ms, most_kept: settings.schedule_kept_instants }
}

/// What the actor is made of.
#[derive(Clone)]
pub struct SchedulesArgs {
    pub(super) runtime: Arc<Runtime>,
    pub(super) ingress: Arc<Ingress>,
    pub(super) writer: Writer,
    slots: Arc<Semaphore>,
}

impl SchedulesArgs {
    pub fn new(runtime: Arc<Runtime>, ingress: Arc<Ingress>, writer: Writer) -> Self {
        Self { runtime, ingress, writer, slots: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

/// What the actor is told.
pub enum SchedulesMsg {
    /// Look what is due.
    Wake,
    /// Read the rows again.
    Load,
    /// The rows with something to do before a time, or why they could not be read.
    Loaded(Result<(Vec<StoredSchedule>, i64), StoreError>),
    /// A flow was saved or deleted, or its schedule paused or resumed.
    Changed(FlowId),
    /// The row as it is now; `None`: it is gone.
    Known(FlowId, Option<Box<StoredSchedule>>),
    /// A schedule was acted upon.
    Acted(Acted),
}

/// What came of acting upon a schedule.
pub struct Acted {
    flow: FlowId,
    /// The row as it is now; `None`: it is gone.
    row: Option<Box<StoredSchedule>>,
    /// Nothing could be done: try again then.
    again_ms: Option<i64>,
}

struct Held {
    row: StoredSchedule,
    /// When to act: when it is due, or when to try again.
    at_ms: i64,
    /// How often this version was tried in vain.
    tries: u32,
}

/// The actor.
pub struct Schedules {
    args: SchedulesArgs,
    held: HashMap<FlowId, Held>,
    order: BTreeSet<(i64, FlowId)>,
    acting: HashSet<FlowId>,
    /// Rows that are being read, and whether they have changed since: then they are read again.
    reading: HashMap<FlowId, bool>,
    /// Rows that became known since the last load began: they are newer than what it brings.
    touched: HashSet<FlowId>,
    /// Up to when the rows are known.
    horizon_ms: i64,
    timer: Option<TimerKey>,
    is_loading: bool,
    /// Flows that were saved by a release without schedules have been given their rows.
    is_adopted: bool,
}

impl Behaviour for Schedules {
    const KIND: &'static str = "schedules";
    type Msg = SchedulesMsg;
    type Args = SchedulesArgs;

    fn start(args: &SchedulesArgs, ctx: &mut Ctx<'_, Self>) -> Self {
        ctx.after(Duration::ZERO, SchedulesMsg::Load);
        Self {
            args: args.clone(),
            held: HashMap::new(),
            order: BTreeSet::new(),
            acting: HashSet::new(),
            reading: HashMap::new(),
            touched: HashSet::new(),
            horizon_ms: 0,
            timer: None,
            is_loading: false,
            is_adopted: false,
        }
    }

    fn handle(&mut self, msg: SchedulesMsg, ctx: &mut Ctx<'_, Self>) {
        match msg {
            SchedulesMsg::Wake => self.timer = None,
            SchedulesMsg::Load => return self.load(ctx),
            SchedulesMsg::Loaded(loaded) => self.loaded(loaded, ctx),
            SchedulesMsg::Changed(flow) => return self.read(flow, ctx),
            SchedulesMsg::Known(flow, row) => self.know(flow, row.map(|row| *row), ctx),
            SchedulesMsg::Acted(acted) => self.acted(acted),
        }
        self.act(ctx);
        self.sleep(ctx);
    }

    fn state(&self) -> &'static str {
        if self.acting.is_empty() { "waiting" } else { "firing" }
    }
}

impl Schedules {
    fn now_ms(&self) -> i64 {
        self.args.runtime.now_ms()
    }

    fn load(&mut self, ctx: &Ctx<'_, Self>) {
        if self.is_loading {
            return;
        }
        self.is_loading = true;
        self.touched.clear();
        let (args, me, is_adopted) = (self.args.clone(), ctx.me(), self.is_adopted);
        self.args.runtime.io.spawn(async move {
            let loaded = load(&args, is_adopted).await;
            // An actor that is gone reads the rows when it starts again.
            let _ = me.tell_urgent(SchedulesMsg::Loaded(loaded));
        });
    }

    fn loaded(&mut self, loaded: Result<(Vec<StoredSchedule>, i64), StoreError>, ctx: &mut Ctx<'_, Self>) {
        self.is_loading = false;
        match loaded {
            Ok((rows, horizon_ms)) => {
                self.is_adopted = true;
                self.horizon_ms = horizon_ms;
                let is_newer = |flow: &FlowId| self.touched.contains(flow) || self.acting.contains(flow);
                let old: Vec<FlowId> = self.held.keys().filter(|flow| !is_newer(flow)).copied().collect();
                let rows: Vec<StoredSchedule> = rows.into_iter().filter(|row| !is_newer(&row.flow)).collect();
                old.into_iter().for_each(|flow| drop(self.drop_held(flow)));
                rows.into_iter().for_each(|row| self.hold(row));
                // What became known meanwhile was measured by the horizon of before.
                let beyond: Vec<FlowId> = self.touched.iter().filter(|flow| self.is_free(flow)).copied().collect();
                beyond.into_iter().for_each(|flow| self.read(flow, ctx));
                // Long before the horizon is reached, behind which nothing is held.
                let horizon = Duration::from_millis(self.args.runtime.settings.timer_horizon_ms as u64);
                ctx.after(READ_AGAIN.min(horizon / 2), SchedulesMsg::Load);
            }
            Err(error) => {
                tracing::warn!(%error, "the schedules could not be read; they are read again");
                ctx.after(PAUSE, SchedulesMsg::Load);
            }
        }
    }

    /// Whether a flow is neither held nor acted upon.
    fn is_free(&self, flow: &FlowId) -> bool {
        !self.held.contains_key(flow) && !self.acting.contains(flow)
    }

    /// Reads the row of one flow: once more where it is being read just now.
    fn read(&mut self, flow: FlowId, ctx: &Ctx<'_, Self>) {
        if let Some(has_changed) = self.reading.get_mut(&flow) {
            *has_changed = true;
            return;
        }
        self.reading.insert(flow, false);
        let (args, me) = (self.args.clone(), ctx.me());
        self.args.runtime.io.spawn(async move {
            let row = fire::row(&args, flow).await;
            let _ = me.tell_urgent(SchedulesMsg::Known(flow, row.map(Box::new)));
        });
    }

    fn know(&mut self, flow: FlowId, row: Option<StoredSchedule>, ctx: &Ctx<'_, Self>) {
        self.touched.insert(flow);
        if self.reading.remove(&flow) == Some(true) {
            self.read(flow, ctx);
        }
        match row {
            Some(row) => self.hold(row),
            None => drop(self.drop_held(flow)),
        }
    }

    fn acted(&mut self, acted: Acted) {
        let flow = acted.flow;
        self.acting.remove(&flow);
        self.touched.insert(flow);
        let before = self.drop_held(flow);
        let Some(row) = acted.row else { return };
        match before {
            // What became known meanwhile is newer.
            Some(held) if held.row.version > row.version => self.insert(held),
            Some(held) if held.row.version == row.version => {
                let again_ms = acted.again_ms.unwrap_or(held.at_ms);
                self.insert(Held { at_ms: again_ms, tries: held.tries + 1, ..held });
            }
            _ => self.hold(*row),
        }
    }

    /// Holds a row that has something to do soon, in the place of what is held of it.
    fn hold(&mut self, row: StoredSchedule) {
        self.drop_held(row.flow);
        if let Some(at_ms) = row.due_ms.filter(|due_ms| *due_ms < self.horizon_ms) {
            self.insert(Held { row, at_ms, tries: 0 });
        }
    }

    fn insert(&mut self, held: Held) {
        self.order.insert((held.at_ms, held.row.flow));
        self.held.insert(held.row.flow, held);
    }

    fn drop_held(&mut self, flow: FlowId) -> Option<Held> {
        let held = self.held.remove(&flow)?;
        self.order.remove(&(held.at_ms, flow));
        Some(held)
    }

    /// Acts upon what is due.
    fn act(&mut self, ctx: &Ctx<'_, Self>) {
        let now_ms = self.now_ms();
        while let Some((at_ms, flow)) = self.order.first().copied().filter(|(at_ms, _)| *at_ms <= now_ms) {
            // It stays held, so that its version is known, and is not looked at while it is acted upon.
            self.order.remove(&(at_ms, flow));
            let Some(held) = self.held.get(&flow).filter(|_| self.acting.insert(flow)) else { continue };
            let (row, tries) = (held.row.clone(), held.tries);
            let (args, me) = (self.args.clone(), ctx.me());
            self.args.runtime.io.spawn(async move {
                let again_ms = fire::act(&args, &row, tries).await;
                let row = fire::row(&args, flow).await.map(Box::new);
                let _ = me.tell_urgent(SchedulesMsg::Acted(Acted { flow, row, again_ms }));
            });
        }
    }

    /// Sets the timer for the next that is due.
    fn sleep(&mut self, ctx: &mut Ctx<'_, Self>) {
        let due = self.order.first().map(|(at_ms, _)| (*at_ms - self.now_ms()).max(0) as u64);
        let delay = due.map_or(LONGEST_SLEEP, Duration::from_millis).min(LONGEST_SLEEP);
        if let Some(timer) = self.timer.replace(ctx.after(delay, SchedulesMsg::Wake)) {
            ctx.cancel(timer);
        }
    }
}

/// Reads the rows up to the horizon. The first time, flows without a row get one.
async fn load(args: &SchedulesArgs, is_adopted: bool) -> Result<(Vec<StoredSchedule>, i64), StoreError> {
    if !is_adopted {
        adopt(args).await?;
    }
    let runtime = &args.runtime;
    let until_ms = runtime.now_ms() + runtime.settings.timer_horizon_ms;
    let mut rows: Vec<StoredSchedule> = Vec::new();
    while rows.len() < MOST_HELD {
        let after = rows.last().and_then(|row| Some((row.due_ms?, row.flow)));
        let page = runtime.store.due_schedules(until_ms, after, PAGE).await?;
        let is_last = page.len() < PAGE;
        rows.extend(page);
        if is_last {
            return Ok((rows, until_ms));
        }
    }
    let last_ms = rows.last().and_then(|row| row.due_ms);
    Ok((rows, last_ms.map_or(until_ms, |last_ms| last_ms + 1)))
}

/// Gives flows their rows that were saved before there were rows.
async fn adopt(args: &SchedulesArgs) -> Result<(), StoreError> {
    let runtime = &args.runtime;
    loop {
        let flows = runtime.store.flows_without_schedule(PAGE).await?;
        let is_last = flows.len() < PAGE;
        let now_ms = runtime.now_ms();
        let adopted = flows.iter().filter_map(|flow| {
            let plan = plan(&flow.document, flow.id, now_ms)?;
            let write = ScheduleWrite::Adopt { flow: flow.id, owner: flow.owner, plan, at_ms: now_ms };
            Some(Write::Schedule(Box::new(write)))
        });
        let adopted: Vec<Write> = adopted.collect();
        if !adopted.is_empty() {
            runtime.store.commit(adopted).await?;
        }
        if is_last {
            return Ok(());
        }
    }
}
