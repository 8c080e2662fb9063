//! What is wrong with a rule: looked for when it is saved, never for the first time when something has failed.

use super::LevelAction;
use super::calendar::WorkingCalendar;
use super::document::{ActionDocument, ChannelDocument, LevelDocument, RuleDocument};
use super::rule::Recipient;
use crate::expr::{Condition, ExprError, Expression, Names};
use crate::plan::Problem;

/// What conditions of rules may name.
pub(super) const ROOTS: &[&str] = &["trigger", "tenant", "now"];
const MOST_NAME_CHARS: usize = 200;
const MOST_TEXT_CHARS: usize = 2_000;
const MOST_LEVELS: usize = 50;
/// Of actions, channels or recipients in one place, and of filters.
const MOST_ITEMS: usize = 50;
const MOST_REPEATS: u32 = 1_000;
const MOST_PER_WINDOW: u32 = 10_000;
/// A year.
const MOST_MINUTES: f64 = 366.0 * 24.0 * 60.0;
/// Repeating faster helps nobody.
const LEAST_EVERY_MINUTES: f64 = 1.0 / 60.0;

/// What compiling a rule makes.
pub(super) struct Parts {
    pub condition: Condition,
    pub dedup_key: Option<Expression>,
    pub calendar: WorkingCalendar,
}

/// Checks a rule and compiles its parts.
pub(super) fn check(document: &RuleDocument) -> Result<Parts, Vec<Problem>> {
    let mut check = Check::default();
    check.identity(document);
    check.filters(document);
    check.levels(document);
    check.service(document);
    check.restraint(document);
    check.compile(document)
}

/// Compiles the parts of a rule, whatever else may be wrong with it.
pub(super) fn parts(document: &RuleDocument) -> Result<Parts, Vec<Problem>> {
    Check::default().compile(document)
}

#[derive(Default)]
struct Check(Vec<Problem>);

impl Check {
    /// The parts, where neither they nor what was checked before has problems.
    fn compile(mut self, document: &RuleDocument) -> Result<Parts, Vec<Problem>> {
        let names = Names::new(ROOTS, &[]);
        let condition = self.expression("/trigger_conditions", Condition::parse(&document.trigger_conditions, &names));
        let dedup_key =
            document.dedup_key.as_deref().map(|key| self.expression("/dedup_key", Expression::parse(key, &names)));
        let calendar = match &document.sla_calendar {
            None => Some(WorkingCalendar::always()),
            Some(calendar) => match WorkingCalendar::compile(calendar) {
                Ok(calendar) => Some(calendar),
                Err((pointer, message)) => self.wrong(format!("/sla_calendar{pointer}"), message),
            },
        };
        match (condition, calendar, dedup_key) {
            (Some(condition), Some(calendar), None) if self.0.is_empty() => {
                Ok(Parts { condition, dedup_key: None, calendar })
            }
            (Some(condition), Some(calendar), Some(Some(key))) if self.0.is_empty() => {
                Ok(Parts { condition, dedup_key: Some(key), calendar })
            }
            _ => Err(self.0),
        }
    }

    fn wrong<T>(&mut self, pointer: impl Into<String>, message: impl Into<String>) -> Option<T> {
        self.0.push(Problem::new(pointer, message));
        None
    }

    fn expression<T>(&mut self, pointer: &str, parsed: Result<T, ExprError>) -> Option<T> {
        match parsed {
            Ok(parsed) => Some(parsed),
            Err(error) => self.wrong(format!("{pointer}{}", error.pointer), error.to_string()),
        }
    }

    fn name(&mut self, pointer: &str, text: &str) {
        if text.trim().is_empty() || text.chars().count() > MOST_NAME_CHARS || text.chars().any(char::is_control) {
            let message = format!("must have 1 to {MOST_NAME_CHARS} characters, none of them a control one");
            self.wrong::<()>(pointer, message);
        }
    }

    fn minutes(&mut self, pointer: &str, minutes: f64, least: f64) {
        if !minutes.is_finite() || minutes < least || minutes > MOST_MINUTES {
            self.wrong::<()>(pointer, format!("must be {least} to {MOST_MINUTES} minutes"));
        }
    }

    fn count(&mut self, pointer: &str, count: usize) {
        if count > MOST_ITEMS {
            self.wrong::<()>(pointer, format!("must have at most {MOST_ITEMS} items"));
        }
    }

