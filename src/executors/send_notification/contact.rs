//! A person, by one of their contact methods.
//!
//! A payload names the contact method, and not its address: that is looked up at the moment of sending, so that whoever has
//! changed or removed it meanwhile is not reached where they used to be, and so that no address stands in a queue or a log.
//! The same holds for codes that prove an address, and for links that act in a person's name.
//!
//! The message goes through the integration that `action_target` names, as if its payload had been written for it.

use std::sync::Arc;

use core314_actors::engine::people::{CODE, CONTACT, DIGEST_SINCE, DIGEST_UNTIL, KIND};
use core314_actors::escalations::{ABOUT_ESCALATION, AckLinks};
use core314_actors::integrations::cleared;
use core314_actors::ports::StoreError;
use core314_actors::ports::executor::{Attempt, Performed};
use core314_actors::ports::notifications::{Inbox, Unread};
use core314_actors::ports::people::{Codes, ContactMethod, PeopleBook};
use core314_actors::recipients::{self, Directory};
use core314_domain::ids::{NotificationId, RowId};
use core314_domain::log::Failure;
use core314_domain::people::{ButtonVerb, ContactKind, SIGNING_SECRET, When, word_for_word};
use core314_domain::plan::Problem;
use core314_domain::secret::Secrets;
use core314_domain::words::Severity;
use serde_json::{Value, json};

use super::in_app::{MAX_MESSAGE_CHARS, MAX_TITLE_CHARS, link, not_stored, parsed};
use super::slack_api::{self, MAX_BLOCK_CHARS};
use crate::executors::client::invalid;
use crate::executors::failure::Code;
use crate::executors::payload::{Reader, Reading, cut};
use crate::executors::redact::Redactor;

const KEYS: [&str; 10] =
    [CONTACT, KIND, CODE, DIGEST_SINCE, DIGEST_UNTIL, "title", "message", "severity", "action_url", ABOUT_ESCALATION];
/// Notifications that one digest counts, and lines that it has.
const MOST_DIGESTED: usize = 1_000;
const MOST_LINES: usize = 50;
/// Longer texts cost several messages each: the inbox has the whole.
const MAX_SMS_CHARS: usize = 480;

/// Who is reached by what, and what only their messages hold.
#[derive(Clone)]
pub struct Reach {
    pub book: Arc<dyn PeopleBook>,
    /// Who is behind the names of recipients.
    pub directory: Option<Directory>,
    pub codes: Option<Arc<dyn Codes>>,
    pub links: Option<Arc<dyn AckLinks>>,
}

impl Reach {
    /// Those people; without codes and links.
    pub fn people(book: Arc<dyn PeopleBook>) -> Self {
        Self { book, directory: None, codes: None, links: None }
    }
}

/// What a payload says.
#[derive(Debug)]
pub struct Draft {
    contact: RowId,
    kind: ContactKind,
    says: Says,
}

#[derive(Debug)]
enum Says {
    /// The code of this number.
    Code(i64),
    /// What was not read of what came between these, and is for a digest.
    Digest {
        since_ms: i64,
        until_ms: i64,
    },
    Message(Message),
}

#[derive(Debug, Default)]
struct Message {
    title: String,
    text: String,
    severity: Option<Severity>,
    link: Option<String>,
    /// The escalation that it is about.
    escalation: Option<RowId>,
    /// Whether buttons can be pressed under it.
    has_buttons: bool,
}

/// Whether a payload names a contact method.
pub fn is_named(payload: &Value) -> bool {
    payload.get(CONTACT).is_some()
}

