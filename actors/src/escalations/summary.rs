//! What a rule's limits have held back and no message has told: told by itself, once the limits allow it again.
//!
//! The rows that count it have a time to wake, so that a restart forgets nothing of it; the actor of the rule wakes by a name of
//! its own as well, which is in time without a look at the rows. Whichever comes first tells all, and leaves the others nothing.

use core314_domain::escalation::{HeldBack, Recent, Rule, RuleId, Windows};
use core314_domain::ids::{RowId, TenantId};

use super::Desk;
use crate::ports::StoreError;
use crate::ports::escalation::{EscalationWrite, EventBefore, OutboxStep, StoredEscalation};
use crate::ports::store::Outcome;

/// So long after its limits allow it again a rule tells by itself: a failure that comes just then says it with its own message.
const GRACE_MS: i64 = 5_000;
/// How often a decision is taken again on what others have made of the event meanwhile, and how long to wait after that.
const TRIES: usize = 8;
const AGAIN_MS: i64 = 1_000;
/// Of a row that counts what was held back: nobody changes it but by what bundles it.
const VERSION: i64 = 1;

/// What has come of it.
pub(super) enum Summed {
    /// There is nothing to tell, or nobody to be told.
    Nothing,
    Later(i64),
    /// By this event, which is to be looked at.
    Told(Box<StoredEscalation>),
}

/// When what is held back is told at the latest. What a silence or an event covers on which the rule depends waits for its next
/// message, since nobody wants to hear of it.
pub(super) fn tell_ms(rule: &Rule, by: &HeldBack, full_until_ms: Option<i64>) -> Option<i64> {
    let over_ms = match by {
        HeldBack::Silence { .. } | HeldBack::Dependency { .. } => None,
        HeldBack::Cooldown { until_ms } => Some((*until_ms).max(full_until_ms.unwrap_or(*until_ms))),
        HeldBack::Throttle { .. } => full_until_ms,
    };
    over_ms.filter(|_| !rule.document.records_only()).map(|over_ms| over_ms + GRACE_MS)
}

impl Desk {
    /// Tells what a rule has held back, unless something else has. `row` is what woke it: one that counts what was held back,
    /// or the rule's own name.
    pub(super) async fn sum_up(
        &self,
        (rule, tenant): (RuleId, TenantId),
        row: RowId,
        recent: &mut Recent,
    ) -> Result<Summed, StoreError> {
        if self.book.held_back(rule).await? == 0 {
            return Ok(Summed::Nothing);
        }
        let rules = self.rules(tenant).await?;
        let Some(present) = rules.set.rule(rule).filter(|rule| rule.document.is_active) else {
            return self.put_off((rule, tenant), row, None).await;
        };
        let (windows, now_ms) = (Windows::of(&present.document), self.now_ms());
        recent.forget(&windows, now_ms);
        if let Some(full_ms) = recent.full_until_ms(&windows, now_ms) {
            return self.put_off((rule, tenant), row, Some(full_ms + GRACE_MS)).await;
        }
        for _ in 0..TRIES {
            let Some(stored) = self.book.newest_of_rule(tenant, rule).await? else {
                return self.put_off((rule, tenant), row, None).await;
            };
            let own = self.rule_of(&stored).await?;
            let decision = stored.event.sum_up(&own, stored.wake_ms, now_ms);
            if decision.tasks.is_empty() {
                return self.put_off((rule, tenant), row, None).await;
            }
            let before = Some(EventBefore::of(&stored.event));
            if let Some(told) = self.commit_step(&own, stored, before, decision, None, "rules").await? {
                return Ok(Summed::Told(Box::new(told)));
            }
        }
        Ok(Summed::Later(now_ms + AGAIN_MS))
    }

    /// Moves the time of the row that woke it; without one it waits for the rule's next message.
    async fn put_off(
        &self,
        (rule, tenant): (RuleId, TenantId),
        row: RowId,
        at_ms: Option<i64>,
    ) -> Result<Summed, StoreError> {
        if row != rule {
            let rows = Vec::new();
            let step =
                OutboxStep { escalation: row, tenant, version: VERSION, wake_ms: at_ms, rows, at_ms: self.now_ms() };
            match self.commit(EscalationWrite::Outbox(step)).await? {
                Outcome::Committed { .. } => {}
                other => return Err(crate::engine::unexpected(other)),
            }
        }
        Ok(at_ms.map_or(Summed::Nothing, Summed::Later))
    }
}
