//! The inbox of a user on this server.
//!
//! It can tell a repetition: an execution has one notification, however many attempts it takes.

use std::time::{SystemTime, UNIX_EPOCH};

use core314_actors::ports::StoreError;
use core314_actors::ports::executor::Attempt;
use core314_actors::ports::notifications::{Cause, Inbox, Notification};
use core314_actors::recipients::Told;
use core314_domain::escalation::Recipient;
use core314_domain::ids::{NotificationId, Owner, RowId, UserId};
use core314_domain::log::Failure;
use core314_domain::plan::Problem;
use core314_domain::words::{NotificationType, Severity};
use serde_json::{Map, Value, json};

use super::Reach;
use crate::executors::client::invalid;
use crate::executors::failure::Code;
use crate::executors::payload::{Reader, Reading, kind as kind_of};

const KEYS: [&str; 10] =
    ["title", "message", "type", "severity", "action_url", "user_id", "recipients", "onward", "metadata", "rule_id"];
const MAX_RECIPIENTS: usize = 50;
pub const MAX_TITLE_CHARS: usize = 200;
pub const MAX_MESSAGE_CHARS: usize = 10_000;
const MAX_URL_CHARS: usize = 2_000;
/// As JSON.
const MAX_METADATA_BYTES: usize = 16_384;

/// What a payload says.
#[derive(Debug, PartialEq)]
pub struct Draft {
    title: String,
    message: String,
    kind: NotificationType,
    severity: Severity,
    action_url: Option<String>,
    user: Option<UserId>,
    /// Whoever these are at the moment of sending; empty: the user.
    recipients: Vec<String>,
    /// Whether it also goes on by the ways in which its users want to be told.
    is_onward: bool,
    metadata: Map<String, Value>,
    /// The rule in whose name it is sent.
    rule: Option<RowId>,
}

/// Reads a payload; `None` when it is right as far as can be seen before it is rendered.
pub fn read(payload: &Value, reading: Reading) -> Result<Option<Draft>, Vec<Problem>> {
    let mut reader = match Reader::new(payload, reading) {
        Ok(reader) => reader,
        Err(problems) if problems.is_empty() => return Ok(None),
        Err(problems) => return Err(problems),
    };
    reader.only(&KEYS);
    for key in ["title", "message"] {
        if !reader.has(key) {
            reader.problem(&[key], "is required");
        }
    }
    let title = reader.said("title", MAX_TITLE_CHARS).map(str::to_owned);
    let message = reader.said("message", MAX_MESSAGE_CHARS).map(str::to_owned);
    let kind = parsed(&mut reader, "type").unwrap_or(NotificationType::Notify);
    let severity = parsed(&mut reader, "severity").unwrap_or(kind.default_severity());
    let action_url = link(&mut reader);
    let user: Option<UserId> = parsed(&mut reader, "user_id");
    if user.is_some_and(|user| user.0.is_nil()) {
        reader.problem(&["user_id"], "must not be the nil UUID");
    }
    let recipients = read_recipients(&mut reader);
    let is_onward = reader.flag("onward").unwrap_or(true);
    let metadata = read_metadata(&mut reader);
    let rule = parsed(&mut reader, "rule_id");
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    Ok(title.zip(message).map(|(title, message)| Draft {
        title,
        message,
        kind,
        severity,
        action_url,
        user,
        recipients,
        is_onward,
        metadata,
        rule,
    }))
}

/// A member that is one of a set of words, or an id.
pub fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(reader: &mut Reader<'_>, key: &str) -> Option<T> {
    reader.text(key)?.parse().map_err(|error: T::Err| reader.problem(&[key], error.to_string())).ok()
}

/// Where a message leads.
pub fn link(reader: &mut Reader<'_>) -> Option<String> {
    let link = reader.said("action_url", MAX_URL_CHARS).map(str::to_owned);
    if link.as_deref().is_some_and(|url| !leads_somewhere(url)) {
        reader.problem(&["action_url"], "must be an http or https URL, or a path of this server that begins with /");
    }
    link
}

