//! Notifications: the inbox of the user who asks.
//!
//! A platform key that names no user reads those of everybody, and changes none.

pub mod archive;
pub mod list;
pub mod read;
pub mod read_all;
pub mod unread_count;

use actix_web::http::header::HeaderMap;
use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::Scope;
use core314_actors::ports::notifications::{Addressee, Audience, Mark};

use super::State;
use super::problem::Problem;

/// Whose notifications the caller may see.
fn audience(state: &State, headers: &HeaderMap) -> Result<Audience, Problem> {
    let caller = state.keys.identify(headers)?.act(headers, None)?;
    match caller.scope {
        Scope::Platform => Ok(Audience::Platform),
        Scope::Tenant(_) => Ok(Audience::User(caller.owner()?.into())),
    }
}

/// The user who acts. Every role may: an inbox is its user's own.
fn addressee(state: &State, headers: &HeaderMap) -> Result<Addressee, Problem> {
    Ok(state.keys.identify(headers)?.act(headers, None)?.owner()?.into())
}

/// Sets a mark and shows the row.
async fn mark(req: &HttpRequest, id: &str, state: &State, mark: Mark) -> Result<HttpResponse, Problem> {
    let user = addressee(state, req.headers())?;
    let missing = || Problem::no_row("notification");
    let id = id.parse().map_err(|_| missing())?;
    let row = state.notifications.mark(user, id, mark, state.engine.now_ms()).await?;
    Ok(HttpResponse::Ok().json(row.ok_or_else(missing)?))
}
