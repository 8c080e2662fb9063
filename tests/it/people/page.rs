//! The examples of docs/people.md, as they stand there.

use reqwest::Method;
use serde_json::Value;

use crate::orchestration::bed::Bed;
use crate::orchestration::on_both_stores;
use crate::support::StoreKind;

const PAGE: &str = include_str!("../../../docs/people.md");

async fn the_requests_of_the_page_are_taken(kind: StoreKind) {
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    let blocks = PAGE.split("\n```http\n").skip(1).map(|rest| rest.split("\n```").next().expect("a block ends"));
    let mut count = 0;
    for block in blocks {
        let (head, body) = block.split_once("\n\n").expect("every example has a body");
        let (method, path) = head.lines().next().and_then(|line| line.split_once(' ')).expect("a method and a path");
        let body: Value = serde_json::from_str(&body.replace("{me}", &client.user.to_string())).expect("JSON");
        let method: Method = method.parse().expect("a method");
        let answer = client.ask(method, path, Some(&body), &[]).await;
        assert!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.body);
        count += 1;
    }
    assert!(count >= 3, "{count} requests");
}

on_both_stores!(the_requests_of_the_page_are_taken);
