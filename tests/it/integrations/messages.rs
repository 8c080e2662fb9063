//! `send_notification` by what an integration opens: Slack's Web API, Discord, PagerDuty, SMS, and e-mail by SMTP and
//! SendGrid.

use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{done, may_come, refused, run, secret, step};
use crate::providers::smtp::{self, Manner, Smtp};
use crate::providers::{Provider, Reply, discord, pagerduty, sendgrid, slack_api, twilio};
use crate::support::{Installation, SECRET_KEY, Server, StoreKind};

struct Providers {
    slack: Arc<Provider>,
    discord: Arc<Provider>,
    pagerduty: Arc<Provider>,
    twilio: Arc<Provider>,
    sendgrid: Arc<Provider>,
}

impl Providers {
    async fn start(server: &Server) -> Self {
        let all = Self {
            slack: slack_api::start(),
            discord: discord::start(),
            pagerduty: pagerduty::start(),
            twilio: twilio::start(),
            sendgrid: sendgrid::start(),
        };
        for (name, value) in [
            ("BOT", slack_api::TOKEN.to_owned()),
            ("HOOK", format!("{}{}", all.discord.url, discord::GOOD)),
            ("ROUTING", pagerduty::KEY.to_owned()),
            ("TWILIO", twilio::TOKEN.to_owned()),
            ("SENDGRID", sendgrid::KEY.to_owned()),
            ("WRONG", "planted-wrong-token-0001".to_owned()),
        ] {
            secret(server, name, &value).await;
        }
        let slack = format!("{}/api", all.slack.url);
        for body in [
            json!({"name": "bot", "kind": "slack", "endpoint": slack, "credentials": {"bot_token": "secrets.BOT"},
                "settings": {"channel": "#incidents"}}),
            json!({"name": "discord", "kind": "discord", "credentials": {"webhook_url": "secrets.HOOK"}}),
            json!({"name": "pager", "kind": "pagerduty", "endpoint": all.pagerduty.url, "credentials": {"routing_key": "secrets.ROUTING"}}),
            json!({"name": "sms", "kind": "twilio", "endpoint": all.twilio.url, "credentials": {"auth_token": "secrets.TWILIO"},
                "settings": {"account_sid": twilio::ACCOUNT, "from": "+15005550006"}}),
            json!({"name": "email", "kind": "sendgrid", "endpoint": all.sendgrid.url, "credentials": {"api_key": "secrets.SENDGRID"},
                "settings": {"from": "Ops <ops@example.com>"}}),
            json!({"name": "wrong-bot", "kind": "slack", "endpoint": slack, "credentials": {"bot_token": "secrets.WRONG"}}),
            json!({"name": "wrong-pager", "kind": "pagerduty", "endpoint": all.pagerduty.url, "credentials": {"routing_key": "secrets.WRONG"}}),
        ] {
            done(server, Method::POST, "/api/v1/integrations", body).await;
        }
        all
    }
}

fn tell(id: &str, target: &str, payload: Value) -> Value {
    let mut step = step(id, "send_notification", target, payload);
    step["retry"] = json!({"max_attempts": 3, "backoff_seconds": 0.01});
    step
}

/// The last attempt of a step.
fn last(log: &[Value], step: u64) -> &Value {
    let rows = log.iter().filter(|row| row["step_no"] == step);
    rows.max_by_key(|row| row["retry_attempt"].as_u64()).unwrap_or_else(|| panic!("no step {step}: {log:?}"))
}

#[track_caller]
fn result(log: &[Value], step: u64) -> &Value {
    let row = last(log, step);
    assert_eq!(row["execution_status"], "completed", "{row}");
    &row["execution_result"]
}

