//! Where two plays of a run lead apart: step by step, and in what the run gives.
//!
//! What somebody else answered is the same in both, as both have it from the record. What the run itself computes is not,
//! so it is compared: values, what loops gather of their rounds, and the output. The rounds of a loop that are over are
//! not kept; what differs in them shows in what the loop gave.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{Given, Played, ReplayedStep, StepChange};
use crate::Json;
use crate::ids::StepNo;
use crate::plan::StepKind;
use crate::run::Run;
use crate::run::step::StepStatus;
use crate::words::ExecutionStatus;

/// Where two versions lead the run apart.
pub(super) fn steps(old: &Run, own: &Played, new: &Played) -> Vec<ReplayedStep> {
    let old_numbers: BTreeMap<&str, StepNo> =
        (0..).zip(&old.plan.steps[..old.plan.fixed]).map(|(no, step)| (&*step.id, no)).collect();
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for (no, plan) in (0..).zip(&new.run.plan.steps[..new.run.plan.fixed]) {
        seen.insert(&*plan.id);
        let old_no = old_numbers.get(&*plan.id).copied();
        let before = old_no.map(|no| old.state.steps[no as usize].status.execution_status());
        let after = Some(new.run.state.steps[no as usize].status).filter(|status| status.is_terminal());
        let after = after.map(StepStatus::execution_status);
        let ways = ways(old, &new.run, &plan.id);
        let payloads = payloads(own, new, &plan.id);
        let values = values(&own.run, &new.run, no);
        let change = match (before, after) {
            (None, _) => StepChange::Added,
            (Some(_), None) => StepChange::Unknown,
            (Some(ExecutionStatus::Skipped), Some(after)) if after != ExecutionStatus::Skipped => StepChange::Runs,
            (Some(before), Some(ExecutionStatus::Skipped)) if before != ExecutionStatus::Skipped => StepChange::Skipped,
            (Some(before), Some(after)) if before != after => StepChange::Status,
            _ if ways.is_some() => StepChange::Way,
            _ if payloads.is_some() => StepChange::Payload,
            _ if values.is_some() => StepChange::Value,
            _ => continue,
        };
        found.push(ReplayedStep { step: plan.id.to_string(), change, before, after, ways, payloads, values });
    }
    for (id, no) in old_numbers.iter().filter(|(id, _)| !seen.contains(*id)) {
        let before = Some(old.state.steps[*no as usize].status.execution_status());
        let (step, change) = ((*id).to_owned(), StepChange::Gone);
        found.push(ReplayedStep { step, change, before, after: None, ways: None, payloads: None, values: None });
    }
    let is_of_round = |name: &&String| name.contains('[');
    for name in new.given.keys().chain(&new.unknown).filter(is_of_round).collect::<BTreeSet<_>>() {
        let payloads = payloads(own, new, name);
        let change = match (new.unknown.contains(name), &payloads) {
            (true, _) => StepChange::Unknown,
            (false, Some(_)) => StepChange::Payload,
            (false, None) => continue,
        };
        let (step, ways, values) = (name.clone(), None, None);
        found.push(ReplayedStep { step, change, before: None, after: None, ways, payloads, values });
    }
    found
}

/// What a step was given and would be, where that differs.
fn payloads(own: &Played, new: &Played, name: &str) -> Option<(Given, Given)> {
    let (before, after) = (own.given.get(name)?, new.given.get(name)?);
    (before != after).then(|| (before.clone(), after.clone()))
}

/// Which way a branch took and would take, where that differs.
fn ways(old: &Run, new: &Run, id: &str) -> Option<(Value, Value)> {
    let is_branch = |run: &Run| {
        run.plan.steps[..run.plan.fixed].iter().any(|s| &*s.id == id && matches!(s.kind, StepKind::Branch(_)))
    };
    if !is_branch(old) || !is_branch(new) {
        return None;
    }
    let way = |run: &Run| {
        let output = run.results.get(id).and_then(|view| view.output.get().ok());
        output.map_or(Value::Null, |output| output["case"].clone())
    };
    let (before, after) = (way(old), way(new));
    (before != after && !before.is_null() && !after.is_null()).then_some((before, after))
}

/// What the run computed at a step of the new version and would compute, where that differs: a value, or why there is none.
fn values(own: &Run, new: &Run, no: StepNo) -> Option<(Json, Json)> {
    let plan = &new.plan.steps[no as usize];
    if matches!(plan.kind, StepKind::Action) {
        return None;
    }
    let value = |run: &Run| {
        let view = run.results.get(&plan.id)?;
        match &view.error {
            Some(error) => Some(Json::new(json!({"error": &**error}))),
            None => view.output.get().ok().cloned(),
        }
    };
    let (before, after) = (value(own)?, value(new)?);
    (before != after).then_some((before, after))
}

/// What a run that ends either way would give, where that differs.
pub(super) fn outputs(own: &Run, new: &Run) -> Option<(Json, Json)> {
    if !own.state.status.is_terminal() || !new.state.status.is_terminal() {
        return None;
    }
    let output = |run: &Run| run.output().get().ok().cloned();
    let (before, after) = (output(own)?, output(new)?);
    (before != after).then_some((before, after))
}
