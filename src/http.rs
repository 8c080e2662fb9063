//! The HTTP surface: JSON over actix-web, one endpoint per file.
//!
//! ```text
//! request ── envelope (request id, headers, problems, counts) ── routes ── handler ── Engine | Views
//! ```
//! Handlers translate, they never decide: a handler proves who calls, reads one input struct, asks the engine or the
//! views once, and writes one view struct. What may be done is decided by the engine and, between tenants, by the
//! [`Scope`](core314_actors::ports::Scope) that every read takes.
//!
//! - Nothing a client sends is answered with 5xx; what the runtime cannot do now is 503 with `Retry-After`.
//! - A trigger is answered once its run is durable, never before.
//! - An endpoint is one new file and one line in [`routes`].

mod actors;
mod ask;
mod auth;
mod body;
mod bulk;
mod client;
mod connection;
mod cors;
mod dead_letters;
mod envelope;
mod escalations;
mod execution_log;
mod executions;
mod flows;
mod functions;
mod gallery;
mod hooks;
mod idempotency;
mod input;
mod integrations;
mod nodes;
mod notifications;
mod openapi;
mod operations;
mod page;
mod pages;
mod people;
mod phases;
mod prefer;
mod problem;
mod query;
mod rate_limit;
mod resources;
mod route_table;
mod runs;
mod schedules;
mod secrets;
mod settings;
mod signals;
mod slack;
mod stream;
mod syncs;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;
mod waiting;
mod webhooks;

use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer, web};
use core314_actors::engine::Engine;
use core314_actors::ports::notifications::Notifications;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::sync::SyncPositions;
use core314_actors::ports::views::Views;
use tokio::sync::Semaphore;

use crate::vault::Vault;
pub use auth::{KeySource, KeySourceError};
use auth::{Keys, note_local_socket};
use envelope::envelope;
use operations::HttpMetrics;
use rate_limit::RateLimit;
pub use rate_limit::RateLimitSettings;
use route_table::RouteTable;
pub use settings::{AuthSettings, HttpSettings, KeyDigest, StreamSettings};
pub use tls::{Certificate, Reloaded};
pub use waiting::{Waiting, serve_waiting};

/// What the server answers from.
pub struct Api {
    pub engine: Engine,
    pub vault: Vault,
    pub views: Arc<dyn Views>,
    pub notifications: Arc<dyn Notifications>,
    pub syncs: Arc<dyn SyncPositions>,
    pub settings: HttpSettings,
    pub auth: AuthSettings,
    /// Present where this server speaks TLS.
    pub certificate: Option<Arc<Certificate>>,
    /// Spans that no collector of traces got; present where there is one.
    pub dropped_spans: Option<Arc<AtomicU64>>,
}

/// What handlers share.
struct State {
    engine: Engine,
    vault: Vault,
    views: Arc<dyn Views>,
    notifications: Arc<dyn Notifications>,
    syncs: Arc<dyn SyncPositions>,
    settings: HttpSettings,
    keys: Keys,
    limit: Arc<RateLimit>,
    /// A permit for each request that may be under way.
    in_flight: Semaphore,
    /// How this machine reaches the server by the network: who comes by the socket does not say.
    own_url: String,
}

impl State {
    fn new(
        engine: Engine,
        vault: Vault,
        views: Arc<dyn Views>,
        notifications: Arc<dyn Notifications>,
        syncs: Arc<dyn SyncPositions>,
        settings: HttpSettings,
        auth: &AuthSettings,
    ) -> Result<Self, KeySourceError> {
        let limit = Arc::new(RateLimit::new(settings.rate_limit));
        let keys = Keys::new(auth, engine.clone(), limit.clone())?;
        Ok(Self {
            engine,
            vault,
            views,
            notifications,
            syncs,
            keys,
            limit,
            in_flight: Semaphore::new(settings.max_in_flight),
            settings,
            own_url: String::new(),
        })
    }
}

/// The state as handlers take it.
type Shared = web::Data<State>;

