//! Whom a flow tells: its `error_notification_channels` when a run ends badly, and a phase's `alert_channels` of each of its
//! transitions. Each is a text.
//!
//! `in_app` is the inbox of whoever the run belongs to; `user:ID`, `role:ROLE` and `on_call:NAME` are the inboxes of whoever
//! that is at the moment of sending, and the ways in which they want to be told; `slack:URL` and `teams:URL` are a chat's
//! webhook. Any other word names an integration, whose kind says what it is told. The steps that tell them are those that a
//! flow would have: [`crate::document`] with `send_notification` and `trigger_webhook`.

use serde_json::{Value, json};

use super::{FlowDocument, ShapeError};
use crate::escalation::Recipient;
use crate::integration::name_problem;
use crate::people::{ContactKind, word_for_word_of};
use crate::plan::Problem;
use crate::words::{OnErrorAction, Severity, TriggerType};

/// Channels that are told at once.
pub const MAX_CHANNELS: usize = 20;
/// The words that a list may hold, for whoever has used another.
const KNOWN: &str = "known are in_app, user:ID, role:ROLE, on_call:NAME, slack:URL, teams:URL, and the name of an integration of \
    the kind slack, teams, discord, pagerduty, smtp, sendgrid, twilio or webhook";
/// What tells people.
const SEND: &str = "send_notification";

