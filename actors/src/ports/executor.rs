//! Executors: each performs one action type against the world.

use std::collections::BTreeMap;
use std::fmt;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use core314_domain::Json;
use core314_domain::ids::{ExecutionId, Owner, RunId, StepNo};
use core314_domain::integration::Kind;
use core314_domain::log::{Failure, HttpFigures};
use core314_domain::plan::Problem;
use core314_domain::run::{IdempotencyKey, Outcome};
use core314_domain::secret::Secrets;
use core314_domain::trace::TraceContext;
use serde_json::{Map, Value};

use super::BoxFuture;
use super::consent::Consents;
use super::integration::Integration;

/// Performs one action type. One file each; adding one touches that file and the list of executors.
pub trait Executor: Send + Sync + 'static {
    /// The word in documents and tables.
    fn action_type(&self) -> &'static str;

    /// The kinds of integrations that it takes. Where the `action_target` of an action names an integration of the tenant,
    /// it must be of one of these kinds, and each attempt gets its connection.
    fn kinds(&self) -> &'static [&'static Kind] {
        &[]
    }

    /// The integration that a payload names beside the one of `action_target`: where an action takes from what it puts there.
    /// It must be of the same kinds, where the tenant has one of this name.
    fn source<'a>(&self, _payload: &'a Value) -> Option<&'a str> {
        None
    }

    /// Whether a word is a target of its own, which no integration of another kind stands for, whatever a tenant calls so.
    fn is_own_word(&self, _word: &str) -> bool {
        false
    }

    /// How an integration is proven to work: by a real call, which does no harm. `None` for a kind that it does not take.
    fn trial(&self, _integration: &Integration) -> Option<Trial> {
        None
    }

    /// Asks the service of an attempt's integration what changes nothing there; the attempt has no payload. For kinds
    /// whose trial is [`Trial::Probe`]. Whoever has none of them refuses: an action is not what was asked for.
    fn probe(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let kind = attempt.connection.as_deref().map_or("this kind", |connection| connection.kind.word);
        let message = format!("{kind} cannot be tested: {} has no question that changes nothing", self.action_type());
        let outcome = Outcome::Failed(Failure::fatal("refused", message));
        let logged_payload = self.logged(&attempt.payload);
        Box::pin(ready(Performed { outcome, logged_payload, http: None }))
    }

    /// What speaks with services that ask for a person's consent.
    fn consents(&self) -> Option<&dyn Consents> {
        None
    }

    /// Whether secrets may stand in the payload of an action with this `action_target`: not where it is stored.
    fn takes_secrets(&self, _target: &str) -> bool {
        true
    }

    /// What is wrong with a payload for this target, as far as it can be seen before its templates are rendered.
    /// Pointers are relative to the payload. What an integration of the target's name would mend is marked by
    /// [`Problem::of_absence`]: such a flow is saved, and stays inactive until there is one.
    fn check(&self, target: &Target<'_>, payload: &Value) -> Vec<Problem>;

    /// Performs the action once. Always answers: a failure is an answer. Dropping the future cancels the action.
    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed>;

    /// The payload as the log may keep it: with secrets redacted. Applied to whatever is logged, also where no attempt
    /// has come back.
    fn logged(&self, payload: &Json) -> Json {
        payload.clone()
    }

    /// An answer that needs no I/O, given on the spot; `None` when the action must be performed.
    fn immediate(&self, _payload: &Json) -> Option<Outcome> {
        None
    }
}

/// How an integration is proven to work.
#[derive(Debug, Clone, PartialEq)]
pub enum Trial {
    /// The action itself, with this payload, does no harm.
    Action(Value),
    /// [`Executor::probe`] has a question that no payload asks.
    Probe,
}

/// Where an action goes, as its document says it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The `action_target`; empty where nothing is said.
    pub word: &'a str,
    /// The integration of this name, where the tenant has one of a kind that the executor takes.
    pub integration: Option<&'a Integration>,
    /// The one that [`Executor::source`] names, likewise.
    pub source: Option<&'a Integration>,
}

impl<'a> Target<'a> {
    /// A target that names no integration.
    pub const fn word(word: &'a str) -> Self {
        Self { word, integration: None, source: None }
    }
}

/// An integration, opened for one attempt. Debugging it shows no credential.
pub struct Connection {
    pub name: Arc<str>,
    pub kind: &'static Kind,
    /// Where the service is; absent for kinds that have no endpoint.
    pub endpoint: Option<Arc<str>>,
    pub settings: Map<String, Value>,
    credentials: BTreeMap<String, String>,
    /// Values before those of now that are still good.
    previous: BTreeMap<String, String>,
}

