//! What Erlang/OTP's `supervisor` does, written as naively as its manual says it: lists, whole steps, no time in between.

use std::time::Duration;

use super::super::{Restart, Strategy};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Stop(u64),
    Start(u64),
    Forget(u64),
    GiveUp,
}

#[derive(Debug, Clone)]
pub struct Child {
    pub id: u64,
    pub restart: Restart,
    pub running: bool,
}

pub struct Otp {
    pub strategy: Strategy,
    pub max_restarts: usize,
    pub within: Duration,
    /// In start order.
    pub children: Vec<Child>,
    pub restarts: Vec<Duration>,
    pub alive: bool,
}

impl Otp {
    /// A running child ends by itself.
    pub fn child_ends(&mut self, id: u64, abnormally: bool, now: Duration) -> Vec<Step> {
        let position = self.children.iter().position(|child| child.id == id).expect("it is a child");
        self.children[position].running = false;
        let restart = self.children[position].restart;
        if restart == Restart::Temporary {
            self.children.remove(position);
            return vec![Step::Forget(id)];
        }
        if restart == Restart::Transient && !abnormally {
            return vec![];
        }
        self.restarts.push(now);
        let recent = self.restarts.iter().filter(|at| now <= **at + self.within).count();
        if recent > self.max_restarts {
            return self.terminate();
        }
        let concerned = match self.strategy {
            Strategy::OneForOne => position..position + 1,
            Strategy::OneForAll => 0..self.children.len(),
            Strategy::RestForOne => position..self.children.len(),
        };
        let after = self.children.split_off(concerned.end);
        let group = self.children.split_off(concerned.start);
        let mut steps = Vec::new();
        let mut kept = Vec::new();
        for child in group.into_iter().rev() {
            if child.running {
                steps.push(Step::Stop(child.id));
            }
            if child.restart == Restart::Temporary {
                steps.push(Step::Forget(child.id));
            } else {
                kept.insert(0, child);
            }
        }
        for mut child in kept {
            steps.push(Step::Start(child.id));
            child.running = true;
            self.children.push(child);
        }
        self.children.extend(after);
        steps
    }

    /// Everything stops in reverse order.
    pub fn terminate(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        for child in self.children.iter_mut().rev() {
            if child.running {
                steps.push(Step::Stop(child.id));
                child.running = false;
            }
        }
        steps.push(Step::GiveUp);
        self.alive = false;
        steps
    }
}
