//! What transitions of phases say of the phases: how many completed, how long they took, and which are slow.
//!
//! A phase is slow where the 95th percentile of those that completed is above its threshold.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::words::PhaseStatus;

/// A transition, as its row says it.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    pub flow: Uuid,
    pub run: Uuid,
    pub phase: i64,
    pub name: String,
    pub status: PhaseStatus,
    pub at_ms: i64,
    /// Absent where it began.
    pub duration_ms: Option<i64>,
    pub sla_ms: Option<i64>,
}

/// What was found of one phase of one flow.
#[derive(Debug, Clone, PartialEq)]
pub struct PhaseAnalysis {
    pub flow: Uuid,
    pub phase: i64,
    /// As its last transition says.
    pub name: String,
    pub started: u64,
    pub completed: u64,
    pub failed: u64,
    pub rolled_back: u64,
    /// Of those that completed.
    pub avg_duration_ms: Option<f64>,
    pub p95_duration_ms: Option<i64>,
    /// As its last transition says.
    pub sla_ms: Option<i64>,
    /// Transitions that took longer than their threshold.
    pub violations: u64,
    pub is_slow: bool,
    /// The transition that took longest: where to look for what costs most.
    pub longest: Option<Transition>,
}

impl PhaseAnalysis {
    /// 0 to 1; absent where none began.
    pub fn completion_rate(&self) -> Option<f64> {
        (self.started > 0).then(|| self.completed as f64 / self.started as f64)
    }
}

/// By flow and phase. The order of the transitions does not matter, but that the last of a phase names it.
pub fn analyse(transitions: impl IntoIterator<Item = Transition>) -> Vec<PhaseAnalysis> {
    let mut of_phase: BTreeMap<(Uuid, i64), Vec<Transition>> = BTreeMap::new();
    for transition in transitions {
        of_phase.entry((transition.flow, transition.phase)).or_default().push(transition);
    }
    of_phase.into_values().filter_map(|of_phase| phase(&of_phase)).collect()
}

fn phase(transitions: &[Transition]) -> Option<PhaseAnalysis> {
    let count = |status| transitions.iter().filter(|t| t.status == status).count() as u64;
    let last = transitions.iter().max_by_key(|t| t.at_ms)?;
    let is_late = |t: &&Transition| t.duration_ms.zip(t.sla_ms).is_some_and(|(took, most)| took > most);
    let of_completed = |t: &Transition| t.duration_ms.filter(|_| t.status == PhaseStatus::Completed);
    let mut took: Vec<i64> = transitions.iter().filter_map(of_completed).collect();
    took.sort_unstable();
    // The smallest duration that at least 95 of a hundred do not exceed.
    let p95 = (!took.is_empty()).then(|| took[(took.len() * 95).div_ceil(100) - 1]);
    let sum: i64 = took.iter().sum();
    let longest = transitions.iter().filter(|t| t.duration_ms.is_some() && t.status != PhaseStatus::RolledBack);
    Some(PhaseAnalysis {
        flow: last.flow,
        phase: last.phase,
        name: last.name.clone(),
        started: count(PhaseStatus::Started),
        completed: count(PhaseStatus::Completed),
        failed: count(PhaseStatus::Failed),
        rolled_back: count(PhaseStatus::RolledBack),
        avg_duration_ms: (!took.is_empty()).then(|| sum as f64 / took.len() as f64),
        p95_duration_ms: p95,
        sla_ms: last.sla_ms,
        violations: transitions.iter().filter(is_late).count() as u64,
        is_slow: p95.zip(last.sla_ms).is_some_and(|(p95, most)| p95 > most),
        longest: longest.max_by_key(|t| t.duration_ms).cloned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(phase: i64, status: PhaseStatus, at_ms: i64, duration_ms: Option<i64>) -> Transition {
        Transition {
            flow: Uuid::from_u128(1),
            run: Uuid::from_u128(at_ms as u128),
            phase,
            name: format!("phase {phase}"),
            status,
            at_ms,
            duration_ms,
            sla_ms: Some(1_000),
        }
    }

    #[test]
    fn a_phase_is_slow_where_most_of_its_runs_are() {
        use PhaseStatus::{Completed, Failed, RolledBack, Started};
        let mut all: Vec<Transition> = (0..100).map(|n| moved(1, Started, n, None)).collect();
        // Of a hundred five are late: the 95th is in time.
        all.extend((0..95).map(|n| moved(1, Completed, 100 + n, Some(10 + n))));
        all.extend((0..5).map(|n| moved(1, Completed, 300 + n, Some(2_000))));
        all.extend([
            moved(2, Started, 400, None),
            moved(2, Failed, 401, Some(5_000)),
            moved(2, RolledBack, 402, Some(9_000)),
        ]);
        all.extend([moved(3, Started, 500, None), moved(3, Completed, 501, Some(1_001))]);
        let found = analyse(all);
        assert_eq!(found.iter().map(|p| p.phase).collect::<Vec<_>>(), [1, 2, 3]);
        let [one, two, three] = found.try_into().unwrap();
        assert_eq!((one.started, one.completed, one.violations, one.p95_duration_ms), (100, 100, 5, Some(104)));
        assert_eq!((one.is_slow, one.completion_rate()), (false, Some(1.0)));
        assert_eq!((two.failed, two.rolled_back, two.p95_duration_ms, two.is_slow), (1, 1, None, false));
        // How long taking back took is no work of the phase.
        assert_eq!((two.violations, two.longest.and_then(|t| t.duration_ms)), (2, Some(5_000)));
        assert!(three.is_slow, "each of its runs was late");
        assert_eq!(three.longest.map(|t| t.run), Some(Uuid::from_u128(501)));
    }
}
