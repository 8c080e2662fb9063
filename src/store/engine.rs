//! The engine's side: what a partition reads to take up its work.

use std::collections::HashMap;
use std::sync::Arc;

use core314_actors::ports::catalog::StoredFlow;
use core314_actors::ports::event::{DeliveryPlace, EventDelivery};
use core314_actors::ports::run_states::RunStates;
use core314_actors::ports::schedule::StoredSchedule;
use core314_actors::ports::signal::Occurrence;
use core314_actors::ports::store::{IdleRun, LimitedRun, Outcome, Store, StoredBucket, StoredRun, TailRow, Write};
use core314_actors::ports::{BoxFuture, Scope, StoreError};
use core314_domain::Json;
use core314_domain::ids::{ExecutionId, FlowId, OrganizationId, Owner, RowId, RunId, StepNo, TenantId, UserId};
use core314_domain::limits::Brought;
use core314_domain::run::{CacheKey, Cached, FlowRef, Kept, LastAttempt, RunHeader, SavedState, Timing};
use serde_json::Value;
use uuid::Uuid;

use super::cell::{Fields, Rows};
use super::connection::{Bulk, Connection};
use super::failure::Failure;
use super::heads::Chain;
use super::{Pools, SqlStore, blobs, commit, events, limits, schedules, signals, step_cache};

const QUEUE: &str = "SELECT queue_key, run_id FROM run_state WHERE partition = $1 AND queue_key IS NOT NULL \
    AND (queue_key, run_id) > ($2, $3) ORDER BY queue_key, run_id LIMIT $4";
const WAKE: &str = "SELECT wake_at_ms, run_id FROM run_state WHERE partition = $1 AND wake_at_ms IS NOT NULL \
    AND (wake_at_ms, run_id) > ($2, $3) AND wake_at_ms < $4 ORDER BY wake_at_ms, run_id LIMIT $5";
/// By an index that holds these alone.
pub(super) const IDLE: &str = "SELECT s.run_id, EXISTS (SELECT 1 FROM run_limits l WHERE l.run_id = s.run_id AND NOT l.holds) \
    FROM run_state s WHERE s.queue_key IS NULL AND s.wake_at_ms IS NULL AND s.completed_at_ms IS NULL AND s.run_id > $1 \
    ORDER BY s.run_id LIMIT $2";
/// CROSS JOIN keeps SQLite from reading the large table first.
pub(super) const RUNS: Bulk = Bulk {
    before: "WITH u (id) AS (",
    after: ") SELECT r.id, r.tenant_id, r.user_id, r.organization_id, r.partition, r.flow_id, r.flow_version, \
            r.flow_name, r.trigger_type, r.trigger_source, r.trigger_context, r.webhook, r.input, r.triggered_by, \
            r.environment, r.decision_event_id, r.recommendation_id, r.parent_run_id, r.idempotency_key, r.run_key, \
            r.accepted_at_ms, r.deadline_at_ms, s.version, s.run_status, s.state, s.started_at_ms, s.completed_at_ms, \
            s.queue_key, s.wake_at_ms FROM u CROSS JOIN runs r CROSS JOIN run_state s WHERE r.id = u.id AND s.run_id = u.id",
};
/// The last attempt of each step. Those before it, which a step has few of, are looked at and passed over.
pub(super) const LAST_ATTEMPTS: Bulk = Bulk {
    before: "WITH u (id) AS (",
    after: ") SELECT l.run_id, l.step_no, l.attempt, l.is_final, l.result, l.error FROM u CROSS JOIN log l \
            WHERE l.run_id = u.id AND NOT EXISTS (SELECT 1 FROM log m WHERE m.run_id = l.run_id \
            AND m.step_no = l.step_no AND m.attempt > l.attempt) ORDER BY l.run_id, l.step_no",
};
/// What runs took over. Only those are asked for whose state says that they did.
pub(super) const TAKEN_OVER: Bulk = Bulk {
    before: "WITH u (id) AS (",
    after: ") SELECT t.run_id, t.step_no, t.result, t.error, t.from_execution FROM u CROSS JOIN reused_results t \
            WHERE t.run_id = u.id ORDER BY t.run_id, t.step_no",
};
const COVERED: &str = "SELECT covered_seq FROM partition_leases WHERE partition = $1";
const LOG_END: &str = "SELECT seq, last_id FROM chain_heads WHERE chain = $1 AND partition = $2";
/// Numbers have no gaps, so it is known how many rows there are: the search goes back from the end and no further.
const TAIL: &str = "SELECT seq, tenant_id, action_type, is_final, success, duration_ms, completed_at_ms FROM \
    (SELECT id, seq, tenant_id, action_type, is_final, success, duration_ms, completed_at_ms FROM log \
     WHERE partition = $1 AND id <= $2 ORDER BY id DESC LIMIT $3) AS tail ORDER BY id LIMIT $4";

