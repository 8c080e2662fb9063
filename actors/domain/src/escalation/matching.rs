//! Which rule acts on a failure, and why the others do not.
//!
//! A tenant may have ten thousand rules, and a thousand failures a second. So rules are found by what they are about: each
//! stands under the flows that it names, else under its integrations, else under its action types, else among those that may
//! be about anything. Only the others' reasons, which are kept with an event, are looked for one by one, and only a few of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::rule::{Failure, Rule, RuleId};
use crate::expr::Scope;
use crate::ids::{Owner, RowId};
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
    Behind {
        /// In rows and answers it stands beside the name of the rule that was asked, which it must not take the place of.
        #[serde(rename = "acting_rule_name")]
        rule_name: String,
    },
    /// It is switched off.
    Inactive,
    /// A filter does not hold.
    Filtered { filter: &'static str, found: String },
    /// This clause of the conditions does not hold.
    Unmet { clause: String },
    /// Its conditions cannot be evaluated.
    Unclear { error: String },
}

/// The rules of a tenant, in the order in which they are asked: by priority, then the oldest.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    by_id: BTreeMap<RuleId, usize>,
    by_flow: BTreeMap<String, Vec<usize>>,
    by_integration: BTreeMap<String, Vec<usize>>,
    by_action_type: BTreeMap<String, Vec<usize>>,
    /// About anything.
    others: Vec<usize>,
}

impl RuleSet {
    /// Puts rules in their order.
    pub fn new(mut rules: Vec<Arc<Rule>>) -> Self {
        rules.sort_by_key(|rule| (rule.document.priority, rule.id));
        let mut set =
            Self { by_id: rules.iter().enumerate().map(|(no, rule)| (rule.id, no)).collect(), ..Self::default() };
        for (no, rule) in rules.iter().enumerate() {
            let document = &rule.document;
            // A rule with a heartbeat is found by its id.
            if !document.is_active || document.heartbeat.is_some() {
                continue;
            }
            let filters = [
                (&document.applies_to_flows, &mut set.by_flow),
                (&document.applies_to_integrations, &mut set.by_integration),
                (&document.applies_to_action_types, &mut set.by_action_type),
            ];
            match filters.into_iter().find(|(named, _)| !named.is_empty()) {
                None => set.others.push(no),
                Some((named, by_name)) => {
                    for name in named {
                        let found = by_name.entry(name.clone()).or_default();
                        // One that names something twice stands there once.
                        if found.last() != Some(&no) {
                            found.push(no);
                        }
                    }
                }
            }
        }
        set.rules = rules;
        set
    }

    /// All of them, in their order.
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// The rule of this id.
    pub fn rule(&self, id: RuleId) -> Option<&Arc<Rule>> {
        self.by_id.get(&id).and_then(|no| self.rules.get(*no))
    }

    /// The rules that act on a failure.
    pub fn acting(&self, failure: &Failure, owner: &Owner) -> Vec<Arc<Rule>> {
        let scope = scope(failure, owner);
        let mut acting = Vec::new();
        for no in self.candidates(failure) {
            let rule = &self.rules[no];
            if verdict(rule, failure, &scope) == Verdict::Acts {
                acting.push(rule.clone());
                if !rule.document.goes_on {
                    break;
                }
            }
        }
        acting
    }

    /// What those that act say, and the first `most` of the others; and how many more there are.
    pub fn reasons(&self, acting: &[Arc<Rule>], failure: &Failure, owner: &Owner, most: usize) -> (Vec<Asked>, usize) {
        let acts = |rule: &Rule| acting.iter().any(|other| other.id == rule.id);
        let mut reasons: Vec<Asked> = acting.iter().map(|rule| asked(rule, Verdict::Acts)).collect();
        let scope = scope(failure, owner);
        let mut acted = None;
        for rule in &self.rules {
            if reasons.len() >= acting.len() + most {
                break;
            }
            if acts(rule) {
                acted = Some(rule).filter(|rule| !rule.document.goes_on);
            } else {
                reasons.push(asked(rule, behind(verdict(rule, failure, &scope), acted)));
            }
        }
        let left_out = self.rules.len() - reasons.len();
        (reasons, left_out)
    }

    /// Those that may act, in their order.
    fn candidates(&self, failure: &Failure) -> impl Iterator<Item = usize> {
        if let Some(own) = own_rule(failure) {
            let found = own.parse().ok().and_then(|id| self.by_id.get(&RowId(id))).copied();
            return Merged { lists: Vec::new(), own: found };
        }
        let flow_id = failure.flow_id.map(|id| id.to_string());
        let named = [
            (&self.by_flow, failure.flow_name.as_deref()),
            (&self.by_flow, flow_id.as_deref()),
            (&self.by_integration, failure.integration.as_deref()),
            (&self.by_action_type, failure.action_type.as_deref()),
        ];
        let found = named.into_iter().filter_map(|(by_name, name)| by_name.get(name?)).map(Vec::as_slice);
        Merged { lists: found.chain([self.others.as_slice()]).collect(), own: None }
    }
}

/// Ascending lists as one, each number once.
struct Merged<'s> {
    lists: Vec<&'s [usize]>,
    own: Option<usize>,
}

impl Iterator for Merged<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if let Some(own) = self.own.take() {
            return Some(own);
        }
        let least = self.lists.iter().filter_map(|list| list.first()).min().copied()?;
        for list in &mut self.lists {
            if list.first() == Some(&least) {
                *list = &list[1..];
            }
        }
        Some(least)
    }
}

