//! Which rules hold which: `depends_on`, followed over as many rules as there are between.
//!
//! What is down behind a rule that was itself held back is the cause all the same: whoever depends on that rule is held by it.
//! Rules that depend on each other in a circle hold each other only where one names the other, as it is written: followed
//! further, each would wait for the other. Where the events of such rules are open at once, as when both fail in the same
//! moment, the one that began first holds the others and is held by none of them: else nobody would ever hear of any.

use std::collections::{BTreeSet, HashMap, VecDeque};

use core314_domain::escalation::{RuleDocument, RuleId};
use core314_domain::ids::RowId;

use crate::ports::dependency::Holder;

/// Rules that are followed from one.
const MOST_FOLLOWED: usize = 1_000;
/// Rules whose events are looked for because of one, beyond those that it names.
const MOST_HOLDING: usize = 100;

/// A rule whose open events hold those of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holding {
    name: String,
    /// Whether it depends on the other in turn.
    in_turn: bool,
}

impl Holding {
    /// What is asked about it for an event that began then; `None`: for one that there is not yet.
    pub fn holder(&self, began: Option<(i64, RowId)>) -> Holder {
        Holder { name: self.name.clone(), before: began.filter(|_| self.in_turn) }
    }
}

/// What the rules of a tenant say of each other, by their names.
#[derive(Default)]
pub(super) struct Dependencies {
    /// What each names.
    named: HashMap<String, Vec<String>>,
    /// By whom each is named.
    dependents: HashMap<String, Vec<(RuleId, String)>>,
}

impl Dependencies {
    pub fn add(&mut self, id: RuleId, document: &RuleDocument) {
        if document.depends_on.is_empty() {
            return;
        }
        let name = &document.rule_name;
        for of in &document.depends_on {
            self.dependents.entry(of.clone()).or_default().push((id, name.clone()));
        }
        self.named.insert(name.clone(), document.depends_on.clone());
    }

    /// The rules whose open events hold those of a rule, the nearest first.
    pub fn holding(&self, document: &RuleDocument) -> Vec<Holding> {
        let own = document.rule_name.as_str();
        let direct = document.depends_on.iter();
        if !document.depends_on.iter().any(|name| self.named.contains_key(name)) {
            return direct.map(|name| Holding { name: name.clone(), in_turn: false }).collect();
        }
        let in_turn: BTreeSet<String> = self.behind(own).into_iter().map(|(_, name)| name).collect();
        let holding = |name: &String| Holding { name: name.clone(), in_turn: in_turn.contains(name) };
        let mut found: Vec<Holding> = direct.map(holding).collect();
        let most = found.len() + MOST_HOLDING;
        let mut seen: BTreeSet<&str> = document.depends_on.iter().map(String::as_str).collect();
        seen.insert(own);
        let mut next: VecDeque<&str> = document.depends_on.iter().map(String::as_str).collect();
        while let Some(name) = next.pop_front() {
            for further in self.named.get(name).into_iter().flatten() {
                if found.len() >= most || seen.len() >= MOST_FOLLOWED {
                    return found;
                }
                if !seen.insert(further) {
                    continue;
                }
                next.push_back(further);
                if !in_turn.contains(further) {
                    found.push(holding(further));
                }
            }
        }
        found
    }

    /// The rules whose events one of this name may have held.
    pub fn held_by(&self, name: &str) -> Vec<RuleId> {
        self.behind(name).into_iter().map(|(id, _)| id).collect()
    }

