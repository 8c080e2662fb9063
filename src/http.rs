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
mod client;
mod cors;
mod envelope;
mod execution_log;
mod executions;
mod flows;
mod functions;
mod hooks;
mod idempotency;
mod input;
mod operations;
mod page;
mod pages;
mod prefer;
mod problem;
mod query;
mod rate_limit;
mod route_table;
mod runs;
mod settings;
#[cfg(test)]
mod tests;
mod tls;
mod webhooks;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpServer, web};
use core314_actors::engine::Engine;
use core314_actors::ports::views::Views;
use tokio::sync::Semaphore;

use auth::Keys;
use envelope::envelope;
use operations::HttpMetrics;
use rate_limit::RateLimit;
pub use rate_limit::RateLimitSettings;
use route_table::RouteTable;
pub use settings::{AuthSettings, HttpSettings, KeyDigest};
pub use tls::{Certificate, Reloaded};

/// What the server answers from.
pub struct Api {
    pub engine: Engine,
    pub views: Arc<dyn Views>,
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
    views: Arc<dyn Views>,
    settings: HttpSettings,
    keys: Keys,
    limit: Arc<RateLimit>,
    /// A permit for each request that may be under way.
    in_flight: Semaphore,
}

impl State {
    fn new(engine: Engine, views: Arc<dyn Views>, settings: HttpSettings, auth: &AuthSettings) -> Self {
        let limit = Arc::new(RateLimit::new(settings.rate_limit));
        let keys = Keys::new(auth, limit.clone());
        Self { engine, views, keys, limit, in_flight: Semaphore::new(settings.max_in_flight), settings }
    }
}

/// The state as handlers take it.
type Shared = web::Data<State>;

/// Every endpoint. The ones that are called most stand first, because routes are tried in order.
fn routes() -> RouteTable {
    RouteTable::default()
        .post("/hooks/{webhook_id}/{secret}", hooks::handle)
        .post("/api/v1/flows/{flow}/trigger", flows::trigger::handle)
        .post("/functions/v1/orchestrator-engine", functions::orchestrator_engine::handle)
        .get("/api/v1/runs", runs::list::handle)
        .get("/api/v1/runs/{id}", runs::show::handle)
        .get("/api/v1/executions", executions::list::handle)
        .get("/api/v1/executions/{id}", executions::show::handle)
        .get("/api/v1/execution-log", execution_log::list::handle)
        .get("/api/v1/execution-log/statistics", execution_log::statistics::handle)
        .get("/api/v1/execution-log/{id}", execution_log::show::handle)
        .get("/api/v1/flows", flows::list::handle)
        .post("/api/v1/flows", flows::create::handle)
        .get("/api/v1/flows/{id}", flows::show::handle)
        .patch("/api/v1/flows/{id}", flows::patch::handle)
        .post("/api/v1/webhooks", webhooks::create::handle)
        .get("/api/v1/actors", actors::list::handle)
        .post("/api/v1/actors/{path:.+}/restart", actors::restart::handle)
        .get("/healthz", operations::healthz::handle)
        .get("/readyz", operations::readyz::handle)
        .get("/metrics", operations::metrics::handle)
        .get("/problems/{slug}", pages::problem::handle)
        .get("/api/v1", pages::index::handle)
        .get("/", pages::front::handle)
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
    let state = Shared::new(State::new(api.engine, api.views, api.settings, &api.auth));
    let metrics = web::Data::new(HttpMetrics::new(&routes().paths(), api.dropped_spans));
    let server =
        HttpServer::new(move || App::new().configure(|app| configure(app, &state, &metrics)).wrap(from_fn(envelope)));
    let server = if settings.workers == 0 { server } else { server.workers(settings.workers) };
    let server = server
        .max_connections(settings.max_connections_per_worker)
        .keep_alive(Duration::from_secs(settings.keep_alive_seconds))
        .client_request_timeout(Duration::from_millis(settings.header_timeout_ms))
        .shutdown_timeout(settings.drain_seconds)
        .disable_signals();
    let server = match api.certificate {
        Some(certificate) => server.listen_rustls_0_23(listener, certificate.server_config())?,
        None => server.listen(listener)?,
    };
    Ok(server.run())
}
