//! A service that has items in pages, tells what is new since a time, and takes items in lists: each list once a key.
//!
//! A page has `{"data": [...], "meta": {"next": TOKEN}}`; the token stands in the parameter `cursor`, an unknown one is a 400.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{Posted, Provider, Reply};

pub const TOKEN: &str = "planted-catalogue-token-0001";
pub const ITEMS: u64 = 95;
const PAGE: u64 = 10;

pub fn start() -> Arc<Provider> {
    Provider::keep(keeper)
}

/// What it keeps: `{"key": KEY, "items": [...]}` for each list that came, also where one came again; null for each look at a
/// text that is another each time; and `{"open": LIST}` for what came without a proof, to where none is asked for.
fn keeper(posted: &Posted, kept: &mut Vec<Value>) -> Reply {
    if posted.path == "/open" {
        kept.push(json!({"open": posted.json()}));
        return Reply::json(200, &json!({}));
    }
    if posted.header("authorization") != format!("Bearer {TOKEN}") {
        return Reply::json(401, &json!({"error": "who are you?"}));
    }
    match (posted.method.as_str(), posted.path.as_str()) {
        ("GET", "/api/items") => page(posted),
        ("GET", "/api/items.csv") => Reply::text(200, &csv()),
        ("GET", "/api/echo") => {
            let next = format!("/api/items?key={TOKEN}");
            Reply::json(200, &json!({"data": [item(0)], "next": next}))
        }
        ("GET", "/api/changing.csv") => {
            kept.push(Value::Null);
            Reply::text(200, &csv().replacen("item; 0", &format!("item; {}", 1_000 + kept.len()), 1))
        }
        ("POST", "/api/items") => {
            let key = posted.header("idempotency-key").to_owned();
            let Some(items) = posted.json().and_then(|body| body["items"].as_array().cloned()) else {
                return Reply::json(400, &json!({"error": "items must be a list"}));
            };
            if key.is_empty() || items.iter().any(|item| !item["id"].is_number()) {
                return Reply::json(422, &json!({"error": "each list has a key, each item an id"}));
            }
            kept.push(json!({"key": key, "items": items}));
            Reply::json(200, &json!({"taken": items.len()}))
        }
        _ => Reply::json(404, &json!({"error": "no such place"})),
    }
}

fn page(posted: &Posted) -> Reply {
    let query = posted.query();
    let parameter = |name: &str| query.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let since = parameter("since").unwrap_or_default();
    let from = match parameter("cursor").map(|cursor| cursor.strip_prefix("at-").and_then(|n| n.parse::<u64>().ok())) {
        None => 0,
        Some(Some(from)) => from,
        Some(None) => return Reply::json(400, &json!({"error": "cursor is unknown"})),
    };
    let new: Vec<Value> = (0..ITEMS).map(item).filter(|item| item["at"].as_str() > Some(since.as_str())).collect();
    let data: Vec<&Value> = new.iter().skip(from as usize).take(PAGE as usize).collect();
    let next = (from + PAGE < new.len() as u64).then(|| format!("at-{}", from + PAGE));
    Reply::json(200, &json!({"data": data, "meta": {"next": next}}))
}

fn item(n: u64) -> Value {
    json!({"id": n, "name": {"en": format!("item {n}")}, "at": format!("2030-01-01T00:{:02}:{:02}Z", n / 60, n % 60)})
}

fn csv() -> String {
    (0..ITEMS).fold("id;name\r\n".to_owned(), |text, n| text + &format!("{n};\"item; {n}\"\r\n"))
}
