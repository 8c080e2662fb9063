//! Open events of one rule as their last commits left them: a failure that joins one needs no read of it.
//!
//! Invariants:
//! - What is taken is gone: an event that has moved on meanwhile refuses the commit by its version, and is read the next time.
//! - Whoever looks at an event here, or tells it something, has it forgotten first: notes of what is sent move its time to
//!   wake without another version. Where that happens elsewhere, an event is at most looked at too early or too late once.
//! - There are at most so many, and nothing of it is needed after a crash.

use std::collections::VecDeque;

use core314_domain::ids::RowId;

use crate::ports::escalation::StoredEscalation;

/// Events of one rule that are known. Their contexts are bounded.
const MOST: usize = 16;

/// The events, the one longest not joined first.
#[derive(Default)]
pub(super) struct KnownEvents(VecDeque<StoredEscalation>);

impl KnownEvents {
    /// The open event on a subject, once.
    pub(super) fn take(&mut self, subject: &str) -> Option<StoredEscalation> {
        let place = self.0.iter().position(|known| known.event.subject == subject)?;
        self.0.remove(place)
    }

    /// Keeps an event as a commit has left it, or as it was read.
    pub(super) fn keep(&mut self, event: &StoredEscalation) {
        self.forget(event.id);
        if event.event.status.is_closed() {
            return;
        }
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        // Its verdicts are long, and written with its first commit alone.
        self.0.push_back(StoredEscalation { verdicts: None, ..event.clone() });
    }

    pub(super) fn forget(&mut self, event: RowId) {
        self.0.retain(|known| known.id != event);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use core314_domain::escalation::{
        EscalationReason, EscalationStatus, Event, Failure, Rule, RuleDocument, Surroundings,
    };
    use core314_domain::ids::{Owner, UserId};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn event(no: usize) -> StoredEscalation {
        let (id, user) = (RowId(Uuid::from_u128(no as u128)), UserId(Uuid::from_u128(7)));
        let document = RuleDocument::from_value(json!({
            "rule_name": "r", "escalation_levels": [{"level": 1, "actions": ["notify_user"]}],
        }));
        let rule = Rule::compile(RowId(Uuid::from_u128(1)), document.expect("a document")).expect("a rule");
        let failure = Failure::described(EscalationReason::RunFailed, Arc::new(json!({})), 0);
        let opening = (id, user, format!("subject {no}"));
        StoredEscalation {
            id,
            owner: Owner::new(user, None),
            rule: rule.id,
            rule_version: 1,
            execution: None,
            log: None,
            flow: None,
            run: None,
            event: Event::open(&rule, &failure, opening, 0, &Surroundings::default(), 0).event,
            context: Arc::new(json!({})),
            verdicts: None,
            tags: Vec::new(),
            deadlines: (None, None),
            version: 1,
            wake_ms: None,
        }
    }

    #[test]
    fn what_is_known_is_used_once_unless_a_commit_has_left_it_anew() {
        let mut known = KnownEvents::default();
        known.keep(&event(1));
        assert_eq!(known.take("subject 2"), None);
        let taken = known.take("subject 1").expect("it is known");
        assert_eq!(known.take("subject 1"), None, "had it moved on, it would be read now");
        known.keep(&StoredEscalation { version: 2, ..taken });
        known.keep(&StoredEscalation { version: 3, ..event(1) });
        assert_eq!(known.take("subject 1").map(|event| event.version), Some(3));
        assert_eq!(known.take("subject 1"), None, "of one event there is one");
    }

    #[test]
    fn what_has_ended_or_was_looked_at_is_not_known() {
        let mut known = KnownEvents::default();
        known.keep(&event(1));
        known.keep(&event(2));
        let mut ended = event(1);
        ended.event.status = EscalationStatus::Resolved;
        known.keep(&ended);
        known.forget(event(2).id);
        assert_eq!((known.take("subject 1"), known.take("subject 2")), (None, None));
    }

    #[test]
    fn the_one_longest_not_joined_goes_first() {
        let mut known = KnownEvents::default();
        for no in 0..MOST {
            known.keep(&event(no));
        }
        let joined = known.take("subject 0").expect("it is known");
        known.keep(&joined);
        known.keep(&event(MOST));
        assert_eq!(known.0.len(), MOST);
        assert_eq!(known.take("subject 1"), None);
        assert!(known.take("subject 0").is_some());
    }
}
