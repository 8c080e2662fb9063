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
mod auth;
mod body;
mod connection;
mod envelope;
mod execution_log;
mod flows;
mod functions;
mod hooks;
mod idempotency;
mod input;
mod openapi;
mod operations;
mod page;
mod pages;
mod problem;
mod query;
mod resources;
mod route_table;
mod runs;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod webhooks;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer, web};
use core314_actors::engine::Engine;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::Views;

use auth::Keys;
use envelope::envelope;
use operations::HttpMetrics;
use route_table::RouteTable;
pub use settings::{AuthSettings, HttpSettings, KeyDigest, StreamSettings};

/// What the server answers from.
pub struct Api {
    pub engine: Engine,
    pub views: Arc<dyn Views>,
    pub settings: HttpSettings,
    pub auth: AuthSettings,
}

/// What handlers share.
struct State {
    engine: Engine,
    views: Arc<dyn Views>,
    settings: HttpSettings,
    keys: Keys,
}

/// The state as handlers take it.
type Shared = web::Data<State>;

/// Every endpoint. The ones that are called most stand first, because routes are tried in order.
fn routes() -> RouteTable {
    RouteTable::default()
        .post("/hooks/{webhook_id}/{secret}", hooks::handle, hooks::doc())
        .post("/api/v1/flows/{flow}/trigger", flows::trigger::handle, flows::trigger::doc())
        .post(
            "/functions/v1/orchestrator-engine",
            functions::orchestrator_engine::handle,
            functions::orchestrator_engine::doc(),
        )
        .list("/api/v1/runs", Resource::Runs, "Lists runs.")
        .show("/api/v1/runs/{id}", Resource::Runs, "Shows a run.")
        .list("/api/v1/executions", Resource::Executions, "Lists executions: the steps of runs.")
        .show("/api/v1/executions/{id}", Resource::Executions, "Shows an execution.")
        .list("/api/v1/execution-log", Resource::Log, "Lists attempts: the immutable log.")
        .get("/api/v1/execution-log/statistics", execution_log::statistics::handle, execution_log::statistics::doc())
        .show("/api/v1/execution-log/{id}", Resource::Log, "Shows an attempt.")
        .list("/api/v1/flows", Resource::Flows, "Lists flows.")
        .post("/api/v1/flows", flows::create::handle, flows::create::doc())
        .show("/api/v1/flows/{id}", Resource::Flows, "Shows a flow with its statistics.")
        .patch("/api/v1/flows/{id}", flows::patch::handle, flows::patch::doc())
        .post("/api/v1/webhooks", webhooks::create::handle, webhooks::create::doc())
        .list("/api/v1/audit-log", Resource::Audit, "Lists changes of state that matter.")
        .show("/api/v1/audit-log/{id}", Resource::Audit, "Shows a change of state.")
        .get("/api/v1/stream", stream::handle, stream::doc())
        .get("/api/v1/actors", actors::list::handle, actors::list::doc())
        .post("/api/v1/actors/{path:.+}/restart", actors::restart::handle, actors::restart::doc())
        .get("/healthz", operations::healthz::handle, operations::healthz::doc())
        .get("/readyz", operations::readyz::handle, operations::readyz::doc())
        .get("/metrics", operations::metrics::handle, operations::metrics::doc())
        .get("/problems/{slug}", pages::problem::handle, pages::problem::doc())
        .get("/api/v1", pages::index::handle, pages::index::doc())
        .get("/api/openapi.json", pages::openapi::handle, pages::openapi::doc())
        .get("/api/docs", pages::docs::handle, pages::docs::doc())
        .get("/", pages::front::handle, pages::front::doc())
}

/// Puts everything but the envelope into a server.
fn configure(app: &mut ServiceConfig, state: &Shared, metrics: &web::Data<HttpMetrics>) {
    app.app_data(state.clone()).app_data(metrics.clone());
    routes().configure(app);
    app.default_service(web::to(route_table::nothing_here));
}

/// Starts answering on a listener. The caller awaits the server and handles signals; stopping it lets requests under way
/// end.
pub fn serve(api: Api, listener: TcpListener) -> io::Result<Server> {
    let settings = api.settings.clone();
    let keys = Keys::new(&api.auth);
    let state = Shared::new(State { engine: api.engine, views: api.views, settings: api.settings, keys });
    let metrics = web::Data::new(HttpMetrics::new(&routes().paths()));
    let server =
        HttpServer::new(move || App::new().configure(|app| configure(app, &state, &metrics)).wrap(from_fn(envelope)));
    let server = if settings.workers == 0 { server } else { server.workers(settings.workers) };
    let stuck_after_ms = settings.send_timeout_ms;
    let server = server
        .on_connect(move |connection, _| connection::close_when_stuck(connection, stuck_after_ms))
        .max_connections(settings.max_connections_per_worker)
        .keep_alive(Duration::from_secs(settings.keep_alive_seconds))
        .client_request_timeout(Duration::from_millis(settings.header_timeout_ms))
        .shutdown_timeout(settings.drain_seconds)
        .disable_signals()
        .listen(listener)?;
    Ok(server.run())
}
