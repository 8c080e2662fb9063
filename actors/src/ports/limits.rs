//! What the store keeps of the limits of flows: the claims of their runs, and buckets.

use std::sync::Arc;

use core314_domain::ids::{FlowId, RunId};
use core314_domain::limits::{Bucket, Claim};

/// What changes about a run's claim on the limits of its flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitWrite {
    pub claim: Arc<Claim>,
    /// Since when it is in line.
    pub since_ms: i64,
    pub stage: LimitStage,
    /// What the bucket of its rate holds after its start.
    pub bucket: Option<Bucket>,
    pub at_ms: i64,
}

/// Where a run stands with its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitStage {
    /// It may not start yet.
    Waits,
    /// It has started: it holds its place until its end.
    Holds,
    /// It has ended.
    Left,
}

/// A live run that is subject to limits, as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitedRun {
    pub run: RunId,
    pub claim: Claim,
    pub since_ms: i64,
    pub holds: bool,
}

/// A bucket as stored: flow, key and what it holds.
pub type StoredBucket = (FlowId, Arc<str>, Bucket);

/// All that is stored of a partition's limits.
#[derive(Debug, Clone, Default)]
pub struct StoredLimits {
    pub runs: Vec<LimitedRun>,
    pub buckets: Vec<StoredBucket>,
}