async fn by_apis(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let environment = [("CORE314_SECRET_KEY", SECRET_KEY.to_owned())];
    let server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    let all = Providers::start(&server).await;
    all.slack.refuse(slack_api::rate_limited("1"));
    all.slack.refuse(slack_api::refused("internal_error"));
    all.discord.refuse(discord::rate_limited("0"));
    all.twilio.refuse(twilio::too_fast());
    // The alert is opened, and the answer is lost.
    all.pagerduty.lose(Reply::text(500, "Internal Server Error"));
    let mail = json!({"to": ["Ann <ann@example.com>", "bob@example.com"], "cc": "eve@example.com",
        "text": "{{ trigger.host }} is down\n\nSince noon.", "html": "<b>down</b>"});
    let steps = vec![
        tell(
            "bot",
            "bot",
            json!({"text": "{{ trigger.host }} is down", "blocks": [null, {"type": "divider"}], "thread_ts": null}),
        ),
        tell("discord", "discord", json!({"text": "@everyone {{ trigger.host }}"})),
        tell(
            "page",
            "pager",
            json!({"text": "{{ trigger.host }} is down\nLook.", "severity": "error", "component": "fan"}),
        ),
        tell("ack", "pager", json!({"event_action": "acknowledge", "dedup_key": "{{ steps.page.output.dedup_key }}"})),
        tell("sms", "sms", json!({"to": "+15558675310", "text": "{{ trigger.host }}"})),
        tell("mail", "email", mail),
    ];
    let log = run(&server, "messages", steps, json!({"host": "web-1"})).await;
    assert_eq!(*result(&log, 0), json!({"channel": "C0123456789", "ts": "1503435956.000247"}));
    let expected = json!({"channel": "#incidents", "text": "web-1 is down", "blocks": [{"type": "divider"}]});
    assert_eq!(all.slack.shown(), [expected]);
    let bot = last(&log, 0)["execution_queue_id"].as_str().expect("an id");
    assert_eq!(all.slack.keys(), [bot, bot, bot], "all attempts have the same key");
    let codes: Vec<&Value> =
        log.iter().filter(|row| row["step_no"] == 0).map(|row| &row["execution_error_code"]).collect();
    assert!(codes.contains(&&json!("rate_limited")) && codes.contains(&&json!("refused")), "{codes:?}");
    assert_eq!(*result(&log, 1), json!({"message_id": "1100", "channel_id": "2200"}));
    assert_eq!(all.discord.shown()[0]["allowed_mentions"], json!({"parse": []}));
    let key = &result(&log, 2)["dedup_key"];
    assert_eq!(*key, log.iter().find(|row| row["step_no"] == 2).expect("a row")["execution_queue_id"]);
    let alerts = all.pagerduty.shown();
    assert_eq!(
        (alerts.len(), &alerts[0]["events"], &alerts[0]["state"]),
        (1, &json!(2), &json!("acknowledged")),
        "{alerts:?}"
    );
    let event = &alerts[0]["event"]["payload"];
    assert_eq!(
        (&event["summary"], &event["severity"], &event["component"]),
        (&json!("web-1 is down"), &json!("error"), &json!("fan"))
    );
    assert_eq!(result(&log, 4)["status"], "queued");
    assert_eq!(all.twilio.shown(), [json!({"to": "+15558675310", "from": "+15005550006", "body": "web-1"})]);
    assert_eq!(result(&log, 5)["accepted"], 3);
    let mail = &all.sendgrid.shown()[0];
    assert_eq!((&mail["subject"], &mail["from"]["name"]), (&json!("web-1 is down"), &json!("Ops")), "{mail}");
    assert_eq!(mail["personalizations"][0]["to"][0], json!({"email": "ann@example.com", "name": "Ann"}));
    what_fails(&server, &all).await;
    let shown = server.get("/api/v1/execution-log?limit=500").await.to_string();
    assert!(!shown.contains("planted"), "{shown}");
}

