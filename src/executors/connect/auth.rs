//! How a service of the kind `http` knows who calls: the setting `auth` says it, and the credentials that belong to it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::Utc;
use core314_actors::ports::executor::Connection;
use core314_domain::integration::{Definition, Field};
use core314_domain::plan::Problem;
use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};

use super::sigv4::Signer;
use crate::executors::client::Call;
use crate::executors::redact::Redactor;

pub const CREDENTIALS: &[Field] = &[
    Field::optional("password", "with auth basic: the password"),
    Field::optional("token", "with auth bearer: the token"),
    Field::optional("api_key", "with auth api_key: the key"),
    Field::optional("client_secret", "with auth oauth2: the client's secret"),
    Field::optional(
        "refresh_token",
        "with auth oauth2: what tokens are got with, instead of the client's own credentials",
    ),
    Field::optional("access_key_id", "with auth aws_sigv4: the id of the access key"),
    Field::optional("secret_access_key", "with auth aws_sigv4: the access key"),
    Field::optional("session_token", "with auth aws_sigv4: the token of a temporary access key"),
];
pub const SETTINGS: &[Field] = &[
    Field::optional(
        "auth",
        "how the service knows who calls: none (default), basic, bearer, api_key, oauth2 or aws_sigv4",
    ),
    Field::optional("test_path", "what a test of the integration gets, below the endpoint"),
    Field::optional("username", "with auth basic: the user's name"),
    Field::optional("api_key_header", "with auth api_key: the header that takes it; X-Api-Key where nothing is said"),
    Field::optional(
        "api_key_query",
        "with auth api_key: the parameter of the query that takes it, instead of a header",
    ),
    Field::optional("token_url", "with auth oauth2: where tokens are got"),
    Field::optional(
        "authorization_url",
        "with auth oauth2: where a person consents, once; what comes of it is kept as the secret of refresh_token",
    ),
    Field::optional("client_id", "with auth oauth2: the client"),
    Field::optional("scope", "with auth oauth2: what the token is for, in the service's words"),
    Field::optional("audience", "with auth oauth2: for which API it is, where the service asks for it"),
    Field::optional("client_auth", "with auth oauth2: how the client's secret is sent: header (default) or body"),
    Field::optional("region", "with auth aws_sigv4: such as eu-central-1"),
    Field::optional("service", "with auth aws_sigv4: such as execute-api, lambda, s3"),
];

/// What a declared service has beside, which is none of authentication.
pub const OPERATIONS: &str = "operations";

/// What a way of authentication needs, and what it takes beside.
struct Way {
    word: &'static str,
    credentials: &'static [&'static str],
    settings: &'static [&'static str],
    optional: &'static [&'static str],
}

const WAYS: [Way; 6] = [
    Way { word: "none", credentials: &[], settings: &[], optional: &[] },
    Way { word: "basic", credentials: &["password"], settings: &["username"], optional: &[] },
    Way { word: "bearer", credentials: &["token"], settings: &[], optional: &[] },
    Way { word: "api_key", credentials: &["api_key"], settings: &[], optional: &["api_key_header", "api_key_query"] },
    Way {
        word: "oauth2",
        credentials: &[],
        settings: &["token_url", "client_id"],
        optional: &["scope", "audience", "client_auth", "authorization_url", "client_secret", "refresh_token"],
    },
    Way {
        word: "aws_sigv4",
        credentials: &["access_key_id", "secret_access_key"],
        settings: &["region", "service"],
        optional: &["session_token"],
    },
];

/// What is wrong with how a definition authenticates.
pub fn problems(definition: &Definition) -> Vec<Problem> {
    let mut found = Vec::new();
    for (name, value) in &definition.settings {
        if !value.is_string() && name != OPERATIONS {
            found.push(Problem::new(format!("/settings/{name}"), "must be a text"));
        }
    }
    let word = definition.text("auth").unwrap_or("none");
    let Some(way) = WAYS.iter().find(|known| known.word == word) else {
        let known = WAYS.map(|way| way.word).join(", ");
        found.push(Problem::new("/settings/auth", format!("'{word}' is not one of: {known}")));
        return found;
    };
    for (list, needed, given) in [
        ("credentials", way.credentials, definition.credentials.keys().collect::<Vec<_>>()),
        ("settings", way.settings, definition.settings.keys().collect()),
    ] {
        for name in needed.iter().filter(|name| !given.iter().any(|given| given == *name)) {
            found.push(Problem::new(format!("/{list}/{name}"), format!("is required with auth {word}")));
        }
        for name in given {
            let name = name.as_str();
            if !["auth", "test_path", OPERATIONS].contains(&name)
                && !needed.contains(&name)
                && !way.optional.contains(&name)
            {
                found.push(Problem::new(format!("/{list}/{name}"), format!("has no meaning with auth {word}")));
            }
        }
    }
    if word == "oauth2" {
        found.extend(oauth_problems(definition));
    }
    if definition.settings.contains_key("api_key_header") && definition.settings.contains_key("api_key_query") {
        found.push(Problem::new("/settings/api_key_query", "only one of api_key_header, api_key_query can be given"));
    }
    if let Some(name) = definition.text("api_key_header")
        && HeaderName::from_bytes(name.as_bytes()).is_err()
    {
        found.push(Problem::new("/settings/api_key_header", "is no name of a header"));
    }
    found
}

