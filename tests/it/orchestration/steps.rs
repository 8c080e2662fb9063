//! The examples of docs/steps.md, as they stand there: each section's flows are saved, the last is started, and its run
//! ends as the page says. The release of seven phases leaves the rows that it should, and what is taken back only once a person
//! agrees waits for that, also over a crash.

use serde_json::{Value, json};

use super::bed::{Bed, Client, pick};
use super::on_both_stores;
use crate::support::StoreKind;

const PAGE: &str = include_str!("../../../docs/steps.md");

/// The blocks of a section in one language.
fn blocks<'t>(section: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("\n```{language}\n");
    section.split(&*fence).skip(1).map(|rest| rest.split("\n```").next().expect("a block ends")).collect()
}

async fn saved(client: &Client<'_>, document: &str) -> String {
    let answer = client.post_as("/api/v1/flows", "application/yaml", document.to_owned()).await;
    assert_eq!(answer.status.as_u16(), 201, "{document}\n{}", answer.body);
    answer.body["id"].as_str().expect("an id").to_owned()
}

/// Starts a flow, sends what the page says, and waits for the end.
async fn ended(client: &Client<'_>, flow: &str, section: &str) -> Value {
    let context = json!({"trigger_context": {"width": 3, "height": 2}});
    let accepted = client.post(&format!("/api/v1/flows/{flow}/trigger"), context, 202).await;
    let run = accepted["run_id"].as_str().or_else(|| accepted["id"].as_str()).expect("an id").to_owned();
    for block in blocks(section, "http") {
        let (target, body) = block.split_once("\n\n").expect("a head and a body");
        let target = target.strip_prefix("POST ").expect("every example posts").replace("{run}", &run);
        let first = accepted["execution_queue_ids"][0].as_str().expect("a run has executions");
        let target = target.replace("{execution}", first);
        let answer = client.post_as(&target, "application/json", body.to_owned()).await;
        assert!(answer.status.is_success(), "{target}: {}", answer.body);
    }
    let over = ["completed", "failed", "rolled_back", "cancelled", "timed_out"];
    let is_over = |run: &Value| over.iter().any(|status| run["run_status"] == *status);
    client.until(&format!("/api/v1/runs/{run}"), is_over).await
}

async fn the_steps_of_the_page_run(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let mut sections = 0;
    for section in PAGE.split("\n## ").skip(1).filter(|section| section.contains("\n```json")) {
        let title = section.lines().next().expect("a title");
        let mut last = String::new();
        for document in blocks(section, "yaml") {
            last = saved(&client, document).await;
        }
        let run = ended(&client, &last, section).await;
        let wanted: Value = serde_json::from_str(blocks(section, "json")[0]).expect("the page shows JSON");
        assert_eq!((&run["run_status"], &run["output"]), (&json!("completed"), &wanted), "{title}: {run:#}");
        sections += 1;
    }
    assert!(sections >= 9, "{sections} sections have examples");
}

async fn a_failed_phase_takes_back_what_was_done(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let section = PAGE.split("\n## Phases").nth(1).expect("the page has phases");
    let flow = saved(&client, blocks(section, "yaml")[0]).await;
    let run = ended(&client, &flow, section).await;
    assert_eq!((&run["run_status"], &run["current_phase"]), (&json!("rolled_back"), &json!(4)), "{run:#}");
    assert_eq!(run["error"], json!("step 'deploy': no room on the cluster"));
    let id = run["id"].as_str().expect("an id");
    let log = client.items(&format!("/api/v1/execution-log?flow_run_id={id}&limit=50")).await;
    let mut undone: Vec<(i64, &str)> = log
        .iter()
        .filter_map(|row| Some((row["step_no"].as_i64()?, row["execution_result"]["undone"].as_str()?)))
        .collect();
    undone.sort_unstable();
    let order: Vec<&str> = undone.iter().map(|(_, step)| *step).collect();
    assert_eq!(order, ["verify", "build", "plan"], "{log:#?}");
    let queue = client.items(&format!("/api/v1/executions?flow_run_id={id}&limit=50")).await;
    assert_eq!(queue.len(), 10, "seven steps and three that take back: {queue:#?}");
    let plan = client.get(&format!("/api/v1/runs/{id}/undo-plan")).await;
    assert_eq!(plan["undo"], json!([]), "all is taken back");
    let none = client.post(&format!("/api/v1/runs/{id}/undo"), json!({"way": "retry"}), 409).await;
    assert!(none["detail"].as_str().expect("a reason").contains("no undo"), "{none}");
    let phases = client.items(&format!("/api/v1/workflow-phase-logs?workflow_id={id}&limit=50")).await;
    let mut moves: Vec<(i64, &str)> = phases
        .iter()
        .map(|row| (row["phase_number"].as_i64().expect("a number"), row["status"].as_str().expect("a word")))
        .collect();
    moves.reverse();
    let done = |phase| [(phase, "started"), (phase, "completed")];
    let wanted: Vec<(i64, &str)> =
        (1..=3).flat_map(done).chain([(4, "started"), (4, "failed"), (4, "rolled_back")]).collect();
    assert_eq!(moves, wanted, "{phases:#?}");
    let last = &phases[0];
    assert_eq!((&last["rollback_triggered"], &last["rollback_to_phase"]), (&json!(true), &json!(0)), "{last}");
    assert_eq!(phases[1]["phase_name"], json!("deploy"));
}

