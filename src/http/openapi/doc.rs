//! What an endpoint says of itself.

use std::sync::Arc;

use actix_web::http::StatusCode;
use core314_actors::ports::resource::Resource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::http::auth::Role;

/// A schema, made within the description's generator so that named types are shared.
pub type SchemaOf = Arc<dyn Fn(&mut SchemaGenerator) -> Schema>;

/// Who may call an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody, or whoever proves themselves by other means than a token.
    Open,
    /// Whoever has at least this role in the tenant.
    Role(Role),
    /// A platform key that names no user.
    Platform,
}

/// A parameter of the query, or a header.
#[derive(Clone)]
pub struct Param {
    pub name: &'static str,
    /// `query` or `header`.
    pub place: &'static str,
    pub description: &'static str,
    pub schema: SchemaOf,
}

/// A body that is taken, in one of these media types.
#[derive(Clone)]
pub struct Body {
    pub media_types: &'static [&'static str],
    pub schema: SchemaOf,
    pub required: bool,
    /// Whether it may name the user for whom a service key acts.
    pub names_user: bool,
}

/// An answer that is no problem.
#[derive(Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub description: &'static str,
    pub media_type: &'static str,
    /// Absent: no body.
    pub schema: Option<SchemaOf>,
}

/// What an endpoint says of itself.
#[derive(Clone)]
pub struct Doc {
    pub summary: &'static str,
    pub access: Access,
    /// What the access alone does not say of who may call; empty where it says all.
    pub condition: &'static str,
    pub params: Vec<Param>,
    pub body: Option<Body>,
    pub answers: Vec<Answer>,
    /// Statuses of problems beyond those that follow from the rest.
    pub problems: Vec<StatusCode>,
}

const JSON: &str = "application/json";

impl Doc {
    /// One sentence, and who may call.
    pub fn new(summary: &'static str, access: Access) -> Self {
        Self {
            summary,
            access,
            condition: "",
            params: Vec::new(),
            body: None,
            answers: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// For whoever has at least this role.
    pub fn role(summary: &'static str, role: Role) -> Self {
        Self::new(summary, Access::Role(role))
    }

    /// One more sentence on who may call.
    pub fn condition(mut self, condition: &'static str) -> Self {
        self.condition = condition;
        self
    }

    /// A parameter of the query.
    pub fn query<T: JsonSchema>(self, name: &'static str, description: &'static str) -> Self {
        self.param("query", name, description, of::<T>())
    }

    /// A parameter of the query: a whole number from `least` to `most`.
    pub fn number(self, name: &'static str, description: &'static str, least: usize, most: usize) -> Self {
        let schema =
            move |_: &mut SchemaGenerator| json_schema!({"type": "integer", "minimum": least, "maximum": most});
        self.param("query", name, description, Arc::new(schema))
    }

    /// A parameter of the query: one of these words.
    pub fn word(self, name: &'static str, description: &'static str, words: &'static [&'static str]) -> Self {
        self.param("query", name, description, Arc::new(move |_| json_schema!({"type": "string", "enum": words})))
    }

    /// Where the page before ended.
    pub fn cursor(self) -> Self {
        let schema = |_: &mut SchemaGenerator| json_schema!({"type": "string", "minLength": 1});
        self.param("query", "cursor", "The `next_cursor` of the page before.", Arc::new(schema))
    }

    /// A header that may be sent.
    pub fn header<T: JsonSchema>(self, name: &'static str, description: &'static str) -> Self {
        self.param("header", name, description, of::<T>())
    }

    pub fn param(
        mut self,
        place: &'static str,
        name: &'static str,
        description: &'static str,
        schema: SchemaOf,
    ) -> Self {
        self.params.push(Param { name, place, description, schema });
        self
    }

    /// `limit`, `cursor` and `sort` of a list.
    pub fn page(self) -> Self {
        self.number("limit", "How many items at most, by default 50.", 1, 500).cursor().word(
            "sort",
            "The newest first: the order of every list.",
            &["-created_at"],
        )
    }

    /// A body of JSON, which may name the user for whom a service key acts.
    pub fn body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Body { media_types: &[JSON], schema: of::<T>(), required: true, names_user: true });
        self
    }

    /// A body in one of these media types.
    pub fn body_in<T: JsonSchema>(mut self, media_types: &'static [&'static str]) -> Self {
        self.body = Some(Body { media_types, schema: of::<T>(), required: true, names_user: false });
        self
    }

    /// A body of JSON that may be left out.
    pub fn optional_body<T: JsonSchema>(mut self) -> Self {
        self.body = Some(Body { media_types: &[JSON], schema: of::<T>(), required: false, names_user: true });
        self
    }

    /// `Idempotency-Key`, for what starts something.
    pub fn idempotent(self) -> Self {
        let description = "The caller's own name for the request: a repetition gets the same answer.";
        let schema = |_: &mut SchemaGenerator| json_schema!({"type": "string", "pattern": "^[!-~]{1,255}$"});
        self.param("header", "Idempotency-Key", description, Arc::new(schema)).problem(StatusCode::CONFLICT)
    }

    /// `If-Match`, for what changes a version that the caller has read.
    pub fn if_match(self) -> Self {
        self.header::<String>("If-Match", "The `ETag` of the version that was read.")
            .problem(StatusCode::PRECONDITION_FAILED)
    }

    /// `Prefer: wait=N`: waits for the end of what it starts.
    pub fn waits(self) -> Self {
        let description = "`wait=N`: wait up to N seconds for the end (RFC 7240).";
        self.header::<String>("Prefer", description)
            .ok_as("The run has ended.", crate::http::resources::row_schema(Resource::Runs))
    }

    /// An answer of JSON.
    pub fn answer<T: JsonSchema>(self, status: StatusCode, description: &'static str) -> Self {
        self.answer_in(status, description, JSON, Some(of::<T>()))
    }

    /// `200` with JSON.
    pub fn ok<T: JsonSchema>(self, description: &'static str) -> Self {
        self.answer::<T>(StatusCode::OK, description)
    }

    /// `200` with something other than JSON.
    pub fn text(self, media_type: &'static str, description: &'static str) -> Self {
        self.answer_in(StatusCode::OK, description, media_type, Some(of::<String>()))
    }

    /// An answer without a body.
    pub fn empty(self, status: StatusCode, description: &'static str) -> Self {
        self.answer_in(status, description, JSON, None)
    }

    /// `200` with JSON whose schema is no Rust type's.
    pub fn ok_as(self, description: &'static str, schema: SchemaOf) -> Self {
        self.answer_in(StatusCode::OK, description, JSON, Some(schema))
    }

    /// An answer of JSON whose schema is no Rust type's.
    pub fn answer_as(self, status: StatusCode, description: &'static str, schema: SchemaOf) -> Self {
        self.answer_in(status, description, JSON, Some(schema))
    }

    fn answer_in(
        mut self,
        status: StatusCode,
        description: &'static str,
        media_type: &'static str,
        schema: Option<SchemaOf>,
    ) -> Self {
        self.answers.push(Answer { status, description, media_type, schema });
        self
    }

    /// One more status with which a problem is answered.
    pub fn problem(mut self, status: StatusCode) -> Self {
        self.problems.push(status);
        self
    }
}

/// The schema of a type, by reference where it has a name.
fn of<T: JsonSchema>() -> SchemaOf {
    #[expect(clippy::redundant_closure_for_method_calls, reason = "the type need not be static")]
    Arc::new(|generator| generator.subschema_for::<T>())
}