/// Where a word goes.
enum Channel<'t> {
    InApp,
    /// Whoever this is at the moment of sending.
    People(&'t str),
    Slack(&'t str),
    Teams(&'t str),
    /// The integration of this name.
    Integration(&'t str),
}

/// An action that tells somebody.
#[derive(Debug, Clone, PartialEq)]
pub struct Telling {
    pub action_type: &'static str,
    pub target: String,
    pub payload: Value,
}

/// How a channel is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Way {
    /// By an action. What it says are templates over `trigger.title` and `trigger.message`.
    Action(Telling),
    /// By an action for each contact method of this kind, through the integration of this name: an integration that writes to
    /// addresses does not know whose.
    Contacts { kind: ContactKind, target: String },
}

/// `None`: nothing that this version knows.
fn channel(text: &str) -> Option<Channel<'_>> {
    let is_url = |url: &&str| url.starts_with("https://") || url.starts_with("http://");
    match text.split_once(':') {
        None if text == "in_app" => Some(Channel::InApp),
        None => name_problem(text).is_none().then_some(Channel::Integration(text)),
        Some(("slack", url)) => Some(url).filter(is_url).map(Channel::Slack),
        Some(("teams", url)) => Some(url).filter(is_url).map(Channel::Teams),
        Some(_) => text.parse::<Recipient>().is_ok().then_some(Channel::People(text)),
    }
}

/// Whether these may tell anybody.
pub fn tell(channels: &[String]) -> bool {
    channels.iter().any(|text| channel(text).is_some())
}

/// The people whom a list names.
pub fn recipients(channels: &[String]) -> Vec<String> {
    channels.iter().filter(|text| matches!(channel(text), Some(Channel::People(_)))).cloned().collect()
}

/// Every channel of a document that may tell somebody, with its place: whether it does is a question of what the tenant has.
pub fn named(document: &FlowDocument) -> Vec<(String, &str)> {
    let mut found = Vec::new();
    for (at, channels) in lists(document) {
        for (no, text) in channels.iter().enumerate().filter(|(_, text)| channel(text).is_some()) {
            found.push((format!("{at}/{no}"), text.as_str()));
        }
    }
    found
}

/// All lists of channels in a document, by where they stand.
fn lists(document: &FlowDocument) -> impl Iterator<Item = (String, &[String])> {
    let own = ("/error_notification_channels".to_owned(), document.error_notification_channels.as_slice());
    let of_phases = document.phases.iter().enumerate();
    let of_phases =
        of_phases.map(|(no, phase)| (format!("/phases/{no}/alert_channels"), phase.alert_channels.as_slice()));
    std::iter::once(own).chain(of_phases)
}

/// Channels by which nobody is told: no reason not to save a flow.
pub(super) fn warnings(document: &FlowDocument) -> Vec<Problem> {
    let unknown = |(at, channels): (String, &[String])| {
        let unknown = channels.iter().enumerate().filter(|(_, text)| channel(text).is_none());
        let warning = |(no, text): (usize, &String)| Problem::new(format!("{at}/{no}"), untold(text));
        unknown.map(warning).collect::<Vec<_>>()
    };
    lists(document).flat_map(unknown).collect()
}

/// More channels than may be told at once.
pub(crate) fn problems(document: &FlowDocument) -> Vec<Problem> {
    let too_many = lists(document).filter(|(_, channels)| channels.len() > MAX_CHANNELS);
    let message = |count: usize| format!("must name at most {MAX_CHANNELS}, names {count}");
    too_many.map(|(at, channels)| Problem::new(at, message(channels.len()))).collect()
}

fn untold(text: &str) -> String {
    format!("'{text}' tells nobody: {KNOWN}")
}

/// How a channel is told of something this severe, or why it tells nobody. `kind_of` gives the kind of an integration of the
/// tenant by its name.
pub fn way(text: &str, severity: Severity, kind_of: impl Fn(&str) -> Option<String>) -> Result<Way, String> {
    let act =
        |action_type, target: &str, payload| Way::Action(Telling { action_type, target: target.to_owned(), payload });
    let send = |target: &str, payload: Value| act(SEND, target, payload);
    let url = |url: &str, mut payload: Value| {
        payload["url"] = json!(literal(url));
        payload
    };
    Ok(match channel(text).ok_or_else(|| untold(text))? {
        Channel::InApp => send("in_app", inbox(None)),
        Channel::People(who) => send("in_app", inbox(Some(who))),
        Channel::Slack(at) => send("slack", url(at, chat("slack"))),
        Channel::Teams(at) => send("teams", url(at, card())),
        Channel::Integration(name) => {
            let contacts = |kind| Way::Contacts { kind, target: name.to_owned() };
            match kind_of(name).ok_or_else(|| untold(name))?.as_str() {
                kind @ ("slack" | "discord") => send(name, chat(kind)),
                "teams" => send(name, card()),
                "pagerduty" => send(name, alert(severity)),
                "smtp" | "sendgrid" => contacts(ContactKind::Email),
                "twilio" => contacts(ContactKind::Sms),
                "webhook" => act("trigger_webhook", name, event(severity)),
                other => return Err(format!("'{name}' tells nobody, as an integration of the kind {other}: {KNOWN}")),
            }
        }
    })
}

const TITLE: &str = "{{ trigger.title }}";
const MESSAGE: &str = "{{ trigger.message }}";

/// Title and message for what takes a text for markup: an error says whatever came from outside.
fn shown(kind: &str) -> [String; 2] {
    ["trigger.title", "trigger.message"].map(|name| word_for_word_of(kind, name))
}

fn inbox(who: Option<&str>) -> Value {
    let mut payload = json!({"title": TITLE, "message": MESSAGE, "type": "alert", "severity": "{{ trigger.severity }}",
        "action_url": "/runs/{{ trigger.run_id }}",
        "metadata": {"flow_run_id": "{{ trigger.run_id }}", "flow_id": "{{ trigger.flow_id }}"}});
    if let Some(who) = who {
        payload["recipients"] = json!([literal(who)]);
    }
    payload
}

fn chat(kind: &str) -> Value {
    json!({"text": shown(kind).join("\n")})
}

fn card() -> Value {
    let [title, message] = shown("teams");
    json!({"title": title, "text": message})
}

/// As PagerDuty calls severities.
fn alert(severity: Severity) -> Value {
    let word = match severity {
        Severity::Low => "info",
        Severity::Medium => "warning",
        Severity::High => "error",
        Severity::Critical => "critical",
    };
    json!({"summary": TITLE, "text": MESSAGE, "severity": word})
}

fn event(severity: Severity) -> Value {
    json!({"type": "core314.alert", "title": TITLE, "message": MESSAGE, "severity": severity,
        "flow_run_id": "{{ trigger.run_id }}", "flow_id": "{{ trigger.flow_id }}"})
}

/// The flow of these actions: a step for each, none of which keeps the others from theirs. What they say is `trigger.title`
/// and `trigger.message`, of `trigger.severity`, with a link to the run. `None` where there is nobody to tell.
pub fn telling(name: &str, actions: &[Telling]) -> Result<Option<FlowDocument>, ShapeError> {
    if actions.is_empty() {
        return Ok(None);
    }
    let step = |(no, Telling { action_type, target, payload }): (usize, &Telling)| {
        let config = json!({"action_type": action_type, "action_target": target, "action_payload": payload});
        json!({"id": format!("channel_{no}"), "config": config})
    };
    let steps: Vec<Value> = actions.iter().enumerate().map(step).collect();
    let flow = json!({"flow_name": name, "trigger_type": TriggerType::Manual, "execution_mode": "parallel",
        "on_error_action": OnErrorAction::Continue, "flow_steps": steps});
    FlowDocument::from_value(flow).map(Some)
}

/// A text that is no template, whatever it holds.
fn literal(text: &str) -> String {
    if !text.contains("{{") && !text.contains("{%") && !text.contains("{#") {
        return text.to_owned();
    }
    format!("{{{{ {} }}}}", Value::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(channels: &[&str]) -> FlowDocument {
        FlowDocument::from_value(json!({"flow_name": "f", "trigger_type": "manual",
            "error_notification_channels": channels, "phases": [{"number": 1, "alert_channels": channels}],
            "flow_steps": [{"id": "a", "phase": 1, "config": {"action_type": "noop"}}]}))
        .expect("a document")
    }

    fn actions(channels: &[String]) -> Vec<Telling> {
        let kind_of = |name: &str| ["slack", "pagerduty", "webhook", "jira"].contains(&name).then(|| name.to_owned());
        let ways = channels.iter().filter_map(|text| way(text, Severity::High, kind_of).ok());
        ways.filter_map(|way| if let Way::Action(action) = way { Some(action) } else { None }).collect()
    }

    #[test]
    fn each_known_channel_has_a_step_of_its_own() {
        let user_channel = "user:0190a000-0000-7000-8000-00000000000a";
        let channels =
            ["in_app", "e mail", user_channel, "slack:https://hooks.example/a{{x}}", "teams:nowhere", "role:boss"];
        let whole = document(&channels);
        let flow = telling("bad end", &actions(&whole.error_notification_channels)).expect("it reads");
        let flow = flow.expect("somebody is told");
        let told: Vec<(&Value, &Value)> = flow
            .flow_steps
            .iter()
            .map(|step| (&step.config["action_target"], &step.config["action_payload"]))
            .collect();
        assert_eq!(told.iter().map(|(target, _)| *target).collect::<Vec<_>>(), ["in_app", "in_app", "slack"]);
        let recipients = (&told[0].1["recipients"], &told[1].1["recipients"]);
        assert_eq!(recipients, (&Value::Null, &json!([user_channel])));
        assert_eq!(told[2].1["url"], "{{ \"https://hooks.example/a{{x}}\" }}");
        let places: Vec<String> = warnings(&whole).into_iter().map(|problem| problem.pointer).collect();
        let wrong = |at: &str| [1, 4, 5].map(|no| format!("{at}/{no}"));
        assert_eq!(places, [wrong("/error_notification_channels"), wrong("/phases/0/alert_channels")].concat());
        assert_eq!(named(&whole).len(), 6, "those that may tell somebody");
        let nobody = ["e mail".to_owned()];
        assert!(tell(&whole.phases[0].alert_channels) && !tell(&nobody));
        assert_eq!(telling("bad end", &actions(&nobody)), Ok(None));
        assert_eq!(problems(&document(&["in_app"; 21])).len(), 2);
    }

    #[test]
    fn an_integration_is_told_as_its_kind_is() {
        let kind_of = |name: &str| (name != "nowhere").then(|| name.strip_prefix("our-").unwrap_or(name).to_owned());
        let told = |text: &str| way(text, Severity::Low, kind_of);
        for (name, action_type, member) in [
            ("our-slack", "send_notification", "text"),
            ("our-discord", "send_notification", "text"),
            ("our-teams", "send_notification", "title"),
            ("our-pagerduty", "send_notification", "summary"),
            ("our-webhook", "trigger_webhook", "message"),
        ] {
            let Ok(Way::Action(action)) = told(name) else { panic!("{name} is told by an action") };
            assert_eq!((action.action_type, action.target.as_str()), (action_type, name));
            assert!(action.payload.get(member).is_some(), "{name}: {}", action.payload);
            // What is markup there is none.
            let is_chat = ["our-slack", "our-discord", "our-teams"].contains(&name);
            assert_eq!(action.payload.to_string().contains("|replace("), is_chat, "{name}: {}", action.payload);
        }
        for (name, kind) in
            [("smtp", ContactKind::Email), ("sendgrid", ContactKind::Email), ("our-twilio", ContactKind::Sms)]
        {
            assert_eq!(told(name), Ok(Way::Contacts { kind, target: name.to_owned() }));
        }
        for wrong in ["nowhere", "our-jira", "fax:1", ""] {
            let why = told(wrong).expect_err("it tells nobody");
            assert!(why.contains("tells nobody") && why.contains("known are in_app, user:ID, role:ROLE"), "{why}");
        }
        let list = ["in_app", "role:admin", "on_call:web", "slack"].map(str::to_owned);
        assert_eq!(recipients(&list), ["role:admin", "on_call:web"]);
    }
}
