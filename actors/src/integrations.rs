//! What this node knows of its tenants' integrations and secrets, and how an attempt gets them.
//!
//! ```text
//! attempt ── prepare ──> connection, payload with its secrets ── executor ── outcome ── cleared ──> what is kept
//! ```
//! Both are looked up when the call is about to be made, so that a change or a rotation counts for the very next attempt.
//! An action whose executor takes no integrations, or that names none and no secret, passes by here without a look.
//!
//! Invariants:
//! - Values of secrets are opened for one attempt; what is remembered between attempts is sealed.
//! - Whatever comes back of an attempt that had secrets in hand has them taken out, by whichever executor it was made.
//! - The payload that is logged is the one that names secrets, never the one that holds them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use core314_domain::Json;
use core314_domain::ids::TenantId;
use core314_domain::integration::Kind;
use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use core314_domain::run::Outcome;
use core314_domain::secret::{FillError, Marked, Secrets};
use dashmap::DashMap;

use crate::ports::StoreError;
use crate::ports::catalog::Catalog;
use crate::ports::executor::{Attempt, Connection, Executor, Performed, Target};
use crate::ports::integration::{Integration, Secret, TenantConnections, Vault};

/// Tenants whose integrations are remembered at once.
const CAPACITY: usize = 10_000;

/// The integration that the action names cannot be used: it is not active, or of another kind.
const INTEGRATION: &str = "integration_unusable";
/// A secret is missing or cannot be opened.
const SECRET: &str = "secret_unusable";
/// What is stored of them cannot be read just now.
const UNAVAILABLE: &str = "store_unavailable";

/// The integrations and secrets of one tenant.
#[derive(Debug, Default)]
pub struct Known {
    integrations: BTreeMap<String, Integration>,
    secrets: BTreeMap<String, Secret>,
}

impl Known {
    fn new(stored: TenantConnections) -> Self {
        Self {
            integrations: stored.integrations.into_iter().map(|found| (found.name.clone(), found)).collect(),
            secrets: stored.secrets.into_iter().map(|found| (found.name.clone(), found)).collect(),
        }
    }

    /// The integration of this name.
    pub fn integration(&self, name: &str) -> Option<&Integration> {
        self.integrations.get(name)
    }

    /// The secret of this name.
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        self.secrets.get(name)
    }

    /// The integration of this name or id.
    pub fn integration_named(&self, named: &str) -> Option<&Integration> {
        self.integration(named).or_else(|| self.integrations.values().find(|found| found.id.to_string() == named))
    }

    /// The secret of this name or id.
    pub fn secret_named(&self, named: &str) -> Option<&Secret> {
        self.secret(named).or_else(|| self.secrets.values().find(|found| found.id.to_string() == named))
    }

    /// The integrations that a secret opens.
    pub fn users_of(&self, secret: &str) -> Vec<&str> {
        let uses = |found: &&Integration| found.definition.secrets().any(|(_, name)| name == secret);
        self.integrations.values().filter(uses).map(|found| found.name.as_str()).collect()
    }

    /// Where an action goes; a problem where it names an integration that its executor does not take.
    pub fn target<'a>(&'a self, executor: &dyn Executor, word: &'a str) -> Result<Target<'a>, Problem> {
        Ok(Target { integration: self.taken(executor, word)?, ..Target::word(word) })
    }

    /// The integration of a name, where there is one and the executor takes any.
    fn taken<'a>(&'a self, executor: &dyn Executor, name: &str) -> Result<Option<&'a Integration>, Problem> {
        let named = if executor.kinds().is_empty() { None } else { self.integration(name) };
        match named {
            Some(integration) if kind_of(executor, integration).is_none() && executor.is_own_word(name) => Ok(None),
            Some(integration) if kind_of(executor, integration).is_none() => {
                Err(Problem::new("", wrong_kind(executor, integration)))
            }
            named => Ok(named),
        }
    }

    /// The integration that a payload names beside.
    fn source<'a>(
        &'a self,
        executor: &dyn Executor,
        payload: &serde_json::Value,
    ) -> Result<Option<&'a Integration>, Problem> {
        executor.source(payload).map_or(Ok(None), |name| self.taken(executor, name))
    }

    /// What is wrong with an action, as far as its executor can see it. Pointers are relative to the payload.
    pub fn check(&self, executor: &dyn Executor, word: &str, payload: &serde_json::Value) -> Vec<Problem> {
        match self.target(executor, word).and_then(|target| Ok((target, self.source(executor, payload)?))) {
            Ok((target, source)) => executor.check(&Target { source, ..target }, payload),
            Err(problem) => vec![problem],
        }
    }

    /// What is missing, where such a problem is that the tenant has no integration of the name that the action gives.
    pub fn missing(
        &self,
        executor: &dyn Executor,
        (word, payload): (&str, &serde_json::Value),
        problem: &Problem,
    ) -> Option<Problem> {
        let source = executor.source(payload).filter(|_| problem.pointer.starts_with("/source/"));
        let name = source.unwrap_or(word);
        let may_come = !name.is_empty() && self.integration(name).is_none() && !executor.is_own_word(name);
        if !(problem.is_absence && may_come) {
            return None;
        }
        let at = source.map_or_else(|| "/action_target".to_owned(), |_| format!("/action_payload{}", problem.pointer));
        let message = if problem.pointer.ends_with("/url") || problem.pointer.ends_with("/path") {
            let kinds: Vec<&str> = executor.kinds().iter().map(|kind| kind.word).collect();
            format!(
                "there is no integration '{name}' yet, and no url is given; {} takes integrations of the kinds {}",
                executor.action_type(),
                kinds.join(", ")
            )
        } else {
            problem.message.clone()
        };
        Some(Problem::new(at, message).of_absence())
    }

    fn open(&self, vault: &dyn Vault, name: &str) -> Result<String, Failure> {
        let fatal = |message: String| Failure::fatal(SECRET, message);
        let secret = self.secret(name).ok_or_else(|| fatal(FillError::Missing(name.into()).to_string()))?;
        let opened = vault.open(&secret.sealed, &Secret::purpose(secret.id));
        opened.map_err(|locked| fatal(format!("secret '{name}': {locked}")))
    }

    /// The value before, where it is still good. One that cannot be opened is as good as none: that of now can.
    fn open_previous(&self, vault: &dyn Vault, name: &str, now_ms: i64) -> Option<String> {
        let secret = self.secret(name)?;
        let previous = secret.previous.as_ref().filter(|previous| previous.until_ms > now_ms)?;
        vault.open(&previous.sealed, &Secret::purpose(secret.id)).ok()
    }
}

