//! The pure domain: what a flow, a run, a step, a retry or a log row *is*, and how each may change.
//!
//! Everything here is a function of its arguments. There is no clock (`now_ms` is passed in), no randomness (ids and
//! jitter come from the caller or from a digest), no I/O, and no iteration over a hash map, so that a decision taken
//! twice is the same decision. `decide` computes changes and effects from a state, `apply` puts changes into it; the
//! actors serialise the two and the shell acts on the effects, after their commit.

pub mod audit;
pub mod breaker;
pub mod bulk;
pub mod chain;
pub mod dispatch;
pub mod document;
pub mod escalation;
pub mod event;
pub mod expr;
pub mod form;
pub mod hex;
pub mod ids;
pub mod integration;
pub mod invariants;
pub mod json;
pub mod limits;
pub mod log;
pub mod people;
pub mod phase_analytics;
pub mod plan;
pub mod replay;
pub mod retry;
pub mod rollout;
pub mod run;
pub mod schedule;
pub mod secret;
mod stage;
pub mod stats;
mod suggest;
pub mod trace;
pub mod trial;
pub mod trigger;
pub mod webhook;
pub mod words;

/// Shared, immutable JSON.
pub type Json = std::sync::Arc<serde_json::Value>;
