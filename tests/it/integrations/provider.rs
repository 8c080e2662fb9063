//! A service with tokens, pages and signatures: it refuses what does not follow the protocols that it documents.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support::free_port;

pub const CLIENT_SECRET: &str = "client-secret/0001+x";
pub const REFRESH_TOKEN: &str = "refresh-token-0000001";

/// A request: its method and path, its headers, its body.
type Received = (String, BTreeMap<String, String>, Vec<u8>);

/// The service.
pub struct Provider {
    pub url: String,
    /// Tokens that it has given.
    pub given: AtomicUsize,
    /// Only the last token that it gave is good.
    pub is_strict: AtomicUsize,
    pub expires_in: AtomicU64,
    /// Requests by their method and path, without those for tokens.
    received: Mutex<Vec<Received>>,
}

impl Provider {
    /// Starts on a free port of the loopback, on a thread of its own that ends with the process.
    pub fn start() -> Arc<Self> {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let port = free_port();
                let provider = Arc::new(Self {
                    url: format!("http://127.0.0.1:{port}"),
                    given: AtomicUsize::new(0),
                    is_strict: AtomicUsize::new(0),
                    expires_in: AtomicU64::new(3_600),
                    received: Mutex::default(),
                });
                let data = web::Data::from(provider.clone());
                let server = HttpServer::new(move || {
                    App::new()
                        .app_data(data.clone())
                        .route("/token", web::post().to(token))
                        .default_service(web::to(api))
                })
                .workers(1)
                .disable_signals()
                .bind(("127.0.0.1", port))
                .expect("the port is free")
                .run();
                send.send(provider).expect("the test waits");
                server.await.expect("the provider serves");
            });
        });
        receive.recv().expect("the provider starts")
    }

    /// What came to a path that begins so.
    pub fn received(&self, path: &str) -> Vec<(String, BTreeMap<String, String>, Vec<u8>)> {
        let all = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(line, ..)| line.contains(path)).cloned().collect()
    }
}

/// RFC 6749: 4.4 (client credentials), 6 (refresh), 5.2 (errors).
async fn token(provider: web::Data<Provider>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let refuse = |status: u16, error: &str| {
        let status = actix_web::http::StatusCode::from_u16(status).expect("a status");
        HttpResponse::build(status).json(json!({"error": error, "error_description": "so says the provider"}))
    };
    let header = |name: &str| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    if header("content-type") != "application/x-www-form-urlencoded" {
        return refuse(400, "invalid_request");
    }
    let form = pairs(&String::from_utf8_lossy(&body));
    let said = |name: &str| form.get(name).map(String::as_str).unwrap_or_default();
    // The id and the secret are encoded as in a form before they become a header (2.3.1).
    let basic = format!("Basic {}", STANDARD.encode("robot:client-secret%2F0001%2Bx"));
    let in_body = said("client_id") == "robot" && said("client_secret") == CLIENT_SECRET;
    let is_public = said("client_id") == "robot" && said("grant_type") == "refresh_token";
    if header("authorization") != basic && !in_body && !is_public {
        return refuse(401, "invalid_client");
    }
    match said("grant_type") {
        "client_credentials" if said("scope") == "read write" => {}
        "refresh_token" if said("refresh_token") == REFRESH_TOKEN => {}
        "client_credentials" => return refuse(400, "invalid_scope"),
        "refresh_token" => return refuse(400, "invalid_grant"),
        _ => return refuse(400, "unsupported_grant_type"),
    }
    let number = provider.given.fetch_add(1, Ordering::SeqCst) + 1;
    HttpResponse::Ok().json(json!({"access_token": format!("access-token-number-{number}"), "token_type": "Bearer",
        "expires_in": provider.expires_in.load(Ordering::SeqCst)}))
}

async fn api(provider: web::Data<Provider>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let headers: BTreeMap<String, String> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
        .collect();
    let authorization = headers.get("authorization").cloned().unwrap_or_default();
    let line = format!("{} {}", request.method(), request.uri());
    provider.received.lock().unwrap_or_else(PoisonError::into_inner).push((line, headers, body.to_vec()));
    let path = request.path();
    if path.starts_with("/private") {
        let last = provider.given.load(Ordering::SeqCst);
        let first =
            if provider.is_strict.load(Ordering::SeqCst) > 0 { provider.is_strict.load(Ordering::SeqCst) } else { 1 };
        let is_good = (first..=last).any(|number| authorization == format!("Bearer access-token-number-{number}"));
        if !is_good {
            return HttpResponse::Unauthorized().json(json!({"error": "invalid_token", "seen": authorization}));
        }
        return HttpResponse::Ok().json(json!({"seen": authorization}));
    }
    if path.starts_with("/pages") {
        return page(&request, &provider.url);
    }
    HttpResponse::Ok().json(json!({"ok": true}))
}

/// What a form or a query says.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let scratch = reqwest::Url::parse(&format!("http://form/?{text}")).expect("a form");
    scratch.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// Three pages of two items and one of one, in every way.
fn page(request: &HttpRequest, url: &str) -> HttpResponse {
    let query = pairs(request.query_string());
    let number: usize = query.get("page").and_then(|text| text.parse().ok()).unwrap_or(1);
    let items: Vec<Value> = (0..7).skip((number - 1) * 2).take(2).map(|n| json!({"n": n})).collect();
    let next = (number < 4).then(|| number + 1);
    let mut answer = HttpResponse::Ok();
    if let Some(next) = next {
        answer.insert_header((
            "link",
            format!("<{url}/pages?page={next}>; rel=\"next\", <{url}/pages?page=4>; rel=\"last\""),
        ));
    }
    answer.json(json!({"data": items, "meta": {"cursor": next}}))
}
