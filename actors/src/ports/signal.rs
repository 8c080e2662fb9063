//! Signals: what reaches the runtime beside triggers, and starts flows all the same.
//!
//! Decisions and recommendations of engines outside, metrics, and the ends of runs. What of them starts flows is written
//! down as an [`Occurrence`] in the very commit that makes it so, and crossed out once its runs are durable: a crash in
//! between neither loses a run nor starts one twice, because a run's idempotency key is made of the occurrence's id.

use core314_domain::audit::AuditEntry;
use core314_domain::ids::{ExecutionId, FlowId, Owner, RowId, RunId, StepNo, TenantId, UserId};
use core314_domain::words::{MetricType, OccurrenceKind, Severity};
use serde_json::{Value, json};
use uuid::Uuid;

use super::event::{DeliveryPlace, NewEvent};
use super::store::{Idempotency, PhaseWrite};
use crate::random::random;

/// Something that has happened and starts flows, or is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    pub id: RowId,
    pub owner: Owner,
    pub kind: OccurrenceKind,
    /// The run that ended, the decision or the recommendation; the flow whose threshold was exceeded; the escalation event
    /// that opened.
    pub subject: Uuid,
    /// What was so just then; the rest is read from the subject.
    pub context: Value,
    /// Who or what is behind it, such as `user:ID` or `run:ID`.
    pub by: String,
    pub at_ms: i64,
}

impl Occurrence {
    /// What tells the channels of a phase of a transition. It says all that they are told: the run may be elsewhere by then.
    /// `None`: nobody is told.
    pub fn of_phase(phase: &PhaseWrite, run: RunId) -> Option<Self> {
        let moved = &phase.moved;
        phase.is_told.then(|| Self {
            id: RowId::new(moved.at_ms, random()),
            owner: phase.owner,
            kind: OccurrenceKind::PhaseMoved,
            subject: run.0,
            context: json!({
                "phase": moved.phase, "phase_name": *phase.name, "status": moved.status, "duration_ms": moved.duration_ms,
                "sla_ms": phase.sla_ms, "error": moved.error, "rollback_to_phase": moved.rollback_to,
            }),
            by: format!("run:{run}"),
            at_ms: moved.at_ms,
        })
    }

    /// The step about which a request for approval is; none where it is about the run itself.
    pub fn asked_step(&self) -> Option<StepNo> {
        let execution = self.context["asked"]["execution_id"].as_str()?.parse::<ExecutionId>().ok()?;
        execution.parts().map(|(_, step)| step)
    }
}

/// A change that belongs to no run.
#[derive(Debug, Clone, PartialEq)]
pub enum SignalWrite {
    Decision(NewDecision),
    /// One that does not exist in the tenant is not found; one that was judged before is a conflict.
    DecisionVerdict(Verdict),
    Recommendation(NewRecommendation),
    /// As of a decision.
    RecommendationVerdict(Verdict),
    Metrics(NewMetrics),
    Event(NewEvent),
    /// The run has heard of the event, or its step waits no more. Once more does nothing.
    EventTold(DeliveryPlace),
    /// Takes a request's own name; one that is taken is a duplicate.
    Name(NewName),
    /// Replaces what is kept with a name, of the same request. Of one that is gone, it does nothing.
    Named(NewName),
    /// The occurrence's runs are durable, or there are none: it is crossed out. Once more does nothing.
    Settled {
        id: RowId,
        tenant: TenantId,
        /// What is worth remembering of it.
        audit: Vec<AuditEntry>,
    },
}

impl SignalWrite {
    /// What it adds to the audit log.
    pub fn audit(&self) -> &[AuditEntry] {
        match self {
            Self::Decision(new) => std::slice::from_ref(&new.audit),
            Self::Recommendation(new) => std::slice::from_ref(&new.audit),
            Self::DecisionVerdict(verdict) | Self::RecommendationVerdict(verdict) => {
                std::slice::from_ref(&verdict.audit)
            }
            Self::Metrics(_) | Self::Event(_) | Self::EventTold(_) | Self::Name(_) | Self::Named(_) => &[],
            Self::Settled { audit, .. } => audit,
        }
    }
}

/// A caller's own name for a request, with what is kept with it.
#[derive(Debug, Clone, PartialEq)]
pub struct NewName {
    pub tenant: TenantId,
    pub name: Idempotency,
    pub at_ms: i64,
}

/// A decision of an engine outside.
#[derive(Debug, Clone, PartialEq)]
pub struct NewDecision {
    pub id: RowId,
    pub owner: Owner,
    /// Which engine decided.
    pub source: String,
    pub title: String,
    pub summary: Option<String>,
    /// 0 to 1.
    pub confidence: Option<f64>,
    pub risk: Option<Severity>,
    pub payload: Value,
    pub idempotency: Option<Idempotency>,
    pub audit: AuditEntry,
    pub at_ms: i64,
}

/// A recommendation of an engine outside: an action that somebody may accept.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRecommendation {
    pub id: RowId,
    pub owner: Owner,
    pub decision: Option<RowId>,
    pub title: String,
    pub action_type: String,
    pub action_target: String,
    pub action_payload: Value,
    /// 1 (first) to 10.
    pub priority: u8,
    pub idempotency: Option<Idempotency>,
    /// What starts the flows that wait for recommendations.
    pub occurrence: Occurrence,
    pub audit: AuditEntry,
    pub at_ms: i64,
}

/// What a person, or a program in their name, makes of a decision or a recommendation.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    pub id: RowId,
    pub tenant: TenantId,
    /// Approved or accepted; else rejected or dismissed.
    pub is_yes: bool,
    pub by: UserId,
    pub notes: Option<String>,
    /// What it starts.
    pub occurrence: Option<Occurrence>,
    pub audit: AuditEntry,
    pub at_ms: i64,
}

/// Values of metrics, and what they mean to the flows that watch them.
#[derive(Debug, Clone, PartialEq)]
pub struct NewMetrics {
    pub owner: Owner,
    pub points: Vec<MetricPoint>,
    /// In the order of their values' times.
    pub watched: Vec<Watched>,
}

/// One value of a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricPoint {
    pub id: RowId,
    pub name: String,
    pub metric_type: MetricType,
    pub value: f64,
    /// An object of texts.
    pub labels: Value,
    pub recorded_at_ms: i64,
}

/// A value that matters to a flow's threshold. One that only stands between threshold and clearing does not.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    pub flow: FlowId,
    /// Which series of the metric: a digest of its labels.
    pub series: [u8; 32],
    pub at_ms: i64,
    /// Absent: the value has cleared the threshold.
    pub exceeded: Option<Exceeded>,
}

/// A value that exceeds a flow's threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Exceeded {
    /// How long it must have been so.
    pub for_ms: i64,
    /// What it starts, the first time that it has been so for long enough.
    pub occurrence: Occurrence,
    /// More series of one flow than so many are not watched at once.
    pub most_series: i64,
}

/// What a run that has ended leaves behind where it stems from a decision or a recommendation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub decision: Option<RowId>,
    pub recommendation: Option<RowId>,
    /// What was tried, as an object.
    pub features: Value,
}
