//! A test of an integration is a real call that does no harm, for each kind: it proves what opens the service, leaves nothing
//! behind there, holds to the outbound rules and its time, and tells no secret.

use std::sync::Arc;

use reqwest::{Method, Url};
use serde_json::{Value, json};

use super::{done, secret, start_with};
use crate::providers::smtp::{self, Manner, Smtp};
use crate::providers::{Provider, github, gitlab, jira, linear, openai, pagerduty, sendgrid, slack_api, twilio};
use crate::support::{Server, StoreKind, fresh_database};

/// What is tested: an integration, and the code and the words of the failure; empty where it is to go well.
struct Trial {
    body: Value,
    code: &'static str,
    words: &'static str,
}

impl Trial {
    /// Of a kind at an endpoint, with this secret as its credential.
    fn new(kind: &str, endpoint: &str, (field, secret): (&str, &str), settings: &Value) -> Self {
        let credentials = json!({field: format!("secrets.{secret}")});
        let body = json!({"kind": kind, "endpoint": endpoint, "credentials": credentials, "settings": settings});
        Self { body, code: "", words: "" }
    }

    /// The same with another secret, which fails so.
    fn with(&self, secret: &str, code: &'static str, words: &'static str) -> Self {
        let mut body = self.body.clone();
        for (_, value) in body["credentials"].as_object_mut().expect("they are an object") {
            *value = format!("secrets.{secret}").into();
        }
        Self { body, code, words }
    }

    /// The same somewhere else, which fails so.
    fn at(&self, endpoint: &str, code: &'static str, words: &'static str) -> Self {
        let mut body = self.body.clone();
        body["endpoint"] = endpoint.into();
        Self { body, code, words }
    }
}

async fn tested(server: &Server, name: &str) -> Value {
    done(server, Method::POST, &format!("/api/v1/integrations/{name}/test"), json!({})).await
}

struct Services {
    apis: Vec<Arc<Provider>>,
    mail: Arc<Smtp>,
    trials: Vec<Trial>,
}

/// What each kind is tested with, right and wrong.
fn of_apis() -> (Vec<Arc<Provider>>, Vec<Trial>) {
    let [slack, sendgrid, twilio] = [slack_api::start(), sendgrid::start(), twilio::start()];
    let [github, gitlab, jira, linear] = [github::start(), gitlab::start(), jira::start(), linear::start()];
    let (openai, pagerduty) = (openai::start(), pagerduty::start());
    let bot = Trial::new("slack", &format!("{}/api", slack.url), ("bot_token", "BOT"), &json!({}));
    let mail = Trial::new("sendgrid", &sendgrid.url, ("api_key", "SENDGRID"), &json!({}));
    let sms = Trial::new("twilio", &twilio.url, ("auth_token", "TWILIO"), &json!({"account_sid": twilio::ACCOUNT}));
    let by_key = json!({"account_sid": twilio::ACCOUNT, "api_key_sid": twilio::API_KEY});
    let by_key = Trial::new("twilio", &twilio.url, ("auth_token", "TWILIO_KEY"), &by_key);
    let code = Trial::new("github", &github.url, ("token", "GITHUB"), &json!({}));
    let lab = Trial::new("gitlab", &format!("{}/api/v4/", gitlab.url), ("token", "GITLAB"), &json!({}));
    let desk = Trial::new("jira", &jira.url, ("token", "JIRA"), &json!({"email": jira::EMAIL}));
    let line = Trial::new("linear", &format!("{}/graphql", linear.url), ("api_key", "LINEAR"), &json!({}));
    let ai = Trial::new("openai", &format!("{}/v1", openai.url), ("api_key", "OPENAI"), &json!({}));
    let pager = Trial::new("pagerduty", &pagerduty.url, ("routing_key", "PAGER"), &json!({}));
    let wrong = [
        pager.with("WRONG", "http_status", "Invalid routing key"),
        // What cannot be tried without harm is not tried, and the answer says why.
        pager.with("RULES", "refused", "could open an incident"),
        bot.with("WRONG", "refused", "invalid_auth"),
        mail.with("WRONG", "http_status", "authorization grant is invalid"),
        mail.with("READER", "refused", "mail.send"),
        sms.with("WRONG", "http_status", "Authenticate"),
        by_key.with("TWILIO", "http_status", "Authenticate"),
        code.with("WRONG", "http_status", "Bad credentials"),
        lab.with("WRONG", "http_status", "401 Unauthorized"),
        desk.with("WRONG", "http_status", "must be authenticated"),
        line.with("WRONG", "http_status", "AUTHENTICATION_ERROR"),
        ai.with("WRONG", "http_status", "Incorrect API key"),
        ai.at("http://169.254.169.254/v1", "forbidden_address", "169.254.169.254"),
        line.at(&github.url, "http_status", ""),
    ];
    let trials = [bot, mail, sms, by_key, code, lab, desk, line, ai, pager].into_iter().chain(wrong).collect();
    (vec![slack, sendgrid, twilio, github, gitlab, jira, linear, openai, pagerduty], trials)
}

