//! How a service of the kind `http` knows who calls: the setting `auth` says it, and the credentials that belong to it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core314_actors::ports::executor::Connection;
use core314_domain::integration::{Definition, Field};
use core314_domain::plan::Problem;
use reqwest::header::{AUTHORIZATION, HeaderName, HeaderValue};

use crate::executors::client::Call;
use crate::executors::redact::Redactor;

/// What the setting `auth` may say.
const WAYS: [&str; 4] = ["none", "basic", "bearer", "api_key"];

type Names = &'static [&'static str];

pub const CREDENTIALS: &[Field] = &[
    Field::optional("password", "with auth basic: the password"),
    Field::optional("token", "with auth bearer: the token"),
    Field::optional("api_key", "with auth api_key: the key"),
];
pub const SETTINGS: &[Field] = &[
    Field::optional("auth", "how the service knows who calls: none (default), basic, bearer or api_key"),
    Field::optional("test_path", "what a test of the integration gets, below the endpoint"),
    Field::optional("username", "with auth basic: the user's name"),
    Field::optional("api_key_header", "with auth api_key: the header that takes it; X-Api-Key where nothing is said"),
    Field::optional(
        "api_key_query",
        "with auth api_key: the parameter of the query that takes it, instead of a header",
    ),
];
/// Of each way what must be given, and what may be: credentials, settings.
const NEEDS: [(&str, Names, Names, Names); 4] = [
    ("none", &[], &[], &[]),
    ("basic", &["password"], &["username"], &[]),
    ("bearer", &["token"], &[], &[]),
    ("api_key", &["api_key"], &[], &["api_key_header", "api_key_query"]),
];

/// What is wrong with how a definition authenticates.
pub fn problems(definition: &Definition) -> Vec<Problem> {
    let mut found = Vec::new();
    for (name, value) in &definition.settings {
        if !value.is_string() {
            found.push(Problem::new(format!("/settings/{name}"), "must be a text"));
        }
    }
    let way = definition.text("auth").unwrap_or("none");
    let Some((_, credentials, settings, optional)) = NEEDS.iter().find(|(known, ..)| *known == way) else {
        found.push(Problem::new("/settings/auth", format!("'{way}' is not one of: {}", WAYS.join(", "))));
        return found;
    };
    for (list, needed, given) in [
        ("credentials", *credentials, definition.credentials.keys().collect::<Vec<_>>()),
        ("settings", *settings, definition.settings.keys().collect()),
    ] {
        for name in needed.iter().filter(|name| !given.iter().any(|given| given == *name)) {
            found.push(Problem::new(format!("/{list}/{name}"), format!("is required with auth {way}")));
        }
        for name in given {
            let name = name.as_str();
            if !["auth", "test_path"].contains(&name) && !needed.contains(&name) && !optional.contains(&name) {
                found.push(Problem::new(format!("/{list}/{name}"), format!("has no meaning with auth {way}")));
            }
        }
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

/// Puts the integration's proof into a request, unless the payload has one of its own. An error says what is wrong.
pub fn sign(call: &mut Call, connection: &Connection, redactor: &mut Redactor) -> Result<(), String> {
    let credential = |name: &str| {
        let missing = || format!("the integration has no credential '{name}'");
        connection.credential(name).ok_or_else(missing)
    };
    match connection.text("auth").unwrap_or("none") {
        "basic" => {
            let pair = format!("{}:{}", connection.text("username").unwrap_or_default(), credential("password")?);
            let encoded = STANDARD.encode(&pair);
            redactor.hide(&encoded);
            put(call, AUTHORIZATION, &format!("Basic {encoded}"))
        }
        "bearer" => put(call, AUTHORIZATION, &format!("Bearer {}", credential("token")?.trim())),
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
        _ => Ok(()),
    }
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
                "/settings/auth: 'digest' is not one of: none, basic, bearer, api_key",
            ),
            (json!({"settings": {"auth": "bearer"}}), "/credentials/token: is required with auth bearer"),
            (json!({"credentials": {"token": "secrets.T"}}), "/credentials/token: has no meaning with auth none"),
            (json!({"settings": {"auth": 1}}), "/settings/auth: must be a text"),
            (
                json!({"settings": {"auth": "api_key", "api_key_header": "a b"}, "credentials": {"api_key": "secrets.K"}}),
                "/settings/api_key_header: is no name of a header",
            ),
        ] {
            assert_eq!(found(definition), [expected]);
        }
    }
}
