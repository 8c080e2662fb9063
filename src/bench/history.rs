//! A long history in an empty store, for measuring lists: thirty days of runs with everything that they leave behind.
//!
//! It is written by the store's own commits, in the order of time, as an engine would have written it: rows are chained,
//! counted and indexed like any others. One tenant has most of it, a few have some, and many have little that is old,
//! because planners treat a frequent and a rare tenant differently (ADR 002). Its random numbers are seeded: two stores
//! get the same runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail};
use core314_actors::ports::notifications::{Cause, Notification};
use core314_actors::ports::store::{Accept, DeadLetter, FlowWrite, Outcome, RunEnd, RunWrite, StatisticsWrite, Write};
use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, NotificationId, Owner, RowId, RunId, UserId};
use core314_domain::log::{Failure, LogEntry};
use core314_domain::run::{FlowRef, RunHeader, SavedState, Timing};
use core314_domain::stats::{BUCKET_WIDTHS_MS, Stat, StatKey, bucket_start_ms};
use core314_domain::words::{ExecutionStatus, NotificationType, RunStatus, Severity, TriggerType};
use futures_util::future::try_join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, json};
use uuid::Uuid;

use super::Ports;

/// How far back it goes.
pub const SPAN_MS: i64 = 30 * 86_400_000;
/// Partitions, as configured by default.
const PARTITIONS: u16 = 64;
/// Writes of one commit.
const BATCH: usize = 512;
/// Tenants with this many runs each, older than everybody else's.
const RARE: usize = 20;
const RARE_RUNS: usize = 50;
/// What a statistic waits for before it is written whole: attempts end after the run's accept.
const SETTLED_MS: i64 = 600_000;
const HOUR_MS: i64 = 3_600_000;

/// Statuses of runs, how many of a thousand have them, and the letters of their two steps.
const FATES: [(RunStatus, u32, &str); 7] = [
    (RunStatus::Completed, 930, "CC"),
    (RunStatus::Failed, 40, "CF"),
    (RunStatus::Cancelled, 10, "CX"),
    (RunStatus::TimedOut, 5, "CX"),
    (RunStatus::RolledBack, 5, "CF"),
    (RunStatus::AwaitingApproval, 8, "CA"),
    (RunStatus::Paused, 2, "CB"),
];

/// Whose runs they are.
pub struct Tenant {
    pub name: &'static str,
    pub owner: Owner,
    flows: Vec<FlowId>,
}

/// A history in the making.
pub struct History<'a> {
    ports: &'a Ports,
    random: StdRng,
    pub tenants: Vec<Tenant>,
    pub now_ms: i64,
    epoch: i64,
    /// Rows of the log so far, and how many there shall be.
    rows: u64,
    wanted: u64,
    /// By partition.
    statistics: BTreeMap<(u16, StatKey), Stat>,
    /// The last row of each partition's log.
    ends: BTreeMap<u16, i64>,
    notifications: Vec<Notification>,
}

impl<'a> History<'a> {
    /// Prepares the tenants and their flows.
    pub async fn begin(ports: &'a Ports, now_ms: i64, wanted: u64) -> anyhow::Result<Self> {
        let sizes = [("large", 1, 500), ("middle", 3, 100), ("small", 5, 20), ("rare", RARE, 5)];
        let names = sizes.iter().flat_map(|(name, count, flows)| std::iter::repeat_n((*name, *flows), *count));
        let start_ms = now_ms - SPAN_MS;
        let tenants = names.enumerate().map(|(no, (name, flows))| Tenant {
            name,
            owner: Owner::new(UserId(Uuid::from_u128(0x0314_0000 + no as u128)), None),
            flows: (0..flows).map(|flow| FlowId::new(start_ms, (no * 1_000 + flow) as u128)).collect(),
        });
        let mut history = Self {
            ports,
            random: StdRng::seed_from_u64(314),
            tenants: tenants.collect(),
            now_ms,
            epoch: ports.store.take_partitions(RowId::new(now_ms, 314), PARTITIONS, start_ms).await?,
            rows: 0,
            wanted,
            statistics: BTreeMap::new(),
            ends: BTreeMap::new(),
            notifications: Vec::new(),
        };
        let flows: Vec<Write> = history.tenants.iter().flat_map(|tenant| flows(tenant, start_ms)).collect();
        history.commit(flows).await?;
        Ok(history)
    }

