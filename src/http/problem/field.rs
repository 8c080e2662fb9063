//! One wrong field of a request: where it stands, and what is wrong with it.

use serde::ser::{Serialize, SerializeMap, Serializer};

/// Where a field stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// An RFC 6901 pointer into the body.
    Body(String),
    /// A parameter of the query.
    Query(String),
    Header(&'static str),
}

/// A field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    pub place: Place,
    pub message: String,
}

/// Messages quote what the client sent. Their ends are enough to find the place: what is wrong stands first, the line
/// last.
const HEAD_CHARS: usize = 800;
const TAIL_CHARS: usize = 100;

impl FieldError {
    /// A member of the body.
    pub fn body(name: &str, message: impl Into<String>) -> Self {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        Self { place: Place::Body(shortened(&pointer)), message: shortened(&message.into()) }
    }

    /// A place in the body, by its pointer.
    pub fn at(pointer: &str, message: impl Into<String>) -> Self {
        Self { place: Place::Body(shortened(pointer)), message: shortened(&message.into()) }
    }

    /// The body as a whole.
    pub fn whole_body(message: impl Into<String>) -> Self {
        Self { place: Place::Body(String::new()), message: shortened(&message.into()) }
    }

    /// A parameter of the query.
    pub fn query(name: &str, message: impl Into<String>) -> Self {
        Self { place: Place::Query(shortened(name)), message: shortened(&message.into()) }
    }
}

impl Serialize for FieldError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (key, place) = match &self.place {
            Place::Body(pointer) => ("pointer", pointer.as_str()),
            Place::Query(name) => ("parameter", name.as_str()),
            Place::Header(name) => ("header", *name),
        };
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry(key, place)?;
        map.serialize_entry("message", &self.message)?;
        map.end()
    }
}

/// The first error, and how many there are besides.
pub(super) fn summary(errors: &[FieldError]) -> String {
    let Some(first) = errors.first() else {
        return "a field is wrong".to_owned();
    };
    let place = match &first.place {
        Place::Body(pointer) if pointer.is_empty() => "the body".to_owned(),
        Place::Body(pointer) => pointer.clone(),
        Place::Query(name) => format!("parameter {name}"),
        Place::Header(name) => format!("header {name}"),
    };
    let more = if errors.len() > 1 { format!(" (and {} more)", errors.len() - 1) } else { String::new() };
    format!("{place}: {}{more}", first.message)
}

/// The text, cut in its middle to a length that fits into an answer.
pub(super) fn shortened(text: &str) -> String {
    if text.chars().count() <= HEAD_CHARS + TAIL_CHARS {
        return text.to_owned();
    }
    let head: String = text.chars().take(HEAD_CHARS).collect();
    let tail_from = text.char_indices().rev().nth(TAIL_CHARS - 1).map_or(0, |(at, _)| at);
    format!("{head} … {}", &text[tail_from..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_its_own_key() {
        let errors = [
            FieldError::body("a/b", "bad"),
            FieldError::query("limit", "bad"),
            FieldError { place: Place::Header("X-User-Id"), message: "bad".to_owned() },
        ];
        let text = serde_json::to_string(&errors).expect("serialises");
        assert_eq!(
            text,
            r#"[{"pointer":"/a~1b","message":"bad"},{"parameter":"limit","message":"bad"},{"header":"X-User-Id","message":"bad"}]"#
        );
        assert_eq!(summary(&errors), "/a~1b: bad (and 2 more)");
    }

    #[test]
    fn what_a_client_sent_comes_back_shortened() {
        let error = FieldError::body(&"é".repeat(100_000), format!("{} at line 7", "x".repeat(100_000)));
        assert!(serde_json::to_string(&error).expect("serialises").len() < 4_000);
        assert!(error.message.starts_with("xx") && error.message.ends_with("x at line 7"));
    }
}
