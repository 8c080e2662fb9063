//! The template engine's environment: strict, without loader, with the filters that are safe.
//!
//! A filter is here if its result is not larger than what goes in, or if it accounts for what it
//! makes. Left out are those that a short text can make arbitrarily dear (`format`, `indent`,
//! `batch`, `slice`), and every global function (`range`, `dict`, `debug`, `namespace`).

use std::fmt::Write;
use std::sync::LazyLock;

use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value, filters, tests};

use super::limits;
use super::view;

/// One environment for all templates: it holds no template, only filters and tests.
pub(super) static ENVIRONMENT: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut env = Environment::empty();
    env.set_undefined_behavior(UndefinedBehavior::Strict);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_recursion_limit(limits::TEXT_DEPTH);
    add_filters(&mut env);
    add_tests(&mut env);
    env
});

/// The filters, by name: what messages and the manual list.
#[rustfmt::skip]
pub(super) const FILTERS: &[&str] = &[
    "abs", "attr", "bool", "capitalize", "count", "d", "default", "dictsort", "first", "float", "groupby",
    "int", "items", "join", "last", "length", "lines", "list", "lower", "map", "max", "min", "reject",
    "rejectattr", "replace", "reverse", "round", "select", "selectattr", "sort", "split", "string", "sum",
    "title", "tojson", "trim", "unique", "upper", "urlencode",
];

/// The tests (`value is …`), by name.
#[rustfmt::skip]
pub(super) const TESTS: &[&str] = &[
    "boolean", "defined", "divisibleby", "endingwith", "eq", "equalto", "even", "false", "float", "ge", "gt",
    "in", "integer", "iterable", "le", "lt", "mapping", "ne", "none", "number", "odd", "sequence",
    "startingwith", "string", "true", "undefined",
];

fn add_filters(env: &mut Environment<'static>) {
    env.add_filter("abs", filters::abs);
    env.add_filter("attr", filters::attr);
    env.add_filter("bool", filters::bool);
    env.add_filter("capitalize", filters::capitalize);
    env.add_filter("count", filters::length);
    env.add_filter("d", filters::default);
    env.add_filter("default", filters::default);
    env.add_filter("dictsort", filters::dictsort);
    env.add_filter("first", filters::first);
    env.add_filter("float", filters::float);
    env.add_filter("groupby", filters::groupby);
    env.add_filter("int", filters::int);
    env.add_filter("items", filters::items);
    env.add_filter("join", join);
    env.add_filter("last", filters::last);
    env.add_filter("length", filters::length);
    env.add_filter("lines", filters::lines);
    env.add_filter("list", filters::list);
    env.add_filter("lower", filters::lower);
    env.add_filter("map", filters::map);
    env.add_filter("max", filters::max);
    env.add_filter("min", filters::min);
    env.add_filter("reject", filters::reject);
    env.add_filter("rejectattr", filters::rejectattr);
    env.add_filter("replace", replace);
    env.add_filter("reverse", filters::reverse);
    env.add_filter("round", filters::round);
    env.add_filter("select", filters::select);
    env.add_filter("selectattr", filters::selectattr);
    env.add_filter("sort", filters::sort);
    env.add_filter("split", filters::split);
    env.add_filter("string", string);
    env.add_filter("sum", filters::sum);
    env.add_filter("title", filters::title);
    env.add_filter("tojson", tojson);
    env.add_filter("trim", filters::trim);
    env.add_filter("unique", filters::unique);
    env.add_filter("upper", filters::upper);
    env.add_filter("urlencode", urlencode);
}

fn add_tests(env: &mut Environment<'static>) {
    env.add_test("boolean", tests::is_boolean);
    env.add_test("defined", tests::is_defined);
    env.add_test("divisibleby", tests::is_divisibleby);
    env.add_test("endingwith", tests::is_endingwith);
    env.add_test("eq", tests::is_eq);
    env.add_test("equalto", tests::is_eq);
    env.add_test("even", tests::is_even);
    env.add_test("false", tests::is_false);
    env.add_test("float", tests::is_float);
    env.add_test("ge", tests::is_ge);
    env.add_test("gt", tests::is_gt);
    env.add_test("in", tests::is_in);
    env.add_test("integer", tests::is_integer);
    env.add_test("iterable", tests::is_iterable);
    env.add_test("le", tests::is_le);
    env.add_test("lt", tests::is_lt);
    env.add_test("mapping", tests::is_mapping);
    env.add_test("ne", tests::is_ne);
    env.add_test("none", tests::is_none);
    env.add_test("number", tests::is_number);
    env.add_test("odd", tests::is_odd);
    env.add_test("sequence", tests::is_sequence);
    env.add_test("startingwith", tests::is_startingwith);
    env.add_test("string", tests::is_string);
    env.add_test("true", tests::is_true);
    env.add_test("undefined", tests::is_undefined);
}

/// Whether a filter of this name exists.
pub(super) fn has_filter(name: &str) -> bool {
    let applied = ENVIRONMENT.empty_state().apply_filter(name, &[]);
    applied.err().is_none_or(|error| error.kind() != ErrorKind::UnknownFilter)
}

