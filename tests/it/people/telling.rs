//! Recipients by role and schedule, and how each is told: inbox, contact methods, quiet hours, digest.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Member, Town, code_in, shown};
use crate::orchestration::bed::pick;
use crate::orchestration::on_both_stores;
use crate::support::StoreKind;

/// Somebody of the directory, reached by mail and SMS.
pub(super) async fn settle(town: &Town, number: u128, name: &str, role: &str) {
    let (admin, member) = (town.client(1), town.client(number));
    let person =
        json!({"person_id": member.0.user, "email": format!("{name}@example.com"), "name": name, "role": role});
    admin.make("/api/v1/users", person).await;
    let (mails, texts) = (town.mail.taken().len(), town.sms.shown().len());
    let mail = json!({"kind": "email", "address": format!("{name}@example.com")});
    verify(&member, mail, async || town.mail(mails).await.header("Subject").expect("a subject")).await;
    let sms = json!({"kind": "sms", "address": format!("+1202555010{number}")});
    verify(&member, sms, async || shown(&town.sms, texts).await["body"].as_str().expect("a text").to_owned()).await;
}

async fn verify(member: &Member<'_>, contact: Value, message: impl AsyncFnOnce() -> String) {
    let added = member.make("/api/v1/contact-methods", contact).await;
    let path = format!("/api/v1/contact-methods/{}/verify", added["id"].as_str().expect("an id"));
    member.make(&path, json!({"code": code_in(&message().await)})).await;
}

/// Performs one notification and gives what became of it.
async fn tell(from: &Member<'_>, target: &str, payload: Value) -> Value {
    let body = json!({"action_type": "send_notification", "action_target": target, "action_payload": payload});
    let run = from.make("/api/v1/executions", body).await;
    let path = format!("/api/v1/runs/{}", run["id"].as_str().expect("an id"));
    ended(from, &path).await;
    let log = from.items(&format!("/api/v1/execution-log?flow_run_id={}", run["id"].as_str().expect("an id"))).await;
    log[0].clone()
}

/// A time of day that does not come while the test runs.
fn far() -> String {
    (chrono::Utc::now() + chrono::Duration::hours(12)).format("%H:%M").to_string()
}

pub(super) async fn ended(member: &Member<'_>, path: &str) -> Value {
    let started = std::time::Instant::now();
    loop {
        let row = member.get(path).await;
        if !row["completed_at"].is_null() {
            return row;
        }
        assert!(started.elapsed().as_secs() < 60, "{path} does not end: {row}");
    }
}

async fn a_message_finds_its_people_and_their_ways(kind: StoreKind) {
    let town = Town::start(kind).await;
    let (admin, ada, bob) = (town.client(1), town.client(2), town.client(3));
    settle(&town, 2, "ada", "operator").await;
    settle(&town, 3, "bob", "operator").await;
    let schedule = json!({"name": "primary", "time_zone": "UTC",
        "layers": [{"users": [ada.0.user], "starts_at": "2026-01-05T09:00"}]});
    admin.make("/api/v1/on-call", schedule).await;
    bob.prefers(json!({"rules": [{"by": ["sms"]}]})).await;
    let (mails, texts) = (town.mail.taken().len(), town.sms.shown().len());

    // Ada has two names and is told once; `system` is the inbox.
    let text = "It's full: {{ secrets.TWILIO }} {% x %}";
    let body = json!({"action_type": "send_notification", "action_target": "system", "context_data": {"text": text},
        "action_payload": {"title": "Disk", "message": "{{ trigger.text }}", "type": "alert",
            "recipients": ["on_call:primary", "role:operator", "role:viewer", "on_call:nobody"]}});
    let run = admin.make("/api/v1/executions", body).await;
    let run = run["id"].as_str().expect("an id").to_owned();
    ended(&admin, &format!("/api/v1/runs/{run}")).await;
    let log = admin.items(&format!("/api/v1/execution-log?flow_run_id={run}")).await;
    let output = &log[0]["execution_result"];
    let delivered: Vec<&Value> =
        output["delivered"].as_array().expect("a list").iter().map(|one| &one["user_id"]).collect();
    assert_eq!(delivered, [&json!(ada.0.user), &json!(bob.0.user)], "{output}");
    assert_eq!(output["not_told"].as_array().map(Vec::len), Some(2), "{output}");
    for member in [&ada, &bob] {
        let inbox = member.items("/api/v1/notifications").await;
        assert_eq!(pick(&inbox[0], "title message"), json!(["Disk", text]));
        assert_eq!(inbox.len(), 1);
    }
    // Ada by both, Bob by SMS alone; the text is what it is.
    assert_eq!(town.mail(mails).await.to, ["ada@example.com"]);
    let mut to: Vec<Value> = Vec::new();
    for place in texts..texts + 2 {
        let sms = shown(&town.sms, place).await;
        assert!(sms["body"].as_str().expect("a text").contains(text), "{sms}");
        to.push(sms["to"].clone());
    }
    to.sort_by_key(Value::to_string);
    assert_eq!(to, [json!("+12025550102"), json!("+12025550103")]);
    // What matters little stays in the inbox.
    let little = json!({"title": "t", "message": "m", "type": "info", "user_id": ada.0.user});
    assert_eq!(tell(&admin, "in_app", little).await["execution_result"]["sent_on"], Value::Null);
    let quiet = tell(
        &admin,
        "in_app",
        json!({"title": "t", "message": "m", "type": "alert", "user_id": ada.0.user,
        "onward": false}),
    );
    assert_eq!(quiet.await["execution_result"]["sent_on"], Value::Null);
    assert_eq!((town.mail.taken().len(), town.sms.shown().len()), (mails + 1, texts + 2));
}

