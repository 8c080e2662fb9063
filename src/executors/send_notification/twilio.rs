//! SMS by Twilio, version 2010-04-01 of its API (<https://www.twilio.com/docs/messaging/api/message-resource>).
//!
//! 201 means that the message is queued. A refusal is `{code, message, more_info, status}`; 429 has code 20429. Twilio does
//! not know a repetition.

use core314_actors::ports::executor::Connection;
use core314_domain::integration::{Definition, Endpoint, Field, Kind};
use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Map, Value, json};

use super::{Api, Performing, no_texts, text, unexpected};
use crate::executors::connect::auth;
use crate::executors::connect::http::endpoint_problem;
use crate::executors::failure::Code;
use crate::executors::payload::{Reader, cut};
use crate::executors::service::{Ask, Body, Service};

pub const API: Api = Api { read, send };

/// The kind of its integrations.
pub const KIND: Kind = Kind {
    word: "twilio",
    about: "SMS by Twilio.",
    endpoint: Some(Endpoint::at("https://api.twilio.com")),
    credentials: &[Field::required("auth_token", "the account's token, or the secret of an API key")],
    settings: &[
        Field::required("account_sid", "the account, AC and 32 digits"),
        Field::optional("api_key_sid", "the API key whose secret auth_token is, SK and 32 digits"),
        Field::optional("from", "the sender: a number in E.164, or a name of up to 11 characters"),
        Field::optional("messaging_service_sid", "instead of from: a messaging service, MG and 32 digits"),
    ],
    check,
};

const VERSION: &str = "2010-04-01";
/// The setting that names an API key, where it is not the account's own token that signs in.
const API_KEY: &str = "api_key_sid";
const KEYS: [&str; 5] = ["to", "text", "from", "status_callback", "media_url"];
const MAX_TEXT_CHARS: usize = 1_600;

fn check(definition: &Definition) -> Vec<Problem> {
    let mut found = no_texts(definition);
    found.extend(endpoint_problem(definition));
    for (name, prefix) in [("account_sid", "AC"), ("api_key_sid", "SK"), ("messaging_service_sid", "MG")] {
        let is_sid = |text: &str| {
            text.strip_prefix(prefix)
                .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
        };
        if definition.text(name).is_some_and(|text| !is_sid(text)) {
            found
                .push(Problem::new(format!("/settings/{name}"), format!("must be {prefix} and 32 hexadecimal digits")));
        }
    }
    found
}

fn read(reader: &mut Reader<'_>, settings: &Map<String, Value>) {
    reader.only(&KEYS);
    for key in ["to", "text"] {
        if !reader.has(key) {
            reader.problem(&[key], "is required");
        }
    }
    if !reader.has("from") && !["from", "messaging_service_sid"].iter().any(|key| settings.contains_key(*key)) {
        reader
            .problem(&["from"], "is required, unless the integration has a setting 'from' or 'messaging_service_sid'");
    }
    if let Some(to) = reader.text("to") {
        let digits = to.strip_prefix('+').unwrap_or_default();
        if !(7..=15).contains(&digits.len()) || !digits.bytes().all(|b| b.is_ascii_digit()) {
            reader.problem(&["to"], "must be a number in E.164: + and 7 to 15 digits");
        }
    }
    reader.cut("text", MAX_TEXT_CHARS);
    for key in ["from", "status_callback", "media_url"] {
        reader.text(key);
    }
}

fn send<'a>(
    service: &'a mut Service<'_>,
    connection: &'a Connection,
    message: &'a Map<String, Value>,
    _: &'a str,
) -> Performing<'a> {
    Box::pin(async move {
        let account = sign_in(service, connection)?;
        let said = |key: &str| message.get(key).and_then(Value::as_str);
        let body = cut(said("text").unwrap_or_default(), MAX_TEXT_CHARS);
        let mut form = vec![("To", said("to").unwrap_or_default()), ("Body", body.as_str())];
        match (said("from"), connection.text("messaging_service_sid")) {
            (None, Some(service)) => form.push(("MessagingServiceSid", service)),
            _ => form.push(("From", text(message, connection, "from").unwrap_or_default())),
        }
        form.extend(said("status_callback").map(|url| ("StatusCallback", url)));
        form.extend(said("media_url").map(|url| ("MediaUrl", url)));
        let path = [VERSION, "Accounts", account, "Messages.json"];
        let ask = Ask { method: Method::POST, path: &path, query: &[], body: Body::Form(&form), is_deed: true };
        judge(&service.ask(ask).await?)
    })
}

/// Asks for the account (<https://www.twilio.com/docs/iam/api/account>); by an API key, which may not read it, for the newest of
/// its messages, of which nothing is kept.
pub fn probe<'a>(service: &'a mut Service<'_>, connection: &'a Connection) -> Performing<'a> {
    Box::pin(async move {
        let account = sign_in(service, connection)?;
        if connection.text(API_KEY).is_some() {
            let path = [VERSION, "Accounts", account, "Messages.json"];
            let answer = service.ask(Ask::get(&path, &[("PageSize", "1")])).await?;
            let is_list = answer["body"]["messages"].is_array();
            return if is_list { Ok(json!({"account_sid": account})) } else { Err(unexpected(&answer)) };
        }
        let file = format!("{account}.json");
        let path = [VERSION, "Accounts", file.as_str()];
        let answer = service.ask(Ask::get(&path, &[])).await?;
        match answer["body"]["status"].as_str() {
            Some("active") => Ok(json!({"account_sid": account})),
            Some(other) => Err(Failure::fatal(Code::Refused.word(), format!("the account is {other}"))),
            None => Err(unexpected(&answer)),
        }
    })
}

/// Whose account it is.
fn sign_in<'a>(service: &mut Service<'_>, connection: &'a Connection) -> Result<&'a str, Failure> {
    let account = connection.text("account_sid").unwrap_or_default();
    let user = connection.text(API_KEY).unwrap_or(account);
    let token = connection.credential("auth_token").unwrap_or_default().trim();
    let value = auth::basic(user, token, &mut service.redactor);
    service.header(AUTHORIZATION, &value)?;
    Ok(account)
}

fn judge(answer: &Value) -> Result<Value, Failure> {
    let body = &answer["body"];
    if body["sid"].is_string() {
        Ok(json!({"sid": body["sid"], "status": body["status"]}))
    } else {
        Err(unexpected(answer))
    }
}
