//! The live stream, by the real binary on both stores: what is heard, by whom, from where on, and how it ends.

mod client;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

use super::support::{Installation, JWT_SECRET, SERVICE_KEY, Server, StoreKind, USER};
use client::Events;

/// Another user, in a tenant of their own.
const STRANGER: &str = "0190a000-0000-7000-8000-000000000008";

fn flow(name: &str) -> Value {
    let step = |id: &str| json!({"id": id, "config": {"action_type": "transform", "action_payload": {"values": {"n": "{{ trigger.n }}"}}}});
    json!({"flow_name": name, "trigger_type": "manual", "flow_steps": [step("first"), step("second")]})
}

async fn post_as(server: &Server, user: &str, path: &str, body: Value) -> Value {
    let request = server.http.post(format!("{}{path}", server.url)).bearer_auth(SERVICE_KEY).header("X-User-Id", user);
    let response = request.json(&body).send().await.expect("an answer");
    assert!(response.status().is_success(), "POST {path}: {}", response.status());
    response.json().await.expect("JSON")
}

/// Starts a run and gives its id.
async fn start(server: &Server, user: &str, flow: &str) -> String {
    let run =
        post_as(server, user, &format!("/api/v1/flows/{flow}/trigger"), json!({"trigger_context": {"n": 1}})).await;
    run["id"].as_str().expect("a run has an id").to_owned()
}

/// Listens until the run has completed; gives every change that was heard.
async fn until_completed(events: &mut Events, run: &str) -> Vec<(String, Value)> {
    let mut heard = Vec::new();
    loop {
        let event = events.event().await.expect("the stream goes on");
        assert_ne!(event.name, "reset");
        heard.extend(event.changes().into_iter().map(|change| (event.name.clone(), change)));
        if heard.iter().any(|(_, change)| change["id"] == run && change["run_status"] == "completed") {
            return heard;
        }
    }
}

async fn changes_are_heard_in_order_by_their_tenant_alone(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let server = Server::start(&installation);
    for user in [USER, STRANGER] {
        post_as(&server, user, "/api/v1/flows", flow("orders")).await;
    }
    let mut own = Events::open(&server, Some(USER), "?topics=runs,executions", None).await;
    let mut foreign = Events::open(&server, Some(STRANGER), "?topics=runs,executions", None).await;
    let mut platform = Events::open(&server, None, "", None).await;
    let run = start(&server, USER, "orders").await;
    let heard = until_completed(&mut own, &run).await;

    let statuses: Vec<&str> = heard.iter().filter_map(|(_, change)| change["run_status"].as_str()).collect();
    let order = ["pending", "running", "completed"];
    let places: Vec<_> = statuses.iter().map(|status| order.iter().position(|known| known == status)).collect();
    assert!(places.is_sorted() && places.iter().all(Option::is_some), "{statuses:?}");
    let mut steps: BTreeMap<&str, &str> = BTreeMap::new();
    for (topic, change) in &heard {
        assert_eq!(topic == "runs", change["id"] == run.as_str(), "{change}");
        if topic == "executions" {
            assert_eq!(change["flow_run_id"], run.as_str());
            let word = |name: &str| change[name].as_str().expect("a word");
            steps.insert(word("step_id"), word("execution_status"));
        } else {
            assert_eq!(change["flow_name"], "orders");
        }
        assert!(change["at"].as_str().is_some_and(|at| at.ends_with('Z')), "{change}");
    }
    assert_eq!(steps, BTreeMap::from([("first", "completed"), ("second", "completed")]));

    // The stranger's first change is of the stranger's own run, which began after all of the above.
    let other = start(&server, STRANGER, "orders").await;
    for (_, change) in until_completed(&mut foreign, &other).await {
        assert!(change["id"] == other.as_str() || change["flow_run_id"] == other.as_str(), "foreign: {change}");
    }
    let of_all = until_completed(&mut platform, &other).await;
    assert!(of_all.iter().any(|(_, change)| change["id"] == run.as_str()), "the platform hears everybody");
}

