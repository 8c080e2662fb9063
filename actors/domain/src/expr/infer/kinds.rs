//! What the operators and functions of CEL apply to: the interpreter's own rules, as tables.
//!
//! A test evaluates every operator and function on a value of every kind, and compares: the tables say neither more nor
//! less than what the interpreter does.

use cel::common::ast::operators;

use super::Type;

/// The kinds of values that operators tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Time,
    Duration,
    TypeName,
    List,
    Map,
}

use Kind::{Bool, Bytes, Double, Duration, Int, List, Map, Null, Text, Time, TypeName, Uint};

pub(super) const ALL: &[Kind] = &[Null, Bool, Int, Uint, Double, Text, Bytes, Time, Duration, TypeName, List, Map];

impl Kind {
    /// The type of which nothing more is known.
    pub fn to_type(self) -> Type {
        match self {
            Null => Type::Null,
            Bool => Type::Bool,
            Int => Type::Int,
            Uint => Type::Uint,
            Double => Type::Double,
            Text => Type::Text,
            Bytes => Type::Bytes,
            Time => Type::Time,
            Duration => Type::Duration,
            TypeName => Type::TypeName,
            List => Type::list(Type::Dyn),
            Map => Type::Map(std::sync::Arc::new(Type::Dyn)),
        }
    }
}

/// The kinds that values of a type may have. Null is left out of what may be null: nothing applies to it.
pub(super) fn kinds(of: &Type) -> &'static [Kind] {
    match of {
        Type::Dyn | Type::Never => ALL,
        Type::Null => &[Null],
        Type::Bool => &[Bool],
        Type::Int => &[Int],
        Type::Uint => &[Uint],
        Type::Double => &[Double],
        Type::Number => &[Int, Uint, Double],
        Type::Text | Type::Word(_) => &[Text],
        Type::Bytes => &[Bytes],
        Type::Time => &[Time],
        Type::Duration => &[Duration],
        Type::TypeName => &[TypeName],
        Type::List(_) => &[List],
        Type::Map(_) | Type::Object(_) | Type::Steps => &[Map],
        Type::Optional(inner) => kinds(inner),
    }
}

/// The kind of `left operator right`; none where the operator does not apply.
pub(super) fn binary(operator: &str, left: Kind, right: Kind) -> Option<Kind> {
    let is_number = |kind| matches!(kind, Int | Uint | Double);
    match operator {
        operators::ADD => match (left, right) {
            (Int | Uint | Double | Text | Bytes | Duration, same) if same == left => Some(left),
            (List, List | Map) => Some(List),
            (Time, Duration) | (Duration, Time) => Some(Time),
            _ => None,
        },
        operators::SUBSTRACT => match (left, right) {
            (Int | Uint | Double | Duration, same) if same == left => Some(left),
            (Time, Time) => Some(Duration),
            (Time, Duration) => Some(Time),
            _ => None,
        },
        operators::MULTIPLY | operators::DIVIDE => (is_number(left) && left == right).then_some(left),
        operators::MODULO => (matches!(left, Int | Uint) && left == right).then_some(left),
        // Comparisons.
        _ => {
            let alike = left == right && matches!(left, Bool | Text | Bytes | Time | Duration);
            (alike || (is_number(left) && is_number(right))).then_some(Bool)
        }
    }
}

/// Whether `-value` is possible.
pub(super) const fn has_negative(kind: Kind) -> bool {
    matches!(kind, Int | Double)
}

/// A function as it may be called: on a value (`x.f(…)`) or with it (`f(x, …)`).
pub(super) struct Function {
    pub name: &'static str,
    pub receiver: Option<&'static [Kind]>,
    pub arguments: &'static [&'static [Kind]],
    /// None: as what goes in.
    pub result: Option<Kind>,
}

const fn with(name: &'static str, arguments: &'static [&'static [Kind]], result: Kind) -> Function {
    Function { name, receiver: None, arguments, result: Some(result) }
}

const fn on(
    name: &'static str,
    receiver: &'static [Kind],
    arguments: &'static [&'static [Kind]],
    result: Kind,
) -> Function {
    Function { name, receiver: Some(receiver), arguments, result: Some(result) }
}

const SIZED: &[Kind] = &[Text, Bytes, List, Map];
const TIMES: &[Kind] = &[Time, Duration];