/// Reads a payload; `None` when it is right as far as can be seen before it is rendered.
pub fn read(payload: &Value, reading: Reading) -> Result<Option<Draft>, Vec<Problem>> {
    let mut reader = match Reader::new(payload, reading) {
        Ok(reader) => reader,
        Err(problems) if problems.is_empty() => return Ok(None),
        Err(problems) => return Err(problems),
    };
    reader.only(&KEYS);
    let contact: Option<RowId> = parsed(&mut reader, CONTACT);
    let kind: Option<ContactKind> = parsed(&mut reader, KIND);
    for key in [CONTACT, KIND] {
        if !reader.has(key) {
            reader.problem(&[key], "is required");
        }
    }
    let no = number(&mut reader, CODE);
    let digest = number(&mut reader, DIGEST_SINCE).zip(number(&mut reader, DIGEST_UNTIL));
    for key in ["title", "message"] {
        if no.is_none() && digest.is_none() && !reader.has(key) {
            reader.problem(&[key], "is required");
        }
    }
    let title = reader.said("title", MAX_TITLE_CHARS).map(str::to_owned);
    let text = reader.said("message", MAX_MESSAGE_CHARS).map(str::to_owned);
    let severity = parsed(&mut reader, "severity");
    let link = link(&mut reader);
    let escalation = parsed(&mut reader, ABOUT_ESCALATION);
    if !reader.problems.is_empty() {
        return Err(reader.problems);
    }
    let message =
        title.zip(text).map(|(title, text)| Message { title, text, severity, link, escalation, has_buttons: false });
    let digest = digest.map(|(since_ms, until_ms)| Says::Digest { since_ms, until_ms });
    let says = no.map(Says::Code).or(digest).or(message.map(Says::Message));
    Ok(contact.zip(kind).zip(says).map(|((contact, kind), says)| Draft { contact, kind, says }))
}

/// A member that is a whole number.
fn number(reader: &mut Reader<'_>, key: &str) -> Option<i64> {
    let value = reader.get(key)?;
    if value.as_i64().is_none() {
        reader.problem(&[key], "must be a whole number");
    }
    value.as_i64()
}

impl Draft {
    /// A payload of the same kind, for somebody who may exist: what is wrong with it is wrong with every one of its like.
    pub fn sample(&self) -> Value {
        let address = match self.kind {
            ContactKind::Email => "name@example.com",
            ContactKind::Sms => "+12025550123",
            ContactKind::Slack => "U012AB3CD",
            ContactKind::Webhook => "https://example.com/",
        };
        let message = Message { title: "title".to_owned(), text: "message".to_owned(), ..Message::default() };
        payload(self.kind, address, &message)
    }

    /// Why an integration of this kind, or this target, cannot reach a person so.
    pub fn unfit(&self, word: &str, has_bot: bool) -> Option<Problem> {
        let (fits, needs) = match self.kind {
            ContactKind::Email => {
                (["smtp", "sendgrid", "email"].contains(&word), "an integration of the kind smtp or sendgrid")
            }
            ContactKind::Sms => (["twilio", "sms"].contains(&word), "an integration of the kind twilio"),
            ContactKind::Slack => (word == "slack" && has_bot, "an integration of the kind slack with a bot_token"),
            ContactKind::Webhook => (word == "webhook", "the target webhook"),
        };
        let message =
            || format!("a person is reached by {} through {needs}, which may be called {}", self.kind, self.kind);
        (!fits).then(|| Problem::new("", message()))
    }
}

/// The attempt as it is made, with the address, and what of it must not be shown; `None` where there is nothing to tell.
pub async fn addressed(reach: &Reach, inbox: &dyn Inbox, attempt: &Attempt) -> Result<Option<Attempt>, Failure> {
    let draft = read(&attempt.payload, Reading::Rendered).map_err(|problems| invalid(&problems))?;
    let draft = draft.expect("a rendered payload without problems says what is sent, and to whom");
    let found = reach.book.contact(attempt.owner.tenant, draft.contact).await;
    let contact = found.map_err(|error| not_stored(&error))?.ok_or_else(|| none("the contact method was removed"))?;
    if contact.kind != draft.kind {
        return Err(none("the contact method is of another kind"));
    }
    if contact.verified_ms.is_none() && !matches!(draft.says, Says::Code(_)) {
        return Err(none("the contact method is not verified"));
    }
    let mut secrets = Secrets::clone(&attempt.secrets);
    hide(&mut secrets, &contact.address);
    let message = match draft.says {
        Says::Code(no) => code_message(reach, &contact, no, &mut secrets)?,
        Says::Message(message) => {
            let connection = attempt.connection.as_deref();
            let has_buttons = connection.is_some_and(|of| of.credential(SIGNING_SECRET).is_some());
            linked(reach, &contact, Message { has_buttons, ..message }, &mut secrets)
        }
        Says::Digest { since_ms, until_ms } => {
            match digest(reach, inbox, &contact, (since_ms, until_ms)).await.map_err(|error| not_stored(&error))? {
                Some(message) => message,
                None => return Ok(None),
            }
        }
    };
    let payload = Arc::new(payload(contact.kind, &contact.address, &message));
    Ok(Some(Attempt { payload, secrets: Arc::new(secrets), ..attempt.clone() }))
}

