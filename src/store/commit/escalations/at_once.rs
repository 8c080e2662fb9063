//! What most commits of escalations are, in the one statement of their batch: events that begin or move on, and what has become
//! of what they sent. A flood of failures is a statement for many of them, begin and commit included.
//!
//! Nothing is looked at before: an event that is open already, or has moved on, gives the transaction up ([`Failure::Stale`]),
//! and the next try takes one after the other and looks. Only PostgreSQL, where looking is a round trip, comes here.
//!
//! Invariant: a statement changes no row twice. So no two of the writes are of one event, or begin one of the same rule.
//!
//! [`Failure::Stale`]: crate::store::failure::Failure::Stale

use std::collections::HashSet;

use core314_actors::ports::escalation::{EscalationWrite, EventStep, OutboxStep};
use core314_actors::ports::store::Write;

use super::outbox;
use super::rows::{new_event_row, next_event_row};
use super::steps::{EVENT, EVENT_NEXT, FIGURES, OPENED, figures, gains, opened_row, settled};
use crate::store::cell::Rows;
use crate::store::commit::batch::Batch;
use crate::store::commit::signals::crossed_out;
use crate::store::connection::Bulk;

/// An event, unless it is there, or another of its rule is open on its subject.
const EVENT_UNLESS: Bulk = Bulk { before: EVENT.before, after: " ON CONFLICT DO NOTHING RETURNING id" };
/// What rules have held back is told by the events that begin: [`super::steps::BUNDLED`] for many. `OFFSET 0`: by rule, also
/// where the plan was made when nothing was held back. `IS TRUE` keeps it from reading more by other indexes.
pub(in crate::store) const BUNDLED: Bulk = Bulk {
    before: "WITH u (id, at_ms, rule_id, tenant_id) AS (",
    after: ") UPDATE escalations SET bundled_into = u.id, updated_at_ms = u.at_ms, wake_at_ms = NULL \
            FROM u CROSS JOIN LATERAL (SELECT e.id FROM escalations e WHERE e.rule_id = u.rule_id \
            AND (e.tenant_id = u.tenant_id) IS TRUE AND e.status = 'suppressed' AND e.bundled_into IS NULL OFFSET 0) held \
            WHERE escalations.id = held.id AND (escalations.bundled_into IS NULL) IS TRUE",
};
/// When events are looked at again; one that has moved on knows better. `IS TRUE` as above.
pub(in crate::store) const WAKES: Bulk = Bulk {
    before: "WITH u (id, tenant_id, version, wake_at_ms) AS (",
    after: ") UPDATE escalations SET wake_at_ms = u.wake_at_ms FROM u WHERE escalations.id = u.id \
            AND (escalations.tenant_id = u.tenant_id) IS TRUE AND escalations.version = u.version",
};

/// What a batch does to events.
#[derive(Default)]
pub(super) struct AtOnce<'a> {
    begun: Vec<&'a EventStep>,
    moved: Vec<&'a EventStep>,
    sent: Vec<&'a OutboxStep>,
}

impl<'a> AtOnce<'a> {
    /// `None`: something stops what is under way, is of another kind, or is about the same as another. Then order counts.
    pub fn of(batch: &Batch<'a, '_>) -> Option<Self> {
        let (mut found, mut events, mut rules) = (Self::default(), HashSet::new(), HashSet::new());
        for (_, write) in batch.survivors() {
            let Write::Escalation(write) = write else { continue };
            let is_alone = match &**write {
                EscalationWrite::Step(step) if step.stops.is_some() => false,
                EscalationWrite::Step(step) if step.before.is_none() => {
                    found.begun.push(step);
                    events.insert(step.escalation.id) && rules.insert(step.escalation.rule)
                }
                EscalationWrite::Step(step) => {
                    found.moved.push(step);
                    events.insert(step.escalation.id) && !step.bundles
                }
                EscalationWrite::Outbox(step) => {
                    found.sent.push(step);
                    events.insert(step.escalation)
                }
                _ => false,
            };
            if !is_alone {
                return None;
            }
        }
        // Whoever writes the same events at the same time, on another node, comes to their rows in the same order.
        found.begun.sort_unstable_by_key(|step| step.escalation.id);
        found.moved.sort_unstable_by_key(|step| step.escalation.id);
        found.sent.sort_unstable_by_key(|step| step.escalation);
        Some(found)
    }

    /// Adds it to what the batch writes together.
    pub fn write(self, batch: &mut Batch<'a, '_>) {
        let (mut moved, mut begun) = (Rows::new(23), Rows::new(40));
        let (mut bundled, mut opened) = (Rows::new(4), Rows::new(9));
        for step in &self.moved {
            moved.push(next_event_row(&step.escalation, step.at_ms));
        }
        for step in &self.begun {
            let escalation = &step.escalation;
            begun.push(new_event_row(escalation, step.at_ms));
            let (id, tenant) = (escalation.id.0.into(), escalation.owner.tenant.0.into());
            bundled.push([id, step.at_ms.into(), escalation.rule.0.into(), tenant]);
            opened.push(opened_row(escalation, step.at_ms));
        }
        let (mut noted, mut wakes) = (Rows::new(9), Rows::new(4));
        for step in &self.sent {
            outbox::noted(step, &mut noted);
            let (id, tenant) = (step.escalation.0.into(), step.tenant.0.into());
            wakes.push([id, tenant, step.version.into(), step.wake_ms.into()]);
        }
        let steps: Vec<&EventStep> = self.moved.into_iter().chain(self.begun).collect();
        batch.granted.extend([(EVENT_NEXT, moved), (EVENT_UNLESS, begun)]);
        batch.deferred.extend([
            (BUNDLED, bundled),
            (OPENED, opened),
            (outbox::TASKS, outbox::tasks(&steps)),
            (FIGURES, figures(&gains(&steps))),
            crossed_out(batch.connection, &settled(&steps)),
            (outbox::TASKS_NEXT, noted),
            (WAKES, wakes),
        ]);
    }
}
