//! `GET /api/v1/actors`: every live actor, by path. Runs have an actor each, so the list is paged like any other.

use actix_web::{HttpRequest, HttpResponse};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use core314_actors::supervision::Snapshot;
use schemars::JsonSchema;
use serde::Serialize;

use crate::http::Shared;
use crate::http::flows::rfc3339;
use crate::http::openapi::{Access, Doc};
use crate::http::page::ListView;
use crate::http::problem::Problem;
use crate::http::query::Query;

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Actor")]
struct View {
    path: String,
    kind: &'static str,
    /// `down` between two lives.
    state: &'static str,
    /// Messages waiting.
    mailbox_depth: u32,
    /// Messages handled since the process began.
    handled: u64,
    restarts: u32,
    last_failure: Option<String>,
    last_failure_at: Option<String>,
    /// Since its present life began.
    age_ms: u64,
}

impl From<Snapshot> for View {
    fn from(actor: Snapshot) -> Self {
        Self {
            path: actor.path.to_string(),
            kind: actor.kind,
            state: actor.state,
            mailbox_depth: actor.mailbox,
            handled: actor.handled,
            restarts: actor.restarts,
            last_failure: actor.last_failure,
            last_failure_at: actor.last_failure_at_ms.and_then(|ms| rfc3339(ms as i64)),
            age_ms: actor.age_ms,
        }
    }
}

pub fn doc() -> Doc {
    Doc::new("Lists every live actor, by path.", Access::Platform)
        .query::<String>("kind", "Only actors of this kind.")
        .number("limit", "How many items at most, by default 50.", 1, 500)
        .cursor()
        .ok::<ListView<View>>("A page of the supervision tree.")
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    state.keys.identify(&req).await?.platform_only(req.headers())?;
    let mut query = Query::of(&req)?;
    let kind: Option<String> = query.optional("kind");
    let settings = &state.settings;
    let limit = query.number("limit", 1, settings.max_page_items).unwrap_or(settings.default_page_items);
    let after = query.optional::<String>("cursor").map(|text| path_of(&text));
    if after == Some(None) {
        query.wrong("cursor", "is not a next_cursor of this server");
    }
    query.finish()?;
    let actors = state.engine.actors();
    let of_kind = actors.into_iter().filter(|actor| kind.as_deref().is_none_or(|kind| kind == actor.kind));
    Ok(HttpResponse::Ok().json(page(of_kind, after.flatten().as_deref(), limit)))
}

/// Actors come ordered by path, so the path is the key of the order.
fn page(actors: impl Iterator<Item = Snapshot>, after: Option<&str>, limit: usize) -> ListView<View> {
    let mut rest = actors.skip_while(|actor| after.is_some_and(|after| &*actor.path <= after)).peekable();
    let items: Vec<View> = rest.by_ref().take(limit).map(View::from).collect();
    let more = rest.peek().is_some();
    let next_cursor = items.last().filter(|_| more).map(|last| BASE64.encode(&last.path));
    ListView { items, next_cursor }
}

fn path_of(cursor: &str) -> Option<String> {
    BASE64.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_without_gap_or_double() {
        let actor = |name: &str| Snapshot {
            path: name.into(),
            kind: "probe",
            state: "running",
            mailbox: 0,
            handled: 0,
            restarts: 0,
            last_failure: None,
            last_failure_at_ms: None,
            age_ms: 0,
            arbiter: 1,
        };
        let all = || ["core314", "core314/a", "core314/b"].map(actor).into_iter();
        let first = page(all(), None, 2);
        let after = path_of(first.next_cursor.as_deref().expect("there is more")).expect("readable");
        let second = page(all(), Some(&after), 2);
        let paths: Vec<String> = first.items.into_iter().chain(second.items).map(|actor| actor.path).collect();
        assert_eq!(paths, ["core314", "core314/a", "core314/b"]);
        assert_eq!(second.next_cursor, None);
        assert_eq!(path_of("é"), None);
    }
}
