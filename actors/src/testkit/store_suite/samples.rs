//! Writes to try a store with, drawn from a seed.

use std::sync::Arc;

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, LogId, OrganizationId, Owner, RowId, RunId, UserId, WebhookId};
use core314_domain::log::{Failure, HttpFigures, LogEntry, OUTCOME_UNKNOWN};
use core314_domain::run::{FlowRef, RunHeader, SavedState, Timing};
use core314_domain::words::{DeliveryStatus, ExecutionStatus, RunStatus, TriggerType};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::ports::store::{Accept, ApprovalWrite, Delivery, FlowWrite, Idempotency, RunEnd, RunWrite};
use crate::ports::webhook::{Kept, Respond, Webhook, WebhookSecret, WebhookTarget};

/// The time of all samples.
pub const NOW_MS: i64 = 1_790_000_000_000;

/// Draws samples.
pub struct Samples {
    pub rng: StdRng,
}

impl Samples {
    pub fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed) }
    }

    pub fn row_id(&mut self) -> RowId {
        RowId::new(NOW_MS, self.rng.random())
    }

    pub fn run_id(&mut self) -> RunId {
        RunId::new(NOW_MS, self.rng.random())
    }

    pub fn flow_id(&mut self) -> FlowId {
        FlowId::new(NOW_MS, self.rng.random())
    }

    pub fn owner(&mut self) -> Owner {
        let organization = self.rng.random_bool(0.5).then(|| OrganizationId::new(NOW_MS, self.rng.random()));
        Owner::new(UserId::new(NOW_MS, self.rng.random()), organization)
    }

    pub fn audit(&mut self, owner: Owner, partition: u16) -> AuditEntry {
        AuditEntry {
            owner,
            partition,
            event: AuditEvent::OrchestrationStarted,
            actor: format!("user:{}", owner.user),
            subject_type: "flow_run",
            subject_id: self.rng.random_bool(0.5).then(|| self.row_id().0),
            decision_event_id: None,
            summary: "it began".to_owned(),
            details: json!({"n": self.rng.random_range(0..100), "a": [1.5, null]}),
            at_ms: NOW_MS,
        }
    }

    /// A new webhook with every optional part.
    pub fn webhook(&mut self, target: WebhookTarget) -> Webhook {
        let id = WebhookId(self.row_id().0);
        let ended = WebhookSecret { kept: Kept::Digest(self.rng.random()), ends_at_ms: Some(NOW_MS) };
        Webhook {
            id,
            owner: self.owner(),
            name: format!("webhook {id}"),
            verification: "hmac".to_owned(),
            options: json!({"header": "x-signature"}),
            secrets: vec![WebhookSecret { kept: Kept::Sealed("v1.k.x".to_owned()), ends_at_ms: None }, ended],
            target,
            dedup_key: Some("trigger.id".to_owned()),
            respond: Some(Respond { wait_seconds: 5, body: Some(json!({"answer": "{{ run.output }}"})) }),
            is_active: true,
            version: 1,
            created_at_ms: NOW_MS,
            updated_at_ms: NOW_MS + 1,
        }
    }

    /// A delivery of the webhook that no flow wanted.
    pub fn delivery(&mut self, webhook: &Webhook) -> Delivery {
        Delivery {
            id: self.row_id(),
            webhook: webhook.id,
            owner: webhook.owner,
            status: DeliveryStatus::NoMatch,
            is_test: false,
            key: Some("msg_1".to_owned()),
            run: None,
            why_not: json!([{"flow_id": self.flow_id(), "flow_name": "f", "clause": "trigger.n == 1"}]),
            error: None,
            request: Arc::new(json!({"headers": {"x-kind": "order"}, "query": {"a": "1"}})),
            body: json!({"n": 2}),
            is_body_cut: false,
            received_at_ms: NOW_MS,
            keep: None,
        }
    }

    /// A new run with every optional part.
    pub fn accept(&mut self, partition: u16, epoch: i64) -> RunWrite {
        let owner = self.owner();
        self.accept_as(partition, epoch, owner)
    }

    /// A new run of this owner.
    pub fn accept_as(&mut self, partition: u16, epoch: i64, owner: Owner) -> RunWrite {
        let id = self.run_id();
        let key = format!("key-{}", self.rng.random::<u64>());
        let header = RunHeader {
            id,
            owner,
            partition,
            flow: FlowRef { id: self.flow_id(), version: self.rng.random_range(1..9), name: "nightly".into() },
            trigger_type: TriggerType::ALL[self.rng.random_range(0..TriggerType::ALL.len())],
            trigger_source: "manual".into(),
            trigger_context: Arc::new(json!({"note": "grüße \u{1F600}", "n": self.rng.random::<i32>()})),
            webhook: Arc::new(json!({"headers": {"x": "1"}, "query": {}})),
            input: Arc::new(json!([1, {"deep": [2.5, "x"]}])),
            triggered_by: format!("user:{}", owner.user).into(),
            environment: "production".into(),
            decision_event_id: Some(self.row_id()),
            recommendation_id: Some(self.row_id()),
            parent_run_id: Some(self.run_id()),
            idempotency_key: Some(key.as_str().into()),
            run_key: None,
            accepted_at_ms: NOW_MS,
            deadline_at_ms: Some(NOW_MS + 60_000),
        };
        let idempotency =
            Idempotency { key, body_hash: [1; 32], answer: json!({"run_id": id}), expires_at_ms: NOW_MS + 1_000 };
        RunWrite {
            id,
            tenant: owner.tenant,
            partition,
            epoch,
            expected_version: 0,
            accept: Some(Box::new(Accept {
                header: Arc::new(header),
                idempotency: Some(idempotency),
                definition: None,
                schedule: None,
                reuse: None,
            })),
            state: saved(RunStatus::Running, "IBB", None),
            timing: Timing { queue_key: Some(NOW_MS - 5_000), wake_at_ms: Some(NOW_MS + 60_000) },
            log: Vec::new(),
            audit: vec![self.audit(owner, partition)],
            approvals: vec![ApprovalWrite::Requested {
                id: self.row_id(),
                step: self.rng.random_bool(0.5).then_some(2),
                at_ms: NOW_MS,
                expires_at_ms: None,
                told: None,
            }],
            waits: Vec::new(),
            phases: Vec::new(),
            cached: Vec::new(),
            bytes: 0,
            ended: None,
            reopened: None,
            limit: None,
            failures: Vec::new(),
        }
    }

    /// Leaves out of a new run all that may be absent.
    pub fn strip(&mut self, run: &mut RunWrite) {
        let accept = run.accept.as_mut().expect("a new run");
        accept.idempotency = None;
        let header = Arc::make_mut(&mut accept.header);
        header.webhook = Arc::default();
        header.input = Arc::default();
        header.decision_event_id = None;
        header.recommendation_id = None;
        header.parent_run_id = None;
        header.idempotency_key = None;
        header.deadline_at_ms = None;
        run.timing = Timing::default();
        run.audit.clear();
        run.approvals.clear();
    }

    /// Gives a new run another idempotency key.
    pub fn set_key(&mut self, run: &mut RunWrite, key: Option<Idempotency>) {
        let accept = run.accept.as_mut().expect("a new run");
        Arc::make_mut(&mut accept.header).idempotency_key = key.as_ref().map(|key| key.key.as_str().into());
        accept.idempotency = key;
    }

    /// Gives a new run another time.
    pub fn accept_at(&mut self, run: &mut RunWrite, at_ms: i64) {
        Arc::make_mut(&mut run.accept.as_mut().expect("a new run").header).accepted_at_ms = at_ms;
    }

    /// The change that ends a run which was just accepted, with an attempt for each of its first steps.
    pub fn finish(&mut self, accepted: &RunWrite, attempts: u32) -> RunWrite {
        let header = &accepted.accept.as_ref().expect("a new run").header;
        let log: Vec<LogEntry> = (0..attempts).map(|step| self.attempt(step, 0, step == 0)).collect();
        RunWrite {
            expected_version: 1,
            accept: None,
            state: saved(RunStatus::Completed, "CCC", Some(NOW_MS + 40)),
            timing: Timing::default(),
            log,
            audit: vec![self.audit(header.owner, accepted.partition)],
            approvals: vec![ApprovalWrite::Decided {
                step: Some(2),
                approved: true,
                by: header.owner.user,
                notes: Some("fine".into()),
                form: Arc::new(json!({"size": 3})),
                at_ms: NOW_MS,
            }],
            ended: Some(RunEnd {
                flow: Some(header.flow.id),
                flow_version: header.flow.version,
                key: None,
                status: RunStatus::Completed,
                duration_ms: 40,
                at_ms: NOW_MS,
                owner: header.owner,
                fallback: None,
                is_told: false,
                outcome: None,
            }),
            ..accepted.clone()
        }
    }

    /// One attempt, over HTTP or failed with an unknown outcome.
    pub fn attempt(&mut self, step: u32, attempt: u32, completed: bool) -> LogEntry {
        let failure =
            Failure { details: Some(json!({"status": 503})), ..Failure::retryable(OUTCOME_UNKNOWN, "who knows") };
        LogEntry {
            step,
            attempt,
            action_type: "http_request".into(),
            action_target: "billing".into(),
            payload: Arc::new(json!({"url": "https://example.org", "n": self.rng.random::<u16>()})),
            status: if completed { ExecutionStatus::Completed } else { ExecutionStatus::Failed },
            is_final: true,
            result: completed.then(|| Arc::new(json!({"body": {"ok": true}}))),
            failure: (!completed).then_some(failure),
            started_at_ms: NOW_MS,
            completed_at_ms: NOW_MS + self.rng.random_range(0..50),
            duration_ms: completed.then_some(12),
            queue_wait_ms: 3,
            http: completed.then(|| HttpFigures {
                method: "POST".to_owned(),
                endpoint: "https://example.org/".to_owned(),
                status_code: Some(200),
                response_time_ms: Some(11),
                request_bytes: Some(40),
                response_bytes: None,
            }),
        }
    }

    /// A new flow of one step.
    pub fn flow(&mut self, owner: Owner, name: &str) -> FlowWrite {
        let document = json!({
            "flow_name": name, "trigger_type": "manual", "approval_threshold": 0.75, "tags": ["a"],
            "flow_steps": [{"id": "x", "config": {"action_type": "transform", "action_payload": {"n": 1}}}],
        });
        let mut audit = self.audit(owner, 0);
        audit.event = AuditEvent::FlowCreated;
        FlowWrite {
            id: self.flow_id(),
            owner,
            expected_version: 0,
            document: FlowDocument::from_value(document).expect("a valid document"),
            schedule: None,
            by: owner.user,
            at_ms: NOW_MS,
            rollout: None,
            audit,
        }
    }

    /// Any JSON of a small size.
    pub fn json(&mut self, depth: u32) -> Value {
        match self.rng.random_range(0..if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => json!(self.rng.random::<bool>()),
            2 => json!(self.rng.random::<i64>()),
            3 => json!(f64::from_bits(self.rng.random()).clamp(-1e308, 1e308)),
            4 => json!([0.1, 1e16, -0.0, 1e-7, 12.0, 1.8e19][self.rng.random_range(0..6)]),
            5 => json!(LogId::new(NOW_MS, self.rng.random()).to_string()),
            6 => (0..self.rng.random_range(0..3)).map(|_| self.json(depth - 1)).collect(),
            _ => (0..self.rng.random_range(0..4)).map(|n| (format!("k{}", n * 7 % 4), self.json(depth - 1))).collect(),
        }
    }
}

fn saved(status: RunStatus, letters: &str, completed_at_ms: Option<i64>) -> SavedState {
    SavedState {
        status,
        state: json!({"v": 1, "s": letters}).to_string(),
        started_at_ms: Some(NOW_MS),
        completed_at_ms,
    }
}
