//! Which request each command makes, by the contract: method, path, query and body.

use serde_json::{Value, json};

use super::{ID, answering, cli, installation};

/// What a command says to a server, in the order of the arguments.
struct Case {
    words: &'static [&'static str],
    asks: &'static str,
    body: Value,
    answer: (u16, Value),
    exit: i32,
    says: &'static str,
}

fn case(words: &'static [&'static str], asks: &'static str, answer: Value, says: &'static str) -> Case {
    Case { words, asks, body: Value::Null, answer: (200, answer), exit: 0, says }
}

fn post(words: &'static [&'static str], asks: &'static str, body: Value, answer: Value, says: &'static str) -> Case {
    Case { words, asks, body, answer: (202, answer), exit: 0, says }
}

async fn check(cases: Vec<Case>) {
    let installation = installation().await;
    for Case { words, asks, body, answer: (status, answer), exit, says } in cases {
        let server = answering(status, answer);
        let (code, text) = cli(&installation, &server.url, words);
        assert_eq!(code, exit, "{words:?}: {text}");
        let asked = server.take();
        let last = asked.last().unwrap_or_else(|| panic!("{words:?} asked nothing: {text}"));
        assert_eq!(last.what, asks.replace("ID", ID), "{words:?}");
        assert_eq!(last.body, body, "{words:?}");
        assert!(text.contains(says), "{words:?} must say '{says}': {text}");
    }
}

#[tokio::test]
async fn runs_and_executions() {
    let run = || json!({"id": ID, "run_status": "cancelled", "flow_name": "hello"});
    let execution = || json!({"id": ID, "step_id": "greet", "execution_status": "pending"});
    let nothing = || json!({});
    let why = json!({"run_id": ID, "run_status": "running", "reasons": [{"code": "retry_backoff", "message": "waits",
        "step_id": "greet", "wakes_at": "2030-01-01T00:00:00Z", "held_by": null}]});
    let events = json!({"items": [{"at": "2026-01-01T00:00:00Z", "event": "run_started"}], "next_cursor": null});
    let list = |row: Value| json!({"items": [row], "next_cursor": null});
    let letter = json!({"id": ID, "message": "drive", "failure": "the disk is full", "settlement": null});
    check(vec![
        post(
            &["run", "cancel", ID, "--reason", "why not"],
            "POST /api/v1/runs/ID/cancel",
            json!({"reason": "why not"}),
            run(),
            "cancelled",
        ),
        post(&["run", "pause", ID], "POST /api/v1/runs/ID/pause", nothing(), run(), "hello"),
        post(&["run", "resume", ID], "POST /api/v1/runs/ID/resume", nothing(), run(), "hello"),
        post(&["run", "retry", ID], "POST /api/v1/runs/ID/retry", nothing(), run(), "hello"),
        post(&["run", "restart", ID, "-o", "json"], "POST /api/v1/runs/ID/restart", nothing(), run(), "\"run_status\""),
        case(&["run", "why", ID], "GET /api/v1/runs/ID/why", why, "retry_backoff"),
        case(&["run", "timeline", ID], "GET /api/v1/runs/ID/timeline?limit=50", events, "run_started"),
        case(
            &["run", "list", "--flow", "hello", "--status", "failed", "--run-key", "k", "--limit", "3"],
            "GET /api/v1/runs?run_status=failed&orchestration_flow_id=ID&run_key=k&limit=3",
            list(run()),
            "hello",
        ),
        case(
            &["execution", "list", "--run", ID, "--status", "retrying"],
            "GET /api/v1/executions?flow_run_id=0190a000-0000-7000-8000-0000000000aa&execution_status=retrying&limit=50",
            list(execution()),
            "greet",
        ),
        case(&["execution", "show", ID], "GET /api/v1/executions/ID", execution(), "step_id: greet"),
        post(&["execution", "cancel", ID], "POST /api/v1/executions/ID/cancel", nothing(), execution(), "greet"),
        post(&["execution", "retry", ID], "POST /api/v1/executions/ID/retry", nothing(), execution(), "greet"),
        case(&["approvals"], "GET /api/v1/executions/pending-approvals?limit=50", list(execution()), "greet"),
        post(
            &["approve", ID, "--notes", "seen", "--form", "{\"n\": 2}"],
            "POST /api/v1/executions/ID/approve",
            json!({"notes": "seen", "form": {"n": 2}}),
            execution(),
            "greet",
        ),
        post(&["approve", ID], "POST /api/v1/executions/ID/approve", nothing(), run(), "hello"),
        post(&["reject", ID], "POST /api/v1/executions/ID/reject", nothing(), Value::Null, "done"),
        case(&["dead-letters", "list"], "GET /api/v1/dead-letters?limit=50", list(letter), "the disk is full"),
        post(&["dead-letters", "retry", ID], "POST /api/v1/dead-letters/ID/retry", nothing(), run(), ID),
        post(&["dead-letters", "discard", ID], "POST /api/v1/dead-letters/ID/discard", nothing(), run(), ID),
    ])
    .await;
}

