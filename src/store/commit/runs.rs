//! Runs: idempotency keys and rows of new ones, versions of known ones.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};

use core314_actors::ports::store::{Idempotency, Outcome, RunWrite};
use core314_domain::ids::{FlowId, RunId, TenantId};
use core314_domain::run::RunHeader;
use serde_json::Value;
use uuid::Uuid;

use super::batch::Batch;
use super::definitions::{FLOW_VERSION, listed};
use crate::store::cell::{Cell, Rows};
use crate::store::connection::{Bulk, Connection};
use crate::store::failure::Failure;
use crate::store::json;

pub(super) const NEW_KEYS: Bulk = Bulk {
    before: "INSERT INTO idempotency_keys (tenant_id, key, body_hash, answer, expires_at_ms) ",
    after: " ON CONFLICT (tenant_id, key) DO NOTHING RETURNING tenant_id, key",
};
/// A key that has expired is free again.
pub(in crate::store) const FREED_KEY: Bulk = Bulk {
    before: "WITH u (tenant_id, key, body_hash, answer, expires_at_ms, now_ms) AS (",
    after: ") UPDATE idempotency_keys SET body_hash = u.body_hash, answer = u.answer, \
            expires_at_ms = u.expires_at_ms FROM u \
            WHERE idempotency_keys.tenant_id = u.tenant_id AND idempotency_keys.key = u.key \
            AND idempotency_keys.expires_at_ms <= u.now_ms RETURNING idempotency_keys.tenant_id, idempotency_keys.key",
};
const KNOWN_KEYS: Bulk = Bulk {
    before: "WITH u (tenant_id, key) AS (",
    after: ") SELECT k.tenant_id, k.key, k.body_hash, k.answer FROM u \
            JOIN idempotency_keys k ON k.tenant_id = u.tenant_id AND k.key = u.key",
};

const NEW_RUNS: Bulk = Bulk {
    before: "INSERT INTO runs (id, tenant_id, user_id, organization_id, partition, flow_id, flow_version, flow_name, \
             trigger_type, trigger_source, trigger_context, webhook, input, triggered_by, environment, \
             decision_event_id, recommendation_id, parent_run_id, idempotency_key, run_key, accepted_at_ms, deadline_at_ms) ",
    after: "",
};
const NEW_STATES: Bulk = Bulk {
    before: "INSERT INTO run_state (run_id, tenant_id, partition, version, run_status, state, queue_key, wake_at_ms, \
             started_at_ms, completed_at_ms) ",
    after: "",
};
pub(in crate::store) const NEXT_STATES: Bulk = Bulk {
    before: "WITH u (run_id, tenant_id, partition, version, run_status, state, queue_key, wake_at_ms, started_at_ms, \
             completed_at_ms) AS (",
    after: ") UPDATE run_state SET version = u.version, run_status = u.run_status, state = u.state, \
            queue_key = u.queue_key, wake_at_ms = u.wake_at_ms, started_at_ms = u.started_at_ms, \
            completed_at_ms = u.completed_at_ms FROM u \
            WHERE run_state.run_id = u.run_id AND run_state.version = u.version - 1 \
            AND run_state.tenant_id = u.tenant_id AND run_state.partition = u.partition RETURNING run_state.run_id",
};

/// A new run of the batch, or a trigger that joins one, by its place; whose it is, when it came, and the key that it wants.
type Claim<'a> = (usize, TenantId, i64, &'a Idempotency);

/// Takes the idempotency keys of new runs; a run whose key is taken is a duplicate.
pub(super) async fn claim_keys(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    let wanted: Vec<Claim<'_>> = batch
        .surviving_runs()
        .filter_map(|(i, run)| {
            let accept = run.accept.as_deref()?;
            Some((i, run.tenant, accept.header.accepted_at_ms, accept.idempotency.as_ref()?))
        })
        .chain(
            batch
                .surviving_joins()
                .filter_map(|(i, join)| Some((i, join.tenant, join.at_ms, join.idempotency.as_ref()?))),
        )
        .collect();
    // In order, so that two lanes never wait for each other in a circle; a key twice in the batch goes in once.
    let mut claims = BTreeMap::new();
    for (_, tenant, _, key) in &wanted {
        claims.entry((*tenant, key.key.as_str())).or_insert(*key);
    }
    let mut rows = Rows::new(5);
    for ((tenant, _), key) in claims {
        rows.push(key_row(tenant, key));
    }
    let mut taken = HashSet::new();
    for row in batch.connection.bulk(NEW_KEYS, &rows).await? {
        let mut fields = row.fields();
        taken.insert((fields.uuid()?, fields.text()?));
    }
    // Removed, so that the same key a second time in the batch is a repetition.
    let is_repeated = |(_, tenant, _, key): &&Claim<'_>| !taken.remove(&(tenant.0, key.key.clone()));
    let repeated: Vec<Claim<'_>> = wanted.iter().filter(is_repeated).copied().collect();
    let mut freed = freed(batch.connection, &repeated).await?;
    let is_known = |(_, tenant, _, key): &&Claim<'_>| !freed.remove(&(tenant.0, key.key.clone()));
    let repeated: Vec<Claim<'_>> = repeated.iter().filter(is_known).copied().collect();
    let known = known(batch.connection, &repeated).await?;
    for (i, tenant, _, key) in repeated {
        let found = known.get(&(tenant.0, key.key.clone()));
        let (hash, answer) =
            found.ok_or_else(|| Failure::Unavailable("an idempotency key was just removed".to_owned()))?;
        batch.outcomes[i] = Some(Outcome::Duplicate { answer: answer.clone(), same_request: *hash == key.body_hash });
    }
    Ok(())
}

