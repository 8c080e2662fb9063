//! `/api/v1/verify/{token}`: proving an address from the message that was sent there. The page asks, and its button tells:
//! whoever only follows links, as scanners of mail do, verifies nothing.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::ports::Scope;
use core314_actors::ports::people::ContactMethod;

use super::refused;
use crate::http::escalations::ack::page;
use crate::http::openapi::{Access, Doc};
use crate::http::problem::Problem;
use crate::http::{Shared, State};

const NOUN: &str = "contact method";

pub fn show_doc() -> Doc {
    Doc::new("Asks a person, who followed the link of a message, whether the address is theirs.", Access::Open)
        .problem(StatusCode::NOT_FOUND)
        .text("text/html", "A page with a button.")
}

pub async fn show(_: HttpRequest, token: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let found = find(&state, &token).await?;
    let form = if found.verified_ms.is_some() {
        "<p>It is verified.</p>".to_owned()
    } else {
        "<form method=\"post\"><button type=\"submit\">It is mine: notify me here</button></form>".to_owned()
    };
    Ok(page("Is this address yours?", &about(&state, &found).await?, &form))
}

pub fn confirm_doc() -> Doc {
    Doc::new("Verifies the contact method whose link was followed.", Access::Open)
        .problem(StatusCode::NOT_FOUND)
        .problem(StatusCode::PRECONDITION_FAILED)
        .text("text/html", "A page that says so.")
}

pub async fn confirm(_: HttpRequest, token: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let found = find(&state, &token).await?;
    let (by, about) = (format!("user:{}", found.owner.user), about(&state, &found).await?);
    state.engine.verified(&found, by).await.map_err(|error| refused(error, NOUN))?;
    Ok(page("Verified", &about, "<p>You are notified here from now on.</p>"))
}

async fn find(state: &State, token: &str) -> Result<ContactMethod, Problem> {
    // One answer, whether it was forged, is over, or belongs to what is gone.
    let missing = || Problem::NotFound("this link is not valid, or its time is over".to_owned());
    state.engine.opened_link(token).await.map_err(|error| refused(error, NOUN))?.ok_or_else(missing)
}

/// What is proven, and for whom: somebody who was sent another's link must see that it is another's.
async fn about(state: &State, found: &ContactMethod) -> Result<String, Problem> {
    let owner = found.owner;
    let member = state.engine.people()?.member(Scope::Tenant(owner.tenant), owner.user.0).await?;
    let whom = member.map_or_else(|| owner.user.to_string(), |member| member.name);
    Ok(format!("{}: {}, for {whom}", found.kind, found.address))
}
