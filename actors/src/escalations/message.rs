//! What people are told, and the actions that levels are made of, as single executions.

use core314_domain::document::{FlowDocument, ShapeError};
use core314_domain::escalation::{ActionDocument, LevelAction, LevelDocument, Purpose, Rule, RuleDocument};
use core314_domain::expr::literal;
use core314_domain::people::{ContactKind, word_for_word};
use core314_domain::words::Urgency;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::engine::people::{CONTACT, KIND};
use crate::ports::escalation::StoredEscalation;
use crate::single::Single;

/// Longer texts are cut: the event has the whole.
const MESSAGE_CHARS: usize = 3_000;
/// What makes a ticket.
const TICKETS: &str = "create_task";

/// The title and the text of a message.
pub(super) fn words(rule: &Rule, escalation: &StoredEscalation, purpose: Purpose, level: u32) -> (String, String) {
    let (event, context) = (&escalation.event, &escalation.context);
    let said = |name: &str| context.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let what = event.reason.as_str().replace('_', " ");
    let about = said("flow_name").or(said("action_type")).unwrap_or(&event.subject);
    let lead = match purpose {
        Purpose::SlaWarning => "Service time nearly over: ",
        Purpose::SlaBreach => "Service time exceeded: ",
        Purpose::Repeat => "Still open: ",
        Purpose::Level | Purpose::FixFirst | Purpose::Remediation | Purpose::FollowUp => "",
    };
    let title: String = format!("{lead}{what}: {about}").chars().take(200).collect();
    let mut lines = vec![format!("{title} (rule {}, level {}).", rule.document.rule_name, level.max(1))];
    lines.extend(said("step_id").map(|step| format!("Step: {step}.")));
    lines.extend(said("error").or(said("escalation_reason")).map(|error| format!("Error: {error}")));
    if event.count > 1 {
        lines.push(format!("It stands for {} failures.", event.count));
    }
    if event.held_back > 0 {
        lines.push(format!("{} failures before it were held back.", event.held_back));
    }
    lines.extend(escalation.run.map(|run| format!("Run: {run}.")));
    lines.push(format!("Escalation: {}.", escalation.id));
    (title, lines.join("\n").chars().take(MESSAGE_CHARS).collect())
}

/// The payload of `send_notification` for a channel, which is a word or the name of an integration of this kind: what the
/// channel needs, and the message where it names none itself. What has failed cannot write the message: nothing in it is a
/// template, nor markup of the chat.
pub(super) fn payload(
    channel: &str,
    kind: &str,
    own: &Map<String, Value>,
    title: &str,
    message: &str,
) -> Map<String, Value> {
    let [title, message] = [title, message].map(|text| literal(&word_for_word(kind, text)));
    let mut payload = own.clone();
    let mut default = |name: &str, value: Value| {
        payload.entry(name.to_owned()).or_insert(value);
    };
    match channel {
        "in_app" | "system" => {
            default("title", title.into());
            default("message", message.into());
            default("type", "alert".into());
        }
        "teams" => {
            default("title", title.into());
            default("text", message.into());
        }
        _ => default("text", message.into()),
    }
    payload
}

/// The kind of contact method by which a channel reaches those who are named, where it does: it names no address itself.
pub(super) fn personal(channel: &str, own: &Map<String, Value>, recipients: &[String]) -> Option<ContactKind> {
    let kind = match channel {
        "email" => ContactKind::Email,
        "sms" => ContactKind::Sms,
        _ => return None,
    };
    (!recipients.is_empty() && !own.contains_key("to")).then_some(kind)
}

/// A message to somebody who may exist, so that executors can look at the way to them when a rule is saved.
fn sample(kind: ContactKind) -> Value {
    json!({CONTACT: Uuid::nil(), KIND: kind, "title": "title", "message": "message"})
}

/// The payload of a ticket: what it has itself, and the message where it says none.
pub(super) fn ticket(own: &Map<String, Value>, title: &str, message: &str) -> Map<String, Value> {
    let mut payload = own.clone();
    payload.entry("title").or_insert(title.into());
    payload.entry("description").or_insert(message.into());
    payload
}

/// A single action as a flow of one step.
pub(super) fn single(action_type: &str, target: &str, payload: &Value) -> Result<FlowDocument, ShapeError> {
    single_at(action_type, target, payload, None)
}

