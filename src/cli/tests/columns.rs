//! Every table's columns against the description of the API: a key that no answer has would be a column of `-` for ever.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// Where a table's rows come from.
enum Rows {
    /// A request's answer, the member of it that has them (empty: the answer is the row), and the columns that the command
    /// itself adds.
    Answer(&'static str, &'static str, &'static [&'static str]),
    /// The command makes them, or the description does not say what they are.
    Own,
}

use Rows::{Answer, Own};

const TABLES: &[(&str, Rows)] = &[
    ("actors.rs ACTORS", Answer("GET /actors", "items", &[])),
    ("actors.rs RESTARTED", Answer("POST /actors/{path}/restart", "", &[])),
    ("bulk.rs JOBS", Answer("GET /bulk", "items", &[])),
    ("bulk.rs PREVIEW", Answer("POST /bulk", "", &[])),
    ("dead_letters.rs DEAD_LETTERS", Answer("GET /dead-letters", "items", &[])),
    ("decision.rs DECISIONS", Answer("POST /decisions/{id}/approve", "row", &[])),
    ("decision.rs RECOMMENDATIONS", Answer("POST /recommendations/{id}/accept", "row", &[])),
    ("escalation.rs EVENTS", Answer("GET /escalation-events", "items", &[])),
    ("escalation.rs INTERVALS", Answer("GET /escalation-events/analytics", "items", &[])),
    ("escalation.rs OUTBOX", Answer("GET /escalation-outbox", "items", &[])),
    ("escalation.rs TAKEN", Answer("POST /escalation-events", "taken", &[])),
    ("escalation/rules.rs BEAT", Answer("POST /escalation-rules/{id}/heartbeat", "", &[])),
    ("escalation/rules.rs RULES", Answer("GET /escalation-rules", "items", &[])),
    ("escalation/tried.rs ASKED", Own),
    ("execution.rs APPROVALS", Answer("GET /executions/pending-approvals", "items", &["flow_name", "waits"])),
    ("execution.rs EXECUTIONS", Answer("GET /executions", "items", &[])),
    ("export.rs EXPORTED", Own),
    ("flow.rs FLOWS", Answer("GET /flows", "items", &[])),
    ("flow/schedule.rs BACKFILLED", Answer("POST /flows/{id}/schedule/backfill", "results", &[])),
    ("flow/schedule.rs INSTANTS", Answer("POST /schedules/preview", "instants", &[])),
    ("flow/schedule.rs SCHEDULE", Answer("GET /flows/{id}/schedule", "", &[])),
    ("flow/templates.rs TEMPLATES", Answer("GET /templates", "items", &["asks"])),
    ("flow/versions.rs DIFFERENCES", Answer("GET /flows/{id}/diff", "differences", &[])),
    (
        "flow/versions.rs ROLLOUT",
        Answer("GET /flows/{id}/rollout", "", &["ended.runs", "ended.failed", "base_ended.runs", "base_ended.failed"]),
    ),
    ("flow/versions.rs VERSIONS", Answer("GET /flows/{id}/versions", "items", &[])),
    ("integration.rs INTEGRATIONS", Answer("GET /integrations", "items", &[])),
    ("integration.rs KINDS", Answer("GET /integrations/kinds", "items", &[])),
    ("integration.rs TEMPLATES", Answer("GET /integrations/templates", "items", &[])),
    ("log.rs ATTEMPTS", Answer("GET /execution-log", "items", &[])),
    ("log.rs FINDINGS", Own),
    ("log.rs REVIEWED", Answer("POST /execution-log/{id}/review", "", &[])),
    ("notification.rs NOTIFICATIONS", Answer("GET /notifications", "items", &[])),
    ("notification.rs READ", Answer("POST /notifications/read-all", "", &[])),
    ("notification.rs UNREAD", Answer("GET /notifications/unread-count", "", &[])),
    ("on_call.rs NOW", Answer("GET /on-call/{id}/now", "", &["schedule"])),
    ("on_call.rs OVERRIDES", Answer("GET /on-call/overrides", "items", &[])),
    ("on_call.rs SCHEDULES", Answer("GET /on-call", "items", &[])),
    ("people.rs CONTACTS", Answer("GET /contact-methods", "items", &[])),
    ("people.rs USERS", Answer("GET /users", "items", &[])),
    ("phase.rs ANALYSED", Answer("GET /phases/analytics", "items", &[])),
    ("phase.rs TRANSITIONS", Answer("GET /workflow-phase-logs", "items", &[])),
    ("retention.rs DROPPED", Own),
    // The names of the steps come from the executions.
    ("run.rs ATTEMPTS", Answer("GET /execution-log", "items", &["step_id"])),
    ("run.rs EVENTS", Answer("GET /runs/{id}/timeline", "items", &[])),
    ("run.rs REASONS", Answer("GET /runs/{id}/why", "reasons", &[])),
    ("run.rs RUNS", Answer("GET /runs", "items", &[])),
    ("run.rs UNDO", Answer("GET /runs/{id}/undo-plan", "undo", &[])),
    ("secret.rs SECRETS", Answer("GET /secrets", "items", &[])),
    ("show.rs COLUMNS", Own),
    ("silence.rs SILENCES", Answer("GET /silences", "items", &[])),
    ("store.rs COPIED", Own),
    ("store.rs FINDINGS", Own),
    ("sync.rs SYNCS", Answer("GET /syncs", "items", &[])),
    ("token.rs TOKENS", Answer("GET /tokens", "items", &[])),
    ("webhook.rs DELIVERIES", Answer("GET /webhooks/{id}/deliveries", "items", &[])),
    ("webhook.rs WEBHOOKS", Answer("GET /webhooks", "items", &[])),
];

