//! What a partition reads back of the limits of its runs.

use core314_actors::ports::Scope;
use core314_actors::ports::store::{LimitedRun, StoredBucket};
use core314_domain::ids::{FlowId, RunId};
use core314_domain::limits::Bucket;
use uuid::Uuid;

use super::SqlStore;
use super::failure::Failure;

const CLAIMS: &str = "SELECT run_id, since_ms, holds, claim FROM run_limits \
    WHERE partition = $1 AND run_id > $2 ORDER BY run_id LIMIT $3";
const BUCKETS: &str =
    "SELECT flow_id, limit_key, full_at_us FROM limit_buckets WHERE partition = $1 AND full_at_us > $2";

pub(super) async fn limited_runs(
    store: &SqlStore,
    partition: u16,
    after: Option<RunId>,
    limit: usize,
) -> Result<Vec<LimitedRun>, Failure> {
    let after = after.map_or(Uuid::nil(), |run| run.0);
    let cells = [partition.into(), after.into(), (limit as i64).into()];
    let rows = store.read(Scope::Platform).await?.fetch(CLAIMS, &cells).await?;
    let read = |row: &super::cell::Row| {
        let mut f = row.fields();
        let (run, since_ms, holds) = (RunId(f.uuid()?), f.int()?, f.bool()?);
        let claim = serde_json::from_value(f.json()?)
            .map_err(|e| Failure::Corrupt(format!("the claim of run {run} cannot be read: {e}")))?;
        Ok(LimitedRun { run, claim, since_ms, holds })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn buckets(store: &SqlStore, partition: u16, now_us: i64) -> Result<Vec<StoredBucket>, Failure> {
    let rows = store.read(Scope::Platform).await?.fetch(BUCKETS, &[partition.into(), now_us.into()]).await?;
    let read = |row: &super::cell::Row| {
        let mut f = row.fields();
        Ok((FlowId(f.uuid()?), f.text()?.into(), Bucket { full_at_us: f.int()? }))
    };
    rows.iter().map(read).collect()
}
