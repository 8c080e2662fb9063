//! `execute-action`: which entry it takes, and how it hears of the end.

use actix_web::http::{Method, StatusCode};
use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::Paged;
use core314_domain::ids::{RunId, TenantId};
use serde_json::{Value, json};
use uuid::Uuid;

use super::support::{Server, USER, admin, flow_document};

const PATH: &str = "/functions/v1/execute-action";

/// A run of a step that ends at once and, where it is wanted, of one that waits for a person.
async fn run_of(server: &Server, waits: bool) -> RunId {
    let mut document = flow_document("night shift");
    if waits {
        document["flow_steps"][1]["requires_approval"] = json!(true);
    }
    let flow = server.flow(&document).await;
    let started = server.post(&format!("/api/v1/flows/{flow}/trigger"), &json!({})).await;
    assert_eq!(started.status, StatusCode::ACCEPTED, "{}", started.text);
    let run: RunId = started.json()["id"].as_str().unwrap().parse().unwrap();
    // Its first step has ended; its run with it, or not.
    let done = if waits { "\"CA\"" } else { "\"CC\"" };
    loop {
        let stored = server.engine.stored_run(Scope::Tenant(TenantId(USER.0)), run).await.unwrap().unwrap();
        if stored.state.state.contains(done) {
            return run;
        }
        tokio::task::yield_now().await;
    }
}

fn row(run: RunId, status: &str) -> Value {
    json!({"id": run.execution(0), "flow_run_id": run, "execution_status": status, "execution_error": null})
}

#[actix_web::test]
async fn an_end_that_the_row_does_not_show_yet_is_awaited() {
    for waits in [false, true] {
        let server = Server::start().await;
        let run = run_of(&server, waits).await;
        server.views.show(["in_progress", "in_progress", "completed"].map(|status| row(run, status)));
        let body = json!({"execution_queue_id": run.execution(0)});
        let shown = async {
            while server.views.unshown() > 1 {
                tokio::task::yield_now().await;
            }
            server.engine.runtime().ends.tell(run.execution(0).0);
        };
        let (answer, ()) = tokio::join!(server.post(PATH, &body), shown);
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        let answer = answer.json();
        assert_eq!((&answer["success"], &answer["error"]), (&json!(true), &Value::Null), "{answer}");
    }
}

#[actix_web::test]
async fn the_next_due_entry_is_the_user_s_and_found_behind_many_that_are_not_due() {
    let server = Server::start().await;
    let run = RunId(Uuid::from_u128(1 << 80));
    let entry = |step: u32, urgency: &str, at: &str| {
        let id = run.execution(step);
        json!({"id": id, "flow_run_id": run, "urgency": urgency, "priority": 5, "execute_after": at})
    };
    let tomorrow = (0..500).map(|step| entry(step, "critical", "2999-01-01T00:00:00.000Z"));
    let due = [entry(600, "low", "2001-01-01T00:00:00.000Z"), entry(601, "high", "2002-01-01T00:00:00.000Z")];
    let next = Uuid::from_u128(77);
    let pages = [
        Paged { items: tomorrow.collect(), next: Some(next) },
        Paged { items: Vec::new(), next: Some(next) },
        Paged { items: due.to_vec(), next: None },
    ];
    server.views.page(Resource::Executions, pages);
    let running = json!({"id": run, "run_status": "running"});
    server.views.show([running, json!({"id": run.execution(601), "execution_status": "completed"})]);
    let request = admin(Method::POST, PATH).set_payload(json!({"auto_execute": true}).to_string());
    let answer = server.send(request).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.json()["execution_queue_id"], json!(run.execution(601)));
    let asked = server.views.asked();
    let queue: Vec<&String> = asked.iter().map(|(_, asked)| asked).filter(|asked| asked.contains("pending")).collect();
    assert_eq!(queue.len(), 3, "{queue:?}");
    assert!(queue.iter().all(|asked| asked.contains(&USER.to_string())), "of nobody else: {queue:?}");
    assert!(queue[1].contains(&next.to_string()), "{queue:?}");
}

#[actix_web::test]
async fn the_look_for_a_due_entry_comes_to_an_end() {
    let server = Server::start().await;
    let answer = server.post(PATH, &json!({"auto_execute": true})).await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND, "{}", answer.text);
    assert_eq!(answer.json()["error"], "nothing is due");
    assert_eq!(server.views.asked().len(), 10, "pages of the queue, and no list of paused runs");
}

#[actix_web::test]
async fn many_due_entries_of_a_paused_run_hide_none_of_another() {
    let [paused, other] = [1 << 80, 2 << 80].map(|id| RunId(Uuid::from_u128(id)));
    let entry = |run: RunId, step: u32, urgency: &str| {
        let at = "2001-01-01T00:00:00.000Z";
        json!({"id": run.execution(step), "flow_run_id": run, "urgency": urgency, "priority": 5, "execute_after": at})
    };
    let status = |run: RunId, status: &str| json!({"id": run, "run_status": status});
    let ended = |run: RunId, step: u32| json!({"id": run.execution(step), "execution_status": "completed"});
    for (of_other, taken) in [("running", ended(other, 3)), ("paused", ended(paused, 0))] {
        let server = Server::start().await;
        let due = (0..100).rev().map(|step| entry(paused, step, "critical")).chain([entry(other, 3, "low")]);
        server.views.page(Resource::Executions, [Paged { items: due.collect(), next: None }]);
        server.views.show([status(paused, "paused"), status(other, of_other), taken.clone()]);
        let answer =
            server.send(admin(Method::POST, PATH).set_payload(json!({"auto_execute": true}).to_string())).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
        assert_eq!(answer.json()["execution_queue_id"], taken["id"], "where the other is {of_other}");
        assert_eq!(server.views.unshown(), 0, "each run is asked for once");
    }
}
