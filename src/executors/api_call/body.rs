//! Bodies of requests: JSON, a form, parts, or text as it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core314_domain::hex::hex;
use reqwest::header::HeaderValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::executors::payload::{Reader, kind, scalar};
use crate::executors::service::form;

/// Ways to give a body, of which a payload uses one.
pub const BODIES: [&str; 4] = ["json", "form", "multipart", "body"];
/// What a part that is no plain text may say.
const PART_KEYS: [&str; 4] = ["text", "base64", "filename", "content_type"];

/// The body, and the content type that goes with it unless the headers say another.
pub fn read(reader: &mut Reader<'_>) -> (Vec<u8>, Option<String>) {
    let given: Vec<&str> = BODIES.into_iter().filter(|key| reader.has(key)).collect();
    if let [_, second, ..] = given.as_slice() {
        reader.problem(&[second], format!("only one of {} can be given", BODIES.join(", ")));
    }
    match given.first() {
        Some(&"json") => {
            let body = reader.get("json").map(|value| value.to_string().into_bytes());
            (body.unwrap_or_default(), Some("application/json".to_owned()))
        }
        Some(&"form") => (form(reader.pairs("form")), Some("application/x-www-form-urlencoded".to_owned())),
        Some(&"multipart") => multipart(reader),
        Some(_) => {
            let text = reader.text("body").unwrap_or_default();
            (text.as_bytes().to_vec(), Some("text/plain; charset=utf-8".to_owned()))
        }
        None => (Vec::new(), None),
    }
}

/// One part of `multipart/form-data`.
struct Part<'a> {
    name: &'a str,
    filename: Option<&'a str>,
    content_type: Option<&'a str>,
    content: Vec<u8>,
}

/// A body of parts as RFC 7578 says. Its boundary is made of its content, so that each attempt sends the same bytes.
fn multipart(reader: &mut Reader<'_>) -> (Vec<u8>, Option<String>) {
    let parts = parts(reader);
    let mut digest = Sha256::new();
    for part in &parts {
        for field in [part.name, part.filename.unwrap_or_default(), part.content_type.unwrap_or_default()] {
            digest.update(field);
            digest.update([0]);
        }
        digest.update(&part.content);
    }
    let boundary = format!("core314-{}", hex(&digest.finalize()[..16]));
    let mut body = Vec::new();
    for part in &parts {
        body.extend_from_slice(format!("--{boundary}\r\n{}\r\n\r\n", head(part)).as_bytes());
        body.extend_from_slice(&part.content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (body, Some(format!("multipart/form-data; boundary={boundary}")))
}

fn head(part: &Part<'_>) -> String {
    // As browsers do it (WHATWG, multipart/form-data encoding algorithm).
    let quoted = |text: &str| text.replace('\r', "%0D").replace('\n', "%0A").replace('"', "%22");
    let mut head = format!("Content-Disposition: form-data; name=\"{}\"", quoted(part.name));
    if let Some(filename) = part.filename {
        head.extend(["; filename=\"", &quoted(filename), "\""]);
    }
    let of_file = part.filename.map(|_| "application/octet-stream");
    if let Some(content_type) = part.content_type.or(of_file) {
        head.extend(["\r\nContent-Type: ", content_type]);
    }
    head
}

/// The parts: a text, a number, a boolean, an object of [`PART_KEYS`], or a list of them under one name.
fn parts<'a>(reader: &mut Reader<'a>) -> Vec<Part<'a>> {
    let Some(members) = reader.object("multipart") else { return Vec::new() };
    let mut parts = Vec::new();
    for (name, value) in members {
        let items = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
        for item in items.iter().filter(|item| !item.is_null()) {
            if reader.is_open(item) {
                continue;
            }
            let part = match (scalar(item), item) {
                (Some(text), _) => Ok(Part { name, filename: None, content_type: None, content: text.into_bytes() }),
                (None, Value::Object(said)) => file(reader, name, said),
                (None, other) => Err(format!("must be a text, a number, a boolean or a part, is {}", kind(other))),
            };
            match part {
                Ok(part) => parts.push(part),
                Err(problem) => reader.problem(&["multipart", name], problem),
            }
        }
    }
    if members.is_empty() {
        reader.problem(&["multipart"], "must have a part at least");
    }
    parts
}

