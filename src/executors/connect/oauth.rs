//! OAuth 2.0 tokens of services: got with the client's own credentials (RFC 6749, 4.4) or a refresh token (section 6) that a
//! person's consent may have brought (`consent`), kept
//! until shortly before they end, and got anew once for all callers when a service refuses one.
//!
//! Invariants: one request for a token is under way at once for each integration; a token is held in memory alone; one
//! that belongs to other credentials than those of now is not used.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use core314_actors::ports::executor::Connection;
use core314_domain::ids::TenantId;
use core314_domain::log::Failure;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex as AsyncMutex;

use super::auth::basic;
use crate::executors::client::{Call, HttpClient, Statuses};
use crate::executors::failure::Code;
use crate::executors::redact::Redactor;

/// A token whose service does not say how long it lives.
const DEFAULT_LIFE: Duration = Duration::from_mins(5);
/// A longer life is not believed: a token that was revoked meanwhile costs a refusal.
const LONGEST_LIFE: Duration = Duration::from_hours(24);
/// Tokens are not used in this last part of their lives: they would end under way.
const MARGIN: Duration = Duration::from_secs(20);
/// How often a refresh token that has replaced another is tried to be kept.
const KEEP_ATTEMPTS: u32 = 5;
/// How long it waits before the second time; each further wait is twice as long.
const KEEP_PAUSE: Duration = Duration::from_millis(100);
/// Credentials by which a token is known at most: those of attempts that were made ready before the service replaced them.
const MOST_DIGESTS: usize = 16;
/// Integrations whose tokens are kept at once.
const CAPACITY: usize = 10_000;

type Key = (TenantId, Arc<str>);

/// A token and the credentials it was got with, and those that the service then gave in their place: whoever was made ready
/// before the exchange has the former in hand, whoever comes after it the latter.
struct Token {
    value: String,
    /// Of credentials, the newest last.
    digests: Vec<[u8; 32]>,
    /// The refresh token that is good now, where the service has replaced the one of the connection.
    refreshed_by: Option<String>,
    /// Whether the refresh token that is good now is durable.
    is_kept: bool,
    ends_at: Instant,
}

/// The tokens.
#[derive(Default)]
pub struct Tokens {
    kept: Mutex<HashMap<Key, Arc<AsyncMutex<Option<Token>>>>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// A token for this integration; `refused` is one that the service has just refused. Whoever asks while another
    /// fetches waits for that one's token.
    pub async fn of(
        &self,
        http: &HttpClient,
        tenant: TenantId,
        connection: &Connection,
        refused: Option<&str>,
        timeout: Duration,
    ) -> Result<String, Failure> {
        let place = self.place((tenant, connection.name.clone()));
        let mut kept = place.lock().await;
        let digest = digest(connection, None);
        if let Some(token) = kept.as_ref()
            && token.digests.contains(&digest)
            && token.ends_at > Instant::now() + MARGIN
            && Some(token.value.as_str()) != refused
        {
            return Ok(token.value.clone());
        }
        // An attempt has the refresh token in hand that was good when it was made ready. Each is good once: services take one that
        // comes again for stolen, and revoke all that came of it.
        let (held, is_kept, mut digests) = match kept.as_mut().filter(|token| token.digests.contains(&digest)) {
            Some(token) => {
                token.ends_at = Instant::now();
                (token.refreshed_by.clone(), token.is_kept, token.digests.clone())
            }
            None => (None, true, Vec::new()),
        };
        // Whoever asks now may ask again.
        digests.retain(|known| *known != digest);
        digests.push(digest);
        let mut token = fetch(http, connection, held, timeout).await?;
        digests.append(&mut token.digests);
        token.digests = digests.split_off(digests.len().saturating_sub(MOST_DIGESTS));
        token.is_kept &= is_kept;
        // It stands here before it is durable, and is not used yet: where keeping it fails or is given up, the next one who asks
        // has the only refresh token that is good, and keeps it.
        let ends_at = std::mem::replace(&mut token.ends_at, Instant::now());
        let token = kept.insert(token);
        if let Some(new) = token.refreshed_by.as_deref().filter(|_| !token.is_kept) {
            keep(http, tenant, connection, new).await?;
        }
        (token.is_kept, token.ends_at) = (true, ends_at);
        Ok(token.value.clone())
    }

    fn place(&self, key: Key) -> Arc<AsyncMutex<Option<Token>>> {
        // The guarded code does not panic half-way: a poisoned lock still guards a whole map.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= CAPACITY {
            kept.clear();
        }
        kept.entry(key).or_default().clone()
    }
}

/// Of all that a token depends on; with another refresh token than the connection has, where there is one.
fn digest(connection: &Connection, refresh_token: Option<&str>) -> [u8; 32] {
    let mut digest = Sha256::new();
    for setting in ["auth", "token_url", "client_id", "scope", "audience", "client_auth"] {
        digest.update(connection.text(setting).unwrap_or_default());
        digest.update([0]);
    }
    for value in [connection.credential("client_secret"), refresh_token.or(connection.credential("refresh_token"))] {
        digest.update(value.unwrap_or_default());
        digest.update([0]);
    }
    digest.finalize().into()
}