async fn quiet_hours_hold_and_a_page_goes_through(kind: StoreKind) {
    let town = Town::start(kind).await;
    let (admin, ada) = (town.client(1), town.client(2));
    settle(&town, 2, "ada", "admin").await;
    ada.prefers(json!({"quiet_hours": [{"hours": "00:00-24:00"}], "rules": [{"severities": ["low"], "send": "digest"},
        {"by": ["email"]}], "digest": [far()]}))
        .await;
    let mails = town.mail.taken().len();
    let high =
        tell(&admin, "in_app", json!({"title": "later", "message": "m", "type": "alert", "user_id": ada.0.user}));
    let held = high.await["execution_result"]["sent_on"][0].clone();
    assert_eq!(held["kind"], "email", "{held}");
    let run = admin.get(&format!("/api/v1/runs/{}", held["flow_run_id"].as_str().expect("a run"))).await;
    assert!(run["completed_at"].is_null() && held["not_before"].is_string(), "{run}");
    // Several of one digest are one message.
    let mut digests = Vec::new();
    for no in 0..2 {
        let low = json!({"title": format!("n{no}"), "message": "m", "type": "info", "user_id": ada.0.user});
        let sent = tell(&admin, "in_app", low).await["execution_result"]["sent_on"].clone();
        digests.push(sent.as_array().expect("a list").iter().map(|one| one["flow_run_id"].clone()).collect::<Vec<_>>());
    }
    assert_eq!((digests[0].len(), &digests[0]), (2, &digests[1]));
    let kept = json!({"title": "kept", "message": "m", "type": "info", "user_id": ada.0.user, "onward": false});
    tell(&admin, "in_app", kept).await;
    let page = json!({"title": "now", "message": "m", "severity": "critical", "user_id": ada.0.user});
    tell(&admin, "in_app", page).await;
    assert_eq!(town.mail(mails).await.header("Subject").as_deref(), Some("now"));
    assert_eq!(town.mail.taken().len(), mails + 1);
    // Its time has come: what is held is due now, and the digest says what was not read.
    let due = json!({"action_type": "send_notification", "action_target": "email", "action_payload": {
        "contact_method_id": ada.items("/api/v1/contact-methods").await[1]["id"], "contact_kind": "email",
        "digest_since_ms": 0, "digest_until_ms": 9_999_999_999_999_i64}});
    let run = admin.make("/api/v1/executions", due).await;
    ended(&admin, &format!("/api/v1/runs/{}", run["id"].as_str().expect("an id"))).await;
    let mail = town.mail(mails + 1).await;
    assert_eq!(mail.header("Subject").as_deref(), Some("2 notifications"));
    assert!(mail.text.replace("\r\n", "\n").contains("- [low] n0\n- [low] n1"), "{}", mail.text);
}

