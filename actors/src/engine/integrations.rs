//! Integrations and secrets: saved, found and removed. Every change is in the audit log, by names alone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use core314_domain::audit::{AuditEntry, AuditEvent};
use core314_domain::breaker::BreakerHold;
use core314_domain::document::{FlowDocument, channels};
use core314_domain::ids::{Owner, RowId, TenantId};
use core314_domain::integration::{self, Definition, Kind};
use core314_domain::log::{Failure, HttpFigures};
use core314_domain::plan::Problem;
use core314_domain::run::Outcome as RunOutcome;
use core314_domain::secret;
use core314_domain::words::Severity;
use serde_json::{Value, json};

use super::{Engine, unexpected};
use crate::gates::{CallPass, GateName, NoBackup, Seen};
use crate::integrations::{Integrations, Known};
use crate::ports::StoreError;
use crate::ports::executor::{Attempt, Trial};
use crate::ports::integration::{ConnectionWrite, Integration, KeptBreakers, Locked, PreviousValue, Secret};
use crate::ports::store::{Outcome, RejectCode, Write};
use crate::runtime::{Order, prepare_and_act, remember_breaker};

/// How long a service may take to show that it answers: whoever has it tried waits for that, and where it is a backup
/// endpoint, people may be about to be told.
const TEST_PATIENCE: Duration = Duration::from_secs(10);

/// An integration to save.
#[derive(Debug, Clone)]
pub struct IntegrationDraft {
    pub name: String,
    pub kind: String,
    pub definition: Definition,
    pub is_active: bool,
}

/// A secret to save.
#[derive(Clone)]
pub struct SecretDraft {
    pub name: String,
    pub value: String,
    pub description: String,
}

/// What is to become of a secret.
#[derive(Default)]
pub struct SecretChange<'a> {
    pub value: Option<&'a str>,
    /// For how long the value before stays good beside the new one; absent or 0: not at all.
    pub overlap_seconds: Option<u64>,
    pub description: Option<String>,
}

/// What came of a real call.
#[derive(Debug, Clone)]
pub struct Tested {
    /// Absent where it went well.
    pub failure: Option<Failure>,
    pub took_ms: u64,
    pub http: Option<HttpFigures>,
}

/// There is no call that shows whether an integration works and does no harm.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an integration of the kind {kind} cannot be tested: {why}")]
pub struct Untested {
    kind: String,
    why: &'static str,
}

