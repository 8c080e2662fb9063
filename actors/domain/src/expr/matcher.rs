//! JSON matchers: conditions as data, for those who build them in forms.
//!
//! `{"severity": "high"}` compares members of the trigger (dotted keys reach in, a list means "one
//! of"), `{"field": "score", "operator": ">", "value": 0.8}` says how, `all` / `any` / `not` combine.
//! A field that is missing, or of a kind that the operator does not apply to, does not match: that is
//! what users of such filters expect. So evaluation cannot fail, and everything that can be wrong is
//! found when the matcher is parsed.

use std::cmp::Ordering;

use regex::Regex;
use serde_json::{Map, Number, Value};

use super::error::{ExprError, pointer_to, shortened};
use super::limits;
use super::path::{Key, walk};
use super::pattern;
use super::scope::{Names, Scope};

/// A compiled matcher on the trigger.
#[derive(Debug)]
pub(super) struct Matcher(Node);

#[derive(Debug)]
enum Node {
    All(Vec<Node>),
    /// One of these, and the document's own words for them.
    Any(Vec<Node>, Box<str>),
    Not(Box<Node>, Box<str>),
    Test {
        path: Path,
        test: Test,
        text: Box<str>,
    },
}

/// Keys of a field. A number reaches into lists and, as text, into objects.
type Path = Box<[(Key, Option<Key>)]>;

#[derive(Debug)]
enum Test {
    Order(fn(Ordering) -> bool, Value),
    Equal(Value),
    Unequal(Value),
    In(Vec<Value>),
    NotIn(Vec<Value>),
    Contains(Value),
    StartsWith(String),
    EndsWith(String),
    Matches(Regex),
    Exists(bool),
}

const OPERATORS: &str = "<, >, <=, >=, =, ==, !=, in, not_in, contains, starts_with, ends_with, matches, exists";

impl Matcher {
    pub(super) fn parse(doc: &Value, names: &Names) -> Result<Self, ExprError> {
        let mut parser = Parser { tests: 0 };
        let node = parser.node(doc, "", 1)?;
        if parser.tests > 0 {
            names.check_root("trigger").map_err(|message| ExprError::new(&doc.to_string(), message))?;
        }
        Ok(Self(node))
    }

    pub(super) fn holds(&self, scope: &Scope) -> bool {
        self.0.holds(&scope.trigger)
    }

    /// The part that does not match, as the document says it.
    pub(super) fn failing(&self, scope: &Scope) -> Option<String> {
        self.0.failing(&scope.trigger).map(str::to_owned)
    }
}

struct Parser {
    tests: usize,
}

impl Parser {
    fn node(&mut self, doc: &Value, pointer: &str, depth: usize) -> Result<Node, ExprError> {
        let refuse = |message: &str| Err(ExprError::new(&doc.to_string(), message).under(pointer));
        if depth > limits::DEPTH {
            return refuse(&format!("nested too deeply: more than {} levels", limits::DEPTH));
        }
        match doc {
            Value::Array(items) => self.nodes(items, pointer, depth).map(Node::All),
            Value::Object(members) if is_test(members) => self.test(doc, members, pointer),
            Value::Object(members) => {
                let mut nodes = Vec::with_capacity(members.len());
                for (key, value) in members {
                    nodes.push(self.member(key, value, &pointer_to(pointer, key), depth)?);
                }
                Ok(Node::All(nodes))
            }
            _ => refuse("a matcher is an object, or a list of them"),
        }
    }

    fn nodes(&mut self, items: &[Value], pointer: &str, depth: usize) -> Result<Vec<Node>, ExprError> {
        let indexed = items.iter().enumerate();
        indexed.map(|(at, item)| self.node(item, &pointer_to(pointer, &at.to_string()), depth + 1)).collect()
    }

