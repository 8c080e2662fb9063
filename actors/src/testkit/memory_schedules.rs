//! The schedules of the store in memory: rows with versions, as a database keeps them.

use std::collections::BTreeMap;

use core314_domain::ids::{FlowId, Owner};
use core314_domain::schedule::{NotFired, Standing};

use crate::ports::schedule::{ScheduleMove, SchedulePlan, ScheduleWrite, StoredSchedule};
use crate::ports::store::Outcome;

/// The rows.
#[derive(Debug, Default, Clone)]
pub struct MemorySchedules(pub BTreeMap<FlowId, StoredSchedule>);

impl MemorySchedules {
    /// What a saved flow makes of its schedule.
    pub fn plan(&mut self, flow: FlowId, owner: Owner, plan: Option<SchedulePlan>, at_ms: i64) {
        let Some(plan) = plan else {
            self.0.remove(&flow);
            return;
        };
        let Some(row) = self.0.get_mut(&flow) else {
            self.0.insert(flow, new(flow, owner, plan, at_ms));
            return;
        };
        row.version += 1;
        if row.is_active != plan.is_active || row.config != plan.config {
            row.standing = Standing { next_ms: plan.next_ms, is_waiting: false, ..row.standing };
            row.due_ms = plan.due_ms.filter(|_| row.paused.is_none());
        }
        (row.is_active, row.config, row.updated_at_ms) = (plan.is_active, plan.config, at_ms);
    }

    /// Whether a move would be made.
    pub fn is_current(&self, step: &ScheduleMove) -> bool {
        self.0
            .get(&step.flow)
            .is_some_and(|row| row.version == step.expected_version && row.owner.tenant == step.tenant)
    }

    /// Makes a move, or says that it was planned on another version.
    pub fn go_on(&mut self, step: ScheduleMove) -> Outcome {
        if !self.is_current(&step) {
            return Outcome::Stale;
        }
        let row = self.0.get_mut(&step.flow).expect("it is current");
        row.version += 1;
        row.standing = Standing {
            next_ms: step.next_ms,
            last_ms: step.fired_ms.or(row.standing.last_ms),
            is_waiting: step.is_waiting,
        };
        row.due_ms = step.due_ms;
        row.last_run = step.run.or(row.last_run);
        row.updated_at_ms = step.at_ms;
        if step.fired_ms.is_some() {
            row.last_fired_ms = Some(step.at_ms);
            row.fired += 1;
        }
        for (note, count) in step.not_fired {
            row.not_fired[note.reason as usize] += count;
            row.last_not_fired = Some((note, step.at_ms));
        }
        Outcome::Committed { log_seq: None }
    }

    /// Makes a change that starts no run.
    pub fn change(&mut self, write: ScheduleWrite) -> Outcome {
        match write {
            ScheduleWrite::Move(step) => self.go_on(step),
            ScheduleWrite::Pause { flow, tenant, expected_version, by, at_ms, audit: _ } => {
                let row = self.0.get_mut(&flow);
                let Some(row) = row.filter(|r| r.version == expected_version && r.owner.tenant == tenant) else {
                    return Outcome::Stale;
                };
                row.version += 1;
                row.due_ms = None;
                row.standing.is_waiting = false;
                row.paused = Some((at_ms, by));
                row.updated_at_ms = at_ms;
                Outcome::Committed { log_seq: None }
            }
            ScheduleWrite::Resume { step, audit: _ } => {
                let flow = step.flow;
                let outcome = self.go_on(step);
                if let (Outcome::Committed { .. }, Some(row)) = (&outcome, self.0.get_mut(&flow)) {
                    row.paused = None;
                }
                outcome
            }
            ScheduleWrite::Adopt { flow, owner, plan, at_ms } => {
                self.0.entry(flow).or_insert_with(|| new(flow, owner, plan, at_ms));
                Outcome::Committed { log_seq: None }
            }
        }
    }

    /// Those with something to do before a time, soonest first.
    pub fn due(&self, until_ms: i64, after: Option<(i64, FlowId)>, limit: usize) -> Vec<StoredSchedule> {
        let mut due: Vec<(i64, FlowId)> = self.0.values().filter_map(|row| Some((row.due_ms?, row.flow))).collect();
        due.sort_unstable();
        due.retain(|place| place.0 < until_ms && after.is_none_or(|after| *place > after));
        due.into_iter().take(limit).map(|(_, flow)| self.0[&flow].clone()).collect()
    }
}

fn new(flow: FlowId, owner: Owner, plan: SchedulePlan, at_ms: i64) -> StoredSchedule {
    StoredSchedule {
        flow,
        owner,
        version: 1,
        config: plan.config,
        is_active: plan.is_active,
        standing: Standing { next_ms: plan.next_ms, last_ms: None, is_waiting: false },
        due_ms: plan.due_ms,
        paused: None,
        last_fired_ms: None,
        last_run: None,
        fired: 0,
        not_fired: [0; NotFired::ALL.len()],
        last_not_fired: None,
        updated_at_ms: at_ms,
    }
}
