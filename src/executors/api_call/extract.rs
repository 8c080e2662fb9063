//! What a payload wants of an answer, by JSON pointers (RFC 6901) into its body: the rest is not kept.

use core314_domain::log::Failure;
use serde_json::{Map, Value};

use crate::executors::failure::Code;
use crate::executors::payload::{Reader, is_pointer, kind};

/// Values by the names that they get.
pub type Wanted = Vec<(String, String)>;

/// Reads what is wanted.
pub fn read(reader: &mut Reader<'_>) -> Wanted {
    let mut wanted = Vec::new();
    for (name, value) in reader.object("extract").into_iter().flatten() {
        match value.as_str() {
            Some(_) if reader.is_open(value) => {}
            Some(pointer) if is_pointer(pointer) => wanted.push((name.clone(), pointer.to_owned())),
            Some(_) => reader.problem(&["extract", name], "must be a JSON pointer, such as /data/0/id"),
            None => reader.problem(&["extract", name], format!("must be a text, is {}", kind(value))),
        }
    }
    wanted
}

/// The output with `values` in the place of its `body`.
pub fn apply(wanted: &Wanted, mut output: Value) -> Result<Value, Failure> {
    if wanted.is_empty() {
        return Ok(output);
    }
    let body = output["body"].take();
    let mut values = Map::new();
    for (name, pointer) in wanted {
        let found = body.pointer(pointer).cloned().ok_or_else(|| {
            Code::UnexpectedAnswer.failure(format!("extract.{name}: the answer has nothing at {pointer}"))
        })?;
        values.insert(name.clone(), found);
    }
    if let Value::Object(output) = &mut output {
        output.remove("body");
        output.insert("values".to_owned(), Value::Object(values));
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::executors::payload::Reading;

    #[test]
    fn values_take_the_place_of_the_body() {
        let payload = json!({"extract": {"id": "/data/0/id", "all": ""}});
        let mut reader = Reader::new(&payload, Reading::Rendered).expect("an object");
        let wanted = read(&mut reader);
        let output = json!({"status": 200, "body": {"data": [{"id": 7}]}});
        let expected = json!({"status": 200, "values": {"id": 7, "all": {"data": [{"id": 7}]}}});
        assert_eq!(apply(&wanted, output), Ok(expected));
        let failure = apply(&wanted, json!({"status": 200, "body": {"data": []}})).expect_err("it is not there");
        assert_eq!((failure.code.as_str(), failure.retryable), ("unexpected_answer", false));
        assert_eq!(failure.message, "extract.id: the answer has nothing at /data/0/id");
        let payload = json!({"extract": {"a": "b", "c": 1}});
        let mut reader = Reader::new(&payload, Reading::Rendered).expect("an object");
        assert!(read(&mut reader).is_empty());
        assert_eq!(reader.problems.len(), 2);
    }
}
