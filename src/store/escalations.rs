//! Reading escalations back: rules, events and what they want done, schedules and silences.

mod outbox;

use std::sync::Arc;

use core314_actors::ports::dependency::Holder;
use core314_actors::ports::escalation::{
    AboutFailures, EscalationBook, Figures, OutboxRow, StoredEscalation, StoredOnCall, StoredRule, StoredSilence,
    Waking,
};
use core314_actors::ports::{BoxFuture, Scope, StoreError};
use core314_domain::escalation::{Override, RuleDocument, RuleId};
use core314_domain::ids::{ExecutionId, FlowId, LogId, RowId, RunId, TenantId, UserId};
use serde_json::Value;
use uuid::Uuid;

use super::SqlStore;
use super::catalog::tenant_of;
use super::cell::{Cell, Fields, Row, Rows};
use super::connection::Bulk;
use super::engine::owner;
use super::failure::Failure;
use outbox::{BEGUN, MESSAGES_SENT, OUTBOX, task};

macro_rules! rules {
    ($which:literal) => {
        concat!(
            "SELECT id, tenant_id, user_id, organization_id, version, document, created_by, updated_by, heartbeat_due_ms \
             FROM rules ",
            $which
        )
    };
}
macro_rules! escalations {
    ($which:literal) => {
        concat!(
            "SELECT id, tenant_id, user_id, organization_id, rule_id, rule_version, execution_id, log_id, flow_id, run_id, \
             state, context, tags, response_deadline_ms, resolution_deadline_ms, version, wake_at_ms \
             FROM escalations ",
            $which
        )
    };
}
macro_rules! schedules {
    ($which:literal) => {
        concat!("SELECT id, tenant_id, user_id, organization_id, version, document FROM rotations ", $which)
    };
}
macro_rules! silences {
    ($which:literal) => {
        concat!(
            "SELECT id, tenant_id, user_id, organization_id, document, created_at_ms, version FROM quiet_times ",
            $which
        )
    };
}
const RULES: &str = rules!("WHERE tenant_id = $1 ORDER BY priority, id LIMIT $2");
const RULE: &str = rules!("WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2)");
const MISSED: &str = rules!(
    "WHERE heartbeat_due_ms IS NOT NULL AND heartbeat_due_ms <= $1 AND is_active ORDER BY heartbeat_due_ms, id LIMIT $2"
);
const NEXT_HEARTBEAT: &str = "SELECT heartbeat_due_ms FROM rules WHERE heartbeat_due_ms IS NOT NULL AND is_active \
    ORDER BY heartbeat_due_ms, id LIMIT 1";
const VERSION: &str = "SELECT document FROM rule_versions WHERE rule_id = $1 AND version = $2";
/// Of each rule the version that was in force.
const AT: &str = "SELECT v.rule_id, v.document FROM rule_versions v WHERE v.tenant_id = $1 AND v.at_ms <= $2 \
    AND v.document IS NOT NULL AND NOT EXISTS (SELECT 1 FROM rule_versions n WHERE n.rule_id = v.rule_id \
    AND n.at_ms <= $2 AND n.version > v.version) ORDER BY v.rule_id LIMIT $3";
const ESCALATION: &str = escalations!("WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2) AND state IS NOT NULL");
const OPEN_ON: &str = escalations!("WHERE rule_id = $1 AND open_subject = $2");
/// What was held back has no state, and no entry in the index of the rest, which is in this order.
pub(super) const NEWEST_OF_RULE: &str = escalations!(
    "WHERE rule_id = $1 AND tenant_id = $2 AND state IS NOT NULL ORDER BY triggered_at_ms DESC, id DESC LIMIT 1"
);
pub(super) const RECENT: &str = "SELECT triggered_at_ms, subject FROM escalations WHERE rule_id = $1 \
    AND triggered_at_ms > $2 AND state IS NOT NULL ORDER BY triggered_at_ms DESC, id DESC LIMIT $3";
