//! Whom a flow tells: its `error_notification_channels` when a run ends badly, and a phase's `alert_channels` of each of its
//! transitions. Each is a text.
//!
//! `in_app` is the inbox of whoever the run belongs to, `user:ID` that of somebody else, `slack:URL` and `teams:URL` a chat's
//! webhook. The steps that tell them are those that a flow would have: [`crate::document`] with `send_notification`.

use serde_json::{Value, json};

use super::{FlowDocument, ShapeError};
use crate::ids::UserId;
use crate::plan::Problem;
use crate::words::{OnErrorAction, TriggerType};

/// Channels that are told at once.
const MAX_CHANNELS: usize = 20;

/// Where a word goes.
enum Channel<'t> {
    InApp(Option<UserId>),
    Slack(&'t str),
    Teams(&'t str),
}

/// `None`: nothing that this version knows.
fn channel(text: &str) -> Option<Channel<'_>> {
    let is_url = |url: &&str| url.starts_with("https://") || url.starts_with("http://");
    match text.split_once(':') {
        None => (text == "in_app").then_some(Channel::InApp(None)),
        Some(("user", id)) => id.parse().ok().map(|id| Channel::InApp(Some(id))),
        Some(("slack", url)) => Some(url).filter(is_url).map(Channel::Slack),
        Some(("teams", url)) => Some(url).filter(is_url).map(Channel::Teams),
        Some(_) => None,
    }
}

/// Whether these tell anybody.
pub fn tell(channels: &[String]) -> bool {
    channels.iter().any(|text| channel(text).is_some())
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
        let warning = |(no, text): (usize, &String)| {
            let message = format!("'{text}' tells nobody: known are in_app, user:ID, slack:URL and teams:URL");
            Problem::new(format!("{at}/{no}"), message)
        };
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

/// The flow that tells channels something: a step for each, none of which keeps the others from theirs. What it says is
/// `trigger.title` and `trigger.message`, of `trigger.severity`, with a link to the run. `None` where there is nobody to tell.
pub fn telling(name: &str, channels: &[String]) -> Result<Option<FlowDocument>, ShapeError> {
    let channels = channels.iter().filter_map(|text| channel(text)).take(MAX_CHANNELS);
    let steps: Vec<Value> = channels.enumerate().map(|(no, channel)| step(no, &channel)).collect();
    if steps.is_empty() {
        return Ok(None);
    }
    let flow = json!({"flow_name": name, "trigger_type": TriggerType::Manual, "execution_mode": "parallel",
        "on_error_action": OnErrorAction::Continue, "flow_steps": steps});
    FlowDocument::from_value(flow).map(Some)
}

fn step(no: usize, channel: &Channel<'_>) -> Value {
    let (title, message) = ("{{ trigger.title }}", "{{ trigger.message }}");
    let (target, payload) = match channel {
        Channel::InApp(user) => {
            let mut payload = json!({"title": title, "message": message, "type": "alert", "severity": "{{ trigger.severity }}",
                "action_url": "/runs/{{ trigger.run_id }}",
                "metadata": {"flow_run_id": "{{ trigger.run_id }}", "flow_id": "{{ trigger.flow_id }}"}});
            if let Some(user) = user {
                payload["user_id"] = json!(user);
            }
            ("in_app", payload)
        }
        Channel::Slack(url) => ("slack", json!({"url": literal(url), "text": format!("{title}\n{message}")})),
        Channel::Teams(url) => ("teams", json!({"url": literal(url), "title": title, "text": message})),
    };
    json!({"id": format!("channel_{no}"), "config": {"action_type": "send_notification", "action_target": target, "action_payload": payload}})
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

    #[test]
    fn each_known_channel_has_a_step_of_its_own() {
        let user = "0190a000-0000-7000-8000-00000000000a";
        let user_channel = format!("user:{user}");
        let channels = ["in_app", "email", &user_channel, "slack:https://hooks.example/a{{x}}", "teams:nowhere"];
        let whole = document(&channels);
        let flow = telling("bad end", &whole.error_notification_channels).expect("it reads").expect("somebody is told");
        let told: Vec<(&Value, &Value)> = flow
            .flow_steps
            .iter()
            .map(|step| (&step.config["action_target"], &step.config["action_payload"]))
            .collect();
        assert_eq!(told.iter().map(|(target, _)| *target).collect::<Vec<_>>(), ["in_app", "in_app", "slack"]);
        assert_eq!((&told[0].1["user_id"], &told[1].1["user_id"]), (&Value::Null, &json!(user)));
        assert_eq!(told[2].1["url"], "{{ \"https://hooks.example/a{{x}}\" }}");
        let places: Vec<String> = warnings(&whole).into_iter().map(|problem| problem.pointer).collect();
        assert_eq!(
            places,
            [
                "/error_notification_channels/1",
                "/error_notification_channels/4",
                "/phases/0/alert_channels/1",
                "/phases/0/alert_channels/4"
            ]
        );
        let email = ["email".to_owned()];
        assert!(tell(&whole.phases[0].alert_channels) && !tell(&email));
        assert_eq!(telling("bad end", &email), Ok(None));
        assert_eq!(problems(&document(&["in_app"; 21])).len(), 2);
    }
}
