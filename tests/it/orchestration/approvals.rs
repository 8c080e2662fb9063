//! People decide: approve with notes and a form, reject, too late, and not at all.

use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::bed::{Bed, Client, Started, pick};
use super::on_both_stores;
use crate::support::{JWT_SECRET, StoreKind};

/// One step that waits for a person.
fn asking(bed: &Bed, name: &str, more: &Value) -> Value {
    let mut flow = bed.flow(name, &["ask"]);
    flow["flow_steps"][0]["requires_approval"] = json!(true);
    if let Some(seconds) = more.get("expires_in_seconds") {
        flow["flow_steps"][0]["config"]["expires_in_seconds"] = seconds.clone();
    }
    flow
}

/// What the audit log says of a run, oldest first.
async fn audited(client: &Client<'_>, run: &str) -> Vec<String> {
    let rows = client.items(&format!("/api/v1/audit-log?subject_id={run}")).await;
    rows.iter().rev().map(|row| row["event_type"].as_str().expect("a word").to_owned()).collect()
}

const DECIDED: &str = "execution_status approval_status approved_by approval_notes";

async fn a_person_decides(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let flow = client.save(&asking(&bed, "asking", &json!({}))).await;
        let (yes, no) = (client.start(&flow).await, client.start(&flow).await);
        for run in [&yes, &no] {
            client.execution(run.execution(0), "awaiting_approval").await;
        }
        let pending = client.items("/api/v1/executions/pending-approvals").await;
        assert_eq!(pending.len(), 2, "{pending:#?}");
        let why = client.get(&format!("/api/v1/runs/{}/why", yes.id())).await;
        assert_eq!(pick(&why["reasons"][0], "code held_by step_id"), json!(["approval", ["person"], "ask"]));

        let (user, path) = (client.user.to_string(), format!("/api/v1/executions/{}/approve", yes.execution(0)));
        let decision = json!({"notes": "go on", "form": {"size": 3}});
        let approved = client.post(&path, decision, 200).await;
        assert_eq!(pick(&approved, "approval_status approved_by approval_notes"), json!(["approved", user, "go on"]));
        assert!(approved["approved_at"].is_string(), "{approved:#}");
        client.run(yes.id(), "completed").await;
        client.post(&path, json!({}), 409).await;

        let path = format!("/api/v1/executions/{}/reject", no.execution(0));
        let rejected = client.post(&path, json!({"notes": "never"}), 200).await;
        assert_eq!(pick(&rejected, DECIDED), json!(["cancelled", "rejected", user, "never"]));
        let ended = client.run(no.id(), "failed").await;
        assert_eq!(ended["error"], "step 'ask': a person refused it");

        assert_eq!(audited(&client, yes.id()).await, ["orchestration_started", "approval_given"]);
        assert_eq!(audited(&client, no.id()).await, ["orchestration_started", "approval_refused"]);
        assert_eq!(client.items("/api/v1/executions/pending-approvals").await, Vec::<Value>::new());
        let too_long = json!({"notes": "x".repeat(2_001)});
        let refused = client.post(&format!("/api/v1/executions/{}/approve", no.execution(0)), too_long, 422).await;
        assert_eq!(refused["errors"][0]["pointer"], "/notes");
    }
    let mut statuses = bed.installation.rows("SELECT status FROM approvals").await;
    statuses.sort_unstable();
    assert_eq!(statuses, ["approved", "approved", "rejected", "rejected"]);
    let forms = bed.installation.rows("SELECT CAST(form AS TEXT) FROM approvals WHERE form IS NOT NULL").await;
    let forms: Vec<Value> = forms.iter().map(|form| serde_json::from_str(form).expect("JSON")).collect();
    assert_eq!(forms, [json!({"size": 3}), json!({"size": 3})]);
}

async fn nobody_decides(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let soon = client.save(&asking(&bed, "soon", &json!({"expires_in_seconds": 1}))).await;
        let late = client.start(&soon).await;
        let expired = client.execution(late.execution(0), "expired").await;
        assert_eq!(pick(&expired, DECIDED), json!(["expired", "expired", null, null]));
        client.run(late.id(), "failed").await;
        client.post(&format!("/api/v1/executions/{}/approve", late.execution(0)), json!({}), 409).await;

        let patient = client.save(&asking(&bed, "patient", &json!({}))).await;
        let (run, step) = (client.start(&patient).await, client.start(&patient).await);
        client.post(&format!("/api/v1/runs/{}/cancel", run.id()), json!({"reason": "enough"}), 200).await;
        assert_eq!(client.run(run.id(), "cancelled").await["error"], "enough");
        let path = format!("/api/v1/executions/{}/cancel", step.execution(0));
        client.post(&path, json!({}), 200).await;
        client.run(step.id(), "cancelled").await;
        for run in [&run, &step] {
            let cancelled = client.get(&format!("/api/v1/executions/{}", run.execution(0))).await;
            assert_eq!(pick(&cancelled, DECIDED), json!(["cancelled", "not_required", null, null]));
        }
        client.post(&path, json!({}), 409).await;
    }
    // In the table the question itself has lapsed in each of these ways.
    assert_eq!(bed.installation.rows("SELECT status FROM approvals").await, ["expired"; 6]);
    assert_eq!(bed.sink.received().len(), 0, "nothing of it was done");
}