/// A link that a person may follow: nothing that a browser would run.
fn leads_somewhere(url: &str) -> bool {
    let is_path = url.starts_with('/') && !url.starts_with("//") && !url.contains(['\\', '\n', '\r', '\t']);
    is_path || reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

fn read_recipients(reader: &mut Reader<'_>) -> Vec<String> {
    if reader.has("recipients") && reader.has("user_id") {
        reader.problem(&["user_id"], "has no meaning beside recipients: name user:ID there");
    }
    let mut found = Vec::new();
    for (place, item) in reader.list("recipients", MAX_RECIPIENTS) {
        match item.as_str() {
            Some(text) => {
                if let Err(problem) = text.parse::<Recipient>() {
                    reader.problem(&["recipients", &place], problem);
                }
                found.push(text.to_owned());
            }
            None => reader.problem(&["recipients", &place], format!("must be a text, is {}", kind_of(item))),
        }
    }
    let is_empty = |list: &Vec<Value>| list.iter().all(Value::is_null);
    if reader.get("recipients").and_then(Value::as_array).is_some_and(is_empty) {
        reader.problem(&["recipients"], "must name somebody");
    }
    found
}

fn read_metadata(reader: &mut Reader<'_>) -> Map<String, Value> {
    let Some(metadata) = reader.object("metadata") else { return Map::new() };
    let text = Value::Object(metadata.clone()).to_string();
    if text.len() > MAX_METADATA_BYTES {
        let message = format!("has {} bytes as JSON, at most {MAX_METADATA_BYTES} are possible", text.len());
        reader.problem(&["metadata"], message);
    }
    if text.contains("\\u0000") {
        reader.problem(&["metadata"], "must not contain the NUL character");
    }
    metadata.clone()
}

/// Delivers what an attempt's payload says, to the run's user or to others of its organization.
pub async fn deliver(inbox: &dyn Inbox, reach: &Reach, attempt: &Attempt) -> Result<Value, Failure> {
    let draft = read(&attempt.payload, Reading::Rendered).map_err(|problems| invalid(&problems))?;
    let draft = draft.expect("a rendered payload without problems has a title and a message");
    let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    if draft.recipients.is_empty() {
        let owner = recipient(attempt.owner, draft.user)?;
        return deliver_to(inbox, attempt, &draft, owner, at_ms).await;
    }
    let directory = reach.directory.as_ref().ok_or_else(|| unreached("this server knows no recipients"))?;
    let told = directory.who(attempt.owner, &draft.recipients, at_ms).await.map_err(|error| not_stored(&error))?;
    let (mut delivered, mut not_told) = (Vec::new(), Vec::new());
    for one in told {
        match one {
            Told::User { user, of, .. } => {
                let owner = Owner { user, ..attempt.owner };
                let mut output = deliver_to(inbox, attempt, &draft, owner, at_ms).await?;
                output["recipient"] = json!(of);
                output["user_id"] = json!(user);
                delivered.push(output);
            }
            Told::Nobody { of, why } => not_told.push(json!({"recipient": of, "why": why})),
        }
    }
    if delivered.is_empty() {
        let why = not_told.first().map(|one| format!("{}: {}", one["recipient"], one["why"])).unwrap_or_default();
        return Err(unreached(&format!("nobody is told: {why}")));
    }
    Ok(json!({"delivered": delivered, "not_told": not_told}))
}

async fn deliver_to(
    inbox: &dyn Inbox,
    attempt: &Attempt,
    draft: &Draft,
    owner: Owner,
    at_ms: i64,
) -> Result<Value, Failure> {
    let notification = Notification {
        id: NotificationId::new(at_ms, rand::random()),
        owner,
        cause: Cause::Execution(attempt.execution),
        rule: draft.rule,
        kind: draft.kind,
        severity: draft.severity,
        title: draft.title.clone(),
        message: draft.message.clone(),
        action_url: draft.action_url.clone(),
        metadata: draft.metadata.clone(),
        is_onward: draft.is_onward,
        at_ms,
    };
    let id = inbox.deliver(notification.clone()).await.map_err(|error| not_stored(&error))?;
    let mut output = json!({"notification_id": id});
    if draft.is_onward {
        let sent = inbox.send_on(notification, id).await.map_err(|error| not_stored(&error))?;
        if !sent.is_empty() {
            output["sent_on"] = json!(sent);
        }
    }
    Ok(output)
}

pub fn not_stored(error: &StoreError) -> Failure {
    match error {
        StoreError::Unavailable(_) => Code::StoreUnavailable.failure(error.to_string()),
        StoreError::Refused(_) | StoreError::Corrupt(_) => Code::StoreRefused.failure(error.to_string()),
    }
}

fn unreached(why: &str) -> Failure {
    Failure::fatal(Code::NoContact.word(), why)
}

/// In whose inbox it goes. A private tenant has one user; who belongs to an organization is not known here.
fn recipient(owner: Owner, named: Option<UserId>) -> Result<Owner, Failure> {
    match named {
        Some(user) if user != owner.user && owner.organization.is_none() => {
            let message = "is not the run's own user: only runs of an organization can notify others";
            Err(invalid(&[Problem::new("/user_id", message)]))
        }
        named => Ok(Owner { user: named.unwrap_or(owner.user), ..owner }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core314_domain::ids::OrganizationId;
    use uuid::Uuid;

    fn problems(payload: &Value) -> Vec<String> {
        let problems = read(payload, Reading::Document).err().unwrap_or_default();
        problems.into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
    }

    #[test]
    fn type_and_severity_have_defaults() {
        for (payload, kind, severity) in [
            (json!({}), NotificationType::Notify, Severity::Low),
            (json!({"type": "alert"}), NotificationType::Alert, Severity::High),
            (json!({"type": "warning"}), NotificationType::Warning, Severity::Medium),
            (json!({"type": "info", "severity": "critical"}), NotificationType::Info, Severity::Critical),
        ] {
            let mut payload = payload;
            (payload["title"], payload["message"]) = (json!("t"), json!("m"));
            let draft = read(&payload, Reading::Rendered).expect("good").expect("a draft");
            assert_eq!((draft.kind, draft.severity), (kind, severity), "{payload}");
        }
    }

    #[test]
    fn mistakes_are_found_in_the_document() {
        let with = |key: &str, value: Value| {
            let mut payload = json!({"title": "t", "message": "m"});
            payload[key] = value;
            problems(&payload)
        };
        assert_eq!(problems(&json!({})), ["/title: is required", "/message: is required"]);
        assert_eq!(with("title", json!(" ")), ["/title: must not be empty"]);
        assert_eq!(with("title", json!("x".repeat(201))), ["/title: has 201 characters, at most 200 are possible"]);
        assert_eq!(with("message", json!("a\0b")), ["/message: must not contain the NUL character"]);
        assert_eq!(with("metadata", json!({"a": ["\0"]})), ["/metadata: must not contain the NUL character"]);
        assert_eq!(with("metadata", json!([])), ["/metadata: must be an object, is a list"]);
        assert_eq!(
            with("metadata", json!({"a": "x".repeat(16_384)})),
            ["/metadata: has 16392 bytes as JSON, at most 16384 are possible"]
        );
        assert_eq!(with("type", json!("fyi")), ["/type: 'fyi' is not one of: alert, notify, info, warning, error"]);
        assert_eq!(with("severity", json!("x")), ["/severity: 'x' is not one of: low, medium, high, critical"]);
        assert_eq!(with("user_id", json!(Uuid::nil())), ["/user_id: must not be the nil UUID"]);
        assert_eq!(with("user_id", json!("joe")).len(), 1);
        assert_eq!(with("user", json!("joe")).len(), 1);
        assert_eq!(with("rule_id", json!("joe")).len(), 1);
        assert_eq!(with("rule_id", json!(Uuid::from_u128(1))), [] as [String; 0]);
        assert_eq!(with("recipients", json!([])), ["/recipients: must name somebody"]);
        assert_eq!(
            with("recipients", json!(["role:admin", "on_call:primary", "{{ trigger.who }}"])),
            [] as [String; 0]
        );
        for wrong in ["joe", "role:boss", "on_call:", "user:joe"] {
            assert_eq!(with("recipients", json!([wrong])).len(), 1, "{wrong}");
        }
        assert_eq!(with("onward", json!("no")).len(), 1);
        for link in ["javascript:alert(1)", "//evil.example", "data:text/html,x", "runs/1", "/\\evil.example"] {
            assert_eq!(with("action_url", json!(link)).len(), 1, "{link}");
        }
        for link in ["/runs/1?x=y", "https://example.com/", "{{ trigger.link }}"] {
            assert_eq!(with("action_url", json!(link)), [] as [String; 0], "{link}");
        }
    }

    #[test]
    fn another_user_is_told_within_an_organization_alone() {
        let (user, other) = (UserId(Uuid::from_u128(1)), UserId(Uuid::from_u128(2)));
        let private = Owner::new(user, None);
        assert_eq!(recipient(private, None).expect("the run's user"), private);
        assert_eq!(recipient(private, Some(user)).expect("the run's user"), private);
        let failure = recipient(private, Some(other)).expect_err("somebody else's tenant");
        assert_eq!((failure.code.as_str(), failure.retryable), ("invalid_payload", false));
        let shared = Owner::new(user, Some(OrganizationId(Uuid::from_u128(3))));
        let told = recipient(shared, Some(other)).expect("a colleague");
        assert_eq!((told.tenant, told.user, told.organization), (shared.tenant, other, shared.organization));
    }
}
