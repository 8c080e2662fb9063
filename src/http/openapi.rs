//! The API's own description: OpenAPI 3.1, made from the table of endpoints and the types of their bodies and answers.
//!
//! Each endpoint says with a [`Doc`] who may call it, what it takes and what it answers; the table of routes cannot hold
//! one without. The description is served at `/api/openapi.json`, committed as `docs/openapi.json`, and a test holds the
//! two against each other.

mod build;
mod doc;

pub use build::document;
pub use doc::{Access, Doc, SchemaOf};
