//! Limits of actions per tenant and overall, by the real binary on both stores: they delay, fail nothing, and say so.

use reqwest::Method;
use serde_json::{Value, json};

use crate::orchestration::bed::{Bed, Client};
use crate::orchestration::on_both_stores;
use crate::support::StoreKind;

/// Several partitions, each with few slots, so that a limit is seen to be shared, and a wait that held a slot would be seen.
fn settings(limits: &[(&'static str, String)]) -> Vec<(&'static str, String)> {
    let narrow =
        [("CORE314__ENGINE__PARTITIONS", "4".to_owned()), ("CORE314__ENGINE__SLOTS_PER_PARTITION", "2".to_owned())];
    narrow.into_iter().chain(limits.iter().cloned()).collect()
}

/// Starts one action that posts to the receiver, and gives its run.
async fn begin(bed: &Bed, client: &Client<'_>, path: &str) -> String {
    let payload = json!({"method": "POST", "url": format!("{}/{path}", bed.sink.url)});
    let body = json!({"action_type": "api_call", "action_payload": payload, "retry_policy": {"max_attempts": 1}});
    let answer = client.ask(Method::POST, "/api/v1/executions", Some(&body), &[]).await;
    assert!(answer.status.is_success(), "{}", answer.body);
    answer.body["id"].as_str().unwrap_or_else(|| panic!("a run: {}", answer.body)).to_owned()
}

/// Waits until a run says that it waits for this, and gives what else it says.
async fn waits(client: &Client<'_>, run: &str, code: &str) -> Value {
    let why = client.until(&format!("/api/v1/runs/{run}/why"), |why| why["reasons"][0]["code"] == code).await;
    let attempts = client.items(&format!("/api/v1/execution-log?flow_run_id={run}")).await;
    assert!(attempts.is_empty(), "no attempt is used up: {attempts:?}");
    why["reasons"][0].clone()
}

async fn a_full_limit_of_a_tenant_or_of_all_delays_and_says_so(kind: StoreKind) {
    let limits = [
        ("CORE314__ENGINE__ACTION_LIMITS__PER_TENANT_CONCURRENT", "1".to_owned()),
        ("CORE314__ENGINE__ACTION_LIMITS__OVERALL_CONCURRENT", "2".to_owned()),
    ];
    let bed = Bed::start_with(kind, &settings(&limits)).await;
    let ([flood, other], [third, _]) = (bed.clients(), bed.strangers());
    bed.sink.hold(true);
    let mut runs = vec![begin(&bed, &flood, "flood").await];
    bed.sink.until(1).await;
    for _ in 0..8 {
        runs.push(begin(&bed, &flood, "flood").await);
    }
    // Whatever their partitions, one of them goes.
    let reason = waits(&flood, runs.last().expect("there are some"), "tenant_limit").await;
    assert_eq!(reason["message"], "limit of the tenant: at most 1 actions are under way at once");
    let beside = begin(&bed, &other, "other").await;
    bed.sink.until(2).await;
    let behind = begin(&bed, &third, "third").await;
    let reason = waits(&third, &behind, "overall_limit").await;
    assert_eq!(reason["message"], "limit of all tenants together: at most 2 actions are under way at once");
    // An integration's own limit is asked first, and its actions count with the others.
    let shop = json!({"name": "shop", "kind": "http", "endpoint": bed.sink.url});
    flood.post("/api/v1/integrations", shop, 201).await;
    let config = json!({"action_type": "api_call", "action_target": "shop", "action_payload": {"path": "shop"}});
    let answer = flood.ask(Method::POST, "/api/v1/executions", Some(&config), &[]).await;
    let by_name = answer.body["id"].as_str().unwrap_or_else(|| panic!("a run: {}", answer.body)).to_owned();
    waits(&flood, &by_name, "tenant_limit").await;
    assert_eq!(bed.sink.count(), 2, "nothing else has started");

    bed.sink.hold(false);
    runs.push(by_name);
    for run in &runs {
        flood.run(run, "completed").await;
    }
    other.run(&beside, "completed").await;
    third.run(&behind, "completed").await;
    let received = bed.sink.received();
    assert_eq!(received.len(), runs.len() + 2, "each was made once");
    let last = received.iter().rposition(|request| request.path == "/third").expect("it came");
    assert!(last < received.len() - 1, "the flood takes no turn of another: {received:#?}");
}

async fn a_tenants_own_rate_spreads_its_actions_and_nobody_elses(kind: StoreKind) {
    // A single user's tenant is called like the user.
    let named = "0190a000-0000-7000-8000-000000000101";
    let limits = [("CORE314__ENGINE__ACTION_LIMITS__TENANTS", format!("{named}=0/2"))];
    let bed = Bed::start_with(kind, &settings(&limits)).await;
    let [slow, free] = bed.clients();
    assert_eq!(slow.user.to_string(), named);
    let mut runs = Vec::new();
    for _ in 0..6 {
        runs.push(begin(&bed, &slow, "slow").await);
    }
    let unbounded = begin(&bed, &free, "free").await;
    free.run(&unbounded, "completed").await;
    for run in &runs {
        slow.run(run, "completed").await;
    }
    let of_slow = |request: &crate::sink::Received| request.path == "/slow";
    let arrived: Vec<_> = bed.sink.received().into_iter().filter(of_slow).map(|request| request.at).collect();
    assert_eq!(arrived.len(), 6);
    // Two at once, then one each half second: 2 s, of which a busy machine may have swallowed some at the beginning.
    let (first, last) = (arrived.iter().min().expect("one"), arrived.iter().max().expect("one"));
    assert!(last.duration_since(*first).as_millis() >= 1_000, "{arrived:?}");
}

on_both_stores!(
    a_full_limit_of_a_tenant_or_of_all_delays_and_says_so,
    a_tenants_own_rate_spreads_its_actions_and_nobody_elses,
);
