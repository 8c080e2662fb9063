//! `POST /api/v1/runs/bulk/{verb}`: the same for every run that a filter finds, with a preview, a bound, and a stop when too
//! many refuse.
//!
//! Runs are found first and told one by one, so that what a verb changes does not change what is found.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::{Engine, Rerun, Restart};
use core314_actors::flow_run::Remark;
use core314_actors::ingress::IdempotencyRequest;
use core314_actors::ports::Scope;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Page};
use core314_domain::ids::RunId;
use core314_domain::run::Command;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::http::ask::{self, Asked};
use crate::http::auth::Role;
use crate::http::idempotency::{self, First};
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, State, resources};

const MOST_RUNS: usize = 1_000;
/// How many pages are looked at for a filter that no index answers.
const MOST_PAGES: usize = 20;
/// From so many runs on, the rate of refusals counts.
const FEW: usize = 10;

core314_domain::words! {
    /// What is done to each run.
    Verb {
        Cancel = "cancel", Pause = "pause", Resume = "resume", Retry = "retry", Rerun = "rerun", Restart = "restart",
    }
}

/// Which runs, and how far to go.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "BulkRuns")]
struct Input {
    /// Columns of runs and what they must equal, such as `{"run_status": "failed"}`. At least one.
    filter: BTreeMap<String, Value>,
    /// Of `rerun`: the id of the step with which the new runs begin.
    from_step: Option<String>,
    /// Of `rerun`: the version of the flow; by default that of each run.
    version: Option<i64>,
    /// Only say which runs would be told.
    #[serde(default)]
    preview: bool,
    /// At most so many runs, the newest first: 1 to 1,000, by default 1,000.
    limit: Option<usize>,
    /// Stop once more than this part of the runs has refused, from the tenth run on: 0 to 1, by default 0.5.
    max_error_rate: Option<f64>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BulkRunsAnswer")]
struct View {
    /// The runs that the filter found, within the limit.
    run_ids: Vec<RunId>,
    /// Whether there are more than the limit let in.
    more: bool,
    done: usize,
    refused: Vec<Refused>,
    /// Whether it stopped early because too many refused.
    stopped: bool,
}

impl View {
    fn of(found: Found) -> Self {
        Self { run_ids: found.run_ids, more: found.more, done: 0, refused: Vec::new(), stopped: false }
    }
}

/// What the filter finds.
#[derive(Serialize, Deserialize)]
struct Found {
    run_ids: Vec<RunId>,
    more: bool,
}

/// A run that would not.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "RefusedRun")]
struct Refused {
    run_id: RunId,
    error: String,
}

pub fn doc() -> Doc {
    Doc::role("Cancels, pauses, resumes, retries, reruns or restarts every run that a filter finds.", Role::Operator)
        .body::<Input>()
        .idempotent()
        .ok::<View>("What was done, or would be.")
}

pub async fn handle(
    req: HttpRequest,
    payload: web::Payload,
    verb: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Input> = ask::read(&req, payload, &state, Role::Operator).await?;
    let verb: Verb = verb.parse().map_err(|_| Problem::no_row("verb"))?;
    let limit = asked.input.limit.unwrap_or(MOST_RUNS);
    if !(1..=MOST_RUNS).contains(&limit) {
        return Err(Problem::field("limit", format!("must be 1 to {MOST_RUNS}")));
    }
    let rate = asked.input.max_error_rate.unwrap_or(0.5);
    if !(0.0..=1.0).contains(&rate) {
        return Err(Problem::field("max_error_rate", "must be 0 to 1"));
    }
    from_step(verb == Verb::Rerun, asked.input.from_step.as_ref(), asked.input.version)?;
    let (run_ids, more) = find(&state, asked.caller.scope, filter(&asked.input.filter)?, limit, MOST_PAGES).await?;
    let found = Found { run_ids, more };
    if asked.input.preview {
        return Ok(HttpResponse::Ok().json(View::of(found)));
    }
    // A repetition means the runs that were found the first time, and not those that it has itself begun.
    let (tenant, request) = (asked.owner.tenant, asked.idempotency.as_ref());
    let First { made, answer } = idempotency::first(&state, tenant, request, json!(found)).await?;
    if let Some(answer) = answer {
        return Ok(HttpResponse::Ok().json(answer));
    }
    let found = Found::deserialize(&made).map_err(|_| Problem::IdempotencyKeyReused)?;
    let answer = json!(tell_all(&state, found, verb, rate, &asked).await);
    idempotency::answered(&state, tenant, request, &made, &answer).await?;
    Ok(HttpResponse::Ok().json(answer))
}

/// Tells one after the other, until too many refuse.
async fn tell_all(state: &State, found: Found, verb: Verb, rate: f64, asked: &Asked<Input>) -> View {
    let mut view = View::of(found);
    for (seen, run) in view.run_ids.clone().into_iter().enumerate() {
        if seen >= FEW && view.refused.len() as f64 > rate * seen as f64 {
            view.stopped = true;
            break;
        }
        match tell(&state.engine, asked.caller.scope, run, verb, asked).await {
            Ok(()) => view.done += 1,
            Err(problem) => view.refused.push(Refused { run_id: run, error: problem.to_string() }),
        }
    }
    view
}

/// What the caller wants of runs, as columns and values.
pub fn filter(wanted: &BTreeMap<String, Value>) -> Result<Filter, Problem> {
    if wanted.is_empty() {
        return Err(Problem::field("filter", "must name at least one column"));
    }
    let mut filter = Filter::default();
    for (name, value) in wanted {
        let text = match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        let (column, value) = resources::wanted(Resource::Runs, name, &text)
            .map_err(|message| Problem::field("filter", format!("{name}: {message}")))?;
        filter.and(column, value);
    }
    Ok(filter)
}

/// `rerun` needs to know from where; other verbs have no use for it.
pub fn from_step(is_rerun: bool, step: Option<&String>, version: Option<i64>) -> Result<(), Problem> {
    match (is_rerun, step) {
        (true, None) => Err(Problem::field("from_step", "is required to rerun")),
        (false, Some(_)) => Err(Problem::field("from_step", "goes with rerun alone")),
        (false, None) if version.is_some() => Err(Problem::field("version", "goes with rerun alone")),
        (true, Some(_)) | (false, None) => Ok(()),
    }
}

/// The newest runs that a filter finds, in at most so many pages; and whether there are more.
pub async fn find(
    state: &State,
    scope: Scope,
    filter: Filter,
    limit: usize,
    most_pages: usize,
) -> Result<(Vec<RunId>, bool), Problem> {
    let (mut found, mut after) = (Vec::new(), None);
    for _ in 0..most_pages {
        let page = Page { limit: state.settings.max_page_items.min(limit - found.len()), after };
        let paged = state.views.list(scope, Resource::Runs, filter.clone(), page).await?;
        found.extend(paged.items.iter().filter_map(|row| row["id"].as_str()?.parse::<RunId>().ok()));
        after = paged.next;
        if after.is_none() || found.len() >= limit {
            break;
        }
    }
    Ok((found, after.is_some()))
}

async fn tell(engine: &Engine, scope: Scope, run: RunId, verb: Verb, asked: &Asked<Input>) -> Result<(), Problem> {
    let by = asked.caller.by.as_str();
    // What begins anew has a name of its own: told again after a crash, it is begun once.
    let idempotency = asked
        .idempotency
        .as_ref()
        .map(|request| IdempotencyRequest { key: format!("{} {run}", request.key), body_hash: request.body_hash });
    let command = match verb {
        Verb::Cancel => Command::Cancel { reason: format!("cancelled by {by}") },
        Verb::Pause => Command::Pause { by: by.into() },
        Verb::Resume => Command::Resume,
        Verb::Retry => Command::Retry { step: None },
        Verb::Rerun => {
            let from_step = asked.input.from_step.clone().unwrap_or_default();
            let (version, by) = (asked.input.version, by.to_owned());
            let again = Rerun { from_step, version, run_key: None, by, idempotency };
            return Ok(engine.rerun(scope, run, again).await.map(drop)?);
        }
        Verb::Restart => {
            let again = Restart { by: by.to_owned(), idempotency };
            return Ok(engine.restart(scope, run, again).await.map(drop)?);
        }
    };
    let remark = Remark { by: Some(by.into()), ..Remark::default() };
    Ok(engine.tell(scope, run, command, remark).await?)
}
