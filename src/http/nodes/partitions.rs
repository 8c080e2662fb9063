//! `GET /api/v1/partitions`: who has each partition, and what it holds.

use std::sync::atomic::Ordering;

use actix_web::{HttpRequest, HttpResponse};
use core314_domain::ids::RowId;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::Shared;
use crate::http::flows::rfc3339;
use crate::http::openapi::{Access, Doc};
use crate::http::page::ListView;
use crate::http::problem::Problem;

/// A partition of the queue.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Partition")]
struct View {
    partition: u16,
    node_id: RowId,
    epoch: i64,
    taken_at: Option<String>,
    /// When its lease runs out, unless its node renews it; null: its node has left, or has the store to itself.
    expires_at: Option<String>,
    /// Runs in memory; null: another node has it.
    resident_runs: Option<u32>,
    /// Entries that are due and wait for a slot; null: another node has it.
    ready: Option<u32>,
}

pub fn doc() -> Doc {
    Doc::new("Lists the partitions of the queue.", Access::Platform).ok::<ListView<View>>("The partitions.")
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    state.keys.identify(&req).await?.platform_only(req.headers())?;
    let runtime = state.engine.runtime();
    let held = state.engine.partitions();
    let leases = runtime.store.leases().await?;
    let items: Vec<View> = leases
        .into_iter()
        .map(|lease| {
            let is_own = lease.node == runtime.node && lease.epoch == runtime.epoch;
            let own = held.get(usize::from(lease.partition)).filter(|_| is_own);
            View {
                partition: lease.partition,
                node_id: lease.node,
                epoch: lease.epoch,
                taken_at: rfc3339(lease.taken_at_ms),
                expires_at: lease.expires_at_ms.and_then(rfc3339),
                resident_runs: own.map(|shared| shared.resident.load(Ordering::Relaxed)),
                ready: own.map(|shared| shared.ready.load(Ordering::Relaxed)),
            }
        })
        .collect();
    Ok(HttpResponse::Ok().json(ListView { items, next_cursor: None }))
}
