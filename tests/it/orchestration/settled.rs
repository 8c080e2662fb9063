//! What people settle: attempts reviewed, and work that was set aside.

use serde_json::json;

use super::bed::{Bed, pick};
use super::on_both_stores;
use crate::support::StoreKind;

async fn an_attempt_is_reviewed(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let flow = client.save(&bed.flow("reviewed", &["call"])).await;
        let run = client.start(&flow).await;
        client.run(run.id(), "completed").await;
        let rows = client.items(&format!("/api/v1/execution-log?flow_run_id={}", run.id())).await;
        let path = format!("/api/v1/execution-log/{}", rows[0]["id"].as_str().expect("an id"));
        let review = format!("{path}/review");
        let noted = client.post(&review, json!({"verdict": "problem", "notes": "too late"}), 200).await;
        assert_eq!(pick(&noted, "requires_review review_notes"), json!([true, "too late"]));
        client.post(&review, json!({"verdict": "ok", "notes": "fine after all"}), 200).await;
        assert_eq!(client.get(&path).await["review_notes"], "fine after all");
        for wrong in [json!({}), json!({"verdict": "maybe"}), json!({"verdict": "ok", "notes": "x".repeat(2_001)})] {
            client.post(&review, wrong, 422).await;
        }
        let nowhere = "/api/v1/execution-log/0190a000-0000-7000-8000-0000000000ff/review";
        client.post(nowhere, json!({"verdict": "ok"}), 404).await;
        let audit = client.items("/api/v1/audit-log?event_type=execution_reviewed").await;
        assert_eq!(audit.iter().map(|row| &row["details"]["verdict"]).collect::<Vec<_>>(), ["ok", "problem"]);
    }
    let (code, printed) = bed.installation.run(&["log", "verify"]);
    assert_eq!(code, 0, "a review changes nothing of the log: {printed}");
}

/// Of one flow of each client the first message is handled, and every later one kills the run's actor.
fn poison() -> (&'static str, String) {
    ("CORE314_FAILPOINTS", "flow_run.poison-0=panic@2+,flow_run.poison-1=panic@2+".to_owned())
}

async fn a_dead_letter_is_retried(kind: StoreKind) {
    let mut bed = Bed::start_with(kind, &[poison()]).await;
    let mut letters = Vec::new();
    for (n, client) in bed.clients().iter().enumerate() {
        let flow = client.save(&bed.flow(&format!("poison-{n}"), &["call"])).await;
        let run = client.start(&flow).await;
        let failed = client.run(run.id(), "failed").await;
        assert!(failed["error"].as_str().is_some_and(|error| error.contains("set aside")), "{failed:#}");
        let found = client.items("/api/v1/dead-letters").await;
        assert_eq!(pick(&found[0], "flow_run_id settlement settled_at"), json!([run.id(), null, null]));
        letters.push((found[0]["id"].as_str().expect("an id").to_owned(), run.id().to_owned()));
    }
    // Mended: the next release does not die of it.
    assert_eq!(bed.server.terminate(), Some(0));
    bed.server = crate::support::Server::start(&bed.installation);
    for (client, (letter, run)) in bed.clients().iter().zip(&letters) {
        let path = format!("/api/v1/dead-letters/{letter}");
        for stranger in bed.strangers() {
            stranger.post(&format!("{path}/retry"), json!({}), 404).await;
            stranger.post(&format!("{path}/discard"), json!({}), 404).await;
        }
        let retried = client.post(&format!("{path}/retry"), json!({}), 200).await;
        assert_eq!(retried["settlement"], "retried");
        client.run(run, "completed").await;
        let twice = client.post(&format!("{path}/discard"), json!({}), 409).await;
        assert_eq!(twice["detail"], "it was retried already");
        let audit = client.items("/api/v1/audit-log?event_type=dead_letter_settled").await;
        assert_eq!(audit.len(), 1);
    }
}

async fn a_dead_letter_is_discarded(kind: StoreKind) {
    let bed = Bed::start_with(kind, &[poison()]).await;
    for (n, client) in bed.clients().iter().enumerate() {
        let flow = client.save(&bed.flow(&format!("poison-{n}"), &["call"])).await;
        let run = client.start(&flow).await;
        client.run(run.id(), "failed").await;
        let letter = client.items("/api/v1/dead-letters").await[0]["id"].as_str().expect("an id").to_owned();
        let path = format!("/api/v1/dead-letters/{letter}");
        let discarded = client.post(&format!("{path}/discard"), json!({}), 200).await;
        assert_eq!(discarded["settlement"], "discarded");
        assert!(discarded["settled_at"].is_string(), "{discarded:#}");
        client.post(&format!("{path}/retry"), json!({}), 409).await;
        client.run(run.id(), "failed").await;
    }
}

on_both_stores!(an_attempt_is_reviewed, a_dead_letter_is_retried, a_dead_letter_is_discarded);
