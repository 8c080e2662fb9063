//! The execution log: one immutable row per attempt.

pub mod statistics;
