//! The service clocks of an event: looked at, stopped, counted anew.

use super::{Refused, Work};
use crate::escalation::clock::{Found, Pause, ServiceClock};
use crate::escalation::document::ActionDocument;
use crate::escalation::tasks::Purpose;
use crate::escalation::{LevelAction, minutes_ms};
use crate::words::Urgency;

impl Work<'_> {
    pub(super) fn set_urgency(&mut self, urgency: Urgency) {
        self.event.urgency = urgency;
        let (response, resolution) = self.rule.document.service_times(urgency);
        let start_ms = self.event.triggered_ms;
        let has_ended = self.event.acknowledged.is_some();
        let there = self.event.response.as_ref().or(self.event.resolution.as_ref()).cloned();
        // Time that stood still is the event's, though the urgency before counted only one of the two.
        let begin = |target_ms: i64| match &there {
            Some(there) => ServiceClock::beside(there, target_ms),
            None => ServiceClock::new(start_ms, target_ms),
        };
        for (clock, minutes) in [(&mut self.event.response, response), (&mut self.event.resolution, resolution)] {
            match (clock.as_mut(), minutes) {
                (Some(clock), Some(minutes)) => clock.retarget(minutes_ms(minutes)),
                (None, Some(minutes)) => *clock = Some(begin(minutes_ms(minutes))),
                (_, None) => {}
            }
        }
        if has_ended && let (Some(clock), Some(deed)) = (&mut self.event.response, &self.event.acknowledged) {
            clock.meet(deed.at_ms);
        }
    }

    pub(super) fn pause(&mut self, by: &str, reason: &str) -> Result<(), Refused> {
        let pause = Pause { since_ms: self.now_ms, reason: reason.to_owned(), by: by.to_owned() };
        let paused = self.event.clocks().map(|clock| clock.is_some_and(|clock| clock.pause(pause.clone())));
        if paused.contains(&true) { Ok(()) } else { Err(Refused::NoClock) }
    }

    pub(super) fn go_on(&mut self) -> Result<(), Refused> {
        let (calendar, now_ms) = (&self.rule.calendar, self.now_ms);
        let gone = self.event.clocks().map(|clock| clock.is_some_and(|clock| clock.go_on(calendar, now_ms)));
        if gone.contains(&true) { Ok(()) } else { Err(Refused::NotPaused) }
    }

    /// Looks at the service clocks: what they find is found once. A breach is marked in its time, also of an event that is
    /// held; nobody is told of it, or that it comes near, before that is over.
    pub(super) fn clocks(&mut self, is_held: bool) {
        let warn_ms = self.rule.document.sla_warning_minutes.map(minutes_ms).filter(|_| !is_held);
        let (calendar, now_ms) = (&self.rule.calendar, self.now_ms);
        let found = self.event.clocks().map(|clock| clock.map(|clock| clock.look(calendar, warn_ms, now_ms)));
        for (no, found) in found.into_iter().enumerate() {
            match found {
                Some(Found::Breached) if is_held => self.event.untold_breaches.push(no as u32),
                Some(Found::Breached) => self.breach(no as u32),
                Some(Found::Near { .. }) => self.warn(no as u32),
                Some(Found::Nothing) | None => {}
            }
        }
    }

    /// What breaches want done that were marked while the event was held.
    pub(super) fn tell_breaches(&mut self) {
        for clock in std::mem::take(&mut self.event.untold_breaches) {
            self.breach(clock);
        }
    }

    /// A clock has run out. The round says which one, so that both may tell.
    pub(super) fn breach(&mut self, clock: u32) {
        let before = self.tasks.len();
        let document = &self.rule.document;
        let is_told =
            |action: &&ActionDocument| !document.records_only() || !LevelAction::names_message(&action.action);
        let actions: Vec<ActionDocument> = document.sla_breach_actions.iter().filter(is_told).cloned().collect();
        self.act(Purpose::SlaBreach, &actions);
        for (place, task) in self.tasks[before..].iter_mut().enumerate() {
            (task.level, task.round, task.place) = (0, clock, place as u32);
        }
    }

    /// A clock will soon run out: those who are told of the present level hear it.
    pub(super) fn warn(&mut self, clock: u32) {
        let document = &self.rule.document;
        if document.records_only() {
            return;
        }
        let present = (self.event.level as usize).saturating_sub(1);
        let Some(level) = document.escalation_levels.get(present).cloned() else { return };
        let before = self.tasks.len();
        self.notify(Purpose::SlaWarning, &level, clock);
        for (place, task) in self.tasks[before..].iter_mut().enumerate() {
            (task.level, task.place) = (0, place as u32);
        }
    }
}
