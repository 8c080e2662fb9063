//! The directory, contact methods and their codes, and preferences.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{GROUP, PUBLIC_URL, Town, code_in, shown};
use crate::orchestration::bed::pick;
use crate::orchestration::on_both_stores;
use crate::providers::slack_api;
use crate::support::StoreKind;

async fn an_organization_has_a_name_and_a_directory(kind: StoreKind) {
    let town = Town::start(kind).await;
    let admin = town.client(1);
    let made = admin.ask(Method::POST, "/api/v1/organizations", Some(json!({"name": "  Ünïon  "}))).await;
    assert_eq!((made.status, made.header("etag")), (StatusCode::CREATED, "\"v1\""), "{}", made.body);
    let organization = made.body;
    assert_eq!(pick(&organization, "name organization_id tenant_id"), json!(["Ünïon", GROUP, GROUP]));
    admin.refused(Method::POST, "/api/v1/organizations", json!({"name": "Other"}), 409).await;
    admin.refused(Method::POST, "/api/v1/organizations", json!({"name": " "}), 409).await;
    let path = format!("/api/v1/organizations/{}", organization["id"].as_str().expect("an id"));
    let renamed = admin.ask(Method::PATCH, &path, Some(json!({"name": "Onion"}))).await;
    assert_eq!(pick(&renamed.body, "name version"), json!(["Onion", 2]));
    assert_eq!(renamed.header("etag"), "\"v2\"");
    assert_eq!(admin.ask(Method::GET, &path, None).await.header("etag"), "\"v2\"");
    assert_eq!(admin.patch_from(1, &path, json!({"name": "Leek"})).await.status, StatusCode::PRECONDITION_FAILED);

    let ada =
        json!({"person_id": town.client(2).0.user, "email": " Ada@Example.com ", "name": "Ada", "role": "operator"});
    let row = admin.make("/api/v1/users", ada.clone()).await;
    assert_eq!(
        pick(&row, "email name role user_id organization_id"),
        json!(["ada@example.com", "Ada", "operator", town.client(2).0.user, GROUP])
    );
    admin.refused(Method::POST, "/api/v1/users", ada, 409).await;
    let same_mail = json!({"email": "ADA@example.com", "name": "Other", "role": "viewer"});
    admin.refused(Method::POST, "/api/v1/users", same_mail, 409).await;
    let wrong = json!({"email": "no address", "name": "a\nb", "role": "viewer"});
    let problem = admin.refused(Method::POST, "/api/v1/users", wrong, 422).await.to_string();
    assert!(problem.contains("/email") && problem.contains("/name"), "{problem}");
    admin.refused(Method::POST, "/api/v1/users", json!({"email": "b@c.de", "name": "B", "role": "boss"}), 422).await;

    // By the row's id and by the person's.
    for id in [&row["id"], &row["user_id"]] {
        let path = format!("/api/v1/users/{}", id.as_str().expect("an id"));
        assert_eq!(admin.get(&path).await, row);
    }
    let path = format!("/api/v1/users/{}", town.client(2).0.user);
    let stale = admin.patch_from(9, &path, json!({"role": "admin"})).await;
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED);
    let changed = admin.ask(Method::PATCH, &path, Some(json!({"role": "admin"}))).await;
    assert_eq!(pick(&changed.body, "email role version"), json!(["ada@example.com", "admin", 2]));
    // An id that is a person's and another's row's is the person's.
    let twin = json!({"person_id": row["id"], "email": "twin@example.com", "name": "Twin", "role": "viewer"});
    let twin = admin.make("/api/v1/users", twin).await;
    assert_eq!(admin.get(&format!("/api/v1/users/{}", row["id"].as_str().expect("an id"))).await["id"], twin["id"]);
    let me = town.client(2).get("/api/v1/me").await;
    assert_eq!(pick(&me, "user_id organization_id user"), json!([town.client(2).0.user, GROUP, changed.body]));
    assert_eq!(me["organization"]["name"], "Onion");
    // Without an organization a user is alone, and their own admin.
    let alone = crate::orchestration::bed::Client::of(&town.bed.server, town.client(2).0.user);
    assert_eq!(alone.get("/api/v1/me").await["user"], Value::Null);
    let other = json!({"person_id": town.client(3).0.user, "email": "c@d.ef", "name": "C", "role": "admin"});
    alone.post("/api/v1/users", other, 422).await;
    alone.post("/api/v1/users", json!({"email": "ada@example.com", "name": "Ada", "role": "admin"}), 201).await;

    let told: Vec<Value> = admin.items("/api/v1/audit-log?limit=100").await;
    let events: Vec<&str> = told.iter().filter_map(|row| row["event_type"].as_str()).collect();
    assert!(events.contains(&"user_added") && events.contains(&"organization_changed"), "{events:?}");
    assert!(!json!(told).to_string().contains("ada@"), "no personal data where nothing is ever erased");
}

