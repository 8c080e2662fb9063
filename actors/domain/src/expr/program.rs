//! One CEL text, checked and ready to be evaluated.
//!
//! The parser of the CEL crate builds a tree and the checker (`check.rs`) rewrites it: member paths
//! of the scope become slots, so that evaluation converts only what is named. The crate is kept
//! behind this file: its panics become errors here, its messages are put into the document's words.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock, OnceLock};

use cel::common::ast::IdedExpr;
use cel::common::types::CelString;
use cel::common::types::{CelBool, CelList, CelMap, CelMapKey, DYN_TYPE, STRING_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use cel::context::VariableResolver;
use cel::parser::Parser;
use cel::{Context, Env, ExecutionError};
use regex::Regex;

use super::budget::Budget;
use super::cel_value::{Built, build};
use super::check;
use super::cost;
use super::error::ExprError;
use super::infer;
use super::limits;
use super::path::{Found, Path};
use super::scope::{Names, Scope};
use super::syntax::{self, Language};

/// A checked CEL expression.
#[derive(Debug)]
pub(super) struct Program {
    source: Box<str>,
    tree: IdedExpr,
    slots: Box<[Slot]>,
    /// Units of one pass over the expression.
    size: u64,
    /// What is legal but suspicious: a sentence, and the character at which.
    warnings: Box<[Warning]>,
}

/// A sentence, and the character that it is about.
type Warning = (String, Option<usize>);

/// What a place demands of an expression's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    Any,
    /// A condition.
    Truth,
    /// A key.
    Key,
    /// What a loop goes over.
    List,
}

/// What is said of one that is none.
pub(super) const NO_KEY: &str = "a key must be a text or a whole number";

/// What a rewritten name stands for.
#[derive(Debug)]
pub(super) enum Slot {
    /// The value at a path; its absence is an error.
    Value(Path),
    /// Whether a member is there: `has(…)`. Its parent must be there, and must be something that has
    /// members; a step, which has no parent, either has run or not.
    Has { parent: Option<Path>, member: Path },
    /// A compiled pattern.
    Pattern(Pattern),
}

/// Name of the call that `matches` is rewritten to: it takes a compiled pattern.
pub(super) const MATCHES: &str = "@matches";
/// Name of the call around the range of every macro: the keys of a map become a sorted list.
pub(super) const IN_ORDER: &str = "@in_order";
/// Name that stands in the body of every macro and accounts for an iteration.
pub(super) const TICK: &str = "@tick";

/// Name of a slot in the tree. No CEL text can spell it.
pub(super) fn slot_name(slot: usize) -> String {
    format!("@{slot}")
}

