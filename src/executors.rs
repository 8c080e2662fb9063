//! Executors: each performs one action type against the world.
//!
//! One file each behind the port `Executor`; [`all`] is the one list. What they share (the HTTP client with its outbound
//! rules, reading payloads, redaction, the words for failures) lies beside them and knows none of them.

mod api_call;
mod client;
mod connect;
mod failure;
mod outbound;
mod payload;
mod redact;
mod send_notification;
mod transform;
mod trigger_webhook;

use std::sync::Arc;

use core314_actors::ports::executor::Executor;
use core314_actors::ports::notifications::Inbox;
use serde::Deserialize;

use api_call::ApiCall;
use client::HttpClient;
pub use client::{ClientError, HttpSettings};
pub use outbound::OutboundSettings;
use send_notification::SendNotification;
use transform::Transform;
use trigger_webhook::TriggerWebhook;

/// What the configuration says about executors: section `[executors]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecutorSettings {
    /// Bounds of HTTP exchanges.
    pub http: HttpSettings,
    /// Where actions may connect to.
    pub outbound: OutboundSettings,
}

/// Every executor there is; in-app notifications go into these inboxes. The process must have installed its TLS provider.
pub fn all(settings: &ExecutorSettings, inbox: Arc<dyn Inbox>) -> Result<Vec<Arc<dyn Executor>>, ClientError> {
    let http = Arc::new(HttpClient::new(settings.http.clone(), settings.outbound.clone())?);
    Ok(vec![
        Arc::new(ApiCall::new(http.clone())),
        Arc::new(SendNotification::new(http.clone(), inbox)),
        Arc::new(TriggerWebhook::new(http)),
        Arc::new(Transform),
    ])
}
