//! Flows whose ends start one another in a circle.

use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, TenantId};
use core314_domain::words::TriggerType;

use super::Engine;
use crate::plans::ReadyFlow;
use crate::ports::StoreError;

impl Engine {
    /// What to tell whoever saved this flow where its end would start it again.
    pub(super) async fn circle(
        &self,
        tenant: TenantId,
        id: Option<FlowId>,
        document: &FlowDocument,
    ) -> Result<Option<String>, StoreError> {
        let Some(id) = id.filter(|_| document.trigger_type == TriggerType::FlowFinished && document.is_active) else {
            return Ok(None);
        };
        let runtime = self.runtime();
        let flows = runtime.plans.active(runtime.catalog.as_ref(), tenant, TriggerType::FlowFinished).await?;
        Ok(circle(id, &flows))
    }
}

/// Whether the ends of flows start one another in a circle that goes through this one.
fn circle(id: FlowId, flows: &[ReadyFlow]) -> Option<String> {
    let named = |name: &str| flows.iter().find(|flow| *flow.flow.name == *name || flow.flow.id.to_string() == name);
    let own = flows.iter().find(|flow| flow.flow.id == id)?;
    let mut path = vec![own.flow.name.to_string()];
    let mut at = own;
    // Each flow follows one other: a way longer than there are flows goes in a circle that this one is not part of.
    while path.len() <= flows.len() {
        at = named(at.plan.trigger.follows()?)?;
        path.push(at.flow.name.to_string());
        if at.flow.id == id {
            path.reverse();
            let message = "the ends of these flows start one another in a circle";
            return Some(format!("{message}, until engine.max_chain_depth ends it: {}", path.join(" → ")));
        }
    }
    None
}
