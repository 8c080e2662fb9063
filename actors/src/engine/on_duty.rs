//! Who is on call just now, for steps that ask them.

use core314_domain::document::{FlowDocument, warnings};
use core314_domain::ids::{StepNo, TenantId};
use core314_domain::plan::{FlowPlan, Problem, StepKind};
use core314_domain::run::{Command, OnDuty, Reason, Run};

use super::Engine;
use crate::ports::StoreError;
use crate::ports::store::StoredRun;
use crate::recipients;

/// How `why` and documents name whoever is on call on a schedule.
const ON_CALL: &str = "on_call:";

impl Engine {
    async fn on_duty(&self, tenant: TenantId, schedule: &str) -> Result<OnDuty, StoreError> {
        recipients::on_duty(self.escalations()?.book().as_ref(), tenant, schedule, self.now_ms()).await
    }

    /// The command, with who is on call now where a person decides about a step that asks for them.
    pub(super) async fn with_duty(&self, stored: &StoredRun, mut command: Command) -> Result<Command, StoreError> {
        let (Command::Approve { step: Some(step), by } | Command::Reject { step: Some(step), by }) = &mut command
        else {
            return Ok(command);
        };
        let (runtime, flow) = (&self.inner.runtime, &stored.header.flow);
        let plan = runtime.plans.version(runtime.catalog.as_ref(), flow.id, flow.version).await?.plan;
        if names(&plan).next().is_none() {
            return Ok(command);
        }
        let run = self.rehydrated(stored.clone()).await?;
        let mut duty = Vec::new();
        for name in of_step(&run, *step) {
            duty.push(self.on_duty(stored.header.owner.tenant, &name).await?);
        }
        by.on_duty = duty.into();
        Ok(command)
    }

    /// Says of each reason that names a schedule who is on call there now.
    pub(super) async fn name_duty(&self, run: &Run, reasons: &mut [Reason]) -> Result<(), StoreError> {
        for reason in reasons {
            let named: Vec<String> =
                reason.held_by.iter().filter_map(|who| who.strip_prefix(ON_CALL).map(str::to_owned)).collect();
            for name in named {
                let duty = self.on_duty(run.header.owner.tenant, &name).await?;
                reason.message = format!("{}; {duty}", reason.message);
                reason.held_by.extend(duty.who.ok().map(|user| format!("user:{user}")));
            }
        }
        Ok(())
    }

    /// What to tell whoever saved a flow that asks people on schedules that do not exist.
    pub(super) async fn missing_schedules(
        &self,
        tenant: TenantId,
        document: &FlowDocument,
    ) -> Result<Vec<Problem>, StoreError> {
        let mut found = Vec::new();
        for (pointer, name) in warnings::asked_schedules(document) {
            if self.escalations()?.book().on_call(tenant, name.clone(), self.now_ms()).await?.is_none() {
                found.push(Problem::new(pointer, format!("there is no on-call schedule '{name}' yet")));
            }
        }
        Ok(found)
    }
}

/// The schedules that a plan's approvals name.
fn names(plan: &FlowPlan) -> impl Iterator<Item = &str> {
    plan.steps
        .iter()
        .flat_map(|step| match &step.kind {
            StepKind::Approval(approval) => approval.approvers.as_slice(),
            _ => &[],
        })
        .filter_map(|approver| approver.schedule())
}

/// The same of one step of a run, wherever it stands.
fn of_step(run: &Run, step: StepNo) -> Vec<String> {
    if run.state.get(step).is_none() {
        return Vec::new();
    }
    match &run.step_plan(step).kind {
        StepKind::Approval(approval) => {
            approval.approvers.iter().filter_map(|approver| approver.schedule()).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}
