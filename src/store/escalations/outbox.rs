//! What an event wants done, read back.

use core314_actors::ports::escalation::OutboxRow;
use core314_domain::ids::{RowId, RunId};

use crate::store::cell::Fields;
use crate::store::failure::Failure;

/// As [`task`] reads them.
macro_rules! messages {
    ($which:literal) => {
        concat!(
            "SELECT id, escalation_id, level, round, purpose, kind, channel, target, payload, found_by, idempotency_key, status, \
             is_unknown, is_stopped, run_id, error, tries, not_before_ms, sent_at_ms FROM outbox ",
            $which
        )
    };
}
/// What is not over yet, and what was tried to mend it: of a level what its actions are called says which that is. Messages under
/// way, and behind them by their time those that quiet hours hold, come last: there may be many, and nothing new waits for them.
pub(super) const OUTBOX: &str = messages!(
    "WHERE escalation_id = $1 AND (status IN ('pending', 'sending', 'maybe_sent') \
    OR purpose IN ('remediation', 'fix_first') OR (purpose = 'level' \
    AND channel IN ('retry', 'retry_with_fallback', 'rollback_changes', 'switch_to_backup', 'recover'))) \
    ORDER BY CASE WHEN kind <> 'notify' OR is_stopped OR (status = 'pending' AND not_before_ms IS NULL) THEN 0 ELSE 1 END, \
    coalesce(not_before_ms, 0), id LIMIT 1000"
);
pub(super) const MESSAGES_SENT: &str = messages!(
    "WHERE escalation_id = $1 AND tenant_id = $2 AND (kind = 'notify' OR channel = 'send_notification') \
    AND run_id IS NOT NULL AND purpose <> 'follow_up' ORDER BY id DESC LIMIT 1000"
);
/// The key of a run is that of its row, behind a word of its own: a client's key cannot hold a space.
pub(super) const BEGUN: &str = "SELECT o.id, k.answer FROM outbox o JOIN idempotency_keys k ON k.tenant_id = o.tenant_id \
    AND k.key = 'escalation ' || o.idempotency_key WHERE o.escalation_id = $1 AND o.tenant_id = $2 \
    AND o.status = 'pending' AND o.run_id IS NULL ORDER BY o.id LIMIT 1000";

pub(super) fn task(mut f: Fields<'_>) -> Result<OutboxRow, Failure> {
    Ok(OutboxRow {
        id: RowId(f.uuid()?),
        escalation: RowId(f.uuid()?),
        level: f.small()?,
        round: f.small()?,
        purpose: f.word()?,
        kind: f.word()?,
        channel: f.text()?,
        target: f.maybe_text()?,
        payload: f.json()?,
        found_by: f.maybe_json()?,
        key: f.text()?,
        status: f.word()?,
        is_unknown: f.bool()?,
        is_stopped: f.bool()?,
        run: f.maybe_uuid()?.map(RunId),
        error: f.maybe_text()?,
        tries: f.small()?,
        not_before_ms: f.maybe_int()?,
        sent_ms: f.maybe_int()?,
    })
}

#[cfg(test)]
mod tests {
    use core314_domain::escalation::LevelAction;

    use super::*;

    #[test]
    fn what_was_tried_by_a_level_is_read_whatever_it_was() {
        let remedies = LevelAction::ALL.iter().filter(|action| action.is_remedy());
        let listed: Vec<String> = remedies.map(|action| format!("'{action}'")).collect();
        let listed = format!("channel IN ({})", listed.join(", "));
        assert!(OUTBOX.contains(&listed), "{listed}");
    }
}
