//! Compiled flows, kept so that a trigger costs no parsing.
//!
//! A version of a flow never changes, so its plan is kept until room is needed. The list of a tenant's active flows for
//! a trigger type changes when a flow is saved, and is forgotten then.

pub(crate) mod computed;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use core314_domain::document::{FlowDocument, parameters};
use core314_domain::expr::{ExprError, Expression, Scope as ExprScope};
use core314_domain::ids::{FlowId, Owner, RunId, TenantId, WebhookId};
use core314_domain::plan::{FlowPlan, PlanLimits, Problem, StepPlan, problems_at_the_door};
use core314_domain::rollout::{RolloutStatus, RolloutTerms};
use core314_domain::run::FlowRef;
use core314_domain::schedule;
use core314_domain::words::{ExecutionMode, TriggerType};
use dashmap::DashMap;

use crate::integrations::Known;
use crate::ports::catalog::{Catalog, Rollout, StoredFlow};
use crate::ports::executor::Executor;
use crate::ports::{Scope, StoreError};
use crate::webhooks::ReadyWebhook;

/// A flow that can run.
#[derive(Debug, Clone)]
pub struct ReadyFlow {
    pub flow: FlowRef,
    pub tenant: TenantId,
    pub trigger_type: TriggerType,
    pub mode: ExecutionMode,
    pub is_active: bool,
    pub plan: Arc<FlowPlan>,
    /// Present while two of the flow's versions share its new runs.
    pub rollout: Option<Arc<ReadyRollout>>,
}

/// A running roll-out.
#[derive(Debug)]
pub struct ReadyRollout {
    terms: RolloutTerms,
    key: Option<Expression>,
    candidate: ReadyFlow,
    base: ReadyFlow,
}

impl ReadyFlow {
    /// The version with which a run starts. An error is one of the roll-out's key.
    pub fn for_run(&self, run: RunId, scope: impl FnOnce() -> ExprScope) -> Result<Self, ExprError> {
        let Some(rollout) = &self.rollout else { return Ok(self.clone()) };
        let key = match &rollout.key {
            Some(key) => key.evaluate(&scope())?.to_string(),
            None => run.to_string(),
        };
        let is_candidate = rollout.terms.takes_candidate(self.flow.id, &key);
        let chosen = if is_candidate { &rollout.candidate } else { &rollout.base };
        Ok(Self { is_active: self.is_active, ..chosen.clone() })
    }
}

/// How a document becomes a plan: as a new one, or as one that was checked before.
type Compile = fn(&FlowDocument, &[&str], &PlanLimits) -> Result<FlowPlan, Vec<Problem>>;

/// The cache.
pub struct Plans {
    action_types: Vec<&'static str>,
    executors: Vec<Arc<dyn Executor>>,
    limits: PlanLimits,
    capacity: usize,
    versions: DashMap<(FlowId, i64), ReadyFlow>,
    active: DashMap<(TenantId, TriggerType), Arc<Vec<ReadyFlow>>>,
    /// Flows by id, in their present versions.
    current: DashMap<FlowId, ReadyFlow>,
    webhooks: DashMap<WebhookId, Arc<ReadyWebhook>>,
    /// The types of the events that a tenant's flows wait for.
    waited: DashMap<TenantId, Arc<BTreeSet<String>>>,
    /// How often something was forgotten: what was read before must not be kept after.
    forgotten: AtomicU64,
}

