//! Whoever may decide is told when a decision is wanted: once, and as they prefer.

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::telling::settle;
use super::{Member, Town};
use crate::orchestration::bed::pick;
use crate::orchestration::on_both_stores;
use crate::support::{Installation, Server, StoreKind};

/// What lies in a member's inbox, once it is so much, the newest first.
async fn inbox(member: &Member<'_>, count: usize) -> Vec<Value> {
    let started = std::time::Instant::now();
    loop {
        let items = member.items("/api/v1/notifications").await;
        if items.len() >= count {
            return items;
        }
        assert!(started.elapsed().as_secs() < 60, "{count} notifications do not come: {items:?}");
    }
}

async fn whoever_may_decide_is_told_once(kind: StoreKind) {
    let town = Town::start(kind).await;
    let (admin, ada, bob, cy) = (town.client(1), town.client(2), town.client(3), town.client(4));
    settle(&town, 2, "ada", "operator").await;
    settle(&town, 3, "bob", "viewer").await;
    settle(&town, 4, "cy", "admin").await;
    ada.prefers(json!({"rules": [{"severities": ["medium"], "by": ["email"]}]})).await;
    let schedule = json!({"name": "primary", "time_zone": "UTC",
        "layers": [{"users": [ada.0.user], "starts_at": "2026-01-05T09:00"}]});
    admin.make("/api/v1/on-call", schedule).await;
    let (mails, texts) = (town.mail.taken().len(), town.sms.shown().len());

    let flow = json!({"flow_name": "careful", "trigger_type": "manual", "execution_mode": "sequential", "flow_steps": [
        {"id": "drain", "requires_approval": true, "config": {"action_type": "transform", "action_payload": {"n": 1}}},
        {"id": "consent", "type": "approval", "config": {"approvers": ["on_call:primary"]}},
    ]});
    let flow = admin.make("/api/v1/flows", flow).await;
    let path = format!("/api/v1/flows/{}/trigger", flow["id"].as_str().expect("an id"));
    let run = admin.make(&path, json!({})).await;
    let [drain, consent] = [0_usize, 1].map(|no| run["execution_queue_ids"][no].clone());

    // Operators and admins may agree; Ada wants to have it by mail.
    for member in [&ada, &cy] {
        let items = inbox(member, 1).await;
        assert_eq!(
            pick(&items[0], "title type severity /metadata/execution_id execution_queue_id"),
            json!(["careful: step 'drain' waits for approval", "notify", "medium", drain, null])
        );
    }
    let mail = town.mail(mails).await;
    assert_eq!(mail.to, ["ada@example.com"]);
    assert_eq!(mail.header("Subject").as_deref(), Some("careful: step 'drain' waits for approval"));
    let approve = |id: &Value| format!("/api/v1/executions/{}/approve", id.as_str().expect("an id"));
    cy.make(&approve(&drain), json!({})).await;
    // The second is for whoever is on call alone.
    let items = inbox(&ada, 2).await;
    assert_eq!(
        pick(&items[0], "title /metadata/execution_id"),
        json!(["careful: step 'consent' waits for approval", consent])
    );
    town.mail(mails + 1).await;
    cy.make(&approve(&consent), json!({})).await;
    let path = format!("/api/v1/runs/{}", run["id"].as_str().expect("an id"));
    assert_eq!(super::telling::ended(&cy, &path).await["run_status"], "completed");
    // A replay is no run: nobody is asked.
    let replay = admin.ask(reqwest::Method::POST, &format!("{path}/replay"), Some(json!({"version": 1}))).await;
    assert_eq!(replay.status, StatusCode::OK, "{}", replay.body);
    for (member, count) in [(&ada, 2), (&bob, 0), (&cy, 1)] {
        assert_eq!(member.items("/api/v1/notifications").await.len(), count);
    }
    assert_eq!((town.mail.taken().len(), town.sms.shown().len()), (mails + 2, texts));
}