fn kind_of(executor: &dyn Executor, integration: &Integration) -> Option<&'static Kind> {
    executor.kinds().iter().copied().find(|kind| kind.word == integration.kind)
}

fn wrong_kind(executor: &dyn Executor, integration: &Integration) -> String {
    let taken: Vec<&str> = executor.kinds().iter().map(|kind| kind.word).collect();
    let (name, kind) = (&integration.name, &integration.kind);
    format!("integration '{name}' is of the kind {kind}; {} takes: {}", executor.action_type(), taken.join(", "))
}

/// What an attempt wants beside the integration that its target names.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// Its payload with marks for secrets, where it names any.
    pub marked: Option<&'a Marked>,
    /// Whether it goes to the backup endpoint.
    pub uses_backup: bool,
    pub now_ms: i64,
}

/// The integrations that this node knows.
pub struct Integrations {
    vault: Arc<dyn Vault>,
    known: DashMap<TenantId, Arc<Known>>,
    /// How often something was forgotten: what was read before must not be kept after.
    forgotten: AtomicU64,
}

impl Integrations {
    /// Nothing is known yet.
    pub fn new(vault: Arc<dyn Vault>) -> Self {
        Self { vault, known: DashMap::new(), forgotten: AtomicU64::new(0) }
    }

    /// What seals and opens secrets.
    pub fn vault(&self) -> &dyn Vault {
        self.vault.as_ref()
    }

    /// What a tenant has.
    pub async fn of(&self, catalog: &dyn Catalog, tenant: TenantId) -> Result<Arc<Known>, StoreError> {
        if let Some(known) = self.known.get(&tenant) {
            return Ok(known.clone());
        }
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let known = Arc::new(Known::new(catalog.connections(tenant).await?));
        if self.known.len() >= CAPACITY {
            self.known.clear();
        }
        self.known.insert(tenant, known.clone());
        if self.forgotten.load(Ordering::SeqCst) != forgotten {
            self.known.remove(&tenant);
        }
        Ok(known)
    }

    /// The same, read for the asker alone: whoever is not known yet is not remembered.
    pub async fn read(catalog: &dyn Catalog, tenant: TenantId) -> Result<Known, StoreError> {
        Ok(Known::new(catalog.connections(tenant).await?))
    }