#[test]
fn every_column_is_a_member_of_the_answer_it_shows() {
    let api: Value = serde_json::from_str(include_str!("../../../docs/openapi.json")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli");
    let mut written = BTreeMap::new();
    tables(&root, "", &mut written);
    let mut wrong = Vec::new();
    for (table, rows) in TABLES {
        let Some(keys) = written.remove(*table) else {
            wrong.push(format!("there is no table {table}"));
            continue;
        };
        let Answer(request, member, own) = rows else { continue };
        let row = members(&api, &row_of(&api, request, member));
        let absent = keys.iter().filter(|key| !row.contains(key) && !own.contains(&key.as_str()));
        wrong.extend(absent.map(|key| format!("{table}: no answer of {request} has '{key}', but {row:?}")));
    }
    wrong.extend(written.keys().map(|table| format!("{table}: say here where its rows come from")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The keys of every table below this directory, read from the source: the tables are private to their commands.
fn tables(dir: &Path, above: &str, found: &mut BTreeMap<String, Vec<String>>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let name = format!("{above}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            tables(&entry.path(), &format!("{name}/"), found);
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap();
        for item in text.split("const ") {
            let Some((table, rest)) = item.split_once(": Columns<'_> =") else { continue };
            if table.chars().all(|c| c.is_ascii_uppercase() || c == '_') {
                let quoted = rest.split("];").next().unwrap().split('"').skip(1).step_by(2);
                found.insert(format!("{name} {table}"), quoted.skip(1).step_by(2).map(str::to_owned).collect());
            }
        }
    }
}

/// The schema of one row of a successful answer; of several answers the first that has the member.
fn row_of(api: &Value, request: &str, member: &str) -> Value {
    let (method, path) = request.split_once(' ').unwrap();
    let operation = &api["paths"][format!("/api/v1{path}")][method.to_lowercase()];
    let answers = operation["responses"].as_object().unwrap_or_else(|| panic!("there is no {request}"));
    let successful = answers.iter().filter(|(status, _)| status.starts_with('2'));
    let mut schemas = successful.map(|(_, answer)| resolved(api, &answer["content"]["application/json"]["schema"]));
    if member.is_empty() {
        return schemas.next().unwrap_or_else(|| panic!("{request} answers nothing"));
    }
    let rows = schemas.find_map(|schema| Some(resolved(api, schema["properties"].get(member)?)));
    let rows = rows.unwrap_or_else(|| panic!("{request} answers no '{member}'"));
    if rows["items"].is_null() { rows } else { resolved(api, &rows["items"]) }
}

/// What a schema says, where it only names another one.
fn resolved(api: &Value, schema: &Value) -> Value {
    match schema["$ref"].as_str() {
        Some(name) => resolved(api, api.pointer(name.trim_start_matches('#')).unwrap()),
        None => schema.clone(),
    }
}

fn members(api: &Value, schema: &Value) -> Vec<String> {
    let own = schema["properties"].as_object().into_iter().flatten().map(|(name, _)| name.clone());
    let parts = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|kind| schema[kind].as_array()).flatten();
    own.chain(parts.flat_map(|part| members(api, &resolved(api, part)))).collect()
}
