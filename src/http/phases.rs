//! Phases of runs: what their transitions say.

pub mod analytics;
pub mod sla_violations;
