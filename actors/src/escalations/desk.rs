//! What everybody shares who works on escalations: the rules of tenants, compiled, and the way to the actors.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use core314_domain::escalation::{
    Asked, EscalationReason, Failure, Hold, Rule, RuleDocument, RuleId, RuleSet, Silence, Surroundings,
};
use core314_domain::ids::{Owner, RowId, TenantId, UserId};
use core314_domain::plan::Problem;
use dashmap::DashMap;
use serde_json::json;
use tokio::sync::oneshot;

use super::dependencies::{Dependencies, Holding};
use super::{EscalationError, Escalations, EscalationsMsg, Job, Nudge, TellResult};
use crate::engine::{Engine, Inner};
use crate::ports::escalation::{EscalationBook, EscalationWrite, StoredEscalation, StoredRule, StoredSilence};
use crate::ports::people::PeopleBook;
use crate::ports::store::{Outcome, Write};
use crate::ports::{Scope, StoreError};
use crate::recipients::Directory;
use crate::runtime::Runtime;
use crate::supervision::Ref;

/// Tenants whose rules are held compiled; all are forgotten where there are more.
const MOST_TENANTS: usize = 10_000;
/// Silences of one tenant that are looked at.
const MOST_SILENCES: usize = 1_000;
/// How long a caller waits for an actor.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the links by which people acknowledge from a message.
pub trait AckLinks: Send + Sync + 'static {
    /// A link that acknowledges this event in the name of this person, for a time.
    fn link(&self, tenant: TenantId, escalation: RowId, user: UserId, now_ms: i64) -> Option<String>;

    /// What a link's token says; `None` where it is none of ours, or its time is over.
    fn open(&self, token: &str, now_ms: i64) -> Option<Acknowledger>;
}

/// Who acknowledges what by a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledger {
    pub tenant: TenantId,
    pub escalation: RowId,
    pub user: UserId,
}

/// Shared by the actors of escalations and by those who ask them.
pub struct Desk {
    engine: Weak<Inner>,
    runtime: Arc<Runtime>,
    pub(super) book: Arc<dyn EscalationBook>,
    pub(super) links: Option<Arc<dyn AckLinks>>,
    actor: OnceLock<Ref<Escalations>>,
    rules: DashMap<TenantId, Arc<TenantRules>>,
    /// What was known before something changed: what is the same is not compiled again.
    before: DashMap<TenantId, Arc<TenantRules>>,
    /// One reads the rules of a tenant, and the others wait for that.
    reading: DashMap<TenantId, Arc<tokio::sync::Mutex<()>>>,
    /// How often rules were forgotten: what was read before is not kept.
    forgotten: AtomicU64,
}

/// What a tenant's failures are asked about: its rules, compiled and found by what they are about, and its silences.
#[derive(Default)]
pub struct TenantRules {
    pub set: RuleSet,
    kept: HashMap<RuleId, RuleFacts>,
    silences: Vec<Silence>,
    dependencies: Dependencies,
    /// What holds each that depends on others: found when it is first asked, and kept.
    holding: HashMap<RuleId, OnceLock<Arc<[Holding]>>>,
    is_active: bool,
}

/// What is known of a rule beside its document.
#[derive(Debug, Clone, Copy)]
pub struct RuleFacts {
    pub version: i64,
    pub created_by: UserId,
    pub updated_by: UserId,
}

