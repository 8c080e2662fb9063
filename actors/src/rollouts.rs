//! The judge of roll-outs: looks at the running ones in turns, and promotes or returns those whose figures say so.
//!
//! It reads a row for each running roll-out and sums of counters that the runs' own commits keep; it never looks at runs.
//! What it decides is a commit against the roll-out as it was read, so that two nodes, or a person and this actor, end it
//! once. A look that fails is no harm: the next one sees the same figures.

use std::sync::Arc;
use std::time::Duration;

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::document::FlowDocument;
use core314_domain::rollout::{RolloutStatus, Verdict};
use serde_json::json;

use crate::commit_writer::{Writer, commit_one};
use crate::ports::catalog::{RolloutState, StoredFlow};
use crate::ports::store::{FlowWrite, Outcome, RolloutChange, RolloutWrite, Write};
use crate::ports::{Scope, StoreError};
use crate::runtime::Runtime;
use crate::schedules;
use crate::supervision::{Behaviour, Ctx};

/// The actor.
pub struct Rollouts {
    args: RolloutsArgs,
    is_looking: bool,
}

/// What it is made of.
#[derive(Clone)]
pub struct RolloutsArgs {
    pub runtime: Arc<Runtime>,
    pub writer: Writer,
}

/// What it is told.
pub enum RolloutsMsg {
    /// It is time to look.
    Look,
    /// The look is over.
    Looked,
}

impl Behaviour for Rollouts {
    const KIND: &'static str = "rollouts";
    type Msg = RolloutsMsg;
    type Args = RolloutsArgs;

    fn start(args: &Self::Args, ctx: &mut Ctx<'_, Self>) -> Self {
        ctx.after(pause(&args.runtime), RolloutsMsg::Look);
        Self { args: args.clone(), is_looking: false }
    }

    fn handle(&mut self, msg: RolloutsMsg, ctx: &mut Ctx<'_, Self>) {
        match msg {
            RolloutsMsg::Look => {
                self.is_looking = true;
                let (args, me) = (self.args.clone(), ctx.me());
                self.args.runtime.io.spawn(async move {
                    if let Err(error) = look(&args).await {
                        tracing::warn!(%error, "roll-outs could not be looked at; it is tried again");
                    }
                    // An actor that is gone by now looks again when it is back.
                    let _ = me.tell_urgent(RolloutsMsg::Looked);
                });
            }
            RolloutsMsg::Looked => {
                self.is_looking = false;
                ctx.after(pause(&self.args.runtime), RolloutsMsg::Look);
            }
        }
    }

    fn state(&self) -> &'static str {
        if self.is_looking { "looking" } else { "waiting" }
    }
}

/// Figures change with every run that ends; looking as often as statistics are written is soon enough.
fn pause(runtime: &Runtime) -> Duration {
    Duration::from_millis(runtime.settings.statistics_interval_ms)
}

/// Judges every running roll-out.
async fn look(args: &RolloutsArgs) -> Result<(), StoreError> {
    for state in args.runtime.catalog.running_rollouts(Scope::Platform).await? {
        let status = match state.rollout.terms.judge(state.candidate, state.base) {
            Verdict::Wait => continue,
            Verdict::Promote => RolloutStatus::Promoted,
            Verdict::Return => RolloutStatus::Returned,
        };
        let (new, old) = (state.candidate, state.base);
        let reason = format!(
            "{} of {} runs of version {} failed, {} of {} of version {}",
            new.failed, new.runs, state.rollout.candidate, old.failed, old.runs, state.rollout.base
        );
        match end(&args.runtime, &args.writer, &state, status, reason, "rollouts".to_owned()).await? {
            Outcome::Committed { .. } => {
                tracing::info!(flow = %state.rollout.flow, %status, "a roll-out has ended by itself");
            }
            // Somebody else ended it, or saved the flow: the next look sees what there is then.
            Outcome::Conflict => {}
            other => tracing::error!(flow = %state.rollout.flow, outcome = ?other, "a roll-out could not be ended"),
        }
    }
    Ok(())
}

/// Ends a roll-out. Where the version that won is not the flow's present one, its content becomes the next version, in the
/// same commit.
pub(crate) async fn end(
    runtime: &Arc<Runtime>,
    writer: &Writer,
    state: &RolloutState,
    status: RolloutStatus,
    reason: String,
    by: String,
) -> Result<Outcome, StoreError> {
    let rollout = &state.rollout;
    let tenant = rollout.owner.tenant;
    let winner = if status == RolloutStatus::Promoted { rollout.candidate } else { rollout.base };
    let missing = || StoreError::Corrupt(format!("flow {} has no version {winner}", rollout.flow));
    let won = runtime.catalog.flow_version(rollout.flow, winner).await?.ok_or_else(missing)?;
    let present = runtime.catalog.flow(Scope::Tenant(tenant), rollout.flow).await?;
    let at_ms = runtime.now_ms();
    let event =
        if status == RolloutStatus::Promoted { AuditEvent::RolloutPromoted } else { AuditEvent::RolloutReturned };
    let name = &won.document.flow_name;
    let audit = AuditEntry {
        owner: rollout.owner,
        partition: 0,
        event,
        actor: by,
        subject_type: "flow",
        subject_id: Some(rollout.flow.0),
        decision_event_id: None,
        summary: format!("the roll-out of version {} of '{name}' is {status}: {reason}", rollout.candidate),
        details: json!({"rollout_id": rollout.id, "version": rollout.candidate, "base_version": rollout.base,
            "candidate": state.candidate, "base": state.base}),
        at_ms,
    };
    let change = RolloutChange::End { id: rollout.id, flow: rollout.flow, status, reason, at_ms };
    let write = match present.and_then(|present| restored(&present, won.document)) {
        Some((expected_version, document)) => Write::Flow(Box::new(FlowWrite {
            id: rollout.flow,
            owner: rollout.owner,
            expected_version,
            schedule: schedules::plan(&document, rollout.flow, at_ms),
            document,
            by: rollout.owner.user,
            at_ms,
            rollout: Some(change),
            audit,
        })),
        None => Write::Rollout(Box::new(RolloutWrite { tenant, change, audit })),
    };
    let known = runtime.clone();
    commit_one(writer, &runtime.io, write, move || known.plans.forget(tenant)).await
}

/// The document that makes the winner the flow's present one, with the version that it replaces; none where it is already,
/// but for being active.
fn restored(present: &StoredFlow, won: FlowDocument) -> Option<(i64, FlowDocument)> {
    let wanted = FlowDocument {
        is_active: present.document.is_active,
        flow_version: present.document.flow_version,
        flow_name: present.document.flow_name.clone(),
        ..won
    };
    (wanted != present.document).then_some((present.version, wanted))
}