/// A code comes by mail, and is found nowhere else; only the person may give it, and not as often as they like.
async fn an_address_is_proven_by_the_code_that_was_sent_there(kind: StoreKind) {
    let town = Town::start(kind).await;
    let (ada, eve) = (town.client(2), town.client(3));
    let added = ada.make("/api/v1/contact-methods", json!({"kind": "email", "address": "ada@example.com"})).await;
    assert_eq!(pick(&added, "kind address verified verified_at"), json!(["email", "ada@example.com", false, null]));
    let mail = town.mail(0).await;
    assert_eq!(mail.to, ["ada@example.com"]);
    let code = code_in(&mail.header("Subject").expect("a subject"));
    let path = format!("/api/v1/contact-methods/{}", added["id"].as_str().expect("an id"));
    let give = |code: &str| json!({"code": code});

    assert!(eve.items("/api/v1/contact-methods").await.is_empty());
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(eve.ask(method, &path, None).await.status, StatusCode::NOT_FOUND);
    }
    eve.refused(Method::POST, &format!("{path}/verify"), give(&code), 404).await;
    eve.refused(Method::GET, &format!("/api/v1/contact-methods?user_id={}", ada.0.user), json!(null), 403).await;
    let wrong = if code == "00000000" { "00000001" } else { "00000000" };
    for status in [422, 422, 409] {
        ada.refused(Method::POST, &format!("{path}/verify"), give(wrong), status).await;
    }
    ada.refused(Method::POST, &format!("{path}/verify"), give(&code), 409).await;
    ada.refused(Method::DELETE, &path, json!(null), 409).await;
    ada.make(&format!("{path}/send-code"), json!({})).await;
    let second = code_in(&town.mail(1).await.header("Subject").expect("a subject"));
    assert_ne!(code, second);
    ada.refused(Method::POST, &format!("{path}/verify"), give(&code), 422).await;
    let verified = ada.make(&format!("{path}/verify"), give(&second)).await;
    assert_eq!(verified["verified"], true, "{verified}");
    assert!(verified["verified_at"].is_string());

    // By the link of another message, without a key; whoever only looks verifies nothing.
    let added = ada.make("/api/v1/contact-methods", json!({"kind": "slack", "address": slack_api::MEMBER})).await;
    let asked = shown(&town.slack, 0).await;
    assert_eq!(asked["channel"], slack_api::MEMBER);
    let link = asked["blocks"][1]["elements"][0]["url"].as_str().expect("a link");
    let link = link.strip_prefix(PUBLIC_URL).expect("of this server").to_owned();
    let http = &town.bed.server.http;
    let page = http.get(format!("{}{link}", town.bed.server.url)).send().await.expect("a page");
    let shown_page = page.text().await.expect("text");
    assert!(shown_page.contains("<button") && shown_page.contains(&ada.0.user.to_string()), "{shown_page}");
    let path = format!("/api/v1/contact-methods/{}", added["id"].as_str().expect("an id"));
    assert_eq!(ada.get(&path).await["verified"], false);
    let page = http.post(format!("{}{link}", town.bed.server.url)).send().await.expect("a page");
    assert_eq!(page.status(), StatusCode::OK);
    assert_eq!(ada.get(&path).await["verified"], true);
    let forged = http.get(format!("{}{link}x", town.bed.server.url)).send().await.expect("an answer");
    assert_eq!(forged.status(), StatusCode::NOT_FOUND);
    let said = forged.text().await.expect("text");
    assert!(!said.contains(link.as_str()), "the token is in the answer: {said}");

    nothing_is_kept_of_it(&town, &[&code, &second, "ada@example.com", slack_api::MEMBER, &link]).await;
}

