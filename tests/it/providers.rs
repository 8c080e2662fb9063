//! Chat providers on loopback, as their documents describe them: each judges every request by its documented schema and
//! answers with its documented words, errors and rate limits included.

pub mod slack;
pub mod teams;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::Value;

/// A request as it came.
pub struct Posted {
    pub method: String,
    pub path: String,
    pub query: String,
    pub content_type: String,
    pub body: web::Bytes,
}

/// What a provider answers.
pub struct Reply {
    pub status: u16,
    pub retry_after: Option<&'static str>,
    pub content_type: &'static str,
    pub body: String,
}

impl Reply {
    pub fn text(status: u16, body: &str) -> Self {
        Self { status, retry_after: None, content_type: "text/plain; charset=utf-8", body: body.to_owned() }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self { status, retry_after: None, content_type: "application/json", body: body.to_string() }
    }

    pub fn retry_after(self, seconds: &'static str) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

/// Judges a request: the message that people see, or why there is none.
type Judge = fn(&Posted) -> Result<(Value, Reply), Reply>;

/// A provider that runs.
pub struct Provider {
    pub url: String,
    judge: Judge,
    shown: Mutex<Vec<Value>>,
    keys: Mutex<Vec<String>>,
    refusals: Mutex<VecDeque<Reply>>,
}

impl Provider {
    /// Starts on a free port of the loopback, on a thread of its own that ends with the process.
    fn start(judge: Judge) -> Arc<Self> {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
                let url = format!("http://{}", listener.local_addr().expect("bound"));
                let (shown, keys, refusals) = (Mutex::default(), Mutex::default(), Mutex::default());
                let provider = Arc::new(Self { url, judge, shown, keys, refusals });
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

    /// The idempotency keys of all requests so far.
    pub fn keys(&self) -> Vec<String> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next request gets this reply, whatever it says.
    pub fn refuse(&self, reply: Reply) {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).push_back(reply);
    }

    fn reply(&self, posted: &Posted) -> Reply {
        if let Some(refusal) = self.refusals.lock().unwrap_or_else(PoisonError::into_inner).pop_front() {
            return refusal;
        }
        match (self.judge)(posted) {
            Ok((message, reply)) => {
                self.shown.lock().unwrap_or_else(PoisonError::into_inner).push(message);
                reply
            }
            Err(reply) => reply,
        }
    }
}

async fn answer(req: HttpRequest, body: web::Bytes, provider: web::Data<Provider>) -> HttpResponse {
    let header = |name: &str| req.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    provider.keys.lock().unwrap_or_else(PoisonError::into_inner).push(header("idempotency-key"));
    let posted = Posted {
        method: req.method().to_string(),
        path: req.path().to_owned(),
        query: req.query_string().to_owned(),
        content_type: header(CONTENT_TYPE.as_str()),
        body,
    };
    let reply = provider.reply(&posted);
    let mut response = HttpResponse::build(StatusCode::from_u16(reply.status).expect("a status"));
    if let Some(seconds) = reply.retry_after {
        response.insert_header(("Retry-After", seconds));
    }
    response.content_type(reply.content_type).body(reply.body)
}
