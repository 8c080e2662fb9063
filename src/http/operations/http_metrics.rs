//! What the HTTP surface counts: requests by route and class of status. Routes are those of the table, so that no
//! client can make a series.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::StatusCode;

/// Counters of the HTTP surface.
pub struct HttpMetrics {
    /// For each route its answers by class, 1xx to 5xx.
    routes: BTreeMap<&'static str, [AtomicU64; 5]>,
    unmatched: [AtomicU64; 5],
    webhooks_refused: AtomicU64,
    dropped_spans: Option<Arc<AtomicU64>>,
}

/// The label of requests that no route matched.
const UNMATCHED: &str = "unmatched";

impl HttpMetrics {
    /// Counters for these routes, all at zero.
    pub fn new(routes: &[&'static str], dropped_spans: Option<Arc<AtomicU64>>) -> Self {
        Self {
            routes: routes.iter().map(|route| (*route, Default::default())).collect(),
            unmatched: Default::default(),
            webhooks_refused: AtomicU64::new(0),
            dropped_spans,
        }
    }

    /// Counts an answer.
    pub fn count(&self, route: Option<&str>, status: StatusCode) {
        let counters = route.and_then(|route| self.routes.get(route)).unwrap_or(&self.unmatched);
        let class = usize::from(status.as_u16() / 100).clamp(1, 5);
        counters[class - 1].fetch_add(1, Ordering::Relaxed);
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

    /// Route, class of status and count, where something was counted.
    pub fn requests(&self) -> Vec<(&'static str, &'static str, u64)> {
        const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        let routes = self.routes.iter().map(|(route, counters)| (*route, counters));
        let all = routes.chain([(UNMATCHED, &self.unmatched)]);
        let each = all.flat_map(|(route, counters)| {
            CLASSES.iter().zip(counters).map(move |(class, n)| (route, *class, n.load(Ordering::Relaxed)))
        });
        each.filter(|(_, _, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_routes_have_series() {
        let metrics = HttpMetrics::new(&["/a", "/b"], None);
        metrics.count(Some("/a"), StatusCode::OK);
        metrics.count(Some("/a"), StatusCode::NOT_FOUND);
        metrics.count(Some("/made-up"), StatusCode::NOT_FOUND);
        metrics.count(None, StatusCode::NOT_FOUND);
        assert_eq!(metrics.requests(), [("/a", "2xx", 1), ("/a", "4xx", 1), (UNMATCHED, "4xx", 2)]);
    }
}