#[tokio::test]
async fn runs_that_are_run_again() {
    let run = || json!({"id": ID, "run_status": "cancelled", "flow_name": "hello"});
    check(vec![
        post(
            &["run", "rerun", ID, "--from", "greet", "--flow-version", "2", "--run-key", "k"],
            "POST /api/v1/runs/ID/rerun",
            json!({"from_step": "greet", "version": 2, "run_key": "k"}),
            run(),
            "hello",
        ),
        post(
            &["run", "rerun", "--filter", "run_status=failed", "--from", "greet", "--canary", "3"],
            "POST /api/v1/bulk",
            json!({"verb": "rerun", "from_step": "greet", "filter": {"run_status": "failed"}, "preview": false, "canary": 3}),
            json!({"id": ID, "verb": "rerun", "status": "running"}),
            "rerun",
        ),
        post(
            &["run", "replay", "--filter", "flow_name=hello", "--limit", "5", "--flow-version", "3"],
            "POST /api/v1/runs/bulk/replay",
            json!({"filter": {"flow_name": "hello"}, "limit": 5, "version": 3}),
            json!({"replayed": 5, "same": 4, "different": 1, "steps": [{"step": "greet", "change": "payload", "runs": 1}]}),
            "step greet",
        ),
    ])
    .await;
}

#[tokio::test]
async fn signals_undo_and_phases() {
    let run = || json!({"id": ID, "run_status": "running", "flow_name": "hello"});
    let moved = || json!({"items": [{"phase_number": 2, "phase_name": "build", "status": "completed"}]});
    let plan = json!({"to_phase": 1, "undo": [{"step_id": "greet", "action_type": "api_call"}]});
    let figures = json!({"items": [{"phase_number": 2, "phase_name": "build"}], "is_cut": true});
    check(vec![
        post(&["run", "signal", ID, "go"], "POST /api/v1/runs/ID/signal/go", json!({}), run(), "running"),
        post(
            &["run", "signal", ID, "a b", "--payload", "[1]"],
            "POST /api/v1/runs/ID/signal/a%20b",
            json!([1]),
            run(),
            "hello",
        ),
        case(&["run", "undo-plan", ID], "GET /api/v1/runs/ID/undo-plan", plan.clone(), "to the end of phase 1"),
        case(&["run", "undo-plan", ID, "-o", "yaml"], "GET /api/v1/runs/ID/undo-plan", plan, "to_phase: 1"),
        post(&["run", "undo", ID, "done"], "POST /api/v1/runs/ID/undo", json!({"way": "done"}), run(), "hello"),
        post(
            &["run", "undo", ID, "skip", "--reason", "gone"],
            "POST /api/v1/runs/ID/undo",
            json!({"way": "skip", "reason": "gone"}),
            run(),
            "hello",
        ),
        case(&["run", "phases", ID, "-o", "json"], "GET /api/v1/runs/ID/phases?limit=50", moved(), "\"build\""),
        case(&["phase", "late", "--limit", "9"], "GET /api/v1/phases/sla-violations?limit=9", moved(), "build"),
        case(
            &["phase", "list", "--flow", "hello"],
            "GET /api/v1/workflow-phase-logs?orchestration_flow_id=ID&limit=50",
            moved(),
            "completed",
        ),
        case(
            &["phase", "analytics", "--hours", "3", "--flow", ID],
            "GET /api/v1/phases/analytics?hours=3&flow_id=ID",
            figures,
            "the oldest are left out",
        ),
    ])
    .await;
}

