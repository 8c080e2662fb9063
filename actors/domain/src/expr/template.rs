//! Payloads with `{{ … }}` in their strings.
//!
//! A template is a whole JSON document. Its keys are constants; in its strings every `{{ … }}` is an
//! expression of the Jinja language (filters, tests, operators, `a if b else c`; no statements: lists
//! are what filters are for). A string that is exactly one `{{ … }}` keeps the type of the value, in
//! other strings texts stand as they are and everything else as JSON.
//!
//! The text is cut here, and the engine is given one expression at a time: there are no loops, so
//! that work is bounded by the length of an expression and by what filters make (`filters.rs`). A
//! plain member path, the usual case, does not need the engine at all.

mod words;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde_json::{Map, Value};

use super::Suspect;
use super::error::{ExprError, pointer_to};
use super::filters::{ENVIRONMENT, into_text};
use super::limits;
use super::path::{self, Found, Path};
use super::scope::{Names, Scope};
use super::syntax::{self, Fault, Language, Token};
use super::view;
use crate::secret::{self, Marked};

/// A compiled payload. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Template(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    source: Value,
    root: Node,
    /// The secrets that it names, each once.
    secrets: Arc<[Arc<str>]>,
}

#[derive(Debug)]
enum Node {
    /// A part without expressions, and its size in bytes.
    Constant(Value, usize),
    List(Vec<Node>),
    Object(Vec<(String, Node)>),
    /// A string that is one expression.
    Value(Expression),
    /// A string with expressions among its text.
    Text(Vec<Part>),
}

#[derive(Debug)]
enum Part {
    Text(String),
    Value(Expression),
}

/// What stands between `{{` and `}}`.
#[derive(Debug)]
struct Expression {
    source: Box<str>,
    pointer: Box<str>,
    code: Code,
}

#[derive(Debug)]
enum Code {
    Path(Path),
    /// The name of a secret, whose value is not known here.
    Secret(Arc<str>),
    Engine(minijinja::Expression<'static, 'static>),
}

impl Template {
    /// Compiles a payload. Errors carry the JSON pointer of the string that is wrong.
    pub fn parse(doc: &Value, names: &Names) -> Result<Self, ExprError> {
        let mut parser = Parser { names, expressions: 0, secrets: BTreeSet::new() };
        let root = parser.node(doc, "", 1)?;
        let secrets = parser.secrets.into_iter().collect();
        Ok(Self(Arc::new(Compiled { source: doc.clone(), root, secrets })))
    }

    /// A document in which nothing is replaced, whatever stands in its texts.
    pub fn constant(doc: Value) -> Self {
        let size = view::size(&doc);
        Self(Arc::new(Compiled { root: Node::Constant(doc.clone(), size), source: doc, secrets: Arc::default() }))
    }

    /// The payload with every expression replaced by its value. A name that is not there is an error. A secret stays as
    /// it is written: what comes of this may be shown.
    pub fn render(&self, scope: &Scope) -> Result<Value, ExprError> {
        self.render_with(scope, false)
    }

    /// The same with marks in the places of secrets; `None` where it names none.
    pub fn render_marked(&self, scope: &Scope) -> Result<Option<Marked>, ExprError> {
        if self.0.secrets.is_empty() {
            return Ok(None);
        }
        self.render_with(scope, true).map(|payload| Some(Marked::new(payload, self.0.secrets.clone())))
    }

    fn render_with(&self, scope: &Scope, marks: bool) -> Result<Value, ExprError> {
        Renderer { scope, left: limits::OUTPUT_BYTES, names: None, marks }.node(&self.0.root, &self.0.source)
    }

    /// The secrets that it names.
    pub fn secrets(&self) -> &[Arc<str>] {
        &self.0.secrets
    }

    /// Whether nothing in it depends on the scope.
    pub fn is_constant(&self) -> bool {
        matches!(self.0.root, Node::Constant(..))
    }

    /// The document as it was written.
    pub fn source(&self) -> &Value {
        &self.0.source
    }
}

impl Suspect for Template {
    /// Nothing yet that is legal is suspicious in a template.
    fn warnings(&self) -> Vec<ExprError> {
        Vec::new()
    }
}

struct Parser<'a> {
    names: &'a Names<'a>,
    expressions: usize,
    secrets: BTreeSet<Arc<str>>,
}

/// Braces of one text that are kept as they are by an expression each; a document has only so many of these.
const MOST_LITERAL_BRACES: usize = 20;

/// A text for a payload in which nothing is replaced, because it comes from outside: rendered it reads as it is. Where it is
/// full of braces, as a template of something else is, they are set apart by spaces instead.
pub fn literal(text: &str) -> String {
    let opens = |at: usize| text[at..].starts_with("{{") || text[at..].starts_with("{%");
    let count = text.match_indices('{').filter(|(at, _)| opens(*at)).count();
    let kept = if count > MOST_LITERAL_BRACES { "{ " } else { "{{ '{' }}" };
    let mut out = String::with_capacity(text.len() + count * kept.len());
    for (at, c) in text.char_indices() {
        if c == '{' && opens(at) { out.push_str(kept) } else { out.push(c) }
    }
    out
}

