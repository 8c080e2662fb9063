//! Webhooks as providers call them: signed, mis-signed, out of the window, delivered twice, on both stores.

mod providers;

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::support::{Installation, SECRET_KEY, Server, StoreKind};
use providers::{STANDARD_SECRET, providers};

const UNKNOWN: &str = "0190a000-0000-7000-8000-0000000000ff";

/// A server that can seal secrets.
async fn start(kind: StoreKind) -> (Installation, Server) {
    let installation = Installation::new(kind).await;
    let environment =
        [("CORE314_SECRET_KEY", SECRET_KEY.to_owned()), ("CORE314_LOG", "debug,sqlx=off,hyper=off".to_owned())];
    let server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    (installation, server)
}

/// A flow that starts by webhook under these conditions.
fn flow(name: &str, conditions: &Value) -> Value {
    json!({
        "flow_name": name, "trigger_type": "webhook", "conditions": conditions,
        "flow_steps": [{"id": "note", "config": {"action_type": "transform", "action_payload": {"seen": "{{ trigger }}"}}}],
    })
}

fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() as i64
}

/// Makes a webhook and gives it as it was answered.
async fn webhook(server: &Server, name: &str, more: &Value) -> Value {
    let mut body = json!({"name": name, "trigger_type": "webhook"});
    for (field, value) in more.as_object().expect("an object") {
        body[field] = value.clone();
    }
    server.create("/api/v1/webhooks", body).await
}

fn path(made: &Value) -> String {
    let url = made["url"].as_str().expect("a webhook has a url");
    url[url.find("/hooks/").expect("its path")..].to_owned()
}

fn id(made: &Value) -> &str {
    made["id"].as_str().expect("an id")
}

