//! A flow that tells people in three places, by the real binary: what arrives, what is logged, and whose inbox it is.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::providers::{slack, teams};
use super::support::{Installation, SERVICE_KEY, Server, StoreKind, USER};

/// Another user, with a tenant of their own.
const OTHER: &str = "0190a000-0000-7000-8000-000000000008";
/// A group of both.
const GROUP: &str = "0190a000-0000-7000-8000-000000000009";

/// Who asks, in which organization.
#[derive(Clone, Copy)]
struct Who(&'static str, Option<&'static str>);

const ME: Who = Who(USER, None);
const STRANGER: Who = Who(OTHER, None);
const COLLEAGUE: Who = Who(OTHER, Some(GROUP));

async fn ask(server: &Server, who: Who, method: Method, path: &str, body: Option<Value>) -> (StatusCode, Value) {
    let mut request = server.http.request(method, format!("{}{path}", server.url)).bearer_auth(SERVICE_KEY);
    request = request.header("X-User-Id", who.0);
    if let Some(group) = who.1 {
        request = request.header("X-Organization-Id", group);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let response = request.send().await.expect("the server answers");
    let status = response.status();
    (status, response.json().await.expect("JSON"))
}

async fn get(server: &Server, who: Who, path: &str) -> Value {
    let (status, body) = ask(server, who, Method::GET, path, None).await;
    assert_eq!(status, StatusCode::OK, "GET {path}: {body}");
    body
}

fn tell(id: &str, target: &str, payload: &Value) -> Value {
    json!({"id": id, "config": {"action_type": "send_notification", "action_target": target, "action_payload": payload}})
}

/// Saves a flow, runs it and gives the run once it has ended.
async fn run(server: &Server, who: Who, name: &str, steps: &[Value], context: &Value) -> Value {
    let flow = json!({"flow_name": name, "trigger_type": "manual", "flow_steps": steps,
        "retry_policy": {"max_attempts": 2, "backoff_seconds": 0.01}});
    let (status, saved) = ask(server, who, Method::POST, "/api/v1/flows", Some(flow)).await;
    assert_eq!(status, StatusCode::CREATED, "{saved}");
    let path = format!("/api/v1/flows/{name}/trigger");
    let (_, accepted) = ask(server, who, Method::POST, &path, Some(json!({"trigger_context": context}))).await;
    let path = format!("/api/v1/runs/{}", accepted["id"].as_str().expect("a run"));
    let started = std::time::Instant::now();
    loop {
        assert!(started.elapsed().as_secs() < 60, "the run does not end");
        let run = get(server, who, &path).await;
        if !run["completed_at"].is_null() {
            return run;
        }
    }
}

fn field<'a>(rows: &'a Value, name: &str) -> Vec<&'a Value> {
    rows["items"].as_array().expect("items").iter().map(|row| &row[name]).collect()
}

async fn three_places(kind: StoreKind) {
    let (slack, teams) = (slack::start(), teams::start());
    let installation = Installation::new(kind).await;
    let server = Server::start(&installation);
    slack.refuse(slack::rate_limited("1"));
    let steps = vec![
        tell(
            "chat",
            "slack",
            &json!({"url": format!("{}{}", slack.url, slack::GOOD), "text": "{{ trigger.host }} is down"}),
        ),
        tell(
            "team",
            "teams",
            &json!({"url": format!("{}{}", teams.url, teams::GOOD), "title": "Down",
            "text": "{{ trigger.host }}", "facts": [{"title": "Since", "value": "{{ trigger.minutes }}"}]}),
        ),
        tell(
            "inbox",
            "in_app",
            &json!({"title": "{{ trigger.host }} is down", "message": "Look at it.", "type": "alert",
            "metadata": {"host": "{{ trigger.host }}"}}),
        ),
    ];
    let run = run(&server, ME, "tell-everybody", &steps, &json!({"host": "web-1", "minutes": 7})).await;
    assert_eq!(run["run_status"], "completed", "{run}");
    assert_eq!(slack.shown(), [json!({"text": "web-1 is down"})]);
    assert_eq!(slack.keys()[0], slack.keys()[1]);
    let shown = teams.shown();
    assert_eq!(shown[0]["body"][2]["facts"], json!([{"title": "Since", "value": "7"}]));
    assert_eq!((shown.len(), &shown[0]["body"][1]["text"]), (1, &json!("web-1")));
    what_is_logged(&server, &installation, &run, [&slack.url, &teams.url]).await;
    the_inbox(&server, &run).await;
    colleagues(&server).await;
    what_fails(&server, &slack.url).await;
}

