//! Webhooks, written by people and so one at a time, and the deliveries that are kept of them.
//!
//! Invariant: a webhook that was removed does not come back by a late change: a new one is inserted, a known one updated
//! in the version after the one that was read.

use std::borrow::Cow;

use core314_actors::ports::store::{Delivery, Outcome, RejectCode, Webhook, WebhookRemoval, WebhookTarget, Write};
use core314_actors::ports::webhook::{Kept, WebhookSecret};
use serde_json::{Value, json};

use super::batch::Batch;
use crate::store::cell::{Cell, Rows};
use crate::store::connection::{Bulk, Connection};
use crate::store::failure::Failure;
use crate::store::json;

const NAMED: &str = "SELECT id FROM webhooks WHERE tenant_id = $1 AND name = $2";
/// One that exists already, in whatever tenant, is left alone, and nothing is returned.
const NEW: Bulk = Bulk {
    before: "INSERT INTO webhooks (id, tenant_id, user_id, organization_id, name, verification, options, secrets, \
             trigger_type, flow_id, dedup_key, respond, is_active, version, created_at_ms, updated_at_ms) ",
    after: " ON CONFLICT (id) DO NOTHING RETURNING id",
};
/// The owner, the verification and when it was made stay.
pub(in crate::store) const NEXT_WEBHOOK: Bulk = Bulk {
    before: "WITH u (id, tenant_id, user_id, organization_id, name, verification, options, secrets, trigger_type, \
             flow_id, dedup_key, respond, is_active, version, created_at_ms, updated_at_ms) AS (",
    after: ") UPDATE webhooks SET name = u.name, options = u.options, secrets = u.secrets, \
            trigger_type = u.trigger_type, flow_id = u.flow_id, dedup_key = u.dedup_key, respond = u.respond, \
            is_active = u.is_active, version = u.version, updated_at_ms = u.updated_at_ms FROM u \
            WHERE webhooks.id = u.id AND webhooks.tenant_id = u.tenant_id AND webhooks.version = u.version - 1 \
            RETURNING webhooks.id",
};
const REMOVED: &str = "DELETE FROM webhooks WHERE id = $1 AND tenant_id = $2 RETURNING id";
const ITS_DELIVERIES: &str = "DELETE FROM deliveries WHERE tenant_id = $1 AND webhook_id = $2";
const DELIVERIES: Bulk = Bulk {
    before: "INSERT INTO deliveries (id, tenant_id, user_id, organization_id, webhook_id, status, is_test, \
             delivery_key, run_id, why_not, error, request, body, is_body_cut, received_at_ms) ",
    after: "",
};
/// At most so many rows at once; what is left goes with the next trim.
const TRIM: &str = "DELETE FROM deliveries WHERE id IN (SELECT id FROM deliveries WHERE tenant_id = $1 \
    AND webhook_id = $2 ORDER BY id DESC LIMIT 512 OFFSET $3)";

/// Writes and removes webhooks.
pub(super) async fn webhooks(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    for (i, write) in batch.survivors().collect::<Vec<_>>() {
        match write {
            Write::Webhook(webhook, _) => batch.outcomes[i] = save(batch.connection, webhook).await?,
            Write::WebhookRemoval(removal) => batch.outcomes[i] = remove(batch.connection, removal).await?,
            _ => {}
        }
    }
    Ok(())
}

async fn save(connection: &mut Connection, webhook: &Webhook) -> Result<Option<Outcome>, Failure> {
    let named = connection.fetch(NAMED, &[webhook.owner.tenant.0.into(), webhook.name.as_str().into()]).await?;
    if let Some(row) = named.first()
        && row.fields().uuid()? != webhook.id.0
    {
        let message = format!("the tenant has a webhook named '{}' already", webhook.name);
        return Ok(Some(Outcome::Rejected { code: RejectCode::NameTaken, message }));
    }
    let mut rows = Rows::new(16);
    rows.push(row(webhook));
    let statement = if webhook.version == 1 { NEW } else { NEXT_WEBHOOK };
    let written = !connection.bulk(statement, &rows).await?.is_empty();
    Ok((!written).then_some(Outcome::Conflict))
}