impl Parser<'_> {
    fn node(&mut self, doc: &Value, pointer: &str, depth: usize) -> Result<Node, ExprError> {
        if depth > limits::DOCUMENT_DEPTH {
            let message = format!("nested too deeply: more than {} levels", limits::DOCUMENT_DEPTH);
            return Err(ExprError::new(&doc.to_string(), message).under(pointer));
        }
        let node = match doc {
            Value::String(text) if text.contains("{{") || text.contains("{%") => self.text(text, pointer)?,
            Value::Array(items) => {
                let indexed = items.iter().enumerate();
                let nodes = indexed.map(|(at, item)| self.node(item, &pointer_to(pointer, &at.to_string()), depth + 1));
                Node::List(nodes.collect::<Result<_, _>>()?)
            }
            Value::Object(members) => {
                let nodes = members.iter().map(|(key, value)| {
                    let node = self.node(value, &pointer_to(pointer, key), depth + 1)?;
                    Ok((key.clone(), node))
                });
                Node::Object(nodes.collect::<Result<_, _>>()?)
            }
            _ => Node::Constant(Value::Null, 0),
        };
        let constant = match &node {
            Node::Constant(..) => true,
            Node::List(nodes) => nodes.iter().all(|node| matches!(node, Node::Constant(..))),
            Node::Object(nodes) => nodes.iter().all(|(_, node)| matches!(node, Node::Constant(..))),
            Node::Value(_) | Node::Text(_) => false,
        };
        Ok(if constant { Node::Constant(doc.clone(), view::size(doc)) } else { node })
    }

    fn text(&mut self, text: &str, pointer: &str) -> Result<Node, ExprError> {
        let failed = |fault: Fault| ExprError::new(text, fault.message).at_byte(fault.at).under(pointer);
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(open) = text[at..].find('{').map(|found| at + found) {
            let rest = &text[open..];
            if rest.starts_with("{%") {
                let message =
                    "statements such as `{% for %}` are not supported: use filters, as in `{{ x|map('upper')|join }}`";
                return Err(failed(Fault::new(open, message)));
            }
            if !rest.starts_with("{{") {
                push_text(&mut parts, &text[at..=open]);
                at = open + 1;
                continue;
            }
            push_text(&mut parts, &text[at..open]);
            let (found, end) = expression_tokens(text, open + 2).map_err(failed)?;
            self.expressions += 1;
            if self.expressions > limits::TEMPLATE_EXPRESSIONS {
                let message = format!("more than {} expressions in one document", limits::TEMPLATE_EXPRESSIONS);
                return Err(failed(Fault::new(open, message)));
            }
            let source = &text[open + 2..end];
            if source.starts_with('-') || source.ends_with('-') {
                let message = "`{{-` and `-}}` do not trim here; before a negative number put a space";
                return Err(failed(Fault::new(open, message)));
            }
            let source = source.trim();
            let code = self.code(source, &found, open).map_err(failed)?;
            parts.push(Part::Value(Expression { source: source.into(), pointer: pointer.into(), code }));
            at = end + 2;
        }
        push_text(&mut parts, &text[at..]);
        Ok(match parts.pop() {
            Some(Part::Value(expression)) if parts.is_empty() => Node::Value(expression),
            last => {
                parts.extend(last);
                Node::Text(parts)
            }
        })
    }

    /// Faults are placed at bytes of the whole text, of which `open` is that of the `{{`.
    fn code(&mut self, source: &str, found: &[Token<'_>], open: usize) -> Result<Code, Fault> {
        let here = |message: String| Fault::new(found.first().map_or(open, |token| token.at), message);
        syntax::check(source, found, Language::Jinja).map_err(|fault| here(fault.message))?;
        if let Some(name) = path::secret(found, self.names).map_err(here)? {
            self.secrets.insert(name.clone());
            return Ok(Code::Secret(name));
        }
        if let Some((root, keys, used)) = path::read(found)
            && used == found.len()
            && !CONSTANTS.contains(&root.as_str())
        {
            let path = Path::new(&root, keys, self.names).map_err(here)?;
            if let Some(types) = self.names.types {
                path.check_types(types).map_err(here)?;
            }
            return Ok(Code::Path(path));
        }
        words::check_operators(found)?;
        words::check_filters(found)?;
        words::check_names(found, self.names)?;
        let compiled = catch_unwind(AssertUnwindSafe(|| ENVIRONMENT.compile_expression_owned(source.to_owned())));
        let expression = match compiled {
            Ok(Ok(expression)) => expression,
            Ok(Err(error)) => return Err(here(message(&error))),
            Err(_) => return Err(here("not an expression: the parser gave up on it".to_owned())),
        };
        let mut roots: Vec<String> = expression.undeclared_variables(false).into_iter().collect();
        roots.sort_unstable();
        roots.iter().try_for_each(|root| self.names.check_root(root)).map_err(here)?;
        Ok(Code::Engine(expression))
    }
}

