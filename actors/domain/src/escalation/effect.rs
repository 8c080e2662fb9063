//! What an action says that nothing reads, and a page that names no schedule.
//!
//! It is refused when a rule is saved, and not where a stored rule is compiled: one that was saved before this was looked for
//! goes on telling people.

use super::LevelAction;
use super::document::{ActionDocument, RuleDocument};
use crate::plan::Problem;

impl LevelAction {
    const fn takes_target(self) -> bool {
        match self {
            Self::CreateTicket
            | Self::PageOncall
            | Self::HaltFlow
            | Self::ResumeFlow
            | Self::RunFlow
            | Self::SwitchToBackup => true,
            Self::NotifyUser
            | Self::NotifyAdmin
            | Self::Retry
            | Self::RetryWithFallback
            | Self::RollbackChanges
            | Self::Recover => false,
        }
    }
}

/// What the actions of a rule say to no effect, each with its place.
pub fn without_effect(document: &RuleDocument) -> Vec<Problem> {
    let mut found = Vec::new();
    for (no, level) in document.escalation_levels.iter().enumerate() {
        let at = format!("/escalation_levels/{no}");
        let has_schedule = level.recipients.iter().any(|recipient| recipient.starts_with("on_call:"));
        for (n, action) in level.actions.iter().enumerate() {
            judge(&format!("{at}/actions/{n}"), action, has_schedule, &mut found);
        }
        if let Some(remediation) = &level.remediation {
            judge(&format!("{at}/remediation/action"), &remediation.action, false, &mut found);
        }
    }
    for (at, actions) in
        [("/remediation_actions", &document.remediation_actions), ("/sla_breach_actions", &document.sla_breach_actions)]
    {
        for (n, action) in actions.iter().enumerate() {
            judge(&format!("{at}/{n}"), action, false, &mut found);
        }
    }
    found
}

fn judge(at: &str, action: &ActionDocument, has_schedule: bool, found: &mut Vec<Problem>) {
    // Any other name is an action type, which reads both.
    let Ok(known) = action.action.parse::<LevelAction>() else { return };
    if action.target.is_some() && !known.takes_target() {
        let message = match known {
            LevelAction::NotifyUser | LevelAction::NotifyAdmin => {
                format!("has no meaning with {known}, which knows whom it tells: name others as recipients of a level")
            }
            _ => format!("has no meaning with {known}, which is about the run that has failed"),
        };
        found.push(Problem::new(format!("{at}/target"), message));
    }
    if !action.payload.is_empty() && known != LevelAction::CreateTicket {
        let message = format!("has no meaning with {known}: create_ticket and action types have a payload");
        found.push(Problem::new(format!("{at}/payload"), message));
    }
    let names_schedule = action.target.as_deref().is_some_and(|name| !name.trim().is_empty());
    if known == LevelAction::PageOncall && !names_schedule && !has_schedule {
        let message = "page_oncall needs the name of a schedule as its target: nobody else would be paged";
        found.push(Problem::new(at, message));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn places(rule: Value) -> Vec<String> {
        let document = RuleDocument::from_value(rule).expect("a rule");
        without_effect(&document).into_iter().map(|problem| problem.pointer).collect()
    }

    #[test]
    fn what_nothing_reads_and_a_page_to_no_schedule_are_found() {
        let wrong = json!({"rule_name": "r", "escalation_levels": [
            {"level": 1, "actions": [
                {"action": "notify_user", "target": "user:x", "payload": {"text": "t"}},
                {"action": "page_oncall", "target": "primary", "payload": {"severity": "low"}}, "page_oncall",
                {"action": "page_oncall", "target": " "}, {"action": "run_flow", "target": "f", "payload": {"a": 1}}],
             "remediation": {"action": {"action": "retry", "target": "f"}, "grace_minutes": 1}}],
            "remediation_actions": [{"action": "rollback_changes", "target": "f"}],
            "sla_breach_actions": ["notify_user", "page_oncall"]});
        let first = "/escalation_levels/0";
        assert_eq!(
            places(wrong),
            [
                format!("{first}/actions/0/target"),
                format!("{first}/actions/0/payload"),
                format!("{first}/actions/1/payload"),
                format!("{first}/actions/2"),
                format!("{first}/actions/3"),
                format!("{first}/actions/4/payload"),
                format!("{first}/remediation/action/target"),
                "/remediation_actions/0/target".to_owned(),
                "/sla_breach_actions/1".to_owned(),
            ]
        );
    }

    #[test]
    fn what_is_read_is_taken() {
        let right = json!({"rule_name": "r", "escalation_levels": [
            {"level": 1, "recipients": ["on_call:primary"], "actions": ["notify_user", "page_oncall", "halt_flow",
                {"action": "create_ticket", "target": "code", "payload": {"labels": ["incident"]}},
                {"action": "api_call", "target": "hook", "payload": {"method": "POST"}},
                {"action": "halt_flow", "target": "checkout"}]}],
            "remediation_actions": [{"action": "switch_to_backup", "target": "pair"}, "retry"],
            "sla_breach_actions": [{"action": "page_oncall", "target": "primary"}]});
        assert_eq!(places(right), [] as [String; 0]);
    }
}