/// Listens until somebody has told of all that is wanted; gives the last word on each thing by its id.
async fn until_told(events: &mut Events, is_all: impl Fn(&BTreeMap<String, Value>) -> bool) -> BTreeMap<String, Value> {
    let mut heard = BTreeMap::new();
    while !is_all(&heard) {
        let event = events.event().await.expect("the stream goes on");
        let changes = event.changes().into_iter();
        heard.extend(changes.map(|change| (change["id"].as_str().unwrap_or("all").to_owned(), change)));
    }
    heard
}

async fn steps_that_wait_are_told_with_the_accept(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let server = Server::start(&installation);
    let mut flow = flow("waits");
    flow["flow_steps"][0]["requires_approval"] = json!(true);
    post_as(&server, USER, "/api/v1/flows", flow).await;
    let mut events = Events::open(&server, Some(USER), "?topics=executions", None).await;
    let run = start(&server, USER, "waits").await;
    let heard = until_told(&mut events, |heard| heard.len() == 2).await;
    let told: Vec<_> = heard.values().map(|step| (&step["step_id"], &step["execution_status"])).collect();
    let (first, second) = (json!("first"), json!("second"));
    assert_eq!(told, [(&first, &json!("awaiting_approval")), (&second, &json!("blocked"))]);
    assert!(heard.values().all(|step| step["flow_run_id"] == run.as_str()));
}

async fn notifications_are_told_to_their_tenant(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let server = Server::start(&installation);
    let payload = json!({"title": "Disk full", "message": "on web-1", "type": "alert"});
    let step = json!({"id": "tell", "config": {"action_type": "send_notification", "action_target": "in_app", "action_payload": payload}});
    post_as(
        &server,
        USER,
        "/api/v1/flows",
        json!({"flow_name": "tell", "trigger_type": "manual", "flow_steps": [step]}),
    )
    .await;
    let mut own = Events::open(&server, Some(USER), "?topics=notifications", None).await;
    let mut foreign = Events::open(&server, Some(STRANGER), "?topics=notifications", None).await;
    let mut platform = Events::open(&server, None, "?topics=notifications", None).await;
    start(&server, USER, "tell").await;
    let heard = until_told(&mut own, |heard| !heard.is_empty()).await;
    let (id, told) = heard.first_key_value().expect("one");
    assert_eq!(
        (&told["user_id"], &told["status"], &told["severity"]),
        (&json!(USER), &json!("unread"), &json!("high"))
    );
    assert!(!told.to_string().contains("Disk"), "what it says is for its user: {told}");
    until_told(&mut platform, |heard| heard.contains_key(id)).await;
    post_as(&server, USER, &format!("/api/v1/notifications/{id}/archive"), json!({})).await;
    until_told(&mut own, |heard| heard.get(id).is_some_and(|told| told["status"] == "archived")).await;
    start(&server, USER, "tell").await;
    until_told(&mut own, |heard| heard.values().any(|told| told["status"] == "unread")).await;
    post_as(&server, USER, "/api/v1/notifications/read-all", json!({})).await;
    until_told(&mut own, |heard| heard.get("all").is_some_and(|told| told["status"] == "read")).await;
    // The stranger's first is the stranger's own, after all of the above.
    post_as(
        &server,
        STRANGER,
        "/api/v1/flows",
        json!({"flow_name": "tell", "trigger_type": "manual", "flow_steps": [step]}),
    )
    .await;
    start(&server, STRANGER, "tell").await;
    let heard = until_told(&mut foreign, |heard| !heard.is_empty()).await;
    assert!(heard.values().all(|told| told["user_id"] == STRANGER), "{heard:?}");
}

