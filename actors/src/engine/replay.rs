//! Replays: runs that have ended, played against another version of their flow or a document that is not saved.
//!
//! Nothing is executed and nothing is written. Playing costs CPU alone, which a thread for blocking work has; how many runs
//! one request plays, and for how long, is bounded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use core314_domain::document::FlowDocument;
use core314_domain::document::diff::{Difference, differing_values};
use core314_domain::ids::{FlowId, RunId, TenantId};
use core314_domain::plan::{FlowPlan, Problem};
use core314_domain::replay::{Given, ReplayedStep, StepChange, replay};
use core314_domain::words::{ExecutionStatus, RunStatus};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::Engine;
use crate::ingress::json_bytes;
use crate::ports::store::StoredRun;
use crate::ports::{Scope, StoreError};

/// Steps, and places of a payload, that an answer names; more are counted.
const MOST_STEPS: usize = 200;
const MOST_PLACES: usize = 20;
/// Larger values are not shown, but their size is.
const MOST_VALUE_BYTES: usize = 2_000;
/// Runs that are played at once, whoever asks: each has a core to itself meanwhile.
pub(super) const MOST_AT_ONCE: usize = 2;
/// Runs that are read at once.
const PAGE: usize = 20;
/// Runs that differ, of those that an answer about many names.
const MOST_NAMED: usize = 100;

/// What runs are played against.
#[derive(Debug, Clone)]
pub enum Against {
    /// This version of each run's flow.
    Version(i64),
    /// A document, whether it is saved or not.
    Document(Box<FlowDocument>),
}

/// Why a run was not played. The variants say what the caller should do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReplayError {
    /// It does not exist, for this caller.
    #[error("there is no such run")]
    NotFound,
    /// Wait for its end.
    #[error("the run is {0}: only a run that has ended is replayed")]
    NotEnded(RunStatus),
    /// Name a version that the flow has.
    #[error("the flow has no version {version}; its newest is {newest}")]
    NoSuchVersion { version: i64, newest: i64 },
    /// Name a version, which it then has: its flow is gone.
    #[error("the run's flow is gone: replay it against a document")]
    NoSuchFlow,
    /// Mend the document.
    #[error("the document has {} problem(s), the first at '{}': {}", .0.len(), .0[0].pointer, .0[0].message)]
    Invalid(Vec<Problem>),
    #[error("the replay came to no end: {0}")]
    Failed(String),
    /// There is no other way: the run is too large for it.
    #[error("its results have {bytes} bytes; runs of at most {limit} are replayed")]
    TooLarge { bytes: usize, limit: usize },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where a run would go otherwise. Nothing of it has happened.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Replay {
    pub run_id: RunId,
    pub flow_name: String,
    /// The version that the run had.
    pub from_version: i64,
    /// The version that it was played against; null: a document.
    pub to_version: Option<i64>,
    /// Whether all would be as it was.
    pub same: bool,
    /// Whether its own version, played in the same way, ends as the run did. Where it does not, what a replay knows nothing of
    /// made the difference: time, retries, a person who cancelled.
    pub faithful: bool,
    /// Why it would not start at all.
    pub refused: Option<String>,
    pub run_status: StatusChange,
    pub error: Option<String>,
    /// The steps that would go otherwise, and no others.
    pub steps: Vec<StepReplay>,
    /// How many more there are than are shown.
    pub more_steps: usize,
    /// Where what the run gives would differ: places in `{output}`.
    pub output: Vec<Difference>,
}

/// How a run ended, and how it would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct StatusChange {
    pub before: RunStatus,
    /// Null where nothing is on record of what would decide it, or it would not start.
    pub after: Option<RunStatus>,
}

/// A step that would go otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StepReplay {
    /// Its id; of a round `loop[3].step`.
    pub step: String,
    pub change: StepChange,
    /// Null where the run did not have it.
    pub before: Option<ExecutionStatus>,
    /// Null where the version does not have it, or nobody knows.
    pub after: Option<ExecutionStatus>,
    /// Where what it is given differs, without secrets: places in `{action_type, action_target, payload}`. For a branch the
    /// place `/case`; for what the run computes itself, such as a value or what a loop gathers, places in `{value}`.
    pub differences: Vec<Difference>,
}

