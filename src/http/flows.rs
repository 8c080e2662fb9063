//! Flows: definitions and their triggers.

pub mod activate;
pub mod clone;
pub mod create;
pub mod delete;
pub mod dry_run;
pub mod export;
pub mod form;
pub mod patch;
pub mod templates;
pub mod trigger;
pub mod validate;
pub mod versions;

use actix_web::http::header::{ETAG, HeaderName};
use chrono::{DateTime, SecondsFormat};
use core314_actors::ports::catalog::StoredFlow;
use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, OrganizationId, TenantId, UserId};
use schemars::JsonSchema;
use serde::Serialize;

/// A flow as the answer to its writing: the definition. `GET` adds its statistics.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Flow")]
struct FlowView {
    id: FlowId,
    tenant_id: TenantId,
    user_id: UserId,
    organization_id: Option<OrganizationId>,
    created_at: Option<String>,
    /// What is legal in the flow and surely not meant; absent where there is nothing of the kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    /// Carries `flow_version`.
    #[serde(flatten)]
    document: FlowDocument,
}

impl FlowView {
    fn of(flow: StoredFlow) -> Self {
        Self::warning(flow, Vec::new())
    }

    /// With what to tell whoever saved it.
    fn warning(flow: StoredFlow, warnings: Vec<String>) -> Self {
        Self {
            id: flow.id,
            tenant_id: flow.owner.tenant,
            user_id: flow.owner.user,
            organization_id: flow.owner.organization,
            created_at: rfc3339(flow.created_at_ms),
            warnings,
            document: FlowDocument { flow_version: Some(flow.version), ..flow.document },
        }
    }
}

/// A time as answers show it.
pub fn rfc3339(ms: i64) -> Option<String> {
    DateTime::from_timestamp_millis(ms).map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// The version of a definition. Statistics may change under it.
pub fn etag(version: i64) -> (HeaderName, String) {
    (ETAG, format!("\"v{version}\""))
}