async fn who_comes_back_misses_nothing_until_the_server_was_restarted(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let mut server = Server::start(&installation);
    server.create("/api/v1/flows", flow("orders")).await;
    let mut events = Events::open(&server, Some(USER), "?topics=runs", None).await;
    let run = start(&server, USER, "orders").await;
    until_completed(&mut events, &run).await;
    let place = events.last_id().to_owned();
    drop(events);
    // Heard by nobody: the tenant has no stream at the moment.
    let mut missed = Vec::new();
    for _ in 0..5 {
        missed.push(start(&server, USER, "orders").await);
    }
    let mut again = Events::open(&server, Some(USER), "?topics=runs", Some(&place)).await;
    let mut ended = Vec::new();
    while ended.len() < missed.len() {
        let event = again.event().await.expect("the stream goes on");
        assert_eq!(event.name, "runs");
        let completed = event.changes().into_iter().filter(|change| change["run_status"] == "completed");
        ended.extend(completed.map(|change| change["id"].as_str().expect("an id").to_owned()));
    }
    missed.sort_unstable();
    ended.sort_unstable();
    assert_eq!(ended, missed);

    let place = again.last_id().to_owned();
    server.kill();
    let server = Server::start(&installation);
    let mut restarted = Events::open(&server, Some(USER), "?topics=runs", Some(&place)).await;
    assert_eq!(restarted.event().await.expect("a first event").name, "reset");
    let run = start(&server, USER, "orders").await;
    until_completed(&mut restarted, &run).await;
}

/// A connection that asks for the stream and then never reads, with as small a buffer as the kernel allows.
async fn deaf_client(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(1_024).expect("it can be set");
    let address = server.url.strip_prefix("http://").expect("a URL").parse().expect("an address");
    let mut connection = socket.connect(address).await.expect("the server listens");
    let request = format!(
        "GET /api/v1/stream?topics=runs HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {SERVICE_KEY}\r\n\
         X-User-Id: {USER}\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await.expect("it is sent");
    connection
}

/// The value of a metric without labels.
async fn metric(server: &Server, name: &str) -> u64 {
    let text = server.http.get(format!("{}/metrics", server.url)).send().await.expect("an answer");
    let text = text.text().await.expect("text");
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} "))).expect("the metric");
    line.parse().expect("a number")
}

async fn until_streams(server: &Server, wanted: u64, what: &str) {
    let started = Instant::now();
    while metric(server, "core314_streams").await != wanted {
        assert!(started.elapsed() < Duration::from_mins(1), "{what}");
        tokio::task::yield_now().await;
    }
}

async fn a_client_that_never_reads_is_ended_and_the_others_go_on(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let limits = [("CORE314__HTTP__SEND_TIMEOUT_MS", "1000".to_owned())];
    let server = Server::start_with(&installation, &limits).expect("it becomes ready");
    server.create("/api/v1/flows", flow(&"x".repeat(200))).await;
    let name = "x".repeat(200);
    let mut events = Events::open(&server, Some(USER), "?topics=runs", None).await;
    let deaf = deaf_client(&server).await;
    until_streams(&server, 2, "both are let in").await;
    let started = Instant::now();
    // Until its buffers are full, and the kernel has waited for its time.
    while metric(&server, "core314_streams").await == 2 {
        assert!(started.elapsed() < Duration::from_mins(1), "the deaf client is never ended");
        let runs = futures_util::future::join_all((0..20).map(|_| start(&server, USER, &name))).await;
        until_completed(&mut events, &runs[0]).await;
    }
    let run = start(&server, USER, &name).await;
    until_completed(&mut events, &run).await;
    assert_eq!(metric(&server, "core314_streams").await, 1);
    drop(deaf);
}

async fn streams_do_not_hold_up_a_servers_end(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let mut server = Server::start(&installation);
    server.create("/api/v1/flows", flow("orders")).await;
    let mut streams = Vec::new();
    for user in [Some(USER), Some(STRANGER), None] {
        streams.push(Events::open(&server, user, "", None).await);
    }
    let started = Instant::now();
    assert_eq!(server.terminate(), Some(0));
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
    for mut stream in streams {
        assert!(stream.event().await.is_none(), "it ends in order");
    }
}

macro_rules! on_both_stores {
    ($($name:ident)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                super::$name(StoreKind::Sqlite).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$name(StoreKind::Postgres).await;
            }
        }
    )*};
}

