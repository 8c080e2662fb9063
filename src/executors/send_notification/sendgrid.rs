//! E-mail by SendGrid, version 3 of its API (<https://www.twilio.com/docs/sendgrid/api-reference/mail-send/mail-send>).
//!
//! 202 means that the message is queued; its id is a header. A refusal is `{errors: [{message, field, help}]}`; 429 brings
//! `X-RateLimit-Reset`. SendGrid does not know a repetition.

use core314_actors::ports::executor::Connection;
use core314_domain::integration::{Endpoint, Field, Kind};
use core314_domain::log::Failure;
use lettre::message::Mailbox;
use reqwest::Method;
use reqwest::header::AUTHORIZATION;
use serde_json::{Map, Value, json};

use super::letter::{self, Letter};
use super::{Api, Performing, no_texts, unexpected};
use crate::executors::connect::http::endpoint_problem;
use crate::executors::failure::Code;
use crate::executors::service::{Ask, Service};

pub const API: Api = Api { read: letter::read, send };

/// What a key needs to send.
const SCOPE: &str = "mail.send";

/// The kind of its integrations.
pub const KIND: Kind = Kind {
    word: "sendgrid",
    about: "E-mail by SendGrid.",
    endpoint: Some(Endpoint::at("https://api.sendgrid.com")),
    credentials: &[Field::required("api_key", "an API key that may send mail")],
    settings: &[Field::optional(letter::FROM, "the sender, as name@host or Name <name@host>")],
    check: |definition| {
        let found = no_texts(definition).into_iter().chain(endpoint_problem(definition));
        found.chain(letter::sender_problem(definition)).collect()
    },
};

fn send<'a>(
    service: &'a mut Service<'_>,
    connection: &'a Connection,
    message: &'a Map<String, Value>,
    key: &'a str,
) -> Performing<'a> {
    Box::pin(async move {
        let letter = Letter::of(message, connection)?;
        sign_in(service, connection)?;
        let mail = mail(&letter, key);
        let answer = service.ask(Ask::send(Method::POST, &["v3", "mail", "send"], &mail)).await?;
        Ok(json!({"message_id": answer["headers"]["x-message-id"], "accepted": letter.recipients()}))
    })
}

/// Asks what the key may do (<https://www.twilio.com/docs/sendgrid/api-reference/api-key-permissions>).
pub fn probe<'a>(service: &'a mut Service<'_>, connection: &'a Connection) -> Performing<'a> {
    Box::pin(async move {
        sign_in(service, connection)?;
        let answer = service.ask(Ask::get(&["v3", "scopes"], &[])).await?;
        let scopes = answer["body"]["scopes"].as_array().ok_or_else(|| unexpected(&answer))?;
        if scopes.iter().any(|scope| scope == SCOPE) {
            return Ok(json!({"scopes": scopes.len()}));
        }
        Err(Failure::fatal(Code::Refused.word(), format!("the API key may not send mail: it has no scope {SCOPE}")))
    })
}

fn sign_in(service: &mut Service<'_>, connection: &Connection) -> Result<(), Failure> {
    let key = connection.credential("api_key").unwrap_or_default().trim();
    service.header(AUTHORIZATION, &format!("Bearer {key}"))
}

fn mail(letter: &Letter, key: &str) -> Value {
    let all = |list: &[Mailbox]| -> Value { list.iter().map(address).collect() };
    let mut people = json!({"to": all(&letter.to)});
    for (name, list) in [("cc", &letter.cc), ("bcc", &letter.bcc)] {
        if !list.is_empty() {
            people[name] = all(list);
        }
    }
    let bodies = [("text/plain", &letter.text), ("text/html", &letter.html)];
    let content: Vec<Value> =
        bodies.iter().filter_map(|(kind, text)| Some(json!({"type": kind, "value": text.as_ref()?}))).collect();
    let mut mail = json!({
        "personalizations": [people],
        "from": address(&letter.from),
        "subject": letter.subject,
        "content": content,
        "custom_args": {"core314_execution": key},
    });
    if let Some(reply_to) = &letter.reply_to {
        mail["reply_to"] = address(reply_to);
    }
    mail
}

fn address(mailbox: &Mailbox) -> Value {
    let mut address = json!({"email": mailbox.email.to_string()});
    if let Some(name) = &mailbox.name {
        address["name"] = name.as_str().into();
    }
    address
}
