//! What is legal in a saved flow and surely not meant.

use core314_domain::words::TriggerType;

use super::Engine;
use crate::plans::ReadyFlow;
use crate::ports::catalog::StoredFlow;

impl Engine {
    /// What to tell whoever saved this flow. The flow is saved: where it cannot be looked for, nothing is told.
    pub async fn warnings(&self, saved: &StoredFlow) -> Vec<String> {
        if saved.document.trigger_type != TriggerType::FlowFinished || !saved.document.is_active {
            return Vec::new();
        }
        let runtime = self.runtime();
        let tenant = saved.owner.tenant;
        match runtime.plans.active(runtime.catalog.as_ref(), tenant, TriggerType::FlowFinished).await {
            Ok(flows) => circle(saved, &flows).into_iter().collect(),
            Err(error) => {
                tracing::warn!(%error, flow = %saved.id, "a saved flow could not be looked through for warnings");
                Vec::new()
            }
        }
    }
}

/// Whether the ends of flows start one another in a circle that goes through this one.
fn circle(saved: &StoredFlow, flows: &[ReadyFlow]) -> Option<String> {
    let named = |name: &str| flows.iter().find(|flow| *flow.flow.name == *name || flow.flow.id.to_string() == name);
    let own = flows.iter().find(|flow| flow.flow.id == saved.id)?;
    let mut path = vec![own.flow.name.to_string()];
    let mut at = own;
    // Each flow follows one other: a way longer than there are flows goes in a circle that this one is not part of.
    while path.len() <= flows.len() {
        at = named(at.plan.trigger.follows()?)?;
        path.push(at.flow.name.to_string());
        if at.flow.id == saved.id {
            path.reverse();
            let message = "the ends of these flows start one another in a circle";
            return Some(format!("{message}, until engine.max_chain_depth ends it: {}", path.join(" → ")));
        }
    }
    None
}
