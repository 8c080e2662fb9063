//! What the store keeps of the limits of flows: the claims of their runs, buckets, and what triggers bring to runs that
//! gather.

use std::sync::Arc;

use core314_domain::ids::{FlowId, RunId, TenantId};
use core314_domain::limits::{Brought, Bucket, Claim, Progress};
use core314_domain::run::RunHeader;

use super::schedule::ScheduleMove;
use super::store::Idempotency;

/// What changes about a run's claim on the limits of its flow.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitWrite {
    pub claim: Arc<Claim>,
    /// Since when it is in line.
    pub since_ms: i64,
    pub stage: LimitStage,
    /// What the bucket of its rate holds after its start.
    pub bucket: Option<Bucket>,
    /// Present when it gathers no more: what the run is from now on. What was kept for it goes.
    pub gathered: Option<Arc<RunHeader>>,
    pub at_ms: i64,
}

/// A trigger that joins a run that gathers. One whose run gathers no more is not found; one that was stored before does
/// nothing.
#[derive(Debug, Clone)]
pub struct GatherWrite {
    /// The trigger's own, and its place among those of its run.
    pub id: RunId,
    pub no: u32,
    pub run: RunId,
    pub tenant: TenantId,
    pub partition: u16,
    pub epoch: i64,
    pub brought: Brought,
    pub bytes: usize,
    /// Those before it count no more.
    pub is_last_alone: bool,
    pub idempotency: Option<Idempotency>,
    /// How the schedule goes on whose instant it is, in the same commit or not at all.
    pub schedule: Option<Box<ScheduleMove>>,
    pub at_ms: i64,
}

/// Where a run stands with its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitStage {
    /// It gathers further triggers of its key.
    Gathers(Progress),
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
    /// Present while it gathers.
    pub gathers: Option<Progress>,
}

/// A bucket as stored: flow, key and what it holds.
pub type StoredBucket = (FlowId, Arc<str>, Bucket);

/// All that is stored of a partition's limits.
#[derive(Debug, Clone, Default)]
pub struct StoredLimits {
    pub runs: Vec<LimitedRun>,
    pub buckets: Vec<StoredBucket>,
}
