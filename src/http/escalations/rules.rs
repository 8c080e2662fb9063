//! `/api/v1/escalation-rules`: made, changed by a merge patch, deleted; and a rule's heartbeat.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::RuleDraft;
use core314_actors::ports::Scope;
use core314_actors::ports::escalation::StoredRule;
use core314_actors::ports::resource::Resource;
use core314_domain::escalation::RuleDocument;
use core314_domain::ids::RowId;
use core314_domain::json::merge_patch;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::refused;
use super::written::{MEDIA_TYPES, Written};
use crate::http::ask::{self, Asked, Nothing};
use crate::http::auth::Role;
use crate::http::flows::patch::check_version;
use crate::http::flows::{FindingView, etag};
use crate::http::openapi::{Doc, SchemaOf};
use crate::http::problem::Problem;
use crate::http::{Shared, State, body, resources};

const NOUN: &str = "escalation rule";

pub fn create_doc() -> Doc {
    Doc::role("Saves a new escalation rule.", Role::Admin)
        .body_in::<RuleDocument>(MEDIA_TYPES)
        .problem(StatusCode::CONFLICT)
        .answer_as(StatusCode::CREATED, "The rule.", saved_schema())
}

pub async fn create(req: HttpRequest, payload: web::Payload, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let caller = credential.act(req.headers(), None)?;
    let owner = caller.owner()?;
    let written = Written::of(&req, payload, &state).await?;
    let draft = RuleDraft { owner, document: written.read()?, by: caller.by };
    let rule = state.engine.save_rule(None, draft).await.map_err(|error| written.refused(error, NOUN))?;
    let row = saved_row(&state, caller.scope, &rule).await?;
    let location = format!("/api/v1/escalation-rules/{}", rule.id);
    Ok(HttpResponse::Created().insert_header((LOCATION, location)).insert_header(etag(rule.version)).json(row))
}

pub fn patch_doc() -> Doc {
    Doc::role("Changes an escalation rule by a merge patch (RFC 7396) of its document.", Role::Admin)
        .body_in::<Map<String, Value>>(&["application/json", "application/merge-patch+json"])
        .if_match()
        .problem(StatusCode::CONFLICT)
        .ok_as("The rule as it is now.", saved_schema())
}

pub async fn patch(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let caller = credential.act(req.headers(), None)?;
    let owner = caller.owner()?;
    let (_, patch) = body::read_json(&req, payload, &state.settings).await?;
    if !patch.is_object() {
        return Err(Problem::field("", "a patch must be an object"));
    }
    let mut tried = 0;
    let rule = loop {
        let known = find(&state, caller.scope, &id).await?;
        check_version(req.headers(), known.version)?;
        let mut value = known.document.to_value();
        merge_patch(&mut value, &patch);
        let document = RuleDocument::from_value(value).map_err(crate::http::flows::create::misshapen)?;
        if document == known.document {
            break known;
        }
        let draft = RuleDraft { owner, document, by: caller.by.clone() };
        match state.engine.save_rule(Some(&known), draft).await.map_err(|error| refused(error, NOUN)) {
            // Without If-Match the patch is meant for whatever is there.
            Err(Problem::PreconditionFailed) if tried < TRIES && !is_guarded(req.headers()) => tried += 1,
            saved => break saved?,
        }
    };
    let row = saved_row(&state, caller.scope, &rule).await?;
    Ok(HttpResponse::Ok().insert_header(etag(rule.version)).json(row))
}

/// How often a patch is merged with what others have made of the rule meanwhile.
const TRIES: usize = 10;

fn is_guarded(headers: &HeaderMap) -> bool {
    headers.contains_key(actix_web::http::header::IF_MATCH)
}

pub fn delete_doc() -> Doc {
    Doc::role("Deletes an escalation rule. Its open events go on.", Role::Admin)
        .if_match()
        .empty(StatusCode::NO_CONTENT, "It is gone.")
}

pub async fn delete(req: HttpRequest, id: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let credential = state.keys.identify(&req).await?;
    credential.allows(Role::Admin)?;
    let caller = credential.act(req.headers(), None)?;
    let owner = caller.owner()?;
    let rule = find(&state, caller.scope, &id).await?;
    check_version(req.headers(), rule.version)?;
    state.engine.delete_rule(owner, &rule, caller.by).await.map_err(|error| refused(error, NOUN))?;
    Ok(HttpResponse::NoContent().finish())
}

/// When the signal is waited for next.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Heartbeat")]
struct Beat {
    /// RFC 3339: the rule fires if no other signal has come by then.
    due_at: Option<String>,
}

pub fn heartbeat_doc() -> Doc {
    Doc::role("Tells a rule with a heartbeat that its signal has come.", Role::Operator)
        .optional_body::<Nothing>()
        .ok::<Beat>("Until when it is satisfied.")
}

pub async fn heartbeat(
    req: HttpRequest,
    payload: web::Payload,
    id: web::Path<String>,
    state: Shared,
) -> Result<HttpResponse, Problem> {
    let asked: Asked<Nothing> = ask::read(&req, payload, &state, Role::Operator).await?;
    let rule = find(&state, asked.caller.scope, &id).await?;
    let due_ms = state.engine.heartbeat(asked.owner, &rule).await.map_err(|error| refused(error, NOUN))?;
    Ok(HttpResponse::Ok().json(Beat { due_at: crate::http::flows::rfc3339(due_ms) }))
}

/// A rule that the caller may see.
pub async fn find(state: &State, scope: Scope, id: &str) -> Result<StoredRule, Problem> {
    let missing = || Problem::no_row(NOUN);
    let id: RowId = id.parse().map_err(|_| missing())?;
    state.engine.rule(scope, id).await?.ok_or_else(missing)
}

/// The row of a rule that was just saved, with what is legal in it and surely not meant.
async fn saved_row(state: &State, scope: Scope, rule: &StoredRule) -> Result<Value, Problem> {
    let row = state.views.one(scope, Resource::EscalationRules, rule.id.0).await?;
    let mut row = row.ok_or_else(|| Problem::no_row(NOUN))?;
    let found = state.engine.rule_warnings(rule.owner.tenant, &rule.document).await?;
    let warnings: Vec<FindingView> = found.into_iter().map(FindingView::from).collect();
    row["warnings"] = json!(warnings);
    Ok(row)
}

fn saved_schema() -> SchemaOf {
    resources::row_schema_with::<Vec<FindingView>>(Resource::EscalationRules, "warnings")
}
