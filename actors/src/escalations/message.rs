//! What people are told, and the actions that levels are made of, as single executions.

use core314_domain::document::{FlowDocument, ShapeError};
use core314_domain::escalation::{ActionDocument, LevelAction, LevelDocument, Purpose, Rule, RuleDocument, Task};
use core314_domain::expr::literal;
use core314_domain::people::{ContactKind, word_for_word};
use core314_domain::words::Urgency;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::clock::to_the_second;
use crate::engine::people::{CONTACT, KIND};
use crate::ports::escalation::StoredEscalation;
use crate::single::Single;

/// Longer texts are cut: the event has the whole.
const MESSAGE_CHARS: usize = 3_000;
/// What makes a ticket.
const TICKETS: &str = "create_task";

/// The title and the text of a message.
pub(super) fn words(rule: &Rule, escalation: &StoredEscalation, task: &Task, now_ms: i64) -> (String, String) {
    if task.purpose == Purpose::HeldBack {
        return of_held_back(rule, escalation);
    }
    let (event, context) = (&escalation.event, &escalation.context);
    let said = |name: &str| context.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let what = event.reason.as_str().replace('_', " ");
    let about = said("flow_name").or(said("action_type")).unwrap_or(&event.subject);
    let service = of_service(escalation, task, now_ms);
    let lead = match task.purpose {
        Purpose::SlaWarning | Purpose::SlaBreach => service.as_ref().map_or("", |(lead, _)| lead.as_str()),
        Purpose::Repeat => "Still open: ",
        Purpose::Level | Purpose::FixFirst | Purpose::Remediation | Purpose::FollowUp | Purpose::HeldBack => "",
    };
    let title: String = format!("{lead}{what}: {about}").chars().take(200).collect();
    // What belongs to no level, as a service time, says which was reached.
    let level = if task.level == 0 { event.level } else { task.level };
    let level = if level == 0 { String::new() } else { format!(", level {level}") };
    let mut lines = vec![format!("{title} (rule {}{level}).", rule.document.rule_name)];
    lines.extend(service.map(|(_, line)| line));
    lines.extend(said("step_id").map(|step| format!("Step: {step}.")));
    lines.extend(said("error").or(said("escalation_reason")).map(|error| format!("Error: {error}")));
    if event.count > 1 {
        lines.push(format!("It stands for {} failures.", event.count));
    }
    if event.held_back > 0 {
        lines.push(format!("{} held back.", failures_were(event.held_back)));
    }
    lines.extend(escalation.run.map(|run| format!("Run: {run}.")));
    lines.push(format!("Escalation: {}.", escalation.id));
    (title, lines.join("\n").chars().take(MESSAGE_CHARS).collect())
}

/// What is said of failures that the rule has held back, where no other message says so.
fn of_held_back(rule: &Rule, escalation: &StoredEscalation) -> (String, String) {
    let were = failures_were(escalation.event.bundled);
    let title = format!("{were} held back");
    let text = format!(
        "{title} since the last message of the rule {}.\nEscalation: {}.",
        rule.document.rule_name, escalation.id
    );
    (title, text)
}

fn failures_were(count: u64) -> String {
    if count == 1 { "1 failure was".to_owned() } else { format!("{count} failures were") }
}

/// What is said of a service time: the beginning of the title, and a line with the deadline.
fn of_service(escalation: &StoredEscalation, task: &Task, now_ms: i64) -> Option<(String, String)> {
    let (response, resolution) = escalation.deadlines;
    // The round of such a task says which clock it is about.
    let (clock, deadline_ms) = if task.round == 0 { ("Response", response?) } else { ("Resolution", resolution?) };
    let at = to_the_second(deadline_ms);
    match task.purpose {
        Purpose::SlaWarning => {
            let left = left(deadline_ms - now_ms);
            Some((format!("{clock} due in {left}: "), format!("{clock} due in {left}, at {at}.")))
        }
        Purpose::SlaBreach => Some((format!("{clock} overdue: "), format!("{clock} was due at {at}."))),
        Purpose::Level
        | Purpose::Repeat
        | Purpose::FixFirst
        | Purpose::Remediation
        | Purpose::FollowUp
        | Purpose::HeldBack => None,
    }
}

/// A time as it is said, in the largest unit of which there are two, to the nearest.
fn left(ms: i64) -> String {
    let (unit_ms, unit) = match ms {
        ..120_000 => (1_000, "s"),
        120_000..7_200_000 => (60_000, "min"),
        7_200_000..172_800_000 => (3_600_000, "h"),
        _ => (86_400_000, "days"),
    };
    format!("{} {unit}", (ms.max(0) + unit_ms / 2) / unit_ms)
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
    let (name, urgency, insists) = ("escalation", Urgency::Critical, LevelAction::names_message(action_type));
    Single { name, action_type, target, payload, urgency, at_ms: None, insists }.document()
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
    use core314_domain::escalation::{ChannelDocument, What};
    use core314_domain::ids::RowId;

    use super::super::remedies::tests::stored_of;
    use super::*;

    #[test]
    fn a_notice_of_a_service_time_says_which_and_how_much_is_left() {
        let document = RuleDocument::from_value(json!({
            "rule_name": "sla", "sla_enabled": true, "sla_response_time_minutes": 30, "sla_resolution_time_minutes": 240,
            "escalation_levels": [{"level": 1, "delay_minutes": 60, "actions": ["notify_user"]}],
        }));
        let rule = Rule::compile(RowId(Uuid::from_u128(2)), document.expect("a document")).expect("a rule");
        let escalation = stored_of(&rule);
        let told = |purpose: Purpose, clock: u32, minute: i64| {
            let channel = ChannelDocument { channel: "in_app".to_owned(), payload: Map::new() };
            let what = What::Notify { channel, recipients: Vec::new(), is_page: false };
            let task = Task { purpose, level: 0, round: clock, place: 0, what };
            let (title, text) = words(&rule, &escalation, &task, minute * 60_000 + 20);
            text.lines().take(2).map(str::to_owned).chain([title]).collect::<Vec<_>>()
        };
        assert_eq!(
            told(Purpose::SlaWarning, 0, 27),
            [
                "Response due in 3 min: run failed: subject (rule sla).",
                "Response due in 3 min, at 1970-01-01T00:30:00Z.",
                "Response due in 3 min: run failed: subject",
            ]
        );
        assert_eq!(told(Purpose::SlaWarning, 1, 27)[1], "Resolution due in 4 h, at 1970-01-01T04:00:00Z.");
        assert_eq!(told(Purpose::SlaBreach, 0, 31)[1], "Response was due at 1970-01-01T00:30:00Z.");
        assert_eq!(left(-5), "0 s");
        assert_eq!(left(119_400), "119 s");
        assert_eq!(left(172_800_000), "2 days");
    }

    #[test]
    fn messages_are_tried_for_longer_than_what_is_done() {
        let attempts = |action_type: &str| {
            let document = single(action_type, "target", &json!({})).expect("a document");
            document.retry_policy.max_attempts
        };
        assert!(attempts("send_notification") > attempts("api_call"));
        assert_eq!(attempts(TICKETS), attempts("api_call"));
    }

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
