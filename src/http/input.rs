//! Taking the fields out of a JSON object: all that is wrong is said at once, each with its place.
//!
//! A field that is null counts as absent. [`Fields`] ignores those that nobody asked for, as the function endpoints do;
//! [`read`] refuses them.

use core314_domain::document;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::problem::{FieldError, Problem};

/// The fields of a body that have not been taken yet.
pub struct Fields {
    left: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// The fields of this body, which must be an object.
    pub fn of(body: Value) -> Result<Self, Problem> {
        match body {
            Value::Object(left) => Ok(Self { left, errors: Vec::new() }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                Err(Problem::InvalidRequest(vec![FieldError::whole_body("must be a JSON object")]))
            }
        }
    }

    /// A field that may be absent.
    pub fn optional<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        let value = self.left.remove(name).filter(|value| !value.is_null())?;
        match serde_json::from_value(value) {
            Ok(field) => Some(field),
            Err(error) => {
                self.wrong(name, error.to_string());
                None
            }
        }
    }

    /// A field that must be there. `None` makes the end of the reading an error.
    pub fn required<T: DeserializeOwned>(&mut self, name: &'static str) -> Option<T> {
        let errors = self.errors.len();
        let field = self.optional(name);
        if field.is_none() && self.errors.len() == errors {
            self.wrong(name, "is required");
        }
        field
    }

    /// Adds what is wrong with a field for another reason.
    pub fn wrong(&mut self, name: &'static str, message: impl Into<String>) {
        self.errors.push(FieldError::body(name, message));
    }

    /// Ends the reading; fields that nobody asked for do not matter.
    pub fn ignore_others(self) -> Result<(), Problem> {
        if self.errors.is_empty() { Ok(()) } else { Err(Problem::InvalidRequest(self.errors)) }
    }
}

/// A body as its type says: what the documentation of the API is made of. Null stands for an absent field.
pub fn read<T: DeserializeOwned>(body: Value) -> Result<T, Problem> {
    if !body.is_object() {
        return Err(Problem::InvalidRequest(vec![FieldError::whole_body("must be a JSON object")]));
    }
    document::read(body).map_err(|error| Problem::InvalidRequest(vec![FieldError::at(&error.pointer, error.message)]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_wrong_is_said_at_once() {
        let mut fields = Fields::of(json!({"count": "x", "speed": 1, "note": null})).expect("an object");
        assert_eq!(fields.optional::<u8>("count"), None);
        assert_eq!(fields.required::<bool>("is_active"), None);
        assert_eq!(fields.optional::<String>("note"), None);
        let Err(Problem::InvalidRequest(errors)) = fields.ignore_others() else { panic!("must fail") };
        let text = serde_json::to_value(&errors).expect("serialises");
        assert_eq!(
            text,
            json!([
                {"pointer": "/count", "message": "invalid type: string \"x\", expected u8"},
                {"pointer": "/is_active", "message": "is required"},
            ])
        );
    }

    #[test]
    fn others_may_be_ignored_but_never_what_is_no_object() {
        let mut fields = Fields::of(json!({"a": 1, "b": 2})).expect("an object");
        assert_eq!(fields.required::<u8>("a"), Some(1));
        assert_eq!(fields.ignore_others(), Ok(()));
        for body in [json!(null), json!([]), json!("a"), json!(1)] {
            assert!(Fields::of(body).is_err());
        }
    }
}
