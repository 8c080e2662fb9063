//! The examples of docs/steps.md, as they stand there: each section's flows are saved, the last is started, and its run
//! ends as the page says. The release of seven phases leaves the rows that it should.

use serde_json::{Value, json};

use super::bed::{Bed, Client};
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

on_both_stores!(the_steps_of_the_page_run, a_failed_phase_takes_back_what_was_done);
