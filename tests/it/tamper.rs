//! Rows altered, removed and slipped in by hand, past every guard: `core314 log verify` finds each.

use serde_json::json;

use super::support::{Installation, Server, StoreKind};

/// What an intruder with the owner's rights does first: the guards go.
fn disarm(kind: StoreKind) -> &'static str {
    match kind {
        StoreKind::Sqlite => "DROP TRIGGER log_no_update; DROP TRIGGER log_no_delete;",
        StoreKind::Postgres => "ALTER TABLE log DISABLE TRIGGER USER; ALTER TABLE log NO FORCE ROW LEVEL SECURITY;",
    }
}

async fn with_history(kind: StoreKind) -> Installation {
    let installation = Installation::new(kind).await;
    let mut server = Server::start(&installation);
    let flow = json!({
        "flow_name": "history", "trigger_type": "webhook",
        "flow_steps": [{"id": "a", "config": {"action_type": "transform", "action_payload": {"n": "{{ trigger.n }}"}}}],
    });
    let hook = server.flow_with_webhook(flow).await;
    for n in 0..200 {
        let sent = server.http.post(format!("{}{hook}", server.url)).json(&json!({"n": n})).send().await;
        assert_eq!(sent.expect("an answer").status().as_u16(), 202);
    }
    // A drain commits what is under way before it ends.
    assert_eq!(server.terminate(), Some(0));
    let (code, printed) = installation.run(&["log", "verify"]);
    assert_eq!(code, 0, "an untouched log holds: {printed}");
    assert!(printed.contains("verified"), "{printed}");
    installation
}

/// The meddling, and a word that the finding must have.
async fn is_found(kind: StoreKind, statement: &str, what: &str) {
    let installation = with_history(kind).await;
    installation.meddle(disarm(kind)).await;
    installation.meddle(statement).await;
    let (code, printed) = installation.run(&["log", "verify"]);
    assert_eq!(code, 1, "{what}: {printed}");
    assert!(printed.contains("execution_log"), "{what}: {printed}");
}

/// One row in the middle of the longest chain.
const MIDDLE: &str = "(SELECT id FROM log WHERE seq = 2 ORDER BY id LIMIT 1)";
/// The columns of the log but the id, to copy a row.
const COLUMNS: &str = "tenant_id, run_id, step_no, partition, row_hash, action_type, action_target, payload, \
    execution_status, is_final, success, result, error, error_code, error_details, started_at_ms, completed_at_ms, \
    duration_ms, queue_wait_ms, http_method, http_endpoint, http_status_code, http_time_ms, http_request_bytes, \
    http_response_bytes";

async fn meddling_is_found(kind: StoreKind) {
    is_found(kind, &format!("UPDATE log SET action_target = 'elsewhere' WHERE id = {MIDDLE}"), "a changed text").await;
    is_found(kind, &format!("UPDATE log SET result = '{{\"n\": -1}}' WHERE id = {MIDDLE}"), "a changed result").await;
    is_found(kind, &format!("DELETE FROM log WHERE id = {MIDDLE}"), "a removed row").await;
    is_found(kind, "DELETE FROM log WHERE id = (SELECT id FROM log ORDER BY id DESC LIMIT 1)", "a removed end").await;
    let fresh = match kind {
        StoreKind::Sqlite => "randomblob(16)",
        StoreKind::Postgres => "gen_random_uuid()",
    };
    let insert = format!(
        "INSERT INTO log (id, attempt, seq, {COLUMNS}) SELECT {fresh}, 99, seq + 1, {COLUMNS} FROM log WHERE id = {MIDDLE}"
    );
    is_found(kind, &insert, "a row slipped in").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_row_altered_removed_or_slipped_in_is_found_on_sqlite() {
    meddling_is_found(StoreKind::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_row_altered_removed_or_slipped_in_is_found_on_postgres() {
    meddling_is_found(StoreKind::Postgres).await;
}
