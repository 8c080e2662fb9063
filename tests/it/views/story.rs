//! The rows of the tests: two tenants with flows, runs in every state, a log, approvals, reviews and statistics.

mod escalations;
mod people;
mod signals;

use core314_domain::document::FlowDocument;
use core314_domain::ids::{ExecutionId, FlowId, LogId, NotificationId, OrganizationId, Owner, RowId, RunId, UserId};
use core314_domain::run::step::{Live, Step, StepStatus};
use core314_domain::run::{Closing, RunState};
use core314_domain::stats::{BUCKET_WIDTHS_MS, Stat, bucket_start_ms};
use core314_domain::words::RunStatus;
use serde_json::{Value, json};

use super::bed::{Lit, Narrow};

/// 2025-11-20T10:00:00.123Z.
pub const T0: i64 = 1_763_632_800_123;

pub const MIXED: &str = r#"
flow_name: incident
flow_description: it's a test
flow_category: ops
trigger_type: webhook
trigger_config: {match: all}
conditions: {severity: high}
execution_mode: mixed
max_execution_time_seconds: 600
retry_policy: {max_attempts: 4, backoff_seconds: 2.5}
approval_threshold: 0.8
input_schema: {type: object}
output_schema: {type: object}
fallback_flow_id: 01930000-0000-7000-8000-0000000000aa
error_notification_channels: [email]
tags: [ops, night]
metadata: {compliance_flags: [gdpr], security_level: high, data_classification: internal, big: 1e16, two: 2.0}
flow_steps:
  - id: tell
    config: {action_type: send_notification, action_target: slack, action_payload: {text: "{{ trigger.host }}"}, priority: 3, urgency: high}
  - id: drain
    config: {action_type: api_call, action_target: lb, scheduled_for: "{{ trigger.at }}", expires_in_seconds: 60}
    retry: {max_attempts: 2, backoff_seconds: 1}
    requires_approval: true
    connections: {inputs: [tell]}
  - id: restart
    config: {action_type: run_command, action_target: ops}
    dependency_mode: any
    connections: {inputs: [drain, tell]}
"#;

pub const SEQUENTIAL: &str = "flow_name: chain\ntrigger_type: manual\nflow_steps:\n  - {id: a, config: {action_type: \
    transform}}\n  - {id: b, requires_approval: true, config: {action_type: transform}}\n";

/// Rows, and the ids to ask for.
pub struct Story {
    pub rows: Vec<Narrow>,
    pub owners: [Owner; 2],
    pub flows: Vec<FlowId>,
    pub runs: Vec<RunId>,
    pub logs: Vec<LogId>,
    next: u128,
}

