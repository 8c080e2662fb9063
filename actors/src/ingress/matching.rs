//! Which flows a trigger starts.
//!
//! Active flows of its type are asked, the newest first. Every one that says `match: all` starts when its trigger's config
//! and its conditions hold; of the others the newest alone. One whose conditions cannot be evaluated is passed over, so that
//! a mistake in it keeps no other flow from being started; where nothing starts, the trigger is refused for it. The first of them carries the trigger's idempotency key, and
//! its answer names the others, each of which has a key of its own made of that one: whoever sends the trigger again,
//! after a crash in between too, starts what is missing and nothing else.

use core314_domain::ids::FlowId;
use core314_domain::run::matching_scope;
use core314_domain::trigger::Matching;

use super::{Accepted, IdempotencyRequest, Ingress, Target, Trigger, TriggerError, Triggered, WhyNot};
use crate::plans::ReadyFlow;

/// The flows that a trigger starts, and why not the others that were asked.
struct Found {
    flows: Vec<ReadyFlow>,
    why_not: Vec<WhyNot>,
}

impl Ingress {
    /// Starts every flow that the trigger finds.
    pub(super) async fn start_matching(&self, trigger: &Trigger) -> Result<Triggered, TriggerError> {
        let found = self.matching(trigger).await?;
        let Some((first, others)) = found.flows.split_first() else { return Ok(Triggered::NoMatch(found.why_not)) };
        let also = others.iter().map(|flow| flow.flow.id).collect();
        match self.begin(trigger, first, also).await? {
            Triggered::Accepted(run) => self.start_others(trigger, run).await.map(Triggered::Accepted),
            Triggered::Repeated(run) => self.start_others(trigger, run).await.map(Triggered::Repeated),
            Triggered::NoMatch(why_not) => Ok(Triggered::NoMatch(why_not)),
        }
    }

    /// Whether the trigger would start anything.
    pub async fn finds_any(&self, trigger: &Trigger) -> Result<bool, TriggerError> {
        Ok(!self.matching(trigger).await?.flows.is_empty())
    }

    async fn matching(&self, trigger: &Trigger) -> Result<Found, TriggerError> {
        let (catalog, tenant) = (self.runtime.catalog.as_ref(), trigger.owner.tenant);
        let candidates = match trigger.target {
            Target::Only(id) => {
                let found = self.runtime.plans.current(catalog, tenant, id).await?;
                vec![found.filter(|flow| flow.is_active).ok_or(TriggerError::NoSuchFlow)?].into()
            }
            _ => self.runtime.plans.active(catalog, tenant, trigger.trigger_type).await?,
        };
        let scope =
            matching_scope(trigger.context.clone(), trigger.webhook.clone(), &trigger.owner, self.runtime.now_ms());
        let webhook = match &trigger.target {
            Target::Delivered(name) => Some(&**name),
            _ => None,
        };
        let mut found = Found { flows: Vec::new(), why_not: Vec::new() };
        let (mut has_first, mut failed) = (false, None);
        for flow in candidates.iter() {
            let is_first = flow.plan.trigger.matching == Matching::First;
            if is_first && has_first {
                continue;
            }
            let clause = match flow.plan.trigger.failing(&scope, webhook) {
                Ok(None) => flow.plan.condition.failing_clause(&scope),
                decided => decided,
            };
            match clause {
                Ok(None) => {
                    has_first |= is_first;
                    found.flows.push(flow.clone());
                }
                Ok(Some(clause)) => found.why_not.push(why_not(flow, clause)),
                Err(error) => {
                    found.why_not.push(why_not(flow, format!("it cannot be evaluated: {error}")));
                    failed.get_or_insert_with(|| (flow.flow.name.to_string(), error.to_string()));
                }
            }
        }
        let Some((flow, message)) = failed else { return Ok(found) };
        if found.flows.is_empty() {
            return Err(TriggerError::Condition { flow, message, why_not: found.why_not });
        }
        tracing::warn!(%flow, %message, "the conditions of a flow cannot be evaluated; others are started");
        Ok(found)
    }

    async fn start_others(&self, trigger: &Trigger, mut run: Accepted) -> Result<Accepted, TriggerError> {
        for id in run.also.clone() {
            match self.start_other(trigger, id).await {
                Ok(Triggered::Accepted(other) | Triggered::Repeated(other)) => run.others.push(other),
                Ok(Triggered::NoMatch(_)) => {}
                // The sender comes back with the same key, and starts what is missing.
                Err(error) if error.is_passing() && trigger.idempotency.is_some() => return Err(error),
                Err(error) => tracing::warn!(flow = %id, %error, "a further flow of a trigger was not started"),
            }
        }
        Ok(run)
    }

    async fn start_other(&self, trigger: &Trigger, id: FlowId) -> Result<Triggered, TriggerError> {
        let flow = self.named_flow(trigger.owner.tenant, id).await?;
        let idempotency = trigger
            .idempotency
            .as_ref()
            .map(|named| IdempotencyRequest { key: format!("{} flow {id}", named.key), body_hash: named.body_hash });
        self.begin(&Trigger { idempotency, ..trigger.clone() }, &flow, Vec::new()).await
    }
}

impl TriggerError {
    /// Whether the same trigger may be taken a while later.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Failed(_) | Self::Store(_) => true,
            Self::NoSuchFlow
            | Self::Inactive(_)
            | Self::Condition { .. }
            | Self::TooLarge { .. }
            | Self::InvalidInput(_)
            | Self::LimitKey { .. }
            | Self::Skipped { .. }
            | Self::Invalid(_)
            | Self::RunKeyTaken(_)
            | Self::KeyReused => false,
        }
    }
}

fn why_not(flow: &ReadyFlow, clause: String) -> WhyNot {
    WhyNot { flow_id: flow.flow.id, flow_name: flow.flow.name.to_string(), clause }
}
