//! A receiver of JSON: the payload without its `url` is posted as it is, and every 2xx is a success.
//!
//! Nothing is signed here: `trigger_webhook` does that, for receivers that ask for it.

use core314_domain::log::Failure;
use serde_json::{Map, Value};

use super::{Message, Provider, kept};
use crate::executors::payload::Reader;

pub const PROVIDER: Provider = Provider { read, judge };

fn read(reader: &mut Reader<'_>) -> Message {
    let body: Map<String, Value> = reader.members().filter(|(key, _)| *key != "url").map(owned).collect();
    if body.is_empty() {
        reader.problem(&[], "must have a member beside url: that is what is posted");
    }
    Message { body: Value::Object(body), ..Message::default() }
}

fn owned((key, value): (&str, &Value)) -> (String, Value) {
    (key.to_owned(), value.clone())
}

#[expect(clippy::unnecessary_wraps, reason = "as every provider judges")]
fn judge(output: Value) -> Result<Value, Failure> {
    Ok(kept(output))
}