/// Asks every rule, in their order, so that "why not" has an answer for each.
pub fn ask(rules: &[Arc<Rule>], failure: &Failure, owner: &Owner) -> Vec<Asked> {
    let set = RuleSet::new(rules.to_vec());
    let scope = scope(failure, owner);
    let mut acted: Option<&Arc<Rule>> = None;
    let mut found = Vec::with_capacity(rules.len());
    for rule in set.rules() {
        let verdict = behind(verdict(rule, failure, &scope), acted);
        if verdict == Verdict::Acts && !rule.document.goes_on {
            acted = Some(rule);
        }
        found.push(asked(rule, verdict));
    }
    found
}

fn asked(rule: &Rule, verdict: Verdict) -> Asked {
    let (rule_name, priority) = (rule.document.rule_name.clone(), rule.document.priority);
    Asked { rule_id: rule.id, rule_name, priority, verdict }
}

/// A rule that would act, where one before it has.
fn behind(verdict: Verdict, acted: Option<&Arc<Rule>>) -> Verdict {
    match (verdict, acted) {
        (Verdict::Acts, Some(before)) => Verdict::Behind { rule_name: before.document.rule_name.clone() },
        (verdict, _) => verdict,
    }
}

/// The rule whose signal has stayed away, where that is the failure: it is about no other rule.
fn own_rule(failure: &Failure) -> Option<&str> {
    failure.context.get("heartbeat_rule_id").and_then(serde_json::Value::as_str)
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
    let own = own_rule(failure);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::escalation::{EscalationReason, RuleDocument};
    use crate::ids::UserId;

    const NAMES: [&str; 3] = ["a", "b", "c"];
    const FLOW: &str = "0190a000-0000-7000-8000-000000000001";

    fn rule(no: u128, document: &Value) -> Arc<Rule> {
        let mut all = json!({"rule_name": format!("r{no}"), "urgency": "low"});
        all.as_object_mut().expect("an object").extend(document.as_object().expect("an object").clone());
        let document = RuleDocument::from_value(all).expect("a document");
        Arc::new(Rule::compile(RowId(Uuid::from_u128(no)), document).expect("a rule"))
    }

    #[test]
    fn a_rule_behind_another_keeps_its_own_name() {
        let verdict = Verdict::Behind { rule_name: "first".to_owned() };
        let asked = Asked { rule_id: RowId(Uuid::nil()), rule_name: "second".to_owned(), priority: 2, verdict };
        let shown = json!(asked);
        assert_eq!([&shown["rule_name"], &shown["acting_rule_name"]], ["second", "first"]);
    }

    /// Some of the names.
    fn some() -> impl Strategy<Value = Vec<&'static str>> {
        proptest::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c")], 0..3)
    }

    fn document() -> impl Strategy<Value = Value> {
        let flows = some().prop_map(|mut flows| {
            flows.iter_mut().filter(|flow| **flow == "c").for_each(|flow| *flow = FLOW);
            flows
        });
        let conditions = prop_oneof![Just(Value::Null), Just(json!("trigger.n > 1")), Just(json!("trigger.nope"))];
        let rest = (1..4_u32, conditions, any::<bool>(), 0..10_u8);
        (some(), some(), flows, rest).prop_map(
            |(actions, integrations, flows, (priority, conditions, goes_on, kind))| {
                let heartbeat = if kind == 0 { json!({"every_minutes": 5}) } else { Value::Null };
                let mut document = json!({"applies_to_action_types": actions, "applies_to_integrations": integrations,
                "applies_to_flows": flows, "priority": priority, "trigger_conditions": conditions, "continue": goes_on,
                "is_active": kind != 1, "heartbeat": heartbeat});
                if heartbeat.is_null() {
                    document.as_object_mut().expect("an object").remove("heartbeat");
                }
                document
            },
        )
    }

    proptest! {
        /// Whoever is found by the indexes is whoever acts when every rule is asked; and the reasons are the same.
        #[test]
        fn indexes_find_those_that_act(
            documents in proptest::collection::vec(document(), 0..30),
            (action, integration, flow) in (0..4_usize, 0..4_usize, 0..4_usize),
            (n, heartbeat, most) in (0..4_u8, 0..20_u128, 0..8_usize),
        ) {
            let rules: Vec<Arc<Rule>> = documents.iter().zip(1..).map(|(document, no)| rule(no, document)).collect();
            let mut context = json!({"n": n, "action_type": NAMES.get(action), "integration": NAMES.get(integration)});
            match NAMES.get(flow) {
                Some(&"c") => context["flow_id"] = json!(FLOW),
                name => context["flow_name"] = json!(name),
            }
            if heartbeat > 0 && heartbeat < 5 {
                context["heartbeat_rule_id"] = json!(Uuid::from_u128(heartbeat));
            }
            let failure = Failure::described(EscalationReason::Reported, Arc::new(context), 0);
            let owner = Owner::new(UserId(Uuid::nil()), None);
            let all = ask(&rules, &failure, &owner);
            let expected: Vec<RuleId> = acting(&rules, &all).iter().map(|rule| rule.id).collect();
            let set = RuleSet::new(rules);
            let found = set.acting(&failure, &owner);
            prop_assert_eq!(found.iter().map(|rule| rule.id).collect::<Vec<_>>(), expected);
            let (reasons, left_out) = set.reasons(&found, &failure, &owner, most);
            let (acts, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|asked| asked.verdict == Verdict::Acts);
            let skipped = others.len().saturating_sub(most);
            let expected: Vec<Asked> = acts.into_iter().chain(others.into_iter().take(most)).collect();
            prop_assert_eq!((reasons, left_out), (expected, skipped));
        }
    }
}
