//! `GET /readyz`: whether work can be taken now, and if not, which part is not ready.

use std::sync::atomic::Ordering;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::RETRY_AFTER;
use core314_actors::supervision::Snapshot;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::openapi::{Access, Doc};
use crate::http::{Shared, State};

/// The kinds of actors without which nothing is accepted, with how many of each there must be.
const WRITER: &str = "commit_writer";
const PARTITION: &str = "queue_partition";
/// What the node lacks while it cannot renew its lease.
const NOT_RENEWED: &str = "the node's lease was not renewed within half of its time: attempts wait";
/// What the supervision tree calls an actor between two lives.
const DOWN: &str = "down";

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Readiness")]
struct View {
    ready: bool,
    parts: Vec<Part>,
}

/// One part and what it lacks: `store`, `actors`, `promises`, `lease`; of a standby `lease` alone. `promises` is not ready
/// where a run breaks one of the numbered invariants, and does not make the whole so. Anybody may ask, so it says no more
/// than that.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct Part {
    name: &'static str,
    ready: bool,
    detail: Option<String>,
}

impl Part {
    fn of(name: &'static str, lacks: Option<String>) -> Self {
        Self { name, ready: lacks.is_none(), detail: lacks }
    }
}

pub fn doc() -> Doc {
    Doc::new("Whether work can be taken now, and if not, which part is not ready.", Access::Open)
        .ok::<View>("Every part is ready.")
        .answer::<View>(StatusCode::SERVICE_UNAVAILABLE, "A part is not ready.")
}

pub async fn handle(state: Shared) -> HttpResponse {
    let partitions = state.engine.partitions().len();
    let runtime = state.engine.runtime();
    let parts = vec![
        Part::of("store", store_lacks(&state).await),
        Part::of("actors", actors_lack(&state.engine.actors(), partitions)),
        Part::of("promises", broken(runtime.counters.waiting_violations.load(Ordering::Relaxed))),
        Part::of("lease", (!runtime.lease.may_send()).then(|| NOT_RENEWED.to_owned())),
    ];
    // A promise that is broken for some runs is said, and no reason to refuse the others.
    let ready = parts.iter().all(|part| part.ready || part.name == "promises");
    let mut answer = if ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    if !ready {
        answer.insert_header((RETRY_AFTER, "1"));
    }
    answer.json(View { ready, parts })
}

/// The same of a node that has no engine yet.
pub async fn standby() -> HttpResponse {
    let parts = vec![Part::of("lease", Some("standby: another node has the partitions".to_owned()))];
    HttpResponse::ServiceUnavailable().insert_header((RETRY_AFTER, "2")).json(View { ready: false, parts })
}

fn broken(violations: u64) -> Option<String> {
    let runs = if violations == 1 { "1 run waits".to_owned() } else { format!("{violations} runs wait") };
    (violations > 0).then(|| format!("{runs} for nothing (invariant 8): see invariant_violated in the audit log"))
}

async fn store_lacks(state: &State) -> Option<String> {
    let timeout = Duration::from_millis(state.settings.ready_timeout_ms);
    match tokio::time::timeout(timeout, state.engine.runtime().store.ping()).await {
        Ok(Ok(())) => {
            let why = state.engine.runtime().unwritten.why();
            why.map(|why| format!("what is to be written waits: {why}"))
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "the store does not answer");
            Some("the store does not answer".to_owned())
        }
        Err(_) => Some(format!("the store does not answer within {} ms", timeout.as_millis())),
    }
}

fn actors_lack(actors: &[Snapshot], partitions: usize) -> Option<String> {
    let live = |kind| actors.iter().filter(|actor| actor.kind == kind && actor.state != DOWN).count();
    let (writers, held) = (live(WRITER), live(PARTITION));
    if writers == 0 {
        Some("the commit writer is down".to_owned())
    } else if held < partitions {
        Some(format!("{} of {partitions} partitions are down", partitions - held))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(kind: &'static str, state: &'static str) -> Snapshot {
        Snapshot {
            path: kind.into(),
            kind,
            state,
            mailbox: 0,
            handled: 0,
            restarts: 0,
            last_failure: None,
            last_failure_at_ms: None,
            age_ms: 0,
            arbiter: 1,
        }
    }

    #[test]
    fn a_broken_promise_is_said() {
        assert_eq!(broken(0), None);
        assert!(broken(1).is_some_and(|text| text.starts_with("1 run waits for nothing (invariant 8)")));
        assert!(broken(2).is_some_and(|text| text.starts_with("2 runs wait for nothing")));
    }

    #[test]
    fn a_part_that_is_down_is_named() {
        let whole = [actor(WRITER, "running"), actor(PARTITION, "running"), actor(PARTITION, "running")];
        assert_eq!(actors_lack(&whole, 2), None);
        let half = [actor(WRITER, "running"), actor(PARTITION, DOWN), actor(PARTITION, "running")];
        assert_eq!(actors_lack(&half, 2).as_deref(), Some("1 of 2 partitions are down"));
        assert_eq!(actors_lack(&whole[1..], 2).as_deref(), Some("the commit writer is down"));
    }
}
