//! A job whose driver panics, or whose database goes away, in the middle of it: it goes on, and each run is told once.

use std::time::Duration;

use serde_json::json;

use super::{Size, failed};
use crate::orchestration::bed::{Bed, Client};
use crate::orchestration::on_both_stores;
use crate::supervised::without_database;
use crate::support::StoreKind;

const RUNS: usize = 40;

fn size() -> Size {
    Size { runs: RUNS, well: 0, patience: Duration::from_mins(2) }
}

/// Runs that have failed, and a job that retries so many of them a second; gives its path.
async fn job(bed: &Bed, client: &Client<'_>, per_second: usize) -> String {
    let flow = failed(bed, client, &size()).await;
    bed.sink.answer(200);
    let job = json!({"verb": "retry", "limit": RUNS, "ramp": {"per_second": per_second},
        "filter": {"orchestration_flow_id": flow, "run_status": "failed"}});
    let job = client.post("/api/v1/bulk", job, 202).await;
    format!("/api/v1/bulk/{}", job["id"].as_str().expect("an id"))
}

async fn each_was_told_once(bed: &Bed, client: &Client<'_>, job: &str) {
    let job = client.until(job, |job| job["status"] != "running").await;
    let counts = ["status", "total", "done", "refused", "succeeded", "failed"].map(|name| job[name].clone());
    assert_eq!(json!(counts), json!(["finished", RUNS, RUNS, 0, RUNS, 0]), "{job:#}");
    assert_eq!(bed.sink.count(), 2 * RUNS, "each was called once when it failed, and once by the job");
}

async fn a_panic_in_the_middle_of_a_job_tells_no_run_twice(kind: StoreKind) {
    let points = "bulk.marked=panic@1,bulk.told=panic@1".to_owned();
    let bed = Bed::start_with(kind, &[("CORE314_FAILPOINTS", points)]).await;
    let [client, _] = bed.clients();
    let job = job(&bed, &client, 4 * RUNS).await;
    each_was_told_once(&bed, &client, &job).await;
    let log = std::fs::read_to_string(bed.installation.dir.path().join("server.log")).expect("it has a log");
    for point in ["bulk.marked", "bulk.told"] {
        assert!(log.contains(&format!("failpoint {point}")), "{point} was not passed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_database_that_is_gone_in_the_middle_of_a_job_tells_no_run_twice() {
    let bed = Bed::start(StoreKind::Postgres).await;
    let [client, _] = bed.clients();
    let job = job(&bed, &client, RUNS / 4).await;
    client.until(&job, |job| job["done"].as_u64() >= Some(1)).await;
    without_database(&bed.server, &bed.installation, Duration::from_secs(1)).await;
    each_was_told_once(&bed, &client, &job).await;
}

on_both_stores!(a_panic_in_the_middle_of_a_job_tells_no_run_twice);
