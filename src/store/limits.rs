//! What a partition reads back of the limits of its runs.

use core314_actors::ports::Scope;
use core314_actors::ports::store::{LimitedRun, StoredBucket};
use core314_domain::ids::{FlowId, RunId};
use core314_domain::limits::{Brought, Bucket, Progress};
use uuid::Uuid;

use super::SqlStore;
use super::cell::Rows;
use super::connection::Bulk;
use super::failure::Failure;

const CLAIMS: &str = "SELECT run_id, since_ms, holds, claim, gathered, gathered_bytes, gathered_no, gathered_at_ms FROM run_limits \
    WHERE partition = $1 AND run_id > $2 ORDER BY run_id LIMIT $3";
const BUCKETS: &str =
    "SELECT flow_id, limit_key, full_at_us FROM limit_buckets WHERE partition = $1 AND full_at_us > $2";

pub(super) const GATHERED: Bulk = Bulk {
    before: "WITH u (run_id) AS (",
    after: ") SELECT g.run_id, g.brought FROM u CROSS JOIN gathered_triggers g WHERE g.run_id = u.run_id \
            ORDER BY g.run_id, g.no",
};

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
        let figures = (f.maybe_int()?, f.maybe_int()?, f.maybe_int()?, f.maybe_int()?);
        let gathers = match figures {
            (Some(count), Some(bytes), Some(last_no), Some(last_ms)) => Some(Progress {
                count: u32::try_from(count).unwrap_or(u32::MAX),
                bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
                last_no: u32::try_from(last_no).unwrap_or(u32::MAX),
                last_ms,
            }),
            _ => None,
        };
        Ok(LimitedRun { run, claim, since_ms, holds, gathers })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn gathered(store: &SqlStore, runs: Vec<RunId>) -> Result<Vec<(RunId, Brought)>, Failure> {
    let mut wanted = Rows::new(1);
    runs.into_iter().for_each(|run| wanted.push([run.0.into()]));
    let rows = store.read(Scope::Platform).await?.bulk(GATHERED, &wanted).await?;
    let read = |row: &super::cell::Row| {
        let mut f = row.fields();
        let run = RunId(f.uuid()?);
        let brought = serde_json::from_value(f.json()?)
            .map_err(|e| Failure::Corrupt(format!("what run {run} has gathered cannot be read: {e}")))?;
        Ok((run, brought))
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
