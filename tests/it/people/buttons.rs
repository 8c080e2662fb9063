//! Buttons in Slack: signed by the app, pressed by whoever has proven to be that member, allowed by the directory's role.

use core314_domain::hex::hex;
use hmac::{Hmac, KeyInit, Mac};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{GROUP, Member, PUBLIC_URL, Town, shown};
use crate::orchestration::bed::pick;
use crate::orchestration::on_both_stores;
use crate::providers::slack_api;
use crate::support::StoreKind;

const SIGNING: &str = "planted-slack-signing-secret-0001";

/// What Slack sends of a button.
struct Pressed<'a> {
    town: &'a Town,
    path: String,
}

impl Pressed<'_> {
    /// Sends it as Slack does, with this secret and at this distance from now.
    async fn send(&self, payload: &Value, secret: &str, late_s: i64) -> StatusCode {
        let sent_s = chrono::Utc::now().timestamp() - late_s;
        let body = reqwest::Url::parse_with_params("http://x/", [("payload", payload.to_string())]).expect("a form");
        let body = body.query().expect("a query").to_owned();
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key");
        mac.update(format!("v0:{sent_s}:{body}").as_bytes());
        let signature = hex(&mac.finalize().into_bytes());
        let server = &self.town.bed.server;
        let request = server
            .http
            .post(format!("{}{}", server.url, self.path))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-slack-request-timestamp", sent_s.to_string())
            .header("x-slack-signature", format!("v0={signature}"));
        request.body(body).send().await.expect("an answer").status()
    }

    fn payload(&self, member: &str, action: &str, id: &Value, no: u32) -> Value {
        json!({"type": "block_actions", "user": {"id": member, "username": "whoever"}, "trigger_id": format!("1.{no}"),
            "response_url": format!("{}/answers", self.town.bed.sink.url),
            "actions": [{"type": "button", "action_id": format!("core314_{action}"), "value": id}]})
    }

    /// Presses, and gives what the member is told.
    async fn press(&self, member: &str, action: &str, id: &Value, no: u32) -> String {
        assert_eq!(self.send(&self.payload(member, action, id, no), SIGNING, 0).await, StatusCode::OK);
        let got = self.town.bed.sink.until(no as usize).await;
        let said = &got[no as usize - 1].body;
        assert_eq!(pick(said, "response_type replace_original"), json!(["ephemeral", false]));
        said["text"].as_str().expect("a text").to_owned()
    }
}

async fn joins(town: &Town, role: &str) {
    let (admin, ada) = (town.client(1), town.client(2));
    let person = json!({"person_id": ada.0.user, "email": "ada@example.com", "name": "Ada", "role": role});
    admin.make("/api/v1/users", person).await;
}

async fn proves_her_slack(town: &Town, ada: &Member<'_>) {
    ada.make("/api/v1/contact-methods", json!({"kind": "slack", "address": slack_api::MEMBER})).await;
    let asked = shown(&town.slack, 0).await;
    let link = asked["blocks"][1]["elements"][0]["url"].as_str().expect("a link");
    let link = link.strip_prefix(PUBLIC_URL).expect("of this server");
    let verified = town.bed.server.http.post(format!("{}{link}", town.bed.server.url)).send().await.expect("a page");
    assert_eq!(verified.status(), StatusCode::OK);
}