/// Neither a code nor an address stands in what others may read.
async fn nothing_is_kept_of_it(town: &Town, hidden: &[&str]) {
    let eve = town.client(3);
    let started = std::time::Instant::now();
    let mut sent = Vec::new();
    while sent.len() < 3 && started.elapsed().as_secs() < 60 {
        sent = eve.items("/api/v1/execution-log?limit=100").await;
    }
    assert!(sent.len() >= 3 && sent.iter().all(|row| row["success"] == true), "{sent:?}");
    for list in ["execution-log", "executions", "runs", "audit-log", "notifications"] {
        let rows = json!(eve.items(&format!("/api/v1/{list}?limit=100")).await).to_string();
        for word in hidden {
            assert!(!rows.contains(word), "{word} in {list}: {rows}");
        }
    }
    let log = std::fs::read_to_string(town.bed.installation.dir.path().join("server.log")).expect("a log");
    for word in hidden {
        assert!(!log.contains(word), "{word} in the server's log");
    }
}

async fn what_cannot_be_reached_is_refused(kind: StoreKind) {
    let town = Town::start(kind).await;
    let ada = town.client(2);
    let path = "/api/v1/contact-methods";
    for (kind, address) in [("email", "ada"), ("sms", "0151"), ("slack", "@ada"), ("webhook", "ftp://x")] {
        let problem = ada.refused(Method::POST, path, json!({"kind": kind, "address": address}), 422).await;
        assert!(problem.to_string().contains("/address"), "{problem}");
    }
    let fax = ada.refused(Method::POST, path, json!({"kind": "fax", "address": "1"}), 422).await.to_string();
    assert!(fax.contains("email"), "{fax}");
    let through = json!({"kind": "email", "address": "a@b.cd", "integration": "sms"});
    let problem = ada.refused(Method::POST, path, through, 422).await.to_string();
    assert!(problem.contains("/integration") && problem.contains("smtp or sendgrid"), "{problem}");
    let nowhere = json!({"kind": "email", "address": "a@b.cd", "integration": "nowhere"});
    ada.refused(Method::POST, path, nowhere, 422).await;
    // A tenant that has no integration for it.
    let alone = crate::orchestration::bed::Client::of(&town.bed.server, ada.0.user);
    let problem = alone.post(path, json!({"kind": "email", "address": "a@b.cd"}), 422).await.to_string();
    assert!(problem.contains("/kind") && problem.contains("smtp or sendgrid"), "{problem}");

    for no in 0..4 {
        ada.make(path, json!({"kind": "sms", "address": format!("+1202555010{no}")})).await;
    }
    let full =
        ada.refused(Method::POST, path, json!({"kind": "sms", "address": "+12025550109"}), 409).await.to_string();
    assert!(full.contains("as many as there may be"), "{full}");
    let first = ada.items(path).await.pop().expect("a row");
    // Nobody is written to who has not said that it is theirs, whoever names them.
    let message = json!({"action_type": "send_notification", "action_target": "sms", "wait_seconds": 30,
        "action_payload": {"contact_method_id": first["id"], "contact_kind": "sms", "title": "t", "message": "m"}});
    let run = ada.make("/api/v1/executions", message).await;
    let id = run["execution_queue_ids"][0].as_str().or(run["id"].as_str()).expect("an id").to_owned();
    let log = ada.items("/api/v1/execution-log?success=false").await;
    assert_eq!(log[0]["execution_error_code"], "no_contact", "{id}: {log:?}");
    for place in 0..4 {
        let text = shown(&town.sms, place).await["body"].as_str().expect("a text").to_owned();
        assert_eq!(code_in(&text).len(), 8);
    }
    assert_eq!(town.sms.shown().len(), 4, "codes, and nothing else");
}

