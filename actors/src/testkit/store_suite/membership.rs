//! Promises about nodes: one has the partitions, and another one takes over when the first has left or is not heard of.

use std::sync::Arc;
use std::time::{Duration, Instant};

use core314_domain::ids::RowId;

use super::samples::Samples;
use super::{PARTITIONS, commit, commit_run, log_seq};
use crate::membership::Seat;
use crate::ports::StoreError;
use crate::ports::membership::{NewNode, Taking};
use crate::ports::store::{Outcome, StatisticsWrite, Store, Write};

/// Longer than a test.
const LONG_MS: i64 = 3_600_000;
/// Over before anybody looks.
const SHORT_MS: i64 = 1;

/// Adds a node.
pub async fn join(store: &dyn Store, samples: &mut Samples, lease_ms: i64, predecessor: Option<RowId>) -> RowId {
    let node = NewNode {
        id: samples.row_id(),
        name: "a".to_owned(),
        version: "1.2.3".to_owned(),
        environment: "test".to_owned(),
        lease_ms: Some(lease_ms),
        predecessors: predecessor.into_iter().collect(),
    };
    let id = node.id;
    store.join(node).await.expect("it joins");
    id
}

/// Asks for the partitions.
pub async fn take_free(store: &dyn Store, node: RowId) -> Taking {
    store.take_free(node, PARTITIONS, LONG_MS).await.expect("an answer")
}

async fn taken(store: &dyn Store, node: RowId) -> i64 {
    match take_free(store, node).await {
        Taking::Taken { epoch } => epoch,
        other => panic!("not taken: {other:?}"),
    }
}

/// Looks again and again until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_mins(1), "{what}");
        tokio::task::yield_now().await;
    }
}

async fn lives(store: &dyn Store, node: RowId) -> bool {
    store.nodes().await.expect("an answer").iter().any(|found| found.id == node)
}

/// What a node commits for partitions that it does not have any more: nothing.
async fn is_fenced(store: &dyn Store, samples: &mut Samples, epoch: i64) {
    for partition in 0..PARTITIONS {
        let statistics = StatisticsWrite { partition, epoch, rows: Vec::new(), covered_seq: 5 };
        let run = samples.accept(partition, epoch);
        let batch = vec![Write::Run(Arc::new(run.clone())), Write::Statistics(Box::new(statistics))];
        assert_eq!(commit(store, batch).await[0], Outcome::Fenced);
        assert!(store.load_runs(vec![run.id]).await.expect("loads").is_empty());
        assert_eq!(store.statistics_position(partition).await.expect("reads"), 0);
    }
}

/// One node has all partitions for as long as it lives; another one has them at once when it has left.
pub async fn a_node_hands_over_when_it_leaves(store: &dyn Store) {
    let mut samples = Samples::new(67);
    let (first, second) =
        (join(store, &mut samples, LONG_MS, None).await, join(store, &mut samples, LONG_MS, None).await);
    let epoch = taken(store, first).await;
    assert_eq!(take_free(store, second).await, Taking::Held(first));
    assert!(store.renew(first, LONG_MS).await.expect("an answer"));
    assert_eq!(log_seq(&commit_run(store, &samples.accept(1, epoch)).await), None);
    let mut nodes: Vec<_> = store.nodes().await.expect("an answer");
    nodes.sort_by_key(|node| node.id != first);
    let seen: Vec<_> = nodes.iter().map(|node| (node.id, node.partitions, node.epoch)).collect();
    assert_eq!(seen, [(first, i64::from(PARTITIONS), Some(epoch)), (second, 0, None)]);
    let texts = (nodes[1].name.as_str(), nodes[1].version.as_str(), nodes[1].environment.as_str());
    assert_eq!(texts, ("a", "1.2.3", "test"));
    store.leave(first).await.expect("it leaves");
    assert!(!lives(store, first).await && lives(store, second).await);
    let next = taken(store, second).await;
    assert!(next > epoch, "each owner has a greater epoch");
    let leases = store.leases().await.expect("an answer");
    let seen: Vec<_> = leases.iter().map(|lease| (lease.partition, lease.node, lease.epoch)).collect();
    assert_eq!(seen, (0..PARTITIONS).map(|partition| (partition, second, next)).collect::<Vec<_>>());
    is_fenced(store, &mut samples, epoch).await;
    assert!(!store.renew(first, LONG_MS).await.expect("an answer"), "who has left does not come back");
    assert_eq!(take_free(store, first).await, Taking::Gone);
    assert_eq!(log_seq(&commit_run(store, &samples.accept(1, next)).await), None);
}

