//! Attempts under way and their reports, outside any actor: so that a report outlives the death of whoever waits for it.
//!
//! An entry is made when an attempt starts, holds the report when it ends, and goes when the report is committed. A run
//! that is loaded anew finds here what is still under way, and what ended meanwhile; what it does not find has an
//! unknown outcome.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use core314_domain::ids::{RunId, StepNo};
use core314_domain::run::AttemptReport;
use tokio::task::AbortHandle;

/// The attempts of one partition.
#[derive(Debug, Default)]
pub struct Attempts {
    entries: Mutex<HashMap<RunId, Vec<Entry>>>,
}

#[derive(Debug)]
struct Entry {
    step: StepNo,
    attempt: u32,
    abort: Option<AbortHandle>,
    report: Option<Arc<AttemptReport>>,
}

/// What is known of a run's attempts.
#[derive(Debug, Default, PartialEq)]
pub struct Known {
    /// Steps whose attempt is under way or has a report.
    pub under_way: Vec<StepNo>,
    /// Reports that are not committed yet.
    pub reports: Vec<(StepNo, u32, Arc<AttemptReport>)>,
}

impl Attempts {
    fn with<T>(&self, work: impl FnOnce(&mut HashMap<RunId, Vec<Entry>>) -> T) -> T {
        // The guarded code does not panic half-way: a poisoned lock still guards a whole map.
        work(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// An attempt is about to start.
    pub fn begin(&self, run: RunId, step: StepNo, attempt: u32) {
        self.with(|map| {
            let entries = map.entry(run).or_default();
            entries.retain(|e| e.step != step);
            entries.push(Entry { step, attempt, abort: None, report: None });
        });
    }

    /// How the attempt can be cut off.
    pub fn abortable(&self, run: RunId, step: StepNo, attempt: u32, abort: AbortHandle) {
        self.with(|map| {
            let entry = map.get_mut(&run).and_then(|es| es.iter_mut().find(|e| e.step == step && e.attempt == attempt));
            if let Some(entry) = entry {
                entry.abort = Some(abort);
            }
        });
    }

    /// The attempt ended. False if somebody else has reported its end before.
    pub fn end(&self, run: RunId, step: StepNo, attempt: u32, report: AttemptReport) -> bool {
        self.with(|map| {
            let entry = map.get_mut(&run).and_then(|es| es.iter_mut().find(|e| e.step == step && e.attempt == attempt));
            match entry {
                Some(entry) if entry.report.is_none() => {
                    entry.report = Some(Arc::new(report));
                    true
                }
                _ => false,
            }
        })
    }

    /// The report of an attempt that has ended.
    pub fn report(&self, run: RunId, step: StepNo, attempt: u32) -> Option<Arc<AttemptReport>> {
        self.with(|map| map.get(&run)?.iter().find(|e| e.step == step && e.attempt == attempt)?.report.clone())
    }

    /// Cuts an attempt off. False if it has ended already, or is not known.
    pub fn abort(&self, run: RunId, step: StepNo, attempt: u32) -> bool {
        self.with(|map| {
            let entry = map.get(&run).and_then(|es| es.iter().find(|e| e.step == step && e.attempt == attempt));
            match entry {
                Some(Entry { report: None, abort: Some(abort), .. }) => {
                    abort.abort();
                    true
                }
                _ => false,
            }
        })
    }

    /// Cuts every attempt off: what they did is not known.
    pub fn abort_all(&self) {
        self.with(|map| map.values().flatten().filter_map(|e| e.abort.as_ref()).for_each(AbortHandle::abort));
    }

    /// The report is committed.
    pub fn settle(&self, run: RunId, step: StepNo, attempt: u32) {
        self.with(|map| {
            if let Some(entries) = map.get_mut(&run) {
                entries.retain(|e| e.step != step || e.attempt != attempt);
                if entries.is_empty() {
                    map.remove(&run);
                }
            }
        });
    }

    /// What is known of a run.
    pub fn known(&self, run: RunId) -> Known {
        self.with(|map| {
            let entries = map.get(&run).map(Vec::as_slice).unwrap_or_default();
            Known {
                under_way: entries.iter().map(|e| e.step).collect(),
                reports: entries.iter().filter_map(|e| Some((e.step, e.attempt, e.report.clone()?))).collect(),
            }
        })
    }

    /// The attempts that have no report yet.
    pub fn running(&self) -> Vec<(RunId, StepNo)> {
        self.with(|map| {
            let open = map.iter().flat_map(|(run, entries)| entries.iter().map(move |e| (*run, e)));
            open.filter(|(_, e)| e.report.is_none()).map(|(run, e)| (run, e.step)).collect()
        })
    }

    /// How many attempts are under way or wait for their commit.
    pub fn len(&self) -> usize {
        self.with(|map| map.values().map(Vec::len).sum())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core314_domain::run::Outcome;

    fn report() -> AttemptReport {
        let nothing = Arc::new(serde_json::Value::Null);
        AttemptReport {
            outcome: Outcome::Completed(nothing.clone()),
            payload: nothing,
            started_at_ms: 1,
            completed_at_ms: 2,
            duration_ms: 1,
            http: None,
        }
    }

    #[test]
    fn a_report_is_kept_until_it_is_committed_and_taken_once() {
        let attempts = Attempts::default();
        let run = RunId::new(1, 1 << 40);
        attempts.begin(run, 3, 0);
        assert_eq!(attempts.known(run).under_way, [3]);
        assert!(attempts.end(run, 3, 0, report()));
        assert!(!attempts.end(run, 3, 0, report()), "an end is reported once");
        assert!(!attempts.end(run, 3, 1, report()), "an attempt that never began has no end");
        assert_eq!(attempts.known(run).reports.len(), 1);
        attempts.settle(run, 3, 0);
        assert_eq!(attempts.known(run), Known::default());
        assert!(attempts.is_empty());
    }
}