async fn preferences_are_checked_and_each_persons_own(kind: StoreKind) {
    let town = Town::start(kind).await;
    let (ada, eve) = (town.client(2), town.client(3));
    assert!(ada.items("/api/v1/preferences").await.is_empty());
    let wrong = json!({"time_zone": "Mars", "quiet_hours": [{"hours": "late"}], "rules": [{"send": "digest"}]});
    let problem = ada.refused(Method::PATCH, "/api/v1/preferences", wrong, 422).await.to_string();
    for pointer in ["/time_zone", "/quiet_hours/0/hours", "/rules/0/send"] {
        assert!(problem.contains(pointer), "{pointer}: {problem}");
    }
    ada.refused(Method::PATCH, "/api/v1/preferences", json!({"quiet": []}), 422).await;
    let wanted = json!({"time_zone": "Europe/Berlin", "quiet_hours": [{"hours": "22:00-07:00"}], "digest": ["08:00"],
        "rules": [{"severities": ["low"], "send": "digest", "by": ["email"]}]});
    let set = ada.prefers(wanted.clone()).await;
    assert_eq!(pick(&set, "time_zone digest goes_through version"), json!(["Europe/Berlin", ["08:00"], "critical", 1]));
    assert_eq!(ada.prefers(json!({"goes_through": "high"})).await["version"], 2);
    let kept = ada.patch_from(2, "/api/v1/preferences", json!({"goes_through": "high"})).await;
    assert_eq!((kept.status, kept.header("etag")), (StatusCode::OK, "\"v3\""), "{}", kept.body);
    let stale = ada.patch_from(2, "/api/v1/preferences", json!({"goes_through": "critical"})).await;
    assert_eq!(stale.status, StatusCode::PRECONDITION_FAILED);
    let rows = ada.items("/api/v1/preferences").await;
    assert_eq!(rows.len(), 1);
    assert_eq!(pick(&rows[0], "time_zone rules goes_through"), json!(["UTC", [], "high"]));
    assert!(eve.items("/api/v1/preferences").await.is_empty());

    // Whoever leaves takes it all along.
    let admin = town.client(1);
    let row = json!({"person_id": ada.0.user, "email": "ada@example.com", "name": "Ada", "role": "viewer"});
    admin.make("/api/v1/users", row).await;
    ada.make("/api/v1/contact-methods", json!({"kind": "email", "address": "ada@example.com"})).await;
    let gone = admin.ask(Method::DELETE, &format!("/api/v1/users/{}", ada.0.user), None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.body);
    for list in ["users", "contact-methods", "preferences"] {
        assert!(ada.items(&format!("/api/v1/{list}")).await.is_empty(), "{list}");
    }
}

/// A key that may only read leaves everybody reached as they were, whoever it acts for.
async fn a_viewers_key_changes_nothing_of_anybody(kind: StoreKind) {
    let town = Town::start(kind).await;
    let (admin, ada) = (town.client(1), town.client(2));
    let added = ada.make("/api/v1/contact-methods", json!({"kind": "email", "address": "ada@example.com"})).await;
    let made = admin.make("/api/v1/tokens", json!({"name": "reader", "roles": ["viewer"]})).await;
    let key = made["key"].as_str().expect("a key");
    let method_path = format!("/api/v1/contact-methods/{}", added["id"].as_str().expect("an id"));
    let server = &town.bed.server;
    for (method, path, body) in [
        (Method::DELETE, method_path.clone(), None),
        (Method::POST, format!("{method_path}/send-code"), Some(json!({}))),
        (Method::PATCH, "/api/v1/preferences".to_owned(), Some(json!({"rules": [{"send": "never"}]}))),
    ] {
        let request = server.http.request(method.clone(), format!("{}{path}", server.url)).bearer_auth(key);
        let request = request.header("X-User-Id", ada.0.user.to_string());
        let request = body.iter().fold(request, reqwest::RequestBuilder::json);
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{method} {path}");
    }
    assert_eq!(ada.get(&method_path).await["id"], added["id"]);
    assert!(ada.items("/api/v1/preferences").await.is_empty());
}

on_both_stores!(
    an_organization_has_a_name_and_a_directory,
    an_address_is_proven_by_the_code_that_was_sent_there,
    what_cannot_be_reached_is_refused,
    preferences_are_checked_and_each_persons_own,
    a_viewers_key_changes_nothing_of_anybody,
);
