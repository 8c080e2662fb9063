//! Invariant 8, looked at all the time: whatever has not ended has a next wake-up, or names whom or what it waits for.
//!
//! The store lists the runs that have not ended and neither stand in a queue nor wait for a time: an index holds these
//! alone, so that a look costs a page however many runs there are. Each is judged by the functions that tests
//! and the simulation call. What is found is told once in the audit log and in a line of the log, and counted for as long
//! as it lasts; nothing is decided upon it, as a run that waits for nothing is a defect that a person must see.
//!
//! Invariants:
//! - A look reads one page; the next page follows after a pause, so that a million waiting runs cost a steady trickle.
//! - The count is that of the last pass that was whole.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::ids::RunId;
use core314_domain::invariants::{self, Violation};
use core314_domain::run::Run;
use serde_json::json;

use crate::commit_writer::{Writer, commit_one};
use crate::ports::StoreError;
use crate::ports::store::{StoredRun, Write};
use crate::run_check::readable;
use crate::runtime::{Counters, Runtime};
use crate::supervision::{Behaviour, Ctx, Ref};

/// Runs that are read at once.
const PAGE: usize = 100;
/// Between the pages of a pass.
const BETWEEN_PAGES: Duration = Duration::from_secs(1);
/// Violations that are remembered as told; past them the oldest runs' are told again.
const MOST_TOLD: usize = 10_000;

/// The actor.
pub struct WaitingCheck {
    args: WaitingCheckArgs,
    is_looking: bool,
    /// Where the pass has come to.
    after: Option<RunId>,
    /// Those that were found in this pass, and those that were ever told.
    found: u64,
    told: BTreeSet<RunId>,
}

/// What it is made of.
#[derive(Clone)]
pub struct WaitingCheckArgs {
    pub runtime: Arc<Runtime>,
    pub writer: Writer,
}

/// What it is told.
pub enum WaitingCheckMsg {
    /// It is time for the next page.
    Look,
    /// What the page had.
    Looked(Box<Looked>),
}

/// Tells the actor what a page had, however the look ended.
struct Answer {
    me: Ref<WaitingCheck>,
    looked: Looked,
}

impl Drop for Answer {
    fn drop(&mut self) {
        // An actor that is gone by now begins anew when it is back.
        let _ = self.me.tell_urgent(WaitingCheckMsg::Looked(Box::new(std::mem::take(&mut self.looked))));
    }
}

/// What a page had.
#[derive(Default)]
pub struct Looked {
    /// How many runs were judged.
    judged: u64,
    /// Without its run where that cannot be read.
    violations: Vec<(RunId, Option<Box<StoredRun>>, Violation)>,
    /// Where the next page begins; `None`: this was the last.
    next: Option<RunId>,
    /// Whether the store could not be read: the page is looked at again.
    failed: bool,
}

impl Behaviour for WaitingCheck {
    const KIND: &'static str = "waiting_check";
    type Msg = WaitingCheckMsg;
    type Args = WaitingCheckArgs;

    fn start(args: &Self::Args, ctx: &mut Ctx<'_, Self>) -> Self {
        // Partitions load first what they have to do.
        ctx.after(BETWEEN_PAGES, WaitingCheckMsg::Look);
        Self { args: args.clone(), is_looking: false, after: None, found: 0, told: BTreeSet::new() }
    }

    fn handle(&mut self, msg: WaitingCheckMsg, ctx: &mut Ctx<'_, Self>) {
        match msg {
            WaitingCheckMsg::Look => {
                self.is_looking = true;
                let (runtime, after, me) = (self.args.runtime.clone(), self.after, ctx.me());
                self.args.runtime.io.spawn(async move {
                    // Whatever happens to this task, the actor must not wait for it for ever.
                    let mut answer = Answer { me, looked: Looked { failed: true, ..Looked::default() } };
                    match look(&runtime, after).await {
                        Ok(looked) => answer.looked = looked,
                        Err(error) => tracing::warn!(%error, "what runs wait for could not be looked at"),
                    }
                });
            }
            WaitingCheckMsg::Looked(looked) => {
                self.is_looking = false;
                let pause = self.looked(*looked);
                ctx.after(pause, WaitingCheckMsg::Look);
            }
        }
    }