fn row(webhook: &Webhook) -> [Cell<'_>; 16] {
    let (trigger, flow) = match webhook.target {
        WebhookTarget::Trigger(trigger) => (Some(trigger.as_str()), None),
        WebhookTarget::Flow(flow) => (None, Some(flow.0)),
    };
    let json = |value: &Value| Cell::Json(Some(Cow::Owned(json::text_of(value))));
    let respond = webhook.respond.as_ref().map(|respond| json!(respond));
    [
        webhook.id.0.into(),
        webhook.owner.tenant.0.into(),
        webhook.owner.user.0.into(),
        webhook.owner.organization.map(|o| o.0).into(),
        webhook.name.as_str().into(),
        webhook.verification.as_str().into(),
        json(&webhook.options),
        stored_secrets(&webhook.secrets),
        trigger.into(),
        flow.into(),
        webhook.dedup_key.as_deref().into(),
        respond.as_ref().map_or(Cell::Json(None), json),
        webhook.is_active.into(),
        webhook.version.into(),
        webhook.created_at_ms.into(),
        webhook.updated_at_ms.into(),
    ]
}

/// The secrets of a webhook as they are stored.
pub(super) fn stored_secrets(secrets: &[WebhookSecret]) -> Cell<'static> {
    Cell::Json(Some(Cow::Owned(json::text_of(&Value::Array(secrets.iter().map(secret).collect())))))
}

/// A secret as it is stored.
fn secret(secret: &WebhookSecret) -> Value {
    let mut stored = match &secret.kept {
        Kept::Digest(digest) => {
            let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
            json!({"sha256": digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect::<String>()})
        }
        Kept::Sealed(text) => json!({"sealed": text}),
    };
    if let Some(at) = secret.ends_at_ms {
        stored["ends_at_ms"] = at.into();
    }
    stored
}

/// A secret as [`secret`] stored it.
pub(in crate::store) fn read_secret(stored: &Value) -> Option<WebhookSecret> {
    let kept = match (stored.get("sha256"), stored.get("sealed")) {
        (Some(hex), None) => Kept::Digest(digest(hex.as_str()?)?),
        (None, Some(text)) => Kept::Sealed(text.as_str()?.to_owned()),
        _ => return None,
    };
    let ends_at_ms = match stored.get("ends_at_ms") {
        None => None,
        Some(at) => Some(at.as_i64()?),
    };
    Some(WebhookSecret { kept, ends_at_ms })
}

fn digest(hex: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(digest)
}

async fn remove(connection: &mut Connection, removal: &WebhookRemoval) -> Result<Option<Outcome>, Failure> {
    let (id, tenant) = (removal.id.0, removal.tenant.0);
    if connection.fetch(REMOVED, &[id.into(), tenant.into()]).await?.is_empty() {
        return Ok(Some(Outcome::Conflict));
    }
    connection.fetch(ITS_DELIVERIES, &[tenant.into(), id.into()]).await?;
    Ok(None)
}

/// Writes deliveries, and removes the oldest of those webhooks for which that was asked.
pub(super) async fn deliveries(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    let writes = batch.survivors().filter_map(|(_, write)| match write {
        Write::Delivery(delivery) => Some(&**delivery),
        _ => None,
    });
    let mut rows = Rows::new(15);
    for delivery in writes.collect::<Vec<_>>() {
        if let Some(keep) = delivery.keep {
            let cells = [delivery.owner.tenant.0.into(), delivery.webhook.0.into(), i64::from(keep).into()];
            batch.connection.fetch(TRIM, &cells).await?;
        }
        rows.push(delivery_row(delivery));
    }
    batch.deferred.push((DELIVERIES, rows));
    Ok(())
}

fn delivery_row(delivery: &Delivery) -> [Cell<'_>; 15] {
    let json = |value: &Value| Cell::Json((!value.is_null()).then(|| Cow::Owned(json::text_of(value))));
    [
        delivery.id.0.into(),
        delivery.owner.tenant.0.into(),
        delivery.owner.user.0.into(),
        delivery.owner.organization.map(|o| o.0).into(),
        delivery.webhook.0.into(),
        delivery.status.as_str().into(),
        delivery.is_test.into(),
        delivery.key.as_deref().into(),
        delivery.run.map(|run| run.0).into(),
        json(&delivery.why_not),
        delivery.error.as_deref().into(),
        json(&delivery.request),
        json(&delivery.body),
        delivery.is_body_cut.into(),
        delivery.received_at_ms.into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_as_it_was_stored_and_anything_else_is_refused() {
        for kept in [Kept::Digest([0xab; 32]), Kept::Sealed("v1.k.x".to_owned())] {
            for ends_at_ms in [None, Some(7)] {
                let before = WebhookSecret { kept: kept.clone(), ends_at_ms };
                assert_eq!(read_secret(&secret(&before)), Some(before));
            }
        }
        let (twice, none) = (json!({"sha256": "ab", "sealed": "x"}), json!({}));
        for damaged in [json!({"sha256": "ab"}), json!({"sha256": "é".repeat(32)}), twice, none] {
            assert_eq!(read_secret(&damaged), None, "{damaged}");
        }
    }
}
