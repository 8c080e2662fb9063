//! For those who run the process: is it alive, is it ready, what has it done.

mod exposition;
pub mod healthz;
mod http_metrics;
pub mod metrics;
pub mod readyz;

pub use http_metrics::HttpMetrics;