/// Posts a delivery.
async fn post(server: &Server, path: &str, headers: &[(&str, String)], body: &str) -> (StatusCode, Value) {
    let mut request = server.http.post(format!("{}{path}", server.url)).body(body.to_owned());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        request = request.header("Content-Type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let response = request.send().await.expect("the server answers");
    let status = response.status();
    let text = response.text().await.expect("a body");
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn deliveries(server: &Server, made: &Value) -> Vec<Value> {
    server.all(&format!("/api/v1/webhooks/{}/deliveries", id(made))).await
}

/// The deliveries once there are so many: those that nothing waits for come with a later commit.
async fn deliveries_until(server: &Server, made: &Value, count: usize) -> Vec<Value> {
    let started = std::time::Instant::now();
    loop {
        let found = deliveries(server, made).await;
        if found.len() >= count {
            return found;
        }
        assert!(started.elapsed().as_secs() < 60, "{count} deliveries do not come: {found:?}");
    }
}

async fn refused(server: &Server) -> u64 {
    let text = server.get_text("/metrics").await;
    let line = text.lines().find(|line| line.starts_with("core314_webhooks_refused_total ")).expect("the metric");
    line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number")
}

async fn each_provider_is_verified(kind: StoreKind) {
    let (installation, server) = start(kind).await;
    server.create("/api/v1/flows", flow("any", &Value::Null)).await;
    let (mut runs, mut bad) = (0, 0);
    for provider in providers() {
        let name = provider.name;
        let mut more = provider.webhook.clone();
        more["secret"] = json!(provider.secret);
        let made = webhook(&server, name, &more).await;
        assert_eq!(made["secret"], provider.secret, "{name}");
        let (path, body, now) = (path(&made), provider.body.to_string(), now_s());
        let signed = |body: &str, at_s: i64, secret: &str| (provider.headers)(body, "msg_1", at_s, secret);
        let good = signed(&body, now, provider.secret);
        let (status, first) = post(&server, &path, &good, &body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{name}: {first}");
        runs += 1;
        // The same request again, as an eavesdropper or a provider without an answer sends it.
        assert_eq!(post(&server, &path, &good, &body).await, (status, first.clone()), "{name}");
        // The provider's own repetition: signed again, a second later.
        let again = signed(&body, now + 1, provider.secret);
        assert_eq!(post(&server, &path, &again, &body).await, (status, first.clone()), "{name}");
        let other_secret = STANDARD_SECRET.replace('M', "N");
        let mut wrong = vec![
            (signed(&body, now, &other_secret), body.clone()),
            (good.clone(), body.replace('1', "2")),
            (Vec::new(), body.clone()),
        ];
        if provider.has_window {
            wrong.push((signed(&body, now - 400, provider.secret), body.clone()));
            wrong.push((signed(&body, now + 400, provider.secret), body.clone()));
        }
        for (headers, body) in &wrong {
            let (status, answer) = post(&server, &path, headers, body).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED, "{name} {headers:?}: {answer}");
        }
        bad += wrong.len() as u64;
        let kept = deliveries_until(&server, &made, 3).await;
        let statuses: Vec<&str> = kept.iter().map(|row| row["delivery_status"].as_str().expect("a word")).collect();
        assert_eq!(statuses, ["duplicate", "duplicate", "accepted"], "{name}: what was refused is not kept");
        assert!(kept.iter().all(|row| row["run_ids"] == first["run_ids"]), "{name}: {kept:?}");
        let run = server.get(&format!("/api/v1/runs/{}", first["run_ids"][0].as_str().expect("a run"))).await;
        assert_eq!(run["trigger_context"], provider.body, "{name}");
        let stored = installation.rows("SELECT CAST(secrets AS text) FROM webhooks").await.join("\n");
        assert!(stored.contains("sealed") && !stored.contains(provider.secret), "{name}: {stored}");
    }
    assert_eq!(server.all("/api/v1/runs").await.len(), runs, "nothing started twice");
    assert_eq!(refused(&server).await, bad);
    let audit = server.all("/api/v1/audit-log?event_type=webhook_created").await;
    assert_eq!(audit.len(), 4);
}

/// What Alertmanager's documentation shows of its payload, version 4.
fn alert(severity: &str, starts_at: &str) -> Value {
    json!({
        "version": "4", "groupKey": "{}:{alertname=\"HostDown\"}", "truncatedAlerts": 0, "status": "firing",
        "receiver": "core314", "groupLabels": {"alertname": "HostDown"}, "commonLabels": {"severity": severity},
        "commonAnnotations": {}, "externalURL": "http://alertmanager:9093",
        "alerts": [{"status": "firing", "labels": {"alertname": "HostDown", "severity": severity}, "annotations": {},
            "startsAt": starts_at, "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "", "fingerprint": "f"}],
    })
}

async fn a_key_of_ones_own_names_deliveries(kind: StoreKind) {
    let (_installation, server) = start(kind).await;
    server.create("/api/v1/flows", flow("down", &json!("trigger.commonLabels.severity == 'critical'"))).await;
    let more = json!({"verification": "bearer", "dedup_key": "trigger.groupKey + trigger.status"});
    let made = webhook(&server, "alertmanager", &more).await;
    let token = vec![("Authorization", format!("Bearer {}", made["secret"].as_str().expect("a secret")))];
    let send = async |body: Value| post(&server, &path(&made), &token, &body.to_string()).await;
    let (status, first) = send(alert("critical", "2026-01-01T00:00:00Z")).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{first}");
    // Alertmanager repeats what still fires with another body: the key says that it is the same.
    assert_eq!(send(alert("critical", "2026-01-01T00:05:00Z")).await, (status, first));
    let mut other = alert("low", "2026-01-01T00:00:00Z");
    other["groupKey"] = json!("other");
    let (status, left) = send(other).await;
    assert_eq!((status, &left["run_ids"]), (StatusCode::OK, &json!([])), "{left}");
    let kept = deliveries_until(&server, &made, 3).await;
    let low = kept.iter().find(|row| row["delivery_status"] == "no_match").expect("it is durable before its answer");
    assert_eq!(low["body"]["commonLabels"]["severity"], "low");
    assert!(low["headers"].get("authorization").is_none(), "{low}");
    let at = format!("/api/v1/webhooks/{}/deliveries/{}", id(&made), id(low));
    assert_eq!(server.get(&at).await, *low);
    let why = server.get(&format!("{at}/why-not")).await;
    assert_eq!(why["why_not"][0]["clause"], "trigger.commonLabels.severity == 'critical'");
    assert_eq!(why["why_not"][0]["flow_name"], "down");
    let (status, broken) = send(json!({"no": "group"})).await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{broken}");
    let kept = deliveries_until(&server, &made, 4).await;
    assert!(kept[0]["error"].as_str().expect("why it failed").contains("dedup_key"), "{kept:?}");
    let one = server.get(&format!("/api/v1/webhooks/{}/deliveries?delivery_status=failed", id(&made))).await;
    assert_eq!(one["items"].as_array().map(Vec::len), Some(1));
    let first = server.get(&format!("/api/v1/webhooks/{}/deliveries?limit=3", id(&made))).await;
    let cursor = first["next_cursor"].as_str().expect("there is one more");
    let rest = server.get(&format!("/api/v1/webhooks/{}/deliveries?limit=3&cursor={cursor}", id(&made))).await;
    let paged = [first["items"].as_array().expect("items").clone(), rest["items"].as_array().expect("items").clone()];
    assert_eq!((paged.concat(), &rest["next_cursor"]), (kept, &Value::Null), "both kinds share one order");
}

async fn a_stranger_cannot_tell_one_no_from_another(kind: StoreKind) {
    let (installation, server) = start(kind).await;
    let by_url = webhook(&server, "url", &json!({})).await;
    let github = webhook(&server, "github", &json!({"verification": "github"})).await;
    let asleep = webhook(&server, "asleep", &json!({"is_active": false})).await;
    let bearer = webhook(&server, "bearer", &json!({"verification": "bearer"})).await;
    let wrong = "A".repeat(43);
    let secret = path(&by_url).rsplit('/').next().expect("the secret").to_owned();
    let paths = [
        format!("/hooks/{}", id(&by_url)),
        format!("/hooks/{}/{wrong}", id(&by_url)),
        path(&asleep),
        path(&github),
        format!("/hooks/{}/{}", id(&github), github["secret"].as_str().expect("a secret")),
        path(&bearer),
        format!("/hooks/{UNKNOWN}"),
        format!("/hooks/{UNKNOWN}/{secret}"),
        "/hooks/none".to_owned(),
        "/hooks/none/none".to_owned(),
    ];
    let mut answers = Vec::new();
    for path in &paths {
        let (status, mut answer) = post(&server, path, &[("X-Request-Id", "r".to_owned())], "{}").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "{path}: {answer}");
        let instance = answer["instance"].take();
        assert!(!instance.as_str().expect("a path").contains(&secret), "{instance}");
        answers.push(answer);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    let large = "x".repeat(2 << 20);
    let known = post(&server, &path(&github), &[], &large).await.0;
    let unknown = post(&server, &format!("/hooks/{UNKNOWN}"), &[], &large).await.0;
    assert_eq!((known, unknown), (StatusCode::PAYLOAD_TOO_LARGE, StatusCode::PAYLOAD_TOO_LARGE));
    assert_eq!(post(&server, &path(&by_url), &[], r#"{"a": 1}"#).await.0, StatusCode::OK, "the right one is let in");
    let log = std::fs::read_to_string(installation.dir.path().join("server.log")).expect("the server's log");
    assert!(log.contains("/***"), "requests are logged");
    assert!(!log.contains(&secret), "the log holds the secret");
}

async fn every_form_of_body_is_read(kind: StoreKind) {
    let (_installation, server) = start(kind).await;
    server.create("/api/v1/flows", flow("any", &Value::Null)).await;
    let made = webhook(&server, "forms", &json!({})).await;
    let event = json!({"specversion": "1.0", "id": "e1", "source": "/shop", "type": "paid", "data": {"n": 1}});
    let attributes = json!({"specversion": "1.0", "id": "e2", "source": "/shop", "type": "paid"});
    let binary: Vec<(&str, String)> =
        [("ce-specversion", "1.0"), ("ce-id", "e2"), ("ce-source", "/shop"), ("ce-type", "paid")]
            .map(|(name, value)| (name, value.to_owned()))
            .into();
    let typed = |media_type: &str| vec![("Content-Type", media_type.to_owned())];
    let form = typed("application/x-www-form-urlencoded");
    let mut structured = event.clone();
    structured.as_object_mut().expect("an object").remove("data");
    let mut with_type = attributes;
    with_type["datacontenttype"] = json!("application/json");
    for (headers, body, trigger, attributes) in [
        (form.clone(), "a=1&b=x+y".to_owned(), json!({"a": "1", "b": "x y"}), Value::Null),
        (
            form,
            "payload=%7B%22type%22%3A%22block_actions%22%7D".to_owned(),
            json!({"type": "block_actions"}),
            Value::Null,
        ),
        (typed("text/plain"), "hello".to_owned(), json!("hello"), Value::Null),
        (typed("application/cloudevents+json"), event.to_string(), json!({"n": 1}), structured),
        (binary, r#"{"n":2}"#.to_owned(), json!({"n": 2}), with_type),
    ] {
        let (status, taken) = post(&server, &format!("{}?via=test", path(&made)), &headers, &body).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{body}: {taken}");
        let run = taken["run_ids"][0].as_str().expect("a run");
        assert_eq!(server.get(&format!("/api/v1/runs/{run}")).await["trigger_context"], trigger, "{body}");
        let delivery = server.get(&format!("/api/v1/webhooks/{}/deliveries/{run}", id(&made))).await;
        assert_eq!((&delivery["body"], &delivery["query"]), (&trigger, &json!({"via": "test"})), "{body}");
        if !attributes.is_null() {
            let again = post(&server, &path(&made), &headers, &body).await;
            assert_eq!(again, (status, taken), "an event is named by its source and id");
        }
    }
    server.create("/api/v1/flows", flow("paid", &json!("webhook.event.type == 'paid'"))).await;
    let event = json!({"specversion": "1.0", "id": "e3", "source": "/shop", "type": "paid"}).to_string();
    let (_, taken) = post(&server, &path(&made), &typed("application/cloudevents+json"), &event).await;
    let run = server.get(&format!("/api/v1/runs/{}", taken["run_ids"][0].as_str().expect("a run"))).await;
    assert_eq!(run["flow_name"], "paid", "conditions see the attributes");
    for (headers, body, expected) in [
        (typed("application/xml"), "<a/>", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (typed("application/json"), r#"{"a": 1, "a": 2}"#, StatusCode::BAD_REQUEST),
        (typed("application/cloudevents+json"), "{}", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(post(&server, &path(&made), &headers, body).await.0, expected, "{body}");
    }
    let failed = format!("/api/v1/webhooks/{}/deliveries?delivery_status=failed", id(&made));
    let started = std::time::Instant::now();
    while server.all(&failed).await.len() < 3 {
        assert!(started.elapsed().as_secs() < 60, "the failed deliveries are not kept");
    }
}

/// Rotates twice, with and without grace, and gives the path of the one secret that is left.
async fn two_secrets_are_valid_for_a_time(server: &Server, made: &Value) -> String {
    let at = format!("/api/v1/webhooks/{}/rotate", id(made));
    let rotate = async |body: Value| {
        let (status, rotated) = server.request(Method::POST, &at, Some(body)).await.expect("an answer");
        assert_eq!(status, StatusCode::OK, "{rotated}");
        path(&rotated)
    };
    let body = |n: u32| json!({"wanted": true, "id": n}).to_string();
    let second = rotate(json!({"grace_seconds": 3_600})).await;
    assert_eq!(post(server, &path(made), &[], &body(1)).await.0, StatusCode::ACCEPTED);
    assert_eq!(post(server, &second, &[], &body(2)).await.0, StatusCode::ACCEPTED);
    let third = rotate(json!({"grace_seconds": 0})).await;
    for (path, expected) in [
        (path(made), StatusCode::UNAUTHORIZED),
        (second, StatusCode::UNAUTHORIZED),
        (third.clone(), StatusCode::ACCEPTED),
    ] {
        assert_eq!(post(server, &path, &[], &body(3)).await.0, expected);
    }
    third
}

async fn a_webhook_is_changed_rotated_tried_and_removed(kind: StoreKind) {
    let (_installation, server) = start(kind).await;
    server.create("/api/v1/flows", flow("any", &json!("trigger.wanted == true"))).await;
    let made =
        webhook(&server, "shop", &json!({"respond": {"wait_seconds": 1, "body": {"ok": "{{ run.status }}"}}})).await;
    let at = format!("/api/v1/webhooks/{}", id(&made));
    let shown = server.get(&at).await;
    assert_eq!((&shown["version"], &shown["respond"]["wait_seconds"]), (&json!(1), &json!(1)));
    assert!(!shown.to_string().contains(made["secret"].as_str().expect("a secret")), "{shown}");
    assert_eq!(server.all("/api/v1/webhooks").await, [shown]);
    let patch = async |body: Value| server.request(Method::PATCH, &at, Some(body)).await.expect("an answer");
    let (status, changed) = patch(json!({"name": "store", "respond": null, "dedup_key": "trigger.id"})).await;
    assert_eq!(
        (status, &changed["version"], &changed["respond"]),
        (StatusCode::OK, &json!(2), &Value::Null),
        "{changed}"
    );
    let (status, problem) = patch(json!({"dedup_key": "trigger."})).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("/dedup_key")));
    let stale = server.http.patch(format!("{}{at}", server.url)).header("If-Match", "\"v1\"");
    let stale = stale.bearer_auth(super::support::SERVICE_KEY).header("X-User-Id", super::support::USER);
    let stale = stale.json(&json!({"is_active": false})).send().await.expect("an answer");
    assert_eq!(stale.status(), StatusCode::PRECONDITION_FAILED);
    // A delivery of one's own, which needs no secret.
    let test = format!("{at}/test");
    let wanted = json!({"body": {"wanted": true, "id": "t"}});
    let (status, tried) = server.request(Method::POST, &test, Some(wanted)).await.expect("an answer");
    assert_eq!(status, StatusCode::ACCEPTED, "{tried}");
    let delivery = server.get(&format!("{at}/deliveries/{}", tried["run_ids"][0].as_str().expect("a run"))).await;
    assert_eq!((&delivery["is_test"], &delivery["delivery_status"]), (&json!(true), &json!("accepted")));
    let nothing = json!({"body": {"wanted": false}, "headers": {"X-Kind": "k"}});
    let (status, _) = server.request(Method::POST, &test, Some(nothing)).await.expect("an answer");
    assert_eq!(status, StatusCode::OK);
    let kept = deliveries(&server, &made).await;
    assert_eq!((&kept[0]["is_test"], &kept[0]["headers"]["x-kind"]), (&json!(true), &json!("k")));
    let third = two_secrets_are_valid_for_a_time(&server, &made).await;
    let body = |n: u32| json!({"wanted": true, "id": n}).to_string();
    assert_eq!(patch(json!({"is_active": false})).await.0, StatusCode::OK);
    assert_eq!(post(&server, &third, &[], &body(4)).await.0, StatusCode::UNAUTHORIZED, "at once");
    assert_eq!(patch(json!({"is_active": true})).await.0, StatusCode::OK);
    let (status, _) = server.request(Method::DELETE, &at, None).await.expect("an answer");
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(post(&server, &third, &[], &body(5)).await.0, StatusCode::UNAUTHORIZED);
    for method in [Method::GET, Method::DELETE] {
        let (status, _) = server.request(method, &at, None).await.expect("an answer");
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
    let events = server.all(&format!("/api/v1/audit-log?subject_id={}", id(&made))).await;
    let mut events: Vec<&str> = events.iter().map(|row| row["event_type"].as_str().expect("a word")).collect();
    events.sort_unstable();
    let twice = |word| [word, word];
    let mut expected = vec!["webhook_created", "webhook_deleted"];
    expected.extend(twice("webhook_rotated"));
    expected.extend(["webhook_updated"; 3]);
    assert_eq!(events, expected);
}

async fn deliveries_are_bounded_and_survive_a_restart(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let environment = [("CORE314__ENGINE__KEPT_DELIVERIES", "5".to_owned())];
    let mut server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    let made = webhook(&server, "noise", &json!({})).await;
    for n in 0..70 {
        assert_eq!(post(&server, &path(&made), &[], &json!({"n": n}).to_string()).await.0, StatusCode::OK);
    }
    server.kill();
    // The first delivery that is kept after a start looks through the older ones.
    let server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    assert_eq!(post(&server, &path(&made), &[], r#"{"n": 70}"#).await.0, StatusCode::OK);
    let kept: Vec<i64> =
        deliveries(&server, &made).await.iter().map(|row| row["body"]["n"].as_i64().expect("a number")).collect();
    assert_eq!(kept, [70, 69, 68, 67, 66, 65], "the five newest, and the one that came then");
}

async fn without_a_key_nothing_is_sealed(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let server = Server::start(&installation);
    let body = json!({"name": "hub", "trigger_type": "webhook", "verification": "github"});
    let (status, problem) = server.request(Method::POST, "/api/v1/webhooks", Some(body)).await.expect("an answer");
    assert_eq!(status, StatusCode::CONFLICT, "{problem}");
    assert!(problem["detail"].as_str().expect("a text").contains("CORE314_SECRET_KEY"), "{problem}");
    webhook(&server, "plain", &json!({"verification": "bearer"})).await;
}

async fn slack_and_github_are_greeted(kind: StoreKind) {
    let (_installation, server) = start(kind).await;
    server.create("/api/v1/flows", flow("any", &Value::Null)).await;
    for provider in providers().into_iter().take(2) {
        let mut more = provider.webhook.clone();
        more["secret"] = json!(provider.secret);
        let made = webhook(&server, provider.name, &more).await;
        let body = json!({"token": "x", "challenge": "3eZbrw1a", "type": "url_verification"}).to_string();
        let mut headers = (provider.headers)(&body, "g", now_s(), provider.secret);
        headers
            .iter_mut()
            .filter(|(name, _)| *name == "X-GitHub-Event")
            .for_each(|header| "ping".clone_into(&mut header.1));
        let (status, answer) = post(&server, &path(&made), &headers, &body).await;
        let expected = if provider.name == "slack" { json!({"challenge": "3eZbrw1a"}) } else { json!({"run_ids": []}) };
        assert_eq!((status, answer), (StatusCode::OK, expected));
        assert_eq!(post(&server, &path(&made), &[], &body).await.0, StatusCode::UNAUTHORIZED, "only whom it is");
        assert!(deliveries(&server, &made).await.is_empty());
    }
    assert!(server.all("/api/v1/runs").await.is_empty());
}

macro_rules! on_both_stores {
    ($($test:ident => $sqlite:ident, $postgres:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
        async fn $sqlite() {
            $test(StoreKind::Sqlite).await;
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
        async fn $postgres() {
            $test(StoreKind::Postgres).await;
        }
    )*};
}

on_both_stores! {
    each_provider_is_verified => each_provider_is_verified_on_sqlite, each_provider_is_verified_on_postgres;
    a_key_of_ones_own_names_deliveries => a_key_names_deliveries_on_sqlite, a_key_names_deliveries_on_postgres;
    a_stranger_cannot_tell_one_no_from_another => a_stranger_learns_nothing_on_sqlite, a_stranger_learns_nothing_on_postgres;
    every_form_of_body_is_read => every_form_of_body_is_read_on_sqlite, every_form_of_body_is_read_on_postgres;
    a_webhook_is_changed_rotated_tried_and_removed => a_webhook_changes_on_sqlite, a_webhook_changes_on_postgres;
    deliveries_are_bounded_and_survive_a_restart => deliveries_are_bounded_on_sqlite, deliveries_are_bounded_on_postgres;
    without_a_key_nothing_is_sealed => without_a_key_on_sqlite, without_a_key_on_postgres;
    slack_and_github_are_greeted => greetings_on_sqlite, greetings_on_postgres;
}
