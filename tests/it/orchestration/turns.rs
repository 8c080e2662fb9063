//! A flow whose runs take turns by a key, in a server with one slot: a crowd of one key delays another by one turn.

use serde_json::json;

use super::bed::Bed;
use super::on_both_stores;
use crate::support::StoreKind;

/// How many come at once with the same key.
const CROWD: usize = 20;

async fn a_crowd_of_one_key_waits_in_turn(kind: StoreKind) {
    let narrow =
        [("CORE314__ENGINE__PARTITIONS", "1".to_owned()), ("CORE314__ENGINE__SLOTS_PER_PARTITION", "1".to_owned())];
    let bed = Bed::start_with(kind, &narrow).await;
    let [client, _] = bed.clients();
    let mut flow = bed.flow("fair", &["call"]);
    flow["limits"] = json!({"fairness": {"key": "[trigger.host]"}});
    let refused = client.post("/api/v1/flows", flow.clone(), 422).await;
    assert_eq!(refused["errors"][0]["pointer"], "/limits/fairness/key", "{refused}");
    flow["limits"] = json!({"fairness": {"key": "trigger.host"}});
    let path = format!("/api/v1/flows/{}/trigger", client.save(&flow).await);
    let refused = client.post(&path, json!({"trigger_context": {"host": null}}), 422).await;
    assert_eq!(refused["code"], "condition_error", "{refused}");

    bed.sink.hold(true);
    for host in std::iter::repeat_n("crowd", CROWD).chain(["other"]) {
        let accepted = client.post(&path, json!({"trigger_context": {"host": host}}), 202).await;
        assert_eq!(accepted["run_status"], "running", "whose turn it is limits no run: {accepted}");
    }
    bed.sink.until(1).await;
    bed.sink.hold(false);
    let received = bed.sink.until(CROWD + 1).await;
    let hosts: Vec<&str> = received.iter().filter_map(|request| request.body["host"].as_str()).collect();
    let place = hosts.iter().position(|host| *host == "other");
    assert!(place.is_some_and(|place| place <= 2), "it came last and waits for one of the crowd: {hosts:?}");
}

on_both_stores!(a_crowd_of_one_key_waits_in_turn);
