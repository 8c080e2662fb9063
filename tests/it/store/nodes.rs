//! Several processes over one PostgreSQL: whoever was replaced commits nothing at all, and holds up nobody.

use core314::store::{Claim, SqlStore, StoreOptions};
use core314_actors::ports::StoreError;
use core314_actors::ports::aging::{Aged, Aging};
use core314_actors::ports::membership::{Membership, Taking};
use core314_actors::ports::store::{Outcome, Store, Write};
use core314_actors::ports::sync::{Saved, SyncPosition, SyncPositions};
use core314_actors::testkit::store_suite::commit;
use core314_actors::testkit::store_suite::membership::{join, take_free};
use core314_actors::testkit::store_suite::samples::Samples;
use core314_domain::ids::RowId;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bed::{Bed, Raw, patient};

const LEASE_MS: i64 = 3_600_000;

/// A node that has the partitions, and their epoch.
async fn holder(store: &SqlStore, samples: &mut Samples) -> (RowId, i64) {
    let node = join(store, samples, LEASE_MS, None).await;
    match take_free(store, node).await {
        Taking::Taken { epoch } => (node, epoch),
        other => panic!("not taken: {other:?}"),
    }
}

#[tokio::test]
async fn a_replaced_node_commits_nothing_also_for_no_partition() {
    let bed = Bed::postgres().await;
    let (first, second) = (&*bed, SqlStore::open(&bed.url, patient()).await.expect("another process opens it"));
    let mut samples = Samples::new(71);
    let owner = samples.owner();
    let committed = Outcome::Committed { log_seq: None };
    let (node, epoch) = holder(first, &mut samples).await;
    let audit = Write::Audit(Box::new(samples.audit(owner, 0)));
    assert_eq!(commit(first, vec![audit]).await, std::slice::from_ref(&committed));
    first.leave(node).await.expect("it leaves");
    holder(&second, &mut samples).await;
    let alone = vec![Write::Audit(Box::new(samples.audit(owner, 0)))];
    assert_eq!(commit(first, alone.clone()).await, [Outcome::Fenced]);
    let run = Write::Run(Arc::new(samples.accept(2, epoch)));
    let together = vec![Write::Audit(Box::new(samples.audit(owner, 0))), run];
    assert_eq!(commit(first, together).await, [Outcome::Fenced, Outcome::Fenced]);
    assert_eq!(commit(&second, alone).await, [committed]);
}

#[tokio::test]
async fn a_replaced_node_writes_nothing_beside_commits_either() {
    let bed = Bed::postgres().await;
    let (first, second) = (&*bed, SqlStore::open(&bed.url, patient()).await.expect("another process opens it"));
    let mut samples = Samples::new(76);
    let tenant = samples.owner().tenant;
    let execution = samples.run_id().execution(0);
    let position = SyncPosition { version: 1, execution, cursor: None, state: serde_json::json!({}), at_ms: 1 };
    let (node, _) = holder(first, &mut samples).await;
    assert_eq!(first.save(tenant, "a", &position, 10).await.expect("it has the partitions"), Saved::Kept);
    first.leave(node).await.expect("it leaves");
    holder(&second, &mut samples).await;
    let is_refused = |error: StoreError| matches!(error, StoreError::Unavailable(_));
    let next = SyncPosition { version: 2, ..position };
    assert!(first.save(tenant, "a", &next, 10).await.is_err_and(is_refused));
    assert!(first.forget(tenant, "a").await.is_err_and(is_refused));
    assert!(first.collect_cached(1, 10).await.is_err_and(is_refused));
    assert!(first.drop_old(Aged::Metrics, 1, 10).await.is_err_and(is_refused));
    assert_eq!(second.save(tenant, "a", &next, 10).await.expect("it has them now"), Saved::Kept);
}

/// After a restart of the database whoever comes first has it.
#[tokio::test]
async fn a_node_ends_whose_database_somebody_has_alone() {
    const CLAIM: &str = "x'434f5245333134'::bigint";
    let mut bed = Bed::postgres().await;
    bed.reopen(StoreOptions { claim: Claim::Shared, ..patient() }).await;
    let mut samples = Samples::new(77);
    let (node, _) = holder(&bed, &mut samples).await;
    assert!(bed.renew(node, LEASE_MS).await.expect("an answer"));
    let mut alone = bed.raw().await;
    let lost = "SELECT pg_terminate_backend(pid, 60000) FROM pg_locks WHERE locktype = 'advisory' \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    alone.run(lost).await.expect("its session ends");
    alone.run(&format!("SELECT pg_advisory_lock({CLAIM})")).await.expect("it has the database alone");
    bed.renew(node, LEASE_MS).await.expect_err("the session is gone");
    assert!(!bed.renew(node, LEASE_MS).await.expect("an answer"), "somebody has it alone");
    alone.run(&format!("SELECT pg_advisory_unlock({CLAIM})")).await.expect("it is free again");
    assert!(bed.renew(node, LEASE_MS).await.expect("an answer"));
}

#[tokio::test]
async fn what_a_stopped_process_holds_does_not_stop_a_takeover() {
    let bed = Bed::postgres().await;
    let mut samples = Samples::new(72);
    let (first, _) = holder(&bed, &mut samples).await;
    let second = SqlStore::open(&bed.url, patient()).await.expect("another process opens it");
    // What a commit holds, of a process that stops in the middle of it.
    let mut stopped = bed.raw().await;
    let began = Instant::now();
    let held = "SET idle_in_transaction_session_timeout = '300ms'; SET ROLE core314_service; BEGIN; \
        SELECT partition FROM partition_leases ORDER BY partition FOR SHARE";
    stopped.run(held).await.expect("it holds them");
    bed.leave(first).await.expect("it leaves");
    holder(&second, &mut samples).await;
    assert!(began.elapsed() >= Duration::from_millis(300), "it waited for what may yet be committed");
    let late = stopped.run("UPDATE partition_leases SET taken_at_ms = 0; COMMIT").await;
    late.expect_err("its transaction was ended, and nothing of it counts");
}

/// Until somebody waits in this database for what another transaction holds.
async fn somebody_waits(watcher: &mut Raw) {
    let waiting = "SELECT pid::text, wait_event FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let seen = async {
        while watcher.pairs(waiting).await.is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), seen).await.expect("somebody waits");
}

/// What a commit saw when it began does not count: what it finds when the takeover is over does.
#[tokio::test]
async fn a_commit_that_a_takeover_overtakes_is_fenced() {
    for is_of_a_run in [true, false] {
        let bed = Bed::postgres().await;
        let mut samples = Samples::new(75);
        let (_, epoch) = holder(&bed, &mut samples).await;
        let owner = samples.owner();
        let run = samples.accept(2, epoch);
        let write = if is_of_a_run {
            Write::Run(Arc::new(run.clone()))
        } else {
            Write::Audit(Box::new(samples.audit(owner, 0)))
        };
        let (mut taker, mut watcher) = (bed.raw().await, bed.raw().await);
        let takeover = "SET ROLE core314_service; BEGIN; UPDATE partition_leases SET epoch = epoch + 1";
        taker.run(takeover).await.expect("it takes them");
        let ends = async {
            somebody_waits(&mut watcher).await;
            taker.run("COMMIT").await.expect("it has them");
        };
        let (outcomes, ()) = tokio::join!(commit(&*bed, vec![write]), ends);
        assert_eq!(outcomes, [Outcome::Fenced], "of a run: {is_of_a_run}");
        assert!(bed.load_runs(vec![run.id]).await.expect("loads").is_empty());
    }
}
