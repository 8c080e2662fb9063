//! The examples of docs/escalation.md, as they stand there.

use serde_json::Value;

use crate::orchestration::bed::Bed;
use crate::orchestration::on_both_stores;
use crate::support::{Installation, StoreKind};

const PAGE: &str = include_str!("../../../docs/escalation.md");

fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("\n```{language}\n");
    PAGE.split(&*fence).skip(1).map(|rest| rest.split("\n```").next().expect("a block ends")).collect()
}

async fn the_requests_of_the_page_are_taken(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let requests = blocks("http");
    assert!(requests.len() >= 10, "{} requests", requests.len());
    let mut id = String::new();
    for block in requests {
        let (head, body) = block.split_once("\n\n").unwrap_or((block, ""));
        let (first, headers) = head.split_once('\n').unwrap_or((head, ""));
        let target = first.strip_prefix("POST ").expect("every example posts").replace("{id}", &id);
        let headers: Vec<(&str, &str)> = headers.lines().filter_map(|line| line.split_once(": ")).collect();
        let answer = client.post_raw(&target, &headers, body.to_owned()).await;
        assert!(answer.status.is_success(), "POST {target}: {}", answer.body);
        let said =
            [&answer.body["id"], &answer.body["escalation_event_id"], &answer.body["taken"][0]["escalation_event_id"]];
        if let Some(found) = said.into_iter().find_map(Value::as_str) {
            found.clone_into(&mut id);
        }
    }
}

#[tokio::test]
async fn the_cases_of_the_page_pass_and_one_that_is_wrong_fails() {
    let suite = blocks("yaml").into_iter().find(|block| block.starts_with("rules:")).expect("a suite");
    let installation = Installation::new(StoreKind::Sqlite).await;
    let file = installation.dir.path().join("rules.yaml");
    let run = |text: &str| {
        std::fs::write(&file, text).expect("it is written");
        installation.run(&["escalation", "test", file.to_str().expect("a path")])
    };
    let (code, text) = run(suite);
    assert!(code == 0 && text.matches("passed").count() == 3, "{code} {text}");
    let (code, text) = run(&suite.replace("level: 2, tasks", "level: 3, tasks"));
    assert!(code == 1 && text.contains("level: expected 3, found 2"), "{code} {text}");
    let (code, text) = run(&suite.replace("delay_minutes: 15", "delay_minuts: 15"));
    assert!(code == 2 && text.contains("line 6") && text.contains("delay_minutes"), "{code} {text}");
}

on_both_stores!(the_requests_of_the_page_are_taken);