/// Four attempts, the first of which was asked for patience; the addresses are nowhere.
async fn what_is_logged(server: &Server, installation: &Installation, run: &Value, urls: [&str; 2]) {
    let id = run["id"].as_str().expect("an id");
    let log = get(server, ME, &format!("/api/v1/execution-log?flow_run_id={id}")).await;
    let shown = log.to_string() + &get(server, ME, &format!("/api/v1/executions?flow_run_id={id}")).await.to_string();
    assert!(!shown.contains("planted"), "{shown}");
    let server_log = std::fs::read_to_string(installation.dir.path().join("server.log")).expect("a log");
    assert!(!server_log.contains("planted"), "{server_log}");
    // By step and attempt, the last first.
    assert_eq!(field(&log, "integration_name"), ["in_app", "teams", "slack", "slack"]);
    assert_eq!(field(&log, "http_status_code"), [&json!(null), &json!(202), &json!(200), &json!(429)]);
    let hidden = urls.map(|url| json!(format!("{url}/[redacted]")));
    assert_eq!(field(&log, "integration_endpoint"), [&json!(null), &hidden[1], &hidden[0], &hidden[0]]);
    let patience = &log["items"][3];
    assert_eq!(patience["action_payload"], json!({"url": hidden[0], "text": "web-1 is down"}));
    assert_eq!(patience["execution_error"], "429 Too Many Requests: rate_limited");
    assert_eq!(patience["execution_error_code"], "rate_limited");
    let time = |row: &Value, name: &str| {
        chrono::DateTime::parse_from_rfc3339(row[name].as_str().expect("a time")).expect("a time")
    };
    let waited = time(&log["items"][2], "started_at") - time(patience, "completed_at");
    assert!(waited.num_milliseconds() >= 990, "Retry-After was a second, the next attempt came after {waited}");
}

/// One notification, its user's own, with its marks.
async fn the_inbox(server: &Server, run: &Value) {
    let inbox = get(server, ME, "/api/v1/notifications").await;
    let row = &inbox["items"][0];
    let id = row["id"].as_str().expect("an id");
    let path = |verb: &str| format!("/api/v1/notifications/{id}/{verb}");
    assert_eq!(inbox["items"].as_array().map(Vec::len), Some(1));
    for (name, value) in [
        ("title", json!("web-1 is down")),
        ("message", json!("Look at it.")),
        ("type", json!("alert")),
        ("severity", json!("high")),
        ("status", json!("unread")),
        ("metadata", json!({"host": "web-1"})),
        ("user_id", json!(USER)),
        ("tenant_id", json!(USER)),
        ("action_url", json!(null)),
        ("read_at", json!(null)),
    ] {
        assert_eq!(row[name], value, "{name}");
    }
    let log = get(server, ME, &format!("/api/v1/execution-log?flow_run_id={}", run["id"].as_str().expect("id"))).await;
    assert_eq!(log["items"][0]["execution_result"], json!({"notification_id": id}));
    assert_eq!(row["execution_queue_id"], log["items"][0]["execution_queue_id"]);
    for (filter, count) in [("status=unread&type=alert&severity=high", 1), ("status=read", 0), ("type=info", 0)] {
        let found = get(server, ME, &format!("/api/v1/notifications?{filter}")).await;
        assert_eq!(found["items"].as_array().map(Vec::len), Some(count), "{filter}");
    }
    assert_eq!(get(server, ME, "/api/v1/notifications/unread-count").await, json!({"unread_count": 1}));

    assert_eq!(get(server, STRANGER, "/api/v1/notifications").await["items"], json!([]));
    assert_eq!(get(server, STRANGER, "/api/v1/notifications/unread-count").await, json!({"unread_count": 0}));
    for verb in ["read", "archive"] {
        let (status, _) = ask(server, STRANGER, Method::POST, &path(verb), None).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{verb}");
    }
    let (_, read) = ask(server, STRANGER, Method::POST, "/api/v1/notifications/read-all", None).await;
    assert_eq!(read, json!({"read_count": 0}));
    assert_eq!(server.get_platform("/api/v1/notifications/unread-count").await, json!({"unread_count": 1}));

    let (status, read) = ask(server, ME, Method::POST, &path("read"), None).await;
    assert_eq!((status, &read["status"], read["read_at"].is_string()), (StatusCode::OK, &json!("read"), true));
    let (_, archived) = ask(server, ME, Method::POST, &path("archive"), None).await;
    assert_eq!((&archived["status"], &archived["read_at"]), (&json!("archived"), &read["read_at"]));
    assert_eq!(get(server, ME, "/api/v1/notifications?status=archived").await["items"], json!([archived]));
}