    fn member(&mut self, key: &str, value: &Value, pointer: &str, depth: usize) -> Result<Node, ExprError> {
        let words = || words(&Value::Object(Map::from_iter([(key.to_owned(), value.clone())])));
        match (key, value) {
            ("all", Value::Array(items)) => self.nodes(items, pointer, depth).map(Node::All),
            ("any", Value::Array(items)) => Ok(Node::Any(self.nodes(items, pointer, depth)?, words())),
            ("not", Value::Array(_) | Value::Object(_)) => {
                Ok(Node::Not(Box::new(self.node(value, pointer, depth + 1)?), words()))
            }
            ("all" | "any", _) => {
                Err(ExprError::new(&value.to_string(), format!("`{key}` takes a list of matchers")).under(pointer))
            }
            ("not", _) => Err(ExprError::new(&value.to_string(), "`not` takes a matcher").under(pointer)),
            _ => {
                let test = match value {
                    Value::Array(items) => Test::In(items.clone()),
                    other => Test::Equal(other.clone()),
                };
                self.made(key, test, words()).map_err(|message| ExprError::new(&words(), message).under(pointer))
            }
        }
    }

    fn test(&mut self, doc: &Value, members: &Map<String, Value>, pointer: &str) -> Result<Node, ExprError> {
        let refuse = |message: String| ExprError::new(&doc.to_string(), message).under(pointer);
        if let Some(key) = members.keys().find(|key| !["field", "operator", "value"].contains(&key.as_str())) {
            return Err(refuse(format!("unknown key `{key}`; a test has field, operator and value")));
        }
        let Some(Value::String(field)) = members.get("field") else {
            return Err(refuse("`field` must be a text".into()));
        };
        let operator = match members.get("operator") {
            None => "==",
            Some(Value::String(operator)) => operator,
            Some(_) => return Err(refuse("`operator` must be a text".into())),
        };
        let test = test(operator, members.get("value")).map_err(refuse)?;
        self.made(field, test, words(doc)).map_err(refuse)
    }

    fn made(&mut self, field: &str, test: Test, words: Box<str>) -> Result<Node, String> {
        self.tests += 1;
        if self.tests > limits::MATCHER_TESTS {
            return Err(format!("more than {} tests in one matcher", limits::MATCHER_TESTS));
        }
        Ok(Node::Test { path: path(field)?, test, text: words })
    }
}

/// Whether an object is one test, and not a set of members to compare.
fn is_test(members: &Map<String, Value>) -> bool {
    members.contains_key("field") && (members.contains_key("operator") || members.contains_key("value"))
}

fn words(doc: &Value) -> Box<str> {
    shortened(&doc.to_string()).into()
}

fn path(field: &str) -> Result<Path, String> {
    let field = field.strip_prefix("trigger.").unwrap_or(field);
    let keys: Path = field.split('.').map(|key| (Key::Name(key.into()), key.parse().ok().map(Key::Index))).collect();
    if field.split('.').any(str::is_empty) {
        return Err(format!("`{field}` is not a field: a member's name is empty"));
    }
    if keys.len() > limits::DEPTH {
        return Err(format!("a field of more than {} members", limits::DEPTH));
    }
    Ok(keys)
}

fn test(operator: &str, value: Option<&Value>) -> Result<Test, String> {
    if operator == "exists" {
        return match value {
            None | Some(Value::Bool(true)) => Ok(Test::Exists(true)),
            Some(Value::Bool(false)) => Ok(Test::Exists(false)),
            Some(_) => Err("`exists` takes true or false".to_owned()),
        };
    }
    let value = value.ok_or_else(|| format!("`{operator}` needs a value"))?;
    let text = || value.as_str().map(str::to_owned).ok_or_else(|| format!("`{operator}` takes a text"));
    let list = || value.as_array().cloned().ok_or_else(|| format!("`{operator}` takes a list"));
    let ordered = |accepts| match value {
        Value::Number(_) | Value::String(_) => Ok(Test::Order(accepts, value.clone())),
        _ => Err(format!("`{operator}` takes a number or a text")),
    };
    match operator {
        "<" => ordered(Ordering::is_lt),
        "<=" => ordered(Ordering::is_le),
        ">" => ordered(Ordering::is_gt),
        ">=" => ordered(Ordering::is_ge),
        "=" | "==" => Ok(Test::Equal(value.clone())),
        "!=" => Ok(Test::Unequal(value.clone())),
        "in" => list().map(Test::In),
        "not_in" => list().map(Test::NotIn),
        "contains" => Ok(Test::Contains(value.clone())),
        "starts_with" => text().map(Test::StartsWith),
        "ends_with" => text().map(Test::EndsWith),
        "matches" => pattern::compile(&text()?).map(Test::Matches),
        _ => Err(format!("unknown operator `{operator}`; known: {OPERATORS}")),
    }
}

