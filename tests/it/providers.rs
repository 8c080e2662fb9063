//! Providers on loopback, as their documents describe them: each judges every request by its documented schema and
//! answers with its documented words, errors and rate limits included.

pub mod authorization;
pub mod catalogue;
pub mod discord;
pub mod github;
pub mod gitlab;
pub mod jira;
pub mod linear;
pub mod openai;
pub mod pagerduty;
pub mod rest;
pub mod sendgrid;
pub mod slack;
pub mod slack_api;
pub mod smtp;
pub mod teams;
pub mod twilio;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::Value;
use tokio::sync::watch;

/// A request as it came.
pub struct Posted {
    pub method: String,
    pub path: String,
    pub query: String,
    pub content_type: String,
    pub headers: HeaderMap,
    pub body: web::Bytes,
}

impl Posted {
    /// A header's text; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The parts of the path, decoded.
    pub fn parts(&self) -> Vec<String> {
        self.path.trim_matches('/').split('/').map(|part| part.replace("%2F", "/").replace("%20", " ")).collect()
    }

    /// The pairs of the query.
    pub fn query(&self) -> Vec<(String, String)> {
        let url = reqwest::Url::parse(&format!("http://query/?{}", self.query)).expect("a query");
        url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
    }

    /// The body, which must be JSON by its type and its form.
    pub fn json(&self) -> Option<Value> {
        let is_json = self.content_type == "application/json";
        serde_json::from_slice(&self.body).ok().filter(|_| is_json)
    }
}

/// What a provider answers.
pub struct Reply {
    pub status: u16,
    pub retry_after: Option<&'static str>,
    pub location: Option<String>,
    pub content_type: &'static str,
    pub body: String,
}

impl Reply {
    pub fn text(status: u16, body: &str) -> Self {
        Self {
            status,
            retry_after: None,
            location: None,
            content_type: "text/plain; charset=utf-8",
            body: body.to_owned(),
        }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self { status, retry_after: None, location: None, content_type: "application/json", body: body.to_string() }
    }

    /// Sends whoever asked on to another address.
    pub fn redirect(location: String) -> Self {
        Self { location: Some(location), ..Self::text(302, "") }
    }

    pub fn retry_after(self, seconds: &'static str) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

/// Judges a request: the message that people see, or why there is none.
type Judge = fn(&Posted) -> Result<(Value, Reply), Reply>;
/// Answers a request with what the provider keeps.
type Keeper = fn(&Posted, &mut Vec<Value>) -> Reply;

enum Manner {
    Shows(Judge),
    Keeps(Keeper),
}

/// A provider that runs.
pub struct Provider {
    pub url: String,
    manner: Manner,
    shown: Mutex<Vec<Value>>,
    keys: Mutex<Vec<String>>,
    refusals: Mutex<VecDeque<Reply>>,
    lost: Mutex<VecDeque<Reply>>,
    hangs: AtomicBool,
    is_held: watch::Sender<bool>,
}

impl Provider {
    fn start(judge: Judge) -> Arc<Self> {
        Self::serve(Manner::Shows(judge))
    }

    fn keep(keeper: Keeper) -> Arc<Self> {
        Self::serve(Manner::Keeps(keeper))
    }

    /// Starts on a free port of the loopback, on a thread of its own that ends with the process.
    fn serve(manner: Manner) -> Arc<Self> {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
                let url = format!("http://{}", listener.local_addr().expect("bound"));
                let (shown, keys, refusals, lost, hangs) = Default::default();
                let is_held = watch::Sender::new(false);
                let provider = Arc::new(Self { url, manner, shown, keys, refusals, lost, hangs, is_held });
                let data = web::Data::from(provider.clone());
                let app = move || App::new().app_data(data.clone()).default_service(web::to(answer));
                let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).expect("it is bound");
                let server = server.run();
                send.send(provider).expect("the test waits");
                server.await.expect("the provider serves");
            });
        });
        receive.recv().expect("the provider starts")
    }

    /// What people have seen so far.
    pub fn shown(&self) -> Vec<Value> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// By what all requests so far can be told from others: the alerts that they are about, or their idempotency keys.
    pub fn keys(&self) -> Vec<String> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next request gets this reply, whatever it says.
    pub fn refuse(&self, reply: Reply) {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).push_back(reply);
    }

    /// The next request is done, and its answer is lost on the way: this one comes instead.
    pub fn lose(&self, reply: Reply) {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).push_back(reply);
    }

    /// The next request is done, and never answered.
    pub fn hang(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }

    /// Whether answers are held back: what was asked for is done all the same.
    pub fn hold(&self, is_held: bool) {
        self.is_held.send_replace(is_held);
    }

    fn reply(&self, posted: &Posted) -> Reply {
        if let Some(refusal) = self.refusals.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
            return refusal;
        }
        let mut kept = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let reply = match self.manner {
            Manner::Keeps(keeper) => keeper(posted, &mut kept),
            Manner::Shows(judge) => match judge(posted) {
                Ok((message, reply)) => {
                    kept.push(message);
                    reply
                }
                Err(reply) => reply,
            },
        };
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).pop_front().unwrap_or(reply)
    }
}

fn key_of(header: String, body: &[u8]) -> String {
    let about = || serde_json::from_slice::<Value>(body).ok()?.get("dedup_key")?.as_str().map(str::to_owned);
    about().unwrap_or(header)
}

async fn answer(req: HttpRequest, body: web::Bytes, provider: web::Data<Provider>) -> HttpResponse {
    let header = |name: &str| req.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    provider.keys.lock().unwrap_or_else(PoisonError::into_inner).push(key_of(header("idempotency-key"), &body));
    let posted = Posted {
        method: req.method().to_string(),
        path: req.path().to_owned(),
        query: req.query_string().to_owned(),
        content_type: header(CONTENT_TYPE.as_str()),
        headers: req.headers().clone(),
        body,
    };
    let reply = provider.reply(&posted);
    if provider.hangs.swap(false, Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    let mut held = provider.is_held.subscribe();
    held.wait_for(|is_held| !is_held).await.expect("the provider holds the other end");
    let mut response = HttpResponse::build(StatusCode::from_u16(reply.status).expect("a status"));
    if let Some(seconds) = reply.retry_after {
        response.insert_header(("Retry-After", seconds));
    }
    if let Some(location) = reply.location {
        response.insert_header(("Location", location));
    }
    response.content_type(reply.content_type).body(reply.body)
}