const NEW_NAMES: Bulk = Bulk {
    before: "INSERT INTO live_run_keys (tenant_id, flow_id, run_key, run_id) ",
    after: " ON CONFLICT (tenant_id, flow_id, run_key) DO NOTHING RETURNING run_id",
};
const NAMED: &str = "SELECT run_id FROM live_run_keys WHERE tenant_id = $1 AND flow_id = $2 AND run_key = $3";
pub(super) const FORGOTTEN_KEY: &str = "DELETE FROM idempotency_keys WHERE tenant_id = $1 AND key = $2";
pub(in crate::store) const FREED_NAMES: Bulk = Bulk {
    before: "WITH u (tenant_id, flow_id, run_key, run_id) AS (",
    after: ") DELETE FROM live_run_keys WHERE (tenant_id, flow_id, run_key, run_id) IN \
            (SELECT tenant_id, flow_id, run_key, run_id FROM u)",
};

/// The name that a run has from this write on, with its flow: a new run, or one that is taken up again.
fn name_of(run: &RunWrite) -> Option<(FlowId, &str)> {
    let new = run.accept.as_deref().and_then(|accept| Some((accept.header.flow.id, accept.header.run_key.as_deref()?)));
    new.or_else(|| run.reopened.as_ref()?.key.as_ref().map(|(flow, name)| (*flow, &**name)))
}

/// Takes the names of runs that begin to live. One whose name another live run has is not accepted, or not taken up again,
/// and gives its idempotency key back.
pub(super) async fn claim_names(batch: &mut Batch<'_, '_>) -> Result<(), Failure> {
    let wanted: Vec<(usize, &RunWrite, FlowId, &str)> =
        batch.surviving_runs().filter_map(|(i, run)| name_of(run).map(|(flow, name)| (i, run, flow, name))).collect();
    // In order, so that two lanes never wait for each other in a circle; a name twice in the batch goes in once.
    let mut claims = BTreeMap::new();
    for (_, run, flow, name) in &wanted {
        claims.entry((run.tenant, *flow, *name)).or_insert(run.id);
    }
    let mut rows = Rows::new(4);
    for ((tenant, flow, name), run) in claims {
        rows.push([tenant.0.into(), flow.0.into(), name.into(), run.0.into()]);
    }
    let mut taken = HashSet::new();
    for row in batch.connection.bulk(NEW_NAMES, &rows).await? {
        taken.insert(RunId(row.fields().uuid()?));
    }
    for (i, run, flow, name) in wanted {
        if taken.contains(&run.id) {
            continue;
        }
        let cells = [run.tenant.0.into(), flow.0.into(), name.into()];
        let found = batch.connection.fetch(NAMED, &cells).await?;
        let row = found.first().ok_or_else(|| Failure::Unavailable("a run's name was just given back".to_owned()))?;
        let holder = RunId(row.fields().uuid()?);
        // An earlier try of this very write took it, and stayed behind its version.
        if holder == run.id {
            continue;
        }
        batch.outcomes[i] = Some(Outcome::RunKeyTaken { run: holder });
        if let Some(key) = run.accept.as_ref().and_then(|accept| accept.idempotency.as_ref()) {
            batch.connection.fetch(FORGOTTEN_KEY, &[run.tenant.0.into(), key.key.as_str().into()]).await?;
        }
    }
    Ok(())
}

/// Gives back the names of runs that have ended.
pub(super) fn free_names(batch: &mut Batch<'_, '_>) {
    let mut rows = Rows::new(4);
    for (_, run) in batch.surviving_runs() {
        if let Some((flow, name)) = run.ended.as_ref().and_then(|end| end.key.as_ref()) {
            rows.push([run.tenant.0.into(), flow.0.into(), (&**name).into(), run.id.0.into()]);
        }
    }
    batch.deferred.push((FREED_NAMES, rows));
}

fn key_row(tenant: TenantId, key: &Idempotency) -> [Cell<'_>; 5] {
    let answer = Cell::Json(Some(json::text_of(&key.answer).into()));
    [tenant.0.into(), key.key.as_str().into(), key.body_hash.into(), answer, key.expires_at_ms.into()]
}