/// An address, and how others write it back: servers in lower case, providers without a plus, URLs as they are parsed.
fn hide(secrets: &mut Secrets, address: &str) {
    secrets.add(address);
    secrets.add(&address.to_lowercase());
    if let Some((local, domain)) = address.rsplit_once('@') {
        secrets.add(&format!("{local}@{}", domain.to_lowercase()));
    }
    if let Some(digits) = address.strip_prefix('+') {
        secrets.add(digits);
    }
    if let Ok(url) = reqwest::Url::parse(address) {
        secrets.add(url.as_str());
    }
}

fn none(why: &str) -> Failure {
    Failure::fatal(Code::NoContact.word(), why)
}

/// What of a stretch of time is for a digest, as its person wants it now, and was not read; `None` where nothing is.
async fn digest(
    reach: &Reach,
    inbox: &dyn Inbox,
    contact: &ContactMethod,
    (since_ms, until_ms): (i64, i64),
) -> Result<Option<Message>, StoreError> {
    let owner = contact.owner;
    let preferences = recipients::preferences(reach.book.as_ref(), owner.tenant, owner.user).await?;
    let is_for_digest = |it: &Unread| {
        let wish = preferences.wish(it.kind, it.severity, it.at_ms);
        wish.is_some_and(|wish| matches!(wish.when, When::Digest { .. }) && wish.wants(contact.kind))
    };
    let mut after = NotificationId::new(since_ms, 0);
    let mut found: Vec<Unread> = Vec::new();
    // What is not for a digest must not keep out what stands behind it.
    while found.len() < MOST_DIGESTED {
        let portion = inbox.unread_of(owner.into(), after, until_ms, MOST_DIGESTED).await?;
        let Some(last) = portion.last() else { break };
        after = last.id;
        found.extend(portion.into_iter().filter(is_for_digest));
    }
    let is_full = found.len() >= MOST_DIGESTED;
    let Some(severity) = found.iter().map(|it| it.severity).max() else { return Ok(None) };
    let more = if is_full { " or more" } else { "" };
    let title = match found.len() {
        1 => "1 notification".to_owned(),
        many => format!("{many}{more} notifications"),
    };
    let mut lines: Vec<String> =
        found.iter().take(MOST_LINES).map(|it| format!("- [{}] {}", it.severity, it.title)).collect();
    if found.len() > MOST_LINES {
        lines.push(format!("and {} more: your inbox has them all", found.len() - MOST_LINES));
    }
    Ok(Some(Message { title, text: lines.join("\n"), severity: Some(severity), ..Message::default() }))
}

/// What is kept of it: the payload as it may be shown, and nothing of the person.
pub fn kept(performed: Performed, attempt: &Attempt, secrets: &Secrets) -> Performed {
    cleared(performed, Redactor::of(attempt).logged_payload(), secrets)
}

fn code_message(reach: &Reach, contact: &ContactMethod, no: i64, secrets: &mut Secrets) -> Result<Message, Failure> {
    if contact.verified_ms.is_some() || contact.code.no != no {
        return Err(none("another code was sent since, or none is wanted any more"));
    }
    let codes = reach.codes.as_ref().ok_or_else(|| none("this server makes no codes"))?;
    let (code, link) = (codes.code(contact.proof()), codes.link(contact.proof()));
    secrets.add(&code);
    secrets.add(&link);
    let text = format!(
        "{code} proves that this address is yours. Give it to whoever asked you for it in Core314, and to nobody else. \
         If you have asked for nothing, ignore this message."
    );
    Ok(Message { title: format!("Your Core314 code: {code}"), text, link: Some(link), ..Message::default() })
}

/// With the link that acknowledges in the person's name, where the message is about an escalation.
fn linked(reach: &Reach, contact: &ContactMethod, message: Message, secrets: &mut Secrets) -> Message {
    let now_ms =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let (tenant, user) = (contact.owner.tenant, contact.owner.user);
    let links = reach.links.as_ref();
    let link = message.escalation.and_then(|id| links.and_then(|links| links.link(tenant, id, user, now_ms)));
    if let Some(link) = &link {
        secrets.add(link);
    }
    Message { link: message.link.or(link), ..message }
}