/// `IS TRUE`: SQLite would else take the index of all that the rule has ever had, and not that of what is held back.
pub(super) const HELD_BACK: &str = "SELECT CAST(coalesce(sum(count), 0) AS bigint) FROM escalations WHERE rule_id = $1 \
    AND (tenant_id = $2) IS TRUE AND status = 'suppressed' AND bundled_into IS NULL";
const TOLD_AT_LATEST: &str = "SELECT wake_at_ms FROM escalations WHERE id = $1 AND tenant_id = $2 \
    AND status = 'suppressed' AND bundled_into IS NULL AND wake_at_ms IS NOT NULL";
const SUPPRESSED: &str = "SELECT id FROM escalations WHERE rule_id = $1 AND subject = $2 AND tenant_id = $3 \
    AND status = 'suppressed' AND bundled_into IS NULL LIMIT 1";
/// By the index of open events: the sign keeps the time from choosing the one of all events that a rule ever had, and the
/// comparison with the empty text, which is true of every subject, is one that SQLite looks up.
pub(super) const OPEN_AMONG: Bulk = Bulk {
    before: "WITH u (tenant_id, rule_name, place, before_ms, before_id) AS (",
    after: ") SELECT r.rule_name FROM u CROSS JOIN rules r WHERE r.tenant_id = u.tenant_id AND r.rule_name = u.rule_name \
            AND EXISTS (SELECT 1 FROM escalations e WHERE e.rule_id = r.id AND e.open_subject >= '' \
            AND (+e.triggered_at_ms, e.id) < (u.before_ms, u.before_id)) ORDER BY u.place LIMIT 1",
};
const WAKING: &str = "SELECT wake_at_ms, id, rule_id, tenant_id FROM escalations WHERE wake_at_ms IS NOT NULL \
    AND (wake_at_ms, id) > ($1, $2) AND wake_at_ms < $3 ORDER BY wake_at_ms, id LIMIT $4";
const OPEN_OF: &str = "SELECT coalesce(wake_at_ms, 0), id, rule_id, tenant_id FROM escalations \
    WHERE tenant_id = $1 AND status IN ('triggered', 'escalated', 'acknowledged') ORDER BY id LIMIT $2";
const OPEN_OF_RULE: &str = "SELECT coalesce(wake_at_ms, 0), id, rule_id, tenant_id FROM escalations \
    WHERE rule_id = $1 AND open_subject IS NOT NULL ORDER BY open_subject LIMIT $2";
const LIVE_RUNS: &str = "SELECT s.run_id FROM run_state s JOIN runs r ON r.id = s.run_id WHERE s.tenant_id = $1 \
    AND s.run_status IN ('pending', 'awaiting_approval', 'running', 'paused', 'compensating') AND r.flow_id = $2 \
    ORDER BY s.run_id LIMIT $3";
const LAST_ATTEMPT: &str = "SELECT id FROM log WHERE run_id = $1 AND step_no = $2 \
    AND ($3 IS NULL OR tenant_id = $3) ORDER BY attempt DESC LIMIT 1";
const UNKNOWN: &str = "SELECT id FROM log WHERE run_id = $1 AND error_code = 'outcome_unknown' LIMIT 1";
const ON_CALL: &str = schedules!("WHERE tenant_id = $1 AND name = $2");
const ON_CALL_BY_ID: &str = schedules!("WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2)");
const OVERRIDES: &str = "SELECT id, on_call_user_id, starts_at_ms, ends_at_ms FROM stand_ins \
    WHERE schedule_id = $1 AND ends_at_ms > $2 ORDER BY starts_at_ms, id LIMIT 1000";
const SILENCES: &str =
    silences!("WHERE tenant_id = $1 AND (ends_at_ms IS NULL OR ends_at_ms > $2) ORDER BY id LIMIT $3");
