//! Several processes over one PostgreSQL: whoever was replaced commits nothing at all, and holds up nobody.

use core314::store::SqlStore;
use core314_actors::ports::membership::{Membership, Taking};
use core314_actors::ports::store::{Outcome, Store, Write};
use core314_actors::testkit::store_suite::commit;
use core314_actors::testkit::store_suite::membership::{join, take_free};
use core314_actors::testkit::store_suite::samples::Samples;
use core314_domain::ids::RowId;
use std::sync::Arc;
use std::time::Duration;

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
    assert_eq!(commit(first, vec![audit]).await, [committed.clone()]);
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
async fn what_a_stopped_process_holds_does_not_stop_a_takeover() {
    let bed = Bed::postgres().await;
    let mut samples = Samples::new(72);
    let (first, _) = holder(&bed, &mut samples).await;
    // What a commit holds, of a process that stops in the middle of it.
    let mut stopped = bed.raw().await;
    let held = "SET idle_in_transaction_session_timeout = '300ms'; SET ROLE core314_service; BEGIN; \
        SELECT partition FROM partition_leases ORDER BY partition FOR SHARE";
    stopped.run(held).await.expect("it holds them");
    bed.leave(first).await.expect("it leaves");
    let second = SqlStore::open(&bed.url, patient()).await.expect("another process opens it");
    holder(&second, &mut samples).await;
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
        let takes = "SET ROLE core314_service; BEGIN; UPDATE partition_leases SET epoch = epoch + 1";
        taker.run(takes).await.expect("it takes them");
        let ends = async {
            somebody_waits(&mut watcher).await;
            taker.run("COMMIT").await.expect("it has them");
        };
        let (outcomes, ()) = tokio::join!(commit(&*bed, vec![write]), ends);
        assert_eq!(outcomes, [Outcome::Fenced], "of a run: {is_of_a_run}");
        assert!(bed.load_runs(vec![run.id]).await.expect("loads").is_empty());
    }
}
