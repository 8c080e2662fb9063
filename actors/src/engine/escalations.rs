//! Escalation rules, on-call schedules and silences, as the shell sees them.

use std::sync::Arc;

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::escalation::{
    LevelAction, OnCall, OnCallDocument, Override, Rule, RuleDocument, RuleId, Silence, SilenceDocument, without_effect,
};
use core314_domain::ids::{Owner, RowId, TenantId};
use core314_domain::plan::Problem;
use serde_json::json;

use super::{Engine, StartError, unexpected};
use crate::escalations::{AckLinks, Desk, Escalations, level_action_types, rule_actions};
use crate::integrations::Known;
use crate::ports::escalation::{EscalationBook, EscalationWrite, StoredOnCall, StoredRule, StoredSilence};
use crate::ports::store::{Outcome, RejectCode, Write};
use crate::ports::{Scope, StoreError};
use crate::supervision::{ChildSpec, Placement};

/// Why something was not saved. The variants say what the caller should do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RuleError {
    /// Mend the document.
    #[error("{} problem(s), the first at '{}': {}", .0.len(), .0[0].pointer, .0[0].message)]
    Invalid(Vec<Problem>),
    /// Choose another name, or change what has it.
    #[error("there is one of this name already")]
    NameTaken,
    /// Read it again: somebody else has changed it.
    #[error("it was changed by somebody else: read it again")]
    Conflict,
    #[error("there is no such row")]
    NotFound,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A rule to save.
#[derive(Debug, Clone)]
pub struct RuleDraft {
    pub owner: Owner,
    pub document: RuleDocument,
    /// Who saves it, for the audit log: `user:ID` or `service:ID`.
    pub by: String,
}

/// An on-call schedule to save.
#[derive(Debug, Clone)]
pub struct OnCallDraft {
    pub owner: Owner,
    pub document: OnCallDocument,
    pub by: String,
}

/// Somebody who stands in.
#[derive(Debug, Clone)]
pub struct OverrideDraft {
    pub owner: Owner,
    pub schedule: RowId,
    pub over: Override,
    pub reason: Option<String>,
    pub by: String,
}

/// A silence to keep.
#[derive(Debug, Clone)]
pub struct SilenceDraft {
    pub owner: Owner,
    pub document: SilenceDocument,
    pub by: String,
}

impl Engine {
    /// Asks escalation rules about what fails from now on, and takes up what an earlier process left.
    pub fn escalate(&self, book: Arc<dyn EscalationBook>, links: Option<Arc<dyn AckLinks>>) -> Result<(), StartError> {
        let inner = &self.inner;
        let desk = Arc::new(Desk::new(Arc::downgrade(inner), inner.runtime.clone(), book, links));
        let spec = ChildSpec::new("escalations").placement(Placement::Worker(0));
        let started = inner.tree.root().start_child::<Escalations>(spec, desk.clone());
        desk.open(started.map_err(|e| StartError::Actors(e.to_string()))?);
        let shared = inner.runtime.escalation.set(Arc::downgrade(&desk));
        assert!(shared.is_ok() && inner.escalation.set(desk).is_ok(), "an engine keeps rules once");
        inner.runtime.occurred();
        Ok(())
    }

    /// Where escalations are asked for and told something.
    pub fn escalations(&self) -> Result<&Arc<Desk>, StoreError> {
        let desk = self.inner.escalation.get();
        desk.ok_or_else(|| StoreError::Unavailable("this node keeps no escalation rules".to_owned()))
    }

