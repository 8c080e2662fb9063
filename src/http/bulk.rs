//! `/api/v1/bulk`: jobs that tell many runs the same, one after the other, and stop by themselves when it goes badly.
//!
//! The runs are found when the job is made: what it changes does not change what it finds.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::bulk::BulkError;
use core314_domain::bulk::{BulkJob, BulkPlan, BulkStatus, BulkVerb, MOST_RUNS, Progress, Ramp};
use core314_domain::ids::{RowId, TenantId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ask::{self, Asked, Nothing};
use super::auth::Role;
use super::flows::rfc3339;
use super::openapi::Doc;
use super::problem::Problem;
use super::runs::bulk::{filter, find, from_step};
use super::{Shared, State};

/// Jobs that a list shows.
const MOST_SHOWN: usize = 100;

/// Which runs, what to do to each, and how carefully.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "NewBulkJob")]
struct Input {
    verb: BulkVerb,
    /// Of `rerun`: the id of the step with which the new runs begin.
    from_step: Option<String>,
    /// Of `rerun`: the version of the flow; by default that of each run.
    version: Option<i64>,
    /// Columns of runs and what they must equal, such as `{"run_status": "failed"}`. At least one.
    filter: BTreeMap<String, Value>,
    /// Only say how many runs the filter finds.
    #[serde(default)]
    preview: bool,
    /// At most so many runs, the newest first: 1 to 100,000, by default 10,000.
    limit: Option<usize>,
    /// So many first; the others only when these have ended, and few of them badly. By default 0.
    #[serde(default)]
    canary: u32,
    /// How fast: by default 10 a second, doubling every 10 seconds, up to 100.
    #[serde(default)]
    ramp: Ramp,
    /// Stop once more than this part of the runs has refused or ended badly: 0 to 1, by default 0.5.
    stop_above_error_rate: Option<f64>,
    /// Of so many at least: by default 10.
    minimum_sample: Option<u32>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BulkPreview")]
struct Preview {
    /// How many runs the filter finds, within the limit.
    total: usize,
    /// Whether there are more than the limit let in.
    more: bool,
}

/// A job as it stands.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BulkJob")]
struct View {
    id: RowId,
    tenant_id: TenantId,
    user_id: UserId,
    status: BulkStatus,
    verb: BulkVerb,
    from_step: Option<String>,
    version: Option<i64>,
    total: u32,
    canary: u32,
    ramp: Ramp,
    stop_above_error_rate: f64,
    minimum_sample: u32,
    #[serde(flatten)]
    progress: Progress,
    created_by: String,
    created_at: Option<String>,
    updated_at: Option<String>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BulkJobs")]
struct List {
    items: Vec<View>,
    /// Always null: only the newest hundred are shown.
    next_cursor: Option<String>,
}

impl View {
    fn of(job: BulkJob) -> Self {
        let plan = job.plan;
        Self {
            id: job.id,
            tenant_id: job.owner.tenant,
            user_id: job.owner.user,
            status: job.status,
            verb: plan.verb,
            from_step: plan.from_step,
            version: plan.version,
            total: plan.total,
            canary: plan.canary,
            ramp: plan.ramp,
            stop_above_error_rate: plan.stop_above_error_rate,
            minimum_sample: plan.minimum_sample,
            progress: job.progress,
            created_by: plan.by,
            created_at: rfc3339(job.created_at_ms),
            updated_at: rfc3339(job.updated_at_ms),
        }
    }
}

pub fn create_doc() -> Doc {
    Doc::role("Makes a job that retries, reruns, restarts or cancels every run that a filter finds.", Role::Operator)
        .body::<Input>()
        .idempotent()
        .ok::<Preview>("What the filter finds, for a preview.")
        .answer::<View>(StatusCode::ACCEPTED, "The job is durable, and goes on.")
}

pub async fn create(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Operator).await?;
    let input = &asked.input;
    let limit = input.limit.unwrap_or(10_000);
    if !(1..=MOST_RUNS).contains(&limit) {
        return Err(Problem::field("limit", format!("must be 1 to {MOST_RUNS}")));
    }
    let rate = input.stop_above_error_rate.unwrap_or(0.5);
    if !(0.0..=1.0).contains(&rate) {
        return Err(Problem::field("stop_above_error_rate", "must be 0 to 1"));
    }
    if let Some((field, message)) = input.ramp.problem() {
        return Err(Problem::field(field, message));
    }
    from_step(input.verb == BulkVerb::Rerun, input.from_step.as_ref(), input.version)?;
    let wanted = filter(&input.filter)?;
    let pages = MOST_RUNS / state.settings.max_page_items.max(1) + 1;
    let (runs, more) = find(&state, asked.caller.scope, wanted, limit, pages).await?;
    if input.preview {
        return Ok(HttpResponse::Ok().json(Preview { total: runs.len(), more }));
    }
    let now_ms = state.engine.now_ms();
    let plan = BulkPlan {
        verb: input.verb,
        from_step: input.from_step.clone(),
        version: input.version,
        canary: input.canary,
        ramp: input.ramp,
        stop_above_error_rate: rate,
        minimum_sample: input.minimum_sample.unwrap_or(10),
        by: asked.caller.by.clone(),
        total: runs.len() as u32,
    };
    let job = BulkJob {
        id: RowId::new(now_ms, rand::random()),
        owner: asked.owner,
        status: BulkStatus::Running,
        plan,
        progress: Progress::default(),
        version: 1,
        created_at_ms: now_ms,
        updated_at_ms: now_ms,
    };
    let job = state.engine.create_bulk(job, runs, asked.idempotency).await?;
    Ok(HttpResponse::Accepted().json(View::of(job)))
}

pub fn list_doc() -> Doc {
    Doc::role("Lists bulk jobs, the newest hundred.", Role::Viewer).ok::<List>("The jobs.")
}

pub async fn list(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let jobs = state.engine.bulk_jobs(scope, MOST_SHOWN).await?;
    Ok(HttpResponse::Ok().json(List { items: jobs.into_iter().map(View::of).collect(), next_cursor: None }))
}

pub fn show_doc() -> Doc {
    Doc::role("Shows a bulk job and how far it is.", Role::Viewer).ok::<View>("The job.")
}

pub async fn show(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = state.keys.identify(&req).await?.read(req.headers())?;
    let job = state.engine.bulk_job(scope, id_of(&id)?).await?;
    Ok(HttpResponse::Ok().json(View::of(job)))
}

fn verb_doc(summary: &'static str) -> Doc {
    Doc::role(summary, Role::Operator)
        .optional_body::<Nothing>()
        .problem(StatusCode::CONFLICT)
        .ok::<View>("The job as it is now.")
}

pub fn pause_doc() -> Doc {
    verb_doc("Pauses a bulk job: what it has begun goes on, and nothing more is begun.")
}

pub async fn pause(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    change(&req, payload, &id, &state, BulkStatus::Paused).await
}

pub fn resume_doc() -> Doc {
    verb_doc("Lets a paused bulk job go on.")
}

pub async fn resume(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    change(&req, payload, &id, &state, BulkStatus::Running).await
}

pub fn cancel_doc() -> Doc {
    verb_doc("Ends a bulk job: what it has begun goes on, and nothing more is begun.")
}

pub async fn cancel(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    change(&req, payload, &id, &state, BulkStatus::Cancelled).await
}

async fn change(
    req: &HttpRequest,
    payload: web::Payload,
    id: &str,
    state: &State,
    status: BulkStatus,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Nothing> = ask::read(req, payload, state, Role::Operator).await?;
    let job = state.engine.change_bulk(asked.caller.scope, id_of(id)?, status).await?;
    Ok(HttpResponse::Ok().json(View::of(job)))
}

fn id_of(path: &str) -> Result<RowId, Problem> {
    path.parse().map_err(|_| Problem::no_row("bulk job"))
}

impl From<BulkError> for Problem {
    fn from(error: BulkError) -> Self {
        match error {
            BulkError::NotFound => Self::no_row("bulk job"),
            BulkError::Over(_) => Self::Conflict(error.to_string()),
            BulkError::KeyReused => Self::IdempotencyKeyReused,
            BulkError::Store(error) => error.into(),
        }
    }
}