/// Every function, by name.
pub(super) const FUNCTIONS: &[Function] = &[
    with("bool", &[&[Bool, Text]], Bool),
    with("bytes", &[&[Text, Bytes]], Bytes),
    on("contains", &[Text], &[&[Text]], Bool),
    with("double", &[&[Double, Int, Uint, Text]], Double),
    with("duration", &[&[Text, Duration]], Duration),
    Function { name: "dyn", receiver: None, arguments: &[ALL], result: None },
    on("endsWith", &[Text], &[&[Text]], Bool),
    on("getDate", &[Time], &[], Int),
    on("getDate", &[Time], &[&[Text]], Int),
    on("getDayOfMonth", &[Time], &[], Int),
    on("getDayOfMonth", &[Time], &[&[Text]], Int),
    on("getDayOfWeek", &[Time], &[], Int),
    on("getDayOfWeek", &[Time], &[&[Text]], Int),
    on("getDayOfYear", &[Time], &[], Int),
    on("getDayOfYear", &[Time], &[&[Text]], Int),
    on("getFullYear", &[Time], &[], Int),
    on("getFullYear", &[Time], &[&[Text]], Int),
    on("getHours", TIMES, &[], Int),
    on("getHours", &[Time], &[&[Text]], Int),
    on("getMilliseconds", TIMES, &[], Int),
    on("getMilliseconds", &[Time], &[&[Text]], Int),
    on("getMinutes", TIMES, &[], Int),
    on("getMinutes", &[Time], &[&[Text]], Int),
    on("getMonth", &[Time], &[], Int),
    on("getMonth", &[Time], &[&[Text]], Int),
    on("getSeconds", TIMES, &[], Int),
    on("getSeconds", &[Time], &[&[Text]], Int),
    with("int", &[&[Int, Uint, Double, Text, Time]], Int),
    with("matches", &[&[Text], &[Text]], Bool),
    on("matches", &[Text], &[&[Text]], Bool),
    with("size", &[SIZED], Int),
    on("size", SIZED, &[], Int),
    on("startsWith", &[Text], &[&[Text]], Bool),
    with("string", &[&[Text, Bool, Int, Uint, Double, Bytes, Time, Duration]], Text),
    with("timestamp", &[&[Text, Time, Int]], Time),
    with("type", &[ALL], TypeName),
    with("uint", &[&[Uint, Int, Double, Text]], Uint),
];

/// The names of all functions, each once.
pub(in super::super) fn function_names() -> Vec<&'static str> {
    let mut names: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use super::super::super::program::interpreted;
    use super::*;

    /// Values of each kind. Conversions judge what a text says too, so there is one that each of them takes.
    fn samples(kind: Kind) -> &'static [&'static str] {
        match kind {
            Null => &["null"],
            Bool => &["true"],
            Int => &["2"],
            Uint => &["2u"],
            Double => &["2.0"],
            Text => &["'2'", "'true'", "'2s'", "'2026-01-02T03:04:05Z'"],
            Bytes => &["b'2'"],
            Time => &["timestamp('2026-01-02T03:04:05Z')"],
            Duration => &["duration('2s')"],
            TypeName => &["int"],
            List => &["[2]"],
            Map => &["{'a': 2}"],
        }
    }

    fn sample(kind: Kind) -> &'static str {
        samples(kind)[0]
    }

    /// The kind that the interpreter's value has.
    fn evaluated(source: &str) -> Option<Kind> {
        let name = interpreted(source).ok()?;
        Some(match name.as_str() {
            "null_type" => Null,
            "bool" => Bool,
            "int" => Int,
            "uint" => Uint,
            "double" => Double,
            "string" => Text,
            "bytes" => Bytes,
            "google.protobuf.Timestamp" => Time,
            "google.protobuf.Duration" => Duration,
            "type" => TypeName,
            "list" => List,
            "map" => Map,
            other => panic!("{source} is a {other}"),
        })
    }

    #[test]
    fn operators_apply_where_the_interpreter_applies_them() {
        for (sign, operator) in [
            ("+", operators::ADD),
            ("-", operators::SUBSTRACT),
            ("*", operators::MULTIPLY),
            ("/", operators::DIVIDE),
            ("%", operators::MODULO),
            ("<", operators::LESS),
            (">=", operators::GREATER_EQUALS),
        ] {
            for left in ALL {
                for right in ALL {
                    let source = format!("{} {sign} {}", sample(*left), sample(*right));
                    assert_eq!(binary(operator, *left, *right), evaluated(&source), "{source}");
                }
            }
        }
        for kind in ALL {
            let source = format!("-({})", sample(*kind));
            assert_eq!(has_negative(*kind), evaluated(&source).is_some(), "{source}");
        }
    }

    /// The result of a call by the table.
    fn tabled(name: &str, receiver: Option<Kind>, arguments: &[Kind]) -> Option<Kind> {
        let fits = |function: &&Function| {
            function.name == name
                && function.receiver.is_some() == receiver.is_some()
                && receiver.is_none_or(|kind| function.receiver.is_some_and(|kinds| kinds.contains(&kind)))
                && function.arguments.len() == arguments.len()
                && function.arguments.iter().zip(arguments).all(|(kinds, kind)| kinds.contains(kind))
        };
        FUNCTIONS.iter().find(fits).map(|function| function.result.unwrap_or_else(|| arguments[0]))
    }

    #[test]
    fn functions_take_what_the_interpreter_takes() {
        for name in function_names() {
            for first in ALL {
                let any =
                    |call: &dyn Fn(&str) -> String| samples(*first).iter().find_map(|value| evaluated(&call(value)));
                let at = format!("{name} with {first:?}");
                assert_eq!(tabled(name, None, &[*first]), any(&|value| format!("{name}({value})")), "{at}");
                assert_eq!(tabled(name, Some(*first), &[]), any(&|value| format!("({value}).{name}()")), "{at}");
                let called = any(&|value| format!("({value}).{name}('UTC')"));
                assert_eq!(tabled(name, Some(*first), &[Text]), called, "{at}, on a value");
                let called = any(&|value| format!("{name}('UTC', {value})"));
                assert_eq!(tabled(name, None, &[Text, *first]), called, "{at}, as the second");
            }
        }
    }
}
