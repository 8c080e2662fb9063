//! What is wrong with a write whatever the database holds.
//!
//! Looked at before the transaction, so that both stores refuse the same writes and none of them spoils a batch. A NUL
//! character is refused because PostgreSQL cannot store one and SQLite can.

use std::collections::HashSet;

use core314_actors::ports::escalation::EscalationWrite;
use core314_actors::ports::integration::ConnectionWrite;
use core314_actors::ports::people::{PeopleChange, PeopleWrite};
use core314_actors::ports::schedule::{ScheduleMove, ScheduleWrite};
use core314_actors::ports::signal::SignalWrite;
use core314_actors::ports::store::{
    ApprovalWrite, GatherWrite, KeyWrite, Outcome, RejectCode, RolloutChange, RunWrite, Webhook, Write,
};
use core314_domain::audit::AuditEntry;
use core314_domain::log::LogEntry;
use serde_json::Value;

use crate::store::json::has_nul;

/// For each write, why it is not even tried.
pub(super) fn refusals(writes: &[Write]) -> Vec<Option<Outcome>> {
    let mut seen = HashSet::new();
    let mut refusal = |write: &Write| {
        if holds_nul(write) {
            return Some(rejected("a text holds a NUL character"));
        }
        let Write::Run(run) = write else { return None };
        if run.accept.is_some() != (run.expected_version == 0) {
            return Some(rejected("a run has version 0 when it is accepted, and only then"));
        }
        // Its version is not yet known when the second change is checked: the caller combines changes of one run.
        (!seen.insert(run.id)).then_some(Outcome::Conflict)
    };
    writes.iter().map(&mut refusal).collect()
}

fn rejected(message: &str) -> Outcome {
    Outcome::Rejected { code: RejectCode::Constraint, message: message.to_owned() }
}

fn holds_nul(write: &Write) -> bool {
    let nul = |text: &str| text.contains('\0');
    match write {
        Write::Run(run) => run_holds_nul(run),
        Write::Gather(join) => join_holds_nul(join),
        Write::Flow(flow) => {
            nul(&flow.document.flow_name)
                || has_nul(&flow.document.to_value())
                || flow.rollout.as_ref().is_some_and(rollout_holds_nul)
                || audit_holds_nul(&flow.audit)
        }
        Write::Webhook(webhook, audit) => webhook_holds_nul(webhook) || audit_holds_nul(audit),
        Write::WebhookRemoval(removal) => audit_holds_nul(&removal.audit),
        Write::Delivery(delivery) => {
            delivery.key.as_deref().is_some_and(nul)
                || delivery.error.as_deref().is_some_and(nul)
                || [&delivery.why_not, &*delivery.request, &delivery.body].into_iter().any(has_nul)
        }
        Write::ServiceKey(key, audit) => key_holds_nul(key) || audit_holds_nul(audit),
        Write::Connection(write) => connection_holds_nul(write) || audit_holds_nul(write.audit()),
        Write::Audit(audit) => audit_holds_nul(audit),
        Write::DeadLetter(letter) => nul(&letter.actor_path) || nul(&letter.message) || nul(&letter.failure),
        Write::DeleteFlow(deletion) => audit_holds_nul(&deletion.audit),
        Write::Rollout(rollout) => rollout_holds_nul(&rollout.change) || audit_holds_nul(&rollout.audit),
        Write::Review(review) => {
            nul(&review.verdict) || review.notes.as_deref().is_some_and(nul) || audit_holds_nul(&review.audit)
        }
        Write::SettleDeadLetter(settlement) => audit_holds_nul(&settlement.audit),
        Write::Signal(signal) => signal_holds_nul(signal),
        Write::Schedule(write) => schedule_holds_nul(write),
        Write::Escalation(write) => escalation_holds_nul(write),
        Write::People(write) => people_hold_nul(write),
        Write::Statistics(statistics) => statistics.rows.iter().any(|(key, _)| nul(&key.action_type)),
    }
}

fn connection_holds_nul(write: &ConnectionWrite) -> bool {
    let nul = |text: &str| text.contains('\0');
    match write {
        ConnectionWrite::Integration { integration, .. } => {
            nul(&integration.name) || has_nul(&serde_json::json!(integration.definition))
        }
        ConnectionWrite::Secret { secret, .. } => nul(&secret.name) || nul(&secret.description),
        ConnectionWrite::Breakers { kept, .. } => has_nul(&serde_json::json!(kept)),
        ConnectionWrite::RemoveIntegration { .. }
        | ConnectionWrite::RemoveSecret { .. }
        | ConnectionWrite::Reseal { .. } => false,
    }
}