impl Plans {
    /// An empty cache for these executors.
    pub fn new(executors: Vec<Arc<dyn Executor>>, limits: PlanLimits, capacity: usize) -> Self {
        let action_types = executors.iter().map(|e| e.action_type()).collect();
        Self {
            action_types,
            executors,
            limits,
            capacity,
            versions: DashMap::new(),
            active: DashMap::new(),
            current: DashMap::new(),
            webhooks: DashMap::new(),
            waited: DashMap::new(),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Checks a document and compiles it; executors look at their payloads. `known` is what the tenant has to connect to.
    pub fn compile(&self, document: &FlowDocument, known: &Known) -> Result<FlowPlan, Vec<Problem>> {
        let (plan, missing) = self.examine(document, known)?;
        if missing.is_empty() { Ok(plan) } else { Err(missing) }
    }

    /// The same of a document that need not be able to run yet: beside its plan there is what its actions name and the
    /// tenant does not have.
    pub fn examine(&self, document: &FlowDocument, known: &Known) -> Result<(FlowPlan, Vec<Problem>), Vec<Problem>> {
        self.look_into(document, known, FlowPlan::compile)
    }

    /// The same of a document that is stored: what a later version of the checker finds in its expressions is no reason to
    /// refuse what it was allowed to be.
    pub fn examine_stored(
        &self,
        document: &FlowDocument,
        known: &Known,
    ) -> Result<(FlowPlan, Vec<Problem>), Vec<Problem>> {
        self.look_into(document, known, FlowPlan::load)
    }

    fn look_into(
        &self,
        document: &FlowDocument,
        known: &Known,
        compile: Compile,
    ) -> Result<(FlowPlan, Vec<Problem>), Vec<Problem>> {
        let mut missing = Vec::new();
        let mut problems = parameters::problems(document);
        let sample = sample(document).map_err(|problem| vec![problem])?;
        let document = sample.as_ref();
        let plan = compile(document, &self.action_types, &self.limits);
        problems.extend(schedule::check(document));
        for (at, action) in document.actions() {
            let executor = self.executors.iter().find(|e| e.action_type() == action.action_type);
            let Some(executor) = executor else { continue };
            for problem in known.check(executor.as_ref(), &action.action_target, &action.action_payload) {
                let said = (action.action_target.as_str(), &action.action_payload);
                match known.missing(executor.as_ref(), said, &problem) {
                    Some(absent) => missing.push(absent.within(&at)),
                    None => problems.push(problem.within("/action_payload").within(&at)),
                }
            }
        }
        problems.extend(problems_at_the_door(document));
        problems.extend(plan.iter().flat_map(|plan| self.misplaced_secrets(plan)));
        match plan {
            Ok(plan) if problems.is_empty() => Ok((plan, missing)),
            Ok(_) => Err(problems),
            Err(mut found) => {
                found.append(&mut problems);
                Err(found)
            }
        }
    }

    /// Secrets in payloads of actions that are stored.
    fn misplaced_secrets(&self, plan: &FlowPlan) -> Vec<Problem> {
        let of_actions = plan.steps.iter().flat_map(|step| [Some(step), step.undo.as_deref(), step.verify.as_deref()]);
        let misplaced = of_actions.flatten().filter(|action| {
            let executor = self.executors.iter().find(|executor| executor.action_type() == &*action.action_type);
            !action.payload.secrets().is_empty() && executor.is_some_and(|e| !e.takes_secrets(&action.action_target))
        });
        let problem = |action: &StepPlan| {
            let what = format!("{} {}", action.action_type, action.action_target);
            let message =
                format!("step '{}': what {} is given is stored, so it must name no secret", action.id, what.trim());
            Problem::new("", message)
        };
        misplaced.map(problem).collect()
    }

    /// A flow in one version: for the runs that started with it.
    pub async fn version(&self, catalog: &dyn Catalog, id: FlowId, version: i64) -> Result<ReadyFlow, StoreError> {
        if let Some(found) = self.versions.get(&(id, version)) {
            return Ok(found.clone());
        }
        let stored = catalog.flow_version(id, version).await?;
        let missing = || StoreError::Corrupt(format!("flow {id} has no version {version}"));
        self.ready(&stored.ok_or_else(missing)?)
    }

    /// The active flows of a tenant for a trigger type, newest first.
    pub async fn active(
        &self,
        catalog: &dyn Catalog,
        tenant: TenantId,
        trigger: TriggerType,
    ) -> Result<Arc<Vec<ReadyFlow>>, StoreError> {
        if let Some(found) = self.active.get(&(tenant, trigger)) {
            return Ok(found.clone());
        }
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let stored = catalog.active_flows(tenant, trigger).await?;
        let flows = stored.iter().map(|s| self.ready(s)).collect::<Result<Vec<_>, _>>()?;
        let mut flows: Vec<ReadyFlow> = flows.into_iter().filter(|flow| flow.is_active).collect();
        for state in if flows.is_empty() { Vec::new() } else { catalog.running_rollouts(Scope::Tenant(tenant)).await? }
        {
            if let Some(flow) = flows.iter_mut().find(|flow| flow.flow.id == state.rollout.flow) {
                flow.rollout = Some(self.rollout(catalog, &state.rollout).await?);
            }
        }
        let flows = Arc::new(flows);
        make_room(&self.active, self.capacity);
        self.active.insert((tenant, trigger), flows.clone());
        if self.forgotten.load(Ordering::SeqCst) != forgotten {
            self.active.remove(&(tenant, trigger));
        }
        Ok(flows)
    }

    /// Whether the tenant has any active flow that such a thing starts, as far as is known here.
    pub fn has_active(&self, tenant: TenantId, trigger: TriggerType) -> Option<bool> {
        self.active.get(&(tenant, trigger)).map(|flows| !flows.is_empty())
    }

    /// Whether any flow of the tenant waits for events of this type.
    pub async fn waits_for(&self, catalog: &dyn Catalog, tenant: TenantId, kind: &str) -> Result<bool, StoreError> {
        if let Some(found) = self.waited.get(&tenant) {
            return Ok(found.contains(kind));
        }
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let kinds = Arc::new(catalog.waited_events(tenant).await?);
        make_room(&self.waited, self.capacity);
        self.waited.insert(tenant, kinds.clone());
        if self.forgotten.load(Ordering::SeqCst) != forgotten {
            self.waited.remove(&tenant);
        }
        Ok(kinds.contains(kind))
    }

    /// A flow of this tenant in its present version; `None` when it has no such flow.
    pub async fn current(
        &self,
        catalog: &dyn Catalog,
        tenant: TenantId,
        id: FlowId,
    ) -> Result<Option<ReadyFlow>, StoreError> {
        if let Some(found) = self.current.get(&id) {
            return Ok((found.tenant == tenant).then(|| found.clone()));
        }
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let Some(stored) = catalog.flow(Scope::Tenant(tenant), id).await? else { return Ok(None) };
        let mut ready = self.ready(&stored)?;
        if let Some(state) = catalog.rollout(Scope::Tenant(tenant), id).await?
            && state.rollout.status == RolloutStatus::Running
        {
            ready.rollout = Some(self.rollout(catalog, &state.rollout).await?);
        }
        make_room(&self.current, self.capacity);
        self.current.insert(id, ready.clone());
        if self.forgotten.load(Ordering::SeqCst) != forgotten {
            self.current.remove(&id);
        }
        Ok(Some(ready))
    }

    async fn rollout(&self, catalog: &dyn Catalog, rollout: &Rollout) -> Result<Arc<ReadyRollout>, StoreError> {
        let unreadable = |error| StoreError::Corrupt(format!("the key of roll-out {}: {error}", rollout.id));
        Ok(Arc::new(ReadyRollout {
            terms: rollout.terms.clone(),
            key: rollout.terms.key_expression().map_err(unreadable)?,
            candidate: self.version(catalog, rollout.flow, rollout.candidate).await?,
            base: self.version(catalog, rollout.flow, rollout.base).await?,
        }))
    }

    /// A webhook, of any tenant. One that does not exist is asked for again each time.
    pub async fn webhook(&self, catalog: &dyn Catalog, id: WebhookId) -> Result<Option<Arc<ReadyWebhook>>, StoreError> {
        if let Some(found) = self.webhooks.get(&id) {
            return Ok(Some(found.clone()));
        }
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let Some(stored) = catalog.webhook(id).await? else { return Ok(None) };
        let unreadable = |error| StoreError::Corrupt(format!("webhook {id}: {error}"));
        let ready = Arc::new(ReadyWebhook::compile(stored).map_err(unreadable)?);
        make_room(&self.webhooks, self.capacity);
        self.webhooks.insert(id, ready.clone());
        if self.forgotten.load(Ordering::SeqCst) != forgotten {
            self.webhooks.remove(&id);
        }
        Ok(Some(ready))
    }

    /// A flow as it was read, compiled.
    pub fn ready(&self, stored: &StoredFlow) -> Result<ReadyFlow, StoreError> {
        let key = (stored.id, stored.version);
        if let Some(found) = self.versions.get(&key) {
            return Ok(ReadyFlow { is_active: is_startable(&stored.document), ..found.clone() });
        }
        let unreadable =
            |message: String| StoreError::Corrupt(format!("flow {} version {}: {message}", stored.id, stored.version));
        let document = sample(&stored.document).map_err(|problem| unreadable(problem.message))?;
        // It was checked when it was saved; an executor that is missing now is the one thing that can have changed.
        let plan = FlowPlan::load(document.as_ref(), &self.action_types, &self.limits).map_err(|problems| {
            let words: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect();
            unreadable(words.join("; "))
        })?;
        let ready = ReadyFlow {
            flow: FlowRef { id: stored.id, version: stored.version, name: stored.document.flow_name.as_str().into() },
            tenant: stored.owner.tenant,
            trigger_type: stored.document.trigger_type,
            mode: stored.document.execution_mode,
            is_active: is_startable(&stored.document),
            plan: Arc::new(plan),
            rollout: None,
        };
        make_room(&self.versions, self.capacity);
        self.versions.insert(key, ready.clone());
        Ok(ready)
    }

    /// One action as a flow of its own, that no list shows.
    pub fn single_action(
        &self,
        id: FlowId,
        owner: Owner,
        document: &FlowDocument,
        known: &Known,
    ) -> Result<ReadyFlow, Vec<Problem>> {
        let plan = Arc::new(self.compile(document, known)?);
        let ready = ReadyFlow {
            flow: FlowRef { id, version: 1, name: "".into() },
            tenant: owner.tenant,
            trigger_type: document.trigger_type,
            mode: document.execution_mode,
            is_active: true,
            plan,
            rollout: None,
        };
        make_room(&self.versions, self.capacity);
        self.versions.insert((id, 1), ready.clone());
        Ok(ready)
    }

    /// A flow of this tenant was saved.
    pub fn forget(&self, tenant: TenantId) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.active.retain(|(owner, _), _| *owner != tenant);
        self.current.retain(|_, flow| flow.tenant != tenant);
        self.waited.remove(&tenant);
    }

    /// This webhook was saved or removed.
    pub fn forget_webhook(&self, id: WebhookId) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.webhooks.remove(&id);
    }
}

/// Whether triggers start a flow: one with parameters is there to be filled in, and cannot run as it is.
fn is_startable(document: &FlowDocument) -> bool {
    document.is_active && document.parameters.is_empty()
}

/// The document that is checked: a template's has a value for each parameter.
fn sample(document: &FlowDocument) -> Result<Cow<'_, FlowDocument>, Problem> {
    if document.parameters.is_empty() {
        return Ok(Cow::Borrowed(document));
    }
    let sample = parameters::sample(document);
    sample.map(Cow::Owned).map_err(|error| Problem::new(error.pointer, error.message))
}

/// A full cache is emptied: what is wanted comes back, and nothing needs to know what was used last.
fn make_room<K: Eq + std::hash::Hash, V>(cache: &DashMap<K, V>, capacity: usize) {
    if cache.len() >= capacity {
        cache.clear();
    }
}