/// Every endpoint. The ones that are called most stand first, because routes are tried in order.
fn routes() -> RouteTable {
    let table = signal_routes(run_routes(RouteTable::default()));
    let table = schedule_routes(connection_routes(definition_routes(table)));
    operations_routes(people_routes(escalation_routes(table)))
}

/// Triggers, runs, executions and their log.
fn run_routes(table: RouteTable) -> RouteTable {
    table
        .post("/hooks/{webhook_id}/{secret}", hooks::by_secret::handle, hooks::by_secret::doc())
        .post("/hooks/{webhook_id}", hooks::signed::handle, hooks::signed::doc())
        .post("/api/v1/flows/{flow}/trigger", flows::trigger::handle, flows::trigger::doc())
        .post(
            "/functions/v1/orchestrator-engine",
            functions::orchestrator_engine::handle,
            functions::orchestrator_engine::doc(),
        )
        .post("/functions/v1/execute-action", functions::execute_action::handle, functions::execute_action::doc())
        .post("/api/v1/flows/{flow}/trigger/bulk", flows::trigger::bulk, flows::trigger::bulk_doc())
        .list("/api/v1/runs", Resource::Runs, "Lists runs.")
        // Before the verbs of one run, for which its path would be taken.
        .post("/api/v1/runs/bulk/replay", runs::replay::many, runs::replay::many_doc())
        .post("/api/v1/runs/bulk/{verb}", runs::bulk::handle, runs::bulk::doc())
        .show("/api/v1/runs/{id}", Resource::Runs, "Shows a run.")
        .post("/api/v1/runs/{id}/cancel", runs::control::cancel, runs::control::cancel_doc())
        .post("/api/v1/runs/{id}/pause", runs::control::pause, runs::control::pause_doc())
        .post("/api/v1/runs/{id}/resume", runs::control::resume, runs::control::resume_doc())
        .post("/api/v1/runs/{id}/retry", runs::control::retry, runs::control::retry_doc())
        .post("/api/v1/runs/{id}/approve", runs::control::approve, runs::control::approve_doc())
        .post("/api/v1/runs/{id}/reject", runs::control::reject, runs::control::reject_doc())
        .post("/api/v1/runs/{id}/replay", runs::replay::handle, runs::replay::doc())
        .post("/api/v1/runs/{id}/rerun", runs::rerun::handle, runs::rerun::doc())
        .post("/api/v1/runs/{id}/restart", runs::restart::handle, runs::restart::doc())
        .post("/api/v1/runs/{id}/signal/{name}", runs::signal::handle, runs::signal::doc())
        .get("/api/v1/runs/{id}/undo-plan", runs::rollback::plan, runs::rollback::plan_doc())
        .post("/api/v1/runs/{id}/undo", runs::rollback::settle, runs::rollback::settle_doc())
        .get("/api/v1/runs/{id}/why", runs::why::handle, runs::why::doc())
        .get("/api/v1/runs/{id}/phases", runs::phases::handle, runs::phases::doc())
        .get("/api/v1/runs/{id}/timeline", runs::timeline::handle, runs::timeline::doc())
        .get("/api/v1/bulk", bulk::list, bulk::list_doc())
        .post("/api/v1/bulk", bulk::create, bulk::create_doc())
        .get("/api/v1/bulk/{id}", bulk::show, bulk::show_doc())
        .post("/api/v1/bulk/{id}/pause", bulk::pause, bulk::pause_doc())
        .post("/api/v1/bulk/{id}/resume", bulk::resume, bulk::resume_doc())
        .post("/api/v1/bulk/{id}/cancel", bulk::cancel, bulk::cancel_doc())
        .list("/api/v1/executions", Resource::Executions, "Lists executions: the steps of runs.")
        .post("/api/v1/executions", executions::create::handle, executions::create::doc())
        .get(
            "/api/v1/executions/pending-approvals",
            executions::pending_approvals::handle,
            executions::pending_approvals::doc(),
        )
        .get("/api/v1/executions/{id}", executions::show::handle, executions::show::doc())
        .post("/api/v1/executions/{id}/approve", executions::control::approve, executions::control::approve_doc())
        .post("/api/v1/executions/{id}/reject", executions::control::reject, executions::control::reject_doc())
        .post("/api/v1/executions/{id}/cancel", executions::control::cancel, executions::control::cancel_doc())
        .post("/api/v1/executions/{id}/retry", executions::control::retry, executions::control::retry_doc())
        .list("/api/v1/execution-log", Resource::Log, "Lists attempts: the immutable log.")
        .get("/api/v1/execution-log/statistics", execution_log::statistics::handle, execution_log::statistics::doc())
        .get("/api/v1/execution-log/timeline", execution_log::timeline::handle, execution_log::timeline::doc())
        .get("/api/v1/execution-log/slowest", execution_log::slowest::handle, execution_log::slowest::doc())
        .get("/api/v1/execution-log/failed", execution_log::failed::handle, execution_log::failed::doc())
        .show("/api/v1/execution-log/{id}", Resource::Log, "Shows an attempt.")
        .post("/api/v1/execution-log/{id}/review", execution_log::review::handle, execution_log::review::doc())
}

