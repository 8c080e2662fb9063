//! The examples of docs/triggers.md, docs/schedules.md, docs/running-again.md and docs/limits.md, as they stand there: each section's
//! flows are saved, its requests sent, and every flow of it must have completed a run.

use serde_json::Value;

use super::bed::Bed;
use super::on_both_stores;
use crate::support::StoreKind;

const PAGES: [&str; 4] = [
    include_str!("../../../docs/triggers.md"),
    include_str!("../../../docs/schedules.md"),
    include_str!("../../../docs/running-again.md"),
    include_str!("../../../docs/limits.md"),
];

/// The blocks of a section in one language.
fn blocks<'t>(section: &'t str, language: &str) -> Vec<&'t str> {
    let fence = format!("\n```{language}\n");
    section.split(&*fence).skip(1).map(|rest| rest.split("\n```").next().expect("a block ends")).collect()
}

/// A request as a block writes it: method, target, headers and body.
struct Request<'t> {
    target: &'t str,
    headers: Vec<(&'t str, &'t str)>,
    body: &'t str,
}

fn request(block: &str) -> Request<'_> {
    let (head, body) = block.split_once("\n\n").expect("a head and a body");
    let (first, headers) = head.split_once('\n').expect("a first line and headers");
    let target = first.strip_prefix("POST ").expect("every example posts");
    Request { target, headers: headers.lines().filter_map(|line| line.split_once(": ")).collect(), body }
}

async fn the_examples_of_the_pages_run(kind: StoreKind) {
    let sections = PAGES.iter().flat_map(|page| page.split("\n## ").skip(1));
    let sections: Vec<&str> = sections.filter(|section| section.contains("```http")).collect();
    assert!(sections.len() >= 13, "{} sections have examples", sections.len());
    let bed = Bed::start(kind).await;
    let [client, _] = bed.clients();
    // A section goes on where the one before it has ended.
    let mut before = Value::Null;
    for section in sections {
        let title = section.lines().next().expect("a title");
        let mut flows = Vec::new();
        for document in blocks(section, "yaml") {
            let saved = client.post_as("/api/v1/flows", "application/yaml", document.to_owned()).await;
            assert_eq!(saved.status.as_u16(), 201, "{title}: {}", saved.body);
            flows.push(saved.body["id"].as_str().expect("an id").to_owned());
        }
        for block in blocks(section, "http") {
            let request = request(block);
            let said = |name: &str| before[name].as_str().unwrap_or_default().to_owned();
            let above = flows.last().map_or("", String::as_str);
            let target = request.target.replace("{id}", &said("id")).replace("{url}", &said("url"));
            let target = target.replace("{flow}", above);
            let answer = client.post_raw(&target, &request.headers, request.body.to_owned()).await;
            assert!(answer.status.is_success(), "{title}: POST {target}: {}", answer.body);
            before = answer.body;
        }
        assert!(!flows.is_empty() || !before.is_null(), "{title} has no flow");
        for flow in flows {
            let path = format!("/api/v1/runs?orchestration_flow_id={flow}&run_status=completed");
            client.until(&path, |runs| runs["items"].as_array().is_some_and(|runs| !runs.is_empty())).await;
        }
    }
}

on_both_stores!(the_examples_of_the_pages_run);
