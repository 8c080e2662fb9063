//! The store on both databases: the conformance suite, tampering, isolation, and what happens when work is dropped.

#[path = "store/bed.rs"]
mod bed;
#[path = "store/failures.rs"]
mod failures;
#[path = "store/isolation.rs"]
mod isolation;
#[path = "store/lanes.rs"]
mod lanes;
#[path = "store/nodes.rs"]
mod nodes;
#[path = "store/steps.rs"]
mod steps;
#[path = "store/tampering.rs"]
mod tampering;
#[path = "store/transfers.rs"]
mod transfers;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use core314::store::{SqlStore, StoreOptions};
use core314_actors::ports::ledger::Ledger;
use core314_actors::ports::membership::Membership;
use core314_actors::ports::store::{Outcome, StatisticsWrite, Store, Write};
use core314_actors::ports::views::Views;
use core314_actors::ports::{Scope, StoreError};
use core314_actors::testkit::store_suite::samples::Samples;
use core314_actors::testkit::store_suite::{self, commit_run, history, holds, take};
use core314_domain::stats::{BUCKET_WIDTHS_MS, Stat, StatKey};
use rand::Rng;

use bed::Bed;

/// Runs promises of the suite on both databases.
macro_rules! on_both {
    ($($promise:path => $name:ident),* $(,)?) => {
        mod sqlite { $(#[tokio::test] async fn $name() { $promise(&*super::Bed::sqlite().await).await; })* }
        mod postgres { $(#[tokio::test] async fn $name() { $promise(&*super::Bed::postgres().await).await; })* }
    };
}

on_both! {
    core314_actors::testkit::store_suite::a_run_reads_back => a_run_reads_back,
    core314_actors::testkit::store_suite::what_a_run_takes_over_reads_back => what_a_run_takes_over_reads_back,
    core314_actors::testkit::store_suite::a_stale_version_conflicts => a_stale_version_conflicts,
    core314_actors::testkit::store_suite::a_repeated_key_is_a_duplicate => a_repeated_key_is_a_duplicate,
    core314_actors::testkit::store_suite::a_lost_partition_is_fenced => a_lost_partition_is_fenced,
    core314_actors::testkit::store_suite::a_bad_row_fails_alone => a_bad_row_fails_alone,
    core314_actors::testkit::store_suite::a_nul_character_is_refused => a_nul_character_is_refused,
    core314_actors::testkit::store_suite::flows_are_versioned => flows_are_versioned,
    core314_actors::testkit::store_suite::webhooks_read_back => webhooks_read_back,
    core314_actors::testkit::store_suite::keys::service_keys_read_back => service_keys_read_back,
    core314_actors::testkit::store_suite::keys::live_service_keys_are_limited => live_service_keys_are_limited,
    core314_actors::testkit::store_suite::connections::connections_read_back => connections_read_back,
    core314_actors::testkit::store_suite::connections::breakers_are_kept => breakers_are_kept,
    core314_actors::testkit::store_suite::webhooks_change_and_go => webhooks_change_and_go,
    core314_actors::testkit::store_suite::limits::claims_live_as_long_as_their_runs => claims_live_as_long_as_their_runs,
    core314_actors::testkit::store_suite::limits::idle_runs_are_listed => idle_runs_are_listed,
    core314_actors::testkit::store_suite::limits::triggers_join_the_run_that_gathers_them =>
        triggers_join_the_run_that_gathers_them,
    core314_actors::testkit::store_suite::membership::a_node_hands_over_when_it_leaves => a_node_hands_over_when_it_leaves,
    core314_actors::testkit::store_suite::membership::a_lease_that_has_run_out_is_taken_over =>
        a_lease_that_has_run_out_is_taken_over,
    core314_actors::testkit::store_suite::membership::a_late_renewal_counts_where_nobody_took_over =>
        a_late_renewal_counts_where_nobody_took_over,
    core314_actors::testkit::store_suite::membership::a_successor_waits_for_no_lease => a_successor_waits_for_no_lease,
    core314_actors::testkit::store_suite::membership::a_successor_goes_before_no_live_node =>
        a_successor_goes_before_no_live_node,
    core314_actors::testkit::store_suite::membership::no_partition_is_left_without_an_owner =>
        no_partition_is_left_without_an_owner,
    core314_actors::testkit::store_suite::membership::who_had_it_alone_is_waited_for_by_nobody =>
        who_had_it_alone_is_waited_for_by_nobody,
    core314_actors::testkit::store_suite::bulk::a_bulk_job_is_worked_off => a_bulk_job_is_worked_off,
    core314_actors::testkit::store_suite::events::events_and_waits_meet => events_and_waits_meet,
    core314_actors::testkit::store_suite::events::events_are_kept_for_a_while => events_are_kept_for_a_while,
    core314_actors::testkit::store_suite::queue_and_wake_ups_page_in_order => queue_and_wake_ups_page_in_order,
    core314_actors::testkit::store_suite::statistics_and_tail_fit_together => statistics_and_tail_fit_together,
    core314_actors::testkit::store_suite::awkward_values_keep_the_chains => awkward_values_keep_the_chains,
    core314_actors::testkit::store_suite::people::names_of_live_runs_are_taken_and_freed => names_of_live_runs_are_taken_and_freed,
    core314_actors::testkit::store_suite::people::an_end_that_is_taken_back_counts_no_more => an_end_that_is_taken_back_counts_no_more,
    core314_actors::testkit::store_suite::people::a_single_action_keeps_its_definition => a_single_action_keeps_its_definition,
    core314_actors::testkit::store_suite::people::a_request_knows_what_waits => a_request_knows_what_waits,
    core314_actors::testkit::store_suite::people::a_deleted_flow_leaves_its_versions => a_deleted_flow_leaves_its_versions,
    core314_actors::testkit::store_suite::people::a_review_is_noted_beside_the_log => a_review_is_noted_beside_the_log,
    core314_actors::testkit::store_suite::people::a_dead_letter_is_settled_once => a_dead_letter_is_settled_once,
    core314_actors::testkit::store_suite::schedules::a_schedule_follows_its_flow => a_schedule_follows_its_flow,
    core314_actors::testkit::store_suite::schedules::a_firing_is_one_commit => a_firing_is_one_commit,
    core314_actors::testkit::store_suite::schedules::instants_without_a_run_are_counted => instants_without_a_run_are_counted,
    core314_actors::testkit::store_suite::schedules::a_pause_outlives_a_change_of_the_flow => a_pause_outlives_a_change_of_the_flow,
    core314_actors::testkit::store_suite::schedules::due_schedules_page_in_order => due_schedules_page_in_order,
    core314_actors::testkit::notification_suite::an_execution_is_told_once => an_execution_is_told_once,
    core314_actors::testkit::notification_suite::an_occurrence_is_told_each_user_once => an_occurrence_is_told_each_user_once,
    core314_actors::testkit::notification_suite::lists_filter_and_page => lists_filter_and_page,
    core314_actors::testkit::notification_suite::what_is_unread_is_read_in_portions => what_is_unread_is_read_in_portions,
    core314_actors::testkit::notification_suite::marks_never_go_back => marks_never_go_back,
    core314_actors::testkit::notification_suite::what_is_removed_is_gone => what_is_removed_is_gone,
    core314_actors::testkit::notification_suite::everything_is_read_at_once => everything_is_read_at_once,
    core314_actors::testkit::notification_suite::an_inbox_is_its_users_own => an_inbox_is_its_users_own,
    core314_actors::testkit::sync_suite::a_position_moves_by_its_version => a_position_moves_by_its_version,
    core314_actors::testkit::sync_suite::a_tenant_has_its_own_and_not_too_many => a_tenant_has_its_own_and_not_too_many,
    super::what_partitions_count_adds_up => what_partitions_count_adds_up,
    super::one_chain_from_many_hands => one_chain_from_many_hands,
    super::a_dropped_commit_leaves_all_or_nothing => a_dropped_commit_leaves_all_or_nothing,
}

/// Seeds that once found a difference stay in the list.
#[tokio::test]
async fn random_histories_leave_both_databases_the_same() {
    let drawn: u64 = rand::rng().random();
    for seed in [1, 2, 3, drawn] {
        println!("seed {seed}");
        let (sqlite, postgres) = (Bed::sqlite().await, Bed::postgres().await);
        history::compare(seed, 40, &*sqlite, &*postgres).await;
        assert_eq!(holds(&*sqlite).await.rows, holds(&*postgres).await.rows, "seed {seed}");
    }
}

/// Partitions that count for one tenant at once lose nothing, whether or not their rows were there.
async fn what_partitions_count_adds_up(store: &SqlStore) {
    const PARTITIONS: u16 = 16;
    let mut samples = Samples::new(19);
    let epoch = store.take_partitions(samples.row_id(), PARTITIONS, 0).await.expect("partitions can be taken");
    let tenant = samples.owner().tenant;
    let key = |no: i64| StatKey {
        tenant,
        action_type: "http".to_owned(),
        bucket_width_ms: BUCKET_WIDTHS_MS[0],
        bucket_start_ms: (no % 3) * BUCKET_WIDTHS_MS[0],
    };
    for round in 1..=3 {
        let commits = (0..PARTITIONS).map(|partition| {
            let rows = (0..4).map(|no| {
                let mut stat = Stat::default();
                stat.record_attempt(true, no > 0, Some(10 * no));
                (key(no), stat)
            });
            let write = StatisticsWrite { partition, epoch, rows: rows.collect(), covered_seq: round };
            store.commit(vec![Write::Statistics(Box::new(write))])
        });
        for outcomes in futures_util::future::join_all(commits).await {
            assert_eq!(outcomes.expect("it commits"), [Outcome::Committed { log_seq: None }]);
        }
        let view = store.statistics(Scope::Tenant(tenant), 0, 3 * BUCKET_WIDTHS_MS[0]).await.expect("a sum");
        let of_all = store.statistics(Scope::Platform, 0, 3 * BUCKET_WIDTHS_MS[0]).await.expect("a sum");
        assert_eq!(of_all, view, "nobody else did anything");
        let times = round * i64::from(PARTITIONS);
        let [(action_type, stat)] = view.by_action_type.as_slice() else { panic!("one type: {view:?}") };
        assert_eq!((action_type.as_str(), stat.attempts, stat.sketch.count()), ("http", 4 * times, 4 * times));
        assert_eq!((stat.executions, stat.successful, stat.failed), (4 * times, 3 * times, times));
        assert_eq!(stat.duration_sum_ms, 60 * times);
    }
    assert_eq!(store.statistics_position(0).await.expect("reads"), 3);
}

/// Writers that append to one chain at once never fork it.
async fn one_chain_from_many_hands(store: &SqlStore) {
    let mut samples = Samples::new(20);
    let owner = samples.owner();
    let entries: Vec<_> = (0..40).map(|_| samples.audit(owner, 1)).collect();
    let commits = entries.into_iter().map(|entry| store.commit(vec![Write::Audit(Box::new(entry))]));
    let done = futures_util::future::join_all(commits).await;
    let committed = done.iter().filter(|outcome| outcome.is_ok()).count() as u64;
    assert_eq!(committed, 40, "{done:?}");
    assert_eq!(holds(store).await.rows, committed);
}

/// A commit that is dropped at any point leaves its whole work or none of it, and the next one works.
async fn a_dropped_commit_leaves_all_or_nothing(store: &SqlStore) {
    let epoch = take(store).await;
    let mut samples = Samples::new(21);
    let mut dropped = 0;
    for polls in (1..=8).cycle().take(32) {
        let run = samples.accept(1, epoch);
        let finished = {
            let mut commit = pin!(store.commit(vec![Write::Run(Arc::new(run.clone()))]));
            let mut left = polls;
            std::future::poll_fn(|cx| {
                left -= 1;
                match commit.as_mut().poll(cx) {
                    Poll::Ready(outcomes) => Poll::Ready(Some(outcomes)),
                    Poll::Pending if left == 0 => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await
        };
        // Only one commit at a time: this one comes after whatever became of the dropped one.
        let next = samples.accept(1, epoch);
        assert_eq!(commit_run(store, &next).await, Outcome::Committed { log_seq: None }, "after {polls} polls");
        holds(store).await;
        if let Some(outcomes) = finished {
            assert_eq!(outcomes.expect("it answers").len(), 1);
            assert_eq!(store.load_runs(vec![run.id]).await.expect("loads").len(), 1);
        } else {
            dropped += 1;
        }
    }
    assert!(dropped >= 4, "a commit does not end with its first poll");
}

#[tokio::test]
async fn a_second_process_finds_the_file_locked() {
    let bed = Bed::sqlite().await;
    let Err(StoreError::Refused(message)) = SqlStore::open(&bed.url, StoreOptions::default()).await else {
        panic!("it must be refused");
    };
    assert!(message.contains("another process"), "{message}");

    // Reading beside it is possible, writing is not.
    let epoch = take(&*bed).await;
    let run = Samples::new(22).accept(0, epoch);
    commit_run(&*bed, &run).await;
    let reader = SqlStore::open(&bed.url, StoreOptions { read_only: true, ..StoreOptions::default() }).await;
    let reader = reader.expect("it can be looked at");
    assert_eq!(holds(&reader).await.rows, 1);
    assert!(matches!(reader.commit(vec![Write::Run(Arc::new(run))]).await, Err(StoreError::Refused(_))));
}

#[tokio::test]
async fn a_store_opens_again_with_what_it_held() {
    for mut bed in [Bed::sqlite().await, Bed::postgres().await] {
        let epoch = take(&*bed).await;
        let mut samples = Samples::new(23);
        let run = samples.accept(0, epoch);
        commit_run(&*bed, &run).await;
        bed.reopen(bed::patient()).await;
        assert!(take(&*bed).await > epoch);
        let epoch = epoch + 1;
        let mut finished = samples.finish(&run, 2);
        finished.epoch = epoch;
        assert_eq!(store_suite::log_seq(&commit_run(&*bed, &finished).await), Some(2));
        assert_eq!(holds(&*bed).await.rows, 4);
    }
}

#[tokio::test]
async fn stores_that_open_at_once_do_not_disturb_each_other() {
    let urls = [bed::fresh_database().await, bed::fresh_database().await];
    let opens = urls.iter().cycle().take(6).map(|url| SqlStore::open(url, StoreOptions::default()));
    for store in futures_util::future::join_all(opens).await {
        store.expect("it opens").ping().await.expect("it answers");
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_without_being_shown() {
    for url in ["mysql://u:secret@h/x", "postgres://u:secret@[h/x", "secret"] {
        let Err(StoreError::Refused(message)) = SqlStore::open(url, StoreOptions::default()).await else {
            panic!("{url} must be refused");
        };
        assert!(!message.contains("secret"), "{message}");
    }
    let unreachable = "postgres://user:secret@127.0.0.1:1/x";
    let Err(StoreError::Unavailable(message)) = SqlStore::open(unreachable, StoreOptions::default()).await else {
        panic!("nobody listens there");
    };
    assert!(!message.contains("127.0.0.1"), "{message}");
}

#[tokio::test]
async fn verification_runs_beside_commits() {
    for bed in [Bed::sqlite().await, Bed::postgres().await] {
        let epoch = take(&*bed).await;
        let mut samples = Samples::new(24);
        let runs: Vec<_> = (0..60).map(|_| samples.accept(2, epoch)).collect();
        let writes = async {
            for run in &runs {
                commit_run(&*bed, run).await;
            }
        };
        let proofs = async {
            for _ in 0..5 {
                assert_eq!(bed.verify().await.expect("verifies").findings, []);
            }
        };
        futures_util::future::join(writes, proofs).await;
        assert_eq!(holds(&*bed).await.rows, 60);
    }
}