impl Story {
    pub fn tell() -> Self {
        let user = UserId(uuid::Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0001));
        let group = OrganizationId(uuid::Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0002));
        let owners = [Owner::new(user, Some(group)), Owner::new(user, None)];
        let mut story =
            Self { rows: Vec::new(), owners, flows: Vec::new(), runs: Vec::new(), logs: Vec::new(), next: 1 };
        for owner in owners {
            let mixed = story.flow(owner, MIXED, true);
            let chain = story.flow(owner, SEQUENTIAL, false);
            story.mixed_runs(owner, mixed);
            story.chained_runs(owner, chain);
            story.statistics(owner);
            story.audit(owner);
            story.notice(owner);
            story.signals(owner);
            story.escalations(owner);
            story.people(owner);
        }
        story
    }

    /// A number that is never the same, above the bits that number executions.
    fn random(&mut self) -> u128 {
        self.next += 1;
        self.next << 24
    }

    fn add<const N: usize>(&mut self, table: &'static str, columns: [(&'static str, Lit); N]) {
        self.rows.push(Narrow { table, columns: columns.into() });
    }

    fn flow(&mut self, owner: Owner, text: &str, is_active: bool) -> FlowId {
        let document = FlowDocument::from_text(text).expect("a valid document");
        let id = FlowId::new(T0, self.random());
        let value = document.to_value();
        self.add(
            "flows",
            [
                ("id", id.0.into()),
                ("tenant_id", owner.tenant.0.into()),
                ("user_id", owner.user.0.into()),
                ("organization_id", owner.organization.map(|o| o.0).into()),
                ("flow_name", document.flow_name.as_str().into()),
                ("flow_version", 1.into()),
                ("is_active", is_active.into()),
                ("is_template", false.into()),
                ("trigger_type", document.trigger_type.as_str().into()),
                ("document", value.clone().into()),
                ("created_by", owner.user.0.into()),
                ("updated_by", owner.user.0.into()),
                ("created_at_ms", T0.into()),
                ("updated_at_ms", (T0 + 1).into()),
            ],
        );
        self.add(
            "flow_versions",
            [
                ("flow_id", id.0.into()),
                ("flow_version", 1.into()),
                ("tenant_id", owner.tenant.0.into()),
                ("document", value.into()),
                ("created_by", owner.user.0.into()),
                ("created_at_ms", T0.into()),
            ],
        );
        for partition in if is_active { 0..2 } else { 0..0 } {
            self.add(
                "flow_counters",
                [
                    ("flow_id", id.0.into()),
                    ("partition", partition.into()),
                    ("tenant_id", owner.tenant.0.into()),
                    ("runs", 3.into()),
                    ("successful", 2.into()),
                    ("failed", 1.into()),
                    ("duration_sum_ms", 1_000.into()),
                    ("last_at_ms", (T0 + partition).into()),
                ],
            );
        }
        self.flows.push(id);
        id
    }

    fn run(&mut self, owner: Owner, flow: (FlowId, &str), state: &RunState) -> RunId {
        let id = RunId::new(T0, self.random());
        let parent = self.runs.last().map(|r| r.0);
        let full = self.runs.len().is_multiple_of(2);
        let some = |id: uuid::Uuid| full.then_some(id);
        self.add(
            "runs",
            [
                ("id", id.0.into()),
                ("tenant_id", owner.tenant.0.into()),
                ("user_id", owner.user.0.into()),
                ("organization_id", owner.organization.map(|o| o.0).into()),
                ("partition", 3.into()),
                ("flow_id", flow.0.0.into()),
                ("flow_version", 1.into()),
                ("flow_name", flow.1.into()),
                ("trigger_type", "webhook".into()),
                ("trigger_source", "manual".into()),
                ("trigger_context", json!({"host": "ü'1", "n": 1e20}).into()),
                ("webhook", Lit::Null),
                ("input", full.then(|| json!({"a": [1, 2.5, null]})).into()),
                ("triggered_by", "user:1".into()),
                ("environment", "test".into()),
                ("decision_event_id", some(flow.0.0).into()),
                ("recommendation_id", some(flow.0.0).into()),
                ("parent_run_id", parent.filter(|_| full).into()),
                ("idempotency_key", full.then_some("k").into()),
                ("accepted_at_ms", T0.into()),
                ("deadline_at_ms", full.then_some(T0 + 600_000).into()),
            ],
        );
        let saved = state.save(|no, _| panic!("{no} is no step of the flow"));
        self.add(
            "run_state",
            [
                ("run_id", id.0.into()),
                ("tenant_id", owner.tenant.0.into()),
                ("partition", 3.into()),
                ("version", 1.into()),
                ("run_status", saved.status.as_str().into()),
                ("state", saved.state.as_str().into()),
                ("started_at_ms", saved.started_at_ms.into()),
                ("completed_at_ms", saved.completed_at_ms.into()),
            ],
        );
        self.runs.push(id);
        id
    }

    /// An attempt; `result` tells a success, and `is_final` whether it ended its execution.
    fn attempt(&mut self, owner: Owner, run: RunId, place: (i64, i64), result: Option<Value>, is_final: bool) -> LogId {
        let id = LogId::new(T0, self.random());
        let http = is_final;
        let success = result.is_some();
        self.add(
            "log",
            [
                ("id", id.0.into()),
                ("tenant_id", owner.tenant.0.into()),
                ("run_id", run.0.into()),
                ("step_no", place.0.into()),
                ("attempt", place.1.into()),
                ("partition", 3.into()),
                ("seq", (self.logs.len() as i64 + 1).into()),
                ("row_hash", Lit::Bytes(7)),
                ("action_type", "api_call".into()),
                ("action_target", "lb".into()),
                ("payload", json!({"x": 1}).into()),
                ("execution_status", if success { "completed" } else { "failed" }.into()),
                ("is_final", is_final.into()),
                ("success", success.into()),
                ("result", result.into()),
                ("error", (!success).then_some("no").into()),
                ("error_code", (!success).then_some("timeout").into()),
                ("error_details", (!success).then(|| json!({"why": "slow"})).into()),
                ("started_at_ms", (T0 + 1_000 * (place.1 + 1)).into()),
                ("completed_at_ms", (T0 + 1_000 * (place.1 + 1) + 250).into()),
                ("duration_ms", 250.into()),
                ("queue_wait_ms", 20.into()),
                ("http_method", http.then_some("POST").into()),
                ("http_endpoint", http.then_some("https://x/y").into()),
                ("http_status_code", http.then_some(200).into()),
                ("http_time_ms", http.then_some(240).into()),
                ("http_request_bytes", http.then_some(10).into()),
                ("http_response_bytes", http.then_some(20).into()),
            ],
        );
        self.logs.push(id);
        id
    }

    fn approval(&mut self, owner: Owner, run: RunId, step: i64, status: &str) {
        let decided = status != "pending";
        let id = RowId::new(T0, self.random());
        self.add(
            "approvals",
            [
                ("id", id.0.into()),
                ("tenant_id", owner.tenant.0.into()),
                ("run_id", run.0.into()),
                ("step_no", step.into()),
                ("status", status.into()),
                ("decided_by", decided.then_some(owner.user.0).into()),
                ("notes", decided.then_some("fine").into()),
                ("created_at_ms", T0.into()),
                ("decided_at_ms", decided.then_some(T0 + 5).into()),
            ],
        );
    }

    fn mixed_runs(&mut self, owner: Owner, flow: FlowId) {
        use StepStatus::{AwaitingApproval, Blocked, Completed, Expired, Failed, InProgress, Pending, Retrying};
        let of = (flow, "incident");
        let waiting = state(RunStatus::Running, &[Completed, AwaitingApproval, Blocked]);
        let run = self.run(owner, of, &waiting);
        self.attempt(owner, run, (0, 0), Some(json!({"ok": true})), true);
        self.approval(owner, run, 1, "pending");
        let retrying = state(RunStatus::Running, &[Retrying, Blocked, Blocked]);
        let run = self.run(owner, of, &retrying);
        self.attempt(owner, run, (0, 0), None, false);
        let done = state(RunStatus::Completed, &[Completed, Completed, Completed]);
        let run = self.run(owner, of, &done);
        self.attempt(owner, run, (0, 0), None, false);
        self.attempt(owner, run, (0, 1), Some(json!({"partial": true})), true);
        self.attempt(owner, run, (1, 0), Some(json!("text")), true);
        self.attempt(owner, run, (2, 0), Some(json!({"last": 2.0, "huge": 1e16})), true);
        self.approval(owner, run, 1, "approved");
        let failed = RunState { error: Some("step 'tell': no".to_owned()), ..state(RunStatus::Failed, &[Failed; 3]) };
        let run = self.run(owner, of, &failed);
        let log = self.attempt(owner, run, (0, 0), None, true);
        self.review(owner, log);
        self.run(owner, of, &state(RunStatus::Pending, &[Blocked; 3]));
        self.run(owner, of, &state(RunStatus::Running, &[InProgress, Pending, Expired]));
    }

    fn chained_runs(&mut self, owner: Owner, flow: FlowId) {
        use StepStatus::{Blocked, Cancelled, Completed, Rejected, SkippedByWhen, SkippedUpstream};
        let of = (flow, "chain");
        let run = self.run(owner, of, &state(RunStatus::Failed, &[Completed, Rejected]));
        self.approval(owner, run, 1, "rejected");
        self.run(owner, of, &state(RunStatus::Completed, &[SkippedByWhen, SkippedUpstream]));
        self.run(owner, of, &state(RunStatus::Cancelled, &[Cancelled, Cancelled]));
        let closing = RunState { closing: Some(Closing::TimedOut), ..state(RunStatus::Paused, &[Blocked, Blocked]) };
        self.run(owner, of, &closing);
        self.run(owner, of, &state(RunStatus::AwaitingApproval, &[Blocked, Blocked]));
    }

    fn review(&mut self, owner: Owner, log: LogId) {
        let id = RowId::new(T0, self.random());
        self.add(
            "execution_reviews",
            [
                ("id", id.0.into()),
                ("tenant_id", owner.tenant.0.into()),
                ("execution_log_id", log.0.into()),
                ("notes", "looked at".into()),
                ("created_at_ms", T0.into()),
            ],
        );
    }

    fn audit(&mut self, owner: Owner) {
        let id = RowId::new(T0, self.random());
        self.add(
            "audit",
            [
                ("id", id.0.into()),
                ("tenant_id", owner.tenant.0.into()),
                ("user_id", owner.user.0.into()),
                ("organization_id", owner.organization.map(|o| o.0).into()),
                ("partition", 3.into()),
                ("seq", (self.next as i64).into()),
                ("row_hash", Lit::Bytes(7)),
                ("decision_event_id", id.0.into()),
                ("event_type", "flow_created".into()),
                ("actor", "user:1".into()),
                ("subject_type", "flow".into()),
                ("subject_id", id.0.into()),
                ("summary", "made".into()),
                ("details", json!({"a": 1}).into()),
                ("at_ms", T0.into()),
            ],
        );
    }

    fn notice(&mut self, owner: Owner) {
        let id = NotificationId::new(T0, self.random());
        self.add(
            "notices",
            [
                ("id", id.0.into()),
                ("tenant_id", owner.tenant.0.into()),
                ("user_id", owner.user.0.into()),
                ("organization_id", owner.organization.map(|o| o.0).into()),
                ("rule_id", id.0.into()),
                ("type", "info".into()),
                ("title", "Done".into()),
                ("message", "it's done".into()),
                ("severity", "low".into()),
                ("status", "archived".into()),
                ("action_url", "/runs".into()),
                ("metadata", json!({"a": 1}).into()),
                ("created_at_ms", T0.into()),
                ("updated_at_ms", (T0 + 2).into()),
                ("read_at_ms", (T0 + 1).into()),
                ("archived_at_ms", (T0 + 2).into()),
            ],
        );
    }

    /// An attempt every ten minutes for six hours, in both widths.
    fn statistics(&mut self, owner: Owner) {
        for width in BUCKET_WIDTHS_MS {
            let mut buckets: std::collections::BTreeMap<(i64, i64), Stat> = std::collections::BTreeMap::new();
            for n in 0..36 {
                let at_ms = T0 + n * 600_000;
                let key = (n % 2, bucket_start_ms(at_ms, width));
                buckets.entry(key).or_default().record_attempt(true, n % 3 > 0, Some(n + 1));
            }
            for ((partition, start), stat) in buckets {
                self.add(
                    "statistics",
                    [
                        ("partition", partition.into()),
                        ("tenant_id", owner.tenant.0.into()),
                        ("action_type", "api_call".into()),
                        ("bucket_width_ms", width.into()),
                        ("bucket_start_ms", start.into()),
                        ("executions", stat.executions.into()),
                        ("successful", stat.successful.into()),
                        ("failed", stat.failed.into()),
                        ("attempts", stat.attempts.into()),
                        ("duration_sum_ms", stat.duration_sum_ms.into()),
                        ("sketch", serde_json::to_value(&stat.sketch).expect("a sketch is JSON").into()),
                    ],
                );
            }
        }
    }

    /// The executions of the run with this number.
    pub fn execution(&self, run: usize, step: u32) -> ExecutionId {
        self.runs[run].execution(step)
    }
}

/// A run's state in which each step stands so, with what a live step carries.
fn state(status: RunStatus, steps: &[StepStatus]) -> RunState {
    let live = |step: StepStatus| {
        let under_way = step == StepStatus::InProgress;
        (!step.is_terminal() && step != StepStatus::Blocked).then(|| {
            Box::new(Live {
                attempt: u32::from(step == StepStatus::Retrying),
                released_at_ms: T0 + 2,
                due_at_ms: Some(T0 + 3),
                expires_at_ms: Some(T0 + 60_000),
                started_at_ms: under_way.then_some(T0 + 4),
                epoch: under_way.then_some(9),
                ..Live::default()
            })
        })
    };
    RunState {
        status,
        steps: steps.iter().map(|s| Step { status: *s, live: live(*s) }).collect(),
        started_at_ms: (status != RunStatus::Pending).then_some(T0 + 1),
        completed_at_ms: status.is_terminal().then_some(T0 + 5_001),
        ..RunState::default()
    }
}
