//! `GET /metrics`: Prometheus text. Labels are routes, classes of status and kinds of actors, never a user or a run.
//!
//! Open to this machine; from beyond it, or through a proxy, a platform key is required, unless it is configured to be
//! open.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::Engine;
use core314_actors::meters::ActionFigures;
use core314_actors::phase_figures;
use core314_actors::queue_partition::PartitionShared;
use core314_domain::breaker::BreakerState;
use core314_domain::schedule::NotFired;

use super::HttpMetrics;
use super::exposition::{Exposition, Type};
use crate::http::Shared;
use crate::http::client::Client;
use crate::http::openapi::{Access, Doc};
use crate::http::problem::Problem;

/// How many of what histograms count make a second.
const MICROS: f64 = 1e6;
const MILLIS: f64 = 1e3;
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub fn doc() -> Doc {
    Doc::new("Metrics for Prometheus. Open to this machine; from beyond it a platform key is required.", Access::Open)
        .problem(StatusCode::UNAUTHORIZED)
        .problem(StatusCode::FORBIDDEN)
        .problem(StatusCode::UNPROCESSABLE_ENTITY)
        .problem(StatusCode::TOO_MANY_REQUESTS)
        .text(CONTENT_TYPE, "The exposition.")
}

pub async fn handle(req: HttpRequest, state: Shared, http: web::Data<HttpMetrics>) -> Result<HttpResponse, Problem> {
    let is_open = state.settings.metrics_public || Client::of(&req).is_some_and(|client| client.is_local);
    if !is_open {
        state.keys.identify(&req).await?.platform_only(req.headers())?;
    }
    let mut page = Exposition::default();
    let build = [(vec![("version", env!("CARGO_PKG_VERSION"))], 1.0)];
    page.family(Type::Gauge, "core314_build_info", "Which version this is.", build);
    counters(&mut page, &state.engine);
    executions(&mut page, &state.engine);
    queue(&mut page, &state.engine);
    schedules(&mut page, &state.engine);
    escalations(&mut page, &state.engine);
    phases(&mut page, &state.engine);
    commits(&mut page, &state.engine);
    actors(&mut page, &state.engine);
    requests(&mut page, &http);
    let in_flight = state.settings.max_in_flight.saturating_sub(state.in_flight.available_permits()) as f64;
    page.single(Type::Gauge, "core314_http_in_flight", "Requests under way.", in_flight);
    let limited = state.limit.refused() as f64;
    page.single(Type::Counter, "core314_rate_limited_total", "Requests of tenants that ask too often.", limited);
    let dropped = http.dropped_spans() as f64;
    page.single(Type::Counter, "core314_spans_dropped_total", "Spans that no collector of traces got.", dropped);
    Ok(HttpResponse::Ok().content_type(CONTENT_TYPE).body(page.finish()))
}

fn counters(page: &mut Exposition, engine: &Engine) {
    let counted = &engine.runtime().counters;
    let all: [(&str, &str, &AtomicU64); 11] = [
        ("core314_runs_accepted_total", "Runs accepted, durably.", &counted.runs_accepted),
        ("core314_attempts_started_total", "Attempts started.", &counted.attempts_started),
        ("core314_attempts_failed_total", "Attempts that failed.", &counted.attempts_failed),
        ("core314_commits_total", "Transactions committed.", &counted.batches),
        ("core314_commit_writes_total", "Changes in those transactions.", &counted.writes),
        ("core314_commit_retries_total", "Transactions that were tried again.", &counted.commit_retries),
        ("core314_refused_total", "Triggers refused because the runtime was busy.", &counted.refused_busy),
        ("core314_actor_restarts_total", "Actors that failed and were started again.", &counted.actor_deaths),
        ("core314_waiting_checked_total", "Runs whose waiting was looked at.", &counted.waiting_checked),
        ("core314_waiting_passes_total", "Whole passes over the runs that only wait.", &counted.waiting_passes),
        ("core314_deliveries_left_out_total", "Deliveries that were not noted.", &counted.deliveries_left_out),
    ];
    for (name, help, counter) in all {
        page.single(Type::Counter, name, help, counter.load(Ordering::Relaxed) as f64);
    }
    let violations = counted.waiting_violations.load(Ordering::Relaxed) as f64;
    let help = "Runs that wait for nothing (invariant 8), as of the last whole pass: always 0, or there is a defect.";
    page.single(Type::Gauge, "core314_waiting_violations", help, violations);
    let dropped = engine.feed().dropped() as f64;
    page.single(Type::Counter, "core314_streams_dropped_total", "Streams ended as read too slowly.", dropped);
}