    /// Something of this tenant was saved or removed.
    pub fn forget(&self, tenant: TenantId) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.known.remove(&tenant);
    }

    /// The values of a credential that are good now, the newest first; none where it cannot be opened, or there is none.
    pub fn values(&self, known: &Known, integration: &Integration, field: &str, now_ms: i64) -> Vec<String> {
        let mut secrets = integration.definition.secrets();
        let Some((_, name)) = secrets.find(|(known, _)| *known == field) else { return Vec::new() };
        let vault = self.vault.as_ref();
        let present = known.open(vault, name).inspect_err(|failure| {
            tracing::warn!(integration = %integration.name, field, error = %failure.message, "a credential cannot be used");
        });
        present.ok().into_iter().chain(known.open_previous(vault, name, now_ms)).collect()
    }

    /// Whether an attempt wants anything of here.
    pub fn concern(executor: &dyn Executor, attempt: &Attempt, marked: Option<&Marked>) -> bool {
        // What is taken from an integration may go to an address of the payload.
        let names_any = !attempt.action_target.is_empty() || executor.source(&attempt.payload).is_some();
        marked.is_some() || (names_any && !executor.kinds().is_empty())
    }

    /// Gives an attempt the connection that its target names and the secrets that its payload names.
    pub async fn prepare(
        &self,
        catalog: &dyn Catalog,
        executor: &dyn Executor,
        attempt: Attempt,
        wanted: Wanted<'_>,
    ) -> Result<Attempt, Failure> {
        let known = self.of(catalog, attempt.owner.tenant).await;
        let known = known.map_err(|error| Failure::retryable(UNAVAILABLE, error.to_string()))?;
        let mut secrets = Secrets::default();
        let mut attempt = attempt;
        let target = known.target(executor, &attempt.action_target);
        let target = target.map_err(|problem| Failure::fatal(INTEGRATION, problem.message))?;
        if let Some(integration) = target.integration
            && let Some(kind) = kind_of(executor, integration)
        {
            let connection = self.connect(&known, (integration, kind), &mut secrets, wanted.now_ms)?;
            let connection = if wanted.uses_backup { connection.at_backup(integration) } else { connection };
            attempt.connection = Some(Arc::new(connection));
            if let Some(most_ms) = integration.definition.limits.timeout_ms {
                attempt.timeout = attempt.timeout.min(Duration::from_millis(most_ms));
            }
        }
        if let Some(marked) = wanted.marked {
            if !executor.takes_secrets(&attempt.action_target) {
                return Err(Failure::fatal(SECRET, "the payload of this action is stored, and so must name no secret"));
            }
            attempt.payload = self.fill(&known, marked, &mut secrets)?;
        }
        let source = known.source(executor, &attempt.payload);
        if let Some(integration) = source.map_err(|problem| Failure::fatal(INTEGRATION, problem.message))?
            && let Some(kind) = kind_of(executor, integration)
        {
            let connection = self.connect(&known, (integration, kind), &mut secrets, wanted.now_ms)?;
            attempt.source = Some(Arc::new(connection));
        }
        attempt.secrets = Arc::new(secrets);
        Ok(attempt)
    }

    /// The connection of an integration without what a person's consent is yet to bring.
    pub async fn before_consent(
        &self,
        catalog: &dyn Catalog,
        (integration, kind): (&Integration, &'static Kind),
        now_ms: i64,
    ) -> Result<(Connection, Secrets), Failure> {
        let known = self.of(catalog, integration.owner.tenant).await;
        let known = known.map_err(|error| Failure::retryable(UNAVAILABLE, error.to_string()))?;
        let mut bare = integration.clone();
        bare.definition.credentials.retain(|field, _| !integration.definition.is_brought(field));
        let mut secrets = Secrets::default();
        let connection = self.connect(&known, (&bare, kind), &mut secrets, now_ms)?;
        Ok((connection, secrets))
    }

    fn connect(
        &self,
        known: &Known,
        (integration, kind): (&Integration, &'static Kind),
        secrets: &mut Secrets,
        now_ms: i64,
    ) -> Result<Connection, Failure> {
        if !integration.is_active {
            let message = format!("integration '{}' is not active", integration.name);
            return Err(Failure::fatal(INTEGRATION, message));
        }
        let (mut credentials, mut previous) = (BTreeMap::new(), BTreeMap::new());
        for (field, name) in integration.definition.secrets() {
            let value = known.open(self.vault.as_ref(), name)?;
            secrets.add(&value);
            credentials.insert(field.to_owned(), value);
            if let Some(value) = known.open_previous(self.vault.as_ref(), name, now_ms) {
                secrets.add(&value);
                previous.insert(field.to_owned(), value);
            }
        }
        Ok(Connection::new(integration, kind, credentials).with_previous(previous))
    }

    fn fill(&self, known: &Known, marked: &Marked, secrets: &mut Secrets) -> Result<Json, Failure> {
        let mut values = BTreeMap::new();
        for name in marked.names() {
            let value = known.open(self.vault.as_ref(), name)?;
            secrets.add(&value);
            values.insert(name.to_string(), value);
        }
        let filled = marked.fill(|name| values.get(name).map(String::as_str));
        filled.map(Arc::new).map_err(|error| Failure::fatal(SECRET, error.to_string()))
    }
}

/// What is kept of an attempt that had secrets in hand. `logged` is its payload as the log may keep it.
pub fn cleared(performed: Performed, logged: Json, secrets: &Secrets) -> Performed {
    let outcome = match performed.outcome {
        Outcome::Completed(result) => Outcome::Completed(Arc::new(secrets.redact_value(Arc::unwrap_or_clone(result)))),
        Outcome::Failed(failure) => Outcome::Failed(clear_failure(failure, secrets)),
        Outcome::Cancelled => Outcome::Cancelled,
    };
    let http = performed.http.map(|figures| core314_domain::log::HttpFigures {
        endpoint: secrets.redact(&figures.endpoint).into_owned(),
        ..figures
    });
    Performed { outcome, logged_payload: logged, http }
}

fn clear_failure(failure: Failure, secrets: &Secrets) -> Failure {
    Failure {
        message: secrets.redact(&failure.message).into_owned(),
        details: failure.details.map(|details| secrets.redact_value(details)),
        ..failure
    }
}
