//! `GET /metrics`: Prometheus text. Labels are routes, classes of status and kinds of actors, never a user or a run.
//!
//! Open to this machine; from beyond it, or through a proxy, a platform key is required.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::StatusCode;
use actix_web::http::header::{FORWARDED, X_FORWARDED_FOR};
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::Engine;

use super::HttpMetrics;
use super::exposition::{Exposition, Type};
use crate::http::Shared;
use crate::http::openapi::{Access, Doc};
use crate::http::problem::Problem;

const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub fn doc() -> Doc {
    Doc::new("Metrics for Prometheus. Open to this machine; from beyond it a platform key is required.", Access::Open)
        .problem(StatusCode::UNAUTHORIZED)
        .problem(StatusCode::FORBIDDEN)
        .problem(StatusCode::UNPROCESSABLE_ENTITY)
        .text(CONTENT_TYPE, "The exposition.")
}

pub async fn handle(req: HttpRequest, state: Shared, http: web::Data<HttpMetrics>) -> Result<HttpResponse, Problem> {
    if !is_local(&req) {
        state.keys.identify(req.headers())?.platform_only(req.headers())?;
    }
    let mut page = Exposition::default();
    counters(&mut page, &state.engine);
    gauges(&mut page, &state.engine);
    actors(&mut page, &state.engine);
    requests(&mut page, &http);
    Ok(HttpResponse::Ok().content_type(CONTENT_TYPE).body(page.finish()))
}

/// Whether somebody on this machine asks for themselves.
fn is_local(req: &HttpRequest) -> bool {
    let is_forwarded = req.headers().contains_key(FORWARDED) || req.headers().contains_key(X_FORWARDED_FOR);
    !is_forwarded && req.peer_addr().is_some_and(|peer| peer.ip().to_canonical().is_loopback())
}

fn counters(page: &mut Exposition, engine: &Engine) {
    let counted = &engine.runtime().counters;
    let all: [(&str, &str, &AtomicU64); 9] = [
        ("core314_runs_accepted_total", "Runs accepted, durably.", &counted.runs_accepted),
        ("core314_runs_ended_total", "Runs that reached their end.", &counted.runs_ended),
        ("core314_attempts_started_total", "Attempts started.", &counted.attempts_started),
        ("core314_attempts_failed_total", "Attempts that failed.", &counted.attempts_failed),
        ("core314_commits_total", "Transactions committed.", &counted.batches),
        ("core314_commit_writes_total", "Changes in those transactions.", &counted.writes),
        ("core314_commit_retries_total", "Transactions that were tried again.", &counted.commit_retries),
        ("core314_refused_total", "Triggers refused because the runtime was busy.", &counted.refused_busy),
        ("core314_actor_restarts_total", "Actors that failed and were started again.", &counted.actor_deaths),
    ];
    for (name, help, counter) in all {
        page.single(Type::Counter, name, help, counter.load(Ordering::Relaxed) as f64);
    }
    let dropped = engine.feed().dropped() as f64;
    page.single(Type::Counter, "core314_streams_dropped_total", "Streams ended as read too slowly.", dropped);
    let seconds = counted.commit_time_us.load(Ordering::Relaxed) as f64 / 1e6;
    page.single(Type::Counter, "core314_commit_seconds_total", "Time spent in transactions.", seconds);
}

fn gauges(page: &mut Exposition, engine: &Engine) {
    let sum = |of: fn(&core314_actors::queue_partition::PartitionShared) -> u32| {
        engine.partitions().iter().map(|partition| f64::from(of(partition))).sum()
    };
    let resident = sum(|partition| partition.resident.load(Ordering::Relaxed));
    page.single(Type::Gauge, "core314_resident_runs", "Runs in memory.", resident);
    let ready = sum(|partition| partition.ready.load(Ordering::Relaxed));
    page.single(Type::Gauge, "core314_ready_entries", "Entries in memory that wait for a slot.", ready);
    let streams = engine.feed().clients() as f64;
    page.single(Type::Gauge, "core314_streams", "Streams of changes that are open.", streams);
    let credits = engine.free_credits() as f64;
    page.single(Type::Gauge, "core314_free_credits", "Triggers that could still wait for their commit.", credits);
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
    let each = requests.iter().map(|(route, class, n)| (vec![("route", *route), ("status", *class)], *n as f64));
    page.family(Type::Counter, "core314_http_requests_total", "Requests by route and class of status.", each);
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    #[test]
    fn only_this_machine_is_local() {
        let peer = |address: &str| TestRequest::get().peer_addr(address.parse().unwrap());
        assert!(is_local(&peer("127.0.0.1:9").to_http_request()));
        assert!(is_local(&peer("[::1]:9").to_http_request()));
        assert!(is_local(&peer("[::ffff:127.0.0.1]:9").to_http_request()));
        assert!(!is_local(&peer("192.0.2.1:9").to_http_request()));
        assert!(!is_local(&peer("127.0.0.1:9").insert_header((X_FORWARDED_FOR, "192.0.2.1")).to_http_request()));
        assert!(!is_local(&TestRequest::get().to_http_request()));
    }
}
