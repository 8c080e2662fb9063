//! Starting one occurrence: the trigger that it makes, and crossing it out.

use std::sync::{Arc, Weak};

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::document::FlowDocument;
use core314_domain::escalation::{EscalationReason, Failure, about_run};
use core314_domain::ids::{FlowId, RowId, RunId};
use core314_domain::run::{on_behalf, starters};
use core314_domain::words::{OccurrenceKind, TriggerType};
use serde_json::{Value, json};

use super::Starter;
use crate::commit_writer;
use crate::escalations::AskError;
use crate::failpoint;
use crate::ingress::{Accepted, IdempotencyRequest, Target, Trigger, TriggerError, Triggered, WhyNot};
use crate::ports::Scope;
use crate::ports::escalation::AboutFailures;
use crate::ports::signal::{Occurrence, SignalWrite};
use crate::ports::store::Write;

/// What an occurrence started.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Started {
    pub runs: Vec<Accepted>,
    /// For each flow that was asked, the clause that does not hold; empty where a run was started.
    pub why_not: Vec<WhyNot>,
}

impl Starter {
    /// Starts what an occurrence starts, and crosses it out. An error is one that passes: it stays written down.
    pub async fn start(&self, occurrence: &Occurrence) -> Result<Started, TriggerError> {
        self.start_knowing(occurrence, None).await
    }

    /// The same, with what was read of it together with others.
    pub(super) async fn start_knowing(
        &self,
        occurrence: &Occurrence,
        about: Option<&AboutFailures>,
    ) -> Result<Started, TriggerError> {
        failpoint::hit("occurrence.before");
        if occurrence.kind == OccurrenceKind::ApprovalRequested {
            return self.ask(occurrence).await;
        }
        let subject = match about {
            Some(about) => about.runs.get(&RunId(occurrence.subject)).cloned(),
            None => self.runtime.store.subject(occurrence).await?.map(Arc::new),
        };
        let Some(subject) = subject else {
            self.settle(occurrence, None).await?;
            return Ok(Started::default());
        };
        if occurrence.kind == OccurrenceKind::EscalationOpened && self.is_circle(occurrence, &subject).await? {
            return self.refuse_circle(occurrence, &subject).await;
        }
        let trigger = match occurrence.kind {
            OccurrenceKind::Failure => return self.escalate(occurrence, &subject, about).await,
            OccurrenceKind::BadEnd | OccurrenceKind::PhaseMoved => self.telling(occurrence, &subject).await?,
            _ => self.trigger(occurrence, &subject).map(Some),
        };
        let trigger = match trigger {
            Ok(Some(trigger)) => trigger,
            Ok(None) => {
                self.settle(occurrence, None).await?;
                return Ok(Started::default());
            }
            Err(error) => return self.failed(occurrence, &error).await,
        };
        let links = trigger.context.get("chain_depth").and_then(Value::as_u64).unwrap_or(0);
        if links > self.runtime.settings.max_chain_depth {
            return self.refuse_chain(occurrence, &trigger, links).await;
        }
        match self.ingress.trigger(trigger).await {
            Ok(Triggered::Accepted(run) | Triggered::Repeated(run)) => {
                failpoint::hit("occurrence.started");
                self.settle(occurrence, None).await?;
                Ok(Started { runs: flat(run), why_not: Vec::new() })
            }
            Ok(Triggered::NoMatch(why_not)) => {
                self.settle(occurrence, None).await?;
                Ok(Started { runs: Vec::new(), why_not })
            }
            Err(error) if error.is_passing() => Err(error),
            Err(error) => self.failed(occurrence, &error).await,
        }
    }

    /// Asks the tenant's escalation rules about a failure. Where none acts it is crossed out here, else by the last that does.
    async fn escalate(
        &self,
        occurrence: &Occurrence,
        run: &Value,
        about: Option<&AboutFailures>,
    ) -> Result<Started, TriggerError> {
        let busy = || TriggerError::Busy { retry_after_seconds: 1 };
        let desk = self.runtime.escalation.get().and_then(Weak::upgrade).ok_or_else(busy)?;
        let all = occurrence.context["failures"].as_array().map_or(&[][..], Vec::as_slice);
        let mut is_settled = false;
        for (no, noted) in all.iter().enumerate() {
            let mut failure = failure(noted, run, occurrence.at_ms);
            if let Some(execution) = failure.execution {
                failure.log = match about {
                    Some(about) => about.attempts.get(&execution).copied(),
                    None => desk.book().last_attempt(Scope::Tenant(occurrence.owner.tenant), execution).await?,
                };
            }
            let is_last = no + 1 == all.len();
            let cause = if no == 0 { occurrence.id } else { Failure::nth_cause(occurrence.id, no) };
            let settles = is_last.then_some(occurrence.id);
            let taken = desk.ask(occurrence.owner, failure, cause, settles).await.map_err(|error| match error {
                AskError::Busy => busy(),
                AskError::Store(error) => error.into(),
            })?;
            is_settled = is_last && !taken.is_empty();
        }
        if !is_settled {
            self.settle(occurrence, None).await?;
        }
        Ok(Started::default())
    }

