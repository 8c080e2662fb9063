//! The execution log: one immutable row per attempt.

pub mod list;
pub mod show;
pub mod statistics;
