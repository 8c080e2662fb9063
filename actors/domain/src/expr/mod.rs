//! What flow documents compute: conditions, expressions and templates.
//!
//! Three things are compiled when a flow is saved and evaluated while it runs: a [`Condition`]
//! decides (CEL, or a JSON matcher), an [`Expression`] computes a value (CEL), a [`Template`] fills a
//! payload (Jinja-style `{{ … }}` in its strings). All three name the same things, a [`Scope`].
//!
//! Invariants:
//! 1. Whatever parses names only what exists: roots, steps and functions are checked by `parse`.
//! 2. Nothing here blocks, loops or overflows the stack, whatever the text: length and nesting are
//!    bounded before any parser sees it, work is bounded while it is evaluated ([`limits`]).
//! 3. Evaluation costs by what an expression touches, never by the size of the scope: a member path
//!    is looked up first, and only what it leads to is converted.
//! 4. A failure is an [`ExprError`] that names the expression and its place, never a silent false.

mod budget;
mod cel_value;
mod check;
mod condition;
mod cost;
mod error;
mod expression;
mod filters;
mod infer;
mod matcher;
mod output;
mod path;
mod pattern;
mod program;
mod scope;
mod syntax;
mod template;
mod types;
mod view;

pub use condition::Condition;
pub use error::ExprError;
pub use expression::Expression;
pub use output::{Away, Output, Shelf};
pub(crate) use pattern::compile as compile_pattern;
pub use scope::{NamedExecutions, Names, ROOTS, Scope, StepView, StepViews};
pub use template::{Template, literal};
pub use types::{Type, Types, UNTYPED};
pub use view::size;

/// What was compiled may be legal, and still surely not be what was meant.
pub trait Suspect {
    /// What is suspicious about it.
    fn warnings(&self) -> Vec<ExprError>;
}

/// Bounds on what may be written and on what an evaluation may cost.
pub mod limits {
    /// Bytes of one expression (all of a CEL text, or what stands between `{{` and `}}`).
    pub const EXPRESSION_BYTES: usize = 4 * 1024;
    /// Bytes of a key that an expression computes.
    pub const KEY_BYTES: usize = 512;
    /// Levels of a parsed expression, of a matcher, and of a member path.
    pub const DEPTH: usize = 32;
    /// Nesting that a text may have by its brackets and operators before it is given to a parser.
    pub const TEXT_DEPTH: usize = 96;
    /// Nesting of `all`, `exists`, `exists_one`, `map` and `filter`.
    pub const MACRO_DEPTH: usize = 2;
    /// Elements that a collection of the scope is assumed to have when the work of an expression is estimated.
    pub const ASSUMED_ITEMS: u64 = 1_000;
    /// Units of work of one CEL evaluation: about one per value touched or 64 bytes of text.
    pub const WORK: u64 = 1_000_000;
    /// Tests in one matcher.
    pub const MATCHER_TESTS: usize = 1_000;
    /// Bytes of one compiled regular expression.
    pub const PATTERN_BYTES: usize = 256 * 1024;
    /// Levels of objects and arrays in a template document.
    pub const DOCUMENT_DEPTH: usize = 64;
    /// `{{ … }}` in one template document.
    pub const TEMPLATE_EXPRESSIONS: usize = 1_000;
    /// Concatenations (`~` and `+`) in one `{{ … }}`.
    pub const CONCATENATIONS: usize = 16;
    /// Bytes of a rendered document, and of all text that filters make for one `{{ … }}`.
    pub const OUTPUT_BYTES: usize = 1024 * 1024;
}

#[cfg(test)]
mod tests;