/// What engines and people outside tell: events, decisions, recommendations, metrics.
fn signal_routes(table: RouteTable) -> RouteTable {
    use signals::{decisions, events, metrics_data, recommendations};
    table
        .post("/api/v1/events", events::handle, events::doc())
        .list("/api/v1/decisions", Resource::Decisions, "Lists decisions of engines outside.")
        .post("/api/v1/decisions", decisions::create, decisions::create_doc())
        .show("/api/v1/decisions/{id}", Resource::Decisions, "Shows a decision.")
        .post("/api/v1/decisions/{id}/approve", decisions::approve, decisions::approve_doc())
        .post("/api/v1/decisions/{id}/reject", decisions::reject, decisions::reject_doc())
        .list("/api/v1/recommendations", Resource::Recommendations, "Lists recommended actions.")
        .post("/api/v1/recommendations", recommendations::create, recommendations::create_doc())
        .show("/api/v1/recommendations/{id}", Resource::Recommendations, "Shows a recommended action.")
        .post("/api/v1/recommendations/{id}/accept", recommendations::accept, recommendations::accept_doc())
        .post("/api/v1/recommendations/{id}/dismiss", recommendations::dismiss, recommendations::dismiss_doc())
        .list("/api/v1/metrics-data", Resource::Metrics, "Lists values of metrics.")
        .post("/api/v1/metrics-data", metrics_data::handle, metrics_data::doc())
        .show("/api/v1/metrics-data/{id}", Resource::Metrics, "Shows a value of a metric.")
        .list("/api/v1/memory", Resource::Memory, "Lists what was tried on what, and how it ended.")
        .show("/api/v1/memory/{id}", Resource::Memory, "Shows what was tried, and how it ended.")
}