    /// It can never be started: what stands in the way is remembered.
    async fn failed(&self, occurrence: &Occurrence, error: &TriggerError) -> Result<Started, TriggerError> {
        let summary = format!("{} started nothing: {error}", occurrence.kind.as_str().replace('_', " "));
        self.settle(occurrence, Some((AuditEvent::TriggerFailed, summary, json!({"kind": occurrence.kind})))).await?;
        let why_not = if let TriggerError::Condition { why_not, .. } = error { why_not.clone() } else { Vec::new() };
        Ok(Started { runs: Vec::new(), why_not })
    }

    async fn refuse_chain(
        &self,
        occurrence: &Occurrence,
        trigger: &Trigger,
        links: u64,
    ) -> Result<Started, TriggerError> {
        let most = self.runtime.settings.max_chain_depth;
        // A condition that cannot be evaluated starts nothing either.
        let is_meant = matches!(trigger.target, Target::Flow(_));
        let remembered = (is_meant || self.ingress.finds_any(trigger).await.unwrap_or(true)).then(|| {
            let flow = trigger.context.get("flow_name").and_then(Value::as_str).unwrap_or_default();
            let summary = format!(
                "the end of flow '{flow}' started nothing: it is the end of a chain of {links} flows, at most {most} \
                 may start one another; engine.max_chain_depth says how many"
            );
            (AuditEvent::ChainRefused, summary, json!({"chain_depth": links, "max_chain_depth": most}))
        });
        self.settle(occurrence, remembered).await?;
        Ok(Started::default())
    }

    /// Nothing is started for a failure that comes of an escalation; where something would be, that is remembered.
    async fn refuse_circle(&self, occurrence: &Occurrence, event: &Value) -> Result<Started, TriggerError> {
        let trigger = self.trigger(occurrence, event)?;
        // A condition that cannot be evaluated starts nothing either.
        let remembered = self.ingress.finds_any(&trigger).await.unwrap_or(true).then(|| {
            let summary =
                "an escalation event started no flow: what has failed comes of an escalation itself".to_owned();
            (AuditEvent::ChainRefused, summary, json!({"flow_run_id": event["flow_run_id"]}))
        });
        self.settle(occurrence, remembered).await?;
        Ok(Started::default())
    }

    pub(super) async fn settle(
        &self,
        occurrence: &Occurrence,
        remembered: Option<(AuditEvent, String, Value)>,
    ) -> Result<(), TriggerError> {
        let audit = remembered.map(|(event, summary, details)| AuditEntry {
            owner: occurrence.owner,
            partition: 0,
            event,
            actor: occurrence.by.clone(),
            subject_type: subject_type(occurrence.kind),
            subject_id: Some(occurrence.subject),
            decision_event_id: (occurrence.kind == OccurrenceKind::DecisionApproved)
                .then_some(RowId(occurrence.subject)),
            summary,
            details,
            at_ms: self.runtime.now_ms(),
        });
        let (id, tenant) = (occurrence.id, occurrence.owner.tenant);
        let write = SignalWrite::Settled { id, tenant, audit: audit.into_iter().collect() };
        commit_writer::commit_one(&self.writer, &self.runtime.io, Write::Signal(Box::new(write)), || {}).await?;
        Ok(())
    }

