//! What the store in memory keeps of signals: enough for the tests of the actors.

use std::collections::BTreeMap;

use core314_domain::ids::{FlowId, RowId, TenantId};
use core314_domain::run::Kept;
use core314_domain::words::{OccurrenceKind, TriggerType};
use serde_json::{Value, json};

use super::memory_store::Rows;
use crate::ports::signal::{NewDecision, NewRecommendation, Occurrence, SignalWrite, Verdict, Watched};
use crate::ports::store::{ApprovalWrite, Idempotency, Outcome, RunWrite};
use crate::random::random;

/// The rows of signals.
#[derive(Debug, Default, Clone)]
pub struct Signals {
    pub occurrences: BTreeMap<RowId, Occurrence>,
    /// Decisions and recommendations, as answers show them, and their tenants.
    pub rows: BTreeMap<RowId, (TenantId, Value)>,
    /// Since when a series exceeds a flow's threshold, and whether that has started a run.
    exceeding: BTreeMap<(FlowId, [u8; 32]), (i64, bool)>,
}

const DONE: Outcome = Outcome::Committed { log_seq: None };

impl Rows {
    pub(super) fn signal(&mut self, write: &SignalWrite) -> Outcome {
        let outcome = match write {
            SignalWrite::Decision(new) => self.decision(new),
            SignalWrite::Recommendation(new) => self.recommendation(new),
            SignalWrite::DecisionVerdict(verdict) => self.judge(verdict, "pending", ["rejected", "approved"]),
            SignalWrite::RecommendationVerdict(verdict) => self.judge(verdict, "new", ["dismissed", "accepted"]),
            SignalWrite::Metrics(new) => {
                new.watched.iter().for_each(|watched| self.watch(watched));
                DONE
            }
            SignalWrite::Event(new) => {
                self.keep_event(new);
                DONE
            }
            SignalWrite::EventTold(place) => {
                self.told_of_event(place);
                DONE
            }
            SignalWrite::Name(new) => self.claim(new.tenant, Some(&new.name)).unwrap_or(DONE),
            SignalWrite::Named(new) => {
                let known = self.keys.get_mut(&(new.tenant, new.name.key.clone()));
                if let Some((_, answer)) = known.filter(|(hash, _)| *hash == new.name.body_hash) {
                    *answer = new.name.answer.clone();
                }
                DONE
            }
            SignalWrite::Settled { id, .. } => {
                self.signals.occurrences.remove(id);
                DONE
            }
        };
        if outcome == DONE {
            self.audit.extend_from_slice(write.audit());
        }
        outcome
    }

    pub(super) fn claim(&mut self, tenant: TenantId, wanted: Option<&Idempotency>) -> Option<Outcome> {
        let wanted = wanted?;
        let key = (tenant, wanted.key.clone());
        if let Some((hash, answer)) = self.keys.get(&key) {
            let same_request = *hash == wanted.body_hash;
            return Some(Outcome::Duplicate { answer: answer.clone(), same_request });
        }
        self.keys.insert(key, (wanted.body_hash, wanted.answer.clone()));
        None
    }

    fn decision(&mut self, new: &NewDecision) -> Outcome {
        if let Some(known) = self.claim(new.owner.tenant, new.idempotency.as_ref()) {
            return known;
        }
        let row = json!({"id": new.id, "source": new.source, "title": new.title, "summary": new.summary,
            "confidence_score": new.confidence, "risk_level": new.risk, "payload": new.payload, "status": "pending"});
        self.signals.rows.insert(new.id, (new.owner.tenant, row));
        DONE
    }

    fn recommendation(&mut self, new: &NewRecommendation) -> Outcome {
        if let Some(known) = self.claim(new.owner.tenant, new.idempotency.as_ref()) {
            return known;
        }
        let is_theirs = |id: &RowId| self.signals.rows.get(id).is_some_and(|row| row.0 == new.owner.tenant);
        if new.decision.as_ref().is_some_and(|id| !is_theirs(id)) {
            return Outcome::NotFound;
        }
        let row = json!({"id": new.id, "decision_event_id": new.decision, "title": new.title,
            "action_type": new.action_type, "action_target": new.action_target, "action_payload": new.action_payload,
            "priority": new.priority, "status": "new"});
        self.signals.rows.insert(new.id, (new.owner.tenant, row));
        self.occur(new.occurrence.clone());
        DONE
    }

    fn judge(&mut self, verdict: &Verdict, open: &str, [no, yes]: [&str; 2]) -> Outcome {
        let Some((_, row)) = self.signals.rows.get_mut(&verdict.id).filter(|row| row.0 == verdict.tenant) else {
            return Outcome::NotFound;
        };
        if row["status"] != open {
            return Outcome::Conflict;
        }
        row["status"] = if verdict.is_yes { yes } else { no }.into();
        if let Some(occurrence) = &verdict.occurrence {
            self.occur(occurrence.clone());
        }
        DONE
    }

