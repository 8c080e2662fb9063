//! A webhook with its expressions compiled: kept beside the compiled flows, so that a delivery costs no parsing.

use std::sync::atomic::{AtomicU64, Ordering};

use core314_domain::Json;
use core314_domain::expr::{ExprError, Expression, Scope, Template};
use core314_domain::run::matching_scope;
use core314_domain::webhook::delivery_key;
use serde_json::Value;

use crate::ports::webhook::Webhook;

/// So many deliveries may be kept before the webhook's older ones are looked through.
const TRIM_EVERY: u64 = 64;

/// A webhook that can take deliveries.
#[derive(Debug)]
pub struct ReadyWebhook {
    pub webhook: Webhook,
    dedup_key: Option<Expression>,
    answer: Option<Template>,
    kept: AtomicU64,
}

/// Why a webhook cannot be used: mend the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}: {message}")]
pub struct WebhookError {
    /// JSON pointer of the field.
    pub pointer: String,
    pub message: String,
}

impl ReadyWebhook {
    /// Compiles the expressions of a webhook that is about to be saved: they are checked by type too.
    pub fn check(webhook: Webhook) -> Result<Self, WebhookError> {
        Self::read(webhook, true)
    }

    /// Compiles the expressions of a webhook that was checked when it was saved.
    pub fn compile(webhook: Webhook) -> Result<Self, WebhookError> {
        Self::read(webhook, false)
    }

    fn read(webhook: Webhook, is_new: bool) -> Result<Self, WebhookError> {
        let wrong = |pointer: String, message: String| WebhookError { pointer, message };
        let dedup_key = webhook.dedup_key.as_deref().map(|source| {
            delivery_key(source, is_new).map_err(|error| wrong("/dedup_key".to_owned(), error.to_string()))
        });
        let answer = webhook.respond.as_ref().map(|respond| {
            respond.template(is_new).map_err(|(pointer, message)| wrong(format!("/respond{pointer}"), message))
        });
        let (dedup_key, answer) = (dedup_key.transpose()?, answer.transpose()?.flatten());
        Ok(Self { webhook, dedup_key, answer, kept: AtomicU64::new(0) })
    }

    /// The delivery's name by the webhook's own expression; `None` without one, or where it comes to null.
    pub fn key_of(&self, trigger: Json, request: Json, now_ms: i64) -> Result<Option<String>, ExprError> {
        let Some(expression) = &self.dedup_key else { return Ok(None) };
        match expression.evaluate(&matching_scope(trigger, request, &self.webhook.owner, now_ms))? {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(text)),
            other => Ok(Some(other.to_string())),
        }
    }

    /// The answer of a run that is over, by the webhook's own template; `None` without one.
    pub fn answer(&self, scope: &Scope) -> Result<Option<Value>, ExprError> {
        self.answer.as_ref().map(|template| template.render(scope)).transpose()
    }

    /// Whether it is time to look through the webhook's older deliveries: at the first that is kept after a start, and
    /// every so often after it.
    pub fn is_time_to_trim(&self) -> bool {
        self.kept.fetch_add(1, Ordering::Relaxed).is_multiple_of(TRIM_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use core314_domain::ids::{Owner, UserId, WebhookId};
    use core314_domain::words::TriggerType;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::ports::webhook::{Kept, Respond, WebhookSecret, WebhookTarget};

    fn webhook(dedup_key: Option<&str>, body: Option<Value>) -> Webhook {
        Webhook {
            id: WebhookId(Uuid::from_u128(1)),
            owner: Owner::new(UserId(Uuid::from_u128(2)), None),
            name: "alerts".to_owned(),
            verification: "url_secret".to_owned(),
            options: json!({}),
            secrets: vec![WebhookSecret { kept: Kept::Digest([0; 32]), ends_at_ms: None }],
            target: WebhookTarget::Trigger(TriggerType::Webhook),
            dedup_key: dedup_key.map(str::to_owned),
            respond: body.map(|body| Respond { wait_seconds: 5, body: Some(body) }),
            is_active: true,
            version: 1,
            created_at_ms: 1,
            updated_at_ms: 1,
        }
    }

    #[test]
    fn what_would_fail_for_every_delivery_is_refused_when_it_is_saved() {
        let refused = |key, body: Option<Value>| {
            // One that was saved before the checker knew better still takes deliveries.
            assert!(ReadyWebhook::compile(webhook(key, body.clone())).is_ok());
            ReadyWebhook::check(webhook(key, body)).expect_err("refused").to_string()
        };
        let message = refused(Some("trigger.id + '/' + tenant.idd"), None);
        assert!(message.starts_with("/dedup_key: ") && message.contains("did you mean `id`?"), "{message}");
        let message = refused(None, Some(json!({"s": "{{ run.statu }}"})));
        assert!(message.starts_with("/respond/body/s: ") && message.contains("did you mean `status`?"), "{message}");
        let fine = webhook(Some("trigger.id"), Some(json!({"s": "{{ run.status }}", "o": "{{ run.output.x }}"})));
        assert!(ReadyWebhook::check(fine).is_ok());
    }

    #[test]
    fn a_key_is_computed_from_the_delivery() {
        let key = |source: &str, trigger: Value| {
            let ready = ReadyWebhook::compile(webhook(Some(source), None)).expect("compiles");
            ready.key_of(Arc::new(trigger), Arc::new(json!({"headers": {"x-kind": "k"}})), 1)
        };
        assert_eq!(key("trigger.id", json!({"id": "a"})), Ok(Some("a".to_owned())));
        assert_eq!(key("trigger.n", json!({"n": 7})), Ok(Some("7".to_owned())));
        assert_eq!(key("trigger.id", json!({"id": null})), Ok(None));
        assert_eq!(key("webhook.headers['x-kind']", json!({})), Ok(Some("k".to_owned())));
        assert!(key("trigger.id", json!({})).is_err(), "a missing member is an error, never a silent nothing");
        let error = ReadyWebhook::compile(webhook(Some("steps.a"), None)).expect_err("there is no run yet");
        assert_eq!(error.pointer, "/dedup_key");
    }

    #[test]
    fn an_answer_may_name_any_step_and_nothing_unknown() {
        let body =
            json!({"a": "{{ steps.one.output }}", "b": ["{{ steps['two-b'].status }}"], "c": "{{ run.output }}"});
        assert!(ReadyWebhook::compile(webhook(None, Some(body))).is_ok());
        let error = ReadyWebhook::compile(webhook(None, Some(json!({"a": "{{ secret.x }}"})))).expect_err("unknown");
        assert_eq!(error.pointer, "/respond/body/a");
    }

    #[test]
    fn older_deliveries_are_looked_through_every_so_often() {
        let ready = ReadyWebhook::compile(webhook(None, None)).expect("compiles");
        let times = (0..2 * TRIM_EVERY).filter(|_| ready.is_time_to_trim()).count();
        assert_eq!(times, 2);
    }
}