    /// What is wrong with a rule: in itself, and in what its actions and channels would be given. One that is only switched on
    /// or off was checked when it was written: what is refused since then keeps nobody from it, and whoever switches it off
    /// is never refused.
    async fn check_rule(
        &self,
        tenant: TenantId,
        stored: Option<&RuleDocument>,
        document: &RuleDocument,
    ) -> Result<(), RuleError> {
        let is_switched = stored.is_some_and(|stored| is_switched(stored, document));
        if is_switched && !document.is_active {
            return Ok(());
        }
        let compile = if is_switched { Rule::stored } else { Rule::compile };
        compile(RowId(uuid::Uuid::nil()), document.clone()).map_err(RuleError::Invalid)?;
        let known = self.connections(tenant).await?;
        let switches =
            rule_actions(document).into_iter().filter(|(_, a)| a.action == LevelAction::SwitchToBackup.as_str());
        let mut problems = if is_switched { Vec::new() } else { without_effect(document) };
        problems.extend(switches.filter_map(|(at, action)| no_backup(&known, &at, action.target.as_deref()?)));
        for (at, action) in level_action_types(document) {
            match action {
                Err(error) => problems.push(Problem::new(at, error.message)),
                Ok(action) => {
                    if let Err(found) = self.inner.runtime.plans.compile(&action, &known) {
                        problems.extend(found.into_iter().map(|problem| {
                            let within = problem.pointer.strip_prefix("/flow_steps/0/config").unwrap_or("");
                            let target = if at.contains("_channels/") { "/channel" } else { "/target" };
                            let within =
                                within.replace("/action_payload", "/payload").replace("/action_target", target);
                            Problem::new(format!("{at}{}", within.replace("/action_type", "")), problem.message)
                        }));
                    }
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(RuleError::Invalid(problems)) }
    }

    /// Saves a rule: a new one, or the next version of one that was read.
    pub async fn save_rule(&self, known: Option<&StoredRule>, draft: RuleDraft) -> Result<StoredRule, RuleError> {
        self.check_rule(draft.owner.tenant, known.map(|known| &known.document), &draft.document).await?;
        let (now_ms, user) = (self.now_ms(), draft.owner.user);
        let expected_version = known.map_or(0, |known| known.version);
        let heartbeat = draft.document.heartbeat.filter(|_| draft.document.is_active);
        let is_same = known.is_some_and(|known| known.document.heartbeat == heartbeat && known.document.is_active);
        // A rule that is saved with the same heartbeat goes on waiting for the signal that it waits for.
        let due_ms = known.and_then(|known| known.heartbeat_due_ms).filter(|_| is_same);
        let fresh_ms =
            heartbeat.map(|heartbeat| now_ms + minutes_ms(heartbeat.every_minutes + heartbeat.grace_minutes));
        let rule = StoredRule {
            id: known.map_or_else(|| self.inner.runtime.row_id(), |known| known.id),
            owner: known.map_or(draft.owner, |known| known.owner),
            version: expected_version,
            document: draft.document,
            created_by: known.map_or(user, |known| known.created_by),
            updated_by: user,
            heartbeat_due_ms: heartbeat.and(due_ms.or(fresh_ms)),
        };
        let audit = self.entry(AuditEvent::EscalationRuleSaved, draft.owner, draft.by, ("escalation_rule", rule.id.0));
        let audit = AuditEntry {
            summary: format!("escalation rule '{}' saved, version {}", rule.document.rule_name, expected_version + 1),
            details: json!({"version": expected_version + 1}),
            ..audit
        };
        let write = EscalationWrite::Rule { rule: Box::new(rule.clone()), expected_version, audit, at_ms: now_ms };
        self.change(rule.owner, write).await?;
        Ok(StoredRule { version: expected_version + 1, ..rule })
    }

    /// Deletes a rule. Its open events go on with the version that they have.
    pub async fn delete_rule(&self, owner: Owner, rule: &StoredRule, by: String) -> Result<(), RuleError> {
        let audit = self.entry(AuditEvent::EscalationRuleDeleted, owner, by, ("escalation_rule", rule.id.0));
        let (id, tenant, version, at_ms) = (rule.id, owner.tenant, rule.version, self.now_ms());
        self.change(owner, EscalationWrite::DeleteRule { id, tenant, version, audit, at_ms }).await
    }

    /// A rule's signal has come.
    pub async fn heartbeat(&self, owner: Owner, rule: &StoredRule) -> Result<i64, RuleError> {
        let heartbeat = rule.document.heartbeat.ok_or_else(|| {
            RuleError::Invalid(vec![Problem::new("/heartbeat", "the rule waits for no signal: it has no heartbeat")])
        })?;
        let now_ms = self.now_ms();
        let due_ms = now_ms + minutes_ms(heartbeat.every_minutes + heartbeat.grace_minutes);
        let (rule, tenant, came_ms) = (rule.id, owner.tenant, Some(now_ms));
        let write = EscalationWrite::Heartbeat { rule, tenant, expected_due_ms: None, due_ms, came_ms };
        match self.commit(Write::Escalation(Arc::new(write))).await? {
            Outcome::Committed { .. } => Ok(due_ms),
            Outcome::Stale => Err(RuleError::Invalid(vec![Problem::new("/is_active", "the rule is not active")])),
            other => Err(unexpected(other).into()),
        }
    }

    /// Saves an on-call schedule.
    pub async fn save_on_call(
        &self,
        known: Option<&StoredOnCall>,
        draft: OnCallDraft,
    ) -> Result<StoredOnCall, RuleError> {
        OnCall::compile(draft.document.clone()).map_err(RuleError::Invalid)?;
        let expected_version = known.map_or(0, |known| known.version);
        let schedule = StoredOnCall {
            id: known.map_or_else(|| self.inner.runtime.row_id(), |known| known.id),
            owner: known.map_or(draft.owner, |known| known.owner),
            version: expected_version,
            document: draft.document,
            overrides: known.map(|known| known.overrides.clone()).unwrap_or_default(),
        };
        let audit = self.entry(AuditEvent::OnCallChanged, draft.owner, draft.by, ("on_call_schedule", schedule.id.0));
        let at_ms = self.now_ms();
        let write = EscalationWrite::OnCall { schedule: Box::new(schedule.clone()), expected_version, audit, at_ms };
        self.change(schedule.owner, write).await?;
        Ok(StoredOnCall { version: expected_version + 1, ..schedule })
    }

    /// Deletes an on-call schedule, and those who stand in with it.
    pub async fn delete_on_call(&self, owner: Owner, id: RowId, by: String) -> Result<(), RuleError> {
        let audit = self.entry(AuditEvent::OnCallChanged, owner, by, ("on_call_schedule", id.0));
        self.change(owner, EscalationWrite::DeleteOnCall { id, tenant: owner.tenant, audit }).await
    }

    /// Lets somebody stand in.
    pub async fn save_override(&self, draft: OverrideDraft) -> Result<RowId, RuleError> {
        let (id, at_ms) = (self.inner.runtime.row_id(), self.now_ms());
        let OverrideDraft { owner, schedule, over, reason, by } = draft;
        if over.ends_ms <= over.starts_ms {
            return Err(RuleError::Invalid(vec![Problem::new("/ends_at", "must lie after starts_at")]));
        }
        let audit = self.entry(AuditEvent::OnCallChanged, owner, by, ("on_call_schedule", schedule.0));
        let audit = AuditEntry { details: json!({"override": id, "user": over.user}), ..audit };
        self.change(owner, EscalationWrite::Override { id, schedule, owner, over, reason, audit, at_ms }).await?;
        Ok(id)
    }

    /// Nobody stands in any more.
    pub async fn delete_override(&self, owner: Owner, id: RowId, by: String) -> Result<(), RuleError> {
        let audit = self.entry(AuditEvent::OnCallChanged, owner, by, ("on_call_override", id.0));
        self.change(owner, EscalationWrite::DeleteOverride { id, tenant: owner.tenant, audit }).await
    }

    /// Keeps a silence, or changes one: where it says no time of its own it began when it was first kept.
    pub async fn save_silence(
        &self,
        known: Option<&StoredSilence>,
        draft: SilenceDraft,
    ) -> Result<StoredSilence, RuleError> {
        let id = known.map_or_else(|| self.inner.runtime.row_id(), |known| known.id);
        let created_ms = known.map_or_else(|| self.now_ms(), |known| known.created_ms);
        let compiled = Silence::compile(id, draft.document.clone(), created_ms).map_err(RuleError::Invalid)?;
        let (starts_ms, ends_ms) = compiled.span();
        let owner = known.map_or(draft.owner, |known| known.owner);
        let version = known.map_or(0, |known| known.version);
        let silence = StoredSilence { id, owner, document: draft.document, created_ms, version };
        let audit = self.entry(AuditEvent::SilenceChanged, draft.owner, draft.by, ("silence", id.0));
        let kept = Box::new(silence.clone());
        self.change(draft.owner, EscalationWrite::Silence { silence: kept, starts_ms, ends_ms, audit }).await?;
        Ok(StoredSilence { version: version + 1, ..silence })
    }

    /// Ends a silence.
    pub async fn delete_silence(&self, owner: Owner, id: RowId, by: String) -> Result<(), RuleError> {
        let audit = self.entry(AuditEvent::SilenceChanged, owner, by, ("silence", id.0));
        self.change(owner, EscalationWrite::DeleteSilence { id, tenant: owner.tenant, audit }).await
    }

    /// Commits a change, after which the tenant's rules are read again and its open events looked at.
    async fn change(&self, owner: Owner, write: EscalationWrite) -> Result<(), RuleError> {
        let desk = self.inner.escalation.get().cloned();
        let then = move || {
            if let Some(desk) = desk {
                desk.forget(owner.tenant);
                desk.nudge(owner.tenant);
            }
        };
        match self.commit_then(Write::Escalation(Arc::new(write)), then).await? {
            Outcome::Committed { .. } => Ok(()),
            Outcome::Conflict => Err(RuleError::Conflict),
            Outcome::NotFound => Err(RuleError::NotFound),
            Outcome::Rejected { code: RejectCode::NameTaken, .. } => Err(RuleError::NameTaken),
            other => Err(unexpected(other).into()),
        }
    }

    /// A rule that the scope may see.
    pub async fn rule(&self, scope: Scope, id: RuleId) -> Result<Option<StoredRule>, StoreError> {
        self.escalations()?.book().rule(scope, id).await
    }
}

/// Whether a rule is switched on or off, and nothing else of it changes.
fn is_switched(stored: &RuleDocument, document: &RuleDocument) -> bool {
    stored.is_active != document.is_active
        && RuleDocument { is_active: document.is_active, ..stored.clone() } == *document
}

/// Why calls to this integration could not be sent to its backup endpoint.
fn no_backup(known: &Known, at: &str, name: &str) -> Option<Problem> {
    let message = match known.integration_named(name) {
        None => format!("there is no integration '{name}': make it first"),
        Some(found) if found.definition.backup_endpoint.is_none() => {
            format!("the integration '{name}' has no backup_endpoint to switch to")
        }
        Some(_) => return None,
    };
    Some(Problem::new(format!("{at}/target"), message))
}

fn minutes_ms(minutes: f64) -> i64 {
    (minutes * 60_000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_switched_where_nothing_else_of_it_changes() {
        let rule = |is_active: bool, priority: u32| {
            let document = json!({"rule_name": "r", "is_active": is_active, "priority": priority});
            RuleDocument::from_value(document).expect("a rule")
        };
        assert!(is_switched(&rule(true, 1), &rule(false, 1)) && is_switched(&rule(false, 1), &rule(true, 1)));
        assert!(!is_switched(&rule(true, 1), &rule(false, 2)), "what else changes is checked");
        assert!(!is_switched(&rule(true, 1), &rule(true, 1)));
    }
}