impl Program {
    /// Parses and checks a text; errors are positioned in it.
    pub(super) fn parse(source: &str, names: &Names, demand: Demand) -> Result<Self, ExprError> {
        let failed = |fault: syntax::Fault| ExprError::new(source, fault.message).at_byte(fault.at);
        syntax::check_length(source).map_err(failed)?;
        let found = syntax::tokens(source, Language::Cel).map_err(failed)?;
        syntax::check(source, &found, Language::Cel).map_err(failed)?;
        let parser = Parser::new().error_recovery_limit(1);
        let spelled = spelled_loop(source, &found).map_err(failed)?;
        let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse_with_source_info(&spelled)));
        let (mut tree, info) = match parsed {
            Ok(Ok(parsed)) => parsed,
            Ok(Err(errors)) => return Err(syntax_error(source, &errors)),
            Err(_) => return Err(ExprError::new(source, "not an expression: the parser gave up on it")),
        };
        let position = |node| {
            let start = info.offset_for(node).map(|(start, _)| start as usize)?;
            // A member is placed at its dot, of which nobody thinks as its place.
            Some(start + usize::from(source.chars().nth(start) == Some('.')))
        };
        let refused = |fault: check::Fault| ExprError::new(source, fault.message).at_char(position(fault.node));
        let written = tree.clone();
        let checked = check::check(&mut tree, names).map_err(refused)?;
        let mut warnings = Vec::new();
        // What was saved when there was no estimate yet may be dearer, but not without bound.
        let items = if names.types.is_some() { limits::ASSUMED_ITEMS } else { limits::ASSUMED_ITEMS / 10 };
        cost::check(&written, items).map_err(refused)?;
        if let Some(types) = names.types {
            let inferred = infer::infer(&written, types).map_err(refused)?;
            if demand == Demand::Truth && !inferred.kind.may_be_true() {
                let message = format!("a condition must be true or false: expected bool, found {}", inferred.kind);
                return Err(ExprError::new(source, message).at_char(Some(0)));
            }
            if demand == Demand::Key && !inferred.kind.may_be_key() {
                let message = format!("{NO_KEY}: expected string or int, found {}", inferred.kind);
                return Err(ExprError::new(source, message).at_char(Some(0)));
            }
            if demand == Demand::List && !inferred.kind.may_be_list() {
                let message = format!("a loop goes over a list, and this never is one: found {}", inferred.kind);
                return Err(ExprError::new(source, message).at_char(Some(0)));
            }
            warnings.extend(inferred.warnings.into_iter().map(|fault| (fault.message, position(fault.node))));
            if matches!(demand, Demand::Truth | Demand::Key) && !checked.names_anything() {
                warnings.push(("it names nothing of the run, so it never changes".to_owned(), Some(0)));
            }
        }
        Ok(Self {
            source: source.into(),
            tree,
            slots: checked.slots.into(),
            size: checked.size,
            warnings: warnings.into(),
        })
    }

    /// Whether the expression holds; a result that is not a bool is an error.
    pub(super) fn holds(&self, scope: &Scope) -> Result<bool, ExprError> {
        self.evaluate(scope, |value| match value.downcast_ref::<CelBool>() {
            Some(truth) => Ok(*truth.inner()),
            None => Err(format!("a condition must be true or false, and this is {}", value.get_type().name())),
        })
    }

    /// The expression's value.
    pub(super) fn value(&self, scope: &Scope) -> Result<serde_json::Value, ExprError> {
        self.evaluate(scope, |value| {
            let value = cel::Value::try_from(value).map_err(|_| "the result has no form in JSON".to_owned())?;
            super::cel_value::to_json(&value)
        })
    }

    fn evaluate<T>(&self, scope: &Scope, take: impl FnOnce(&dyn Val) -> Result<T, String>) -> Result<T, ExprError> {
        let evaluation = Evaluation {
            program: self,
            scope,
            built: self.slots.iter().map(|_| OnceLock::new()).collect(),
            budget: Budget::default(),
        };
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut context = Context::with_env(Arc::clone(&ENV));
            context.set_variable_resolver(&evaluation);
            let value = cel::Value::resolve_val(&self.tree, &context);
            value.map_err(|error| evaluation.explain(&error)).and_then(|value| take(value.as_ref()))
        }));
        let outcome = outcome.unwrap_or_else(|_| Err("the expression cannot be evaluated".to_owned()));
        outcome.map_err(|message| ExprError::new(&self.source, message))
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// What is suspicious, each positioned in the text.
    pub(super) fn warnings(&self) -> Vec<ExprError> {
        let warnings = self.warnings.iter();
        warnings.map(|(message, at)| ExprError::new(&self.source, message).at_char(*at)).collect()
    }
}

/// How the parser is given `loop`: CEL reserves the word, so a name of the same length stands for it there.
pub(super) const LOOP: &str = "l__p";

