//! A server without a socket: real routes, envelope and engine, over a store in memory.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use actix_web::dev::ServiceResponse;
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::from_fn;
use actix_web::test::{TestRequest, call_service, init_service, read_body};
use actix_web::{App, web};
use core314_actors::clock::TestClock;
use core314_actors::engine::{Engine, Parts, Place};
use core314_actors::feed::Feed;
use core314_actors::ports::catalog::Catalog;
use core314_actors::ports::resource::Resource;
use core314_actors::ports::views::{Filter, Page, Paged, StatisticsView, Views};
use core314_actors::ports::{BoxFuture, Scope, StoreError};
use core314_actors::settings::EngineSettings;
use core314_actors::testkit::memory_inbox::MemoryInbox;
use core314_actors::testkit::memory_positions::MemoryPositions;
use core314_actors::testkit::memory_store::MemoryStore;
use core314_actors::testkit::memory_vault::MemoryVault;
use core314_actors::testkit::scripted_executor::ScriptedExecutor;
use core314_domain::ids::{FlowId, OrganizationId, RowId, RunId, TenantId, UserId};
use core314_domain::stats::Stat;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode, get_current_timestamp};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::envelope::envelope;
use crate::http::operations::HttpMetrics;
use crate::http::{AuthSettings, HttpSettings, KeyDigest, Shared, State, configure, routes};
use crate::vault::Vault;

pub const KEY: &str = "platform-key";
const SECRET: &str = "a secret of at least thirty-two bytes";
pub const USER: UserId = UserId(Uuid::from_u128(7));
pub const STRANGER: UserId = UserId(Uuid::from_u128(8));
pub const ORGANIZATION: OrganizationId = OrganizationId(Uuid::from_u128(9));
/// The largest body that the server under test reads.
pub const MAX_BODY_BYTES: usize = 16_384;

/// A running engine and the server's state around it.
pub struct Server {
    pub engine: Engine,
    pub views: Arc<RecordingViews>,
    pub inbox: Arc<MemoryInbox>,
    state: Shared,
    metrics: web::Data<HttpMetrics>,
}