/// The payload of the channel.
fn payload(kind: ContactKind, address: &str, message: &Message) -> Value {
    // A path of a server without a public address leads nowhere from outside.
    let link = message.link.as_deref().filter(|link| !link.starts_with('/'));
    let Message { title, text, severity, .. } = message;
    match kind {
        ContactKind::Email => {
            let body = link.map_or_else(|| text.clone(), |link| format!("{text}\n\n{link}"));
            let subject: String = title.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            json!({"to": address, "subject": subject, "text": body})
        }
        ContactKind::Sms => {
            let link = link.map(|link| format!("\n{link}")).unwrap_or_default();
            let room = MAX_SMS_CHARS.saturating_sub(link.chars().count());
            json!({"to": address, "text": format!("{}{link}", cut(&format!("{title}\n{text}"), room))})
        }
        ContactKind::Slack => slack(address, message, link),
        ContactKind::Webhook => {
            json!({"url": address, "title": title, "message": text, "severity": severity, "action_url": link,
                "escalation_event_id": message.escalation})
        }
    }
}

fn slack(address: &str, message: &Message, link: Option<&str>) -> Value {
    let Message { title, text, .. } = message;
    let words = cut(&format!("{title}\n{text}"), MAX_BLOCK_CHARS);
    let mut blocks = vec![json!({"type": "section", "text": {"type": "plain_text", "text": words, "emoji": false}})];
    blocks.extend(link.map(|link| {
        let open = json!({"type": "button", "action_id": "open", "url": link,
            "text": {"type": "plain_text", "text": "Open"}});
        json!({"type": "actions", "elements": [open]})
    }));
    // Shown where blocks are not, as on a watch; there it is markup (https://docs.slack.dev/messaging/formatting-message-text).
    let fallback = word_for_word(ContactKind::Slack.as_str(), title);
    let mut payload = json!({"channel": address, "text": fallback, "blocks": blocks});
    if let Some(escalation) = message.escalation.filter(|_| message.has_buttons) {
        let buttons =
            [ButtonVerb::Acknowledge, ButtonVerb::Resolve].map(|verb| json!({"action": verb, "id": escalation}));
        payload[slack_api::BUTTONS] = json!(buttons);
    }
    payload
}

#[cfg(test)]
mod tests {
    use core314_actors::ports::notifications::{Cause, Notification};
    use core314_actors::ports::people::StoredPreferences;
    use core314_actors::testkit::memory_inbox::MemoryInbox;
    use core314_actors::testkit::memory_people::MemoryPeople;
    use core314_domain::ids::{ExecutionId, Owner, UserId};
    use core314_domain::people::CodeState;
    use core314_domain::words::NotificationType;
    use serde_json::Map;
    use uuid::Uuid;

    use super::*;

    fn problems(payload: &Value, reading: Reading) -> Vec<String> {
        let problems = read(payload, reading).err().unwrap_or_default();
        problems.into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect()
    }

    #[test]
    fn a_message_names_its_contact_method_and_has_words_or_a_code() {
        let id = Uuid::from_u128(1);
        let good = json!({CONTACT: id, KIND: "email", "title": "t", "message": "m", "severity": "high"});
        assert_eq!(problems(&good, Reading::Rendered), [] as [String; 0]);
        assert_eq!(problems(&json!({CONTACT: id, KIND: "sms", CODE: 1}), Reading::Rendered), [] as [String; 0]);
        for (payload, expected) in [
            (json!({CONTACT: "joe", KIND: "email", CODE: 1}), "/contact_method_id"),
            (json!({CONTACT: id, CODE: 1}), "/contact_kind: is required"),
            (json!({CONTACT: null, KIND: "sms", CODE: 1}), "/contact_method_id: is required"),
            (json!({CONTACT: id, KIND: "fax", CODE: 1}), "/contact_kind: 'fax' is not one of"),
            (json!({CONTACT: id, KIND: "email", CODE: "x"}), "/code_no: must be a whole number"),
            (json!({CONTACT: id, KIND: "email", "message": "m"}), "/title: is required"),
            (json!({CONTACT: id, KIND: "email", CODE: 1, "to": "x"}), "/to: unknown key"),
        ] {
            let found = problems(&payload, Reading::Rendered);
            assert!(found.iter().any(|problem| problem.starts_with(expected)), "{payload}: {found:?}");
        }
    }