fn of_mail(smtp: &Smtp) -> [Trial; 4] {
    let at = |host: &str| format!("smtp://{host}:{}", smtp.port);
    let sign_in = json!({"from": "ops@example.com", "username": smtp::USER});
    let good = Trial::new("smtp", &at("localhost"), ("password", "MAIL"), &sign_in);
    [
        good.with("WRONG", "refused", "535 5.7.8"),
        good.at(&at("127.0.0.1"), "certificate", "certificate"),
        good.at("smtp://169.254.169.254", "forbidden_address", "169.254.169.254"),
        good,
    ]
}

fn of_database(url: &Url) -> [Trial; 4] {
    let endpoint = format!("postgres://127.0.0.1:{}{}", url.port().expect("a port"), url.path());
    let settings = json!({"username": url.username(), "tables": {"gone": ["id"]}, "tls": "none"});
    let good = Trial::new("postgres", &endpoint, ("password", "DATABASE"), &settings);
    let gone = format!("postgres://127.0.0.1:{}/not_there", url.port().expect("a port"));
    [
        good.at(&gone, "refused", "does not exist"),
        good.at("postgres://127.0.0.1:1/x", "connect", ""),
        good.at("postgres://169.254.169.254/x", "forbidden_address", "169.254.169.254"),
        good,
    ]
}

async fn secrets(server: &Server, database: &Url) {
    for (name, value) in [
        ("BOT", slack_api::TOKEN),
        ("SENDGRID", sendgrid::KEY),
        ("READER", sendgrid::READER),
        ("TWILIO", twilio::TOKEN),
        ("TWILIO_KEY", twilio::API_SECRET),
        ("GITHUB", github::TOKEN),
        ("GITLAB", gitlab::TOKEN),
        ("JIRA", jira::TOKEN),
        ("LINEAR", linear::KEY),
        ("OPENAI", openai::KEY),
        ("MAIL", smtp::PASSWORD),
        ("PAGER", pagerduty::KEY),
        ("RULES", "R123456789abcdefplanted000000001"),
        ("DATABASE", database.password().filter(|word| word.len() >= 6).expect("a password")),
        ("WRONG", "planted-wrong-token-0001"),
    ] {
        secret(server, name, value).await;
    }
}

async fn services(server: &Server, mail: Arc<Smtp>) -> Services {
    let database = Url::parse(&fresh_database().await).expect("a URL");
    secrets(server, &database).await;
    let (apis, mut trials) = of_apis();
    trials.extend(of_mail(&mail));
    trials.extend(of_database(&database));
    for (place, trial) in trials.iter_mut().enumerate() {
        trial.body["name"] = format!("it-{place}").into();
        done(server, Method::POST, "/api/v1/integrations", trial.body.clone()).await;
    }
    Services { apis, mail, trials }
}

/// A service that takes a call and says nothing: whoever asked waits no longer than the integration says, or ten seconds.
async fn is_given_up(server: &Server) {
    let mut names = Vec::new();
    for (name, limits, below_ms) in [("slow", json!({}), 14_000), ("short", json!({"timeout_ms": 300}), 5_000)] {
        let silent = github::start();
        silent.hang();
        let mut body = Trial::new("github", &silent.url, ("token", "GITHUB"), &json!({})).body;
        (body["name"], body["limits"]) = (name.into(), limits);
        done(server, Method::POST, "/api/v1/integrations", body).await;
        names.push((name, below_ms));
    }
    for (name, below_ms) in names {
        let answer = tested(server, name).await;
        assert_eq!((&answer["ok"], &answer["error_code"]), (&json!(false), &json!("timeout")), "{answer}");
        assert!(answer["took_ms"].as_u64().is_some_and(|ms| ms < below_ms), "{name}: {answer}");
    }
}

async fn each_kind_is_tested(kind: StoreKind) {
    let folder = tempfile::tempdir().expect("a folder");
    let mail = Smtp::start(Manner::StartTls, folder.path());
    let authority = mail.authority.display().to_string();
    let (_installation, server) = start_with(kind, &[("SSL_CERT_FILE", authority)]).await;
    let services = services(&server, mail).await;
    let each = async {
        for (place, trial) in services.trials.iter().enumerate() {
            let answer = tested(&server, &format!("it-{place}")).await;
            let code = answer["error_code"].as_str().unwrap_or_default();
            assert_eq!((answer["ok"] == true, code), (trial.code.is_empty(), trial.code), "{}: {answer}", trial.body);
            let words = answer["error"].as_str().unwrap_or_default();
            assert!(words.contains(trial.words), "{}: {answer}", trial.body);
            assert!(!answer.to_string().contains("planted"), "{answer}");
            assert!(!answer.to_string().contains("a message of somebody"), "{answer}");
        }
    };
    tokio::join!(each, is_given_up(&server));
    for api in &services.apis {
        assert_eq!(api.shown(), Vec::<Value>::new(), "{} has got something", api.url);
    }
    assert!(services.mail.taken().is_empty());
    assert_eq!(services.mail.noops(), [(Some(smtp::USER.to_owned()), true)]);
}

#[tokio::test]
async fn each_kind_is_tested_without_harm_on_sqlite() {
    each_kind_is_tested(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn each_kind_is_tested_without_harm_on_postgres() {
    each_kind_is_tested(StoreKind::Postgres).await;
}