#[tokio::test]
async fn escalations_and_inboxes() {
    let row = || json!({"id": ID, "rule_name": "payments", "name": "primary", "status": "failed"});
    let rows = || json!({"items": [row()]});
    let now = json!({"id": ID, "user_id": ID, "by": "week"});
    let over = Case {
        answer: (204, Value::Null),
        ..case(&["silence", "end", ID], "DELETE /api/v1/silences/ID", Value::Null, "is over")
    };
    check(vec![
        case(
            &["escalation", "outbox", "--status", "failed", "-o", "yaml"],
            "GET /api/v1/escalation-outbox?status=failed&limit=50",
            rows(),
            "status: failed",
        ),
        case(
            &["escalation", "analytics", "--hours", "2", "--interval", "30"],
            "GET /api/v1/escalation-events/analytics?hours=2&interval_minutes=30",
            json!({"items": [{"total": 7}]}),
            "7",
        ),
        post(
            &["escalation", "report", "--reason", "run_failed", "-o", "json"],
            "POST /api/v1/escalation-events",
            json!({"escalation_reason": "run_failed"}),
            json!({"taken": []}),
            "\"taken\": []",
        ),
        case(&["escalation", "rules", "--limit", "2"], "GET /api/v1/escalation-rules?limit=2", rows(), "payments"),
        case(&["escalation", "rules", "show", ID], "GET /api/v1/escalation-rules/ID", row(), "rule_name: payments"),
        case(
            &["on-call", "now", ID, "--at", "2026-01-01T00:00:00Z"],
            "GET /api/v1/on-call/ID/now?at=2026-01-01T00%3A00%3A00Z",
            now,
            "week",
        ),
        case(&["silence", "list", "-o", "json"], "GET /api/v1/silences?limit=50", rows(), "\"primary\""),
        over,
        case(
            &["notification", "list", "--type", "alert", "--severity", "high"],
            "GET /api/v1/notifications?type=alert&severity=high&limit=50",
            rows(),
            ID,
        ),
        post(
            &["notification", "read", "--all", "-o", "yaml"],
            "POST /api/v1/notifications/read-all",
            json!({}),
            json!({"read_count": 2}),
            "read_count: 2",
        ),
    ])
    .await;
}

#[tokio::test]
async fn flows() {
    let flow = || json!({"id": ID, "flow_name": "hello", "flow_version": 2, "is_active": false});
    let document = "flow_name: hello\n";
    let deleted = Case {
        answer: (204, Value::Null),
        ..case(&["flow", "delete", ID], "DELETE /api/v1/flows/ID", Value::Null, "is deleted")
    };
    check(vec![
        post(&["flow", "pause", "hello"], "POST /api/v1/flows/ID/pause", json!({}), flow(), "false"),
        post(&["flow", "resume", ID], "POST /api/v1/flows/ID/resume", json!({}), flow(), "hello"),
        post(
            &["flow", "clone", "hello", "bye"],
            "POST /api/v1/flows/ID/clone",
            json!({"flow_name": "bye"}),
            flow(),
            "hello",
        ),
        post(
            &["flow", "dry-run", "hello", "--input", "{\"host\": \"a\"}"],
            "POST /api/v1/flows/ID/dry-run",
            json!({"trigger_context": {"host": "a"}}),
            json!({"steps": ["greet"]}),
            "- greet",
        ),
        case(&["flow", "show", "hello"], "GET /api/v1/flows/ID", flow(), "flow_version: 2"),
        case(
            &["flow", "versions", "hello"],
            "GET /api/v1/flows/ID/versions?limit=50",
            json!({"items": [flow()]}),
            "VERSION",
        ),
        case(&["flow", "export", "hello"], "GET /api/v1/flows/ID/export?format=yaml", json!(document), document),
        case(
            &["flow", "list", "--trigger", "manual", "--active", "true"],
            "GET /api/v1/flows?trigger_type=manual&is_active=true&limit=50",
            json!({"items": [flow()]}),
            "hello",
        ),
        post(
            &["flow", "run", "hello", "--run-key", "k", "--on-conflict", "cancel_running"],
            "POST /api/v1/flows/hello/trigger",
            json!({"trigger_context": {}, "run_key": "k", "on_conflict": "cancel_running"}),
            json!({"id": ID, "run_status": "pending"}),
            "core314 run show",
        ),
        deleted,
    ])
    .await;
}