impl Connection {
    pub fn new(integration: &Integration, kind: &'static Kind, credentials: BTreeMap<String, String>) -> Self {
        Self {
            name: integration.name.as_str().into(),
            kind,
            endpoint: integration.definition.endpoint_of(kind).map(Arc::from),
            settings: integration.definition.settings.clone(),
            credentials,
            previous: BTreeMap::new(),
        }
    }

    /// What the server's own configuration connects to, for whichever tenant; the kind's own address where none is said.
    pub fn of_server(
        name: &str,
        kind: &'static Kind,
        endpoint: Option<&str>,
        settings: Map<String, Value>,
        credentials: BTreeMap<String, String>,
    ) -> Self {
        let endpoint = endpoint.or_else(|| kind.endpoint?.default).map(Arc::from);
        Self { name: name.into(), kind, endpoint, settings, credentials, previous: BTreeMap::new() }
    }

    /// The same with values that were replaced and are still good.
    #[must_use]
    pub fn with_previous(self, previous: BTreeMap<String, String>) -> Self {
        Self { previous, ..self }
    }

    /// The same at the integration's backup endpoint.
    #[must_use]
    pub fn at_backup(self, integration: &Integration) -> Self {
        let backup = integration.definition.backup_endpoint.as_deref().map(Arc::from);
        Self { endpoint: backup.or(self.endpoint), ..self }
    }

    /// A credential by what the kind calls it; absent where the integration does not have it.
    pub fn credential(&self, name: &str) -> Option<&str> {
        self.credentials.get(name).map(String::as_str)
    }

    /// The value of a credential before the one of now, as long as both are good.
    pub fn previous(&self, name: &str) -> Option<&str> {
        self.previous.get(name).map(String::as_str)
    }

    /// A setting that is a text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.settings.get(name).and_then(Value::as_str)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("name", &self.name)
            .field("kind", &self.kind.word)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

/// What an executor is asked to do. Its payload holds the values of secrets: it is for the other side alone, and debugging
/// an attempt does not show it.
#[derive(Clone)]
pub struct Attempt {
    /// Of the run.
    pub owner: Owner,
    pub run: RunId,
    pub step: StepNo,
    pub execution: ExecutionId,
    /// What its step sends in place of the execution's id.
    pub key: Option<IdempotencyKey>,
    /// From 0.
    pub attempt: u32,
    pub action_target: Arc<str>,
    /// The integration that `action_target` names, where it names one.
    pub connection: Option<Arc<Connection>>,
    /// The one that [`Executor::source`] names, where it names one.
    pub source: Option<Arc<Connection>>,
    pub payload: Json,
    /// What must not be shown of it: its credentials, and the secrets in its payload. They are taken out of whatever comes
    /// back; whoever cuts a text takes them out first.
    pub secrets: Arc<Secrets>,
    /// The attempt is given up after this long.
    pub timeout: Duration,
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attempt")
            .field("execution", &self.execution)
            .field("attempt", &self.attempt)
            .field("action_target", &self.action_target)
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}

impl Attempt {
    /// The same in all attempts of an execution, so that a repetition does no double harm where the other side can tell:
    /// what its step has computed, or its id. Another where the execution does again what a rollback has taken back.
    pub fn idempotency_key(&self) -> String {
        self.key.map_or_else(|| self.execution.to_string(), |key| key.to_string())
    }

    /// The attempt's place in the trace of its run, for the `traceparent` header of what it sends.
    pub fn trace(&self) -> TraceContext {
        TraceContext::of_attempt(self.run, self.step, self.attempt)
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Performed {
    pub outcome: Outcome,
    /// The payload as the log may keep it: with secrets redacted.
    pub logged_payload: Json,
    pub http: Option<HttpFigures>,
}

#[cfg(test)]
mod tests {
    use core314_domain::ids::UserId;
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::testkit::scripted_executor::ScriptedExecutor;

    #[tokio::test]
    async fn who_has_no_question_performs_no_action_instead() {
        let (executor, id) = (ScriptedExecutor::default(), Uuid::from_u128(1));
        let attempt = Attempt {
            owner: Owner::new(UserId(id), None),
            run: RunId(id),
            step: 0,
            execution: RunId(id).execution(0),
            attempt: 0,
            key: None,
            action_target: "it".into(),
            connection: None,
            source: None,
            payload: Arc::new(json!({})),
            secrets: Arc::default(),
            timeout: Duration::from_secs(1),
        };
        let Outcome::Failed(failure) = executor.probe(attempt).await.outcome else { panic!("it is refused") };
        assert!(failure.message.contains("cannot be tested") && !failure.retryable, "{failure:?}");
        assert!(executor.asked().is_empty(), "nothing was performed");
    }
}