/// The text with the word `loop` put into a spelling that the parser takes. No character changes its place.
fn spelled_loop<'a>(source: &'a str, found: &[syntax::Token<'_>]) -> Result<Cow<'a, str>, syntax::Fault> {
    let mut spelled = Cow::Borrowed(source);
    for (at, token) in found.iter().enumerate() {
        let is_member = at > 0 && found[at - 1].text == ".";
        if token.kind != syntax::Kind::Word || is_member {
            continue;
        }
        if token.text == LOOP {
            return Err(syntax::Fault::new(token.at, format!("unknown name `{LOOP}`")));
        }
        if token.text == "loop" {
            spelled.to_mut().replace_range(token.at..token.at + LOOP.len(), LOOP);
        }
    }
    Ok(spelled)
}

/// Computes a part without names, to see whether it can be. The error is a sentence.
pub(super) fn constant(node: &IdedExpr) -> Result<(), String> {
    let computed = catch_unwind(AssertUnwindSafe(|| {
        let context = Context::with_env(Arc::clone(&ENV));
        cel::Value::resolve_val(node, &context).map(drop)
    }));
    match computed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(describe(&error)),
        Err(_) => Err("it cannot be computed".to_owned()),
    }
}

/// The interpreter's name for the type of a text's value: what the checker's tables are compared with.
#[cfg(test)]
pub(super) fn interpreted(source: &str) -> Result<String, String> {
    let tree = Parser::new().parse_with_source_info(source).map_err(|error| error.to_string())?.0;
    let computed = catch_unwind(AssertUnwindSafe(|| {
        let context = Context::with_env(Arc::clone(&ENV));
        let value = cel::Value::resolve_val(&tree, &context).map_err(|error| error.to_string())?;
        Ok(value.get_type().name().to_owned())
    }));
    computed.unwrap_or_else(|_| Err("panic".to_owned()))
}

fn syntax_error(source: &str, errors: &cel::ParseErrors) -> ExprError {
    let Some(first) = errors.errors.first() else { return ExprError::new(source, "not an expression") };
    let (line, column) = first.pos;
    let before: usize =
        source.split_inclusive('\n').take((line - 1).max(0) as usize).map(|line| line.chars().count()).sum();
    let position = (line > 0).then(|| before + (column - 1).max(0) as usize);
    let message = first.msg.strip_prefix("Syntax error: ").unwrap_or(&first.msg);
    ExprError::new(source, format!("syntax error: {message}")).at_char(position)
}

/// One run of a program: resolves slots on first use and keeps what it built.
struct Evaluation<'s> {
    program: &'s Program,
    scope: &'s Scope,
    built: Box<[OnceLock<Option<Built<'s>>>]>,
    budget: Budget,
}

impl VariableResolver for Evaluation<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let slot = variable.strip_prefix('@')?;
        if variable == TICK {
            return self.budget.iterate(self.program.size).then(|| CowVal::owned(CelBool::from(true)));
        }
        let slot: usize = slot.parse().ok()?;
        if let Slot::Pattern(pattern) = self.program.slots.get(slot)? {
            return Some(CowVal::Borrowed(pattern));
        }
        let built = self.built[slot].get_or_init(|| self.find(slot)).as_ref()?;
        self.budget.name(built.size, built.element).then(|| CowVal::Borrowed(built.value.as_ref()))
    }
}

impl<'s> Evaluation<'s> {
    fn find(&self, slot: usize) -> Option<Built<'s>> {
        let (program, scope): (&'s Program, &'s Scope) = (self.program, self.scope);
        match &program.slots[slot] {
            Slot::Value(path) => path.find(scope).and_then(build).ok(),
            Slot::Has { parent, member } => {
                let parent = parent.as_ref().map(|parent| parent.find(scope));
                let has_members =
                    matches!(parent, None | Some(Ok(Found::Json(serde_json::Value::Object(_)) | Found::Step(_))));
                has_members.then(|| Built {
                    value: Box::new(CelBool::from(member.is_output() || member.find(scope).is_ok())),
                    size: 1,
                    element: 1,
                })
            }
            Slot::Pattern(_) => None,
        }
    }

    /// Puts a failure into the document's words.
    fn explain(&self, error: &ExecutionError) -> String {
        if self.budget.is_spent() {
            return "too much work: it goes over too much data".to_owned();
        }
        if let ExecutionError::UndeclaredReference(name) = error {
            let slot = name.strip_prefix('@').and_then(|slot| slot.parse::<usize>().ok());
            match slot.and_then(|slot| self.program.slots.get(slot)) {
                Some(Slot::Value(path)) => {
                    if let Err(missing) = path.find(self.scope).and_then(build) {
                        return missing;
                    }
                }
                Some(Slot::Has { parent: Some(parent), .. }) => {
                    return parent.find(self.scope).err().unwrap_or_else(|| format!("`{parent}` has no members"));
                }
                Some(Slot::Has { parent: None, .. } | Slot::Pattern(_)) | None => {}
            }
        }
        describe(error)
    }
}