    fn trigger(&self, occurrence: &Occurrence, subject: &Value) -> Result<Trigger, TriggerError> {
        let id_of = |name: &str| subject.get(name).and_then(Value::as_str).and_then(|text| text.parse().ok());
        let (trigger_type, target, context) = match occurrence.kind {
            OccurrenceKind::FlowFinished => {
                let limit = self.runtime.settings.max_trigger_bytes;
                (TriggerType::FlowFinished, Target::Matching, end_context(occurrence, subject, limit))
            }
            // Of the flow that it was to be when the run ended, whatever its newest version says.
            OccurrenceKind::Fallback => {
                let flow = occurrence.context["fallback_flow_id"].as_str().and_then(|id| id.parse().ok());
                let limit = self.runtime.settings.max_trigger_bytes;
                let target = Target::Flow(flow.ok_or(TriggerError::NoSuchFlow)?);
                (TriggerType::FlowFinished, target, end_context(occurrence, subject, limit))
            }
            OccurrenceKind::DecisionApproved => (TriggerType::DecisionApproved, Target::Matching, subject.clone()),
            OccurrenceKind::RecommendationCreated => {
                (TriggerType::RecommendationCreated, Target::Matching, subject.clone())
            }
            OccurrenceKind::EscalationOpened => (TriggerType::Escalation, Target::Matching, subject.clone()),
            OccurrenceKind::RecommendationAccepted => {
                let action = action(subject).map_err(|error| TriggerError::Failed(error.to_string()));
                // Of a definition that cannot be made any more there is nothing to wait for.
                let action = action.map_err(|_| TriggerError::NoSuchFlow)?;
                (TriggerType::Manual, Target::Action(Arc::new(action)), subject.clone())
            }
            OccurrenceKind::Failure => return Err(TriggerError::Failed("rules are asked about a failure".to_owned())),
            // Its flow has to be read first.
            OccurrenceKind::BadEnd | OccurrenceKind::PhaseMoved | OccurrenceKind::ApprovalRequested => {
                return Err(TriggerError::NoSuchFlow);
            }
            OccurrenceKind::ThresholdExceeded => {
                let flow = Target::Only(FlowId(occurrence.subject));
                (TriggerType::ThresholdExceeded, flow, occurrence.context.clone())
            }
        };
        let own = |kinds: &[OccurrenceKind]| kinds.contains(&occurrence.kind).then_some(RowId(occurrence.subject));
        let is_end = matches!(occurrence.kind, OccurrenceKind::FlowFinished | OccurrenceKind::Fallback);
        let of_others = |name| if is_end { None } else { id_of(name).map(RowId) };
        Ok(Trigger {
            owner: occurrence.owner,
            target,
            trigger_type,
            source: occurrence.kind.as_str().into(),
            context: Arc::new(context),
            webhook: Arc::default(),
            triggered_by: if is_end { by_end(occurrence, subject) } else { occurrence.by.as_str().into() },
            decision_event_id: own(&[OccurrenceKind::DecisionApproved]).or_else(|| of_others("decision_event_id")),
            recommendation_id: own(&[OccurrenceKind::RecommendationCreated, OccurrenceKind::RecommendationAccepted]),
            parent_run_id: is_end.then_some(RunId(occurrence.subject)),
            run_key: None,
            // A client's own key cannot hold a space.
            idempotency: Some(IdempotencyRequest { key: format!("occurrence {}", occurrence.id), body_hash: [0; 32] }),
        })
    }
}

/// The run, and the others that the same trigger started.
fn flat(mut run: Accepted) -> Vec<Accepted> {
    let others = std::mem::take(&mut run.others);
    std::iter::once(run).chain(others).collect()
}

fn subject_type(kind: OccurrenceKind) -> &'static str {
    match kind {
        OccurrenceKind::FlowFinished
        | OccurrenceKind::Failure
        | OccurrenceKind::Fallback
        | OccurrenceKind::BadEnd
        | OccurrenceKind::PhaseMoved
        | OccurrenceKind::ApprovalRequested => "flow_run",
        OccurrenceKind::DecisionApproved => "decision_event",
        OccurrenceKind::RecommendationCreated | OccurrenceKind::RecommendationAccepted => "recommendation",
        OccurrenceKind::ThresholdExceeded => "flow",
        OccurrenceKind::EscalationOpened => "escalation_event",
    }
}

/// What starts a flow at the end of another: the run, and whoever is behind it, so that nobody decides in the second about
/// what they have started by the first.
fn by_end(occurrence: &Occurrence, run: &Value) -> Arc<str> {
    let before = run["triggered_by"].as_str().unwrap_or_default();
    let behind = starters(before, occurrence.owner.user);
    behind.into_iter().fold(occurrence.by.clone(), |by, user| on_behalf(&by, user)).into()
}

