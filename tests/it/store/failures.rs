//! What failures are about, read of many at once: no more and no less than of each by itself.

use core314_actors::ports::Scope;
use core314_actors::ports::escalation::EscalationBook;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::Views;
use core314_actors::testkit::store_suite::samples::Samples;
use core314_actors::testkit::store_suite::{commit_run, take};
use core314_domain::ids::RunId;

use super::bed::Bed;

#[tokio::test]
async fn what_failures_are_about_is_read_at_once() {
    for bed in [Bed::sqlite().await, Bed::postgres().await] {
        let epoch = take(&*bed).await;
        let mut samples = Samples::new(33);
        let (owner, stranger) = (samples.owner(), samples.owner());
        let mut runs: Vec<RunId> = Vec::new();
        for of in [owner, owner, stranger] {
            let run = samples.accept_as(0, epoch, of);
            commit_run(&*bed, &run).await;
            let mut end = samples.finish(&run, 2);
            end.log.push(samples.attempt(0, 1, false));
            commit_run(&*bed, &end).await;
            runs.push(run.id);
        }
        runs.push(samples.run_id());
        let executions = runs.iter().flat_map(|run| [run.execution(0), run.execution(7)]).collect();
        let about = bed.about_failures(owner.tenant, runs.clone(), executions).await.expect("it is read");
        // The third is another tenant's, the last is gone.
        let mut known = runs[..2].to_vec();
        known.sort_unstable();
        assert_eq!(about.runs.keys().copied().collect::<Vec<_>>(), known, "{}", bed.url);
        assert_eq!(about.attempts.len(), 2, "{}: {about:?}", bed.url);
        for run in known {
            let shown = bed.one(Scope::Tenant(owner.tenant), Resource::Runs, run.0).await.expect("it is read");
            assert_eq!(about.runs.get(&run).map(|row| &**row), shown.as_ref(), "{}", bed.url);
            let execution = run.execution(0);
            let last = bed.last_attempt(Scope::Tenant(owner.tenant), execution).await.expect("it is read");
            assert!(last.is_some(), "{}", bed.url);
            assert_eq!(about.attempts.get(&execution).copied(), last, "{}", bed.url);
        }
    }
}