/// A rule names a role, a schedule and a channel; acknowledging stops what quiet hours still hold.
async fn an_escalation_reaches_its_people(kind: StoreKind) {
    let town = Town::start(kind).await;
    let (admin, ada, bob) = (town.client(1), town.client(2), town.client(3));
    settle(&town, 2, "ada", "admin").await;
    settle(&town, 3, "bob", "operator").await;
    let schedule = json!({"name": "primary", "time_zone": "UTC",
        "layers": [{"name": "days", "users": [bob.0.user], "starts_at": "2026-01-05T09:00"}]});
    let schedule = admin.make("/api/v1/on-call", schedule).await;
    ada.prefers(json!({"quiet_hours": [{"hours": "00:00-24:00"}]})).await;
    bob.prefers(json!({"quiet_hours": [{"hours": "00:00-24:00"}], "rules": [{"by": ["sms"]}]})).await;
    let rule = json!({"rule_name": "disk", "trigger_conditions": {"subject": "disk"}, "escalation_levels": [
        {"level": 1, "actions": ["notify_admin", {"action": "page_oncall", "target": "primary"}]},
        {"level": 2, "delay_minutes": 600, "recipients": ["role:operator"], "notify_channels": ["email"]}]});
    admin.make("/api/v1/escalation-rules", rule).await;
    let unknown = json!({"rule_name": "x", "escalation_levels": [{"level": 1, "recipients": ["role:boss"]}]});
    admin.refused(Method::POST, "/api/v1/escalation-rules", unknown, 422).await;
    let (mails, texts) = (town.mail.taken().len(), town.sms.shown().len());
    let asked = json!({"escalation_reason": "reported", "context": {"subject": "disk", "error": "{{ secrets.BOT }}"}});
    let event = admin.make("/api/v1/escalation-events", asked).await;
    let event = event["taken"][0]["escalation_event_id"].as_str().expect("an id").to_owned();

    let page = shown(&town.sms, texts).await;
    let body = page["body"].as_str().expect("a text");
    assert_eq!(page["to"], "+12025550103");
    assert!(body.contains("reported: disk") && body.contains("{{ secrets.BOT }}"), "{body}");
    let link = body.lines().last().and_then(|line| line.strip_prefix(super::PUBLIC_URL)).expect("a link").to_owned();
    let outbox = outbox(&admin, 5).await;
    let held: Vec<&Value> = outbox.iter().filter(|row| !row["not_before"].is_null()).collect();
    let of_ada = format!("user:{}", ada.0.user);
    assert_eq!(held.len(), 2, "{outbox:?}");
    assert!(held.iter().all(|row| row["target"] == of_ada && row["status"] == "pending"), "{held:?}");
    let shown_rows = json!(outbox).to_string();
    assert!(!shown_rows.contains("@example.com") && !shown_rows.contains("+1202"), "no addresses: {shown_rows}");
    assert_eq!(town.mail.taken().len(), mails);

    let rota = format!("/api/v1/on-call/{}", schedule["id"].as_str().expect("an id"));
    let changed = json!({"name": "primary", "time_zone": "UTC",
        "layers": [{"name": "nights", "users": [ada.0.user], "starts_at": "2026-01-05T09:00"}]});
    let changed = admin.ask(Method::PATCH, &rota, Some(changed)).await;
    assert!(changed.status.is_success(), "{}", changed.body);
    why_keeps_the_schedule(&admin, &event, &schedule, &json!(format!("user:{}", bob.0.user))).await;

    bob_acknowledges(&town, &bob, &link, &event).await;
    let started = std::time::Instant::now();
    loop {
        let rows = self::outbox(&admin, 5).await;
        if rows.iter().filter(|row| row["status"] == "cancelled").count() == 2 {
            break;
        }
        assert!(started.elapsed().as_secs() < 60, "what was held is not stopped: {rows:?}");
    }
    assert_eq!((town.mail.taken().len(), town.sms.shown().len()), (mails, texts + 1));
    whoever_has_left_is_not_paged(&town, &event, &of_ada).await;
}

/// Bob's own link, in Bob's name, and as far as his role goes when he uses it.
async fn bob_acknowledges(town: &Town, bob: &Member<'_>, link: &str, event: &str) {
    let (admin, server) = (town.client(1), &town.bed.server);
    let ask = async |method: Method| {
        let answer = server.http.request(method, format!("{}{link}", server.url)).send().await.expect("an answer");
        (answer.status().as_u16(), answer.text().await.expect("a text"))
    };
    let (row, path) = (format!("/api/v1/users/{}", bob.0.user), format!("/api/v1/escalation-events/{event}"));
    for (role, status) in [("viewer", 403), ("operator", 200)] {
        let changed = admin.ask(Method::PATCH, &row, Some(json!({"role": role}))).await;
        assert!(changed.status.is_success(), "{}", changed.body);
        let (shown, page) = ask(Method::GET).await;
        assert_eq!((shown, page.contains("<form")), (200, status == 200), "{page}");
        let (told, page) = ask(Method::POST).await;
        assert_eq!(told, status, "{page}");
        let is_taken = admin.get(&path).await["status"] == "acknowledged";
        assert_eq!(is_taken, status == 200, "{role}");
    }
    assert_eq!(admin.get(&path).await["acknowledged_by"], json!(bob.0.user));
}

