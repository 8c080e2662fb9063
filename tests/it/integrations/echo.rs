//! A server that gives everything back that it was sent, in every form it knows: what a careless service does.

use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::free_port;

/// What is given for credentials below `/issue/`.
pub const ISSUED: &str = "pLaNtEd-access-token-0021";
/// What is given there in the place of a refresh token.
pub const REPLACED: &str = "pLaNtEd-replaced-token-0022";

/// The server.
pub struct Echo {
    pub url: String,
    received: Mutex<Vec<String>>,
}

impl Echo {
    /// Starts on a free port of the loopback, on a thread of its own that ends with the process.
    pub fn start() -> Arc<Self> {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let port = free_port();
                let echo = Arc::new(Self { url: format!("http://127.0.0.1:{port}"), received: Mutex::default() });
                let data = web::Data::from(echo.clone());
                let server =
                    HttpServer::new(move || App::new().app_data(data.clone()).default_service(web::to(answer)))
                        .workers(1)
                        .disable_signals()
                        .bind(("127.0.0.1", port))
                        .expect("the port is free")
                        .run();
                send.send(echo).expect("the test waits");
                server.await.expect("the echo serves");
            });
        });
        receive.recv().expect("the echo starts")
    }

    /// Everything that came to a path with this in it: heads and bodies as they were sent.
    pub fn received(&self, path: &str) -> String {
        let all = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|request| request.lines().next().is_some_and(|line| line.contains(path))).cloned().collect()
    }
}

async fn answer(echo: web::Data<Echo>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let body = String::from_utf8_lossy(&body).into_owned();
    let headers: Vec<(String, String)> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let mut seen = format!("{} {}\n", request.method(), request.uri());
    headers.iter().for_each(|(name, value)| seen.extend([name.as_str(), ": ", value.as_str(), "\n"]));
    seen.push_str(&body);
    seen.push('\n');
    echo.received.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    let has = |what: &str| request.uri().path().contains(what);
    if has("/services/") && !has("refuse") {
        return HttpResponse::Ok().content_type("text/plain").body("ok");
    }
    if has("/issue/") {
        return HttpResponse::Ok().json(json!({"access_token": ISSUED, "token_type": "Bearer", "expires_in": 3600,
            "refresh_token": REPLACED}));
    }
    let status = if has("refuse") { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let pairs: Vec<Value> = headers.iter().map(|(name, value)| json!([name, value])).collect();
    let echoed = json!({
        "uri": request.uri().to_string(), "headers": pairs, "body": body,
        "parsed": serde_json::from_str::<Value>(&body).unwrap_or(Value::Null),
        "base64": headers.iter().map(|(_, value)| STANDARD.encode(value)).collect::<Vec<_>>(),
    });
    let mut answer = HttpResponse::build(status);
    for (name, value) in headers.iter().filter(|(name, _)| name == "authorization" || name.starts_with("x-")) {
        answer.insert_header((format!("x-echo-{name}"), value.as_str()));
    }
    answer.json(echoed)
}
