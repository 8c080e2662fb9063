//! SIGKILL between the sending of a page and its record: what was sent is sent again under the same key, nothing is lost, and
//! while nobody knows, everybody can see so.
//!
//! A page goes to PagerDuty, which can tell a repetition, or to a chat, which cannot. The process is killed while the provider,
//! which has taken the page, withholds its answer; or, by a failpoint, when the answer is there and not yet written down.

use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use super::EVENTS;
use crate::orchestration::bed::Client;
use crate::orchestration::on_both_stores;
use crate::providers::{Provider, pagerduty, slack};
use crate::support::{Installation, SECRET_KEY, Server, StoreKind, USER, long};

const OUTBOX: &str = "/api/v1/escalation-outbox?limit=1";

fn environment(more: Option<&str>) -> Vec<(&'static str, String)> {
    let secret = ("CORE314_SECRET_KEY", SECRET_KEY.to_owned());
    std::iter::once(secret).chain(more.map(|point| ("CORE314_FAILPOINTS", point.to_owned()))).collect()
}

pub(super) fn start(installation: &Installation, point: Option<&str>) -> Server {
    Server::start_with(installation, &environment(point)).expect("the server becomes ready")
}

pub(super) fn client(server: &Server) -> Client<'_> {
    Client::of(server, USER.parse().expect("a user"))
}

/// Two rules, of which each pages by one provider.
async fn prepare(server: &Server, chat: &Provider, pager: &Provider) {
    let client = client(server);
    client.post("/api/v1/secrets", json!({"name": "ROUTING", "value": pagerduty::KEY}), 201).await;
    let integration = json!({"name": "pager", "kind": "pagerduty", "endpoint": pager.url,
        "credentials": {"routing_key": "secrets.ROUTING"}});
    client.post("/api/v1/integrations", integration, 201).await;
    let webhook = json!({"channel": "slack", "payload": {"url": format!("{}{}", chat.url, slack::GOOD)}});
    for (via, channel) in [("chat", webhook), ("pager", json!("pager"))] {
        let rule = json!({"rule_name": via, "trigger_conditions": {"via": via},
            "escalation_levels": [{"level": 1, "notify_channels": [channel]}]});
        client.post("/api/v1/escalation-rules", rule, 201).await;
    }
}

/// Reports a failure; the answer may die with the server, and its event is durable by then or comes when it is asked again.
async fn report(server: &Server, via: &str, round: usize) {
    let body = json!({"context": {"via": via, "subject": format!("round-{round}")}});
    let request = server.http.request(Method::POST, format!("{}/api/v1/escalation-events", server.url));
    let request = request.bearer_auth(crate::support::SERVICE_KEY).header("X-User-Id", USER).json(&body);
    drop(request.send().await);
}

pub(super) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed().as_secs() < 60, "{what}");
        tokio::task::yield_now().await;
    }
}

/// The newest row of the outbox, once it has this status.
async fn row(server: &Server, status: &str, round: usize) -> Value {
    let is_so =
        |page: &Value| page["items"][0]["status"] == status && page["items"][0]["escalation_event_id"].is_string();
    let page = client(server).until(OUTBOX, is_so).await;
    assert_eq!(page["items"][0]["outcome_unknown"], true, "round {round}: {page}");
    page["items"][0].clone()
}

async fn a_page_is_never_lost_and_repeated_under_one_key(kind: StoreKind) {
    let rounds = if long() { 200 } else { 6 };
    let (chat, pager) = (slack::start(), pagerduty::start());
    let installation = Installation::new(kind).await;
    let mut server = start(&installation, None);
    prepare(&server, &chat, &pager).await;
    for round in 0..rounds {
        // All four pairs of provider and moment come in turn.
        let (via, provider) = if round % 2 == 0 { ("chat", &chat) } else { ("pager", &pager) };
        let is_withheld = round / 2 % 2 == 0;
        let before = provider.keys().len();
        provider.hold(is_withheld);
        if is_withheld {
            let reported = report(&server, via, round);
            let sent = until("the page is sent", || provider.keys().len() > before);
            // The report is answered before the page is sent, or after: nothing waits for the provider.
            futures_util::future::join(reported, sent).await;
            server.kill();
        } else {
            server.terminate();
            server = start(&installation, Some("attempt.after=kill@1"));
            report(&server, via, round).await;
            until("it dies", || server.has_died()).await;
        }
        assert_eq!(provider.keys().len() - before, 1, "round {round}: it was sent once");
        provider.hold(true);
        server = start(&installation, None);
        let doubtful = row(&server, "maybe_sent", round).await;
        provider.hold(false);
        let sent = row(&server, "sent", round).await;
        assert_eq!(sent["id"], doubtful["id"], "round {round}: there is one row");
        let keys = provider.keys()[before..].to_vec();
        assert!(keys.len() == 2 && keys[0] == keys[1] && !keys[0].is_empty(), "round {round}: {keys:?}");
    }
    let events = client(&server).items(EVENTS).await;
    assert_eq!(events.len(), rounds, "every report has its event, and no repetition has one");
    let per_provider = rounds / 2;
    let said: std::collections::BTreeSet<String> = chat.shown().iter().map(|m| m["text"].to_string()).collect();
    assert_eq!((said.len(), chat.shown().len()), (per_provider, 2 * per_provider), "the chat shows each page twice");
    let alerts = pager.shown();
    assert_eq!(alerts.len(), per_provider, "PagerDuty tells a repetition by its key: one alert for each page");
    assert!(alerts.iter().all(|alert| alert["events"] == 2), "{alerts:#?}");
    println!("{kind:?}: {rounds} kills between a page and its record: none lost, {per_provider} alerts, each once");
}

on_both_stores!(a_page_is_never_lost_and_repeated_under_one_key);