async fn what_fails(server: &Server, all: &Providers) {
    all.sendgrid.refuse(Reply::json(413, &json!({"errors": [{"message": "Payload too large", "field": null}]})));
    let steps = vec![
        tell("bot", "wrong-bot", json!({"channel": "#incidents", "text": "x"})),
        tell("channel", "bot", json!({"channel": "#nowhere", "text": "x"})),
        tell("page", "wrong-pager", json!({"text": "x"})),
        tell("sms", "sms", json!({"to": twilio::NOBODY, "text": "x"})),
        tell("large", "email", json!({"to": "ann@example.com", "text": "x"})),
        tell("sender", "email", json!({"to": "ann@example.com", "from": "eve@example.com", "text": "x"})),
    ];
    let log = run(server, "failing", steps, json!({})).await;
    assert_eq!(log.len(), 6, "none is tried again: {log:?}");
    for (row, code, words) in [
        (&log[0], "refused", "invalid_auth"),
        (&log[1], "refused", "channel_not_found"),
        (&log[2], "http_status", "Invalid routing key"),
        (&log[3], "http_status", "is not a valid phone number"),
        (&log[4], "http_status", "Payload too large"),
        (&log[5], "http_status", "verified Sender Identity"),
    ] {
        assert_eq!(row["execution_error_code"], code, "{row}");
        assert!(row["execution_error"].as_str().is_some_and(|error| error.contains(words)), "{words}: {row}");
    }
    for (target, payload, words) in [
        ("wrong-bot", json!({"text": "x"}), "unless the integration has a setting 'channel'"),
        ("sms", json!({"to": "0171", "text": "x"}), "must be a number in E.164"),
        ("email", json!({"to": "ann", "text": "x"}), "is no address"),
        ("pager", json!({"event_action": "resolve"}), "which alert it is"),
    ] {
        let flow = json!({"flow_name": "no", "trigger_type": "manual", "flow_steps": [tell("a", target, payload)]});
        let says = refused(server, Method::POST, "/api/v1/flows", flow, StatusCode::UNPROCESSABLE_ENTITY).await;
        assert!(says.contains(words), "{words}: {says}");
    }
    for (target, payload, words) in [
        ("pagerduty", json!({"text": "x"}), "needs one of the kind pagerduty"),
        ("smtp", json!({"to": "a@b.example", "text": "x"}), "needs one of the kind smtp"),
    ] {
        let flow = json!({"flow_name": "no", "trigger_type": "manual", "flow_steps": [tell("a", target, payload)]});
        may_come(server, flow, words).await;
    }
}

/// Integrations of these servers, and of some that cannot be used.
async fn mail_servers(server: &Server, servers: &[Arc<Smtp>; 3]) {
    let [starttls, tls, plain] = servers.each_ref().map(|smtp| smtp.port);
    let sign_in = json!({"from": "Ops <ops@example.com>", "username": smtp::USER});
    for (name, endpoint, credentials, settings) in [
        ("start", format!("smtp://localhost:{starttls}"), json!({"password": "secrets.MAIL"}), sign_in.clone()),
        ("tls", format!("smtps://localhost:{tls}"), json!({"password": "secrets.MAIL"}), sign_in.clone()),
        ("relay", format!("smtp://127.0.0.1:{plain}"), json!({}), json!({"from": "ops@example.com", "tls": "none"})),
        ("no-starttls", format!("smtp://127.0.0.1:{plain}"), json!({}), json!({"from": "ops@example.com"})),
        ("stranger", format!("smtp://127.0.0.1:{starttls}"), json!({"password": "secrets.MAIL"}), sign_in.clone()),
        ("wrong", format!("smtp://localhost:{starttls}"), json!({"password": "secrets.WRONG"}), sign_in),
        ("closed", "smtp://127.0.0.1:1".to_owned(), json!({}), json!({"from": "ops@example.com", "tls": "none"})),
        ("metadata", "smtp://169.254.169.254".to_owned(), json!({}), json!({"from": "ops@example.com", "tls": "none"})),
    ] {
        let body = json!({"name": name, "kind": "smtp", "endpoint": endpoint, "credentials": credentials, "settings": settings});
        done(server, Method::POST, "/api/v1/integrations", body).await;
    }
}

/// The e-mail as its readers get it.
fn what_arrives(smtp: &Smtp, row: &Value) {
    let mail = smtp.taken()[0].clone();
    assert_eq!(mail.to, ["ann@example.com", "eve@example.com"]);
    assert!(mail.header("Bcc").is_none() && mail.header("Auto-Submitted").as_deref() == Some("auto-generated"));
    let id = format!("<{}.core314@example.com>", row["execution_queue_id"].as_str().expect("an id"));
    assert_eq!(mail.header("Message-ID"), Some(id.clone()));
    assert_eq!(row["execution_result"]["message_id"], json!(id));
    assert!(mail.text.contains("\r\n.first\r\n..second"), "{}", mail.text);
    assert!(mail.header("Content-Type").is_some_and(|kind| kind.starts_with("multipart/alternative")), "{}", mail.text);
}