fn oauth_problems(definition: &Definition) -> Vec<Problem> {
    let mut found = Vec::new();
    if !["client_secret", "refresh_token"].iter().any(|name| definition.credentials.contains_key(*name)) {
        found.push(Problem::new("/credentials/client_secret", "is required with auth oauth2, or a refresh_token is"));
    }
    let is_url = |text: &str| Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    if definition.text("token_url").is_some_and(|text| !is_url(text)) {
        found.push(Problem::new("/settings/token_url", "must be an http or https URL"));
    }
    if definition.text("authorization_url").is_some_and(|text| !is_url(text)) {
        found.push(Problem::new("/settings/authorization_url", "must be an http or https URL"));
    }
    if definition.settings.contains_key("authorization_url") && !definition.credentials.contains_key("refresh_token") {
        let message = "is required with authorization_url: the secret that a person's consent makes";
        found.push(Problem::new("/credentials/refresh_token", message));
    }
    if definition.text("client_auth").is_some_and(|way| !["header", "body"].contains(&way)) {
        found.push(Problem::new("/settings/client_auth", "must be header or body"));
    }
    found
}

/// Puts the integration's proof into a request, unless the payload has one of its own. An error says what is wrong.
pub fn sign(call: &mut Call, connection: &Connection, redactor: &mut Redactor) -> Result<(), String> {
    let credential = |name: &str| {
        let missing = || format!("the integration has no credential '{name}'");
        connection.credential(name).ok_or_else(missing)
    };
    match connection.text("auth").unwrap_or("none") {
        "basic" => {
            let user = connection.text("username").unwrap_or_default();
            put(call, AUTHORIZATION, &basic(user, credential("password")?, redactor))
        }
        "bearer" => bearer(call, credential("token")?.trim()),
        "aws_sigv4" if call.headers.contains_key(AUTHORIZATION) => Ok(()),
        "aws_sigv4" => {
            let signer = Signer {
                access_key_id: credential("access_key_id")?.trim(),
                secret_access_key: credential("secret_access_key")?.trim(),
                session_token: connection.credential("session_token").map(str::trim),
                region: connection.text("region").unwrap_or_default(),
                service: connection.text("service").unwrap_or_default(),
            };
            // A redirect would lead to what was not signed.
            call.follow_redirects = false;
            signer.sign(call, Utc::now())
        }
        "api_key" => {
            let key = credential("api_key")?.trim();
            if let Some(name) = connection.text("api_key_query") {
                call.url.query_pairs_mut().append_pair(name, key);
                return Ok(());
            }
            let name = connection.text("api_key_header").unwrap_or("x-api-key");
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| "api_key_header is no name of a header")?;
            put(call, name, key)
        }
        "none" => Ok(()),
        other => Err(format!("auth {other} is not possible with this action: use api_call")),
    }
}

/// The header of basic authentication (RFC 7617); what it hides is hidden encoded, too.
pub fn basic(user: &str, password: &str, redactor: &mut Redactor) -> String {
    let encoded = STANDARD.encode(format!("{user}:{password}"));
    redactor.hide(&encoded);
    format!("Basic {encoded}")
}

/// Puts a token into a request (RFC 6750), unless the payload has a proof of its own.
pub fn bearer(call: &mut Call, token: &str) -> Result<(), String> {
    put(call, AUTHORIZATION, &format!("Bearer {token}"))
}

/// A header that no redirect takes to another origin.
fn put(call: &mut Call, name: HeaderName, value: &str) -> Result<(), String> {
    // The value is a secret, so it is not repeated.
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| format!("the secret for the header {name} holds a line break or another control character"))?;
    value.set_sensitive(true);
    call.headers.entry(name).or_insert(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn found(definition: Value) -> Vec<String> {
        let definition: Definition = serde_json::from_value(definition).expect("a definition");
        problems(&definition).into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
    }

    #[test]
    fn each_way_has_its_credentials_and_no_others() {
        let none: [String; 0] = [];
        assert_eq!(found(json!({})), none);
        let basic = json!({"settings": {"auth": "basic", "username": "u"}, "credentials": {"password": "secrets.P"}});
        assert_eq!(found(basic), none);
        let query =
            json!({"settings": {"auth": "api_key", "api_key_query": "key"}, "credentials": {"api_key": "secrets.K"}});
        assert_eq!(found(query), none);
        for (definition, expected) in [
            (
                json!({"settings": {"auth": "digest"}}),
                "/settings/auth: 'digest' is not one of: none, basic, bearer, api_key, oauth2, aws_sigv4",
            ),
            (json!({"settings": {"auth": "bearer"}}), "/credentials/token: is required with auth bearer"),
            (json!({"credentials": {"token": "secrets.T"}}), "/credentials/token: has no meaning with auth none"),
            (json!({"settings": {"auth": 1}}), "/settings/auth: must be a text"),
            (
                json!({"settings": {"auth": "api_key", "api_key_header": "a b"}, "credentials": {"api_key": "secrets.K"}}),
                "/settings/api_key_header: is no name of a header",
            ),
            (
                json!({"settings": {"auth": "oauth2", "token_url": "https://h/t", "client_id": "c"}}),
                "/credentials/client_secret: is required with auth oauth2, or a refresh_token is",
            ),
            (
                json!({"settings": {"auth": "oauth2", "token_url": "h", "client_id": "c"},
                    "credentials": {"client_secret": "secrets.S"}}),
                "/settings/token_url: must be an http or https URL",
            ),
            (
                json!({"settings": {"auth": "aws_sigv4", "region": "r"},
                    "credentials": {"access_key_id": "secrets.A", "secret_access_key": "secrets.S"}}),
                "/settings/service: is required with auth aws_sigv4",
            ),
        ] {
            assert_eq!(found(definition), [expected]);
        }
    }
}