    fn identity(&mut self, document: &RuleDocument) {
        self.name("/rule_name", &document.rule_name);
        for (pointer, text) in
            [("/rule_description", &document.rule_description), ("/rule_category", &document.rule_category)]
        {
            if text.chars().count() > MOST_TEXT_CHARS {
                self.wrong::<()>(pointer, format!("must have at most {MOST_TEXT_CHARS} characters"));
            }
        }
        if !(1..=1_000).contains(&document.priority) {
            self.wrong::<()>("/priority", "must be 1 (asked first) to 1000");
        }
        self.count("/tags", document.tags.len());
    }

    fn filters(&mut self, document: &RuleDocument) {
        let lists = [
            ("/applies_to_action_types", &document.applies_to_action_types),
            ("/applies_to_integrations", &document.applies_to_integrations),
            ("/applies_to_flows", &document.applies_to_flows),
            ("/depends_on", &document.depends_on),
        ];
        for (pointer, list) in lists {
            self.count(pointer, list.len());
            for (no, name) in list.iter().enumerate() {
                self.name(&format!("{pointer}/{no}"), name);
            }
        }
        if document.depends_on.contains(&document.rule_name) {
            self.wrong::<()>("/depends_on", "a rule cannot depend on itself");
        }
    }

    fn levels(&mut self, document: &RuleDocument) {
        let levels = &document.escalation_levels;
        if levels.is_empty() && !document.records_only() && !document.auto_remediation_enabled {
            self.wrong::<()>(
                "/escalation_levels",
                "must have at least one level, or urgency low, or auto_remediation_enabled: the rule would do nothing",
            );
        }
        if levels.len() > MOST_LEVELS {
            self.wrong::<()>("/escalation_levels", format!("must have at most {MOST_LEVELS} levels"));
        }
        let mut before = 0.0;
        for (no, level) in levels.iter().enumerate() {
            let pointer = format!("/escalation_levels/{no}");
            if level.level as usize != no + 1 {
                let message = format!("must be {}: levels are numbered from 1, in their order", no + 1);
                self.wrong::<()>(format!("{pointer}/level"), message);
            }
            self.minutes(&format!("{pointer}/delay_minutes"), level.delay_minutes, 0.0);
            if level.delay_minutes < before {
                let message = "must not be less than the delay of the level before: both count from the trigger";
                self.wrong::<()>(format!("{pointer}/delay_minutes"), message);
            }
            before = level.delay_minutes;
            self.level(&pointer, level, &document.notification_channels);
        }
        self.channels("/notification_channels", &document.notification_channels);
        self.actions("/remediation_actions", &document.remediation_actions);
        for (no, action) in document.remediation_actions.iter().enumerate() {
            self.remedy(&format!("/remediation_actions/{no}"), action);
        }
        self.actions("/sla_breach_actions", &document.sla_breach_actions);
        self.minutes("/give_up_after_minutes", document.give_up_after_minutes, 1.0);
    }

    fn level(&mut self, pointer: &str, level: &LevelDocument, default_channels: &[ChannelDocument]) {
        self.actions(&format!("{pointer}/actions"), &level.actions);
        self.channels(&format!("{pointer}/notify_channels"), &level.notify_channels);
        self.count(&format!("{pointer}/recipients"), level.recipients.len());
        for (no, recipient) in level.recipients.iter().enumerate() {
            if let Err(message) = recipient.parse::<Recipient>() {
                self.wrong::<()>(format!("{pointer}/recipients/{no}"), message);
            }
        }
        let has_channels = !level.notify_channels.is_empty() || !default_channels.is_empty();
        if level.actions.is_empty() && !has_channels && level.recipients.is_empty() && level.remediation.is_none() {
            self.wrong::<()>(pointer, "does nothing: name actions, notify_channels or recipients");
        }
        let pages = level.actions.iter().any(|action| action.action == LevelAction::PageOncall.as_str());
        let names = level.recipients.iter().any(|recipient| recipient.starts_with("on_call:"));
        let targeted = level.actions.iter().any(|a| a.action == LevelAction::PageOncall.as_str() && a.target.is_some());
        if pages && !names && !targeted {
            let message = "page_oncall needs the name of a schedule: as its target, or as a recipient on_call:NAME";
            self.wrong::<()>(format!("{pointer}/actions"), message);
        }
        if let Some(repeat) = level.repeat {
            self.minutes(&format!("{pointer}/repeat/every_minutes"), repeat.every_minutes, LEAST_EVERY_MINUTES);
            if !(1..=MOST_REPEATS).contains(&repeat.times) {
                self.wrong::<()>(format!("{pointer}/repeat/times"), format!("must be 1 to {MOST_REPEATS}"));
            }
        }
        if let Some(remediation) = &level.remediation {
            self.minutes(&format!("{pointer}/remediation/grace_minutes"), remediation.grace_minutes, 0.0);
            self.action(&format!("{pointer}/remediation/action"), &remediation.action);
            self.remedy(&format!("{pointer}/remediation/action"), &remediation.action);
        }
    }

