//! One case for every route of the API: whom it is for, and how somebody else would try to reach through it.
//!
//! The routes come from `GET /api/v1` of the running server. A route without a case fails the suite: whoever adds one
//! says here how it keeps tenants apart.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::callers::Caller;
use crate::support::Server;

/// What a route does with callers.
#[derive(Debug, Clone, Copy)]
pub enum Case {
    /// Has nothing of any tenant, or proves its callers by its own means.
    Open,
    /// A list of rows: a stranger's is empty.
    List,
    /// A list that may be empty for the owner, too.
    Sparse,
    /// Something beneath a row of the list at this path, which for a stranger does not exist.
    Part(&'static str),
    /// A row of the list at this path: a stranger finds none.
    Row(&'static str),
    /// Figures: a stranger's add up to nothing.
    Figures(&'static str),
    /// For a platform key that names no user.
    Platform,
    /// Makes something of the caller's own: nobody else notices, whatever names they choose. The role that it needs.
    Make(&'static str, fn(&Seeds) -> Value),
    /// Acts on a row of the list at this path, which for a stranger does not exist.
    Act(&'static str, &'static str, fn(&Seeds) -> Value),
    /// Names a row in its body, which for a stranger does not exist.
    Name(&'static str, StatusCode, fn(&Seeds) -> Value),
}

/// What the owner has.
#[derive(Debug)]
pub struct Seeds {
    pub flow: Value,
    pub flow_id: String,
    pub execution_id: String,
}

/// A body that says nothing.
fn nothing(_: &Seeds) -> Value {
    json!({})
}

/// A name that nobody has.
fn fresh() -> String {
    uuid::Uuid::from_u128(rand::random()).to_string()
}

/// A rule about what tests report.
pub fn rule(name: &str) -> Value {
    json!({"rule_name": name, "trigger_conditions": {"subject": name},
        "escalation_levels": [{"level": 1, "actions": ["notify_user"]}]})
}

/// An on-call schedule of one user.
pub fn schedule(name: &str) -> Value {
    let users = ["0190a000-0000-7000-8000-0000000000c4"];
    json!({"name": name, "time_zone": "UTC", "layers": [{"users": users, "starts_at": "2026-01-05T09:00"}]})
}

/// Somebody who stands in.
pub fn stand_in() -> Value {
    json!({"on_call_user_id": "0190a000-0000-7000-8000-0000000000c5", "starts_at": "2026-01-05T09:00:00Z",
        "ends_at": "2026-01-06T09:00:00Z"})
}

/// A silence that is over long since.
pub fn silence(name: &str) -> Value {
    json!({"name": name, "starts_at": "2026-01-05T09:00:00Z", "ends_at": "2026-01-05T10:00:00Z"})
}

/// What somebody is told.
fn note() -> Value {
    json!({"type": "info", "title": "private", "message": "private"})
}

/// Somebody for the directory.
pub fn user(name: &str) -> Value {
    json!({"email": format!("{name}@example.com"), "name": name, "role": "admin"})
}

/// A way to reach somebody, at which nobody listens.
pub fn contact(name: &str) -> Value {
    json!({"kind": "webhook", "address": format!("http://127.0.0.1:9/{name}")})
}

pub const CASES: &[(&str, &str, Case)] = &[
    ("POST", "/hooks/{webhook_id}/{secret}", Case::Open),
    ("POST", "/hooks/{webhook_id}", Case::Open),
    ("POST", "/api/v1/flows/{flow}/trigger", Case::Act("operator", "/api/v1/flows", |_| json!({}))),
    (
        "POST",
        "/functions/v1/orchestrator-engine",
        Case::Name(
            "operator",
            StatusCode::NOT_FOUND,
            |seeds| json!({"trigger_type": "manual", "flow_id": seeds.flow_id}),
        ),
    ),
    (
        "POST",
        "/functions/v1/execute-action",
        Case::Name("operator", StatusCode::NOT_FOUND, |seeds| json!({"execution_queue_id": seeds.execution_id})),
    ),
    (
        "POST",
        "/api/v1/flows/{flow}/trigger/bulk",
        Case::Act("operator", "/api/v1/flows", |_| json!({"triggers": [{}]})),
    ),
    ("GET", "/api/v1/runs", Case::List),
    (
        "POST",
        "/api/v1/runs/bulk/{verb}",
        Case::Name("operator", StatusCode::OK, |_| json!({"filter": {"run_status": "failed"}})),
    ),
    (
        "POST",
        "/api/v1/runs/bulk/replay",
        Case::Name("viewer", StatusCode::OK, |_| json!({"filter": {"run_status": "failed"}, "version": 1})),
    ),
    ("GET", "/api/v1/bulk", Case::List),
    ("POST", "/api/v1/bulk", Case::Make("operator", |_| json!({"verb": "cancel", "filter": {"run_status": "failed"}}))),
    ("GET", "/api/v1/bulk/{id}", Case::Row("/api/v1/bulk")),
    ("POST", "/api/v1/bulk/{id}/pause", Case::Act("operator", "/api/v1/bulk", nothing)),
    ("POST", "/api/v1/bulk/{id}/resume", Case::Act("operator", "/api/v1/bulk", nothing)),
    ("POST", "/api/v1/bulk/{id}/cancel", Case::Act("operator", "/api/v1/bulk", nothing)),
    ("POST", "/api/v1/runs/{id}/cancel", Case::Act("operator", "/api/v1/runs", nothing)),
    ("POST", "/api/v1/runs/{id}/pause", Case::Act("operator", "/api/v1/runs", nothing)),
    ("POST", "/api/v1/runs/{id}/resume", Case::Act("operator", "/api/v1/runs", nothing)),
    ("POST", "/api/v1/runs/{id}/retry", Case::Act("operator", "/api/v1/runs", nothing)),
    ("POST", "/api/v1/runs/{id}/approve", Case::Act("operator", "/api/v1/runs", nothing)),
    ("POST", "/api/v1/runs/{id}/reject", Case::Act("operator", "/api/v1/runs", nothing)),
    ("POST", "/api/v1/runs/{id}/replay", Case::Act("viewer", "/api/v1/runs", |_| json!({"version": 1}))),
    ("POST", "/api/v1/runs/{id}/rerun", Case::Act("operator", "/api/v1/runs", |_| json!({"from_step": "a"}))),
    ("POST", "/api/v1/runs/{id}/restart", Case::Act("operator", "/api/v1/runs", nothing)),
    ("POST", "/api/v1/runs/{id}/signal/{name}", Case::Act("operator", "/api/v1/runs", nothing)),
    ("GET", "/api/v1/runs/{id}/undo-plan", Case::Row("/api/v1/runs")),
    ("POST", "/api/v1/runs/{id}/undo", Case::Act("operator", "/api/v1/runs", |_| json!({"way": "retry"}))),
    ("GET", "/api/v1/runs/{id}/why", Case::Row("/api/v1/runs")),
    ("GET", "/api/v1/runs/{id}/phases", Case::Row("/api/v1/runs")),
    ("GET", "/api/v1/runs/{id}/timeline", Case::Row("/api/v1/runs")),
    ("GET", "/api/v1/runs/{id}", Case::Row("/api/v1/runs")),
    ("GET", "/api/v1/executions", Case::List),
    (
        "POST",
        "/api/v1/executions",
        Case::Make("operator", |_| json!({"action_type": "transform", "action_payload": {"value": 1}})),
    ),
    ("GET", "/api/v1/executions/pending-approvals", Case::Sparse),
    ("GET", "/api/v1/executions/{id}", Case::Row("/api/v1/executions")),
    ("POST", "/api/v1/executions/{id}/approve", Case::Act("operator", "/api/v1/executions", nothing)),
    ("POST", "/api/v1/executions/{id}/reject", Case::Act("operator", "/api/v1/executions", nothing)),
    ("POST", "/api/v1/executions/{id}/cancel", Case::Act("operator", "/api/v1/executions", nothing)),
    ("POST", "/api/v1/executions/{id}/retry", Case::Act("operator", "/api/v1/executions", nothing)),
    ("GET", "/api/v1/execution-log", Case::List),
    ("GET", "/api/v1/execution-log/statistics", Case::Figures("total_executions")),
    ("GET", "/api/v1/execution-log/timeline", Case::Sparse),
    ("GET", "/api/v1/execution-log/slowest", Case::Sparse),
    ("GET", "/api/v1/execution-log/failed", Case::Sparse),
    (
        "POST",
        "/api/v1/execution-log/{id}/review",
        Case::Act("operator", "/api/v1/execution-log", |_| json!({"verdict": "ok"})),
    ),
    ("GET", "/api/v1/execution-log/{id}", Case::Row("/api/v1/execution-log")),
    ("GET", "/api/v1/flows", Case::List),
    ("POST", "/api/v1/flows", Case::Make("admin", |seeds| seeds.flow.clone())),
    ("GET", "/api/v1/flows/{id}", Case::Row("/api/v1/flows")),
    ("PATCH", "/api/v1/flows/{id}", Case::Act("admin", "/api/v1/flows", |_| json!({"is_active": false}))),
    ("DELETE", "/api/v1/flows/{id}", Case::Act("admin", "/api/v1/flows", nothing)),
    // It looks at what it is sent, and at nothing else.
    ("POST", "/api/v1/flows/validate", Case::Open),
    ("POST", "/api/v1/flows/{id}/pause", Case::Act("admin", "/api/v1/flows", nothing)),
    ("POST", "/api/v1/flows/{id}/resume", Case::Act("admin", "/api/v1/flows", nothing)),
    ("POST", "/api/v1/flows/{id}/clone", Case::Act("admin", "/api/v1/flows", |_| json!({"flow_name": "copy"}))),
    ("GET", "/api/v1/flows/{id}/versions", Case::Part("/api/v1/flows")),
    ("GET", "/api/v1/flows/{id}/versions/{version}", Case::Part("/api/v1/flows")),
    ("GET", "/api/v1/flows/{id}/diff", Case::Part("/api/v1/flows")),
    ("POST", "/api/v1/flows/{id}/rollback", Case::Act("admin", "/api/v1/flows", |_| json!({"version": 1}))),
    ("GET", "/api/v1/flows/{id}/rollout", Case::Part("/api/v1/flows")),
    (
        "POST",
        "/api/v1/flows/{id}/rollout",
        Case::Act("admin", "/api/v1/flows", |_| json!({"version": 1, "percent": 10})),
    ),
    ("POST", "/api/v1/flows/{id}/rollout/promote", Case::Act("admin", "/api/v1/flows", nothing)),
    ("POST", "/api/v1/flows/{id}/rollout/return", Case::Act("admin", "/api/v1/flows", nothing)),
    (
        "POST",
        "/api/v1/flows/{id}/instantiate",
        Case::Act("admin", "/api/v1/flows", |_| json!({"flow_name": "of a template"})),
    ),
    // They come with the program.
    ("GET", "/api/v1/templates", Case::Open),
    ("GET", "/api/v1/templates/{name}", Case::Open),
    (
        "POST",
        "/api/v1/templates/{name}/instantiate",
        Case::Name("admin", StatusCode::NOT_FOUND, |_| json!({"flow_name": "of the gallery"})),
    ),
    ("POST", "/api/v1/flows/{id}/dry-run", Case::Act("operator", "/api/v1/flows", nothing)),
    ("GET", "/api/v1/flows/{id}/export", Case::Part("/api/v1/flows")),
    ("GET", "/api/v1/flows/{id}/form", Case::Part("/api/v1/flows")),
    // It looks at what it is sent, and at nothing else.
    ("POST", "/api/v1/schedules/preview", Case::Open),
    ("GET", "/api/v1/flows/{id}/schedule", Case::Part("/api/v1/flows")),
    ("POST", "/api/v1/flows/{id}/schedule/pause", Case::Act("admin", "/api/v1/flows", nothing)),
    ("POST", "/api/v1/flows/{id}/schedule/resume", Case::Act("admin", "/api/v1/flows", nothing)),
    (
        "POST",
        "/api/v1/flows/{id}/schedule/backfill",
        Case::Act("operator", "/api/v1/flows", |_| json!({"from": "2026-01-01T00:00:00Z", "preview": true})),
    ),
    ("GET", "/api/v1/flow-templates", Case::Sparse),
    ("GET", "/api/v1/workflow-phase-logs", Case::Sparse),
    ("GET", "/api/v1/phases/analytics", Case::Sparse),
    ("GET", "/api/v1/phases/sla-violations", Case::Sparse),
    ("GET", "/api/v1/dead-letters", Case::List),
    ("GET", "/api/v1/dead-letters/{id}", Case::Row("/api/v1/dead-letters")),
    ("POST", "/api/v1/dead-letters/{id}/retry", Case::Act("operator", "/api/v1/dead-letters", nothing)),
    ("POST", "/api/v1/dead-letters/{id}/discard", Case::Act("operator", "/api/v1/dead-letters", nothing)),
    ("POST", "/functions/v1/core_notifications_gateway", Case::Make("operator", |_| note())),
    ("GET", "/api/v1/notifications", Case::List),
    ("POST", "/api/v1/notifications", Case::Make("operator", |_| note())),
    ("DELETE", "/api/v1/notifications/{id}", Case::Act("viewer", "/api/v1/notifications", nothing)),
    (
        "PATCH",
        "/api/v1/notifications/{id}",
        Case::Act("viewer", "/api/v1/notifications", |_| json!({"status": "archived"})),
    ),
    ("GET", "/api/v1/notifications/unread-count", Case::Figures("unread_count")),
    ("POST", "/api/v1/notifications/read-all", Case::Make("viewer", nothing)),
    ("POST", "/api/v1/notifications/{id}/read", Case::Act("viewer", "/api/v1/notifications", nothing)),
    ("POST", "/api/v1/notifications/{id}/archive", Case::Act("viewer", "/api/v1/notifications", nothing)),
    ("GET", "/api/v1/webhooks", Case::List),
    ("GET", "/api/v1/webhooks/{id}", Case::Row("/api/v1/webhooks")),
    ("PATCH", "/api/v1/webhooks/{id}", Case::Act("admin", "/api/v1/webhooks", |_| json!({"is_active": false}))),
    ("DELETE", "/api/v1/webhooks/{id}", Case::Act("admin", "/api/v1/webhooks", nothing)),
    ("POST", "/api/v1/webhooks/{id}/rotate", Case::Act("admin", "/api/v1/webhooks", nothing)),
    ("POST", "/api/v1/webhooks/{id}/test", Case::Act("operator", "/api/v1/webhooks", nothing)),
    ("GET", "/api/v1/webhooks/{id}/deliveries", Case::Part("/api/v1/webhooks")),
    ("GET", "/api/v1/webhooks/{id}/deliveries/{delivery}", Case::Part("/api/v1/webhooks")),
    ("GET", "/api/v1/webhooks/{id}/deliveries/{delivery}/why-not", Case::Part("/api/v1/webhooks")),
    // It never ends: its own tests hold its walls.
    ("GET", "/api/v1/stream", Case::Open),
    (
        "POST",
        "/api/v1/webhooks",
        Case::Name(
            "admin",
            StatusCode::UNPROCESSABLE_ENTITY,
            |seeds| json!({"name": "reach", "flow_id": seeds.flow_id}),
        ),
    ),
    // It makes runs of the caller's own flows.
    (
        "POST",
        "/api/v1/events",
        Case::Make("operator", |_| json!({"specversion": "1.0", "id": "1", "source": "/seed", "type": "t"})),
    ),
    ("GET", "/api/v1/decisions", Case::List),
    ("POST", "/api/v1/decisions", Case::Make("operator", |_| json!({"source": "seed", "title": "seed"}))),
    ("GET", "/api/v1/decisions/{id}", Case::Row("/api/v1/decisions")),
    ("POST", "/api/v1/decisions/{id}/approve", Case::Act("operator", "/api/v1/decisions", nothing)),
    ("POST", "/api/v1/decisions/{id}/reject", Case::Act("operator", "/api/v1/decisions", nothing)),
    ("GET", "/api/v1/recommendations", Case::List),
    (
        "POST",
        "/api/v1/recommendations",
        Case::Make(
            "operator",
            |_| json!({"title": "seed", "action_type": "transform", "action_payload": {"value": 1}}),
        ),
    ),
    ("GET", "/api/v1/recommendations/{id}", Case::Row("/api/v1/recommendations")),
    ("POST", "/api/v1/recommendations/{id}/accept", Case::Act("operator", "/api/v1/recommendations", nothing)),
    ("POST", "/api/v1/recommendations/{id}/dismiss", Case::Act("operator", "/api/v1/recommendations", nothing)),
    ("GET", "/api/v1/metrics-data", Case::List),
    (
        "POST",
        "/api/v1/metrics-data",
        Case::Make("operator", |_| json!({"metrics": [{"metric_name": "seed", "value": 1}]})),
    ),
    ("GET", "/api/v1/metrics-data/{id}", Case::Row("/api/v1/metrics-data")),
    ("GET", "/api/v1/memory", Case::List),
    ("GET", "/api/v1/memory/{id}", Case::Row("/api/v1/memory")),
    ("GET", "/api/v1/integrations", Case::List),
    // A stranger has no secret of the owner's, and so cannot name it.
    (
        "POST",
        "/api/v1/integrations",
        Case::Make("admin", |_| json!({"name": "own", "kind": "http", "endpoint": "https://example.com"})),
    ),
    // They come with the program.
    ("GET", "/api/v1/integrations/kinds", Case::Open),
    ("GET", "/api/v1/integrations/templates", Case::Open),
    ("POST", "/api/v1/integrations/{name}/test", Case::Act("operator", "/api/v1/integrations", nothing)),
    ("GET", "/api/v1/integrations/{name}", Case::Row("/api/v1/integrations")),
    (
        "PATCH",
        "/api/v1/integrations/{name}",
        Case::Act("admin", "/api/v1/integrations", |_| json!({"is_active": false})),
    ),
    ("DELETE", "/api/v1/integrations/{name}", Case::Act("admin", "/api/v1/integrations", |_| Value::Null)),
    ("GET", "/api/v1/integrations/{name}/breaker", Case::Row("/api/v1/integrations")),
    (
        "POST",
        "/api/v1/integrations/{name}/breaker",
        Case::Act("operator", "/api/v1/integrations", |_| json!({"state": "open"})),
    ),
    ("GET", "/api/v1/oauth/callback", Case::Open),
    ("POST", "/api/v1/integrations/{name}/consent", Case::Act("admin", "/api/v1/integrations", nothing)),
    ("GET", "/api/v1/syncs", Case::Sparse),
    ("DELETE", "/api/v1/syncs/{name}", Case::Name("operator", StatusCode::NOT_FOUND, nothing)),
    ("POST", "/api/v1/secrets/rotate-key", Case::Platform),
    ("GET", "/api/v1/secrets", Case::List),
    ("POST", "/api/v1/secrets", Case::Make("admin", |_| json!({"name": "OWN", "value": "of a stranger"}))),
    ("GET", "/api/v1/secrets/{name}", Case::Row("/api/v1/secrets")),
    ("PATCH", "/api/v1/secrets/{name}", Case::Act("admin", "/api/v1/secrets", |_| json!({"value": "changed by it"}))),
    ("DELETE", "/api/v1/secrets/{name}", Case::Act("admin", "/api/v1/secrets", |_| Value::Null)),
    (
        "POST",
        "/functions/v1/escalation-handler",
        Case::Name(
            "operator",
            StatusCode::NOT_FOUND,
            |seeds| json!({"execution_queue_id": seeds.execution_id, "escalation_reason": "execution_failed"}),
        ),
    ),
    ("GET", "/api/v1/escalation-rules", Case::List),
    ("POST", "/api/v1/escalation-rules", Case::Make("admin", |_| rule(&fresh()))),
    (
        "POST",
        "/api/v1/escalation-rules/test",
        Case::Name("viewer", StatusCode::NOT_FOUND, |seeds| json!({"execution_id": seeds.execution_id})),
    ),
    ("GET", "/api/v1/escalation-rules/{id}", Case::Row("/api/v1/escalation-rules")),
    (
        "PATCH",
        "/api/v1/escalation-rules/{id}",
        Case::Act("admin", "/api/v1/escalation-rules", |_| json!({"priority": 9})),
    ),
    ("DELETE", "/api/v1/escalation-rules/{id}", Case::Act("admin", "/api/v1/escalation-rules", nothing)),
    ("POST", "/api/v1/escalation-rules/{id}/heartbeat", Case::Act("operator", "/api/v1/escalation-rules", nothing)),
    ("GET", "/api/v1/escalation-events", Case::List),
    ("POST", "/api/v1/escalation-events", Case::Make("operator", |_| json!({"context": {"subject": "private"}}))),
    ("GET", "/api/v1/escalation-events/active", Case::List),
    // Figures of nothing are no rows.
    ("GET", "/api/v1/escalation-events/analytics", Case::Sparse),
    ("GET", "/api/v1/escalation-events/{id}", Case::Row("/api/v1/escalation-events")),
    (
        "PATCH",
        "/api/v1/escalation-events/{id}",
        Case::Act("operator", "/api/v1/escalation-events", |_| json!({"urgency": "low"})),
    ),
    ("POST", "/api/v1/escalation-events/{id}/acknowledge", Case::Act("operator", "/api/v1/escalation-events", nothing)),
    ("POST", "/api/v1/escalation-events/{id}/resolve", Case::Act("operator", "/api/v1/escalation-events", nothing)),
    ("GET", "/api/v1/escalation-events/{id}/why", Case::Part("/api/v1/escalation-events")),
    ("GET", "/api/v1/escalation-outbox", Case::List),
    ("GET", "/api/v1/on-call", Case::List),
    ("POST", "/api/v1/on-call", Case::Make("admin", |_| schedule(&fresh()))),
    ("GET", "/api/v1/on-call/overrides", Case::List),
    ("DELETE", "/api/v1/on-call/overrides/{id}", Case::Act("operator", "/api/v1/on-call/overrides", nothing)),
    ("GET", "/api/v1/on-call/{id}", Case::Row("/api/v1/on-call")),
    ("PATCH", "/api/v1/on-call/{id}", Case::Act("admin", "/api/v1/on-call", |_| schedule("mine"))),
    ("DELETE", "/api/v1/on-call/{id}", Case::Act("admin", "/api/v1/on-call", nothing)),
    ("GET", "/api/v1/on-call/{id}/now", Case::Part("/api/v1/on-call")),
    ("POST", "/api/v1/on-call/{id}/overrides", Case::Act("operator", "/api/v1/on-call", |_| stand_in())),
    ("GET", "/api/v1/silences", Case::List),
    ("POST", "/api/v1/silences", Case::Make("operator", |_| silence("private"))),
    ("GET", "/api/v1/silences/{id}", Case::Row("/api/v1/silences")),
    (
        "PATCH",
        "/api/v1/silences/{id}",
        Case::Act("operator", "/api/v1/silences", |_| json!({"reason": "of a stranger"})),
    ),
    ("DELETE", "/api/v1/silences/{id}", Case::Act("operator", "/api/v1/silences", nothing)),
    // Slack's signature says whose it is.
    ("POST", "/hooks/slack/{tenant}/{integration}", Case::Open),
    // It says who asks, and nothing else.
    ("GET", "/api/v1/me", Case::Open),
    ("GET", "/api/v1/organizations", Case::List),
    // A user without organization has none to name.
    (
        "POST",
        "/api/v1/organizations",
        Case::Name("admin", StatusCode::UNPROCESSABLE_ENTITY, |_| json!({"name": "of nobody"})),
    ),
    ("GET", "/api/v1/organizations/{id}", Case::Row("/api/v1/organizations")),
    ("PATCH", "/api/v1/organizations/{id}", Case::Act("admin", "/api/v1/organizations", |_| json!({"name": "mine"}))),
    ("GET", "/api/v1/users", Case::List),
    ("POST", "/api/v1/users", Case::Make("admin", |_| user(&fresh()))),
    ("GET", "/api/v1/users/{id}", Case::Row("/api/v1/users")),
    ("PATCH", "/api/v1/users/{id}", Case::Act("admin", "/api/v1/users", |_| json!({"role": "viewer"}))),
    ("DELETE", "/api/v1/users/{id}", Case::Act("admin", "/api/v1/users", nothing)),
    ("GET", "/api/v1/contact-methods", Case::List),
    ("POST", "/api/v1/contact-methods", Case::Make("viewer", |_| contact(&fresh()))),
    ("GET", "/api/v1/contact-methods/{id}", Case::Row("/api/v1/contact-methods")),
    ("DELETE", "/api/v1/contact-methods/{id}", Case::Act("viewer", "/api/v1/contact-methods", nothing)),
    (
        "POST",
        "/api/v1/contact-methods/{id}/verify",
        Case::Act("viewer", "/api/v1/contact-methods", |_| json!({"code": "00000000"})),
    ),
    ("POST", "/api/v1/contact-methods/{id}/send-code", Case::Act("viewer", "/api/v1/contact-methods", nothing)),
    ("GET", "/api/v1/preferences", Case::List),
    ("PATCH", "/api/v1/preferences", Case::Make("viewer", |_| json!({"time_zone": "UTC"}))),
    // Its token says whose address it proves.
    ("GET", "/api/v1/verify/{token}", Case::Open),
    ("POST", "/api/v1/verify/{token}", Case::Open),
    // Its token says who may do what.
    ("GET", "/api/v1/ack/{token}", Case::Open),
    ("POST", "/api/v1/ack/{token}", Case::Open),
    ("GET", "/api/v1/tokens", Case::List),
    ("POST", "/api/v1/tokens", Case::Make("admin", |_| json!({"name": "seed", "roles": ["viewer"]}))),
    ("GET", "/api/v1/tokens/{id}", Case::Row("/api/v1/tokens")),
    ("PATCH", "/api/v1/tokens/{id}", Case::Act("admin", "/api/v1/tokens", |_| json!({"name": "mine"}))),
    ("DELETE", "/api/v1/tokens/{id}", Case::Act("admin", "/api/v1/tokens", |_| Value::Null)),
    ("GET", "/api/v1/audit-log", Case::List),
    ("GET", "/api/v1/audit-log/{id}", Case::Row("/api/v1/audit-log")),
    ("GET", "/api/v1/nodes", Case::Platform),
    ("GET", "/api/v1/partitions", Case::Platform),
    ("GET", "/api/v1/actors", Case::Platform),
    ("POST", "/api/v1/actors/{path:.+}/restart", Case::Platform),
    ("GET", "/healthz", Case::Open),
    ("GET", "/readyz", Case::Open),
    ("GET", "/metrics", Case::Open),
    ("GET", "/problems/{slug}", Case::Open),
    ("GET", "/api/v1", Case::Open),
    ("GET", "/api/openapi.json", Case::Open),
    ("GET", "/api/v1/schemas/flow.json", Case::Open),
    ("GET", "/api/docs", Case::Open),
    ("GET", "/", Case::Open),
];

/// A route of the server with its case.
#[derive(Debug)]
pub struct Route {
    pub method: Method,
    pub path: String,
    pub case: Case,
}

impl Route {
    /// Every route. Panics where one has no case, or a case no route.
    pub async fn all(server: &Server) -> Vec<Self> {
        let (_, index) = Caller::platform().send(server, Method::GET, "/api/v1", None).await;
        let lines = index["endpoints"].as_array().expect("a list").iter().filter_map(Value::as_str);
        let listed = lines.flat_map(|line| {
            let (methods, path) = line.split_once(" /").expect("methods and a path");
            let methods = methods.split(", ").filter(|method| *method != "HEAD");
            methods.map(move |method| (method.to_owned(), format!("/{path}"))).collect::<Vec<_>>()
        });
        let listed: Vec<(String, String)> = listed.collect();
        let case_of = |method: &str, path: &str| CASES.iter().find(|case| (case.0, case.1) == (method, path));
        let without: Vec<&(String, String)> =
            listed.iter().filter(|(method, path)| case_of(method, path).is_none()).collect();
        assert!(without.is_empty(), "say in tests/it/access/routes.rs how these keep tenants apart: {without:?}");
        let gone: Vec<_> = CASES
            .iter()
            .filter(|case| !listed.iter().any(|(m, p)| (m.as_str(), p.as_str()) == (case.0, case.1)))
            .collect();
        assert!(gone.is_empty(), "these routes are gone: {gone:?}");
        let route = |(method, path): (String, String)| Self {
            case: case_of(&method, &path).expect("just looked for").2,
            method: method.parse().expect("a method"),
            path,
        };
        listed.into_iter().map(route).collect()
    }

    /// The path with something in the place of its parameter, if it has one.
    pub fn filled(&self, value: &str) -> String {
        let Some((before, rest)) = self.path.split_once('{') else { return self.path.clone() };
        let (_, after) = rest.split_once('}').expect("a parameter ends");
        format!("{before}{value}{after}")
    }
}
