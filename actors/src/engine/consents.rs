//! A person's consent, from the request to the secret.
//!
//! ```text
//! begin ──> state (sealed) ──> person ──> service ──> callback: state, code ──> redeemed ──> secret
//! ```
//! Nothing is kept in between: the state that goes with the person is sealed by the vault and holds all that the callback needs.
//! Nobody can make one, read it, or use it for another integration, after its time, or once consent has brought something: it holds
//! which secret there was when it was made. The code that comes with it is good once, and only with the text that is sealed in it
//! (PKCE). Until then the URL is as good as the consent: whoever has it and comes first gives what the integration works with.

use std::sync::{Arc, Weak};
use std::time::Duration;

use core314_domain::ids::{RowId, TenantId};
use core314_domain::integration::REFRESH_TOKEN;
use core314_domain::log::Failure;
use core314_domain::secret;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::integrations::{ConnectError, SecretChange, SecretDraft};
use super::{Engine, Inner};
use crate::integrations::Known;
use crate::ports::consent::{ConsentAsked, ConsentCode, TokenKeeper};
use crate::ports::executor::Executor;
use crate::ports::integration::{Integration, Locked};
use crate::ports::{BoxFuture, StoreError};

/// For what a state is sealed.
const PURPOSE: &str = "consent";
/// How long a person may take.
const LIFE: Duration = Duration::from_mins(10);
/// How long the service may take to redeem a code.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a person is to consent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    pub url: String,
    pub until_ms: i64,
}

/// Why consent was not begun, or brought nothing. The variants say what to do.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConsentError {
    /// Mend the integration.
    #[error("{0}")]
    NotPossible(String),
    /// Begin again: the state is forged, over, or of what is gone.
    #[error("it is not valid, or its time is over: begin the consent again")]
    NotValid,
    /// The service does not redeem the code: its words say why.
    #[error("{}", .0.message)]
    Refused(Failure),
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl From<StoreError> for ConsentError {
    fn from(error: StoreError) -> Self {
        Self::Connect(error.into())
    }
}

impl From<Locked> for ConsentError {
    fn from(locked: Locked) -> Self {
        Self::Connect(locked.into())
    }
}

/// What goes with the person.
#[derive(Serialize, Deserialize)]
struct State {
    tenant: TenantId,
    integration: RowId,
    verifier: String,
    redirect_uri: String,
    until_ms: i64,
    /// The secret that consent replaces. Consent moves it, and so a state is good once.
    replaces: Option<Version>,
    /// Who began it, for the audit log.
    by: String,
}

/// A secret, and which of its values it has.
type Version = (RowId, i64);

impl Engine {
    /// Begins a consent: where a person is to go.
    pub async fn begin_consent(
        &self,
        found: &Integration,
        redirect_uri: &str,
        by: String,
    ) -> Result<Consent, ConsentError> {
        let replaces = brought(self.connections(found.owner.tenant).await?.as_ref(), found);
        let executor = self.speaker(found).ok_or_else(|| not_possible(found))?;
        let consents = executor.consents().ok_or_else(|| not_possible(found))?;
        let until_ms = self.now_ms() + LIFE.as_millis() as i64;
        let random = || Uuid::from_u128(rand::random()).simple();
        let state = State {
            tenant: found.owner.tenant,
            integration: found.id,
            verifier: format!("{}{}", random(), random()),
            redirect_uri: redirect_uri.to_owned(),
            until_ms,
            replaces,
            by,
        };
        let text = serde_json::to_string(&state).expect("a state is JSON");
        let sealed = self.inner.runtime.integrations.vault().seal(&text, PURPOSE)?;
        let asked = ConsentAsked { state: &sealed, verifier: &state.verifier, redirect_uri };
        let url = consents.address(&found.definition, &asked).map_err(ConsentError::NotPossible)?;
        Ok(Consent { url, until_ms })
    }

