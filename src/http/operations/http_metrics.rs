//! What the HTTP surface counts: requests by route, method and class of status, and how long they took by route. Routes
//! are those of the table and methods those of HTTP, so that no client can make a series.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix_web::http::{Method, StatusCode};
use core314_actors::histogram::{Counted, Histogram, MICROSECONDS};

/// Counters of the HTTP surface.
pub struct HttpMetrics {
    routes: BTreeMap<&'static str, Route>,
    unmatched: Route,
    webhooks_refused: AtomicU64,
    dropped_spans: Option<Arc<AtomicU64>>,
}

/// One route.
struct Route {
    /// For each method its answers by class, 1xx to 5xx.
    answers: [[AtomicU64; CLASSES.len()]; METHODS.len()],
    /// In µs.
    time: Histogram,
}

/// Requests of one route, method and class of status.
#[derive(Debug, PartialEq, Eq)]
pub struct Requests {
    pub route: &'static str,
    pub method: &'static str,
    pub class: &'static str,
    pub count: u64,
}

/// The label of requests that no route matched.
const UNMATCHED: &str = "unmatched";
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// The last stands for all that clients may make up.
const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];

impl HttpMetrics {
    /// Counters for these routes, all at zero.
    pub fn new(routes: &[&'static str], dropped_spans: Option<Arc<AtomicU64>>) -> Self {
        Self {
            routes: routes.iter().map(|route| (*route, Route::new())).collect(),
            unmatched: Route::new(),
            webhooks_refused: AtomicU64::new(0),
            dropped_spans,
        }
    }

    /// Counts an answer, and how long it took to begin it.
    pub fn count(&self, route: Option<&str>, method: &Method, status: StatusCode, took: Duration) {
        let route = route.and_then(|route| self.routes.get(route)).unwrap_or(&self.unmatched);
        let method = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len() - 1);
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len());
        route.answers[method][class - 1].fetch_add(1, Ordering::Relaxed);
        route.time.record(took.as_micros() as u64);
    }

    /// Counts a delivery whose sender did not prove itself.
    pub fn webhook_refused(&self) {
        self.webhooks_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub fn webhooks_refused(&self) -> u64 {
        self.webhooks_refused.load(Ordering::Relaxed)
    }

    /// Spans that no collector of traces got.
    pub fn dropped_spans(&self) -> u64 {
        self.dropped_spans.as_ref().map_or(0, |dropped| dropped.load(Ordering::Relaxed))
    }

    /// What was asked, where something was.
    pub fn requests(&self) -> Vec<Requests> {
        self.all().flat_map(|(name, route)| route.requests(name)).collect()
    }

    /// How long the requests of each route took, in µs; routes that nobody asked for are left out.
    pub fn times(&self) -> Vec<(&'static str, Counted)> {
        let all = self.all().map(|(name, route)| (name, route.time.counted()));
        all.filter(|(_, time)| time.count > 0).collect()
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &Route)> {
        self.routes.iter().map(|(name, route)| (*name, route)).chain([(UNMATCHED, &self.unmatched)])
    }
}

impl Route {
    fn new() -> Self {
        Self { answers: Default::default(), time: Histogram::new(MICROSECONDS) }
    }

    fn requests(&self, route: &'static str) -> Vec<Requests> {
        let by_method = METHODS.iter().zip(&self.answers);
        let each = by_method.flat_map(|(method, classes)| {
            CLASSES.iter().zip(classes).map(move |(class, n)| Requests {
                route,
                method,
                class,
                count: n.load(Ordering::Relaxed),
            })
        });
        each.filter(|requests| requests.count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_routes_and_methods_have_series() {
        let metrics = HttpMetrics::new(&["/a", "/b"], None);
        let made_up = Method::from_bytes(b"BREW").unwrap();
        let took = Duration::from_micros(70);
        metrics.count(Some("/a"), &Method::GET, StatusCode::OK, took);
        metrics.count(Some("/a"), &Method::POST, StatusCode::NOT_FOUND, took);
        metrics.count(Some("/made-up"), &made_up, StatusCode::NOT_FOUND, took);
        metrics.count(None, &made_up, StatusCode::NOT_FOUND, took);
        let seen = |route, method, class, count| Requests { route, method, class, count };
        assert_eq!(
            metrics.requests(),
            [seen("/a", "GET", "2xx", 1), seen("/a", "POST", "4xx", 1), seen(UNMATCHED, "other", "4xx", 2)]
        );
        let times: Vec<_> = metrics.times().into_iter().map(|(route, time)| (route, time.count, time.sum)).collect();
        assert_eq!(times, [("/a", 2, 140), (UNMATCHED, 2, 140)]);
    }
}