/// An answer, read to its end.
pub struct Answer {
    pub status: StatusCode,
    pub headers: actix_web::http::header::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Server {
    /// What servers under test are told, unless a test says more.
    pub fn settings() -> HttpSettings {
        let mut settings = HttpSettings { max_body_bytes: MAX_BODY_BYTES, ..HttpSettings::default() };
        settings.tls.hsts_seconds = 31_536_000;
        settings
    }

    pub async fn start() -> Self {
        Self::start_with(Self::settings()).await
    }

    pub async fn start_with(settings: HttpSettings) -> Self {
        let store = Arc::new(MemoryStore::default());
        let engine = Engine::start(Parts {
            settings: EngineSettings { partitions: 1, arbiters: 1, ..EngineSettings::default() },
            clock: Arc::new(TestClock::at(1_750_000_000_000)),
            store: store.clone(),
            catalog: store.clone(),
            executors: vec![Arc::new(ScriptedExecutor::default())],
            vault: Arc::new(MemoryVault),
            inbox: None,
            feed: Feed::new(tokio::runtime::Handle::current()),
            io: tokio::runtime::Handle::current(),
            place: Place::Alone(RowId(Uuid::from_u128(1))),
            on_end: Arc::new(|reason| panic!("the tree gave up: {reason}")),
        })
        .await
        .expect("the engine starts on an empty store");
        let views = Arc::new(RecordingViews {
            store,
            asked: Mutex::default(),
            rows: Mutex::default(),
            lists: Mutex::default(),
        });
        let inbox = Arc::new(MemoryInbox::default());
        let auth = AuthSettings {
            service_key_sha256: vec![KeyDigest::of(KEY)],
            jwt_secret: SECRET.to_owned(),
            ..AuthSettings::default()
        };
        let (vault, syncs) = (Vault::new(Some(SECRET)), Arc::new(MemoryPositions::default()));
        let state = State::new(engine.clone(), vault, views.clone(), inbox.clone(), syncs, settings, &auth);
        let state = Shared::new(state.unwrap());
        let metrics = web::Data::new(HttpMetrics::new(&routes().paths(), None));
        Self { engine, views, inbox, state, metrics }
    }

    /// Takes the place of a request under way.
    pub fn hold_a_permit(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.state.in_flight.try_acquire().unwrap()
    }

    /// Sends one request.
    pub async fn send(&self, request: TestRequest) -> Answer {
        let app = App::new().configure(|app| configure(app, &self.state, &self.metrics)).wrap(from_fn(envelope));
        let app = init_service(app).await;
        let answer: ServiceResponse = call_service(&app, request.to_request()).await;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let text = String::from_utf8_lossy(&read_body(answer).await).into_owned();
        Answer { status, headers, text }
    }

    /// Sends a JSON body as the tenant's admin.
    pub async fn post(&self, uri: &str, body: &Value) -> Answer {
        self.send(admin(Method::POST, uri).set_payload(body.to_string())).await
    }

    /// Reads as the tenant's admin.
    pub async fn get(&self, uri: &str) -> Answer {
        self.send(admin(Method::GET, uri)).await
    }

    /// Saves a flow of the tenant, and returns its id.
    pub async fn flow(&self, document: &Value) -> FlowId {
        let answer = self.post("/api/v1/flows", document).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
        serde_json::from_value(answer.json()["id"].clone()).unwrap()
    }
}

/// A request with a bearer token and, where it will have a body, the type of one.
pub fn bearing(token: &str, method: Method, uri: &str) -> TestRequest {
    TestRequest::with_uri(uri)
        .method(method)
        .insert_header(("Authorization", format!("Bearer {token}")))
        .insert_header(("Content-Type", "application/json"))
}

/// A request of the user who is admin of their own tenant.
pub fn admin(method: Method, uri: &str) -> TestRequest {
    bearing(&token(USER, None), method, uri)
}

/// A request with the platform key that names nobody.
pub fn platform(method: Method, uri: &str) -> TestRequest {
    bearing(KEY, method, uri)
}

/// A user's token; with a role, it is for the organization.
pub fn token(user: UserId, role: Option<&str>) -> String {
    let mut claims = json!({"sub": user, "exp": get_current_timestamp() + 600});
    if let Some(role) = role {
        claims["org"] = json!(ORGANIZATION);
        claims["role"] = json!(role);
    }
    encode(&Header::new(Algorithm::HS256), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// A flow of two scripted steps.
pub fn flow_document(name: &str) -> Value {
    let step = |id: &str| json!({"id": id, "config": {"action_type": "scripted", "action_payload": {"note": id}}});
    json!({"flow_name": name, "trigger_type": "manual", "flow_steps": [step("one"), step("two")]})
}

/// Views that know flows, and otherwise remember what they were asked and answer as they are told.
pub struct RecordingViews {
    store: Arc<MemoryStore>,
    asked: Mutex<Vec<(Scope, String)>>,
    rows: Mutex<VecDeque<Value>>,
    lists: Mutex<Vec<(Resource, VecDeque<Paged>)>>,
}

impl RecordingViews {
    /// What was asked since the last time, with the scope of each.
    pub fn asked(&self) -> Vec<(Scope, String)> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    /// What single rows are from now on, one after the other.
    pub fn show(&self, rows: impl IntoIterator<Item = Value>) {
        self.rows.lock().unwrap().extend(rows);
    }

    /// How many of them nobody has asked for.
    pub fn unshown(&self) -> usize {
        self.rows.lock().unwrap().len()
    }

    /// What a list is from now on, page for page.
    pub fn page(&self, resource: Resource, pages: impl IntoIterator<Item = Paged>) {
        self.lists.lock().unwrap().push((resource, pages.into_iter().collect()));
    }
}

impl Views for RecordingViews {
    fn list(
        &self,
        scope: Scope,
        resource: Resource,
        filter: Filter,
        page: Page,
    ) -> BoxFuture<'_, Result<Paged, StoreError>> {
        self.asked.lock().unwrap().push((scope, format!("{filter:?} {page:?}")));
        let mut lists = self.lists.lock().unwrap();
        let told = lists.iter_mut().filter(|(of, _)| *of == resource).find_map(|(_, pages)| pages.pop_front());
        let page = told.unwrap_or_else(|| Paged { items: vec![json!({"n": 1})], next: Some(Uuid::from_u128(5)) });
        Box::pin(async { Ok(page) })
    }

    fn one(&self, scope: Scope, resource: Resource, id: Uuid) -> BoxFuture<'_, Result<Option<Value>, StoreError>> {
        Box::pin(async move {
            if resource != Resource::Flows {
                return Ok(self.rows.lock().unwrap().pop_front());
            }
            let found = Catalog::flow(&*self.store, scope, FlowId(id)).await?;
            Ok(found.map(|flow| json!({"id": id, "flow_version": flow.version, "avg_execution_time_ms": 12.6})))
        })
    }

    fn statistics(
        &self,
        scope: Scope,
        since_ms: i64,
        now_ms: i64,
    ) -> BoxFuture<'_, Result<StatisticsView, StoreError>> {
        self.asked.lock().unwrap().push((scope, format!("{}", now_ms - since_ms)));
        Box::pin(async move { Ok(StatisticsView { since_ms, by_action_type: Vec::new() }) })
    }

    fn timeline(
        &self,
        _scope: Scope,
        since_ms: i64,
        _now_ms: i64,
        _interval_ms: i64,
    ) -> BoxFuture<'_, Result<Vec<(i64, Stat)>, StoreError>> {
        Box::pin(async move { Ok(vec![(since_ms, Stat::default())]) })
    }

    fn deeds(&self, tenant: TenantId, run: RunId, limit: usize) -> BoxFuture<'_, Result<Vec<Value>, StoreError>> {
        self.asked.lock().unwrap().push((Scope::Tenant(tenant), format!("{limit} deeds of {run}")));
        let mut lists = self.lists.lock().unwrap();
        let told = lists.iter_mut().filter(|(of, _)| *of == Resource::Audit).find_map(|(_, pages)| pages.pop_front());
        let items = told.map(|page| page.items).unwrap_or_default();
        Box::pin(async { Ok(items) })
    }

    fn slowest(&self, _scope: Scope, _since_ms: i64, _limit: usize) -> BoxFuture<'_, Result<Vec<Value>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}