/// A new token; `held` is the refresh token that the service has given in the place of the connection's.
async fn fetch(
    http: &HttpClient,
    connection: &Connection,
    held: Option<String>,
    timeout: Duration,
) -> Result<Token, Failure> {
    let mut redactor = Redactor::new(&core314_domain::Json::default());
    let asked_with = held.as_deref().or(connection.credential("refresh_token"));
    for secret in [connection.credential("client_secret"), connection.credential("refresh_token"), asked_with] {
        secret.iter().for_each(|secret| redactor.hide(secret));
    }
    let grant = match asked_with {
        Some(token) => vec![("grant_type", "refresh_token"), ("refresh_token", token.trim())],
        None => vec![("grant_type", "client_credentials")],
    };
    let answer = ask(http, connection, &grant, (timeout, &mut redactor)).await?;
    let body = &answer["body"];
    let odd = |what: &str| Code::UnexpectedAnswer.failure(format!("the answer to the request for a token {what}"));
    let value =
        body["access_token"].as_str().filter(|text| !text.is_empty()).ok_or_else(|| odd("has no access_token"))?;
    let is_bearer = body["token_type"].as_str().is_none_or(|kind| kind.eq_ignore_ascii_case("bearer"));
    if !is_bearer {
        return Err(odd("has a token_type other than Bearer"));
    }
    let rotated = body["refresh_token"].as_str().filter(|new| asked_with.is_some_and(|old| old != *new));
    let seconds = body["expires_in"].as_u64().or_else(|| body["expires_in"].as_str()?.parse().ok());
    let life = seconds.map_or(DEFAULT_LIFE, Duration::from_secs).min(LONGEST_LIFE);
    let digests = rotated.map(|new| digest(connection, Some(new))).into_iter().collect();
    let (value, is_kept) = (value.to_owned(), rotated.is_none());
    let refreshed_by = rotated.map(str::to_owned).or(held);
    Ok(Token { value, digests, refreshed_by, is_kept, ends_at: Instant::now() + life })
}

/// Keeps the refresh token that a service gave in the place of the one it was asked with. It is the only one that is good from
/// then on, so it is tried more than once, and nothing is done with the access token before it is durable.
async fn keep(http: &HttpClient, tenant: TenantId, connection: &Connection, new: &str) -> Result<(), Failure> {
    let none = || Code::StoreUnavailable.failure("the service's new refresh token cannot be kept yet");
    let keeper = http.keeper().ok_or_else(none)?;
    let mut kept = Ok(());
    for tried in 0..KEEP_ATTEMPTS {
        if let Some(before) = tried.checked_sub(1) {
            tokio::time::sleep(KEEP_PAUSE * (1 << before)).await;
        }
        kept = keeper.replaced(tenant, &connection.name, new.to_owned()).await;
        if kept.is_ok() {
            break;
        }
    }
    kept
}

/// Asks for a token by a grant.
pub async fn ask(
    http: &HttpClient,
    connection: &Connection,
    grant: &[(&str, &str)],
    (timeout, redactor): (Duration, &mut Redactor),
) -> Result<Value, Failure> {
    let call = request(connection, grant, redactor).map_err(|message| Code::InvalidPayload.failure(message))?;
    let refused = |failure: Failure| match failure.code.as_str() {
        "http_status" if !failure.retryable => {
            let message = format!("the service gives no token: {}", failure.message);
            Failure { details: failure.details, ..Code::TokenRefused.failure(message) }
        }
        _ => Failure { message: format!("no token could be had: {}", failure.message), ..failure },
    };
    http.fetch(call, timeout, redactor, &mut None).await.map_err(refused)
}

/// The request for a token. An error says what is wrong with the integration.
fn request(connection: &Connection, grant: &[(&str, &str)], redactor: &mut Redactor) -> Result<Call, String> {
    let setting = |name: &str| connection.text(name).filter(|text| !text.is_empty());
    let needed = |name: &str| setting(name).ok_or_else(|| format!("the integration has no setting '{name}'"));
    let url = Url::parse(needed("token_url")?).map_err(|error| format!("token_url is no URL: {error}"))?;
    let client_id = needed("client_id")?;
    let secret = connection.credential("client_secret");
    let mut form = grant.to_vec();
    form.extend(setting("scope").map(|scope| ("scope", scope)));
    form.extend(setting("audience").map(|audience| ("audience", audience)));
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    match secret {
        Some(secret) if setting("client_auth") != Some("body") => {
            let value = basic(&form_encoded(client_id), &form_encoded(secret.trim()), redactor);
            let mut value = HeaderValue::from_str(&value).map_err(|_| "the client's credentials are no header")?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        secret => {
            form.push(("client_id", client_id));
            form.extend(secret.map(|secret| ("client_secret", secret.trim())));
        }
    }
    let mut scratch = Url::parse("http://form/").expect("a constant URL");
    scratch.query_pairs_mut().extend_pairs(form);
    let body = scratch.query().unwrap_or_default().as_bytes().to_vec();
    Ok(Call { method: Method::POST, url, headers, body, expected: vec![Statuses::SUCCESS], follow_redirects: false })
}

/// As RFC 6749, 2.3.1, wants a client's id and secret before they become a header.
fn form_encoded(text: &str) -> String {
    let mut scratch = Url::parse("http://form/").expect("a constant URL");
    scratch.query_pairs_mut().append_key_only(text);
    scratch.query().unwrap_or_default().to_owned()
}

/// Whether an integration is called with tokens.
pub fn is_way_of(connection: &Connection) -> bool {
    connection.text("auth") == Some("oauth2")
}

/// Whether an outcome says that the token is no good any more.
pub fn is_refusal<T>(outcome: &Result<T, Failure>) -> bool {
    let status = |failure: &Failure| failure.details.as_ref().and_then(|details| details["status"].as_u64());
    outcome.as_ref().err().is_some_and(|failure| status(failure) == Some(401))
}