    fn channels(&mut self, pointer: &str, channels: &[ChannelDocument]) {
        self.count(pointer, channels.len());
        for (no, channel) in channels.iter().enumerate() {
            self.name(&format!("{pointer}/{no}"), &channel.channel);
        }
    }

    fn actions(&mut self, pointer: &str, actions: &[ActionDocument]) {
        self.count(pointer, actions.len());
        for (no, action) in actions.iter().enumerate() {
            self.action(&format!("{pointer}/{no}"), action);
        }
    }

    fn action(&mut self, pointer: &str, action: &ActionDocument) {
        self.name(pointer, &action.action);
        match action.action.as_str() {
            "recover" => {
                let message = "recover is an action of the self-healing engine, which this version does not have: use retry, \
                               retry_with_fallback, rollback_changes, switch_to_backup or run_flow";
                self.wrong::<()>(pointer, message);
            }
            name => {
                let needs_target = matches!(name.parse(), Ok(LevelAction::RunFlow));
                if needs_target && action.target.is_none() {
                    self.wrong::<()>(pointer, format!("{name} needs a target: the flow's name or id"));
                }
            }
        }
    }

    /// Whoever is told has mended nothing yet: a message that is delivered must not resolve the event.
    fn remedy(&mut self, pointer: &str, action: &ActionDocument) {
        if LevelAction::names_message(&action.action) {
            let message = format!("{} tells people and mends nothing: name it among a level's actions", action.action);
            self.wrong::<()>(pointer, message);
        }
    }

    fn service(&mut self, document: &RuleDocument) {
        let times = [
            ("/sla_response_time_minutes", document.sla_response_time_minutes),
            ("/sla_resolution_time_minutes", document.sla_resolution_time_minutes),
            ("/sla_warning_minutes", document.sla_warning_minutes),
            ("/cooldown_period_minutes", document.cooldown_period_minutes),
        ];
        for (pointer, minutes) in times {
            minutes.into_iter().for_each(|minutes| self.minutes(pointer, minutes, 0.0));
        }
        for (urgency, times) in &document.sla_by_urgency {
            for (name, minutes) in
                [("response_minutes", times.response_minutes), ("resolution_minutes", times.resolution_minutes)]
            {
                let pointer = format!("/sla_by_urgency/{urgency}/{name}");
                minutes.into_iter().for_each(|minutes| self.minutes(&pointer, minutes, 0.0));
            }
        }
        let has_times = document.sla_response_time_minutes.is_some()
            || document.sla_resolution_time_minutes.is_some()
            || !document.sla_by_urgency.is_empty();
        if document.sla_enabled && !has_times {
            self.wrong::<()>("/sla_enabled", "needs sla_response_time_minutes or sla_resolution_time_minutes");
        }
    }

    fn restraint(&mut self, document: &RuleDocument) {
        let mut windows = vec![
            ("/max_escalations_per_hour".to_owned(), document.max_escalations_per_hour),
            ("/max_escalations_per_day".to_owned(), document.max_escalations_per_day),
        ];
        for (no, throttle) in document.throttles.iter().enumerate() {
            windows.push((format!("/throttles/{no}/max"), Some(throttle.max)));
            self.minutes(&format!("/throttles/{no}/minutes"), throttle.minutes, LEAST_EVERY_MINUTES);
            if throttle.minutes > 24.0 * 60.0 {
                self.wrong::<()>(format!("/throttles/{no}/minutes"), "must be at most 1440: a day");
            }
        }
        self.count("/throttles", document.throttles.len());
        for (pointer, max) in windows {
            if max.is_some_and(|max| !(1..=MOST_PER_WINDOW).contains(&max)) {
                self.wrong::<()>(pointer, format!("must be 1 to {MOST_PER_WINDOW}"));
            }
        }
        if let Some(heartbeat) = document.heartbeat {
            self.minutes("/heartbeat/every_minutes", heartbeat.every_minutes, LEAST_EVERY_MINUTES);
            self.minutes("/heartbeat/grace_minutes", heartbeat.grace_minutes, 0.0);
        }
    }
}
