//! Jobs that tell many runs the same. Their runs are found by the status of their items, which is indexed.

use core314_actors::ports::bulk::BulkJobs;
use core314_actors::ports::store::{Idempotency, Outcome};
use core314_actors::ports::{BoxFuture, Scope, StoreError};
use core314_domain::bulk::{BulkItem, BulkJob, ItemStatus};
use core314_domain::ids::{RowId, RunId};
use core314_domain::words::RunStatus;

use super::SqlStore;
use super::cell::{Cell, Fields, Row, Rows};
use super::commit::signals::claim;
use super::connection::{Bulk, Connection};
use super::failure::Failure;

const NEW_JOB: Bulk = Bulk {
    before: "INSERT INTO bulk_jobs (id, tenant_id, user_id, organization_id, status, plan, progress, version, \
             created_at_ms, updated_at_ms) ",
    after: "",
};
const NEW_ITEMS: Bulk =
    Bulk { before: "INSERT INTO bulk_items (job_id, item_no, tenant_id, run_id, status, mark) ", after: "" };
macro_rules! jobs {
    ($which:literal) => {
        concat!(
            "SELECT id, tenant_id, user_id, organization_id, status, plan, progress, version, created_at_ms, \
             updated_at_ms FROM bulk_jobs ",
            $which
        )
    };
}
const JOB: &str = jobs!("WHERE id = $1");
const JOB_OF_TENANT: &str = jobs!("WHERE id = $1 AND tenant_id = $2");
const NEWEST: &str = jobs!("ORDER BY id DESC LIMIT $1");
const NEWEST_OF_TENANT: &str = jobs!("WHERE tenant_id = $2 ORDER BY id DESC LIMIT $1");
const RUNNING: &str = jobs!("WHERE status = 'running' ORDER BY id LIMIT $1");
/// The status stands in the text, so that the index of the open ones serves it.
macro_rules! items {
    ($status:literal) => {
        concat!(
            "SELECT item_no, run_id, target_id, status, mark, error FROM bulk_items \
             WHERE job_id = $1 AND status = '",
            $status,
            "' ORDER BY item_no LIMIT $2"
        )
    };
}
const ENDS: &str = "SELECT i.item_no, s.run_status FROM bulk_items i JOIN run_state s ON s.run_id = i.target_id \
    WHERE i.job_id = $1 AND i.status = 'done' AND i.outcome IS NULL AND s.completed_at_ms IS NOT NULL \
    ORDER BY i.item_no LIMIT $2";
pub(super) const NEXT_JOB: Bulk = Bulk {
    before: "WITH u (id, status, plan, progress, version, updated_at_ms) AS (",
    after: ") UPDATE bulk_jobs SET status = u.status, plan = u.plan, progress = u.progress, version = u.version + 1, \
            updated_at_ms = u.updated_at_ms FROM u WHERE bulk_jobs.id = u.id AND bulk_jobs.version = u.version \
            RETURNING bulk_jobs.id",
};
pub(super) const NEXT_ITEMS: Bulk = Bulk {
    before: "WITH u (job_id, item_no, target_id, status, mark, error) AS (",
    after: ") UPDATE bulk_items SET target_id = u.target_id, status = u.status, mark = u.mark, error = u.error FROM u \
            WHERE bulk_items.job_id = u.job_id AND bulk_items.item_no = u.item_no",
};
pub(super) const NOTED: Bulk = Bulk {
    before: "WITH u (job_id, item_no, outcome) AS (",
    after: ") UPDATE bulk_items SET outcome = u.outcome FROM u \
            WHERE bulk_items.job_id = u.job_id AND bulk_items.item_no = u.item_no",
};

impl BulkJobs for SqlStore {
    fn create_bulk(
        &self,
        job: BulkJob,
        runs: Vec<RunId>,
        name: Option<Idempotency>,
    ) -> BoxFuture<'_, Result<Option<Outcome>, StoreError>> {
        Box::pin(async move { Ok(create(self, &job, &runs, name.as_ref()).await?) })
    }

    fn bulk_job(&self, scope: Scope, id: RowId) -> BoxFuture<'_, Result<Option<BulkJob>, StoreError>> {
        Box::pin(async move {
            let mut connection = self.read(scope).await?;
            let rows = match scope {
                Scope::Platform => connection.fetch(JOB, &[id.0.into()]).await?,
                Scope::Tenant(tenant) => connection.fetch(JOB_OF_TENANT, &[id.0.into(), tenant.0.into()]).await?,
            };
            Ok(rows.first().map(|row| job(row.fields())).transpose()?)
        })
    }

    fn bulk_jobs(&self, scope: Scope, limit: usize) -> BoxFuture<'_, Result<Vec<BulkJob>, StoreError>> {
        Box::pin(async move {
            let mut connection = self.read(scope).await?;
            let limit = limit as i64;
            let rows = match scope {
                Scope::Platform => connection.fetch(NEWEST, &[limit.into()]).await?,
                Scope::Tenant(tenant) => connection.fetch(NEWEST_OF_TENANT, &[limit.into(), tenant.0.into()]).await?,
            };
            Ok(rows.iter().map(|row| job(row.fields())).collect::<Result<_, Failure>>()?)
        })
    }

    fn running_bulk_jobs(&self, limit: usize) -> BoxFuture<'_, Result<Vec<BulkJob>, StoreError>> {
        Box::pin(async move {
            let rows = self.read(Scope::Platform).await?.fetch(RUNNING, &[(limit as i64).into()]).await?;
            Ok(rows.iter().map(|row| job(row.fields())).collect::<Result<_, Failure>>()?)
        })
    }

    fn bulk_items(
        &self,
        job: RowId,
        status: ItemStatus,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<BulkItem>, StoreError>> {
        Box::pin(async move {
            let items = match status {
                ItemStatus::Pending => items!("pending"),
                ItemStatus::Sending => items!("sending"),
                ItemStatus::Done => items!("done"),
                ItemStatus::Refused => items!("refused"),
            };
            let cells = [job.0.into(), (limit as i64).into()];
            let rows = self.read(Scope::Platform).await?.fetch(items, &cells).await?;
            Ok(rows.iter().map(item).collect::<Result<_, Failure>>()?)
        })
    }

    fn bulk_ends(&self, job: RowId, limit: usize) -> BoxFuture<'_, Result<Vec<(u32, RunStatus)>, StoreError>> {
        Box::pin(async move {
            let cells = [job.0.into(), (limit as i64).into()];
            let rows = self.read(Scope::Platform).await?.fetch(ENDS, &cells).await?;
            let read = |row: &Row| {
                let mut fields = row.fields();
                Ok((fields.small()?, fields.word()?))
            };
            Ok(rows.iter().map(read).collect::<Result<_, Failure>>()?)
        })
    }

    fn save_bulk(
        &self,
        job: BulkJob,
        items: Vec<BulkItem>,
        ends: Vec<(u32, RunStatus)>,
    ) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(save(self, &job, &items, &ends).await?) })
    }
}

