//! `GET /api/v1/partitions`: what each partition holds.

use std::sync::atomic::Ordering;

use actix_web::{HttpRequest, HttpResponse};
use core314_domain::ids::RowId;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::Shared;
use crate::http::openapi::{Access, Doc};
use crate::http::page::ListView;
use crate::http::problem::Problem;

/// A partition of the queue.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Partition")]
struct View {
    partition: usize,
    node_id: RowId,
    epoch: i64,
    /// Runs in memory.
    resident_runs: u32,
    /// Entries that are due and wait for a slot.
    ready: u32,
}

pub fn doc() -> Doc {
    Doc::new("Lists the partitions of the queue.", Access::Platform).ok::<ListView<View>>("The partitions.")
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    state.keys.identify(&req).await?.platform_only(req.headers())?;
    let runtime = state.engine.runtime();
    let partitions = state.engine.partitions().iter().enumerate().map(|(partition, shared)| View {
        partition,
        node_id: runtime.node,
        epoch: runtime.epoch,
        resident_runs: shared.resident.load(Ordering::Relaxed),
        ready: shared.ready.load(Ordering::Relaxed),
    });
    Ok(HttpResponse::Ok().json(ListView { items: partitions.collect(), next_cursor: None }))
}
