//! The timeline of a run: whose entries of the audit log are asked for.

use actix_web::http::Method;
use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::Paged;
use core314_domain::ids::{RunId, TenantId};
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::{Server, USER, platform};

#[actix_web::test]
async fn what_was_done_to_a_run_is_asked_for_in_its_tenant() {
    let server = Server::start().await;
    let run = RunId::new(1_750_000_000_000, 7 << 24);
    let entry = |event: &str, kind: &str, subject: Uuid, at: &str| {
        let mut entry = json!({"event_type": event, "subject_type": kind, "subject_id": subject});
        entry["created_at"] = json!(at);
        entry
    };
    let accepted = "2025-06-15T15:06:40.000Z";
    server.views.show([json!({"id": run, "tenant_id": USER, "created_at": accepted, "run_status": "running"})]);
    server.views.page(Resource::Log, [Paged { items: Vec::new(), next: None }]);
    let paused = entry("run_paused", "flow_run", run.0, "2025-06-15T15:06:41.000Z");
    let cancelled = entry("execution_cancelled", "execution", run.execution(3).0, "2025-06-15T15:06:42.000Z");
    server.views.page(Resource::Audit, [Paged { items: vec![cancelled, paused], next: None }]);
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
    let asked = server.views.asked();
    assert_eq!(asked.len(), 2, "its attempts, and its entries: {asked:?}");
    assert_eq!(asked[0].0, Scope::Platform);
    assert_eq!(asked[1], (Scope::Tenant(TenantId(USER.0)), format!("500 deeds of {run}")));
}
