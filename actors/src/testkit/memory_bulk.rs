//! Bulk jobs in memory, beside the runs that they tell something.

use core314_domain::bulk::{BulkItem, BulkJob, BulkStatus, ItemStatus};
use core314_domain::ids::{RowId, RunId};
use core314_domain::words::RunStatus;

use super::memory_store::MemoryStore;
use crate::ports::bulk::BulkJobs;
use crate::ports::store::{Idempotency, Outcome};
use crate::ports::{BoxFuture, Scope, StoreError};

fn ready<T: Send + 'static>(value: T) -> BoxFuture<'static, Result<T, StoreError>> {
    Box::pin(std::future::ready(Ok(value)))
}

impl BulkJobs for MemoryStore {
    fn create_bulk(
        &self,
        job: BulkJob,
        runs: Vec<RunId>,
        name: Option<Idempotency>,
    ) -> BoxFuture<'_, Result<Option<Outcome>, StoreError>> {
        let mut rows = self.rows();
        if let Some(known) = rows.claim(job.owner.tenant, name.as_ref()) {
            return ready(Some(known));
        }
        let item = |(no, run)| BulkItem { no, run, target: None, status: ItemStatus::Pending, mark: 0, error: None };
        let items = (0..).zip(runs).map(|numbered| (item(numbered), false)).collect();
        rows.bulk.insert(job.id, (job, items));
        ready(None)
    }

    fn bulk_job(&self, scope: Scope, id: RowId) -> BoxFuture<'_, Result<Option<BulkJob>, StoreError>> {
        let found = self.rows().bulk.get(&id).map(|(job, _)| job.clone());
        ready(found.filter(|job| match scope {
            Scope::Platform => true,
            Scope::Tenant(tenant) => job.owner.tenant == tenant,
        }))
    }

    fn bulk_jobs(&self, scope: Scope, limit: usize) -> BoxFuture<'_, Result<Vec<BulkJob>, StoreError>> {
        let rows = self.rows();
        let own = rows.bulk.values().rev().map(|(job, _)| job).filter(|job| match scope {
            Scope::Platform => true,
            Scope::Tenant(tenant) => job.owner.tenant == tenant,
        });
        ready(own.take(limit).cloned().collect())
    }

    fn running_bulk_jobs(&self, limit: usize) -> BoxFuture<'_, Result<Vec<BulkJob>, StoreError>> {
        let rows = self.rows();
        let running = rows.bulk.values().map(|(job, _)| job).filter(|job| job.status == BulkStatus::Running);
        ready(running.take(limit).cloned().collect())
    }

    fn bulk_items(
        &self,
        job: RowId,
        status: ItemStatus,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<BulkItem>, StoreError>> {
        let rows = self.rows();
        let items = rows.bulk.get(&job).map(|(_, items)| items.as_slice()).unwrap_or_default();
        ready(items.iter().map(|(item, _)| item).filter(|item| item.status == status).take(limit).cloned().collect())
    }

    fn bulk_ends(&self, job: RowId, limit: usize) -> BoxFuture<'_, Result<Vec<(u32, RunStatus)>, StoreError>> {
        let rows = self.rows();
        let items = rows.bulk.get(&job).map(|(_, items)| items.as_slice()).unwrap_or_default();
        let open = items.iter().filter(|(item, noted)| item.status == ItemStatus::Done && !noted);
        let ends = open.filter_map(|(item, _)| {
            let status = rows.runs.get(&item.target?)?.state.status;
            status.is_terminal().then_some((item.no, status))
        });
        ready(ends.take(limit).collect())
    }

    fn save_bulk(
        &self,
        job: BulkJob,
        items: Vec<BulkItem>,
        ends: Vec<(u32, RunStatus)>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        let mut rows = self.rows();
        let Some((stored, all)) = rows.bulk.get_mut(&job.id).filter(|(stored, _)| stored.version == job.version) else {
            return ready(false);
        };
        *stored = BulkJob { version: job.version + 1, ..job };
        for item in items {
            let no = item.no as usize;
            all[no].0 = item;
        }
        ends.iter().for_each(|(no, _)| all[*no as usize].1 = true);
        ready(true)
    }
}
