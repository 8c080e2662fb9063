//! Misfortunes and surprises: deaths, commands out of turn, a clock that is moved.

use core314_domain::ids::StepNo;
use core314_domain::run::{Command, Effect, Grant};
use core314_domain::words::RunStatus;

use super::checks::Check;
use super::script::{Crash, Moment, Victim};
use super::world::World;

impl World<'_> {
    /// What is known to be under way, its start committed or not.
    pub fn under_way(&self) -> Vec<StepNo> {
        let starting = self.outbox.iter().chain(&self.unanswered).flat_map(|w| &w.effects).filter_map(|e| match e {
            Effect::StartAttempt { step, .. } => Some(*step),
            _ => None,
        });
        self.attempts.keys().copied().chain(starting).collect()
    }

    /// Something that nobody expects just now.
    pub fn disturb(&mut self) -> Check {
        if self.store.version == 0 || !self.can_tell() {
            return Ok(());
        }
        match self.rng.below(19) {
            0..=2 => {
                let victim = self.rng.pick(&[Victim::Actor, Victim::Partition, Victim::Process]);
                self.die(victim);
                Ok(())
            }
            3 => {
                let commit = self.commits;
                let victim = self.rng.pick(&[Victim::Partition, Victim::Process]);
                self.script.crash = Some(Crash { commit, victim, moment: Moment::After });
                Ok(())
            }
            4 => self.tell(&Command::Begin),
            5 => self.tell(&Command::Wake),
            6 if self.actor.is_some() => self.decide(&Command::Recover { under_way: self.under_way() }, None),
            7 => self.tell(&Command::Pause { by: "user:1".into() }),
            8 => self.tell(&Command::Resume),
            9 if self.rng.chance(250) => self.tell(&Command::Cancel { reason: "enough".into() }),
            10 if self.rng.chance(100) && self.can_load() => {
                self.is_set_aside = true;
                self.tell(&Command::Quarantine { failure: "it died".into() })
            }
            11 => {
                let step = if self.rng.chance(100) { None } else { Some(self.any_step()) };
                self.answer(step)
            }
            12 => {
                let step = self.any_step();
                self.tell(&Command::RunNow { step })
            }
            13 if self.rng.chance(400) => {
                let step = self.any_step();
                self.tell(&Command::CancelStep { step })
            }
            14 => {
                // Mostly forwards.
                self.now_ms += self.rng.pick(&[1, 700, 5_000, 31_000, 100_000, -3_000]);
                self.note(|| "the clock moves".into());
                Ok(())
            }
            15 => {
                let name = self.rng.pick(&["go", "go", "stay"]);
                self.signal(&name.into())
            }
            16 if !self.news.is_empty() => {
                let lost = self.rng.below(self.news.len());
                self.note(|| "news is lost".into());
                self.news.remove(lost);
                Ok(())
            }
            17 if self.run_status() == Some(RunStatus::Paused) => self.tell(&Command::Retry { step: None }),
            _ => {
                self.leave();
                Ok(())
            }
        }
    }

    /// Any execution that there is.
    fn any_step(&mut self) -> StepNo {
        let all: Vec<StepNo> =
            self.current().map_or_else(|| vec![0], |run| run.state.all().map(|(no, _)| no).collect());
        self.rng.pick(&all)
    }

    /// A person takes the run up again, as a whole or from one step on. That may be refused.
    pub fn take_up_again(&mut self) -> Check {
        let step = if self.rng.chance(400) { None } else { Some(self.any_step()) };
        let before = self.store.load(self.shape)?;
        let grant = Grant { slots: 0, epoch: 1, credits: &self.credits, gates: None };
        let command = if self.script.is_held { Command::RetryHeld { step } } else { Command::Retry { step } };
        if before.decide(&command, grant, self.now_ms).is_ok() {
            self.actor = None;
            self.tell(&command)?;
        }
        Ok(())
    }
}
