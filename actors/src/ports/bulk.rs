//! Jobs that tell many runs the same: what is kept of them. No run depends on a job, so they have a port of their own.

use core314_domain::bulk::{BulkItem, BulkJob, ItemStatus};
use core314_domain::ids::{RowId, RunId};
use core314_domain::words::RunStatus;

use super::store::{Idempotency, Outcome};
use super::{BoxFuture, Scope, StoreError};

/// What the driver of jobs needs of a database.
pub trait BulkJobs: Send + Sync + 'static {
    /// Keeps a new job with its runs, and takes the request's own name, in one transaction. Where the name is taken,
    /// nothing is kept, and the answer is the duplicate.
    fn create_bulk(
        &self,
        job: BulkJob,
        runs: Vec<RunId>,
        name: Option<Idempotency>,
    ) -> BoxFuture<'_, Result<Option<Outcome>, StoreError>>;

    /// A job that the scope may see.
    fn bulk_job(&self, scope: Scope, id: RowId) -> BoxFuture<'_, Result<Option<BulkJob>, StoreError>>;

    /// The newest jobs that the scope may see.
    fn bulk_jobs(&self, scope: Scope, limit: usize) -> BoxFuture<'_, Result<Vec<BulkJob>, StoreError>>;

    /// Jobs that are running, the oldest first.
    fn running_bulk_jobs(&self, limit: usize) -> BoxFuture<'_, Result<Vec<BulkJob>, StoreError>>;

    /// Runs of a job in this state, in order.
    fn bulk_items(
        &self,
        job: RowId,
        status: ItemStatus,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<BulkItem>, StoreError>>;

    /// Runs that were told and whose end is not noted, and has come: their numbers and how they ended.
    fn bulk_ends(&self, job: RowId, limit: usize) -> BoxFuture<'_, Result<Vec<(u32, RunStatus)>, StoreError>>;

    /// Replaces a job as it was at `job.version`, with what has become of some of its runs and with ends that are noted,
    /// in one transaction. False if somebody else has changed it: read it again.
    fn save_bulk(
        &self,
        job: BulkJob,
        items: Vec<BulkItem>,
        ends: Vec<(u32, RunStatus)>,
    ) -> BoxFuture<'_, Result<bool, StoreError>>;
}
