//! What waits for a person is decided by the id that the list of it shows.

use actix_web::http::{Method, StatusCode};
use core314_actors::ports::Scope;
use core314_domain::ids::{RunId, TenantId};
use core314_domain::words::RunStatus;
use serde_json::json;

use super::support::{STRANGER, Server, USER, bearing, flow_document, token};

async fn status_of(server: &Server, run: RunId) -> RunStatus {
    let stored = server.engine.stored_run(Scope::Tenant(TenantId(USER.0)), run).await.unwrap();
    stored.unwrap().state.status
}

#[actix_web::test]
async fn a_run_that_has_yet_to_begin_is_decided_like_an_execution() {
    for verb in ["approve", "reject"] {
        let server = Server::start().await;
        let mut document = flow_document("careful");
        document["requires_approval"] = json!(true);
        let flow = server.flow(&document).await;
        let started = server.post(&format!("/api/v1/flows/{flow}/trigger"), &json!({})).await.json();
        assert_eq!(started["run_status"], "awaiting_approval", "{started}");
        let run: RunId = started["id"].as_str().unwrap().parse().unwrap();
        let uri = format!("/api/v1/executions/{run}/{verb}");

        let stranger = server.send(bearing(&token(STRANGER, None), Method::POST, &uri).set_payload("{}")).await;
        assert_eq!(stranger.status, StatusCode::NOT_FOUND, "{}", stranger.text);
        let viewer = bearing(&token(USER, Some("viewer")), Method::POST, &uri).set_payload("{}");
        assert_eq!(server.send(viewer).await.status, StatusCode::FORBIDDEN);
        assert_eq!(status_of(&server, run).await, RunStatus::AwaitingApproval);

        let row = json!({"id": run, "run_status": "as it is now"});
        server.views.show([row.clone()]);
        let decided = server.post(&uri, &json!({"notes": "seen"})).await;
        assert_eq!((decided.status, decided.json()), (StatusCode::OK, row), "{}", decided.text);
        let status = status_of(&server, run).await;
        let is_refused = status == RunStatus::Cancelled;
        assert_eq!((is_refused, status == RunStatus::AwaitingApproval), (verb == "reject", false), "{status:?}");
        let again = server.post(&uri, &json!({})).await;
        assert_eq!(again.status, StatusCode::CONFLICT, "{}", again.text);
    }
}