impl TenantRules {
    /// Compiles what is stored. Rules that an earlier look has compiled in this version are taken from there; one that an
    /// earlier release saved and this one cannot compile is left out, loudly.
    fn of(stored: Vec<StoredRule>, silences: Vec<StoredSilence>, before: Option<&Self>) -> Self {
        let mut kept = HashMap::with_capacity(stored.len());
        let (mut dependencies, mut holding) = (Dependencies::default(), HashMap::new());
        let mut rules = Vec::with_capacity(stored.len());
        for StoredRule { id, version, document, created_by, updated_by, .. } in stored {
            kept.insert(id, RuleFacts { version, created_by, updated_by });
            dependencies.add(id, &document);
            if !document.depends_on.is_empty() {
                holding.insert(id, OnceLock::new());
            }
            let known = before.filter(|before| before.facts(id).is_some_and(|facts| facts.version == version));
            if let Some(rule) = known.and_then(|before| before.set.rule(id)) {
                rules.push(rule.clone());
                continue;
            }
            match Rule::stored(id, document) {
                Ok(rule) => rules.push(Arc::new(rule)),
                Err(problems) => {
                    let problem = &problems[0].message;
                    tracing::error!(rule = %id, %problem, "a rule cannot be read by this release");
                }
            }
        }
        let compiled = silences.into_iter().filter_map(|s| Silence::compile(s.id, s.document, s.created_ms).ok());
        let is_active = rules.iter().any(|rule| rule.document.is_active);
        Self { set: RuleSet::new(rules), kept, silences: compiled.collect(), dependencies, holding, is_active }
    }

    /// What is known of a rule beside its document.
    pub fn facts(&self, id: RuleId) -> Option<&RuleFacts> {
        self.kept.get(&id)
    }

    /// The rules whose open events hold those of a rule.
    pub(super) fn holding(&self, rule: &Rule) -> Arc<[Holding]> {
        let find = || -> Arc<[Holding]> { self.dependencies.holding(&rule.document).into() };
        let of = &rule.document;
        let is_same = |kept: &RuleDocument| kept.rule_name == of.rule_name && kept.depends_on == of.depends_on;
        let is_known = self.set.rule(rule.id).is_some_and(|kept| is_same(&kept.document));
        match self.holding.get(&rule.id).filter(|_| is_known) {
            Some(known) => known.get_or_init(find).clone(),
            // An event goes by the rule as it was when it began.
            None => find(),
        }
    }

    /// Silences that cover a failure under a rule, whether they are in force now or later.
    pub(super) fn covering(&self, rule: RuleId, failure: &Failure, owner: &Owner) -> Vec<&Silence> {
        self.silences.iter().filter(|silence| silence.covers(rule, failure, owner)).collect()
    }
}

impl Desk {
    pub(crate) fn new(
        engine: Weak<Inner>,
        runtime: Arc<Runtime>,
        book: Arc<dyn EscalationBook>,
        links: Option<Arc<dyn AckLinks>>,
    ) -> Self {
        Self {
            engine,
            runtime,
            book,
            links,
            actor: OnceLock::new(),
            rules: DashMap::new(),
            before: DashMap::new(),
            reading: DashMap::new(),
            forgotten: AtomicU64::new(0),
        }
    }

    /// What is kept.
    pub fn book(&self) -> &Arc<dyn EscalationBook> {
        &self.book
    }

    /// From now on there is somebody to tell.
    pub(crate) fn open(&self, actor: Ref<Escalations>) {
        assert!(self.actor.set(actor).is_ok(), "an engine has one actor of escalations");
    }

    /// What a link's token says.
    pub fn opened(&self, token: &str) -> Option<Acknowledger> {
        self.links.as_ref()?.open(token, self.now_ms())
    }

    /// The engine, as long as it lives.
    pub(super) fn engine(&self) -> Result<Engine, StoreError> {
        let inner = self.engine.upgrade();
        inner.map(|inner| Engine { inner }).ok_or_else(|| StoreError::Unavailable("the node stops".to_owned()))
    }

    /// What is kept of people.
    pub(crate) fn people_book(&self) -> Result<Arc<dyn PeopleBook>, StoreError> {
        Ok(self.engine()?.people()?.clone())
    }

    /// Who is behind the names of recipients.
    pub(crate) fn directory(&self) -> Result<Directory, StoreError> {
        let most = self.runtime.settings.recipients_per_message;
        Ok(Directory::new(self.people_book()?, self.book.clone(), most))
    }