/// Why a backup endpoint did not take over. The texts say what a person should do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SwitchError {
    #[error(transparent)]
    NoBackup(#[from] NoBackup),
    #[error("whether its backup endpoint answers cannot be tried: {0}")]
    Untested(#[from] Untested),
    #[error("its backup endpoint does not answer as it should: {0}")]
    Ill(String),
    /// Try again later.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an integration or a secret was not saved or removed. The variants say what the caller should do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// Mend it: pointers lead into what was sent.
    #[error("it has {} problem(s), the first at '{}': {}", .0.len(), .0[0].pointer, .0[0].message)]
    Invalid(Vec<Problem>),
    /// Choose another name, or change the one that has it.
    #[error("there is one of this name already")]
    NameTaken,
    /// Read it again: somebody else has changed or removed it.
    #[error("it was changed by somebody else: read it again")]
    Conflict,
    /// Remove some first.
    #[error("the tenant has as many as it may: {limit}")]
    TooMany { limit: usize },
    /// Change these integrations first.
    #[error("integrations use this secret: {}; change or remove them first", .0.join(", "))]
    InUse(Vec<String>),
    /// Set the server up: the text says how.
    #[error(transparent)]
    Locked(#[from] Locked),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// What a tenant has to connect to.
    pub async fn connections(&self, tenant: TenantId) -> Result<Arc<Known>, StoreError> {
        let runtime = &self.inner.runtime;
        runtime.integrations.of(runtime.catalog.as_ref(), tenant).await
    }

    pub(super) async fn known_of(&self, tenant: Option<TenantId>) -> Result<Arc<Known>, StoreError> {
        match tenant {
            Some(tenant) => self.connections(tenant).await,
            None => Ok(Arc::default()),
        }
    }

    /// An active integration of a tenant, and the values of a credential that are good now: for who has to check what its
    /// service sends.
    pub async fn credential_values(
        &self,
        tenant: TenantId,
        id: RowId,
        field: &str,
    ) -> Result<(Option<Integration>, Vec<String>), StoreError> {
        let runtime = &self.inner.runtime;
        let (known, integrations) =
            (Integrations::read(runtime.catalog.as_ref(), tenant).await?, &runtime.integrations);
        let found = known.integration_named(&id.to_string()).filter(|found| found.is_active).cloned();
        let values = found.as_ref().map(|found| integrations.values(&known, found, field, self.now_ms()));
        Ok((found, values.unwrap_or_default()))
    }

    /// Every kind of integration that an executor takes, in the order of their words.
    pub fn kinds(&self) -> Vec<&'static Kind> {
        let executors = self.inner.runtime.executors.values();
        let mut kinds: Vec<&'static Kind> = executors.flat_map(|executor| executor.kinds().iter().copied()).collect();
        kinds.sort_unstable_by_key(|kind| kind.word);
        kinds.dedup_by_key(|kind| kind.word);
        kinds
    }

    /// Makes an integration.
    pub async fn create_integration(
        &self,
        owner: Owner,
        draft: IntegrationDraft,
        by: String,
    ) -> Result<Integration, ConnectError> {
        let now_ms = self.now_ms();
        let made = Integration {
            id: self.row_id(),
            owner,
            name: draft.name,
            kind: draft.kind,
            definition: draft.definition,
            is_active: draft.is_active,
            version: 1,
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
        };
        self.save_integration(made, AuditEvent::IntegrationCreated, by).await
    }

    /// Saves what was made of an integration that was read: its name and kind stay.
    pub async fn update_integration(&self, changed: Integration, by: String) -> Result<Integration, ConnectError> {
        let next = Integration { version: changed.version + 1, updated_at_ms: self.now_ms(), ..changed };
        self.save_integration(next, AuditEvent::IntegrationUpdated, by).await
    }

    async fn save_integration(
        &self,
        integration: Integration,
        event: AuditEvent,
        by: String,
    ) -> Result<Integration, ConnectError> {
        let known = self.connections(integration.owner.tenant).await?;
        let problems = self.integration_problems(&known, &integration);
        if !problems.is_empty() {
            return Err(ConnectError::Invalid(problems));
        }
        let details = json!({"kind": integration.kind, "version": integration.version});
        let audit =
            self.connection_audit(event, integration.owner, by, ("integration", integration.id), &integration.name);
        let limit = self.inner.runtime.settings.integrations_per_tenant;
        let audit = AuditEntry { details, ..audit };
        let write = ConnectionWrite::Integration { integration: integration.clone(), limit, audit };
        let (gates, saved) = (self.inner.runtime.gates.clone(), integration.clone());
        // What its breakers have come to stays where there is one already.
        let put = move || gates.put(&saved, KeptBreakers::default());
        self.commit_connection(integration.owner.tenant, write, limit, put).await?;
        Ok(integration)
    }

    /// Makes a real call to the service behind an integration, within ten seconds.
    pub async fn test_integration(&self, found: &Integration) -> Result<Tested, Untested> {
        self.test_by(found, None).await
    }

    /// Lets an integration's backup endpoint take over until its primary one is healthy. A real call shows first that the
    /// backup answers; where it does not, nothing is changed.
    pub async fn switch_to_backup(&self, found: &Integration, by: &str) -> Result<(), SwitchError> {
        let (runtime, name) = (&self.inner.runtime, gate_name(found));
        let pass = runtime.gates.enter_backup(&name, self.now_ms())?;
        let tested = self.test_by(found, Some(pass)).await?;
        match tested.failure {
            Some(failure) if failure.code == "store_unavailable" => {
                return Err(StoreError::Unavailable(failure.message).into());
            }
            Some(failure) => return Err(SwitchError::Ill(failure.message)),
            None => {}
        }
        if let Some(turned) = runtime.gates.switch_to_backup(&name, by, self.now_ms())? {
            remember_breaker(runtime, &turned).await;
        }
        Ok(())
    }

    async fn test_by(&self, found: &Integration, pass: Option<CallPass>) -> Result<Tested, Untested> {
        let runtime = self.runtime().clone();
        let untested = |why| Untested { kind: found.kind.clone(), why };
        let mut executors = runtime.executors.values();
        let trial = executors.find_map(|executor| Some((executor.clone(), executor.trial(found)?)));
        let (executor, trial) = trial.ok_or_else(|| untested("no action of this server takes it"))?;
        let (payload, is_probe) = match trial {
            Trial::Action(payload) => (payload, false),
            Trial::Probe => (Value::Null, true),
        };
        let run = runtime.run_id();
        let timeout = Duration::from_millis(runtime.settings.attempt_timeout_ms);
        let attempt = Attempt {
            owner: found.owner,
            run,
            step: 0,
            execution: run.execution(0),
            key: None,
            attempt: 0,
            action_target: found.name.as_str().into(),
            connection: None,
            source: None,
            payload: payload.into(),
            secrets: Arc::default(),
            timeout: timeout.min(TEST_PATIENCE),
        };
        let order = Order { attempt, marked: None, pass, share: None, is_probe };
        let for_task = runtime.clone();
        let started = Instant::now();
        let task = async move {
            for_task.lease.to_send().await;
            prepare_and_act(&for_task, executor.as_ref(), order).await
        };
        let performed = runtime.io.spawn(task).await.inspect_err(|error| {
            tracing::warn!(integration = %found.name, %error, "the test of an integration was cut off");
        });
        let took_ms = started.elapsed().as_millis() as u64;
        let cut_off = || Failure::retryable("cancelled", "the call was cut off");
        // The task is dropped where the server stops meanwhile.
        let Ok(performed) = performed else { return Ok(Tested { failure: Some(cut_off()), took_ms, http: None }) };
        let failure = match performed.outcome {
            RunOutcome::Completed(_) => None,
            RunOutcome::Failed(failure) => Some(failure),
            RunOutcome::Cancelled => Some(cut_off()),
        };
        Ok(Tested { failure, took_ms, http: performed.http })
    }

    /// How the gate of an integration stands.
    pub fn gate(&self, found: &Integration) -> Option<Seen> {
        self.inner.runtime.gates.seen(&gate_name(found), self.now_ms())
    }

    /// Holds the breaker of an integration's endpoint open or closed, or lets it go. Holds from now on; answers when it
    /// also holds through a restart.
    pub async fn hold_breaker(
        &self,
        found: &Integration,
        hold: Option<BreakerHold>,
        by: &str,
    ) -> Result<Option<Seen>, ConnectError> {
        let runtime = &self.inner.runtime;
        if let Some(turned) = runtime.gates.hold(&gate_name(found), hold, by, self.now_ms()) {
            remember_breaker(runtime, &turned).await;
        }
        Ok(self.gate(found))
    }

    fn integration_problems(&self, known: &Known, integration: &Integration) -> Vec<Problem> {
        let mut problems = Vec::new();
        problems.extend(integration::name_problem(&integration.name).map(|message| Problem::new("/name", message)));
        let kinds = self.kinds();
        let Some(kind) = kinds.iter().find(|kind| kind.word == integration.kind) else {
            let words: Vec<&str> = kinds.iter().map(|kind| kind.word).collect();
            let message = format!("'{}' is not one of: {}", integration.kind, words.join(", "));
            problems.push(Problem::new("/kind", message));
            return problems;
        };
        problems.extend(integration.definition.problems(kind));
        let definition = &integration.definition;
        let is_missing = |(field, name): &(&str, &str)| known.secret(name).is_none() && !definition.is_brought(field);
        for (field, name) in definition.secrets().filter(is_missing) {
            let message = format!("there is no secret '{name}': make it first, with `core314 secret set {name}`");
            problems.push(Problem::new(format!("/credentials/{field}"), message));
        }
        problems
    }

    /// Removes an integration; runs that name it fail from then on.
    pub async fn remove_integration(&self, found: &Integration, by: String) -> Result<(), ConnectError> {
        let tenant = found.owner.tenant;
        let subject = ("integration", found.id);
        let audit = self.connection_audit(AuditEvent::IntegrationDeleted, found.owner, by, subject, &found.name);
        let (gates, id) = (self.inner.runtime.gates.clone(), found.id);
        let write = ConnectionWrite::RemoveIntegration { tenant, id, audit };
        self.commit_connection(tenant, write, 0, move || gates.remove(tenant, id)).await
    }

    /// Makes a secret.
    pub async fn create_secret(&self, owner: Owner, draft: SecretDraft, by: String) -> Result<Secret, ConnectError> {
        let (id, now_ms) = (self.row_id(), self.now_ms());
        let problems: Vec<Problem> =
            secret::name_problem(&draft.name).map(|message| Problem::new("/name", message)).into_iter().collect();
        if !problems.is_empty() {
            return Err(ConnectError::Invalid(problems));
        }
        let made = Secret {
            id,
            owner,
            name: draft.name,
            description: draft.description,
            sealed: self.seal(id, &draft.value)?,
            previous: None,
            version: 1,
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
        };
        self.save_secret(made, AuditEvent::SecretCreated, by).await
    }

    /// Gives a secret that was read another value or description.
    pub async fn update_secret(
        &self,
        found: Secret,
        change: SecretChange<'_>,
        by: String,
    ) -> Result<Secret, ConnectError> {
        let SecretChange { value, overlap_seconds, description } = change;
        let most = self.inner.runtime.settings.max_secret_overlap_seconds;
        let problem = match (overlap_seconds, value) {
            (Some(_), None) => Some("needs a value: it says how long the one before stays good".to_owned()),
            (Some(seconds), Some(_)) if seconds > most => Some(format!("must be at most {most}")),
            _ => None,
        };
        if let Some(message) = problem {
            return Err(ConnectError::Invalid(vec![Problem::new("/overlap_seconds", message)]));
        }
        let sealed = value.map(|value| self.seal(found.id, value)).transpose()?;
        let until_ms = self.now_ms() + overlap_seconds.unwrap_or_default() as i64 * 1_000;
        // A value that is replaced at once takes the one before it along.
        let replaced = overlap_seconds.filter(|seconds| *seconds > 0);
        let replaced = replaced.map(|_| PreviousValue { sealed: found.sealed.clone(), until_ms });
        let next = Secret {
            previous: if sealed.is_some() { replaced } else { found.previous },
            sealed: sealed.unwrap_or(found.sealed),
            description: description.unwrap_or(found.description),
            version: found.version + 1,
            updated_at_ms: self.now_ms(),
            ..found
        };
        self.save_secret(next, AuditEvent::SecretUpdated, by).await
    }

    /// The value as it is stored.
    fn seal(&self, id: RowId, value: &str) -> Result<String, ConnectError> {
        let most = self.inner.runtime.settings.max_secret_bytes;
        let problem = if value.trim().chars().count() < secret::LEAST_CHARS {
            let least = secret::LEAST_CHARS;
            Some(format!("must have {least} characters at least: a shorter one cannot be kept out of what is shown"))
        } else if value.len() > most {
            Some(format!("has {} bytes, at most {most} are kept", value.len()))
        } else {
            value.contains('\0').then(|| "must not contain the NUL character".to_owned())
        };
        if let Some(message) = problem {
            return Err(ConnectError::Invalid(vec![Problem::new("/value", message)]));
        }
        Ok(self.inner.runtime.integrations.vault().seal(value, &Secret::purpose(id))?)
    }

    async fn save_secret(&self, secret: Secret, event: AuditEvent, by: String) -> Result<Secret, ConnectError> {
        if secret.description.chars().count() > MAX_DESCRIPTION_CHARS {
            let message = format!("must have at most {MAX_DESCRIPTION_CHARS} characters");
            return Err(ConnectError::Invalid(vec![Problem::new("/description", message)]));
        }
        let audit = self.connection_audit(event, secret.owner, by, ("secret", secret.id), &secret.name);
        let audit = AuditEntry { details: json!({"version": secret.version}), ..audit };
        let limit = self.inner.runtime.settings.secrets_per_tenant;
        let write = ConnectionWrite::Secret { secret: secret.clone(), limit, audit };
        self.commit_connection(secret.owner.tenant, write, limit, || {}).await?;
        Ok(secret)
    }

    /// Removes a secret that no integration uses.
    pub async fn remove_secret(&self, found: &Secret, by: String) -> Result<(), ConnectError> {
        let tenant = found.owner.tenant;
        let known = self.connections(tenant).await?;
        let users = known.users_of(&found.name);
        if !users.is_empty() {
            return Err(ConnectError::InUse(users.into_iter().map(str::to_owned).collect()));
        }
        let audit =
            self.connection_audit(AuditEvent::SecretDeleted, found.owner, by, ("secret", found.id), &found.name);
        let write = ConnectionWrite::RemoveSecret { tenant, id: found.id, audit };
        self.commit_connection(tenant, write, 0, || {}).await
    }

    /// Secrets that a document names and the tenant does not have yet.
    pub(super) async fn missing_secrets(
        &self,
        tenant: TenantId,
        document: &FlowDocument,
    ) -> Result<Vec<Problem>, StoreError> {
        let known = self.connections(tenant).await?;
        let Ok((plan, _)) = self.inner.runtime.plans.examine(document, &known) else { return Ok(Vec::new()) };
        let of_steps = plan.steps.iter().flat_map(|step| [Some(step), step.undo.as_deref(), step.verify.as_deref()]);
        let mut missing: Vec<&str> =
            of_steps.flatten().flat_map(|step| step.payload.secrets()).map(|name| &**name).collect();
        missing.retain(|name| known.secret(name).is_none());
        missing.sort_unstable();
        missing.dedup();
        let problem = |name| Problem::new("/flow_steps", format!("there is no secret '{name}' yet"));
        Ok(missing.into_iter().map(problem).collect())
    }

    /// Channels of a document that tell nobody, as far as what the tenant has shows it.
    pub(super) async fn untold_channels(
        &self,
        tenant: Option<TenantId>,
        document: &FlowDocument,
    ) -> Result<Vec<Problem>, StoreError> {
        let known = self.known_of(tenant).await?;
        let why = |word: &str| crate::channels::way(&self.inner.runtime, &known, word, Severity::High).err();
        let named = channels::named(document).into_iter();
        Ok(named.filter_map(|(at, word)| Some(Problem::new(at, why(word)?))).collect())
    }

    async fn commit_connection(
        &self,
        tenant: TenantId,
        write: ConnectionWrite,
        limit: usize,
        then: impl FnOnce(),
    ) -> Result<(), ConnectError> {
        let runtime = self.inner.runtime.clone();
        let forget = move || runtime.integrations.forget(tenant);
        match self.commit_then(Write::Connection(Box::new(write)), forget).await? {
            Outcome::Committed { .. } => {
                then();
                Ok(())
            }
            Outcome::Conflict => Err(ConnectError::Conflict),
            Outcome::Rejected { code: RejectCode::NameTaken, .. } => Err(ConnectError::NameTaken),
            Outcome::Rejected { code: RejectCode::LimitReached, .. } => Err(ConnectError::TooMany { limit }),
            other => Err(unexpected(other).into()),
        }
    }

    fn connection_audit(
        &self,
        event: AuditEvent,
        owner: Owner,
        by: String,
        (subject, id): (&'static str, RowId),
        name: &str,
    ) -> AuditEntry {
        let summary = format!("{} '{name}'", event.as_str().replace('_', " "));
        AuditEntry { summary, ..self.entry(event, owner, by, (subject, id.0)) }
    }
}

fn gate_name(found: &Integration) -> GateName {
    (found.owner.tenant, found.name.as_str().into())
}

const MAX_DESCRIPTION_CHARS: usize = 500;
