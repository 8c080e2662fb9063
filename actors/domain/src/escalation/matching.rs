//! Which rule acts on a failure, and why the others do not.

use std::sync::Arc;

use serde::Serialize;

use super::rule::{Failure, Rule, RuleId};
use crate::expr::Scope;
use crate::ids::Owner;
use crate::run::matching_scope;

/// What one rule says to a failure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Asked {
    pub rule_id: RuleId,
    pub rule_name: String,
    pub priority: u32,
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// The verdict of one rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It matches, and acts.
    Acts,
    /// It matches, and one before it acted and does not say `continue`.
    Behind { rule_name: String },
    /// It is switched off.
    Inactive,
    /// A filter does not hold.
    Filtered { filter: &'static str, found: String },
    /// This clause of the conditions does not hold.
    Unmet { clause: String },
    /// Its conditions cannot be evaluated.
    Unclear { error: String },
}

/// Asks the rules, in their order: by priority, then the oldest. Every one of them is asked, so that "why not" has an
/// answer for each.
pub fn ask(rules: &[Arc<Rule>], failure: &Failure, owner: &Owner) -> Vec<Asked> {
    let mut rules: Vec<&Arc<Rule>> = rules.iter().collect();
    rules.sort_by_key(|rule| (rule.document.priority, rule.id));
    let scope = scope(failure, owner);
    let mut acted: Option<&str> = None;
    let mut asked = Vec::with_capacity(rules.len());
    for rule in rules {
        let document = &rule.document;
        let verdict = match (verdict(rule, failure, &scope), acted) {
            (Verdict::Acts, Some(before)) => Verdict::Behind { rule_name: before.to_owned() },
            (verdict, _) => verdict,
        };
        if verdict == Verdict::Acts && !document.goes_on {
            acted = Some(&document.rule_name);
        }
        let rule_name = document.rule_name.clone();
        asked.push(Asked { rule_id: rule.id, rule_name, priority: document.priority, verdict });
    }
    asked
}

/// The rules that act.
pub fn acting<'a>(rules: &'a [Arc<Rule>], asked: &[Asked]) -> Vec<&'a Arc<Rule>> {
    let acts = asked.iter().filter(|asked| asked.verdict == Verdict::Acts);
    acts.filter_map(|asked| rules.iter().find(|rule| rule.id == asked.rule_id)).collect()
}

/// What conditions and keys of rules may name.
pub(super) fn scope(failure: &Failure, owner: &Owner) -> Scope {
    matching_scope(failure.trigger(), Arc::default(), owner, failure.at_ms)
}

fn verdict(rule: &Rule, failure: &Failure, scope: &Scope) -> Verdict {
    let document = &rule.document;
    if !document.is_active {
        return Verdict::Inactive;
    }
    // A heartbeat rule is about its own signal, and that signal about no other rule.
    let own = failure.context.get("heartbeat_rule_id").and_then(serde_json::Value::as_str);
    if own.is_some_and(|id| id == rule.id.to_string()) {
        return Verdict::Acts;
    }
    if own.is_some() || document.heartbeat.is_some() {
        return Verdict::Filtered { filter: "heartbeat", found: failure.reason.to_string() };
    }
    let flow_id = failure.flow_id.map(|id| id.to_string());
    let filters = [
        ("applies_to_action_types", &document.applies_to_action_types, [failure.action_type.as_deref(), None]),
        ("applies_to_integrations", &document.applies_to_integrations, [failure.integration.as_deref(), None]),
        ("applies_to_flows", &document.applies_to_flows, [failure.flow_name.as_deref(), flow_id.as_deref()]),
    ];
    for (filter, wanted, found) in filters {
        let is_in = found.iter().flatten().any(|found| wanted.iter().any(|wanted| wanted == found));
        if !wanted.is_empty() && !is_in {
            return Verdict::Filtered { filter, found: found[0].unwrap_or("none").to_owned() };
        }
    }
    match rule.condition.failing_clause(scope) {
        Ok(None) => Verdict::Acts,
        Ok(Some(clause)) => Verdict::Unmet { clause },
        Err(error) => Verdict::Unclear { error: error.to_string() },
    }
}