/// Within an organization a flow may tell a colleague; whoever started it has nothing in their own inbox.
async fn colleagues(server: &Server) {
    let mine = Who(USER, Some(GROUP));
    let note = |id: &str| tell(id, "in_app", &json!({"title": "Your turn", "message": "Please.", "user_id": OTHER}));
    let run = run(server, mine, "hand-over", &[note("one"), note("two")], &json!({})).await;
    assert_eq!(run["run_status"], "completed", "{run}");
    assert_eq!(get(server, COLLEAGUE, "/api/v1/notifications/unread-count").await, json!({"unread_count": 2}));
    for who in [mine, STRANGER, ME] {
        assert_eq!(get(server, who, "/api/v1/notifications?status=unread").await["items"], json!([]), "{}", who.0);
    }
    let (_, read) = ask(server, COLLEAGUE, Method::POST, "/api/v1/notifications/read-all", None).await;
    assert_eq!(read, json!({"read_count": 2}));
    assert_eq!(get(server, COLLEAGUE, "/api/v1/notifications/unread-count").await, json!({"unread_count": 0}));
}

/// A final refusal ends the run at once, in the provider's words; a mistake is refused when the flow is saved.
async fn what_fails(server: &Server, slack: &str) {
    let (archived, _, words) = slack::OTHERS[0];
    let steps = vec![tell("chat", "slack", &json!({"url": format!("{slack}{archived}"), "text": "x"}))];
    let run = run(server, ME, "tell-nobody", &steps, &json!({})).await;
    assert_eq!(run["run_status"], "failed");
    let log = get(server, ME, &format!("/api/v1/execution-log?flow_run_id={}", run["id"].as_str().expect("id"))).await;
    assert_eq!(field(&log, "execution_error"), [&json!(format!("410 Gone: {words}"))], "one attempt");

    let wrong = json!({"flow_name": "wrong", "trigger_type": "manual", "flow_steps": [
        tell("a", "slak", &json!({"text": "x"})), tell("b", "teams", &json!({"url": "https://x.example/", "facts": []})),
    ]});
    let (status, problem) = ask(server, ME, Method::POST, "/api/v1/flows", Some(wrong)).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{problem}");
    let pointers: Vec<&Value> = problem["errors"].as_array().expect("errors").iter().map(|e| &e["pointer"]).collect();
    assert_eq!(pointers, ["/flow_steps/1/config/action_payload/text"], "the other may come yet");
}

/// The process dies when the notification lies in the inbox and nobody knows yet: the next attempt finds it there.
async fn a_crash_after_the_delivery(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let armed = [("CORE314_FAILPOINTS", "attempt.after=kill@1".to_owned())];
    let mut dying = Server::start_with(&installation, &armed).expect("the server becomes ready");
    let steps = vec![tell("inbox", "in_app", &json!({"title": "Once", "message": "and once only"}))];
    let flow = json!({"flow_name": "once", "trigger_type": "manual", "flow_steps": steps,
        "retry_policy": {"max_attempts": 3, "backoff_seconds": 0.01}});
    dying.create("/api/v1/flows", flow).await;
    // It may die before it answers; the run is durable all the same.
    drop(dying.request(Method::POST, "/api/v1/flows/once/trigger", Some(json!({}))).await);
    dying.wait();

    let server = Server::start(&installation);
    let started = std::time::Instant::now();
    while server.all("/api/v1/runs?run_status=completed").await.is_empty() {
        assert!(started.elapsed().as_secs() < 60, "the run does not end");
    }
    let log = get(&server, ME, "/api/v1/execution-log").await;
    assert_eq!(field(&log, "execution_error_code"), [&json!(null), &json!("outcome_unknown")]);
    let inbox = get(&server, ME, "/api/v1/notifications").await;
    assert_eq!(field(&inbox, "title"), ["Once"]);
    assert_eq!(log["items"][0]["execution_result"], json!({"notification_id": inbox["items"][0]["id"]}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_crash_after_the_delivery_on_sqlite() {
    a_crash_after_the_delivery(StoreKind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_crash_after_the_delivery_on_postgres() {
    a_crash_after_the_delivery(StoreKind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn three_places_on_sqlite() {
    three_places(StoreKind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn three_places_on_postgres() {
    three_places(StoreKind::Postgres).await;
}
