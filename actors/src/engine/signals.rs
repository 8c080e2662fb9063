//! Decisions, recommendations and metrics: taken, judged, and what they start.

use std::collections::BTreeMap;

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::ids::{Owner, RowId};
use core314_domain::plan::Problem;
use core314_domain::trigger::{Standing, Threshold, series};
use core314_domain::words::{MetricType, OccurrenceKind, Severity, TriggerType};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Checked, Engine, unexpected};
use crate::ingress::IdempotencyRequest;
use crate::plans::ReadyFlow;
use crate::ports::StoreError;
use crate::ports::signal::{
    Exceeded, MetricPoint, NewDecision, NewMetrics, NewRecommendation, Occurrence, SignalWrite, Verdict, Watched,
};
use crate::ports::store::{Idempotency, Outcome, Write};
use crate::relay::{Started, action};

/// A number as rows show it: 2, not 2.0.
fn shown(number: f64) -> Value {
    let is_whole = number.fract() == 0.0 && number.abs() < 9e15;
    if is_whole { json!(number as i64) } else { json!(number) }
}

/// A decision to take in.
#[derive(Debug, Clone)]
pub struct DecisionDraft {
    pub owner: Owner,
    pub source: String,
    pub title: String,
    pub summary: Option<String>,
    /// 0 to 1.
    pub confidence: Option<f64>,
    pub risk: Option<Severity>,
    pub payload: Value,
    pub idempotency: Option<IdempotencyRequest>,
    /// Who posts it, for the audit log.
    pub by: String,
}

/// A recommendation to take in.
#[derive(Debug, Clone)]
pub struct RecommendationDraft {
    pub owner: Owner,
    pub decision: Option<RowId>,
    pub title: String,
    pub action_type: String,
    pub action_target: String,
    pub action_payload: Value,
    pub priority: u8,
    pub idempotency: Option<IdempotencyRequest>,
    pub by: String,
}

/// What somebody makes of one of them.
#[derive(Debug, Clone)]
pub struct VerdictDraft {
    pub owner: Owner,
    pub id: RowId,
    /// Approved or accepted; else rejected or dismissed.
    pub is_yes: bool,
    pub notes: Option<String>,
    pub by: String,
}

/// A value of a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricDraft {
    pub name: String,
    pub metric_type: MetricType,
    pub value: f64,
    pub labels: BTreeMap<String, String>,
    pub recorded_at_ms: i64,
}