/// Takes over keys that had expired when their runs were accepted. All at once: a bulk trigger that is repeated repeats a
/// thousand keys.
async fn freed(connection: &mut Connection, repeated: &[Claim<'_>]) -> Result<HashSet<(Uuid, String)>, Failure> {
    let mut rows = Rows::new(6);
    let mut once = HashSet::new();
    for (_, tenant, at_ms, key) in repeated {
        if once.insert((tenant, key.key.as_str())) {
            let [tenant, name, hash, answer, expires] = key_row(*tenant, key);
            rows.push([tenant, name, hash, answer, expires, (*at_ms).into()]);
        }
    }
    let mut freed = HashSet::new();
    for row in connection.bulk(FREED_KEY, &rows).await? {
        let mut fields = row.fields();
        freed.insert((fields.uuid()?, fields.text()?));
    }
    Ok(freed)
}

/// What was asked and answered under keys, by tenant and key.
async fn known(
    connection: &mut Connection,
    repeated: &[Claim<'_>],
) -> Result<HashMap<(Uuid, String), ([u8; 32], Value)>, Failure> {
    let mut rows = Rows::new(2);
    for (_, tenant, _, key) in repeated {
        rows.push([tenant.0.into(), key.key.as_str().into()]);
    }
    let mut known = HashMap::new();
    for row in connection.bulk(KNOWN_KEYS, &rows).await? {
        let mut fields = row.fields();
        known.insert((fields.uuid()?, fields.text()?), (fields.hash()?, fields.json()?));
    }
    Ok(known)
}

/// Inserts new runs. One that exists already is refused by the primary key.
pub(super) fn accept(batch: &mut Batch<'_, '_>) {
    let (mut runs, mut states, mut definitions) = (Rows::new(22), Rows::new(10), Rows::new(7));
    for (_, run) in batch.surviving_runs() {
        if let Some(accept) = run.accept.as_deref() {
            runs.push(header_row(run, &accept.header));
            states.push(state_row(run));
            if let Some(definition) = &accept.definition {
                let header = &accept.header;
                definitions.push([
                    header.flow.id.0.into(),
                    header.flow.version.into(),
                    run.tenant.0.into(),
                    Cell::Json(Some(json::text_of(&definition.to_stored()).into())),
                    header.owner.user.0.into(),
                    header.accepted_at_ms.into(),
                    listed(definition),
                ]);
            }
        }
    }
    batch.deferred.extend([(NEW_RUNS, runs), (NEW_STATES, states), (FLOW_VERSION, definitions)]);
}

/// Moves known runs on by one version; one that has another version is a conflict. Where that is not looked for it is taken for
/// granted that none has.
pub(super) async fn advance(batch: &mut Batch<'_, '_>, careful: bool) -> Result<(), Failure> {
    let mut rows = Rows::new(10);
    let mut known: Vec<(usize, Uuid)> = Vec::new();
    for (i, run) in batch.surviving_runs() {
        if run.accept.is_none() {
            rows.push(state_row(run));
            known.push((i, run.id.0));
        }
    }
    if !careful {
        batch.granted.push((NEXT_STATES, rows));
        return Ok(());
    }
    let mut moved = HashSet::with_capacity(known.len());
    for row in batch.connection.bulk(NEXT_STATES, &rows).await? {
        moved.insert(row.fields().uuid()?);
    }
    for (i, id) in known {
        if !moved.contains(&id) {
            batch.outcomes[i] = Some(Outcome::Conflict);
        }
    }
    Ok(())
}

fn header_row<'a>(run: &RunWrite, header: &'a RunHeader) -> [Cell<'a>; 22] {
    // Null stands for an absent value: a reader of the tables expects no JSON null.
    let json = |value: &serde_json::Value| Cell::Json((!value.is_null()).then(|| Cow::Owned(json::text_of(value))));
    [
        run.id.0.into(),
        header.owner.tenant.0.into(),
        header.owner.user.0.into(),
        header.owner.organization.map(|o| o.0).into(),
        run.partition.into(),
        header.flow.id.0.into(),
        header.flow.version.into(),
        (&*header.flow.name).into(),
        header.trigger_type.as_str().into(),
        (&*header.trigger_source).into(),
        Cell::Json(Some(json::text_of(&header.trigger_context).into())),
        json(&header.webhook),
        json(&header.input),
        (&*header.triggered_by).into(),
        (&*header.environment).into(),
        header.decision_event_id.map(|id| id.0).into(),
        header.recommendation_id.map(|id| id.0).into(),
        header.parent_run_id.map(|id| id.0).into(),
        header.idempotency_key.as_deref().into(),
        header.run_key.as_deref().into(),
        header.accepted_at_ms.into(),
        header.deadline_at_ms.into(),
    ]
}

fn state_row(run: &RunWrite) -> [Cell<'_>; 10] {
    [
        run.id.0.into(),
        run.tenant.0.into(),
        run.partition.into(),
        (run.expected_version + 1).into(),
        run.state.status.as_str().into(),
        run.state.state.as_str().into(),
        run.timing.queue_key.into(),
        run.timing.wake_at_ms.into(),
        run.state.started_at_ms.into(),
        run.state.completed_at_ms.into(),
    ]
}