type Position = Option<(i64, RunId)>;

impl Store for SqlStore {
    fn lanes(&self) -> usize {
        self.lanes
    }

    fn answers_from_its_own_thread(&self) -> bool {
        matches!(self.readers(), Pools::Sqlite(_))
    }

    fn commit(&self, batch: Vec<Write>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        Box::pin(commit::commit(self, batch))
    }

    fn queue_page(
        &self,
        partition: u16,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, RunId)>, StoreError>> {
        Box::pin(async move { Ok(queue_page(self, partition, after, limit).await?) })
    }

    fn wake_page(
        &self,
        partition: u16,
        until_ms: i64,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, RunId)>, StoreError>> {
        Box::pin(async move { Ok(wake_page(self, partition, until_ms, after, limit).await?) })
    }

    fn load_runs(&self, runs: Vec<RunId>) -> BoxFuture<'_, Result<Vec<StoredRun>, StoreError>> {
        Box::pin(async move { Ok(load_runs(self, &runs).await?) })
    }

    fn results(&self, run: RunId, steps: Vec<StepNo>) -> BoxFuture<'_, Result<Vec<(StepNo, Json)>, StoreError>> {
        Box::pin(async move { blobs::results(self, run, &steps).await })
    }

    fn cached(
        &self,
        tenant: TenantId,
        flow: FlowId,
        keys: Vec<CacheKey>,
        now_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<(CacheKey, Cached)>, StoreError>> {
        step_cache::find(self, tenant, flow, keys, now_ms)
    }

    fn collect_cached(&self, now_ms: i64, limit: usize) -> BoxFuture<'_, Result<usize, StoreError>> {
        step_cache::collect(self, now_ms, limit)
    }

    fn collect_blobs(&self, after: Option<RowId>, limit: usize) -> BoxFuture<'_, Result<Option<RowId>, StoreError>> {
        blobs::collect(self, after, limit)
    }

    fn statistics_position(&self, partition: u16) -> BoxFuture<'_, Result<i64, StoreError>> {
        Box::pin(async move {
            let mut connection = self.read(Scope::Platform).await?;
            let covered = connection.fetch(COVERED, &[partition.into()]).await?;
            Ok(covered.first().map_or(Ok(0), |row| row.fields().int())?)
        })
    }

    fn log_tail(
        &self,
        partition: u16,
        after_seq: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<TailRow>, StoreError>> {
        Box::pin(async move { Ok(log_tail(self, partition, after_seq, limit).await?) })
    }

    fn occurrences(&self, after: Option<RowId>, limit: usize) -> BoxFuture<'_, Result<Vec<Occurrence>, StoreError>> {
        Box::pin(async move { Ok(signals::page(self, after, limit).await?) })
    }

    fn subject<'a>(&'a self, of: &'a Occurrence) -> BoxFuture<'a, Result<Option<Value>, StoreError>> {
        Box::pin(signals::subject(self, of))
    }

    fn event_deliveries(
        &self,
        after: Option<DeliveryPlace>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<EventDelivery>, StoreError>> {
        Box::pin(async move { Ok(events::deliveries(self, after, limit).await?) })
    }

    fn limited_runs(
        &self,
        partition: u16,
        after: Option<RunId>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<LimitedRun>, StoreError>> {
        Box::pin(async move { Ok(limits::limited_runs(self, partition, after, limit).await?) })
    }

    fn idle_runs(&self, after: Option<RunId>, limit: usize) -> BoxFuture<'_, Result<Vec<IdleRun>, StoreError>> {
        Box::pin(async move { Ok(idle_runs(self, after, limit).await?) })
    }

    fn gathered(&self, runs: Vec<RunId>) -> BoxFuture<'_, Result<Vec<(RunId, Brought)>, StoreError>> {
        Box::pin(async move { Ok(limits::gathered(self, runs).await?) })
    }

    fn limit_buckets(&self, partition: u16, now_us: i64) -> BoxFuture<'_, Result<Vec<StoredBucket>, StoreError>> {
        Box::pin(async move { Ok(limits::buckets(self, partition, now_us).await?) })
    }

    fn due_schedules(
        &self,
        until_ms: i64,
        after: Option<(i64, FlowId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredSchedule>, StoreError>> {
        Box::pin(schedules::due(self, until_ms, after, limit))
    }

    fn schedule(&self, scope: Scope, flow: FlowId) -> BoxFuture<'_, Result<Option<StoredSchedule>, StoreError>> {
        Box::pin(schedules::of_flow(self, scope, flow))
    }

    fn flows_without_schedule(&self, limit: usize) -> BoxFuture<'_, Result<Vec<StoredFlow>, StoreError>> {
        Box::pin(schedules::flows_without(self, limit))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move { Ok(self.read(Scope::Platform).await?.fetch("SELECT 1", &[]).await.map(drop)?) })
    }
}

