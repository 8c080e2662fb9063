//! A real HTTP server that answers as a test says, and remembers what it was asked.

use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use serde_json::Value;

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Method, path and query: `GET /api/v1/runs?limit=50`.
    pub what: String,
    pub body: Value,
    /// Whom it acts for.
    pub user: Option<String>,
    pub organization: Option<String>,
}

type Answer = dyn Fn(&Asked) -> (u16, Value) + Send + Sync;

/// A server with prepared answers.
pub struct Scripted {
    asked: Mutex<Vec<Asked>>,
    answer: Box<Answer>,
    pub url: String,
}

impl Scripted {
    /// Starts on a free port of the loopback, on a thread of its own that ends with the process.
    pub fn start(answer: impl Fn(&Asked) -> (u16, Value) + Send + Sync + 'static) -> Arc<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("it has an address"));
        let scripted = Arc::new(Self { asked: Mutex::default(), answer: Box::new(answer), url });
        let data = web::Data::from(scripted.clone());
        std::thread::spawn(move || {
            actix_web::rt::System::new().block_on(async move {
                let app = move || App::new().app_data(data.clone()).default_service(web::to(answer_one));
                let server = HttpServer::new(app).workers(1).disable_signals().listen(listener).expect("it listens");
                server.run().await.expect("the server serves");
            });
        });
        scripted
    }

    /// What was asked since this was called last.
    pub fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn answer_one(server: web::Data<Scripted>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let header = |name: &str| Some(request.headers().get(name)?.to_str().ok()?.to_owned());
    let asked = Asked {
        what: format!("{} {}", request.method(), request.uri()),
        body: serde_json::from_slice(&body).unwrap_or_default(),
        user: header("X-User-Id"),
        organization: header("X-Organization-Id"),
    };
    let (status, answer) = (server.answer)(&asked);
    server.asked.lock().unwrap_or_else(PoisonError::into_inner).push(asked);
    let mut response = HttpResponse::build(StatusCode::from_u16(status).expect("a status"));
    match answer {
        Value::Null => response.finish(),
        Value::String(text) => response.content_type("application/yaml").body(text),
        json => response.json(json),
    }
}
