//! Lanes of one store, and takeovers beside them: nobody waits for another in a circle.

use std::cell::Cell;
use std::sync::Arc;

use core314_actors::ports::membership::Membership;
use core314_actors::ports::store::{Outcome, StatisticsWrite, Store, Write};
use core314_actors::testkit::store_suite::commit;
use core314_actors::testkit::store_suite::samples::Samples;

use super::bed::Bed;

const PARTITIONS: u16 = 64;
const ROUNDS: i64 = 100;
const DONE: Outcome = Outcome::Committed { log_seq: None };

/// What two partitions counted; they come in no order.
fn statistics(epoch: i64, covered_seq: i64) -> Vec<Write> {
    let of = |partition| StatisticsWrite { partition, epoch, rows: Vec::new(), covered_seq };
    [60, 58].map(|partition| Write::Statistics(Box::new(of(partition)))).into()
}

#[tokio::test]
async fn statistics_are_written_beside_the_runs_of_their_partitions() {
    for bed in [Bed::sqlite().await, Bed::postgres().await] {
        let mut samples = Samples::new(73);
        let epoch = bed.take_partitions(samples.row_id(), PARTITIONS, 0).await.expect("partitions can be taken");
        let owner = samples.owner();
        // Both append to one chain, too, so that they have more to wait for.
        let mut noted: Vec<_> = (0..ROUNDS).map(|_| Write::Audit(Box::new(samples.audit(owner, 58)))).collect();
        let counted = async {
            for round in 1..=ROUNDS {
                let writes = statistics(epoch, round).into_iter().chain(noted.pop());
                assert_eq!(commit(&*bed, writes.collect()).await, [DONE, DONE, DONE], "{}", bed.url);
            }
        };
        let accepted = async {
            for _ in 0..ROUNDS {
                let runs = [58, 60].map(|partition| Write::Run(Arc::new(samples.accept(partition, epoch))));
                let audit = Write::Audit(Box::new(samples.audit(owner, 58)));
                let writes = runs.into_iter().chain([audit]);
                assert_eq!(commit(&*bed, writes.collect()).await, [DONE, DONE, DONE], "{}", bed.url);
            }
        };
        tokio::join!(counted, accepted);
        for partition in [58, 60] {
            assert_eq!(bed.statistics_position(partition).await.expect("reads"), ROUNDS, "{}", bed.url);
        }
    }
}

#[tokio::test]
async fn statistics_are_written_or_fenced_beside_takeovers() {
    for bed in [Bed::sqlite().await, Bed::postgres().await] {
        let mut samples = Samples::new(74);
        let node = samples.row_id();
        let take = async || bed.take_partitions(node, PARTITIONS, 0).await.expect("partitions can be taken");
        let epoch = Cell::new(take().await);
        let counted = async {
            for round in 1..=ROUNDS {
                for outcome in commit(&*bed, statistics(epoch.get(), round)).await {
                    assert!(matches!(outcome, DONE | Outcome::Fenced), "{outcome:?}, {}", bed.url);
                }
            }
        };
        let taken = async {
            for _ in 0..ROUNDS / 5 {
                epoch.set(take().await);
            }
        };
        tokio::join!(counted, taken);
        assert_eq!(commit(&*bed, statistics(epoch.get(), ROUNDS + 1)).await, [DONE, DONE], "{}", bed.url);
    }
}
