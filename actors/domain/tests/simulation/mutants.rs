//! A run that decides wrongly: its decisions are changed before anybody sees them, as a defect in it would.

use core314_domain::ids::StepNo;
use core314_domain::run::step::{Live, StepStatus};
use core314_domain::run::{Change, Decision, Run};
use core314_domain::words::PhaseStatus;

use super::script::Mistake;

/// Makes a mistake of the run's, where the decision has a place for it.
pub fn tamper(decision: &mut Decision, run: &Run, mistake: Mistake, now_ms: i64) {
    let changes = &mut decision.changes;
    match mistake {
        Mistake::UndoForwards => targets(changes, |targets| targets.reverse()),
        Mistake::UndoTooLittle => targets(changes, |targets| targets.truncate(targets.len().saturating_sub(1))),
        Mistake::UndoTooMuch => {
            let idle = run.state.all().find(|(no, step)| {
                step.status != StepStatus::Completed && run.step_plan(*no).undo.is_some()
            });
            let idle = idle.map(|(no, _)| no);
            targets(changes, |targets| targets.extend(idle.filter(|no| !targets.contains(no))));
        }
        Mistake::StartTooEarly => {
            let blocked = |no: &StepNo| run.state.get(*no).is_some_and(|step| step.status == StepStatus::Blocked);
            let touched = |no: &StepNo| changes.iter().any(|change| format!("{change:?}").contains(&format!("step: {no}")));
            let early = run.state.all().map(|(no, _)| no).filter(blocked).find(|no| !touched(no));
            if let Some(step) = early.filter(|_| run.state.started_at_ms.is_some() && run.state.closing.is_none()) {
                let live = Live { released_at_ms: now_ms, due_at_ms: Some(now_ms + 60_000), ..Live::default() };
                changes.push(Change::StepReleased { step, status: StepStatus::Pending, live });
            }
        }
        Mistake::LoseRound => changes.retain(|change| !matches!(change, Change::RoundClosed { .. })),
        Mistake::LosePhase => changes.retain(
            |change| !matches!(change, Change::PhaseMoved(moved) if moved.status == PhaseStatus::Started && moved.phase > 1),
        ),
        Mistake::LoseSignal => changes.retain(|change| !matches!(change, Change::SignalKept { .. })),
        _ => {}
    }
}

fn targets(changes: &mut [Change], change: impl FnOnce(&mut Vec<StepNo>)) {
    for found in changes {
        if let Change::RollbackBegan { targets, .. } = found {
            return change(targets);
        }
    }
}