    /// Writes the whole of it.
    pub async fn fill(&mut self, say: &dyn Fn(&str)) -> anyhow::Result<()> {
        let (mut run_no, mut settled_ms) = (0, 0);
        while self.rows < self.wanted {
            say(&format!("{} of {} rows of the log are stored", self.rows, self.wanted));
            let at_ms = self.at_ms();
            let writes: Vec<Write> = (run_no..run_no + BATCH * 4).flat_map(|no| self.run(no)).collect();
            run_no += BATCH * 4;
            self.commit(writes).await?;
            if at_ms - settled_ms > HOUR_MS {
                settled_ms = at_ms;
                self.flush(at_ms - SETTLED_MS).await?;
            }
        }
        self.flush(i64::MAX).await?;
        for notification in std::mem::take(&mut self.notifications) {
            self.ports.inbox.deliver(notification).await?;
        }
        for tenant in &self.tenants {
            self.ports.notifications.read_all(tenant.owner.into(), self.now_ms - SPAN_MS / 2).await?;
        }
        Ok(())
    }

    /// The time that the history has reached.
    fn at_ms(&self) -> i64 {
        let share = self.rows as f64 / self.wanted.max(1) as f64;
        self.now_ms - SPAN_MS + (SPAN_MS as f64 * share.min(1.0)) as i64
    }

    /// Who has this run: the first ones belong to the rare tenants.
    fn tenant_of(&mut self, no: usize) -> usize {
        let frequent = self.tenants.len() - RARE;
        if no < RARE * RARE_RUNS {
            return frequent + no % RARE;
        }
        match self.random.random_range(0..100) {
            0..80 => 0,
            80..95 => self.random.random_range(1..4),
            _ => self.random.random_range(4..frequent),
        }
    }

