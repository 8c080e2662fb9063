//! Whom a flow names to be told: integrations, each as its kind is told, and people by role and schedule.

use serde_json::json;

use super::telling::settle;
use super::{Town, shown};
use crate::orchestration::bed::pick;
use crate::orchestration::on_both_stores;
use crate::support::StoreKind;

async fn a_bad_end_is_told_to_integrations_and_people(kind: StoreKind) {
    let town = Town::start(kind).await;
    let (admin, ada, bob) = (town.client(1), town.client(2), town.client(3));
    settle(&town, 2, "ada", "operator").await;
    settle(&town, 3, "bob", "viewer").await;
    for member in [&ada, &bob] {
        member.prefers(json!({"rules": [{"by": ["sms"]}]})).await;
    }
    let schedule = json!({"name": "primary", "time_zone": "UTC",
        "layers": [{"users": [bob.0.user], "starts_at": "2026-01-05T09:00"}]});
    admin.make("/api/v1/on-call", schedule).await;
    let hooks = json!({"name": "hooks", "kind": "webhook", "endpoint": format!("{}/hooks", town.bed.sink.url)});
    admin.make("/api/v1/integrations", hooks).await;
    let (mails, texts) = (town.mail.taken().len(), town.sms.shown().len());

    let raise = json!({"id": "a", "type": "raise", "config": {"error": "no_room", "message": "no {{ '{{' }} room"}});
    let flow = json!({"flow_name": "raising", "trigger_type": "manual", "flow_steps": [raise],
        "error_notification_channels": ["role:operator", "on_call:primary", "hooks", "email", "slack", "nowhere", "role:boss"]});
    let saved = admin.make("/api/v1/flows", flow).await;
    let mut warned: Vec<&str> =
        saved["warnings"].as_array().expect("a list").iter().filter_map(|one| one["pointer"].as_str()).collect();
    warned.sort_unstable();
    // The bot has no channel of its own, and the last two are nothing.
    assert_eq!(warned, [4, 5, 6].map(|no| format!("/error_notification_channels/{no}")), "{saved}");
    let said = saved["warnings"].to_string();
    assert!(said.contains("'nowhere' tells nobody: known are in_app, user:ID, role:ROLE, on_call:NAME"), "{said}");
    let path = format!("/api/v1/flows/{}/trigger", saved["id"].as_str().expect("an id"));
    admin.make(&path, json!({})).await;

    // The integration that writes to addresses tells those whom the list names.
    let mut to = [town.mail(mails).await, town.mail(mails + 1).await].map(|mail| mail.to.join(","));
    to.sort_unstable();
    assert_eq!(to, ["ada@example.com", "bob@example.com"]);
    let mail = town.mail(mails).await;
    assert_eq!(mail.header("Subject").as_deref(), Some("raising: failed"));
    assert!(mail.text.contains("step 'a': no {{ room"), "nothing in an error is a template: {}", mail.text);
    let got = town.bed.sink.until(1).await;
    assert_eq!(
        pick(&got[0].body, "type title message severity"),
        json!(["core314.alert", "raising: failed", "step 'a': no {{ room", "high"])
    );
    // People get it in their inboxes, and by what they prefer.
    for place in texts..texts + 2 {
        let sms = shown(&town.sms, place).await;
        assert!(sms["body"].as_str().expect("a text").contains("raising: failed"), "{sms}");
    }
    for member in [&ada, &bob] {
        let inbox = member.items("/api/v1/notifications").await;
        assert_eq!((inbox.len(), &inbox[0]["title"]), (1, &json!("raising: failed")));
    }
    assert_eq!((town.mail.taken().len(), town.sms.shown().len()), (mails + 2, texts + 2));
}

on_both_stores!(a_bad_end_is_told_to_integrations_and_people);
