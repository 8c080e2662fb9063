//! What levels want done: notices by channel and recipient, and actions.

use super::{Decision, Event, Repeating, Work};
use crate::escalation::document::{ActionDocument, ChannelDocument, LevelDocument, RuleDocument, Until};
use crate::escalation::rule::Rule;
use crate::escalation::tasks::{Purpose, Task, What};
use crate::escalation::{LevelAction, minutes_ms};

impl Event {
    /// Tells what the rule has held back where no other message does: those of the level that was reached, or the nearest one
    /// that tells somebody. An event that has ended tells it, too: it filled the window that held the others back.
    pub fn sum_up(&self, rule: &Rule, next_wake_ms: Option<i64>, now_ms: i64) -> Decision {
        let mut work = Work { rule, event: self.clone(), tasks: Vec::new(), stops: false, now_ms };
        work.event.summaries += 1;
        let round = work.event.summaries;
        let levels = &rule.document.escalation_levels;
        let (reached, later) = levels.split_at((self.level as usize).max(1).min(levels.len()));
        for level in reached.iter().rev().chain(later).filter(|_| !rule.document.records_only()) {
            if work.tasks.is_empty() {
                work.notify(Purpose::HeldBack, level, round);
            }
        }
        work.tasks.iter_mut().for_each(|task| task.level = 0);
        Decision { event: work.event, tasks: work.tasks, stops: false, next_wake_ms }
    }
}

impl RuleDocument {
    /// Whether a level tells somebody, so that there are messages which tell what was held back.
    pub fn tells_anybody(&self) -> bool {
        let tells = |level: &LevelDocument| {
            !self.channels_of(level).is_empty()
                || !level.recipients.is_empty()
                || level.actions.iter().any(|action| notice(action).is_some())
        };
        !self.records_only() && self.escalation_levels.iter().any(tells)
    }

    /// The channels of a level: its own, or else the rule's.
    fn channels_of<'a>(&'a self, level: &'a LevelDocument) -> &'a [ChannelDocument] {
        let named = &level.notify_channels;
        if named.is_empty() { &self.notification_channels } else { named }
    }
}

impl Work<'_> {
    pub(super) fn tell_level(&mut self, level: &LevelDocument) {
        let is_remedy = |action: &&ActionDocument| LevelAction::names_remedy(&action.action);
        let acts = level.actions.iter().filter(|action| notice(action).is_none());
        let acts: Vec<ActionDocument> =
            acts.filter(|action| !(self.event.is_hands_off && is_remedy(action))).cloned().collect();
        self.event.remediation_attempted |= acts.iter().any(|action| is_remedy(&action));
        self.notify(Purpose::Level, level, 0);
        let tasks = acts.into_iter().map(|action| What::Act { action });
        self.add(Purpose::Level, level.level, 0, tasks.collect());
        if let Some(repeat) = level.repeat {
            let next_ms = self.now_ms + minutes_ms(repeat.every_minutes);
            self.event.repeats.push(Repeating { level: level.level, rounds: 0, next_ms });
        }
    }

    /// Tells again where it is time; rounds that were slept through are one.
    pub(super) fn repeat(&mut self) {
        let mut repeats = std::mem::take(&mut self.event.repeats);
        repeats.retain_mut(|repeating| {
            let level = self.rule.document.escalation_levels.get(repeating.level as usize - 1).cloned();
            let Some((level, repeat)) = level.and_then(|level| Some((level.clone(), level.repeat?))) else {
                return false;
            };
            let is_kept = self.event.acknowledged.is_some() && level.until == Until::Acknowledged;
            if is_kept || repeating.rounds >= repeat.times {
                return false;
            }
            if repeating.next_ms <= self.now_ms {
                repeating.rounds += 1;
                repeating.next_ms = self.now_ms + minutes_ms(repeat.every_minutes);
                self.notify(Purpose::Repeat, &level, repeating.rounds);
            }
            repeating.rounds < repeat.times
        });
        self.event.repeats = repeats;
    }

    /// The notices of a level.
    pub(super) fn notify(&mut self, purpose: Purpose, level: &LevelDocument, round: u32) {
        let in_app = || ChannelDocument { channel: "in_app".to_owned(), payload: serde_json::Map::default() };
        let channels = self.rule.document.channels_of(level);
        let mut tasks = Vec::new();
        for action in &level.actions {
            let Some(notice) = notice(action) else { continue };
            let on_call = || level.recipients.iter().filter(|r| r.starts_with("on_call:")).cloned().collect();
            let (recipients, is_page) = match notice {
                LevelAction::NotifyAdmin => (vec!["role:admin".to_owned()], false),
                LevelAction::PageOncall => {
                    (action.target.as_ref().map_or_else(on_call, |name| vec![format!("on_call:{name}")]), true)
                }
                _ => (vec![format!("user:{}", self.event.user)], false),
            };
            tasks.push(What::Notify { channel: in_app(), recipients, is_page });
        }
        for channel in channels {
            let recipients = level.recipients.clone();
            tasks.push(What::Notify { channel: channel.clone(), recipients, is_page: false });
        }
        if channels.is_empty() && !level.recipients.is_empty() {
            tasks.push(What::Notify { channel: in_app(), recipients: level.recipients.clone(), is_page: false });
        }
        self.add(purpose, level.level, round, tasks);
    }

    /// Actions that belong to no level's notices.
    pub(super) fn act(&mut self, purpose: Purpose, actions: &[ActionDocument]) {
        // A rule of an earlier release may name messages here, which try nothing.
        if matches!(purpose, Purpose::Remediation | Purpose::FixFirst) {
            self.event.remediation_attempted |=
                actions.iter().any(|action| !LevelAction::names_message(&action.action));
        }
        let (user, is_hands_off) = (format!("user:{}", self.event.user), self.event.is_hands_off);
        let allowed = actions.iter().filter(|action| !(is_hands_off && LevelAction::names_remedy(&action.action)));
        let tasks = allowed.map(|action| match notice(action) {
            None => What::Act { action: action.clone() },
            Some(notice) => {
                let recipients = match notice {
                    LevelAction::NotifyAdmin => vec!["role:admin".to_owned()],
                    LevelAction::PageOncall => action.target.iter().map(|name| format!("on_call:{name}")).collect(),
                    _ => vec![user.clone()],
                };
                let channel = ChannelDocument { channel: "in_app".to_owned(), payload: serde_json::Map::default() };
                What::Notify { channel, recipients, is_page: notice == LevelAction::PageOncall }
            }
        });
        self.add(purpose, self.event.level, 0, tasks.collect());
    }

    pub(super) fn add(&mut self, purpose: Purpose, level: u32, round: u32, whats: Vec<What>) {
        for what in whats {
            let is_same = |task: &&Task| (task.purpose, task.level, task.round) == (purpose, level, round);
            let place = self.tasks.iter().filter(is_same).count() as u32;
            self.tasks.push(Task { purpose, level, round, place, what });
        }
    }
}

/// The notice that an action is, if it is one: telling people is a channel's matter.
fn notice(action: &ActionDocument) -> Option<LevelAction> {
    let known: LevelAction = action.action.parse().ok()?;
    let is_notice = matches!(known, LevelAction::NotifyUser | LevelAction::NotifyAdmin | LevelAction::PageOncall);
    is_notice.then_some(known)
}