    fn watch(&mut self, watched: &Watched) {
        let series = (watched.flow, watched.series);
        let Some(exceeded) = &watched.exceeded else {
            self.signals.exceeding.remove(&series);
            return;
        };
        let (since_ms, has_fired) = self.signals.exceeding.entry(series).or_insert((watched.at_ms, false));
        if !*has_fired && watched.at_ms - *since_ms >= exceeded.for_ms {
            *has_fired = true;
            self.occur(exceeded.occurrence.clone());
        }
    }

    fn occur(&mut self, occurrence: Occurrence) {
        self.signals.occurrences.insert(occurrence.id, occurrence);
    }

    /// Notes transitions of which somebody is told.
    pub(super) fn note_phases(&mut self, run: &RunWrite) {
        run.phases
            .iter()
            .filter_map(|phase| Occurrence::of_phase(phase, run.id))
            .for_each(|occurrence| self.occur(occurrence));
    }

    /// Notes decisions that are wanted, where somebody is told of it.
    pub(super) fn note_asked(&mut self, run: &RunWrite) {
        for approval in &run.approvals {
            if let ApprovalWrite::Requested { told: Some(occurrence), .. } = approval {
                self.occur(Occurrence::clone(occurrence));
            }
        }
    }

    /// Notes a run's end where somebody waits for it.
    pub(super) fn note_end(&mut self, run: &RunWrite) {
        let Some(end) = run.ended.as_ref().filter(|end| end.flow.is_some()) else { return };
        let at_ms = end.at_ms;
        let occurrence = |kind, context| Occurrence {
            id: RowId::new(at_ms, random()),
            owner: end.owner,
            kind,
            subject: run.id.0,
            context,
            by: format!("run:{}", run.id),
            at_ms,
        };
        if let Some(fallback) = end.fallback {
            let context = json!({"run_status": end.status, "fallback_flow_id": fallback});
            self.occur(occurrence(OccurrenceKind::Fallback, context));
        }
        let mut current = self.flows.values().filter_map(|versions| versions.last());
        let waits = current.any(|flow| {
            let document = &flow.document;
            flow.owner.tenant == run.tenant && document.trigger_type == TriggerType::FlowFinished && document.is_active
        });
        for kind in [waits.then_some(OccurrenceKind::FlowFinished), end.is_told.then_some(OccurrenceKind::BadEnd)] {
            let Some(kind) = kind else { continue };
            self.occur(occurrence(kind, json!({"run_status": end.status})));
        }
    }

    pub(super) fn subject(&self, of: &Occurrence) -> Option<Value> {
        match of.kind {
            OccurrenceKind::FlowFinished
            | OccurrenceKind::Failure
            | OccurrenceKind::Fallback
            | OccurrenceKind::BadEnd
            | OccurrenceKind::PhaseMoved
            | OccurrenceKind::ApprovalRequested => {
                let run = self.runs.values().find(|run| run.header.id.0 == of.subject)?;
                // Decisions are not kept: what is written down stands for what waits.
                let asks = |other: &&Occurrence| (other.kind, other.subject) == (of.kind, of.subject);
                let wanted = self.signals.occurrences.values().filter(asks).count();
                let own_waits = self.signals.occurrences.contains_key(&of.id);
                let (header, last) = (&run.header, run.attempts.iter().max_by_key(|attempt| attempt.step));
                Some(json!({"id": header.id, "orchestration_flow_id": header.flow.id, "flow_name": *header.flow.name,
                "flow_version": header.flow.version, "approvals_wanted": wanted, "own_waits": own_waits, "run_status": run.state.status, "trigger_type": header.trigger_type,
                "triggered_by": *header.triggered_by,
                "trigger_context": *header.trigger_context, "input": *header.input, "error": Value::Null,
                "output": last.and_then(|attempt| attempt.result.clone()).and_then(|kept| match kept {
                    Kept::Here(value) => Some(Value::clone(&value)),
                    Kept::Away { .. } => None,
                })}))
            }
            // No escalations are kept in memory.
            OccurrenceKind::EscalationOpened => None,
            OccurrenceKind::ThresholdExceeded => self.flows.get(&FlowId(of.subject)).map(|_| json!({"id": of.subject})),
            OccurrenceKind::DecisionApproved
            | OccurrenceKind::RecommendationCreated
            | OccurrenceKind::RecommendationAccepted => {
                self.signals.rows.get(&RowId(of.subject)).map(|(_, row)| row.clone())
            }
        }
    }
}