async fn a_run_waits_before_it_begins(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        let mut flow = bed.flow("careful", &["act"]);
        flow["requires_approval"] = json!(true);
        let flow = client.save(&flow).await;
        let (yes, no) = (client.start(&flow).await, client.start(&flow).await);
        assert_eq!(yes.0["run_status"], "awaiting_approval");
        let waits = client.get(&format!("/api/v1/runs/{}", yes.id())).await;
        assert_eq!(pick(&waits, "run_status started_at"), json!(["awaiting_approval", null]));
        let why = client.get(&format!("/api/v1/runs/{}/why", yes.id())).await;
        assert_eq!(pick(&why["reasons"][0], "code held_by execution_id"), json!(["approval", ["person"], null]));
        client.post(&format!("/api/v1/runs/{}/approve", yes.id()), json!({"notes": "yes"}), 200).await;
        client.run(yes.id(), "completed").await;
        let refused = client.post(&format!("/api/v1/runs/{}/reject", no.id()), json!({}), 200).await;
        assert_eq!(pick(&refused, "run_status error"), json!(["cancelled", "a person refused the run"]));
        client.post(&format!("/api/v1/runs/{}/approve", no.id()), json!({}), 409).await;
        let never_began = client.post(&format!("/api/v1/runs/{}/retry", no.id()), json!({}), 409).await;
        assert!(never_began["detail"].as_str().is_some_and(|why| why.contains("restart")), "{never_began}");
    }
}

async fn what_an_approver_fills_in_is_checked_and_kept(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    for client in bed.clients() {
        nobody_decides_what_they_started(&client).await;
        let form = json!({"type": "object", "required": ["ticket"], "additionalProperties": false, "properties": {
            "ticket": {"type": "string", "pattern": "^OPS-[0-9]+$"}, "grace": {"type": "integer", "default": 30}}});
        let config = json!({"allow_self": true, "form": form});
        let tell = json!({"id": "tell", "type": "transform", "config": {"values": {
            "ticket": "steps.ask.output.form.ticket", "grace": "steps.ask.output.form.grace"}}});
        let flow = json!({"flow_name": "form", "trigger_type": "manual", "execution_mode": "sequential",
            "flow_steps": [{"id": "ask", "type": "approval", "config": config}, tell]});
        let id = client.save(&flow).await;
        let run = client.start(&id).await;
        client.execution(run.execution(0), "awaiting_approval").await;
        let pending = client.items("/api/v1/executions/pending-approvals").await;
        assert_eq!(pending[0]["action_config"]["form"], form, "{pending:#?}");

        let path = format!("/api/v1/executions/{}/approve", run.execution(0));
        let refused = client.post(&path, json!({"form": {"ticket": "none", "size": 1}}), 422).await;
        let pointers: Vec<&Value> =
            refused["errors"].as_array().expect("errors").iter().map(|error| &error["pointer"]).collect();
        assert_eq!(pointers, ["/form/size", "/form/ticket"], "{refused}");
        assert_eq!(client.post(&path, json!({}), 422).await["errors"][0]["pointer"], "/form/ticket");
        let large = json!({"form": {"ticket": "x".repeat(17_000)}});
        assert_eq!(client.post(&path, large, 422).await["errors"][0]["pointer"], "/form");
        client.post(&path, json!({"form": {"ticket": "OPS-17"}}), 200).await;
        let ended = client.run(run.id(), "completed").await;
        assert_eq!(ended["output"], json!({"ticket": "OPS-17", "grace": 30}));

        let mut wrong = flow.clone();
        wrong["flow_name"] = json!("wrong");
        wrong["flow_steps"][0]["config"]["form"]["properties"]["ticket"]["patern"] = json!("x");
        let refused = client.post("/api/v1/flows", wrong, 422).await;
        let pointer = "/flow_steps/0/config/form/properties/ticket/patern";
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
        let mut misspelt = flow;
        misspelt["flow_name"] = json!("misspelt");
        misspelt["flow_steps"][1]["config"]["values"]["grace"] = json!("steps.ask.output.form.graze");
        let refused = client.post("/api/v1/flows", misspelt, 422).await;
        assert_eq!(refused["errors"][0]["pointer"], "/flow_steps/1/config/values/grace", "{refused}");
    }
    let rows = bed.installation.rows("SELECT CAST(form AS text) FROM approvals WHERE form IS NOT NULL").await;
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows.iter().all(|form| form.contains("OPS-17") && form.contains("30")), "as it was completed: {rows:?}");
}

