//! `/api/v1/ack/{token}`: acknowledging and resolving from a message. The page asks, and its buttons tell: whoever only follows
//! links, as scanners of mail and chat do, changes nothing. Whose link it is stands in it; what they may do is what the directory
//! says when it is used, as for the API: by then they may have left, or have become a viewer.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use core314_actors::escalations::{Acknowledger, EscalationError};
use core314_actors::ports::Scope;
use core314_actors::ports::escalation::StoredEscalation;
use core314_actors::recipients::has_left;
use core314_domain::escalation::{Command, Refused};
use core314_domain::words::Role;

use super::not_told;
use crate::http::openapi::{Access, Doc};
use crate::http::people::{below_operator, standing};
use crate::http::problem::Problem;
use crate::http::query::Query;
use crate::http::{Shared, State};

core314_domain::words! {
    /// What a button of the page does.
    Deed { Acknowledge = "acknowledge", Resolve = "resolve" }
}

pub fn show_doc() -> Doc {
    Doc::new("Asks a person, who followed the link of a message, whether to acknowledge or resolve.", Access::Open)
        .problem(StatusCode::FORBIDDEN)
        .problem(StatusCode::NOT_FOUND)
        .text("text/html", "A page with buttons.")
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
    let form = match refusal {
        _ if event.status.is_closed() => "<p>Nothing is left to do: it has ended.</p>".to_owned(),
        Some(why) => format!("<p>{}</p>", escaped(&why)),
        None => buttons(event.acknowledged.is_some()),
    };
    Ok(page("Escalation", &about, &form))
}

/// The buttons that have a meaning now. What is taken can still be ended.
fn buttons(is_acknowledged: bool) -> String {
    let button =
        |deed: Deed, label: &str| format!("<button type=\"submit\" formaction=\"?do={deed}\">{label}</button>");
    let acknowledge = if is_acknowledged { String::new() } else { button(Deed::Acknowledge, "Acknowledge") };
    format!("<form method=\"post\">{acknowledge}{}</form>", button(Deed::Resolve, "Resolve"))
}

pub fn confirm_doc() -> Doc {
    Doc::new("Acknowledges, or resolves, in the name of the person whom the link was sent to.", Access::Open)
        .word("do", "What it does, by default `acknowledge`.", Deed::WORDS)
        .problem(StatusCode::FORBIDDEN)
        .problem(StatusCode::NOT_FOUND)
        .problem(StatusCode::CONFLICT)
        .problem(StatusCode::UNPROCESSABLE_ENTITY)
        .text("text/html", "A page that says so.")
}

pub async fn confirm(req: HttpRequest, token: web::Path<String>, state: Shared) -> Result<HttpResponse, Problem> {
    let mut query = Query::of(&req)?;
    let deed = query.optional::<Deed>("do").unwrap_or(Deed::Acknowledge);
    query.finish()?;
    let Opened { who, stored, refusal } = find(&state, &token).await?;
    if let Some(why) = refusal {
        return Err(Problem::Forbidden(why));
    }
    let by = format!("user:{}", who.user);
    let command = match deed {
        Deed::Acknowledge => Command::Acknowledge { by: by.clone() },
        Deed::Resolve => Command::Resolve { by: by.clone(), notes: None, failed: false },
    };
    let told = state.engine.escalations()?.tell(Scope::Tenant(who.tenant), who.escalation, command, by.clone()).await;
    let (title, rest) = match (deed, told) {
        (Deed::Acknowledge, Ok(_)) => ("Acknowledged", "<p>Nobody else is told any more.</p>"),
        (Deed::Resolve, Ok(_)) => ("Resolved", "<p>The escalation has ended.</p>"),
        // The button was pressed twice.
        (Deed::Acknowledge, Err(EscalationError::Refused(Refused::Acknowledged(other)))) if other == by => {
            ("Acknowledged", "<p>It was acknowledged by you before.</p>")
        }
        (Deed::Resolve, Err(EscalationError::Refused(Refused::Ended(_, other)))) if other == by => {
            ("Resolved", "<p>It was ended by you before.</p>")
        }
        (_, Err(error)) => return Err(not_told(error)),
    };
    Ok(page(title, &stored.event.subject, rest))
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
    let role = match standing(state, stored.owner, who.user).await? {
        Ok(role) => role,
        Err(why) if has_left(state.engine.people()?.as_ref(), stored.owner, who.user).await? => {
            return Err(Problem::Forbidden(why.to_owned()));
        }
        // A directory that is not kept says nothing: the message was theirs.
        Err(_) => Role::Operator,
    };
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
    fn what_is_taken_can_still_be_ended() {
        assert_eq!(buttons(false).matches("<button").count(), 2);
        let left = buttons(true);
        assert!(left.contains("?do=resolve") && !left.contains("?do=acknowledge"), "{left}");
    }

    #[test]
    fn what_has_failed_cannot_write_the_page() {
        assert_eq!(escaped("<script>\"x\" & 'y'"), "&lt;script&gt;&quot;x&quot; &amp; &#39;y&#39;");
    }
}