/// What replays of many runs came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct ManyReplays {
    /// Runs that were played.
    pub replayed: usize,
    /// Of these: those that would go as they went.
    pub same: usize,
    /// Those that would go otherwise, as far as is known.
    pub different: usize,
    /// Those of these whose end nobody knows.
    pub unknown: usize,
    /// Those that would not start.
    pub refused: usize,
    /// Those whose own version does not lead to their end either.
    pub unfaithful: usize,
    /// Runs that were passed over: they have not ended, are too large, or belong to another flow than the document.
    pub passed_over: usize,
    /// How runs that would end otherwise ended, how they would, and how many.
    pub ends: Vec<EndCount>,
    /// The steps that would go otherwise, and in how many runs.
    pub steps: Vec<StepCount>,
    /// The newest of the runs that would go otherwise, at most a hundred.
    pub run_ids: Vec<RunId>,
    /// Whether the time was over before all had been played.
    pub out_of_time: bool,
}

/// Runs that would end otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct EndCount {
    #[serde(flatten)]
    pub run_status: StatusChange,
    pub runs: usize,
}

/// Runs in which a step would go otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct StepCount {
    pub step: String,
    pub change: StepChange,
    pub runs: usize,
}

impl Engine {
    /// Plays a run of the caller's that has ended.
    pub async fn replay(&self, scope: Scope, run: RunId, against: &Against) -> Result<Replay, ReplayError> {
        let stored = self.stored_run(scope, run).await?.ok_or(ReplayError::NotFound)?;
        if !stored.state.status.is_terminal() {
            return Err(ReplayError::NotEnded(stored.state.status));
        }
        let plan = match against {
            Against::Version(version) => self.plan_of(stored.header.flow.id, *version).await?,
            Against::Document(document) => self.compiled(Some(stored.header.owner.tenant), document).await?,
        };
        self.played(stored, plan, against).await
    }

    /// Plays those of these runs that have ended, in their order, until the time is over.
    pub async fn replay_all(
        &self,
        scope: Scope,
        runs: &[RunId],
        against: &Against,
        patience: Duration,
    ) -> Result<ManyReplays, ReplayError> {
        let began = Instant::now();
        let document = match against {
            Against::Document(document) => {
                let tenant = match scope {
                    Scope::Tenant(tenant) => Some(tenant),
                    Scope::Platform => None,
                };
                Some(self.compiled(tenant, document).await?)
            }
            Against::Version(_) => None,
        };
        let (mut sum, mut counts) = (ManyReplays::default(), Counts::default());
        'pages: for page in runs.chunks(PAGE) {
            for stored in self.inner.runtime.store.load_runs(page.to_vec()).await? {
                if began.elapsed() > patience {
                    sum.out_of_time = true;
                    break 'pages;
                }
                let is_seen = match scope {
                    Scope::Platform => true,
                    Scope::Tenant(tenant) => stored.header.owner.tenant == tenant,
                };
                let is_of_flow = !matches!(against, Against::Document(d) if *d.flow_name != *stored.header.flow.name);
                if !is_seen || !stored.state.status.is_terminal() || !is_of_flow {
                    sum.passed_over += 1;
                    continue;
                }
                let plan = match &document {
                    Some(plan) => plan.clone(),
                    None => self.plan_of(stored.header.flow.id, version_of(against)).await?,
                };
                match self.played(stored, plan, against).await {
                    Ok(replay) => counts.add(&mut sum, &replay),
                    // One run must not end the answer about all others.
                    Err(ReplayError::TooLarge { .. }) => sum.passed_over += 1,
                    Err(error) => return Err(error),
                }
            }
        }
        counts.fill(&mut sum);
        Ok(sum)
    }

    async fn plan_of(&self, flow: FlowId, version: i64) -> Result<Arc<FlowPlan>, ReplayError> {
        let runtime = &self.inner.runtime;
        let present = self.flow(Scope::Platform, flow).await?.ok_or(ReplayError::NoSuchFlow)?;
        if !(1..=present.version).contains(&version) {
            return Err(ReplayError::NoSuchVersion { version, newest: present.version });
        }
        Ok(runtime.plans.version(runtime.catalog.as_ref(), flow, version).await?.plan)
    }

    async fn compiled(&self, tenant: Option<TenantId>, document: &FlowDocument) -> Result<Arc<FlowPlan>, ReplayError> {
        let known = self.known_of(tenant).await?;
        // Nothing is called, so it need not be there.
        let examined = self.inner.runtime.plans.examine(document, &known).map_err(ReplayError::Invalid)?;
        Ok(Arc::new(examined.0))
    }

    async fn played(&self, stored: StoredRun, plan: Arc<FlowPlan>, against: &Against) -> Result<Replay, ReplayError> {
        let limit = self.inner.runtime.settings.max_reused_bytes;
        let stored = self.with_results(stored).await?.map_err(|bytes| ReplayError::TooLarge { bytes, limit })?;
        let log = stored.attempts.clone();
        let old = self.rehydrated(stored).await?;
        let header = old.header.clone();
        let credit = self.inner.replay_credits.clone().acquire_owned().await;
        let credit = credit.map_err(|error| ReplayError::Failed(error.to_string()))?;
        let work = self.inner.runtime.io.spawn_blocking(move || {
            let _credit = credit;
            replay(&old, &log, &plan)
        });
        let replayed = work.await.map_err(|error| ReplayError::Failed(error.to_string()))?;
        let same = replayed.is_same();
        let count = replayed.steps.len();
        let steps = replayed.steps.into_iter().take(MOST_STEPS).map(|step| self.step_replay(step));
        Ok(Replay {
            run_id: header.id,
            flow_name: header.flow.name.to_string(),
            from_version: header.flow.version,
            to_version: matches!(against, Against::Version(_)).then(|| version_of(against)),
            same,
            faithful: replayed.is_faithful,
            refused: replayed.refused,
            run_status: StatusChange { before: replayed.before, after: replayed.after },
            error: replayed.error,
            steps: steps.collect(),
            more_steps: count.saturating_sub(MOST_STEPS),
            output: replayed.outputs.map(|outputs| differing("output", &outputs)).unwrap_or_default(),
        })
    }

    fn step_replay(&self, step: ReplayedStep) -> StepReplay {
        let case = step.ways.map(|(before, after)| Difference { place: "/case".to_owned(), before, after });
        let given = step.payloads.map(|(before, after)| {
            let found = differing_values(&self.shown_given(&before), &self.shown_given(&after));
            if found.is_empty() { vec![hidden()] } else { found }
        });
        // What is computed names no secrets: only payloads may.
        let values = step.values.map(|values| differing("value", &values)).unwrap_or_default();
        let all = case.into_iter().chain(given.into_iter().flatten()).chain(values);
        StepReplay {
            step: step.step,
            change: step.change,
            before: step.before,
            after: step.after,
            differences: all.take(MOST_PLACES).map(bounded).collect(),
        }
    }

    /// What an action is given, as its executor would have it logged: without secrets.
    fn shown_given(&self, given: &Given) -> Value {
        let payload = self.shown(&given.action_type, Value::clone(&given.payload));
        json!({"action_type": *given.action_type, "action_target": *given.action_target, "payload": payload})
    }
}

