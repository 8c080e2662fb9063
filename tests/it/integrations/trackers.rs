//! `create_task` against trackers: made once, found again after a lost answer, changed, closed, refused.

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{done, refused, run, secret, start, step};
use crate::providers::{Provider, Reply, github, gitlab, jira, linear};
use crate::support::{SECRET_KEY, Server, StoreKind};

/// One tracker of each kind.
struct Trackers {
    github: Arc<Provider>,
    gitlab: Arc<Provider>,
    jira: Arc<Provider>,
    linear: Arc<Provider>,
}

impl Trackers {
    async fn start(server: &Server) -> Self {
        let all =
            Self { github: github::start(), gitlab: gitlab::start(), jira: jira::start(), linear: linear::start() };
        let secrets =
            [("GITHUB", github::TOKEN), ("GITLAB", gitlab::TOKEN), ("JIRA", jira::TOKEN), ("LINEAR", linear::KEY)];
        for (name, value) in secrets {
            secret(server, name, value).await;
        }
        let gitlab = format!("{}/api/v4/", all.gitlab.url);
        let linear = format!("{}/graphql", all.linear.url);
        for body in [
            json!({"name": "code", "kind": "github", "endpoint": all.github.url, "credentials": {"token": "secrets.GITHUB"},
                "settings": {"project": github::REPOSITORY}}),
            json!({"name": "lab", "kind": "gitlab", "endpoint": gitlab, "credentials": {"token": "secrets.GITLAB"}}),
            json!({"name": "desk", "kind": "jira", "endpoint": all.jira.url, "credentials": {"token": "secrets.JIRA"},
                "settings": {"project": jira::PROJECT, "email": jira::EMAIL}}),
            json!({"name": "line", "kind": "linear", "endpoint": linear, "credentials": {"api_key": "secrets.LINEAR"},
                "settings": {"project": linear::TEAM}}),
        ] {
            done(server, Method::POST, "/api/v1/integrations", body).await;
        }
        all
    }

    fn each(&self) -> [(&str, &Provider); 4] {
        [("code", &self.github), ("lab", &self.gitlab), ("desk", &self.jira), ("line", &self.linear)]
    }
}

fn task(id: &str, target: &str, payload: &Value) -> Value {
    let mut step = step(id, "create_task", target, payload.clone());
    step["retry"] = json!({"max_attempts": 3, "backoff_seconds": 0.01});
    step
}

/// The result of a step's last attempt.
fn result(log: &[Value], step: u64) -> &Value {
    let last = log.iter().filter(|row| row["step_no"] == step).max_by_key(|row| row["retry_attempt"].as_u64());
    let row = last.unwrap_or_else(|| panic!("no step {step}: {log:?}"));
    assert_eq!(row["execution_status"], "completed", "{row}");
    &row["execution_result"]
}

async fn made_changed_and_closed(kind: StoreKind) {
    let (_installation, server) = start(kind).await;
    let trackers = Trackers::start(&server).await;
    let new = |id: &str, target: &str, more: Value| {
        let mut payload = json!({"title": "{{ trigger.host }} is down", "description": "It is.\nLook.\n\nNow."});
        payload.as_object_mut().expect("it is one").extend(more.as_object().expect("it is one").clone());
        task(id, target, &payload)
    };
    let close = |id: &str, target: &str, of: &str, more: Value| {
        let mut payload = json!({"operation": "close", "id": format!("{{{{ steps.{of}.output.id }}}}")});
        payload.as_object_mut().expect("it is one").extend(more.as_object().expect("it is one").clone());
        task(id, target, &payload)
    };
    let label = "7f2c0d6e-1f7b-4a3e-9d5c-3b1a2c4d5e6f";
    let steps = vec![
        new("hub", "code", json!({"labels": ["bug"], "assignees": ["octocat"], "fields": {"milestone": 2}})),
        new(
            "lab",
            "lab",
            json!({"project": gitlab::PROJECT, "labels": ["a", "b"], "assignees": [7], "due_date": "2030-01-31"}),
        ),
        new("desk", "desk", json!({"issue_type": "Bug", "labels": ["a"], "assignees": ["5b10"]})),
        new("line", "line", json!({"labels": [label], "fields": {"priority": 2}})),
        close("hub-end", "code", "hub", json!({"description": "It was the fan."})),
        close("lab-end", "lab", "lab", json!({"project": gitlab::PROJECT})),
        close("desk-end", "desk", "desk", json!({"title": "web-1 was down"})),
        close("line-end", "line", "line", json!({})),
    ];
    // A second time each is refused for its pace, and asked again.
    trackers.github.refuse(github::too_fast("1"));
    trackers.gitlab.refuse(Reply::text(429, "Retry later").retry_after("0"));
    trackers.jira.refuse(Reply::text(429, "Rate limit exceeded").retry_after("0"));
    trackers.linear.refuse(linear::rate_limited());
    let log = run(&server, "tickets", steps, json!({"host": "web-1"})).await;
    for (step, id, url) in [
        (0, json!(1), "https://github.com/octo/hello/issues/1"),
        (1, json!(1), "https://gitlab.com/group/app/-/issues/1"),
        (2, json!("OPS-1"), &*format!("{}/browse/OPS-1", trackers.jira.url)),
        (3, json!("ENG-1"), "https://linear.app/octo/issue/ENG-1"),
    ] {
        let task = result(&log, step);
        assert_eq!((&task["id"], &task["url"], &task["was_there"]), (&id, &json!(url), &json!(false)), "{task}");
        let first = log.iter().find(|row| row["step_no"] == step && row["execution_status"] == "failed");
        let first = first.unwrap_or_else(|| panic!("step {step} was refused once: {log:?}"));
        assert_eq!(first["execution_error_code"], "rate_limited", "{first}");
    }
    for (step, state) in [(4, "closed"), (5, "closed"), (6, "Done"), (7, "Done")] {
        assert_eq!(result(&log, step)["state"], state, "step {step}");
    }
    what_the_trackers_have(&trackers, label);
    once_though_answers_are_lost(&server, &trackers).await;
    an_escalation_makes_a_ticket(&server, &trackers).await;
    what_fails(&server, &trackers).await;
    let said = server.get("/api/v1/execution-log?limit=500").await.to_string();
    assert!(!said.contains("planted"), "{said}");
}