    /// Whoever depends on a rule, directly or not, the nearest first.
    fn behind(&self, name: &str) -> Vec<(RuleId, String)> {
        let mut found: Vec<(RuleId, String)> = Vec::new();
        let mut seen: BTreeSet<RuleId> = BTreeSet::new();
        let mut next: VecDeque<&str> = VecDeque::from([name]);
        while let Some(name) = next.pop_front() {
            for (id, dependent) in self.dependents.get(name).into_iter().flatten() {
                if found.len() >= MOST_FOLLOWED {
                    return found;
                }
                if seen.insert(*id) {
                    next.push_back(dependent);
                    found.push((*id, dependent.clone()));
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn rule(name: &str, depends_on: &[&str]) -> RuleDocument {
        RuleDocument::from_value(json!({"rule_name": name, "depends_on": depends_on})).expect("a rule")
    }

    fn known(rules: &[RuleDocument]) -> Dependencies {
        let mut known = Dependencies::default();
        for (no, rule) in rules.iter().enumerate() {
            known.add(RowId(Uuid::from_u128(no as u128)), rule);
        }
        known
    }

    fn numbers(found: &[RuleId]) -> Vec<u128> {
        found.iter().map(|id| id.0.as_u128()).collect()
    }

    fn names(found: &[Holding]) -> Vec<&str> {
        found.iter().map(|holding| holding.name.as_str()).collect()
    }

    #[test]
    fn what_is_down_holds_whatever_depends_on_it_over_others() {
        let rules = [rule("db", &[]), rule("api", &["db"]), rule("shop", &["api", "mail"]), rule("alone", &["mail"])];
        let known = known(&rules);
        assert_eq!(names(&known.holding(&rules[1])), ["db"]);
        assert_eq!(names(&known.holding(&rules[2])), ["api", "mail", "db"]);
        assert!(known.holding(&rules[0]).is_empty());
        assert_eq!(numbers(&known.held_by("db")), [1, 2], "its end is told to both");
        assert_eq!(numbers(&known.held_by("mail")), [2, 3]);
        assert_eq!(numbers(&known.held_by("shop")), [] as [u128; 0]);
    }

    #[test]
    fn a_circle_is_cut_and_what_stands_behind_it_is_not() {
        let rules = [rule("a", &["b"]), rule("b", &["c"]), rule("c", &["a", "disk"]), rule("disk", &["power"])];
        let known = known(&rules);
        assert_eq!(names(&known.holding(&rules[0])), ["b", "disk", "power"], "not c, which waits for it, nor itself");
        assert_eq!(names(&known.holding(&rules[2])), ["a", "disk", "power"]);
        assert_eq!(numbers(&known.held_by("power")), [3, 2, 1, 0]);
    }

    #[test]
    fn of_those_in_a_circle_only_an_event_that_began_earlier_holds() {
        let rules = [rule("a", &["b", "disk"]), rule("b", &["a"]), rule("disk", &["power"])];
        let known = known(&rules);
        let began = Some((7, RowId(Uuid::from_u128(1))));
        let asked = |began| -> Vec<(String, bool)> {
            let holders = known.holding(&rules[0]).into_iter().map(|holding| holding.holder(began));
            holders.map(|holder| (holder.name, holder.before.is_some() && holder.before == began)).collect()
        };
        let bounded = |name: &str, is_bounded| (name.to_owned(), is_bounded);
        assert_eq!(asked(began), [bounded("b", true), bounded("disk", false), bounded("power", false)]);
        assert!(asked(None).iter().all(|(_, is_bounded)| !is_bounded), "a new one began after all that are open");
        assert_eq!(
            known.holding(&rules[1])[0].holder(began).before,
            began,
            "nor does the other hold it whatever comes"
        );
    }

    #[test]
    fn no_crowd_of_rules_makes_a_look_endless() {
        let names: Vec<String> = (0..3_000).map(|no| format!("r{no}")).collect();
        let chain = names.windows(2).map(|pair| rule(&pair[0], &[pair[1].as_str()]));
        let rules: Vec<RuleDocument> = chain.collect();
        let known = known(&rules);
        assert_eq!(known.holding(&rules[0]).len(), 1 + MOST_HOLDING);
        assert_eq!(known.held_by("r2999").len(), MOST_FOLLOWED);
    }
}