/// Why something was not taken. The variants say what the caller should do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SignalError {
    /// It, or what it refers to, does not exist for this caller.
    #[error("there is no such row")]
    NotFound,
    /// Look at it: somebody has judged it before.
    #[error("it was decided before")]
    Decided,
    /// Use another idempotency key.
    #[error("this idempotency key was used for another request")]
    KeyReused,
    /// Mend the action: pointers lead into it.
    #[error("the action has {} problem(s), the first at '{}': {}", .0.len(), .0[0].pointer, .0[0].message)]
    Invalid(Vec<Problem>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Takes a decision in; it waits for a verdict. The same request again is answered with the same id.
    pub async fn take_decision(&self, draft: DecisionDraft) -> Result<RowId, SignalError> {
        let id = self.row_id();
        let (owner, at_ms) = (draft.owner, self.now_ms());
        let entry = self.entry(AuditEvent::DecisionCreated, owner, draft.by, ("decision_event", id.0));
        let new = NewDecision {
            id,
            owner,
            audit: AuditEntry {
                summary: format!("decision created: {}", draft.title),
                decision_event_id: Some(id),
                details: json!({"source": draft.source, "confidence_score": draft.confidence}),
                ..entry
            },
            source: draft.source,
            title: draft.title,
            summary: draft.summary,
            confidence: draft.confidence,
            risk: draft.risk,
            payload: draft.payload,
            idempotency: self.named(draft.idempotency, id),
            at_ms,
        };
        self.taken(SignalWrite::Decision(new), id).await
    }

    /// Takes a recommendation in, and starts the flows that wait for one.
    pub async fn take_recommendation(&self, draft: RecommendationDraft) -> Result<RowId, SignalError> {
        let row = json!({
            "action_type": draft.action_type, "action_target": draft.action_target,
            "action_payload": draft.action_payload, "priority": draft.priority,
        });
        let problem = |pointer: String, message: String| SignalError::Invalid(vec![Problem::new(pointer, message)]);
        let document = action(&row).map_err(|error| problem(error.pointer, error.message))?;
        let checked = self.check_flow(Some(draft.owner.tenant), &document).await?;
        checked.and_then(Checked::complete).map_err(SignalError::Invalid)?;
        let id = self.row_id();
        let (owner, at_ms) = (draft.owner, self.now_ms());
        let entry = self.entry(AuditEvent::RecommendationCreated, owner, draft.by.clone(), ("recommendation", id.0));
        let new = NewRecommendation {
            id,
            owner,
            occurrence: self.occurrence(OccurrenceKind::RecommendationCreated, owner, id.0, draft.by),
            audit: AuditEntry {
                summary: format!("recommendation created: {}", draft.title),
                decision_event_id: draft.decision,
                details: json!({"action_type": draft.action_type, "action_target": draft.action_target}),
                ..entry
            },
            decision: draft.decision,
            title: draft.title,
            action_type: draft.action_type,
            action_target: draft.action_target,
            action_payload: draft.action_payload,
            priority: draft.priority,
            idempotency: self.named(draft.idempotency, id),
            at_ms,
        };
        let taken = self.taken(SignalWrite::Recommendation(new), id).await?;
        self.inner.runtime.occurred();
        Ok(taken)
    }

    /// Approves or rejects a decision. What an approval starts is durable when this returns; `None` where the runtime is
    /// too busy and starts it a moment later.
    pub async fn judge_decision(&self, draft: VerdictDraft) -> Result<Option<Started>, SignalError> {
        let event = if draft.is_yes { AuditEvent::DecisionApproved } else { AuditEvent::DecisionRejected };
        let verdict = self.verdict(draft, event, "decision_event", OccurrenceKind::DecisionApproved);
        let decision = Some(verdict.id);
        let verdict = Verdict { audit: AuditEntry { decision_event_id: decision, ..verdict.audit }, ..verdict };
        let occurrence = verdict.occurrence.clone();
        self.judged(SignalWrite::DecisionVerdict(verdict), occurrence).await
    }

    /// Accepts a recommendation, which runs its action, or dismisses it. As with a decision.
    pub async fn judge_recommendation(&self, draft: VerdictDraft) -> Result<Option<Started>, SignalError> {
        let event = if draft.is_yes { AuditEvent::RecommendationAccepted } else { AuditEvent::RecommendationDismissed };
        let verdict = self.verdict(draft, event, "recommendation", OccurrenceKind::RecommendationAccepted);
        let occurrence = verdict.occurrence.clone();
        self.judged(SignalWrite::RecommendationVerdict(verdict), occurrence).await
    }

    /// Takes values of metrics in, and starts the flows whose thresholds they exceed.
    pub async fn take_metrics(&self, owner: Owner, drafts: Vec<MetricDraft>, by: &str) -> Result<(), SignalError> {
        let runtime = &self.inner.runtime;
        let flows =
            runtime.plans.active(runtime.catalog.as_ref(), owner.tenant, TriggerType::ThresholdExceeded).await?;
        let watched = self.watched(owner, &drafts, &flows, by);
        let has_crossed = watched.iter().any(|watched| watched.exceeded.is_some());
        let points = drafts.into_iter().map(|draft| MetricPoint {
            id: self.row_id(),
            name: draft.name,
            metric_type: draft.metric_type,
            value: draft.value,
            labels: json!(draft.labels),
            recorded_at_ms: draft.recorded_at_ms,
        });
        let new = NewMetrics { owner, points: points.collect(), watched };
        match self.commit(Write::Signal(Box::new(SignalWrite::Metrics(new)))).await? {
            Outcome::Committed { .. } => {}
            other => return Err(unexpected(other).into()),
        }
        if has_crossed {
            runtime.occurred();
        }
        Ok(())
    }

    /// What the values mean to the flows that watch them, in the order of their times. Of values that follow each other on
    /// one side of a threshold only those at the ends matter.
    fn watched(&self, owner: Owner, drafts: &[MetricDraft], flows: &[ReadyFlow], by: &str) -> Vec<Watched> {
        let mut order: Vec<&MetricDraft> = drafts.iter().collect();
        order.sort_by_key(|draft| draft.recorded_at_ms);
        let mut all = Vec::new();
        for (flow, threshold) in flows.iter().filter_map(|flow| Some((flow, flow.plan.trigger.threshold()?))) {
            let mut of_series: BTreeMap<[u8; 32], Vec<Watched>> = BTreeMap::new();
            for draft in order.iter().filter(|draft| threshold.watches(&draft.name, &draft.labels)) {
                let exceeded = match threshold.standing(draft.value) {
                    Standing::Between => continue,
                    Standing::Cleared => None,
                    Standing::Exceeds => Some(self.exceeded(owner, draft, flow, threshold, by)),
                };
                let series = series(&draft.labels);
                let watched = Watched { flow: flow.flow.id, series, at_ms: draft.recorded_at_ms, exceeded };
                let before = of_series.entry(series).or_default();
                if let [.., one, two] = before.as_slice()
                    && [one, two].iter().all(|w| w.exceeded.is_some() == watched.exceeded.is_some())
                {
                    before.pop();
                }
                before.push(watched);
            }
            all.extend(of_series.into_values().flatten());
        }
        all
    }

    fn exceeded(
        &self,
        owner: Owner,
        draft: &MetricDraft,
        flow: &ReadyFlow,
        threshold: &Threshold,
        by: &str,
    ) -> Exceeded {
        let context = json!({
            "metric": draft.name, "metric_type": draft.metric_type, "value": shown(draft.value), "labels": draft.labels,
            "operator": threshold.operator, "threshold": shown(threshold.value),
            "recorded_at": crate::clock::rfc3339(draft.recorded_at_ms),
        });
        let occurrence = self.occurrence(OccurrenceKind::ThresholdExceeded, owner, flow.flow.id.0, by.to_owned());
        Exceeded {
            for_ms: i64::try_from(threshold.for_seconds.saturating_mul(1_000)).unwrap_or(i64::MAX),
            occurrence: Occurrence { context, ..occurrence },
            most_series: i64::from(self.inner.runtime.settings.watched_series),
        }
    }

    fn occurrence(&self, kind: OccurrenceKind, owner: Owner, subject: Uuid, by: String) -> Occurrence {
        Occurrence { id: self.row_id(), owner, kind, subject, context: json!({}), by, at_ms: self.now_ms() }
    }

    fn verdict(
        &self,
        draft: VerdictDraft,
        event: AuditEvent,
        subject: &'static str,
        starts: OccurrenceKind,
    ) -> Verdict {
        let (owner, id) = (draft.owner, draft.id);
        let entry = self.entry(event, owner, draft.by.clone(), (subject, id.0));
        Verdict {
            id,
            tenant: owner.tenant,
            is_yes: draft.is_yes,
            by: owner.user,
            audit: AuditEntry { details: json!({"notes": draft.notes}), ..entry },
            notes: draft.notes,
            occurrence: draft.is_yes.then(|| self.occurrence(starts, owner, id.0, draft.by)),
            at_ms: self.now_ms(),
        }
    }

    /// The request's own name, with the id that a repetition is answered with.
    fn named(&self, request: Option<IdempotencyRequest>, id: RowId) -> Option<Idempotency> {
        request.map(|request| self.name(&request, json!({"id": id})))
    }

    async fn taken(&self, write: SignalWrite, id: RowId) -> Result<RowId, SignalError> {
        match self.commit(Write::Signal(Box::new(write))).await? {
            Outcome::Committed { .. } => Ok(id),
            Outcome::NotFound => Err(SignalError::NotFound),
            Outcome::Duplicate { same_request: false, .. } => Err(SignalError::KeyReused),
            Outcome::Duplicate { answer, .. } => {
                let known = answer.get("id").and_then(Value::as_str).and_then(|text| text.parse().ok());
                known.map(RowId).ok_or(SignalError::KeyReused)
            }
            other => Err(unexpected(other).into()),
        }
    }

    async fn judged(&self, write: SignalWrite, occurrence: Option<Occurrence>) -> Result<Option<Started>, SignalError> {
        match self.commit(Write::Signal(Box::new(write))).await? {
            Outcome::Committed { .. } => {}
            Outcome::NotFound => return Err(SignalError::NotFound),
            Outcome::Conflict => return Err(SignalError::Decided),
            other => return Err(unexpected(other).into()),
        }
        let Some(occurrence) = occurrence else { return Ok(Some(Started::default())) };
        match self.inner.starter.start(&occurrence).await {
            Ok(started) => Ok(Some(started)),
            Err(error) => {
                tracing::info!(occurrence = %occurrence.id, %error, "what a verdict starts is started later");
                self.inner.runtime.occurred();
                Ok(None)
            }
        }
    }
}