    fn state(&self) -> &'static str {
        if self.is_looking { "looking" } else { "waiting" }
    }
}

impl WaitingCheck {
    /// Takes note of a page, and says when the next one is due.
    fn looked(&mut self, looked: Looked) -> Duration {
        let interval = Duration::from_millis(self.args.runtime.settings.waiting_check_interval_ms);
        if looked.failed {
            return interval;
        }
        let counters = &self.args.runtime.counters;
        Counters::add(&counters.waiting_checked, looked.judged);
        self.found += looked.violations.len() as u64;
        for (id, run, violation) in looked.violations {
            if self.told.insert(id) {
                self.tell(id, run.as_deref(), &violation);
            }
        }
        while self.told.len() > MOST_TOLD {
            self.told.pop_first();
        }
        self.after = looked.next;
        if self.after.is_some() {
            return BETWEEN_PAGES.min(interval);
        }
        counters.waiting_violations.store(self.found, Ordering::Relaxed);
        Counters::add(&counters.waiting_passes, 1);
        self.found = 0;
        interval
    }

    /// Tells those who run the installation, and the run's owner where it is known.
    fn tell(&self, id: RunId, run: Option<&StoredRun>, violation: &Violation) {
        tracing::error!(run_id = %id, invariant = violation.number, "a promise is broken: {}", violation.message);
        let Some(run) = run else { return };
        let entry = AuditEntry {
            owner: run.header.owner,
            partition: run.header.partition,
            event: AuditEvent::InvariantViolated,
            actor: "waiting-check".to_owned(),
            subject_type: "flow_run",
            subject_id: Some(id.0),
            decision_event_id: None,
            summary: violation.to_string(),
            details: json!({"invariant": violation.number, "run_status": run.state.status}),
            at_ms: self.args.runtime.now_ms(),
        };
        let writer = self.args.writer.clone();
        let io = self.args.runtime.io.clone();
        self.args.runtime.io.spawn(async move {
            if let Err(error) = commit_one(&writer, &io, Write::Audit(Box::new(entry)), || {}).await {
                tracing::error!(run_id = %id, %error, "a broken promise could not be written to the audit log");
            }
        });
    }
}

/// Judges a page of the runs that neither stand in a queue nor wait for a time.
async fn look(runtime: &Runtime, after: Option<RunId>) -> Result<Looked, StoreError> {
    let page = runtime.store.idle_runs(after, PAGE).await?;
    let next = if page.len() < PAGE { None } else { page.last().map(|idle| idle.id) };
    let mut looked = Looked { next, judged: page.len() as u64, ..Looked::default() };
    for idle in page {
        match idle.run {
            Ok(run) => {
                if let Err(violation) = judge(runtime, &run, idle.is_held).await? {
                    looked.violations.push((idle.id, Some(Box::new(run)), violation));
                }
            }
            // It keeps no other from being looked at.
            Err(message) => looked.violations.push((idle.id, None, Violation { number: 8, message })),
        }
    }
    Ok(looked)
}

/// The numbered functions, on a run as it is stored.
async fn judge(runtime: &Runtime, stored: &StoredRun, is_held: bool) -> Result<Result<(), Violation>, StoreError> {
    let (plan, state) = match readable(&runtime.plans, runtime.catalog.as_ref(), stored).await? {
        Ok(read) => read,
        Err(violation) => return Ok(Err(violation)),
    };
    let run = Run::without_results(Arc::new(stored.header.clone()), plan, state);
    let judged = invariants::nothing_waits_in_vain(&run, stored.timing, is_held)
        .and_then(|()| invariants::every_step_names_its_reason(&run, runtime.now_ms()));
    Ok(judged)
}