fn version_of(against: &Against) -> i64 {
    match against {
        Against::Version(version) => *version,
        Against::Document(_) => 0,
    }
}

/// The places at which two values of one name differ.
fn differing(name: &str, (before, after): &(Arc<Value>, Arc<Value>)) -> Vec<Difference> {
    let named = |value: &Arc<Value>| json!({(name): &**value});
    differing_values(&named(before), &named(after)).into_iter().take(MOST_PLACES).map(bounded).collect()
}

/// What differs is a secret.
fn hidden() -> Difference {
    let hidden = || Value::from("redacted");
    Difference { place: "/payload".to_owned(), before: hidden(), after: hidden() }
}

fn bounded(difference: Difference) -> Difference {
    let cut = |value: Value| match json_bytes(&value) {
        bytes if bytes > MOST_VALUE_BYTES => Value::from(format!("{bytes} bytes")),
        _ => value,
    };
    Difference { place: difference.place, before: cut(difference.before), after: cut(difference.after) }
}

/// What is counted of many.
#[derive(Default)]
struct Counts {
    ends: BTreeMap<StatusChange, usize>,
    steps: BTreeMap<(String, StepChange), usize>,
}

impl Counts {
    fn add(&mut self, sum: &mut ManyReplays, replay: &Replay) {
        sum.replayed += 1;
        sum.unfaithful += usize::from(!replay.faithful);
        if replay.same {
            sum.same += 1;
            return;
        }
        sum.different += 1;
        sum.refused += usize::from(replay.refused.is_some());
        sum.unknown += usize::from(replay.refused.is_none() && replay.run_status.after.is_none());
        if sum.run_ids.len() < MOST_NAMED {
            sum.run_ids.push(replay.run_id);
        }
        if replay.run_status.after != Some(replay.run_status.before) {
            *self.ends.entry(replay.run_status).or_default() += 1;
        }
        for step in &replay.steps {
            // The rounds of a loop are one step here.
            let name = step.step.split('[').next().unwrap_or_default();
            let inner = step.step.rsplit('.').next().unwrap_or_default();
            let name = if name == step.step { name.to_owned() } else { format!("{name}[].{inner}") };
            *self.steps.entry((name, step.change)).or_default() += 1;
        }
    }

    fn fill(self, sum: &mut ManyReplays) {
        sum.ends = self.ends.into_iter().map(|(run_status, runs)| EndCount { run_status, runs }).collect();
        let steps = self.steps.into_iter().take(MOST_STEPS);
        sum.steps = steps.map(|((step, change), runs)| StepCount { step, change, runs }).collect();
    }
}
