//! Traces of the real binary: a request is part of its caller's trace, a run has its own, what actions send carries it,
//! and a collector gets what the protocol says. A collector that is away is nobody's problem.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use serde_json::{Value, json};

use super::sink::Sink;
use super::support::{Installation, SERVICE_KEY, Server, StoreKind, USER, free_port};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

/// A span as a collector reads it: strictly, so that what is not in the protocol fails.
struct Span {
    trace: String,
    id: String,
    parent: Option<String>,
    name: String,
    kind: u64,
    attributes: BTreeMap<String, Value>,
    is_error: bool,
}

fn hexadecimal(value: &Value, digits: usize) -> String {
    let text = value.as_str().expect("an id is a text");
    let is_id = text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    assert!(is_id && text.bytes().any(|b| b != b'0'), "'{text}' is no id of {digits} digits");
    text.to_owned()
}

fn attributes(value: &Value) -> BTreeMap<String, Value> {
    let list = value.as_array().expect("attributes are a list");
    let read = |attribute: &Value| {
        assert_eq!(attribute.as_object().expect("an object").len(), 2, "{attribute}");
        let value = attribute["value"].as_object().expect("a value is an object");
        let (kind, inner) = value.iter().next().expect("a value has one member");
        assert_eq!(value.len(), 1, "{attribute}");
        match kind.as_str() {
            "stringValue" => assert!(inner.is_string(), "{attribute}"),
            "boolValue" => assert!(inner.is_boolean(), "{attribute}"),
            "intValue" => drop(inner.as_str().expect("64 bits are a text").parse::<i64>().expect("a number")),
            other => panic!("{other} is no kind of value that we send"),
        }
        (attribute["key"].as_str().expect("a key").to_owned(), inner.clone())
    };
    let map: BTreeMap<_, _> = list.iter().map(read).collect();
    assert_eq!(map.len(), list.len(), "keys are unique");
    map
}

fn span(value: &Value) -> Span {
    const MEMBERS: [&str; 9] = [
        "traceId",
        "spanId",
        "parentSpanId",
        "name",
        "kind",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "attributes",
        "status",
    ];
    let members = value.as_object().expect("a span is an object");
    members.keys().for_each(|key| assert!(MEMBERS.contains(&key.as_str()), "{key} is no member of a span"));
    let time = |key: &str| value[key].as_str().expect("64 bits are a text").parse::<u64>().expect("nanoseconds");
    let (start, end) = (time("startTimeUnixNano"), time("endTimeUnixNano"));
    assert!(start > 1_700_000_000_000_000_000 && end >= start, "{start} {end}");
    Span {
        trace: hexadecimal(&value["traceId"], 32),
        id: hexadecimal(&value["spanId"], 16),
        parent: value.get("parentSpanId").map(|id| hexadecimal(id, 16)),
        name: value["name"].as_str().expect("a name").to_owned(),
        kind: value["kind"].as_u64().expect("a kind is a number"),
        attributes: attributes(&value["attributes"]),
        is_error: value["status"]["code"] == 2,
    }
}

/// Every span that a collector has got.
fn spans(collector: &Sink) -> Vec<Span> {
    let mut found = Vec::new();
    for message in collector.received() {
        assert_eq!((message.path.as_str(), message.content_type.as_str()), ("/v1/traces", "application/json"));
        for resource in message.body["resourceSpans"].as_array().expect("resourceSpans") {
            let about = attributes(&resource["resource"]["attributes"]);
            assert_eq!(about["service.name"], "core314");
            assert!(about.contains_key("service.version") && about.contains_key("deployment.environment.name"));
            for scope in resource["scopeSpans"].as_array().expect("scopeSpans") {
                assert!(scope["scope"]["name"].is_string());
                found.extend(scope["spans"].as_array().expect("spans").iter().map(span));
            }
        }
    }
    found
}

fn flow(url: &str) -> Value {
    let step = json!({"id": "tell", "config": {"action_type": "api_call",
        "action_payload": {"method": "POST", "url": url, "json": {"a": 1}}}});
    json!({"flow_name": "traced", "trigger_type": "manual", "flow_steps": [step]})
}

