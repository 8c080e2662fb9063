//! What of a delivery is shown and kept: headers and members that prove who somebody is are left out.

use actix_web::http::header::HeaderMap;
use serde_json::{Map, Value};

/// A name with one of these in it holds what opens a door.
const TELLING: [&str; 8] = ["authorization", "cookie", "password", "passwd", "secret", "token", "api-key", "api_key"];
const MASK: &str = "***";
/// The largest body that is kept, in bytes of JSON.
const MAX_BODY_BYTES: usize = 16_384;

/// The headers by their names in lower case, without those that prove who somebody is. One that is given more than once
/// is joined by commas.
pub fn headers(headers: &HeaderMap) -> Map<String, Value> {
    let mut map = Map::new();
    for (name, value) in headers {
        if is_telling(name.as_str()) {
            continue;
        }
        let text = String::from_utf8_lossy(value.as_bytes());
        match map.get_mut(name.as_str()) {
            Some(Value::String(before)) => before.extend([", ", &*text]),
            _ => drop(map.insert(name.as_str().to_owned(), text.into())),
        }
    }
    map
}

/// The body as it is kept, and whether it was too large for that.
pub fn kept(body: Value) -> (Value, bool) {
    let body = masked(body);
    if body.to_string().len() > MAX_BODY_BYTES { (Value::Null, true) } else { (body, false) }
}

/// The value with its telling members masked.
pub fn masked(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let masked = members.into_iter().map(|(name, value)| {
                let is_hidden = is_telling(&name) && !value.is_null();
                let value = if is_hidden { MASK.into() } else { masked(value) };
                (name, value)
            });
            Value::Object(masked.collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(masked).collect()),
        other => other,
    }
}

fn is_telling(name: &str) -> bool {
    let contains = |part: &str| name.as_bytes().windows(part.len()).any(|w| w.eq_ignore_ascii_case(part.as_bytes()));
    TELLING.iter().any(|part| contains(part))
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use serde_json::json;

    use super::*;

    #[test]
    fn headers_that_prove_somebody_are_left_out() {
        let req = TestRequest::post()
            .insert_header(("Authorization", "Bearer hush"))
            .insert_header(("Cookie", "hush"))
            .insert_header(("X-Gitlab-Token", "hush"))
            .insert_header(("X-Api-Key", "hush"))
            .append_header(("X-Kind", "order"))
            .append_header(("X-Kind", "paid"))
            .to_http_request();
        assert_eq!(Value::Object(headers(req.headers())), json!({"x-kind": "order, paid"}));
    }

    #[test]
    fn members_that_prove_somebody_are_masked() {
        let body = json!({"token": "hush", "a": [{"clientSecret": {"x": "hush"}, "n": 1}], "password": null});
        assert_eq!(masked(body), json!({"token": "***", "a": [{"clientSecret": "***", "n": 1}], "password": null}));
    }

    #[test]
    fn a_large_body_is_not_kept() {
        assert_eq!(kept(json!("x".repeat(MAX_BODY_BYTES))), (Value::Null, true));
        assert_eq!(kept(json!({"n": 1})), (json!({"n": 1}), false));
    }
}