fn signal_holds_nul(signal: &SignalWrite) -> bool {
    let nul = |text: &str| text.contains('\0');
    let own = match signal {
        SignalWrite::Decision(new) => {
            nul(&new.source)
                || nul(&new.title)
                || new.summary.as_deref().is_some_and(nul)
                || has_nul(&new.payload)
                || new.idempotency.as_ref().is_some_and(|key| nul(&key.key) || has_nul(&key.answer))
        }
        SignalWrite::Recommendation(new) => {
            [&new.title, &new.action_type, &new.action_target].into_iter().any(|text| nul(text))
                || has_nul(&new.action_payload)
                || new.idempotency.as_ref().is_some_and(|key| nul(&key.key) || has_nul(&key.answer))
        }
        SignalWrite::DecisionVerdict(verdict) | SignalWrite::RecommendationVerdict(verdict) => {
            verdict.notes.as_deref().is_some_and(nul)
        }
        SignalWrite::Metrics(new) => new.points.iter().any(|point| nul(&point.name) || has_nul(&point.labels)),
        SignalWrite::Event(new) => nul(&new.kind) || nul(&new.key) || has_nul(&new.event),
        SignalWrite::Name(new) | SignalWrite::Named(new) => nul(&new.name.key) || has_nul(&new.name.answer),
        SignalWrite::Settled { .. } | SignalWrite::EventTold(_) => false,
    };
    own || signal.audit().iter().any(audit_holds_nul)
}

fn people_hold_nul(write: &PeopleWrite) -> bool {
    let nul = |text: &str| text.contains('\0');
    let own = match &write.change {
        PeopleChange::Organization(organization) => nul(&organization.name),
        PeopleChange::Member { member, .. } => nul(&member.email) || nul(&member.name),
        PeopleChange::Contact { contact, .. } => {
            nul(&contact.address) || contact.integration.as_deref().is_some_and(nul)
        }
        PeopleChange::Preferences { preferences, .. } => {
            serde_json::to_value(&preferences.document).as_ref().is_ok_and(has_nul)
        }
        PeopleChange::RemoveMember { .. } | PeopleChange::RemoveContact { .. } => false,
    };
    own || write.audit.iter().any(audit_holds_nul)
}

fn escalation_holds_nul(write: &EscalationWrite) -> bool {
    let nul = |text: &str| text.contains('\0');
    let shown = |value: serde_json::Result<Value>| value.as_ref().is_ok_and(has_nul);
    let own = match write {
        EscalationWrite::Rule { rule, .. } => has_nul(&rule.document.to_value()),
        EscalationWrite::OnCall { schedule, .. } => shown(serde_json::to_value(&schedule.document)),
        EscalationWrite::Override { reason, .. } => reason.as_deref().is_some_and(nul),
        EscalationWrite::Silence { silence, .. } => shown(serde_json::to_value(&silence.document)),
        EscalationWrite::Step(step) => {
            let event = &step.escalation.event;
            has_nul(&step.escalation.context)
                || nul(&event.subject)
                || event.notes.as_deref().is_some_and(nul)
                || shown(serde_json::to_value(event))
                || step.outbox.iter().any(|row| has_nul(&row.payload))
        }
        EscalationWrite::HeldBack(note) => nul(&note.subject) || has_nul(&note.context),
        EscalationWrite::Outbox(step) => step.rows.iter().any(|row| row.error.as_deref().is_some_and(nul)),
        EscalationWrite::DeleteRule { .. }
        | EscalationWrite::Heartbeat { .. }
        | EscalationWrite::PutOff(_)
        | EscalationWrite::DeleteOnCall { .. }
        | EscalationWrite::DeleteOverride { .. }
        | EscalationWrite::DeleteSilence { .. } => false,
    };
    own || write.audit().iter().any(audit_holds_nul)
}

fn rollout_holds_nul(change: &RolloutChange) -> bool {
    match change {
        RolloutChange::Begin(rollout) => rollout.terms.key.as_ref().is_some_and(|key| key.contains('\0')),
        RolloutChange::End { reason, .. } => reason.contains('\0'),
    }
}

fn schedule_holds_nul(write: &ScheduleWrite) -> bool {
    match write {
        ScheduleWrite::Move(step) => step_holds_nul(step),
        ScheduleWrite::Pause { by, audit, .. } => by.contains('\0') || audit_holds_nul(audit),
        ScheduleWrite::Resume { step, audit } => step_holds_nul(step) || audit_holds_nul(audit),
        ScheduleWrite::Adopt { plan, .. } => plan.config.values().any(has_nul),
    }
}