/// What people set up: flows, webhooks, keys.
fn definition_routes(table: RouteTable) -> RouteTable {
    table
        .list("/api/v1/flows", Resource::Flows, "Lists flows.")
        .post("/api/v1/flows", flows::create::handle, flows::create::doc())
        .post("/api/v1/flows/validate", flows::validate::handle, flows::validate::doc())
        .show("/api/v1/flows/{id}", Resource::Flows, "Shows a flow with its statistics.")
        .patch("/api/v1/flows/{id}", flows::patch::handle, flows::patch::doc())
        .delete("/api/v1/flows/{id}", flows::delete::handle, flows::delete::doc())
        .post("/api/v1/flows/{id}/pause", flows::activate::pause, flows::activate::pause_doc())
        .post("/api/v1/flows/{id}/resume", flows::activate::resume, flows::activate::resume_doc())
        .post("/api/v1/flows/{id}/clone", flows::clone::handle, flows::clone::doc())
        .get("/api/v1/flows/{id}/versions", flows::versions::handle, flows::versions::doc())
        .get("/api/v1/flows/{id}/versions/{version}", flows::show_version::handle, flows::show_version::doc())
        .get("/api/v1/flows/{id}/diff", flows::diff::handle, flows::diff::doc())
        .post("/api/v1/flows/{id}/rollback", flows::rollback::handle, flows::rollback::doc())
        .get("/api/v1/flows/{id}/rollout", flows::rollout::show, flows::rollout::show_doc())
        .post("/api/v1/flows/{id}/rollout", flows::rollout::begin, flows::rollout::begin_doc())
        .post("/api/v1/flows/{id}/rollout/promote", flows::rollout::promote, flows::rollout::promote_doc())
        .post("/api/v1/flows/{id}/rollout/return", flows::rollout::return_to_base, flows::rollout::return_doc())
        .post("/api/v1/flows/{id}/instantiate", flows::instantiate::handle, flows::instantiate::doc())
        .post("/api/v1/flows/{id}/dry-run", flows::dry_run::handle, flows::dry_run::doc())
        .get("/api/v1/flows/{id}/export", flows::export::handle, flows::export::doc())
        .get("/api/v1/flows/{id}/form", flows::form::handle, flows::form::doc())
        .get("/api/v1/flow-templates", flows::templates::handle, flows::templates::doc())
        .get("/api/v1/templates", gallery::list, gallery::list_doc())
        .get("/api/v1/templates/{name}", gallery::show, gallery::show_doc())
        .post("/api/v1/templates/{name}/instantiate", gallery::make, gallery::instantiate_doc())
        .list("/api/v1/workflow-phase-logs", Resource::Phases, "Lists transitions of phases.")
        .get("/api/v1/phases/analytics", phases::analytics::handle, phases::analytics::doc())
        .get("/api/v1/phases/sla-violations", phases::sla_violations::handle, phases::sla_violations::doc())
        .list("/api/v1/dead-letters", Resource::DeadLetters, "Lists work that was set aside.")
        .show("/api/v1/dead-letters/{id}", Resource::DeadLetters, "Shows work that was set aside.")
        .post("/api/v1/dead-letters/{id}/retry", dead_letters::settle::retry, dead_letters::settle::retry_doc())
        .post("/api/v1/dead-letters/{id}/discard", dead_letters::settle::discard, dead_letters::settle::discard_doc())
        .list("/api/v1/webhooks", Resource::Webhooks, "Lists webhooks.")
        .post("/api/v1/webhooks", webhooks::create::handle, webhooks::create::doc())
        .show("/api/v1/webhooks/{id}", Resource::Webhooks, "Shows a webhook.")
        .patch("/api/v1/webhooks/{id}", webhooks::patch::handle, webhooks::patch::doc())
        .delete("/api/v1/webhooks/{id}", webhooks::delete::handle, webhooks::delete::doc())
        .post("/api/v1/webhooks/{id}/rotate", webhooks::rotate::handle, webhooks::rotate::doc())
        .post("/api/v1/webhooks/{id}/test", webhooks::test::handle, webhooks::test::doc())
        .get("/api/v1/webhooks/{id}/deliveries", webhooks::deliveries::handle, webhooks::deliveries::doc())
        .get("/api/v1/webhooks/{id}/deliveries/{delivery}", webhooks::delivery::handle, webhooks::delivery::doc())
        .get("/api/v1/webhooks/{id}/deliveries/{delivery}/why-not", webhooks::why_not::handle, webhooks::why_not::doc())
        .list("/api/v1/tokens", Resource::Tokens, "Lists service keys.")
        .post("/api/v1/tokens", tokens::create::handle, tokens::create::doc())
        .show("/api/v1/tokens/{id}", Resource::Tokens, "Shows a service key.")
        .patch("/api/v1/tokens/{id}", tokens::patch::handle, tokens::patch::doc())
        .delete("/api/v1/tokens/{id}", tokens::revoke::handle, tokens::revoke::doc())
}