fn file<'a>(reader: &Reader<'_>, name: &'a str, said: &'a Map<String, Value>) -> Result<Part<'a>, String> {
    if let Some(unknown) = said.keys().find(|key| !PART_KEYS.contains(&key.as_str())) {
        return Err(format!("unknown key '{unknown}'; known: {}", PART_KEYS.join(", ")));
    }
    let text = |key: &str| match said.get(key).filter(|value| !value.is_null()) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(other) => Err(format!("{key} must be a text, is {}", kind(other))),
    };
    let is_open = |key: &str| said.get(key).is_some_and(|value| reader.is_open(value));
    let content = match (text("text")?, text("base64")?) {
        (Some(text), None) => text.as_bytes().to_vec(),
        (None, Some(_)) if is_open("base64") => Vec::new(),
        (None, Some(encoded)) => {
            let plain: String = encoded.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            STANDARD.decode(plain).map_err(|_| "base64 is not base64".to_owned())?
        }
        _ => return Err("must have one of: text, base64".to_owned()),
    };
    let content_type = text("content_type")?;
    if content_type.is_some_and(|text| HeaderValue::from_str(text).is_err()) {
        return Err("content_type has a value that no header can have".to_owned());
    }
    Ok(Part { name, filename: text("filename")?, content_type, content })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::executors::payload::Reading;

    fn sent(payload: &Value) -> Result<(String, String), Vec<String>> {
        let mut reader = Reader::new(payload, Reading::Rendered).expect("an object");
        let (body, content_type) = read(&mut reader);
        if !reader.problems.is_empty() {
            return Err(reader.problems.into_iter().map(|p| format!("{}: {}", p.pointer, p.message)).collect());
        }
        Ok((String::from_utf8(body).expect("utf-8"), content_type.unwrap_or_default()))
    }

    #[test]
    fn parts_are_sent_as_browsers_send_them() {
        let payload = json!({"multipart": {
            "comment": "ä", "n": [1, true], "gone": null,
            "log": {"filename": "a \"b\".txt", "content_type": "text/plain", "text": "line\r\n"},
            "blob": {"filename": "x", "base64": "aGk="},
        }});
        let (body, content_type) = sent(&payload).expect("sound");
        let boundary = content_type.strip_prefix("multipart/form-data; boundary=").expect("a boundary");
        let expected = [
            "Content-Disposition: form-data; name=\"blob\"; filename=\"x\"\r\nContent-Type: application/octet-stream\r\n\r\nhi",
            "Content-Disposition: form-data; name=\"comment\"\r\n\r\nä",
            "Content-Disposition: form-data; name=\"log\"; filename=\"a %22b%22.txt\"\r\nContent-Type: text/plain\r\n\r\nline\r\n",
            "Content-Disposition: form-data; name=\"n\"\r\n\r\n1",
            "Content-Disposition: form-data; name=\"n\"\r\n\r\ntrue",
        ];
        #[expect(clippy::format_collect, reason = "a few parts")]
        let whole: String = expected.iter().map(|part| format!("--{boundary}\r\n{part}\r\n")).collect();
        assert_eq!(body, format!("{whole}--{boundary}--\r\n"));
        assert_eq!(sent(&payload).expect("sound").1, content_type, "each attempt sends the same");
    }

    #[test]
    fn parts_that_cannot_be_sent_are_said() {
        for (part, expected) in [
            (json!({"filename": "x"}), "/multipart/a: must have one of: text, base64"),
            (json!({"base64": "?"}), "/multipart/a: base64 is not base64"),
            (
                json!({"text": "x", "content_type": "a\nb"}),
                "/multipart/a: content_type has a value that no header can have",
            ),
            (json!({"txt": "x"}), "/multipart/a: unknown key 'txt'; known: text, base64, filename, content_type"),
            (json!([[1]]), "/multipart/a: must be a text, a number, a boolean or a part, is a list"),
        ] {
            assert_eq!(sent(&json!({"multipart": {"a": part}})), Err(vec![expected.to_owned()]));
        }
        assert_eq!(sent(&json!({"multipart": {}})), Err(vec!["/multipart: must have a part at least".to_owned()]));
    }
}