async fn queue_page(
    store: &SqlStore,
    partition: u16,
    after: Position,
    limit: usize,
) -> Result<Vec<(i64, RunId)>, Failure> {
    let (key, run) = position(after);
    let cells = [partition.into(), key.into(), run.into(), (limit as i64).into()];
    let rows = store.read(Scope::Platform).await?.fetch(QUEUE, &cells).await?;
    rows.iter().map(|row| entry(row.fields())).collect()
}

async fn wake_page(
    store: &SqlStore,
    partition: u16,
    until_ms: i64,
    after: Position,
    limit: usize,
) -> Result<Vec<(i64, RunId)>, Failure> {
    let (at_ms, run) = position(after);
    let cells = [partition.into(), at_ms.into(), run.into(), until_ms.into(), (limit as i64).into()];
    let rows = store.read(Scope::Platform).await?.fetch(WAKE, &cells).await?;
    rows.iter().map(|row| entry(row.fields())).collect()
}

/// Where a page begins; without a page before it, before everything.
fn position(after: Position) -> (i64, Uuid) {
    after.map_or((i64::MIN, Uuid::nil()), |(key, run)| (key, run.0))
}

fn entry(mut fields: Fields<'_>) -> Result<(i64, RunId), Failure> {
    Ok((fields.int()?, RunId(fields.uuid()?)))
}

async fn idle_runs(store: &SqlStore, after: Option<RunId>, limit: usize) -> Result<Vec<IdleRun>, Failure> {
    let mut connection = store.read(Scope::Platform).await?;
    let after = after.map_or(Uuid::nil(), |run| run.0);
    let (mut ids, mut held) = (Rows::new(1), Vec::new());
    for row in connection.fetch(IDLE, &[after.into(), (limit as i64).into()]).await? {
        let mut fields = row.fields();
        let run = fields.uuid()?;
        ids.push([run.into()]);
        held.push((RunId(run), fields.bool()?));
    }
    if held.is_empty() {
        return Ok(Vec::new());
    }
    // One that cannot be read keeps no other from being looked at.
    let mut found: HashMap<RunId, Result<StoredRun, String>> = HashMap::new();
    for row in connection.bulk(RUNS, &ids).await? {
        let id = RunId(row.fields().uuid()?);
        let run = stored_run(row.fields()).map_err(|failure| StoreError::from(failure).to_string());
        found.insert(id, run);
    }
    let idle = |(id, is_held)| found.remove(&id).map(|run| IdleRun { id, run, is_held });
    Ok(held.into_iter().filter_map(idle).collect())
}

impl RunStates for SqlStore {
    fn run_states(&self, runs: Vec<RunId>) -> BoxFuture<'_, Result<Vec<StoredRun>, StoreError>> {
        Box::pin(async move {
            let mut connection = self.read(Scope::Platform).await?;
            let mut found = states(&mut connection, &ids_of(&runs)).await?;
            Ok(runs.iter().filter_map(|run| found.remove(run)).collect())
        })
    }
}

/// Runs without their attempts.
async fn states(connection: &mut Connection, ids: &Rows<'_>) -> Result<HashMap<RunId, StoredRun>, Failure> {
    let mut found = HashMap::new();
    for row in connection.bulk(RUNS, ids).await? {
        let run = stored_run(row.fields())?;
        found.insert(run.header.id, run);
    }
    Ok(found)
}

fn ids_of(runs: &[RunId]) -> Rows<'static> {
    let mut ids = Rows::new(1);
    for run in runs {
        ids.push([run.0.into()]);
    }
    ids
}

async fn load_runs(store: &SqlStore, runs: &[RunId]) -> Result<Vec<StoredRun>, Failure> {
    let ids = ids_of(runs);
    let mut connection = store.read(Scope::Platform).await?;
    let mut found = states(&mut connection, &ids).await?;
    for row in connection.bulk(LAST_ATTEMPTS, &ids).await? {
        let mut fields = row.fields();
        let Some(run) = found.get_mut(&RunId(fields.uuid()?)) else { continue };
        run.attempts.push(LastAttempt {
            step: fields.small()?,
            attempt: fields.small()?,
            is_final: fields.bool()?,
            result: fields.maybe_json()?.map(blobs::kept),
            error: fields.maybe_text()?,
            reused_from: None,
        });
    }
    take_over(&mut connection, &mut found).await?;
    Ok(runs.iter().filter_map(|run| found.remove(run)).collect())
}