    pub(super) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.runtime.now_ms()
    }

    pub(super) fn horizon_ms(&self) -> i64 {
        self.runtime.settings.timer_horizon_ms
    }

    pub(super) fn io(&self) -> &tokio::runtime::Handle {
        &self.runtime.io
    }

    /// Commits one change.
    pub(super) async fn commit(&self, write: EscalationWrite) -> Result<Outcome, StoreError> {
        self.engine()?.commit(Write::Escalation(Arc::new(write))).await
    }

    /// The rules of a tenant.
    pub async fn rules(&self, tenant: TenantId) -> Result<Arc<TenantRules>, StoreError> {
        if let Some(known) = self.rules.get(&tenant) {
            return Ok(known.clone());
        }
        let turn = self.reading.entry(tenant).or_default().clone();
        let _turn = turn.lock().await;
        if let Some(known) = self.rules.get(&tenant) {
            return Ok(known.clone());
        }
        let read = self.read_rules(tenant).await;
        self.reading.remove(&tenant);
        read
    }

    async fn read_rules(&self, tenant: TenantId) -> Result<Arc<TenantRules>, StoreError> {
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let stored = self.book.rules(tenant, self.runtime.settings.escalation_rules_per_tenant).await?;
        let silences = self.book.silences(tenant, self.now_ms(), MOST_SILENCES).await?;
        let before = self.before.remove(&tenant).map(|(_, before)| before);
        let rules = Arc::new(TenantRules::of(stored, silences, before.as_deref()));
        if self.rules.len() >= MOST_TENANTS {
            self.rules.clear();
            self.before.clear();
        }
        self.rules.insert(tenant, rules.clone());
        if self.forgotten.load(Ordering::SeqCst) != forgotten {
            self.set_aside(tenant);
        }
        Ok(rules)
    }

    /// The tenant's rules or silences have changed.
    pub fn forget(&self, tenant: TenantId) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.set_aside(tenant);
    }

    fn set_aside(&self, tenant: TenantId) {
        if let Some((_, known)) = self.rules.remove(&tenant) {
            // Of tenants whose rules are not asked again.
            if self.before.len() >= MOST_TENANTS {
                self.before.clear();
            }
            self.before.insert(tenant, known);
        }
    }

    /// Whether the tenant has rules, as far as that is known at hand.
    pub fn has_rules(&self, tenant: TenantId) -> Option<bool> {
        self.rules.get(&tenant).map(|known| known.is_active)
    }

    /// A rule in the version that an event began with.
    pub(super) async fn rule_of(&self, of: &StoredEscalation) -> Result<Arc<Rule>, StoreError> {
        let (id, version) = (of.rule, of.rule_version);
        let present = self.rules(of.owner.tenant).await?;
        if present.facts(id).is_some_and(|facts| facts.version == version)
            && let Some(rule) = present.set.rule(id)
        {
            return Ok(rule.clone());
        }
        let missing = || StoreError::Corrupt(format!("version {version} of the escalation rule {id} is lost"));
        let document = self.book.rule_version(id, version).await?.ok_or_else(missing)?;
        let unreadable = |problems: Vec<Problem>| {
            StoreError::Corrupt(format!("the escalation rule {id} cannot be read: {}", problems[0].message))
        };
        Rule::stored(id, document).map(Arc::new).map_err(unreadable)
    }

    /// Hands something to the actor of a rule.
    pub(super) fn hand(&self, rule: RuleId, tenant: TenantId, job: Job) -> Result<(), EscalationError> {
        let actor = self.actor.get().ok_or(EscalationError::Busy)?;
        actor.tell(EscalationsMsg::Tell { rule, tenant, job }).map_err(|_| EscalationError::Busy)
    }

    /// Something may have changed for all open events of a tenant.
    pub fn nudge(&self, tenant: TenantId) {
        if let Some(actor) = self.actor.get() {
            // Each event has a time to wake in any case.
            let _ = actor.tell(EscalationsMsg::Nudge(Nudge::Tenant(tenant)));
        }
    }

    /// An event of a rule has ended: those that it may have held back are looked at.
    pub(super) async fn ended(&self, tenant: TenantId, rule: RuleId) {
        let dependents = match self.rules(tenant).await {
            Ok(rules) => {
                let name = rules.set.rule(rule).map(|rule| &rule.document.rule_name);
                name.map(|name| rules.dependencies.held_by(name)).unwrap_or_default()
            }
            // Each of them looks now and then.
            Err(error) => return tracing::warn!(%error, "who waits for the end of an escalation could not be read"),
        };
        if let Some(actor) = self.actor.get() {
            for rule in dependents {
                let _ = actor.tell(EscalationsMsg::Nudge(Nudge::Rule(rule, tenant)));
            }
        }
    }

    /// Tells an event something, and waits until it is durable.
    pub async fn tell(
        &self,
        scope: Scope,
        escalation: RowId,
        command: core314_domain::escalation::Command,
        by: String,
    ) -> TellResult {
        let stored = self.book.escalation(scope, escalation).await?.ok_or(EscalationError::NotFound)?;
        let (answer, heard) = oneshot::channel();
        let job = Job::Tell { escalation, command: Box::new(command), by, answer };
        self.hand(stored.rule, stored.owner.tenant, job)?;
        match tokio::time::timeout(PATIENCE, heard).await {
            Ok(Ok(told)) => told,
            // The actor has died over it, or is slow: what came of it shows in the event.
            Ok(Err(_)) | Err(_) => Err(EscalationError::Busy),
        }
    }

    /// What surrounds an event of a rule now: silences that cover what it is about, and open events of what it depends on.
    pub(super) async fn around(
        &self,
        rule: &Rule,
        failure: &Failure,
        owner: &Owner,
        event: Option<&StoredEscalation>,
    ) -> Result<Surroundings, StoreError> {
        let now_ms = self.now_ms();
        let rules = self.rules(owner.tenant).await?;
        let covering = rules.covering(rule.id, failure, owner);
        let silent = covering.iter().find_map(|silence| {
            let until_ms = silence.until(now_ms)?;
            let reason = format!("the silence '{}' covers it", silence.document.name);
            Some(Hold { reason, since_ms: now_ms, until_ms: Some(until_ms) })
        });
        let next_hold_ms = covering.iter().filter_map(|silence| silence.next_start(now_ms + 1)).min();
        if silent.is_some() || rule.document.depends_on.is_empty() {
            return Ok(Surroundings { hold: silent, next_hold_ms });
        }
        let since_ms = event.and_then(|stored| stored.event.held.as_ref()).map_or(now_ms, |held| held.since_ms);
        let hold = self.open_dependency(&rules, rule, owner.tenant, event).await?.map(|name| Hold {
            reason: format!("an event of '{name}', on which the rule depends, is open"),
            since_ms,
            // Whoever ends that event tells; and it is looked for now and then.
            until_ms: Some(now_ms + DEPENDENCY_LOOK_MS),
        });
        Ok(Surroundings { hold, next_hold_ms })
    }

    /// The first rule among those on which a rule depends that has an open event which holds this one, or one to come.
    pub(super) async fn open_dependency(
        &self,
        rules: &TenantRules,
        rule: &Rule,
        tenant: TenantId,
        event: Option<&StoredEscalation>,
    ) -> Result<Option<String>, StoreError> {
        let began = event.map(|stored| (stored.event.triggered_ms, stored.id));
        let holders = rules.holding(rule).iter().map(|holding| holding.holder(began)).collect();
        self.book.open_among(tenant, holders).await
    }

    /// Asks the rules whose signal has stayed away, and moves each on to its next time.
    pub(super) async fn heartbeats_missed(&self, missed: Vec<StoredRule>) {
        for rule in missed {
            if let Err(error) = self.heartbeat_missed(&rule).await {
                tracing::warn!(rule = %rule.id, %error, "a missed heartbeat is told later");
            }
        }
    }

    async fn heartbeat_missed(&self, rule: &StoredRule) -> Result<(), super::AskError> {
        let (Some(heartbeat), Some(due_ms)) = (rule.document.heartbeat, rule.heartbeat_due_ms) else { return Ok(()) };
        let context = json!({
            "heartbeat_rule_id": rule.id, "subject": format!("heartbeat:{}", rule.id), "due_at_ms": due_ms,
        });
        let failure = Failure::described(EscalationReason::HeartbeatMissed, Arc::new(context), self.now_ms());
        // The same miss has the same name, however often it is told.
        let cause = Failure::event_id(RowId::new(due_ms, rule.id.0.as_u128()), rule.id);
        self.ask(rule.owner, failure, cause, None).await?;
        let next_ms = self.now_ms() + (heartbeat.every_minutes * 60_000.0) as i64;
        let (tenant, expected_due_ms) = (rule.owner.tenant, Some(due_ms));
        let write =
            EscalationWrite::Heartbeat { rule: rule.id, tenant, expected_due_ms, due_ms: next_ms, came_ms: None };
        self.commit(write).await?;
        Ok(())
    }

    /// What rules as they are, or as they were at a time, say to a failure. Nothing is sent.
    pub async fn replay(
        &self,
        owner: Owner,
        failure: &Failure,
        at_ms: Option<i64>,
    ) -> Result<(Vec<Asked>, Vec<Arc<Rule>>), StoreError> {
        let rules = match at_ms {
            None => self.rules(owner.tenant).await?.set.rules().to_vec(),
            Some(at_ms) => {
                let most = self.runtime.settings.escalation_rules_per_tenant;
                let found: Vec<(RuleId, RuleDocument)> = self.book.rules_at(owner.tenant, at_ms, most).await?;
                found.into_iter().filter_map(|(id, document)| Rule::stored(id, document).ok()).map(Arc::new).collect()
            }
        };
        let asked = core314_domain::escalation::ask(&rules, failure, &owner);
        Ok((asked, rules))
    }
}

