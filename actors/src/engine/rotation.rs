//! Rotation of the key that secrets are encrypted with: batch by batch, whatever is not sealed with the key of now is opened
//! with the one before and sealed anew.
//!
//! Nothing has to be remembered of it: a secret says itself which key sealed it, so that a rotation that was interrupted is
//! simply done again. What a person changes meanwhile is sealed with the new key anyway, and is left alone.

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::ids::{Owner, RowId, WebhookId};
use serde_json::json;
use uuid::Uuid;

use super::integrations::ConnectError;
use super::{Engine, unexpected};
use crate::failpoint;
use crate::ports::integration::{ConnectionWrite, Locked, PreviousValue, ResealedSecret, ResealedWebhook, Secret};
use crate::ports::store::{Outcome, Webhook, Write};
use crate::ports::webhook::{Kept, WebhookSecret, purpose};

/// How far a rotation has come: rows up to this id were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RotationPlace {
    Secrets(Option<Uuid>),
    Webhooks(Option<Uuid>),
}

/// What one batch has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotationBatch {
    /// Secrets that were sealed anew.
    pub resealed: usize,
    /// Secrets that neither key opens: they stay as they are.
    pub unreadable: usize,
    /// Where the next batch begins; `None`: there is none.
    pub next: Option<RotationPlace>,
}

impl Engine {
    /// Seals the next batch anew. `by` is for the audit log.
    pub async fn rotate_batch(&self, from: RotationPlace, by: String) -> Result<RotationBatch, ConnectError> {
        let runtime = self.runtime();
        let limit = runtime.settings.page_size;
        let mut found = Found::default();
        let next = match from {
            RotationPlace::Secrets(after) => {
                let page = runtime.catalog.secrets_page(after.map(RowId), limit).await?;
                page.iter().for_each(|secret| self.reseal_secret(secret, &mut found));
                let last = page.last().filter(|_| page.len() == limit).map(|secret| secret.id.0);
                Some(last.map_or(RotationPlace::Webhooks(None), |id| RotationPlace::Secrets(Some(id))))
            }
            RotationPlace::Webhooks(after) => {
                let page = runtime.catalog.webhooks_page(after.map(WebhookId), limit).await?;
                page.iter().for_each(|webhook| self.reseal_webhook(webhook, &mut found));
                page.last().filter(|_| page.len() == limit).map(|webhook| RotationPlace::Webhooks(Some(webhook.id.0)))
            }
        };
        let (resealed, unreadable) = (found.resealed, found.unreadable);
        if resealed > 0 {
            failpoint::hit("rotation.before");
            self.commit_resealed(found, by).await?;
            failpoint::hit("rotation.after");
        }
        Ok(RotationBatch { resealed, unreadable, next })
    }

    async fn commit_resealed(&self, found: Found, by: String) -> Result<(), ConnectError> {
        let runtime = self.runtime().clone();
        let summary = format!("{} secrets were encrypted with the key of now", found.resealed);
        let audit = AuditEntry {
            owner: Owner::platform(),
            partition: 0,
            event: AuditEvent::SecretsResealed,
            actor: by,
            subject_type: "node",
            subject_id: Some(runtime.node.0),
            decision_event_id: None,
            summary,
            details: json!({"secrets": found.secrets.len(), "webhooks": found.webhooks.len()}),
            at_ms: self.now_ms(),
        };
        let (tenants, webhooks) = (found.tenants, found.webhooks.iter().map(|w| w.id).collect::<Vec<_>>());
        let forget = move || {
            tenants.into_iter().for_each(|tenant| runtime.integrations.forget(tenant));
            webhooks.into_iter().for_each(|id| runtime.plans.forget_webhook(id));
        };
        let write = ConnectionWrite::Reseal { secrets: found.secrets, webhooks: found.webhooks, audit };
        match self.commit_then(Write::Connection(Box::new(write)), forget).await? {
            Outcome::Committed { .. } => Ok(()),
            other => Err(unexpected(other).into()),
        }
    }

    fn reseal_secret(&self, secret: &Secret, found: &mut Found) {
        match self.resealed_both(secret) {
            Ok(None) => {}
            Ok(Some(resealed)) => {
                found.resealed += 1;
                found.tenants.push(secret.owner.tenant);
                found.secrets.push(resealed);
            }
            Err(locked) => found.unreadable(&format!("secret {}", secret.id), &locked),
        }
    }

    /// Its value, and the one before as long as that is good; `None` where the key of now has sealed both.
    fn resealed_both(&self, secret: &Secret) -> Result<Option<ResealedSecret>, Locked> {
        let purpose = Secret::purpose(secret.id);
        let value = self.resealed(&secret.sealed, &purpose)?;
        let previous = secret.previous.as_ref().filter(|previous| previous.until_ms > self.now_ms());
        let anew = previous.map(|previous| self.resealed(&previous.sealed, &purpose)).transpose()?.flatten();
        if value.is_none() && anew.is_none() {
            return Ok(None);
        }
        let previous = previous.map(|previous| PreviousValue {
            sealed: anew.unwrap_or_else(|| previous.sealed.clone()),
            until_ms: previous.until_ms,
        });
        let before = secret.sealed.clone();
        Ok(Some(ResealedSecret { id: secret.id, after: value.unwrap_or_else(|| before.clone()), before, previous }))
    }

    fn reseal_webhook(&self, webhook: &Webhook, found: &mut Found) {
        let mut count = 0;
        let mut secrets = Vec::new();
        for secret in &webhook.secrets {
            let kept = match &secret.kept {
                Kept::Digest(_) => secret.kept.clone(),
                Kept::Sealed(sealed) => match self.resealed(sealed, &purpose(webhook.id)) {
                    Ok(None) => secret.kept.clone(),
                    Ok(Some(after)) => {
                        count += 1;
                        Kept::Sealed(after)
                    }
                    Err(locked) => {
                        found.unreadable(&format!("webhook {}", webhook.id), &locked);
                        secret.kept.clone()
                    }
                },
            };
            secrets.push(WebhookSecret { kept, ..secret.clone() });
        }
        if count > 0 {
            found.resealed += count;
            found.webhooks.push(ResealedWebhook { id: webhook.id, version: webhook.version, secrets });
        }
    }

    /// Sealed anew; `None` where the key of now has sealed it.
    fn resealed(&self, sealed: &str, purpose: &str) -> Result<Option<String>, Locked> {
        let vault = self.runtime().integrations.vault();
        if vault.is_current(sealed) {
            return Ok(None);
        }
        vault.seal(&vault.open(sealed, purpose)?, purpose).map(Some)
    }
}

/// What a batch has found.
#[derive(Default)]
struct Found {
    secrets: Vec<ResealedSecret>,
    webhooks: Vec<ResealedWebhook>,
    tenants: Vec<core314_domain::ids::TenantId>,
    resealed: usize,
    unreadable: usize,
}

impl Found {
    fn unreadable(&mut self, what: &str, locked: &Locked) {
        tracing::warn!(what, error = %locked, "a secret cannot be encrypted with the key of now");
        self.unreadable += 1;
    }
}
