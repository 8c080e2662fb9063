//! Notifications: the inbox of the user who asks.
//!
//! A platform key that names no user reads those of everybody, and changes none.

pub mod archive;
pub mod list;
pub mod patch;
pub mod read;
pub mod read_all;
pub mod remove;
pub mod send;
pub mod unread_count;

use actix_web::{HttpRequest, HttpResponse};
use core314_actors::ports::Scope;
use core314_actors::ports::notifications::{Addressee, Audience, Mark};
use core314_domain::ids::NotificationId;

use super::State;
use super::problem::Problem;

/// Whose notifications the caller may see.
async fn audience(state: &State, req: &HttpRequest) -> Result<Audience, Problem> {
    let caller = state.keys.identify(req).await?.act(req.headers(), None)?;
    match caller.scope {
        Scope::Platform => Ok(Audience::Platform),
        Scope::Tenant(_) => Ok(Audience::User(caller.owner()?.into())),
    }
}

/// The user who acts. Every role may: an inbox is its user's own.
async fn addressee(state: &State, req: &HttpRequest) -> Result<Addressee, Problem> {
    Ok(state.keys.identify(req).await?.act(req.headers(), None)?.owner()?.into())
}

/// Sets a mark and shows the row.
async fn mark(req: &HttpRequest, id: &str, state: &State, mark: Mark) -> Result<HttpResponse, Problem> {
    set(state, addressee(state, req).await?, id, mark).await
}

/// Sets a mark for this user and shows the row.
async fn set(state: &State, user: Addressee, id: &str, mark: Mark) -> Result<HttpResponse, Problem> {
    let row = state.notifications.mark(user, id_of(id)?, mark, state.engine.now_ms()).await?;
    Ok(HttpResponse::Ok().json(row.ok_or_else(missing)?))
}

fn id_of(path: &str) -> Result<NotificationId, Problem> {
    path.parse().map_err(|_| missing())
}

fn missing() -> Problem {
    Problem::no_row("notification")
}