/// How often an event that is held by another one looks for it.
const DEPENDENCY_LOOK_MS: i64 = 60_000;

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn stored(id: u128, document: serde_json::Value) -> StoredRule {
        let user = UserId(Uuid::from_u128(7));
        StoredRule {
            id: RowId(Uuid::from_u128(id)),
            owner: Owner { tenant: TenantId(Uuid::from_u128(8)), user, organization: None },
            version: 1,
            document: RuleDocument::from_value(document).expect("a rule"),
            created_by: user,
            updated_by: user,
            heartbeat_due_ms: None,
        }
    }

    fn names(found: &[Holding]) -> Vec<String> {
        found.iter().map(|holding| holding.holder(None).name).collect()
    }

    #[test]
    fn what_holds_a_rule_is_found_once_and_anew_for_an_event_of_an_earlier_version() {
        let levels = json!([{"level": 1, "actions": ["notify_user"]}]);
        let shop = json!({"rule_name": "shop", "depends_on": ["api"], "escalation_levels": levels});
        let api = json!({"rule_name": "api", "depends_on": ["db"], "escalation_levels": levels});
        let rules = TenantRules::of(vec![stored(1, shop), stored(2, api)], Vec::new(), None);
        let rule = rules.set.rule(RowId(Uuid::from_u128(1))).expect("it is compiled").clone();
        let found = rules.holding(&rule);
        assert_eq!(names(&found), ["api", "db"]);
        assert!(Arc::ptr_eq(&found, &rules.holding(&rule)), "a look follows nothing that another has followed");
        let mut earlier = (*rule).clone();
        earlier.document.depends_on = vec!["mail".to_owned()];
        assert_eq!(names(&rules.holding(&earlier)), ["mail"]);
        assert_eq!(names(&rules.holding(&rule)), ["api", "db"], "nor is that kept instead");
    }
}
