//! What was tried to mend an event, and what its outcome means.
//!
//! A row is a remedy by what it does, not only by what it is for: that a message is delivered never shows that anything is
//! mended.

use core314_domain::escalation::{Command, LevelAction, Purpose};

use crate::ports::escalation::{OutboxKind, OutboxRow, OutboxStatus, StoredEscalation};

/// What a remediation that has ended means: the first success mends; a failure says, once, that it is still broken.
pub(super) fn remedied(rows: &[OutboxRow], stored: &StoredEscalation, now_ms: i64) -> Option<Command> {
    let is_proof = |row: &&OutboxRow| row.status == OutboxStatus::Sent && mends(row) && !prepares(row, rows);
    if let Some(row) = rows.iter().filter(|row| is_remedy(row)).find(is_proof) {
        return Some(Command::Remedied { purpose: row.purpose, success: true });
    }
    let failed = |row: &&OutboxRow| is_remedy(row) && row.status == OutboxStatus::Failed;
    // Those who wait for what was tried first hear it, whatever had failed before.
    let is_waited_for =
        |row: &&OutboxRow| row.purpose == Purpose::FixFirst && stored.event.waits_for_remedy(row.level, now_ms);
    let is_news = stored.event.remediation_successful.is_none();
    let failed = rows.iter().filter(failed).find(|row| is_news || is_waited_for(row))?;
    Some(Command::Remedied { purpose: failed.purpose, success: false })
}

/// Whether a row is there to mend what had failed.
pub(super) fn is_remedy(row: &OutboxRow) -> bool {
    match row.purpose {
        // A rule of an earlier release may name messages here: that somebody is told mends nothing.
        Purpose::Remediation | Purpose::FixFirst => {
            row.kind == OutboxKind::Act && !LevelAction::names_message(&row.channel)
        }
        Purpose::Level => row.kind == OutboxKind::Act && LevelAction::names_remedy(&row.channel),
        Purpose::Repeat | Purpose::SlaWarning | Purpose::SlaBreach | Purpose::FollowUp | Purpose::HeldBack => false,
    }
}

/// Whether the success of an action shows that what had failed is mended.
fn mends(row: &OutboxRow) -> bool {
    row.channel.parse::<LevelAction>().map_or(true, LevelAction::mends)
}

/// A switch to a backup makes the way for what is tried beside it: that shows whether it has helped.
fn prepares(row: &OutboxRow, rows: &[OutboxRow]) -> bool {
    let is_switch = |row: &OutboxRow| row.channel == LevelAction::SwitchToBackup.as_str();
    let is_beside = |other: &OutboxRow| (other.purpose, other.level) == (row.purpose, row.level);
    is_switch(row) && rows.iter().any(|other| is_beside(other) && is_remedy(other) && mends(other) && !is_switch(other))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use core314_domain::escalation::{EscalationReason, Event, Failure, Rule, RuleDocument, Surroundings};
    use core314_domain::ids::{Owner, RowId, UserId};
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;

    fn stored() -> StoredEscalation {
        let document = RuleDocument::from_value(json!({
            "rule_name": "r", "escalation_levels": [{"level": 1, "actions": ["notify_user"]}],
        }));
        let rule = Rule::compile(RowId(Uuid::from_u128(2)), document.expect("a document")).expect("a rule");
        stored_of(&rule)
    }

    /// An event of a rule, at the beginning of time.
    pub(in crate::escalations) fn stored_of(rule: &Rule) -> StoredEscalation {
        let (id, user) = (RowId(Uuid::from_u128(1)), UserId(Uuid::from_u128(7)));
        let failure = Failure::described(EscalationReason::RunFailed, Arc::new(json!({})), 0);
        let opening = (id, user, "subject".to_owned());
        let event = Event::open(rule, &failure, opening, 0, &Surroundings::default(), 0).event;
        StoredEscalation {
            id,
            owner: Owner::new(user, None),
            rule: rule.id,
            rule_version: 1,
            execution: None,
            log: None,
            flow: None,
            run: None,
            deadlines: event.deadlines(rule),
            event,
            context: Arc::new(json!({})),
            verdicts: None,
            tags: Vec::new(),
            version: 1,
            wake_ms: None,
        }
    }

    /// A row of a level.
    pub(in crate::escalations) fn row(
        purpose: Purpose,
        kind: OutboxKind,
        channel: &str,
        status: OutboxStatus,
    ) -> OutboxRow {
        OutboxRow {
            id: RowId(Uuid::from_u128(3)),
            escalation: RowId(Uuid::from_u128(1)),
            level: 1,
            round: 0,
            purpose,
            kind,
            channel: channel.to_owned(),
            target: None,
            payload: Value::Null,
            found_by: None,
            key: "key".to_owned(),
            status,
            is_unknown: false,
            is_stopped: false,
            run: None,
            error: None,
            tries: 0,
            not_before_ms: None,
            sent_ms: None,
        }
    }

    #[test]
    fn a_message_that_is_delivered_or_not_says_nothing_of_what_had_failed() {
        let stored = stored();
        for purpose in [Purpose::Remediation, Purpose::FixFirst, Purpose::Level] {
            for (kind, channel) in
                [(OutboxKind::Notify, "in_app"), (OutboxKind::Notify, "slack"), (OutboxKind::Act, "send_notification")]
            {
                for status in [OutboxStatus::Sent, OutboxStatus::Failed] {
                    let rows = [row(purpose, kind, channel, status)];
                    assert_eq!(remedied(&rows, &stored, 0), None, "{purpose} {channel} {status}");
                }
            }
        }
        let rows = [row(Purpose::Remediation, OutboxKind::Act, "api_call", OutboxStatus::Sent)];
        let mended = Command::Remedied { purpose: Purpose::Remediation, success: true };
        assert_eq!(remedied(&rows, &stored, 0), Some(mended), "what is done does");
    }
}
