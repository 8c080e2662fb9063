//! The timeline of a run: where its entries of the audit log are looked for.

use actix_web::http::{Method, StatusCode};
use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::Paged;
use core314_domain::ids::{RunId, TenantId};
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::{Server, USER, platform};

#[actix_web::test]
async fn what_was_done_to_a_run_is_looked_for_in_its_tenant_and_time() {
    let server = Server::start().await;
    let (run, other) = (RunId::new(1_750_000_000_000, 7 << 24), RunId::new(1_750_000_000_000, 8 << 24));
    let entry = |event: &str, kind: &str, subject: Uuid, at: &str| {
        let mut entry = json!({"event_type": event, "subject_type": kind, "subject_id": subject});
        entry["created_at"] = json!(at);
        entry
    };
    let accepted = "2025-06-15T15:06:40.000Z";
    server.views.show([json!({"id": run, "tenant_id": USER, "created_at": accepted, "run_status": "running"})]);
    server.views.page(Resource::Log, [Paged { items: Vec::new(), next: None }]);
    let (later, before) = (RunId::new(1_750_000_009_000, 1).0, RunId::new(1_749_999_999_999, 1).0);
    let paused = entry("run_paused", "flow_run", run.0, "2025-06-15T15:06:41.000Z");
    let [own, others] =
        [run, other].map(|of| entry("execution_cancelled", "execution", of.execution(3).0, "2025-06-15T15:06:42.000Z"));
    let pages = [
        Paged { items: Vec::new(), next: Some(later) },
        Paged { items: vec![own, others, paused], next: Some(before) },
    ];
    server.views.page(Resource::Audit, pages);
    let answer = server.send(platform(Method::GET, &format!("/api/v1/runs/{run}/timeline"))).await.json();
    let items: Vec<(&Value, &Value)> =
        answer["items"].as_array().unwrap().iter().map(|item| (&item["event"], &item["execution_id"])).collect();
    let execution = json!(run.execution(3));
    assert_eq!(
        items,
        [
            (&json!("accepted"), &Value::Null),
            (&json!("run_paused"), &Value::Null),
            (&json!("execution_cancelled"), &execution)
        ],
        "{answer}"
    );
    let asked: Vec<Scope> = server.views.asked().into_iter().map(|(scope, _)| scope).collect();
    let own = Scope::Tenant(TenantId(USER.0));
    assert_eq!(asked, [Scope::Platform, own, own], "one walk, and no page before the run began is asked for");
}

#[actix_web::test]
async fn the_look_through_the_audit_log_comes_to_an_end() {
    let server = Server::start().await;
    let run = RunId::new(1_750_000_000_000, 7 << 24);
    server.views.show([json!({"id": run, "tenant_id": USER, "created_at": "2025-06-15T15:06:40.000Z"})]);
    server.views.page(Resource::Log, [Paged { items: Vec::new(), next: None }]);
    let later = RunId::new(1_750_000_009_000, 1).0;
    server.views.page(Resource::Audit, vec![Paged { items: Vec::new(), next: Some(later) }; 20]);
    let answer = server.send(platform(Method::GET, &format!("/api/v1/runs/{run}/timeline"))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let asked = server.views.asked();
    assert_eq!(asked.len(), 6, "a page of attempts, five of the audit log: {asked:?}");
    let ids = [run.0, run.last_id()].map(|id| id.to_string());
    assert!(ids.iter().all(|id| asked[1].1.contains(id)), "the run's and its executions': {asked:?}");
}
