//! Analytics of phases, from their transitions; a slow one with the step that costs most.
//!
//! Transitions are read newest first by their index, and no more than [`MOST`] of them. What costs most is looked for in one
//! run of each slow phase, the one that took longest: its executions within the phase's time.

use std::collections::BTreeMap;

use chrono::DateTime;
use core314_domain::phase_analytics::{PhaseAnalysis, Transition, analyse};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::ports::resource::Resource;
use crate::ports::views::{Filter, Page, Views};
use crate::ports::{Scope, StoreError};

/// Transitions that are looked at.
pub const MOST: usize = 20_000;
/// Slow phases of which it is looked for what costs most.
pub const MOST_SLOW: usize = 20;
/// Executions of a run that are looked at.
const MOST_EXECUTIONS: usize = 2_000;
const PAGE: usize = 500;

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Analytics {
    pub phases: Vec<(PhaseAnalysis, Option<Costliest>)>,
    /// Whether there were more transitions than are looked at: the oldest are left out.
    pub is_cut: bool,
}

/// The step that costs most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Costliest {
    pub step_id: String,
    /// All its executions in the phase together.
    pub duration_ms: i64,
    pub run: Uuid,
}

/// Analyses the phases since a time, of one flow or of all.
pub async fn analytics(
    views: &dyn Views,
    scope: Scope,
    since_ms: i64,
    flow: Option<Uuid>,
) -> Result<Analytics, StoreError> {
    let (transitions, is_cut) = transitions(views, scope, since_ms, flow).await?;
    let mut phases = Vec::new();
    let mut slow = 0;
    for phase in analyse(transitions) {
        let costliest = match &phase.longest {
            Some(longest) if phase.is_slow && slow < MOST_SLOW => {
                slow += 1;
                costliest(views, scope, longest).await?
            }
            _ => None,
        };
        phases.push((phase, costliest));
    }
    Ok(Analytics { phases, is_cut })
}

async fn transitions(
    views: &dyn Views,
    scope: Scope,
    since_ms: i64,
    flow: Option<Uuid>,
) -> Result<(Vec<Transition>, bool), StoreError> {
    let mut filter = Filter::default();
    if let Some(flow) = flow {
        filter.and("orchestration_flow_id", json!(flow));
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = views.list(scope, Resource::Phases, filter.clone(), Page { limit: PAGE, after }).await?;
        for row in &page.items {
            let transition = transition(row)?;
            if transition.at_ms < since_ms {
                return Ok((found, false));
            }
            found.push(transition);
        }
        after = page.next;
        match after {
            None => return Ok((found, false)),
            Some(_) if found.len() >= MOST => return Ok((found, true)),
            Some(_) => {}
        }
    }
}

fn transition(row: &Value) -> Result<Transition, StoreError> {
    let unreadable = |column: &str| StoreError::Corrupt(format!("a transition's {column} cannot be read: {row}"));
    let id = |column: &str| serde_json::from_value::<Uuid>(row[column].clone()).map_err(|_| unreadable(column));
    Ok(Transition {
        flow: id("orchestration_flow_id")?,
        run: id("workflow_id")?,
        phase: row["phase_number"].as_i64().ok_or_else(|| unreadable("phase_number"))?,
        name: row["phase_name"].as_str().unwrap_or_default().to_owned(),
        status: row["status"].as_str().and_then(|word| word.parse().ok()).ok_or_else(|| unreadable("status"))?,
        at_ms: time(&row["timestamp"]).ok_or_else(|| unreadable("timestamp"))?,
        duration_ms: row["duration_ms"].as_i64(),
        sla_ms: row["metadata"]["sla_ms"].as_i64(),
    })
}

fn time(value: &Value) -> Option<i64> {
    DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|time| time.timestamp_millis())
}

/// The step of a run whose executions in a phase took longest together.
async fn costliest(views: &dyn Views, scope: Scope, phase: &Transition) -> Result<Option<Costliest>, StoreError> {
    let from_ms = phase.at_ms - phase.duration_ms.unwrap_or_default();
    let filter = Filter::of([("flow_run_id", json!(phase.run))]);
    let (mut of_step, mut seen, mut after) = (BTreeMap::<String, i64>::new(), 0, None);
    while seen < MOST_EXECUTIONS {
        let page = views.list(scope, Resource::Executions, filter.clone(), Page { limit: PAGE, after }).await?;
        for row in &page.items {
            let within = time(&row["started_at"]).is_some_and(|at| (from_ms..=phase.at_ms).contains(&at));
            let took = row["execution_duration_ms"].as_i64().filter(|_| within);
            if let (Some(took), Some(step)) = (took, row["step_id"].as_str()) {
                *of_step.entry(step.to_owned()).or_default() += took;
            }
        }
        seen += page.items.len();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let most = of_step.into_iter().max_by_key(|(_, took)| *took);
    Ok(most.map(|(step_id, duration_ms)| Costliest { step_id, duration_ms, run: phase.run }))
}
