//! The orchestration layer from end to end: the real binary over HTTP, on both stores, each story told once with a service
//! key that acts for a user, and once with a user's own token.

mod absent;
mod actions;
mod again;
mod approvals;
pub mod bed;
mod caches;
mod chains;
mod control;
mod decisions;
mod ends;
mod events;
mod examples;
mod fallbacks;
mod figures;
mod flows;
mod functions;
mod gallery;
mod gathering;
mod keys;
mod large_results;
mod phases;
mod repeats;
mod retries;
mod settled;
mod steps;
mod story;
mod thresholds;
mod turns;
mod versions;
mod waits;

/// One test a story and store.
macro_rules! on_both_stores {
    ($($story:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $story() {
                super::$story(crate::support::StoreKind::Sqlite).await;
            })*
        }
        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
            async fn $story() {
                super::$story(crate::support::StoreKind::Postgres).await;
            })*
        }
    };
}
pub(crate) use on_both_stores;
