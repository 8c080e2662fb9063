//! Compiled flows, kept so that a trigger costs no parsing.
//!
//! A version of a flow never changes, so its plan is kept until room is needed. The list of a tenant's active flows for
//! a trigger type changes when a flow is saved, and is forgotten then.

use std::sync::Arc;

use core314_domain::ids::{FlowId, TenantId};
use core314_domain::plan::{FlowPlan, PlanLimits, Problem};
use core314_domain::run::FlowRef;
use core314_domain::words::{ExecutionMode, TriggerType};
use dashmap::DashMap;

use crate::ports::StoreError;
use crate::ports::catalog::{Catalog, StoredFlow};
use crate::ports::executor::Executor;

/// A flow that can run.
#[derive(Debug, Clone)]
pub struct ReadyFlow {
    pub flow: FlowRef,
    pub tenant: TenantId,
    pub trigger_type: TriggerType,
    pub mode: ExecutionMode,
    pub is_active: bool,
    pub plan: Arc<FlowPlan>,
}

/// The cache.
pub struct Plans {
    action_types: Vec<&'static str>,
    executors: Vec<Arc<dyn Executor>>,
    limits: PlanLimits,
    capacity: usize,
    versions: DashMap<(FlowId, i64), ReadyFlow>,
    active: DashMap<(TenantId, TriggerType), Arc<Vec<ReadyFlow>>>,
}

impl Plans {
    /// An empty cache for these executors.
    pub fn new(executors: Vec<Arc<dyn Executor>>, limits: PlanLimits, capacity: usize) -> Self {
        let action_types = executors.iter().map(|e| e.action_type()).collect();
        Self { action_types, executors, limits, capacity, versions: DashMap::new(), active: DashMap::new() }
    }

    /// Checks a document and compiles it; executors look at their payloads.
    pub fn compile(&self, document: &core314_domain::document::FlowDocument) -> Result<FlowPlan, Vec<Problem>> {
        let plan = FlowPlan::compile(document, &self.action_types, &self.limits);
        let mut problems = Vec::new();
        for (no, step) in document.flow_steps.iter().enumerate() {
            let executor = self.executors.iter().find(|e| e.action_type() == step.config.action_type);
            for problem in executor.map(|e| e.check(&step.config.action_payload)).unwrap_or_default() {
                let pointer = format!("/flow_steps/{no}/config/action_payload{}", problem.pointer);
                problems.push(Problem { pointer, ..problem });
            }
        }
        match plan {
            Ok(plan) if problems.is_empty() => Ok(plan),
            Ok(_) => Err(problems),
            Err(mut found) => {
                found.append(&mut problems);
                Err(found)
            }
        }
    }

    /// A flow in one version: for the runs that started with it.
    pub async fn version(&self, catalog: &dyn Catalog, id: FlowId, version: i64) -> Result<ReadyFlow, StoreError> {
        if let Some(found) = self.versions.get(&(id, version)) {
            return Ok(found.clone());
        }
        let stored = catalog.flow_version(id, version).await?;
        let missing = || StoreError::Corrupt(format!("flow {id} has no version {version}"));
        self.ready(stored.ok_or_else(missing)?)
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
        let stored = catalog.active_flows(tenant, trigger).await?;
        let flows: Vec<ReadyFlow> = stored.into_iter().map(|s| self.ready(s)).collect::<Result<_, _>>()?;
        let flows = Arc::new(flows);
        if self.active.len() >= self.capacity {
            self.active.clear();
        }
        self.active.insert((tenant, trigger), flows.clone());
        Ok(flows)
    }

    /// A flow as it was read, compiled.
    pub fn ready(&self, stored: StoredFlow) -> Result<ReadyFlow, StoreError> {
        let key = (stored.id, stored.version);
        if let Some(found) = self.versions.get(&key) {
            return Ok(ReadyFlow { is_active: stored.document.is_active, ..found.clone() });
        }
        // It was checked when it was saved; an executor that is missing now is the one thing that can have changed.
        let plan = FlowPlan::compile(&stored.document, &self.action_types, &self.limits).map_err(|problems| {
            let words: Vec<String> = problems.iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect();
            StoreError::Corrupt(format!("flow {} version {}: {}", stored.id, stored.version, words.join("; ")))
        })?;
        let ready = ReadyFlow {
            flow: FlowRef { id: stored.id, version: stored.version, name: stored.document.flow_name.as_str().into() },
            tenant: stored.owner.tenant,
            trigger_type: stored.document.trigger_type,
            mode: stored.document.execution_mode,
            is_active: stored.document.is_active,
            plan: Arc::new(plan),
        };
        if self.versions.len() >= self.capacity {
            self.versions.clear();
        }
        self.versions.insert(key, ready.clone());
        Ok(ready)
    }

    /// A flow of this tenant was saved.
    pub fn forget(&self, tenant: TenantId) {
        self.active.retain(|(owner, _), _| *owner != tenant);
    }
}