/// The one execution of a run that waits for a person.
async fn asked(client: &Client<'_>, run: &str) -> Value {
    let path = format!("/api/v1/executions?flow_run_id={run}&execution_status=awaiting_approval");
    let page = client.until(&path, |page| page["items"].as_array().is_some_and(|items| items.len() == 1)).await;
    page["items"][0].clone()
}

/// The path of an execution.
fn path_of(execution: &Value, verb: &str) -> String {
    format!("/api/v1/executions/{}/{verb}", execution["id"].as_str().expect("an id"))
}

const ASKS: &str = "step_id execution_status requires_approval approval_status max_retry_attempts action_config";

async fn an_undo_asks_before_it_takes_back(kind: StoreKind) {
    let mut bed = Bed::start(kind).await;
    let section = PAGE.split("\n## Phases").nth(1).expect("the page has phases");
    let document = blocks(section, "yaml")[1];
    let [client, _] = bed.clients();
    let flow = saved(&client, document).await;
    let run = client.start(&flow).await.id().to_owned();
    let undo = asked(&client, &run).await;
    let config = json!({"action_type": "transform", "action_target": "", "priority": 5, "urgency": "medium", "expires_in_seconds": 3600});
    assert_eq!(pick(&undo, ASKS), json!(["move", "awaiting_approval", true, "pending", 5, config]), "{undo:#}");
    let why = client.get(&format!("/api/v1/runs/{run}/why")).await;
    let words = "what takes the step back waits for a person's approval";
    assert_eq!(pick(&why["reasons"][0], "code message held_by"), json!(["approval", words, ["person"]]), "{why:#}");
    let pending = client.items("/api/v1/executions/pending-approvals").await;
    assert_eq!((pending.len(), &pending[0]["id"]), (1, &undo["id"]), "{pending:#?}");
    let plan = client.get(&format!("/api/v1/runs/{run}/undo-plan")).await;
    assert_eq!(pick(&plan["undo"][0], "step_id requires_approval"), json!(["move", true]), "{plan:#}");

    bed.restart();
    let [client, _] = bed.clients();
    client.post(&path_of(&undo, "approve"), json!({"notes": "go back"}), 200).await;
    client.run(&run, "rolled_back").await;
    let row = client.get(&format!("/api/v1/executions/{}", undo["id"].as_str().expect("an id"))).await;
    assert_eq!(pick(&row, "execution_status approval_status"), json!(["completed", "approved"]), "{row:#}");
    assert_eq!(row["execution_result"]["undone"], json!("move"), "{row:#}");

    // Refused, or not agreed to in time: it is parked, and each of the ways leads on.
    let short = document.replace("flow_name: move", "flow_name: hurry").replace("seconds: 3600", "seconds: 1");
    let hurried = saved(&client, &short).await;
    let ways = [json!({"way": "retry"}), json!({"way": "skip", "reason": "it stays"}), json!({"way": "done"})];
    for (flow, way) in [&flow, &flow, &hurried].into_iter().zip(ways) {
        let is_refused = *flow != hurried;
        let run = client.start(flow).await.id().to_owned();
        if is_refused {
            let undo = asked(&client, &run).await;
            client.post(&path_of(&undo, "reject"), json!({}), 200).await;
        }
        let failed = client.run(&run, "failed").await;
        let became = if is_refused { "was refused by a person" } else { "expired" };
        let wanted = format!("compensation_failed: the undo of step 'move' {became};");
        assert!(failed["error"].as_str().is_some_and(|error| error.starts_with(&wanted)), "{failed:#}");
        client.post(&format!("/api/v1/runs/{run}/undo"), way.clone(), 200).await;
        if way["way"] == "retry" {
            let again = asked(&client, &run).await;
            client.post(&path_of(&again, "approve"), json!({}), 200).await;
        }
        let run = client.run(&run, "rolled_back").await;
        assert_eq!(run["error"], json!("step 'check': the new database does not answer"), "{way}");
    }
    let mut decided = bed.installation.rows("SELECT status FROM approvals").await;
    decided.sort_unstable();
    assert_eq!(decided, ["approved", "approved", "expired", "rejected", "rejected"]);
}

on_both_stores!(the_steps_of_the_page_run, a_failed_phase_takes_back_what_was_done, an_undo_asks_before_it_takes_back);
