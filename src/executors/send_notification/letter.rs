//! An e-mail, as payloads have it, whichever way it goes.

use core314_actors::ports::executor::Connection;
use core314_domain::integration::Definition;
use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use lettre::message::Mailbox;
use serde_json::{Map, Value};

use crate::executors::client::invalid;
use crate::executors::payload::{Reader, Reading, kind};

/// The sender: a key of a payload and a setting of an integration.
pub const FROM: &str = "from";
const KEYS: [&str; 8] = ["to", "cc", "bcc", FROM, "reply_to", "subject", "text", "html"];
const MAX_SUBJECT_CHARS: usize = 250;
const MAX_BODY_CHARS: usize = 500_000;
/// Of each list.
const MAX_PEOPLE: usize = 100;

/// A whole e-mail.
#[derive(Debug)]
pub struct Letter {
    pub from: Mailbox,
    pub to: Vec<Mailbox>,
    pub cc: Vec<Mailbox>,
    pub bcc: Vec<Mailbox>,
    pub reply_to: Option<Mailbox>,
    pub subject: String,
    pub text: Option<String>,
    pub html: Option<String>,
}

/// What is wrong with the sender of an integration.
pub fn sender_problem(definition: &Definition) -> Option<Problem> {
    let problem = definition.text(FROM).and_then(|text| parsed(text).err())?;
    Some(Problem::new(format!("/settings/{FROM}"), problem))
}

/// The members of a payload; `None` when it is right as far as can be seen before it is rendered.
pub fn members(
    payload: &Value,
    reading: Reading,
    settings: &Map<String, Value>,
) -> Result<Option<Map<String, Value>>, Vec<Problem>> {
    super::members(payload, reading, |reader| read(reader, settings))
}

/// Judges the members of a payload.
pub fn read(reader: &mut Reader<'_>, settings: &Map<String, Value>) {
    reader.only(&KEYS);
    if !reader.has("to") {
        reader.problem(&["to"], "is required");
    }
    if !reader.has(FROM) && !settings.contains_key(FROM) {
        reader.problem(&[FROM], "is required, unless the integration has a setting 'from'");
    }
    if !reader.has("text") && !reader.has("html") {
        reader.problem(&["text"], "is required, unless html is given");
    }
    if !reader.has("text") && !reader.has("subject") {
        reader.problem(&["subject"], "is required, unless text is given, whose first line it then is");
    }
    if reader.said("subject", MAX_SUBJECT_CHARS).is_some_and(|subject| subject.contains(['\r', '\n'])) {
        reader.problem(&["subject"], "must be one line");
    }
    for key in ["text", "html"] {
        reader.said(key, MAX_BODY_CHARS);
    }
    for key in [FROM, "reply_to"] {
        if let Some(problem) = reader.text(key).and_then(|text| parsed(text).err()) {
            reader.problem(&[key], problem);
        }
    }
    for key in ["to", "cc", "bcc"] {
        read_people(reader, key);
    }
}

/// One address, or a list of them.
fn read_people(reader: &mut Reader<'_>, key: &str) {
    let Some(value) = reader.get(key) else { return };
    if let Some(text) = value.as_str() {
        if let Err(problem) = parsed(text) {
            reader.problem(&[key], problem);
        }
        return;
    }
    let is_empty = value.as_array().is_some_and(|items| items.iter().all(Value::is_null));
    if is_empty && key == "to" {
        reader.problem(&[key], "must name somebody");
    }
    for (place, item) in reader.list(key, MAX_PEOPLE) {
        let problem = match item.as_str() {
            Some(text) => parsed(text).err(),
            None => Some(format!("must be a text, is {}", kind(item))),
        };
        if let Some(problem) = problem {
            reader.problem(&[key, &place], problem);
        }
    }
}

fn parsed(text: &str) -> Result<Mailbox, String> {
    text.trim().parse().map_err(|_| format!("'{text}' is no address such as name@host or Name <name@host>"))
}

impl Letter {
    /// The e-mail that a message says, which was read without problems.
    pub fn of(message: &Map<String, Value>, connection: &Connection) -> Result<Self, Failure> {
        let wrong = |key: &str, problem: String| invalid(&[Problem::new(format!("/{key}"), problem)]);
        let said = |key: &str| message.get(key).and_then(Value::as_str);
        let one = |key: &str, text: &str| parsed(text).map_err(|problem| wrong(key, problem));
        let people = |key: &str| -> Result<Vec<Mailbox>, Failure> {
            let value = message.get(key).unwrap_or(&Value::Null);
            let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            items.iter().filter_map(Value::as_str).map(|text| one(key, text)).collect()
        };
        let from = super::text(message, connection, FROM).unwrap_or_default();
        let text = said("text");
        let first = || text.unwrap_or_default().trim().lines().next().unwrap_or_default();
        let subject = said("subject").unwrap_or_else(first).chars().take(MAX_SUBJECT_CHARS).collect();
        Ok(Self {
            from: one(FROM, from)?,
            to: people("to")?,
            cc: people("cc")?,
            bcc: people("bcc")?,
            reply_to: said("reply_to").map(|text| one("reply_to", text)).transpose()?,
            subject,
            text: text.map(str::to_owned),
            html: said("html").map(str::to_owned),
        })
    }

    /// How many get it.
    pub fn recipients(&self) -> usize {
        self.to.len() + self.cc.len() + self.bcc.len()
    }
}
