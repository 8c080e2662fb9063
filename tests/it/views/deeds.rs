//! What was done to a run, among what was done to others.

use core314_actors::ports::views::Views;
use core314_domain::ids::{Owner, RowId};
use uuid::Uuid;

use super::bed::{Bed, Narrow};
use super::story::{Story, T0};
use super::told;

/// An entry of the audit log like another one, about something else.
fn deed(entry: &Narrow, owner: Owner, no: i64, event: &str, subject: Uuid) -> Narrow {
    let columns = entry.columns.iter().map(|(name, value)| {
        let value = match *name {
            "id" => RowId::new(T0 + no, no as u128).0.into(),
            "tenant_id" => owner.tenant.0.into(),
            "event_type" => event.into(),
            "subject_id" => subject.into(),
            _ => value.clone(),
        };
        (*name, value)
    });
    Narrow { table: "audit", columns: columns.collect() }
}

#[tokio::test]
async fn what_was_done_to_a_run_comes_newest_first_without_its_start() {
    let given = Story::tell();
    let entry = given.rows.iter().find(|row| row.table == "audit").expect("the story has an audit log");
    let [own, other] = given.owners;
    let (run, next) = (given.runs[0], given.runs[1]);
    let deeds = [
        deed(entry, own, 10, "orchestration_started", run.0),
        deed(entry, own, 11, "run_paused", run.0),
        deed(entry, own, 12, "approval_given", run.execution(1).0),
        deed(entry, own, 13, "run_cancelled", next.0),
        deed(entry, other, 14, "run_cancelled", run.0),
        deed(entry, own, 15, "run_resumed", run.0),
    ];
    for bed in Bed::both().await {
        let store = told(&bed, &given).await;
        bed.insert(&deeds).await;
        for (tenant, limit, expected) in [
            (own.tenant, 9, &["run_resumed", "approval_given", "run_paused"][..]),
            (own.tenant, 2, &["run_resumed", "approval_given"][..]),
            (other.tenant, 9, &["run_cancelled"][..]),
        ] {
            let found = store.deeds(tenant, run, limit).await.expect("it is read");
            let events: Vec<_> = found.iter().map(|entry| entry["event_type"].as_str().expect("a word")).collect();
            assert_eq!(events, expected, "{}", bed.url);
        }
    }
}