impl Node {
    fn holds(&self, trigger: &Value) -> bool {
        match self {
            Self::All(nodes) => nodes.iter().all(|node| node.holds(trigger)),
            Self::Any(nodes, _) => nodes.iter().any(|node| node.holds(trigger)),
            Self::Not(node, _) => !node.holds(trigger),
            Self::Test { path, test, .. } => test.holds(reach(trigger, path)),
        }
    }

    fn failing(&self, trigger: &Value) -> Option<&str> {
        match self {
            Self::All(nodes) => nodes.iter().find_map(|node| node.failing(trigger)),
            Self::Any(_, text) | Self::Not(_, text) | Self::Test { text, .. } => (!self.holds(trigger)).then_some(text),
        }
    }
}

fn reach<'v>(start: &'v Value, path: &Path) -> Option<&'v Value> {
    path.iter().try_fold(start, |here, (name, index)| match (here, index) {
        (Value::Array(_), Some(index)) => walk(here, std::slice::from_ref(index)).ok(),
        _ => walk(here, std::slice::from_ref(name)).ok(),
    })
}

impl Test {
    fn holds(&self, field: Option<&Value>) -> bool {
        if let Self::Exists(expected) = self {
            return field.is_some() == *expected;
        }
        let Some(field) = field else { return false };
        match self {
            Self::Exists(_) => true,
            Self::Order(accepts, value) => order(field, value).is_some_and(accepts),
            Self::Equal(value) => equal(field, value),
            Self::Unequal(value) => !equal(field, value),
            Self::In(values) => values.iter().any(|value| equal(field, value)),
            Self::NotIn(values) => !values.iter().any(|value| equal(field, value)),
            Self::Contains(value) => contains(field, value),
            Self::StartsWith(text) => field.as_str().is_some_and(|field| field.starts_with(text)),
            Self::EndsWith(text) => field.as_str().is_some_and(|field| field.ends_with(text)),
            Self::Matches(pattern) => field.as_str().is_some_and(|field| pattern.is_match(field)),
        }
    }
}