/// Killed before they are told and after: they are told, once.
async fn whoever_decides_is_told_once_over_a_crash(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let mut server = Server::start(&installation);
    let flow = json!({"flow_name": "careful", "trigger_type": "manual", "requires_approval": true,
        "flow_steps": [{"id": "a", "config": {"action_type": "transform", "action_payload": {"n": 1}}}]});
    server.create("/api/v1/flows", flow).await;
    for (no, point) in ["occurrence.before", "occurrence.started"].into_iter().enumerate() {
        server.terminate();
        let environment = [("CORE314_FAILPOINTS", format!("{point}=kill@1"))];
        server = Server::start_with(&installation, &environment).expect("it starts");
        // The answer may be lost: the run is durable all the same, or the caller would come back.
        let body = json!({"run_key": format!("k-{no}")});
        server.request(reqwest::Method::POST, "/api/v1/flows/careful/trigger", Some(body)).await.ok();
        server.wait();
        server = Server::start(&installation);
        let started = std::time::Instant::now();
        while server.all("/api/v1/notifications").await.len() <= no {
            assert!(started.elapsed().as_secs() < 60, "nobody is told after {point}");
        }
    }
    // What the last life left is taken up once more, and tells nobody again.
    server.terminate();
    let server = Server::start(&installation);
    let all = server.all("/api/v1/notifications").await;
    assert_eq!(all.len(), 2, "one for each run");
    assert_eq!(all[0]["title"], "careful waits for approval");
}

/// How many decisions a notification says that a run waits for.
fn wanted(notification: &Value) -> u64 {
    let wanted = notification["metadata"]["pending_approvals"].as_u64().expect("a number");
    let text = notification["message"].as_str().expect("a text");
    let is_said = match wanted {
        1 => !text.contains("more"),
        more => text.contains(&format!("{more} decisions")) || text.contains(&format!("{} more", more - 1)),
    };
    assert!(is_said, "it says how many: {notification}");
    wanted
}

/// A loop of fifty, of which half wait at once, and a few are decided.
async fn a_large_loop_tells_of_many_decisions_at_once(kind: StoreKind) {
    let town = Town::start(kind).await;
    let (admin, ada) = (town.client(1), town.client(2));
    settle(&town, 2, "ada", "operator").await;
    let one = json!({"id": "one", "requires_approval": true, "config": {"action_type": "transform", "action_payload": {"n": 1}}});
    let each = json!({"collection": "trigger.items", "concurrency": 25, "steps": [one]});
    let flow = json!({"flow_name": "many", "trigger_type": "manual", "flow_steps": [{"id": "all", "type": "for_each", "config": each}]});
    let flow = admin.make("/api/v1/flows", flow).await;
    let path = format!("/api/v1/flows/{}/trigger", flow["id"].as_str().expect("an id"));
    let items: Vec<usize> = (0..50).collect();
    let run = admin.make(&path, json!({"trigger_context": {"items": items}})).await;
    let run = run["id"].as_str().expect("an id");
    let pending = async || {
        let all = ada.items("/api/v1/executions/pending-approvals?limit=100").await;
        all.into_iter().filter(|row| row["flow_run_id"] == *run).collect::<Vec<_>>()
    };
    let first = inbox(&ada, 1).await;
    assert_eq!(first[0]["title"], "many: step 'one' waits for approval");
    let started = std::time::Instant::now();
    while pending().await.len() < 25 {
        assert!(started.elapsed().as_secs() < 60, "every decision is in the list");
    }
    for row in pending().await.iter().take(3) {
        let path = format!("/api/v1/executions/{}/approve", row["id"].as_str().expect("an id"));
        ada.make(&path, json!({})).await;
    }
    // What has come since is told of together, by its number.
    let told = loop {
        let told = ada.items("/api/v1/notifications").await;
        if told.len() > 1 && wanted(&told[0]) == 25 {
            break told;
        }
        assert!(started.elapsed().as_secs() < 60, "nobody hears of the others: {told:?}");
    };
    assert!(told.len() <= 6, "28 decisions are no 28 messages: {told:?}");
    for notification in &told {
        wanted(notification);
    }
    assert_eq!(pending().await.len(), 25, "none is lost");
    admin.make(&format!("/api/v1/runs/{run}/cancel"), json!({})).await;
}

on_both_stores!(
    whoever_may_decide_is_told_once,
    whoever_decides_is_told_once_over_a_crash,
    a_large_loop_tells_of_many_decisions_at_once,
);