/// What runs have taken over from others.
async fn take_over(connection: &mut Connection, found: &mut HashMap<RunId, StoredRun>) -> Result<(), Failure> {
    let mut ids = Rows::new(1);
    for run in found.values().filter(|run| run.state.may_reuse()) {
        ids.push([run.header.id.0.into()]);
    }
    if ids.is_empty() {
        return Ok(());
    }
    for row in connection.bulk(TAKEN_OVER, &ids).await? {
        let mut fields = row.fields();
        let Some(run) = found.get_mut(&RunId(fields.uuid()?)) else { continue };
        run.attempts.push(LastAttempt {
            step: fields.small()?,
            attempt: 0,
            is_final: true,
            result: fields.maybe_json()?.map(|result| Kept::Here(Arc::new(result))),
            error: fields.maybe_text()?,
            reused_from: Some(ExecutionId(fields.uuid()?)),
        });
    }
    Ok(())
}

fn stored_run(mut fields: Fields<'_>) -> Result<StoredRun, Failure> {
    let f = &mut fields;
    let id = RunId(f.uuid()?);
    let owner = owner(f)?;
    let partition = f.small()?;
    let flow = FlowRef { id: FlowId(f.uuid()?), version: f.int()?, name: f.text()?.into() };
    let header = RunHeader {
        id,
        owner,
        partition,
        flow,
        trigger_type: f.word()?,
        trigger_source: f.text()?.into(),
        trigger_context: Arc::new(f.json()?),
        webhook: Arc::new(f.maybe_json()?.unwrap_or(Value::Null)),
        input: Arc::new(f.maybe_json()?.unwrap_or(Value::Null)),
        triggered_by: f.text()?.into(),
        environment: f.text()?.into(),
        decision_event_id: f.maybe_uuid()?.map(RowId),
        recommendation_id: f.maybe_uuid()?.map(RowId),
        parent_run_id: f.maybe_uuid()?.map(RunId),
        idempotency_key: f.maybe_text()?.map(Into::into),
        run_key: f.maybe_text()?.map(Into::into),
        accepted_at_ms: f.int()?,
        deadline_at_ms: f.maybe_int()?,
    };
    let version = f.int()?;
    let state = SavedState {
        status: f.word()?,
        state: f.text()?,
        started_at_ms: f.maybe_int()?,
        completed_at_ms: f.maybe_int()?,
    };
    let timing = Timing { queue_key: f.maybe_int()?, wake_at_ms: f.maybe_int()? };
    Ok(StoredRun { header, version, state, timing, attempts: Vec::new() })
}

/// The owner's three columns.
pub(super) fn owner(fields: &mut Fields<'_>) -> Result<Owner, Failure> {
    Ok(Owner {
        tenant: TenantId(fields.uuid()?),
        user: UserId(fields.uuid()?),
        organization: fields.maybe_uuid()?.map(OrganizationId),
    })
}

/// A partition whose counters are up to date is known by its last row alone. Otherwise rows are sought on a connection of
/// their own: after a crash the search may take longer than a read is allowed to.
async fn log_tail(store: &SqlStore, partition: u16, after_seq: i64, limit: usize) -> Result<Vec<TailRow>, Failure> {
    let of_partition = [Chain::Log.as_str().into(), partition.into()];
    let end = store.read(Scope::Platform).await?.fetch(LOG_END, &of_partition).await?;
    let Some(end) = end.first() else { return Ok(Vec::new()) };
    let mut fields = end.fields();
    let missing = fields.int()? - after_seq;
    if missing <= 0 {
        return Ok(Vec::new());
    }
    let cells = [partition.into(), fields.uuid()?.into(), missing.into(), (limit as i64).into()];
    let mut connection = store.connector.connect().await?;
    connection.begin_read().await?;
    let rows = connection.fetch(TAIL, &cells).await?;
    rows.iter().map(|row| tail_row(row.fields())).collect()
}

fn tail_row(mut fields: Fields<'_>) -> Result<TailRow, Failure> {
    let f = &mut fields;
    Ok(TailRow {
        seq: f.int()?,
        tenant: TenantId(f.uuid()?),
        action_type: f.text()?,
        is_final: f.bool()?,
        success: f.bool()?,
        duration_ms: f.maybe_int()?,
        completed_at_ms: f.int()?,
    })
}
