//! People by the real binary: who they are, how they prove what is theirs, and how they are told.

mod asking;
mod buttons;
mod channels;
mod cli;
mod directory;
mod page;
mod telling;

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::orchestration::bed::{Answer, Bed, Client};
use crate::providers::smtp::{Mail, Manner, Smtp};
use crate::providers::{Provider, slack_api, twilio};
use crate::support::{SECRET_KEY, StoreKind};

/// An organization that nobody else has.
const GROUP: &str = "0190a000-0000-7000-8000-00000000d001";
const PUBLIC_URL: &str = "https://core.example";

/// A server with everything that reaches people.
struct Town {
    bed: Bed,
    mail: Arc<Smtp>,
    sms: Arc<Provider>,
    slack: Arc<Provider>,
}

impl Town {
    async fn start(kind: StoreKind) -> Self {
        let environment = [
            ("CORE314_SECRET_KEY", SECRET_KEY.to_owned()),
            ("CORE314__HTTP__PUBLIC_URL", PUBLIC_URL.to_owned()),
            ("CORE314__ENGINE__CONTACT_CODE_PAUSE_MS", "0".to_owned()),
            ("CORE314__ENGINE__CONTACT_CODE_TRIES", "2".to_owned()),
            ("CORE314__ENGINE__CONTACT_METHODS_PER_USER", "4".to_owned()),
            ("CORE314__ENGINE__APPROVAL_WINDOW_MS", "2000".to_owned()),
        ];
        let bed = Bed::start_with(kind, &environment).await;
        let mail = Smtp::start(Manner::Plain, bed.installation.dir.path());
        let town = Self { bed, mail, sms: twilio::start(), slack: slack_api::start() };
        let admin = town.client(1);
        for (name, value) in [("BOT", slack_api::TOKEN), ("TWILIO", twilio::TOKEN)] {
            admin.make("/api/v1/secrets", json!({"name": name, "value": value})).await;
        }
        for body in [
            json!({"name": "email", "kind": "smtp", "endpoint": format!("smtp://127.0.0.1:{}", town.mail.port),
                "settings": {"from": "core314@example.com", "tls": "none"}}),
            json!({"name": "sms", "kind": "twilio", "endpoint": town.sms.url, "credentials": {"auth_token": "secrets.TWILIO"},
                "settings": {"account_sid": twilio::ACCOUNT, "from": "+15005550006"}}),
            json!({"name": "slack", "kind": "slack", "endpoint": format!("{}/api", town.slack.url),
                "credentials": {"bot_token": "secrets.BOT"}}),
        ] {
            admin.make("/api/v1/integrations", body).await;
        }
        town
    }

    /// A member of the organization, for whom a service key acts.
    fn client(&self, number: u128) -> Member<'_> {
        let user = uuid::Uuid::from_u128(0x0190_a000_0000_7000_8000_0000_0000_0200 + number);
        Member(Client::of(&self.bed.server, user))
    }

    /// The e-mail of this place, once it has come.
    async fn mail(&self, place: usize) -> Mail {
        let started = Instant::now();
        loop {
            if let Some(mail) = self.mail.taken().get(place) {
                return mail.clone();
            }
            assert!(started.elapsed() < Duration::from_mins(1), "mail {place} does not come: {:?}", self.mail.taken());
            tokio::task::yield_now().await;
        }
    }
}

/// A message of a provider, once it has come.
async fn shown(provider: &Provider, place: usize) -> Value {
    let started = Instant::now();
    loop {
        if let Some(message) = provider.shown().get(place) {
            return message.clone();
        }
        assert!(started.elapsed() < Duration::from_mins(1), "message {place} does not come");
        tokio::task::yield_now().await;
    }
}

/// Somebody of the organization.
struct Member<'b>(Client<'b>);

impl Member<'_> {
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.0.ask(method, path, body.as_ref(), &[("X-Organization-Id", GROUP)]).await
    }

    /// A change that is meant for this version alone.
    async fn patch_from(&self, version: i64, path: &str, body: Value) -> Answer {
        let tag = format!("\"v{version}\"");
        self.0.ask(Method::PATCH, path, Some(&body), &[("X-Organization-Id", GROUP), ("If-Match", tag.as_str())]).await
    }

    async fn make(&self, path: &str, body: Value) -> Value {
        let answer = self.ask(Method::POST, path, Some(body)).await;
        assert!(answer.status.is_success(), "POST {path}: {} {}", answer.status, answer.body);
        answer.body
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.ask(Method::GET, path, None).await;
        assert_eq!(answer.status, StatusCode::OK, "GET {path}: {}", answer.body);
        answer.body
    }

    async fn items(&self, path: &str) -> Vec<Value> {
        self.get(path).await["items"].as_array().expect("items").clone()
    }

    /// What is said of a request that must be refused so.
    async fn refused(&self, method: Method, path: &str, body: Value, status: u16) -> Value {
        let answer = self.ask(method.clone(), path, Some(body)).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}: {}", answer.body);
        answer.body
    }

    async fn prefers(&self, preferences: Value) -> Value {
        let answer = self.ask(Method::PATCH, "/api/v1/preferences", Some(preferences)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.body
    }
}

/// The eight digits of a text.
fn code_in(text: &str) -> String {
    let is_code = |word: &&str| word.len() == 8 && word.bytes().all(|byte| byte.is_ascii_digit());
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric());
    words.find(is_code).unwrap_or_else(|| panic!("no code in {text}")).to_owned()
}
