//! What the actor of a rule has to do, in the order in which it does it.
//!
//! Whoever tells an event something waits for the answer, and an acknowledgement stops what is being sent: that goes first.
//! Failures and looks take turns, so that a flood of failures keeps no level from being reached. An event that is to be looked
//! at is looked at once, however many say so meanwhile.

use std::collections::{HashSet, VecDeque};

use core314_domain::ids::RowId;

use super::Job;

/// What is to be done.
#[derive(Default)]
pub(super) struct RuleQueue {
    told: VecDeque<Job>,
    failures: VecDeque<Job>,
    looks: VecDeque<RowId>,
    looked_at: HashSet<RowId>,
    is_turn_of_looks: bool,
}

impl RuleQueue {
    pub(super) fn push(&mut self, job: Job) {
        match job {
            Job::Tell { .. } => self.told.push_back(job),
            Job::Ask(_) => self.failures.push_back(job),
            Job::Wake(escalation) => {
                if self.looked_at.insert(escalation) {
                    self.looks.push_back(escalation);
                }
            }
        }
    }

    pub(super) fn pop(&mut self) -> Option<Job> {
        if let Some(told) = self.told.pop_front() {
            return Some(told);
        }
        self.is_turn_of_looks = !self.is_turn_of_looks;
        if self.is_turn_of_looks {
            self.look().or_else(|| self.failures.pop_front())
        } else {
            self.failures.pop_front().or_else(|| self.look())
        }
    }

    fn look(&mut self) -> Option<Job> {
        let escalation = self.looks.pop_front()?;
        self.looked_at.remove(&escalation);
        Some(Job::Wake(escalation))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.told.is_empty() && self.failures.is_empty() && self.looks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use core314_domain::escalation::Command;
    use uuid::Uuid;

    use super::*;

    fn told(id: u128) -> Job {
        let (answer, _) = tokio::sync::oneshot::channel();
        let escalation = RowId(Uuid::from_u128(id));
        Job::Tell { escalation, command: Box::new(Command::Look), by: String::new(), answer }
    }

    #[test]
    fn what_somebody_waits_for_goes_first_and_a_look_is_one_look() {
        let mut queue = RuleQueue::default();
        for id in [1, 2, 1, 2, 1] {
            queue.push(Job::Wake(RowId(Uuid::from_u128(id))));
        }
        queue.push(told(3));
        let mut order = Vec::new();
        while let Some(job) = queue.pop() {
            order.push(match job {
                Job::Wake(id) => format!("look {}", id.0.as_u128()),
                Job::Tell { escalation, .. } => format!("tell {}", escalation.0.as_u128()),
                Job::Ask(_) => "ask".to_owned(),
            });
        }
        assert_eq!(order, ["tell 3", "look 1", "look 2"]);
        assert!(queue.is_empty());
        queue.push(Job::Wake(RowId(Uuid::from_u128(1))));
        assert!(!queue.is_empty(), "what was looked at may be looked at again");
    }
}