    /// One run, with its attempts, and what now and then comes with it.
    fn run(&mut self, no: usize) -> Vec<Write> {
        let place = self.tenant_of(no);
        let at_ms = self.at_ms();
        let id = RunId::new(at_ms, self.random.random());
        let partition = (id.0.as_u128() >> 24) as u16 % PARTITIONS;
        let flow = self.random.random_range(0..self.tenants[place].flows.len());
        let mut lot = self.random.random_range(0..1_000);
        let fate = FATES.iter().find(|(_, share, _)| {
            let is_hit = lot < *share;
            lot = lot.saturating_sub(*share);
            is_hit
        });
        let (status, _, letters) = fate.expect("the shares make up a thousand");
        let (owner, flows) = (self.tenants[place].owner, &self.tenants[place].flows);
        let header = header(id, owner, partition, flows, flow, at_ms, no);
        let log = attempts(&mut self.random, letters, at_ms);
        for entry in &log {
            self.count(partition, owner, entry);
        }
        self.rows += log.len() as u64;
        let end_ms = log.last().map_or(at_ms, |entry| entry.completed_at_ms);
        let mut writes = Vec::new();
        if no.is_multiple_of(200) {
            self.notifications.push(notification(id, owner, end_ms));
        }
        if no.is_multiple_of(1_000) {
            writes.push(Write::DeadLetter(Box::new(dead_letter(id, owner, end_ms))));
        }
        let end = end_of(&header, *status, (at_ms, end_ms));
        let live = if *letters == "CA" { format!(r#","l":{{"1":{{"r":{at_ms}}}}}"#) } else { String::new() };
        let accept =
            Accept { header: Arc::new(header), idempotency: None, definition: None, schedule: None, reuse: None };
        writes.push(Write::Run(Arc::new(RunWrite {
            id,
            tenant: owner.tenant,
            partition,
            epoch: self.epoch,
            expected_version: 0,
            accept: Some(Box::new(accept)),
            state: SavedState {
                status: *status,
                state: format!(r#"{{"v":1,"s":"{letters}"{live}}}"#),
                started_at_ms: Some(at_ms),
                completed_at_ms: status.is_terminal().then_some(end_ms),
            },
            timing: Timing::default(),
            log,
            audit: vec![audit(owner, partition, AuditEvent::OrchestrationStarted, Some(id.0), at_ms)],
            approvals: Vec::new(),
            waits: Vec::new(),
            phases: Vec::new(),
            cached: Vec::new(),
            bytes: 0,
            ended: status.is_terminal().then_some(end),
            reopened: None,
            limit: None,
            failures: Vec::new(),
        })));
        writes
    }

    fn count(&mut self, partition: u16, owner: Owner, entry: &LogEntry) {
        for bucket_width_ms in BUCKET_WIDTHS_MS {
            let key = StatKey {
                tenant: owner.tenant,
                action_type: entry.action_type.to_string(),
                bucket_width_ms,
                bucket_start_ms: bucket_start_ms(entry.completed_at_ms, bucket_width_ms),
            };
            self.statistics.entry((partition, key)).or_default().record(entry);
        }
    }

    /// Writes the statistics of the time buckets that are over.
    async fn flush(&mut self, until_ms: i64) -> anyhow::Result<()> {
        let all = std::mem::take(&mut self.statistics);
        let (over, open) =
            all.into_iter().partition(|((_, key), _)| key.bucket_start_ms + key.bucket_width_ms <= until_ms);
        self.statistics = open;
        let over: BTreeMap<(u16, StatKey), Stat> = over;
        let mut rows: BTreeMap<u16, Vec<(StatKey, Stat)>> = BTreeMap::new();
        for ((partition, key), stat) in over {
            rows.entry(partition).or_default().push((key, stat));
        }
        let writes = rows.into_iter().map(|(partition, rows)| {
            let covered_seq = self.ends.get(&partition).copied().unwrap_or(0);
            Write::Statistics(Box::new(StatisticsWrite { partition, epoch: self.epoch, rows, covered_seq }))
        });
        self.commit(writes.collect()).await
    }

    /// Commits in batches, in as many lanes as the store has. All writes of a partition take one lane.
    async fn commit(&mut self, writes: Vec<Write>) -> anyhow::Result<()> {
        let mut lanes: Vec<Vec<Write>> = vec![Vec::new(); self.ports.store.lanes()];
        let count = lanes.len();
        for write in writes {
            lanes[usize::from(partition_of(&write)) % count].push(write);
        }
        let store = &self.ports.store;
        let lanes = lanes.into_iter().map(async |lane| {
            let mut ends = Vec::new();
            for batch in lane.chunks(BATCH) {
                let outcomes = store.commit(batch.to_vec()).await?;
                for (write, outcome) in batch.iter().zip(outcomes) {
                    match outcome {
                        Outcome::Committed { log_seq } => {
                            ends.extend(log_seq.map(|seq| (partition_of(write), seq)));
                        }
                        other => bail!("the store answered {other:?}: use an empty one"),
                    }
                }
            }
            Ok(ends)
        });
        let ends = try_join_all(lanes).await.context("the history could not be stored")?;
        self.ends.extend(ends.into_iter().flatten());
        Ok(())
    }
}

/// The partition whose lane a write takes. Flows and dead letters have none of their own.
fn partition_of(write: &Write) -> u16 {
    match write {
        Write::Run(run) => run.partition,
        Write::Statistics(statistics) => statistics.partition,
        _ => 0,
    }
}

/// The flows of a tenant: two steps each, of different triggers.
fn flows(tenant: &Tenant, at_ms: i64) -> Vec<Write> {
    let triggers = [TriggerType::Manual, TriggerType::Webhook, TriggerType::Schedule];
    let flows = tenant.flows.iter().enumerate().map(|(no, id)| {
        let document = json!({
            "flow_name": format!("flow-{no}"),
            "flow_description": "Looks at a host and tells somebody how it is",
            "trigger_type": triggers[no % triggers.len()].as_str(),
            "execution_mode": "sequential",
            "tags": ["bench", "history"],
            "flow_steps": [
                {"id": "look", "config": {"action_type": "transform", "action_payload": {"values": {"n": 1}}}},
                {"id": "tell", "config": {"action_type": "api_call", "action_target": "receiver",
                    "action_payload": {"method": "POST", "url": "https://example.com/", "json": {"n": 1}}}},
            ],
        });
        Write::Flow(Box::new(FlowWrite {
            id: *id,
            owner: tenant.owner,
            expected_version: 0,
            document: FlowDocument::from_value(document).expect("it is a document"),
            schedule: None,
            by: tenant.owner.user,
            at_ms,
            rollout: None,
            audit: audit(tenant.owner, 0, AuditEvent::FlowCreated, Some(id.0), at_ms),
        }))
    });
    flows.collect()
}

/// How a run counts for its flow that lived from then to then.
fn end_of(header: &RunHeader, status: RunStatus, (from_ms, to_ms): (i64, i64)) -> RunEnd {
    RunEnd {
        flow: Some(header.flow.id),
        flow_version: header.flow.version,
        key: None,
        status,
        duration_ms: to_ms - from_ms,
        at_ms: to_ms,
        owner: header.owner,
        fallback: None,
        is_told: false,
        outcome: None,
    }
}

fn audit(owner: Owner, partition: u16, event: AuditEvent, subject_id: Option<Uuid>, at_ms: i64) -> AuditEntry {
    AuditEntry {
        owner,
        partition,
        event,
        actor: format!("user:{}", owner.user),
        subject_type: "flow_run",
        subject_id,
        decision_event_id: None,
        summary: "the flow was started by hand".to_owned(),
        details: json!({"trigger_type": "manual", "trigger_source": "manual", "flow_name": "flow"}),
        at_ms,
    }
}

fn header(id: RunId, owner: Owner, partition: u16, flows: &[FlowId], flow: usize, at_ms: i64, no: usize) -> RunHeader {
    RunHeader {
        id,
        owner,
        partition,
        flow: FlowRef { id: flows[flow], version: 1, name: format!("flow-{flow}").into() },
        trigger_type: TriggerType::Manual,
        trigger_source: "manual".into(),
        trigger_context: Arc::new(json!({"n": no, "host": "web-1", "severity": "high", "text": "x".repeat(200)})),
        webhook: Arc::default(),
        input: Arc::default(),
        triggered_by: format!("user:{}", owner.user).into(),
        environment: "production".into(),
        decision_event_id: None,
        recommendation_id: None,
        parent_run_id: None,
        idempotency_key: None,
        run_key: no.is_multiple_of(50).then(|| format!("host-{no}").into()),
        accepted_at_ms: at_ms,
        deadline_at_ms: None,
    }
}

/// The attempts of the steps that were tried: a failed step was tried three times.
fn attempts(random: &mut StdRng, letters: &str, at_ms: i64) -> Vec<LogEntry> {
    let steps = ["transform", "api_call"].into_iter().zip(letters.chars()).zip(0_u32..);
    let mut log: Vec<LogEntry> = Vec::new();
    let mut now_ms = at_ms;
    for ((action_type, letter), step) in steps {
        let tries: u32 = match letter {
            'C' => 1,
            'F' => 3,
            _ => 0,
        };
        for attempt in 0..tries {
            // Most are short; one in six takes longer than a tenth of a second, up to two seconds.
            let duration_ms = 2_f64.powf(11.0 * random.random::<f64>().powi(3)) as i64;
            let is_final = attempt + 1 == tries;
            let is_good = letter == 'C';
            log.push(LogEntry {
                step,
                attempt,
                action_type: action_type.into(),
                action_target: if step == 0 { "" } else { "receiver" }.into(),
                payload: Arc::new(json!({"method": "POST", "url": "https://example.com/", "text": "x".repeat(150)})),
                status: match (is_good, is_final) {
                    (true, _) => ExecutionStatus::Completed,
                    (false, true) => ExecutionStatus::Failed,
                    (false, false) => ExecutionStatus::Retrying,
                },
                is_final,
                result: is_good.then(|| Arc::new(json!({"status": 200, "body": {"text": "y".repeat(100)}}))),
                failure: (!is_good).then(|| Failure::retryable("http_status", "the other side answered 503")),
                started_at_ms: now_ms + 2,
                completed_at_ms: now_ms + 2 + duration_ms,
                duration_ms: Some(duration_ms),
                queue_wait_ms: 2,
                http: None,
            });
            now_ms += 2 + duration_ms;
        }
    }
    log
}

fn notification(run: RunId, owner: Owner, at_ms: i64) -> Notification {
    Notification {
        id: NotificationId::new(at_ms, run.0.as_u128()),
        owner,
        cause: Cause::Execution(run.execution(1)),
        rule: None,
        kind: NotificationType::Info,
        severity: Severity::Low,
        title: "A host was looked at".to_owned(),
        message: "web-1 answers".to_owned(),
        action_url: None,
        metadata: Map::new(),
        is_onward: true,
        at_ms,
    }
}

fn dead_letter(run: RunId, owner: Owner, at_ms: i64) -> DeadLetter {
    DeadLetter {
        id: RowId::new(at_ms, run.0.as_u128()),
        owner,
        run: Some(run),
        actor_path: "/root/partitions/7/run".to_owned(),
        message: "Start".to_owned(),
        failure: "panicked".to_owned(),
        at_ms,
    }
}