/// What actions connect to, and what opens it.
fn connection_routes(table: RouteTable) -> RouteTable {
    table
        .list("/api/v1/integrations", Resource::Integrations, "Lists integrations.")
        .post("/api/v1/integrations", integrations::create::handle, integrations::create::doc())
        .get("/api/v1/integrations/kinds", integrations::kinds::handle, integrations::kinds::doc())
        .get("/api/v1/integrations/templates", integrations::templates::handle, integrations::templates::doc())
        .get("/api/v1/integrations/{name}", integrations::show::handle, integrations::show::doc())
        .patch("/api/v1/integrations/{name}", integrations::patch::handle, integrations::patch::doc())
        .delete("/api/v1/integrations/{name}", integrations::delete::handle, integrations::delete::doc())
        .get(integrations::consent::CALLBACK, integrations::callback::handle, integrations::callback::doc())
        .post("/api/v1/integrations/{name}/consent", integrations::consent::handle, integrations::consent::doc())
        .post("/api/v1/integrations/{name}/test", integrations::test::handle, integrations::test::doc())
        .get("/api/v1/integrations/{name}/breaker", integrations::breaker::show, integrations::breaker::show_doc())
        .post("/api/v1/integrations/{name}/breaker", integrations::breaker::hold, integrations::breaker::hold_doc())
        .get("/api/v1/syncs", syncs::list::handle, syncs::list::doc())
        .delete("/api/v1/syncs/{name}", syncs::reset::handle, syncs::reset::doc())
        .list("/api/v1/secrets", Resource::Secrets, "Lists secrets, without their values.")
        .post("/api/v1/secrets", secrets::create::handle, secrets::create::doc())
        .post("/api/v1/secrets/rotate-key", secrets::rotate_key::handle, secrets::rotate_key::doc())
        .get("/api/v1/secrets/{name}", secrets::show::handle, secrets::show::doc())
        .patch("/api/v1/secrets/{name}", secrets::patch::handle, secrets::patch::doc())
        .delete("/api/v1/secrets/{name}", secrets::delete::handle, secrets::delete::doc())
}

/// What starts flows by the clock.
fn schedule_routes(table: RouteTable) -> RouteTable {
    table
        .post("/api/v1/schedules/preview", schedules::preview::handle, schedules::preview::doc())
        .get("/api/v1/flows/{id}/schedule", schedules::show::handle, schedules::show::doc())
        .post("/api/v1/flows/{id}/schedule/pause", schedules::control::pause, schedules::control::pause_doc())
        .post("/api/v1/flows/{id}/schedule/resume", schedules::control::resume, schedules::control::resume_doc())
        .post("/api/v1/flows/{id}/schedule/backfill", schedules::backfill::handle, schedules::backfill::doc())
}

/// What has failed, who is told, and who is on call.
fn escalation_routes(table: RouteTable) -> RouteTable {
    use escalations::{ack, analytics, events, on_call, rules, silences, try_out};
    table
        .post(
            "/functions/v1/escalation-handler",
            functions::escalation_handler::handle,
            functions::escalation_handler::doc(),
        )
        .list("/api/v1/escalation-rules", Resource::EscalationRules, "Lists escalation rules.")
        .post("/api/v1/escalation-rules", rules::create, rules::create_doc())
        .post("/api/v1/escalation-rules/test", try_out::handle, try_out::doc())
        .show("/api/v1/escalation-rules/{id}", Resource::EscalationRules, "Shows an escalation rule with its figures.")
        .patch("/api/v1/escalation-rules/{id}", rules::patch, rules::patch_doc())
        .delete("/api/v1/escalation-rules/{id}", rules::delete, rules::delete_doc())
        .post("/api/v1/escalation-rules/{id}/heartbeat", rules::heartbeat, rules::heartbeat_doc())
        .list("/api/v1/escalation-events", Resource::EscalationEvents, "Lists escalations.")
        .post("/api/v1/escalation-events", events::create, events::create_doc())
        .get("/api/v1/escalation-events/active", events::active, events::active_doc())
        .get("/api/v1/escalation-events/analytics", analytics::handle, analytics::doc())
        .show("/api/v1/escalation-events/{id}", Resource::EscalationEvents, "Shows an escalation.")
        .patch("/api/v1/escalation-events/{id}", events::patch, events::patch_doc())
        .post("/api/v1/escalation-events/{id}/acknowledge", events::acknowledge, events::acknowledge_doc())
        .post("/api/v1/escalation-events/{id}/resolve", events::resolve, events::resolve_doc())
        .get("/api/v1/escalation-events/{id}/why", events::why, events::why_doc())
        .list("/api/v1/escalation-outbox", Resource::Outbox, "Lists what escalations have sent and done.")
        .list("/api/v1/on-call", Resource::OnCall, "Lists on-call schedules.")
        .post("/api/v1/on-call", on_call::create, on_call::create_doc())
        .list("/api/v1/on-call/overrides", Resource::OnCallOverrides, "Lists who stands in.")
        .delete("/api/v1/on-call/overrides/{id}", on_call::remove_override, on_call::remove_override_doc())
        .show("/api/v1/on-call/{id}", Resource::OnCall, "Shows an on-call schedule.")
        .patch("/api/v1/on-call/{id}", on_call::patch, on_call::patch_doc())
        .delete("/api/v1/on-call/{id}", on_call::delete, on_call::delete_doc())
        .get("/api/v1/on-call/{id}/now", on_call::now, on_call::now_doc())
        .post("/api/v1/on-call/{id}/overrides", on_call::add_override, on_call::override_doc())
        .list("/api/v1/silences", Resource::Silences, "Lists silences.")
        .post("/api/v1/silences", silences::create, silences::create_doc())
        .show("/api/v1/silences/{id}", Resource::Silences, "Shows a silence.")
        .patch("/api/v1/silences/{id}", silences::patch, silences::patch_doc())
        .delete("/api/v1/silences/{id}", silences::delete, silences::delete_doc())
        .get("/api/v1/ack/{token}", ack::show, ack::show_doc())
        .post("/api/v1/ack/{token}", ack::confirm, ack::confirm_doc())
}