async fn a_button_acts_in_the_name_of_whoever_presses_it(kind: StoreKind) {
    let town = Town::start(kind).await;
    let (admin, ada) = (town.client(1), town.client(2));
    admin.make("/api/v1/secrets", json!({"name": "SIGNING", "value": SIGNING})).await;
    let integration = admin.items("/api/v1/integrations").await.into_iter().find(|row| row["name"] == "slack");
    let id = integration.expect("it is there")["id"].as_str().expect("an id").to_owned();
    let credentials = json!({"credentials": {"bot_token": "secrets.BOT", "signing_secret": "secrets.SIGNING"}});
    let patched = admin.ask(reqwest::Method::PATCH, &format!("/api/v1/integrations/{id}"), Some(credentials)).await;
    assert_eq!(patched.status, StatusCode::OK, "{}", patched.body);
    // An integration for something else may be called as what takes the answers is.
    let other = json!({"name": "webhook", "kind": "webhook", "endpoint": format!("{}/other", town.bed.sink.url)});
    admin.make("/api/v1/integrations", other).await;
    let slack = Pressed { town: &town, path: format!("/hooks/slack/{GROUP}/{id}") };

    let rule = json!({"rule_name": "disk", "trigger_conditions": {"subject": "disk"},
        "escalation_levels": [{"level": 1, "recipients": [format!("user:{}", ada.0.user)]}]});
    admin.make("/api/v1/escalation-rules", rule).await;
    proves_her_slack(&town, &ada).await;
    let asked = json!({"escalation_reason": "reported", "context": {"subject": "disk"}});
    let event = admin.make("/api/v1/escalation-events", asked).await["taken"][0]["escalation_event_id"].clone();
    let message = shown(&town.slack, 1).await;
    let buttons = message["blocks"].as_array().and_then(|blocks| blocks.last()).expect("blocks")["elements"].clone();
    assert_eq!(pick(&buttons[0], "action_id value"), json!(["core314_acknowledge", event]));
    assert_eq!(pick(&buttons[1], "action_id value"), json!(["core314_resolve", event]));

    // Neither a stranger, nor a late one, nor another tenant's path.
    let good = slack.payload(slack_api::MEMBER, "acknowledge", &event, 1);
    assert_eq!(slack.send(&good, "another secret of somebody else", 0).await, StatusCode::UNAUTHORIZED);
    assert_eq!(slack.send(&good, SIGNING, 301).await, StatusCode::UNAUTHORIZED);
    for path in [
        format!("/hooks/slack/{}/{id}", ada.0.user),
        format!("/hooks/slack/{GROUP}/{GROUP}"),
        "/hooks/slack/x/y".into(),
    ] {
        let elsewhere = Pressed { town: &town, path };
        assert_eq!(elsewhere.send(&good, SIGNING, 0).await, StatusCode::UNAUTHORIZED);
    }
    let path = format!("/api/v1/escalation-events/{}", event.as_str().expect("an id"));
    assert!(slack.press("U0000STRANGE", "acknowledge", &event, 1).await.contains("does not know who you are"));
    assert!(slack.press(slack_api::MEMBER, "acknowledge", &event, 2).await.contains("not in the directory"));
    joins(&town, "viewer").await;
    assert!(slack.press(slack_api::MEMBER, "acknowledge", &event, 3).await.contains("needs the role operator"));
    assert_eq!(admin.get(&path).await["status"], "triggered");
    let row = format!("/api/v1/users/{}", ada.0.user);
    admin.ask(reqwest::Method::PATCH, &row, Some(json!({"role": "operator"}))).await;
    assert!(slack.press(slack_api::MEMBER, "acknowledge", &event, 4).await.starts_with("Acknowledged"));
    assert_eq!(pick(&admin.get(&path).await, "status acknowledged_by"), json!(["acknowledged", ada.0.user]));
    // Slack repeats what it thinks was lost: nothing is done, and nothing said, twice.
    assert_eq!(
        slack.send(&slack.payload(slack_api::MEMBER, "acknowledge", &event, 4), SIGNING, 0).await,
        StatusCode::OK
    );

    approves(&town, &slack).await;
    approves_what_a_flow_asks(&town, &slack).await;
    assert!(slack.press(slack_api::MEMBER, "resolve", &event, 8).await.starts_with("Resolved"));
    assert_eq!(pick(&admin.get(&path).await, "status resolved_by"), json!(["resolved", ada.0.user]));
    let listed = json!(admin.items("/api/v1/execution-log?limit=100").await).to_string();
    assert!(!listed.contains(slack_api::MEMBER) && !listed.contains(SIGNING), "{listed}");
}

async fn approves(town: &Town, slack: &Pressed<'_>) {
    let (admin, ada) = (town.client(1), town.client(2));
    let action = json!({"action_type": "transform", "action_payload": {"value": 1}, "requires_approval": true});
    let run = admin.make("/api/v1/executions", action).await;
    let execution = run["execution_queue_ids"][0].clone();
    let tell = json!({"action_type": "send_notification", "action_target": "slack", "action_payload": {
        "channel": "#incidents", "text": "Go on?",
        "buttons": [{"action": "approve", "id": execution}, {"action": "reject", "id": execution}]}});
    admin.make("/api/v1/executions", tell).await;
    let asked = shown(&town.slack, 2).await;
    assert_eq!(asked["blocks"][0]["text"]["text"], "Go on?");
    assert_eq!(asked["blocks"][1]["elements"][1]["action_id"], "core314_reject");
    assert!(slack.press(slack_api::MEMBER, "approve", &json!(GROUP), 5).await.contains("no such"));
    assert_eq!(slack.press(slack_api::MEMBER, "approve", &execution, 6).await, "Approved.");
    let path = format!("/api/v1/executions/{}", execution.as_str().expect("an id"));
    let row = admin.get(&path).await;
    assert_eq!(pick(&row, "approval_status approved_by"), json!(["approved", ada.0.user]));
}

/// A flow makes the buttons for a step that waits beside.
async fn approves_what_a_flow_asks(town: &Town, slack: &Pressed<'_>) {
    let admin = town.client(1);
    let button = |action: &str| json!({"action": action, "id": "{{ steps.consent.execution_id }}"});
    let flow = json!({"flow_name": "asking", "trigger_type": "manual", "execution_mode": "parallel", "flow_steps": [
        {"id": "ask", "config": {"action_type": "send_notification", "action_target": "slack", "action_payload": {
            "channel": "#incidents", "text": "May it go on?", "buttons": [button("approve"), button("reject")]}}},
        {"id": "consent", "type": "approval", "config": {}},
    ]});
    let flow = admin.make("/api/v1/flows", flow).await;
    let path = format!("/api/v1/flows/{}/trigger", flow["id"].as_str().expect("an id"));
    let run = admin.make(&path, json!({})).await;
    let consent = run["execution_queue_ids"][1].clone();
    let asked = shown(&town.slack, 3).await;
    assert_eq!(asked["blocks"][0]["text"]["text"], "May it go on?");
    assert_eq!(pick(&asked["blocks"][1]["elements"][0], "action_id value"), json!(["core314_approve", consent]));
    assert_eq!(slack.press(slack_api::MEMBER, "approve", &consent, 7).await, "Approved.");
    let path = format!("/api/v1/executions/{}", consent.as_str().expect("an id"));
    assert_eq!(admin.get(&path).await["approval_status"], "approved");
}

on_both_stores!(a_button_acts_in_the_name_of_whoever_presses_it);
