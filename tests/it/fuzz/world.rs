//! The world that is fuzzed: a server, three tenants with rows of their own, and everybody who may come along.
//!
//! Each tenant has a mark that stands in its rows and in what its people send. Nobody else ever sends it, so where it
//! shows up in somebody else's answer, something of the tenant has got out.

use jsonwebtoken::{EncodingKey, Header, encode, get_current_timestamp};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{JWT_SECRET, SERVICE_KEY, Server, USER};

const ORGANIZATION: &str = "0190a000-0000-7000-8000-0000000000aa";
const ELSEWHERE: &str = "0190a000-0000-7000-8000-0000000000bb";
const MEMBER: &str = "0190a000-0000-7000-8000-000000000011";
const STRANGER: &str = "0190a000-0000-7000-8000-000000000022";

/// Who comes along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Nobody,
    Viewer,
    Operator,
    Admin,
    /// A service key that acts for a user.
    Service,
    /// A platform key that names no user.
    Platform,
    /// An admin of another tenant.
    Stranger,
}

impl Role {
    pub const ALL: [Self; 7] =
        [Self::Nobody, Self::Viewer, Self::Operator, Self::Admin, Self::Service, Self::Platform, Self::Stranger];

    /// The mark of the role's tenant; the platform's and nobody's are nobody's.
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Viewer | Self::Operator | Self::Admin => "mark-quince",
            Self::Service => "mark-medlar",
            Self::Stranger => "mark-sorrel",
            Self::Nobody | Self::Platform => "unmarked",
        }
    }

    /// The user that the role is or acts for.
    pub const fn user(self) -> Option<&'static str> {
        match self {
            Self::Viewer | Self::Operator | Self::Admin => Some(MEMBER),
            Self::Service => Some(USER),
            Self::Stranger => Some(STRANGER),
            Self::Nobody | Self::Platform => None,
        }
    }

    /// The headers by which the role proves itself.
    pub fn headers(self) -> Vec<(String, Vec<u8>)> {
        let bearer = |token: &str| ("Authorization".to_owned(), format!("Bearer {token}").into_bytes());
        match self {
            Self::Nobody => Vec::new(),
            Self::Viewer => vec![bearer(&token(MEMBER, ORGANIZATION, "viewer"))],
            Self::Operator => vec![bearer(&token(MEMBER, ORGANIZATION, "operator"))],
            Self::Admin => vec![bearer(&token(MEMBER, ORGANIZATION, "admin"))],
            Self::Service => vec![bearer(SERVICE_KEY), ("X-User-Id".to_owned(), USER.into())],
            Self::Platform => vec![bearer(SERVICE_KEY)],
            Self::Stranger => vec![bearer(&token(STRANGER, ELSEWHERE, "admin"))],
        }
    }

    /// Whether the role may do what needs this one, by the word of the description.
    pub fn suffices(self, needed: &str) -> bool {
        match self {
            Self::Nobody => false,
            Self::Viewer => needed == "viewer",
            Self::Operator => needed != "admin",
            Self::Admin | Self::Service | Self::Platform | Self::Stranger => true,
        }
    }
}

fn token(user: &str, organization: &str, role: &str) -> String {
    let claims = json!({"sub": user, "org": organization, "role": role, "exp": get_current_timestamp() + 86_400});
    encode(&Header::default(), &claims, &EncodingKey::from_secret(JWT_SECRET.as_bytes())).expect("it can be signed")
}

/// An id that exists.
pub struct Known {
    /// The collection, as paths name it: `runs`.
    pub kind: &'static str,
    pub id: String,
    /// The mark of its tenant.
    pub mark: &'static str,
}

/// What is there before the first odd request.
pub struct World {
    pub known: Vec<Known>,
    /// Webhooks: id, secret, and the mark of the tenant.
    pub webhooks: Vec<(String, String, &'static str)>,
    /// Paths of actors.
    pub actors: Vec<String>,
}

const KINDS: [&str; 5] = ["flows", "runs", "executions", "execution-log", "audit-log"];

impl World {
    /// Gives each tenant a few rows of every kind.
    pub async fn furnish(server: &Server) -> Self {
        let mut world = Self { known: Vec::new(), webhooks: Vec::new(), actors: Vec::new() };
        for role in [Role::Admin, Role::Service, Role::Stranger] {
            world.settle(server, role).await;
        }
        let actors = ask(server, Role::Platform, Method::GET, "/api/v1/actors?limit=500", None).await;
        let paths = actors["items"].as_array().expect("a list").iter().filter_map(|actor| actor["path"].as_str());
        world.actors = paths.map(str::to_owned).collect();
        world
    }

    async fn settle(&mut self, server: &Server, role: Role) {
        let mark = role.mark();
        let step = |id: &str, approval: bool| {
            json!({"id": id, "requires_approval": approval,
                   "config": {"action_type": "transform", "action_payload": {"note": mark}}})
        };
        for (name, steps) in
            [("quick", json!([step("a", false)])), ("held", json!([step("a", true), step("b", false)]))]
        {
            let flow = json!({"flow_name": format!("{name} {mark}"), "flow_description": mark,
                              "trigger_type": "webhook", "flow_steps": steps});
            let saved = ask(server, role, Method::POST, "/api/v1/flows", Some(flow)).await;
            let path = format!("/api/v1/flows/{}/trigger", saved["id"].as_str().expect("an id"));
            let wait = u64::from(name == "quick") * 10;
            for n in 0..2 {
                let body = json!({"trigger_context": {"n": n, "note": mark}, "wait_seconds": wait});
                ask(server, role, Method::POST, &path, Some(body)).await;
            }
        }
        let later =
            json!({"action_type": "transform", "action_payload": mark, "scheduled_for": "2999-01-01T00:00:00Z"});
        ask(server, role, Method::POST, "/api/v1/executions", Some(later)).await;
        let webhook = json!({"name": mark, "trigger_type": "webhook"});
        let webhook = ask(server, role, Method::POST, "/api/v1/webhooks", Some(webhook)).await;
        let part = |name: &str| webhook[name].as_str().expect("a webhook has it").to_owned();
        self.webhooks.push((part("id"), part("secret"), mark));
        for kind in KINDS {
            let rows = ask(server, role, Method::GET, &format!("/api/v1/{kind}?limit=10"), None).await;
            let ids = rows["items"].as_array().expect("a list").iter().filter_map(|row| row["id"].as_str());
            self.known.extend(ids.map(|id| Known { kind, id: id.to_owned(), mark }));
        }
    }
}

/// A request that must succeed.
async fn ask(server: &Server, role: Role, method: Method, path: &str, body: Option<Value>) -> Value {
    let mut request = server.http.request(method, format!("{}{path}", server.url));
    for (name, value) in role.headers() {
        request = request.header(name, value);
    }
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await.expect("the server answers");
    let (status, text) = (answer.status(), answer.text().await.expect("a text"));
    assert!(status.is_success(), "{role:?} {path}: {status} {text}");
    serde_json::from_str(&text).expect("JSON")
}