/// Whether a test of this name exists.
pub(super) fn has_test(name: &str) -> bool {
    let performed = ENVIRONMENT.empty_state().perform_test(name, &[]);
    performed.err().is_none_or(|error| error.kind() != ErrorKind::UnknownTest)
}

/// How a value stands within a text: a text as it is, anything else as JSON.
pub(super) fn into_text(json: serde_json::Value) -> String {
    match json {
        serde_json::Value::String(text) => text,
        other => other.to_string(),
    }
}

fn text_of(value: &Value) -> Result<String, Error> {
    let mut left = limits::OUTPUT_BYTES;
    view::to_json(value, &mut left).map(into_text).map_err(refused)
}

fn refused(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// Key of the bytes that filters have made so far in one evaluation.
const MADE: &str = "bytes made";

/// Accounts for text about to be made, before memory is spent on it.
fn make(state: &mut State, bytes: usize) -> Result<(), Error> {
    let before = state.get_temp(MADE).and_then(|made| made.as_usize()).unwrap_or(0);
    let made = before.saturating_add(bytes);
    if made > limits::OUTPUT_BYTES {
        return Err(refused(format!("filters would make more than {} bytes of text", limits::OUTPUT_BYTES)));
    }
    state.set_temp(MADE, Value::from(made));
    Ok(())
}

fn string(state: &mut State, value: &Value) -> Result<String, Error> {
    let text = text_of(value)?;
    make(state, text.len())?;
    Ok(text)
}

fn tojson(state: &mut State, value: &Value) -> Result<String, Error> {
    let mut left = limits::OUTPUT_BYTES;
    let text = view::to_json(value, &mut left).map_err(refused)?.to_string();
    make(state, text.len())?;
    Ok(text)
}

fn join(state: &mut State, value: &Value, joiner: Option<&str>) -> Result<String, Error> {
    let joiner = joiner.unwrap_or_default();
    let mut whole = String::new();
    for (at, item) in value.try_iter()?.enumerate() {
        let text = text_of(&item)?;
        let joiner = if at == 0 { "" } else { joiner };
        make(state, joiner.len() + text.len())?;
        whole.push_str(joiner);
        whole.push_str(&text);
    }
    Ok(whole)
}

fn replace(state: &mut State, value: &str, from: &str, to: &str) -> Result<String, Error> {
    let found = value.matches(from).count();
    make(state, value.len().saturating_add(found.saturating_mul(to.len())))?;
    Ok(value.replace(from, to))
}

/// Percent-encodes all but the unreserved characters of RFC 3986. Unlike Jinja's it encodes `/` as
/// well: it is there so that data cannot add segments to a path.
fn urlencode(state: &mut State, value: &Value) -> Result<String, Error> {
    let text = text_of(value)?;
    make(state, text.len().saturating_mul(3))?;
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String cannot fail");
        }
    }
    Ok(encoded)
}

#[cfg(test)]
mod unit_tests {
    use minijinja::context;

    use super::*;

    fn eval(source: &str) -> Result<String, String> {
        let expression = ENVIRONMENT.compile_expression(source).map_err(|error| error.to_string())?;
        let names = context! { text => "a/b ü", list => vec!["x", "y"], long => "a".repeat(100_000) };
        expression.eval(names).map(|value| value.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_lists_are_those_of_the_environment() {
        assert!(FILTERS.iter().all(|name| has_filter(name)) && TESTS.iter().all(|name| has_test(name)));
        let added = |what: &str| include_str!("filters.rs").matches(what).count();
        assert_eq!(added("env.add_filter(\""), FILTERS.len());
        assert_eq!(added("env.add_test(\""), TESTS.len());
        assert!(FILTERS.is_sorted() && TESTS.is_sorted());
    }

    #[test]
    fn own_filters() {
        assert_eq!(eval("text|urlencode").unwrap(), "a%2Fb%20%C3%BC");
        assert_eq!(eval("list|join(', ')").unwrap(), "x, y");
        assert_eq!(eval("[1, none, [true]]|join('-')").unwrap(), "1-null-[true]");
        assert_eq!(eval("list|tojson").unwrap(), r#"["x","y"]"#);
        assert_eq!(eval("'a.b'|replace('.', '::')").unwrap(), "a::b");
        assert_eq!(eval("list|map('upper')|join").unwrap(), "XY");
    }

    #[test]
    fn what_multiplies_text_is_bounded() {
        let chain = "|replace('a', 'aaaaaaaaaaaaaaaa')".repeat(20);
        assert!(eval(&format!("'a'{chain}")).unwrap_err().contains("bytes of text"));
        assert!(eval("long|list|join(long)").unwrap_err().contains("bytes of text"));
        assert!(eval("long|replace('', long)").unwrap_err().contains("bytes of text"));
        assert!(eval("[long,long,long,long,long,long,long,long,long,long,long]|map('string')|list").is_err());
    }

    #[test]
    fn what_is_left_out_is_unknown() {
        for source in
            ["range(9)", "dict(a=1)", "debug()", "namespace()", "'%9d'|format(1)", "list|batch(9)", "text|indent(9)"]
        {
            assert!(eval(source).is_err(), "{source}");
        }
    }
}