/// What a flow sees of a run that has ended. Where it is too much for a trigger, output, input and trigger are left out.
fn end_context(occurrence: &Occurrence, run: &Value, limit: usize) -> Value {
    let is_link = run["trigger_type"] == TriggerType::FlowFinished.as_str();
    let before = if is_link { run["trigger_context"]["chain_depth"].as_u64().unwrap_or(0) } else { 0 };
    let mut context = json!({
        "run_id": run["id"],
        "flow_id": run["orchestration_flow_id"],
        "flow_name": run["flow_name"],
        // As it ended then: it may have been taken up again since.
        "run_status": occurrence.context["run_status"],
        "output": run["output"],
        "error": run["error"],
        "input": run["input"],
        "trigger": run["trigger_context"],
        "is_cut": false,
        "chain_depth": before.saturating_add(1),
    });
    if context.to_string().len() > limit {
        for name in ["output", "input", "trigger"] {
            context[name] = Value::Null;
        }
        context["is_cut"] = true.into();
    }
    context
}

/// What escalation rules are asked: what was noted of the failure, and what the run says of itself.
fn failure(noted: &Value, run: &Value, at_ms: i64) -> Failure {
    let reason = noted["reason"].as_str().and_then(|word| word.parse().ok());
    let context = about_run(noted["context"].clone(), run);
    Failure::described(reason.unwrap_or(EscalationReason::Reported), Arc::new(context), at_ms)
}

/// A recommendation's action as a flow of one step. Texts in its payload may be templates over `trigger`, which is the
/// recommendation.
pub fn action(recommendation: &Value) -> Result<FlowDocument, core314_domain::document::ShapeError> {
    let config = json!({
        "action_type": recommendation["action_type"], "action_target": recommendation["action_target"],
        "action_payload": recommendation["action_payload"], "priority": recommendation["priority"],
    });
    FlowDocument::from_value(json!({
        "flow_name": "recommended action", "trigger_type": TriggerType::Manual,
        "flow_steps": [{"id": "action", "config": config}],
    }))
}

#[cfg(test)]
mod tests {
    use core314_domain::ids::{Owner, UserId};
    use uuid::Uuid;

    use super::*;

    fn end() -> Occurrence {
        Occurrence {
            id: RowId(Uuid::from_u128(1)),
            owner: Owner::new(UserId(Uuid::from_u128(2)), None),
            kind: OccurrenceKind::FlowFinished,
            subject: Uuid::from_u128(3),
            context: json!({"run_status": "failed"}),
            by: "run:3".to_owned(),
            at_ms: 0,
        }
    }

    #[test]
    fn the_end_of_a_run_is_one_link_more_than_what_started_it() {
        let run = |trigger_type: &str| {
            json!({"id": "r", "flow_name": "a", "trigger_type": trigger_type, "trigger_context": {"chain_depth": 4},
                "run_status": "running", "output": {"n": 1}, "input": {}})
        };
        let context = end_context(&end(), &run("flow_finished"), 10_000);
        assert_eq!((&context["chain_depth"], &context["run_status"]), (&json!(5), &json!("failed")));
        assert_eq!(
            end_context(&end(), &run("manual"), 10_000)["chain_depth"],
            1,
            "what a person says counts for nothing"
        );
        let cut = end_context(&end(), &run("manual"), 20);
        assert_eq!((&cut["output"], &cut["is_cut"], &cut["run_id"]), (&Value::Null, &json!(true), &json!("r")));
    }

    #[test]
    fn whoever_started_a_run_is_behind_what_its_end_starts() {
        let (owner, other) = (UserId(Uuid::from_u128(2)), UserId(Uuid::from_u128(4)));
        let by = |before: &str| by_end(&end(), &json!({"triggered_by": before})).to_string();
        assert_eq!(by(&format!("user:{other}")), format!("run:3/user:{other}"));
        assert_eq!(by(&format!("run:1/user:{other}")), format!("run:3/user:{other}"), "along the whole chain");
        assert_eq!(by("service:key"), format!("run:3/user:{owner}"));
        assert_eq!(by("webhook:1"), "run:3");
    }

    #[test]
    fn a_recommendation_is_a_flow_of_one_step() {
        let row =
            json!({"action_type": "transform", "action_target": "", "action_payload": {"value": 1}, "priority": 2});
        let document = action(&row).expect("a document");
        assert_eq!((document.flow_steps.len(), &document.flow_steps[0].config["priority"]), (1, &json!(2)));
        assert!(action(&json!({"action_type": "transform", "action_target": "", "priority": 500})).is_err());
    }
}
