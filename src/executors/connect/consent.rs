//! OAuth 2.0's authorization code (RFC 6749, 4.1) with PKCE (RFC 7636, S256): where a person consents, and what the code that
//! comes back is redeemed for.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use core314_actors::ports::BoxFuture;
use core314_actors::ports::consent::{ConsentAsked, ConsentCode, Consents, TokenKeeper};
use core314_actors::ports::executor::Connection;
use core314_domain::integration::{AUTHORIZATION_URL, Definition, REFRESH_TOKEN};
use core314_domain::log::Failure;
use reqwest::Url;
use sha2::{Digest, Sha256};

use super::oauth;
use crate::executors::client::HttpClient;
use crate::executors::failure::Code;
use crate::executors::redact::Redactor;

const MAX_MESSAGE_CHARS: usize = 1_000;

impl Consents for HttpClient {
    fn keep_with(&self, keeper: Arc<dyn TokenKeeper>) {
        self.set_keeper(keeper);
    }

    fn address(&self, definition: &Definition, asked: &ConsentAsked<'_>) -> Result<String, String> {
        let setting = |name: &str| definition.text(name).filter(|text| !text.is_empty());
        let is_oauth = setting("auth") == Some("oauth2") && definition.credentials.contains_key(REFRESH_TOKEN);
        let address = setting(AUTHORIZATION_URL).filter(|_| is_oauth).ok_or(
            "consent needs auth oauth2, the setting authorization_url, and the credential refresh_token: the name of the \
             secret that consent makes",
        )?;
        let mut url = Url::parse(address).map_err(|error| format!("authorization_url is no URL: {error}"))?;
        let challenge = BASE64.encode(Sha256::digest(asked.verifier));
        let mut query = url.query_pairs_mut();
        query.extend_pairs([
            ("response_type", "code"),
            ("client_id", setting("client_id").unwrap_or_default()),
            ("redirect_uri", asked.redirect_uri),
            ("state", asked.state),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        for name in ["scope", "audience"] {
            query.extend_pairs(setting(name).map(|value| (name, value)));
        }
        drop(query);
        Ok(url.into())
    }

    fn redeem<'a>(&'a self, connection: &'a Connection, code: ConsentCode) -> BoxFuture<'a, Result<String, Failure>> {
        Box::pin(async move {
            let mut redactor = Redactor::new(&core314_domain::Json::default());
            for secret in [Some(code.code.as_str()), Some(&code.verifier), connection.credential("client_secret")] {
                secret.iter().for_each(|secret| redactor.hide(secret));
            }
            let grant = [
                ("grant_type", "authorization_code"),
                ("code", &code.code),
                ("redirect_uri", &code.redirect_uri),
                ("code_verifier", &code.verifier),
            ];
            let answer = oauth::ask(self, connection, &grant, (code.timeout, &mut redactor)).await;
            let answer = answer.map_err(|failure| Failure {
                message: redactor.message(&failure.message, MAX_MESSAGE_CHARS),
                ..failure
            })?;
            let token = answer["body"][REFRESH_TOKEN].as_str().filter(|token| !token.is_empty());
            let none = "the service gave no refresh_token: many want a word for it in `scope`, such as offline_access, or a \
                parameter in authorization_url, such as access_type=offline";
            token.map(str::to_owned).ok_or_else(|| Code::UnexpectedAnswer.failure(none))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::executors::{HttpSettings, OutboundSettings};

    fn client() -> HttpClient {
        // The first test of the process installs it; to the others its presence is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = HttpSettings {
            connect_timeout_ms: 1_000,
            max_redirects: 0,
            max_request_bytes: 1_000,
            max_response_bytes: 1_000,
            max_headers: 10,
            max_retry_after_ms: 0,
            idle_connections_per_host: 0,
            idle_timeout_ms: 0,
            max_pages: 1,
        };
        let outbound = OutboundSettings {
            allow_loopback: false,
            allow_private: false,
            allowed_schemes: vec![],
            allowed_hosts: vec![],
            denied_hosts: vec![],
            allowed_ports: vec![],
            denied_ports: vec![],
        };
        HttpClient::new(http, outbound).expect("a client")
    }

    #[test]
    fn a_person_is_sent_with_the_digest_of_a_text_that_stays_here() {
        let definition = json!({"endpoint": "https://h", "credentials": {"refresh_token": "secrets.T"},
            "settings": {"auth": "oauth2", "authorization_url": "https://h/auth?access_type=offline", "client_id": "c d", "scope": "a b"}});
        let definition: Definition = serde_json::from_value(definition).expect("a definition");
        // The example of RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let asked =
            ConsentAsked { state: "s.t", verifier, redirect_uri: "https://core314.example/api/v1/oauth/callback" };
        let expected = "https://h/auth?access_type=offline&response_type=code&client_id=c+d&\
            redirect_uri=https%3A%2F%2Fcore314.example%2Fapi%2Fv1%2Foauth%2Fcallback&state=s.t&\
            code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&scope=a+b";
        assert_eq!(client().address(&definition, &asked), Ok(expected.to_owned()));
        let bare = Definition { credentials: std::collections::BTreeMap::default(), ..definition };
        assert!(client().address(&bare, &asked).is_err());
    }
}
