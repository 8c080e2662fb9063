//! The HTTP surface as clients see it, over a real engine and a store in memory.

mod approvals;
mod description;
mod edge;
mod execute_action;
mod flows;
mod hooks;
mod hostile;
mod metrics;
mod notifications;
mod operations;
mod prometheus;
mod support;
mod surface;
mod timeline;
mod triggers;