fn what_the_trackers_have(trackers: &Trackers, label: &str) {
    let [hub, lab, desk, line] = trackers.each().map(|(_, tracker)| {
        let kept = tracker.shown();
        assert_eq!(kept.len(), 1, "one task each: {kept:?}");
        kept[0].clone()
    });
    assert_eq!(
        (&hub["title"], &hub["milestone"], &hub["assignees"]),
        (&json!("web-1 is down"), &json!(2), &json!(["octocat"]))
    );
    assert_eq!((&hub["body"], &hub["state_reason"]), (&json!("It was the fan."), &json!("completed")));
    assert_eq!(
        (&lab["labels"], &lab["assignee_ids"], &lab["due_date"]),
        (&json!(["a", "b"]), &json!([7]), &json!("2030-01-31"))
    );
    assert_eq!((&desk["fields"]["summary"], &desk["is_done"]), (&json!("web-1 was down"), &json!(true)));
    assert_eq!(desk["fields"]["description"]["content"].as_array().map(Vec::len), Some(2), "{desk}");
    assert_eq!((&line["priority"], &line["labelIds"]), (&json!(2), &json!([label])));
}

/// The task is made, its answer is lost: the next attempt finds it and makes no second one.
async fn once_though_answers_are_lost(server: &Server, trackers: &Trackers) {
    let mut steps = Vec::new();
    for (name, tracker) in trackers.each() {
        tracker.lose(Reply::text(502, "Bad Gateway"));
        let project = if name == "lab" { json!(gitlab::PROJECT) } else { json!(null) };
        steps.push(task(name, name, &json!({"title": "once", "project": project})));
    }
    let log = run(server, "once", steps, json!({})).await;
    for (step, (name, tracker)) in (0..).zip(trackers.each()) {
        assert_eq!(result(&log, step)["was_there"], true, "{name}: {log:?}");
        assert_eq!(log.iter().filter(|row| row["step_no"] == step).count(), 2, "{name}");
        assert_eq!(tracker.shown().len(), 2, "{name} has the task once");
    }
}

/// The message is the ticket's title and text, where the rule says none.
async fn an_escalation_makes_a_ticket(server: &Server, trackers: &Trackers) {
    let ticket = json!({"action": "create_ticket", "target": "code", "payload": {"labels": ["incident"]}});
    let rule = json!({"rule_name": "disk", "trigger_conditions": {"subject": "disk"},
        "escalation_levels": [{"level": 1, "actions": [ticket]}]});
    done(server, Method::POST, "/api/v1/escalation-rules", rule).await;
    let failure = json!({"escalation_reason": "disk is full", "trigger_context": {"subject": "disk"}});
    done(server, Method::POST, "/functions/v1/escalation-handler", failure).await;
    let started = std::time::Instant::now();
    while trackers.github.shown().len() < 3 {
        assert!(started.elapsed().as_secs() < 60, "no ticket: {}", server.get("/api/v1/escalation-outbox").await);
    }
    let made = trackers.github.shown()[2].clone();
    assert_eq!(made["labels"], json!(["incident"]));
    assert!(made["title"].as_str().is_some_and(|title| title.contains("disk")), "{made}");
    assert!(
        made["body"].as_str().is_some_and(|text| text.contains("rule disk, level 1") && text.contains("disk is full")),
        "{made}"
    );
    let rule =
        json!({"rule_name": "no", "escalation_levels": [{"level": 1, "actions": [{"action": "create_ticket"}]}]});
    let says = refused(server, Method::POST, "/api/v1/escalation-rules", rule, StatusCode::UNPROCESSABLE_ENTITY).await;
    assert!(says.contains("names no integration"), "{says}");
}

