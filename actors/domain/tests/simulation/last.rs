//! What must hold of the world itself: at every moment, and after the end.

use core314_domain::plan::StepKind;
use core314_domain::run::{Closing, Command, Grant, Run};
use core314_domain::words::RunStatus;

use super::checks::{self, Check, ensure};
use super::world::World;

impl World<'_> {
    /// What must hold at every moment.
    pub fn watch(&mut self) -> Check {
        let Some(actor) = &self.actor else { return Ok(()) };
        let cut = matches!(actor.run.state.closing, Some(Closing::Cancelled | Closing::TimedOut));
        if cut && self.can_load() {
            let deaf = self.attempts.values().any(|a| a.report.is_none() && !a.told_to_end);
            ensure(!deaf, || "an attempt of a run that was cut off was not told to end".into())?;
        }
        Ok(())
    }

    /// A run that was cut off has cut off the runs that its steps waited for. Whoever fails lets what is under way go on, and
    /// whoever is set aside does not wait for it.
    fn nothing_goes_on_alone(&self, run: &Run) -> Check {
        let state = &run.state;
        let has_failed = state.all().any(|(_, step)| step.status.fails_the_run());
        let is_first = state.reopened == 0 && state.rollback.is_none() && !has_failed;
        if !is_first || self.is_set_aside || !matches!(state.status, RunStatus::Cancelled | RunStatus::TimedOut) {
            return Ok(());
        }
        for ((no, attempt), child) in self.children.iter().filter(|(_, child)| child.end.is_none()) {
            let plan = state.plan_no(&run.plan, *no).map(|plan| &run.plan.steps[plan as usize].kind);
            let waits = plan.is_some_and(|kind| matches!(kind, StepKind::SubFlow(sub) if sub.waits));
            ensure(!waits, || format!("run {} of step {no}, attempt {attempt}, goes on alone", child.run))?;
        }
        Ok(())
    }

    /// Late words change nothing, and the log knows of every attempt that took place.
    pub fn after_the_end(&mut self) -> Check {
        let run = self.store.load(self.shape)?;
        checks::end(&run, &self.store)?;
        self.nothing_goes_on_alone(&run)?;
        for (no, number) in &self.started {
            let rows = self.store.log.iter().filter(|e| e.step == *no && e.attempt == *number).count();
            ensure(rows == 1, || format!("attempt {number} of step {no} has {rows} rows in the log"))?;
        }
        let grant = Grant { slots: 3, epoch: 2, credits: &self.credits, gates: None };
        let all = run.state.all().map(|(no, _)| no).collect::<Vec<_>>();
        let mut late = vec![
            Command::Begin,
            Command::Wake,
            Command::Recover { under_way: Vec::new() },
            Command::Start { steps: all },
        ];
        late.extend(
            self.script.repeat.zip(self.first_report.clone()).map(|(step, (attempt, report))| Command::AttemptEnded {
                step,
                attempt,
                report,
            }),
        );
        for command in late {
            let decision = run.decide(&command, grant, self.now_ms).map_err(|e| format!("{command:?}: {e}"))?;
            ensure(decision.changes.is_empty() && decision.effects.is_empty() && decision.unused_slots == 3, || {
                format!("{command:?} changes an ended run")
            })?;
        }
        let cancelled = run.decide(&Command::Cancel { reason: "late".into() }, grant, self.now_ms);
        ensure(cancelled.is_err(), || "an ended run can be cancelled".into())
    }
}