/// What people are told, who they are, and how each of them is reached.
fn people_routes(table: RouteTable) -> RouteTable {
    use people::{contacts, me, organizations, preferences, users, verify};
    table
        .post(
            "/functions/v1/core_notifications_gateway",
            functions::core_notifications_gateway::handle,
            functions::core_notifications_gateway::doc(),
        )
        .get("/api/v1/notifications", notifications::list::handle, notifications::list::doc())
        .post("/api/v1/notifications", notifications::send::handle, notifications::send::doc())
        .get(
            "/api/v1/notifications/unread-count",
            notifications::unread_count::handle,
            notifications::unread_count::doc(),
        )
        .post("/api/v1/notifications/read-all", notifications::read_all::handle, notifications::read_all::doc())
        .post("/api/v1/notifications/{id}/read", notifications::read::handle, notifications::read::doc())
        .post("/api/v1/notifications/{id}/archive", notifications::archive::handle, notifications::archive::doc())
        // After the verbs of all, for one of which its path would be taken.
        .patch("/api/v1/notifications/{id}", notifications::patch::handle, notifications::patch::doc())
        .delete("/api/v1/notifications/{id}", notifications::remove::handle, notifications::remove::doc())
        .post("/hooks/slack/{tenant}/{integration}", slack::handle, slack::doc())
        .get("/api/v1/me", me::handle, me::doc())
        .list(
            "/api/v1/organizations",
            Resource::Organizations,
            "Lists organizations: the caller's, once it has a name.",
        )
        .post("/api/v1/organizations", organizations::create, organizations::create_doc())
        .show("/api/v1/organizations/{id}", Resource::Organizations, "Shows an organization.")
        .patch("/api/v1/organizations/{id}", organizations::patch, organizations::patch_doc())
        .list("/api/v1/users", Resource::Users, "Lists the directory.")
        .post("/api/v1/users", users::create, users::create_doc())
        .get("/api/v1/users/{id}", users::show, users::show_doc())
        .patch("/api/v1/users/{id}", users::patch, users::patch_doc())
        .delete("/api/v1/users/{id}", users::delete, users::delete_doc())
        .get("/api/v1/contact-methods", contacts::list, contacts::list_doc())
        .post("/api/v1/contact-methods", contacts::create, contacts::create_doc())
        .get("/api/v1/contact-methods/{id}", contacts::show, contacts::show_doc())
        .delete("/api/v1/contact-methods/{id}", contacts::delete, contacts::delete_doc())
        .post("/api/v1/contact-methods/{id}/verify", contacts::verify, contacts::verify_doc())
        .post("/api/v1/contact-methods/{id}/send-code", contacts::send_code, contacts::send_code_doc())
        .get("/api/v1/preferences", preferences::list, preferences::list_doc())
        .patch("/api/v1/preferences", preferences::patch, preferences::patch_doc())
        .get("/api/v1/verify/{token}", verify::show, verify::show_doc())
        .post("/api/v1/verify/{token}", verify::confirm, verify::confirm_doc())
}