/// Runs and executions, by how they ended and what they did.
fn executions(page: &mut Exposition, engine: &Engine) {
    let meters = &engine.runtime().meters;
    let runs = meters.runs_ended().into_iter().map(|(status, n)| (vec![("status", status)], n as f64));
    page.family(Type::Counter, "core314_runs_ended_total", "Runs that reached their end, by status.", runs);
    let actions = meters.actions();
    let ended = actions.iter().flat_map(|action| {
        let labels = move |status| vec![("action_type", action.action_type), ("status", status)];
        action.ended.iter().map(move |(status, n)| (labels(*status), *n as f64))
    });
    let help = "Executions that ended, by type of action and status.";
    page.family(Type::Counter, "core314_executions_ended_total", help, ended);
    let of_type = |action: &ActionFigures| vec![("action_type", action.action_type)];
    let under_way = actions.iter().map(|action| (of_type(action), action.under_way as f64));
    page.family(Type::Gauge, "core314_attempts_under_way", "Attempts that executors are at.", under_way);
    let performed = actions.iter().map(|action| (of_type(action), action.performed.clone()));
    page.histograms("core314_executor_seconds", "How long executors took, by type of action.", MICROS, performed);
}

fn queue(page: &mut Exposition, engine: &Engine) {
    let sum =
        |of: fn(&PartitionShared) -> u32| engine.partitions().iter().map(|partition| f64::from(of(partition))).sum();
    let resident = sum(|partition| partition.resident.load(Ordering::Relaxed));
    page.single(Type::Gauge, "core314_resident_runs", "Runs in memory.", resident);
    let ready = sum(|partition| partition.ready.load(Ordering::Relaxed));
    page.single(Type::Gauge, "core314_ready_entries", "Entries in memory that wait for a slot.", ready);
    let waiting = sum(|partition| partition.limit_waiting.load(Ordering::Relaxed));
    page.single(Type::Gauge, "core314_limit_waiting", "Runs that wait for a limit of their flow.", waiting);
    let holding = sum(|partition| partition.limit_holding.load(Ordering::Relaxed));
    page.single(Type::Gauge, "core314_limit_holding", "Runs that hold a place in a limit of their flow.", holding);
    let gathering = sum(|partition| partition.limit_gathering.load(Ordering::Relaxed));
    page.single(Type::Gauge, "core314_limit_gathering", "Runs that gather triggers before they begin.", gathering);
    let held = sum(|partition| partition.held.load(Ordering::Relaxed));
    page.single(Type::Gauge, "core314_integration_waiting", "Entries that wait at an integration or a limit.", held);
    let (breakers, calls) = engine.runtime().gates.figures();
    let by_state = BreakerState::ALL.iter().zip(breakers).map(|(state, n)| (vec![("state", state.as_str())], n as f64));
    page.family(Type::Gauge, "core314_breakers", "Breakers of integrations, by state.", by_state);
    page.single(Type::Gauge, "core314_integration_calls", "Calls to integrations under way.", calls as f64);
    let since = engine.partitions().iter().map(|partition| partition.ready_since_ms.load(Ordering::Relaxed));
    let oldest = since.filter(|since| *since > 0).min();
    let age = oldest.map_or(0.0, |since| (engine.runtime().now_ms() - since).max(0) as f64 / MILLIS);
    page.single(Type::Gauge, "core314_queue_age_seconds", "How long the oldest of those entries has waited.", age);
    let streams = engine.feed().clients() as f64;
    page.single(Type::Gauge, "core314_streams", "Streams of changes that are open.", streams);
    let credits = engine.free_credits() as f64;
    page.single(Type::Gauge, "core314_free_credits", "Triggers that could still wait for their commit.", credits);
    let waited = [(Vec::new(), engine.runtime().meters.queue_wait.counted())];
    let words = "From when an execution could have started to when it did.";
    page.histograms("core314_dispatch_latency_seconds", words, MILLIS, waited);
}

/// What schedules have done with their instants.
fn schedules(page: &mut Exposition, engine: &Engine) {
    let counted = &engine.runtime().counters;
    let fired = counted.schedules_fired.load(Ordering::Relaxed) as f64;
    page.single(Type::Counter, "core314_schedules_fired_total", "Runs that schedules have started.", fired);
    let reasons = NotFired::ALL.iter().zip(&counted.schedules_not_fired);
    let each = reasons.map(|(reason, n)| (vec![("reason", reason.as_str())], n.load(Ordering::Relaxed) as f64));
    let help = "Instants of schedules that have no run, by reason.";
    page.family(Type::Counter, "core314_schedules_not_fired_total", help, each);
    let delay = [(Vec::new(), engine.runtime().meters.schedule_delay.counted())];
    let help = "From when a schedule was due to when its run was durable.";
    page.histograms("core314_schedule_delay_seconds", help, MILLIS, delay);
}

