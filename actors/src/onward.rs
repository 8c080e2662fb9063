//! From an inbox to the person: what was delivered goes on by the ways in which its user wants to be told.
//!
//! Each way is a durable single execution under a key of its own, made of the notification and the contact method: a delivery
//! that is repeated after a crash sends nothing twice. What is held by quiet hours is an execution that is due at their end;
//! what is for a digest is one execution for all of them, which looks into the inbox when its time has come.

use std::sync::{Arc, OnceLock, Weak};

use core314_domain::ids::{NotificationId, uuid_ms};
use core314_domain::people::When;
use core314_domain::words::Urgency;
use serde_json::json;

use crate::clock::rfc3339;
use crate::engine::people::{CONTACT, DIGEST_SINCE, DIGEST_UNTIL, KIND, SEND};
use crate::engine::{Engine, Inner};
use crate::ingress::{TriggerError, Triggered};
use crate::ports::StoreError;
use crate::ports::notifications::{Notification, SentOn};
use crate::recipients::{self, Kind, Way};
use crate::single::Single;

/// A digest is put together this long after its time, so that what came in the last moment before it is there. What comes to
/// light later still is sent by itself.
const DIGEST_GRACE_MS: i64 = 30_000;

/// Sends on what inboxes got.
#[derive(Default)]
pub struct Onward {
    engine: OnceLock<Weak<Inner>>,
}

impl Onward {
    /// From now on there is an engine. What is delivered before is delivered again.
    pub fn open(&self, engine: &Engine) {
        assert!(self.engine.set(Arc::downgrade(&engine.inner)).is_ok(), "inboxes belong to one engine");
    }

    /// Sends a notification on that stands in an inbox under this id.
    pub async fn send(&self, notification: &Notification, stands: NotificationId) -> Result<Vec<SentOn>, StoreError> {
        let inner = self.engine.get().and_then(Weak::upgrade);
        let engine = inner.map(|inner| Engine { inner });
        let engine = engine.ok_or_else(|| StoreError::Unavailable("the node starts, or stops".to_owned()))?;
        let owner = notification.owner;
        let kind = Kind { kind: notification.kind, severity: notification.severity };
        let whom = (owner.tenant, owner.user);
        // As of its delivery: one that is repeated after a crash goes into the digest that it was for.
        let at_ms = uuid_ms(stands.0);
        let ways = recipients::ways(engine.people()?.as_ref(), whom, kind, at_ms).await?;
        let mut sent = Vec::new();
        for way in ways {
            sent.push(send(&engine, notification, stands, &way).await?);
        }
        Ok(sent)
    }
}

/// Whether the digest of an instant tells it: one that is still to come, or one that found it in the inbox, because an
/// attempt before this one has put it there. Where none has been made by now, one is, and is due at once.
const fn is_digested(at_ms: i64, now_ms: i64, was_there: bool) -> bool {
    was_there || now_ms < at_ms + DIGEST_GRACE_MS
}

async fn send(
    engine: &Engine,
    notification: &Notification,
    stands: NotificationId,
    way: &Way,
) -> Result<SentOn, StoreError> {
    let contact = &way.contact;
    let (payload, key, at_ms) = match way.when {
        When::Digest { since_ms, at_ms } if is_digested(at_ms, engine.now_ms(), stands != notification.id) => (
            json!({CONTACT: contact.id, KIND: contact.kind, DIGEST_SINCE: since_ms, DIGEST_UNTIL: at_ms}),
            format!("digest {}/{at_ms}", contact.id),
            Some(at_ms + DIGEST_GRACE_MS),
        ),
        when => {
            let mut payload =
                recipients::message(contact, &notification.title, &notification.message, notification.severity);
            payload["action_url"] = json!(notification.action_url.as_deref().map(core314_domain::expr::literal));
            let at_ms = if let When::Held { until_ms } = when { Some(until_ms) } else { None };
            (payload, format!("notification {stands}/{}", contact.id), at_ms)
        }
    };
    let (target, urgency) = (contact.channel(), Urgency::High);
    let (name, insists) = ("notification", true);
    let single = Single { name, action_type: SEND, target, payload: &payload, urgency, at_ms, insists };
    let mut sent = SentOn {
        contact_method_id: contact.id.to_string(),
        kind: contact.kind.as_str(),
        flow_run_id: None,
        not_before: at_ms.map(rfc3339),
        error: None,
    };
    let by = format!("notification:{stands}");
    match single.trigger(notification.owner, &by, key) {
        Err(error) => sent.error = Some(error.message),
        Ok(trigger) => match engine.trigger(trigger).await {
            Ok(Triggered::Accepted(run) | Triggered::Repeated(run)) => sent.flow_run_id = Some(run.run),
            Ok(Triggered::NoMatch(_)) => sent.error = Some("no flow takes it".to_owned()),
            Err(error) if error.is_passing() => return Err(StoreError::Unavailable(error.to_string())),
            Err(TriggerError::Invalid(problems)) => {
                sent.error = problems.first().map(|problem| problem.message.clone());
            }
            Err(error) => sent.error = Some(error.to_string()),
        },
    }
    if let Some(error) = &sent.error {
        tracing::warn!(contact = %contact.id, %error, "a notification stays in the inbox alone");
    }
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_digest_has_found_is_not_told_by_itself_too() {
        for (now_ms, expected) in [(999, true), (DIGEST_GRACE_MS + 1_000, false)] {
            assert_eq!(is_digested(1_000, now_ms, false), expected, "{now_ms}");
            assert!(is_digested(1_000, now_ms, true), "it stood there before: {now_ms}");
        }
    }
}
