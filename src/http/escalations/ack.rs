//! `/api/v1/ack/{token}`: acknowledging from a message. The page asks, and its button tells: whoever only follows links, as
//! scanners of mail and chat do, acknowledges nothing. Whose link it is stands in it; what they may do is what the directory
//! says when it is used, as for the API: by then they may have left, or have become a viewer.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::escalations::{Acknowledger, EscalationError};
use core314_actors::ports::Scope;
use core314_actors::ports::escalation::StoredEscalation;
use core314_domain::escalation::{Command, Refused};

use super::not_told;
use crate::http::openapi::{Access, Doc};
use crate::http::people::{below_operator, standing};
use crate::http::problem::Problem;
use crate::http::{Shared, State};

pub fn show_doc() -> Doc {
    Doc::new("Asks a person, who followed the link of a message, whether to acknowledge.", Access::Open)
        .problem(StatusCode::FORBIDDEN)
        .problem(StatusCode::NOT_FOUND)
        .text("text/html", "A page with a button.")
}

pub async fn show(_: HttpRequest, token: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let Opened { stored, refusal, .. } = find(&state, &token).await?;
    let event = &stored.event;
    let about = format!(
        "{}: {} (level {}, {} failures, {})",
        event.reason.as_str().replace('_', " "),
        event.subject,
        event.level,
        event.count,
        event.status
    );
    let form = if event.status.is_closed() || event.acknowledged.is_some() {
        "<p>Nothing is left to acknowledge.</p>".to_owned()
    } else if let Some(why) = refusal {
        format!("<p>{}</p>", escaped(&why))
    } else {
        "<form method=\"post\"><button type=\"submit\">Acknowledge</button></form>".to_owned()
    };
    Ok(page("Acknowledge this escalation?", &about, &form))
}

pub fn confirm_doc() -> Doc {
    Doc::new("Acknowledges in the name of the person whom the link was sent to.", Access::Open)
        .problem(StatusCode::FORBIDDEN)
        .problem(StatusCode::NOT_FOUND)
        .problem(StatusCode::CONFLICT)
        .text("text/html", "A page that says so.")
}

pub async fn confirm(_: HttpRequest, token: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let Opened { who, stored, refusal } = find(&state, &token).await?;
    if let Some(why) = refusal {
        return Err(Problem::Forbidden(why));
    }
    let by = format!("user:{}", who.user);
    let scope = Scope::Tenant(who.tenant);
    let command = Command::Acknowledge { by: by.clone() };
    match state.engine.escalations()?.tell(scope, who.escalation, command, by.clone()).await {
        Ok(_) => Ok(page("Acknowledged", &stored.event.subject, "<p>Nobody else is told any more.</p>")),
        // The button was pressed twice.
        Err(EscalationError::Refused(Refused::Acknowledged(other))) if other == by => {
            Ok(page("Acknowledged", &stored.event.subject, "<p>It was acknowledged by you before.</p>"))
        }
        Err(error) => Err(not_told(error)),
    }
}

/// What a link opens.
struct Opened {
    who: Acknowledger,
    stored: StoredEscalation,
    /// Why its person may look and not act, where that is so.
    refusal: Option<String>,
}

/// Whoever is of the tenant no more sees nothing.
async fn find(state: &State, token: &str) -> Result<Opened, Problem> {
    // One answer, whether it was forged, is over, or belongs to what is gone.
    let missing = || Problem::NotFound("this link is not valid, or its time is over".to_owned());
    let desk = state.engine.escalations()?;
    let who = desk.opened(token).ok_or_else(missing)?;
    let stored = desk.book().escalation(Scope::Tenant(who.tenant), who.escalation).await?;
    let stored = stored.ok_or_else(missing)?;
    let role = standing(state, stored.owner, who.user).await?.map_err(|why| Problem::Forbidden(why.to_owned()))?;
    Ok(Opened { who, stored, refusal: below_operator(role) })
}

/// A page for a person who followed a link; `rest` is HTML.
pub fn page(title: &str, about: &str, rest: &str) -> HttpResponse {
    let body = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><meta name=\"robots\" content=\"noindex\"></head>\
         <body><h1>{title}</h1><p>{}</p>{rest}</body></html>",
        escaped(about)
    );
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(body)
}

/// Text as HTML shows it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_failed_cannot_write_the_page() {
        assert_eq!(escaped("<script>\"x\" & 'y'"), "&lt;script&gt;&quot;x&quot; &amp; &#39;y&#39;");
    }
}