/// The crate's message, except where it would write out whole values: those may be long, and secret.
fn describe(error: &ExecutionError) -> String {
    match error {
        ExecutionError::UnsupportedBinaryOperator(operator, left, right) => {
            format!("`{operator}` does not apply to {} and {}", left.type_of(), right.type_of())
        }
        ExecutionError::ValuesNotComparable(left, right) => {
            format!("{} and {} cannot be compared", left.type_of(), right.type_of())
        }
        ExecutionError::UnsupportedIndex(index, value) => {
            format!("{} cannot index {}", index.type_of(), value.type_of())
        }
        ExecutionError::UnsupportedTargetType { target } => {
            format!("a value of type {} cannot stand there", target.type_of())
        }
        ExecutionError::NotSupportedAsMethod { method, target } => format!("{} has no `{method}`", target.type_of()),
        ExecutionError::UnsupportedKeyType(key) => format!("a value of type {} cannot be a key", key.type_of()),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "division by zero".to_owned(),
        ExecutionError::FunctionError { function, message } => {
            format!("`{}`: {message}", function.trim_start_matches('@'))
        }
        ExecutionError::Overflow(operator, ..) => format!("overflow in `{operator}`"),
        other => other.to_string().replace(MATCHES, "matches"),
    }
}

/// The functions of CEL without optional values, and `matches` on compiled patterns.
static ENV: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::default().with_optional_support(false).with_stdlib();
    env.add_overload(MATCHES, "matches_pattern", vec![STRING_TYPE, PATTERN_TYPE.to_owned()], matches)
        .expect("no other overload has this name");
    env.add_overload(IN_ORDER, "in_order_dyn", vec![DYN_TYPE], in_order).expect("no other overload has this name");
    Arc::new(env)
});

#[expect(clippy::needless_pass_by_value, reason = "the signature of an overload is the CEL crate's")]
fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let text = args.first().and_then(|arg| arg.downcast_ref::<CelString>());
    let pattern = args.get(1).and_then(|arg| arg.downcast_ref::<Pattern>());
    match (text, pattern) {
        (Some(text), Some(pattern)) => Ok(CowVal::owned(CelBool::from(pattern.0.is_match(text.inner())))),
        _ => Err(ExecutionError::function_error("matches", "it takes a text and a pattern")),
    }
}

/// Macros go over the keys of a map; a sorted list of them is the same range in a fixed order.
fn in_order<'b, 'v>(mut args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let range = args.pop().ok_or_else(ExecutionError::missing_argument_or_target)?;
    let Some(map) = range.downcast_ref::<CelMap>() else { return Ok(range) };
    let mut keys: Vec<CelMapKey> = map.inner().keys().cloned().collect();
    keys.sort_unstable();
    let keys: Vec<Box<dyn Val + 'v>> = keys.iter().map(|key| key.inner().clone_as_boxed()).collect();
    Ok(CowVal::owned(CelList::from(keys)))
}

/// A compiled pattern as a CEL value.
#[derive(Clone, Debug)]
pub(super) struct Pattern(pub Regex);

static PATTERN_TYPE: Type = Type::new_unspecified_type("pattern");

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &PATTERN_TYPE
    }

    fn cel_type() -> &'static Type {
        &PATTERN_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn std::any::Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}
