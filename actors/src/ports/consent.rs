//! The consent of a person: OAuth 2.0's authorization code, for services that give tokens in no other way.

use std::sync::Arc;
use std::time::Duration;

use core314_domain::ids::TenantId;
use core314_domain::integration::Definition;
use core314_domain::log::Failure;

use super::BoxFuture;
use super::executor::Connection;

/// Speaks with the services that ask for consent.
pub trait Consents: Send + Sync {
    /// Where a person consents. An error says why there is no such place.
    fn address(&self, definition: &Definition, asked: &ConsentAsked<'_>) -> Result<String, String>;

    /// Redeems what consent has brought for a token that lasts.
    fn redeem<'a>(&'a self, connection: &'a Connection, code: ConsentCode) -> BoxFuture<'a, Result<String, Failure>>;

    /// Who keeps tokens that services replace, from now on.
    fn keep_with(&self, keeper: Arc<dyn TokenKeeper>);
}

/// Keeps tokens that last.
pub trait TokenKeeper: Send + Sync {
    /// A service has replaced the refresh token of an integration: keeps the new one, durably, in the place of the one before.
    fn replaced<'a>(
        &'a self,
        tenant: TenantId,
        integration: &'a str,
        token: String,
    ) -> BoxFuture<'a, Result<(), Failure>>;
}

/// What a person is sent to a service with.
#[derive(Debug, Clone, Copy)]
pub struct ConsentAsked<'a> {
    /// What the service gives back beside the code.
    pub state: &'a str,
    /// The text that only whoever began this knows (RFC 7636). The service gets its digest.
    pub verifier: &'a str,
    /// Where the service sends the person afterwards.
    pub redirect_uri: &'a str,
}

/// What came back.
#[derive(Clone)]
pub struct ConsentCode {
    pub code: String,
    pub verifier: String,
    pub redirect_uri: String,
    /// How long the service may take.
    pub timeout: Duration,
}
