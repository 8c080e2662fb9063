//! The problem types: persisted words, each with its title, its status and its page of documentation.
//!
//! A type is added as one line here, one arm of [`super::Problem`] and one page under `docs/problems`. A slug is never
//! renamed: clients branch on it.

use actix_web::http::StatusCode;

macro_rules! kinds {
    ($($kind:ident = $slug:literal, $status:ident, $title:literal;)*) => {
        /// What sort of problem it is.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($kind),* }

        impl Kind {
            /// Every type, in the order of their statuses.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The word in addresses; with `_` for `-` it is the `code`.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$kind => $slug),* }
            }

            /// The same words for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title),* }
            }

            /// The status that it is answered with.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status),* }
            }

            /// Its page: what causes it and what to do, in Markdown.
            pub const fn page(self) -> &'static str {
                match self { $(Self::$kind => include_str!(concat!("../../../docs/problems/", $slug, ".md"))),* }
            }
        }
    };
}

kinds! {
    MalformedBody = "malformed-body", BAD_REQUEST, "The body cannot be read";
    MalformedRequest = "malformed-request", BAD_REQUEST, "The request cannot be read";
    Unauthenticated = "unauthenticated", UNAUTHORIZED, "Who you are is not proven";
    Forbidden = "forbidden", FORBIDDEN, "You may not do this";
    NotFound = "not-found", NOT_FOUND, "There is no such thing";
    NoMatchingFlow = "no-matching-flow", NOT_FOUND, "No flow matches the trigger";
    MethodNotAllowed = "method-not-allowed", METHOD_NOT_ALLOWED, "This cannot be done here";
    RequestTimeout = "request-timeout", REQUEST_TIMEOUT, "The request took too long to arrive";
    NameTaken = "name-taken", CONFLICT, "The name is taken";
    FlowInactive = "flow-inactive", CONFLICT, "The flow is not active";
    IdempotencyKeyReused = "idempotency-key-reused", CONFLICT, "The idempotency key belongs to another request";
    LimitReached = "limit-reached", CONFLICT, "The flow's limit is full";
    Conflict = "conflict", CONFLICT, "It cannot be done now";
    PreconditionFailed = "precondition-failed", PRECONDITION_FAILED, "It has changed since you read it";
    PayloadTooLarge = "payload-too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    UnsupportedMediaType = "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The body has a type that is not read here";
    InvalidRequest = "invalid-request", UNPROCESSABLE_ENTITY, "The request does not make sense";
    InvalidFlow = "invalid-flow", UNPROCESSABLE_ENTITY, "The flow document has problems";
    ConditionError = "condition-error", UNPROCESSABLE_ENTITY, "A flow's conditions cannot be evaluated";
    RateLimited = "rate-limited", TOO_MANY_REQUESTS, "You ask too often";
    TooManyStreams = "too-many-streams", TOO_MANY_REQUESTS, "The tenant has too many streams open";
    Internal = "internal", INTERNAL_SERVER_ERROR, "The server is at fault";
    Busy = "busy", SERVICE_UNAVAILABLE, "The runtime takes no more work just now";
    KeysUnavailable = "keys-unavailable", SERVICE_UNAVAILABLE, "The keys of user tokens cannot be read";
    StoreUnavailable = "store-unavailable", SERVICE_UNAVAILABLE, "The store cannot be reached";
    Paused = "paused", SERVICE_UNAVAILABLE, "The installation is paused";
    Standby = "standby", SERVICE_UNAVAILABLE, "This node is on standby";
}

impl Kind {
    /// The type with this slug.
    pub fn of_slug(slug: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.slug() == slug)
    }

    /// The stable word for programs.
    pub fn code(self) -> String {
        self.slug().replace('-', "_")
    }

    /// The address of its page on this server.
    pub fn address(self) -> String {
        format!("/problems/{}", self.slug())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_says_cause_and_remedy_under_the_types_own_title() {
        for kind in Kind::ALL {
            let page = kind.page();
            let title = format!("# {}\n", kind.title());
            assert!(page.starts_with(&title), "{} begins with '{title}'", kind.slug());
            for part in ["## Cause", "## What to do", &format!("`{}`", kind.code()), kind.status().as_str()] {
                assert!(page.contains(part), "the page of {} lacks {part}", kind.slug());
            }
        }
    }

    #[test]
    fn slugs_are_unique_and_frozen() {
        let slugs: Vec<&str> = Kind::ALL.iter().map(|kind| kind.slug()).collect();
        assert_eq!(
            slugs.join(" "),
            "malformed-body malformed-request unauthenticated forbidden not-found no-matching-flow method-not-allowed \
             request-timeout name-taken flow-inactive idempotency-key-reused limit-reached conflict precondition-failed \
             payload-too-large unsupported-media-type invalid-request invalid-flow condition-error rate-limited \
             too-many-streams internal busy keys-unavailable store-unavailable paused standby"
        );
    }
}
