//! Webhooks: saved, found and removed, and the deliveries that started nothing kept.
//!
//! A delivery that started a run needs no row of its own: the run's row, durable before the answer, tells of it. Another
//! row is waited for only where nothing else answers for the delivery; how many may wait for their commit is bounded.

use std::sync::Arc;
use std::time::Duration;

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::ids::{RowId, WebhookId};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Engine, SaveError, unexpected};
use crate::commit_writer::{CommitResult, Reply};
use crate::ports::store::{Delivery, Outcome, RejectCode, Webhook, WebhookRemoval, WebhookTarget, Write};
use crate::ports::{Scope, StoreError};
use crate::runtime::Counters;
use crate::webhooks::ReadyWebhook;

/// Rows of deliveries that may wait for their commit at once.
pub(super) const MAX_PENDING_DELIVERIES: usize = 1_024;

impl Engine {
    /// Saves a webhook: a new one with version 1, a changed one with the version after the one that was read. A target
    /// flow must be the tenant's. `what` is for the audit log, such as `webhook_created`.
    pub async fn save_webhook(&self, webhook: Webhook, by: String, what: AuditEvent) -> Result<(), SaveError> {
        let runtime = &self.inner.runtime;
        if let WebhookTarget::Flow(flow) = webhook.target {
            let scope = Scope::Tenant(webhook.owner.tenant);
            runtime.catalog.flow(scope, flow).await?.ok_or(SaveError::NotFound)?;
        }
        let id = webhook.id;
        let audit = self.webhook_audit(&webhook, by, what);
        let known = runtime.clone();
        let forget = move || known.plans.forget_webhook(id);
        match self.commit_then(Write::Webhook(Box::new(webhook), audit), forget).await? {
            Outcome::Committed { .. } => Ok(()),
            Outcome::Conflict => Err(SaveError::Conflict),
            Outcome::Rejected { code: RejectCode::NameTaken, .. } => Err(SaveError::NameTaken),
            other => Err(SaveError::Store(unexpected(other))),
        }
    }

    /// Removes a webhook and the deliveries that were kept for it. Runs that it started stay. False where it was gone.
    pub async fn remove_webhook(&self, webhook: &Webhook, by: String) -> Result<bool, SaveError> {
        let audit = self.webhook_audit(webhook, by, AuditEvent::WebhookDeleted);
        let (id, tenant) = (webhook.id, webhook.owner.tenant);
        let known = self.inner.runtime.clone();
        let forget = move || known.plans.forget_webhook(id);
        let write = Write::WebhookRemoval(Box::new(WebhookRemoval { id, tenant, audit }));
        match self.commit_then(write, forget).await? {
            Outcome::Committed { .. } => Ok(true),
            Outcome::Conflict => Ok(false),
            other => Err(SaveError::Store(unexpected(other))),
        }
    }

    fn webhook_audit(&self, webhook: &Webhook, by: String, event: AuditEvent) -> AuditEntry {
        AuditEntry {
            owner: webhook.owner,
            partition: 0,
            event,
            actor: by,
            subject_type: "webhook",
            subject_id: Some(webhook.id.0),
            decision_event_id: None,
            summary: format!("{} '{}'", event.as_str().replace('_', " "), webhook.name),
            details: json!({"verification": webhook.verification, "version": webhook.version}),
            at_ms: self.now_ms(),
        }
    }

    /// A fresh webhook id.
    pub fn webhook_id(&self) -> WebhookId {
        WebhookId::new(self.now_ms(), rand::random())
    }

    /// A fresh id of any other row.
    pub fn row_id(&self) -> RowId {
        self.inner.runtime.row_id()
    }

    /// A webhook, by its id alone.
    pub async fn webhook(&self, id: WebhookId) -> Result<Option<Arc<ReadyWebhook>>, StoreError> {
        self.inner.runtime.plans.webhook(self.inner.runtime.catalog.as_ref(), id).await
    }

    /// Keeps a delivery: returns when it is durable. `None` when too many wait already, or the store is too slow: the
    /// delivery is not kept then, and its sender should come back.
    pub async fn keep_delivery(&self, delivery: Delivery) -> Option<()> {
        let permit = self.delivery_permit()?;
        let (send, heard) = oneshot::channel();
        self.send_delivery(delivery, permit, move |result| {
            // A caller that has gone away does not want to know.
            drop(send.send(result));
        })?;
        let patience = Duration::from_millis(self.inner.runtime.settings.accept_timeout_ms);
        let result: CommitResult = tokio::time::timeout(patience, heard).await.ok()?.ok()?;
        matches!(result.ok()?.as_slice(), [Outcome::Committed { .. }]).then_some(())
    }

    /// Keeps a delivery with the next commit and waits for nothing. Where too many wait already it is counted and left
    /// out; a crash before the commit loses it. For those that another row or the answer tells of.
    pub fn note_delivery(&self, delivery: Delivery) {
        let noted = self.delivery_permit().and_then(|permit| {
            let (webhook, id) = (delivery.webhook, delivery.id);
            self.send_delivery(delivery, permit, move |result| match result.as_deref() {
                Ok([Outcome::Committed { .. }]) => {}
                Ok(refused) => tracing::warn!(%webhook, delivery = %id, ?refused, "a delivery was not kept"),
                Err(error) => tracing::warn!(%webhook, delivery = %id, %error, "a delivery was not kept"),
            })
        });
        if noted.is_none() {
            Counters::add(&self.inner.runtime.counters.deliveries_left_out, 1);
        }
    }

    fn delivery_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.inner.delivery_credits.clone().try_acquire_owned().ok()
    }

    fn send_delivery(
        &self,
        delivery: Delivery,
        permit: OwnedSemaphorePermit,
        then: impl FnOnce(CommitResult) + Send + 'static,
    ) -> Option<()> {
        let reply = Reply::new(&self.inner.runtime.io, move |result| {
            drop(permit);
            then(result);
        });
        self.inner.writer.commit(0, vec![Write::Delivery(Box::new(delivery))], reply).ok()
    }
}