async fn by_smtp(kind: StoreKind) {
    let installation = Installation::new(kind).await;
    let folder = installation.dir.path();
    let servers = [Manner::StartTls, Manner::Tls, Manner::Plain].map(|manner| Smtp::start(manner, folder));
    let authorities = folder.join("authorities.pem");
    let pems = servers[..2].iter().map(|server| std::fs::read_to_string(&server.authority).expect("a certificate"));
    std::fs::write(&authorities, pems.collect::<String>()).expect("a file");
    let environment =
        [("CORE314_SECRET_KEY", SECRET_KEY.to_owned()), ("SSL_CERT_FILE", authorities.display().to_string())];
    let server = Server::start_with(&installation, &environment).expect("the server becomes ready");
    secret(&server, "MAIL", smtp::PASSWORD).await;
    secret(&server, "WRONG", "planted-wrong-password").await;
    mail_servers(&server, &servers).await;
    let letter = json!({"to": "Änn <ann@example.com>", "bcc": ["eve@example.com"], "subject": "{{ trigger.host }} – down",
        "text": ".first\n..second\n", "html": "<p>Größe</p>", "reply_to": "team@example.com"});
    let busy = json!({"to": smtp::BUSY, "text": "later"});
    let nobody = json!({"to": ["ann@example.com", smtp::NOBODY], "text": "x"});
    let plain_text = json!({"to": "ann@example.com", "text": "x"});
    let once = |id: &str, target: &str| {
        let mut step = tell(id, target, plain_text.clone());
        step["retry"] = json!({"max_attempts": 1});
        step
    };
    let steps = vec![
        tell("start", "start", letter.clone()),
        tell("tls", "tls", letter),
        tell("relay", "relay", plain_text.clone()),
        tell("busy", "start", busy),
        tell("nobody", "start", nobody),
        once("bare", "no-starttls"),
        once("stranger", "stranger"),
        once("wrong", "wrong"),
        once("closed", "closed"),
        once("metadata", "metadata"),
    ];
    let log = run(&server, "mail", steps, json!({"host": "web-1"})).await;
    assert!(result(&log, 0)["response"].as_str().is_some_and(|said| said.starts_with("250 ")), "{}", last(&log, 0));
    assert_eq!((result(&log, 1)["accepted"].clone(), result(&log, 2)["accepted"].clone()), (json!(2), json!(1)));
    for (place, is_encrypted, user) in [(0, true, Some(smtp::USER)), (1, true, Some(smtp::USER)), (2, false, None)] {
        let mail = servers[place].taken()[0].clone();
        assert_eq!(
            (mail.is_encrypted, mail.user.as_deref(), mail.from.as_str()),
            (is_encrypted, user, "ops@example.com")
        );
    }
    what_arrives(&servers[0], last(&log, 0));
    assert_eq!(result(&log, 3)["accepted"], 1, "the second time");
    assert_eq!(log.iter().filter(|row| row["step_no"] == 3).count(), 2);
    for (step, code, words) in [
        (4, "refused", "550 5.1.1"),
        (5, "tls", "offers no STARTTLS"),
        (6, "certificate", "certificate"),
        (7, "refused", "535 5.7.8"),
        (8, "connect", "refused"),
        (9, "forbidden_address", "169.254.169.254"),
    ] {
        let row = last(&log, step);
        assert_eq!(row["execution_error_code"], code, "{row}");
        assert!(row["execution_error"].as_str().is_some_and(|error| error.contains(words)), "{words}: {row}");
        assert_eq!(log.iter().filter(|row| row["step_no"] == step).count(), 1, "final: {row}");
    }
    assert_eq!(servers[0].taken().len(), 2, "of several people all get it, or none does");
    let shown = server.get("/api/v1/execution-log?limit=500").await.to_string();
    assert!(!shown.contains("planted"), "{shown}");
}

#[tokio::test]
async fn messages_go_out_by_apis_on_sqlite() {
    by_apis(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn messages_go_out_by_apis_on_postgres() {
    by_apis(StoreKind::Postgres).await;
}

#[tokio::test]
async fn mail_goes_out_by_smtp_on_sqlite() {
    by_smtp(StoreKind::Sqlite).await;
}

#[tokio::test]
async fn mail_goes_out_by_smtp_on_postgres() {
    by_smtp(StoreKind::Postgres).await;
}