const SILENCE: &str = silences!("WHERE id = $1 AND ($2 IS NULL OR tenant_id = $2)");
/// Whole numbers: an interval's number is the time divided by its length.
const FIGURES: &str = "SELECT triggered_at_ms / $4, \
    CAST(sum(CASE WHEN status <> 'suppressed' THEN 1 ELSE 0 END) AS bigint), \
    CAST(sum(CASE WHEN status = 'resolved' THEN 1 ELSE 0 END) AS bigint), \
    CAST(sum(CASE WHEN status = 'failed' THEN 1 ELSE 0 END) AS bigint), \
    CAST(sum(CASE WHEN status = 'suppressed' THEN count ELSE 0 END) AS bigint), \
    CAST(sum(CASE WHEN response_breached OR resolution_breached THEN 1 ELSE 0 END) AS bigint), \
    CAST(avg(acknowledged_at_ms - triggered_at_ms) AS bigint), \
    CAST(avg(CASE WHEN status = 'resolved' THEN resolved_at_ms - triggered_at_ms END) AS bigint) \
    FROM escalations WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR rule_id = $2) AND triggered_at_ms >= $3 \
    GROUP BY 1 ORDER BY 1 LIMIT 2000";

impl EscalationBook for SqlStore {
    fn rules(&self, tenant: TenantId, limit: usize) -> BoxFuture<'_, Result<Vec<StoredRule>, StoreError>> {
        Box::pin(async move {
            let cells = [tenant.0.into(), (limit as i64).into()];
            many(&rows(self, Scope::Tenant(tenant), RULES, &cells).await?, rule)
        })
    }

    fn rule(&self, scope: Scope, id: RuleId) -> BoxFuture<'_, Result<Option<StoredRule>, StoreError>> {
        Box::pin(async move { one(&rows(self, scope, RULE, &[id.0.into(), tenant_of(scope).into()]).await?, rule) })
    }

    fn rule_version(&self, id: RuleId, version: i64) -> BoxFuture<'_, Result<Option<RuleDocument>, StoreError>> {
        Box::pin(async move {
            let found = rows(self, Scope::Platform, VERSION, &[id.0.into(), version.into()]).await?;
            let document = found.first().map(|row| row.fields().maybe_json()).transpose()?.flatten();
            Ok(document.map(|document| parsed(document, "a rule")).transpose()?)
        })
    }

    fn rules_at(
        &self,
        tenant: TenantId,
        at_ms: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(RuleId, RuleDocument)>, StoreError>> {
        Box::pin(async move {
            let cells = [tenant.0.into(), at_ms.into(), (limit as i64).into()];
            many(&rows(self, Scope::Tenant(tenant), AT, &cells).await?, |mut f| {
                Ok((RowId(f.uuid()?), parsed(f.json()?, "a rule")?))
            })
        })
    }

    fn missed_heartbeats(&self, now_ms: i64, limit: usize) -> BoxFuture<'_, Result<Vec<StoredRule>, StoreError>> {
        Box::pin(async move {
            many(&rows(self, Scope::Platform, MISSED, &[now_ms.into(), (limit as i64).into()]).await?, rule)
        })
    }

    fn next_heartbeat(&self) -> BoxFuture<'_, Result<Option<i64>, StoreError>> {
        Box::pin(async move { one(&rows(self, Scope::Platform, NEXT_HEARTBEAT, &[]).await?, |mut f| f.int()) })
    }

    fn escalation(&self, scope: Scope, id: RowId) -> BoxFuture<'_, Result<Option<StoredEscalation>, StoreError>> {
        Box::pin(async move {
            one(&rows(self, scope, ESCALATION, &[id.0.into(), tenant_of(scope).into()]).await?, escalation)
        })
    }

    fn open_on(&self, rule: RuleId, subject: String) -> BoxFuture<'_, Result<Option<StoredEscalation>, StoreError>> {
        Box::pin(async move {
            one(&rows(self, Scope::Platform, OPEN_ON, &[rule.0.into(), subject.into()]).await?, escalation)
        })
    }

    fn recent(
        &self,
        rule: RuleId,
        since_ms: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(i64, String)>, StoreError>> {
        Box::pin(async move {
            let cells = [rule.0.into(), since_ms.into(), (limit as i64).into()];
            let mut found =
                many(&rows(self, Scope::Platform, RECENT, &cells).await?, |mut f| Ok((f.int()?, f.text()?)))?;
            found.reverse();
            Ok(found)
        })
    }

    fn newest_of_rule(
        &self,
        tenant: TenantId,
        rule: RuleId,
    ) -> BoxFuture<'_, Result<Option<StoredEscalation>, StoreError>> {
        Box::pin(async move {
            let cells = [rule.0.into(), tenant.0.into()];
            one(&rows(self, Scope::Tenant(tenant), NEWEST_OF_RULE, &cells).await?, escalation)
        })
    }

    fn held_back(&self, tenant: TenantId, rule: RuleId) -> BoxFuture<'_, Result<u64, StoreError>> {
        Box::pin(async move {
            let cells = [rule.0.into(), tenant.0.into()];
            let found = one(&rows(self, Scope::Tenant(tenant), HELD_BACK, &cells).await?, |mut f| f.int())?;
            Ok(found.unwrap_or_default() as u64)
        })
    }

    fn told_at_latest(&self, tenant: TenantId, row: RowId) -> BoxFuture<'_, Result<Option<i64>, StoreError>> {
        Box::pin(async move {
            let cells = [row.0.into(), tenant.0.into()];
            one(&rows(self, Scope::Tenant(tenant), TOLD_AT_LATEST, &cells).await?, |mut f| f.int())
        })
    }

    fn suppressed(
        &self,
        tenant: TenantId,
        rule: RuleId,
        subject: String,
    ) -> BoxFuture<'_, Result<Option<RowId>, StoreError>> {
        Box::pin(async move {
            let cells = [rule.0.into(), subject.into(), tenant.0.into()];
            one(&rows(self, Scope::Tenant(tenant), SUPPRESSED, &cells).await?, |mut f| Ok(RowId(f.uuid()?)))
        })
    }

    fn open_among(&self, tenant: TenantId, rules: Vec<Holder>) -> BoxFuture<'_, Result<Option<String>, StoreError>> {
        Box::pin(async move {
            let mut among = Rows::new(5);
            for (place, Holder { name, before }) in rules.into_iter().enumerate() {
                let (before_ms, before) = before.map_or((i64::MAX, Uuid::nil()), |(at_ms, id)| (at_ms, id.0));
                among.push([tenant.0.into(), name.into(), (place as i64).into(), before_ms.into(), before.into()]);
            }
            // Where the statement is asked in pieces, they answer in the order of their rows.
            let found = self.read(Scope::Tenant(tenant)).await?.bulk(OPEN_AMONG, &among).await?;
            one(&found, |mut f| f.text())
        })
    }

    fn outbox(&self, escalation: RowId) -> BoxFuture<'_, Result<Vec<OutboxRow>, StoreError>> {
        Box::pin(async move { many(&rows(self, Scope::Platform, OUTBOX, &[escalation.0.into()]).await?, task) })
    }

    fn messages_sent(&self, tenant: TenantId, escalation: RowId) -> BoxFuture<'_, Result<Vec<OutboxRow>, StoreError>> {
        Box::pin(async move {
            let cells = [escalation.0.into(), tenant.0.into()];
            many(&rows(self, Scope::Tenant(tenant), MESSAGES_SENT, &cells).await?, task)
        })
    }

    fn begun(&self, tenant: TenantId, escalation: RowId) -> BoxFuture<'_, Result<Vec<(RowId, RunId)>, StoreError>> {
        Box::pin(async move {
            let cells = [escalation.0.into(), tenant.0.into()];
            many(&rows(self, Scope::Tenant(tenant), BEGUN, &cells).await?, |mut f| {
                Ok((RowId(f.uuid()?), parsed(f.json()?["run"].clone(), "the answer to a key")?))
            })
        })
    }

    fn waking(
        &self,
        until_ms: i64,
        after: Option<(i64, RowId)>,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Waking>, StoreError>> {
        Box::pin(async move {
            let (at_ms, id) = after.map_or((i64::MIN, Uuid::nil()), |(at_ms, id)| (at_ms, id.0));
            let cells = [at_ms.into(), id.into(), until_ms.into(), (limit as i64).into()];
            many(&rows(self, Scope::Platform, WAKING, &cells).await?, waking)
        })
    }

    fn open_of(&self, tenant: TenantId, limit: usize) -> BoxFuture<'_, Result<Vec<Waking>, StoreError>> {
        Box::pin(async move {
            let cells = [tenant.0.into(), (limit as i64).into()];
            many(&rows(self, Scope::Tenant(tenant), OPEN_OF, &cells).await?, waking)
        })
    }

    fn open_of_rule(&self, rule: RuleId, limit: usize) -> BoxFuture<'_, Result<Vec<Waking>, StoreError>> {
        Box::pin(async move {
            let cells = [rule.0.into(), (limit as i64).into()];
            many(&rows(self, Scope::Platform, OPEN_OF_RULE, &cells).await?, waking)
        })
    }

    fn live_runs(&self, tenant: TenantId, flow: FlowId, limit: usize) -> BoxFuture<'_, Result<Vec<RunId>, StoreError>> {
        Box::pin(async move {
            let cells = [tenant.0.into(), flow.0.into(), (limit as i64).into()];
            many(&rows(self, Scope::Tenant(tenant), LIVE_RUNS, &cells).await?, |mut f| Ok(RunId(f.uuid()?)))
        })
    }

    fn last_attempt(&self, scope: Scope, execution: ExecutionId) -> BoxFuture<'_, Result<Option<LogId>, StoreError>> {
        Box::pin(async move {
            let Some((run, step)) = execution.parts() else { return Ok(None) };
            let cells = [run.0.into(), i64::from(step).into(), tenant_of(scope).into()];
            one(&rows(self, scope, LAST_ATTEMPT, &cells).await?, |mut f| Ok(LogId(f.uuid()?)))
        })
    }

    fn about_failures(
        &self,
        tenant: TenantId,
        runs: Vec<RunId>,
        executions: Vec<ExecutionId>,
    ) -> BoxFuture<'_, Result<AboutFailures, StoreError>> {
        Box::pin(super::views::failures::about(self, tenant, runs, executions))
    }

    fn has_unknown(&self, run: RunId) -> BoxFuture<'_, Result<bool, StoreError>> {
        Box::pin(async move { Ok(!rows(self, Scope::Platform, UNKNOWN, &[run.0.into()]).await?.is_empty()) })
    }

    fn on_call(
        &self,
        tenant: TenantId,
        name: String,
        since_ms: i64,
    ) -> BoxFuture<'_, Result<Option<StoredOnCall>, StoreError>> {
        Box::pin(async move {
            let found = rows(self, Scope::Tenant(tenant), ON_CALL, &[tenant.0.into(), name.into()]).await?;
            schedule(self, Scope::Tenant(tenant), &found, since_ms).await
        })
    }

    fn on_call_by_id(
        &self,
        scope: Scope,
        id: RowId,
        since_ms: i64,
    ) -> BoxFuture<'_, Result<Option<StoredOnCall>, StoreError>> {
        Box::pin(async move {
            let found = rows(self, scope, ON_CALL_BY_ID, &[id.0.into(), tenant_of(scope).into()]).await?;
            schedule(self, scope, &found, since_ms).await
        })
    }

    fn silence(&self, scope: Scope, id: RowId) -> BoxFuture<'_, Result<Option<StoredSilence>, StoreError>> {
        Box::pin(
            async move { one(&rows(self, scope, SILENCE, &[id.0.into(), tenant_of(scope).into()]).await?, silence) },
        )
    }

    fn silences(
        &self,
        tenant: TenantId,
        now_ms: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<StoredSilence>, StoreError>> {
        Box::pin(async move {
            let cells = [tenant.0.into(), now_ms.into(), (limit as i64).into()];
            many(&rows(self, Scope::Tenant(tenant), SILENCES, &cells).await?, silence)
        })
    }

    fn figures(
        &self,
        scope: Scope,
        rule: Option<RuleId>,
        since_ms: i64,
        interval_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<Figures>, StoreError>> {
        Box::pin(async move {
            let rule = rule.map(|id| id.0);
            let cells = [tenant_of(scope).into(), rule.into(), since_ms.into(), interval_ms.into()];
            many(&rows(self, scope, FIGURES, &cells).await?, |f| figures(f, interval_ms))
        })
    }
}

pub(super) async fn rows(
    store: &SqlStore,
    scope: Scope,
    statement: &'static str,
    cells: &[Cell<'_>],
) -> Result<Vec<Row>, StoreError> {
    Ok(store.read(scope).await?.fetch(statement, cells).await?)
}

pub(super) fn many<T>(rows: &[Row], read: impl Fn(Fields<'_>) -> Result<T, Failure>) -> Result<Vec<T>, StoreError> {
    Ok(rows.iter().map(|row| read(row.fields())).collect::<Result<_, _>>()?)
}

pub(super) fn one<T>(rows: &[Row], read: impl Fn(Fields<'_>) -> Result<T, Failure>) -> Result<Option<T>, StoreError> {
    Ok(rows.first().map(|row| read(row.fields())).transpose()?)
}

pub(super) fn parsed<T: serde::de::DeserializeOwned>(value: Value, what: &str) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| Failure::Corrupt(format!("{what} cannot be read: {error}")))
}

fn rule(mut f: Fields<'_>) -> Result<StoredRule, Failure> {
    Ok(StoredRule {
        id: RowId(f.uuid()?),
        owner: owner(&mut f)?,
        version: f.int()?,
        document: parsed(f.json()?, "a rule")?,
        created_by: UserId(f.uuid()?),
        updated_by: UserId(f.uuid()?),
        heartbeat_due_ms: f.maybe_int()?,
    })
}

fn escalation(mut f: Fields<'_>) -> Result<StoredEscalation, Failure> {
    Ok(StoredEscalation {
        id: RowId(f.uuid()?),
        owner: owner(&mut f)?,
        rule: RowId(f.uuid()?),
        rule_version: f.int()?,
        execution: f.maybe_uuid()?.map(ExecutionId),
        log: f.maybe_uuid()?.map(LogId),
        flow: f.maybe_uuid()?.map(FlowId),
        run: f.maybe_uuid()?.map(RunId),
        event: parsed(f.json()?, "an escalation")?,
        context: Arc::new(f.json()?),
        verdicts: None,
        tags: parsed(f.json()?, "tags")?,
        deadlines: (f.maybe_int()?, f.maybe_int()?),
        version: f.int()?,
        wake_ms: f.maybe_int()?,
    })
}

fn waking(mut f: Fields<'_>) -> Result<Waking, Failure> {
    Ok(Waking { at_ms: f.int()?, escalation: RowId(f.uuid()?), rule: RowId(f.uuid()?), tenant: TenantId(f.uuid()?) })
}

async fn schedule(
    store: &SqlStore,
    scope: Scope,
    found: &[Row],
    since_ms: i64,
) -> Result<Option<StoredOnCall>, StoreError> {
    let Some(row) = found.first() else { return Ok(None) };
    let mut f = row.fields();
    let (id, owner, version) = (RowId(f.uuid()?), owner(&mut f)?, f.int()?);
    let document = parsed(f.json()?, "an on-call schedule")?;
    let overrides = many(&rows(store, scope, OVERRIDES, &[id.0.into(), since_ms.into()]).await?, |mut f| {
        let id = RowId(f.uuid()?);
        Ok((id, Override { user: UserId(f.uuid()?), starts_ms: f.int()?, ends_ms: f.int()? }))
    })?;
    Ok(Some(StoredOnCall { id, owner, version, document, overrides }))
}

fn silence(mut f: Fields<'_>) -> Result<StoredSilence, Failure> {
    Ok(StoredSilence {
        id: RowId(f.uuid()?),
        owner: owner(&mut f)?,
        document: parsed(f.json()?, "a silence")?,
        created_ms: f.int()?,
        version: f.int()?,
    })
}

fn figures(mut f: Fields<'_>, interval_ms: i64) -> Result<Figures, Failure> {
    Ok(Figures {
        start_ms: f.int()? * interval_ms,
        total: f.int()?,
        resolved: f.int()?,
        failed: f.int()?,
        suppressed: f.int()?,
        breached: f.int()?,
        acknowledge_ms: f.maybe_int()?.map(|ms| ms as f64),
        resolve_ms: f.maybe_int()?.map(|ms| ms as f64),
    })
}