async fn create(
    store: &SqlStore,
    job: &BulkJob,
    runs: &[RunId],
    name: Option<&Idempotency>,
) -> Result<Option<Outcome>, Failure> {
    let mut jobs = Rows::new(10);
    jobs.push([
        job.id.0.into(),
        job.owner.tenant.0.into(),
        job.owner.user.0.into(),
        job.owner.organization.map(|o| o.0).into(),
        job.status.as_str().into(),
        as_json(&job.plan),
        as_json(&job.progress),
        job.version.into(),
        job.created_at_ms.into(),
        job.updated_at_ms.into(),
    ]);
    let mut items = Rows::new(6);
    for (no, run) in (0_i64..).zip(runs) {
        let status = ItemStatus::Pending.as_str();
        items.push([job.id.0.into(), no.into(), job.owner.tenant.0.into(), run.0.into(), status.into(), 0_i64.into()]);
    }
    // A connection that saw an error is not given back: its transaction ends with it.
    let mut connection = store.begin().await?;
    let known = claim(&mut connection, job.owner.tenant, name, job.created_at_ms).await?;
    if known.is_none() {
        connection.bulk(NEW_JOB, &jobs).await?;
        connection.bulk(NEW_ITEMS, &items).await?;
        connection.commit().await?;
    } else {
        connection.rollback().await?;
    }
    connection.give_back();
    Ok(known)
}

async fn save(store: &SqlStore, job: &BulkJob, items: &[BulkItem], ends: &[(u32, RunStatus)]) -> Result<bool, Failure> {
    let mut connection = store.begin().await?;
    let is_saved = write(&mut connection, job, items, ends).await?;
    if is_saved {
        connection.commit().await?;
    } else {
        connection.rollback().await?;
    }
    connection.give_back();
    Ok(is_saved)
}

async fn write(
    connection: &mut Connection,
    job: &BulkJob,
    items: &[BulkItem],
    ends: &[(u32, RunStatus)],
) -> Result<bool, Failure> {
    let mut jobs = Rows::new(6);
    let (plan, progress) = (as_json(&job.plan), as_json(&job.progress));
    jobs.push([
        job.id.0.into(),
        job.status.as_str().into(),
        plan,
        progress,
        job.version.into(),
        job.updated_at_ms.into(),
    ]);
    if connection.bulk(NEXT_JOB, &jobs).await?.is_empty() {
        return Ok(false);
    }
    let mut rows = Rows::new(6);
    for item in items {
        rows.push([
            job.id.0.into(),
            i64::from(item.no).into(),
            item.target.map(|run| run.0).into(),
            item.status.as_str().into(),
            item.mark.into(),
            item.error.as_deref().into(),
        ]);
    }
    connection.bulk(NEXT_ITEMS, &rows).await?;
    let mut noted = Rows::new(3);
    for (no, status) in ends {
        noted.push([job.id.0.into(), i64::from(*no).into(), status.as_str().into()]);
    }
    connection.bulk(NOTED, &noted).await?;
    Ok(true)
}

fn as_json<'a>(value: &impl serde::Serialize) -> Cell<'a> {
    let value = serde_json::to_value(value).expect("it has text keys and finite numbers");
    Cell::Json(Some(super::json::text_of(&value).into()))
}

fn job(mut fields: Fields<'_>) -> Result<BulkJob, Failure> {
    let f = &mut fields;
    let id = RowId(f.uuid()?);
    let unreadable = |e: serde_json::Error| Failure::Corrupt(format!("bulk job {id} cannot be read: {e}"));
    Ok(BulkJob {
        id,
        owner: super::engine::owner(f)?,
        status: f.word()?,
        plan: serde_json::from_value(f.json()?).map_err(unreadable)?,
        progress: serde_json::from_value(f.json()?).map_err(unreadable)?,
        version: f.int()?,
        created_at_ms: f.int()?,
        updated_at_ms: f.int()?,
    })
}

fn item(row: &Row) -> Result<BulkItem, Failure> {
    let mut f = row.fields();
    Ok(BulkItem {
        no: f.small()?,
        run: RunId(f.uuid()?),
        target: f.maybe_uuid()?.map(RunId),
        status: f.word()?,
        mark: f.int()?,
        error: f.maybe_text()?,
    })
}
