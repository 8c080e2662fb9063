//! What a rule's limits have held back and no message has told: told by itself, once the limits allow it again.
//!
//! The rows that count it have a time to wake, so that a restart forgets nothing of it; the actor of the rule wakes by a name of
//! its own as well, which is in time without a look at the rows. Whichever comes first tells all, and leaves the others nothing.

use core314_domain::escalation::{HeldBack, Recent, Rule, RuleId, Windows};
use core314_domain::ids::{RowId, TenantId};

use super::Desk;
use crate::ports::StoreError;
use crate::ports::escalation::{EscalationWrite, EventBefore, PutOff, StoredEscalation};
use crate::ports::store::Outcome;

/// So long after its limits allow it again a rule tells by itself: a failure that comes just then says it with its own message.
const GRACE_MS: i64 = 5_000;
/// How often a decision is taken again on what others have made of the event meanwhile, and how long to wait after that.
const TRIES: usize = 8;
const AGAIN_MS: i64 = 1_000;

/// What has come of it.
pub(super) enum Summed {
    /// There is nothing to tell, or nobody to be told.
    Nothing,
    Later(i64),
    /// By this event, which is to be looked at.
    Told(Box<StoredEscalation>),
}

/// When what is held back is told at the latest. What a silence or an event covers on which the rule depends waits for its next
/// message, since nobody wants to hear of it; of a rule that tells nobody there is nothing to wait for.
pub(super) fn tell_ms(rule: &Rule, by: &HeldBack, full_until_ms: Option<i64>) -> Option<i64> {
    let over_ms = match by {
        HeldBack::Silence { .. } | HeldBack::Dependency { .. } => None,
        HeldBack::Cooldown { until_ms } => Some((*until_ms).max(full_until_ms.unwrap_or(*until_ms))),
        HeldBack::Throttle { .. } => full_until_ms,
    };
    over_ms.filter(|_| rule.document.tells_anybody()).map(|over_ms| over_ms + GRACE_MS)
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
        // Of a flood all rows wake at once: those that came after the first see by themselves what it has done for all.
        if row != rule {
            match self.book.told_at_latest(tenant, row).await? {
                None => return Ok(Summed::Nothing),
                Some(at_ms) if self.now_ms() < at_ms => return Ok(Summed::Later(at_ms)),
                Some(_) => {}
            }
        }
        if self.book.held_back(tenant, rule).await? == 0 {
            return Ok(Summed::Nothing);
        }
        let rules = self.rules(tenant).await?;
        let Some(present) = rules.set.rule(rule).filter(|rule| rule.document.is_active) else {
            return self.put_off((rule, tenant), None).await;
        };
        let (windows, now_ms) = (Windows::of(&present.document), self.now_ms());
        recent.forget(&windows, now_ms);
        if let Some(full_ms) = recent.full_until_ms(&windows, now_ms) {
            return self.put_off((rule, tenant), Some(full_ms + GRACE_MS)).await;
        }
        for _ in 0..TRIES {
            let Some(stored) = self.book.newest_of_rule(tenant, rule).await? else {
                return self.put_off((rule, tenant), None).await;
            };
            let own = self.rule_of(&stored).await?;
            let decision = stored.event.sum_up(&own, stored.wake_ms, now_ms);
            if decision.tasks.is_empty() {
                return self.put_off((rule, tenant), None).await;
            }
            let before = Some(EventBefore::of(&stored.event));
            if let Some(told) = self.commit_step(&own, stored, before, decision, None, "rules").await? {
                return Ok(Summed::Told(Box::new(told)));
            }
        }
        Ok(Summed::Later(now_ms + AGAIN_MS))
    }

    /// Moves the time of all that the rule has held back, whichever of its names woke it: a flood of them is one statement, and
    /// none of the others finds anything to do. Without a time it waits for the rule's next message.
    async fn put_off(&self, (rule, tenant): (RuleId, TenantId), tell_ms: Option<i64>) -> Result<Summed, StoreError> {
        match self.commit(EscalationWrite::PutOff(PutOff { rule, tenant, tell_ms })).await? {
            Outcome::Committed { .. } => Ok(tell_ms.map_or(Summed::Nothing, Summed::Later)),
            other => Err(crate::engine::unexpected(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use core314_domain::escalation::RuleDocument;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn what_a_rule_that_tells_nobody_holds_back_has_no_time_to_be_told() {
        let by = HeldBack::Throttle { max: 1, minutes: "60".to_owned() };
        for (action, tells) in [("notify_user", Some(7 + GRACE_MS)), ("create_ticket", None)] {
            let level = json!({"level": 1, "actions": [action]});
            let document = RuleDocument::from_value(json!({"rule_name": "r", "escalation_levels": [level]}));
            let rule = Rule::compile(RowId(Uuid::nil()), document.expect("a document")).expect("a rule");
            assert_eq!(tell_ms(&rule, &by, Some(7)), tells, "{action}");
        }
    }
}
