//! What pagers are told of an event that somebody takes, or that is resolved: the alerts that its pages opened are acknowledged
//! and resolved there, too.
//!
//! It is written down in the commit that changes the event, like all else that an event wants done, and names the alert as the
//! page did: by the key that the payload gave, or by the execution that sent it. Whoever ends an event as failed has mended
//! nothing: its alerts stay open.

use std::collections::BTreeSet;

use core314_domain::escalation::{EscalationStatus, Event, Purpose};
use serde_json::{Value, json};

use super::Desk;
use crate::integrations::Known;
use crate::ports::StoreError;
use crate::ports::escalation::{EventBefore, OutboxKind, OutboxRow, OutboxStatus, StoredEscalation};

/// The kind of integrations whose alerts stay open until somebody says otherwise.
const PAGER: &str = "pagerduty";
/// The action that is a message.
const MESSAGE: &str = "send_notification";

/// What has become of an event, in the words of a pager; `None` where that is nothing to a pager.
pub(super) fn news(before: EventBefore, event: &Event) -> Option<&'static str> {
    if event.status == EscalationStatus::Resolved && before.status != EscalationStatus::Resolved {
        return Some("resolve");
    }
    let is_taken = event.acknowledged.is_some() && !before.is_acknowledged && !event.status.is_closed();
    is_taken.then_some("acknowledge")
}

impl Desk {
    /// What is said of the alerts that the event's pages opened.
    pub(super) async fn follow_ups(
        &self,
        escalation: &StoredEscalation,
        action: &'static str,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        let tenant = escalation.owner.tenant;
        let known = self.engine()?.connections(tenant).await?;
        let sent = self.book.messages_sent(tenant, escalation.id).await?;
        let mut alerts = BTreeSet::new();
        let mut rows = Vec::new();
        for page in sent.into_iter().filter(|row| is_page(row, &known)) {
            let key = page.payload.get("dedup_key").filter(|key| !key.is_null()).cloned();
            let Some(key) = key.or_else(|| page.run.map(|run| json!(run.execution(0)))) else { continue };
            if alerts.insert((page.channel.clone(), page.target.clone(), key.to_string())) {
                rows.push(self.follow_up(page, action, &key));
            }
        }
        Ok(rows)
    }

    fn follow_up(&self, page: OutboxRow, action: &str, key: &Value) -> OutboxRow {
        OutboxRow {
            id: self.runtime().row_id(),
            purpose: Purpose::FollowUp,
            payload: json!({"event_action": action, "dedup_key": key}),
            key: format!("{}/{action}", page.key),
            status: OutboxStatus::Pending,
            is_unknown: false,
            is_stopped: false,
            run: None,
            error: None,
            tries: 0,
            not_before_ms: None,
            sent_ms: None,
            ..page
        }
    }
}

/// Whether a message may have opened an alert.
fn is_page(row: &OutboxRow, known: &Known) -> bool {
    let named = match row.kind {
        OutboxKind::Notify => Some(row.channel.as_str()),
        OutboxKind::Act => row.target.as_deref().filter(|_| row.channel == MESSAGE),
    };
    let integration = named.and_then(|name| known.integration_named(name));
    let action = row.payload.get("event_action").filter(|action| !action.is_null());
    integration.is_some_and(|found| found.kind == PAGER) && action.is_none_or(|action| action == "trigger")
}
