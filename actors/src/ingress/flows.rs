//! The flow that a trigger names, in the version that its run gets.

use std::sync::Arc;

use core314_domain::Json;
use core314_domain::document::FlowDocument;
use core314_domain::expr::ExprError;
use core314_domain::ids::{FlowId, Owner, RunId, TenantId};
use core314_domain::run::matching_scope;
use core314_domain::words::TriggerType;

use super::{Ingress, Target, Trigger, TriggerError};
use crate::plans::ReadyFlow;
use crate::random::random;

impl Ingress {
    /// A flow of this tenant in one of its versions.
    pub(super) async fn flow_version(
        &self,
        tenant: TenantId,
        id: FlowId,
        version: i64,
    ) -> Result<ReadyFlow, TriggerError> {
        let present = self.named_flow(tenant, id).await?;
        if version < 1 || version > present.flow.version {
            return Err(TriggerError::NoSuchFlow);
        }
        Ok(self.runtime.plans.version(self.runtime.catalog.as_ref(), id, version).await?)
    }

    pub(super) async fn action(&self, owner: Owner, document: &FlowDocument) -> Result<ReadyFlow, TriggerError> {
        let id = FlowId::new(self.runtime.now_ms(), random());
        let known = self.runtime.integrations.of(self.runtime.catalog.as_ref(), owner.tenant).await?;
        self.runtime.plans.single_action(id, owner, document, &known).map_err(TriggerError::Invalid)
    }

    /// A flow of this tenant in its present version, if it takes triggers.
    pub(crate) async fn named_flow(&self, tenant: TenantId, id: FlowId) -> Result<ReadyFlow, TriggerError> {
        let found = self.runtime.plans.current(self.runtime.catalog.as_ref(), tenant, id).await?;
        let flow = found.ok_or(TriggerError::NoSuchFlow)?;
        if flow.is_active { Ok(flow) } else { Err(TriggerError::Inactive(flow.flow.name.to_string())) }
    }

    /// The flow in the version that this run gets.
    pub(super) fn for_run(&self, flow: &ReadyFlow, trigger: &Trigger, run: RunId) -> Result<ReadyFlow, TriggerError> {
        match trigger.target {
            Target::Version(..) | Target::Again { .. } | Target::Action(_) => Ok(flow.clone()),
            Target::Flow(_)
            | Target::Restart(_)
            | Target::Scheduled(_)
            | Target::Matching
            | Target::Delivered(_)
            | Target::Only(_) => {
                let scope = || {
                    matching_scope(
                        trigger.context.clone(),
                        trigger.webhook.clone(),
                        &trigger.owner,
                        self.runtime.now_ms(),
                    )
                };
                flow.for_run(run, scope).map_err(|error| condition(flow, &error))
            }
        }
    }
}

/// What a person filled in, checked and completed by the flow's form; whatever else starts a flow is taken as it is.
pub(super) fn input(flow: &ReadyFlow, trigger: &Trigger) -> Result<Json, TriggerError> {
    match &flow.plan.form {
        Some(form) if trigger.trigger_type == TriggerType::Manual => {
            form.fill(&trigger.context).map(Arc::new).map_err(TriggerError::InvalidInput)
        }
        Some(_) | None => Ok(trigger.context.clone()),
    }
}

/// An expression of a flow cannot be evaluated on a trigger.
fn condition(flow: &ReadyFlow, error: &ExprError) -> TriggerError {
    TriggerError::Condition { flow: flow.flow.name.to_string(), message: error.to_string(), why_not: Vec::new() }
}