#[tokio::test]
async fn a_request_and_its_run_can_be_followed() {
    let (collector, target) = (Sink::start(), Sink::start());
    let installation = Installation::new(StoreKind::Sqlite).await;
    let environment = [
        ("CORE314__TELEMETRY__OTLP_ENDPOINT", format!("{}/", collector.url)),
        ("CORE314_LOG", "warn,core314::app=info,core314::http=debug".to_owned()),
    ];
    let mut server = Server::start_with(&installation, &environment).expect("it becomes ready");
    server.create("/api/v1/flows", flow(&format!("{}/inbox", target.url))).await;
    let trigger = async |flags: &str| {
        let request = server.http.post(format!("{}/api/v1/flows/traced/trigger?x=hush", server.url));
        let request = request.bearer_auth(SERVICE_KEY).header("X-User-Id", USER).json(&json!({}));
        let request = request.header("traceparent", format!("00-{TRACE}-{PARENT}-{flags}"));
        request.send().await.expect("an answer")
    };
    let answer = trigger("01").await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let run = answer.json::<Value>().await.expect("JSON")["id"].as_str().expect("an id").to_owned();
    let unsampled = trigger("00").await.json::<Value>().await.expect("JSON")["id"].as_str().expect("an id").to_owned();
    let plain = server.http.get(format!("{}/healthz", server.url)).send().await.expect("an answer");
    let plain_id = plain.headers()["x-request-id"].to_str().expect("ASCII").to_owned();
    let sent = target.until(2).await;
    assert_eq!(server.terminate(), Some(0), "the last spans leave before the end");

    let spans = spans(&collector);
    let of_caller: Vec<&Span> = spans.iter().filter(|span| span.trace == TRACE).collect();
    assert_eq!(of_caller.len(), 1, "a request that its caller does not record is not told");
    let request = of_caller[0];
    assert_eq!((request.parent.as_deref(), request.kind), (Some(PARENT), 2));
    assert_eq!(request.name, "POST /api/v1/flows/{flow}/trigger");
    assert_eq!(request.attributes["http.response.status_code"], "202");
    assert_eq!(request.attributes["url.path"], "/api/v1/flows/traced/trigger");
    assert_eq!(request.attributes["core314.run_id"], run);
    assert!(!request.is_error);

    let attempt = spans.iter().find(|s| s.trace == run.replace('-', "")).expect("the run's own trace is its id");
    assert_eq!((attempt.name.as_str(), attempt.kind, attempt.is_error), ("attempt api_call", 3, false));
    assert_eq!(attempt.attributes["core314.outcome"], "completed");
    let carried = format!("00-{}-{}-01", attempt.trace, attempt.id);
    assert!(sent.iter().any(|request| request.traceparent == carried), "{carried}: {sent:?}");
    assert!(spans.iter().any(|s| s.trace == unsampled.replace('-', "")), "a run's trace is its own");
    assert!(spans.iter().any(|s| s.trace == plain_id && s.parent.is_none()), "a new trace has the request's id");

    let log = std::fs::read_to_string(installation.dir.path().join("server.log")).expect("a log");
    assert!(log.contains(TRACE) && log.contains(&plain_id), "log lines say which trace they belong to:\n{log}");
}

#[tokio::test]
async fn a_collector_that_is_away_is_nobodys_problem() {
    let installation = Installation::new(StoreKind::Sqlite).await;
    let environment = [
        ("CORE314__TELEMETRY__OTLP_ENDPOINT", format!("http://127.0.0.1:{}", free_port())),
        ("CORE314__TELEMETRY__QUEUE_SPANS", "16".to_owned()),
    ];
    let mut server = Server::start_with(&installation, &environment).expect("it becomes ready");
    let started = Instant::now();
    let dropped = loop {
        let asked = Instant::now();
        let text = server.http.get(format!("{}/metrics", server.url)).send().await.expect("an answer").text().await;
        assert!(asked.elapsed() < Duration::from_secs(5), "a request never waits for the collector");
        let text = text.expect("a page");
        let line = text.lines().find_map(|line| line.strip_prefix("core314_spans_dropped_total ")).expect("a counter");
        if line != "0" {
            break line.to_owned();
        }
        assert!(started.elapsed() < Duration::from_secs(30), "nothing was dropped");
    };
    assert!(dropped.parse::<u64>().expect("a number") > 0);
    assert_eq!(server.terminate(), Some(0), "nor does the end");
}
