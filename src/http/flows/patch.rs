//! `PATCH /api/v1/flows/{id}`: an RFC 7396 merge patch of the document makes the next version.
//!
//! `If-Match` guards against a lost update. A patch that changes nothing makes no version.

use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderMap, IF_MATCH};
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::engine::FlowDraft;
use core314_actors::ports::catalog::StoredFlow;
use core314_domain::document::FlowDocument;
use core314_domain::ids::{FlowId, Owner};
use core314_domain::json::merge_patch;
use serde_json::{Map, Value};

use super::create::{misshapen, not_a_flow};
use super::{FlowView, etag};
use crate::http::auth::{Caller, Role};
use crate::http::openapi::Doc;
use crate::http::problem::Problem;
use crate::http::{Shared, State, body};

pub fn doc() -> Doc {
    Doc::role("Changes a flow by a merge patch (RFC 7396), which makes its next version.", Role::Admin)
        .body_in::<Map<String, Value>>(&["application/json", "application/merge-patch+json"])
        .if_match()
        .problem(StatusCode::CONFLICT)
        .ok::<FlowView>("The flow in its new version, or as it was where nothing changes.")
}

pub async fn handle(
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
    let id: FlowId = id.parse().map_err(|_| Problem::no_row("flow"))?;
    if !patch.is_object() {
        return Err(not_a_flow("a patch must be an object".to_owned()));
    }
    change(&state, id, &caller, owner, &req, &patch).await
}

/// Merges a patch into a flow, again where somebody was faster.
pub async fn change(
    state: &State,
    id: FlowId,
    caller: &Caller,
    owner: Owner,
    req: &HttpRequest,
    patch: &Value,
) -> Result<HttpResponse, Problem> {
    for _ in 1..TRIES {
        match merge(state, id, caller, owner, req, patch).await {
            // Without If-Match the patch is meant for whatever is there.
            Err(Problem::PreconditionFailed) if !req.headers().contains_key(IF_MATCH) => {}
            done => return done,
        }
    }
    merge(state, id, caller, owner, req, patch).await
}

/// How often a patch is merged with what others have made of the flow meanwhile.
const TRIES: usize = 10;

async fn merge(
    state: &State,
    id: FlowId,
    caller: &Caller,
    owner: Owner,
    req: &HttpRequest,
    patch: &Value,
) -> Result<HttpResponse, Problem> {
    let stored = state.engine.flow(caller.scope, id).await?.ok_or_else(|| Problem::no_row("flow"))?;
    check_version(req.headers(), stored.version)?;
    let mut changed = stored.document.to_value();
    merge_patch(&mut changed, patch);
    let document = FlowDocument::from_value(changed).map_err(misshapen)?;
    if document == stored.document {
        return Ok(answer(stored));
    }
    let draft = FlowDraft { owner, document, by: caller.by.clone() };
    let saved = state.engine.update_flow(id, stored.version, draft).await?;
    // A colleague who changes a flow does not take it over.
    let flow = StoredFlow { owner: stored.owner, created_at_ms: stored.created_at_ms, ..saved };
    let version = etag(flow.version);
    let view = FlowView::warned(state, owner.tenant, flow).await?;
    Ok(HttpResponse::Ok().insert_header(version).json(view))
}

fn answer(flow: StoredFlow) -> HttpResponse {
    HttpResponse::Ok().insert_header(etag(flow.version)).json(FlowView::of(flow))
}

/// Whether `If-Match`, where there is one, names this version. Weak tags never match (RFC 9110, 13.1.1).
pub fn check_version(headers: &HeaderMap, version: i64) -> Result<(), Problem> {
    let current = etag(version).1;
    let mut given = headers.get_all(IF_MATCH).peekable();
    if given.peek().is_none() {
        return Ok(());
    }
    let mut tags = given.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).map(str::trim);
    if tags.any(|tag| tag == "*" || tag == current) { Ok(()) } else { Err(Problem::PreconditionFailed) }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::HeaderValue;

    use super::*;

    #[test]
    fn only_the_version_that_was_read_may_be_changed() {
        let check = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(IF_MATCH, HeaderValue::from_str(value).unwrap());
            }
            check_version(&headers, 3).is_ok()
        };
        for good in [&[][..], &["\"v3\""], &["*"], &["\"v2\", \"v3\""], &["\"v2\"", "\"v3\""]] {
            assert!(check(good), "{good:?}");
        }
        for bad in [&["\"v2\""][..], &["W/\"v3\""], &["v3"], &[""], &["é"]] {
            assert!(!check(bad), "{bad:?}");
        }
    }
}