async fn what_fails(server: &Server, trackers: &Trackers) {
    secret(server, "WRONG", "not-the-token").await;
    let wrong = json!({"name": "wrong", "kind": "github", "endpoint": trackers.github.url,
        "credentials": {"token": "secrets.WRONG"}});
    done(server, Method::POST, "/api/v1/integrations", wrong).await;
    let steps = vec![
        task("key", "wrong", &json!({"title": "x", "project": github::REPOSITORY})),
        task("astray", "code", &json!({"title": "x", "project": "../../admin"})),
        task("missing", "lab", &json!({"title": "x", "project": "group/none"})),
        task("refused", "desk", &json!({"title": "x", "issue_type": "Epos"})),
        task("gone", "line", &json!({"operation": "update", "id": "ENG-99", "title": "x"})),
    ];
    let log = run(server, "failing", steps, json!({})).await;
    assert_eq!(log.len(), 5, "none is tried again: {log:?}");
    for (row, code, words) in [
        (&log[0], "http_status", "Bad credentials"),
        (&log[1], "invalid_payload", "is no repository"),
        (&log[2], "http_status", "404 Project Not Found"),
        (&log[3], "http_status", "Specify a valid issue type"),
        (&log[4], "http_status", "Entity not found: Issue"),
    ] {
        assert_eq!(row["execution_error_code"], code, "{row}");
        assert!(row["execution_error"].as_str().is_some_and(|error| error.contains(words)), "{words}: {row}");
    }
    for (target, payload, words) in [
        ("", json!({"title": "x"}), "names no integration"),
        ("code", json!({"description": "x"}), "/title"),
        ("lab", json!({"title": "x"}), "unless the integration has a setting 'project'"),
    ] {
        let flow = json!({"flow_name": "no", "trigger_type": "manual", "flow_steps": [task("a", target, &payload)]});
        let says = refused(server, Method::POST, "/api/v1/flows", flow, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(says.contains(words), "{words}: {says}");
    }
}

/// The server dies between the making of a task and its record: the next process finds the task.
async fn once_through_a_crash(kind: StoreKind) {
    let (installation, mut server) = start(kind).await;
    let trackers = Trackers::start(&server).await;
    let environment = [("CORE314_SECRET_KEY", SECRET_KEY.to_owned())];
    for (name, tracker) in trackers.each() {
        tracker.hang();
        let project = if name == "lab" { json!(gitlab::PROJECT) } else { json!(null) };
        let steps = [task("a", name, &json!({"title": "x", "project": project}))];
        let flow = json!({"flow_name": format!("crash-{name}"), "trigger_type": "manual", "flow_steps": steps});
        done(&server, Method::POST, "/api/v1/flows", flow).await;
        let path = format!("/api/v1/flows/crash-{name}/trigger");
        let run = done(&server, Method::POST, &path, json!({})).await;
        let started = std::time::Instant::now();
        while tracker.shown().is_empty() {
            assert!(started.elapsed().as_secs() < 60, "{name} gets no task");
            tokio::task::yield_now().await;
        }
        server.kill();
        server = Server::start_with(&installation, &environment).expect("the server becomes ready");
        let path = format!("/api/v1/runs/{}", run["id"].as_str().expect("a run"));
        while server.get(&path).await["completed_at"].is_null() {
            assert!(started.elapsed().as_secs() < 60, "{name}: the run does not end");
        }
        assert_eq!(tracker.shown().len(), 1, "{name} has the task once");
        let log =
            server.all(&format!("/api/v1/execution-log?flow_run_id={}", run["id"].as_str().expect("a run"))).await;
        assert_eq!(result(&log, 0)["was_there"], true, "{name}: {log:?}");
        assert!(log.iter().any(|row| row["execution_error_code"] == "outcome_unknown"), "{name}: {log:?}");
    }
}

#[tokio::test]
async fn a_task_is_made_once_through_a_crash_on_sqlite() {
    once_through_a_crash(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn a_task_is_made_once_through_a_crash_on_postgres() {
    once_through_a_crash(StoreKind::Postgres).await;
}

#[tokio::test]
async fn tasks_are_made_once_changed_and_closed_on_sqlite() {
    made_changed_and_closed(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn tasks_are_made_once_changed_and_closed_on_postgres() {
    made_changed_and_closed(StoreKind::Postgres).await;
}
