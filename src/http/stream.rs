//! `GET /api/v1/stream`: the tenant's changes as they are committed, as Server-Sent Events.
//!
//! A stream is one reader of the feed: it copies nothing but what it sends. It ends when the server stops, when the
//! caller's credentials no longer prove what they proved, after its longest life, and when the client reads too slowly;
//! a client then comes back with `Last-Event-ID` and goes on where it was.
//!
//! A client that does not read at all is a matter of the kernel: see [`close_when_stuck`](super::connection).

use std::time::Duration;

use actix_web::http::header::HeaderName;
use actix_web::http::{Method, StatusCode};
use actix_web::web::Bytes;
use actix_web::{HttpRequest, HttpResponse};
use core314_actors::feed::{Limits, Refused, Subscription, Topic, Topics};
use core314_actors::ports::Scope;
use futures_util::stream::unfold;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::Shared;
use super::auth::{Credential, Role};
use super::openapi::Doc;
use super::problem::Problem;
use super::query::Query;

const MEDIA_TYPE: &str = "text/event-stream";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Proxies that buffer answers would hold events back; nginx heeds this.
const NO_BUFFERING: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");
const TOPICS_HELP: &str = "Which changes: a list, separated by commas, of runs, executions, health, anomalies, recovery, \
                           selftests, escalations, notifications and, for a platform key, actors. By default all.";

pub fn doc() -> Doc {
    Doc::role("Streams changes as they are committed (Server-Sent Events).", Role::Viewer)
        .query::<String>("topics", TOPICS_HELP)
        .header::<String>("Last-Event-ID", "The id of the last event that was received: the stream goes on after it.")
        .text(MEDIA_TYPE, "Events named after their topic, each with `changes`; `reset`: read anew what you show.")
        .problem(StatusCode::TOO_MANY_REQUESTS)
}

pub async fn handle(req: HttpRequest, state: Shared) -> Result<HttpResponse, Problem> {
    let scope = proven(&req, &state).await?.read(req.headers())?;
    let mut query = Query::of(&req)?;
    let topics = query.optional::<Topics>("topics");
    query.finish()?;
    let topics = allowed(topics, scope)?;
    let mut answer = HttpResponse::Ok();
    // The connection would otherwise be kept for another request when the stream has ended, and hold up a server's end.
    answer.content_type(MEDIA_TYPE).insert_header(NO_BUFFERING).force_close();
    if req.method() == Method::HEAD {
        return Ok(answer.finish());
    }
    let last = req.headers().get(LAST_EVENT_ID).map(|id| id.to_str().unwrap_or_default());
    let settings = &state.settings.stream;
    let limits = Limits { clients: settings.max_clients, clients_per_tenant: settings.max_clients_per_tenant };
    let subscription = state.engine.feed().subscribe(scope, topics, last, limits).map_err(refused)?;
    let beat = Duration::from_secs(settings.heartbeat_seconds);
    let mut heartbeat = interval_at(Instant::now() + beat, beat);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let ends_at = Instant::now() + Duration::from_secs(settings.max_seconds);
    let stream = Stream { subscription, heartbeat, ends_at, scope, req, state };
    Ok(answer.streaming(unfold(stream, async |mut stream| {
        let block = stream.next().await?;
        Some((Ok::<_, Problem>(block), stream))
    })))
}

/// The credential, if it may listen.
async fn proven(req: &HttpRequest, state: &Shared) -> Result<Credential, Problem> {
    let credential = state.keys.identify(req).await?;
    credential.allows(Role::Viewer)?;
    Ok(credential)
}

/// Whose rows the caller may still see. A stream is one request, so that a tenant at its rate limit keeps it.
async fn still_proven(req: &HttpRequest, state: &Shared) -> Result<Scope, Problem> {
    proven(req, state).await?.still_reads(req.headers())
}

/// The topics that were asked for, if the caller may hear of them.
fn allowed(asked: Option<Topics>, scope: Scope) -> Result<Topics, Problem> {
    let everything = match scope {
        Scope::Platform => Topics::ALL,
        Scope::Tenant(_) => Topics::ALL.without(Topic::Actors),
    };
    let asked = asked.unwrap_or(everything);
    match asked.iter().find(|topic| !everything.contains(*topic)) {
        None => Ok(asked),
        Some(topic) => Err(Problem::Forbidden(format!("the topic {topic} is for a platform key that names no user"))),
    }
}

fn refused(refused: Refused) -> Problem {
    match refused {
        Refused::Full => Problem::Busy { retry_after_seconds: 10 },
        Refused::TenantFull => Problem::TooManyStreams { retry_after_seconds: 10 },
        Refused::Closed => Problem::Busy { retry_after_seconds: 5 },
    }
}

/// A stream under way.
struct Stream {
    subscription: Subscription,
    heartbeat: Interval,
    ends_at: Instant,
    scope: Scope,
    /// Its headers prove the caller again with every heartbeat.
    req: HttpRequest,
    state: Shared,
}

impl Stream {
    async fn next(&mut self) -> Option<Bytes> {
        tokio::select! {
            block = self.subscription.next() => block.map(Bytes::from_owner),
            now = self.heartbeat.tick() => {
                let may_go_on = now < self.ends_at && still_proven(&self.req, &self.state).await == Ok(self.scope);
                may_go_on.then(|| Bytes::from_owner(self.subscription.heartbeat()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use core314_domain::ids::TenantId;

    use super::*;

    #[test]
    fn actors_are_for_the_platform() {
        let tenant = Scope::Tenant(TenantId(uuid::Uuid::from_u128(7)));
        let actors: Topics = "runs,actors".parse().expect("known");
        assert_eq!(allowed(Some(actors), Scope::Platform), Ok(actors));
        assert!(matches!(allowed(Some(actors), tenant), Err(Problem::Forbidden(_))));
        assert_eq!(allowed(None, tenant), Ok(Topics::ALL.without(Topic::Actors)));
        assert_eq!(allowed(None, Scope::Platform), Ok(Topics::ALL));
    }
}