    #[tokio::test]
    async fn a_digest_finds_what_stands_behind_many_that_are_not_for_it() {
        let owner = Owner::new(UserId(Uuid::from_u128(1)), None);
        let people = MemoryPeople::default();
        let document =
            json!({"digest": ["08:00"], "rules": [{"types": ["info"], "send": "never"}, {"send": "digest"}]});
        let document = serde_json::from_value(document).expect("preferences");
        people.prefer(StoredPreferences { id: RowId(Uuid::nil()), owner, document, version: 1 });
        let (reach, inbox) = (Reach::people(Arc::new(people)), MemoryInbox::default());
        for no in 0..=MOST_DIGESTED {
            let at_ms = 1_000 + no as i64;
            let kind = if no < MOST_DIGESTED { NotificationType::Info } else { NotificationType::Warning };
            let notification = Notification {
                id: NotificationId::new(at_ms, 0),
                owner,
                cause: Cause::Execution(ExecutionId(Uuid::from_u128(no as u128))),
                rule: None,
                kind,
                severity: kind.default_severity(),
                title: format!("n{no}"),
                message: String::new(),
                action_url: None,
                metadata: Map::new(),
                is_onward: true,
                at_ms,
            };
            inbox.deliver(notification).await.expect("delivered");
        }
        let contact = ContactMethod {
            id: RowId(Uuid::from_u128(9)),
            owner,
            kind: ContactKind::Email,
            address: "ada@example.com".to_owned(),
            integration: None,
            verified_ms: Some(0),
            code: CodeState::default(),
            version: 1,
        };
        let message = digest(&reach, &inbox, &contact, (0, 10_000)).await.expect("read").expect("something to tell");
        assert_eq!((message.title.as_str(), message.text.as_str()), ("1 notification", "- [medium] n1000"));
        assert!(digest(&reach, &inbox, &contact, (0, 2_000)).await.expect("read").is_none());
    }

    #[test]
    fn an_address_is_hidden_as_others_write_it_back() {
        for (address, said) in [
            ("Ada@Example.com", "550 <ada@example.com>: user unknown"),
            ("Ada@Example.com", "550 <Ada@Example.com>: user unknown"),
            ("Ada@Example.com", "550 <Ada@example.com>: user unknown"),
            ("+12025550123", "no route to 12025550123"),
            ("https://Hooks.Example.com", "connecting to https://hooks.example.com/ failed"),
        ] {
            let mut secrets = Secrets::default();
            hide(&mut secrets, address);
            let shown = secrets.redact(said).to_lowercase();
            assert!(!shown.contains(&address.to_lowercase()) && !shown.contains("12025550123"), "{address}: {shown}");
        }
    }

    #[test]
    fn each_kind_is_written_to_as_its_channel_wants_it() {
        let message = Message {
            title: "Disk\nfull <web-1>".to_owned(),
            text: "x".repeat(5_000),
            link: Some("https://core.example/api/v1/ack/t".to_owned()),
            ..Message::default()
        };
        let mail = payload(ContactKind::Email, "a@b.example", &message);
        assert_eq!(mail["subject"], "Disk full <web-1>");
        assert!(mail["text"].as_str().unwrap().ends_with("\n\nhttps://core.example/api/v1/ack/t"));
        let sms = payload(ContactKind::Sms, "+12025550123", &message);
        let text = sms["text"].as_str().unwrap();
        assert!(
            text.chars().count() <= MAX_SMS_CHARS && text.ends_with("\nhttps://core.example/api/v1/ack/t"),
            "{text}"
        );
        let slack = payload(ContactKind::Slack, "U012AB3CD", &message);
        assert_eq!((&slack["channel"], &slack["text"]), (&json!("U012AB3CD"), &json!("Disk\nfull &lt;web-1&gt;")));
        assert_eq!(slack["blocks"][1]["elements"][0]["url"], "https://core.example/api/v1/ack/t");
        assert!(slack.get(slack_api::BUTTONS).is_none(), "nobody takes what is pressed");
        let id = RowId(Uuid::from_u128(1));
        let taken = Message { escalation: Some(id), has_buttons: true, ..Message::default() };
        let buttons = payload(ContactKind::Slack, "U012AB3CD", &taken)[slack_api::BUTTONS].clone();
        assert_eq!(buttons, json!([{"action": "acknowledge", "id": id}, {"action": "resolve", "id": id}]));
        let bare = Message { link: Some("/runs/1".to_owned()), ..message };
        assert_eq!(payload(ContactKind::Webhook, "https://x.example/", &bare)["action_url"], json!(null));
        assert_eq!(payload(ContactKind::Slack, "U1", &bare)["blocks"].as_array().map(Vec::len), Some(1));
    }
}
