//! The execution log: one immutable row per attempt.

pub mod failed;
pub mod review;
pub mod slowest;
pub mod statistics;
pub mod timeline;