fn step_holds_nul(step: &ScheduleMove) -> bool {
    step.not_fired.iter().any(|(note, _)| note.detail.as_ref().is_some_and(|detail| detail.contains('\0')))
}

fn key_holds_nul(write: &KeyWrite) -> bool {
    match write {
        KeyWrite::Create { key, .. } => key.name.contains('\0'),
        KeyWrite::Rename { name, .. } => name.contains('\0'),
        KeyWrite::Revoke { .. } => false,
    }
}

fn webhook_holds_nul(webhook: &Webhook) -> bool {
    let texts = [&webhook.name, &webhook.verification].into_iter().chain(&webhook.dedup_key);
    let body = webhook.respond.as_ref().and_then(|respond| respond.body.as_ref());
    texts.into_iter().any(|text| text.contains('\0')) || has_nul(&webhook.options) || body.is_some_and(has_nul)
}

fn run_holds_nul(run: &RunWrite) -> bool {
    let nul = |text: &str| text.contains('\0');
    let of_accept = run.accept.as_ref().is_some_and(|accept| {
        let header = &accept.header;
        let texts = [&header.flow.name, &header.trigger_source, &header.triggered_by, &header.environment];
        texts.into_iter().chain(&header.idempotency_key).chain(&header.run_key).any(|text| nul(text))
            || [&header.trigger_context, &header.webhook, &header.input].into_iter().any(|json| has_nul(json))
            || accept.definition.as_ref().is_some_and(|definition| has_nul(&definition.to_value()))
            || accept.schedule.as_deref().is_some_and(step_holds_nul)
            || accept.idempotency.as_ref().is_some_and(|key| nul(&key.key) || has_nul(&key.answer))
    });
    of_accept
        || escapes_nul(&run.state.state)
        || run.approvals.iter().any(approval_holds_nul)
        || run.log.iter().any(log_holds_nul)
        || run.audit.iter().any(audit_holds_nul)
        || run.ended.as_ref().and_then(|end| end.outcome.as_ref()).is_some_and(|outcome| has_nul(&outcome.features))
}

fn join_holds_nul(join: &GatherWrite) -> bool {
    let (brought, nul) = (&join.brought, |text: &str| text.contains('\0'));
    [&brought.context, &brought.webhook].into_iter().chain(&brought.input).any(|json| has_nul(json))
        || [&brought.source, &brought.by].into_iter().any(|text| nul(text))
        || join.idempotency.as_ref().is_some_and(|key| nul(&key.key) || has_nul(&key.answer))
        || join.schedule.as_deref().is_some_and(step_holds_nul)
}

fn approval_holds_nul(approval: &ApprovalWrite) -> bool {
    match approval {
        ApprovalWrite::Decided { notes, form, .. } => notes.as_ref().is_some_and(|n| n.contains('\0')) || has_nul(form),
        ApprovalWrite::Requested { .. } | ApprovalWrite::Lapsed { .. } => false,
    }
}

fn log_holds_nul(entry: &LogEntry) -> bool {
    let nul = |text: &str| text.contains('\0');
    nul(&entry.action_type)
        || nul(&entry.action_target)
        || has_nul(&entry.payload)
        || entry.result.as_ref().is_some_and(|result| has_nul(result))
        || entry.http.as_ref().is_some_and(|http| nul(&http.method) || nul(&http.endpoint))
        || entry.failure.as_ref().is_some_and(|failure| {
            nul(&failure.code) || nul(&failure.message) || failure.details.as_ref().is_some_and(has_nul)
        })
}

fn audit_holds_nul(entry: &AuditEntry) -> bool {
    entry.actor.contains('\0') || entry.summary.contains('\0') || has_nul(&entry.details)
}

/// Whether a JSON text has `\u0000` in it, behind an even number of backslashes.
fn escapes_nul(text: &str) -> bool {
    text.match_indices("\\u0000").any(|(at, _)| {
        let before = text[..at].bytes().rev().take_while(|byte| *byte == b'\\').count();
        before % 2 == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_escaped_backslash_is_no_escape() {
        assert!(escapes_nul(r#"{"e":"a\u0000"}"#));
        assert!(!escapes_nul(r#"{"e":"a\\u0000"}"#));
        assert!(escapes_nul(r#"{"e":"a\\\u0000"}"#));
        assert!(!escapes_nul(r#"{"e":"a"}"#));
    }
}