/// A node that is not heard of for the length of its lease loses its partitions, and commits nothing more.
pub async fn a_lease_that_has_run_out_is_taken_over(store: &dyn Store) {
    let mut samples = Samples::new(68);
    let first = join(store, &mut samples, LONG_MS, None).await;
    let epoch = taken(store, first).await;
    assert!(store.renew(first, SHORT_MS).await.expect("an answer"));
    let second = join(store, &mut samples, LONG_MS, None).await;
    until("the lease runs out", async || take_free(store, second).await != Taking::Held(first)).await;
    let next = taken(store, second).await;
    is_fenced(store, &mut samples, epoch).await;
    assert!(!store.renew(first, LONG_MS).await.expect("an answer"), "it was crossed out");
    assert_eq!(take_free(store, first).await, Taking::Gone);
    assert_eq!(log_seq(&commit_run(store, &samples.accept(1, next)).await), None);
}

/// A lease that has run out is renewed all the same, as long as nobody has taken over: the store was away, and nobody waited.
pub async fn a_late_renewal_counts_where_nobody_took_over(store: &dyn Store) {
    let mut samples = Samples::new(69);
    let first = join(store, &mut samples, LONG_MS, None).await;
    let epoch = taken(store, first).await;
    assert!(store.renew(first, SHORT_MS).await.expect("an answer"));
    until("the lease runs out", async || !lives(store, first).await).await;
    assert_eq!(log_seq(&commit_run(store, &samples.accept(1, epoch)).await), None, "the partitions are still its own");
    assert!(store.renew(first, LONG_MS).await.expect("an answer"));
    let second = join(store, &mut samples, LONG_MS, None).await;
    assert_eq!(take_free(store, second).await, Taking::Held(first));
    assert_eq!(
        taken(store, first).await,
        epoch,
        "who has them is told so: an answer that came late takes nothing anew"
    );
}

/// A node whose predecessor has surely ended waits for no lease.
pub async fn a_successor_waits_for_no_lease(store: &dyn Store) {
    let mut samples = Samples::new(70);
    let first = join(store, &mut samples, LONG_MS, None).await;
    let epoch = taken(store, first).await;
    let next = join(store, &mut samples, LONG_MS, Some(first)).await;
    assert!(taken(store, next).await > epoch);
    is_fenced(store, &mut samples, epoch).await;
}

/// Where another node lives, it is its turn: a place whose processes end again and again keeps nobody from working.
pub async fn a_successor_goes_before_no_live_node(store: &dyn Store) {
    let mut samples = Samples::new(74);
    let first = join(store, &mut samples, LONG_MS, None).await;
    taken(store, first).await;
    let standby = join(store, &mut samples, LONG_MS, None).await;
    let next = join(store, &mut samples, LONG_MS, Some(first)).await;
    assert_eq!(take_free(store, next).await, Taking::Held(first));
    assert_eq!(take_free(store, standby).await, Taking::Held(first));
    store.leave(standby).await.expect("it leaves");
    store.leave(next).await.expect("it leaves");
    let last = join(store, &mut samples, LONG_MS, Some(first)).await;
    taken(store, last).await;
}

/// A node that was told of fewer partitions than there are takes none, and says so also while another node has them.
pub async fn no_partition_is_left_without_an_owner(store: &dyn Store) {
    let mut samples = Samples::new(75);
    let first = join(store, &mut samples, LONG_MS, None).await;
    taken(store, first).await;
    let next = join(store, &mut samples, LONG_MS, None).await;
    for node in [next, first] {
        let refused = store.take_free(node, PARTITIONS - 1, LONG_MS).await;
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    }
    let refused = store.take_partitions(next, PARTITIONS - 1, 0).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    assert_eq!(take_free(store, next).await, Taking::Held(first), "whoever was refused has changed nothing");
    store.leave(first).await.expect("it leaves");
    let taken = store.take_free(next, PARTITIONS + 1, LONG_MS).await;
    assert!(matches!(taken, Ok(Taking::Taken { .. })), "{taken:?}");
    assert!(store.leases().await.expect("an answer").iter().all(|lease| lease.node == next));
}

/// Whoever had the store to itself has ended where it is shared, whether it said so or not.
pub async fn who_had_it_alone_is_waited_for_by_nobody(store: &dyn Store) {
    let mut samples = Samples::new(73);
    let alone = samples.row_id();
    let seat = Seat::alone(store, alone, PARTITIONS, "test", 0).await.expect("it has everything");
    let next = join(store, &mut samples, LONG_MS, None).await;
    assert!(taken(store, next).await > seat.epoch);
    assert!(!lives(store, alone).await);
    is_fenced(store, &mut samples, seat.epoch).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::memory_store::MemoryStore;

    #[tokio::test]
    async fn the_store_in_memory_keeps_these_promises() {
        a_node_hands_over_when_it_leaves(&MemoryStore::default()).await;
        a_lease_that_has_run_out_is_taken_over(&MemoryStore::default()).await;
        a_late_renewal_counts_where_nobody_took_over(&MemoryStore::default()).await;
        a_successor_waits_for_no_lease(&MemoryStore::default()).await;
        a_successor_goes_before_no_live_node(&MemoryStore::default()).await;
        no_partition_is_left_without_an_owner(&MemoryStore::default()).await;
        who_had_it_alone_is_waited_for_by_nobody(&MemoryStore::default()).await;
    }
}