/// The same, not before an instant.
pub(super) fn single_at(
    action_type: &str,
    target: &str,
    payload: &Value,
    at_ms: Option<i64>,
) -> Result<FlowDocument, ShapeError> {
    Single { name: "escalation", action_type, target, payload, urgency: Urgency::Critical, at_ms }.document()
}

/// The action type that a level's action is performed by; `None` where the runtime does it itself.
pub(super) fn action_type(action: &str) -> Option<&str> {
    match action.parse::<LevelAction>() {
        Ok(LevelAction::CreateTicket) => Some(TICKETS),
        Ok(_) => None,
        Err(_) => Some(action),
    }
}

/// Every action of a rule, with its place.
pub fn rule_actions(document: &RuleDocument) -> Vec<(String, &ActionDocument)> {
    let mut actions = Vec::new();
    for (no, level) in document.escalation_levels.iter().enumerate() {
        let at = format!("/escalation_levels/{no}");
        actions.extend(level.actions.iter().enumerate().map(|(n, action)| (format!("{at}/actions/{n}"), action)));
        actions.extend(level.remediation.iter().map(|fix| (format!("{at}/remediation/action"), &fix.action)));
    }
    for (at, list) in
        [("/remediation_actions", &document.remediation_actions), ("/sla_breach_actions", &document.sla_breach_actions)]
    {
        actions.extend(list.iter().enumerate().map(|(n, action)| (format!("{at}/{n}"), action)));
    }
    actions
}

/// Every action and channel of a rule as a single execution, with its place, so that executors can look at what they will be
/// given when the rule is saved.
pub fn level_action_types(document: &RuleDocument) -> Vec<(String, Result<FlowDocument, ShapeError>)> {
    let mut found = Vec::new();
    let mut channels = Vec::new();
    let levels = &document.escalation_levels;
    let names = |level: &LevelDocument| !level.recipients.is_empty();
    let first = levels.first().filter(|_| levels.iter().all(names));
    let everybody: &[String] = first.map_or(&[], |level| &level.recipients);
    for (no, level) in levels.iter().enumerate() {
        let (at, recipients) = (format!("/escalation_levels/{no}/notify_channels"), level.recipients.as_slice());
        channels.extend(level.notify_channels.iter().enumerate().map(|(n, c)| (format!("{at}/{n}"), c, recipients)));
    }
    channels.extend(
        document
            .notification_channels
            .iter()
            .enumerate()
            .map(|(n, c)| (format!("/notification_channels/{n}"), c, everybody)),
    );
    for (at, action) in rule_actions(document) {
        if let Some(action_type) = action_type(&action.action) {
            let target = action.target.as_deref().unwrap_or_default();
            let is_ticket = action.action == LevelAction::CreateTicket.as_str();
            let own = &action.payload;
            let payload = if is_ticket { ticket(own, "title", "message") } else { own.clone() };
            found.push((at, single(action_type, target, &Value::Object(payload))));
        }
    }
    for (at, channel, recipients) in channels {
        let word = &channel.channel;
        let given = match personal(word, &channel.payload, recipients) {
            Some(kind) => sample(kind),
            None => Value::Object(payload(word, word, &channel.payload, "title", "message")),
        };
        found.push((at, single("send_notification", word, &given)));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_failed_writes_no_markup_into_a_chat() {
        let said = "<!channel> <https://evil.example|sign in> [sign in](https://evil.example) {{ secrets.BOT }}";
        let text = |channel: &str, kind: &str| payload(channel, kind, &Map::new(), "title", said)["text"].to_string();
        for channel in ["slack", "our-chat"] {
            let slack = text(channel, "slack");
            assert!(slack.contains("&lt;!channel&gt;") && !slack.contains('<'), "{slack}");
        }
        assert!(!text("teams", "teams").contains("]("));
        assert!(text("pager", "pagerduty").contains("<!channel>"), "no chat: it is shown as it is");
        // What the rule itself says is its author's.
        let own = Map::from_iter([("text".to_owned(), json!("<!here> {{ trigger.subject }}"))]);
        assert_eq!(payload("slack", "slack", &own, "title", said)["text"], own["text"]);
    }
}