on_both_stores! {
    changes_are_heard_in_order_by_their_tenant_alone
    steps_that_wait_are_told_with_the_accept
    notifications_are_told_to_their_tenant
    who_comes_back_misses_nothing_until_the_server_was_restarted
    a_client_that_never_reads_is_ended_and_the_others_go_on
    streams_do_not_hold_up_a_servers_end
}

/// A user token that expires after so many seconds.
fn token(seconds: u64) -> String {
    let claims = json!({"sub": USER, "exp": get_current_timestamp() + seconds});
    let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());
    encode(&Header::new(Algorithm::HS256), &claims, &key).expect("it can be signed")
}

#[tokio::test]
async fn only_whoever_may_listen_is_let_in() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let limits = [
        ("CORE314__HTTP__STREAM__MAX_CLIENTS_PER_TENANT", "2".to_owned()),
        ("CORE314__HTTP__STREAM__MAX_CLIENTS", "3".to_owned()),
    ];
    let server = Server::start_with(&installation, &limits).expect("it becomes ready");
    let get = async |bearer: Option<&str>, query: &str| {
        let mut request = server.http.get(format!("{}/api/v1/stream{query}", server.url));
        if let Some(bearer) = bearer {
            request = request.bearer_auth(bearer);
        }
        request.send().await.expect("an answer")
    };
    let token = token(60);
    for (bearer, query, status) in [
        (None, "", StatusCode::UNAUTHORIZED),
        (Some("no-such-key"), "", StatusCode::UNAUTHORIZED),
        (Some(&*token), "?topics=runs,walks", StatusCode::UNPROCESSABLE_ENTITY),
        (Some(&*token), "?topics=", StatusCode::UNPROCESSABLE_ENTITY),
        (Some(&*token), "?since=1", StatusCode::UNPROCESSABLE_ENTITY),
        (Some(&*token), "?topics=actors", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(get(bearer, query).await.status(), status, "{query}");
    }
    let (status, _) = server.request(Method::HEAD, "/api/v1/stream", None).await.expect("an answer");
    assert_eq!((status, metric(&server, "core314_streams").await), (StatusCode::OK, 0), "HEAD opens no stream");

    let first = get(Some(&token), "").await;
    let header = |name: &str| first.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(header("content-type"), "text/event-stream");
    assert_eq!((header("cache-control"), header("x-accel-buffering")), ("no-store", "no"));
    let _second = get(Some(&token), "").await;
    let third = get(Some(&token), "").await;
    assert_eq!(third.status(), StatusCode::TOO_MANY_REQUESTS);
    assert!(third.headers().contains_key("retry-after"));
    let _platform = Events::open(&server, None, "?topics=actors", None).await;
    let fourth = get(Some(SERVICE_KEY), "").await;
    assert_eq!(fourth.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(fourth.headers().contains_key("retry-after"));
    drop(first);
    until_streams(&server, 2, "a client that goes away is noticed").await;
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let often = [
        ("CORE314__HTTP__STREAM__HEARTBEAT_SECONDS", "1".to_owned()),
        ("CORE314__AUTH__JWT_LEEWAY_SECONDS", "0".to_owned()),
        // To open both is all that the tenant may ask at once, and two heartbeats a second would be too many.
        ("CORE314__HTTP__RATE_LIMIT__PER_SECOND", "1".to_owned()),
        ("CORE314__HTTP__RATE_LIMIT__BURST", "2".to_owned()),
    ];
    let server = Server::start_with(&installation, &often).expect("it becomes ready");
    let mut lasting = Events::with_token(&server, &token(60)).await;
    let mut events = Events::with_token(&server, &token(3)).await;
    let started = Instant::now();
    assert!(events.event().await.is_none(), "it ends, and in order");
    assert!(started.elapsed() >= Duration::from_millis(1_500), "its tenant's rate limit does not end it");
    assert!(events.heartbeats() > 0 && lasting.is_open().await);
}