/// What tells of the runtime itself, and of its API.
fn operations_routes(table: RouteTable) -> RouteTable {
    table
        .list("/api/v1/audit-log", Resource::Audit, "Lists changes of state that matter.")
        .show("/api/v1/audit-log/{id}", Resource::Audit, "Shows a change of state.")
        .get("/api/v1/stream", stream::handle, stream::doc())
        .get("/api/v1/nodes", nodes::list::handle, nodes::list::doc())
        .get("/api/v1/partitions", nodes::partitions::handle, nodes::partitions::doc())
        .get("/api/v1/actors", actors::list::handle, actors::list::doc())
        .post("/api/v1/actors/{path:.+}/restart", actors::restart::handle, actors::restart::doc())
        .get("/healthz", operations::healthz::handle, operations::healthz::doc())
        .get("/readyz", operations::readyz::handle, operations::readyz::doc())
        .get("/metrics", operations::metrics::handle, operations::metrics::doc())
        .get("/problems/{slug}", pages::problem::handle, pages::problem::doc())
        .get("/api/v1", pages::index::handle, pages::index::doc())
        .get("/api/openapi.json", pages::openapi::handle, pages::openapi::doc())
        .get("/api/v1/schemas/flow.json", pages::flow_schema::handle, pages::flow_schema::doc())
        .get("/api/docs", pages::docs::handle, pages::docs::doc())
        .get("/", pages::front::handle, pages::front::doc())
}

/// Puts everything but the envelope into a server.
fn configure(app: &mut ServiceConfig, state: &Shared, metrics: &web::Data<HttpMetrics>) {
    app.app_data(state.clone()).app_data(metrics.clone());
    routes().configure(app);
    app.default_service(web::to(route_table::nothing_here));
}

/// Starts answering on a listener, and on the socket of this machine's own user, where there is one. The caller awaits
/// the server and handles signals; stopping it lets requests under way end.
pub fn serve(api: Api, listener: TcpListener, socket: Option<UnixListener>) -> io::Result<Server> {
    let settings = api.settings.clone();
    let state = State::new(api.engine, api.vault, api.views, api.notifications, api.syncs, api.settings, &api.auth)
        .map_err(io::Error::other)?;
    let own_url = webhooks::own_url(listener.local_addr()?, api.certificate.is_some());
    let state = Shared::new(State { own_url, ..state });
    let metrics = web::Data::new(HttpMetrics::new(&routes().paths(), api.dropped_spans));
    let server =
        HttpServer::new(move || App::new().configure(|app| configure(app, &state, &metrics)).wrap(from_fn(envelope)));
    let server = if settings.workers == 0 { server } else { server.workers(settings.workers) };
    let stuck_after_ms = settings.send_timeout_ms;
    let server = server
        .max_connections(settings.max_connections_per_worker)
        .keep_alive(Duration::from_secs(settings.keep_alive_seconds))
        .client_request_timeout(Duration::from_millis(settings.header_timeout_ms))
        .shutdown_timeout(settings.drain_seconds)
        .disable_signals()
        .on_connect(move |connection, data| {
            note_local_socket(connection, data);
            connection::close_when_stuck(connection, stuck_after_ms);
        });
    let server = match api.certificate {
        Some(certificate) => server.listen_rustls_0_23(listener, certificate.server_config())?,
        None => server.listen(listener)?,
    };
    let server = match socket {
        Some(socket) => server.listen_uds(socket)?,
        None => server,
    };
    Ok(server.run())
}
