//! The reactive core: supervised actors around the pure domain, and the ports through which they reach the world.
//!
//! A trigger becomes a run in the [`ingress`]; the run's partition ([`queue_partition`]) keeps its order and its slots; a
//! [`flow_run`] decides; the [`commit_writer`] makes decisions durable, many in one transaction; and only then do
//! executors act. Nothing here knows a database or a network.

pub mod attempts;
pub mod bulk;
mod bulkhead;
mod channels;
pub mod clock;
pub mod collector;
pub mod commit_writer;
pub mod ends;
pub mod engine;
pub mod escalations;
pub mod failpoint;
pub mod fairness;
pub mod feed;
pub mod flow_run;
pub mod gates;
pub mod histogram;
pub mod ingress;
pub mod integrations;
pub mod known_keys;
pub mod membership;
pub mod meters;
pub mod onward;
pub mod phase_analytics;
pub mod phase_figures;
pub mod plans;
pub mod ports;
pub mod queue_partition;
pub mod random;
pub mod recipients;
pub mod relay;
pub mod rollouts;
pub mod run_check;
pub mod runtime;
pub mod schedules;
pub mod settings;
pub mod shown_views;
pub mod single;
pub mod sub_runs;
pub mod supervision;
pub mod testkit;
pub mod told_inbox;
pub mod unwritten;
pub mod waiting_check;
pub mod webhooks;
