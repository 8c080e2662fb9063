//! Failures of one tenant together: what they are about is read at once.
//!
//! A flood of failures would be some small reads for each of them, every one a transaction of its own. A portion is no barrier:
//! while the next is read, what was read before is started.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use core314_domain::ids::{ExecutionId, RunId, TenantId};
use core314_domain::words::OccurrenceKind;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use serde_json::Value;

use super::Starter;
use crate::ports::escalation::AboutFailures;
use crate::ports::signal::Occurrence;

/// Failures that are read about at once.
const READ_AT_ONCE: usize = 64;

/// An occurrence that is to be started, and what was read of it and of others.
pub(super) struct Next {
    pub occurrence: Occurrence,
    pub about: Option<Arc<AboutFailures>>,
}

/// A page in the order in which it is started: other occurrences each by itself, failures of a tenant together.
fn portions(page: Vec<Occurrence>) -> Vec<Vec<Occurrence>> {
    let mut portions: Vec<Vec<Occurrence>> = Vec::new();
    let mut growing: BTreeMap<TenantId, usize> = BTreeMap::new();
    for occurrence in page {
        let (tenant, end) = (occurrence.owner.tenant, portions.len());
        if occurrence.kind != OccurrenceKind::Failure {
            portions.push(vec![occurrence]);
            continue;
        }
        let at = *growing.entry(tenant).or_insert(end);
        if at == end {
            portions.push(Vec::new());
        }
        portions[at].push(occurrence);
        if portions[at].len() == READ_AT_ONCE {
            growing.remove(&tenant);
        }
    }
    portions
}

/// The execution that a failure is about, as it was noted.
fn execution_of(noted: &Value) -> Option<ExecutionId> {
    noted["context"]["execution_id"].as_str()?.parse().ok()
}

/// What is read of failures: each once.
fn asked(portion: &[Occurrence]) -> (Vec<RunId>, Vec<ExecutionId>) {
    let runs: BTreeSet<RunId> = portion.iter().map(|occurrence| RunId(occurrence.subject)).collect();
    let noted = portion.iter().filter_map(|occurrence| occurrence.context["failures"].as_array()).flatten();
    let executions: BTreeSet<ExecutionId> = noted.filter_map(execution_of).collect();
    (runs.into_iter().collect(), executions.into_iter().collect())
}

impl Starter {
    /// What a page has, in the order in which it is started, each with what was read of it.
    pub(super) fn reads_of(&self, page: Vec<Occurrence>) -> BoxStream<'_, Next> {
        stream::iter(portions(page)).then(|portion| self.read_of(portion)).flat_map(stream::iter).boxed()
    }

    /// Reads what a portion is about.
    async fn read_of(&self, portion: Vec<Occurrence>) -> Vec<Next> {
        let about = self.about(&portion).await;
        portion.into_iter().map(|occurrence| Next { occurrence, about: about.clone() }).collect()
    }

    /// `None` where each is to be read by itself.
    async fn about(&self, portion: &[Occurrence]) -> Option<Arc<AboutFailures>> {
        let [first, _, ..] = portion else { return None };
        let desk = self.runtime.escalation.get().and_then(Weak::upgrade)?;
        let (runs, executions) = asked(portion);
        match desk.book().about_failures(first.owner.tenant, runs, executions).await {
            Ok(about) => Some(Arc::new(about)),
            // One that is damaged, or is too much beside the others, keeps none of them from being told.
            Err(error) => {
                tracing::warn!(%error, "what failures are about is read one by one");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use core314_domain::ids::{Owner, RowId, UserId};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;

    fn occurrence(no: u128, tenant: u128, kind: OccurrenceKind) -> Occurrence {
        let execution = RunId(Uuid::from_u128((no / 2) << 20)).execution(0);
        Occurrence {
            id: RowId(Uuid::from_u128(no)),
            owner: Owner::new(UserId(Uuid::from_u128(tenant)), None),
            kind,
            subject: Uuid::from_u128((no / 2) << 20),
            context: json!({"failures": [{"reason": "run_failed", "context": {}},
                {"reason": "execution_failed", "context": {"execution_id": execution}}]}),
            by: String::new(),
            at_ms: 0,
        }
    }

    #[test]
    fn failures_of_a_tenant_are_read_together_and_nothing_else() {
        let kind = |no: u128| if no % 10 == 9 { OccurrenceKind::FlowFinished } else { OccurrenceKind::Failure };
        let page: Vec<Occurrence> = (0..300).map(|no| occurrence(no, no % 3, kind(no))).collect();
        let portions = portions(page);
        for portion in &portions {
            let alike = |other: &Occurrence| (other.kind, other.owner) == (portion[0].kind, portion[0].owner);
            assert!(portion.iter().all(alike), "{portion:?}");
            let most = if portion[0].kind == OccurrenceKind::Failure { READ_AT_ONCE } else { 1 };
            assert!(portion.len() <= most && portion.is_sorted_by_key(|one| one.id), "{portion:?}");
        }
        let of_failures = portions.iter().filter(|portion| portion[0].kind == OccurrenceKind::Failure);
        assert_eq!(of_failures.count(), 6, "90 of each tenant");
        let mut all: Vec<u128> = portions.iter().flatten().map(|one| one.id.0.as_u128()).collect();
        all.sort_unstable();
        assert_eq!(all, (0..300).collect::<Vec<u128>>());
    }

    #[test]
    fn what_several_failures_are_about_is_read_once() {
        let page: Vec<Occurrence> = (2..6).map(|no| occurrence(no, 1, OccurrenceKind::Failure)).collect();
        let (runs, executions) = asked(&page);
        assert_eq!(runs, [1_u128, 2].map(|no| RunId(Uuid::from_u128(no << 20))));
        assert_eq!(executions, [runs[0].execution(0), runs[1].execution(0)]);
    }
}
