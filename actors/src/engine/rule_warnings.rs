//! What an escalation rule names that does not exist yet. That is legal, since it may be made later; but it is told to whoever
//! saves the rule, because otherwise the incident would tell.

use std::collections::BTreeMap;

use core314_domain::escalation::{LevelAction, Recipient, RuleDocument};
use core314_domain::ids::{FlowId, TenantId};
use core314_domain::plan::Problem;

use super::Engine;
use crate::escalations::rule_actions;
use crate::ports::{Scope, StoreError};

/// Different names of one rule that are looked up; what stands behind them is not judged.
const MOST_NAMES: usize = 200;

/// What a rule names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Named {
    Schedule(String),
    /// By name or id.
    Flow(String),
    Rule(String),
}

impl Named {
    fn missing(&self) -> String {
        match self {
            Self::Schedule(name) => format!("there is no on-call schedule '{name}' yet"),
            Self::Flow(name) => format!("there is no flow '{name}' yet"),
            Self::Rule(name) => format!("there is no escalation rule '{name}' yet"),
        }
    }
}

impl Engine {
    /// What is legal in a rule and surely not meant: schedules, flows and rules that do not exist.
    pub async fn rule_warnings(&self, tenant: TenantId, document: &RuleDocument) -> Result<Vec<Problem>, StoreError> {
        let mut found = Vec::new();
        let mut known: BTreeMap<Named, bool> = BTreeMap::new();
        for (pointer, named) in names(document) {
            let is_there = match known.get(&named) {
                Some(is_there) => *is_there,
                None if known.len() >= MOST_NAMES => break,
                None => {
                    let is_there = self.is_there(tenant, &named).await?;
                    known.insert(named.clone(), is_there);
                    is_there
                }
            };
            if !is_there {
                found.push(Problem::new(pointer, named.missing()));
            }
        }
        Ok(found)
    }

    async fn is_there(&self, tenant: TenantId, named: &Named) -> Result<bool, StoreError> {
        let (desk, catalog) = (self.escalations()?, &self.inner.runtime.catalog);
        Ok(match named {
            Named::Schedule(name) => desk.book().on_call(tenant, name.clone(), self.now_ms()).await?.is_some(),
            Named::Flow(name) => match name.parse::<FlowId>() {
                Ok(id) => catalog.flow(Scope::Tenant(tenant), id).await?.is_some(),
                Err(_) => catalog.flow_by_name(tenant, name.clone()).await?.is_some(),
            },
            Named::Rule(name) => {
                let rules = desk.rules(tenant).await?;
                rules.set.rules().iter().any(|rule| rule.document.rule_name == *name)
            }
        })
    }
}

/// What a rule names, each with its place.
fn names(document: &RuleDocument) -> Vec<(String, Named)> {
    let mut found: Vec<(String, Named)> = Vec::new();
    for (no, name) in document.depends_on.iter().enumerate() {
        found.push((format!("/depends_on/{no}"), Named::Rule(name.clone())));
    }
    for (no, level) in document.escalation_levels.iter().enumerate() {
        for (n, recipient) in level.recipients.iter().enumerate() {
            if let Ok(Recipient::OnCall(name)) = recipient.parse() {
                found.push((format!("/escalation_levels/{no}/recipients/{n}"), Named::Schedule(name)));
            }
        }
    }
    for (at, action) in rule_actions(document) {
        let Some(name) = action.target.clone() else { continue };
        let named = match action.action.parse() {
            Ok(LevelAction::PageOncall) => Named::Schedule(name),
            Ok(LevelAction::RunFlow | LevelAction::HaltFlow | LevelAction::ResumeFlow) => Named::Flow(name),
            // Integrations are looked at before the rule is saved.
            Ok(_) | Err(_) => continue,
        };
        found.push((format!("{at}/target"), named));
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_that_a_rule_names_is_found_with_its_place() {
        let rule = json!({"rule_name": "r", "depends_on": ["db"], "escalation_levels": [
            {"level": 1, "recipients": ["role:admin", "on_call:primary"], "actions": ["halt_flow",
                {"action": "page_oncall", "target": "second"}, {"action": "create_ticket", "target": "code"}]}],
            "remediation_actions": [{"action": "run_flow", "target": "mend"}]});
        let rule = RuleDocument::from_value(rule).expect("a rule");
        let found = names(&rule);
        let found: Vec<(&str, &Named)> = found.iter().map(|(pointer, named)| (pointer.as_str(), named)).collect();
        let schedule = |name: &str| Named::Schedule(name.to_owned());
        assert_eq!(
            found,
            [
                ("/depends_on/0", &Named::Rule("db".to_owned())),
                ("/escalation_levels/0/recipients/1", &schedule("primary")),
                ("/escalation_levels/0/actions/1/target", &schedule("second")),
                ("/remediation_actions/0/target", &Named::Flow("mend".to_owned())),
            ]
        );
    }
}
