//! Flows: definitions and their triggers.

pub mod activate;
pub mod clone;
pub mod create;
pub mod delete;
pub mod diff;
pub mod dry_run;
pub mod export;
pub mod form;
pub mod instantiate;
pub mod patch;
pub mod rollback;
pub mod rollout;
pub mod show_version;
pub mod templates;
pub mod trigger;
pub mod validate;
pub mod versions;

use actix_web::http::header::{ETAG, HeaderName};
use chrono::{DateTime, SecondsFormat};
use core314_actors::ports::catalog::StoredFlow;
use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, OrganizationId, TenantId, UserId};
use core314_domain::plan::Problem as DocumentProblem;
use schemars::JsonSchema;
use serde::Serialize;

use super::State;
use super::problem::Problem;

/// A flow as the answer to its writing: the definition. `GET` adds its statistics.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Flow")]
struct FlowView {
    id: FlowId,
    tenant_id: TenantId,
    user_id: UserId,
    organization_id: Option<OrganizationId>,
    created_at: Option<String>,
    /// Carries `flow_version`.
    #[serde(flatten)]
    document: FlowDocument,
    /// What is legal and surely not meant.
    warnings: Vec<FindingView>,
}

/// Something that was found in a document, with its place.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Finding")]
pub struct FindingView {
    /// RFC 6901, into the document.
    pub pointer: String,
    pub message: String,
    /// Of an expression: its line, and below it a mark at the character that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    /// Where it stands in the document's text; both count from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
}

impl From<DocumentProblem> for FindingView {
    fn from(problem: DocumentProblem) -> Self {
        let DocumentProblem { pointer, message, excerpt, line, column, is_absence: _ } = problem;
        Self { pointer, message, excerpt, line, column }
    }
}

impl FlowView {
    /// A flow that was just saved, with what is doubtful about it.
    async fn warned(state: &State, tenant: TenantId, flow: StoredFlow) -> Result<Self, Problem> {
        let found = state.engine.warnings(Some(tenant), Some(flow.id), &flow.document).await?;
        Ok(Self { warnings: found.into_iter().map(FindingView::from).collect(), ..Self::of(flow) })
    }

    fn of(flow: StoredFlow) -> Self {
        Self {
            id: flow.id,
            tenant_id: flow.owner.tenant,
            user_id: flow.owner.user,
            organization_id: flow.owner.organization,
            created_at: rfc3339(flow.created_at_ms),
            document: FlowDocument { flow_version: Some(flow.version), ..flow.document },
            warnings: Vec::new(),
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