    /// Redeems what came back, and keeps it as the secret that the integration names. Gives the integration's name.
    pub async fn finish_consent(&self, state: &str, code: String) -> Result<String, ConsentError> {
        let runtime = &self.inner.runtime;
        let text = runtime.integrations.vault().open(state, PURPOSE).map_err(|_| ConsentError::NotValid)?;
        let state: State = serde_json::from_str(&text).map_err(|_| ConsentError::NotValid)?;
        if state.until_ms < self.now_ms() {
            return Err(ConsentError::NotValid);
        }
        let known = self.connections(state.tenant).await?;
        let found = known.integration_named(&state.integration.to_string()).ok_or(ConsentError::NotValid)?;
        if brought(&known, found) != state.replaces {
            return Err(ConsentError::NotValid);
        }
        let executor = self.speaker(found).ok_or_else(|| not_possible(found))?;
        let consents = executor.consents().ok_or_else(|| not_possible(found))?;
        let kind = executor.kinds().iter().copied().find(|kind| kind.word == found.kind);
        let kind = kind.ok_or_else(|| not_possible(found))?;
        let opened = runtime.integrations.before_consent(runtime.catalog.as_ref(), (found, kind), self.now_ms()).await;
        let (connection, secrets) = opened.map_err(ConsentError::Refused)?;
        let (verifier, redirect_uri) = (state.verifier, state.redirect_uri);
        let code = ConsentCode { code, verifier, redirect_uri, timeout: PATIENCE };
        let redeemed = consents.redeem(&connection, code).await.map_err(|failure| {
            let message = secrets.redact(&failure.message).into_owned();
            ConsentError::Refused(Failure { message, ..failure })
        })?;
        let kept = self.keep_token(&known, found, redeemed, state.by).await;
        kept.map_err(|error| match error {
            // Somebody else has come with the same state meanwhile.
            ConsentError::Connect(ConnectError::Conflict | ConnectError::NameTaken) => ConsentError::NotValid,
            error => error,
        })?;
        Ok(found.name.clone())
    }

    /// Lets executors keep the tokens that services replace.
    pub fn keep_tokens(&self) {
        for consents in self.inner.runtime.executors.values().filter_map(|executor| executor.consents()) {
            consents.keep_with(Arc::new(Keeper(Arc::downgrade(&self.inner))));
        }
    }

    /// Keeps it in the place of what is known; a conflict where that has changed.
    async fn keep_token(
        &self,
        known: &Known,
        found: &Integration,
        value: String,
        by: String,
    ) -> Result<(), ConsentError> {
        let name = secret_of(found).ok_or_else(|| not_possible(found))?;
        if let Some(kept) = known.secret(name) {
            let change = SecretChange { value: Some(&value), overlap_seconds: None, description: None };
            self.update_secret(kept.clone(), change, by).await?;
        } else {
            let description = format!("brought by consent, for the integration {}", found.name);
            let draft = SecretDraft { name: name.to_owned(), value, description };
            self.create_secret(found.owner, draft, by).await?;
        }
        Ok(())
    }

    /// The executor that asks for consent in the way of this kind.
    fn speaker(&self, found: &Integration) -> Option<&dyn Executor> {
        let takes = |executor: &&dyn Executor| {
            executor.consents().is_some() && executor.kinds().iter().any(|kind| kind.word == found.kind)
        };
        self.inner.runtime.executors.values().map(AsRef::as_ref).find(takes)
    }
}

/// Keeps what services replace as long as the engine runs; executors, which it belongs to, do not keep the engine.
struct Keeper(Weak<Inner>);

impl TokenKeeper for Keeper {
    fn replaced<'a>(
        &'a self,
        tenant: TenantId,
        integration: &'a str,
        token: String,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let failed = |why: String| Failure::retryable("store_unavailable", why);
            let inner = self.0.upgrade().ok_or_else(|| failed("this server is about to stop".to_owned()))?;
            let engine = Engine { inner };
            let known = engine.connections(tenant).await.map_err(|error| failed(error.to_string()))?;
            let gone = || Failure::fatal("integration_unusable", format!("integration '{integration}' is gone"));
            let found = known.integration(integration).ok_or_else(gone)?;
            let kept = engine.keep_token(&known, found, token, "core314".to_owned()).await;
            kept.map_err(|error| failed(format!("the service's new refresh token cannot be kept: {error}")))
        })
    }
}

/// The name of the secret that consent brings.
fn secret_of(found: &Integration) -> Option<&str> {
    found.definition.credentials.get(REFRESH_TOKEN).and_then(|text| secret::referred(text))
}

/// What consent has brought so far.
fn brought(known: &Known, found: &Integration) -> Option<Version> {
    let kept = known.secret(secret_of(found)?)?;
    Some((kept.id, kept.version))
}

fn not_possible(found: &Integration) -> ConsentError {
    ConsentError::NotPossible(format!(
        "integration '{}' is not one that a person consents to: it needs auth oauth2 with authorization_url and the credential \
         {REFRESH_TOKEN}",
        found.name
    ))
}