/// Whoever started a run, or starts it again, decides nothing in it, with a key as with a token.
async fn nobody_decides_what_they_started(client: &Client<'_>) {
    let ask = json!({"id": "ask", "type": "approval", "config": {}});
    let flow = client.save(&json!({"flow_name": "own", "trigger_type": "manual", "flow_steps": [ask]})).await;
    let first = client.start(&flow).await;
    client.execution(first.execution(0), "awaiting_approval").await;
    client.post(&format!("/api/v1/runs/{}/cancel", first.id()), json!({}), 200).await;
    let restart = format!("/api/v1/runs/{}/restart", first.id());
    for run in [client.start(&flow).await, Started(client.post(&restart, json!({}), 202).await)] {
        client.execution(run.execution(0), "awaiting_approval").await;
        for verb in ["approve", "reject"] {
            let path = format!("/api/v1/executions/{}/{verb}", run.execution(0));
            let refused = client.post(&path, json!({}), 409).await;
            assert!(refused["detail"].as_str().is_some_and(|why| why.contains("started the run")), "{refused}");
        }
        client.post(&format!("/api/v1/runs/{}/cancel", run.id()), json!({}), 200).await;
    }
}

/// Asks as a member of an organization.
async fn as_member(bed: &Bed, user: Uuid, role: &str, what: (Method, &str), body: Option<Value>) -> (u16, Value) {
    let organization = Uuid::from_u128(0x0190_a000_0000_7000_8000_0000_0000_0999);
    let claims = json!({"sub": user, "org": organization, "role": role, "exp": get_current_timestamp() + 600});
    let key = EncodingKey::from_secret(JWT_SECRET.as_bytes());
    let token = encode(&Header::default(), &claims, &key).expect("a token");
    let request = bed.server.http.request(what.0, format!("{}{}", bed.server.url, what.1)).bearer_auth(token);
    let request = match body {
        Some(body) => request.json(&body),
        None => request,
    };
    let answer = request.send().await.expect("the server answers");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

async fn whoever_is_on_call_decides(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [admin, first, second] = [1, 2, 3].map(|n| Uuid::from_u128(0x0190_a000_0000_7000_8000_0000_0000_0a00 + n));
    let by_admin =
        async |path: &str, body: Value| as_member(&bed, admin, "admin", (Method::POST, path), Some(body)).await;
    let why = async |run: &str| {
        let path = format!("/api/v1/runs/{run}/why");
        as_member(&bed, admin, "admin", (Method::GET, &path), None).await.1["reasons"][0].clone()
    };
    let flow = json!({"flow_name": "careful", "trigger_type": "manual", "flow_steps": [
        {"id": "ask", "type": "approval", "config": {"approvers": ["on_call:web"]}}]});
    let (status, saved) = by_admin("/api/v1/flows", flow).await;
    assert_eq!(
        (status, saved["warnings"][0]["pointer"].as_str()),
        (201, Some("/flow_steps/0/config/approvers/0")),
        "{saved}"
    );
    assert_eq!(saved["warnings"][0]["message"], "there is no on-call schedule 'web' yet");
    let (_, run) = by_admin("/api/v1/flows/careful/trigger", json!({})).await;
    let (run, path) =
        (run["id"].as_str().expect("an id").to_owned(), run["execution_queue_ids"][0].as_str().expect("an id"));
    let path = format!("/api/v1/executions/{path}/approve");
    let decide = async |user: Uuid| as_member(&bed, user, "operator", (Method::POST, &path), Some(json!({}))).await;

    let (status, refused) = decide(first).await;
    assert_eq!(status, 409, "{refused}");
    assert!(refused["detail"].as_str().is_some_and(|d| d.contains("there is no on-call schedule 'web'")), "{refused}");
    let layer = json!({"name": "all", "users": [first], "starts_at": "2999-01-05T09:00"});
    let schedule = json!({"name": "web", "time_zone": "Europe/Berlin", "layers": [layer]});
    let (status, schedule) = by_admin("/api/v1/on-call", schedule).await;
    assert_eq!(status, 201, "{schedule}");
    let reason = why(&run).await;
    assert!(reason["message"].as_str().is_some_and(|m| m.contains("nobody is on call in 'web'")), "{reason}");
    assert_eq!(reason["held_by"], json!(["on_call:web"]));
    let (_, refused) = decide(first).await;
    assert!(refused["detail"].as_str().is_some_and(|d| d.contains("nobody is on call in 'web'")), "{refused}");

    let over =
        json!({"on_call_user_id": second, "starts_at": "2020-01-01T00:00:00Z", "ends_at": "2990-01-01T00:00:00Z"});
    let overrides = format!("/api/v1/on-call/{}/overrides", schedule["id"].as_str().expect("an id"));
    assert_eq!(by_admin(&overrides, over).await.0, 201);
    assert_eq!(why(&run).await["held_by"], json!(["on_call:web", format!("user:{second}")]));
    let (status, refused) = decide(first).await;
    assert_eq!(status, 409);
    assert!(refused["detail"].as_str().is_some_and(|d| d.contains(&second.to_string())), "{refused}");
    let (status, approved) = decide(second).await;
    assert_eq!((status, &approved["approved_by"]), (200, &json!(second)), "{approved}");
}

on_both_stores!(
    whoever_is_on_call_decides,
    what_an_approver_fills_in_is_checked_and_kept,
    a_person_decides,
    nobody_decides,
    a_run_waits_before_it_begins
);
