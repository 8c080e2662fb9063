//! The walls between tenants, and between roles, at every route.
//!
//! The owner's organization has a flow, a run with its attempts, a webhook and a key. A stranger tries every route with
//! the owner's ids, by each way in; members try what their role does not allow; a platform key that names nobody tries
//! to write. Afterwards the owner's rows are what they were.

use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::callers::{Caller, OWNER, STRANGER};
use super::routes::{self, Case, Route, Seeds};
use crate::support::{Installation, SECRET_KEY, Server, StoreKind};

const ROLES: [&str; 3] = ["viewer", "operator", "admin"];

async fn seed(server: &Server) -> Seeds {
    let owner = Caller::owner();
    let step = json!({"id": "a", "config": {"action_type": "transform", "action_payload": {"value": 1}}});
    let flow = json!({"flow_name": "private", "trigger_type": "manual", "flow_steps": [step]});
    let (status, saved) = owner.send(server, Method::POST, "/api/v1/flows", Some(flow.clone())).await;
    assert_eq!(status, StatusCode::CREATED, "{saved}");
    let flow_id = saved["id"].as_str().expect("an id").to_owned();
    for (path, body) in [
        ("/api/v1/webhooks", json!({"name": "private", "flow_id": flow_id})),
        ("/api/v1/tokens", json!({"name": "private", "roles": ["admin"]})),
        ("/api/v1/secrets", json!({"name": "PRIVATE", "value": "planted-private"})),
        (
            "/api/v1/integrations",
            json!({"name": "private", "kind": "webhook", "endpoint": "https://private.example",
                "credentials": {"signing_secret": "secrets.PRIVATE"}}),
        ),
    ] {
        let (status, answer) = owner.send(server, Method::POST, path, Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{path}: {answer}");
    }
    let trigger = format!("/api/v1/flows/{flow_id}/trigger");
    let (status, run) = owner.send(server, Method::POST, &trigger, Some(json!({}))).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{run}");
    let job = json!({"verb": "cancel", "filter": {"flow_name": "private"}, "ramp": {"per_second": 1}});
    let (status, answer) = owner.send(server, Method::POST, "/api/v1/bulk", Some(job)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let started = Instant::now();
    let in_time = || assert!(started.elapsed() < Duration::from_mins(1), "the owner's run does not end");
    while owner.list(server, "/api/v1/runs").await[0]["run_status"] != "completed" {
        in_time();
    }
    // Statistics are written behind the log.
    while figure(&owner, server, "/api/v1/execution-log/statistics", "total_executions").await == json!(0) {
        in_time();
    }
    let nightly = json!({"flow_name": "nightly", "trigger_type": "schedule", "trigger_config": {"cron": "@yearly"},
        "flow_steps": flow["flow_steps"]});
    let execution_id = owner.list(server, "/api/v1/executions").await[0]["id"].as_str().expect("an id").to_owned();
    signal(&owner, server).await;
    escalate(&owner, server).await;
    tell_and_poison(&owner, server).await;
    know(&owner, server).await;
    // The newest flow has everything that a flow can have.
    let (status, saved) = owner.send(server, Method::POST, "/api/v1/flows", Some(nightly)).await;
    assert_eq!(status, StatusCode::CREATED, "{saved}");
    let path = format!("/api/v1/flows/{}/schedule", saved["id"].as_str().expect("an id"));
    let (status, schedule) = owner.send(server, Method::GET, &path, None).await;
    assert_eq!((status, &schedule["schedule_status"]), (StatusCode::OK, &json!("scheduled")), "{schedule}");
    Seeds { flow, flow_id, execution_id }
}

/// A decision, a recommendation that was accepted and is remembered, and a metric.
async fn signal(owner: &Caller, server: &Server) {
    let action = json!({"title": "private", "action_type": "transform", "action_payload": {"value": 1}});
    for (path, body) in [
        ("/api/v1/decisions", json!({"source": "private", "title": "private"})),
        ("/api/v1/recommendations", action),
        ("/api/v1/metrics-data", json!({"metrics": [{"metric_name": "private", "value": 1}]})),
    ] {
        let (status, answer) = owner.send(server, Method::POST, path, Some(body)).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
    }
    let accept = format!("/api/v1/recommendations/{}/accept", first_id(server, "/api/v1/recommendations").await);
    let (status, answer) = owner.send(server, Method::POST, &accept, Some(json!({}))).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    let started = Instant::now();
    while owner.list(server, "/api/v1/memory").await.is_empty() {
        assert!(started.elapsed() < Duration::from_mins(1), "what was accepted is not remembered");
    }
}

/// A rule with an event of which somebody was told, an on-call schedule with somebody who stands in, and a silence.
async fn escalate(owner: &Caller, server: &Server) {
    for (path, body) in [
        ("/api/v1/escalation-rules", routes::rule("private")),
        ("/api/v1/escalation-events", json!({"context": {"subject": "private"}})),
        ("/api/v1/on-call", routes::schedule("private")),
        ("/api/v1/silences", routes::silence("private")),
    ] {
        let (status, answer) = owner.send(server, Method::POST, path, Some(body)).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
    }
    let overrides = format!("/api/v1/on-call/{}/overrides", first_id(server, "/api/v1/on-call").await);
    let (status, answer) = owner.send(server, Method::POST, &overrides, Some(routes::stand_in())).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    let started = Instant::now();
    while owner.list(server, "/api/v1/escalation-outbox").await.first().is_none_or(|row| row["status"] != "sent") {
        assert!(started.elapsed() < Duration::from_mins(1), "nobody is told of what was reported");
    }
}

/// The organization's name, and the owner in its directory, who is reached so and wants to be told so.
async fn know(owner: &Caller, server: &Server) {
    let person = json!({"person_id": OWNER, "email": "owner@example.com", "name": "Owner", "role": "admin"});
    for (method, path, body) in [
        (Method::POST, "/api/v1/organizations", json!({"name": "private"})),
        (Method::POST, "/api/v1/users", person),
        (Method::POST, "/api/v1/contact-methods", routes::contact("private")),
        (Method::PATCH, "/api/v1/preferences", json!({"time_zone": "Europe/Berlin"})),
    ] {
        let (status, answer) = owner.send(server, method, path, Some(body)).await;
        assert!(status.is_success(), "{path}: {status} {answer}");
    }
}

/// A notification in the owner's inbox, and a run that was set aside.
async fn tell_and_poison(owner: &Caller, server: &Server) {
    let note = json!({"action_type": "send_notification", "action_target": "in_app",
        "action_payload": {"title": "private", "message": "private"}});
    let (status, answer) = owner.send(server, Method::POST, "/api/v1/executions", Some(note)).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{answer}");
    let step = json!({"id": "a", "config": {"action_type": "transform", "action_payload": {"value": 1}}});
    let flow = json!({"flow_name": "poison", "trigger_type": "manual", "flow_steps": [step]});
    let (status, saved) = owner.send(server, Method::POST, "/api/v1/flows", Some(flow)).await;
    assert_eq!(status, StatusCode::CREATED, "{saved}");
    let (status, run) = owner.send(server, Method::POST, "/api/v1/flows/poison/trigger", Some(json!({}))).await;
    assert_eq!(status, StatusCode::ACCEPTED, "{run}");
    let started = Instant::now();
    for list in ["/api/v1/notifications", "/api/v1/dead-letters"] {
        while owner.list(server, list).await.is_empty() {
            assert!(started.elapsed() < Duration::from_mins(1), "nothing comes to {list}");
        }
    }
    while owner.list(server, "/api/v1/runs").await.iter().any(|run| run["completed_at"].is_null()) {
        assert!(started.elapsed() < Duration::from_mins(1), "the runs do not end");
    }
}

async fn figure(caller: &Caller, server: &Server, path: &str, name: &str) -> Value {
    let (status, figures) = caller.send(server, Method::GET, path, None).await;
    assert_eq!(status, StatusCode::OK, "{} GET {path}: {figures}", caller.name);
    figures[name].clone()
}

/// Everything that the owner sees.
async fn seen(routes: &[Route], server: &Server) -> Vec<(String, Vec<Value>)> {
    let mut all = Vec::new();
    for route in routes.iter().filter(|route| matches!(route.case, Case::List)) {
        all.push((route.path.clone(), Caller::owner().list(server, &route.path).await));
    }
    all
}

async fn first_id(server: &Server, list: &str) -> String {
    Caller::owner().list(server, list).await[0]["id"].as_str().expect("an id").to_owned()
}

fn body(route: &Route, make: fn(&Seeds) -> Value, seeds: &Seeds) -> Option<Value> {
    (route.method != Method::DELETE).then(|| make(seeds))
}

/// What a stranger gets at a route; makes no row of theirs.
async fn a_stranger_finds_nothing(route: &Route, stranger: &Caller, server: &Server, seeds: &Seeds) {
    let says = format!("{}: {} {}", stranger.name, route.method, route.path);
    let ask = async |path: &str, body: Option<Value>| stranger.send(server, route.method.clone(), path, body).await;
    match route.case {
        Case::Open | Case::Make(..) => {}
        Case::Sparse => {
            let (status, page) = ask(&route.path, None).await;
            assert_eq!(status, StatusCode::OK, "{says}: {page}");
            let foreign = |row: &&Value| row["tenant_id"] != STRANGER && !row["tenant_id"].is_null();
            let foreign: Vec<&Value> = page["items"].as_array().expect("a list").iter().filter(foreign).collect();
            assert!(foreign.is_empty(), "{says}: {foreign:?}");
        }
        Case::List => {
            let rows = stranger.list(server, &route.path).await;
            let foreign: Vec<&Value> = rows.iter().filter(|row| row["tenant_id"] != STRANGER).collect();
            assert!(foreign.is_empty(), "{says}: {foreign:?}");
        }
        Case::Row(list) | Case::Part(list) => {
            let (status, answer) = ask(&route.filled(&first_id(server, list).await), None).await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{says}: {answer}");
        }
        Case::Figures(name) => assert_eq!(figure(stranger, server, &route.path, name).await, json!(0), "{says}"),
        Case::Platform => {
            let (status, answer) = ask(&route.filled("core314/partitions/partition-00"), None).await;
            assert_eq!(status, StatusCode::FORBIDDEN, "{says}: {answer}");
        }
        Case::Act(_, list, make) => {
            let target = first_id(server, list).await;
            let nowhere = ask(&route.filled("0190a000-0000-7000-8000-00000000dead"), body(route, make, seeds)).await;
            let (status, answer) = ask(&route.filled(&target), body(route, make, seeds)).await;
            assert_eq!((status, nowhere.0), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND), "{says}: {answer}");
            assert_eq!(answer["detail"], nowhere.1["detail"], "{says}: the answers tell the two apart");
        }
        Case::Name(_, expected, make) => {
            let (status, answer) = ask(&route.filled("cancel"), Some(make(seeds))).await;
            assert_eq!(status, expected, "{says}: {answer}");
        }
    }
}

/// Members below the role that a route needs are refused, before anything else is looked at.
async fn roles_hold(route: &Route, server: &Server, seeds: &Seeds) {
    let (needed, path, make) = match route.case {
        Case::Open | Case::List | Case::Sparse | Case::Row(_) | Case::Part(_) | Case::Figures(_) => return,
        Case::Platform => {
            ("none of them", route.filled("core314/partitions/partition-00"), (|_: &Seeds| json!({})) as _)
        }
        Case::Make(role, make) | Case::Name(role, _, make) => (role, route.filled("cancel"), make),
        Case::Act(role, list, make) => (role, route.filled(&first_id(server, list).await), make),
    };
    for role in ROLES.iter().take_while(|role| **role != needed) {
        let member = Caller::member(role, "0190a000-0000-7000-8000-0000000000c3", role);
        let (status, answer) = member.send(server, route.method.clone(), &path, body(route, make, seeds)).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{role}: {} {path}: {answer}", route.method);
    }
}

/// A platform key that names no user reads everything, and writes nothing that a tenant owns.
async fn the_platform_reads_and_does_not_write(route: &Route, server: &Server, seeds: &Seeds) {
    let platform = Caller::platform();
    let says = format!("platform: {} {}", route.method, route.path);
    let ask = async |path: &str, body: Option<Value>| platform.send(server, route.method.clone(), path, body).await;
    let (expected, (status, answer)) = match route.case {
        Case::Open | Case::Sparse | Case::Part(_) => return,
        Case::List => {
            let rows = platform.list(server, &route.path).await;
            assert!(rows.iter().any(|row| row["user_id"] == OWNER), "{says}");
            return;
        }
        Case::Row(list) => (StatusCode::OK, ask(&route.filled(&first_id(server, list).await), None).await),
        Case::Figures(_) => (StatusCode::OK, ask(&route.path, None).await),
        Case::Platform if !route.path.contains('{') => (StatusCode::OK, ask(&route.path, None).await),
        Case::Platform => (StatusCode::NOT_FOUND, ask(&route.filled("core314/nobody"), None).await),
        Case::Make(_, make) | Case::Name(_, _, make) => {
            (StatusCode::UNPROCESSABLE_ENTITY, ask(&route.filled("cancel"), Some(make(seeds))).await)
        }
        Case::Act(_, list, make) => {
            let path = route.filled(&first_id(server, list).await);
            (StatusCode::UNPROCESSABLE_ENTITY, ask(&path, body(route, make, seeds)).await)
        }
    };
    assert_eq!(status, expected, "{says}: {answer}");
    if expected == StatusCode::UNPROCESSABLE_ENTITY {
        assert_eq!(answer["errors"][0]["header"], "X-User-Id", "{says}: {answer}");
    }
}

async fn tenants_are_apart(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    // The first message (begin) is handled; every later one of this flow's runs kills its actor.
    let point = ("CORE314_FAILPOINTS", "flow_run.poison=panic@2+".to_owned());
    let key = ("CORE314_SECRET_KEY", SECRET_KEY.to_owned());
    let server = Server::start_with(&installation, &[point, key]).expect("it becomes ready");
    let seeds = seed(&server).await;
    let routes = Route::all(&server).await;
    let before = seen(&routes, &server).await;
    for (path, rows) in &before {
        assert!(!rows.is_empty(), "{path}: there is nothing to find, so nothing is proven");
    }
    let strangers = Caller::strangers(&server).await;
    // All of them look before one of them makes a thing, since they share an organization and its figures.
    for stranger in &strangers {
        for route in &routes {
            a_stranger_finds_nothing(route, stranger, &server, &seeds).await;
        }
    }
    // The owner's names are free to others, and what others make is theirs.
    for stranger in &strangers {
        for route in &routes {
            let Case::Make(_, make) = route.case else { continue };
            let (status, answer) = stranger.send(&server, route.method.clone(), &route.path, Some(make(&seeds))).await;
            let named = ["/api/v1/flows", "/api/v1/integrations", "/api/v1/secrets", "/api/v1/users"];
            let again = stranger.name != "a stranger's token" && named.contains(&route.path.as_str());
            let as_expected = if again { status == StatusCode::CONFLICT } else { status.is_success() };
            assert!(as_expected, "{}: {} {}: {status} {answer}", stranger.name, route.method, route.path);
        }
    }
    for route in &routes {
        roles_hold(route, &server, &seeds).await;
        the_platform_reads_and_does_not_write(route, &server, &seeds).await;
    }
    assert_eq!(seen(&routes, &server).await, before, "the owner's rows are what they were");
}

#[tokio::test]
async fn tenants_are_apart_at_every_route_on_sqlite() {
    tenants_are_apart(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn tenants_are_apart_at_every_route_on_postgres() {
    tenants_are_apart(StoreKind::Postgres).await;
}