/// What escalation rules have taken, and what came of what they sent.
fn escalations(page: &mut Exposition, engine: &Engine) {
    let counted = &engine.runtime().counters;
    let words = ["opened", "joined", "held_back"].into_iter().zip(&counted.failures_taken);
    let each = words.map(|(word, n)| (vec![("admission", word)], n.load(Ordering::Relaxed) as f64));
    let help = "Failures that escalation rules took, by what became of them.";
    page.family(Type::Counter, "core314_failures_taken_total", help, each);
    let words = ["sent", "failed", "cancelled"].into_iter().zip(&counted.escalation_sends);
    let each = words.map(|(word, n)| (vec![("status", word)], n.load(Ordering::Relaxed) as f64));
    let help = "Messages and actions of escalations, by how they ended.";
    page.family(Type::Counter, "core314_escalation_sends_total", help, each);
}

/// Phases of runs. A flow is named by its id: names are unique in their tenant alone.
fn phases(page: &mut Exposition, engine: &Engine) {
    let figures = &engine.runtime().phases;
    let counted = figures.counted();
    let named: Vec<(String, String)> = counted
        .iter()
        .map(|c| (c.phase.to_string(), c.flow.map_or_else(|| "other".to_owned(), |flow| flow.to_string())))
        .collect();
    let labels = |at: usize| vec![("phase", named[at].0.as_str()), ("flow", named[at].1.as_str())];
    let started = counted.iter().enumerate().map(|(at, c)| (labels(at), c.started as f64));
    page.family(Type::Counter, phase_figures::STARTED, "Phases that began.", started);
    let back = counted.iter().enumerate().map(|(at, c)| (labels(at), c.rolled_back as f64));
    page.family(Type::Counter, phase_figures::ROLLED_BACK, "Phases that failed and were taken back.", back);
    let completed = counted.iter().enumerate().map(|(at, c)| (labels(at), c.completed.clone()));
    let help = "How long phases took that completed, in seconds.";
    page.histograms(phase_figures::COMPLETED, help, MILLIS, completed);
    let failed = counted.iter().enumerate().map(|(at, c)| (labels(at), c.failed.clone()));
    let help = "How long phases took that failed, in seconds.";
    page.histograms(phase_figures::FAILED, help, MILLIS, failed);
    let lost = figures.lost() as f64;
    let help = "Values of phases that were not written to metrics_data.";
    page.single(Type::Counter, "core314_phase_values_lost_total", help, lost);
}

fn commits(page: &mut Exposition, engine: &Engine) {
    let meters = &engine.runtime().meters;
    let sizes = [(Vec::new(), meters.commit_writes.counted())];
    page.histograms("core314_commit_batch_writes", "Changes in one transaction.", 1.0, sizes);
    let times = [(Vec::new(), meters.commit_time.counted())];
    page.histograms("core314_commit_seconds", "How long a transaction took.", MICROS, times);
}

fn actors(page: &mut Exposition, engine: &Engine) {
    let mut kinds: BTreeMap<&'static str, (f64, f64)> = BTreeMap::new();
    for actor in engine.actors() {
        let (live, waiting) = kinds.entry(actor.kind).or_default();
        *live += 1.0;
        *waiting += f64::from(actor.mailbox);
    }
    let live = kinds.iter().map(|(kind, (live, _))| (vec![("kind", *kind)], *live));
    page.family(Type::Gauge, "core314_actors", "Actors by kind.", live);
    let waiting = kinds.iter().map(|(kind, (_, waiting))| (vec![("kind", *kind)], *waiting));
    page.family(Type::Gauge, "core314_mailbox_depth", "Messages that wait for actors, by kind.", waiting);
}

fn requests(page: &mut Exposition, http: &HttpMetrics) {
    let refused = http.webhooks_refused() as f64;
    page.single(Type::Counter, "core314_webhooks_refused_total", "Deliveries of unproven senders.", refused);
    let requests = http.requests();
    let each =
        requests.iter().map(|r| (vec![("route", r.route), ("method", r.method), ("status", r.class)], r.count as f64));
    let help = "Requests by route, method and class of status.";
    page.family(Type::Counter, "core314_http_requests_total", help, each);
    let times = http.times();
    let times = times.iter().map(|(route, time)| (vec![("route", *route)], time.clone()));
    page.histograms("core314_http_request_seconds", "How long requests took, by route.", MICROS, times);
}
