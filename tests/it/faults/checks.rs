//! What must hold after a fault: every accepted trigger has its run and there is no other, every run has ended well, no attempt
//! is missing or double in the log, nothing that had completed ran again, the receiver saw each execution's key and no more often
//! than attempts are logged; and all that `core314 store check` proves: chains, belongings and the numbered invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::load::Load;
use super::{PATIENCE, looks};
use crate::sink::Sink;
use crate::support::{Installation, tail};

/// Steps of each run of the load.
const STEPS: usize = 2;
const LIVE: &str = "SELECT CAST(count(*) AS text) FROM run_state WHERE completed_at_ms IS NULL";
/// The states of some runs that have not completed.
const NOT_COMPLETED: &str = "SELECT run_status FROM run_state WHERE run_status <> 'completed' LIMIT 10";
/// Whatever is written for a run, or done to one, changes it.
const FINGERPRINT: &str = "SELECT (SELECT count(*) FROM runs) || ' runs, ' || (SELECT sum(version) FROM run_state) || ' versions, ' \
    || (SELECT count(*) FROM log) || ' attempts, ' || (SELECT count(*) FROM audit) || ' audit entries'";

/// Waits until no run is live.
pub async fn all_have_ended(installation: &Installation) {
    let (began, mut looks) = (Instant::now(), looks());
    loop {
        looks.tick().await;
        let live = installation.rows(LIVE).await;
        if live == ["0"] {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{live:?} runs do not end\n{}", log_of(installation));
    }
}

/// The same, and that each has completed.
pub async fn all_have_completed(installation: &Installation) {
    all_have_ended(installation).await;
    let unwell = installation.rows(NOT_COMPLETED).await;
    assert!(unwell.is_empty(), "not completed: {unwell:?}\n{}", log_of(installation));
}

/// Waits until no run is live, and checks everything. To be called when each trigger of the load was accepted.
pub async fn all_holds(installation: &Installation, load: &Load, sink: &Sink) {
    all_have_completed(installation).await;
    let ids = format!("SELECT {} FROM runs", id_as_text(installation, "id"));
    let stored: BTreeSet<String> = installation.rows(&ids).await.into_iter().collect();
    let accepted: BTreeSet<String> = load.runs().iter().map(|run| run.replace('-', "")).collect();
    assert_eq!(load.runs().len() as u64, load.sent(), "every trigger was accepted");
    assert_eq!(accepted.len() as u64, load.sent(), "each has a run of its own");
    let lost: Vec<_> = accepted.difference(&stored).collect();
    let made_up: Vec<_> = stored.difference(&accepted).collect();
    assert!(lost.is_empty() && made_up.is_empty(), "accepted and lost: {lost:?}; nobody's: {made_up:?}");
    attempts_hold(installation, stored.len(), sink).await;
    store_holds(installation);
}

/// What the binary itself can prove of a store.
pub fn store_holds(installation: &Installation) {
    let (code, printed) = installation.run(&["store", "check"]);
    assert_eq!(code, 0, "store check: {printed}");
}

/// An execution that has ended.
pub struct Done {
    /// Hexadecimal, without hyphens.
    pub run: String,
    pub step: i64,
    pub attempts: i64,
}

/// All executions of the log. Of each the attempts are numbered without gap or double, and the last one alone has completed it.
pub async fn done_once(installation: &Installation) -> Vec<Done> {
    let query = format!(
        "SELECT {} || ' ' || step_no || ' ' || count(*) || ' ' || min(attempt) || ' ' || max(attempt) || ' ' \
         || sum(CASE WHEN success THEN 1 ELSE 0 END) || ' ' || max(CASE WHEN success THEN attempt ELSE -1 END) \
         FROM log GROUP BY run_id, step_no",
        id_as_text(installation, "run_id")
    );
    let mut done = Vec::new();
    for row in installation.rows(&query).await {
        let (run, numbers) = row.split_once(' ').expect("a row has its columns");
        let numbers: Vec<i64> = numbers.split(' ').map(|number| number.parse().expect("a number")).collect();
        let [step, attempts, first, last, completed, completed_at] = numbers[..] else { panic!("{row}") };
        assert_eq!((first, last), (0, attempts - 1), "attempts of step {step} of {run} have a gap or a double");
        assert_eq!(completed, 1, "step {step} of {run} completed so many times");
        assert_eq!(completed_at, last, "step {step} of {run} ran again after it had completed");
        done.push(Done { run: run.to_owned(), step, attempts });
    }
    done
}

/// How a column with an id becomes text without hyphens.
pub fn id_as_text(installation: &Installation, column: &str) -> String {
    if installation.database_url.is_some() {
        format!("replace({column}::text, '-', '')")
    } else {
        format!("lower(hex({column}))")
    }
}

async fn attempts_hold(installation: &Installation, runs: usize, sink: &Sink) {
    let done = done_once(installation).await;
    assert_eq!(done.len(), runs * STEPS, "every execution is in the log");
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (key, times) in sink.keys() {
        *seen.entry(key.replace('-', "")).or_default() += times;
    }
    for Done { run, step, attempts } in done {
        // A run's id has its low 20 bits zero: the step's number, from 1, stands there in the execution's.
        let times = seen.get(&format!("{}{:05x}", &run[..27], step + 1)).copied().unwrap_or(0);
        assert!(times >= 1, "the receiver never saw step {step} of {run}");
        assert!(times as i64 <= attempts, "step {step} of {run} was sent {times} times and logged {attempts} times");
    }
}

/// What changes with whatever is committed for a run.
pub async fn fingerprint(installation: &Installation) -> Vec<String> {
    installation.rows(FINGERPRINT).await
}

fn log_of(installation: &Installation) -> String {
    tail(&installation.dir.path().join("server.log"))
}