#[tokio::test]
async fn log_webhooks_and_keys() {
    let attempts = || json!({"items": [{"id": ID, "action_type": "api_call"}]});
    let made = json!({"id": ID, "key": "sk_secret"});
    let delivery = json!({"items": [{"id": ID, "delivery_status": "accepted", "delivery_key": "k1"}]});
    let hook = json!({"id": ID, "url": "http://h/hooks/x", "secret": "s3cret"});
    check(vec![
        case(
            &["log", "list", "--execution", ID, "--success", "false"],
            "GET /api/v1/execution-log?execution_queue_id=0190a000-0000-7000-8000-0000000000aa&success=false&limit=50",
            attempts(),
            "api_call",
        ),
        case(
            &["log", "slowest", "--limit", "9"],
            "GET /api/v1/execution-log/slowest?hours=24&limit=9",
            attempts(),
            "api",
        ),
        post(
            &["log", "review", ID, "--verdict", "false_alarm", "--notes", "the host was gone"],
            "POST /api/v1/execution-log/ID/review",
            json!({"verdict": "false_alarm", "notes": "the host was gone"}),
            json!({"id": ID, "action_type": "api_call", "review_notes": "the host was gone"}),
            "the host was gone",
        ),
        post(
            &["log", "review", ID, "--verdict", "ok", "-o", "json"],
            "POST /api/v1/execution-log/ID/review",
            json!({"verdict": "ok"}),
            json!({"id": ID, "requires_review": true}),
            "\"requires_review\": true",
        ),
        case(&["log", "failed", "--limit", "7"], "GET /api/v1/execution-log/failed?limit=7", attempts(), "api_call"),
        case(
            &["log", "statistics", "--hours", "2", "-o", "yaml"],
            "GET /api/v1/execution-log/statistics?hours=2",
            json!({"total_executions": 4}),
            "total_executions: 4",
        ),
        post(
            &["token", "create", "ci", "--role", "operator", "--role", "viewer", "--expires", "2027-01-31T00:00:00Z"],
            "POST /api/v1/tokens",
            json!({"name": "ci", "roles": ["operator", "viewer"], "expires_at": "2027-01-31T00:00:00Z"}),
            made,
            "sk_secret\nThe key's id is",
        ),
        case(&["token", "list"], "GET /api/v1/tokens?limit=50", attempts(), ID),
        case(&["token", "list", "--platform"], "GET /api/v1/tokens?scope=platform&limit=50", attempts(), ID),
        case(&["token", "revoke", ID], "DELETE /api/v1/tokens/ID", Value::Null, "is deleted"),
        post(
            &["webhook", "create", "shop", "--flow", "hello", "--verification", "github"],
            "POST /api/v1/webhooks",
            json!({"name": "shop", "flow_id": ID, "verification": "github"}),
            hook,
            "secret  s3cret",
        ),
        case(&["webhook", "list"], "GET /api/v1/webhooks?limit=50", attempts(), ID),
        case(&["webhook", "show", ID], "GET /api/v1/webhooks/ID", json!({"name": "shop"}), "name: shop"),
        case(&["webhook", "deliveries", ID], "GET /api/v1/webhooks/ID/deliveries?limit=50", delivery, "accepted"),
        post(&["webhook", "test", ID], "POST /api/v1/webhooks/ID/test", json!({}), json!({"run_ids": []}), "run_ids"),
        case(&["webhook", "delete", ID], "DELETE /api/v1/webhooks/ID", Value::Null, "is deleted"),
    ])
    .await;
}

#[tokio::test]
async fn schedules() {
    let row = || {
        json!({"flow_id": ID, "schedule_status": "paused", "schedule": "@daily", "timezone": "UTC", "fired_count": 7,
        "trigger_config": {"cron": "@daily"}})
    };
    let instant = json!({"scheduled_for": "2030-01-01T00:00:00.000Z", "local": "2030-01-01T00:00:00Z"});
    let backfilled = json!({"count": 1, "started": 1, "results": [instant]});
    let range = json!({"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z", "preview": true, "max": 5});
    check(vec![
        case(&["flow", "schedule", "hello"], "GET /api/v1/flows/ID/schedule", row(), "fired_count: 7"),
        post(&["flow", "schedule", ID, "pause"], "POST /api/v1/flows/ID/schedule/pause", json!({}), row(), "paused"),
        post(
            &["flow", "schedule", "hello", "resume"],
            "POST /api/v1/flows/ID/schedule/resume",
            json!({}),
            row(),
            "@daily",
        ),
        post(
            &["flow", "schedule", ID, "next", "--limit", "3"],
            "POST /api/v1/schedules/preview",
            json!({"trigger_config": {"cron": "@daily"}, "count": 3}),
            row(),
            "the schedule is paused",
        ),
        post(
            &[
                "flow",
                "schedule",
                ID,
                "backfill",
                "--from",
                "2026-01-01T00:00:00Z",
                "--to",
                "2026-01-02T00:00:00Z",
                "--preview",
                "--max",
                "5",
            ],
            "POST /api/v1/flows/ID/schedule/backfill",
            range,
            backfilled,
            "instants: 1, runs started: 1",
        ),
    ])
    .await;
}