/// Neither does an old link of theirs act, nor is a page sent to somebody whom the directory does not name any more.
async fn whoever_has_left_is_not_paged(town: &Town, event: &str, of_ada: &str) {
    let admin = town.client(1);
    let ada = of_ada.strip_prefix("user:").expect("a person");
    let gone = admin.ask(Method::DELETE, &format!("/api/v1/users/{ada}"), None).await;
    assert!(gone.status.is_success(), "{}", gone.body);
    admin.make(&format!("/api/v1/escalation-events/{event}/resolve"), json!({})).await;
    let asked = json!({"escalation_reason": "reported", "context": {"subject": "disk"}});
    let event = admin.make("/api/v1/escalation-events", asked).await["taken"][0]["escalation_event_id"].clone();
    let rows = outbox(&admin, 7).await;
    let paged = rows.iter().find(|row| row["target"] == "on_call:primary" && row["escalation_event_id"] == event);
    let paged = paged.unwrap_or_else(|| panic!("no page: {rows:?}"));
    assert_eq!(paged["status"], "failed", "{paged}");
    assert!(paged["error"].as_str().is_some_and(|why| why.contains("not in the directory")), "{paged}");
    assert!(!rows.iter().any(|row| row["target"] == of_ada && row["escalation_event_id"] == event), "{rows:?}");
}

/// Who asks why hears of the schedule as it stood when it named somebody, whatever it says by now.
async fn why_keeps_the_schedule(admin: &Member<'_>, event: &str, schedule: &Value, bob: &Value) {
    let why = admin.get(&format!("/api/v1/escalation-events/{event}/why")).await;
    let outbox = why["outbox"].as_array().expect("a list");
    let of_bob: Vec<&Value> = outbox.iter().filter(|row| row["target"] == *bob).map(|row| &row["found_by"]).collect();
    let on_call =
        json!({"schedule_id": schedule["id"], "schedule": "primary", "version": 1, "layer": "days", "until": null});
    let expected = json!({"recipient": "on_call:primary", "on_call": on_call});
    assert_eq!(of_bob, [&expected, &expected], "his inbox and his SMS: {why}");
    let of_admins = outbox.iter().filter(|row| row["found_by"] == json!({"recipient": "role:admin"}));
    assert_eq!(of_admins.count(), 3, "Ada's inbox, mail and SMS: {why}");
}

/// A level's `email` goes whatever its people's rules say, also where their inbox' messages wait for a digest.
async fn a_levels_email_waits_for_no_digest(kind: StoreKind) {
    let town = Town::start(kind).await;
    let (admin, ada) = (town.client(1), town.client(2));
    settle(&town, 2, "ada", "admin").await;
    ada.prefers(json!({"rules": [{"severities": ["high"], "send": "digest"}], "digest": [far()]})).await;
    let rule = json!({"rule_name": "disk", "trigger_conditions": {"subject": "disk"}, "escalation_levels": [
        {"level": 1, "recipients": ["role:admin"], "notify_channels": ["in_app", "email"]}]});
    admin.make("/api/v1/escalation-rules", rule).await;
    let mails = town.mail.taken().len();
    let asked = json!({"escalation_reason": "reported", "context": {"subject": "disk"}});
    admin.make("/api/v1/escalation-events", asked).await;
    assert_eq!(town.mail(mails).await.to, ["ada@example.com"]);
    let outbox = outbox(&admin, 3).await;
    let waits: Vec<&Value> = outbox.iter().filter(|row| row["not_before"].is_string()).collect();
    assert_eq!((outbox.len(), waits.len(), &waits[0]["channel"]), (3, 1, &json!("sms")), "{outbox:?}");
}

/// The outbox, once it has so many rows that nothing is pending in it.
async fn outbox(admin: &Member<'_>, count: usize) -> Vec<Value> {
    let started = std::time::Instant::now();
    loop {
        let rows = admin.items("/api/v1/escalation-outbox?limit=100").await;
        if rows.len() >= count && rows.iter().all(|row| row["status"] != "pending" || !row["not_before"].is_null()) {
            return rows;
        }
        assert!(started.elapsed().as_secs() < 60, "{rows:?}");
    }
}

on_both_stores!(
    a_message_finds_its_people_and_their_ways,
    quiet_hours_hold_and_a_page_goes_through,
    an_escalation_reaches_its_people,
    a_levels_email_waits_for_no_digest,
);
