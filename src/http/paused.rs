//! What a server answers while it waits: its installation is paused, and a person must say that it goes on.
//!
//! There is no engine yet and no API. `/healthz` says that the process lives, so that nobody ends it for waiting; all else
//! is one problem.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::web::ServiceConfig;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::Value;

use super::Certificate;
use super::operations::healthz;
use super::problem::Problem;

/// A person decides: nobody need ask more often.
const RETRY_AFTER_SECONDS: u64 = 30;

/// Starts answering on a listener. The caller awaits the server and handles signals.
pub fn serve_paused(listener: TcpListener, certificate: Option<Arc<Certificate>>) -> io::Result<Server> {
    let server = HttpServer::new(|| App::new().configure(configure));
    let server = server.workers(1).shutdown_timeout(1).disable_signals();
    let server = match certificate {
        Some(certificate) => server.listen_rustls_0_23(listener, certificate.server_config())?,
        None => server.listen(listener)?,
    };
    Ok(server.run())
}

fn configure(app: &mut ServiceConfig) {
    app.route("/healthz", web::get().to(healthz::handle)).default_service(web::to(answer));
}

async fn answer(request: HttpRequest) -> HttpResponse {
    let problem = Problem::Paused { retry_after_seconds: RETRY_AFTER_SECONDS };
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
        let app = init_service(App::new().configure(configure)).await;
        for request in [TestRequest::post().uri("/hooks/x"), TestRequest::get().uri("/readyz")] {
            let response = call_service(&app, request.to_request()).await;
            assert_eq!(response.status().as_u16(), 503);
            let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
            assert_eq!(header("retry-after"), Some("30"));
            assert_eq!(header("content-type"), Some("application/problem+json"));
            let body: Value = read_body_json(response).await;
            assert_eq!(body["code"], "paused");
            assert!(body["detail"].as_str().is_some_and(|text| text.contains("store resume")), "{body}");
        }
        let response = call_service(&app, TestRequest::get().uri("/healthz").to_request()).await;
        assert_eq!(response.status().as_u16(), 200);
    }
}
