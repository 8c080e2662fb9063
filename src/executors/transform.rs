//! `transform`: an action that only computes. Its payload's templates have been rendered by the time it is asked, so its
//! answer is what it was given.

use std::sync::Arc;

use core314_actors::ports::BoxFuture;
use core314_actors::ports::executor::{Attempt, Executor, Performed, Target};
use core314_domain::Json;
use core314_domain::plan::Problem;
use core314_domain::run::Outcome;
use serde_json::Value;

use super::payload::{Reader, Reading};
use super::redact::Redactor;

/// Answers `values` of its payload, or the payload where it has no such key.
#[derive(Debug)]
pub struct Transform;

impl Executor for Transform {
    fn action_type(&self) -> &'static str {
        "transform"
    }

    /// What it is given is its result, which is stored.
    fn takes_secrets(&self, _: &str) -> bool {
        false
    }

    fn check(&self, _: &Target<'_>, payload: &Value) -> Vec<Problem> {
        let Ok(mut reader) = Reader::new(payload, Reading::Document) else {
            // Any value is an answer.
            return Vec::new();
        };
        if reader.has("values") {
            reader.only(&["values"]);
        }
        reader.problems
    }

    fn logged(&self, payload: &Json) -> Json {
        Redactor::new(payload).logged_payload()
    }

    fn execute(&self, attempt: Attempt) -> BoxFuture<'static, Performed> {
        let performed = Performed {
            outcome: answer(&attempt.payload),
            logged_payload: Redactor::new(&attempt.payload).logged_payload(),
            http: None,
        };
        Box::pin(std::future::ready(performed))
    }

    fn immediate(&self, payload: &Json) -> Option<Outcome> {
        Some(answer(payload))
    }
}

fn answer(payload: &Json) -> Outcome {
    Outcome::Completed(payload.get("values").map_or_else(|| payload.clone(), |values| Arc::new(values.clone())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_the_answer_or_else_the_payload() {
        for (payload, expected) in [
            (json!({"values": {"a": 1}}), json!({"a": 1})),
            (json!({"values": null}), json!(null)),
            (json!({"a": 1}), json!({"a": 1})),
            (json!([1, 2]), json!([1, 2])),
        ] {
            assert_eq!(Transform.immediate(&Arc::new(payload)), Some(Outcome::Completed(Arc::new(expected))));
        }
    }

    #[test]
    fn keys_beside_values_would_be_lost() {
        let to = Target::word("");
        assert_eq!(Transform.check(&to, &json!({"values": 1})), []);
        assert_eq!(Transform.check(&to, &json!({"a": 1, "b": 2})), []);
        let problems = Transform.check(&to, &json!({"values": 1, "b": 2}));
        assert_eq!(problems[0].message, "unknown key 'b'; known: values");
    }
}