/// Words of the language that name no variable.
const CONSTANTS: [&str; 6] = ["true", "false", "none", "True", "False", "None"];

/// The tokens from `start` to the `}}` that ends the expression, and where that is. Braces within the
/// expression pair up, so `{{ {"a": {}} }}` is one.
fn expression_tokens(text: &str, start: usize) -> Result<(Vec<Token<'_>>, usize), Fault> {
    let mut found = Vec::new();
    let mut braces = 0_usize;
    let mut at = start;
    while let Some(token) = syntax::next_token(text, at, Language::Jinja)? {
        match token.text {
            "{" => braces += 1,
            "}" if braces > 0 => braces -= 1,
            "}" if text[token.at..].starts_with("}}") => return Ok((found, token.at)),
            _ => {}
        }
        at = token.at + token.text.len();
        found.push(token);
    }
    Err(Fault::new(start - 2, "`{{` without `}}`"))
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Text(before)) => before.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

/// The engine's message without its own notion of a file and a line.
fn message(error: &minijinja::Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

struct Renderer<'s> {
    scope: &'s Scope,
    /// Bytes that may still be made.
    left: usize,
    /// The scope as the engine sees it, made when the first expression needs it.
    names: Option<minijinja::Value>,
    /// Whether secrets are marked, and nothing else may look like a mark.
    marks: bool,
}

impl Renderer<'_> {
    fn node(&mut self, node: &Node, whole: &Value) -> Result<Value, ExprError> {
        let charge = |bytes, left: &mut usize| {
            view::charge(bytes, left).map_err(|message| ExprError::new(&whole.to_string(), message))
        };
        match node {
            Node::Constant(value, size) => {
                charge(*size, &mut self.left)?;
                Ok(self.plain(value.clone()))
            }
            Node::List(nodes) => {
                nodes.iter().map(|node| self.node(node, whole)).collect::<Result<_, _>>().map(Value::Array)
            }
            Node::Object(members) => {
                let mut object = Map::new();
                for (key, node) in members {
                    charge(key.len(), &mut self.left)?;
                    object.insert(key.clone(), self.node(node, whole)?);
                }
                Ok(Value::Object(object))
            }
            Node::Value(expression) => self.value(expression),
            Node::Text(parts) => {
                let mut text = String::new();
                for part in parts {
                    match part {
                        Part::Text(part) => {
                            charge(part.len(), &mut self.left)?;
                            text.push_str(&into_text(self.plain(Value::from(part.as_str()))));
                        }
                        Part::Value(expression) => text.push_str(&into_text(self.value(expression)?)),
                    }
                }
                Ok(Value::String(text))
            }
        }
    }

    fn value(&mut self, expression: &Expression) -> Result<Value, ExprError> {
        let value = match &expression.code {
            Code::Path(path) => path.find(self.scope).and_then(|found| self.found(found)),
            Code::Secret(name) if self.marks => return Ok(secret::mark(name).into()),
            Code::Secret(name) => return Ok(secret::shown(name).into()),
            Code::Engine(code) => self.evaluate(code),
        };
        value
            .map(|value| self.plain(value))
            .map_err(|message| ExprError::new(&expression.source, message).under(&expression.pointer))
    }

    /// A value that is no secret.
    fn plain(&self, value: Value) -> Value {
        if self.marks { secret::without_marks(value) } else { value }
    }

    fn found(&mut self, found: Found<'_>) -> Result<Value, String> {
        let value = match found {
            Found::Json(json) => {
                view::charge(view::size(json), &mut self.left)?;
                return Ok(json.clone());
            }
            Found::Text(text) => Value::from(text),
            Found::Null => Value::Null,
            Found::Time(time) => Value::from(time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
            Found::Step(step) => {
                let output = step.output.get()?;
                view::charge(view::size(output), &mut self.left)?;
                serde_json::json!({"status": step.status, "output": &**output, "error": step.error.as_deref()})
            }
        };
        view::charge(view::size(&value), &mut self.left)?;
        Ok(value)
    }

    fn evaluate(&mut self, code: &minijinja::Expression<'static, 'static>) -> Result<Value, String> {
        let names = self.names.get_or_insert_with(|| view::of_scope(self.scope)).clone();
        let evaluated = catch_unwind(AssertUnwindSafe(|| code.eval(names)));
        let value = evaluated.map_err(|_| "the expression cannot be evaluated".to_owned())?;
        view::to_json(&value.map_err(|error| message(&error))?, &mut self.left)
    }
}

#[cfg(test)]
mod tests;
