//! What a server answers while it waits: its installation is paused and a person must say that it goes on, or another node
//! has the partitions and this one stands by.
//!
//! There is no engine yet and no API. `/healthz` says that the process lives, so that nobody ends it for waiting, and `/readyz`
//! of a standby what it waits for; all else is one problem.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::Value;

use super::Certificate;
use super::operations::{healthz, readyz};
use super::problem::Problem;

/// What a server waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// A person lets the installation go on.
    Paused,
    /// The node that has the partitions leaves or dies.
    Standby,
}

impl Waiting {
    const fn problem(self) -> Problem {
        match self {
            // A person decides: nobody need ask more often.
            Self::Paused => Problem::Paused { retry_after_seconds: 30 },
            // Another node may answer at once.
            Self::Standby => Problem::Standby { retry_after_seconds: 2 },
        }
    }
}

/// Starts answering on a listener. The caller awaits the server and handles signals.
pub fn serve_waiting(
    listener: TcpListener,
    certificate: Option<Arc<Certificate>>,
    waiting: Waiting,
) -> io::Result<Server> {
    let server = HttpServer::new(move || App::new().configure(|app| configure(app, waiting)));
    let server = server.workers(1).shutdown_timeout(1).disable_signals();
    let server = match certificate {
        Some(certificate) => server.listen_rustls_0_23(listener, certificate.server_config())?,
        None => server.listen(listener)?,
    };
    Ok(server.run())
}

fn configure(app: &mut ServiceConfig, waiting: Waiting) {
    if waiting == Waiting::Standby {
        app.route("/readyz", web::get().to(readyz::standby));
    }
    let refuse = move |request: HttpRequest| async move { answer(&request, waiting) };
    app.route("/healthz", web::get().to(healthz::handle)).default_service(web::to(refuse));
}

fn answer(request: &HttpRequest, waiting: Waiting) -> HttpResponse {
    let problem = waiting.problem();
    let request_id = format!("{:032x}", rand::random::<u128>());
    let body = Value::Object(problem.body(request.path(), &request_id));
    let mut response = HttpResponse::build(problem.kind().status());
    if let Some(header) = problem.extra_header() {
        response.insert_header(header);
    }
    response.insert_header(("X-Request-Id", request_id)).content_type("application/problem+json").body(body.to_string())
}

#[cfg(test)]
mod tests {
    use actix_web::test::{TestRequest, call_service, init_service, read_body_json};

    use super::*;

    #[actix_web::test]
    async fn all_is_refused_with_what_to_do_and_the_process_lives() {
        for (waiting, code, seconds, words) in
            [(Waiting::Paused, "paused", "30", "store resume"), (Waiting::Standby, "standby", "2", "another node")]
        {
            let app = init_service(App::new().configure(|app| configure(app, waiting))).await;
            for request in [TestRequest::post().uri("/hooks/x"), TestRequest::get().uri("/api/v1/runs")] {
                let response = call_service(&app, request.to_request()).await;
                assert_eq!(response.status().as_u16(), 503);
                let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
                assert_eq!(header("retry-after"), Some(seconds));
                assert_eq!(header("content-type"), Some("application/problem+json"));
                let body: Value = read_body_json(response).await;
                assert_eq!(body["code"], code);
                assert!(body["detail"].as_str().is_some_and(|text| text.contains(words)), "{body}");
            }
            let response = call_service(&app, TestRequest::get().uri("/healthz").to_request()).await;
            assert_eq!(response.status().as_u16(), 200);
            let response = call_service(&app, TestRequest::get().uri("/readyz").to_request()).await;
            assert_eq!(response.status().as_u16(), 503);
            let body: Value = read_body_json(response).await;
            let said = if waiting == Waiting::Standby { &body["parts"][0]["name"] } else { &body["code"] };
            assert!(said == "lease" || said == "paused", "{body}");
        }
    }
}