/// Equality by value: 1 equals 1.0, members of objects may come in any order.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare(a, b),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// Integers are compared exactly, others as floating-point numbers.
fn compare(a: &Number, b: &Number) -> Option<Ordering> {
    let int = |number: &Number| number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    match (int(a), int(b)) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn contains(field: &Value, value: &Value) -> bool {
    match (field, value) {
        (Value::String(field), Value::String(value)) => field.contains(value.as_str()),
        (Value::Array(items), value) => items.iter().any(|item| equal(item, value)),
        (Value::Object(members), Value::String(key)) => members.contains_key(key),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{NAMES, scope};
    use super::*;

    fn holds(doc: &Value) -> bool {
        Matcher::parse(doc, &NAMES).unwrap().holds(&scope())
    }

    fn refused(doc: &Value) -> ExprError {
        Matcher::parse(doc, &NAMES).unwrap_err()
    }

    #[test]
    fn members_compare_dotted_and_one_of() {
        assert!(holds(&json!({"severity": "high", "labels.region": "eu", "tags.1": "eu"})));
        assert!(holds(&json!({"trigger.severity": ["low", "high"], "count": 3.0})));
        assert!(!holds(&json!({"severity": "high", "host": "web-2"})));
        assert!(!holds(&json!({"missing": null})), "a missing field does not match, not even null");
        assert!(!holds(&json!({"host.name": "x"})));
    }

    #[test]
    fn every_operator() {
        for (operator, value, expected) in [
            ("<", json!(1), true),
            ("<", json!(0.9), false),
            ("<=", json!(0.9), true),
            (">", json!(0.8), true),
            (">=", json!(0.9), true),
            (">=", json!(1), false),
            ("=", json!(0.9), true),
            ("==", json!("0.9"), false),
            ("!=", json!(1), true),
            ("!=", json!(0.9), false),
            ("in", json!([1, 0.9]), true),
            ("in", json!([]), false),
            ("not_in", json!([1]), true),
            ("not_in", json!([0.9]), false),
            ("exists", json!(true), true),
            ("exists", json!(false), false),
            ("<", json!("z"), false),
        ] {
            let doc = json!({"field": "score", "operator": operator, "value": value});
            assert_eq!(holds(&doc), expected, "{doc}");
        }
        for (field, operator, value, expected) in [
            ("host", "contains", json!("eb-"), true),
            ("tags", "contains", json!("eu"), true),
            ("labels", "contains", json!("region"), true),
            ("count", "contains", json!(3), false),
            ("host", "starts_with", json!("web"), true),
            ("host", "ends_with", json!("-1"), true),
            ("host", "matches", json!("^web-[0-9]$"), true),
            ("host", "matches", json!("^db"), false),
            ("count", "matches", json!("3"), false),
            ("host", ">", json!("web-0"), true),
        ] {
            let doc = json!({"field": field, "operator": operator, "value": value});
            assert_eq!(holds(&doc), expected, "{doc}");
        }
    }

    #[test]
    fn a_missing_field_matches_nothing_but_its_absence() {
        for operator in ["<", "=", "!=", "contains"] {
            assert!(!holds(&json!({"field": "nope", "operator": operator, "value": "x"})), "{operator}");
        }
        assert!(!holds(&json!({"field": "nope", "operator": "not_in", "value": []})));
        assert!(holds(&json!({"field": "nope", "operator": "exists", "value": false})));
        assert!(holds(&json!({"not": {"nope": 1}})));
    }

    #[test]
    fn combinations() {
        assert!(holds(&json!({"any": [{"severity": "low"}, {"severity": "high"}], "host": "web-1"})));
        assert!(holds(&json!([{"severity": "high"}, {"field": "score", "operator": ">", "value": 0.8}])));
        assert!(!holds(&json!({"any": []})));
        assert!(!holds(&json!({"not": [{"severity": "high"}, {"host": "web-1"}]})));
        let matcher = Matcher::parse(&json!({"severity": "high", "any": [{"host": "a"}]}), &NAMES).unwrap();
        assert_eq!(matcher.failing(&scope()).as_deref(), Some(r#"{"any":[{"host":"a"}]}"#));
    }

    #[test]
    fn large_integers_are_exact() {
        let equal = |a: u64, b: u64| equal(&json!(a), &json!(b));
        assert!(!equal(9_007_199_254_740_993, 9_007_199_254_740_992));
        assert!(equal(u64::MAX, u64::MAX));
        assert_eq!(order(&json!(-1), &json!(u64::MAX)), Some(Ordering::Less));
    }

    #[test]
    fn mistakes_are_refused_with_their_place() {
        let error = refused(&json!({"all": [{"any": [{"field": "a", "operator": "~", "value": 1}]}]}));
        assert_eq!(error.pointer, "/all/0/any/0");
        assert!(error.message.contains("starts_with"));
        for doc in [
            json!([1]),
            json!({"any": 1}),
            json!({"not": 1}),
            json!({"field": "a", "operator": "<"}),
            json!({"field": "a", "operator": "in", "value": 1}),
            json!({"field": "a", "value": 1, "x": 2}),
            json!({"field": "a", "operator": "matches", "value": "("}),
            json!({"": 1}),
            json!({"a..b": 1}),
            json!({"field": "a", "operator": "<", "value": []}),
            json!({"field": 1, "value": 1}),
        ] {
            assert!(Matcher::parse(&doc, &NAMES).is_err(), "{doc}");
        }
        let deep = (0..40).fold(json!({"a": 1}), |inner, _| json!({"not": inner}));
        assert!(refused(&deep).message.contains("deep"));
        let wide = json!({"all": vec![json!({"a": 1}); limits::MATCHER_TESTS + 1]});
        assert!(refused(&wide).message.contains("1000 tests"));
        let nowhere = Names::new(&["input"], &[]);
        assert!(Matcher::parse(&json!({"a": 1}), &nowhere).is_err());
    }
}
