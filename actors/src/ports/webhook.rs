//! Webhook endpoints and the deliveries that reach them, as both the ingress and the store know them.
//!
//! A secret is kept as its digest where comparing is enough, and sealed where a signature must be computed with it;
//! sealing is the business of whoever makes and checks signatures. Invariant: an endpoint has at least one secret, and
//! those that a rotation has replaced have an end.

use core314_domain::Json;
use core314_domain::audit::AuditEntry;
use core314_domain::ids::{FlowId, Owner, RowId, RunId, TenantId, WebhookId};
pub use core314_domain::webhook::Respond;
use core314_domain::words::{DeliveryStatus, TriggerType};
use serde_json::Value;

/// A webhook endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    pub id: WebhookId,
    pub owner: Owner,
    pub name: String,
    /// How it verifies its callers, such as `url_secret`.
    pub verification: String,
    /// How the verification is set up, where it can be; an object.
    pub options: Value,
    /// The newest first. Any of them that has not ended opens the endpoint.
    pub secrets: Vec<WebhookSecret>,
    pub target: WebhookTarget,
    /// CEL that names a delivery: of those with the same name the first alone starts something.
    pub dedup_key: Option<String>,
    /// Present where callers wait for the flow's own answer.
    pub respond: Option<Respond>,
    pub is_active: bool,
    /// 1 for a new one; each change makes it one more.
    pub version: i64,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

/// One secret of a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookSecret {
    pub kept: Kept,
    /// When it stops to be valid; set by a rotation.
    pub ends_at_ms: Option<i64>,
}

/// How a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// SHA-256 of it: enough to recognise it.
    Digest([u8; 32]),
    /// Encrypted: it can be had back.
    Sealed(String),
}

/// For what a webhook's secrets are sealed: copied into another row they do not open.
pub fn purpose(id: WebhookId) -> String {
    format!("webhook:{id}")
}

/// What a webhook starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookTarget {
    Trigger(TriggerType),
    Flow(FlowId),
}

/// A webhook that is to be there no more; its deliveries go with it.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookRemoval {
    pub id: WebhookId,
    pub tenant: TenantId,
    pub audit: AuditEntry,
}

/// A verified delivery that started no run of its own. Those that did are told by their run's row.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    pub id: RowId,
    pub webhook: WebhookId,
    pub owner: Owner,
    pub status: DeliveryStatus,
    pub is_test: bool,
    /// Its name among the webhook's deliveries, where it has one.
    pub key: Option<String>,
    /// The run that its first copy started.
    pub run: Option<RunId>,
    /// For each flow that was asked the clause that does not hold.
    pub why_not: Value,
    /// Why it failed.
    pub error: Option<String>,
    /// What flows see as `webhook`.
    pub request: Json,
    /// The body, redacted; null where it was too large to be kept.
    pub body: Value,
    pub is_body_cut: bool,
    pub received_at_ms: i64,
    /// The webhook's other deliveries are cut down to so many, the newest.
    pub keep: Option<u32>,
}
